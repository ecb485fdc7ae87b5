//! The end of a trial: everybody has everything, and the ledger is compared with Kafka.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use simulator::ledger::{self, Ledger};
use telemetry::UnixMillis;
use tokio::time::Instant;

use super::{
    edge_state::EdgeState,
    trial::{Fleet, Trial},
};
use crate::{
    judge::{judge_ledger, judge_tallies},
    report::Verdict,
    stack::Role,
};

/// An ack that takes longer than this says that the system is behind: three times the longest pause between acks.
const LATE_MS: UnixMillis = 3_000;
/// The fleet's last ack comes within this time after its last reading, or never.
const PATIENCE: Duration = Duration::from_secs(250);
/// After the last ack nothing is left to do but to say so.
const SETTLED_WITHIN: Duration = Duration::from_secs(15);

/// What a row promises beside G1 and G4.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    /// First copies of a vehicle's readings stand in Kafka in their order.
    pub in_order: bool,
    /// Readings are acknowledged without delay again after this time (G6).
    pub lag_is_zero_after: Duration,
}

impl Promise {
    /// Order, and no lag after this time.
    pub const fn recovery(within: Duration) -> Self {
        Self { in_order: true, lag_is_zero_after: within }
    }

    /// Readings are sent again behind later ones.
    pub const fn without_order(self) -> Self {
        Self { in_order: false, lag_is_zero_after: self.lag_is_zero_after }
    }
}

/// What came of a row.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Verdicts by guarantee.
    pub verdicts: BTreeMap<String, Verdict>,
    /// From when the fault was over until the last ack that came late, s.
    pub lag_s: Option<f64>,
    /// The most that the edge had resident, bytes.
    pub edge_memory_bytes: u64,
    /// Further counts.
    pub further: BTreeMap<String, u64>,
    /// How long the row took, s.
    pub took_s: f64,
    /// Why it could not be run here.
    pub skipped: Option<String>,
}

impl Outcome {
    /// A row that this machine can't run.
    pub fn skipped(why: impl Into<String>) -> Self {
        Self { skipped: Some(why.into()), ..Self::default() }
    }

    /// Whether everything holds. A row that was skipped breaks nothing, and is told.
    pub fn is_ok(&self) -> bool {
        self.verdicts.values().all(|verdict| verdict.ok)
    }

    /// One count of G1, 0 where there is none.
    pub fn count(&self, name: &str) -> u64 {
        self.verdicts.get("G1").and_then(|verdict| verdict.counts.get(name)).copied().unwrap_or_default()
    }

    /// Acknowledged readings that were looked for.
    pub fn acknowledged(&self) -> u64 {
        self.verdicts.get("G1").map_or(0, |verdict| verdict.checked)
    }

    /// Enters something that has to be so.
    #[must_use]
    pub fn and(mut self, what: &str, ok: bool, found: impl std::fmt::Display) -> Self {
        let examples = if ok { Vec::new() } else { vec![found.to_string()] };
        self.verdicts.insert(what.into(), Verdict { ok, checked: 1, counts: BTreeMap::new(), examples });
        self
    }

    /// Enters a count that is only told.
    #[must_use]
    pub fn told(mut self, name: &str, count: u64) -> Self {
        self.further.insert(name.into(), count);
        self
    }

    /// A negative control: what was to be found was found. Everything else is not judged.
    #[must_use]
    pub fn inverted(self, what: &str) -> Self {
        let (lost, acknowledged) = (self.count("lost"), self.acknowledged());
        let verdicts = BTreeMap::new();
        Self { verdicts, ..self }.told("acknowledged", acknowledged).told("lost", lost).and(
            what,
            lost > 0,
            format!("{lost} of {acknowledged} acknowledged readings were found missing"),
        )
    }
}

/// What the fleet says at its end.
#[derive(Debug, Default)]
struct FleetEnd {
    resent: u64,
    in_outbox: u64,
    accounted: bool,
}

impl Trial {
    /// Waits until the fleet has everything acknowledged, judges, and stops everything.
    ///
    /// # Errors
    /// If the fleet does not come to its end, the edge ends by itself, or Kafka can't be read.
    pub async fn finish(mut self, promise: Promise) -> Result<Outcome> {
        let outcome = self.judged(promise).await?;
        self.stack.shut_down().await?;
        Ok(outcome)
    }

