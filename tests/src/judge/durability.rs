//! G1, G2 and G8: the ledger against Kafka, twins against the log, scores against a replay.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use simulator::{audit, ledger, outbox::Key};
use telemetry::kafka_topic;

use crate::{demo::latency::Published, kafka_reader, report::Verdict, stack::Stack};

/// What the ledger and Kafka say beyond the verdict.
#[derive(Debug, Default)]
pub struct Facts {
    /// When each valid reading was due, wall ms, by vehicle and boot, by sequence.
    pub published: Published,
    /// Readings that were sent, malformed ones included.
    pub sent: u64,
    /// Readings that were acknowledged.
    pub acked: u64,
    /// Distinct readings in `telemetry`.
    pub in_kafka: u64,
    /// Dead letters by reason.
    pub dead_letters: BTreeMap<String, u64>,
}

/// G1: every acknowledged reading is in `telemetry` or, if it is malformed, in the dead-letter topic with its own reason,
/// with the same payload hash; nothing is there that no vehicle sent; the ledger itself is sound.
pub async fn judge_ledger(kafka: &str, folder: &Path) -> Result<(Verdict, Facts)> {
    let ledger = ledger::read(folder).with_context(|| folder.display().to_string())?;
    let report = audit::run(kafka, &ledger).await?;
    let verdict = verdict(&report);
    let mut facts =
        Facts { sent: report.sent, in_kafka: report.stored, dead_letters: report.dead_letters, ..Facts::default() };
    for (vehicle, key, sent) in ledger.iter() {
        facts.acked += u64::from(sent.acked.is_some());
        if let (Key::Seq { boot, seq }, None) = (key, sent.poison) {
            facts.published.entry((vehicle.to_string(), boot)).or_default().insert(seq, sent.scheduled);
        }
    }
    Ok((verdict, facts))
}

fn verdict(report: &audit::Report) -> Verdict {
    let cases = [
        ("lost", &report.lost),
        ("altered", &report.mismatched),
        ("invented", &report.invented),
        ("malformed_accepted", &report.poison_accepted),
        ("wrong_reason", &report.wrong_reason),
        // A valid reading has no business there, acknowledged or not.
        ("valid_dead_letters", &report.valid_dead_letters),
        ("unreadable", &report.unreadable),
        ("acknowledged_unsent", &report.acked_unsent),
        ("ambiguous", &report.ambiguous),
    ];
    let mut counts: BTreeMap<String, u64> =
        cases.iter().map(|(name, cases)| ((*name).to_owned(), cases.count)).collect();
    counts.insert("unacknowledged".into(), report.unacked_at_end);
    counts.insert("given_up".into(), report.given_up);
    counts.insert("duplicates".into(), report.duplicates);
    counts.insert("reorderings".into(), report.reorderings);
    let examples = cases.iter().flat_map(|(name, cases)| cases.first.iter().map(move |case| format!("{name}: {case}")));
    let sound = report.ok && cases.iter().all(|(_, cases)| cases.count == 0);
    Verdict {
        // At the end every reading is acknowledged.
        ok: sound && report.checked > 0 && report.unacked_at_end == 0 && report.given_up == 0,
        checked: report.checked,
        counts,
        examples: examples.take(10).collect(),
    }
}

/// A tool that judges prints one JSON line with `ok` and `checked`, and exits with 0 or 1.
async fn judge_by_tool(stack: &Stack, arguments: &[&str], counts: &[&str], examples: &str) -> Result<Verdict> {
    let (code, out, err) = stack.tool_result(arguments.iter().copied()).await?;
    ensure!(matches!(code, Some(0 | 1)), "{arguments:?}: exit code {code:?}: {err}");
    let report: Value = serde_json::from_str(out.trim()).with_context(|| format!("{arguments:?} printed {out:?}"))?;
    let ok = report["ok"].as_bool().unwrap_or(false);
    ensure!(ok == (code == Some(0)), "{arguments:?}: exit code {code:?}, yet ok is {ok}");
    let checked = report["checked"].as_u64().unwrap_or(0);
    Ok(Verdict {
        ok: ok && checked > 0,
        checked,
        counts: counts.iter().map(|name| ((*name).to_owned(), report[*name].as_u64().unwrap_or(0))).collect(),
        examples: report[examples].as_array().into_iter().flatten().take(5).map(ToString::to_string).collect(),
    })
}

/// G2: every twin equals an independent fold of the log.
pub async fn judge_twins(stack: &Stack) -> Result<Verdict> {
    judge_by_tool(stack, &["twin", "verify", "--json"], &["differing", "unjudged", "records"], "different").await
}

/// G8: every published score, computed again from telemetry, has the same bits, and none is missing up to the end of
/// `telemetry` on any partition. For a fleet that had a model before it drove, and scorers that have caught up.
pub async fn judge_replay(stack: &Stack, lateness_ms: i64) -> Result<Verdict> {
    let (lateness, kafka) = (lateness_ms.to_string(), stack.kafka().to_owned());
    let marks = tokio::task::spawn_blocking(move || kafka_reader::watermarks(&kafka, kafka_topic::TELEMETRY)).await??;
    let ends: Vec<_> = marks.iter().map(|(partition, _, high)| format!("{partition}={high}")).collect();
    let ends = ends.join(",");
    let arguments = ["scores", "verify", "--to", &ends, "--lateness-ms", &lateness, "--json"];
    let counts = ["differing", "missing", "extra", "repeated", "unjudged", "no_model"];
    let mut verdict = judge_by_tool(stack, &arguments, &counts, "examples").await?;
    verdict.ok &= ["unjudged", "no_model"].iter().all(|count| verdict.counts[*count] == 0);
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use simulator::audit::{Cases, Report};

    use super::*;

    fn sound() -> Report {
        Report { ok: true, checked: 5, sent: 5, stored: 5, ..Report::default() }
    }

    #[test]
    fn every_kind_of_finding_fails_the_verdict() {
        type Field = fn(&mut Report) -> &mut Cases;
        let fields: [(&str, Field); 9] = [
            ("lost", |report| &mut report.lost),
            ("altered", |report| &mut report.mismatched),
            ("invented", |report| &mut report.invented),
            ("malformed_accepted", |report| &mut report.poison_accepted),
            ("wrong_reason", |report| &mut report.wrong_reason),
            ("valid_dead_letters", |report| &mut report.valid_dead_letters),
            ("unreadable", |report| &mut report.unreadable),
            ("acknowledged_unsent", |report| &mut report.acked_unsent),
            ("ambiguous", |report| &mut report.ambiguous),
        ];
        assert!(verdict(&sound()).ok);
        for (name, field) in fields {
            let mut report = sound();
            *field(&mut report) = Cases { count: 1, first: vec!["veh-1".into()] };
            let verdict = verdict(&report);
            assert!(!verdict.ok && verdict.counts[name] == 1, "{name}: {verdict:?}");
            assert_eq!(verdict.examples, [format!("{name}: veh-1")]);
        }
    }

    #[test]
    fn an_end_with_something_unacknowledged_given_up_or_unchecked_fails_the_verdict() {
        for report in [
            Report { unacked_at_end: 1, ..sound() },
            Report { given_up: 1, ..sound() },
            Report { checked: 0, ..sound() },
            Report { ok: false, ..sound() },
        ] {
            assert!(!verdict(&report).ok, "{report:?}");
        }
    }
}
