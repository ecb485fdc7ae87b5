//! `make chaos`: runs the rows one after the other, tells what came of each, and writes the report.

use std::{collections::BTreeMap, io::Write, time::Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Outcome, Row, rows};
use crate::report::{self, Report, Verdict};

/// Flags of `chaos`.
#[derive(Debug, clap::Parser)]
#[command(name = "chaos", about = "Breaks one thing after the other under load, and has the ledger judge")]
pub struct Settings {
    /// Only these rows.
    #[arg(value_name = "ROW")]
    pub rows: Vec<String>,
    /// Only those that `make test` runs.
    #[arg(long)]
    pub quick: bool,
    /// Print the rows, and run none.
    #[arg(long)]
    pub list: bool,
}

/// Guarantees that are summed up over all rows.
const GUARANTEES: [&str; 3] = ["G1", "G4", "G6"];

/// Runs what was asked for. Returns whether every verdict is ok.
///
/// # Errors
/// For a row that nobody knows, and a report that can't be written. A row that can't be run to its end fails.
pub async fn run(settings: &Settings) -> Result<bool> {
    let chosen = choose(settings)?;
    if settings.list {
        chosen.iter().for_each(|row| say(&format!("{:<24} {}", row.name, row.fault)));
        return Ok(true);
    }
    let mut report = Report::new("chaos");
    report.parameters.insert("rows".into(), chosen.len().into());
    report.parameters.insert("rows_of".into(), rows().len().into());
    let began = Instant::now();
    say(&heading());
    for (done, row) in (1..).zip(&chosen) {
        // A panic in a row would leave its services to their watcher; an error is a verdict.
        let outcome = Box::pin(row.run()).await.unwrap_or_else(|error| broken(&error));
        say(&line(row.name, &outcome));
        outcome.verdicts.iter().filter(|(_, verdict)| !verdict.ok).for_each(|(what, verdict)| {
            say(&format!("    {what}: {:?} {:?}", verdict.counts, verdict.examples));
        });
        enter(&mut report, row, &outcome);
        report.verdicts.insert("complete".into(), complete(done, chosen.len()));
        // After each row: a run that is cut short leaves what it has found, and says that it was.
        report.duration_s = began.elapsed().as_secs_f64();
        report::write(&report).context("write the report")?;
    }
    sum_up(&mut report);
    let path = report::write(&report).context("write the report")?;
    let ok = report.is_ok();
    let took = began.elapsed().as_secs();
    say(&format!("{} rows in {took} s: {}; {}", chosen.len(), if ok { "ok" } else { "FAILED" }, path.display()));
    Ok(ok)
}

fn choose(settings: &Settings) -> Result<Vec<Row>> {
    if settings.rows.is_empty() {
        return Ok(rows().into_iter().filter(|row| row.quick || !settings.quick).collect());
    }
    let named = |name: &String| super::row(name).with_context(|| format!("no row is called {name}; see --list"));
    settings.rows.iter().map(named).collect()
}

/// Whether every row that was chosen has had its turn, and there was one.
fn complete(done: usize, chosen: usize) -> Verdict {
    let counts = [("rows".to_owned(), chosen as u64)].into();
    Verdict { ok: done == chosen && chosen > 0, checked: done as u64, counts, examples: Vec::new() }
}

fn broken(error: &anyhow::Error) -> Outcome {
    Outcome::default().and("runs to its end", false, format!("{error:#}"))
}

fn heading() -> String {
    format!(
        "{:<24} {:>8} {:>5} {:>7} {:>7} {:>7} {:>7} {:>6} {:>5}  verdict",
        "row", "acked", "lost", "repeats", "reorder", "resent", "lag s", "edge M", "s"
    )
}

fn line(name: &str, outcome: &Outcome) -> String {
    let verdict = match (&outcome.skipped, outcome.is_ok()) {
        (Some(why), _) => format!("SKIPPED: {why}"),
        (None, true) => "ok".to_owned(),
        (None, false) => {
            let broken = outcome.verdicts.iter().filter(|(_, verdict)| !verdict.ok).map(|(what, _)| what.as_str());
            format!("FAILED: {}", broken.collect::<Vec<_>>().join(", "))
        }
    };
    let further = |name: &str| outcome.further.get(name).copied().unwrap_or_default();
    format!(
        "{name:<24} {:>8} {:>5} {:>7} {:>7} {:>7} {:>7} {:>6} {:>5.0}  {verdict}",
        // Of a control they are no verdict.
        outcome.acknowledged().max(further("acknowledged")),
        outcome.count("lost").max(further("lost")),
        outcome.count("duplicates"),
        outcome.count("reorderings"),
        further("resent"),
        outcome.lag_s.map_or_else(|| "-".to_owned(), |lag| format!("{lag:.1}")),
        outcome.edge_memory_bytes >> 20,
        outcome.took_s,
    )
}

