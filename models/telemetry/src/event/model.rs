//! The model registry: it *is* the compacted topic `models`; its history is `model-events`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Drift;
use crate::UnixMillis;

/// The key of a record on `models`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ModelKey {
    /// `artifact/<sha256>`: the model file's bytes.
    Artifact(String),
    /// `version/<name>`: a [`ModelVersion`].
    Version(String),
    /// `alias/<name>`, for example `alias/champion`: a [`ModelAlias`].
    Alias(String),
}

impl fmt::Display for ModelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Artifact(hash) => write!(f, "artifact/{hash}"),
            Self::Version(version) => write!(f, "version/{version}"),
            Self::Alias(alias) => write!(f, "alias/{alias}"),
        }
    }
}

impl FromStr for ModelKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some(("artifact", rest)) => Ok(Self::Artifact(rest.to_owned())),
            Some(("version", rest)) => Ok(Self::Version(rest.to_owned())),
            Some(("alias", rest)) => Ok(Self::Alias(rest.to_owned())),
            _ => Err(format!("{text:?} is no key of the model registry")),
        }
    }
}

/// An immutable model version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// Its name, for example `autoencoder-1763712000000-3f9a2c1b`: detector, event time of the last training
    /// record, start of the artefact's hash.
    pub version: String,
    /// The detector's name: the middle part of an alert's id.
    pub detector: String,
    /// SHA-256 of the artefact's bytes, hexadecimal.
    pub artifact: String,
    /// The model card: training span, calibration, figures; made by the detector.
    pub card: serde_json::Value,
    /// When it was registered, ms.
    pub time: UnixMillis,
}

/// A movable name for a version. `champion` is the one that scores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelAlias {
    /// The version it points to.
    pub version: String,
    /// The version it pointed to before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Why it was moved.
    pub reason: String,
    /// When, ms.
    pub time: UnixMillis,
}

/// A record on `model-events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ModelEvent {
    /// An alias was moved.
    Promoted {
        /// The alias.
        alias: String,
        /// To this version.
        version: String,
        /// When, ms.
        time: UnixMillis,
    },
    /// An alias was moved back to where it stood before.
    RolledBack {
        /// The alias.
        alias: String,
        /// To this version.
        version: String,
        /// From this one.
        from: String,
        /// When, ms.
        time: UnixMillis,
    },
    /// What was found of drift in a while: seldom, and whether or not there are signs of it.
    Drift(Drift),
    /// A challenger was registered but did not win: the alias stays.
    Kept {
        /// The alias.
        alias: String,
        /// Where it stays.
        champion: String,
        /// The challenger.
        version: String,
        /// Why it did not win.
        reason: String,
        /// When, ms.
        time: UnixMillis,
    },
    /// From this offset on, the partition of `telemetry` is scored with this version. Of several for the same
    /// partition, version and move of the alias the first in the log wins, and every replay obeys it.
    SwitchPoint {
        /// Partition of `telemetry`.
        partition: i32,
        /// First offset scored with the version.
        offset: i64,
        /// The version.
        version: String,
        /// Time of the alias's move that asked for it ([`ModelAlias::time`]): a rollback asks for a version that has
        /// scored before. None in points that are older than this field.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<UnixMillis>,
    },
    /// What a challenger would have done, of a sample of the vehicles that one scorer scores, since that scorer last told.
    Shadow {
        /// The challenger's alias.
        alias: String,
        /// Its version.
        version: String,
        /// The time that is told of, ms.
        lasted_ms: u64,
        /// Readings that it judged.
        scored: u64,
        /// Times that a vehicle became anomalous by it.
        alerts: u64,
        /// The same vehicles, by the champion.
        champion_alerts: u64,
        /// Readings that broke it.
        failed: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text() {
        for text in ["artifact/ab12", "version/autoencoder-1-ab", "alias/champion"] {
            assert_eq!(text.parse::<ModelKey>().unwrap().to_string(), text);
        }
        assert!("weights/x".parse::<ModelKey>().is_err());
    }

    #[test]
    fn a_switch_point_from_before_rollbacks_is_read_and_a_new_one_says_which_move_asked_for_it() {
        let old = r#"{"event":"switch_point","partition":1,"offset":7,"version":"a"}"#;
        let point = |since| ModelEvent::SwitchPoint { partition: 1, offset: 7, version: "a".into(), since };
        assert_eq!(serde_json::from_str::<ModelEvent>(old).unwrap(), point(None));
        assert_eq!(serde_json::to_string(&point(None)).unwrap(), old);
        let new = serde_json::to_string(&point(Some(9))).unwrap();
        assert_eq!(serde_json::from_str::<ModelEvent>(&new).unwrap(), point(Some(9)));
    }
}
