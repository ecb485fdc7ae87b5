//! What a load tells at its end: figures, verdicts and a text.

use std::{collections::BTreeMap, fmt::Write};

use report::{PERCENTILES, Report, Verdict};
use serde_json::Value;

use super::{
    config::Config,
    counts::{Counts, Stage, Stages},
    figures,
    parent::Ramp,
    trouble::Absence,
};
use crate::outbox::Resent;

/// Enters parameters and figures.
#[expect(clippy::cast_precision_loss, reason = "rates are read by people")]
pub(super) fn fill(report: &mut Report, config: &Config, counts: &Counts, stages: &Stages, ramp: &Ramp) {
    report.parameters = parameters(config);
    let per_vehicle = |bytes: u64| bytes / u64::from(config.vehicles.max(1));
    for (name, value) in [
        ("vehicles_count", u64::from(config.vehicles)),
        ("workers_count", u64::from(config.workers())),
        ("established_sockets", ramp.established_at_end.map_or(ramp.established, |end| end.min(ramp.established))),
        ("established_after_ramp_sockets", ramp.established),
        ("connect_attempts", counts.attempts),
        ("connect_failures", counts.failed.values().sum()),
        ("connections_lost", counts.lost.values().sum()),
        ("reconnects", counts.connections.saturating_sub(u64::from(config.vehicles))),
        ("made_readings", counts.made),
        ("acked_readings", counts.acked),
        ("unheard_readings", counts.unheard),
        ("given_up_readings", counts.given_up),
        ("in_outbox_readings", counts.in_outbox),
        ("published_messages", counts.published),
        ("pubacked_messages", counts.pubacks.values().sum()),
        ("stray_pubacks", counts.stray_pubacks),
        ("acks_messages", counts.acks),
        ("refused_ranges", counts.refused_ranges),
        ("unreadable_acks", counts.unreadable_acks),
        ("slow_down_acks", counts.slow_downs),
        ("held_back_messages", counts.held_back),
        ("cut_connections", counts.cut.values().sum()),
        ("duplicated_readings", counts.duplicated),
        ("reordered_readings", counts.reordered),
        ("skewed_readings", counts.skewed),
        ("snapshot_readings", counts.snapshots),
        ("received_messages", counts.messages),
        ("pings", counts.pings),
        ("sent_bytes", counts.bytes_out),
        ("received_bytes", counts.bytes_in),
        ("payload_encode_ns", ramp.payload_ns),
        ("memory_per_vehicle_bytes", per_vehicle(counts.memory_bytes)),
        ("idle_memory_per_vehicle_bytes", per_vehicle(ramp.memory.1.saturating_sub(ramp.memory.0))),
    ] {
        report.count(name, value);
    }
    for (why, n) in Resent::ALL.iter().zip(counts.resent) {
        report.count(&format!("resent_{}_messages", why.as_str()), n);
    }
    for why in Absence::ALL {
        report.count(&figures::cut_by(why), counts.cut.get(why.as_str()).copied().unwrap_or(0));
    }
    // Reasons that never came count as zero, so that a condition on them holds.
    for reason in figures::PUBACKS.iter().chain(counts.pubacks.keys()) {
        report.count(&figures::puback(*reason), counts.pubacks.get(reason).copied().unwrap_or(0));
    }
    if let Some(took) = ramp.took {
        report.figures.insert("ramp_s".into(), took.as_secs_f64());
        report.figures.insert("ramp_connections_per_s".into(), f64::from(config.vehicles) / took.as_secs_f64());
    }
    if let Some(at_end) = ramp.established_at_end {
        report.count("established_at_end_sockets", at_end);
    }
    for (name, n, us) in [
        ("made_readings_per_s", counts.made, counts.last_made_us),
        ("settled_readings_per_s", counts.settled(), counts.until_us),
    ] {
        if us > 0 {
            report.figures.insert(name.into(), n as f64 * 1e6 / us as f64);
        }
    }
    report.figures.insert("held_back_s".into(), counts.held_back_ms as f64 / 1e3);
    for stage in Stage::ALL {
        report.latency(stage.as_str(), stages.get(stage));
    }
}

