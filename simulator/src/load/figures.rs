//! The figures that a load's report may hold, so that a condition on one that does not exist is refused before
//! anything connects.

use report::{Condition, Names, PERCENTILES};
use service::Error;

use super::{counts::Stage, plan::Judge, trouble::Absence};
use crate::outbox::Resent;

/// Those that do not follow from a table elsewhere.
const FIGURES: [&str; 39] = [
    "vehicles_count",
    "workers_count",
    "established_sockets",
    "established_after_ramp_sockets",
    "established_at_end_sockets",
    "connect_attempts",
    "connect_failures",
    "connections_lost",
    "reconnects",
    "made_readings",
    "acked_readings",
    "unheard_readings",
    "given_up_readings",
    "in_outbox_readings",
    "published_messages",
    "pubacked_messages",
    "stray_pubacks",
    "acks_messages",
    "refused_ranges",
    "unreadable_acks",
    "slow_down_acks",
    "held_back_messages",
    "held_back_s",
    "cut_connections",
    "duplicated_readings",
    "reordered_readings",
    "skewed_readings",
    "snapshot_readings",
    "received_messages",
    "pings",
    "sent_bytes",
    "received_bytes",
    "payload_encode_ns",
    "memory_per_vehicle_bytes",
    "idle_memory_per_vehicle_bytes",
    "ramp_s",
    "ramp_connections_per_s",
    "made_readings_per_s",
    "settled_readings_per_s",
];

/// Short names, where the edge judges.
const BY_ACK: [(&str, &str); 13] = [
    ("p50_ms", "schedule_to_ack_p50_ms"),
    ("p90_ms", "schedule_to_ack_p90_ms"),
    ("p99_ms", "schedule_to_ack_p99_ms"),
    ("p999_ms", "schedule_to_ack_p999_ms"),
    ("max_ms", "schedule_to_ack_max_ms"),
    ("rate", "settled_readings_per_s"),
    ("made", "made_readings"),
    ("acked", "acked_readings"),
    ("given_up", "given_up_readings"),
    ("unacknowledged", "in_outbox_readings"),
    ("lost", "connections_lost"),
    ("failed", "connect_failures"),
    ("capacity", CAPACITY),
];

/// Short names, where the broker judges.
const BY_PUBACK: [(&str, &str); 13] = {
    let mut names = BY_ACK;
    names[0].1 = "schedule_to_puback_p50_ms";
    names[1].1 = "schedule_to_puback_p90_ms";
    names[2].1 = "schedule_to_puback_p99_ms";
    names[3].1 = "schedule_to_puback_p999_ms";
    names[4].1 = "schedule_to_puback_max_ms";
    names
};

/// The highest rate that held, where it was looked for.
pub(super) const CAPACITY: &str = "capacity_readings_per_s";

/// Reasons of PUBACKs, as MQTT 5 has them: success, nobody listens, and the refusals.
pub(super) const PUBACKS: [u8; 9] = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];

/// The stage that ends with the judge's word.
pub(super) fn judged(judge: Judge) -> Stage {
    match judge {
        Judge::Ack => Stage::Ack,
        Judge::Puback => Stage::Puback,
    }
}

/// The figure of one reason of PUBACKs.
pub(super) fn puback(reason: u8) -> String {
    format!("puback_{reason:#04x}_messages")
}

/// The figure of connections that were cut on purpose.
pub(super) fn cut_by(why: Absence) -> String {
    format!("cut_by_{}_connections", why.as_str())
}

/// All figures.
pub(crate) fn known() -> Vec<String> {
    let resent = Resent::ALL.iter().map(|why| format!("resent_{}_messages", why.as_str()));
    let percentiles = || PERCENTILES.iter().map(|(percentile, _)| *percentile).chain(["max"]);
    let stages =
        Stage::ALL.into_iter().flat_map(|stage| percentiles().map(move |p| format!("{}_{p}_ms", stage.as_str())));
    let reasons = PUBACKS.into_iter().map(puback);
    let cuts = Absence::ALL.into_iter().map(cut_by);
    FIGURES
        .iter()
        .map(|name| (*name).to_owned())
        .chain(resent)
        .chain(stages)
        .chain(reasons)
        .chain(cuts)
        .chain([CAPACITY.to_owned()])
        .collect()
}

/// What a condition may name.
pub(super) fn names(judge: Judge, figures: &[String]) -> Names<'_> {
    Names { figures, short: short_names(judge) }
}

/// Short names for those that people mean.
pub(crate) fn short_names(judge: Judge) -> &'static [(&'static str, &'static str)] {
    match judge {
        Judge::Ack => &BY_ACK,
        Judge::Puback => &BY_PUBACK,
    }
}

/// In a search for the capacity: the conditions that judge each step. Those on what is found judge the whole.
pub(super) fn of_steps<'a>(conditions: &'a [Condition], names: &Names<'_>) -> impl Iterator<Item = &'a Condition> {
    conditions.iter().filter(|condition| condition.figure(names) != CAPACITY)
}

/// The others.
pub(super) fn of_search<'a>(conditions: &'a [Condition], names: &Names<'_>) -> impl Iterator<Item = &'a Condition> {
    conditions.iter().filter(|condition| condition.figure(names) == CAPACITY)
}

/// Checks conditions before a run.
///
/// # Errors
/// [`Error::Usage`] for a figure that does not exist, and for a change, because one run has none.
pub(crate) fn check(conditions: &[Condition], names: &Names<'_>) -> Result<(), Error> {
    let usage = |detail| Error::Usage { flag: "fail-if", detail };
    for condition in conditions {
        condition.check(names).map_err(usage)?;
        if condition.is_relative() {
            return Err(usage(format!("{condition} is a change: for `compare`, which has two runs")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use clap::Parser;
    use report::Report;

    use super::*;
    use crate::load::{
        Config,
        counts::{Counts, Stages},
        parent::Ramp,
        summary,
    };

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        config: Config,
    }

    #[test]
    fn every_figure_of_a_report_is_known_and_every_known_one_can_be_measured() {
        let mut stages = Stages::new().unwrap();
        Stage::ALL.into_iter().for_each(|stage| stages.record(stage, 1));
        let counts = Counts { last_made_us: 1, until_us: 1, ..Counts::default() };
        let ramp = Ramp { took: Some(Duration::from_secs(1)), established_at_end: Some(1), ..Ramp::default() };
        let mut report = Report::new("load");
        let config = Arguments::parse_from(["load", "--blast"]).config;
        summary::fill(&mut report, &config, &counts, &stages, &ramp);
        report.count(CAPACITY, 1);
        let measured: BTreeSet<_> = report.figures.into_keys().collect();
        assert_eq!(measured, known().into_iter().collect());
    }

    #[test]
    fn short_names_stand_for_figures_that_exist() {
        let figures = known();
        for judge in [Judge::Ack, Judge::Puback] {
            let names = names(judge, &figures);
            for (short, full) in names.short {
                assert!(figures.iter().any(|figure| figure == full), "{short} stands for {full}");
                assert!(!figures.iter().any(|figure| figure == short), "{short} is a figure itself");
            }
            let p99 = format!("{}_p99_ms", judged(judge).as_str());
            assert!(names.short.contains(&("p99_ms", &p99)));
        }
        assert_eq!(figures.iter().collect::<BTreeSet<_>>().len(), figures.len(), "one stands there twice");
    }
}
