//! What an operator may set for an audit.

use std::path::PathBuf;

use report::Condition;
use service::{Address, Error};
use telemetry::kafka_topic;

use super::figures;
use crate::load;

/// Flags of `motorcade-simulator audit`.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Audit")]
pub struct Config {
    /// Folder of the ledger that a `drive` or a `load` has left.
    #[arg(long, env = "MOTORCADE_AUDIT_LEDGER", value_name = "DIR")]
    pub ledger: PathBuf,
    /// Kafka's bootstrap servers.
    #[arg(long, env = "MOTORCADE_KAFKA", value_name = "HOST:PORT,…", default_value = "127.0.0.1:9092")]
    pub kafka: String,
    /// The topic that the bridge writes readings to.
    #[arg(long, env = "MOTORCADE_AUDIT_KAFKA_TOPIC", value_name = "NAME", default_value = kafka_topic::TELEMETRY)]
    pub kafka_topic: String,
    /// The topic that it writes refused payloads to, if it has one. Beside telemetry: telemetry.dead-letter, if it
    /// exists. An acknowledged reading that is well-formed and stands there only is not found: it fails the audit.
    #[arg(long, env = "MOTORCADE_AUDIT_DEAD_LETTER_TOPIC", value_name = "NAME")]
    pub dead_letter_topic: Option<String>,
    /// A reading is late if Kafka appended it more than this after the time at which it was due, ms, or has not got it
    /// though it was older than this when the run ended. Latency until in Kafka needs a topic with
    /// message.timestamp.type=LogAppendTime: where the producer stamps, nobody can tell what was late.
    #[arg(long, env = "MOTORCADE_AUDIT_LATE_MS", value_name = "MS", default_value_t = 1_000)]
    pub late_ms: u64,
    /// Fails the audit if this comes true of a figure of its report: 'duplicated>0'; separated by commas, or several
    /// times. Short names: lost, refused (well-formed, and a dead letter only), altered, invented, foreign (of vehicles
    /// or boots that the ledger does not know: another run's), duplicated, reordered, late, given_up, unacknowledged,
    /// p50_ms, p90_ms, p99_ms, p999_ms, max_ms (due until in Kafka; a reading that is not there counts with the age that
    /// it had when the run ended). A figure that was not measured fails: late and these times need a topic with
    /// message.timestamp.type=LogAppendTime; elsewhere there is schedule_to_stamp_p99_ms, due until the producer's stamp.
    #[arg(long, env = "MOTORCADE_AUDIT_FAIL_IF", value_name = "CONDITION", value_delimiter = ',')]
    pub fail_if: Vec<Condition>,
    /// File for the report, JSON.
    #[arg(long, env = "MOTORCADE_AUDIT_JSON", value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// File for the report as a page, HTML.
    #[arg(long, env = "MOTORCADE_AUDIT_HTML", value_name = "FILE")]
    pub html: Option<PathBuf>,
}

impl Config {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Usage`] with the flag's name.
    pub fn validate(&self) -> Result<(), Error> {
        Address::list_of_flag("kafka", &self.kafka)?;
        let known = figures::known();
        load::check(&self.fail_if, &figures::names(&known))?;
        if self.ledger.is_dir() {
            return Ok(());
        }
        Err(Error::Usage { flag: "ledger", detail: format!("{} is no folder", self.ledger.display()) })
    }
}