    /// As [`Trial::finish`], but services stay.
    pub(super) async fn judged(&mut self, promise: Promise) -> Result<Outcome> {
        let fleet = self.fleet_end().await?;
        let settled = self.edge_is("nothing waits for Kafka", SETTLED_WITHIN, EdgeState::is_settled).await;
        let state = self.edge().await?;
        self.stop_edge().await?;

        let (mut durable, _) = judge_ledger(self.stack.kafka(), &self.ledger()).await?;
        durable.ok &= fleet.in_outbox == 0;
        durable.counts.insert("in_outboxes".into(), fleet.in_outbox);
        let ledger = ledger::read(&self.ledger())?;
        let lag = self.since.map(|since| lag(&ledger, since));
        let reorderings = durable.counts.get("reorderings").copied().unwrap_or_default();

        let ended = std::mem::take(&mut self.stack.ended);
        let processes = ended.iter().filter(|(name, ended)| *name == Role::Edge.name() || ended.tally.is_some());
        let mut conserved = judge_tallies(processes);
        conserved.ok &= fleet.accounted;
        let edge = ended.get(Role::Edge.name()).and_then(|ended| ended.tally.as_ref());
        let further = edge.map(|tally| tally.further.clone()).unwrap_or_default();
        let discarded: u64 = edge.map(|tally| tally.discarded.values().sum()).unwrap_or_default();

        let outcome = Outcome {
            verdicts: BTreeMap::from([("G1".into(), durable), ("G4".into(), conserved)]),
            lag_s: lag.map(|lag| lag.as_secs_f64()),
            edge_memory_bytes: self.memory.iter().copied().max().unwrap_or_default(),
            further: BTreeMap::new(),
            took_s: self.began.elapsed().as_secs_f64(),
            skipped: None,
        };
        let mut outcome = outcome
            .told("resent", self.resent + fleet.resent)
            .told("spooled", further.get("spooled").copied().unwrap_or_default())
            .told("restored", further.get("restored").copied().unwrap_or_default())
            .told("discarded_by_edge", discarded)
            .and("settled", settled.is_ok(), format!("{state:?}"));
        if promise.in_order {
            outcome = outcome.and("order", reorderings == 0, format!("{reorderings} reorderings"));
        }
        if let Some(lag) = lag {
            outcome = outcome.and("G6", lag <= promise.lag_is_zero_after, format!("lag is zero after {lag:?}"));
        }
        tracing::info!(row = self.name, ?outcome, "judged");
        Ok(outcome)
    }

    async fn fleet_end(&mut self) -> Result<FleetEnd> {
        // What was loaded beforehand has been accounted for.
        let Some(fleet) = self.fleet else { return Ok(FleetEnd { accounted: true, ..FleetEnd::default() }) };
        let until = Instant::now() + PATIENCE + fleet.drive();
        while self.stack.running("simulator")?.is_running() {
            ensure!(self.stack.running("edge")?.is_running(), "the edge has ended by itself: {}", self.edge_log()?);
            ensure!(Instant::now() < until, "the fleet's outboxes are not empty: {}", self.edge_log()?);
            self.look_at_memory();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let ended = self.stack.wait_for_end("simulator", Duration::from_secs(5)).await?;
        let code = ended.code;
        match fleet {
            Fleet::Drive { .. } => {
                let tally = ended.tally.as_ref().context("the fleet's tally")?;
                let resent = tally.further.get("resent").copied().unwrap_or_default();
                Ok(FleetEnd { resent, in_outbox: tally.in_hand, accounted: code == Some(0) && tally.balances() })
            }
            Fleet::Load { .. } => {
                let report = std::fs::read(self.folder.join("load.json")).context("the load's report")?;
                let report: Value = serde_json::from_slice(&report)?;
                let figures = report["figures"].as_object().context("the load's figures")?;
                let figure = |name: &str| figures.get(name).and_then(Value::as_f64).unwrap_or_default();
                let resent: f64 =
                    figures.keys().filter(|name| name.starts_with("resent_")).map(|name| figure(name)).sum();
                let accounted = code == Some(0) && report["verdicts"]["G4"]["ok"] == true;
                Ok(FleetEnd { resent: whole(resent), in_outbox: whole(figure("in_outbox_readings")), accounted })
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts, written as floats")]
fn whole(figure: f64) -> u64 {
    figure as u64
}

/// How long after `since` the last ack came that was late for its reading.
fn lag(ledger: &Ledger, since: UnixMillis) -> Duration {
    let late = ledger.iter().filter_map(|(_, _, sent)| sent.acked.filter(|at| at - sent.scheduled > LATE_MS));
    let last = late.max().unwrap_or(since);
    Duration::from_millis(u64::try_from(last - since).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use simulator::{ledger::Entry, outbox::Key};
    use telemetry::{PayloadHash, VehicleId};

    use super::*;

    fn ledger_of(readings: &[(u64, UnixMillis, UnixMillis)]) -> Ledger {
        let vehicle = VehicleId::parse("veh-00001").unwrap();
        let mut ledger = Ledger::default();
        for (seq, scheduled, acked) in readings.iter().copied() {
            let key = Key::Seq { boot: 1, seq };
            let (vehicle, hash) = (vehicle.clone(), PayloadHash(seq));
            ledger.add(Entry::Sent {
                vehicle: vehicle.clone(),
                boot: 1,
                key,
                hash,
                scheduled,
                accepted: scheduled,
                time: scheduled,
                poison: None,
            });
            ledger.add(Entry::Acked { vehicle, key, at: acked });
        }
        ledger
    }

    #[test]
    fn the_lag_ends_with_the_last_late_ack() {
        let since = 100_000;
        let ledger = ledger_of(&[(1, 90_000, 104_000), (2, 103_000, 108_500), (3, 109_000, 111_900)]);
        assert_eq!(lag(&ledger, since), Duration::from_millis(8_500));
        // What was late before does not count.
        assert_eq!(lag(&ledger_of(&[(1, 10_000, 14_000)]), since), Duration::ZERO);
    }

    #[test]
    fn a_control_that_finds_nothing_fails() {
        let found = |lost: u64| {
            let counts = BTreeMap::from([("lost".to_owned(), lost)]);
            let verdict = Verdict { ok: lost == 0, checked: 9, counts, examples: Vec::new() };
            Outcome { verdicts: BTreeMap::from([("G1".into(), verdict)]), ..Outcome::default() }
        };
        assert!(found(1).inverted("caught").is_ok());
        assert!(!found(0).inverted("caught").is_ok());
    }
}
