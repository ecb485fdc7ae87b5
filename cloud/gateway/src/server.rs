//! The gateway as a process: tasks that follow the log, and the listener.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use cloud_log::{Producer, Tail, TailFrom, Watermarks};
use service::{Error, Tally, Token};
use store::Store;
use telemetry::{
    event::{AlertEvent, Score},
    kafka_topic::{ALERT_COMMANDS, ALERTS, MODELS, SCORES},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, api, metrics, pipeline,
    state::{Shared, State},
};

/// Renders the process's metrics for `/metrics`.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Kafka topics that the role reads.
pub const READS: [&str; 3] = [ALERTS, SCORES, MODELS];
/// Kafka topics that the role writes.
pub const WRITES: [&str; 1] = [ALERT_COMMANDS];

/// Records taken at a time.
const BATCH: usize = 1_000;
const WAIT: Duration = Duration::from_millis(500);
/// Scores read back at start, per partition: what the plots begin with.
const SCORES_BACK: i64 = 20_000;
/// How long connections may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(2);

/// The gateway, connected and bound.
pub struct Gateway {
    state: Shared,
    listener: TcpListener,
    address: SocketAddr,
    alerts: Tail,
    scores: Tail,
    models: Tail,
}

/// Reaches Kafka and MongoDB and binds the listener.
///
/// # Errors
/// [`Error::Usage`] if a flag can't be used (beyond loopback without a token file, for example),
/// [`Error::Unavailable`] if a service does not answer or the address is taken.
pub async fn connect(config: Config, render_metrics: RenderMetrics) -> Result<Gateway, Error> {
    config.validate()?;
    let token = config.token_file.as_deref().map(|file| Token::load("token-file", file)).transpose()?;
    let taken = |error: std::io::Error| Error::Unavailable {
        flag: "listen",
        address: config.listen.to_string(),
        detail: error.to_string(),
    };
    let listener = TcpListener::bind(config.listen).await.map_err(taken)?;
    let address = listener.local_addr().map_err(taken)?;
    let store = Store::connect(&config.mongo).await?;
    let producer = Producer::connect(&config.kafka).await?;
    let cluster = producer.cluster_id().await?.unwrap_or_default();
    let [alerts, scores, models] = READS;
    let watermarks = Watermarks::new(&config.kafka)?;
    let first = watermarks.of(alerts).await?.get(&0).map_or(0, |(low, _)| *low);
    let back = watermarks.of(scores).await?;
    let back: BTreeMap<_, _> = back.into_iter().map(|(p, (low, high))| (p, low.max(high - SCORES_BACK))).collect();
    // The whole log of alerts: the alerts that are open are its fold.
    let alerts = Tail::open(&config.kafka, alerts, TailFrom::Beginning).await?;
    let models = Tail::open(&config.kafka, models, TailFrom::Beginning).await?;
    let scores = Tail::open(&config.kafka, scores, TailFrom::Offsets(back)).await?;
    let epoch = format!("{cluster}/{}", config.mongo.database);
    let state = Arc::new(State::new(config, token, store, producer, render_metrics, (first, epoch)));
    Ok(Gateway { state, listener, address, alerts, scores, models })
}

