//! Free ports on the loopback address, kept in the folder so that a second run has the same ones.
//!
//! They are taken from *below* the range that the system gives to outgoing connections. A port from
//! inside it (what binding port 0 yields) can be taken by anybody's outgoing connection while its service
//! is down, and a client that keeps trying to connect to it can even end up connected to itself.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use crate::error::{Doing, Error};
use crate::{Kind, record};

const FILE: &str = "ports.json";
const LOWEST: u16 = 12_000;

/// The ports of one set of services, all on 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// mosquitto's listener for vehicles.
    pub mqtt_vehicles: u16,
    /// mosquitto's listener for the edge.
    pub mqtt_edge: u16,
    /// mosquitto's listener for vehicles with certificates; see [`crate::Options::tls`].
    pub mqtt_vehicles_tls: u16,
    /// mosquitto's listener for an edge with a certificate.
    pub mqtt_edge_tls: u16,
    /// Kafka's broker.
    pub kafka: u16,
    /// Kafka's broker for clients with certificates.
    pub kafka_tls: u16,
    /// Kafka's broker for clients with accounts.
    pub kafka_accounts: u16,
    /// Kafka's broker for clients that come through [`crate::Options::kafka_through`].
    pub kafka_far: u16,
    /// Kafka's controller, which clients don't use.
    pub kafka_controller: u16,
    /// mongod.
    pub mongod: u16,
}

impl Ports {
    /// Ports on which nothing listens now.
    pub(crate) fn free() -> Result<Self, Error> {
        let mut search = Search::new();
        Ok(Self {
            mqtt_vehicles: search.next()?,
            mqtt_edge: search.next()?,
            mqtt_vehicles_tls: search.next()?,
            mqtt_edge_tls: search.next()?,
            kafka: search.next()?,
            kafka_tls: search.next()?,
            kafka_accounts: search.next()?,
            kafka_far: search.next()?,
            kafka_controller: search.next()?,
            mongod: search.next()?,
        })
    }

    /// The ports of the last run in `dir` where nothing else took them since, others in place of the rest.
    pub(crate) fn of(dir: &Path) -> Result<Self, Error> {
        let last = fs::read(dir.join(FILE)).ok();
        let Some(mut ports) = last.and_then(|json| serde_json::from_slice::<Self>(&json).ok()) else {
            return Self::free();
        };
        for kind in Kind::ALL {
            if !ports.used_by(kind).into_iter().all(is_free) {
                ports = ports.with_new(kind)?;
            }
        }
        Ok(ports)
    }

    pub(crate) fn save(&self, dir: &Path) -> Result<(), Error> {
        let path = dir.join(FILE);
        record::write_whole(&path, &record::to_json(self)).doing("write", &path)
    }

    /// The same, with new ports for one service.
    pub(crate) fn with_new(self, kind: Kind) -> Result<Self, Error> {
        let other = Self::free()?;
        Ok(match kind {
            Kind::Mosquitto => Self {
                mqtt_vehicles: other.mqtt_vehicles,
                mqtt_edge: other.mqtt_edge,
                mqtt_vehicles_tls: other.mqtt_vehicles_tls,
                mqtt_edge_tls: other.mqtt_edge_tls,
                ..self
            },
            Kind::Kafka => Self {
                kafka: other.kafka,
                kafka_tls: other.kafka_tls,
                kafka_accounts: other.kafka_accounts,
                kafka_far: other.kafka_far,
                kafka_controller: other.kafka_controller,
                ..self
            },
            Kind::Mongod => Self { mongod: other.mongod, ..self },
        })
    }

    fn used_by(&self, kind: Kind) -> Vec<u16> {
        match kind {
            Kind::Mosquitto => {
                vec![self.mqtt_vehicles, self.mqtt_edge, self.mqtt_vehicles_tls, self.mqtt_edge_tls]
            }
            Kind::Kafka => {
                vec![self.kafka, self.kafka_tls, self.kafka_accounts, self.kafka_far, self.kafka_controller]
            }
            Kind::Mongod => vec![self.mongod],
        }
    }
}

/// One more port on 127.0.0.1 on which nothing listens now; also for what a test starts by itself.
///
/// # Errors
/// None is found.
pub fn free_port() -> Result<u16, Error> {
    Search::new().next()
}

/// Whether nothing listens there.
///
/// Asked without listening oneself: a listener would be seen by whoever asks the same at this moment, and a
/// process that another thread starts meanwhile holds a copy of it until its program is loaded.
fn is_free(port: u16) -> bool {
    let bound = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())
    };
    bound().is_ok()
}

/// Draws ports at random, so that several runs that start at the same moment seldom draw the same ones.
struct Search {
    range: std::ops::Range<u16>,
    drawn: Vec<u16>,
    attempts: u64,
    random: RandomState,
}

impl Search {
    fn new() -> Self {
        let end = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
            .ok()
            .and_then(|range| range.split_whitespace().next()?.parse().ok())
            .unwrap_or(32_768);
        // Where the system's range begins very low, ports from inside it are all there is.
        let range = if end > LOWEST + 1_000 { LOWEST..end } else { LOWEST..u16::MAX };
        Self { range, drawn: Vec::new(), attempts: 0, random: RandomState::new() }
    }

    fn next(&mut self) -> Result<u16, Error> {
        while self.attempts < 10_000 {
            self.attempts += 1;
            let mut hasher = self.random.build_hasher();
            hasher.write_u64(self.attempts);
            let width = u64::from(self.range.end - self.range.start);
            let offset = u16::try_from(hasher.finish() % width).map_err(|_| Error::NoPorts)?;
            let port = self.range.start + offset;
            if !self.drawn.contains(&port) && is_free(port) {
                self.drawn.push(port);
                return Ok(port);
            }
        }
        Err(Error::NoPorts)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_looks_at_a_port_does_not_take_it_from_who_looks_meanwhile() {
        let port = Ports::free().unwrap().mongod;
        let look = || (0..2_000).all(|_| is_free(port));
        std::thread::scope(|threads| {
            let others = [threads.spawn(look), threads.spawn(look)];
            assert!(others.into_iter().all(|other| other.join().unwrap()));
        });
    }

    #[test]
    fn ports_survive_in_the_folder_unless_taken() {
        let dir = tempfile::tempdir().unwrap();
        let first = Ports::of(dir.path()).unwrap();
        first.save(dir.path()).unwrap();
        assert_eq!(Ports::of(dir.path()).unwrap(), first);

        let _other_program = TcpListener::bind((Ipv4Addr::LOCALHOST, first.kafka)).unwrap();
        let second = Ports::of(dir.path()).unwrap();
        assert_ne!(second.kafka, first.kafka);
        assert_eq!(second.mongod, first.mongod);
    }

    #[test]
    fn ports_lie_below_those_of_outgoing_connections() {
        let end = Search::new().range.end;
        let ports = Ports::free().unwrap();
        for kind in Kind::ALL {
            for port in ports.used_by(kind) {
                assert!(port < end);
            }
        }
    }
}
