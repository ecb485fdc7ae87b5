//! What the judge of any bridge tells: figures, the verdict, and a text.

use report::{Report, Verdict};

use super::Facts;
use crate::{
    audit::{Config, figures},
    ledger::Ledger,
};

pub(super) fn fill(report: &mut Report, config: &Config, ledger: &Ledger, facts: &Facts, scattered: u64) {
    report.parameters.insert("kafka_topic".into(), config.kafka_topic.clone().into());
    report.parameters.insert("late_ms".into(), config.late_ms.into());
    for (name, value) in [
        ("verified_vehicles", ledger.vehicles().len() as u64),
        ("verified_readings", verified(ledger)),
        ("kafka_records", facts.records),
        ("found_readings", facts.found),
        ("dead_letter_readings", facts.dead_letters),
        ("refused_readings", facts.refused),
        ("duplicate_records", facts.duplicates),
        ("reordered_readings", facts.reordered),
        ("scattered_vehicles", scattered),
        ("append_stamped_records", facts.append_stamped),
        ("acknowledged_readings", facts.acknowledged),
        ("unacknowledged_readings", facts.unacknowledged),
        ("unacknowledged_but_stored_readings", facts.unacknowledged_but_stored),
        ("given_up_readings", facts.given_up),
        ("torn_bytes", ledger.torn_bytes),
        ("lost_readings", facts.lost.count),
        ("altered_readings", facts.altered.count),
        ("invented_records", facts.invented.count),
        ("foreign_records", facts.foreign),
    ] {
        report.count(name, value);
    }
    facts.times.fill(report);
    let contradictions = ledger.ambiguous.1 + ledger.acked_unsent.1;
    let cases = [
        ("lost", &facts.lost),
        ("refused", &facts.refused_acknowledged),
        ("altered", &facts.altered),
        ("invented", &facts.invented),
    ];
    let counts = cases.iter().map(|(name, cases)| ((*name).to_owned(), cases.count));
    let examples = cases.iter().flat_map(|(name, cases)| cases.first.iter().map(move |case| format!("{name}: {case}")));
    let verdict = Verdict {
        ok: cases.iter().all(|(_, cases)| cases.count == 0) && contradictions == 0 && facts.acknowledged > 0,
        checked: facts.acknowledged,
        counts: counts.chain([("contradictions".to_owned(), contradictions)]).collect(),
        examples: examples.take(10).collect(),
    };
    report.verdicts.insert("G1".into(), verdict);
    let known = figures::known();
    report.judge(&config.fail_if, &figures::names(&known));
}

pub(super) fn text(ledger: &Ledger, facts: &Facts, report: &Report, scattered: u64) -> String {
    let examples = &report.verdicts["G1"].examples;
    let late = facts.times.late().map_or_else(|| "late not measured".to_owned(), |late| format!("{late} late"));
    format!(
        "{} vehicles, {} readings in the ledger: {} acknowledged, {} unacknowledged ({} of them stored), {} given up\n\
         {} records in Kafka, {} of other runs: {} readings found, {} refused, {} duplicates, {} reordered, \
         {late}, \
         {scattered} vehicles in several partitions\n\
         {}\n\
         lost {}, altered {}, invented {}: {}{}{}{}",
        ledger.vehicles().len(),
        verified(ledger),
        facts.acknowledged,
        facts.unacknowledged,
        facts.unacknowledged_but_stored,
        facts.given_up,
        facts.records,
        facts.foreign,
        facts.found,
        facts.refused,
        facts.duplicates,
        facts.reordered,
        facts.times.text(report),
        facts.lost.count,
        facts.altered.count,
        facts.invented.count,
        if report.verdicts["G1"].ok { "ok" } else { "FAILED" },
        if examples.is_empty() { "" } else { ": " },
        examples.join("; "),
        conditions(report),
    ) + &torn(ledger)
}

/// Sent or not.
fn verified(ledger: &Ledger) -> u64 {
    (ledger.len() + ledger.unsent.len()) as u64
}

/// What the ledger lacks. Nobody can tell what stood there.
fn torn(ledger: &Ledger) -> String {
    match ledger.torn_bytes {
        0 => String::new(),
        bytes => format!("\nthe ledger has torn ends of {bytes} bytes: what stood there was not looked for"),
    }
}

/// A line for each condition.
fn conditions(report: &Report) -> String {
    let conditions = report.verdicts.iter().filter(|(name, _)| *name != "G1");
    let line = |(name, verdict): (&String, &Verdict)| {
        format!("\n{name}: {}: {}", if verdict.ok { "ok" } else { "FAILED" }, verdict.examples.join("; "))
    };
    conditions.map(line).collect()
}
