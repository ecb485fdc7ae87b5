//! What is measured, and in which order: rows one after the other, rounds within a row, contenders in turn within a
//! round, so that whatever the machine does meanwhile meets all of them.

use clap::ValueEnum;

use super::Settings;
use crate::bench::{contender::Contender, load::Judge, result::Case};

/// Forms that only our edge is measured with: other bridges copy bytes whatever they say.
const FURTHER_FORMS: [&str; 3] = ["kib", "record-json", "record-protobuf"];
/// The form of all rows.
pub(crate) const FORM: &str = "change-200";
/// Readings per second of the rows with faults.
pub(crate) const FAULT_RATE: u64 = 5_000;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Readings at a steady rate: 5,000 and 10,000 in a second.
    Paced,
    /// Readings as fast as the broker acknowledges them.
    Blast,
    /// Readings wait in the stopped bridge's session; then it starts. Nobody publishes meanwhile.
    Drain,
    /// The edge alone on a core, behind a source that is faster.
    Ceiling,
    /// The bridge is killed and started again while readings come.
    KillBridge,
    /// The broker is killed and started again.
    KillBroker,
    /// Kafka is killed and started again.
    KillKafka,
    /// As drain, and the bridge is killed twice on the way.
    KillDrain,
    /// Kafka stays away for minutes; our edge spools.
    Outage,
}

/// When faults happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FaultTimes {
    /// After the first record.
    pub(crate) at_s: u64,
    /// How long a bridge stays away.
    pub(crate) bridge_away_s: u64,
    /// How long Kafka does.
    pub(crate) kafka_away_s: u64,
    /// How long readings are made.
    pub(crate) load_s: u64,
}

/// A case to be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What is done.
    pub kind: Kind,
    /// Readings per second of a paced row.
    pub rate: u64,
    /// What is sent.
    pub form: &'static str,
    /// Whose word counts.
    pub judge: Judge,
    /// By which bridge.
    pub contender: Contender,
}

impl Planned {
    /// As the report names it.
    pub fn case(&self) -> Case {
        let name = self.kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let row = if self.kind == Kind::Paced { format!("{name}-{}", self.rate) } else { name };
        let judge = if self.kind == Kind::Ceiling { "source" } else { self.judge.as_str() };
        let contender = self.contender.name().to_owned();
        Case { row, form: self.form.to_owned(), judge: judge.to_owned(), contender }
    }
}

/// Everything, in order.
pub fn plan(settings: &Settings) -> Vec<Planned> {
    let wanted = |kind: &Kind| settings.only.is_empty() || settings.only.contains(kind);
    Kind::value_variants().iter().copied().filter(wanted).flat_map(|kind| rows(kind, settings)).collect()
}

fn rows(kind: Kind, settings: &Settings) -> Vec<Planned> {
    let rates: &[u64] = if kind == Kind::Paced { &[5_000, 10_000] } else { &[FAULT_RATE] };
    let forms = FURTHER_FORMS.iter().copied().filter(|_| !settings.quick && has_forms(kind));
    let mut planned = Vec::new();
    for rate in rates {
        // Another form at another rate would say nothing new.
        let forms = forms.clone().filter(|_| *rate == FAULT_RATE);
        for form in std::iter::once(FORM).chain(forms) {
            for _ in 0..rounds(kind, settings) {
                let contenders = contenders(kind, form, &settings.peers);
                planned.extend(contenders.into_iter().map(|(contender, judge)| Planned {
                    kind,
                    rate: *rate,
                    form,
                    judge,
                    contender,
                }));
            }
        }
    }
    planned
}

fn has_forms(kind: Kind) -> bool {
    matches!(kind, Kind::Paced | Kind::Blast | Kind::Drain | Kind::Ceiling)
}

fn rounds(kind: Kind, settings: &Settings) -> u32 {
    if has_forms(kind) { settings.rounds } else { 1 }
}

fn contenders(kind: Kind, form: &str, peers: &[Contender]) -> Vec<(Contender, Judge)> {
    let (puback, ack) = ((Contender::Motorcade, Judge::Puback), (Contender::Motorcade, Judge::Ack));
    if form != FORM || kind == Kind::Ceiling {
        return vec![puback];
    }
    let peers = peers.iter().map(|peer| (peer.clone(), Judge::Puback));
    match kind {
        // The spool is ours.
        Kind::Outage => vec![ack],
        // Nobody could acknowledge while the bridge is down: the broker's word is the only one.
        Kind::Drain | Kind::KillDrain => std::iter::once(puback).chain(peers).collect(),
        _ => std::iter::once(puback).chain(peers).chain([ack]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser;

    use super::*;

    fn plan_of(flags: &[&str]) -> Vec<String> {
        let settings = Settings::try_parse_from(["edge"].iter().chain(flags)).unwrap().settled();
        plan(&settings).iter().map(|planned| planned.case().to_string()).collect()
    }

    #[test]
    fn contenders_take_turns_and_rows_with_faults_are_run_once() {
        let plan = plan_of(&["--peer", "other=x", "--rounds", "2", "--only", "blast,kill-drain"]);
        let round =
            ["blast change-200 puback motorcade", "blast change-200 puback other", "blast change-200 ack motorcade"];
        assert_eq!(plan[..6], [round, round].concat());
        assert_eq!(plan[6..8], ["blast kib puback motorcade"; 2]);
        assert_eq!(plan[12..], ["kill-drain change-200 puback motorcade", "kill-drain change-200 puback other"]);
    }

    #[test]
    fn everything_has_every_row_and_the_quick_one_has_each_once() {
        let all: BTreeSet<_> = plan_of(&[]).into_iter().collect();
        let quick = plan_of(&["--quick"]);
        assert!(
            all.contains("ceiling record-protobuf source motorcade") && all.contains("outage change-200 ack motorcade")
        );
        assert!(quick.iter().all(|case| all.contains(case) && case.contains(FORM)));
        assert_eq!(quick.len(), quick.iter().collect::<BTreeSet<_>>().len());
        assert_eq!(quick.len(), 2 * 3 + 1 + 1 + 3 * 2 + 1 + 1);
    }
}
