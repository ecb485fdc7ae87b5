//! The detectors' part of the page.

use ::report::Table as Found;
use serde_json::Value;

use super::{
    circumstances,
    table::{Align, Table, number},
};
use crate::bench::result::Read;

/// A heading, and the names of a column with those of its range; thrice the same where it has none.
type Column = (&'static str, [&'static str; 3]);

/// A cell of a row, by its column's name; a dash where nothing was measured.
fn cell(found: &Found, row: &[Value], column: &str) -> String {
    let at = found.columns.iter().position(|name| name == column);
    match at.and_then(|at| row.get(at)) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(value)) => value.as_f64().map_or_else(|| value.to_string(), exact),
        _ => "–".to_owned(),
    }
}

/// Shares need three digits, and two models differ in the third.
fn exact(value: f64) -> String {
    if value.abs() < 1.0 && value != 0.0 { format!("{value:.3}") } else { number(value) }
}

/// A value with its range.
fn ranged(found: &Found, row: &[Value], [value, least, most]: [&str; 3]) -> String {
    let [value, least, most] = [value, least, most].map(|column| cell(found, row, column));
    if least == value && most == value { value } else { format!("{value} ({least} – {most})") }
}

/// A table of the report, with these headings, each of one column or of one with its range.
fn shown(found: &Found, columns: &[Column]) -> String {
    let headings: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(at, (heading, _))| (*heading, if at == 0 { Align::Left } else { Align::Right }))
        .collect();
    let mut table = Table::new(&headings);
    for row in &found.rows {
        table.row(columns.iter().map(|(_, names)| ranged(found, row, *names)));
    }
    table.text()
}

const ALARMS: [&str; 3] = ["realised_per_week", "realised_low", "realised_high"];

/// The section.
pub(super) fn section(read: &Read) -> String {
    let mut text = format!(
        "\n## How well detectors find faults\n\n{}\n\
         A simulated fleet drives in this process; no window, limit or baseline sees what it is tested on. An event is \
         found if an alarm falls into it. Limits are set on healthy vehicles to one alarm in a vehicle-week, unless a \
         budget is named; false alarms are those of healthy test vehicles, with their 95 % interval. *Ancestor* is the \
         autoencoder of an older demo (18-14-7-7-18, ReLU at its output); *random* and *always* know nothing: the one \
         alarm of the latter never ends, so that it misses no event. The page \
         `bench-detection.html` beside the report has plots, and every kind of fault.\n",
        circumstances(read, "make bench-detection"),
    );
    let one = |name: &'static str| [name; 3];
    let parts: [(&str, &str, &[Column]); 3] = [
        (
            "1 detectors",
            "In season",
            &[
                ("detector", one("detector")),
                ("trainings", one("seeds")),
                ("VUS-PR", ["vus_pr_mean", "vus_pr_least", "vus_pr_most"]),
                ("found, severity 0.5", one("recall_severity_0.5")),
                ("severity 1", one("recall_severity_1")),
                ("severity 2", one("recall_severity_2")),
                ("false alarms a vehicle-week", ["alarms_per_week", "alarms_low", "alarms_high"]),
                ("of health in alarm, %", one("alarmed_percent")),
                ("delay, h", one("delay_h")),
                ("lead, h", one("lead_h")),
                ("training, s", one("training_s")),
            ],
        ),
        (
            "3 test sets",
            "In another season, and on vehicles that were never seen",
            &[
                ("detector", one("detector")),
                ("set", one("set")),
                ("found, severity 1", one("recall_severity_1")),
                ("false alarms a vehicle-week", ALARMS),
                ("VUS-PR", one("vus_pr")),
            ],
        ),
        (
            "2 budgets",
            "By budget of alarms",
            &[
                ("detector", one("detector")),
                ("budget", one("budget")),
                ("promised a vehicle-week", one("promised_per_week")),
                ("false alarms a vehicle-week", ALARMS),
                ("found, severity 0.5", one("recall_severity_0.5")),
                ("severity 1", one("recall_severity_1")),
                ("severity 2", one("recall_severity_2")),
            ],
        ),
    ];
    for (name, title, columns) in parts {
        if let Some(found) = read.tables.get(name) {
            text.push_str(&format!("\n### {title}\n\n{}", shown(found, columns)));
        }
    }
    text.push_str(&format!("\n### Verdicts\n\n{}", verdicts(read)));
    text
}

