//! What an operator may set: flags, each with an environment variable. [`Config::validate`] checks them before
//! the fleet opens a file or reaches for the broker.

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;
use service::{Address, Error};
use telemetry::{Encoding, UnixMillis};

use crate::{
    account::Account,
    clock,
    fleet::BUILD_DATE,
    load::Judge,
    outbox::{Settings, Times},
    tls::Tls,
    vehicle::{Cycle, Drivetrains, World, vehicle_id},
};

/// Which faults the fleet has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Faults {
    /// A healthy fleet.
    None,
    /// Some of every kind that electric vehicles of the classic cycle have, as the demo shows them.
    Demo,
    /// As rare as in life: kinds in proportion, in --fault-share of the vehicle-hours. They grow and heal.
    Prevalence,
}

/// The faults of the demo come and go in so long, unless told otherwise, simulated ms.
const DEMO_MS: u64 = 1_800_000;
/// A drive without end has faults for so long, unless told otherwise, simulated ms: a plan is drawn before it begins.
const ENDLESS_MS: u64 = 7 * 24 * 3_600_000;

/// Whether progress is told on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressForm {
    /// No.
    None,
    /// One JSON object a second.
    Json,
}

/// Flags of `motorcade-simulator`.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Fleet")]
pub struct Config {
    /// The MQTT broker's listener for vehicles.
    #[arg(long, env = "MOTORCADE_MQTT", value_name = "HOST:PORT", default_value = "127.0.0.1:1883")]
    pub mqtt: String,
    /// How many vehicles drive.
    #[arg(long, env = "MOTORCADE_SIMULATOR_VEHICLES", value_name = "N", default_value_t = 200)]
    pub vehicles: u32,
    /// Index of the first: 1 is veh-00001.
    #[arg(long, env = "MOTORCADE_SIMULATOR_FIRST_VEHICLE", value_name = "N", default_value_t = 1)]
    pub first_vehicle: u32,
    /// Everything that is drawn follows from it. A fleet that begins anew, with the same flags, seed and --start,
    /// makes the same readings, identities included, byte for byte.
    #[arg(long, env = "MOTORCADE_SIMULATOR_SEED", value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Simulated time at which the fleet starts: ms since the epoch, or RFC 3339. Not in the future [default: now].
    #[arg(long, env = "MOTORCADE_SIMULATOR_START", value_name = "TIME", value_parser = parse_time)]
    pub start: Option<UnixMillis>,
    /// Simulated seconds in a second, until simulated time has reached the real time; 1 from there on.
    #[arg(long, env = "MOTORCADE_SIMULATOR_SPEED", value_name = "X", default_value_t = 1.0)]
    pub speed: f64,
    /// Time between two readings of a vehicle, simulated ms.
    #[arg(long, env = "MOTORCADE_SIMULATOR_INTERVAL_MS", value_name = "MS", default_value_t = 1_000)]
    pub interval_ms: u32,
    /// How long the fleet drives, simulated ms; 0: until stopped.
    #[arg(long, env = "MOTORCADE_SIMULATOR_DURATION_MS", value_name = "MS", default_value_t = 0)]
    pub duration_ms: u64,
    /// What turns the wheels.
    #[arg(long, env = "MOTORCADE_SIMULATOR_DRIVETRAIN", default_value = "electric")]
    pub drivetrain: Drivetrains,
    /// How the vehicles are driven and how old they are.
    #[arg(long, env = "MOTORCADE_SIMULATOR_CYCLE", default_value = "classic")]
    pub cycle: Cycle,
    /// Encoding of the readings: json or protobuf.
    #[arg(long, env = "MOTORCADE_SIMULATOR_ENCODING", value_name = "NAME", default_value = "json")]
    pub encoding: Encoding,
    /// Every so many readings one is full, the others carry what changed; 0: all are full.
    #[arg(long, env = "MOTORCADE_SIMULATOR_CHANGES", value_name = "N", default_value_t = 0)]
    pub changes: u32,
    /// After every so many readings of a vehicle one malformed payload follows; 0: never.
    #[arg(long, env = "MOTORCADE_SIMULATOR_POISON", value_name = "N", default_value_t = 0)]
    pub poison: u32,
    /// What breaks [default: none].
    #[arg(long, env = "MOTORCADE_SIMULATOR_FAULTS")]
    pub faults: Option<Faults>,
    /// With --faults prevalence: the largest share of all vehicle-hours in which there is a fault [default: 0.01].
    #[arg(long, env = "MOTORCADE_SIMULATOR_FAULT_SHARE", value_name = "X")]
    pub fault_share: Option<f64>,
    /// How large faults get, against the sizes that `faults` lists; at most 4 [default: 1].
    #[arg(long, env = "MOTORCADE_SIMULATOR_FAULT_SEVERITY", value_name = "X")]
    pub fault_severity: Option<f64>,
    /// When faults begin at the earliest, simulated ms after the start [default: 0].
    #[arg(long, env = "MOTORCADE_SIMULATOR_FAULTS_FROM_MS", value_name = "MS")]
    pub faults_from_ms: Option<u64>,
    /// For how long there are faults, simulated ms [default: half an hour with demo; with prevalence until the end of
    /// --duration-ms, or a week where it is 0].
    #[arg(long, env = "MOTORCADE_SIMULATOR_FAULTS_FOR_MS", value_name = "MS")]
    pub faults_for_ms: Option<u64>,
    /// File for the labelled truth: which vehicle has which fault when, JSON Lines. For the judge only. It is empty where
    /// nothing breaks: then every alert is a false one.
    #[arg(long, env = "MOTORCADE_SIMULATOR_TRUTH", value_name = "FILE")]
    pub truth: Option<PathBuf>,
    /// Whose word makes a reading acknowledged, so that it leaves its outbox: ack, our edge's (it is in Kafka), or puback,
    /// the broker's. Take puback for brokers and bridges that know no other: without acks the outboxes fill up, and no
    /// more than --window readings of a vehicle are ever sent.
    #[arg(long, env = "MOTORCADE_SIMULATOR_JUDGE", value_name = "WHO", default_value = "ack")]
    pub judge: Judge,
    /// Folder of the ledger: what was sent and acknowledged, for the audit.
    #[arg(long, env = "MOTORCADE_SIMULATOR_LEDGER", value_name = "DIR")]
    pub ledger: Option<PathBuf>,
    /// Folder in which the outboxes survive a kill. Without it a new process knows nothing of an earlier one.
    #[arg(long, env = "MOTORCADE_SIMULATOR_OUTBOX", value_name = "DIR")]
    pub outbox: Option<PathBuf>,
    /// Readings that an outbox keeps; beyond it the oldest is given up and counted.
    #[arg(long, env = "MOTORCADE_SIMULATOR_OUTBOX_RECORDS", value_name = "N", default_value_t = 20_000)]
    pub outbox_records: usize,
    /// Readings of a vehicle that are sent and unacknowledged at most.
    #[arg(long, env = "MOTORCADE_SIMULATOR_WINDOW", value_name = "N", default_value_t = 1_000)]
    pub window: usize,
    /// A reading that two acks left out is sent again after a pause drawn from 0 to this, ms, doubling
    #[arg(long, env = "MOTORCADE_SIMULATOR_RESEND_MS", value_name = "MS", default_value_t = 1_000)]
    pub resend_ms: u64,
    /// up to this, ms.
    #[arg(long, env = "MOTORCADE_SIMULATOR_RESEND_MAX_MS", value_name = "MS", default_value_t = 60_000)]
    pub resend_max_ms: u64,
    /// The oldest reading is sent again after this time without any ack, ms, doubling
    #[arg(long, env = "MOTORCADE_SIMULATOR_PROBE_MS", value_name = "MS", default_value_t = 90_000)]
    pub probe_ms: u64,
    /// up to this, ms.
    #[arg(long, env = "MOTORCADE_SIMULATOR_PROBE_MAX_MS", value_name = "MS", default_value_t = 600_000)]
    pub probe_max_ms: u64,
    /// A reading that the broker refused is sent again after a pause drawn from 0 to this, ms, doubling
    #[arg(long, env = "MOTORCADE_SIMULATOR_REFUSED_MS", value_name = "MS", default_value_t = 1_000)]
    pub refused_ms: u64,
    /// up to this, ms.
    #[arg(long, env = "MOTORCADE_SIMULATOR_REFUSED_MAX_MS", value_name = "MS", default_value_t = 60_000)]
    pub refused_max_ms: u64,
    /// A vehicle connects again after a pause drawn from 0 to this, ms, doubling
    #[arg(long, env = "MOTORCADE_SIMULATOR_RECONNECT_MS", value_name = "MS", default_value_t = 500)]
    pub reconnect_ms: u64,
    /// up to this, ms.
    #[arg(long, env = "MOTORCADE_SIMULATOR_RECONNECT_MAX_MS", value_name = "MS", default_value_t = 30_000)]
    pub reconnect_max_ms: u64,
    /// Connection attempts of the whole fleet in a second.
    #[arg(long, env = "MOTORCADE_SIMULATOR_CONNECT_RATE", value_name = "N", default_value_t = 500)]
    pub connect_rate: u32,
    /// How long the broker keeps the session of a vehicle that is away, s.
    #[arg(long, env = "MOTORCADE_SIMULATOR_SESSION_EXPIRY_S", value_name = "S", default_value_t = 86_400)]
    pub session_expiry_s: u32,
    /// How long the start waits for the broker, ms.
    #[arg(long, env = "MOTORCADE_SIMULATOR_CONNECT_TIMEOUT_MS", value_name = "MS", default_value_t = 10_000)]
    pub connect_timeout_ms: u64,
    /// How long a vehicle waits for acks after its last reading, ms.
    #[arg(long, env = "MOTORCADE_SIMULATOR_DRAIN_MS", value_name = "MS", default_value_t = 15_000)]
    pub drain_ms: u64,
    /// The same after a stop signal, ms. At least 2 s less than --grace-ms.
    #[arg(long, env = "MOTORCADE_SIMULATOR_STOP_DRAIN_MS", value_name = "MS", default_value_t = 7_000)]
    pub stop_drain_ms: u64,
    /// Progress on standard output.
    #[arg(long, env = "MOTORCADE_SIMULATOR_PROGRESS", default_value = "none")]
    pub progress: ProgressForm,
    /// TLS to the broker.
    #[command(flatten)]
    pub tls: Tls,
    /// Who vehicles are there.
    #[command(flatten)]
    pub account: Account,
}

