//! A TCP proxy in front of the broker that understands just enough MQTT to count what the broker says it has taken,
//! and to lose what it is told to lose.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
};

/// Forwards vehicles' connections and counts PUBACKs; on demand it swallows the acknowledgements of our own.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    lose_acks: AtomicBool,
    lost: AtomicU64,
    taken: AtomicU64,
}

impl Proxy {
    /// Listens on a free port in front of `broker`.
    pub async fn start(broker: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::<Shared>::default();
        let state = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    // A connection that breaks on one side is dropped on both: that is what a network does.
                    forward(client, broker, state).await.ok();
                });
            }
        });
        Ok(Self { address, shared, accepting })
    }

    /// Where vehicles connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on acknowledgements to vehicles are lost, or no longer.
    pub fn lose_acks(&self, lose: bool) {
        self.shared.lose_acks.store(lose, Ordering::SeqCst);
    }

    /// Publishes that the broker has acknowledged.
    pub fn taken(&self) -> u64 {
        self.shared.taken.load(Ordering::SeqCst)
    }

    /// How many acknowledgements to vehicles were lost.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(client: TcpStream, broker: SocketAddr, shared: Arc<Shared>) -> Result<()> {
    let broker = TcpStream::connect(broker).await?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let (mut from_client, to_client) = client.into_split();
    let (from_broker, mut to_broker) = broker.into_split();
    tokio::select! {
        result = tokio::io::copy(&mut from_client, &mut to_broker) => { result?; }
        result = downwards(from_broker, to_client, &shared) => result?,
    }
    Ok(())
}

/// Broker to vehicle, packet by packet.
async fn downwards(from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared) -> Result<()> {
    let mut from = BufReader::new(from);
    loop {
        let mut packet = vec![from.read_u8().await?];
        // The remaining length: seven bits a byte, least significant first (MQTT 5, 1.5.5).
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = from.read_u8().await?;
            packet.push(byte);
            length |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let body = packet.len();
        packet.resize(body + length, 0);
        from.read_exact(&mut packet[body..]).await?;
        if says_taken(packet[0], &packet[body..]) {
            shared.taken.fetch_add(1, Ordering::SeqCst);
        }
        if shared.lose_acks.load(Ordering::SeqCst) && is_ack(&packet, body) {
            shared.lost.fetch_add(1, Ordering::SeqCst);
        } else {
            to.write_all(&packet).await?;
        }
    }
}

/// Whether this is a PUBACK by which the broker takes the message: packet id, and a reason that is 0 or left out.
fn says_taken(first: u8, body: &[u8]) -> bool {
    const PUBACK: u8 = 4;
    first >> 4 == PUBACK && body.get(2).is_none_or(|reason| *reason == 0)
}

/// Whether this is a PUBLISH on `v1/{vehicle}/ack`; `body` is where the variable header begins.
fn is_ack(packet: &[u8], body: usize) -> bool {
    const PUBLISH: u8 = 3;
    let topic = || {
        let length = usize::from(u16::from_be_bytes([*packet.get(body)?, *packet.get(body + 1)?]));
        packet.get(body + 2..body + 2 + length)
    };
    packet[0] >> 4 == PUBLISH && topic().is_some_and(|topic| topic.starts_with(b"v1/") && topic.ends_with(b"/ack"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_puback_without_a_refusal_counts() {
        assert!(says_taken(0x40, &[0, 1]));
        assert!(says_taken(0x40, &[0, 1, 0]));
        assert!(!says_taken(0x40, &[0, 1, 0x10, 0]), "nobody subscribes");
        assert!(!says_taken(0x40, &[0, 1, 0x97, 0]), "over a quota");
        assert!(!says_taken(0x30, &[0, 1]), "a PUBLISH");
        assert!(!says_taken(0x90, &[0, 1]), "a SUBACK");
    }

    #[test]
    fn only_acks_are_recognised() {
        let publish = |topic: &str| {
            let mut packet = vec![0x30, 0];
            packet.extend(u16::try_from(topic.len()).expect("short").to_be_bytes());
            packet.extend(topic.as_bytes());
            packet
        };
        assert!(is_ack(&publish("v1/veh-1/ack"), 2));
        assert!(!is_ack(&publish("v1/veh-1/command"), 2));
        assert!(!is_ack(&[0xD0, 0], 2));
        assert!(!is_ack(&[0x30, 2, 0, 99], 2));
    }
}
