//! What an operator may set for a load: flags, each with an environment variable.

mod limits;
mod plans;

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

use clap::ArgGroup;
use report::Condition;
use service::{Address, Error};

use super::{arrivals::Arrivals, counts::Stage, figures, payload::Form, plan::Judge, profile, search, trouble};
use crate::{ProgressForm, account::Account, tls::Tls, vehicle::vehicle_id};

/// Vehicles of a worker, unless told otherwise: a process may hold 20,000 files, and others need some.
const VEHICLES_PER_WORKER: u32 = 16_000;
/// No worker has more.
const MOST_PER_WORKER: u32 = 19_900;

const EXAMPLES: &str = "\
Examples:
  Half a minute at 5,000 readings/s, entered in a ledger, and what became of them:
    motorcade-simulator load --vehicles 10000 --rate 5000 --duration-ms 30000 --ledger ledger
    motorcade-simulator audit --ledger ledger
  Each of 500 vehicles once a second, only what changed, until Ctrl-C:
    motorcade-simulator load --vehicles 500 --interval-ms 1000 --payload on-change
  A day in two minutes, but with half of the vehicles; what there is besides:
    motorcade-simulator load --scenario day --vehicles 1000
    motorcade-simulator scenarios
  Bursts of 10,000 readings/s while every tenth vehicle drives through a storm:
    motorcade-simulator load --rate 10000 --profile burst --low-rate 500 --storm-share 0.1 --duration-ms 120000
  How fast a broker is without any bridge: its own word counts, and windows alone hold the fleet back:
    motorcade-simulator load --vehicles 50 --blast --messages 1000000 --judge puback";