fn verdicts(read: &Read) -> String {
    let mut table = Table::new(&[("verdict", Align::Left), ("", Align::Left), ("", Align::Left)]);
    for (name, verdict) in &read.verdicts {
        let ok = if verdict["ok"] == true { "ok" } else { "**failed**" };
        let examples = verdict["examples"].as_array().into_iter().flatten().filter_map(Value::as_str);
        table.row([name.replace('_', " "), ok.to_owned(), examples.collect::<Vec<_>>().join("; ")]);
    }
    table.text()
}

/// The section on histories as short as the demo's.
pub(super) fn short_section(read: &Read) -> String {
    let figure = |name: &str| read.figures.get(name).map_or_else(|| "–".to_owned(), |value| exact(*value));
    let mut table = Table::new(&[
        ("of each fleet", Align::Left),
        ("mean", Align::Right),
        ("least", Align::Right),
        ("most", Align::Right),
    ]);
    let found = ["found_ratio", "found_fewest_ratio", "found_most_ratio"].map(figure);
    let alarms = ["alarms_mean_count", "alarms_fewest_count", "alarms_most_count"].map(figure);
    let promised = figure("promised_mean_count");
    for (of, [mean, least, most]) in [
        ("share of faults found", found),
        ("vehicles with a false alarm", alarms),
        ("false alarms promised", [promised.clone(), promised.clone(), promised]),
    ] {
        table.row([of.to_owned(), mean, least, most]);
    }
    format!(
        "\n## What forty minutes of history are worth\n\n{}\n\
         Fleets as in the demo, each learnt from for forty minutes, at another time of day, and judged for the hour \
         after as the alerter and the demo's judge would. None of these fleets was looked at when the limit of short \
         histories was chosen.\n\n{}\n{}",
        circumstances(read, "make bench-detection FLAGS=short"),
        table.text(),
        verdicts(read),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::{Report, Verdict};

    #[test]
    fn each_detector_stands_with_its_figures_and_what_is_missing_with_a_dash() {
        let mut report = Report::new("bench-detection");
        let columns = ["detector", "seeds", "vus_pr_mean", "vus_pr_least", "vus_pr_most", "recall_severity_1"];
        let row = vec![json!("leave-one-out"), json!(5), json!(0.661), json!(0.658), json!(0.664), json!(null)];
        let table = Found { columns: columns.map(str::to_owned).to_vec(), rows: vec![row] };
        report.tables.insert("1 detectors".into(), table);
        let examples = vec!["0.85 of the events found, 0.9 wanted".to_owned()];
        let verdict = Verdict { ok: false, checked: 1, counts: Default::default(), examples };
        report.verdicts.insert("recall_severity_100".into(), verdict);
        let page = section(&serde_json::from_value(serde_json::to_value(&report).unwrap()).unwrap());
        assert!(page.contains("| leave-one-out | 5 | 0.661 (0.658 – 0.664) | – | – |"), "{page}");
        assert!(page.contains("| recall severity 100 | **failed** | 0.85 of the events found, 0.9 wanted |"), "{page}");
    }

    #[test]
    fn short_histories_stand_with_the_least_and_the_most_of_a_fleet() {
        let mut report = Report::new("bench-short-histories");
        for (name, value) in [("found_ratio", 0.72), ("found_fewest_ratio", 0.6), ("found_most_ratio", 0.85)] {
            report.figures.insert(name.into(), value);
        }
        let page = short_section(&serde_json::from_value(serde_json::to_value(&report).unwrap()).unwrap());
        assert!(page.contains("| share of faults found | 0.720 | 0.600 | 0.850 |"), "{page}");
        assert!(page.contains("| vehicles with a false alarm | – | – | – |"), "{page}");
    }
}
