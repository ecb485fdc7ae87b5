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

    /// Appends the bytes that serde_json writes for it. Every reading has a score: it pays that names of fields stand here
    /// ready to be copied.
    ///
    /// # Errors
    /// Those of serde_json, which writes the numbers; a vector takes all that it is given.
    pub fn write(&self, bytes: &mut Vec<u8>) -> serde_json::Result<()> {
        let Self {
            vehicle,
            boot,
            seq,
            time,
            source: Source { partition, offset },
            model,
            score,
            verdict,
            contributions,
            family,
            statistic,
            payload,
        } = self;
        bytes.extend_from_slice(br#"{"vehicle":"#);
        text(vehicle.as_str(), bytes)?;
        field(br#","boot":"#, boot, bytes)?;
        field(br#","seq":"#, seq, bytes)?;
        field(br#","time":"#, time, bytes)?;
        field(br#","source":{"partition":"#, partition, bytes)?;
        field(br#","offset":"#, offset, bytes)?;
        bytes.extend_from_slice(br#"},"model":"#);
        text(model, bytes)?;
        field(br#","score":"#, score, bytes)?;
        field(br#","verdict":"#, verdict, bytes)?;
        bytes.extend_from_slice(br#","contributions":["#);
        for (at, Contribution { signal, score, expected, observed }) in contributions.iter().enumerate() {
            bytes.extend_from_slice(if at == 0 { br#"{"signal":"# } else { br#",{"signal":"# });
            text(signal, bytes)?;
            field(br#","score":"#, score, bytes)?;
            field(br#","expected":"#, expected, bytes)?;
            field(br#","observed":"#, observed, bytes)?;
            bytes.push(b'}');
        }
        bytes.push(b']');
        if let Some(family) = family {
            bytes.extend_from_slice(br#","family":"#);
            text(family, bytes)?;
        }
        if let Some(statistic) = statistic {
            bytes.extend_from_slice(br#","statistic":"#);
            text(statistic, bytes)?;
        }
        if let Some(payload) = payload {
            bytes.extend_from_slice(br#","payload":""#);
            bytes.extend_from_slice(&payload.digits());
            bytes.push(b'"');
        }
        bytes.push(b'}');
        Ok(())
    }
}

fn field(name: &[u8], value: &impl Serialize, bytes: &mut Vec<u8>) -> serde_json::Result<()> {
    bytes.extend_from_slice(name);
    serde_json::to_writer(bytes, value)
}

fn text(text: &str, bytes: &mut Vec<u8>) -> serde_json::Result<()> {
    let is_plain = text.bytes().fold(true, |plain, byte| plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\'));
    if !is_plain {
        return serde_json::to_writer(bytes, text);
    }
    bytes.push(b'"');
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::{collection, option, prelude::*};

    use super::*;

    /// Of any characters: those that have to be escaped too.
    fn texts() -> impl Strategy<Value = String> {
        collection::vec(any::<char>(), 0..40).prop_map(String::from_iter)
    }

    /// Every pattern of bits, and those that are no usual numbers more often.
    fn numbers() -> impl Strategy<Value = f64> {
        let unusual =
            prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 1.0, 1e300, 5e-324]);
        prop_oneof![3 => any::<u64>().prop_map(f64::from_bits), 1 => unusual]
    }

    fn contributions() -> impl Strategy<Value = Vec<Contribution>> {
        let contribution =
            (texts(), numbers(), any::<u32>(), numbers()).prop_map(|(signal, score, expected, observed)| {
                let (score, expected, observed) = (score as f32, f32::from_bits(expected), observed as f32);
                Contribution { signal: signal.into(), score, expected, observed }
            });
        collection::vec(contribution, 0..4)
    }

    fn scores() -> impl Strategy<Value = Score> {
        let place = ("[A-Za-z0-9_-]{1,64}", any::<u32>(), any::<u64>(), any::<i64>(), any::<i32>(), any::<i64>());
        let said = (texts(), numbers(), any::<bool>(), contributions());
        let further = (option::of(texts()), option::of(texts()), option::of(any::<u64>()));
        (place, said, further).prop_map(|(place, said, further)| {
            let (vehicle, boot, seq, time, partition, offset) = place;
            let (model, score, is_normal, contributions) = said;
            let (family, statistic, payload) = further;
            Score {
                vehicle: vehicle.parse().unwrap(),
                boot,
                seq,
                time,
                source: Source { partition, offset },
                model: model.into(),
                score,
                verdict: if is_normal { Verdict::Normal } else { Verdict::Anomalous },
                contributions,
                family: family.map(Cow::Owned),
                statistic: statistic.map(Cow::Owned),
                payload: payload.map(PayloadHash),
            }
        })
    }

    proptest! {
        #[test]
        fn a_score_is_written_as_serde_json_writes_it(score in scores()) {
            let mut bytes = b"before".to_vec();
            score.write(&mut bytes).unwrap();
            prop_assert_eq!(&bytes[6..], serde_json::to_vec(&score).unwrap());
        }
    }

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
