//! The chaos suite's part of the page: a line for each fault.

use std::collections::BTreeSet;

use super::{
    circumstances,
    table::{Align, Table, number},
};
use crate::bench::result::Read;

/// Its columns: words, figure of the row, and what a unit of it is divided by.
const COLUMNS: [(&str, &str, f64); 6] = [
    ("acknowledged", "acknowledged_readings", 1.0),
    ("lost", "lost_readings", 1.0),
    ("repeated", "duplicates_records", 1.0),
    ("out of order", "reorderings_readings", 1.0),
    ("nothing late after, s", "lag_s", 1.0),
    ("most memory of the edge, MB", "edge_memory_bytes", 1e6),
];

/// The section.
pub(super) fn section(read: &Read) -> String {
    let named: Vec<_> = COLUMNS.iter().map(|(words, ..)| (*words, Align::Right)).collect();
    let columns = [vec![("fault", Align::Left)], named, vec![("verdicts", Align::Left)]].concat();
    let mut table = Table::new(&columns);
    let rows: BTreeSet<_> = read.verdicts.keys().filter_map(|name| Some(name.split_once(": ")?.0)).collect();
    for row in rows {
        let prefix = row.replace('-', "_");
        let figure = |(_, figure, unit): &(&str, &str, f64)| {
            let value = read.figures.get(&format!("{prefix}_{figure}"));
            value.map_or_else(|| "–".to_owned(), |value| number(value / unit))
        };
        table.row([row.to_owned()].into_iter().chain(COLUMNS.iter().map(figure)).chain([word(read, row)]));
    }
    let overall: Vec<_> = read.verdicts.iter().filter(|(name, _)| !name.contains(": ")).collect();
    let overall = overall.iter().map(|(name, verdict)| {
        let ok = if verdict["ok"] == true { "ok" } else { "**failed**" };
        format!("{name} {ok}")
    });
    format!(
        "\n## Chaos\n\n{}\nOne fault after the other under load; `target/debug/chaos --list` says what each is. The ledger \
         judges what was acknowledged. *control*: an edge or a ledger that lies must be caught. Over all rows: {}.\n\n{}",
        circumstances(read, "make chaos"),
        overall.collect::<Vec<_>>().join(", "),
        table.text(),
    )
}

/// How many verdicts of a row there are, or which of them failed.
fn word(read: &Read, row: &str) -> String {
    let of_row = read.verdicts.iter().filter_map(|(name, verdict)| {
        let (of, what) = name.split_once(": ")?;
        (of == row).then(|| (what, verdict["ok"] == true))
    });
    let (held, failed): (Vec<_>, Vec<_>) = of_row.partition(|(_, ok)| *ok);
    if failed.is_empty() {
        return format!("{} ok", held.len());
    }
    let failed: Vec<_> = failed.into_iter().map(|(what, _)| what).collect();
    format!("**failed: {}**", failed.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bench::result::BenchReport,
        report::{Report, Verdict},
    };

    #[test]
    fn each_fault_has_its_line_and_a_failed_verdict_is_named() {
        let mut report = Report::new("chaos");
        let verdict = |ok| Verdict { ok, checked: 1, counts: [].into(), examples: Vec::new() };
        for (name, ok) in [("G1", false), ("edge-killed: G1", true), ("edge-killed: G6", false), ("backlog: G1", true)]
        {
            report.verdicts.insert(name.into(), verdict(ok));
        }
        for (name, value) in [("edge_killed_acknowledged_readings", 10_000.0), ("backlog_edge_memory_bytes", 34e6)] {
            report.figures.insert(name.into(), value);
        }
        let written = serde_json::to_vec(&BenchReport::new(report, Vec::new(), Vec::new())).unwrap();
        let text = section(&serde_json::from_slice(&written).unwrap());
        assert!(text.contains("| edge-killed | 10,000 | – | – | – | – | – | **failed: G6** |"), "{text}");
        assert!(text.contains("| backlog | – | – | – | – | – | 34 | 1 ok |"), "{text}");
        assert!(text.contains("Over all rows: G1 **failed**."), "{text}");
    }
}
