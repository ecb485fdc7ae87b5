//! The dead letter of a Kafka record: the original bytes, and in the headers why and from where.

use bytes::Bytes;
use telemetry::kafka_topic::{DEAD_LETTER, header};

use crate::{Headers, InRecord, OutRecord};

/// The dead letter of a record that a role refuses.
///
/// It keeps key, value and headers; added are the reason (a stable name), the error (a sentence, cut at 300
/// bytes), the program that refused it, and the `topic/partition/offset` that it stood at.
pub fn refuse(record: &InRecord, refused_by: &str, reason: &str, error: &str) -> OutRecord {
    let ours = [header::REASON, header::ERROR, header::REFUSED_BY, header::SOURCE];
    let mut headers: Headers = record.headers.iter().filter(|(name, _)| !ours.contains(name)).collect();
    let source = format!("{}/{}/{}", record.kafka_topic, record.partition, record.offset);
    let error = &error[..error.floor_char_boundary(300)];
    for (name, text) in ours.into_iter().zip([reason, error, refused_by, &source]) {
        headers.push(name, text.as_bytes());
    }
    OutRecord {
        kafka_topic: DEAD_LETTER.into(),
        partition: None,
        // Copied: it may wait for long, and is not to keep what came with the record.
        key: Bytes::copy_from_slice(record.key.as_deref().unwrap_or_default()),
        payload: record.payload.as_deref().map(Bytes::copy_from_slice),
        headers,
        timestamp: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_keeps_the_bytes_and_says_why() {
        let record = InRecord {
            kafka_topic: "telemetry".into(),
            partition: 3,
            offset: 41,
            timestamp: 5,
            key: Some(b"veh-1"[..].into()),
            payload: Some(b"\xff\x00"[..].into()),
            headers: [("content-type", "x"), ("reason", "older")].into(),
        };
        let letter = refuse(&record, "twin", "malformed", &"é".repeat(200));
        assert_eq!(letter.payload, record.payload);
        assert_eq!(letter.key, b"veh-1"[..]);
        let text = |name: &str| {
            let mut found = letter.headers.iter().filter(|(key, _)| *key == name);
            let value = String::from_utf8(found.next().unwrap().1.to_vec()).unwrap();
            assert!(found.next().is_none(), "{name} stands twice");
            value
        };
        assert_eq!(text("content-type"), "x");
        assert_eq!(text(header::REASON), "malformed");
        assert_eq!(text(header::REFUSED_BY), "twin");
        assert_eq!(text(header::SOURCE), "telemetry/3/41");
        assert_eq!(text(header::ERROR).len(), 300);
    }
}
