//! An MQTT source that is never the bottleneck, for the edge's own ceiling: it accepts one client, and then writes
//! publishes that were encoded before, as fast as the client's Receive Maximum and PUBACKs allow. It checks that every
//! publish is acknowledged once, with success and in its turn.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::BytesMut;
use rumqttc::v5::mqttbytes::{
    Error, QoS,
    v5::{
        ConnAck, ConnectReturnCode, Packet, PingResp, PubAck, PubAckReason, Publish, PublishProperties, SubAck,
        SubscribeReasonCode,
    },
};
use simulator::load::payload::{Form, Payloads};
use telemetry::{VehicleId, mqtt_topic::Channel};

/// No packet of a client is longer, bytes.
const MAX_PACKET: u32 = 128 * 1024;
/// Nothing is acknowledged for so long: the client has failed.
const STANDSTILL: Duration = Duration::from_secs(30);
/// What the reader has said and nobody took: bounded.
const SAYINGS: usize = 1_000;
/// Vehicles whose readings are sent, in turn.
const VEHICLES: u32 = 1_000;

/// Encoded publishes.
#[derive(Debug)]
pub struct Packets {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

/// The packet id of the n-th publish.
fn id_of(n: u64) -> u16 {
    u16::try_from(n % u64::from(u16::MAX)).unwrap_or(0) + 1
}

impl Packets {
    /// So many readings of 1,000 vehicles, `first` the number of the first; sequence numbers go on from there.
    ///
    /// # Errors
    /// If a packet can't be encoded.
    pub fn encode(form: Form, seed: u64, boot: u32, first: u64, count: u64) -> Result<Self> {
        let payloads = Payloads::new(form, seed, boot);
        let properties =
            PublishProperties { content_type: Some(payloads.content_type().to_owned()), ..Default::default() };
        let (mut bytes, mut ends) = (BytesMut::new(), Vec::new());
        let vehicles: Vec<_> = (1..=VEHICLES).map(|n| VehicleId::parse(&format!("veh-{n:05}"))).collect();
        let mut payload = Vec::new();
        for n in first..first + count {
            let place = usize::try_from(n % u64::from(VEHICLES))?;
            let vehicle = vehicles[place].as_ref().ok().context("the name of a vehicle")?;
            let seq = u32::try_from(n / u64::from(VEHICLES))? + 1;
            payload.clear();
            payloads.render(vehicle, u32::try_from(place)?, seq, i64::from(boot) * 1_000, &mut payload);
            let topic = Channel::Telemetry.topic(vehicle);
            let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload.clone(), Some(properties.clone()));
            publish.pkid = id_of(n);
            publish.write(&mut bytes).map_err(|error| anyhow::anyhow!("encode a publish: {error:?}"))?;
            ends.push(bytes.len());
        }
        Ok(Self { bytes: bytes.into(), ends })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn between(&self, from: usize, to: usize) -> &[u8] {
        let end = |n: usize| n.checked_sub(1).map_or(0, |last| self.ends[last]);
        &self.bytes[end(from)..end(to)]
    }
}

/// What sending showed.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// From the first byte to the last PUBACK.
    pub took: Duration,
    /// How much of it the source spent waiting for the client to acknowledge.
    pub waited: Duration,
}

/// What the reading thread says to the writing one.
enum Said {
    Acknowledged(Vec<u16>),
    Pinged,
    Asked(u16),
    Broken(String),
}

/// A listener that is about to accept its client.
#[derive(Debug)]
pub struct Source(TcpListener);

impl Source {
    /// On a free port.
    ///
    /// # Errors
    /// If there is none.
    pub fn listen() -> Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        Ok((Self(listener), address))
    }

    /// Waits for the client, up to its subscription. Blocks.
    ///
    /// # Errors
    /// If what comes is no MQTT client that subscribes.
    pub fn accept(self, within: Duration) -> Result<Link> {
        let deadline = Instant::now() + within;
        self.0.set_nonblocking(true)?;
        let mut stream = loop {
            match self.0.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ensure!(Instant::now() < deadline, "nobody connected within {} s", within.as_secs());
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(error.into()),
            }
        };
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(within))?;
        let mut inbox = BytesMut::new();
        let Packet::Connect(connect, ..) = next(&mut stream, &mut inbox)? else { bail!("the client does not connect") };
        let window = connect.properties.and_then(|properties| properties.receive_maximum).unwrap_or(u16::MAX);
        let welcome = ConnAck { session_present: false, code: ConnectReturnCode::Success, properties: None };
        write(&mut stream, &Packet::ConnAck(welcome))?;
        let Packet::Subscribe(subscribe) = next(&mut stream, &mut inbox)? else {
            bail!("the client does not subscribe")
        };
        let return_codes = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); subscribe.filters.len()];
        write(&mut stream, &Packet::SubAck(SubAck { pkid: subscribe.pkid, return_codes, properties: None }))?;
        stream.set_read_timeout(None)?;
        let reader = stream.try_clone()?;
        let (say, said) = sync_channel(SAYINGS);
        std::thread::spawn(move || listen(reader, inbox, &say));
        Ok(Link { stream, said, window: window.into(), sent: 0 })
    }
}

