//! The course of the demo.

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{
    Faults, Model, Settings,
    latency::Visibility,
    printed, stages,
    summary::{self, ALARM_BUDGET_PER_1000_HOURS, Evidence, Judged},
    timeline::Timeline,
    view::View,
    watching::Watching,
};
use crate::{
    control,
    judge::Received,
    process::Program,
    report::{self, Report},
    stack::{Role, Stack},
};

/// How the demo ended.
#[derive(Debug)]
pub enum Outcome {
    /// It ran to its end.
    Judged(Box<Report>),
    /// Ctrl-C before the end: nothing is judged.
    Interrupted,
}

/// The technicians who watch: what one sees, all must see.
pub(super) const TECHNICIANS: [&str; 2] = ["kim", "alex"];
/// After the last reading everything must have caught up within this time (G6).
const CATCH_UP: Duration = Duration::from_secs(60);
/// The simulator connects this many vehicles per second.
const CONNECT_RATE: u32 = 200;

/// Runs the demo. Everything that it started has ended when it returns.
pub async fn run(settings: Settings) -> Result<Outcome> {
    let begun = Instant::now();
    let stop = CancellationToken::new();
    let on_signal = stop.clone();
    let signals = tokio::spawn(async move {
        tokio::select! {
            () = asked() => {}
            () = hung_up() => {}
        }
        on_signal.cancel();
        // A second one: whoever asks twice does not want to wait; a terminal that closes has not asked. Nothing is
        // dropped any more: the watcher kills.
        asked().await;
        #[expect(clippy::exit, reason = "the person asked twice")]
        std::process::exit(130);
    });
    let mut view = View::default();
    view.phase(&format!("starting mosquitto, Kafka and mongod in {}", settings.folder.display()));
    let mut stack = tokio::select! {
        stack = Stack::start_anew(&settings.folder) => stack?,
        // Half started: dropped services are killed.
        () = stop.cancelled() => return Ok(Outcome::Interrupted),
    };
    let driven = tokio::select! {
        driven = Box::pin(course(&settings, &mut stack, &mut view)) => driven.map(Some),
        () = stop.cancelled() => Ok(None),
    };
    let result = match driven {
        Ok(Some(judged)) => conclude(&settings, &mut stack, &mut view, &stop, begun, judged).await.map(Some),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    };
    view.phase("stopping");
    let stopped = stack.shut_down().await;
    signals.abort();
    match (result?, stopped) {
        (Some(report), Ok(_)) => {
            if report.is_ok() {
                services::remove_stored_in(&settings.folder.join("services"))?;
            }
            Ok(Outcome::Judged(report))
        }
        (Some(_), Err(error)) => Err(error.context("stop the stack")),
        (None, _) => Ok(Outcome::Interrupted),
    }
}

/// Waits until somebody asks for the end.
async fn asked() {
    tokio::select! {
        () = signalled(SignalKind::interrupt()) => {}
        () = signalled(SignalKind::terminate()) => {}
    }
}

/// Waits until the terminal is gone.
async fn hung_up() {
    signalled(SignalKind::hangup()).await;
}

async fn signalled(kind: SignalKind) {
    let Ok(mut signals) = signal(kind) else { return std::future::pending().await };
    signals.recv().await;
}

/// Wall time, ms since the epoch.
pub(super) fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| i64::try_from(t.as_millis()).unwrap_or(0))
}

