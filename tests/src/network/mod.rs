//! A TCP proxy in front of any service, with faults that are switched while it runs: what a network does to
//! connections, without any privilege.
//!
//! The faults keep to what TCP lets happen. Bytes of a connection are delayed or never arrive, but nothing arrives
//! behind a gap: a direction that has lost a byte is dead until the connection ends.

mod carry;
mod door;
#[cfg(test)]
mod tests;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{net::TcpSocket, sync::watch, task::JoinHandle, time::Instant};

/// A direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Client to server.
    Up,
    /// Server to client.
    Down,
}

/// What becomes of the bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// They arrive.
    Pass,
    /// They wait, here and in the sender's kernel: a line that is cut, and mended before anybody gives up.
    Held,
    /// They vanish without a word: a router that has forgotten the connection. When this ends, connections that have
    /// lost something are reset.
    Swallowed,
    /// They arrive late, and few at a time; all connections of the link share the line.
    Slow {
        /// What the line takes.
        bytes_per_second: u64,
        /// How long each byte is on its way.
        delay: Duration,
    },
}

/// What becomes of who wants to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Let in.
    Open,
    /// Refused, and who is inside is thrown out.
    Shut,
    /// The kernel shakes hands, and nobody comes.
    Deaf,
}

/// The state of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// New connections.
    pub door: Door,
    /// Client to server.
    pub up: Flow,
    /// Server to client.
    pub down: Flow,
}

impl Condition {
    /// Everything passes.
    pub const WELL: Self = Self { door: Door::Open, up: Flow::Pass, down: Flow::Pass };
    /// Connections are closed, new ones refused.
    pub const CUT: Self = Self { door: Door::Shut, ..Self::WELL };
    /// Connections stay, and nothing goes through any more; new ones are never answered.
    pub const HALF_OPEN: Self = Self { door: Door::Deaf, up: Flow::Swallowed, down: Flow::Swallowed };

    /// As it is, but for one direction.
    #[must_use]
    pub const fn with(self, way: Way, flow: Flow) -> Self {
        match way {
            Way::Up => Self { up: flow, ..self },
            Way::Down => Self { down: flow, ..self },
        }
    }

    const fn flow(&self, way: Way) -> Flow {
        match way {
            Way::Up => self.up,
            Way::Down => self.down,
        }
    }

    fn swallows(&self) -> bool {
        [self.up, self.down].contains(&Flow::Swallowed)
    }
}

/// What has happened on a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections let in.
    pub connections: u64,
    /// Bytes that arrived, up and down.
    pub passed: [u64; 2],
    /// Bytes that vanished, up and down.
    pub lost: [u64; 2],
    /// Connections that the link has reset by itself.
    pub resets: u64,
}

/// A link between clients and one server. Dropping it closes everything.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
    /// Bound, and never listened on: the port stays ours while the door is shut, also from outgoing connections.
    _held: TcpSocket,
}

#[derive(Debug)]
struct Shared {
    condition: watch::Sender<Condition>,
    server: Mutex<Option<SocketAddr>>,
    /// Connections with a lower number are forgotten.
    forgotten: watch::Sender<u64>,
    fuse: Mutex<Option<Fuse>>,
    /// When the line of each direction is free again, if it is slow.
    free_at: [Mutex<Instant>; 2],
    connections: AtomicU64,
    passed: [AtomicU64; 2],
    lost: [AtomicU64; 2],
    resets: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
struct Fuse {
    way: Way,
    left: u64,
}

impl Link {
    /// A link on a free port of its own that leads nowhere yet: who connects is thrown out.
    pub async fn nowhere() -> Result<Self> {
        let held = door::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).context("bind a link")?;
        let address = held.local_addr()?;
        let listener = door::listen(address).context("listen on a link")?;
        let shared = Arc::new(Shared {
            condition: watch::Sender::new(Condition::WELL),
            server: Mutex::default(),
            forgotten: watch::Sender::new(0),
            fuse: Mutex::default(),
            free_at: [Mutex::new(Instant::now()), Mutex::new(Instant::now())],
            connections: AtomicU64::new(0),
            passed: Default::default(),
            lost: Default::default(),
            resets: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(door::keep(listener, address, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting, _held: held })
    }

    /// A link to a server.
    pub async fn to(server: SocketAddr) -> Result<Self> {
        let link = Self::nowhere().await?;
        link.lead_to(server);
        Ok(link)
    }

    /// Where it leads from now on.
    pub fn lead_to(&self, server: SocketAddr) {
        *locked(&self.shared.server) = Some(server);
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Switches the fault on or off. Connections notice at once; the door a moment later.
    pub fn set(&self, condition: Condition) {
        self.shared.condition.send_replace(condition);
    }

    /// The connections of now are dead for good: nothing passes, and the end of one side is not told to the other.
    /// New ones work. What a router does that was restarted.
    pub fn forget_connections(&self) {
        self.shared.forgotten.send_replace(self.shared.connections.load(Ordering::SeqCst));
    }

    /// Lets so many more bytes through in this direction, and then resets the connection that carried the last one,
    /// wherever in a packet that is. Once.
    pub fn reset_after(&self, way: Way, bytes: u64) {
        *locked(&self.shared.fuse) = Some(Fuse { way, left: bytes });
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let both = |counters: &[AtomicU64; 2]| [read(&counters[0]), read(&counters[1])];
        Counts {
            connections: read(&self.shared.connections),
            passed: both(&self.shared.passed),
            lost: both(&self.shared.lost),
            resets: read(&self.shared.resets),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
        // Who is inside leaves.
        self.set(Condition::CUT);
    }
}

impl Shared {
    /// How many of these bytes the fuse lets through; none: all.
    fn burn(&self, way: Way, bytes: usize) -> Option<usize> {
        let mut fuse = locked(&self.fuse);
        let burning = fuse.as_mut().filter(|fuse| fuse.way == way)?;
        match usize::try_from(burning.left) {
            Ok(left) if left < bytes => {
                *fuse = None;
                Some(left)
            }
            _ => {
                burning.left -= bytes as u64;
                None
            }
        }
    }

    /// Takes a place on the slow line; returns when these bytes have left it.
    fn line(&self, way: Way, bytes: usize, bytes_per_second: u64) -> Instant {
        let mut free_at = locked(&self.free_at[way as usize]);
        let takes = Duration::from_micros(bytes as u64 * 1_000_000 / bytes_per_second.max(1));
        *free_at = (*free_at).max(Instant::now()) + takes;
        *free_at
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
