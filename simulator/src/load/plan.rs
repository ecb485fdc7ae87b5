//! What a worker is told to do.

use std::net::SocketAddr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use telemetry::UnixMillis;

use super::{arrivals::Arrivals, payload::Form, trouble::Troubles};
use crate::{account::Account, tls::Tls};

/// Whose word makes a reading acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// The edge's, on `v1/{vehicle}/ack`: the reading is in Kafka.
    Ack,
    /// The broker's: a PUBACK. For brokers and bridges that know no other.
    Puback,
}

/// The pauses and limits of load vehicles, as flags set them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manners {
    /// Readings that are sent and unacknowledged at most.
    pub window: usize,
    /// Readings that an outbox keeps.
    pub outbox_records: usize,
    /// Rule 2.
    pub resend_ms: (u64, u64),
    /// Rule 3.
    pub probe_ms: (u64, u64),
    /// Rule 4.
    pub refused_ms: (u64, u64),
    /// Pause before a connection is tried again: first, and most.
    pub reconnect_ms: (u64, u64),
    /// They do not slow down when the edge asks them to.
    pub heedless: bool,
    /// How long an attempt to connect may take.
    pub attempt_ms: u64,
    /// MQTT keep-alive, s.
    pub keep_alive_s: u16,
    /// How long the broker keeps a session, s.
    pub session_expiry_s: u32,
    /// Send and receive buffer of a socket, bytes; 0: what the system gives.
    pub socket_buffer: usize,
}

/// Everything that a worker needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Which worker, from 0,
    pub worker: u32,
    /// of how many. It has vehicles `worker`, `worker + workers`, and so on.
    pub workers: u32,
    /// Vehicles of the whole fleet.
    pub fleet: u32,
    /// Index of the first vehicle's name.
    pub first_vehicle: u32,
    /// Vehicle i connects to broker i mod n.
    pub brokers: Vec<SocketAddr>,
    /// How vehicles speak TLS, and the names that the brokers' certificates have to hold; none: they do not.
    pub tls: Option<(Tls, Vec<String>)>,
    /// Who vehicles are at the brokers.
    pub account: Account,
    /// Seed of values and pauses.
    pub seed: u64,
    /// Boot of every vehicle.
    pub boot: u32,
    /// What they report.
    pub form: Form,
    /// In the form `on-change`: a full record comes each so many µs.
    pub snapshot_us: u64,
    /// When.
    pub arrivals: Arrivals,
    /// What goes wrong on purpose.
    pub troubles: Troubles,
    /// How many readings the whole fleet makes at most.
    pub messages: Option<u64>,
    /// For how long they are made, µs; none: until told to stop.
    pub duration_us: Option<u64>,
    /// How long to wait for acknowledgements after the last reading, ms.
    pub drain_ms: u64,
    /// Whose word counts.
    pub judge: Judge,
    /// Connection attempts of this worker in a second.
    pub connect_rate: u32,
    /// Limits and pauses.
    pub manners: Manners,
    /// File of this worker's ledger.
    pub ledger: Option<std::path::PathBuf>,
    /// Wall time at which the run began, ms since the epoch; ledger times count from it.
    pub began: UnixMillis,
}

impl Plan {
    /// The vehicles of this worker, as places in the fleet, from 0.
    pub fn vehicles(&self) -> impl Iterator<Item = u32> + use<> {
        (self.worker..self.fleet).step_by(self.workers.max(1) as usize)
    }

    /// How many readings this worker makes at most: its share, so that the shares add up.
    pub fn share_of_messages(&self) -> Option<u64> {
        let workers = u64::from(self.workers.max(1));
        self.messages.map(|all| all / workers + u64::from(u64::from(self.worker) < all % workers))
    }
}
