//! `make bench-model`: what scoring costs and how long it takes, from telemetry in Kafka to scores in Kafka, with a trained
//! model, windows, states and contributions.
//!
//! [`fleet`] makes readings and writes them, [`drain`] lets the scorer work off a backlog, [`paced`] measures what it adds
//! at a given rate.

mod drain;
mod fleet;
mod ground;
mod paced;

use std::{path::PathBuf, time::Instant};

use anyhow::Result;
use clap::Parser;
use telemetry::Encoding;

use self::ground::Ground;
use super::{
    goals,
    result::{BenchReport, Case, Figures, Rounds, none_of},
    say,
};
use crate::report::Report;

/// What scoring costs and how long it takes.
#[derive(Debug, Clone, Parser)]
pub struct Settings {
    /// Readings of a backlog.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(10_000..))]
    pub records: u64,
    /// Vehicles.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub vehicles: u32,
    /// Rates at which the added latency is measured, readings a second.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [5_000, 10_000])]
    pub rates: Vec<u64>,
    /// How long a rate is held, s.
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(3..=3600))]
    pub paced_s: u64,
    /// How often each row is measured.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Only these encodings of a backlog.
    #[arg(long, value_name = "ENCODING,…", value_delimiter = ',', default_values = ["protobuf", "json"], value_parser = ["protobuf", "json"])]
    pub encodings: Vec<String>,
    /// A further flag of the scorer; may be given several times.
    #[arg(long = "scorer-flag", value_name = "FLAG", allow_hyphen_values = true)]
    pub scorer_flags: Vec<String>,
    /// Everything once and short: shows that the bench works, not how fast anything is.
    #[arg(long)]
    pub quick: bool,
    /// Seed of the fleet.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Folder for Kafka and logs; what is in it is removed first.
    #[arg(long, value_name = "DIR", default_value = ".services/bench-model")]
    pub folder: PathBuf,
    /// Folder of motorcade.
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    pub programs: PathBuf,
    /// Name of the report.
    #[arg(long, value_name = "NAME", default_value = "bench-model")]
    pub report: String,
}

impl Settings {
    fn settled(mut self) -> Self {
        if self.quick {
            self.records = self.records.min(60_000);
            self.vehicles = self.vehicles.min(200);
            self.paced_s = self.paced_s.min(4);
            self.rounds = 1;
        }
        self
    }
}

fn encoding(name: &str) -> Encoding {
    if name == "json" { Encoding::Json } else { Encoding::Protobuf }
}

fn case(row: &str, form: &str) -> Case {
    Case { row: row.into(), form: form.into(), judge: "scores".into(), contender: super::contender::MOTORCADE.into() }
}

/// Each encoding of a backlog with its form and the scorer's flags; the readable one also with transactions.
fn backlogs(encodings: &[String]) -> impl Iterator<Item = (&str, String, &'static [&'static str])> {
    encodings.iter().flat_map(|name| {
        let transactions: &'static [_] = &["--transactions"];
        let rows = [(name.clone(), &[][..]), (format!("{name}, transactions"), transactions)];
        let worth = if name == "json" { 2 } else { 1 };
        rows.into_iter().take(worth).map(|(form, flags)| (name.as_str(), form, flags))
    })
}

/// Runs all rows and writes the report.
///
/// # Errors
/// If services or programs do not start, or the report can't be written.
pub async fn run(settings: Settings) -> Result<BenchReport> {
    let settings = settings.settled();
    let began = Instant::now();
    let mut report = Report::new(&settings.report);
    report.parameters = parameters(&settings);
    let mut ground = Ground::start(&settings).await?;
    let (mut rounds, mut unbalanced) = (Rounds::default(), Vec::new());
    let mut checked = 0;
    for round in 1..=settings.rounds {
        for (name, form, flags) in backlogs(&settings.encodings) {
            say(&format!("round {round}: a backlog of {} readings in {form}", settings.records));
            let drained = drain::run(&mut ground, &settings, encoding(name), flags).await?;
            take(&mut rounds, &case("drain", &form), drained.figures);
            checked += 1;
            unbalanced.extend((!drained.balances).then(|| format!("drain {form} {round}")));
        }
        for rate in &settings.rates {
            say(&format!("round {round}: {rate} readings a second for {} s", settings.paced_s));
            let paced = paced::run(&mut ground, &settings, *rate).await?;
            take(&mut rounds, &case(&format!("paced-{rate}"), "protobuf"), paced.figures);
            checked += 1;
            unbalanced.extend((!paced.balances).then(|| format!("paced {rate} {round}")));
        }
    }
    ground.stop().await?;
    let rows = rounds.rows();
    let goals = goals::of_model(&rows);
    report.verdicts.insert("G4".to_owned(), none_of("unbalanced", checked, unbalanced.len() as u64, unbalanced));
    report.duration_s = began.elapsed().as_secs_f64();
    let report = BenchReport::new(report, rows, goals);
    report.write()?;
    Ok(report)
}

fn take(rounds: &mut Rounds, case: &Case, figures: Figures) {
    let told: Vec<_> = figures.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
    say(&format!("{case}: {}", told.join(", ")));
    rounds.add(case, figures);
}

/// What a row gave.
struct Measured {
    figures: Figures,
    /// Whether the scorer's tally balances, with every reading in it.
    balances: bool,
}

fn parameters(settings: &Settings) -> std::collections::BTreeMap<String, serde_json::Value> {
    [
        ("records", settings.records.into()),
        ("vehicles", settings.vehicles.into()),
        ("rates", settings.rates.clone().into()),
        ("paced_s", settings.paced_s.into()),
        ("rounds", settings.rounds.into()),
        ("seed", settings.seed.into()),
        ("scorer_flags", settings.scorer_flags.join(" ").into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
