//! A vehicle with a certificate: sends readings, and keeps each until an ack names it.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use native_tls::{Certificate, Identity, TlsConnector};
use rumqttc::{
    TlsConfiguration, Transport,
    v5::{
        AsyncClient, Event, EventLoop, Incoming, MqttOptions,
        mqttbytes::{
            QoS,
            v5::{Filter, PubAckReason},
        },
    },
};
use services::{Pair, Tls};
use telemetry::event::Ack;
use tokio::task::JoinHandle;

/// Readings between two pauses.
const AT_ONCE: usize = 20;
const PAUSE: Duration = Duration::from_millis(20);
/// What no ack has named for so many pauses is sent again.
const AGAIN_AFTER: u32 = 75;

/// What vehicle and test know of it.
#[derive(Default)]
struct Known {
    subscribed: bool,
    sent: u64,
    unacked: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    /// Answers that were neither success nor "nobody subscribes".
    refusals: Vec<PubAckReason>,
    connections: u64,
    errors: Vec<String>,
}

/// A vehicle that drives until it is dropped.
pub(crate) struct Vehicle {
    pub(crate) name: String,
    known: Arc<Mutex<Known>>,
    target: Arc<AtomicU64>,
    tasks: [JoinHandle<()>; 2],
}

impl Vehicle {
    /// Connects with the certificate, as whoever that names; `topic` is where it publishes.
    pub(crate) fn start(tls: &Tls, authority: &Path, own: &Pair, name: &str, topic: &str) -> Self {
        let read = |path: &Path| std::fs::read(path).unwrap();
        let identity = Identity::from_pkcs8(&read(&own.certificate), &read(&own.key)).unwrap();
        let connector = TlsConnector::builder()
            .disable_built_in_roots(true)
            .add_root_certificate(Certificate::from_pem(&read(authority)).unwrap())
            .identity(identity)
            .build()
            .unwrap();
        let mut options = MqttOptions::new(name, tls.mqtt_vehicles.ip().to_string(), tls.mqtt_vehicles.port());
        options.set_transport(Transport::Tls(TlsConfiguration::NativeConnector(connector)));
        options.set_keep_alive(Duration::from_secs(5));
        options.set_outgoing_inflight_upper_limit(100);
        let (client, event_loop) = AsyncClient::new(options, 64);
        let known = Arc::<Mutex<Known>>::default();
        let target = Arc::<AtomicU64>::default();
        let hears = hear(event_loop, client.clone(), name.to_owned(), Arc::clone(&known));
        let sends = send(client, name.to_owned(), topic.to_owned(), Arc::clone(&known), Arc::clone(&target));
        let tasks = [tokio::spawn(hears), tokio::spawn(sends)];
        Self { name: name.to_owned(), known, target, tasks }
    }

    /// Lets it send up to this sequence number.
    pub(crate) fn go_on_to(&self, seq: u64) {
        self.target.store(seq, Ordering::Relaxed);
    }

    /// What acks have named.
    pub(crate) fn acked(&self) -> BTreeSet<u64> {
        lock(&self.known).acked.clone()
    }

    /// How often the broker has welcomed it.
    pub(crate) fn connections(&self) -> u64 {
        lock(&self.known).connections
    }

    /// What the broker refused, and why connections ended.
    pub(crate) fn troubles(&self) -> (Vec<PubAckReason>, Vec<String>) {
        let known = lock(&self.known);
        (known.refusals.clone(), known.errors.clone())
    }
}

impl Drop for Vehicle {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap()
}

async fn hear(mut event_loop: EventLoop, client: AsyncClient, name: String, known: Arc<Mutex<Known>>) {
    loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                lock(&known).connections += 1;
                // Refused where the certificate names another; then nothing is sent.
                client.try_subscribe_many([Filter::new(format!("v1/{name}/ack"), QoS::AtMostOnce)]).ok();
            }
            Ok(Event::Incoming(Incoming::SubAck(_))) => {
                let mut known = lock(&known);
                known.subscribed = true;
            }
            Ok(Event::Incoming(Incoming::PubAck(puback))) => match puback.reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {}
                reason => lock(&known).refusals.push(reason),
            },
            Ok(Event::Incoming(Incoming::Publish(publish))) => {
                let ack = Ack::decode(&publish.payload).unwrap();
                let known = &mut *lock(&known);
                for range in ack.ranges {
                    assert!(range.to <= known.sent, "an ack of what was never sent: {range:?}");
                    known.unacked.retain(|seq| !(range.from..=range.to).contains(seq));
                    known.acked.extend(range.from..=range.to);
                }
            }
            Ok(_) => {}
            Err(error) => {
                {
                    let mut known = lock(&known);
                    known.subscribed = false;
                    known.errors.push(error.to_string());
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn send(client: AsyncClient, name: String, topic: String, known: Arc<Mutex<Known>>, target: Arc<AtomicU64>) {
    let (mut pauses, mut again) = (0, BTreeSet::new());
    loop {
        tokio::time::sleep(PAUSE).await;
        let known = &mut *lock(&known);
        if !known.subscribed {
            (pauses, again) = (AGAIN_AFTER, BTreeSet::new());
            continue;
        }
        pauses += 1;
        if pauses > AGAIN_AFTER {
            (pauses, again) = (0, known.unacked.clone());
        }
        for _ in 0..AT_ONCE {
            let seq = match again.first() {
                Some(seq) => *seq,
                None if known.sent < target.load(Ordering::Relaxed) => known.sent + 1,
                None => break,
            };
            let payload = format!(
                r#"{{"schema":1,"vehicle":"{name}","boot":7,"seq":{seq},"time":1763712345678,"kind":"full","signals":{{"Vehicle.Speed":{}}}}}"#,
                seq % 100
            );
            if client.try_publish(&topic, QoS::AtLeastOnce, false, payload).is_err() {
                break;
            }
            if !again.remove(&seq) {
                known.sent = seq;
                known.unacked.insert(seq);
            }
        }
    }
}
