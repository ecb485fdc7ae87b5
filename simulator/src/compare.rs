//! The tools that read reports back: two side by side, and one as a page.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use report::{Comparison, Condition, Names, Report};
use service::Error;

use crate::load;

/// Flags of `motorcade-simulator compare`.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Compare")]
pub struct Config {
    /// The earlier report.
    #[arg(value_name = "A.json")]
    pub a: PathBuf,
    /// The later one.
    #[arg(value_name = "B.json")]
    pub b: PathBuf,
    /// Fails if this comes true: 'p99_ms>+10%' of the change from A to B, 'p99_ms>50' of B; separated by commas, or
    /// several times. Any figure of the reports, and the short names of `load` and `audit`. A verdict of B that failed and
    /// did not fail in A fails in any case.
    #[arg(long, env = "MOTORCADE_COMPARE_FAIL_IF", value_name = "CONDITION", value_delimiter = ',')]
    pub fail_if: Vec<Condition>,
    /// Prints one line of JSON instead of the table.
    #[arg(long, env = "MOTORCADE_COMPARE_JSON")]
    pub json: bool,
}

/// Flags of `motorcade-simulator report`.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Report")]
pub struct Page {
    /// The report that `load --report` or `audit --json` has written.
    #[arg(value_name = "A.json")]
    pub report: PathBuf,
    /// File for the page.
    #[arg(long, env = "MOTORCADE_REPORT_HTML", value_name = "FILE")]
    pub html: PathBuf,
}

/// Prints two reports side by side.
///
/// # Errors
/// [`Error::BadInput`] for a file that is no report, [`Error::Usage`] for a condition on a figure that neither has,
/// [`Error::VerdictFailed`] if a condition comes true, or a verdict of B failed that did not fail in A.
pub fn compare(config: &Config) -> Result<(), Error> {
    let (a, b) = (read(&config.a)?, read(&config.b)?);
    let (figures, short) = known(&a, &b);
    let names = Names { figures: &figures, short };
    for condition in &config.fail_if {
        condition.check(&names).map_err(|detail| Error::Usage { flag: "fail-if", detail })?;
    }
    let comparison = Comparison::new(&a, &b, &config.fail_if, &names);
    let text = match config.json {
        true => serde_json::to_string(&comparison).map_err(anyhow::Error::from)? + "\n",
        false => comparison.to_string(),
    };
    // Whoever reads may have gone.
    write!(std::io::stdout().lock(), "{text}").ok();
    if comparison.is_ok() {
        return Ok(());
    }
    Err(Error::VerdictFailed(comparison.failed().join(", ")))
}

/// Writes the page of a report.
///
/// # Errors
/// [`Error::BadInput`] for a file that is no report, [`Error::Usage`] for a page that can't be written.
pub fn page(config: &Page) -> Result<(), Error> {
    let written = report::page::write(&read(&config.report)?, &config.html);
    written.map_err(|error| Error::Usage { flag: "html", detail: format!("{}: {error}", config.html.display()) })
}

fn read(path: &Path) -> Result<Report, Error> {
    Report::read(path).map_err(|error| Error::BadInput(format!("{}: {error}", path.display())))
}

/// The figures that a condition may name, measured or not, and the short names of what made the reports.
fn known(a: &Report, b: &Report) -> (Vec<String>, &'static [(&'static str, &'static str)]) {
    let of_load = a.parameters.get("judge").and_then(|judge| serde_json::from_value(judge.clone()).ok());
    let (known, short) = match of_load {
        Some(judge) => (load::known_figures(), load::short_names(judge)),
        #[cfg(feature = "audit")]
        None if a.figures.contains_key("verified_readings") => crate::audit::figures_and_short_names(),
        None => (Vec::new(), &[][..]),
    };
    (known.into_iter().chain(a.figures.keys().cloned()).chain(b.figures.keys().cloned()).collect(), short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path, name: &str, parameters: &[(&str, &str)], figures: &[(&str, f64)]) -> PathBuf {
        let mut report = Report::new(name);
        let text = |value: &&str| serde_json::Value::from(*value);
        report.parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect();
        report.figures = figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let path = folder.join(format!("{name}.json"));
        report.write(&path).unwrap();
        path
    }

    fn compared(a: &Path, b: &Path, fail_if: &str) -> Result<(), Error> {
        let fail_if = vec![fail_if.parse().unwrap()];
        compare(&Config { a: a.to_owned(), b: b.to_owned(), fail_if, json: true })
    }

    #[test]
    fn short_names_mean_what_the_judge_of_the_run_says() {
        let folder = tempfile::tempdir().unwrap();
        let judge = [("judge", "puback")];
        let a = written(folder.path(), "a", &judge, &[("schedule_to_puback_p99_ms", 10.0)]);
        let b = written(folder.path(), "b", &judge, &[("schedule_to_puback_p99_ms", 12.0)]);
        compared(&a, &b, "p99_ms>+21%").unwrap();
        for fails in ["p99_ms>+19%", "p99_ms>11", "schedule_to_ack_p99_ms>1"] {
            assert!(matches!(compared(&a, &b, fails), Err(Error::VerdictFailed(_))), "{fails}");
        }
        assert!(matches!(compared(&a, &b, "p98_ms>1"), Err(Error::Usage { flag: "fail-if", .. })));
    }

    #[cfg(feature = "audit")]
    #[test]
    fn audits_and_reports_of_others_are_compared_too() {
        let folder = tempfile::tempdir().unwrap();
        let audit = written(folder.path(), "audit", &[], &[("verified_readings", 5.0), ("duplicate_records", 1.0)]);
        assert!(compared(&audit, &audit, "duplicated>0").is_err());
        compared(&audit, &audit, "duplicated>+0%").unwrap();
        let other = written(folder.path(), "other", &[], &[("loss", 0.5)]);
        compared(&other, &other, "loss>+5%").unwrap();
        assert!(matches!(compared(&other, &other, "duplicated>0"), Err(Error::Usage { .. })));
    }

    #[test]
    fn what_is_no_report_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.json");
        std::fs::write(&path, "{}").unwrap();
        let error = page(&Page { report: path, html: folder.path().join("page.html") }).unwrap_err();
        assert!(error.to_string().contains("other.json") && error.exit_code() == 65, "{error}");
    }
}
