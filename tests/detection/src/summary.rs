//! From attempts to the report: tables, figures, plots, verdicts.

use std::collections::{BTreeMap, BTreeSet};

use detector::SEED_SPREAD;
use evaluation::{AtBudget, BUDGETS};
use report::{Report, Series, Table, Verdict};
use serde_json::{Value, json};

use crate::{contest::Attempt, figures::Outcome, fleet::Set};

/// The detector whose figures are promised.
const SHIPPED: &str = "leave-one-out";
/// Least shares of events found at one alarm in a vehicle-week, by size of the faults in percent.
const LEAST_RECALL: [(u16, f64); 2] = [(100, 0.9), (50, 0.6)];
/// Faults that range rules find more of are too easy.
const MOST_BY_RANGES: f64 = 0.5;

/// Values of several seeds.
struct Spread {
    mean: f64,
    least: f64,
    most: f64,
}

fn spread(values: impl Iterator<Item = f64>) -> Option<Spread> {
    let values: Vec<f64> = values.collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let least = values.iter().copied().reduce(f64::min)?;
    let most = values.iter().copied().reduce(f64::max)?;
    Some(Spread { mean, least, most })
}

/// All attempts of one contestant.
struct Contestant<'a> {
    name: &'static str,
    attempts: Vec<&'a Attempt>,
}

impl Contestant<'_> {
    fn outcomes(&self, set: Set, percent: Option<u16>) -> impl Iterator<Item = &Outcome> {
        let outcomes = self.attempts.iter().flat_map(|attempt| &attempt.outcomes);
        outcomes.filter(move |outcome| outcome.set == set && outcome.percent == percent)
    }

    fn at(&self, set: Set, percent: Option<u16>, budget: usize) -> impl Iterator<Item = &AtBudget> {
        self.outcomes(set, percent).map(move |outcome| &outcome.judged.budgets[budget])
    }

    fn recall(&self, set: Set, percent: u16, budget: usize) -> Option<Spread> {
        spread(self.at(set, Some(percent), budget).filter_map(AtBudget::recall))
    }

    /// Losses of the seeds, as the gate would compare them.
    fn losses(&self) -> Option<Spread> {
        spread(self.attempts.iter().filter_map(|attempt| attempt.loss))
    }

    /// Realised alarms in a vehicle-week of health: the mean of the seeds with the ends of their mean interval.
    fn realised(&self, set: Set, budget: usize) -> Option<Spread> {
        let of = |value: fn(&evaluation::Interval) -> f64| {
            spread(self.at(set, None, budget).filter_map(|at| at.realised.as_ref()).map(value))
        };
        Some(Spread { mean: of(|i| i.rate)?.mean, least: of(|i| i.low)?.mean, most: of(|i| i.high)?.mean })
    }
}

/// Writes all of it into the report.
pub(crate) fn summarise(report: &mut Report, attempts: &[Attempt], sizes: &[u16]) {
    let mut contestants: Vec<Contestant<'_>> = Vec::new();
    for attempt in attempts {
        match contestants.iter_mut().find(|contestant| contestant.name == attempt.name) {
            Some(contestant) => contestant.attempts.push(attempt),
            None => contestants.push(Contestant { name: attempt.name, attempts: vec![attempt] }),
        }
    }
    report.tables.insert("1 detectors".into(), detectors(&contestants));
    report.tables.insert("2 budgets".into(), budgets(&contestants, sizes));
    report.tables.insert("3 test sets".into(), sets(&contestants));
    report.tables.insert("4 faults".into(), faults(&contestants, sizes));
    report.tables.insert("5 seeds".into(), seeds(&contestants));
    plots(report, &contestants, sizes);
    for contestant in &contestants {
        let name = contestant.name.replace(['-', ' '], "_");
        for (percent, budget) in sizes.iter().flat_map(|size| (0..BUDGETS.len()).map(move |budget| (*size, budget))) {
            if let Some(recall) = contestant.recall(Set::InSeason, percent, budget) {
                let figure = format!("{name}_recall_severity_{percent}_at_{}_ratio", BUDGETS[budget].0);
                report.figures.insert(figure, recall.mean);
            }
        }
        for (budget, (label, _)) in BUDGETS.iter().enumerate() {
            if let Some(realised) = contestant.realised(Set::InSeason, budget) {
                report.figures.insert(format!("{name}_realised_{label}_per_week"), realised.mean);
            }
        }
        if let Some(vus) =
            spread(contestant.outcomes(Set::InSeason, Some(100)).filter_map(|outcome| outcome.judged.vus_pr))
        {
            report.figures.insert(format!("{name}_vus_pr_ratio"), vus.mean);
        }
    }
    verdicts(report, &contestants);
}

