//! The WebSocket `/api/v1/stream`: every alert event, live and from any offset, and commands.
//!
//! JSON text frames. The client speaks first, within 5 s:
//!
//! - `{"type":"hello","token":…,"from":"snapshot"|"head"|OFFSET,"epoch":…}`; `from` is the first offset wanted
//! - `{"type":"welcome","head":…,"epoch":…,"recovered":…,"heartbeat_ms":…,"time":…}`; `head` is the next offset
//! - `{"type":"snapshot","head":…,"last":…,"alerts":[{"offset":…,"event":…}]}`: the open alerts, in pages; asked
//!   for, or because the offset is no longer in the log (`recovered` is then false)
//! - `{"type":"alert","offset":…,"event":…}`
//! - `{"type":"command","id":UUIDv7,"alert":…,"action":"acknowledge"|"resolve","actor":…,"note":…,"outcome":…}`,
//!   answered by `{"type":"ack_result","id":…,"ok":…,"status":…,"detail":…}`; what it changed comes as an alert event
//! - `{"type":"ping","head":…}` from the server, `{"type":"pong"}` from the client
//!
//! A connection is a cursor: it holds no queue, and reads the ring when it can write. Events may come twice
//! (after a resume, or because the alerter repeated one): (id, revision) tells.
//! Close codes: 4000–4499 come again (4001 shutdown, 4002 silent, 4008 slow), 4500–4999 don't (4501 token, 4502
//! malformed).

