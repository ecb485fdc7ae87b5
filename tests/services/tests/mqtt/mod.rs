//! A broker as it is shipped, and a small MQTT 5 client, for the tests of the access list: every step
//! waits for the broker's answer to it and returns that answer.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, LastWill, Packet, PubAckReason, Publish, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use services::{Kind, Options, Services};
use tempfile::TempDir;
use tokio::time::timeout;

/// Far above what any step takes; reached only when a test fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// A character that no vehicle's name has.
pub(crate) const EDGE_CLIENT_ID: &str = "edge.1";

pub(crate) struct Broker {
    pub(crate) services: Services,
    _dir: TempDir,
}

impl Broker {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path()).only(&[Kind::Mosquitto]);
        Self { services: Services::start(options).await.unwrap(), _dir: dir }
    }

    pub(crate) fn vehicle_login<'a>(&self, name: &'a str) -> Login<'a> {
        let address = self.services.addresses().mqtt_vehicles;
        Login { address, user: Some(name), password: "", client_id: name, will: None, resume: false }
    }

    pub(crate) async fn vehicle(&self, name: &str) -> Client {
        self.vehicle_login(name).connect().await.unwrap()
    }

    pub(crate) fn edge_login(&self) -> Login<'_> {
        let addresses = self.services.addresses();
        Login {
            address: addresses.mqtt_edge,
            user: Some(&addresses.mqtt_edge_user),
            password: &addresses.mqtt_edge_password,
            client_id: EDGE_CLIENT_ID,
            will: None,
            resume: false,
        }
    }

    pub(crate) async fn edge(&self) -> Client {
        self.edge_login().connect().await.unwrap()
    }
}

pub(crate) struct Client {
    client: AsyncClient,
    events: EventLoop,
    /// Messages that arrived while something else was waited for.
    arrived: Vec<(String, String)>,
    pub(crate) greeting: ConnAck,
}

pub(crate) struct Login<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) user: Option<&'a str>,
    pub(crate) password: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) will: Option<(&'a str, &'a str)>,
    pub(crate) resume: bool,
}

impl Login<'_> {
    pub(crate) async fn connect(self) -> Result<Client, ConnectionError> {
        let mut options = MqttOptions::new(self.client_id, self.address.ip().to_string(), self.address.port());
        options.set_outgoing_inflight_upper_limit(16);
        options.set_clean_start(!self.resume);
        options.set_session_expiry_interval(self.resume.then_some(3_600));
        if let Some(user) = self.user {
            options.set_credentials(user, self.password);
        }
        if let Some((topic, payload)) = self.will {
            options.set_last_will(LastWill::new(topic, payload, QoS::AtLeastOnce, false, None));
        }
        let (client, mut events) = AsyncClient::new(options, 16);
        match timeout(DEADLINE, events.poll()).await.expect("an answer to CONNECT")? {
            Event::Incoming(Packet::ConnAck(greeting)) => Ok(Client { client, events, arrived: Vec::new(), greeting }),
            other => panic!("not a CONNACK: {other:?}"),
        }
    }
}

impl Client {
    /// Publishes with QoS 1 and returns what the broker says to it.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &str) -> PubAckReason {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload.to_owned()).await.unwrap();
        loop {
            if let Packet::PubAck(ack) = self.packet().await {
                return ack.reason;
            }
        }
    }

    pub(crate) async fn subscribe(&mut self, filter: &str) -> SubscribeReasonCode {
        self.client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        loop {
            if let Packet::SubAck(ack) = self.packet().await {
                return ack.return_codes[0];
            }
        }
    }

    /// Everything that arrives up to the message `last`, as pairs of topic and payload. A message that
    /// was published before `last` and is not among them was not delivered: mosquitto keeps the order.
    pub(crate) async fn messages_until(&mut self, last: &str) -> Vec<(String, String)> {
        while self.arrived.iter().all(|(_, payload)| payload != last) {
            self.packet().await;
        }
        std::mem::take(&mut self.arrived)
    }

    /// The error that ends the connection.
    pub(crate) async fn disconnected(&mut self) -> ConnectionError {
        let end = async {
            loop {
                if let Err(error) = self.events.poll().await {
                    return error;
                }
            }
        };
        timeout(DEADLINE, end).await.expect("the end of the connection")
    }

    /// The next packet from the broker; fails the test when the connection ends.
    async fn packet(&mut self) -> Packet {
        loop {
            let event = timeout(DEADLINE, self.events.poll()).await.expect("a packet from the broker");
            if let Event::Incoming(packet) = event.expect("a connection") {
                if let Packet::Publish(Publish { topic, payload, .. }) = &packet {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    self.arrived.push((text(topic), text(payload)));
                }
                return packet;
            }
        }
    }
}
