//! Labels: what was wrong with which vehicle, and when. Lines of JSON in the form of the simulator's truth, so that one
//! reader does for both; the judge's, never a reading's.

use std::{collections::BTreeMap, io::BufRead};

use serde::{Deserialize, Serialize};
use telemetry::{UnixMillis, VehicleId};

use crate::{Labelled, events::Event};

/// One line: something that was wrong with a vehicle for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// Whose.
    pub vehicle: VehicleId,
    /// What: a name of the mapping's, or the simulator's.
    pub kind: String,
    /// When it begins, event time, ms since the epoch.
    pub from: UnixMillis,
    /// When it ends (exclusive), event time, ms since the epoch.
    pub to: UnixMillis,
    /// When it has its full strength: data without a course know only `from`.
    #[serde(default)]
    pub full_from: UnixMillis,
    /// How strong it gets, for people.
    #[serde(default)]
    pub severity: String,
    /// The VSS paths of the signals that show it, where that is known.
    #[serde(default)]
    pub signals: Vec<String>,
}

/// Labels by vehicle, each vehicle's ascending by `from`.
pub type Labels = BTreeMap<VehicleId, Vec<Label>>;

/// Reads lines of labels, as the import or the simulator wrote them.
///
/// # Errors
/// Which line is none, and why.
pub fn read(from: impl BufRead) -> Result<Labels, String> {
    let mut vehicles = Labels::new();
    for (at, line) in from.lines().enumerate() {
        let line = line.map_err(|error| error.to_string())?;
        if line.trim().is_empty() {
            continue;
        }
        let label: Label =
            serde_json::from_str(&line).map_err(|error| format!("line {} is no label: {error}", at + 1))?;
        if label.from >= label.to {
            let (line, from, to) = (at + 1, label.from, label.to);
            return Err(format!("line {line}: the label ends at {to} before it begins at {from}"));
        }
        vehicles.entry(label.vehicle.clone()).or_default().push(label);
    }
    vehicles.values_mut().for_each(|labels| labels.sort_by_key(|label| label.from));
    Ok(vehicles)
}

/// The events of each of these vehicles that overlap with a while.
pub fn events(labels: &Labels, vehicles: &[VehicleId], (from, to): (UnixMillis, UnixMillis)) -> Vec<Vec<Labelled>> {
    let of_vehicle = |vehicle: &VehicleId| {
        let within = labels.get(vehicle).into_iter().flatten().filter(|label| label.from < to && label.to > from);
        let event = |label: &Label| Labelled {
            event: Event { from: label.from, to: label.to, full_from: label.full_from.max(label.from) },
            kind: label.kind.clone(),
        };
        within.map(event).collect()
    };
    vehicles.iter().map(of_vehicle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_those_of_the_vehicles_that_overlap() {
        let line = |vehicle: &str, from: i64, to: i64| {
            format!("{{\"vehicle\":\"{vehicle}\",\"kind\":\"hot\",\"from\":{from},\"to\":{to},\"course\":[]}}\n")
        };
        let text = line("a", 50, 60) + &line("a", 10, 20) + &line("b", 0, 5) + "\n" + &line("c", 1, 90);
        let labels = read(text.as_bytes()).unwrap();
        let vehicles = ["b", "a", "d"].map(|name| VehicleId::parse(name).unwrap());
        let found = events(&labels, &vehicles, (15, 55));
        let times: Vec<Vec<_>> = found.iter().map(|own| own.iter().map(|one| one.event.from).collect()).collect();
        assert_eq!(times, [vec![], vec![10, 50], vec![]]);
        assert_eq!(found[1][0].event.full_from, 10, "no course: at once");
        assert!(read(&b"{}"[..]).unwrap_err().starts_with("line 1 "));
    }
}