impl Gateway {
    /// The bound addresses by name: `http`.
    pub fn addresses(&self) -> Vec<(&'static str, String)> {
        vec![("http", self.address.to_string())]
    }

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs until the stop. Received are events of `alerts`; sent are those that stand in the ring for every client.
    ///
    /// # Errors
    /// If one of the tasks fails.
    pub async fn run(self, stop: CancellationToken) -> Result<Tally, Error> {
        let Self { state, listener, alerts, scores, models, address } = self;
        tracing::info!(%address, token = state.token.is_some(), "listening");
        let mut tasks: JoinSet<anyhow::Result<Option<Tally>>> = JoinSet::new();
        tasks.spawn(follow_alerts(state.clone(), alerts));
        tasks.spawn(follow_scores(state.clone(), scores));
        tasks.spawn(follow_models(state.clone(), models));
        let watched = state.clone();
        tasks.spawn(async move {
            pipeline::watch(watched).await?;
            Ok(None)
        });
        let (routes, stopped) = (api::routes(state.clone()), state.stop.clone());
        tasks.spawn(async move {
            let served = axum::serve(listener, routes).with_graceful_shutdown(stopped.clone().cancelled_owned());
            tokio::select! {
                served = served => served.context("serve")?,
                // A client that never ends its request does not hold up the stop.
                () = async { stopped.cancelled().await; tokio::time::sleep(FAREWELL).await } => {
                    tracing::warn!("requests were cut");
                }
            }
            Ok(None)
        });
        let mut tally = Tally::default();
        let mut failure = None;
        loop {
            let ended = tokio::select! {
                () = stop.cancelled(), if !state.stop.is_cancelled() => {
                    state.stop.cancel();
                    continue;
                }
                ended = tasks.join_next() => ended,
            };
            match ended {
                None => break,
                Some(Ok(Ok(part))) => tally = part.unwrap_or(tally),
                Some(Ok(Err(error))) => failure = failure.or(Some(error)),
                Some(Err(error)) => failure = failure.or_else(|| Some(anyhow::anyhow!(error).context("a task ended"))),
            }
            // The first that fails stops the others; none ends well before the stop.
            state.stop.cancel();
        }
        let all = u32::try_from(state.config.max_connections).unwrap_or(u32::MAX);
        if tokio::time::timeout(FAREWELL, state.connections.acquire_many(all)).await.is_err() {
            tracing::warn!(connections = state.open_connections(), "connections were cut");
        }
        failure.map_or(Ok(tally), |error| Err(Error::Internal(error)))
    }
}

async fn follow_alerts(state: Shared, mut alerts: Tail) -> anyhow::Result<Option<Tally>> {
    let mut tally = Tally::default();
    loop {
        let records = tokio::select! {
            () = state.stop.cancelled() => return Ok(Some(tally)),
            records = alerts.next(BATCH, WAIT) => records?,
        };
        let mut next = None;
        for record in records {
            tally.received += 1;
            metrics::received();
            let event = serde_json::from_slice::<AlertEvent>(record.payload.as_deref().unwrap_or_default());
            let mut ring = state.ring_mut();
            match event.and_then(|event| ring.push(record.offset, event)) {
                Ok(()) => {
                    tally.sent += 1;
                    metrics::ringed();
                }
                Err(error) => {
                    tracing::warn!(%error, offset = record.offset, "not an alert event");
                    ring.pass(record.offset);
                    tally.discard("malformed", 1);
                    metrics::discarded("malformed");
                }
            }
            next = Some(ring.next());
        }
        if let Some(next) = next {
            state.head.send_replace(next);
        }
        if alerts.caught_up() {
            state.set_ready();
        }
    }
}

async fn follow_scores(state: Shared, mut scores: Tail) -> anyhow::Result<Option<Tally>> {
    loop {
        let records = tokio::select! {
            () = state.stop.cancelled() => return Ok(None),
            records = scores.next(BATCH, WAIT) => records?,
        };
        let mut recent = state.scores();
        for record in records {
            match serde_json::from_slice::<Score>(record.payload.as_deref().unwrap_or_default()) {
                Ok(score) => recent.take(&score),
                // The alerter puts it among the dead letters; here it only lacks in a plot.
                Err(error) => tracing::debug!(%error, offset = record.offset, "not a score"),
            }
        }
    }
}

async fn follow_models(state: Shared, mut models: Tail) -> anyhow::Result<Option<Tally>> {
    loop {
        let records = tokio::select! {
            () = state.stop.cancelled() => return Ok(None),
            records = models.next(BATCH, WAIT) => records?,
        };
        for record in records {
            let key = record.key.as_deref().unwrap_or_default();
            if let Err(error) = state.models().apply(key, record.payload.as_deref()) {
                tracing::warn!(error, offset = record.offset, "not a record of the model registry");
            }
        }
    }
}
