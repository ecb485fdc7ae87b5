//! `motorcade alerts watch`: alerts on a terminal, or as JSON lines. A client of the gateway like the page: it
//! resumes by offset and shows each (id, revision) once.

mod connection;
mod line;
mod seen;

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    str::FromStr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::{Args, ValueEnum};
use service::{Backoff, Error};
use telemetry::event::{AlertId, AlertState};
use tokio_util::sync::CancellationToken;

use self::{
    connection::{Connection, Ended, Row},
    seen::Seen,
};

/// Flags of `motorcade alerts watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The gateway.
    #[arg(long, env = "MOTORCADE_GATEWAY", value_name = "URL", default_value = "ws://127.0.0.1:8080")]
    gateway: String,
    /// File with the bearer token.
    #[arg(long, env = "MOTORCADE_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Where to begin: `snapshot` (what is open), `head` (only what is new) or an offset of `alerts`.
    #[arg(long, value_name = "WHERE", default_value = "snapshot")]
    from: From,
    /// One JSON object a line: offset, event, `received_at` (ms since the epoch).
    #[arg(long)]
    json: bool,
    /// Colours; `auto` means on a terminal, unless NO_COLOR is set.
    #[arg(long, value_enum, default_value = "auto")]
    color: Color,
    /// Ends after so many lines.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Ends when this alert is resolved.
    #[arg(long, value_name = "ALERT")]
    until_resolved: Option<AlertId>,
    /// How long the gateway may take to answer at first, ms; later it is tried for ever.
    #[arg(long, env = "MOTORCADE_CONNECT_TIMEOUT_MS", value_name = "MS", default_value_t = 10_000)]
    connect_timeout_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Snapshot,
    Head,
    Offset(i64),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "snapshot" => Ok(Self::Snapshot),
            "head" => Ok(Self::Head),
            _ => text
                .parse()
                .ok()
                .filter(|offset| *offset >= 0)
                .map(Self::Offset)
                .ok_or_else(|| "snapshot, head or an offset".to_owned()),
        }
    }
}

/// Prints alerts until the stop, the count or the end that was asked for.
///
/// # Errors
/// [`Error::Unavailable`] if the gateway can't be reached at first or refuses the token.
pub async fn run_watch(args: WatchArgs, stop: CancellationToken) -> Result<(), Error> {
    let token = read_token(&args)?;
    let colours = match args.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    };
    let mut watch = Watch { args, colours, seen: Seen::default(), shown: 0, repeats: 0, reconnects: 0 };
    let ended = watch.follow(token.as_deref(), &stop).await;
    if !watch.args.json && ended.is_ok() {
        let Watch { shown, repeats, reconnects, .. } = watch;
        // Whoever reads may have gone.
        writeln!(std::io::stderr(), "{shown} shown, {repeats} repeats dropped, {reconnects} reconnects").ok();
    }
    ended
}

fn read_token(args: &WatchArgs) -> Result<Option<String>, Error> {
    if !["ws://", "wss://"].iter().any(|scheme| args.gateway.starts_with(scheme)) {
        let detail = format!("{:?} is not ws://HOST:PORT or wss://HOST", args.gateway);
        return Err(Error::Usage { flag: "gateway", detail });
    }
    let Some(file) = &args.token_file else { return Ok(None) };
    let text = std::fs::read_to_string(file)
        .map_err(|error| Error::Usage { flag: "token-file", detail: format!("{}: {error}", file.display()) })?;
    Ok(Some(text.trim().to_owned()))
}

struct Watch {
    args: WatchArgs,
    colours: bool,
    seen: Seen,
    shown: u64,
    repeats: u64,
    reconnects: u64,
}

impl Watch {
    async fn follow(&mut self, token: Option<&str>, stop: &CancellationToken) -> Result<(), Error> {
        let deadline = Instant::now() + Duration::from_millis(self.args.connect_timeout_ms);
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
        let mut from = self.args.from;
        let mut epoch: Option<String> = None;
        let mut ever = false;
        loop {
            let attempt = Connection::open(&self.args.gateway, token, from, epoch.as_deref());
            let opened = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                opened = attempt => opened,
            };
            let ended = match opened {
                Ok(mut connection) => {
                    backoff.reset();
                    self.reconnects += u64::from(ever);
                    ever = true;
                    if !connection.recovered {
                        tracing::warn!("some events are no longer in the log; what is open is shown instead");
                    }
                    epoch = Some(connection.epoch.clone());
                    let read = self.read(&mut connection, stop).await;
                    // What the server has told is not asked for again.
                    from = connection.next.map_or(from, From::Offset);
                    match read {
                        Ok(()) => {
                            connection.close().await;
                            return Ok(());
                        }
                        Err(ended) => ended,
                    }
                }
                Err(ended) => ended,
            };
            match ended {
                Ended::Refused(detail) => return Err(self.unavailable(detail)),
                Ended::Lost(detail) if !ever && Instant::now() >= deadline => return Err(self.unavailable(detail)),
                // Until the first connection, the error that ends the start says it all.
                Ended::Lost(detail) if !ever => tracing::debug!(detail, "no connection yet"),
                Ended::Lost(detail) => tracing::info!(detail, "connection lost; trying again"),
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(backoff.next()) => {}
            }
        }
    }

    fn unavailable(&self, detail: String) -> Error {
        Error::Unavailable { flag: "gateway", address: self.args.gateway.clone(), detail }
    }

    /// Shows what comes; well ended only by the stop or by what the flags ask for.
    async fn read(&mut self, connection: &mut Connection, stop: &CancellationToken) -> Result<(), Ended> {
        loop {
            let rows = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                rows = connection.next_rows() => rows?,
            };
            for row in rows {
                if !self.seen.is_news(&row.event) {
                    self.repeats += 1;
                    continue;
                }
                if self.print(&row).is_err() {
                    // The reader of our output has gone: nobody watches any more.
                    return Ok(());
                }
                self.shown += 1;
                let over = self.args.until_resolved.as_ref().is_some_and(|id| *id == row.event.id)
                    && row.event.state == AlertState::Resolved;
                if over || self.args.count.is_some_and(|count| self.shown >= count) {
                    return Ok(());
                }
            }
        }
    }

    fn print(&self, row: &Row) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.args.json {
            let line = serde_json::json!({ "received_at": now(), "offset": row.offset, "event": row.event });
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{}", line::render(&row.event, self.colours))?;
        }
        out.flush()
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_begin_is_a_word_or_an_offset() {
        assert_eq!("snapshot".parse(), Ok(From::Snapshot));
        assert_eq!("head".parse(), Ok(From::Head));
        assert_eq!("17".parse(), Ok(From::Offset(17)));
        for bad in ["", "tail", "-1"] {
            assert!(bad.parse::<From>().is_err(), "{bad}");
        }
    }
}