/// From the first process to everything that can be judged while they run.
async fn course(settings: &Settings, stack: &mut Stack, view: &mut View) -> Result<Judged> {
    let drive = Duration::from_secs(settings.seconds);
    set_roles(settings, stack);
    for role in Role::ALL {
        // Negative controls publish their own model.
        if role != Role::Trainer || settings.model == Model::Trained {
            stack.role(role).await?;
        }
    }
    let page = stack.running("gateway")?.address("http").context("the gateway's address")?;
    for name in TECHNICIANS {
        watch(stack, name, &page)?;
    }
    view.phase(&format!("the page: http://{page}/"));

    let started = now_ms();
    let timeline = Timeline::new(started, drive, settings.speed);
    let visibility = Visibility::watch(stack.mongo()).await?;
    stack.launch(fleet(settings, &timeline, stack.folder())).await?;
    view.phase(&format!(
        "{} vehicles drive; {} simulated minutes pass in {} s, and end now",
        settings.vehicles,
        timeline.duration_ms / 60_000,
        settings.seconds
    ));

    let mut watching = Watching::new(timeline, started);
    let mut control = None;
    while stack.running("simulator")?.is_running() && stack.running("simulator")?.last("tally").is_none() {
        watching.look(stack, view).await;
        if settings.model == Model::Shuffled && control.is_none() && watching.history_is_there() {
            view.phase("negative control: training, shuffling every weight, calibrating anew, publishing");
            control = Some(control::publish_shuffled(stack.kafka(), settings.seed).await?);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let fleet = stack.wait_for_end("simulator", Duration::from_secs(10)).await?;
    anyhow::ensure!(fleet.code == Some(0), "the simulator ended with {:?}", fleet.code);

    view.phase("the fleet has parked; waiting until everything has caught up");
    let caught_up = Instant::now();
    stages::catch_up(stack, CATCH_UP).await?;
    let catch_up = caught_up.elapsed();
    watching.look(stack, view).await;

    view.phase("the judge reads Kafka, MongoDB, the ledger and what the technicians were shown");
    let received = TECHNICIANS
        .iter()
        .map(|name| Ok(Received::from_lines(name, &stack.running(name)?.events())))
        .collect::<Result<Vec<_>>>()?;
    let visible = visibility.finish().await?;
    let Watching { peak_rates, memory, .. } = watching;
    summary::judge(stack, settings, Evidence { received, visible, memory, catch_up, timeline, peak_rates }).await
}

/// The end: what is left open stays open until Ctrl-C, then the roles stop and tell their tallies.
async fn conclude(
    settings: &Settings,
    stack: &mut Stack,
    view: &mut View,
    stop: &CancellationToken,
    begun: Instant,
    mut judged: Judged,
) -> Result<Box<Report>> {
    let mut kept = Duration::ZERO;
    if settings.keep && !stop.is_cancelled() {
        printed::print(view, &judged);
        let page = stack.running("gateway")?.address("http").context("the gateway's address")?;
        view.phase(&format!("the fleet drives on, the page is open: http://{page}/ (Ctrl-C ends it)"));
        let since = Instant::now();
        stack.launch(endless_fleet(settings)).await?;
        stop.cancelled().await;
        kept = since.elapsed();
    }
    // What ends by itself shows its tally: stop the roles now, so that G4 can be judged.
    stack.stop_programs().await?;
    summary::judge_conservation(&mut judged, &stack.ended, &TECHNICIANS);
    judged.report.duration_s = (begun.elapsed() - kept).as_secs_f64();
    let path = report::write(&judged.report)?;
    match judged.report.verdicts.get("G4") {
        // The rest has been printed.
        Some(verdict) if !kept.is_zero() => printed::print_verdict(view, "G4", verdict),
        _ => printed::print(view, &judged),
    }
    view.say(&format!("  report: {}", path.display()));
    Ok(Box::new(judged.report))
}

fn set_roles(settings: &Settings, stack: &mut Stack) {
    let timeline = Timeline::new(0, Duration::from_secs(settings.seconds), settings.speed);
    // Lateness is a time on the vehicles' clocks: it runs as fast as they do.
    let lateness = 60_000.max(2_000 * i64::from(settings.speed));
    // Acks by time are wall time: a vehicle that sends sixty times as fast fills its window sixty times as fast.
    stack.set(Role::Edge, ["--ack-min-ms", "1000", "--ack-max-ms", "5000"]);
    stack.set(Role::Scorer, ["--lateness-ms".to_owned(), lateness.to_string()]);
    // The fleet does not wait for the model: a small history is soon learnt.
    let (history, budget) = (timeline.history_ms.to_string(), ALARM_BUDGET_PER_1000_HOURS.to_string());
    let flags = ["--history-ms", &history, "--steps", "1500", "--alarm-budget", &budget];
    stack.set(Role::Trainer, flags);
    stack.set(Role::Gateway, ["--listen".to_owned(), settings.listen.clone()]);
}

fn fleet(settings: &Settings, timeline: &Timeline, folder: &Path) -> Program {
    let faults = match settings.faults {
        Faults::Demo => "demo",
        Faults::None => "none",
    };
    let flags = [
        ("--vehicles", settings.vehicles.to_string()),
        ("--seed", settings.seed.to_string()),
        ("--speed", settings.speed.to_string()),
        ("--start", timeline.start.to_string()),
        ("--duration-ms", timeline.duration_ms.to_string()),
        ("--interval-ms", settings.interval_ms.to_string()),
        ("--connect-rate", CONNECT_RATE.to_string()),
        ("--changes", "4".into()),
        ("--faults", faults.into()),
        ("--faults-from-ms", timeline.faults_from_ms.to_string()),
        ("--faults-for-ms", timeline.faults_for_ms.to_string()),
        ("--ledger", folder.join("ledger").display().to_string()),
        ("--truth", folder.join("truth.jsonl").display().to_string()),
        ("--progress", "json".into()),
    ];
    Program::new(
        "simulator",
        "motorcade-simulator",
        flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]),
    )
}

/// After the judgement: the same fleet goes on in real time, in a new boot, without a ledger.
fn endless_fleet(settings: &Settings) -> Program {
    let flags = [
        ("--vehicles", settings.vehicles.to_string()),
        ("--seed", settings.seed.to_string()),
        ("--speed", "1".into()),
        ("--start", now_ms().to_string()),
        ("--duration-ms", "0".into()),
        ("--interval-ms", settings.interval_ms.to_string()),
        ("--faults", "none".into()),
    ];
    Program::new("fleet", "motorcade-simulator", flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]))
}

fn watch(stack: &mut Stack, name: &str, page: &str) -> Result<()> {
    let program = Program::new(
        name,
        "motorcade",
        ["alerts", "watch", "--gateway", &format!("ws://{page}"), "--from", "0", "--json"],
    );
    stack.spawn(program).map(|_| ())
}
