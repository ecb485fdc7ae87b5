//! What an operator may set: flags, each with an environment variable. [`Config::validate`] checks them before
//! the edge reaches for the broker or for Kafka.

mod secure;

use std::{path::PathBuf, time::Duration};

pub use secure::Secure;

use service::{Address, Error};
use telemetry::VehicleId;

use crate::{ack::Pace, downlink::Commands, limit::Allowance};

/// The largest packet that the edge accepts, in bytes. The broker's limit lies below it, Kafka's above.
pub const MAX_PACKET_BYTES: u32 = 128 * 1024;

/// The longest beat, µs. Four of them are far from what a broker takes for a dead client.
const MAX_BEAT_US: u32 = 100_000;
/// A Kafka that is there may take as long for a batch, ms.
const MIN_SPOOL_AFTER_MS: u64 = 100;

/// How batches for Kafka are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// The name in Kafka's configuration.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Flags of `motorcade-edge`.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Edge")]
pub struct Config {
    /// The MQTT broker.
    #[arg(long, env = "MOTORCADE_EDGE_MQTT", value_name = "HOST:PORT", default_value = "127.0.0.1:1883")]
    pub mqtt: String,
    /// User name at the MQTT broker; needs --mqtt-password-file.
    #[arg(long, env = "MOTORCADE_EDGE_MQTT_USER", value_name = "NAME")]
    pub mqtt_user: Option<String>,
    /// File with the password of --mqtt-user.
    #[arg(long, env = "MOTORCADE_EDGE_MQTT_PASSWORD_FILE", value_name = "FILE")]
    pub mqtt_password_file: Option<PathBuf>,
    /// MQTT client id: the broker keeps the session, and what waits in it, under this name.
    #[arg(long, env = "MOTORCADE_EDGE_ID", value_name = "NAME", default_value = "edge.1")]
    pub id: String,
    /// Share --id with another edge: one of the two bridges, the other takes over when it goes.
    #[arg(long, env = "MOTORCADE_EDGE_HOT_STANDBY")]
    pub hot_standby: bool,
    /// Kafka's bootstrap servers, separated by commas.
    #[arg(long, env = "MOTORCADE_KAFKA", value_name = "HOST:PORT,…", default_value = "127.0.0.1:9092")]
    pub kafka: String,
    /// The most publishes that the broker sends ahead of our acknowledgements.
    #[arg(long, env = "MOTORCADE_EDGE_RECEIVE_MAXIMUM", value_name = "N", default_value_t = 4096)]
    pub receive_maximum: u16,
    /// An acknowledgement leaves after this many new records of a vehicle,
    #[arg(long, env = "MOTORCADE_EDGE_ACK_RECORDS", value_name = "N", default_value_t = 100)]
    pub ack_records: u32,
    /// or, with at least this many new ones,
    #[arg(long, env = "MOTORCADE_EDGE_ACK_MIN_RECORDS", value_name = "N", default_value_t = 10)]
    pub ack_min_records: u32,
    /// after this time, ms,
    #[arg(long, env = "MOTORCADE_EDGE_ACK_MIN_MS", value_name = "MS", default_value_t = 5_000)]
    pub ack_min_ms: u64,
    /// or after this time with any, ms.
    #[arg(long, env = "MOTORCADE_EDGE_ACK_MAX_MS", value_name = "MS", default_value_t = 60_000)]
    pub ack_max_ms: u64,
    /// The most vehicles whose acknowledged ranges are remembered; beyond it an idle one is forgotten, which
    /// costs it a resend.
    #[arg(long, env = "MOTORCADE_EDGE_MAX_VEHICLES", value_name = "N", default_value_t = 200_000)]
    pub max_vehicles: u32,
    /// Memory for what is in hand, KiB: taken in, and neither in Kafka nor in the spool. Above it the broker is not
    /// listened to.
    #[arg(long, env = "MOTORCADE_EDGE_IN_HAND_KIB", value_name = "KIB", default_value_t = 32_768)]
    pub in_hand_kib: u32,
    /// Readings that a vehicle may send in a second, in the long run; 0: no limit. What is above it is not taken: the
    /// vehicle keeps it, is asked to slow down, and sends it again.
    #[arg(long, env = "MOTORCADE_EDGE_VEHICLE_RATE", value_name = "N", default_value_t = 0.0)]
    pub vehicle_rate: f64,
    /// Readings that a vehicle may send at once after a silence: what it kept while it was away.
    #[arg(long, env = "MOTORCADE_EDGE_VEHICLE_BURST", value_name = "N", default_value_t = 1_000)]
    pub vehicle_burst: u32,
    /// Folder of the spool, which takes what arrives while Kafka is away. Without one the broker keeps it, unless it
    /// restarts. One edge per folder.
    #[arg(long, env = "MOTORCADE_EDGE_SPOOL", value_name = "DIR")]
    pub spool: Option<PathBuf>,
    /// The most that the spool takes of its disk, MiB. When it is full nothing is dropped: the broker gets no PUBACKs,
    /// keeps what it can, and vehicles keep the rest.
    #[arg(long, env = "MOTORCADE_EDGE_SPOOL_LIMIT_MIB", value_name = "MIB", default_value_t = 4_096)]
    pub spool_limit_mib: u64,
    /// Spooling begins when something is in hand and Kafka has confirmed nothing for this time, ms, at least 100. Without
    /// --spool `/readyz` says so then, not before 1,000 ms.
    #[arg(long, env = "MOTORCADE_EDGE_SPOOL_AFTER_MS", value_name = "MS", default_value_t = 1_000)]
    pub spool_after_ms: u64,
    /// How long the Kafka producer waits for a batch to fill, ms. What has gathered in a beat comes to it at once, so that
    /// little waiting is needed.
    #[arg(long, env = "MOTORCADE_EDGE_LINGER_MS", value_name = "MS", default_value_t = 1)]
    pub linger_ms: u32,
    /// How batches are compressed: none, lz4 (fast) or zstd (small).
    #[arg(long, env = "MOTORCADE_EDGE_COMPRESSION", value_name = "NAME", default_value = "lz4")]
    pub compression: Compression,
    /// While there is work the loop looks at its sockets this often, µs, instead of being woken by each packet: less
    /// costs CPU, more costs latency. At most 100,000. Up to twice as long where fewer than 35 messages would gather.
    #[arg(long, env = "MOTORCADE_EDGE_BEAT_US", value_name = "US", default_value_t = 3_500)]
    pub beat_us: u32,
    /// How long the start waits for the MQTT broker and for Kafka, each, ms. With --spool Kafka gets 2,000 ms at most: the
    /// edge starts without it.
    #[arg(long, env = "MOTORCADE_EDGE_CONNECT_TIMEOUT_MS", value_name = "MS", default_value_t = 10_000)]
    pub connect_timeout_ms: u64,
    /// How long a stop waits for Kafka and the broker to take what is in hand, ms. What stays is unacknowledged
    /// and comes again. Less than --grace-ms.
    #[arg(long, env = "MOTORCADE_EDGE_DRAIN_TIMEOUT_MS", value_name = "MS", default_value_t = 5_000)]
    pub drain_timeout_ms: u64,
    /// TLS and accounts.
    #[command(flatten)]
    pub secure: Secure,
    /// How commands go down.
    #[command(flatten)]
    pub commands: Commands,
}

