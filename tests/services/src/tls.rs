//! What mosquitto and Kafka need for listeners that speak TLS, and where those are.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::certificates::{Authority, Use};
use crate::error::{Doing, Error};
use crate::{Ports, record, running};

/// The account at Kafka.
const KAFKA_USER: &str = "edge";

/// Listeners that speak TLS: each names 127.0.0.1 in its certificate, and no other address.
#[derive(Clone, Debug)]
pub struct Tls {
    /// mosquitto for vehicles: the common name of the certificate is the vehicle, and its client id.
    pub mqtt_vehicles: SocketAddr,
    /// mosquitto for the edge, whose certificate is named `edge`.
    pub mqtt_edge: SocketAddr,
    /// Kafka's bootstrap server for clients with a certificate.
    pub kafka: String,
    /// Kafka's bootstrap server for clients with an account (SCRAM-SHA-512).
    pub kafka_accounts: String,
    /// The account's name.
    pub kafka_user: &'static str,
    /// A file that holds its password and nothing else, readable by this user only.
    pub kafka_password_file: PathBuf,
    /// The folder of the authority that signed their certificates, for [`Authority::open`]. They are in it as
    /// `mosquitto` and `kafka`; what is issued anew under these names counts from the service's next start.
    pub certificates: PathBuf,
}

impl Tls {
    pub(crate) fn new(ports: &Ports, dir: &Path) -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            mqtt_vehicles: loopback(ports.mqtt_vehicles_tls),
            mqtt_edge: loopback(ports.mqtt_edge_tls),
            kafka: loopback(ports.kafka_tls).to_string(),
            kafka_accounts: loopback(ports.kafka_accounts).to_string(),
            kafka_user: KAFKA_USER,
            kafka_password_file: password_file(dir),
            certificates: certificates(dir),
        }
    }

    /// The environment variables by which the edge and the simulator come to mosquitto with certificates: `edge`, and one
    /// for each vehicle, which [`Authority::ensure`] issues.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let file = |name: &str| self.certificates.join(name).display().to_string();
        vec![
            ("MOTORCADE_MQTT", self.mqtt_vehicles.to_string()),
            ("MOTORCADE_MQTT_TLS", true.to_string()),
            ("MOTORCADE_MQTT_CA", file("ca.crt")),
            ("MOTORCADE_MQTT_CERT", file("{vehicle}.crt")),
            ("MOTORCADE_MQTT_KEY", file("{vehicle}.key")),
            ("MOTORCADE_EDGE_MQTT", self.mqtt_edge.to_string()),
            ("MOTORCADE_EDGE_MQTT_TLS", true.to_string()),
            ("MOTORCADE_EDGE_MQTT_CA", file("ca.crt")),
            ("MOTORCADE_EDGE_MQTT_CERT", file("edge.crt")),
            ("MOTORCADE_EDGE_MQTT_KEY", file("edge.key")),
        ]
    }
}

pub(crate) fn certificates(dir: &Path) -> PathBuf {
    dir.join("certificates")
}

fn password_file(dir: &Path) -> PathBuf {
    dir.join("kafka-edge.password")
}

/// Sees to it that mosquitto has a certificate, and the edge one that mosquitto takes.
pub(crate) fn mosquitto(dir: &Path) -> Result<(), Error> {
    let authority = Authority::open(certificates(dir))?;
    authority.ensure("mosquitto", Use::Server)?;
    authority.ensure("edge", Use::Client).map(drop)
}

/// Sees to it that Kafka has a certificate, in the form that it wants: one file with the key first.
pub(crate) fn kafka(dir: &Path) -> Result<(), Error> {
    let pair = Authority::open(certificates(dir))?.ensure("kafka", Use::Server)?;
    let mut pem = fs::read(&pair.key).doing("read", &pair.key)?;
    pem.extend(fs::read(&pair.certificate).doing("read", &pair.certificate)?);
    let both = certificates(dir).join("kafka.pem");
    record::write_whole(&both, &pem).doing("write", &both)
}

/// Arguments for the tool that formats Kafka's log folder, by which the account is there from the beginning. They are
/// in a file, so that the password is on no command line.
pub(crate) fn kafka_account(dir: &Path) -> Result<Vec<String>, Error> {
    let (plain, arguments) = (password_file(dir), dir.join("kafka-edge.arguments"));
    let password = running::random_name()?;
    record::write_whole(&plain, password.as_bytes()).doing("write", &plain)?;
    let account = format!("--add-scram\nSCRAM-SHA-512=[name={KAFKA_USER},password={password}]\n");
    record::write_whole(&arguments, account.as_bytes()).doing("write", &arguments)?;
    Ok(vec![format!("@{}", arguments.display())])
}