fn share(value: Option<f64>) -> Value {
    value.map_or(Value::Null, |value| json!((value * 1_000.0).round() / 1_000.0))
}

fn detectors(contestants: &[Contestant<'_>]) -> Table {
    let columns = [
        "detector",
        "seeds",
        "vus_pr_mean",
        "vus_pr_least",
        "vus_pr_most",
        "auc_pr_mean",
        "recall_severity_0.5",
        "recall_severity_1",
        "recall_severity_2",
        "alarms_per_week",
        "alarms_low",
        "alarms_high",
        "alarmed_percent",
        "delay_h",
        "lead_h",
        "training_s",
        "artefact_kb",
    ];
    let row = |contestant: &Contestant<'_>| {
        let vus = spread(contestant.outcomes(Set::InSeason, Some(100)).filter_map(|outcome| outcome.judged.vus_pr));
        let auc = spread(contestant.outcomes(Set::InSeason, Some(100)).filter_map(|outcome| outcome.judged.auc_pr));
        let recall = |percent| share(contestant.recall(Set::InSeason, percent, 0).map(|spread| spread.mean));
        let realised = contestant.realised(Set::InSeason, 0);
        let hours = |of: fn(&AtBudget) -> Vec<f64>| {
            let mut all: Vec<f64> = contestant.at(Set::InSeason, Some(100), 0).flat_map(of).collect();
            all.sort_unstable_by(f64::total_cmp);
            share(all.get(all.len() / 2).copied())
        };
        let alarmed = spread(contestant.at(Set::InSeason, None, 0).filter_map(|at| at.alarmed));
        let training = spread(contestant.attempts.iter().map(|attempt| attempt.training_s));
        vec![
            json!(contestant.name),
            json!(contestant.attempts.len()),
            share(vus.as_ref().map(|s| s.mean)),
            share(vus.as_ref().map(|s| s.least)),
            share(vus.as_ref().map(|s| s.most)),
            share(auc.map(|s| s.mean)),
            recall(50),
            recall(100),
            recall(200),
            share(realised.as_ref().map(|s| s.mean)),
            share(realised.as_ref().map(|s| s.least)),
            share(realised.as_ref().map(|s| s.most)),
            share(alarmed.map(|s| s.mean * 100.0)),
            hours(|at| at.delays().collect()),
            hours(|at| at.leads().collect()),
            share(training.map(|s| s.mean)),
            json!(contestant.attempts.iter().map(|attempt| attempt.bytes).max().unwrap_or_default() / 1_000),
        ]
    };
    Table { columns: columns.map(str::to_owned).to_vec(), rows: contestants.iter().map(row).collect() }
}

