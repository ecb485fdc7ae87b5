//! The scorer with `--transactions` against a real Kafka: killed twice in the middle of its work, and joined by another one
//! that takes partitions over; whoever reads what is committed sees each score once and misses none. Negative control:
//! without the flag scores come twice.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use service::Tally;
use tests::process::Ended;

use crate::ground::{Drive, Ground, VEHICLES, WITHIN};

/// Of each vehicle of a fleet that drives until it is enough, at most, and of the last one.
const MOST_READINGS: u64 = 8_000;
const READINGS: u64 = 400;
/// More than may wait for a transaction.
const BACKLOG: u64 = 700;
/// After each round of readings, while another scorer joins.
const PAUSE: Duration = Duration::from_millis(16);

fn repeated(scores: &BTreeMap<(String, u32, u64), u64>) -> usize {
    scores.values().filter(|times| **times > 1).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn scorers_with_transactions_are_killed_and_joined_and_each_score_is_seen_once() {
    let ground = Ground::start("transactions").await;
    let nothing = ground.ends().await;
    let (group, never, enough) = ("transactions", AtomicBool::new(false), AtomicBool::new(false));
    let instance = async |name| ground.scorer(name, group, &["--transactions", "--instance", name]).await;
    let killed_twice = async {
        for scores in [8_000, 12_000] {
            ground.kill_after(instance("one").await, scores).await;
        }
        let one = instance("one").await;
        ground.grown_by(1_000).await;
        enough.store(true, Ordering::Relaxed);
        one
    };
    let (first, one) =
        tokio::join!(ground.drive(Drive { pause: PAUSE, ..Drive::of(1, MOST_READINGS) }, &enough), killed_twice);
    // Another one joins while there is work, and partitions change hands, however long that takes.
    let joined = Drive { pause: PAUSE, ..Drive::of(1 + VEHICLES, MOST_READINGS) };
    let shared = AtomicBool::new(false);
    let joins = async {
        let two = instance("two").await;
        ground.sends(&two, 1_000).await;
        shared.store(true, Ordering::Relaxed);
        two
    };
    let (second, two) = tokio::join!(ground.drive(joined, &shared), joins);
    let tallies = ground.finish(vec![one, two], group).await;
    assert!(tallies.iter().all(|tally| tally.sent > 0), "{tallies:?}");
    eprintln!("one and two: {tallies:?}");
    let scores = ground.since(&nothing).await;
    assert_eq!(repeated(&scores), 0, "of {}", scores.len());
    let verified = ground.verify(&[]).await;
    let checked = verified["checked"].as_u64().unwrap();
    assert!(verified["ok"] == true && verified["repeated"] == 0, "{verified}");
    assert_eq!(checked, scores.len() as u64, "{verified}");
    assert!(checked > (first + second) * 9 / 10, "{verified}");

    // Commits that are asked for seldom come when there is no room for more. A fleet that no state is there for.
    ground.drive(Drive::of(1 + 2 * VEHICLES, BACKLOG), &never).await;
    let seldom = ["--transactions", "--commit-ms", "60000"];
    let scorer = ground.scorer("seldom", group, &seldom).await;
    ground.grown_by(BACKLOG as i64 * i64::from(VEHICLES) / 2).await;
    let Ended { code, tally } = scorer.stop(WITHIN).await.unwrap();
    assert!(code == Some(0) && tally.as_ref().is_some_and(Tally::balances), "{code:?} {tally:?}");

    // Without the flag the same kill shows; commits come seldom, so that it can't hit a moment right after one.
    let third = ground.drive(Drive::of(1 + 3 * VEHICLES, READINGS), &never).await;
    let before = ground.ends().await;
    let scorer = ground.scorer("plain", "plain", &["--commit-ms", "60000"]).await;
    ground.kill_after(scorer, 8_000).await;
    let scorer = ground.scorer("plain", "plain", &[]).await;
    ground.finish(vec![scorer], "plain").await;
    let again = ground.since(&before).await;
    assert!(again.len() as u64 > third * 9 / 10, "{}", again.len());
    assert!(repeated(&again) > 0, "a killed scorer published nothing twice");
    assert_eq!(ground.verify(&[]).await["ok"], true);
    eprintln!("{checked} scores; without transactions {} came twice", repeated(&again));
    ground.services.stop().await;
}
