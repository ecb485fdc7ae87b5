//! `motorcade models evaluate`: how good a model is on a range that is replayed, with labels or without.

use std::{path::PathBuf, time::Instant};

use cloud_log::KafkaConfig;
use detector::{Card, History, Span};
use evaluation::{
    AtBudget, BUDGETS, Measure, Outcome, Scored,
    labels::{self, Labels},
};
use report::{Report, Series, Table, page};
use serde_json::{Value, json};
use service::Error;

use super::{
    date, model, print,
    replaying::{Replaying, check_labels, read_labels},
};
use crate::{Trained, contest, replay::Replayed, unscored};

/// Readings that the likelihood is computed on, about.
const MEASURED: usize = 40_000;

/// Evaluate a model on recorded history.
///
/// With labels: areas under curves, events found at three budgets of alarms, how soon, and false alarms. Without: how
/// likely the readings are to the model, and how often it alarms. Readings that the model learnt from are scored too; how
/// many they are is said. Exit code 65 where none could be scored.
#[derive(Debug, Clone, clap::Args)]
pub struct EvaluateArgs {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// Version, alias, or artefact file.
    pub model: String,
    /// What to replay.
    #[command(flatten)]
    pub replaying: Replaying,
    /// Labels of `data import` or the simulator's truth.
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// For so many steps after an event alarms are neither right nor wrong.
    #[arg(long, value_name = "STEPS", default_value_t = contest::SETTLE_STEPS)]
    pub settle_steps: i64,
    /// Threads.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    pub threads: usize,
    /// Where to write the report, as JSON; a page for people is written beside it (`.html`).
    #[arg(long, value_name = "PATH")]
    pub report: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs `models evaluate`.
///
/// # Errors
/// [`Error::BadInput`] if there is no such model, no label fits what was replayed, or nothing could be scored.
pub async fn run_evaluate(args: EvaluateArgs) -> Result<(), Error> {
    args.kafka.validate()?;
    args.replaying.validate()?;
    if args.settle_steps < 0 {
        return Err(Error::Usage { flag: "settle-steps", detail: "must not be negative".into() });
    }
    if args.threads == 0 {
        return Err(Error::Usage { flag: "threads", detail: "must be at least 1".into() });
    }
    if args.report.as_ref().is_some_and(|path| path.extension().is_some_and(|extension| extension == "html")) {
        return Err(Error::Usage { flag: "report", detail: "is JSON: the page is written beside it".into() });
    }
    model::check(&args.model)?;
    let labels = args.labels.as_deref().map(read_labels).transpose()?;
    let started = Instant::now();
    let trained = model::load(&args.kafka, &args.model).await?;
    let replayed = args.replaying.replay(&args.kafka).await?;
    if replayed.history.records() == 0 {
        return Err(args.replaying.empty(&args.kafka).await);
    }
    let settings = (args.settle_steps, args.threads);
    let evaluated = tokio::task::spawn_blocking(move || evaluate(&trained, &replayed, labels.as_ref(), settings));
    let mut report = evaluated.await.map_err(anyhow::Error::from)??;
    report.duration_s = started.elapsed().as_secs_f64();
    if let Some(path) = &args.report {
        let failed = |error| Error::BadInput(format!("{}: {error}", path.display()));
        report.write(path).map_err(failed)?;
        page::write(&report, &path.with_extension("html")).map_err(failed)?;
    }
    if args.json {
        return print(&serde_json::to_string(&report).map_err(anyhow::Error::from)?);
    }
    for (name, value) in &report.figures {
        print(&format!("{name}: {}", super::shown(Some(*value))))?;
    }
    report.tables.iter().try_for_each(|(name, table)| print(&format!("\n{name}\n{table}")))
}

fn evaluate(
    trained: &Trained,
    replayed: &Replayed,
    labels: Option<&Labels>,
    (settle_steps, threads): (i64, usize),
) -> Result<Report, Error> {
    let (history, all) = (&replayed.history, (i64::MIN, i64::MAX));
    if let Some(labels) = labels {
        check_labels(labels, history.vehicles())?;
    }
    tracing::info!(records = history.records(), version = trained.version, "scoring");
    let scored = detector::score(&trained.artifact, history, all, threads).map_err(contest::failed)?;
    let records = unscored::count(&scored);
    if records == 0 {
        let why = unscored::why(&trained.card, history).map_err(contest::failed)?;
        let (version, all) = (&trained.version, history.records());
        return Err(Error::BadInput(format!("{version} can score none of the {all} readings: {why}")));
    }
    // What lies outside of what was replayed could not be found by anybody.
    let events = match (labels, span(&scored)) {
        (Some(labels), Some(span)) => labels::events(labels, history.vehicles(), span),
        _ => vec![Vec::new(); history.vehicles().len()],
    };
    if labels.is_some() && events.iter().all(Vec::is_empty) {
        return Err(Error::BadInput("no label lies in the time that was replayed: widen the range".into()));
    }
    let learnt = learnt_from(&trained.card, history.spans(), &scored);
    if learnt > 0 {
        let (version, until) = (&trained.version, date(trained.card.limit_until));
        tracing::warn!(
            version,
            readings = learnt,
            until,
            "it learnt from a part of the range or set its limit on it, and is flattered there"
        );
    }
    let measure = Measure::of_step(trained.card.layout.step_ms, settle_steps);
    let limits: Vec<f32> = trained.card.calibration.other_budgets.iter().map(|(_, limit)| *limit as f32).collect();
    let outcome = evaluation::outcome(&scored, &events, &limits, &measure);
    if labels.is_some() && outcome.budgets.iter().all(|at| at.realised.is_none()) {
        return Err(Error::BadInput(
            "by the labels no reading is healthy, so no alarm could be false: widen the range, or look at the labels"
                .into(),
        ));
    }
    let judged = detector::judged_by_both(&trained.card, &trained.card);
    let losses = detector::losses(&trained.artifact, history, all, &judged, (MEASURED, threads));
    let losses: Vec<f64> = losses.map_err(contest::failed)?.into_iter().flatten().collect();
    let mut report = Report::new("evaluation");
    report.parameters = [
        ("version", json!(trained.version)),
        ("settle_steps", json!(settle_steps)),
        ("labelled", json!(labels.is_some())),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    report.count("replayed_records", replayed.received);
    report.count("scored_records", records);
    report.count("learnt_from_records", learnt);
    report.count("vehicles", history.vehicles().len() as u64);
    report.count("events", events.iter().map(|own| own.len() as u64).sum());
    if !losses.is_empty() {
        report.figures.insert("loss_nats".into(), losses.iter().sum::<f64>() / losses.len() as f64);
    }
    enter(&mut report, &outcome);
    Ok(report)
}

/// From the first reading to behind the last one, event time, ms; none where there are none.
fn span(scored: &[Scored]) -> Option<(i64, i64)> {
    let first = scored.iter().filter_map(|one| one.times.first()).min()?;
    let last = scored.iter().filter_map(|one| one.times.last()).max()?;
    Some((*first, last.saturating_add(1)))
}

/// Scored readings among these that a model was fitted on, or that its limit was set on, by the offsets and times that its
/// card names. A model that was calibrated anew names only what that saw.
fn learnt_from(card: &Card, spans: &[Span], scored: &[Scored]) -> u64 {
    let meets = |own: &Span| {
        let place = |of: &Span| (of.kafka_topic.clone(), of.partition);
        card.spans.iter().any(|span| place(span) == place(own) && span.from < own.to && own.from < span.to)
    };
    if !spans.iter().any(meets) {
        return 0;
    }
    let learnt = card.from_time..card.limit_until;
    let readings = scored.iter().flat_map(|one| one.times.iter().zip(&one.scores));
    readings.filter(|(time, score)| !score.is_nan() && learnt.contains(time)).count() as u64
}

/// The middle of numbers, or none.
fn median(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut all: Vec<f64> = numbers.collect();
    all.sort_unstable_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

fn enter(report: &mut Report, outcome: &Outcome) {
    let areas = [("vus_pr_ratio", outcome.vus_pr), ("auc_pr_ratio", outcome.auc_pr)];
    let mut figures: Vec<(String, Option<f64>)> = areas.map(|(name, value)| (name.to_owned(), value)).to_vec();
    for at in &outcome.budgets {
        let name = at.name;
        let realised = |end: fn(&evaluation::Interval) -> f64| at.realised.as_ref().map(end);
        figures.extend([
            (format!("recall_at_{name}_ratio"), at.recall()),
            (format!("delay_at_{name}_h"), median(at.delays())),
            (format!("lead_at_{name}_h"), median(at.leads())),
            (format!("realised_at_{name}_per_week"), realised(|i| i.rate)),
            (format!("realised_low_at_{name}_per_week"), realised(|i| i.low)),
            (format!("realised_high_at_{name}_per_week"), realised(|i| i.high)),
        ]);
    }
    report.figures.extend(figures.into_iter().filter_map(|(name, value)| Some((name, value?))));
    report.tables.insert("budgets".into(), budgets(&outcome.budgets));
    if outcome.budgets.iter().any(|at| !at.kinds.is_empty()) {
        report.tables.insert("kinds".into(), kinds(&outcome.budgets));
    }
    let mut by_budget = Series::new("alarms_per_week", BUDGETS.iter().map(|(_, a_week)| *a_week).collect());
    let mut line = |title: &str, unit: &str, of: &dyn Fn(&AtBudget) -> Option<f64>| {
        let values: Vec<Option<f64>> = outcome.budgets.iter().map(of).collect();
        if values.iter().any(Option::is_some) {
            by_budget.line(title, unit, "model", values);
        }
    };
    line("Events found, by promised alarms in a vehicle-week", "", &AtBudget::recall);
    line("Realised alarms in a vehicle-week, by promised ones", "/week", &|at| at.realised.as_ref().map(|i| i.rate));
    report.series.push(by_budget);
}

fn rounded(value: Option<f64>) -> Value {
    value.map_or(Value::Null, |value| json!((value * 1_000.0).round() / 1_000.0))
}

fn budgets(budgets: &[AtBudget]) -> Table {
    let columns = [
        "budget",
        "promised_per_week",
        "recall_ratio",
        "delay_h",
        "lead_h",
        "false_alarms",
        "realised_per_week",
        "low_per_week",
        "high_per_week",
        "alarmed_percent",
    ];
    let rows = budgets.iter().zip(BUDGETS).map(|(at, (name, promised))| {
        let realised = |end: fn(&evaluation::Interval) -> f64| rounded(at.realised.as_ref().map(end));
        vec![
            json!(name.replace('_', " ")),
            json!(promised),
            rounded(at.recall()),
            rounded(median(at.delays())),
            rounded(median(at.leads())),
            json!(at.false_alarms),
            realised(|i| i.rate),
            realised(|i| i.low),
            realised(|i| i.high),
            rounded(at.alarmed.map(|share| share * 100.0)),
        ]
    });
    Table { columns: columns.map(str::to_owned).to_vec(), rows: rows.collect() }
}

fn kinds(budgets: &[AtBudget]) -> Table {
    let mut columns = vec!["kind".to_owned(), "events".to_owned()];
    columns.extend(budgets.iter().map(|at| format!("found_at_{}", at.name)));
    let names = budgets.first().map(|at| at.kinds.keys()).into_iter().flatten();
    let row = |kind: &String| {
        let of = |at: &AtBudget| at.kinds.get(kind).copied().unwrap_or_default();
        let mut row = vec![json!(kind), json!(budgets.first().map_or(0, |at| of(at).1))];
        row.extend(budgets.iter().map(|at| json!(of(at).0)));
        row
    };
    Table { rows: names.map(row).collect(), columns }
}

#[cfg(test)]
mod tests {
    use evaluation::{Labelled, events::Event};

    use super::*;

    #[test]
    fn what_was_replayed_reaches_from_the_first_reading_to_the_last() {
        let of = |times: &[i64]| Scored { times: times.to_vec(), scores: vec![0.0; times.len()] };
        assert_eq!(span(&[of(&[20, 30]), of(&[]), of(&[10, 25])]), Some((10, 31)));
        assert_eq!(span(&[of(&[])]), None);
    }

    #[test]
    fn the_report_says_what_was_found_by_kind_and_leaves_out_what_was_not_measured() {
        let scores = [0.0, 0.0, 5.0, 5.0, 0.0, 0.0];
        let scored = Scored { times: (0..6).map(|n| n * 10).collect(), scores: scores.to_vec() };
        let event = Event { from: 20, to: 40, full_from: 30 };
        let labelled = Labelled { event, kind: "hot".into() };
        let measure = Measure::of_step(10, 0);
        let mut report = Report::new("evaluation");
        enter(
            &mut report,
            &evaluation::outcome(std::slice::from_ref(&scored), &[vec![labelled]], &[1.0, 1.0, 9.0], &measure),
        );
        assert_eq!(report.figures["recall_at_1_a_week_ratio"], 1.0);
        assert_eq!(report.figures["recall_at_10_a_day_ratio"], 0.0);
        assert!(!report.figures.contains_key("delay_at_10_a_day_h"));
        assert_eq!(report.tables["kinds"].rows, [[json!("hot"), json!(1), json!(1), json!(1), json!(0)]]);
        let page = page::html(&report);
        assert!(page.contains("Events found") && page.contains("hot") && page.contains("<svg"), "{page}");
        let mut without = Report::new("evaluation");
        enter(&mut without, &evaluation::outcome(&[scored], &[vec![]], &[1.0; 3], &measure));
        assert!(!without.figures.contains_key("vus_pr_ratio") && !without.tables.contains_key("kinds"));
        assert!(without.figures.contains_key("realised_at_1_a_week_per_week"));
    }
}