mod client;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use axum::{
    extract::{
        State as Extract, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use cloud_log::History;
use serde_json::json;
use telemetry::{event::AlertEvent, kafka_topic::ALERTS};
use tokio::sync::watch;

use self::client::{From, FromClient, Named};
use crate::{
    auth,
    commands::{self, Bucket, CommandRequest},
    metrics,
    problem::Problem,
    rest::AlertRow,
    ring::{Frame, Read},
    state::{Shared, now},
};

const HELLO_WITHIN: Duration = Duration::from_secs(5);
const READ_BUFFER: usize = 4 * 1024;
const MAX_MESSAGE: usize = 16 * 1024;
/// Frames taken from the ring at a time.
const CHUNK: usize = 64;
/// Alerts in one page of a snapshot.
const SNAPSHOT_PAGE: usize = 100;
/// Commands of one connection: per second, and in a burst.
const COMMANDS: (f64, f64) = (20.0, 40.0);

/// Why a connection ended.
enum End {
    Gone,
    Close { code: u16, reason: &'static str },
}

const SHUTDOWN: End = End::Close { code: 4001, reason: "shutdown" };
const SILENT: End = End::Close { code: 4002, reason: "silent" };
const UNAVAILABLE: End = End::Close { code: 4003, reason: "unavailable" };
const SLOW: End = End::Close { code: 4008, reason: "slow" };
const TOKEN: End = End::Close { code: 4501, reason: "token" };
const MALFORMED: End = End::Close { code: 4502, reason: "malformed" };

pub(crate) async fn upgrade(Extract(state): Extract<Shared>, headers: HeaderMap, ws: WebSocketUpgrade) -> Response {
    if !auth::origin_allowed(&headers, &state.config.allow_origin) {
        return Problem::new(StatusCode::FORBIDDEN, "this origin may not connect").into_response();
    }
    let Ok(permit) = state.connections.clone().try_acquire_owned() else {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many connections; come again").into_response();
    };
    let authorised = state.token.as_ref().is_none_or(|token| token.admits_headers(&headers));
    ws.read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .on_upgrade(async move |socket| {
            metrics::connections(state.open_connections());
            let head = state.head.subscribe();
            let mut connection = Connection {
                socket,
                head,
                cursor: 0,
                heard: Instant::now(),
                commands: Bucket::new(COMMANDS.0, COMMANDS.1),
                state,
            };
            let end = connection.run(authorised).await;
            connection.close(end).await;
            drop(permit);
            metrics::connections(connection.state.open_connections());
        })
}

struct Connection {
    socket: WebSocket,
    state: Shared,
    head: watch::Receiver<i64>,
    /// The next offset that this client gets.
    cursor: i64,
    heard: Instant,
    commands: Bucket,
}

impl Connection {
    async fn run(&mut self, authorised: bool) -> End {
        match self.converse(authorised).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn converse(&mut self, authorised: bool) -> Result<std::convert::Infallible, End> {
        self.hello(authorised).await?;
        let period = self.state.config.heartbeat();
        let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        let stop = self.state.stop.clone();
        loop {
            self.deliver().await?;
            tokio::select! {
                () = stop.cancelled() => return Err(SHUTDOWN),
                message = self.socket.recv() => self.hear(message).await?,
                changed = self.head.changed() => changed.map_err(|_| SHUTDOWN)?,
                _ = heartbeat.tick() => {
                    if self.heard.elapsed() > period * 3 {
                        return Err(SILENT);
                    }
                    let head = *self.head.borrow();
                    self.say(&json!({ "type": "ping", "head": head })).await?;
                }
            }
        }
    }

    /// The first frame: who, and from where.
    async fn hello(&mut self, authorised: bool) -> Result<(), End> {
        let first = tokio::time::timeout(HELLO_WITHIN, self.socket.recv()).await.map_err(|_| SILENT)?;
        let Some(Ok(Message::Text(text))) = first else { return Err(MALFORMED) };
        let Ok(FromClient::Hello { token, from, epoch }) = serde_json::from_str(&text) else { return Err(MALFORMED) };
        let shown = |expected: &service::Token| token.is_some_and(|offered| expected.admits(&offered));
        if !authorised && !self.state.token.as_ref().is_some_and(shown) {
            return Err(TOKEN);
        }
        if !self.state.is_ready() {
            // A snapshot of half the log would show alerts that are long resolved.
            return Err(UNAVAILABLE);
        }
        // The head that the beginning was chosen by: what comes after it is sent.
        let head = self.state.ring().next();
        let (snapshot, recovered) = self.begin(from, head, epoch.as_deref()).await?;
        let welcome = json!({
            "type": "welcome",
            "head": head,
            "epoch": self.state.epoch(),
            "recovered": recovered,
            "heartbeat_ms": self.state.config.heartbeat_ms,
            "time": now(),
        });
        self.say(&welcome).await?;
        if snapshot {
            self.snapshot().await?;
        }
        Ok(())
    }

    /// Sets the cursor; says whether a snapshot is due and whether nothing was missed.
    async fn begin(&mut self, from: From, head: i64, epoch: Option<&str>) -> Result<(bool, bool), End> {
        let offset = match from {
            From::Offset(offset) => offset,
            From::Named(Named::Snapshot) => {
                metrics::resumed("snapshot");
                return Ok((true, true));
            }
            From::Named(Named::Head) | From::Nothing => {
                metrics::resumed("head");
                self.cursor = head;
                return Ok((false, true));
            }
        };
        let same_log = epoch.is_none_or(|epoch| epoch == self.state.epoch()) && (0..=head).contains(&offset);
        let ring_holds = matches!(self.state.ring().read(offset, 0), Read::Frames { .. });
        if same_log && ring_holds {
            metrics::resumed("ring");
            self.cursor = offset;
            return Ok((false, true));
        }
        if same_log && offset >= self.oldest_in_log().await? {
            metrics::resumed("log");
            self.cursor = offset;
            return Ok((false, true));
        }
        metrics::resumed("snapshot");
        Ok((true, false))
    }

    async fn oldest_in_log(&mut self) -> Result<i64, End> {
        let marks = History::watermarks(&self.state.config.kafka, ALERTS).await;
        let marks = marks.map_err(|error| {
            tracing::warn!("a resume has to wait: {error:#}");
            UNAVAILABLE
        })?;
        Ok(marks.get(&0).map_or(0, |(low, _)| *low))
    }

    /// All open alerts; the cursor then stands behind the last event that is in them.
    async fn snapshot(&mut self) -> Result<(), End> {
        // One lock for both: what comes after `head` comes as events.
        let (head, alerts): (i64, Vec<AlertRow>) = {
            let ring = self.state.ring();
            (ring.next(), ring.open().map(AlertRow::from).collect())
        };
        let mut pages = alerts.chunks(SNAPSHOT_PAGE).peekable();
        if pages.peek().is_none() {
            self.say(&json!({ "type": "snapshot", "head": head, "last": true, "alerts": [] })).await?;
        }
        while let Some(page) = pages.next() {
            let last = pages.peek().is_none();
            self.say(&json!({ "type": "snapshot", "head": head, "last": last, "alerts": page })).await?;
        }
        self.cursor = head;
        Ok(())
    }

    /// Sends what is there, until the cursor stands at the head.
    async fn deliver(&mut self) -> Result<(), End> {
        self.head.mark_unchanged();
        loop {
            let read = self.state.ring().read(self.cursor, CHUNK);
            match read {
                Read::Frames { frames, next } => {
                    let caught_up = frames.is_empty();
                    self.forward(frames).await?;
                    // From the same look at the ring: what came since then lies behind it.
                    self.cursor = next;
                    if caught_up {
                        return Ok(());
                    }
                }
                Read::Behind(first) => self.catch_up(first).await?,
            }
            if self.state.stop.is_cancelled() {
                return Err(SHUTDOWN);
            }
        }
    }

    async fn forward(&mut self, frames: Vec<Frame>) -> Result<(), End> {
        metrics::delivered(frames.len() as u64);
        for frame in frames {
            self.send(Message::Text(frame.text)).await?;
            self.cursor = frame.offset + 1;
        }
        Ok(())
    }

    /// Reads from Kafka what the ring no longer holds.
    async fn catch_up(&mut self, to: i64) -> Result<(), End> {
        let state = self.state.clone();
        let Ok(_permit) = state.catch_ups.acquire().await else { return Err(SHUTDOWN) };
        let oldest = self.oldest_in_log().await?;
        if self.cursor < oldest {
            // Retention overtook a client that was already reading: it starts over and is told so.
            self.say(&json!({ "type": "welcome", "head": to, "epoch": self.state.epoch(), "recovered": false }))
                .await?;
            return self.snapshot().await;
        }
        let range = BTreeMap::from([(0, self.cursor..to)]);
        let unavailable = |error: anyhow::Error| {
            tracing::warn!("older alerts can't be read: {error:#}");
            UNAVAILABLE
        };
        let opened = History::open(&state.config.kafka, ALERTS, range).await;
        let mut history = opened.context("open").map_err(unavailable)?;
        while let Some(page) = history.next(500).await.map_err(unavailable)? {
            let mut frames = Vec::with_capacity(page.len());
            for record in page {
                let event = serde_json::from_slice::<AlertEvent>(record.payload.as_deref().unwrap_or_default());
                match event.and_then(|event| Frame::new(record.offset, &event)) {
                    Ok(frame) => frames.push(frame),
                    Err(error) => tracing::debug!(%error, offset = record.offset, "not an alert event"),
                }
            }
            self.forward(frames).await?;
        }
        self.cursor = self.cursor.max(to);
        Ok(())
    }

    async fn hear(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        let Some(Ok(message)) = message else { return Err(End::Gone) };
        self.heard = Instant::now();
        match message {
            Message::Text(text) => match serde_json::from_str(&text) {
                Ok(FromClient::Command { id, alert, action, actor, note, outcome }) => {
                    let request = CommandRequest { id: Some(id), actor, note, outcome };
                    let result = if self.commands.take(Instant::now()) {
                        commands::submit(&self.state, &alert, &action, request).await
                    } else {
                        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many commands"))
                    };
                    let answer = match result {
                        Ok(id) => json!({ "type": "ack_result", "id": id, "ok": true, "status": 202 }),
                        Err(problem) => json!({
                            "type": "ack_result", "id": id, "ok": false,
                            "status": problem.status().as_u16(), "detail": problem.detail(),
                        }),
                    };
                    self.say(&answer).await
                }
                Ok(FromClient::Pong) => Ok(()),
                Ok(FromClient::Hello { .. }) | Err(_) => Err(MALFORMED),
            },
            Message::Binary(_) => Err(MALFORMED),
            Message::Ping(_) | Message::Pong(_) => Ok(()),
            Message::Close(_) => Err(End::Gone),
        }
    }

    async fn say(&mut self, message: &serde_json::Value) -> Result<(), End> {
        self.send(Message::Text(message.to_string().into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match tokio::time::timeout(self.state.config.write_timeout(), self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(SLOW),
        }
    }

    async fn close(&mut self, end: End) {
        match end {
            End::Gone => metrics::closed("gone"),
            End::Close { code, reason } => {
                metrics::closed(reason);
                let frame = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
                // A client that takes nothing does not take this either.
                tokio::time::timeout(Duration::from_secs(1), self.socket.send(frame)).await.ok();
            }
        }
    }
}
