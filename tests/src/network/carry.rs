//! One connection: two directions, each a reader, a short queue and a writer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{Condition, Door, Flow, Shared, Way};

/// Read at once, bytes,
const CHUNK: usize = 8 * 1024;
/// and so many of them are under way in a direction: beyond that the sender waits.
const CHUNKS: usize = 8;

/// The connection is to be reset, on both sides.
struct Reset;

struct Connection<'a> {
    shared: &'a Shared,
    number: u64,
    /// It has lost bytes, up and down: nothing arrives behind them.
    dead: [AtomicBool; 2],
}

/// Carries until both sides have ended, or something ends it.
pub(super) async fn connection(mut client: TcpStream, mut server: TcpStream, number: u64, shared: &Shared) {
    for stream in [&client, &server] {
        stream.set_nodelay(true).ok();
    }
    let connection = Connection { shared, number, dead: Default::default() };
    let ended = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let both = async {
            tokio::try_join!(
                connection.carry(Way::Up, from_client, to_server),
                connection.carry(Way::Down, from_server, to_client)
            )
            .map(|_| ())
        };
        tokio::select! {
            ended = both => ended,
            ended = connection.watch() => ended,
        }
    };
    if ended.is_err() {
        client.set_zero_linger().ok();
        server.set_zero_linger().ok();
    }
}

impl Connection<'_> {
    /// Ends the connection when the link is cut, or when it was swallowed and the link is mended.
    async fn watch(&self) -> Result<(), Reset> {
        let mut condition = self.shared.condition.subscribe();
        loop {
            let now = *condition.borrow_and_update();
            if now.door == Door::Shut {
                return Ok(());
            }
            if self.dead.iter().any(|dead| dead.load(Ordering::SeqCst)) && !now.swallows() && !self.is_forgotten() {
                self.count(&self.shared.resets, 1);
                return Err(Reset);
            }
            if condition.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    fn is_forgotten(&self) -> bool {
        self.number < *self.shared.forgotten.borrow()
    }

    fn count(&self, counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::SeqCst);
    }

    async fn carry(&self, way: Way, from: ReadHalf<'_>, to: WriteHalf<'_>) -> Result<(), Reset> {
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let reading = async { Ok(read(from, sender).await) };
        match tokio::try_join!(reading, self.write(way, to, receiver))? {
            // Of a dead connection nobody hears anything.
            (_, Delivered::Nothing) => Ok(()),
            (read, Delivered::All) => read.map_err(|_| Reset),
        }
    }

    async fn write(&self, way: Way, mut to: WriteHalf<'_>, mut queue: Queue) -> Result<Delivered, Reset> {
        while let Some((came, bytes)) = queue.recv().await {
            if !self.passes(way, came, bytes.len()).await {
                self.dead[way as usize].store(true, Ordering::SeqCst);
                self.count(&self.shared.lost[way as usize], bytes.len());
                continue;
            }
            let cut = self.shared.burn(way, bytes.len());
            let bytes = &bytes[..cut.unwrap_or(bytes.len())];
            to.write_all(bytes).await.map_err(|_| Reset)?;
            self.count(&self.shared.passed[way as usize], bytes.len());
            if cut.is_some() {
                self.count(&self.shared.resets, 1);
                return Err(Reset);
            }
        }
        if self.passes(way, Instant::now(), 0).await {
            to.shutdown().await.map_err(|_| Reset)?;
            Ok(Delivered::All)
        } else {
            self.dead[way as usize].store(true, Ordering::SeqCst);
            Ok(Delivered::Nothing)
        }
    }

    /// Waits until these bytes may go on; false if they vanish.
    async fn passes(&self, way: Way, came: Instant, bytes: usize) -> bool {
        let mut condition = self.shared.condition.subscribe();
        loop {
            let now: Condition = *condition.borrow_and_update();
            if self.dead[way as usize].load(Ordering::SeqCst) || self.is_forgotten() {
                return false;
            }
            match now.flow(way) {
                Flow::Pass => return true,
                Flow::Swallowed => return false,
                Flow::Held if condition.changed().await.is_err() => return false,
                Flow::Held => {}
                Flow::Slow { bytes_per_second, delay } => {
                    sleep_until(came + delay).await;
                    sleep_until(self.shared.line(way, bytes, bytes_per_second)).await;
                    return true;
                }
            }
        }
    }
}

type Queue = mpsc::Receiver<(Instant, Vec<u8>)>;

enum Delivered {
    All,
    Nothing,
}

/// Reads until the end; an error is a reset by that side.
async fn read(mut from: ReadHalf<'_>, queue: mpsc::Sender<(Instant, Vec<u8>)>) -> std::io::Result<()> {
    loop {
        let mut bytes = Vec::with_capacity(CHUNK);
        if from.read_buf(&mut bytes).await? == 0 || queue.send((Instant::now(), bytes)).await.is_err() {
            return Ok(());
        }
    }
}
