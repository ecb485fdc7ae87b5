//! What becomes of a publish: where in Kafka it goes, and by what an ack will name it. Pure.

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use telemetry::{
    Encoding, Invalid, PayloadHash, Reason, UnixMillis, VehicleId,
    event::{CommandReply, Status},
    kafka_topic::{self, header},
    mqtt_topic::{self, Channel},
};

use crate::{ack::Reading, spool::Entry};

/// Longer ones are not W3C trace contexts, which have 55.
const MAX_TRACEPARENT_BYTES: usize = 128;

/// The content type without its allocation where it is one of the contract.
pub(crate) fn content_type(text: String) -> Bytes {
    let known = [Encoding::Json, Encoding::Protobuf].map(Encoding::content_type);
    known.into_iter().find(|known| *known == text).map_or_else(|| text.into(), |known| known.as_bytes().into())
}

/// A publish and what was decided of it; kept until Kafka has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sorted {
    pub(crate) entry: Entry,
    /// One of the topics of [`kafka_topic`].
    pub(crate) kafka_topic: &'static str,
    /// Bytes of the vehicle's name in the MQTT topic, behind `v1/`; none if the topic can't be read.
    vehicle_bytes: Option<usize>,
    /// The schema version of a record.
    schema: Option<u32>,
    /// What an ack calls it; none for what is not a reading.
    pub(crate) reading: Option<Reading>,
    /// Why it is a dead letter.
    refusal: Option<Box<Refusal>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    reason: &'static str,
    error: String,
}

/// What a publish in hand takes besides its bytes, about: this, its place among the others, and the head of its packet.
const ITEM_BYTES: usize = 384;

const BEFORE_VEHICLE: usize = "v1/".len();

impl Sorted {
    /// The vehicle of the MQTT topic, never one that a payload names.
    pub(crate) fn vehicle(&self) -> Option<&str> {
        std::str::from_utf8(self.key()?).ok()
    }

    fn key(&self) -> Option<&[u8]> {
        self.entry.mqtt_topic.get(BEFORE_VEHICLE..BEFORE_VEHICLE + self.vehicle_bytes?)
    }

    /// The bytes that it holds, about.
    pub(crate) fn size(&self) -> usize {
        let Entry { mqtt_topic, content_type, traceparent, payload, .. } = &self.entry;
        let optional = [content_type, traceparent].map(|field| field.as_ref().map_or(0, Bytes::len));
        ITEM_BYTES + mqtt_topic.len() + optional[0] + optional[1] + payload.len()
    }

    /// Why it is counted as discarded when Kafka has it.
    pub(crate) fn discarded(&self) -> Option<&'static str> {
        self.refusal.as_ref().map(|refusal| refusal.reason)
    }

    /// Kafka never takes it as it is: its dead letter goes in its place.
    pub(crate) fn refused_by_kafka(&mut self, reason: &'static str, error: String) {
        self.kafka_topic = kafka_topic::DEAD_LETTER;
        self.schema = None;
        self.refusal = Some(Box::new(Refusal { reason, error }));
    }

    /// The record for Kafka.
    pub(crate) fn record(&self) -> OutRecord<'_> {
        let entry = &self.entry;
        let mut headers = Headers::default();
        let content_type = match &entry.content_type {
            Some(named) if self.refusal.is_some() || self.kafka_topic == kafka_topic::TELEMETRY => Some(&named[..]),
            None if self.refusal.is_some() => None,
            // What no content type means, and the only form of events.
            _ => Some(Encoding::Json.content_type().as_bytes()),
        };
        if let Some(content_type) = content_type {
            headers.push(header::CONTENT_TYPE, Cow::Borrowed(content_type));
        }
        if let Some(schema) = self.schema {
            let text = if schema == 1 { Cow::Borrowed(&b"1"[..]) } else { Cow::Owned(schema.to_string().into_bytes()) };
            headers.push(header::SCHEMA, text);
        }
        headers.push(header::MQTT_TOPIC, Cow::Borrowed(&entry.mqtt_topic[..]));
        if let Some(traceparent) = entry.traceparent.as_deref().filter(|text| text.len() <= MAX_TRACEPARENT_BYTES) {
            headers.push(header::TRACEPARENT, Cow::Borrowed(traceparent));
        }
        if let Some(refusal) = &self.refusal {
            headers.push(header::REASON, Cow::Borrowed(refusal.reason.as_bytes()));
            headers.push(header::ERROR, Cow::Borrowed(refusal.error.as_bytes()));
            headers.push(header::REFUSED_BY, Cow::Borrowed(b"edge"));
        }
        OutRecord {
            kafka_topic: self.kafka_topic,
            key: self.key(),
            payload: &entry.payload,
            headers,
            timestamp: entry.ingest,
        }
    }
}

/// A record on its way to Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutRecord<'a> {
    pub(crate) kafka_topic: &'static str,
    /// The vehicle of the MQTT topic; none where that can't be read.
    pub(crate) key: Option<&'a [u8]>,
    /// As received.
    pub(crate) payload: &'a [u8],
    pub(crate) headers: Headers<'a>,
    /// Ingest time.
    pub(crate) timestamp: UnixMillis,
}

