//! What parent and workers tell each other, over a socket pair that is the worker's standard input: frames of JSON
//! behind their length (u32, little-endian).

use std::io::{self, Read, Write};

use mio::net::UnixStream;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    counts::{Counts, Recorded},
    plan::Plan,
};

/// No frame is longer, bytes.
const MAX_FRAME: usize = 16 << 20;

/// From the parent.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// First of all: connect this part of the fleet.
    Connect(Box<Plan>),
    /// Make readings from this wall time on, µs since the epoch.
    Start {
        /// The same for all workers.
        at_us: u64,
    },
    /// From this wall time on, µs since the epoch, make readings at another rate.
    Rate {
        /// The same for all workers.
        at_us: u64,
        /// Readings of the whole fleet in a second, evenly; 0: none.
        per_s: u64,
    },
    /// Tell where you stand now, and what is unanswered.
    Look,
    /// Make no more readings; wait at most so long for acknowledgements, ms.
    Stop {
        /// Ms.
        drain_ms: u64,
    },
    /// Leave, as soon as there is nothing more to wait for.
    Leave,
}

/// From a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Word {
    /// Each second, and at the end.
    Tick(Box<Tick>),
    /// Asked to look: the ages of the readings that are unanswered now; its tick has gone before.
    Unanswered(Box<Recorded>),
    /// All vehicles are connected.
    Connected {
        /// Resident memory before there was a vehicle, and now, bytes.
        memory: (u64, u64),
        /// What rendering a payload takes, ns.
        payload_ns: u64,
    },
    /// Nothing more is made or waited for. The vehicles stay until they are told to leave, so that their sockets can be
    /// counted once more.
    Done,
    /// It came to its end; its last tick has gone before.
    Ended {
        /// Why it could not go on.
        failure: Option<String>,
    },
}

/// Where a worker stands.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Tick {
    /// Since the start.
    pub(super) counts: Counts,
    /// Since the last tick.
    pub(super) recorded: Recorded,
}

/// Appends a frame.
pub(super) fn frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = u32::try_from(bytes.len() - 4).map_err(io::Error::other)?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// Writes a frame and waits until the other side has room for it.
pub(super) fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&frame(message)?)
}

/// Reads a frame; none at the end of the stream.
pub(super) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    let mut bytes = Vec::new();
    from.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from)
}

/// A worker's end: never waits. What the parent does not take stays here, within a limit.
#[derive(Debug)]
pub(super) struct Mailbox {
    pub(super) stream: UnixStream,
    inbound: Vec<u8>,
    outbound: Vec<u8>,
}

impl Mailbox {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, inbound: Vec::new(), outbound: Vec::new() }
    }

    /// The orders that have come; false where the parent has gone.
    pub(super) fn read(&mut self, orders: &mut Vec<Order>) -> io::Result<bool> {
        let mut there = true;
        loop {
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => there = false,
                Ok(n) => {
                    self.inbound.extend_from_slice(&bytes[..n]);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => there = false,
            }
            break;
        }
        while let Some(length) = self.inbound.first_chunk() {
            let end = 4 + u32::from_le_bytes(*length) as usize;
            let Some(body) = self.inbound.get(4..end) else { break };
            orders.push(serde_json::from_slice(body)?);
            self.inbound.drain(..end);
        }
        Ok(there)
    }

    /// Whether there is room for another tick: a parent that does not read gets fewer.
    pub(super) fn has_room(&self) -> bool {
        self.outbound.len() < MAX_FRAME
    }

    pub(super) fn post(&mut self, word: &Word) -> io::Result<()> {
        self.outbound.extend(frame(word)?);
        self.flush()
    }

    /// Writes what the parent takes now.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.outbound.is_empty() {
            match self.stream.write(&self.outbound) {
                Ok(n) => drop(self.outbound.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the parent has everything.
    pub(super) fn is_empty(&self) -> bool {
        self.outbound.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_follow_each_other_and_a_torn_one_is_an_error() {
        let mut stream = frame(&Order::Start { at_us: 7 }).unwrap();
        send(&mut stream, &Order::Stop { drain_ms: 9 }).unwrap();
        let mut from = &stream[..];
        assert!(matches!(receive(&mut from).unwrap(), Some(Order::Start { at_us: 7 })));
        assert!(matches!(receive(&mut from).unwrap(), Some(Order::Stop { drain_ms: 9 })));
        assert!(receive::<Order>(&mut from).unwrap().is_none());
        assert!(receive::<Order>(&mut &stream[..stream.len() - 1][..20]).is_err() || stream.len() < 20);
        assert!(receive::<Order>(&mut &[0xFF_u8; 8][..]).is_err());
    }
}
