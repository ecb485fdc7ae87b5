//! Who is measured: our edge or our scorer, or any other one as a command line.

use std::{ffi::OsString, path::Path, str::FromStr};

use services::Addresses;

use super::topic::Topic;
use crate::process::Program;

/// Our name among the contenders.
pub const MOTORCADE: &str = "motorcade";

/// What `--help` says about a peer's command line.
pub const PEER_HELP: &str = "Another bridge, to be measured beside the edge: a name and a shell command, which stays in the foreground. \
It bridges MQTT QoS 1 to Kafka, without loss as far as it can, and finds in its environment: MQTT_HOST, MQTT_PORT, \
MQTT_USER and MQTT_PASSWORD_FILE (the account that it must use), MQTT_TOPIC (what it subscribes to), CLIENT_ID (of its \
persistent session), KAFKA_BOOTSTRAP, KAFKA_TOPIC. It counts as ready when a reading has come through. May be given several times";

/// A bridge, or a scorer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contender {
    /// Ours.
    Motorcade,
    /// Another one.
    Peer {
        /// As it is called in the report.
        name: String,
        /// What the shell runs.
        command: String,
    },
}

impl FromStr for Contender {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, command) = text.split_once('=').ok_or("is not NAME=COMMAND")?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name == MOTORCADE || !name.chars().all(plain) {
            return Err(format!("{name:?} is no name of a-z, 0-9 and -, other than {MOTORCADE}"));
        }
        if command.trim().is_empty() {
            return Err("has no command".to_owned());
        }
        Ok(Self::Peer { name: name.to_owned(), command: command.to_owned() })
    }
}

impl Contender {
    /// As it is called in the report.
    pub fn name(&self) -> &str {
        match self {
            Self::Motorcade => MOTORCADE,
            Self::Peer { name, .. } => name,
        }
    }

    /// How it is started as a bridge; `programs` is the folder of ours.
    pub fn program(&self, programs: &Path, addresses: &Addresses, flags: &[OsString]) -> Program {
        match self {
            Self::Motorcade => {
                let path = programs.join("motorcade-edge").display().to_string();
                let mut program = Program::new("bridge", &path, flags);
                let kinds = [services::Kind::Mosquitto, services::Kind::Kafka];
                let variables = addresses.environment(&kinds);
                program.environment =
                    variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
                program
            }
            Self::Peer { command, .. } => {
                let mut program = Program::new("bridge", "/bin/sh", ["-c", command.as_str()]);
                program.environment = self.peers_environment(addresses);
                program
            }
        }
    }

    fn peers_environment(&self, addresses: &Addresses) -> Vec<(String, OsString)> {
        [
            ("MQTT_HOST", addresses.mqtt_edge.ip().to_string()),
            ("MQTT_PORT", addresses.mqtt_edge.port().to_string()),
            ("MQTT_USER", addresses.mqtt_edge_user.clone()),
            ("MQTT_PASSWORD_FILE", addresses.mqtt_edge_password_file.display().to_string()),
            ("MQTT_TOPIC", "v1/+/telemetry".to_owned()),
            ("CLIENT_ID", format!("edge.{}", self.name())),
            ("KAFKA_BOOTSTRAP", addresses.kafka.clone()),
            ("KAFKA_TOPIC", Topic::NAME.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value.into()))
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_name_and_a_command() {
        let peer = "telegraf=FLUSH=10ms sh run.sh --a=b".parse::<Contender>().unwrap();
        assert_eq!(peer, Contender::Peer { name: "telegraf".into(), command: "FLUSH=10ms sh run.sh --a=b".into() });
        for bad in ["telegraf", "=x", "telegraf= ", "motorcade=x", "a b=x", "A=x"] {
            assert!(bad.parse::<Contender>().is_err(), "{bad:?}");
        }
    }
}