fn budgets(contestants: &[Contestant<'_>], sizes: &[u16]) -> Table {
    let mut columns = vec!["detector".to_owned(), "budget".to_owned(), "promised_per_week".to_owned()];
    columns.extend(["realised_per_week", "realised_low", "realised_high"].map(str::to_owned));
    columns.extend(sizes.iter().map(|percent| format!("recall_severity_{}", f64::from(*percent) / 100.0)));
    let rows = contestants.iter().flat_map(|contestant| {
        BUDGETS.iter().enumerate().map(|(budget, (name, a_week))| {
            let realised = contestant.realised(Set::InSeason, budget);
            let mut row = vec![json!(contestant.name), json!(name.replace('_', " ")), json!(a_week)];
            row.push(share(realised.as_ref().map(|s| s.mean)));
            row.push(share(realised.as_ref().map(|s| s.least)));
            row.push(share(realised.as_ref().map(|s| s.most)));
            let recall = |percent: &u16| share(contestant.recall(Set::InSeason, *percent, budget).map(|s| s.mean));
            row.extend(sizes.iter().map(recall));
            row
        })
    });
    Table { rows: rows.collect(), columns }
}

fn sets(contestants: &[Contestant<'_>]) -> Table {
    let columns =
        ["detector", "set", "recall_severity_1", "realised_per_week", "realised_low", "realised_high", "vus_pr"];
    let rows = contestants.iter().flat_map(|contestant| {
        [Set::InSeason, Set::ShiftedSeason, Set::Unseen].into_iter().map(|set| {
            let realised = contestant.realised(set, 0);
            let vus = spread(contestant.outcomes(set, Some(100)).filter_map(|outcome| outcome.judged.vus_pr));
            vec![
                json!(contestant.name),
                json!(set.as_str().replace('_', " ")),
                share(contestant.recall(set, 100, 0).map(|s| s.mean)),
                share(realised.as_ref().map(|s| s.mean)),
                share(realised.as_ref().map(|s| s.least)),
                share(realised.as_ref().map(|s| s.most)),
                share(vus.map(|s| s.mean)),
            ]
        })
    });
    Table { columns: columns.map(str::to_owned).to_vec(), rows: rows.collect() }
}

fn faults(contestants: &[Contestant<'_>], sizes: &[u16]) -> Table {
    let kinds: BTreeSet<String> = contestants
        .iter()
        .flat_map(|contestant| &contestant.attempts)
        .flat_map(|attempt| &attempt.outcomes)
        .flat_map(|outcome| outcome.judged.budgets.iter().flat_map(|at| at.kinds.keys().cloned()))
        .collect();
    let mut columns = vec!["fault".to_owned(), "events".to_owned()];
    let tell = |size: &u16| f64::from(*size) / 100.0;
    for contestant in contestants {
        columns.extend(sizes.iter().map(|size| format!("{}_{}", contestant.name, tell(size))));
    }
    let row = |kind: &String| {
        let sums = |contestant: &Contestant<'_>, percent: u16| {
            let counts = contestant.at(Set::InSeason, Some(percent), 0).filter_map(|at| at.kinds.get(kind));
            counts.fold((0, 0), |(found, all), (f, a)| (found + f, all + a))
        };
        let events = contestants.first().map_or(0, |first| sums(first, 100).1 / first.attempts.len() as u64);
        let mut row = vec![json!(kind), json!(events)];
        for contestant in contestants {
            row.extend(sizes.iter().map(|percent| {
                let (found, all) = sums(contestant, *percent);
                share((all > 0).then(|| found as f64 / all as f64))
            }));
        }
        row
    };
    Table { rows: kinds.iter().map(row).collect(), columns }
}

/// By how much trainings differ that differ in their seed alone.
fn seeds(contestants: &[Contestant<'_>]) -> Table {
    let columns = ["detector", "loss_mean", "loss_least", "loss_most", "loss_spread"];
    let row = |contestant: &Contestant<'_>| {
        let Spread { mean, least, most } = contestant.losses()?;
        let told = [mean, least, most, most - least].map(|value| json!((value * 10_000.0).round() / 10_000.0));
        Some([vec![json!(contestant.name)], told.to_vec()].concat())
    };
    Table { columns: columns.map(str::to_owned).to_vec(), rows: contestants.iter().filter_map(row).collect() }
}

fn plots(report: &mut Report, contestants: &[Contestant<'_>], sizes: &[u16]) {
    let mut by_size = Series::new("severity_ratio", sizes.iter().map(|size| f64::from(*size) / 100.0).collect());
    let mut by_budget = Series::new("alarms_per_week", BUDGETS.iter().map(|(_, a_week)| *a_week).collect());
    for contestant in contestants {
        let recall = |percent: u16, budget: usize| contestant.recall(Set::InSeason, percent, budget).map(|s| s.mean);
        let values = sizes.iter().map(|percent| recall(*percent, 0)).collect();
        by_size.line("Events found at one alarm in a vehicle-week", "", contestant.name, values);
        let values = (0..BUDGETS.len()).map(|budget| recall(100, budget)).collect();
        by_budget.line("Events of severity 1 found, by promised alarms", "", contestant.name, values);
        let values =
            (0..BUDGETS.len()).map(|budget| contestant.realised(Set::InSeason, budget).map(|s| s.mean)).collect();
        by_budget.line("Realised alarms in a vehicle-week, by promised ones", "/week", contestant.name, values);
    }
    report.series.extend([by_size, by_budget]);
}

fn verdicts(report: &mut Report, contestants: &[Contestant<'_>]) {
    let mut add = |name: &str, ok: bool, checked: u64, examples: Vec<String>| {
        report.verdicts.insert(name.to_owned(), Verdict { ok, checked, counts: BTreeMap::new(), examples });
    };
    if let Some(shipped) = contestants.iter().find(|contestant| contestant.name == SHIPPED) {
        for (percent, least) in LEAST_RECALL {
            let events =
                shipped.at(Set::InSeason, Some(percent), 0).flat_map(|at| at.kinds.values()).map(|(_, all)| all);
            let recall = shipped.recall(Set::InSeason, percent, 0).map_or(0.0, |s| s.mean);
            let told = format!("{recall:.3} of the events found, {least} wanted");
            add(&format!("recall_severity_{percent}"), recall >= least, events.sum(), vec![told]);
        }
        let realised = shipped.realised(Set::InSeason, 0);
        let (rate, low, high) = realised.map_or((0.0, 0.0, 0.0), |s| (s.mean, s.least, s.most));
        let told = format!("{rate:.2} ({low:.2} to {high:.2}) in a vehicle-week, {} promised", BUDGETS[0].1);
        add("promised_alarms", (low..=high).contains(&BUDGETS[0].1), shipped.attempts.len() as u64, vec![told]);
        // Of a few vehicles each is a large share: what must not be is clearly more than was promised, or twice as much.
        if let Some(unseen) = shipped.realised(Set::Unseen, 0) {
            let Spread { mean, least, most } = unseen;
            let told = format!("{mean:.2} ({least:.2} to {most:.2}) in a vehicle-week, {} promised", BUDGETS[0].1);
            let ok = least <= BUDGETS[0].1 && mean <= 2.0 * BUDGETS[0].1;
            add("promised_alarms_unseen_vehicles", ok, shipped.attempts.len() as u64, vec![told]);
        }
        if let Some(Spread { least, most, .. }) = shipped.losses() {
            let told = format!("losses of the seeds lie {:.4} apart, the gate wants {SEED_SPREAD}", most - least);
            add("gate_wants_more_than_seeds", most - least <= SEED_SPREAD, shipped.attempts.len() as u64, vec![told]);
        }
        let others = contestants.iter().filter(|contestant| contestant.name != SHIPPED);
        let vus = |of: &Contestant<'_>| {
            spread(of.outcomes(Set::InSeason, Some(100)).filter_map(|outcome| outcome.judged.vus_pr))
        };
        let best =
            others.filter_map(|other| Some((other.name, vus(other)?))).max_by(|a, b| a.1.mean.total_cmp(&b.1.mean));
        if let (Some(own), Some((name, best))) = (vus(shipped), best) {
            let told = format!("VUS-PR {:.3} at least, {name} {:.3} at most", own.least, best.most);
            add("beats_every_other_beyond_the_seeds", own.least > best.most, shipped.attempts.len() as u64, vec![told]);
        }
    }
    if let Some(ranges) = contestants.iter().find(|contestant| contestant.name == "range rules") {
        let recall = ranges.recall(Set::InSeason, 100, 0).map_or(1.0, |s| s.mean);
        let told = format!("range rules find {recall:.3}, {MOST_BY_RANGES} at most");
        add("faults_are_not_too_easy", recall <= MOST_BY_RANGES, 1, vec![told]);
    }
}