/// One verdict for each row, with what it rests on, and its figures under its name.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn enter(report: &mut Report, row: &Row, outcome: &Outcome) {
    let prefix = row.name.replace('-', "_");
    let mut figure = |name: &str, value: f64| report.figures.insert(format!("{prefix}_{name}"), value);
    figure("took_s", outcome.took_s);
    figure("acknowledged_readings", outcome.acknowledged() as f64);
    for (name, unit) in [("lost", "readings"), ("duplicates", "records"), ("reorderings", "readings")] {
        figure(&format!("{name}_{unit}"), outcome.count(name) as f64);
    }
    figure("edge_memory_bytes", outcome.edge_memory_bytes as f64);
    if let Some(lag) = outcome.lag_s {
        figure("lag_s", lag);
    }
    for (name, count) in &outcome.further {
        figure(&format!("{name}_count"), *count as f64);
    }
    if let Some(why) = &outcome.skipped {
        let skipped = report.parameters.entry("skipped".into()).or_insert_with(|| Value::Object(Default::default()));
        skipped[row.name] = why.as_str().into();
        return;
    }
    for (what, verdict) in &outcome.verdicts {
        report.verdicts.insert(format!("{}: {what}", row.name), verdict.clone());
    }
}

/// Adds one verdict for each guarantee, over all rows.
fn sum_up(report: &mut Report) {
    for guarantee in GUARANTEES {
        let of_rows = report.verdicts.iter().filter(|(name, _)| name.ends_with(&format!(": {guarantee}")));
        let mut sum = Verdict { ok: true, ..Verdict::default() };
        let mut rows = 0;
        for (name, verdict) in of_rows {
            rows += 1;
            sum.ok &= verdict.ok;
            sum.checked += verdict.checked;
            for (count, n) in verdict.counts.iter().filter(|_| guarantee == "G1") {
                *sum.counts.entry(count.clone()).or_default() += n;
            }
            if !verdict.ok {
                sum.examples.push(name.clone());
            }
        }
        // Where every row was skipped, nothing was shown.
        sum.ok &= rows > 0 || guarantee != "G1";
        sum.counts.extend(BTreeMap::from([("rows".to_owned(), rows)]));
        report.verdicts.insert(guarantee.into(), sum);
    }
}

fn say(line: &str) {
    // Whoever reads may have gone; the rows go on.
    writeln!(std::io::stdout().lock(), "{line}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_fails_fails_the_report_and_one_that_is_skipped_is_named() {
        let row = crate::chaos::row("edge-killed").unwrap();
        let mut report = Report::new("chaos");
        enter(&mut report, &row, &Outcome::skipped("no disk"));
        assert!(report.is_ok() && report.parameters["skipped"]["edge-killed"] == "no disk");
        sum_up(&mut report);
        assert!(!report.is_ok(), "nothing was shown");
        let lost = Verdict { ok: false, checked: 3, counts: [("lost".to_owned(), 1)].into(), examples: Vec::new() };
        let outcome = Outcome { verdicts: [("G1".to_owned(), lost)].into(), ..Outcome::default() };
        enter(&mut report, &row, &outcome);
        sum_up(&mut report);
        assert!(!report.is_ok());
        assert_eq!((report.verdicts["G1"].counts["lost"], report.figures["edge_killed_lost_readings"]), (1, 1.0));
        assert_eq!(report.verdicts["G1"].examples, ["edge-killed: G1"]);
    }

    #[test]
    fn a_run_that_was_broken_off_or_had_no_row_is_not_complete() {
        assert!(complete(3, 3).ok);
        assert!(!complete(2, 3).ok && !complete(0, 0).ok);
    }

    #[test]
    fn an_unknown_row_is_named() {
        let settings = Settings { rows: vec!["nothing".into()], quick: false, list: false };
        assert!(choose(&settings).err().unwrap().to_string().contains("nothing"));
    }
}
