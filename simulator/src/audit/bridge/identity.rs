//! Whose reading a payload is: its own bytes decide, whatever key and headers say.

use telemetry::{Encoding, Identity, VehicleId, kafka_topic::header, mqtt_topic};

use crate::audit::Found;

/// The vehicle on whose topic it came, where the bridge has kept that.
pub(super) fn source(found: &Found<'_>) -> Option<VehicleId> {
    found.header(header::MQTT_TOPIC).and_then(mqtt_topic::parse).map(|(vehicle, _)| vehicle)
}

/// As the payload names itself. Malformed ones have an identity if they can be read; they may name anybody, so that
/// their source goes before.
pub(super) fn identity(found: &Found<'_>, source: Option<&VehicleId>) -> Option<Identity> {
    let guess = if found.payload.first() == Some(&b'{') { Encoding::Json } else { Encoding::Protobuf };
    let named = Encoding::from_content_type(found.header(header::CONTENT_TYPE)).ok();
    let named = named.filter(|_| found.header(header::CONTENT_TYPE).is_some());
    [named, Some(guess)].into_iter().flatten().find_map(|encoding| read(found.payload, encoding, source))
}

fn read(payload: &[u8], encoding: Encoding, source: Option<&VehicleId>) -> Option<Identity> {
    match telemetry::decode(payload, encoding, None) {
        Ok(record) => Some(record.identity()),
        Err(invalid) => {
            let identity = invalid.identity?;
            Some(Identity { vehicle: source.cloned().unwrap_or(identity.vehicle), ..identity })
        }
    }
}