fn parameters(config: &Config) -> BTreeMap<String, Value> {
    let judge = serde_json::to_value(config.judge).unwrap_or_default();
    let mut parameters: BTreeMap<String, Value> = [
        ("mqtt", Value::from(config.mqtt.clone())),
        ("scenario", config.scenario.clone().into()),
        ("vehicles", config.vehicles.into()),
        ("workers", config.workers().into()),
        ("seed", config.seed.into()),
        ("payload", config.payload.to_string().into()),
        ("rate", config.rate.into()),
        ("interval_ms", config.interval_ms.into()),
        ("blast", config.blast.into()),
        ("messages", config.messages.into()),
        ("duration_ms", config.duration_ms.into()),
        ("connect_rate", config.connect_rate.into()),
        ("drain_ms", config.drain_ms.into()),
        ("judge", judge),
        ("window", config.window.into()),
        ("outbox_records", config.outbox_records.into()),
        ("keep_alive_s", config.keep_alive_s.into()),
        ("socket_buffer", config.socket_buffer.into()),
        ("heedless", config.heedless.into()),
        ("step_ms", config.search.find_capacity.then(|| config.search.step_ms()).into()),
        ("fail_if", conditions(config)),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_null())
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    parameters.extend(config.profile.parameters());
    parameters.extend(config.troubles.parameters());
    parameters
}

/// As they were written; null without any.
fn conditions(config: &Config) -> Value {
    let conditions: Vec<_> = config.fail_if.iter().map(ToString::to_string).collect();
    (!conditions.is_empty()).then(|| conditions.join(",")).into()
}

/// Enters the verdicts: all vehicles were connected, no worker died, every reading is accounted for, and whoever judges
/// has taken one at all.
pub(super) fn judge(
    report: &mut Report,
    config: &Config,
    counts: &Counts,
    ramp: &Ramp,
    workers: u64,
    dead: u64,
    failures: &[String],
) {
    let connected = Verdict {
        ok: ramp.took.is_some(),
        checked: config.vehicles.into(),
        counts: counts.failed.clone(),
        ..Verdict::default()
    };
    let alive = Verdict {
        ok: dead == 0 && failures.is_empty(),
        checked: workers,
        counts: [("dead".to_owned(), dead)].into(),
        examples: failures.iter().take(10).cloned().collect(),
    };
    let sums = [
        ("acked", counts.acked),
        ("unheard", counts.unheard),
        ("given_up", counts.given_up),
        ("in_outbox", counts.in_outbox),
    ];
    let conservation = Verdict {
        ok: counts.balances() && dead == 0,
        checked: counts.made,
        counts: sums.into_iter().map(|(name, n)| (name.to_owned(), n)).collect(),
        ..Verdict::default()
    };
    let heard_of = Verdict {
        ok: counts.settled() > 0 || counts.made == 0,
        checked: counts.made,
        counts: [("acked".to_owned(), counts.acked), ("settled".to_owned(), counts.settled())].into(),
        ..Verdict::default()
    };
    let verdicts = [("connected", connected), ("workers", alive), ("G4", conservation), ("acknowledged", heard_of)];
    report.verdicts.extend(verdicts.map(|(name, verdict)| (name.to_owned(), verdict)));
}

/// The verdicts that do not hold, each with the first few things that broke it.
pub(super) fn failed(report: &Report) -> String {
    let failed = report.failed().into_iter().map(|name| match report.verdicts[name].examples.join("; ") {
        why if why.is_empty() => name.to_owned(),
        why => format!("{name} ({why})"),
    });
    failed.collect::<Vec<_>>().join(", ")
}

