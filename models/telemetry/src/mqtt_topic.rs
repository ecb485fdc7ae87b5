//! MQTT topics: `v1/{vehicle}/telemetry`, `status`, `ack`, `command`, `command/reply`.

use std::borrow::Borrow;

use crate::VehicleId;

/// What a vehicle's MQTT topic carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Up: records.
    Telemetry,
    /// Up: birth and will.
    Status,
    /// Down: what is in Kafka.
    Ack,
    /// Down: commands.
    Command,
    /// Up: replies to commands.
    CommandReply,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 5] = [Self::Telemetry, Self::Status, Self::Ack, Self::Command, Self::CommandReply];

    /// The part of the topic behind the vehicle.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Telemetry => "telemetry",
            Self::Status => "status",
            Self::Ack => "ack",
            Self::Command => "command",
            Self::CommandReply => "command/reply",
        }
    }

    /// The topic of one vehicle.
    pub fn topic(self, vehicle: impl Borrow<VehicleId>) -> String {
        format!("v1/{}/{}", vehicle.borrow(), self.suffix())
    }

    /// The filter that matches this channel of every vehicle.
    pub fn filter(self) -> String {
        format!("v1/+/{}", self.suffix())
    }
}

/// Takes a topic apart; none for a topic outside the contract.
pub fn parse(topic: &str) -> Option<(VehicleId, Channel)> {
    let (vehicle, channel) = split(topic)?;
    Some((VehicleId::parse(vehicle).ok()?, channel))
}

/// [`parse`] without an allocation: the vehicle's name as it stands in the topic, well-formed.
pub fn split(topic: &str) -> Option<(&str, Channel)> {
    let (vehicle, suffix) = topic.strip_prefix("v1/")?.split_once('/')?;
    let channel = Channel::ALL.into_iter().find(|channel| channel.suffix() == suffix)?;
    VehicleId::is_well_formed(vehicle.as_bytes()).then_some((vehicle, channel))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_survive_being_taken_apart() {
        let vehicle = VehicleId::parse("veh-1").unwrap();
        for channel in Channel::ALL {
            assert_eq!(parse(&channel.topic(&vehicle)), Some((vehicle.clone(), channel)));
        }
    }

    #[test]
    fn topics_outside_the_contract_are_refused() {
        for topic in
            ["", "v1", "v1/", "v1/a", "v1/a/", "v2/a/telemetry", "v1//telemetry", "v1/a/telemetry/x", "v1/a b/ack"]
        {
            assert_eq!(parse(topic), None, "{topic}");
        }
    }
}
