//! `make bench-model`: what scoring costs and how long it takes, from telemetry in Kafka to scores in Kafka, with a trained
//! model, windows, states and contributions.
//!
//! [`plan`] says what is measured, in which order. [`fleet`] makes readings and writes them, [`drain`] lets a scorer work off
//! a backlog, [`paced`] measures what it adds at a given rate. Other scorers ([`peer`]) run on the same readings, with the
//! same network and less to do; they are watched as ours is ([`watched`]), and what they leave out is noticed
//! ([`scored`]). Two of them are in `tests/peers/scoring`:
//!
//! ```console
//! python3 -m venv VENV && . VENV/bin/activate && pip install -r tests/peers/scoring/requirements.txt
//! make bench-model FLAGS='--peer python="exec python3 tests/peers/scoring/loop.py" \
//!     --peer quix="exec python3 tests/peers/scoring/quix.py"'
//! ```

mod drain;
mod fleet;
mod ground;
mod paced;
mod peer;
mod plan;
mod scored;
mod takeover;
mod training;
mod watched;

use std::{path::PathBuf, time::Instant};

use anyhow::Result;
use clap::Parser;

use self::{
    ground::Ground,
    peer::{EXPORT_HELP, PEER_HELP},
    plan::{Kind, Row},
};
use super::{
    contender::Contender,
    goals,
    result::{BenchReport, Case, Figures, Rounds, none_of},
    say,
};
use crate::report::Report;

/// What scoring costs and how long it takes.
#[derive(Debug, Clone, Parser)]
pub struct Settings {
    /// Other scorers.
    #[arg(long = "peer", value_name = "NAME=COMMAND", help = PEER_HELP)]
    pub peers: Vec<Contender>,
    /// What makes ONNX.
    #[arg(long, value_name = "COMMAND", help = EXPORT_HELP, default_value = "exec python3 tests/peers/scoring/onnx_export.py")]
    pub export: String,
    /// What readers of the report should know, such as how a peer is configured, or why one is missing. May be given
    /// several times.
    #[arg(long = "note", value_name = "TEXT")]
    pub notes: Vec<String>,
    /// Readings of a backlog.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(10_000..))]
    pub records: u64,
    /// Vehicles.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub vehicles: u32,
    /// Rates at which the added latency is measured, readings a second.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [5_000, 10_000, 200])]
    pub rates: Vec<u64>,
    /// How long a rate is held, s.
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(3..=3600))]
    pub paced_s: u64,
    /// Readings that a model is trained on, to see how long it takes; 0: none is trained. Ten million take some minutes, once
    /// to write and once to learn from.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub training: u64,
    /// Vehicles whose states stand in Kafka when a scorer takes over from another; 0: none does.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub takeover: u32,
    /// How often each row is measured, but for the takeover, which comes once; contenders take turns.
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
            self.training = self.training.min(60_000);
            self.takeover = self.takeover.min(2_000);
        }
        self
    }
}

fn case(row: &str, form: &str, contender: &str) -> Case {
    Case { row: row.into(), form: form.into(), judge: "scores".into(), contender: contender.into() }
}

/// Runs all rows and writes the report.
///
/// # Errors
/// If services do not start, or the report can't be written. A contender that fails is a verdict.
pub async fn run(settings: Settings) -> Result<BenchReport> {
    let settings = settings.settled();
    let began = Instant::now();
    let mut report = Report::new(&settings.report);
    report.parameters = parameters(&settings);
    let mut ground = Ground::start(&settings).await?;
    let mut found = Found::default();
    for round in 1..=settings.rounds {
        for row in plan::round(&settings) {
            Box::pin(measure(&mut ground, &settings, &row, round, &mut found)).await?;
        }
    }
    // Last of all, and once: states can't be taken out of their topic, and whoever takes over reads all that stand there.
    if let Some(row) = plan::takeover(&settings) {
        Box::pin(measure(&mut ground, &settings, &row, settings.rounds, &mut found)).await?;
    }
    ground.stop().await?;
    let Found { rounds, unbalanced, balances, failed, cases } = found;
    let rows = rounds.rows();
    let goals = goals::of_model(&rows);
    report.verdicts.insert("G4".to_owned(), none_of("unbalanced", balances, unbalanced.len() as u64, unbalanced));
    report.verdicts.insert("cases".to_owned(), none_of("failed", cases, failed.len() as u64, failed));
    report.duration_s = began.elapsed().as_secs_f64();
    let report = BenchReport::new(report, rows, goals);
    report.write()?;
    if report.report.is_ok() {
        services::remove_stored_in(&settings.folder.join("kafka"))?;
    }
    Ok(report)
}

