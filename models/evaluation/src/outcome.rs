//! What scores are worth: events found at a budget of alarms, realised against promised, areas under curves.

use std::collections::BTreeMap;

use crate::{
    Interval, Peak, Series, average_precision,
    events::{Event, Found, alarms, judge},
    limit_for, rate_interval, vus_pr,
};

/// Budgets: alarms per vehicle-week, with their names.
pub const BUDGETS: [(&str, f64); 3] = [("1_a_week", 1.0), ("1_a_day", 7.0), ("10_a_day", 70.0)];

const WEEK_MS: f64 = 7.0 * 86_400_000.0;

/// Scores of one vehicle: window times, ms, and as many scores; NaN: not scored.
#[derive(Debug, Clone, Default)]
pub struct Scored {
    /// Times, ascending.
    pub times: Vec<i64>,
    /// Scores.
    pub scores: Vec<f32>,
}

/// An event and what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// When.
    pub event: Event,
    /// What.
    pub kind: String,
}

/// By what alarms and events are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// Event time between two readings, ms.
    pub step_ms: i64,
    /// Alarms of a vehicle that are less than this apart count once, ms.
    pub merge_ms: i64,
    /// For so long after an event alarms are neither right nor wrong, ms.
    pub settle_ms: i64,
    /// Blocks whose largest score counts where a limit is set, ms.
    pub block_ms: i64,
    /// Largest tolerance of VUS-PR, in readings.
    pub tolerance: usize,
    /// Steps of the tolerance.
    pub steps: usize,
}

impl Measure {
    /// By the steps of a layout: alarms within 60 steps are one, VUS-PR forgives 180 readings.
    pub fn of_step(step_ms: i64, settle_steps: i64) -> Self {
        Self {
            step_ms,
            merge_ms: 60 * step_ms,
            settle_ms: settle_steps.saturating_mul(step_ms),
            block_ms: 6 * step_ms,
            tolerance: 180,
            steps: 5,
        }
    }
}

/// How a method did.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// By budget.
    pub budgets: Vec<AtBudget>,
    /// Where there are events.
    pub vus_pr: Option<f64>,
    /// Where there are events.
    pub auc_pr: Option<f64>,
}

/// How a method did at one budget.
#[derive(Debug, Clone)]
pub struct AtBudget {
    /// Name of the budget.
    pub name: &'static str,
    /// Alarms outside of all events.
    pub false_alarms: u64,
    /// The same per vehicle-week outside of events; none where there was no such time.
    pub realised: Option<Interval>,
    /// Share of the readings outside of events at which an alarm was on; none where there were none. It tells an alarm
    /// that never ends, which costs one and misses nothing.
    pub alarmed: Option<f64>,
    /// By kind of event: found, and how many there were.
    pub kinds: BTreeMap<String, (u64, u64)>,
    /// What became of each event, vehicle by vehicle in their order.
    pub found: Vec<Option<Found>>,
}

impl AtBudget {
    /// Share of the events that were found.
    pub fn recall(&self) -> Option<f64> {
        let found = self.found.iter().flatten().count() as f64;
        (!self.found.is_empty()).then(|| found / self.found.len() as f64)
    }

    /// Delays of the found ones, h.
    pub fn delays(&self) -> impl Iterator<Item = f64> + '_ {
        self.found.iter().flatten().map(|found| found.delay_ms as f64 / 3_600_000.0)
    }

    /// Leads of the found ones, h.
    pub fn leads(&self) -> impl Iterator<Item = f64> + '_ {
        self.found.iter().flatten().map(|found| found.lead_ms as f64 / 3_600_000.0)
    }
}

/// The limits of a method at each budget, from its scores of healthy vehicles.
pub fn limits(scored: &[Scored], measure: &Measure) -> Vec<f32> {
    let mut peaks: Vec<Peak> = Vec::new();
    let mut time_ms = 0.0;
    for (vehicle, one) in (0..).zip(scored) {
        time_ms += one.times.len() as f64 * measure.step_ms as f64;
        let mut block = None;
        for (time, score) in one.times.iter().zip(&one.scores).filter(|(_, score)| !score.is_nan()) {
            let at = time.div_euclid(measure.block_ms);
            match (block == Some(at), peaks.last_mut()) {
                (true, Some(peak)) => peak.score = peak.score.max(*score),
                _ => peaks.push(Peak { vehicle, time: *time, score: *score }),
            }
            block = Some(at);
        }
    }
    let limit = |a_week: f64| limit_for(&peaks, 1.0, a_week * time_ms / WEEK_MS, measure.merge_ms, None);
    BUDGETS.iter().map(|(_, a_week)| limit(*a_week).unwrap_or(f32::INFINITY)).collect()
}