/// Ms since the epoch, or RFC 3339.
fn parse_time(text: &str) -> Result<UnixMillis, String> {
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let time = humantime::parse_rfc3339_weak(text)
        .map_err(|error| format!("neither ms since the epoch nor RFC 3339: {error}"))?;
    let since = time.duration_since(std::time::UNIX_EPOCH).map_err(|_| "before 1970".to_owned())?;
    UnixMillis::try_from(since.as_millis()).map_err(|_| "too far in the future".to_owned())
}

impl Config {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Usage`] with the flag's name.
    pub fn validate(&self) -> Result<(), Error> {
        let usage = |flag, detail: String| Err(Error::Usage { flag, detail });
        self.broker()?;
        for (flag, value) in [
            ("vehicles", u64::from(self.vehicles)),
            ("first-vehicle", u64::from(self.first_vehicle)),
            ("interval-ms", u64::from(self.interval_ms)),
            ("outbox-records", self.outbox_records as u64),
            ("window", self.window as u64),
            ("connect-rate", u64::from(self.connect_rate)),
            ("probe-ms", self.probe_ms),
            ("faults-for-ms", self.faults_for_ms.unwrap_or(1)),
        ] {
            if value == 0 {
                return usage(flag, "must be above 0".into());
            }
        }
        if self.first_vehicle.checked_add(self.vehicles).is_none() {
            return usage("vehicles", format!("{} from {} on are too many", self.vehicles, self.first_vehicle));
        }
        self.tls.validate(&vehicle_id(self.first_vehicle))?;
        self.account.validate(&vehicle_id(self.first_vehicle))?;
        if !(self.speed > 0.0 && self.speed <= 100_000.0) {
            return usage("speed", format!("{} is not above 0 and at most 100000", self.speed));
        }
        if let Some((flag, needs)) = self.unused() {
            return usage(flag, format!("says nothing without --faults {needs}"));
        }
        let share = self.fault_share();
        if !(share > 0.0 && share <= 0.5) {
            return usage("fault-share", format!("{share} is not above 0 and at most 0.5"));
        }
        let severity = self.fault_severity();
        if !(0.01..=4.0).contains(&severity) {
            return usage("fault-severity", format!("{severity} is not between 0.01 and 4"));
        }
        if self.faults() == Faults::Demo && self.world() != World::default() {
            let detail = "demo is for electric vehicles of the classic cycle; take prevalence".to_owned();
            return usage("faults", detail);
        }
        if let Some(start) = self.start {
            let now = clock::wall_now();
            if start > now {
                return usage("start", format!("{start} ms lies {} ms in the future", start - now));
            }
            if start < BUILD_DATE {
                return usage("start", format!("{start} ms lies before {BUILD_DATE}, when the units were built"));
            }
        }
        for (flag, base, max) in [
            ("resend-max-ms", self.resend_ms, self.resend_max_ms),
            ("probe-max-ms", self.probe_ms, self.probe_max_ms),
            ("refused-max-ms", self.refused_ms, self.refused_max_ms),
            ("reconnect-max-ms", self.reconnect_ms, self.reconnect_max_ms),
        ] {
            if base > max {
                return usage(flag, format!("{max} is less than the first pause, {base}"));
            }
        }
        Ok(())
    }

    /// A flag that is given, though nothing breaks of which it could say when or how much, and what would. Who asks for
    /// no faults turns them off, and need not take the rest away.
    fn unused(&self) -> Option<(&'static str, &'static str)> {
        if self.faults == Some(Faults::None) {
            return None;
        }
        let (some, prevalence) = (self.faults() != Faults::None, self.faults() == Faults::Prevalence);
        [
            (self.fault_share.is_some(), prevalence, "fault-share", "prevalence"),
            (self.fault_severity.is_some(), some, "fault-severity", "demo or prevalence"),
            (self.faults_from_ms.is_some(), some, "faults-from-ms", "demo or prevalence"),
            (self.faults_for_ms.is_some(), some, "faults-for-ms", "demo or prevalence"),
        ]
        .into_iter()
        .find(|(given, needed, ..)| *given && !*needed)
        .map(|(_, _, flag, needs)| (flag, needs))
    }

    /// What breaks.
    pub(crate) fn faults(&self) -> Faults {
        self.faults.unwrap_or(Faults::None)
    }

    /// The largest share of all vehicle-hours in which there is a fault.
    pub(crate) fn fault_share(&self) -> f64 {
        self.fault_share.unwrap_or(0.01)
    }

    /// How large faults get, against the table's sizes.
    fn fault_severity(&self) -> f64 {
        self.fault_severity.unwrap_or(1.0)
    }

    /// The same in percent.
    pub(crate) fn fault_percent(&self) -> u16 {
        // Checked to be at most 4.
        (self.fault_severity() * 100.0).round() as u16
    }

    /// When faults begin at the earliest, simulated ms after the start.
    pub(crate) fn faults_from_ms(&self) -> u64 {
        self.faults_from_ms.unwrap_or(0)
    }

    /// What the fleet consists of.
    pub(crate) fn world(&self) -> World {
        World { drivetrains: self.drivetrain, cycle: self.cycle }
    }

    /// Where the broker listens.
    pub(crate) fn broker(&self) -> Result<Address, Error> {
        Address::of_flag("mqtt", &self.mqtt)
    }

    pub(crate) fn settings(&self) -> Settings {
        let times = Times {
            left_out_ms: self.resend_ms,
            left_out_max_ms: self.resend_max_ms,
            probe_ms: self.probe_ms,
            probe_max_ms: self.probe_max_ms,
            refused_ms: self.refused_ms,
            refused_max_ms: self.refused_max_ms,
        };
        Settings { window: self.window, capacity: self.outbox_records, times, obeys: true }
    }

    pub(crate) fn reconnect(&self) -> (Duration, Duration) {
        (Duration::from_millis(self.reconnect_ms), Duration::from_millis(self.reconnect_max_ms))
    }

    /// For how long there are faults, simulated ms. A function of the flags alone.
    pub(crate) fn faults_for_ms(&self) -> u64 {
        self.faults_for_ms.unwrap_or(match (self.faults(), self.duration_ms) {
            (Faults::None | Faults::Demo, _) => DEMO_MS,
            (Faults::Prevalence, 0) => ENDLESS_MS,
            (Faults::Prevalence, duration) => duration.saturating_sub(self.faults_from_ms()),
        })
    }

    /// The indices of the vehicles.
    pub(crate) fn indices(&self) -> std::ops::Range<u32> {
        self.first_vehicle..self.first_vehicle + self.vehicles
    }
}

#[cfg(test)]
mod tests;
