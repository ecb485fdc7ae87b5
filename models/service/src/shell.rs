//! [`run`]: everything that a `main` does around its component.

use std::{
    future::Future,
    io::{IsTerminal, Write},
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Serialize;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{
    Error, Grace, Readiness, Tally,
    admin::Admin,
    file::Presets,
    flags::{Flags, LogFormat, parse},
    heap,
};

/// How often the recorder is tended; as its own listener would do it.
const UPKEEP: Duration = Duration::from_secs(5);
/// How long an admin request may still take once everything else has ended.
const ADMIN_FAREWELL: Duration = Duration::from_millis(500);

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
    /// None for a tool.
    admin: Option<SocketAddr>,
    readiness: Readiness,
    metrics: PrometheusHandle,
}

#[derive(Serialize)]
struct Ready<'a> {
    event: &'static str,
    name: &'a str,
    admin: Option<SocketAddr>,
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
        self.readiness.start();
        let addresses = addresses.iter().map(|(name, address)| (*name, address.as_str())).collect();
        self.announce(&Ready { event: "ready", name: &self.name, admin: self.admin, addresses });
    }

    /// For a component that is not always able to do its work: says so on `/readyz`.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
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

/// What a command line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A role that runs until it is stopped: it has an admin listener.
    Role,
    /// A tool that does one thing and ends: it opens no port.
    Tool,
}

/// [`run_checked`] for a role that checks its flags itself.
pub fn run<A, F>(name: &str, body: impl FnOnce(A, Process) -> F) -> ExitCode
where
    A: clap::Parser,
    F: Future<Output = Result<Outcome, Error>>,
{
    run_checked(name, |_: &A, _| Ok(Kind::Role), body)
}

/// Parses the command line, checks it, runs the body, and turns how it ended into an exit code.
///
/// `check` says what the command line asks for, and refuses flags that can't be used: it runs before any port is
/// opened. The body's future is dropped if it has not ended within `--grace-ms` after the stop signal: exit code 70.
pub fn run_checked<A, F>(
    name: &str,
    check: impl FnOnce(&A, Grace) -> Result<Kind, Error>,
    body: impl FnOnce(A, Process) -> F,
) -> ExitCode
where
    A: clap::Parser,
    F: Future<Output = Result<Outcome, Error>>,
{
    run_with_presets(name, None, check, body)
}

/// [`run_checked`] for a program some of whose flags come in named sets.
pub fn run_with_presets<A, F>(
    name: &str,
    presets: impl Into<Option<Presets>>,
    check: impl FnOnce(&A, Grace) -> Result<Kind, Error>,
    body: impl FnOnce(A, Process) -> F,
) -> ExitCode
where
    A: clap::Parser,
    F: Future<Output = Result<Outcome, Error>>,
{
    heap::keep_freed();
    let (flags, args) = match parse::<A>(name, presets.into()) {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    let result = check(&args, Grace::new(&flags)).and_then(|kind| {
        start_logging(&flags)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from)?;
        let result = runtime.block_on(supervise(name, &flags, kind, |process| body(args, process)));
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

fn start_logging(flags: &Flags) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&flags.log)
        .map_err(|error| Error::Usage { flag: "log", detail: format!("{:?}: {error}", flags.log) })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // They would go to standard error too, with a panic where that takes nothing: a full disk under the log must not
        // end the process.
        .log_internal_errors(false);
    // On a terminal the default stays: colours, unless NO_COLOR is set.
    let log = if std::io::stderr().is_terminal() { log } else { log.with_ansi(false) };
    match flags.log_format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    }
    .map_err(|error| Error::Internal(anyhow::anyhow!("start the log: {error}")))
}

async fn supervise<F>(name: &str, flags: &Flags, kind: Kind, body: impl FnOnce(Process) -> F) -> Result<(), Error>
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
    let admin = match kind {
        Kind::Role => Some(Admin::bind(flags.admin_listen, flags.admin_token_file.as_deref(), metrics.clone()).await?),
        Kind::Tool => None,
    };
    let stop = CancellationToken::new();
    let process = Process {
        name: name.into(),
        stop: stop.clone(),
        admin: admin.as_ref().map(Admin::address).transpose()?,
        readiness: admin.as_ref().map(Admin::readiness).unwrap_or_default(),
        metrics: metrics.clone(),
    };
    let admin_stop = CancellationToken::new();
    let admin = admin.map(|admin| tokio::spawn(admin.serve(admin_stop.clone())));
    let upkeep = tokio::spawn(keep_metrics(metrics));
    let signals = tokio::spawn(watch_signals(stop.clone())?);

    let grace = Grace::new(flags).duration();
    let result = {
        // On the heap: a component's future may be large.
        let mut body = Box::pin(body(process.clone()));
        tokio::select! {
            result = &mut body => result,
            () = async {
                stop.cancelled().await;
                tokio::time::sleep(grace).await;
            } => Err(Error::Internal(anyhow::anyhow!("still busy {} ms after the stop signal", flags.grace_ms))),
        }
    };
    let result = result.and_then(|outcome| {
        let Outcome::Tally(tally) = outcome else { return Ok(()) };
        process.announce(&Ended { event: "tally", name, tally: &tally });
        if tally.balances() {
            Ok(())
        } else {
            Err(Error::Internal(anyhow::anyhow!("the tally does not balance: {tally:?}")))
        }
    });
    upkeep.abort();
    admin_stop.cancel();
    if let Some(admin) = admin {
        farewell(admin).await;
    }
    // Last: until here a second signal ends the process at once.
    signals.abort();
    result
}

/// Moves what histograms have taken into their buckets; between two scrapes nothing else does.
async fn keep_metrics(metrics: PrometheusHandle) {
    let mut tick = tokio::time::interval(UPKEEP);
    loop {
        tick.tick().await;
        metrics.run_upkeep();
    }
}

/// Waits for requests to the admin listener that are on their way, but not for a client that never ends its own.
async fn farewell(mut admin: JoinHandle<std::io::Result<()>>) {
    match tokio::time::timeout(ADMIN_FAREWELL, &mut admin).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(%error, "admin listener ended badly"),
        Ok(Err(error)) => tracing::warn!(%error, "admin listener ended badly"),
        Err(_) => admin.abort(),
    }
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