/// Flags of `motorcade-simulator load`.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Load", group = ArgGroup::new("arrivals").required(true), after_help = EXAMPLES)]
pub struct Config {
    /// A scenario: the name of a built-in one (motorcade-simulator scenarios), or a TOML file with flags by their names,
    /// without dashes. --config, the environment and the command line go before it.
    #[arg(long, env = "MOTORCADE_LOAD_SCENARIO", value_name = "NAME|FILE")]
    pub scenario: Option<String>,
    /// The brokers' listeners for vehicles, separated by commas; vehicle i connects to the i-th, in turn. More than
    /// 14,000 vehicles on one are slow to connect, because Linux looks for their ports one by one then, and 28,232 are
    /// the most: name several addresses of a broker, for example 127.0.0.1, 127.0.0.2 and so on.
    #[arg(
        long,
        env = "MOTORCADE_MQTT",
        value_name = "HOST:PORT,…",
        default_value = "127.0.0.1:1883",
        help_heading = "Fleet"
    )]
    pub mqtt: String,
    /// How many vehicles connect.
    #[arg(long, env = "MOTORCADE_LOAD_VEHICLES", value_name = "N", default_value_t = 1_000, help_heading = "Fleet")]
    pub vehicles: u32,
    /// Index of the first: 1 is veh-00001.
    #[arg(long, env = "MOTORCADE_LOAD_FIRST_VEHICLE", value_name = "N", default_value_t = 1, help_heading = "Fleet")]
    pub first_vehicle: u32,
    /// Worker processes; 0: one for each 16,000 vehicles.
    #[arg(long, env = "MOTORCADE_LOAD_WORKERS", value_name = "N", default_value_t = 0, help_heading = "Fleet")]
    pub workers: u32,
    /// Values and pauses follow from it.
    #[arg(long, env = "MOTORCADE_LOAD_SEED", value_name = "N", default_value_t = 1, help_heading = "Fleet")]
    pub seed: u64,
    /// What is reported: change-200, kib, record-json, record-protobuf, on-change (only signals that changed), or JSON of
    /// so many bytes.
    #[arg(long, env = "MOTORCADE_LOAD_PAYLOAD", value_name = "FORM", default_value = "change-200")]
    pub payload: Form,
    /// In the form on-change: a full record comes each so many ms [default: 60000]; in a blast it comes every 100
    /// readings instead. With another form 0 turns off what a scenario has.
    #[arg(long, env = "MOTORCADE_LOAD_SNAPSHOT_MS", value_name = "MS")]
    pub snapshot_ms: Option<u64>,
    /// Readings of the whole fleet in a second, evenly; their times stand before anything is sent.
    #[arg(long, env = "MOTORCADE_LOAD_RATE", value_name = "N", group = "arrivals")]
    pub rate: Option<u64>,
    /// Instead: time between two readings of a vehicle, ms.
    #[arg(long, env = "MOTORCADE_LOAD_INTERVAL_MS", value_name = "MS", group = "arrivals")]
    pub interval_ms: Option<u64>,
    /// Instead: as fast as the windows allow.
    #[arg(long, env = "MOTORCADE_LOAD_BLAST", group = "arrivals")]
    pub blast: bool,
    /// The load ends after so many readings.
    #[arg(long, env = "MOTORCADE_LOAD_MESSAGES", value_name = "N")]
    pub messages: Option<u64>,
    /// The load ends after this time, ms; 0: by --messages, or when stopped.
    #[arg(long, env = "MOTORCADE_LOAD_DURATION_MS", value_name = "MS", default_value_t = 0)]
    pub duration_ms: u64,
    /// Connection attempts of the whole fleet in a second.
    #[arg(
        long,
        env = "MOTORCADE_LOAD_CONNECT_RATE",
        value_name = "N",
        default_value_t = 3_000,
        help_heading = "Connections"
    )]
    pub connect_rate: u32,
    /// How long all vehicles may take to connect, ms; 0: half a minute, and twice what --connect-rate asks for.
    #[arg(long, env = "MOTORCADE_LOAD_RAMP_MS", value_name = "MS", default_value_t = 0, help_heading = "Connections")]
    pub ramp_ms: u64,
    /// How long the fleet waits for acknowledgements after its last reading, ms.
    #[arg(long, env = "MOTORCADE_LOAD_DRAIN_MS", value_name = "MS", default_value_t = 75_000)]
    pub drain_ms: u64,
    /// The same after a stop signal, ms. At least 4 s less than --grace-ms.
    #[arg(long, env = "MOTORCADE_LOAD_STOP_DRAIN_MS", value_name = "MS", default_value_t = 5_000)]
    pub stop_drain_ms: u64,
    /// Whose word makes a reading acknowledged: ack, our edge's (it is in Kafka), or puback, the broker's. The edge paces
    /// its acks, --ack-min-ms to --ack-max-ms apart (5 to 60 s as it is shipped): latencies by ack are latencies of that
    /// pace. For those of the broker take puback; for those until Kafka, audit.
    #[arg(long, env = "MOTORCADE_LOAD_JUDGE", value_name = "WHO", default_value = "ack", help_heading = "Verdict")]
    pub judge: Judge,
    /// Folder of the ledger: what was sent and acknowledged, for the audit.
    #[arg(long, env = "MOTORCADE_LOAD_LEDGER", value_name = "DIR", help_heading = "Verdict")]
    pub ledger: Option<PathBuf>,
    /// File for the report, JSON.
    #[arg(long, env = "MOTORCADE_LOAD_REPORT", value_name = "FILE", help_heading = "Verdict")]
    pub report: Option<PathBuf>,
    /// Prints the report as one line of JSON instead of the text.
    #[arg(long, env = "MOTORCADE_LOAD_JSON", help_heading = "Verdict")]
    pub json: bool,
    /// Progress on standard output: json, one object a second. Otherwise standard error has a line each second on a
    /// terminal, each ten seconds in a log.
    #[arg(long, env = "MOTORCADE_LOAD_PROGRESS", default_value = "none", help_heading = "Verdict")]
    pub progress: ProgressForm,
    /// File for the report as a page with plots, HTML.
    #[arg(long, env = "MOTORCADE_LOAD_HTML", value_name = "FILE", help_heading = "Verdict")]
    pub html: Option<PathBuf>,
    /// Fails the run if this comes true of a figure of its report: 'p99_ms>50'; separated by commas, or several times.
    /// Short names: p50_ms, p90_ms, p99_ms, p999_ms and max_ms (due until acknowledged, by --judge; what was never
    /// acknowledged counts with its age when it was given up or the run was over, a lower bound), rate, made, acked,
    /// given_up, unacknowledged, lost (connections), failed (attempts to connect). A figure that was not measured fails.
    #[arg(
        long,
        env = "MOTORCADE_LOAD_FAIL_IF",
        value_name = "CONDITION",
        value_delimiter = ',',
        help_heading = "Verdict"
    )]
    pub fail_if: Vec<Condition>,
    /// Name of the run in its report.
    #[arg(long, env = "MOTORCADE_LOAD_NAME", value_name = "NAME", default_value = "load", help_heading = "Verdict")]
    pub name: String,
    /// Readings of a vehicle that are sent and unacknowledged at most.
    #[arg(long, env = "MOTORCADE_LOAD_WINDOW", value_name = "N", default_value_t = 200, help_heading = "Outbox")]
    pub window: usize,
    /// Readings that an outbox keeps; beyond it the oldest is given up and counted.
    #[arg(
        long,
        env = "MOTORCADE_LOAD_OUTBOX_RECORDS",
        value_name = "N",
        default_value_t = 1_000,
        help_heading = "Outbox"
    )]
    pub outbox_records: usize,
    /// A reading that two acks left out is sent again after a pause drawn from 0 to this, ms, doubling to a minute.
    #[arg(long, env = "MOTORCADE_LOAD_RESEND_MS", value_name = "MS", default_value_t = 1_000, help_heading = "Outbox")]
    pub resend_ms: u64,
    /// The oldest reading is sent again after this time without any ack, ms, doubling to ten minutes.
    #[arg(long, env = "MOTORCADE_LOAD_PROBE_MS", value_name = "MS", default_value_t = 90_000, help_heading = "Outbox")]
    pub probe_ms: u64,
    /// A reading that the broker refused is sent again after a pause drawn from 0 to this, ms, doubling to a minute.
    #[arg(
        long,
        env = "MOTORCADE_LOAD_REFUSED_MS",
        value_name = "MS",
        default_value_t = 1_000,
        help_heading = "Outbox"
    )]
    pub refused_ms: u64,
    /// A vehicle connects again after a pause drawn from 0 to this, ms, doubling to half a minute.
    #[arg(
        long,
        env = "MOTORCADE_LOAD_RECONNECT_MS",
        value_name = "MS",
        default_value_t = 500,
        help_heading = "Connections"
    )]
    pub reconnect_ms: u64,
    /// Vehicles do not slow down when the edge asks them to: what it discards then is sent and discarded again.
    #[arg(long, env = "MOTORCADE_LOAD_HEEDLESS", help_heading = "Outbox")]
    pub heedless: bool,
    /// How long one attempt to connect may take, to the SUBACK, ms.
    #[arg(
        long,
        env = "MOTORCADE_LOAD_ATTEMPT_MS",
        value_name = "MS",
        default_value_t = 20_000,
        help_heading = "Connections"
    )]
    pub attempt_ms: u64,
    /// MQTT keep-alive, s; 0: none.
    #[arg(
        long,
        env = "MOTORCADE_LOAD_KEEP_ALIVE_S",
        value_name = "S",
        default_value_t = 60,
        help_heading = "Connections"
    )]
    pub keep_alive_s: u16,
    /// How long the broker keeps the session of a vehicle that is away, s.
    #[arg(
        long,
        env = "MOTORCADE_LOAD_SESSION_EXPIRY_S",
        value_name = "S",
        default_value_t = 3_600,
        help_heading = "Connections"
    )]
    pub session_expiry_s: u32,
    /// Send and receive buffer of each socket, bytes; 0: what the system gives.
    #[arg(
        long,
        env = "MOTORCADE_LOAD_SOCKET_BUFFER",
        value_name = "BYTES",
        default_value_t = 8_192,
        help_heading = "Connections"
    )]
    pub socket_buffer: usize,
    /// How the rate changes.
    #[command(flatten)]
    pub profile: profile::Profile,
    /// What goes wrong on purpose.
    #[command(flatten)]
    pub troubles: trouble::Disturbances,
    /// TLS to the brokers.
    #[command(flatten)]
    pub tls: Tls,
    /// Who vehicles are there.
    #[command(flatten)]
    pub account: Account,
    /// The search for the highest rate.
    #[command(flatten)]
    pub search: search::Flags,
}

