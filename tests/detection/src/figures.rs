//! What scores are worth: events found at a budget of alarms, realised against promised, areas under curves.

use std::{collections::BTreeMap, fmt};

use evaluation::{
    Interval, Peak, Series, average_precision,
    events::{Event, alarms, judge},
    limit_for, rate_interval, vus_pr,
};
use simulator::fault::FaultKind;

use crate::{
    fleet::{STEP_MS, Set, Test},
    scoring::Scored,
};

/// Alarms of a vehicle that are less than this apart count once, ms.
pub(crate) const MERGE_MS: i64 = 600_000;
/// For so long after a fault alarms are neither right nor wrong, ms.
const SETTLE_MS: i64 = 12 * 3_600_000;
/// A minute: blocks whose largest score counts.
const BLOCK_MS: i64 = 60_000;
const WEEK_MS: f64 = 7.0 * 86_400_000.0;
/// Largest tolerance of VUS-PR, in readings: half an hour.
const TOLERANCE: usize = 180;
/// Steps of the tolerance.
const STEPS: usize = 5;

/// Budgets: alarms per vehicle-week, with their names.
pub(crate) const BUDGETS: [(&str, f64); 3] = [("1_a_week", 1.0), ("1_a_day", 7.0), ("10_a_day", 70.0)];

/// How a method did on one test.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// The set.
    pub(crate) set: Set,
    /// Size of its faults; none: healthy.
    pub(crate) percent: Option<u16>,
    /// By budget.
    pub(crate) budgets: Vec<AtBudget>,
    /// Where there are faults.
    pub(crate) vus_pr: Option<f64>,
    /// Where there are faults.
    pub(crate) auc_pr: Option<f64>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.set.as_str().replace('_', " "))?;
        match self.percent {
            Some(percent) => write!(f, ", severity {}", f64::from(percent) / 100.0)?,
            None => write!(f, ", healthy")?,
        }
        for at in &self.budgets {
            write!(f, "; at {}", at.name.replace('_', " "))?;
            match (&at.realised, at.recall()) {
                (Some(Interval { rate, low, high }), _) => write!(f, " {rate:.2} ({low:.2} to {high:.2}) a week")?,
                (None, Some(recall)) => write!(f, " {recall:.3} found")?,
                (None, None) => write!(f, " nothing to find")?,
            }
        }
        self.vus_pr.map_or(Ok(()), |vus| write!(f, "; VUS-PR {vus:.3}"))
    }
}

/// How a method did at one budget.
#[derive(Debug, Clone)]
pub(crate) struct AtBudget {
    /// Name of the budget.
    pub(crate) name: &'static str,
    /// Alarms per vehicle-week on a healthy fleet.
    pub(crate) realised: Option<Interval>,
    /// By kind of fault: found, and how many there were.
    pub(crate) kinds: BTreeMap<FaultKind, (u64, u64)>,
    /// Delays of the found ones, h.
    pub(crate) delays: Vec<f64>,
    /// Leads of the found ones, h.
    pub(crate) leads: Vec<f64>,
}

impl AtBudget {
    /// Share of the events that were found.
    pub(crate) fn recall(&self) -> Option<f64> {
        let (found, all) = self.kinds.values().fold((0, 0), |(found, all), (f, a)| (found + f, all + a));
        (all > 0).then(|| found as f64 / all as f64)
    }
}

/// The limits of a method at each budget, from its scores of healthy vehicles.
pub(crate) fn limits(scored: &[Scored]) -> Vec<f32> {
    let mut peaks: Vec<Peak> = Vec::new();
    let mut time_ms = 0.0;
    for (vehicle, one) in (0..).zip(scored) {
        time_ms += one.times.len() as f64 * STEP_MS as f64;
        let mut block = None;
        for (time, score) in one.times.iter().zip(&one.scores).filter(|(_, score)| !score.is_nan()) {
            let at = time.div_euclid(BLOCK_MS);
            match (block == Some(at), peaks.last_mut()) {
                (true, Some(peak)) => peak.score = peak.score.max(*score),
                _ => peaks.push(Peak { vehicle, time: *time, score: *score }),
            }
            block = Some(at);
        }
    }
    let limit = |a_week: f64| limit_for(&peaks, a_week * time_ms / WEEK_MS, MERGE_MS);
    BUDGETS.iter().map(|(_, a_week)| limit(*a_week).unwrap_or(f32::INFINITY)).collect()
}

/// Judges the scores of a test.
pub(crate) fn outcome(test: &Test, scored: &[Scored], limits: &[f32]) -> Outcome {
    let weeks = scored.iter().map(|one| one.times.len() as f64 * STEP_MS as f64).sum::<f64>() / WEEK_MS;
    let budgets = BUDGETS.iter().zip(limits).map(|((name, _), limit)| {
        let mut at = AtBudget { name, realised: None, kinds: BTreeMap::new(), delays: Vec::new(), leads: Vec::new() };
        let mut count = 0;
        for (one, faults) in scored.iter().zip(&test.faults) {
            let readings = || one.times.iter().copied().zip(one.scores.iter().copied());
            count += alarms(readings(), *limit, MERGE_MS).len() as u64;
            // An alarm that goes on into an event tells of it, too.
            let above: Vec<i64> = readings().filter(|(_, score)| *score >= *limit).map(|(time, _)| time).collect();
            let events: Vec<Event> = faults
                .iter()
                .map(|fault| Event { from: fault.from, to: fault.to, full_from: fault.full_from() })
                .collect();
            for (fault, found) in faults.iter().zip(judge(&above, &events, SETTLE_MS).found) {
                let (hits, all) = at.kinds.entry(fault.kind).or_default();
                *all += 1;
                if let Some(found) = found {
                    *hits += 1;
                    at.delays.push(found.delay_ms as f64 / 3_600_000.0);
                    at.leads.push(found.lead_ms as f64 / 3_600_000.0);
                }
            }
        }
        if test.percent.is_none() {
            at.realised = rate_interval(count, weeks);
        }
        at
    });
    let budgets = budgets.collect();
    let (vus_pr, auc_pr) = if test.percent.is_some() { areas(test, scored) } else { (None, None) };
    Outcome { set: test.set, percent: test.percent, budgets, vus_pr, auc_pr }
}

fn areas(test: &Test, scored: &[Scored]) -> (Option<f64>, Option<f64>) {
    let labels: Vec<Vec<bool>> = scored
        .iter()
        .zip(&test.faults)
        .map(|(one, faults)| {
            let wrong = |time: &i64| faults.iter().any(|fault| (fault.from..fault.to).contains(time));
            one.times.iter().map(wrong).collect()
        })
        .collect();
    let series: Vec<Series<'_>> =
        scored.iter().zip(&labels).map(|(one, labels)| Series { scores: &one.scores, labels }).collect();
    (vus_pr(&series, TOLERANCE, STEPS), average_precision(&series))
}
