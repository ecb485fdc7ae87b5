//! What a round measures, and in which order: row after row, and in each row the contenders in turn, so that whatever
//! the machine does meanwhile meets all of them.

use telemetry::Encoding;

use super::{Settings, case};
use crate::bench::{contender::Contender, result::Case};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A backlog is worked off.
    Drain,
    /// So many readings come in a second.
    Paced(u64),
    /// A scorer takes over from another.
    Takeover,
    /// A model is trained on a backlog.
    Train,
}

/// What stands behind the encoding of a row in which our scorer writes transactions.
const TRANSACTIONS: &str = ", transactions";

/// A row and who is measured in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) kind: Kind,
    /// How readings are encoded, and whether our scorer writes transactions.
    pub(super) form: String,
    pub(super) contenders: Vec<Contender>,
}

impl Row {
    /// How readings are encoded.
    pub(super) fn encoding(&self) -> Encoding {
        if self.form.starts_with("json") { Encoding::Json } else { Encoding::Protobuf }
    }

    /// Whether our scorer writes transactions.
    pub(super) fn transactions(&self) -> bool {
        self.form.ends_with(TRANSACTIONS)
    }

    /// As the report names it.
    pub(super) fn case(&self, contender: &Contender) -> Case {
        let row = match self.kind {
            Kind::Drain => "drain".to_owned(),
            Kind::Paced(rate) => format!("paced-{rate}"),
            Kind::Takeover => "takeover".to_owned(),
            Kind::Train => "training".to_owned(),
        };
        case(&row, &self.form, contender.name())
    }
}

/// The rows of a round. Peers read JSON, and beside them our scorer does so at a steady rate too. What transactions cost is
/// seen in the first encoding and rate.
pub(super) fn round(settings: &Settings) -> Vec<Row> {
    let row = |kind, form: &str| {
        let peers = settings.peers.iter().filter(|_| form == "json").cloned();
        Row { kind, form: form.to_owned(), contenders: std::iter::once(Contender::Motorcade).chain(peers).collect() }
    };
    let beside_peers = !settings.peers.is_empty() && settings.encodings.iter().any(|form| form == "json");
    let forms = std::iter::once("protobuf").chain(beside_peers.then_some("json"));
    let backlogs = settings.encodings.iter().map(|form| row(Kind::Drain, form));
    let paced = settings.rates.iter().flat_map(|rate| forms.clone().map(|form| row(Kind::Paced(*rate), form)));
    let rate = settings.rates.first().map(|rate| Kind::Paced(*rate));
    let first = settings.encodings.first().map_or("protobuf", String::as_str);
    let transactions = [Some(Kind::Drain), rate].into_iter().flatten().map(|kind| Row {
        kind,
        form: format!("{first}{TRANSACTIONS}"),
        contenders: vec![Contender::Motorcade],
    });
    let training = (settings.training > 0).then_some(row(Kind::Train, "protobuf"));
    backlogs.chain(paced).chain(transactions).chain(training).collect()
}

/// The row behind the last round.
pub(super) fn takeover(settings: &Settings) -> Option<Row> {
    let row = || Row { kind: Kind::Takeover, form: "protobuf".to_owned(), contenders: vec![Contender::Motorcade] };
    (settings.takeover > 0).then(row)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn cases(flags: &[&str]) -> Vec<String> {
        let settings = Settings::try_parse_from(["model", "--takeover", "0"].iter().chain(flags)).unwrap();
        let rows = round(&settings);
        let cases = rows.iter().flat_map(|row| row.contenders.iter().map(|contender| row.case(contender).to_string()));
        cases.collect()
    }

    #[test]
    fn without_peers_our_scorer_alone_is_measured() {
        let all = ["drain protobuf", "drain json", "paced-5000 protobuf", "paced-10000 protobuf", "paced-200 protobuf"];
        let transactions = ["drain protobuf, transactions", "paced-5000 protobuf, transactions"];
        assert_eq!(
            cases(&[]),
            [&all[..], &transactions]
                .concat()
                .into_iter()
                .map(|case| format!("{case} scores motorcade"))
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn training_comes_last_where_it_is_asked_for_and_a_takeover_behind_all_rounds() {
        let all = cases(&["--training", "20000"]);
        assert_eq!(all.last().unwrap(), "training protobuf scores motorcade");
        let row = |flags: &[&str]| takeover(&Settings::try_parse_from(["model"].iter().chain(flags)).unwrap());
        assert_eq!(row(&[]).unwrap().kind, Kind::Takeover, "by default");
        assert_eq!(row(&["--takeover", "0"]), None);
    }

    #[test]
    fn peers_take_their_turn_behind_our_scorer_where_readings_are_json() {
        let found = cases(&["--peer", "python=x", "--peer", "quix=y --z", "--rates", "500"]);
        let beside = |row: &str| ["motorcade", "python", "quix"].map(|name| format!("{row} json scores {name}"));
        let ours = |row: &str| vec![format!("{row} protobuf scores motorcade")];
        let transactions =
            || ["drain", "paced-500"].map(|row| format!("{row} protobuf, transactions scores motorcade"));
        let all = [ours("drain"), beside("drain").into(), ours("paced-500"), beside("paced-500").into()];
        assert_eq!(found, [all.concat(), transactions().into()].concat());
        let protobuf = cases(&["--peer", "python=x", "--rates", "500", "--encodings", "protobuf"]);
        assert_eq!(protobuf, [ours("drain"), ours("paced-500"), transactions().into()].concat());
    }
}
