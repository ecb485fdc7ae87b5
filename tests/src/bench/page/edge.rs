//! The edge's part of the page.

use super::{
    circumstances, goals,
    table::{Align, Table, number, spread},
    texts, verdicts,
};
use crate::bench::{
    contender::MOTORCADE,
    goals::of_edge,
    result::{Case, Read, Row},
};

const FORM: &str = "change-200";

/// What a row is, for people.
fn words(row: &str) -> String {
    match row.split_once('-') {
        Some(("paced", rate)) => format!("paced, {}/s", rate.parse().map_or_else(|_| rate.to_owned(), number)),
        Some(("kill", "bridge")) => "the bridge is killed, and started again".to_owned(),
        Some(("kill", "broker")) => "the broker is killed and started again".to_owned(),
        Some(("kill", "kafka")) => "Kafka is killed, and started again seconds later".to_owned(),
        Some(("kill", "drain")) => "a backlog waits; the bridge is killed at 20 % and at 50 % of it".to_owned(),
        _ => row.to_owned(),
    }
}

/// The contender, and who judged where that is not the broker.
fn who(case: &Case) -> String {
    if case.judge == "ack" { format!("{}, own acks", case.contender) } else { case.contender.clone() }
}

/// How often the CPU of our edge goes into another's, in the same row of the same run.
fn ratio(row: &Row, rows: &[Row]) -> String {
    let same = |other: &&Row| {
        other.case.contender == MOTORCADE
            && (&other.case.row, &other.case.form, &other.case.judge)
                == (&row.case.row, &row.case.form, &row.case.judge)
    };
    let ours = rows.iter().find(same).and_then(|row| row.median("bridge_cpu_us"));
    match (row.median("bridge_cpu_us"), ours) {
        (Some(theirs), Some(ours)) if ours > 0.0 => format!("{:.1}", theirs / ours),
        _ => "–".to_owned(),
    }
}

/// How it is run again. The commands of peers are paths of the machine.
fn again(read: &Read) -> String {
    let only = texts(read, "only").join(",");
    let peers = texts(read, "peers").into_iter().filter(|name| *name != MOTORCADE);
    let flags = peers.map(|name| format!("--peer {name}=COMMAND"));
    let flags: Vec<_> = flags.chain((!only.is_empty()).then(|| format!("--only {only}"))).collect();
    if flags.is_empty() { "make bench-edge".to_owned() } else { format!("make bench-edge FLAGS='{}'", flags.join(" ")) }
}

/// The section.
pub(super) fn section(read: &Read) -> String {
    let mut text = format!(
        "\n## The edge beside other bridges\n\n{}\n\
         MQTT QoS 1 from 100 vehicles through mosquitto 2 (one broker, the shipped configuration) to Kafka 4 (one node, \
         acks of all replicas), everything on the same cores over loopback. *paced*: readings at a steady rate. *blast*: \
         as fast as the broker acknowledges them. *drain*: readings wait in the stopped bridge's session; then it starts, \
         and nobody publishes meanwhile; its CPU includes the program's start.\n",
        circumstances(read, &again(read)),
    );
    if read.parameters.get("quick") == Some(&true.into()) {
        text.push_str("\n**A quick run: it shows that the bench works, not how fast anything is.**\n");
    }
    for note in texts(read, "notes") {
        text.push_str(&format!("\n{note}\n"));
    }
    text.push_str(&goals(&of_edge(&read.rows)));
    for (title, body) in [
        ("Speed and cost, 200-byte records", speed(&read.rows)),
        ("Our edge by what it carries", forms(&read.rows)),
        ("The edge's own ceiling", ceiling(&read.rows)),
        ("Loss and repeats", faults(&read.rows)),
        ("Kafka away for minutes", outage(&read.rows)),
    ] {
        if let Some(body) = body {
            text.push_str(&format!("\n### {title}\n\n{body}"));
        }
    }
    text.push_str(&verdicts(read));
    text
}

fn is_speed(row: &Row) -> bool {
    row.case.row.starts_with("paced") || ["blast", "drain"].contains(&row.case.row.as_str())
}

fn cell(row: &Row, figure: &str) -> String {
    spread(row.figures.get(figure), row.rounds)
}

