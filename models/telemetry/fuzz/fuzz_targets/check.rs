//! `check` and `decode` give the verdict of serde_json and prost, whatever the bytes.
//!
//! The first byte chooses the encoding and whether there is a topic's vehicle; the rest is the payload.
//! Frozen records make a good corpus: put a byte before each of `testdata/v1`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use telemetry::{Checked, Encoding, VehicleId, check, codec::decode_thoroughly, decode};

fuzz_target!(|input: &[u8]| {
    let Some((choice, payload)) = input.split_first() else { return };
    let encoding = if choice & 1 == 0 { Encoding::Json } else { Encoding::Protobuf };
    let vehicle = (choice & 2 == 0).then(|| VehicleId::parse("veh-00042").expect("well-formed"));
    let thorough = decode_thoroughly(payload, encoding, vehicle.as_ref());
    assert_eq!(decode(payload, encoding, vehicle.as_ref()), thorough);
    let expected = thorough.map(|record| Checked::from(&record));
    assert_eq!(check(payload, encoding, vehicle.as_ref().map(VehicleId::as_str)), expected);
});
