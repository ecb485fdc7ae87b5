//! Alerts against the labelled truth: what was found, how soon, and what was a false alarm.

use std::collections::BTreeMap;

use serde::Serialize;
use simulator::truth::Truth;

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
    /// Alerts that no fault explains.
    pub false_alarms: Vec<String>,
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

/// Matches alerts to labels by vehicle and time. `scored_hours`: vehicle-hours between the first and the last score.
pub fn judge_alarms(alerts: &Alerts, truth: &[Truth], scored_hours: f64) -> Alarms {
    let explains = |label: &Truth, alert: &telemetry::event::AlertEvent| {
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
                blamed: first.and_then(|alert| alert.contributions.first()).map(|c| c.signal.clone()),
            }
        })
        .collect();
    let false_alarms = alerts
        .fired()
        .filter(|alert| !truth.iter().any(|label| explains(label, alert)))
        .map(|alert| {
            let blamed = alert.contributions.first().map_or("nothing", |c| c.signal.as_str());
            format!("{} blames {blamed}, score {:.2}", alert.id, alert.score)
        })
        .collect();
    let faulty_hours: f64 = truth.iter().map(|label| seconds(label.to - label.from) / 3600.0).sum();
    Alarms { faults, false_alarms, healthy_hours: (scored_hours - faulty_hours).max(0.0) }
}
