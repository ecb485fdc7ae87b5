//! `motorcade-edge` as a process, with TLS on both sides, against a real mosquitto and a real Kafka.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod kafka;
mod process;
mod tls;
mod vehicle;
mod withheld;

use services::{Authority, Kind, Options, Pair, Services, Tls, Use};
use tokio::sync::{Mutex, MutexGuard};

use process::{Edge, Flags, until};
use vehicle::Vehicle;

/// One set of services at a time: a JVM is not small.
static TURN: Mutex<()> = Mutex::const_new(());

struct Site {
    services: Services,
    tls: Tls,
    authority: Authority,
    edge: Pair,
    folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Site {
    async fn start() -> Self {
        let turn = TURN.lock().await;
        let folder = tempfile::tempdir().unwrap();
        let options = Options::new(folder.path().join("services")).only(&[Kind::Mosquitto, Kind::Kafka]).with_tls();
        let services = Services::start(options).await.unwrap();
        kafka::create_topics(&services.addresses().kafka).await;
        let tls = services.tls().unwrap();
        let authority = Authority::open(&tls.certificates).unwrap();
        let edge = authority.ensure("edge", Use::Client).unwrap();
        Self { services, tls, authority, edge, folder, _turn: turn }
    }

    fn flags(&self) -> Flags {
        Flags::new(&self.tls, &self.authority.certificate(), &self.edge)
    }

    fn start_edge(&self, name: &str, flags: &Flags) -> Edge {
        Edge::start(self.folder.path(), name, flags)
    }

    fn vehicle(&self, name: &str) -> Vehicle {
        let own = self.authority.ensure(name, Use::Client).unwrap();
        let topic = format!("v1/{name}/telemetry");
        Vehicle::start(&self.tls, &self.authority.certificate(), &own, name, &topic)
    }

    fn kafka(&self) -> &str {
        &self.services.addresses().kafka
    }
}

/// Waits until every vehicle holds an ack for each of its readings up to `seq`.
fn all_acked(vehicles: &[Vehicle], seq: u64) {
    until(&format!("acks up to {seq}"), || {
        vehicles.iter().all(|vehicle| vehicle.acked().len() as u64 == seq).then_some(())
    });
}
