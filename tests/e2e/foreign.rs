//! Somebody else's machines, in tables of theirs: imported, learnt from, and scored while more comes, with the commands of
//! our own fleet.

use std::{collections::BTreeSet, fmt::Write, path::Path, time::Duration};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use services::Kind;
use telemetry::{
    event::{Score, Verdict},
    kafka_topic::SCORES,
};
use tests::{
    evidence::Evidence,
    kafka_reader, poll,
    process::{build_executables, executables},
    scenario::room,
    stack::{Role, Stack},
};

const SEED: u64 = 5;
const PUMPS: usize = 10;
/// These break, each for a while of the second table.
const BROKEN: [usize; 3] = [2, 5, 8];
const STEP_S: usize = 10;
/// Rows of each pump in the first table, and in the second.
const ROWS: [usize; 2] = [1_200, 240];
const BREAKS: std::ops::Range<usize> = 120..180;
/// 1 March 2026, 00:00 UTC.
const START_S: usize = 1_772_323_200;
const WITHIN: Duration = Duration::from_secs(60);

const MAPPING: &str = r#"
[vehicle]
column = "pump"

[time]
column = "when"
format = "unix-s"

[signals]
flow = { path = "Motorcade.Foreign.Pump.Flow", unit = "l/min" }
pressure = { path = "Motorcade.Foreign.Pump.Pressure", unit = "bar", to = "kPa" }
power = { path = "Motorcade.Foreign.Pump.Power", unit = "W" }
heat = { path = "Motorcade.Foreign.Pump.Temperature", unit = "celsius" }

[[labels]]
column = "leaks"
kind = "leak"
"#;

/// Two tables, one behind the other. Flow, pressure, power and heat follow the load; where a pump leaks, the pressure no
/// longer does.
fn tables(leaking: &std::ops::Range<usize>) -> [String; 2] {
    let mut noise = ChaCha8Rng::seed_from_u64(SEED);
    let mut loads = [0.5_f64; PUMPS];
    let mut row = 0;
    ROWS.map(|rows| {
        let mut table = "pump,when,flow,pressure,power,heat,leaks\n".to_owned();
        for _ in 0..rows {
            for (pump, load) in loads.iter_mut().enumerate() {
                *load = (*load + 0.1 * (noise.random::<f64>() - 0.5)).clamp(0.1, 1.0);
                let leaks = BROKEN.contains(&pump) && leaking.contains(&row);
                let mut near = |value: f64| value + 0.02 * (noise.random::<f64>() - 0.5);
                let (flow, power) = (40.0 * near(*load), 800.0 * near(*load) + 2.0 * pump as f64);
                let (pressure, heat) = (4.0 * near(*load) - if leaks { 1.5 } else { 0.0 }, 20.0 + 30.0 * near(*load));
                let (when, leaks) = (START_S + row * STEP_S, u8::from(leaks));
                writeln!(table, "p{pump},{when},{flow:.3},{pressure:.4},{power:.2},{heat:.3},{leaks}").unwrap();
            }
            row += 1;
        }
        table
    })
}

/// Imports a table; where its labels stand.
async fn import(stack: &Stack, name: &str, table: &str) -> String {
    let path = |ending: &str| stack.folder().join(format!("{name}.{ending}")).to_str().unwrap().to_owned();
    let (csv, labels, mapping) = (path("csv"), path("jsonl"), stack.folder().join("mapping.toml"));
    std::fs::write(&csv, table).unwrap();
    std::fs::write(&mapping, MAPPING).unwrap();
    let rows = table.lines().count() - 1;
    let arguments = ["data", "import", "--mapping", mapping.to_str().unwrap(), &csv, "--labels-out", &labels];
    let told = stack.tool(arguments).await.unwrap();
    assert!(told.contains(&rows.to_string()) && Path::new(&labels).exists(), "{told}");
    labels
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_of_others_are_learnt_and_scored_with_the_same_commands() {
    build_executables().unwrap();
    let _room = room().await;
    let folder = executables().unwrap().parent().unwrap().join("e2e/foreign");
    let _evidence = Evidence::of(folder.join("services"));
    let mut stack = Stack::start_anew_with(&folder, |options| options.only(&[Kind::Kafka])).await.unwrap();
    let history = ROWS[0];
    let breaks = history + BREAKS.start..history + BREAKS.end;

    let [first, second] = tables(&breaks);
    import(&stack, "first", &first).await;
    let train = ["models", "train", "--publish", "--steps", "1500"];
    let told = stack.tool(train).await.unwrap();
    assert!(told.contains("leave-one-out"), "{told}");
    stack.role(Role::Scorer).await.unwrap();
    let labels = import(&stack, "second", &second).await;

    // All that came is scored, and whoever leaks is found while it leaks.
    let kafka = stack.kafka().to_owned();
    let since = ((START_S + history * STEP_S) * 1_000) as i64;
    let scores = poll::until("every reading of the second table is scored", WITHIN, async || {
        let seen = kafka_reader::read(&kafka, SCORES)?;
        let scores = seen.iter().map(|record| serde_json::from_slice::<Score>(&record.payload));
        let scores: Vec<Score> = scores.collect::<Result<_, _>>()?;
        let new = scores.iter().filter(|score| score.time >= since).count();
        Ok((new >= PUMPS * (ROWS[1] - 30)).then_some(scores))
    });
    let scores = scores.await.unwrap();
    let alarmed = |times: std::ops::Range<usize>| -> BTreeSet<String> {
        let times = times.start * STEP_S..times.end * STEP_S;
        let within = |score: &&Score| times.contains(&(score.time as usize / 1_000 - START_S));
        let anomalous = scores.iter().filter(within).filter(|score| score.verdict == Verdict::Anomalous);
        anomalous.map(|score| score.vehicle.to_string()).collect()
    };
    let broken = BROKEN.map(|pump| format!("p{pump}"));
    let found = alarmed(breaks.clone());
    assert!(
        broken.iter().all(|pump| found.contains(pump)) && found.len() <= BROKEN.len() + 1,
        "seed {SEED}: {found:?}"
    );
    let before = alarmed(history..breaks.start);
    assert!(before.len() <= 1, "seed {SEED}: nothing leaks yet: {before:?}");
    let named = scores.iter().flat_map(|score| &score.contributions);
    assert!(named.clone().count() > 0 && named.clone().all(|c| c.signal.starts_with("Motorcade.Foreign.Pump.")));

    // The same figures as of our own fleet, and the same proof.
    let evaluate = ["models", "evaluate", "champion", "--labels", &labels, "--settle-steps", "60", "--json"];
    let told: serde_json::Value = serde_json::from_str(&stack.tool(evaluate).await.unwrap()).unwrap();
    let kinds = &told["tables"]["kinds"]["rows"][0];
    assert!(kinds[0] == "leak" && kinds[1] == BROKEN.len() && kinds[4] == BROKEN.len(), "{told:#}");
    let verify = ["scores", "verify", "--to", "latest", "--json"];
    let verified: serde_json::Value = serde_json::from_str(&stack.tool(verify).await.unwrap()).unwrap();
    assert!(verified["ok"] == true && verified["checked"].as_u64() == Some(scores.len() as u64), "{verified}");
    stack.shut_down().await.unwrap();
}
