//! The WebSocket to the gateway: hello, then rows.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::json;
use telemetry::event::AlertEvent;
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use super::From;

const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// Silence beyond two heartbeats and this is a broken connection.
const SLACK: Duration = Duration::from_secs(5);

/// An event and where it stands in `alerts`.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    pub(super) offset: i64,
    pub(super) event: AlertEvent,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum FromServer {
    Welcome {
        head: i64,
        epoch: String,
        recovered: bool,
        #[serde(default)]
        heartbeat_ms: Option<u64>,
    },
    Snapshot {
        head: i64,
        last: bool,
        alerts: Vec<Row>,
    },
    Alert(Box<Row>),
    Ping {},
    #[serde(other)]
    Other,
}

/// Why there is no connection any more.
#[derive(Debug)]
pub(super) enum Ended {
    /// It can be tried again.
    Lost(String),
    /// It can't.
    Refused(String),
}

pub(super) struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    heartbeat: Duration,
    pub(super) epoch: String,
    /// Whether the server goes on where it was asked to.
    pub(super) recovered: bool,
    /// The first offset that was not told yet, once that is known.
    pub(super) next: Option<i64>,
}

impl Connection {
    pub(super) async fn open(
        gateway: &str,
        token: Option<&str>,
        from: From,
        epoch: Option<&str>,
    ) -> Result<Self, Ended> {
        let url = format!("{}/api/v1/stream", gateway.trim_end_matches('/'));
        let opened = tokio::time::timeout(OPEN_WITHIN, connect_async(url)).await;
        let (socket, _) = opened.map_err(|_| lost("no answer"))?.map_err(lost)?;
        let next = if let From::Offset(offset) = from { Some(offset) } else { None };
        let mut connection =
            Self { socket, heartbeat: Duration::from_secs(25), epoch: String::new(), recovered: true, next };
        let begin = match from {
            From::Snapshot => json!("snapshot"),
            From::Head => json!("head"),
            From::Offset(offset) => json!(offset),
        };
        let mut hello = json!({ "type": "hello", "from": begin });
        if let Some(token) = token {
            hello["token"] = token.into();
        }
        if let Some(epoch) = epoch {
            hello["epoch"] = epoch.into();
        }
        connection.say(&hello).await?;
        match connection.hear(OPEN_WITHIN).await? {
            FromServer::Welcome { head, epoch, recovered, heartbeat_ms } => {
                connection.epoch = epoch;
                connection.recovered = recovered;
                connection.heartbeat = heartbeat_ms.map_or(connection.heartbeat, Duration::from_millis);
                if from == From::Head {
                    connection.next = Some(head);
                }
                Ok(connection)
            }
            other => Err(Ended::Refused(format!("not a gateway: it began with {other:?}"))),
        }
    }

    /// The rows of the next frame; none for a frame without any.
    pub(super) async fn next_rows(&mut self) -> Result<Vec<Row>, Ended> {
        match self.hear(self.heartbeat * 2 + SLACK).await? {
            FromServer::Alert(row) => {
                self.next = Some(row.offset + 1);
                Ok(vec![*row])
            }
            FromServer::Snapshot { head, last, alerts } => {
                if last {
                    self.next = Some(head);
                }
                Ok(alerts)
            }
            FromServer::Welcome { recovered, .. } => {
                self.recovered = recovered;
                Ok(Vec::new())
            }
            FromServer::Ping {} => {
                self.say(&json!({ "type": "pong" })).await?;
                Ok(Vec::new())
            }
            FromServer::Other => Ok(Vec::new()),
        }
    }

    pub(super) async fn close(mut self) {
        // A farewell that does not arrive changes nothing.
        tokio::time::timeout(Duration::from_secs(1), self.socket.close(None)).await.ok();
    }

    async fn say(&mut self, message: &serde_json::Value) -> Result<(), Ended> {
        let sent = tokio::time::timeout(OPEN_WITHIN, self.socket.send(Message::text(message.to_string()))).await;
        sent.map_err(|_| lost("the gateway takes nothing"))?.map_err(lost)
    }

    async fn hear(&mut self, within: Duration) -> Result<FromServer, Ended> {
        loop {
            let message = tokio::time::timeout(within, self.socket.next()).await.map_err(|_| lost("silence"))?;
            match message.ok_or_else(|| lost("closed"))?.map_err(lost)? {
                Message::Text(text) => {
                    return serde_json::from_str(&text)
                        .map_err(|error| Ended::Refused(format!("a frame that can't be read: {error}")));
                }
                Message::Close(Some(frame)) if u16::from(frame.code) >= 4500 => {
                    return Err(Ended::Refused(format!("refused: {}", frame.reason)));
                }
                Message::Close(frame) => {
                    return Err(lost(frame.map_or_else(|| "closed".into(), |frame| frame.reason.to_string())));
                }
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

fn lost(detail: impl std::fmt::Display) -> Ended {
    Ended::Lost(detail.to_string())
}
