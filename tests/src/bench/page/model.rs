//! The scorer's part of the page.

use super::{
    circumstances, goals,
    table::{Align, Table, number, spread},
    verdicts,
};
use crate::bench::{
    goals::of_model,
    result::{Read, Row},
};

/// A figure of a row, with its range; a dash where it was not measured.
fn cell(row: &Row, figure: &str) -> String {
    spread(row.figures.get(figure), row.rounds)
}

/// The section.
pub(super) fn section(read: &Read) -> String {
    let mut text = format!(
        "\n## What scoring costs\n\n{}\n\
         From readings in Kafka to scores in Kafka, with a trained network, windows, state and contributions. A backlog is \
         worked off while nothing else is sent; its first tenth and its end are left out. What scoring adds is from the \
         append of a reading to the append of its score. CPU is all of the scorer's process.\n\n",
        circumstances(read, "make bench-model"),
    );
    let columns = ["readings/s", "CPU, µs a reading", "states, kB/s", "added p50, ms", "p99, ms"];
    let columns: Vec<_> = [("row", Align::Left), ("encoding", Align::Left), ("", Align::Left)]
        .into_iter()
        .chain(columns.map(|name| (name, Align::Right)))
        .collect();
    let mut table = Table::new(&columns);
    for row in &read.rows {
        let kilobytes = row.median("state_bytes_per_s").map_or_else(|| "–".to_owned(), |bytes| number(bytes / 1e3));
        let what = match row.case.row.split_once('-') {
            Some((_, rate)) => format!("paced, {}/s", rate.parse().map_or_else(|_| rate.to_owned(), number)),
            None => "a backlog".to_owned(),
        };
        let (form, contender) = (row.case.form.clone(), row.case.contender.clone());
        let figures = [cell(row, "throughput_per_s"), cell(row, "cpu_us"), kilobytes];
        let added = [cell(row, "added_p50_ms"), cell(row, "added_p99_ms")];
        table.row([what, form, contender].into_iter().chain(figures).chain(added));
    }
    text.push_str(&table.text());
    text.push_str(&goals(&of_model(&read.rows)));
    text.push_str(&verdicts(read));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bench::result::{BenchReport, Case, Rounds},
        report::Report,
    };

    #[test]
    fn each_row_stands_with_what_was_measured_and_the_goals_with_it() {
        let mut rounds = Rounds::default();
        for (row, figure, value) in [("drain", "cpu_us", 7.5), ("paced-5000", "added_p99_ms", 12.0)] {
            let case = Case {
                row: row.into(),
                form: "protobuf".into(),
                judge: "scores".into(),
                contender: "motorcade".into(),
            };
            rounds.add(&case, [(figure.to_owned(), value)].into());
        }
        let report = BenchReport::new(Report::new("bench-model"), rounds.rows(), Vec::new());
        let read = serde_json::from_value(serde_json::to_value(&report).unwrap()).unwrap();
        let page = section(&read);
        assert!(page.contains("| a backlog | protobuf | motorcade | – | 7.5 |"), "{page}");
        assert!(page.contains("| paced, 5,000/s | protobuf | motorcade |"), "{page}");
        assert_eq!((page.matches("**not reached**").count(), page.matches("| reached |").count()), (1, 1), "{page}");
    }
}