impl Config {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Usage`] with the flag's name.
    pub fn validate(&self) -> Result<(), Error> {
        let usage = |flag, detail: String| Err(Error::Usage { flag, detail });
        Address::list_of_flag("mqtt", &self.mqtt)?;
        for (flag, value) in [
            ("vehicles", u64::from(self.vehicles)),
            ("first-vehicle", u64::from(self.first_vehicle)),
            ("connect-rate", u64::from(self.connect_rate)),
            ("window", self.window as u64),
            ("outbox-records", self.outbox_records as u64),
            ("probe-ms", self.probe_ms),
            ("attempt-ms", self.attempt_ms),
            ("rate", self.rate.unwrap_or(1)),
            ("interval-ms", self.interval_ms.unwrap_or(1)),
            ("messages", self.messages.unwrap_or(1)),
        ] {
            if value == 0 {
                return usage(flag, "must be above 0".into());
            }
        }
        self.check_snapshots()?;
        if self.first_vehicle.checked_add(self.vehicles).is_none() {
            return usage("vehicles", format!("{} from {} on are too many", self.vehicles, self.first_vehicle));
        }
        let (workers, most) = (self.workers(), self.vehicles.div_ceil(MOST_PER_WORKER));
        if workers < most || workers > self.vehicles {
            let detail = format!("{workers} can't serve {} vehicles: {most} to {}", self.vehicles, self.vehicles);
            return usage("workers", detail);
        }
        if self.connect_rate < workers {
            return usage("connect-rate", format!("{} is less than one for each worker", self.connect_rate));
        }
        self.profile.validate(self.full_rate())?;
        self.troubles.validate()?;
        self.tls.validate(&vehicle_id(self.first_vehicle))?;
        self.account.validate(&vehicle_id(self.first_vehicle))?;
        self.search.validate(self.rate, self.duration_ms)?;
        if self.search.find_capacity && !self.profile.is_constant() {
            return usage("profile", "--find-capacity has a shape of its own".into());
        }
        if self.search.find_capacity && self.payload == Form::OnChange {
            let detail =
                "on-change has full records by the clock, and the steps of --find-capacity have none of their own";
            return usage("payload", detail.into());
        }
        figures::check(&self.fail_if, &figures::names(self.judge, &figures::known()))?;
        self.check_limits()
    }

    /// What a run measures that its operator hardly means; none: nothing.
    pub(super) fn doubt(&self) -> Option<String> {
        let figures = figures::known();
        let names = figures::names(self.judge, &figures);
        let paced = |condition: &&Condition| condition.figure(&names).starts_with(Stage::Ack.as_str());
        let of = match self.fail_if.iter().find(paced) {
            Some(condition) => format!("--fail-if {condition}"),
            None if self.search.find_capacity && self.judge == Judge::Ack => "--find-capacity".to_owned(),
            None => return None,
        };
        let pace = "whose edge paces its acks, 5 to 60 s apart as it is shipped";
        Some(format!("{of} judges by ack, {pace}: --judge puback measures the broker, and audit the way to Kafka"))
    }

    /// Where the brokers listen. Blocks while names are resolved.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if a name has no address.
    pub(super) fn brokers(&self) -> Result<Vec<SocketAddr>, Error> {
        let resolve = |address: &Address| {
            let unavailable = |detail| Error::Unavailable { flag: "mqtt", address: address.to_string(), detail };
            let mut found =
                (bare(address), address.port()).to_socket_addrs().map_err(|error| unavailable(error.to_string()))?;
            found.next().ok_or_else(|| unavailable("has no address".to_owned()))
        };
        Address::list_of_flag("mqtt", &self.mqtt)?.iter().map(resolve).collect()
    }

    pub(super) fn workers(&self) -> u32 {
        match self.workers {
            0 => self.vehicles.div_ceil(VEHICLES_PER_WORKER),
            workers => workers,
        }
    }

    pub(super) fn arrivals(&self) -> Arrivals {
        let fleet = self.vehicles;
        if let Some(arrivals) = self.full_rate().and_then(|full| self.profile.arrivals(fleet, full)) {
            return arrivals;
        }
        match (self.rate, self.interval_ms) {
            (Some(rate), _) => Arrivals::Even { fleet, us: 1_000_000, readings: rate },
            (None, Some(ms)) => Arrivals::Even { fleet, us: ms * 1_000, readings: fleet.into() },
            (None, None) => Arrivals::Blast,
        }
    }

    /// The highest rate of the fleet, readings in a second; none in a blast.
    #[expect(clippy::cast_precision_loss, reason = "rates and pauses are far below 2^53")]
    fn full_rate(&self) -> Option<f64> {
        let of_interval = |ms: u64| f64::from(self.vehicles) * 1e3 / ms as f64;
        self.rate.map(|rate| rate as f64).or(self.interval_ms.map(of_interval))
    }

    /// In the form on-change: a full record comes each so many ms.
    fn snapshot_ms(&self) -> u64 {
        self.snapshot_ms.unwrap_or(60_000)
    }

    /// How long the ramp may take, ms.
    pub(super) fn ramp_ms(&self) -> u64 {
        match self.ramp_ms {
            0 => 30_000 + 2_000 * u64::from(self.vehicles) / u64::from(self.connect_rate),
            ms => ms,
        }
    }
}

/// The host; an IPv6 address without its brackets.
fn bare(address: &Address) -> &str {
    address.host().trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests;
