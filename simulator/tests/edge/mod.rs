//! An edge without Kafka: acknowledges what it takes, and what that is a test decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions, mqttbytes::QoS};
use telemetry::{
    Encoding, VehicleId,
    event::{Ack, AckedRange},
    mqtt_topic::Channel,
};
use tokio::sync::{mpsc, oneshot};

use super::broker::Broker;

/// Acks of a vehicle leave when so many readings of it have come.
const COALESCED: u64 = 8;

/// A running edge.
pub(crate) struct Edge {
    stop: oneshot::Sender<()>,
    received: mpsc::Receiver<Vec<u8>>,
}

impl Edge {
    /// Starts one and waits until it is subscribed. `takes` is told the seq, and whether the reading came before.
    pub(crate) fn start(broker: &Broker, takes: impl Fn(u64, bool) -> bool + Send + 'static) -> Self {
        let mut options = MqttOptions::new("edge", "127.0.0.1", broker.port());
        options.set_credentials("edge", "").set_max_packet_size(Some(65_536));
        options.set_outgoing_inflight_upper_limit(100);
        let ((stop, stopped), (sender, received)) = (oneshot::channel(), mpsc::channel(100_000));
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = serve(options, takes, sender, ready) => {}
                    _ = stopped => {}
                }
            });
        });
        is_ready.recv_timeout(Duration::from_secs(10)).unwrap();
        Self { stop, received }
    }

    /// Ends it; every payload that came.
    pub(crate) fn stop(mut self) -> Vec<Vec<u8>> {
        self.stop.send(()).unwrap();
        std::iter::from_fn(|| self.received.blocking_recv()).collect()
    }
}

#[derive(Default)]
struct Known {
    boot: u32,
    came: BTreeSet<u64>,
    taken: BTreeSet<u64>,
    since_ack: u64,
}

impl Known {
    fn ack(&self) -> Ack {
        let mut ranges: Vec<AckedRange> = Vec::new();
        for seq in &self.taken {
            match ranges.last_mut() {
                Some(range) if range.to + 1 == *seq => range.to = *seq,
                _ => ranges.push(AckedRange { boot: self.boot, from: *seq, to: *seq }),
            }
        }
        ranges.reverse();
        Ack { ranges, ..Ack::default() }
    }
}

async fn serve(
    options: MqttOptions,
    takes: impl Fn(u64, bool) -> bool,
    received: mpsc::Sender<Vec<u8>>,
    ready: std::sync::mpsc::Sender<()>,
) {
    let (client, mut events) = AsyncClient::new(options, 10_000);
    client.try_subscribe(Channel::Telemetry.filter(), QoS::AtLeastOnce).unwrap();
    let mut known: BTreeMap<VehicleId, Known> = BTreeMap::new();
    let mut seconds = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            event = events.poll() => match event.unwrap() {
                Event::Incoming(Incoming::SubAck(_)) => ready.send(()).unwrap(),
                Event::Incoming(Incoming::Publish(publish)) => {
                    let record = telemetry::decode(&publish.payload, Encoding::Json, None).unwrap();
                    received.try_send(publish.payload.to_vec()).unwrap();
                    let of = known.entry(record.vehicle).or_default();
                    of.boot = record.boot;
                    let again = !of.came.insert(record.seq);
                    if takes(record.seq, again) {
                        of.taken.insert(record.seq);
                    }
                    of.since_ack += 1;
                }
                _ => {}
            },
            _ = seconds.tick() => known.values_mut().for_each(|of| of.since_ack *= COALESCED),
        }
        for (vehicle, of) in known.iter_mut().filter(|(_, of)| of.since_ack >= COALESCED && !of.taken.is_empty()) {
            of.since_ack = 0;
            let ack = of.ack().encode();
            client.try_publish(Channel::Ack.topic(vehicle), QoS::AtMostOnce, false, ack).unwrap();
        }
    }
}