/// The end of a run, for people.
pub(super) fn text(report: &Report, counts: &Counts) -> String {
    let figure = |name: &str| report.figures.get(name).copied().unwrap_or(0.0);
    let mut text = String::new();
    // Writing to a text can't fail.
    let mut line = |words: std::fmt::Arguments<'_>| writeln!(text, "{words}").unwrap_or(());
    line(format_args!(
        "{:.0} vehicles on {:.0} workers, ramp {:.1} s ({:.0} connections/s), {:.0} sockets, {:.0} bytes each beside \
         outboxes ({:.0} idle)",
        figure("vehicles_count"),
        figure("workers_count"),
        figure("ramp_s"),
        figure("ramp_connections_per_s"),
        figure("established_sockets"),
        figure("memory_per_vehicle_bytes"),
        figure("idle_memory_per_vehicle_bytes"),
    ));
    line(format_args!(
        "{} readings made = {} acknowledged + {} unheard + {} given up + {} in outboxes; {:.0}/s made, {:.0}/s settled",
        counts.made,
        counts.acked,
        counts.unheard,
        counts.given_up,
        counts.in_outbox,
        figure("made_readings_per_s"),
        figure("settled_readings_per_s"),
    ));
    let resent: Vec<_> = Resent::ALL
        .iter()
        .zip(counts.resent)
        .filter(|(_, n)| *n > 0)
        .map(|(why, n)| format!("{n} {}", why.as_str()))
        .collect();
    let reasons: Vec<_> = counts.pubacks.iter().map(|(reason, n)| format!("{n} × {reason:#04x}")).collect();
    line(format_args!(
        "{} published, resent: {}; PUBACKs: {}; {} acks",
        counts.published,
        if resent.is_empty() { "none".to_owned() } else { resent.join(", ") },
        if reasons.is_empty() { "none".to_owned() } else { reasons.join(", ") },
        counts.acks,
    ));
    if counts.slow_downs > 0 {
        line(format_args!(
            "asked {} times to slow down: {} transmissions held back, {:.1} s together",
            counts.slow_downs,
            counts.held_back,
            figure("held_back_s"),
        ));
    }
    for (what, n) in [
        ("published twice", counts.duplicated),
        ("published after the next", counts.reordered),
        ("with a clock that is off", counts.skewed),
        ("full among those on change", counts.snapshots),
    ] {
        if n > 0 {
            line(format_args!("readings {what}: {n}"));
        }
    }
    for (what, reasons) in [
        ("connections cut on purpose", &counts.cut),
        ("connections lost", &counts.lost),
        ("attempts failed", &counts.failed),
    ] {
        for (reason, n) in reasons {
            line(format_args!("{what}: {n} × {reason}"));
        }
    }
    for stage in Stage::ALL {
        let name = stage.as_str();
        if report.figures.contains_key(&format!("{name}_max_ms")) {
            let named = PERCENTILES.iter().map(|(percentile, _)| *percentile).chain(["max"]);
            let values = named.map(|p| format!("{p} {:.1}", figure(&format!("{name}_{p}_ms"))));
            line(format_args!("{name}, ms: {}", values.collect::<Vec<_>>().join("  ")));
        }
    }
    for (name, table) in &report.tables {
        line(format_args!("{name}\n{table}"));
    }
    if let Some(capacity) = report.figures.get(figures::CAPACITY) {
        line(format_args!("capacity: {capacity:.0} readings/s held"));
    }
    for (name, verdict) in &report.verdicts {
        let examples =
            if verdict.examples.is_empty() { String::new() } else { format!(": {}", verdict.examples.join("; ")) };
        line(format_args!("{name}: {}{examples}", if verdict.ok { "ok" } else { "FAILED" }));
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        config: Config,
    }

    /// The verdicts that fail after a run with these counts.
    fn failed_verdicts(judge: &str, counts: &Counts) -> Vec<String> {
        let config = Arguments::parse_from(["load", "--blast", "--judge", judge]).config;
        let ramp = Ramp { took: Some(Duration::from_secs(1)), ..Ramp::default() };
        let mut report = Report::new("load");
        super::judge(&mut report, &config, counts, &ramp, 1, 0, &[]);
        report.failed().into_iter().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn a_load_of_which_whoever_judges_took_nothing_fails() {
        for judge in ["ack", "puback"] {
            let mute = Counts { made: 10_000, in_outbox: 10_000, ..Counts::default() };
            assert_eq!(failed_verdicts(judge, &mute), ["acknowledged"], "{judge}");
            assert!(failed_verdicts(judge, &Counts::default()).is_empty(), "nothing was made");
            let heard = Counts { acked: 1, in_outbox: 9_999, ..mute.clone() };
            assert!(failed_verdicts(judge, &heard).is_empty());
        }
        // The broker took it, though nobody listens.
        let unheard = Counts { made: 10, unheard: 10, ..Counts::default() };
        assert!(failed_verdicts("puback", &unheard).is_empty());
    }
}
