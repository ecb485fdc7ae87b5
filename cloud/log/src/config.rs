//! Where Kafka is.

use std::time::Duration;

use service::{Address, Error};

/// How to reach Kafka; flattened into the flags of every role and tool.
#[derive(clap::Args, Debug, Clone)]
pub struct KafkaConfig {
    /// Kafka's bootstrap servers, HOST:PORT[,HOST:PORT…].
    #[arg(long, env = "MOTORCADE_KAFKA", value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub kafka: String,
    /// How long Kafka may take to answer at start, ms.
    #[arg(long, env = "MOTORCADE_CONNECT_TIMEOUT_MS", value_name = "MS", default_value_t = 10_000)]
    pub connect_timeout_ms: u64,
    /// Whether a topic that is missing at start is waited for as long: by roles, which may start before `topics apply`.
    #[arg(skip)]
    pub waits_for_topics: bool,
}

impl KafkaConfig {
    /// Kafka at these bootstrap servers, everything else as by default.
    pub fn new(kafka: impl Into<String>) -> Self {
        Self { kafka: kafka.into(), connect_timeout_ms: 10_000, waits_for_topics: false }
    }

    /// Checks the flags; opens no socket.
    ///
    /// # Errors
    /// [`Error::Usage`] if an address is not HOST:PORT or the time is 0.
    pub fn validate(&self) -> Result<(), Error> {
        Address::list_of_flag("kafka", &self.kafka)?;
        if self.connect_timeout_ms == 0 {
            return Err(Error::Usage { flag: "connect-timeout-ms", detail: "0 leaves no time to connect".into() });
        }
        Ok(())
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn unavailable(&self, detail: impl Into<String>) -> Error {
        Error::Unavailable { flag: "kafka", address: self.kafka.clone(), detail: detail.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for good in ["127.0.0.1:9092", "kafka-0:9092,kafka-1:9092", "[::1]:9092"] {
            KafkaConfig::new(good).validate().unwrap();
        }
        for bad in ["", "kafka", "kafka:", ":9092", "kafka:0", "kafka:99999", "a:1,,b:2", "::1:9092", "kafka://a:1"] {
            let error = KafkaConfig::new(bad).validate().unwrap_err();
            assert_eq!(error.exit_code(), 64, "{bad:?}");
            assert!(error.to_string().starts_with("--kafka: "), "{error}");
        }
    }
}
