//! What the gateway's tasks and requests share.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicBool, Ordering},
};

use cloud_log::Producer;
use service::Token;
use store::Store;
use telemetry::{UnixMillis, event::Registry};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::{Config, RenderMetrics, commands::Bucket, pipeline::Pipeline, ring::Ring, scores::RecentScores};

/// Pages of older alerts read from Kafka at a time.
const CATCH_UPS: usize = 8;
/// Commands by REST, all callers together: per second, and in a burst.
const REST_COMMANDS: (f64, f64) = (100.0, 200.0);

pub(crate) type Shared = Arc<State>;

pub(crate) struct State {
    pub(crate) config: Config,
    /// What requests have to show; none on a loopback listener without a token file.
    pub(crate) token: Option<Token>,
    pub(crate) store: Store,
    pub(crate) producer: Producer,
    pub(crate) render_metrics: RenderMetrics,
    ring: RwLock<Ring>,
    /// The next offset of `alerts`; wakes every connection.
    pub(crate) head: watch::Sender<i64>,
    scores: Mutex<RecentScores>,
    models: Mutex<Registry>,
    pipeline: Mutex<Pipeline>,
    pub(crate) commands: Mutex<Bucket>,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) catch_ups: Semaphore,
    /// The log of alerts has been read to its end once.
    ready: AtomicBool,
    pub(crate) stop: CancellationToken,
    epoch: String,
}

impl State {
    pub(crate) fn new(
        config: Config,
        token: Option<Token>,
        store: Store,
        producer: Producer,
        render_metrics: RenderMetrics,
        (first, epoch): (i64, String),
    ) -> Self {
        Self {
            ring: RwLock::new(Ring::new(first, config.ring_events, config.ring_bytes)),
            head: watch::Sender::new(first),
            scores: Mutex::default(),
            models: Mutex::default(),
            pipeline: Mutex::default(),
            commands: Mutex::new(Bucket::new(REST_COMMANDS.0, REST_COMMANDS.1)),
            connections: Arc::new(Semaphore::new(config.max_connections)),
            catch_ups: Semaphore::new(CATCH_UPS),
            ready: AtomicBool::new(false),
            stop: CancellationToken::new(),
            epoch,
            config,
            token,
            store,
            producer,
            render_metrics,
        }
    }

    /// Names the log that offsets belong to, by Kafka's cluster and the database: an offset of another deployment,
    /// or of a Kafka that was made anew, means nothing here.
    pub(crate) fn epoch(&self) -> &str {
        &self.epoch
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.config.max_connections.saturating_sub(self.connections.available_permits())
    }

    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    // A panic while one of these is held leaves a consistent value: every change below is one step.

    pub(crate) fn ring(&self) -> RwLockReadGuard<'_, Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ring_mut(&self) -> RwLockWriteGuard<'_, Ring> {
        self.ring.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn scores(&self) -> MutexGuard<'_, RecentScores> {
        self.scores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn models(&self) -> MutexGuard<'_, Registry> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pipeline(&self) -> MutexGuard<'_, Pipeline> {
        self.pipeline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wall clock, ms since the epoch. Only stamps commands and measures ages; it decides nothing.
pub(crate) fn now() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
