//! Flags of the gateway.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use cloud_log::KafkaConfig;
use service::Error;
use store::MongoConfig;

/// More than any machine holds, and what a semaphore can count.
const MAX_CONNECTIONS: usize = 1_000_000;

/// Flags of `motorcade run gateway`.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// MongoDB.
    #[command(flatten)]
    pub mongo: MongoConfig,
    /// Address of the page, REST and WebSocket; port 0 takes a free one.
    #[arg(long, env = "MOTORCADE_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// File with the bearer token that every request but the page's own files needs; required beyond loopback.
    #[arg(long, env = "MOTORCADE_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Further origins that browsers may connect from, as `https://host`; the gateway's own is always allowed.
    #[arg(long, env = "MOTORCADE_GATEWAY_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub allow_origin: Vec<String>,
    /// WebSocket connections at a time; more get 503.
    #[arg(long, env = "MOTORCADE_GATEWAY_MAX_CONNECTIONS", value_name = "N", default_value_t = 10_000)]
    pub max_connections: usize,
    /// Alert events kept in memory for clients that resume; older ones are read back from Kafka.
    #[arg(long, env = "MOTORCADE_GATEWAY_RING_EVENTS", value_name = "N", default_value_t = 50_000)]
    pub ring_events: usize,
    /// Bytes of these events.
    #[arg(long, env = "MOTORCADE_GATEWAY_RING_BYTES", value_name = "BYTES", default_value_t = 64 * 1024 * 1024)]
    pub ring_bytes: usize,
    /// Time between heartbeats, ms; each names the newest offset.
    #[arg(long, env = "MOTORCADE_GATEWAY_HEARTBEAT_MS", value_name = "MS", default_value_t = 25_000)]
    pub heartbeat_ms: u64,
    /// A client that takes nothing for so long is disconnected and resumes later, ms.
    #[arg(long, env = "MOTORCADE_GATEWAY_WRITE_TIMEOUT_MS", value_name = "MS", default_value_t = 10_000)]
    pub write_timeout_ms: u64,
}

impl Config {
    /// Checks the flags; opens no socket.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the flag.
    pub fn validate(&self) -> Result<(), Error> {
        self.kafka.validate()?;
        self.mongo.validate()?;
        let usage = |flag, detail: &str| Err(Error::Usage { flag, detail: detail.to_owned() });
        if !self.listen.ip().is_loopback() && self.token_file.is_none() {
            return usage("listen", "beyond loopback a --token-file is needed: alerts and positions are personal data");
        }
        if self.max_connections > MAX_CONNECTIONS {
            return usage("max-connections", "at most 1000000");
        }
        for (flag, value) in [
            ("max-connections", self.max_connections),
            ("ring-events", self.ring_events),
            ("ring-bytes", self.ring_bytes),
        ] {
            if value == 0 {
                return usage(flag, "at least 1");
            }
        }
        if self.heartbeat_ms < 100 || self.write_timeout_ms < 100 {
            return usage(if self.heartbeat_ms < 100 { "heartbeat-ms" } else { "write-timeout-ms" }, "at least 100");
        }
        Ok(())
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }

    pub(crate) fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        config: Config,
    }

    #[test]
    fn what_can_not_be_used_is_refused() {
        let check = |flags: &[&str]| {
            let config = Flags::try_parse_from([&["gateway"], flags].concat()).unwrap().config;
            config.validate().map_err(|error| error.exit_code())
        };
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&["--listen", "[::1]:0"]), Ok(()));
        assert_eq!(check(&["--listen", "0.0.0.0:8080"]), Err(64));
        assert_eq!(check(&["--listen", "10.0.0.1:8080"]), Err(64));
        assert_eq!(check(&["--listen", "0.0.0.0:8080", "--token-file", "token"]), Ok(()));
        assert_eq!(check(&["--ring-events", "0"]), Err(64));
        assert_eq!(check(&["--max-connections", "1000000"]), Ok(()));
        assert_eq!(check(&["--max-connections", "1000001"]), Err(64));
        assert_eq!(check(&["--max-connections", "18446744073709551615"]), Err(64));
    }
}
