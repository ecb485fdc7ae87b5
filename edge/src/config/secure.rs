//! TLS to both sides, and who we are to Kafka.

use std::path::PathBuf;

use native_tls::TlsConnector;
use service::{Error, tls};

/// Flags of TLS and of Kafka's accounts.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Security")]
pub struct Secure {
    /// Speak TLS to the MQTT broker.
    #[arg(long, env = "MOTORCADE_EDGE_MQTT_TLS")]
    pub mqtt_tls: bool,
    /// PEM file with the authorities of the broker's certificate [default: the system's].
    #[arg(long, env = "MOTORCADE_EDGE_MQTT_CA", value_name = "FILE")]
    pub mqtt_ca: Option<PathBuf>,
    /// PEM file with our certificate for the broker; needs --mqtt-key.
    #[arg(long, env = "MOTORCADE_EDGE_MQTT_CERT", value_name = "FILE")]
    pub mqtt_cert: Option<PathBuf>,
    /// PEM file with its key, PKCS#8.
    #[arg(long, env = "MOTORCADE_EDGE_MQTT_KEY", value_name = "FILE")]
    pub mqtt_key: Option<PathBuf>,
    /// Speak TLS to Kafka.
    #[arg(long, env = "MOTORCADE_EDGE_KAFKA_TLS")]
    pub kafka_tls: bool,
    /// PEM file with the authorities of Kafka's certificates [default: the system's].
    #[arg(long, env = "MOTORCADE_EDGE_KAFKA_CA", value_name = "FILE")]
    pub kafka_ca: Option<PathBuf>,
    /// PEM file with our certificate for Kafka; needs --kafka-key.
    #[arg(long, env = "MOTORCADE_EDGE_KAFKA_CERT", value_name = "FILE")]
    pub kafka_cert: Option<PathBuf>,
    /// PEM file with its key.
    #[arg(long, env = "MOTORCADE_EDGE_KAFKA_KEY", value_name = "FILE")]
    pub kafka_key: Option<PathBuf>,
    /// User name at Kafka (SCRAM-SHA-512); needs --kafka-password-file and --kafka-tls.
    #[arg(long, env = "MOTORCADE_EDGE_KAFKA_USER", value_name = "NAME")]
    pub kafka_user: Option<String>,
    /// File with the password of --kafka-user.
    #[arg(long, env = "MOTORCADE_EDGE_KAFKA_PASSWORD_FILE", value_name = "FILE")]
    pub kafka_password_file: Option<PathBuf>,
}

impl Secure {
    /// Checks that what belongs together is there, that files can be read, and that those for the broker are understood.
    pub(super) fn validate(&self) -> Result<(), Error> {
        tls::check_needs([
            ("mqtt-ca", self.mqtt_ca.is_some(), "--mqtt-tls", self.mqtt_tls),
            ("mqtt-cert", self.mqtt_cert.is_some(), "--mqtt-tls", self.mqtt_tls),
            ("mqtt-cert", self.mqtt_cert.is_some(), "--mqtt-key", self.mqtt_key.is_some()),
            ("mqtt-key", self.mqtt_key.is_some(), "--mqtt-cert", self.mqtt_cert.is_some()),
            ("kafka-ca", self.kafka_ca.is_some(), "--kafka-tls", self.kafka_tls),
            ("kafka-cert", self.kafka_cert.is_some(), "--kafka-tls", self.kafka_tls),
            ("kafka-cert", self.kafka_cert.is_some(), "--kafka-key", self.kafka_key.is_some()),
            ("kafka-key", self.kafka_key.is_some(), "--kafka-cert", self.kafka_cert.is_some()),
            ("kafka-user", self.kafka_user.is_some(), "--kafka-password-file", self.kafka_password_file.is_some()),
            // A password does not travel in the clear.
            ("kafka-user", self.kafka_user.is_some(), "--kafka-tls", self.kafka_tls),
            ("kafka-password-file", self.kafka_password_file.is_some(), "--kafka-user", self.kafka_user.is_some()),
        ])?;
        self.mqtt()?;
        self.kafka().map(|_| ())
    }

    /// How TLS to the broker is spoken; none: not at all.
    ///
    /// # Errors
    /// [`Error::Usage`] for a file that can't be used.
    pub(crate) fn mqtt(&self) -> Result<Option<TlsConnector>, Error> {
        if !self.mqtt_tls {
            return Ok(None);
        }
        let authorities = self.mqtt_ca.as_deref().map(|path| ("mqtt-ca", path));
        let own = self.mqtt_cert.as_deref().zip(self.mqtt_key.as_deref());
        let own = own.map(|(certificate, key)| [("mqtt-cert", certificate), ("mqtt-key", key)]);
        tls::connector("mqtt-tls", authorities, own).map(Some)
    }

    /// librdkafka's settings.
    ///
    /// # Errors
    /// [`Error::Usage`] for a file that can't be read.
    pub(crate) fn kafka(&self) -> Result<Vec<(&'static str, String)>, Error> {
        let mut settings = Vec::new();
        let protocol = match (self.kafka_tls, &self.kafka_user) {
            (false, _) => return Ok(settings),
            (true, None) => "ssl",
            (true, Some(_)) => "sasl_ssl",
        };
        settings.push(("security.protocol", protocol.to_owned()));
        for (flag, name, path) in [
            ("kafka-ca", "ssl.ca.location", &self.kafka_ca),
            ("kafka-cert", "ssl.certificate.location", &self.kafka_cert),
            ("kafka-key", "ssl.key.location", &self.kafka_key),
        ] {
            if let Some(path) = path {
                tls::read_file(flag, path)?;
                settings.push((name, path.display().to_string()));
            }
        }
        if let (Some(user), Some(path)) = (&self.kafka_user, &self.kafka_password_file) {
            let password = String::from_utf8_lossy(&tls::read_file("kafka-password-file", path)?).into_owned();
            settings.push(("sasl.mechanism", "SCRAM-SHA-512".to_owned()));
            settings.push(("sasl.username", user.clone()));
            settings.push(("sasl.password", password.trim_end_matches(['\r', '\n']).to_owned()));
        }
        Ok(settings)
    }
}
