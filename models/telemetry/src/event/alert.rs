//! Alerts: lifecycle events, identifiers, and the commands of technicians.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Contribution, Source};
use crate::{UnixMillis, VehicleId, codec::lent::Lent};

/// Lifecycle of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// The condition holds and nobody has taken it.
    Firing,
    /// Somebody is on it.
    Acknowledged,
    /// The condition is gone, or somebody resolved it.
    Resolved,
}

/// How urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Look at it when the vehicle is in the workshop.
    Warning,
    /// Look at it now.
    Critical,
}

/// An episode: the reading that started it. A function of the input, so that a replay gives the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Episode {
    /// Boot of the first anomalous reading.
    pub boot: u32,
    /// Its sequence.
    pub seq: u64,
}

/// Identifies an alert: `vehicle|detector|boot.seq`, where the detector is a rule's or a model's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertId {
    /// The vehicle.
    pub vehicle: VehicleId,
    /// The name (not the version) of the model or rule: 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub detector: String,
    /// Which episode.
    pub episode: Episode,
}

/// A text that is not an alert's identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an alert is vehicle|detector|boot.seq")]
pub struct InvalidAlertId;

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|{}.{}", self.vehicle, self.detector, self.episode.boot, self.episode.seq)
    }
}

impl FromStr for AlertId {
    type Err = InvalidAlertId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (vehicle, rest) = text.split_once('|')?;
            let (detector, episode) = rest.split_once('|')?;
            let (boot, seq) = episode.split_once('.')?;
            Some(Self {
                vehicle: vehicle.parse().ok()?,
                // The same alphabet as a vehicle's: no `|` can hide in it.
                detector: VehicleId::parse(detector).ok()?.as_str().to_owned(),
                episode: Episode { boot: boot.parse().ok()?, seq: seq.parse().ok()? },
            })
        };
        parse().ok_or(InvalidAlertId)
    }
}

impl Serialize for AlertId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AlertId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Lent::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// One step in an alert's life, on `alerts`. Carries the whole state, so that the last one is enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertEvent {
    /// Which alert.
    pub id: AlertId,
    /// Counts the steps of this alert from 1; a repeated event has the same revision and the same bytes.
    pub revision: u64,
    /// The state after this step.
    pub state: AlertState,
    /// How urgent.
    pub severity: Severity,
    /// When this step happened: window time of the causing score, or the command's time; ms.
    pub time: UnixMillis,
    /// Window time of the reading that raised the alert, ms.
    pub opened_at: UnixMillis,
    /// The reading whose score raised the alert (the one that completed the condition).
    pub trigger: Episode,
    /// Where that reading stands in `telemetry`.
    pub source: Source,
    /// Version of the model that raised it.
    pub model: String,
    /// The highest score of the episode so far; 1 is the threshold.
    pub score: f64,
    /// The signals that contributed most when it was raised.
    pub contributions: Vec<Contribution>,
    /// Who acknowledged or resolved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// What they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The technician's finding, where a person resolved it: for example `confirmed` or `false_alarm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

/// What a technician does with an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum AlertAction {
    /// "I am on it."
    Acknowledge,
    /// Done, with the finding.
    Resolve {
        /// For example `confirmed` or `false_alarm`.
        outcome: String,
    },
    /// No alerts of this detector and vehicle until then, ms.
    Silence {
        /// End, ms since the epoch.
        until: UnixMillis,
    },
}

/// A technician's command, on `alert-commands`; key = the alert's vehicle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertCommand {
    /// UUIDv7; a repeated command has the same one and no further effect.
    pub id: uuid::Uuid,
    /// Which alert.
    pub alert: AlertId,
    /// What to do.
    #[serde(flatten)]
    pub action: AlertAction,
    /// Who.
    pub actor: String,
    /// A remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When the gateway took the command, ms.
    pub time: UnixMillis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_id_survives_its_text() {
        let id = AlertId {
            vehicle: VehicleId::parse("veh-1").unwrap(),
            detector: "autoencoder".into(),
            episode: Episode { boot: 7, seq: 42 },
        };
        assert_eq!(id.to_string(), "veh-1|autoencoder|7.42");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "veh-1", "veh-1|a", "veh-1|a|7", "veh-1|a|7.x", "v|a|b|7.1", "v||7.1"] {
            assert_eq!(bad.parse::<AlertId>(), Err(InvalidAlertId), "{bad}");
        }
    }

    #[test]
    fn a_command_has_one_flat_form() {
        let text = r#"{"id":"01890a5d-ac96-774b-bcce-b302099a8057","alert":"v|a|7.1","action":"resolve","outcome":"confirmed","actor":"kim","time":5}"#;
        let command: AlertCommand = serde_json::from_str(text).unwrap();
        assert_eq!(command.action, AlertAction::Resolve { outcome: "confirmed".into() });
        assert_eq!(serde_json::to_string(&command).unwrap(), text);
    }
}