/// Reads until the connection ends; what has come together is said together.
fn listen(mut stream: TcpStream, mut inbox: BytesMut, say: &SyncSender<Said>) {
    let mut acknowledged = Vec::new();
    loop {
        let packet = match complete(&mut inbox) {
            Ok(Some(packet)) => Ok(packet),
            Ok(None) => {
                if !acknowledged.is_empty() && say.send(Said::Acknowledged(std::mem::take(&mut acknowledged))).is_err()
                {
                    return;
                }
                next(&mut stream, &mut inbox)
            }
            Err(error) => Err(error),
        };
        let said = match packet {
            Ok(Packet::PubAck(PubAck { pkid, reason: PubAckReason::Success, .. })) => {
                acknowledged.push(pkid);
                continue;
            }
            Ok(Packet::PubAck(puback)) => Said::Broken(format!("publish {} got {:?}", puback.pkid, puback.reason)),
            Ok(Packet::PingReq(_)) => Said::Pinged,
            // The edge's own word to vehicles, and its sign that it is active.
            Ok(Packet::Publish(publish)) if publish.qos == QoS::AtMostOnce => continue,
            Ok(Packet::Publish(publish)) => Said::Asked(publish.pkid),
            Ok(packet) => Said::Broken(format!("the client says {packet:?}")),
            Err(error) => Said::Broken(format!("{error:#}")),
        };
        let ends = matches!(said, Said::Broken(_));
        if say.send(said).is_err() || ends {
            return;
        }
    }
}

/// The next packet, if all of it is there.
fn complete(inbox: &mut BytesMut) -> Result<Option<Packet>> {
    match Packet::read(inbox, Some(MAX_PACKET)) {
        Ok(packet) => Ok(Some(packet)),
        Err(Error::InsufficientBytes(_)) => Ok(None),
        Err(error) => bail!("what the client sent is no MQTT packet: {error:?}"),
    }
}

fn next(stream: &mut TcpStream, inbox: &mut BytesMut) -> Result<Packet> {
    loop {
        if let Some(packet) = complete(inbox)? {
            return Ok(packet);
        }
        let mut bytes = [0; 64 * 1024];
        let read = stream.read(&mut bytes)?;
        ensure!(read > 0, "the client closed the connection");
        inbox.extend_from_slice(&bytes[..read]);
    }
}

fn write(stream: &mut TcpStream, packet: &Packet) -> Result<()> {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, None).map_err(|error| anyhow::anyhow!("encode {packet:?}: {error:?}"))?;
    Ok(stream.write_all(&bytes)?)
}

/// A client that has subscribed.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    said: Receiver<Said>,
    /// The client's Receive Maximum.
    window: usize,
    /// Publishes of earlier sendings.
    sent: u64,
}