/// Bridge, mosquitto and Kafka.
fn cpu(row: &Row) -> [String; 3] {
    ["bridge_cpu_us", "mosquitto_cpu_us", "kafka_cpu_us"].map(|figure| cell(row, figure))
}

/// p50, p99, p99.9 and maximum.
fn latency(row: &Row) -> String {
    let of = |figure| row.median(figure).map(number);
    let all = ["latency_p50_ms", "latency_p99_ms", "latency_p999_ms", "latency_max_ms"].map(of);
    all.into_iter().collect::<Option<Vec<_>>>().map_or_else(|| "–".to_owned(), |all| all.join(" / "))
}

fn not_empty(table: Table) -> Option<String> {
    (!table.is_empty()).then(|| table.text())
}

fn speed(rows: &[Row]) -> Option<String> {
    let mut table = Table::new(&[
        ("row", Align::Left),
        ("bridge", Align::Left),
        ("messages/s", Align::Right),
        ("CPU of the bridge, µs/message", Align::Right),
        ("× ours", Align::Right),
        ("mosquitto", Align::Right),
        ("Kafka", Align::Right),
        ("p50 / p99 / p99.9 / max, ms", Align::Right),
        ("peak memory, MB", Align::Right),
    ]);
    for row in rows.iter().filter(|row| is_speed(row) && row.case.form == FORM) {
        let [bridge, mosquitto, kafka] = cpu(row);
        // When a reading is due says nothing where the load waits for the broker.
        let latency = if row.case.row.starts_with("paced") { latency(row) } else { "–".to_owned() };
        let (rate, memory) = (cell(row, "throughput_per_s"), cell(row, "bridge_peak_mb"));
        table.row([
            words(&row.case.row),
            who(&row.case),
            rate,
            bridge,
            ratio(row, rows),
            mosquitto,
            kafka,
            latency,
            memory,
        ]);
    }
    not_empty(table)
}

fn forms(rows: &[Row]) -> Option<String> {
    let mut table = Table::new(&[
        ("row", Align::Left),
        ("records", Align::Left),
        ("messages/s", Align::Right),
        ("CPU of the edge, µs/message", Align::Right),
        ("mosquitto", Align::Right),
        ("Kafka", Align::Right),
        ("peak memory, MB", Align::Right),
    ]);
    let ours = |row: &&Row| is_speed(row) && row.case.contender == MOTORCADE && row.case.judge == "puback";
    if !rows.iter().any(|row| ours(&row) && row.case.form != FORM) {
        return None;
    }
    for row in rows.iter().filter(ours) {
        let [bridge, mosquitto, kafka] = cpu(row);
        let (rate, memory) = (cell(row, "throughput_per_s"), cell(row, "bridge_peak_mb"));
        table.row([words(&row.case.row), row.case.form.clone(), rate, bridge, mosquitto, kafka, memory]);
    }
    not_empty(table)
}

fn ceiling(rows: &[Row]) -> Option<String> {
    let mut table = Table::new(&[
        ("records", Align::Left),
        ("messages/s", Align::Right),
        ("CPU of the edge, µs/message", Align::Right),
        ("of its core, %", Align::Right),
        ("source waited for the edge, % of the time", Align::Right),
        ("peak memory, MB", Align::Right),
    ]);
    for row in rows.iter().filter(|row| row.case.row == "ceiling") {
        let figures =
            ["throughput_per_s", "bridge_cpu_us", "bridge_core_percent", "source_waited_percent", "bridge_peak_mb"];
        table.row(std::iter::once(row.case.form.clone()).chain(figures.map(|figure| cell(row, figure))));
    }
    let words = "One edge process on one core; the source, which writes records encoded before and checks every PUBACK, \
                 and Kafka on the others.\n\n";
    not_empty(table).map(|table| format!("{words}{table}"))
}

