//! Where the services listen, and the names of the environment variables in which programs expect it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::{Kind, Ports};

/// Where the services listen. Those of services that were not asked for are filled in, but silent.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// mosquitto for vehicles: any user name, which is the vehicle and becomes the client id.
    pub mqtt_vehicles: SocketAddr,
    /// mosquitto for the edge, with the account below.
    pub mqtt_edge: SocketAddr,
    /// The edge's user name.
    pub mqtt_edge_user: String,
    /// The edge's password, made anew at each start.
    pub mqtt_edge_password: String,
    /// A file that holds the password and nothing else, readable by this user only.
    pub mqtt_edge_password_file: PathBuf,
    /// Kafka's bootstrap server.
    pub kafka: String,
    /// MongoDB's connection string.
    pub mongo: String,
}

impl Addresses {
    pub(crate) fn new(ports: &Ports, dir: &Path, password: &str) -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            mqtt_vehicles: loopback(ports.mqtt_vehicles),
            mqtt_edge: loopback(ports.mqtt_edge),
            mqtt_edge_user: crate::mosquitto::EDGE_USER.to_owned(),
            mqtt_edge_password: password.to_owned(),
            mqtt_edge_password_file: crate::mosquitto::password_file(dir),
            kafka: loopback(ports.kafka).to_string(),
            mongo: format!("mongodb://{}/?replicaSet={}", loopback(ports.mongod), crate::mongod::REPLICA_SET),
        }
    }

    /// The environment variables by which every program of Motorcade finds these services.
    #[must_use]
    pub fn environment(&self, kinds: &[Kind]) -> Vec<(&'static str, String)> {
        let mut variables = Vec::new();
        if kinds.contains(&Kind::Mosquitto) {
            variables.push(("MOTORCADE_MQTT", self.mqtt_vehicles.to_string()));
            variables.push(("MOTORCADE_EDGE_MQTT", self.mqtt_edge.to_string()));
            variables.push(("MOTORCADE_EDGE_MQTT_USER", self.mqtt_edge_user.clone()));
            let file = self.mqtt_edge_password_file.display().to_string();
            variables.push(("MOTORCADE_EDGE_MQTT_PASSWORD_FILE", file));
        }
        if kinds.contains(&Kind::Kafka) {
            variables.push(("MOTORCADE_KAFKA", self.kafka.clone()));
        }
        if kinds.contains(&Kind::Mongod) {
            variables.push(("MOTORCADE_MONGO", self.mongo.clone()));
        }
        variables
    }
}
