//! What the workers of a load are told, out of its flags.

use std::net::SocketAddr;

use service::Address;
use telemetry::UnixMillis;

use super::{Config, bare};
use crate::load::plan::{Manners, Plan};

impl Config {
    /// What worker `worker` has to do.
    pub(in crate::load) fn plan(&self, worker: u32, brokers: &[SocketAddr], began: UnixMillis) -> Plan {
        let workers = self.workers();
        Plan {
            worker,
            workers,
            fleet: self.vehicles,
            first_vehicle: self.first_vehicle,
            brokers: brokers.to_vec(),
            tls: self.tls.mqtt_tls.then(|| (self.tls.clone(), self.hosts())),
            account: self.account.clone(),
            seed: self.seed,
            // Good until 2106.
            boot: u32::try_from(began / 1_000).unwrap_or(u32::MAX),
            form: self.payload,
            snapshot_us: self.snapshot_ms() * 1_000,
            arrivals: self.arrivals(),
            troubles: self.troubles.troubles(self.seed, self.vehicles),
            messages: self.messages,
            duration_us: (self.duration_ms > 0).then_some(self.duration_ms * 1_000),
            drain_ms: self.drain_ms,
            judge: self.judge,
            connect_rate: self.connect_rate / workers,
            manners: Manners {
                window: self.window,
                outbox_records: self.outbox_records,
                resend_ms: (self.resend_ms, self.resend_ms.max(60_000)),
                probe_ms: (self.probe_ms, self.probe_ms.max(600_000)),
                refused_ms: (self.refused_ms, self.refused_ms.max(60_000)),
                reconnect_ms: (self.reconnect_ms, self.reconnect_ms.max(30_000)),
                heedless: self.heedless,
                attempt_ms: self.attempt_ms,
                keep_alive_s: self.keep_alive_s,
                session_expiry_s: self.session_expiry_s,
                socket_buffer: self.socket_buffer,
            },
            ledger: self.ledger.clone(),
            began,
        }
    }

    /// The names of the brokers, as certificates hold them.
    fn hosts(&self) -> Vec<String> {
        let brokers = Address::list_of_flag("mqtt", &self.mqtt).unwrap_or_default();
        brokers.iter().map(|address| bare(address).to_owned()).collect()
    }
}
