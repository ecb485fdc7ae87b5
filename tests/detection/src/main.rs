//! `make bench-detection`: how well the detectors find faults. Exit code 1 when a verdict fails, 64 for a wrong flag, 70
//! when something else goes wrong.

mod ancestor;
mod contest;
mod figures;
mod fleet;
mod scoring;
#[cfg(test)]
mod season;
mod settings;
mod short;
mod summary;
mod trivial;

use std::{io::Write, process::ExitCode, time::Instant};

use anyhow::Result;
use clap::Parser;
use report::{Report, page};

use crate::settings::{Instead, Settings};

/// Sizes of the faults, percent of the simulator's table.
const SIZES: [u16; 3] = [50, 100, 200];

fn main() -> ExitCode {
    let settings = match Settings::try_parse() {
        Ok(settings) => settings,
        Err(error) => {
            error.print().ok();
            // Help and version are no errors.
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let usage = settings.validate();
    let failed = |error: &anyhow::Error, code: u8| {
        writeln!(std::io::stderr().lock(), "detection: {error:#}").ok();
        ExitCode::from(code)
    };
    match usage.map(|()| run(&settings)) {
        Err(error) => failed(&error, 64),
        Ok(Err(error)) => failed(&error, 70),
        Ok(Ok(report)) if report.is_ok() => ExitCode::SUCCESS,
        Ok(Ok(_)) => ExitCode::from(1),
    }
}

fn run(settings: &Settings) -> Result<Report> {
    if let Some(Instead::Short(short)) = &settings.instead {
        return short.run();
    }
    let started = Instant::now();
    let mut report = Report::new("bench-detection");
    let out = |line: &dyn std::fmt::Display| writeln!(std::io::stdout().lock(), "{line}").ok();
    out(&"▸ the fleet drives");
    let fleet = fleet::drive(&settings.size(), &SIZES, settings.threads);
    out(&format!("▸ {fleet}"));
    let attempts = contest::run(settings, &fleet)?;
    let parameters = settings.parameters().into_iter().map(|(name, value)| (name.to_owned(), value));
    report.parameters = parameters.collect();
    summary::summarise(&mut report, &attempts, &SIZES);
    report.duration_s = started.elapsed().as_secs_f64();
    let path = settings.reports.join("bench-detection.json");
    report.write(&path)?;
    page::write(&report, &path.with_extension("html"))?;
    for (name, table) in &report.tables {
        out(&format!("\n{name}\n{table}"));
    }
    out(&"");
    for (name, verdict) in &report.verdicts {
        out(&format!("{} {name}: {}", if verdict.ok { "✓" } else { "✗" }, verdict.examples.join("; ")));
    }
    out(&format!("report: {} and the page beside it", path.display()));
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_fleet_is_judged_from_end_to_end() {
        let folder = std::env::temp_dir().join(format!("detection-{}", std::process::id()));
        let flags = "detection --vehicles 5 --unseen 2 --train-days 2 --limit-days 2 --test-days 2 --seeds 1 \
                     --detectors robust-z,leave-one-out --sample 2000 --steps 60 --reports";
        let flags = flags.split_whitespace().map(str::to_owned).chain([folder.display().to_string()]);
        let settings = Settings::try_parse_from(flags).unwrap();
        settings.validate().unwrap();
        let report = run(&settings).unwrap();
        let names: Vec<&str> = report.tables["1 detectors"].rows.iter().filter_map(|row| row[0].as_str()).collect();
        assert_eq!(names, ["range rules", "random", "always", "ancestor", "robust-z", "leave-one-out"]);
        let vus = |name: &str| report.figures[&format!("{name}_vus_pr_ratio")];
        assert!(vus("leave_one_out") > vus("random"), "{:?}", report.figures);
        assert!(report.verdicts.contains_key("promised_alarms"));
        let page = std::fs::read_to_string(folder.join("bench-detection.html")).unwrap();
        assert!(page.contains("leave-one-out") && !page.contains("http://"), "one self-contained page");
        assert_eq!(Report::read(&folder.join("bench-detection.json")).unwrap().figures, report.figures);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for flags in ["--vehicles 4", "--seeds 0", "--train-days 1", "--steps 1", "--threads 0"] {
            let settings = Settings::try_parse_from(std::iter::once("detection").chain(flags.split(' '))).unwrap();
            assert!(settings.validate().is_err(), "{flags}");
        }
        assert!(Settings::try_parse_from(["detection", "--detectors", "forest"]).is_err());
    }
}