/// What has been found so far.
#[derive(Default)]
struct Found {
    rounds: Rounds,
    /// Rounds in which our scorer's tally does not balance.
    unbalanced: Vec<String>,
    /// Tallies that were looked at.
    balances: u64,
    /// Cases that could not be measured, of all.
    failed: Vec<String>,
    cases: u64,
}

/// A row, by each of its contenders.
async fn measure(ground: &mut Ground, settings: &Settings, row: &Row, round: u32, found: &mut Found) -> Result<()> {
    let (form, transactions) = (row.encoding(), row.transactions());
    if row.kind == Kind::Drain {
        say(&format!("round {round}: a backlog of {} readings in {}", settings.records, row.form));
        drain::fill(ground, settings, form).await?;
    }
    for contender in &row.contenders {
        let case = row.case(contender);
        found.cases += 1;
        let measured = match row.kind {
            Kind::Train => {
                say(&format!("round {round}: a model is trained on {} readings", settings.training));
                training::run(ground, settings).await
            }
            Kind::Takeover => {
                say(&format!("round {round}: a scorer takes over the states of {} vehicles", settings.takeover));
                takeover::run(ground, settings).await
            }
            Kind::Drain => drain::run(ground, settings, transactions, contender).await,
            Kind::Paced(rate) => {
                let who = contender.name();
                say(&format!("round {round}: {rate} readings a second for {} s, {who}", settings.paced_s));
                paced::run(ground, settings, (rate, form), transactions, contender).await
            }
        };
        match measured {
            Ok(measured) => {
                take(&mut found.rounds, &case, measured.figures);
                found.balances += u64::from(*contender == Contender::Motorcade);
                found.unbalanced.extend((!measured.balances).then(|| format!("{case}, round {round}")));
            }
            Err(error) => {
                say(&format!("{case}: failed: {error:#}"));
                found.failed.push(format!("{case}, round {round}: {error:#}"));
            }
        }
    }
    Ok(())
}

fn take(rounds: &mut Rounds, case: &Case, figures: Figures) {
    let told: Vec<_> = figures.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
    say(&format!("{case}: {}", told.join(", ")));
    rounds.add(case, figures);
}

/// What a row gave.
struct Measured {
    figures: Figures,
    /// Whether our scorer's tally balances, with every reading in it; a peer has none.
    balances: bool,
}

impl Measured {
    /// Of the figures that the contender has.
    fn of<const N: usize>(figures: [(&str, Option<f64>); N], balances: bool) -> Self {
        let known = figures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Self { figures: known.collect(), balances }
    }
}

fn parameters(settings: &Settings) -> std::collections::BTreeMap<String, serde_json::Value> {
    let peers: Vec<_> = settings.peers.iter().map(Contender::name).collect();
    [
        ("quick", settings.quick.into()),
        ("peers", peers.into()),
        ("notes", settings.notes.clone().into()),
        ("records", settings.records.into()),
        ("vehicles", settings.vehicles.into()),
        ("rates", settings.rates.clone().into()),
        ("paced_s", settings.paced_s.into()),
        ("takeover", settings.takeover.into()),
        ("training", settings.training.into()),
        ("rounds", settings.rounds.into()),
        ("seed", settings.seed.into()),
        ("scorer_flags", settings.scorer_flags.join(" ").into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