/// Judges the scores of vehicles, each with its events ascending by time, at a limit for each budget.
pub fn outcome(scored: &[Scored], events: &[Vec<Labelled>], limits: &[f32], measure: &Measure) -> Outcome {
    let of_vehicle: Vec<Vec<Event>> =
        events.iter().map(|events| events.iter().map(|labelled| labelled.event).collect()).collect();
    let healthy: Vec<Vec<bool>> =
        scored.iter().zip(&of_vehicle).map(|(one, events)| healthy(one, events, measure)).collect();
    let readings = healthy.iter().flatten().filter(|healthy| **healthy).count() as f64;
    let weeks = readings * measure.step_ms as f64 / WEEK_MS;
    let budgets = BUDGETS.iter().zip(limits).map(|((name, _), limit)| {
        let (mut kinds, mut found, mut false_alarms) = (BTreeMap::<String, (u64, u64)>::new(), Vec::new(), 0);
        for ((one, events), labelled) in scored.iter().zip(&of_vehicle).zip(events) {
            let readings = || one.times.iter().copied().zip(one.scores.iter().copied());
            let begun = alarms(readings(), *limit, measure.merge_ms);
            false_alarms += judge(&begun, events, measure.settle_ms).false_alarms;
            // An alarm that goes on into an event tells of it, too.
            let above: Vec<i64> = readings().filter(|(_, score)| *score >= *limit).map(|(time, _)| time).collect();
            let own = judge(&above, events, measure.settle_ms).found;
            for (labelled, found) in labelled.iter().zip(&own) {
                let (hits, all) = kinds.entry(labelled.kind.clone()).or_default();
                *all += 1;
                *hits += u64::from(found.is_some());
            }
            found.extend(own);
        }
        let above = scored.iter().zip(&healthy).flat_map(|(one, healthy)| one.scores.iter().zip(healthy));
        let above = above.filter(|(score, healthy)| **healthy && **score >= *limit).count() as f64;
        let alarmed = (readings > 0.0).then(|| above / readings);
        AtBudget { name, false_alarms, realised: rate_interval(false_alarms, weeks), alarmed, kinds, found }
    });
    let budgets = budgets.collect();
    let (vus_pr, auc_pr) = areas(scored, &of_vehicle, measure);
    Outcome { budgets, vus_pr, auc_pr }
}

/// Which readings of a vehicle lie outside of all events and what follows them.
fn healthy(one: &Scored, events: &[Event], measure: &Measure) -> Vec<bool> {
    let excused =
        |time: i64| events.iter().any(|event| (event.from..event.to.saturating_add(measure.settle_ms)).contains(&time));
    one.times.iter().map(|time| !excused(*time)).collect()
}

fn areas(scored: &[Scored], events: &[Vec<Event>], measure: &Measure) -> (Option<f64>, Option<f64>) {
    if events.iter().all(Vec::is_empty) {
        return (None, None);
    }
    let labels: Vec<Vec<bool>> = scored
        .iter()
        .zip(events)
        .map(|(one, events)| {
            let wrong = |time: &i64| events.iter().any(|event| (event.from..event.to).contains(time));
            one.times.iter().map(wrong).collect()
        })
        .collect();
    let series: Vec<Series<'_>> =
        scored.iter().zip(&labels).map(|(one, labels)| Series { scores: &one.scores, labels }).collect();
    (vus_pr(&series, measure.tolerance, measure.steps), average_precision(&series))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURE: Measure = Measure { step_ms: 10, merge_ms: 0, settle_ms: 20, block_ms: 10, tolerance: 2, steps: 2 };

    fn scored(scores: &[f32]) -> Scored {
        Scored { times: (0..scores.len() as i64).map(|n| n * 10).collect(), scores: scores.to_vec() }
    }

    fn event(kind: &str, from: i64, to: i64) -> Labelled {
        Labelled { event: Event { from, to, full_from: from }, kind: kind.into() }
    }

    #[test]
    fn events_are_counted_by_kind_and_what_follows_them_is_neither_right_nor_wrong() {
        let scores = [0.0, 5.0, 0.0, 5.0, 5.0, 5.0, 0.0, 5.0, 0.0, 0.0];
        let events = vec![vec![event("hot", 30, 50), event("worn", 80, 90)], vec![]];
        let outcome = outcome(&[scored(&scores), scored(&[0.0; 10])], &events, &[1.0, 9.0, 1.0], &MEASURE);
        let at = &outcome.budgets[0];
        assert_eq!(at.kinds, BTreeMap::from([("hot".into(), (1, 1)), ("worn".into(), (0, 1))]));
        assert_eq!((at.recall(), at.false_alarms), (Some(0.5), 2), "10 and 70; 50 follows an event");
        // Of 20 readings six are in events or follow them.
        let weeks = 14.0 * 10.0 / WEEK_MS;
        assert!((at.realised.unwrap().rate - 2.0 / weeks).abs() < 1.0);
        assert_eq!(at.alarmed, Some(2.0 / 14.0));
        assert_eq!(outcome.budgets[1].recall(), Some(0.0));
        assert!(outcome.vus_pr.unwrap() > 0.0 && outcome.auc_pr.unwrap() > 0.0);
    }

    #[test]
    fn without_events_all_alarms_are_false_and_nothing_can_be_found() {
        let outcome = outcome(&[scored(&[0.0, 2.0, 0.0, 2.0])], &[vec![]], &[1.0; 3], &MEASURE);
        assert_eq!((outcome.budgets[0].false_alarms, outcome.budgets[0].recall()), (2, None));
        assert_eq!((outcome.vus_pr, outcome.auc_pr), (None, None));
    }
}
