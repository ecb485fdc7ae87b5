//! What one spooled record holds, and its bytes.
//!
//! Flags (u8: QoS 0, has a content type, has a traceparent), ingest time (i64), then each field that is there
//! as length (u16) and bytes: MQTT topic, content type, traceparent. The rest is the payload. Numbers are
//! little-endian; the version is that of the segment.

use bytes::{Buf, Bytes};
use telemetry::UnixMillis;

const QOS0: u8 = 1;
const CONTENT_TYPE: u8 = 2;
const TRACEPARENT: u8 = 4;

/// A publish as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub ingest: UnixMillis,
    /// It came without a packet id: nobody sends it again.
    pub qos0: bool,
    /// Not necessarily one of the contract.
    pub mqtt_topic: Bytes,
    /// If it named one.
    pub content_type: Option<Bytes>,
    /// If it named one.
    pub traceparent: Option<Bytes>,
    /// As received.
    pub payload: Bytes,
}

/// A field that is longer than MQTT lets it be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} has {bytes} bytes, more than 65535")]
pub struct FieldTooLong {
    /// Its name.
    pub field: &'static str,
    /// Its length.
    pub bytes: usize,
}

/// Bytes that are no entry: of another version, or not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    /// It ends in the middle of a field.
    #[error("a spooled entry ends too early")]
    Short,
    /// It has flags that this program does not know.
    #[error("a spooled entry has unknown flags {0:#04x}")]
    Flags(u8),
}

impl Entry {
    /// The entry as bytes.
    ///
    /// # Errors
    /// [`FieldTooLong`]; not for the payload, whose length the log judges.
    pub fn encode(&self) -> Result<Bytes, FieldTooLong> {
        let optional = [&self.content_type, &self.traceparent].map(|field| field.as_deref().unwrap_or_default());
        let length = 9 + 3 * 2 + self.mqtt_topic.len() + optional[0].len() + optional[1].len() + self.payload.len();
        let mut bytes = Vec::with_capacity(length);
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        bytes.push(
            flag(self.qos0, QOS0)
                | flag(self.content_type.is_some(), CONTENT_TYPE)
                | flag(self.traceparent.is_some(), TRACEPARENT),
        );
        bytes.extend(self.ingest.to_le_bytes());
        for (field, value) in [
            ("mqtt_topic", Some(&self.mqtt_topic)),
            ("content_type", self.content_type.as_ref()),
            ("traceparent", self.traceparent.as_ref()),
        ] {
            let Some(value) = value else { continue };
            let too_long = FieldTooLong { field, bytes: value.len() };
            bytes.extend(u16::try_from(value.len()).map_err(|_| too_long)?.to_le_bytes());
            bytes.extend(value);
        }
        bytes.extend(&self.payload);
        Ok(bytes.into())
    }

    /// The entry of these bytes; its fields share them.
    ///
    /// # Errors
    /// [`BadEntry`].
    pub fn decode(mut bytes: Bytes) -> Result<Self, BadEntry> {
        let flags = bytes.try_get_u8().map_err(|_| BadEntry::Short)?;
        if flags & !(QOS0 | CONTENT_TYPE | TRACEPARENT) != 0 {
            return Err(BadEntry::Flags(flags));
        }
        let ingest = bytes.try_get_i64_le().map_err(|_| BadEntry::Short)?;
        let mqtt_topic = field(&mut bytes)?;
        let mut optional = |flag: u8| (flags & flag != 0).then(|| field(&mut bytes)).transpose();
        let content_type = optional(CONTENT_TYPE)?;
        let traceparent = optional(TRACEPARENT)?;
        Ok(Self { ingest, qos0: flags & QOS0 != 0, mqtt_topic, content_type, traceparent, payload: bytes })
    }
}

fn field(bytes: &mut Bytes) -> Result<Bytes, BadEntry> {
    let length = usize::from(bytes.try_get_u16_le().map_err(|_| BadEntry::Short)?);
    if bytes.len() < length { Err(BadEntry::Short) } else { Ok(bytes.split_to(length)) }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    fn bytes(longest: usize) -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..=longest).prop_map(Bytes::from)
    }

    prop_compose! {
        fn entries()(
            ingest: i64,
            qos0: bool,
            mqtt_topic in bytes(300),
            content_type in option::of(bytes(40)),
            traceparent in option::of(bytes(60)),
            payload in bytes(600),
        ) -> Entry {
            Entry { ingest, qos0, mqtt_topic, content_type, traceparent, payload }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_entry_survives_its_bytes_uncopied(entry in entries()) {
            let encoded = entry.encode().unwrap();
            let whole = encoded.as_ptr() as usize..encoded.as_ptr() as usize + encoded.len() + 1;
            let decoded = Entry::decode(encoded).unwrap();
            prop_assert!(whole.contains(&(decoded.payload.as_ptr() as usize)), "the payload was copied");
            prop_assert_eq!(decoded, entry);
        }

        #[test]
        fn any_bytes_are_an_entry_or_an_error(garbage in bytes(200)) {
            if let Ok(entry) = Entry::decode(garbage.clone()) {
                prop_assert_eq!(entry.encode().unwrap(), garbage);
            }
        }

        #[test]
        fn a_cut_before_the_payload_is_an_error(mut entry in entries(), cut: prop::sample::Index) {
            entry.payload = Bytes::new();
            let encoded = entry.encode().unwrap();
            prop_assert_eq!(Entry::decode(encoded.slice(..cut.index(encoded.len()))), Err(BadEntry::Short));
        }
    }

    fn entry() -> Entry {
        Entry {
            ingest: 1_700_000_000_000,
            qos0: true,
            mqtt_topic: Bytes::from_static(b"v1/a/telemetry"),
            content_type: Some(Bytes::from_static(b"text/csv")),
            traceparent: None,
            payload: Bytes::from_static(b"payload"),
        }
    }

    #[test]
    fn the_bytes_of_version_1_are_frozen() {
        let expected = b"\x03\x00\x68\xe5\xcf\x8b\x01\x00\x00\x0e\x00v1/a/telemetry\x08\x00text/csvpayload";
        assert_eq!(entry().encode().unwrap(), expected[..]);
    }

    #[test]
    fn unknown_flags_and_long_fields_are_errors() {
        let mut encoded = entry().encode().unwrap().to_vec();
        encoded[0] |= 0x10;
        assert_eq!(Entry::decode(encoded.into()), Err(BadEntry::Flags(0x13)));
        let longest = Entry { mqtt_topic: vec![b'x'; 65_535].into(), ..entry() };
        assert_eq!(Entry::decode(longest.encode().unwrap()).unwrap(), longest);
        let too_long = Entry { mqtt_topic: vec![b'x'; 65_536].into(), ..entry() };
        assert_eq!(too_long.encode(), Err(FieldTooLong { field: "mqtt_topic", bytes: 65_536 }));
    }
}