impl Link {
    /// Sends all of these and waits for every PUBACK. Blocks.
    ///
    /// # Errors
    /// At a PUBACK out of turn, with a refusal, or too many, and if none comes for long.
    pub fn send(&mut self, packets: &Packets) -> Result<Sent> {
        let began = Instant::now();
        let (mut written, mut acknowledged, mut waited) = (0, 0, Duration::ZERO);
        while acknowledged < packets.len() {
            let end = packets.len().min(acknowledged + self.window);
            if written < end {
                self.stream.write_all(packets.between(written, end))?;
                written = end;
            }
            let wait = Instant::now();
            let mut said = Some(self.said.recv_timeout(STANDSTILL).context("no PUBACK came")?);
            waited += wait.elapsed();
            // Everything that has been said meanwhile, before the next write.
            while let Some(word) = said {
                match word {
                    Said::Acknowledged(ids) => {
                        for id in ids {
                            let due = id_of(self.sent + acknowledged as u64);
                            ensure!(id == due && acknowledged < written, "PUBACK {id} came where {due} was due");
                            acknowledged += 1;
                        }
                    }
                    Said::Pinged => {
                        let mut pong = BytesMut::new();
                        PingResp::write(&mut pong).map_err(|error| anyhow::anyhow!("{error:?}"))?;
                        self.stream.write_all(&pong)?;
                    }
                    Said::Asked(id) => write(&mut self.stream, &Packet::PubAck(PubAck::new(id, None)))?,
                    // A client may leave once it has acknowledged everything.
                    Said::Broken(_) if acknowledged == packets.len() => {}
                    Said::Broken(why) => bail!("{why}"),
                }
                said = self.said.try_recv().ok();
            }
        }
        self.sent += packets.len() as u64;
        Ok(Sent { took: began.elapsed(), waited })
    }
}

impl Drop for Link {
    /// The reading thread ends with the connection.
    fn drop(&mut self) {
        self.stream.shutdown(Shutdown::Both).ok();
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::v5::mqttbytes::v5::{Connect, ConnectProperties, Filter, Subscribe};

    use super::*;

    /// A client that subscribes with a window of 3 and acknowledges what comes, in the order that `order` makes of each
    /// batch; returns what it read of each publish.
    fn client(address: SocketAddr, publishes: usize, order: fn(&mut Vec<u16>)) -> Vec<(u16, usize)> {
        let mut stream = TcpStream::connect(address).unwrap();
        let properties = ConnectProperties { receive_maximum: Some(3), ..ConnectProperties::new() };
        let connect =
            Connect { keep_alive: 5, client_id: "edge.1".into(), clean_start: true, properties: Some(properties) };
        write(&mut stream, &Packet::Connect(connect, None, None)).unwrap();
        let mut inbox = BytesMut::new();
        assert!(matches!(next(&mut stream, &mut inbox).unwrap(), Packet::ConnAck(_)));
        let filters = vec![Filter::new("v1/+/telemetry", QoS::AtLeastOnce)];
        write(&mut stream, &Packet::Subscribe(Subscribe { pkid: 1, filters, properties: None })).unwrap();
        assert!(matches!(next(&mut stream, &mut inbox).unwrap(), Packet::SubAck(_)));
        let (mut read, mut held) = (Vec::new(), Vec::new());
        while read.len() < publishes {
            let Ok(Packet::Publish(publish)) = next(&mut stream, &mut inbox) else { break };
            telemetry::decode(&publish.payload, telemetry::Encoding::Json, None).unwrap();
            read.push((publish.pkid, publish.payload.len()));
            held.push(publish.pkid);
            assert!(held.len() <= 3, "more than the window is on its way");
            if held.len() == 3 || read.len() == publishes {
                order(&mut held);
                for id in held.drain(..) {
                    // Who is told that one was out of turn may be gone before the others.
                    if write(&mut stream, &Packet::PubAck(PubAck::new(id, None))).is_err() {
                        return read;
                    }
                }
            }
        }
        read
    }

    #[test]
    fn publishes_respect_the_window_and_the_next_sending_goes_on() {
        let (source, address) = Source::listen().unwrap();
        let reading = std::thread::spawn(move || client(address, 17, |_| {}));
        let mut link = source.accept(Duration::from_secs(20)).unwrap();
        let packets = |first, count| Packets::encode(Form::Change200, 1, 1_760_000_000, first, count).unwrap();
        link.send(&packets(0, 9)).unwrap();
        link.send(&packets(9, 8)).unwrap();
        let read = reading.join().unwrap();
        assert_eq!(read, (1..=17).map(|id| (id, 200)).collect::<Vec<_>>());
    }

    #[test]
    fn a_puback_out_of_turn_is_noticed() {
        let (source, address) = Source::listen().unwrap();
        let reading = std::thread::spawn(move || client(address, 9, |held| held.reverse()));
        let mut link = source.accept(Duration::from_secs(20)).unwrap();
        let error = link.send(&Packets::encode(Form::Change200, 1, 1_760_000_000, 0, 9).unwrap()).unwrap_err();
        assert!(error.to_string().contains("PUBACK 3 came where 1 was due"), "{error:#}");
        drop(link);
        reading.join().unwrap();
    }
}
