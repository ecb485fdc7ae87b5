//! A relay in front of the broker that counts what the broker says it has taken: PUBACKs on their way to vehicles.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
};

/// Forwards everything and counts PUBACKs.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    taken: Arc<AtomicU64>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Relay {
    /// Listens on a free port in front of `broker`.
    pub async fn start(broker: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let taken = Arc::<AtomicU64>::default();
        let count = Arc::clone(&taken);
        let accepting = tokio::spawn(async move {
            while let Ok((vehicle, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    // What breaks on one side breaks on both, as without a relay.
                    forward(vehicle, broker, &count).await.ok();
                });
            }
        });
        Ok(Self { address, taken, accepting })
    }

    /// Where vehicles connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Publishes that the broker has acknowledged.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(vehicle: TcpStream, broker: SocketAddr, taken: &AtomicU64) -> Result<()> {
    let broker = TcpStream::connect(broker).await?;
    vehicle.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let (mut from_vehicle, to_vehicle) = vehicle.into_split();
    let (from_broker, mut to_broker) = broker.into_split();
    tokio::select! {
        result = tokio::io::copy(&mut from_vehicle, &mut to_broker) => { result?; }
        result = downwards(from_broker, to_vehicle, taken) => result?,
    }
    Ok(())
}

/// Broker to vehicle, packet by packet.
async fn downwards(from: OwnedReadHalf, mut to: OwnedWriteHalf, taken: &AtomicU64) -> Result<()> {
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
            taken.fetch_add(1, Ordering::SeqCst);
        }
        to.write_all(&packet).await?;
    }
}

/// Whether this is a PUBACK by which the broker takes the message: packet id, and a reason that is 0 or left out.
fn says_taken(first: u8, body: &[u8]) -> bool {
    const PUBACK: u8 = 4;
    first >> 4 == PUBACK && body.get(2).is_none_or(|reason| *reason == 0)
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
}
