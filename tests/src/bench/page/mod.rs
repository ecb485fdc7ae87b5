//! `make BENCHMARKS.md`: the page out of the reports, with nothing in it that they do not hold.

mod chaos;
mod detection;
mod edge;
mod fleet;
mod model;
mod table;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::Value;

use self::table::{Align, Table, number};
use super::{goals::Goal, result::Read};

/// Where reports are, and where the page goes.
#[derive(Debug, Clone, Parser)]
pub struct Settings {
    /// Folder of the reports.
    #[arg(long, value_name = "DIR", default_value = "target/reports")]
    pub reports: PathBuf,
    /// The page.
    #[arg(long, value_name = "FILE", default_value = "BENCHMARKS.md")]
    pub page: PathBuf,
}

/// Writes the page.
///
/// # Errors
/// If there is no report, or one can't be read, or the page can't be written.
pub fn write(settings: &Settings) -> Result<()> {
    let read = |name: &str| Read::from(&settings.reports.join(name));
    let (edge, fleet, chaos) = (read("bench-edge.json")?, read("bench-fleet.json")?, read("chaos.json")?);
    let (model, detection) = (read("bench-model.json")?, read("bench-detection.json")?);
    let short = read("bench-short-histories.json")?;
    ensure!(
        [&edge, &fleet, &model, &detection, &short].into_iter().any(Option::is_some),
        "{} has no report of a bench",
        settings.reports.display()
    );
    let page = page([
        (&edge, edge::section),
        (&fleet, fleet::section),
        (&model, model::section),
        (&detection, detection::section),
        (&short, detection::short_section),
        (&chaos, chaos::section),
    ]);
    std::fs::write(&settings.page, page).with_context(|| settings.page.display().to_string())
}

/// A report, if there is one, and what makes its section.
type Part<'a> = (&'a Option<Read>, fn(&Read) -> String);

/// The page of these reports, each with what makes its section.
fn page(reports: [Part<'_>; 6]) -> String {
    let intro = "# Benchmarks\n\n\
        Written by `make BENCHMARKS.md` from the reports of the last runs; not by hand. Every ratio is of two figures \
        of one run: services, load and machine were the same for all, and contenders took turns. Where more than one \
        round was made, the median stands, and least and most behind it. CPU is user and system time of a program with \
        everything that it started, per message that reached Kafka. Times are from the moment at which a reading was due \
        to the time at which Kafka appended it, which Kafka tells in whole milliseconds.\n";
    let sections = reports.into_iter().filter_map(|(read, section)| read.as_ref().map(section));
    intro.to_owned() + &sections.collect::<String>()
}

/// When, where and of what a run was, and how it is run again.
fn circumstances(read: &Read, command: &str) -> String {
    let machine = |name: &str| read.machine.get(name).map_or("unknown", String::as_str);
    // Rows and peers stand in the tables, and in how it is run again.
    let told = read.parameters.iter().filter(|(name, _)| !["notes", "only", "peers"].contains(&name.as_str()));
    let parameters: Vec<_> = told.map(|(name, value)| format!("{name} {}", plain(value))).collect();
    format!(
        "{} UTC, commit `{}`, {} s. Machine: {} × {}, {} memory, Linux {}. Parameters: {}. Again: `{command}`.\n",
        date(read.started),
        read.commit,
        number(read.duration_s),
        machine("cores"),
        machine("cpu"),
        machine("memory"),
        machine("kernel"),
        if parameters.is_empty() { "none".to_owned() } else { parameters.join(", ") },
    )
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// The texts of a parameter that is a list.
fn texts<'a>(read: &'a Read, name: &str) -> Vec<&'a str> {
    let values = read.parameters.get(name).and_then(Value::as_array);
    values.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A day and a time, of ms since the epoch.
fn date(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Years from March on, so that the day which comes every four years is a year's last.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}", rest / 3_600_000, rest / 60_000 % 60)
}

/// What was aimed at and what was reached.
fn goals(goals: &[Goal]) -> String {
    let mut table =
        Table::new(&[("goal", Align::Left), ("bound", Align::Right), ("measured", Align::Right), ("", Align::Left)]);
    for goal in goals {
        let bound = format!("{} {}", if goal.at_most { "≤" } else { "≥" }, number(goal.bound));
        let measured = goal.measured.map_or_else(|| "–".to_owned(), number);
        let word = match goal.reached() {
            Some(true) => "reached",
            Some(false) => "**not reached**",
            None => "not measured",
        };
        table.row([goal.what.clone(), bound, measured, word.to_owned()]);
    }
    format!("\n### Goals\n\n{}", table.text())
}

/// Verdicts in a table.
fn verdicts(read: &Read) -> String {
    let mut table =
        Table::new(&[("verdict", Align::Left), ("", Align::Left), ("checked", Align::Right), ("counts", Align::Left)]);
    for (name, verdict) in &read.verdicts {
        let ok = if verdict["ok"] == true { "ok" } else { "**failed**" };
        let counts =
            verdict.as_object().into_iter().flatten().filter(|(key, value)| *key != "checked" && value.is_u64());
        let counts: Vec<_> = counts.map(|(key, value)| format!("{} {value}", key.replace('_', " "))).collect();
        let checked = verdict["checked"].as_f64().map_or_else(|| "–".to_owned(), number);
        table.row([name.clone(), ok.to_owned(), checked, counts.join(", ")]);
    }
    format!("\n### Verdicts\n\n{}", table.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (s, text) in [
            (0, "1970-01-01 00:00"),
            (951_782_400, "2000-02-29 00:00"),
            (1_709_251_199, "2024-02-29 23:59"),
            (1_767_225_600, "2026-01-01 00:00"),
        ] {
            assert_eq!(date(s * 1_000), text);
        }
    }

    #[test]
    fn a_missed_goal_is_said_plainly() {
        let goal = |measured| Goal { what: "speed".into(), bound: 100.0, at_most: false, measured };
        let text = goals(&[goal(Some(99.0)), goal(Some(100.0)), goal(None)]);
        let ends: Vec<_> = text.lines().skip(5).map(|line| line.rsplit('|').nth(1).unwrap().trim()).collect();
        assert_eq!(ends, ["**not reached**", "reached", "not measured"]);
    }

    #[test]
    fn without_a_report_there_is_no_page() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { reports: dir.path().into(), page: dir.path().join("BENCHMARKS.md") };
        assert!(write(&settings).is_err() && !settings.page.exists());
    }
}
