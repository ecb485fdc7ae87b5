//! Commands to vehicles and their replies.
//!
//! A command has a life: from the moment in its id, a UUIDv7, to [`CommandHead::deadline`]. Until then it is published
//! again and again, and the vehicle remembers its id; after that neither happens. So a vehicle can carry it out once
//! and keep a bounded memory.

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{
    UnixMillis, Value, VehicleId,
    codec::{lent::Lent, object::objects_only},
    validation::MAX_TEXT_BYTES,
};

/// The longest command, in bytes.
pub const MAX_COMMAND_BYTES: usize = 4 * 1024;
/// The longest life of a command, ms: as long as Kafka keeps it.
pub const MAX_COMMAND_LIFE_MS: i64 = 7 * 24 * 3_600_000;

/// The name of a property of a vehicle: 1 to 64 of `A-Z a-z 0-9 _ - .`, for example
/// `Vehicle.Cabin.HVAC.AmbientAirTemperature`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PropertyName(String);

impl PropertyName {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Checks the text and keeps it; none for one that is not a name.
    pub fn parse(text: &str) -> Option<Self> {
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        ((1..=Self::MAX_BYTES).contains(&text.len()) && text.bytes().all(known)).then(|| Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for PropertyName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Lent::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("a property's name is 1 to 64 of A-Z a-z 0-9 _ - ."))
    }
}

/// What a vehicle is asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum VehicleCommandKind {
    /// Report every so many ms.
    SetReportingInterval {
        /// Interval, ms.
        interval_ms: u64,
    },
    /// Keep this as the desired value of a property.
    SetProperty {
        /// Which property.
        name: PropertyName,
        /// Its desired value; a text has at most 256 bytes.
        #[serde(deserialize_with = "short_value")]
        value: Value,
    },
    /// Start again with a new boot.
    Reboot,
}

/// A command, on `vehicle-commands` and `v1/{vehicle}/command`. Carried out once per id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct VehicleCommand {
    /// UUIDv7: it says when the command was made.
    #[serde(deserialize_with = "id_with_time")]
    pub id: uuid::Uuid,
    /// Who shall act.
    pub vehicle: VehicleId,
    /// What to do.
    #[serde(flatten)]
    pub kind: VehicleCommandKind,
    /// Not to be carried out after this time, ms.
    pub expires_at: UnixMillis,
}

objects_only!(VehicleCommand);

impl VehicleCommand {
    /// What it has in common with every command.
    pub fn head(&self) -> CommandHead {
        CommandHead { id: self.id, vehicle: self.vehicle.clone(), expires_at: self.expires_at }
    }
}

/// What every command has, also one of a kind that the reader does not know: who forwards commands reads no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct CommandHead {
    /// As [`VehicleCommand::id`].
    #[serde(deserialize_with = "id_with_time")]
    pub id: uuid::Uuid,
    /// Who shall act.
    pub vehicle: VehicleId,
    /// Not to be carried out after this time, ms.
    pub expires_at: UnixMillis,
}

objects_only!(CommandHead);

impl CommandHead {
    /// The end of its life, ms since the epoch: `expires_at`, but at most [`MAX_COMMAND_LIFE_MS`] after it was made.
    /// Everybody computes the same one.
    pub fn deadline(&self) -> UnixMillis {
        // The first 48 bits.
        let made = UnixMillis::try_from(self.id.as_u128() >> 80).unwrap_or(UnixMillis::MAX);
        self.expires_at.min(made.saturating_add(MAX_COMMAND_LIFE_MS))
    }
}

fn id_with_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<uuid::Uuid, D::Error> {
    let id = uuid::Uuid::deserialize(deserializer)?;
    if id.get_version_num() == 7 { Ok(id) } else { Err(de::Error::custom("a command's id is a UUIDv7")) }
}

fn short_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Text(text) if text.len() > MAX_TEXT_BYTES => {
            Err(de::Error::custom(format_args!("a text of more than {MAX_TEXT_BYTES} bytes")))
        }
        value => Ok(value),
    }
}

