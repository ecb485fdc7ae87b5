//! The run as a whole: services, cases in order, verdicts, report.

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::{
    Settings, ceiling, faults, outage,
    plan::{FAULT_RATE, Kind, Planned, plan},
    speed,
};
use crate::{
    bench::{
        contender::{Contender, MOTORCADE},
        goals,
        load::{Judge, Pace},
        result::{BenchReport, Figures, Rounds, Row, none_of},
        rig::Rig,
        say,
    },
    report::{Report, Verdict},
};

/// Warms what stays from row to row: Kafka's machine code above all.
const WARM_UP: u64 = 100_000;
/// And then at a steady rate, for small batches take other ways, s.
const WARM_UP_S: u64 = 15;

/// Measures everything that `settings` ask for and writes the report.
///
/// # Errors
/// If the services do not start, or the report can't be written. A case that fails is a verdict.
pub async fn run(settings: Settings) -> Result<BenchReport> {
    let settings = settings.settled();
    let began = Instant::now();
    let mut report = Report::new(&settings.report);
    report.parameters = parameters(&settings);
    let mut rig = Rig::start(&settings.folder, &settings.programs, settings.seed).await?;
    let edge = rig.launch_ready(&Contender::Motorcade, &[]).await?;
    rig.warm(&rig.lead_in(if settings.quick { WARM_UP / 5 } else { WARM_UP }, Pace::Blast)).await?;
    if !settings.quick {
        rig.warm(&rig.lead_in(FAULT_RATE * WARM_UP_S, Pace::Rate(FAULT_RATE))).await?;
    }
    crate::bench::rig::end(edge, nix::sys::signal::Signal::SIGTERM).await?;

    let (mut rounds, mut failed) = (Rounds::default(), Vec::new());
    let cases = plan(&settings);
    let count = cases.len();
    for (n, planned) in cases.iter().enumerate() {
        let case = planned.case();
        match measure(&mut rig, planned, &settings).await {
            Ok(figures) => {
                say(&format!("{:>3}/{count} {case}: {}", n + 1, brief(&figures)));
                rounds.add(&case, figures);
            }
            Err(error) => {
                say(&format!("{:>3}/{count} {case}: failed: {error:#}", n + 1));
                failed.push(format!("{case}: {error:#}"));
                // Whatever it was, the next case begins with services that run.
                rig.services.restart(services::Kind::Kafka).await.context("Kafka after a failed case")?;
            }
        }
    }
    let stored = rig.services.dir().to_owned();
    rig.services.stop().await;
    let rows = rounds.rows();
    report.verdicts = verdicts(&rows, count, failed);
    report.duration_s = began.elapsed().as_secs_f64();
    let goals = goals::of_edge(&rows);
    let report = BenchReport::new(report, rows, goals);
    report.write()?;
    if report.report.is_ok() {
        services::remove_stored_in(&stored)?;
    }
    Ok(report)
}

async fn measure(rig: &mut Rig, planned: &Planned, settings: &Settings) -> Result<Figures> {
    match planned.kind {
        Kind::Paced | Kind::Blast => Box::pin(speed::live(rig, planned, settings)).await,
        Kind::Drain => Box::pin(speed::drain(rig, planned, settings)).await,
        Kind::Ceiling => Box::pin(ceiling::ceiling(rig, planned, settings)).await,
        Kind::KillBridge | Kind::KillBroker | Kind::KillKafka => Box::pin(faults::live(rig, planned, settings)).await,
        Kind::KillDrain => Box::pin(faults::drain(rig, planned, settings)).await,
        Kind::Outage => Box::pin(outage::outage(rig, planned, settings)).await,
    }
}