fn faults(rows: &[Row]) -> Option<String> {
    let mut table = Table::new(&[
        ("what happens", Align::Left),
        ("bridge", Align::Left),
        ("acknowledged", Align::Right),
        ("lost", Align::Right),
        ("repeated", Align::Right),
        ("out of order", Align::Right),
        ("latest, ms", Align::Right),
    ]);
    for row in rows.iter().filter(|row| row.case.row.starts_with("kill-")) {
        let figures =
            ["acknowledged_readings", "lost_readings", "duplicate_readings", "reordered_readings", "latency_max_ms"];
        table.row([words(&row.case.row), who(&row.case)].into_iter().chain(figures.map(|figure| cell(row, figure))));
    }
    let words = "*lost*: acknowledged, and not in Kafka. The broker's acknowledgement is not durable: what it had taken \
                 when it was killed is gone for every bridge, and *own acks* shows what Motorcade's acknowledgement is \
                 for. Repeats are harmless: every reading has an identity. mosquitto 2.0 puts a whole window of a backlog in \
                 flight for every PUBACK that it takes, and writes before it takes the next: a bridge that reads fast is \
                 sent far more than its receive maximum, and all of that again after it was killed.\n\n";
    not_empty(table).map(|table| format!("{words}{table}"))
}

fn outage(rows: &[Row]) -> Option<String> {
    let mut table = Table::new(&[
        ("Kafka away, s", Align::Right),
        ("memory before, MB", Align::Right),
        ("at the end", Align::Right),
        ("peak", Align::Right),
        ("growth, MB/min", Align::Right),
        ("caught up after, s", Align::Right),
        ("lost", Align::Right),
        ("repeated", Align::Right),
    ]);
    for row in rows.iter().filter(|row| row.case.row == "outage") {
        table.row(
            [
                "outage_s",
                "bridge_before_mb",
                "bridge_during_mb",
                "bridge_peak_mb",
                "bridge_growth_mb_per_min",
                "caught_up_s",
                "lost_readings",
                "duplicate_readings",
            ]
            .map(|figure| cell(row, figure)),
        );
    }
    not_empty(table).map(|table| format!("Our edge with a spool, 5,000 readings in a second.\n\n{table}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bench::result::{BenchReport, Rounds},
        report::Report,
    };

    fn read(rounds: &Rounds) -> Read {
        let rows = rounds.rows();
        let goals = of_edge(&rows);
        let report = BenchReport::new(Report::new("bench-edge"), rows, goals);
        serde_json::from_slice(&serde_json::to_vec(&report).unwrap()).unwrap()
    }

    #[test]
    fn ratios_are_to_our_edge_in_the_same_row() {
        let mut rounds = Rounds::default();
        for (row, contender, us) in [
            ("blast", MOTORCADE, 5.0),
            ("blast", "other", 20.0),
            ("drain", MOTORCADE, 4.0),
            ("drain", "other", 20.0),
            ("kill-drain", "other", 0.0),
        ] {
            let case = Case { row: row.into(), form: FORM.into(), judge: "puback".into(), contender: contender.into() };
            let figures = [("bridge_cpu_us", us), ("lost_readings", 7.0)];
            rounds.add(&case, figures.map(|(name, value)| (name.to_owned(), value)).into());
        }
        let text = section(&read(&rounds));
        assert!(text.contains("| blast | other | – | 20 | 4.0 |"), "{text}");
        assert!(text.contains("| drain | other | – | 20 | 5.0 |"), "{text}");
        assert!(
            text.contains("| a backlog waits; the bridge is killed at 20 % and at 50 % of it | other | – | 7 |"),
            "{text}"
        );
        assert!(!text.contains("### The edge's own ceiling") && !text.contains("### Our edge by"), "{text}");
        assert!(text.contains("| **not reached** |") || text.contains("| reached |"), "{text}");
    }

    #[test]
    fn the_page_says_how_it_is_run_again_and_what_its_readers_should_know() {
        let mut read = read(&Rounds::default());
        assert!(section(&read).contains("Again: `make bench-edge`."));
        let set = [("peers", vec!["other"]), ("only", vec!["drain", "blast"]), ("notes", vec!["other: as documented"])];
        read.parameters.extend(set.map(|(name, values)| (name.to_owned(), values.into())));
        read.parameters.insert("quick".into(), true.into());
        let text = section(&read);
        assert!(text.contains("Again: `make bench-edge FLAGS='--peer other=COMMAND --only drain,blast'`."), "{text}");
        assert!(text.contains("\nother: as documented\n") && text.contains("**A quick run"), "{text}");
        assert!(text.contains("Parameters: quick true."), "{text}");
    }
}