impl Config {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Usage`] with the flag's name.
    pub fn validate(&self) -> Result<(), Error> {
        let usage = |flag, detail: String| Err(Error::Usage { flag, detail });
        self.broker()?;
        Address::list_of_flag("kafka", &self.kafka)?;
        self.commands.validate()?;
        if self.id.is_empty() || self.id.len() > 64 || self.id.contains(['+', '#', '/', '\0']) {
            return usage("id", format!("{:?} is not 1 to 64 bytes without + # /", self.id));
        }
        // The broker would let the two throw each other out for ever, and a vehicle's queue would be the edge's.
        if VehicleId::parse(&self.id).is_ok() {
            return usage("id", format!("{:?} could be a vehicle's; a dot, as in edge.1, tells them apart", self.id));
        }
        match (&self.mqtt_user, &self.mqtt_password_file) {
            (Some(_), None) => return usage("mqtt-user", "needs --mqtt-password-file".into()),
            (None, Some(_)) => return usage("mqtt-password-file", "needs --mqtt-user".into()),
            _ => {}
        }
        for (flag, value) in [
            ("receive-maximum", u64::from(self.receive_maximum)),
            ("ack-records", u64::from(self.ack_records)),
            ("ack-min-records", u64::from(self.ack_min_records)),
            ("ack-max-ms", self.ack_max_ms),
            ("max-vehicles", u64::from(self.max_vehicles)),
            ("connect-timeout-ms", self.connect_timeout_ms),
            ("beat-us", u64::from(self.beat_us)),
        ] {
            if value == 0 {
                return usage(flag, "must be above 0".into());
            }
        }
        self.secure.validate()?;
        // The largest packet has room, and librdkafka's queue, twice as large, can still be told so.
        if !(512..=1 << 20).contains(&self.in_hand_kib) {
            return usage("in-hand-kib", format!("{} is not 512 to {}", self.in_hand_kib, 1 << 20));
        }
        if self.ack_min_ms > self.ack_max_ms {
            return usage("ack-min-ms", format!("{} is above --ack-max-ms {}", self.ack_min_ms, self.ack_max_ms));
        }
        if !(64..=16 << 20).contains(&self.spool_limit_mib) {
            return usage("spool-limit-mib", format!("{} is not 64 to {}", self.spool_limit_mib, 16 << 20));
        }
        if !(self.vehicle_rate >= 0.0 && self.vehicle_rate <= 1e6) {
            return usage("vehicle-rate", format!("{} is not 0 to 1000000", self.vehicle_rate));
        }
        if !(1..=1_000_000).contains(&self.vehicle_burst) {
            return usage("vehicle-burst", format!("{} is not 1 to 1000000", self.vehicle_burst));
        }
        if self.spool_after_ms < MIN_SPOOL_AFTER_MS {
            return usage("spool-after-ms", format!("{} is below {MIN_SPOOL_AFTER_MS}", self.spool_after_ms));
        }
        if self.beat_us > MAX_BEAT_US {
            return usage("beat-us", format!("{} is above {MAX_BEAT_US}", self.beat_us));
        }
        if self.linger_ms > 10_000 {
            return usage("linger-ms", format!("{} is above 10000", self.linger_ms));
        }
        Ok(())
    }

    /// Where the broker listens.
    pub(crate) fn broker(&self) -> Result<Address, Error> {
        Address::of_flag("mqtt", &self.mqtt)
    }

    /// The password, without the line's end.
    pub(crate) fn password(&self) -> Result<Option<String>, Error> {
        let Some(path) = &self.mqtt_password_file else { return Ok(None) };
        let text = std::fs::read_to_string(path).map_err(|error| Error::Usage {
            flag: "mqtt-password-file",
            detail: format!("{}: {error}", path.display()),
        })?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    pub(crate) fn allowance(&self) -> Option<Allowance> {
        (self.vehicle_rate > 0.0).then_some(Allowance { per_second: self.vehicle_rate, burst: self.vehicle_burst })
    }

    pub(crate) fn pace(&self) -> Pace {
        Pace {
            records: self.ack_records,
            min_records: self.ack_min_records,
            min_pause: Duration::from_millis(self.ack_min_ms),
            max_pause: Duration::from_millis(self.ack_max_ms),
        }
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
    }

    fn refused_flag(flags: &[&str]) -> Option<&'static str> {
        let flags = std::iter::once("edge").chain(flags.iter().copied());
        match Cli::try_parse_from(flags).unwrap().config.validate() {
            Ok(()) => None,
            Err(Error::Usage { flag, .. }) => Some(flag),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_key_that_is_none_is_not_blamed_on_the_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let authority = services::Authority::open(folder.path()).unwrap().certificate();
        let flags = ["--mqtt-tls", "--mqtt-cert", authority.to_str().unwrap(), "--mqtt-key", "Cargo.toml"];
        assert_eq!(refused_flag(&flags), Some("mqtt-key"));
    }

    #[test]
    fn wrong_values_are_refused_by_the_flag_name() {
        for (flags, refused) in [
            (&[][..], None),
            (&["--mqtt", "broker:1883", "--kafka", "[::1]:9092,b:9093"], None),
            (&["--mqtt", "broker"], Some("mqtt")),
            (&["--mqtt", "mqtt://broker:1883"], Some("mqtt")),
            (&["--mqtt", "::1:1883"], Some("mqtt")),
            (&["--mqtt", "broker:0"], Some("mqtt")),
            (&["--kafka", "a:1,,b:2"], Some("kafka")),
            (&["--id", ""], Some("id")),
            (&["--id", "edge/1"], Some("id")),
            (&["--id", "veh-00001"], Some("id")),
            (&["--id", "edge-0.edge"], None),
            (&["--mqtt-user", "edge"], Some("mqtt-user")),
            (&["--mqtt-password-file", "x"], Some("mqtt-password-file")),
            (&["--receive-maximum", "0"], Some("receive-maximum")),
            (&["--mqtt-ca", "ca.pem"], Some("mqtt-ca")),
            (&["--mqtt-tls", "--mqtt-ca", "/nowhere/ca.pem"], Some("mqtt-ca")),
            (&["--mqtt-tls", "--mqtt-ca", "Cargo.toml"], Some("mqtt-ca")),
            (&["--mqtt-tls", "--mqtt-cert", "Cargo.toml"], Some("mqtt-cert")),
            (&["--mqtt-tls", "--mqtt-cert", "Cargo.toml", "--mqtt-key", "Cargo.toml"], Some("mqtt-cert")),
            (&["--kafka-tls", "--kafka-key", "Cargo.toml"], Some("kafka-key")),
            (&["--kafka-user", "edge"], Some("kafka-user")),
            (&["--kafka-user", "edge", "--kafka-password-file", "Cargo.toml"], Some("kafka-user")),
            (
                &["--kafka-tls", "--kafka-user", "edge", "--kafka-password-file", "/nowhere"],
                Some("kafka-password-file"),
            ),
            (&["--vehicle-rate=-1"], Some("vehicle-rate")),
            (&["--vehicle-rate", "NaN"], Some("vehicle-rate")),
            (&["--vehicle-burst", "0"], Some("vehicle-burst")),
            (&["--spool-limit-mib", "1"], Some("spool-limit-mib")),
            (&["--spool-after-ms", "99"], Some("spool-after-ms")),
            (&["--spool-after-ms", "100"], None),
            (&["--beat-us", "0"], Some("beat-us")),
            (&["--beat-us", "100001"], Some("beat-us")),
            (&["--beat-us", "100000"], None),
            (&["--commands-mib", "0"], Some("commands-mib")),
            (&["--in-hand-kib", "511"], Some("in-hand-kib")),
            (&["--in-hand-kib", "1048577"], Some("in-hand-kib")),
            (&["--ack-min-ms", "5", "--ack-max-ms", "4"], Some("ack-min-ms")),
        ] {
            assert_eq!(refused_flag(flags), refused, "{flags:?}");
        }
    }
}