fn parameters(settings: &Settings) -> BTreeMap<String, serde_json::Value> {
    let only = settings.only.iter().filter_map(ValueEnum::to_possible_value);
    let only: Vec<_> = only.map(|value| value.get_name().to_owned()).collect();
    let peers: Vec<_> = settings.peers.iter().map(Contender::name).collect();
    [
        ("rounds", settings.rounds.into()),
        ("messages", settings.messages.into()),
        ("paced_s", settings.paced_s.into()),
        ("outage_s", settings.outage_s.into()),
        ("quick", settings.quick.into()),
        ("seed", settings.seed.into()),
        ("only", only.into()),
        ("peers", peers.into()),
        ("notes", settings.notes.clone().into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// G1: of what the edge acknowledged, nothing is lost. `bridge`: of what the broker took and did not lose itself,
/// the edge loses nothing. `cases`: all of them could be measured.
fn verdicts(rows: &[Row], cases: usize, failed: Vec<String>) -> BTreeMap<String, Verdict> {
    let ours = || rows.iter().filter(|row| row.case.contender == MOTORCADE);
    let by = |judge: Judge| ours().filter(move |row| row.case.judge == judge.as_str());
    let bridged = by(Judge::Puback).filter(|row| row.case.row != "kill-broker");
    let mut verdicts = BTreeMap::new();
    for (name, rows) in [("G1", by(Judge::Ack).collect::<Vec<_>>()), ("bridge", bridged.collect())] {
        if !rows.is_empty() {
            verdicts.insert(name.to_owned(), nothing_lost(&rows));
        }
    }
    let (checked, count) = (cases as u64, failed.len() as u64);
    verdicts.insert("cases".to_owned(), none_of("failed", checked, count, failed));
    verdicts
}

/// The worst round of each row counts.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
fn nothing_lost(rows: &[&Row]) -> Verdict {
    let most = |row: &Row, figure: &str| row.figures.get(figure).map_or(0, |spread| spread.most as u64);
    let names = ["lost_readings", "refused_readings", "altered_readings", "invented_readings"];
    let counts: BTreeMap<String, u64> =
        names.iter().map(|name| ((*name).to_owned(), rows.iter().map(|row| most(row, name)).sum())).collect();
    let checked = rows.iter().map(|row| most(row, "acknowledged_readings")).sum();
    let bad = rows.iter().filter(|row| names.iter().any(|name| most(row, name) > 0));
    let examples = bad.map(|row| row.case.to_string()).collect();
    Verdict { ok: checked > 0 && counts.values().all(|count| *count == 0), checked, counts, examples }
}

/// What is told of a round while the bench goes on.
fn brief(figures: &Figures) -> String {
    let told = [
        "throughput_per_s",
        "bridge_cpu_us",
        "mosquitto_cpu_us",
        "kafka_cpu_us",
        "latency_p50_ms",
        "latency_p99_ms",
        "bridge_peak_mb",
        "lost_readings",
        "first_kill_records",
        "second_kill_records",
        "duplicate_readings",
        "reordered_readings",
    ];
    let words = told.iter().filter_map(|name| Some(format!("{name} {:.1}", figures.get(*name)?)));
    words.collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::result::Case;

    fn row(row: &str, judge: &str, contender: &str, lost: f64) -> Row {
        let case =
            Case { row: row.into(), form: "change-200".into(), judge: judge.into(), contender: contender.into() };
        let mut rounds = Rounds::default();
        for lost in [0.0, lost] {
            let figures = [("lost_readings", lost), ("acknowledged_readings", 10.0)];
            rounds.add(&case, figures.map(|(name, value)| (name.to_owned(), value)).into());
        }
        rounds.rows().remove(0)
    }

    #[test]
    fn what_our_edge_loses_in_any_round_fails_and_what_others_or_the_broker_lose_does_not() {
        let fine = [
            row("kill-broker", "puback", MOTORCADE, 7.0),
            row("blast", "puback", "other", 7.0),
            row("blast", "puback", MOTORCADE, 0.0),
            row("kill-broker", "ack", MOTORCADE, 0.0),
        ];
        let verdicts_of = |rows: &[Row]| verdicts(rows, 4, Vec::new());
        assert!(verdicts_of(&fine).values().all(|verdict| verdict.ok), "{:?}", verdicts_of(&fine));
        for (bad, name) in [
            (row("kill-broker", "ack", MOTORCADE, 1.0), "G1"),
            (row("kill-bridge", "puback", MOTORCADE, 1.0), "bridge"),
        ] {
            let rows = [&fine[..], &[bad]].concat();
            let failed: Vec<_> = verdicts_of(&rows).into_iter().filter(|(_, verdict)| !verdict.ok).collect();
            assert_eq!(failed.len(), 1);
            assert_eq!(failed[0].0, name);
        }
        assert!(!verdicts(&fine, 4, vec!["blast".into()])["cases"].ok);
    }
}