/// At most seven headers, by names of [`header`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers<'a> {
    all: [(&'static str, Cow<'a, [u8]>); 7],
    len: usize,
}

impl<'a> Headers<'a> {
    fn push(&mut self, name: &'static str, value: Cow<'a, [u8]>) {
        self.all[self.len] = (name, value);
        self.len += 1;
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &(&'static str, Cow<'a, [u8]>)> {
        self.all[..self.len].iter()
    }
}

/// Decides what becomes of a publish.
pub(crate) fn sort(entry: Entry) -> Sorted {
    let Some((vehicle, channel)) = std::str::from_utf8(&entry.mqtt_topic).ok().and_then(mqtt_topic::split) else {
        let invalid = Invalid::unparsed(Reason::BadTopic, "not a topic of the contract");
        return dead_letter(entry, None, None, invalid);
    };
    let vehicle_bytes = Some(vehicle.len());
    let judged = match channel {
        Channel::Telemetry => judge_record(&entry, vehicle),
        Channel::Status => judge_event(&entry, vehicle, kafka_topic::VEHICLE_STATUS, |status: Status| status.vehicle),
        Channel::CommandReply => {
            judge_event(&entry, vehicle, kafka_topic::COMMAND_REPLIES, |reply: CommandReply| reply.vehicle)
        }
        Channel::Ack | Channel::Command => {
            Err(Invalid::unparsed(Reason::BadTopic, format!("the edge does not take {:?}", channel.suffix())))
        }
    };
    match judged {
        Ok(Accepted { kafka_topic, schema, reading }) => {
            Sorted { entry, kafka_topic, vehicle_bytes, schema, reading, refusal: None }
        }
        Err(invalid) => {
            let reading = (channel == Channel::Telemetry).then(|| match &invalid.identity {
                Some(identity) => Reading::Sequence { boot: identity.boot, seq: identity.seq },
                None => Reading::Hash(PayloadHash::of(&entry.payload)),
            });
            dead_letter(entry, vehicle_bytes, reading, invalid)
        }
    }
}

/// What is not looked into: it will not go to Kafka.
pub(crate) fn unchecked(entry: Entry) -> Sorted {
    let mqtt_topic = std::str::from_utf8(&entry.mqtt_topic).ok();
    let vehicle_bytes = mqtt_topic.and_then(mqtt_topic::split).map(|(vehicle, _)| vehicle.len());
    Sorted { entry, kafka_topic: kafka_topic::TELEMETRY, vehicle_bytes, schema: None, reading: None, refusal: None }
}

struct Accepted {
    kafka_topic: &'static str,
    schema: Option<u32>,
    reading: Option<Reading>,
}

fn judge_record(entry: &Entry, vehicle: &str) -> Result<Accepted, Invalid> {
    let content_type = entry.content_type.as_deref().map(String::from_utf8_lossy);
    let encoding = Encoding::from_content_type(content_type.as_deref())?;
    let checked = telemetry::check(&entry.payload, encoding, Some(vehicle))?;
    Ok(Accepted {
        kafka_topic: kafka_topic::TELEMETRY,
        schema: Some(checked.schema),
        reading: Some(Reading::Sequence { boot: checked.boot, seq: checked.seq }),
    })
}

/// An event that is always JSON, and is not acknowledged by an ack.
fn judge_event<T: DeserializeOwned>(
    entry: &Entry,
    vehicle: &str,
    kafka_topic: &'static str,
    vehicle_of: impl Fn(T) -> VehicleId,
) -> Result<Accepted, Invalid> {
    let event: T = read_event(&entry.payload)?;
    let named = vehicle_of(event);
    if named.as_str() != vehicle {
        let detail = format!("payload says {named}, topic says {vehicle}");
        return Err(Invalid::unparsed(Reason::VehicleMismatch, detail));
    }
    Ok(Accepted { kafka_topic, schema: None, reading: None })
}

/// Reads what is always JSON.
pub(crate) fn read_event<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Invalid> {
    if payload.is_empty() {
        return Err(Invalid::unparsed(Reason::Empty, "no bytes"));
    }
    serde_json::from_slice(payload).map_err(|error| {
        let reason = match (std::str::from_utf8(payload), error.classify()) {
            (Err(_), _) => Reason::NotUtf8,
            (_, serde_json::error::Category::Data) => Reason::WrongType,
            _ => Reason::Malformed,
        };
        Invalid::unparsed(reason, error.to_string())
    })
}

fn dead_letter(entry: Entry, vehicle_bytes: Option<usize>, reading: Option<Reading>, invalid: Invalid) -> Sorted {
    let refusal = Some(Box::new(Refusal { reason: invalid.reason.as_str(), error: invalid.detail }));
    Sorted { entry, kafka_topic: kafka_topic::DEAD_LETTER, vehicle_bytes, schema: None, reading, refusal }
}

#[cfg(test)]
mod tests;
