//! Alerts against the labelled truth: what was found, how soon, and what was a false alarm.

use std::collections::BTreeMap;

use serde::Serialize;
use simulator::truth::Truth;
use telemetry::{UnixMillis, event::AlertEvent};

use super::Alerts;

/// One fault and whether it was found.
#[derive(Debug, Clone, Serialize)]
pub struct Detection {
    /// The vehicle.
    pub vehicle: String,
    /// Which fault.
    pub fault: String,
    /// From the fault's onset to the reading that raised the alert, in event time, s; none if it was not found.
    pub delay_s: Option<f64>,
    /// The signal that contributed most.
    pub blamed: Option<String>,
}

/// Alerts against truth.
#[derive(Debug, Clone, Serialize)]
pub struct Alarms {
    /// Every fault of the truth.
    pub faults: Vec<Detection>,
    /// Alerts that no fault explains, the first of those of a vehicle that follow each other within six hours.
    pub false_alarms: Vec<String>,
    /// Alerts that no fault explains and that came behind one of the same vehicle.
    pub repeated: usize,
    /// Healthy driving that was scored, vehicle-hours.
    pub healthy_hours: f64,
}

impl Alarms {
    /// How many faults were found.
    pub fn detected(&self) -> usize {
        self.faults.iter().filter(|fault| fault.delay_s.is_some()).count()
    }

    /// By fault kind: found, of how many, and the delays in s.
    pub fn by_fault(&self) -> BTreeMap<String, (usize, usize, Vec<f64>)> {
        let mut by_fault: BTreeMap<String, (usize, usize, Vec<f64>)> = BTreeMap::new();
        for fault in &self.faults {
            let row = by_fault.entry(fault.fault.clone()).or_default();
            row.1 += 1;
            if let Some(delay) = fault.delay_s {
                row.0 += 1;
                row.2.push(delay);
            }
        }
        by_fault
    }
}

/// A found fault's alert may come this long after the fault's end: the window still holds its last readings.
const AFTERMATH_MS: i64 = 5 * 60 * 1000;

/// Alarms of a vehicle that are not further apart count once, as in the promise of the model: 2,160 steps of 10 s.
pub(super) const MERGED_WITHIN_MS: i64 = 6 * 60 * 60 * 1000;

/// Matches alerts to labels by vehicle and time. `scored_hours`: vehicle-hours between the first and the last score.
pub fn judge_alarms(alerts: &Alerts, truth: &[Truth], scored_hours: f64) -> Alarms {
    let explains = |label: &Truth, alert: &AlertEvent| {
        label.vehicle == alert.id.vehicle && (label.from..label.to + AFTERMATH_MS).contains(&alert.opened_at)
    };
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a run fit 53 bits")]
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let faults = truth
        .iter()
        .map(|label| {
            let first = alerts.fired().filter(|alert| explains(label, alert)).min_by_key(|alert| alert.opened_at);
            Detection {
                vehicle: label.vehicle.to_string(),
                fault: label.kind.clone(),
                delay_s: first.map(|alert| seconds(alert.opened_at - label.from)),
                blamed: first.and_then(|alert| alert.contributions.first()).map(|c| c.signal.to_string()),
            }
        })
        .collect();
    let mut unexplained: Vec<_> =
        alerts.fired().filter(|alert| !truth.iter().any(|label| explains(label, alert))).collect();
    unexplained.sort_by_key(|alert| (&alert.id.vehicle, alert.opened_at));
    let told = |alert: &AlertEvent| {
        let blamed = alert.contributions.first().map_or("nothing", |c| c.signal.as_str());
        format!("{} blames {blamed}, score {:.2}", alert.id, alert.score)
    };
    let (all, mut before) = (unexplained.len(), None);
    unexplained.retain(|alert| {
        let alarm = (&alert.id.vehicle, alert.opened_at);
        !before.replace(alarm).is_some_and(|before| is_repeated(&before, &alarm))
    });
    let false_alarms: Vec<_> = unexplained.into_iter().map(told).collect();
    let repeated = all - false_alarms.len();
    let faulty_hours: f64 = truth.iter().map(|label| seconds(label.to - label.from) / 3600.0).sum();
    Alarms { faults, false_alarms, repeated, healthy_hours: (scored_hours - faulty_hours).max(0.0) }
}

/// Whether an alarm, each a vehicle and a time, only repeats the one before it.
fn is_repeated<V: PartialEq>(before: &(V, UnixMillis), alarm: &(V, UnixMillis)) -> bool {
    before.0 == alarm.0 && alarm.1 - before.1 <= MERGED_WITHIN_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_soon_after_one_of_the_same_vehicle_repeats_it() {
        assert!(is_repeated(&("a", 0), &("a", MERGED_WITHIN_MS)));
        assert!(!is_repeated(&("a", 0), &("a", MERGED_WITHIN_MS + 1)));
        assert!(!is_repeated(&("a", 0), &("b", 1)));
    }
}
