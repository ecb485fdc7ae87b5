//! The acknowledgement of our own: which readings of a vehicle are in Kafka.

use serde::{Deserialize, Serialize};

use crate::{PayloadHash, codec::object::objects_only};

/// The most ranges that one ack names.
pub const MAX_ACK_RANGES: usize = 64;
/// The most payload hashes that one ack names.
pub const MAX_ACK_HASHES: usize = 64;
/// The largest ack, in bytes.
pub const MAX_ACK_BYTES: usize = 4096;

/// Sequence numbers `from..=to` of one boot, each of which a delivery report covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "(u32, u64, u64)", into = "(u32, u64, u64)")]
pub struct AckedRange {
    /// The boot.
    pub boot: u32,
    /// First sequence number.
    pub from: u64,
    /// Last sequence number, not below `from`.
    pub to: u64,
}

impl From<(u32, u64, u64)> for AckedRange {
    fn from((boot, from, to): (u32, u64, u64)) -> Self {
        Self { boot, from, to }
    }
}

impl From<AckedRange> for (u32, u64, u64) {
    fn from(range: AckedRange) -> Self {
        (range.boot, range.from, range.to)
    }
}

/// What the edge tells a vehicle on `v1/{vehicle}/ack`.
///
/// It names every range that the edge process still knows for that vehicle, newest first, so that losing one
/// ack is harmless; beyond the limits the oldest are left out, which costs only a resend.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Ack {
    /// Newest first.
    pub ranges: Vec<AckedRange>,
    /// Payloads without a readable identity that are in the dead-letter topic; newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<PayloadHash>,
    /// The vehicle sends faster than it may: it should wait this many ms between readings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_down_ms: Option<u64>,
}

objects_only!(Ack);

impl Ack {
    /// Encodes within [`MAX_ACK_RANGES`], [`MAX_ACK_HASHES`] and [`MAX_ACK_BYTES`]; the oldest entries go first.
    pub fn encode(mut self) -> Vec<u8> {
        self.ranges.truncate(MAX_ACK_RANGES);
        self.hashes.truncate(MAX_ACK_HASHES);
        loop {
            let bytes = serde_json::to_vec(&self).expect("an ack holds only numbers and texts");
            if bytes.len() <= MAX_ACK_BYTES {
                return bytes;
            }
            // 64 ranges of the longest numbers take 3.3 KiB, so this ends while ranges are left.
            self.hashes.truncate(self.hashes.len() / 2);
            if self.hashes.is_empty() {
                self.ranges.truncate(self.ranges.len() - self.ranges.len().div_ceil(8));
            }
        }
    }

    /// Decodes what a vehicle received; none if it is not an ack or beyond the limits.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        if payload.len() > MAX_ACK_BYTES {
            return None;
        }
        let ack: Self = serde_json::from_slice(payload).ok()?;
        let well_formed = ack.ranges.len() <= MAX_ACK_RANGES
            && ack.hashes.len() <= MAX_ACK_HASHES
            && ack.ranges.iter().all(|range| 0 < range.from && range.from <= range.to);
        well_formed.then_some(ack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_survives_its_bytes() {
        let ack = Ack {
            ranges: vec![AckedRange { boot: 7, from: 501, to: 501 }, AckedRange { boot: 6, from: 1, to: 9 }],
            hashes: vec![PayloadHash(3)],
            slow_down_ms: None,
        };
        assert_eq!(Ack::decode(&ack.clone().encode()), Some(ack));
    }

    #[test]
    fn the_largest_ack_keeps_the_limits_and_the_newest() {
        let longest = |n: u64| AckedRange { boot: u32::MAX, from: u64::MAX - 1, to: u64::MAX - n % 2 };
        let ack = Ack {
            ranges: (0..500).map(longest).collect(),
            hashes: vec![PayloadHash(u64::MAX); 500],
            slow_down_ms: Some(u64::MAX),
        };
        let bytes = ack.clone().encode();
        assert!(bytes.len() <= MAX_ACK_BYTES, "{}", bytes.len());
        let kept = Ack::decode(&bytes).unwrap();
        assert_eq!(kept.ranges, ack.ranges[..MAX_ACK_RANGES]);
    }

    #[test]
    fn a_range_that_runs_backwards_is_refused() {
        for bad in
            [r#"{"ranges":[[1,5,4]]}"#, r#"{"ranges":[[1,0,4]]}"#, r#"{"ranges":[[1,2]]}"#, "[[[1,5,6]]]", "{}", ""]
        {
            assert_eq!(Ack::decode(bad.as_bytes()), None, "{bad}");
        }
    }
}
