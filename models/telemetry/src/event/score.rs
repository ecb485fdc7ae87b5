//! The scorer's output: one score per scored window.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::{Identity, PayloadHash, UnixMillis, VehicleId};

/// A coordinate in Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Source {
    /// Partition of `telemetry`.
    pub partition: i32,
    /// Offset in it.
    pub offset: i64,
}

/// The decision on one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Below the threshold.
    Normal,
    /// At or above the threshold.
    Anomalous,
}

/// How much one signal contributed to a score. A model computes with 32 bits; 64 would make the text half as long again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// VSS path.
    pub signal: SmolStr,
    /// The signal's own anomaly score, in the unit of [`Score::score`].
    pub score: f32,
    /// What the model expected, in the signal's unit.
    pub expected: f32,
    /// What was measured, in the signal's unit.
    pub observed: f32,
}

/// A score: the model's judgement of the window that ends with one reading.
///
/// Numbers are written in the shortest form that gives back the same bits, so that a replay can be
/// compared bit for bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The vehicle.
    pub vehicle: VehicleId,
    /// Boot of the window's last reading.
    pub boot: u32,
    /// Sequence of the window's last reading.
    pub seq: u64,
    /// Window time of that reading ([`crate::time::window_time`]), ms.
    pub time: UnixMillis,
    /// Where that reading stands in `telemetry`.
    pub source: Source,
    /// Version of the model that judged.
    pub model: SmolStr,
    /// Anomaly score, ≥ 0; 1 is the threshold.
    pub score: f64,
    /// The decision.
    pub verdict: Verdict,
    /// The signals that contributed most, largest first, at most three.
    pub contributions: Vec<Contribution>,
    /// Where to look first; only in anomalous scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Cow<'static, str>>,
    /// What of the first contribution is improbable, for people: a mean, a drift, a frozen value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistic: Option<Cow<'static, str>>,
    /// Hash of the reading's payload as received: a replay tells a change of any bit of it, also where it is no input of
    /// the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<PayloadHash>,
}

impl Score {
    /// The reading that the score belongs to.
    pub fn identity(&self) -> Identity {
        Identity { vehicle: self.vehicle.clone(), boot: self.boot, seq: self.seq }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_from_before_the_payload_hash_is_read_and_stays_as_it_was() {
        let old = r#"{"vehicle":"v","boot":1,"seq":2,"time":3,"source":{"partition":0,"offset":9},"model":"m","score":0.25,"verdict":"normal","contributions":[]}"#;
        let score: Score = serde_json::from_str(old).unwrap();
        assert_eq!((&score.family, &score.statistic, score.payload), (&None, &None, None));
        assert_eq!(serde_json::to_string(&score).unwrap(), old);
        let new = Score { payload: Some(PayloadHash(7)), statistic: Some("drift".into()), ..score };
        let text = serde_json::to_string(&new).unwrap();
        assert!(text.ends_with(r#""statistic":"drift","payload":"0000000000000007"}"#), "{text}");
        assert_eq!(serde_json::from_str::<Score>(&text).unwrap(), new);
    }
}
