//! What becomes of a publish: a record for Kafka, and what is to be remembered of it. Pure.

use bytes::Bytes;
use telemetry::{
    Encoding, Invalid, PayloadHash, Reason, UnixMillis, VehicleId,
    event::Status,
    kafka_topic::{self, header},
    mqtt_topic::{self, Channel},
};

use crate::{ack::Reading, producer::OutRecord, session::Arrival};

/// Longer ones are not W3C trace contexts, which have 55.
const MAX_TRACEPARENT_BYTES: usize = 128;

/// What is remembered of a publish until Kafka has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    /// The vehicle of the MQTT topic, never one that a payload names.
    pub(crate) vehicle: Option<VehicleId>,
    /// What an ack calls it; none for what is not a reading.
    pub(crate) reading: Option<Reading>,
    /// Where it goes.
    pub(crate) end: End,
    /// It came without a packet id: nobody sends it again.
    pub(crate) qos0: bool,
}

/// How a publish is counted when Kafka has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// As a record or a status.
    Sent,
    /// As a dead letter, for this reason.
    Discarded(&'static str),
}

/// Decides what becomes of a publish. `now` is its ingest time.
pub(crate) fn sort(arrival: Arrival, now: UnixMillis) -> (OutRecord, Subject) {
    let qos0 = arrival.packet_id.is_none();
    let Some((vehicle, channel)) = std::str::from_utf8(&arrival.mqtt_topic).ok().and_then(mqtt_topic::parse) else {
        let invalid = Invalid::unparsed(Reason::BadTopic, "not a topic of the contract");
        let subject = Subject { vehicle: None, reading: None, end: End::Discarded(Reason::BadTopic.as_str()), qos0 };
        return (dead_letter(arrival, None, &invalid, now), subject);
    };
    // `v1/` stands before it; the bytes are shared.
    let key = arrival.mqtt_topic.slice(3..3 + vehicle.as_str().len());
    let judged = match channel {
        Channel::Telemetry => judge_record(&arrival, &vehicle),
        Channel::Status => judge_status(&arrival, &vehicle),
        _ => Err(Invalid::unparsed(Reason::BadTopic, format!("the edge does not take {:?}", channel.suffix()))),
    };
    let (record, reading, end) = match judged {
        Ok(accepted) => (accepted_record(arrival, key, &accepted, now), accepted.reading, End::Sent),
        Err(invalid) => {
            let reading = (channel == Channel::Telemetry).then(|| match &invalid.identity {
                Some(identity) => Reading::Sequence { boot: identity.boot, seq: identity.seq },
                None => Reading::Hash(PayloadHash::of(&arrival.payload)),
            });
            (dead_letter(arrival, Some(key), &invalid, now), reading, End::Discarded(invalid.reason.as_str()))
        }
    };
    (record, Subject { vehicle: Some(vehicle), reading, end, qos0 })
}

struct Accepted {
    kafka_topic: &'static str,
    content_type: &'static str,
    schema: Option<u32>,
    reading: Option<Reading>,
}

fn judge_record(arrival: &Arrival, vehicle: &VehicleId) -> Result<Accepted, Invalid> {
    let encoding = Encoding::from_content_type(arrival.content_type.as_deref())?;
    let record = telemetry::decode(&arrival.payload, encoding, Some(vehicle))?;
    Ok(Accepted {
        kafka_topic: kafka_topic::TELEMETRY,
        content_type: encoding.content_type(),
        schema: Some(record.schema),
        reading: Some(Reading::Sequence { boot: record.boot, seq: record.seq }),
    })
}

fn judge_status(arrival: &Arrival, vehicle: &VehicleId) -> Result<Accepted, Invalid> {
    if arrival.payload.is_empty() {
        return Err(Invalid::unparsed(Reason::Empty, "no bytes"));
    }
    let status: Status = serde_json::from_slice(&arrival.payload).map_err(|error| {
        let reason = match (std::str::from_utf8(&arrival.payload), error.classify()) {
            (Err(_), _) => Reason::NotUtf8,
            (_, serde_json::error::Category::Data) => Reason::WrongType,
            _ => Reason::Malformed,
        };
        Invalid::unparsed(reason, error.to_string())
    })?;
    if status.vehicle != *vehicle {
        let detail = format!("payload says {}, topic says {vehicle}", status.vehicle);
        return Err(Invalid::unparsed(Reason::VehicleMismatch, detail));
    }
    let content_type = Encoding::Json.content_type();
    Ok(Accepted { kafka_topic: kafka_topic::VEHICLE_STATUS, content_type, schema: None, reading: None })
}

fn accepted_record(arrival: Arrival, key: Bytes, accepted: &Accepted, now: UnixMillis) -> OutRecord {
    let mut headers = Vec::with_capacity(4);
    headers.push((header::CONTENT_TYPE, Bytes::from_static(accepted.content_type.as_bytes())));
    if let Some(schema) = accepted.schema {
        headers.push((header::SCHEMA, Bytes::from(schema.to_string())));
    }
    headers.push((header::MQTT_TOPIC, arrival.mqtt_topic));
    headers.extend(traceparent(arrival.traceparent));
    OutRecord { kafka_topic: accepted.kafka_topic, key: Some(key), payload: arrival.payload, headers, timestamp: now }
}

fn dead_letter(arrival: Arrival, key: Option<Bytes>, invalid: &Invalid, now: UnixMillis) -> OutRecord {
    let mut headers = Vec::with_capacity(6);
    if let Some(content_type) = arrival.content_type {
        headers.push((header::CONTENT_TYPE, Bytes::from(content_type)));
    }
    headers.push((header::MQTT_TOPIC, arrival.mqtt_topic));
    headers.extend(traceparent(arrival.traceparent));
    headers.extend(refusal(invalid.reason.as_str(), &invalid.detail));
    OutRecord { kafka_topic: kafka_topic::DEAD_LETTER, key, payload: arrival.payload, headers, timestamp: now }
}

fn traceparent(value: Option<String>) -> Option<(&'static str, Bytes)> {
    let value = value.filter(|value| value.len() <= MAX_TRACEPARENT_BYTES)?;
    Some((header::TRACEPARENT, Bytes::from(value)))
}

fn refusal(reason: &'static str, error: &str) -> [(&'static str, Bytes); 3] {
    [
        (header::REASON, Bytes::from_static(reason.as_bytes())),
        (header::ERROR, Bytes::copy_from_slice(error.as_bytes())),
        (header::REFUSED_BY, Bytes::from_static(b"edge")),
    ]
}

/// The dead letter of a record that Kafka will never take as it is.
pub(crate) fn refused_by_kafka(mut record: OutRecord, reason: &'static str, error: &str) -> OutRecord {
    record.kafka_topic = kafka_topic::DEAD_LETTER;
    record.headers.extend(refusal(reason, error));
    record
}

#[cfg(test)]
mod tests;
