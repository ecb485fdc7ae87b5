//! The scorer's part of the page.

use super::{
    circumstances, goals,
    table::{Align, Table, number, spread},
    texts, verdicts,
};
use crate::bench::{
    contender::MOTORCADE,
    goals::of_model,
    result::{Read, Row},
};

/// The row of a training, and of a takeover.
const TRAINING: &str = "training";
const TAKEOVER: &str = "takeover";

/// A figure of a row, with its range; a dash where it was not measured.
fn cell(row: &Row, figure: &str) -> String {
    spread(row.figures.get(figure), row.rounds)
}

/// How often the CPU of our scorer goes into another's, in the same row of the same run.
fn ratio(row: &Row, rows: &[Row]) -> String {
    let same = |other: &&Row| {
        other.case.contender == MOTORCADE && (&other.case.row, &other.case.form) == (&row.case.row, &row.case.form)
    };
    let ours = rows.iter().find(same).and_then(|row| row.median("cpu_us"));
    match (row.median("cpu_us"), ours) {
        (Some(theirs), Some(ours)) if ours > 0.0 => format!("{:.1}", theirs / ours),
        _ => "–".to_owned(),
    }
}

/// How it is run again. The commands of peers are paths of the machine.
fn again(read: &Read) -> String {
    let flags: Vec<_> = texts(read, "peers").into_iter().map(|name| format!("--peer {name}=COMMAND")).collect();
    if flags.is_empty() {
        "make bench-model".to_owned()
    } else {
        format!("make bench-model FLAGS='{}'", flags.join(" "))
    }
}

/// What peers are, and what is told of them.
fn beside(read: &Read) -> String {
    let mut text = String::new();
    if !texts(read, "peers").is_empty() {
        text.push_str(
            "\nOther scorers work off the same JSON backlog after ours and are given the same network, in ONNX. They do less: \
             a reading is scored by its current values alone, without window, state or contributions. Each has to have scored \
             every reading once. They are in `tests/peers/scoring`, which says how they are run.\n",
        );
    }
    for note in texts(read, "notes") {
        text.push_str(&format!("\n{note}\n"));
    }
    text
}

/// The section.
pub(super) fn section(read: &Read) -> String {
    let mut text = format!(
        "\n## What scoring costs\n\n{}\n\
         From readings in Kafka to scores in Kafka, with a trained network, windows, state and contributions. A backlog is \
         worked off while nothing else is sent; its first tenth and its end are left out. What scoring adds is from the \
         append of a reading to the append of its score. CPU is all of the scorer's process.\n",
        circumstances(read, &again(read)),
    );
    if read.parameters.get("quick") == Some(&true.into()) {
        text.push_str("\n**A quick run: it shows that the bench works, not how fast anything is.**\n");
    }
    text.push_str(&beside(read));
    text.push('\n');
    let columns =
        ["readings/s", "CPU, µs a reading", "× ours", "states, kB/s", "added p50, ms", "p99, ms", "peak memory, MB"];
    let columns: Vec<_> = [("row", Align::Left), ("encoding", Align::Left), ("scorer", Align::Left)]
        .into_iter()
        .chain(columns.map(|name| (name, Align::Right)))
        .collect();
    let mut table = Table::new(&columns);
    for row in read.rows.iter().filter(|row| ![TRAINING, TAKEOVER].contains(&row.case.row.as_str())) {
        let kilobytes = row.median("state_bytes_per_s").map_or_else(|| "–".to_owned(), |bytes| number(bytes / 1e3));
        let what = match row.case.row.split_once('-') {
            Some((_, rate)) => format!("paced, {}/s", rate.parse().map_or_else(|_| rate.to_owned(), number)),
            None => "a backlog".to_owned(),
        };
        let (form, contender) = (row.case.form.clone(), row.case.contender.clone());
        let cost = [cell(row, "throughput_per_s"), cell(row, "cpu_us"), ratio(row, &read.rows), kilobytes];
        let rest = ["added_p50_ms", "added_p99_ms", "peak_mb"].map(|figure| cell(row, figure));
        table.row([what, form, contender].into_iter().chain(cost).chain(rest));
    }
    text.push_str(&table.text());
    let parameter =
        |name| read.parameters.get(name).and_then(serde_json::Value::as_f64).map_or_else(String::new, number);
    if let Some(row) = read.rows.iter().find(|row| row.case.row == TAKEOVER) {
        text.push_str(&format!(
            "\nA scorer that was stopped in order had another start in its place, with the states of {} vehicles in Kafka: from its \
             start {} s to its first score, {} s until it had scored the one reading that each had sent meanwhile, peak \
             memory {} MB.\n",
            parameter("takeover"),
            cell(row, "takeover_s"),
            cell(row, "caught_up_s"),
            cell(row, "peak_mb"),
        ));
    }
    if let Some(row) = read.rows.iter().find(|row| row.case.row == TRAINING) {
        let readings = parameter("training");
        text.push_str(&format!(
            "\nA model of the shipped kind was trained on {readings} readings: replay {} s, fit {} s, peak memory {} MB.\n",
            cell(row, "replay_s"),
            cell(row, "fit_s"),
            cell(row, "peak_mb"),
        ));
    }
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

    fn read(cases: &[(&str, &str, &str, &str, f64)]) -> Read {
        let mut rounds = Rounds::default();
        for (row, form, contender, figure, value) in cases {
            let [row, form, judge, contender] = [*row, *form, "scores", *contender].map(str::to_owned);
            rounds.add(&Case { row, form, judge, contender }, [((*figure).to_owned(), *value)].into());
        }
        let report = BenchReport::new(Report::new("bench-model"), rounds.rows(), Vec::new());
        serde_json::from_value(serde_json::to_value(&report).unwrap()).unwrap()
    }

    #[test]
    fn each_row_stands_with_what_was_measured_and_the_goals_with_it() {
        let page = section(&read(&[
            ("drain", "protobuf", MOTORCADE, "cpu_us", 7.5),
            ("paced-5000", "protobuf", MOTORCADE, "added_p99_ms", 12.0),
        ]));
        assert!(page.contains("| a backlog | protobuf | motorcade | – | 7.5 | 1.0 |"), "{page}");
        assert!(page.contains("| paced, 5,000/s | protobuf | motorcade |"), "{page}");
        assert_eq!((page.matches("**not reached**").count(), page.matches("| reached |").count()), (1, 1), "{page}");
        assert!(page.contains("Again: `make bench-model`.") && !page.contains("Other scorers"), "{page}");
    }

    #[test]
    fn peers_stand_beside_ours_in_the_same_row_and_encoding() {
        let mut read = read(&[
            ("drain", "protobuf", MOTORCADE, "cpu_us", 5.0),
            ("drain", "json", MOTORCADE, "cpu_us", 10.0),
            ("drain", "json", "python", "cpu_us", 25.0),
        ]);
        let set = [("peers", vec!["python"]), ("notes", vec!["Kafka Streams is missing."])];
        read.parameters.extend(set.map(|(name, values)| (name.to_owned(), values.into())));
        let page = section(&read);
        assert!(page.contains("| a backlog | json | python | – | 25 | 2.5 |"), "{page}");
        assert!(page.contains("as a multiple of what python scores | ≥ 2 | 2.5 | reached |"), "{page}");
        assert!(page.contains("Again: `make bench-model FLAGS='--peer python=COMMAND'`."), "{page}");
        assert!(page.contains("\nKafka Streams is missing.\n") && page.contains("Other scorers"), "{page}");
    }
}
