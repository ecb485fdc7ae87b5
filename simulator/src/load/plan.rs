//! What a worker is told to do, and when readings are due.

use std::net::SocketAddr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use telemetry::UnixMillis;

use super::payload::Form;
use crate::tls::Tls;

/// Whose word makes a reading acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// The edge's, on `v1/{vehicle}/ack`: the reading is in Kafka.
    Ack,
    /// The broker's: a PUBACK. For brokers and bridges that know no other.
    Puback,
}

/// When readings are due. The seam for further profiles (ramp, steps, burst, day, storm): a variant here, its times
/// in [`Arrivals::due_us`], its flags in [`super::Config`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arrivals {
    /// One after the other, evenly: the n-th of vehicle i of f is due at (n × f + i) × `us` / `readings`. Open loop:
    /// the times stand before anything is sent, and a late reading keeps its own.
    Even {
        /// Vehicles of the whole fleet.
        fleet: u32,
        /// So many µs
        us: u64,
        /// for so many readings of the fleet.
        readings: u64,
    },
    /// Whenever the window has room: due when it is made.
    Blast,
}

impl Arrivals {
    /// When the n-th reading (from 0) of a vehicle (its place in the fleet, from 0) is due, µs after the start. None
    /// where that does not depend on the clock.
    pub fn due_us(self, vehicle: u32, n: u32) -> Option<u64> {
        match self {
            Self::Even { fleet, us, readings } => {
                let turn = u128::from(n) * u128::from(fleet) + u128::from(vehicle);
                u64::try_from(turn * u128::from(us) / u128::from(readings)).ok()
            }
            Self::Blast => None,
        }
    }
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Seed of values and pauses.
    pub seed: u64,
    /// Boot of every vehicle.
    pub boot: u32,
    /// What they report.
    pub form: Form,
    /// When.
    pub arrivals: Arrivals,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_of_a_fleet_are_due_one_after_the_other() {
        // Three readings in a ms: the gaps are even, and the rounding does not add up.
        let arrivals = Arrivals::Even { fleet: 4, us: 1_000_000, readings: 3_000 };
        let mut due: Vec<_> =
            (0..3_000).flat_map(|n| (0..4).map(move |vehicle| arrivals.due_us(vehicle, n).unwrap())).collect();
        assert_eq!(due[..4], [0, 333, 666, 1_000]);
        assert!(due.is_sorted());
        assert_eq!(due.pop(), Some(11_999 * 1_000 / 3));
        assert_eq!(Arrivals::Blast.due_us(1, 1), None);
    }
}