/// The vehicle's answer, on `v1/{vehicle}/command/reply` and `command-replies`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct CommandReply {
    /// The command's id.
    pub id: uuid::Uuid,
    /// Who answers.
    pub vehicle: VehicleId,
    /// Whether it was carried out.
    pub done: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

objects_only!(CommandReply);

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, from_value, json, to_value};

    use super::*;

    /// Made at 1,760,000,000,000 ms.
    const ID: &str = "0199c82c-c000-7000-8000-00000000002a";
    const MADE: UnixMillis = 1_760_000_000_000;

    fn wire(further: &Json) -> Json {
        let mut wire = json!({ "id": ID, "vehicle": "veh-1", "expires_at": MADE + 60_000 });
        wire.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        wire
    }

    #[test]
    fn every_kind_has_its_form_and_is_read_from_objects_only() {
        let name = PropertyName::parse("Vehicle.Cabin.HVAC.AmbientAirTemperature").unwrap();
        for (kind, form) in [
            (
                VehicleCommandKind::SetReportingInterval { interval_ms: 500 },
                json!({ "command": "set_reporting_interval", "interval_ms": 500 }),
            ),
            (
                VehicleCommandKind::SetProperty { name: name.clone(), value: Value::Number(21.5) },
                json!({ "command": "set_property", "name": name.as_str(), "value": 21.5 }),
            ),
            (
                VehicleCommandKind::SetProperty { name: name.clone(), value: Value::Text("eco".into()) },
                json!({ "command": "set_property", "name": name.as_str(), "value": "eco" }),
            ),
            (VehicleCommandKind::Reboot, json!({ "command": "reboot" })),
        ] {
            let vehicle = VehicleId::parse("veh-1").unwrap();
            let command = VehicleCommand { id: ID.parse().unwrap(), vehicle, kind, expires_at: MADE + 60_000 };
            assert_eq!(to_value(&command).unwrap(), wire(&form));
            assert_eq!(from_value::<VehicleCommand>(wire(&form)).unwrap(), command);
            assert_eq!(from_value::<CommandHead>(wire(&form)).unwrap(), command.head());
            let in_order: Vec<Json> = wire(&form).as_object().unwrap().values().cloned().collect();
            assert!(from_value::<VehicleCommand>(in_order.clone().into()).is_err());
            assert!(from_value::<CommandHead>(in_order.into()).is_err());
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        let property =
            |name: Json, value: Json| wire(&json!({ "command": "set_property", "name": name, "value": value }));
        assert!(from_value::<VehicleCommand>(property(json!("a"), json!(true))).is_ok());
        for (name, value) in [
            (json!(""), json!(1)),
            (json!("a b"), json!(1)),
            (json!("a".repeat(PropertyName::MAX_BYTES + 1)), json!(1)),
            (json!("a"), json!("x".repeat(MAX_TEXT_BYTES + 1))),
            (json!("a"), json!([1])),
            (json!("a"), json!(null)),
        ] {
            let refused = property(name, value);
            assert!(from_value::<VehicleCommand>(refused.clone()).is_err(), "{refused}");
        }
        // What this program does not know is still a command.
        let tomorrow = wire(&json!({ "command": "fly", "height_m": 3 }));
        assert!(from_value::<VehicleCommand>(tomorrow.clone()).is_err());
        assert!(from_value::<CommandHead>(tomorrow).is_ok());
        let without_time = wire(&json!({ "id": "00000000-0000-4000-8000-00000000002a", "command": "reboot" }));
        let error = from_value::<CommandHead>(without_time).unwrap_err().to_string();
        assert!(error.contains("UUIDv7"), "{error}");
    }

    #[test]
    fn a_life_ends_at_its_expiry_or_after_seven_days() {
        let head = |expires_at| CommandHead {
            id: ID.parse().unwrap(),
            vehicle: VehicleId::parse("veh-1").unwrap(),
            expires_at,
        };
        assert_eq!(head(MADE + 5).deadline(), MADE + 5);
        assert_eq!(head(i64::MAX).deadline(), MADE + MAX_COMMAND_LIFE_MS);
        assert_eq!(head(i64::MIN).deadline(), i64::MIN);
    }
}
