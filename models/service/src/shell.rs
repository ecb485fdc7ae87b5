//! [`run`]: everything that a `main` does around its component.

use std::{
    future::Future,
    io::Write,
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::{Args, FromArgMatches, ValueEnum};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{Error, Tally, admin::Admin};

/// Flags that every executable has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Process")]
pub struct Flags {
    /// Address of /healthz, /readyz and /metrics; port 0 takes a free one.
    #[arg(long, env = "MOTORCADE_ADMIN_LISTEN", default_value = "127.0.0.1:0", global = true)]
    pub admin_listen: SocketAddr,
    /// File with the bearer token of /metrics; needed beyond loopback.
    #[arg(long, env = "MOTORCADE_ADMIN_TOKEN_FILE", global = true)]
    pub admin_token_file: Option<PathBuf>,
    /// What is logged to standard error, for example `info` or `edge=debug,warn`.
    #[arg(long, env = "MOTORCADE_LOG", default_value = "info", global = true)]
    pub log: String,
    /// Form of the log.
    #[arg(long, env = "MOTORCADE_LOG_FORMAT", default_value = "text", global = true)]
    pub log_format: LogFormat,
    /// How long a stop may take before the process gives up, ms.
    #[arg(long, env = "MOTORCADE_GRACE_MS", default_value_t = 10_000, global = true)]
    pub grace_ms: u64,
}

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How a component ended well.
#[derive(Debug)]
pub enum Outcome {
    /// With a count of what became of everything.
    Tally(Tally),
    /// A tool that has printed what it has to say.
    Done,
}

impl From<Tally> for Outcome {
    fn from(tally: Tally) -> Self {
        Self::Tally(tally)
    }
}

/// What the shell gives to the body of a `main`.
#[derive(Clone)]
pub struct Process {
    name: Arc<str>,
    stop: CancellationToken,
    admin: SocketAddr,
    ready: Arc<AtomicBool>,
    metrics: PrometheusHandle,
}

#[derive(Serialize)]
struct Ready<'a> {
    event: &'static str,
    name: &'a str,
    admin: SocketAddr,
    addresses: std::collections::BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct Ended<'a> {
    event: &'static str,
    name: &'a str,
    tally: &'a Tally,
}

impl Process {
    /// Fires on SIGINT or SIGTERM. A second signal ends the process at once.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Dependencies are reached and listeners bound: opens `/readyz` and prints the ready line.
    pub fn ready(&self, addresses: &[(&str, String)]) {
        self.ready.store(true, Ordering::Release);
        let addresses = addresses.iter().map(|(name, address)| (*name, address.as_str())).collect();
        self.announce(&Ready { event: "ready", name: &self.name, admin: self.admin, addresses });
    }

    /// Prints one line of JSON on standard output.
    pub fn announce(&self, event: &impl Serialize) {
        if let Ok(line) = serde_json::to_string(event) {
            // Whoever reads our output may have gone; the work goes on.
            writeln!(std::io::stdout().lock(), "{line}").ok();
        }
    }

    /// Renders the metrics in the Prometheus text format.
    pub fn render_metrics(&self) -> String {
        self.metrics.render()
    }
}

/// Parses the command line, runs the body, and turns how it ended into an exit code.
///
/// The body's future is dropped if it has not ended within `--grace-ms` after the stop signal: exit code 70.
pub fn run<A, F>(name: &str, body: impl FnOnce(A, Process) -> F) -> ExitCode
where
    A: clap::Parser,
    F: Future<Output = Result<Outcome, Error>>,
{
    let (flags, args) = match parse::<A>() {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    let result = start_logging(&flags).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from)?;
        let result = runtime.block_on(supervise(name, flags, args, body));
        // Threads of C libraries may linger; the process ends all the same.
        runtime.shutdown_timeout(Duration::from_millis(200));
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(std::io::stderr().lock(), "{name}: {error}").ok();
            ExitCode::from(error.exit_code())
        }
    }
}

fn parse<A: clap::Parser>() -> Result<(Flags, A), ExitCode> {
    let parsed = Flags::augment_args(A::command())
        .try_get_matches()
        .and_then(|matches| Ok((Flags::from_arg_matches(&matches)?, A::from_arg_matches(&matches)?)));
    parsed.map_err(|error| {
        error.print().ok();
        // clap's 2 means "usage"; sysexits calls it 64. Help and version are no errors.
        if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS }
    })
}

fn start_logging(flags: &Flags) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&flags.log)
        .map_err(|error| Error::Usage { flag: "log", detail: format!("{:?}: {error}", flags.log) })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match flags.log_format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    }
    .map_err(|error| Error::Internal(anyhow::anyhow!("start the log: {error}")))
}

async fn supervise<A, F>(name: &str, flags: Flags, args: A, body: impl FnOnce(A, Process) -> F) -> Result<(), Error>
where
    F: Future<Output = Result<Outcome, Error>>,
{
    let metrics = PrometheusBuilder::new()
        // Seconds from 1 ms to 60 s: what latencies of this system span.
        .set_buckets_for_metric(
            Matcher::Suffix("_seconds".into()),
            &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0],
        )
        .and_then(|builder| builder.install_recorder())
        .map_err(anyhow::Error::from)?;
    let admin = Admin::bind(flags.admin_listen, flags.admin_token_file.as_deref(), metrics.clone()).await?;
    let stop = CancellationToken::new();
    let process = Process {
        name: name.into(),
        stop: stop.clone(),
        admin: admin.address()?,
        ready: admin.ready(),
        metrics: metrics.clone(),
    };
    let admin_stop = CancellationToken::new();
    let admin = tokio::spawn(admin.serve(admin_stop.clone()));
    let signals = tokio::spawn(watch_signals(stop.clone())?);

    let result = {
        // On the heap: a component's future may be large.
        let mut body = Box::pin(body(args, process.clone()));
        tokio::select! {
            result = &mut body => result,
            () = async {
                stop.cancelled().await;
                tokio::time::sleep(Duration::from_millis(flags.grace_ms)).await;
            } => Err(Error::Internal(anyhow::anyhow!("still busy {} ms after the stop signal", flags.grace_ms))),
        }
    };
    if let Ok(Outcome::Tally(tally)) = &result {
        process.announce(&Ended { event: "tally", name, tally });
        if !tally.balances() {
            return Err(Error::Internal(anyhow::anyhow!("the tally does not balance: {tally:?}")));
        }
    }
    signals.abort();
    admin_stop.cancel();
    if let Ok(Err(error)) = admin.await {
        tracing::warn!(%error, "admin listener ended badly");
    }
    result.map(|_| ())
}

fn watch_signals(stop: CancellationToken) -> Result<impl Future<Output = ()>, Error> {
    let listen = |kind| signal(kind).map_err(anyhow::Error::from);
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        either(&mut interrupt, &mut terminate).await;
        tracing::info!("stopping; a second signal ends at once");
        stop.cancel();
        either(&mut interrupt, &mut terminate).await;
        #[expect(clippy::exit, reason = "the person asked twice")]
        std::process::exit(130);
    })
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
