//! The course of the demo.

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    Faults, Model, Settings,
    latency::Visibility,
    stages::{self, Counters},
    summary::{self, Evidence, Judged},
    timeline::Timeline,
    view::View,
};
use crate::{
    control,
    judge::Received,
    process::Program,
    report::Report,
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
const TECHNICIANS: [&str; 2] = ["kim", "alex"];
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
        wait_for_signal().await;
        on_signal.cancel();
        // A second one: whoever asks twice does not want to wait. Dropped processes are killed.
        wait_for_signal().await;
        #[expect(clippy::exit, reason = "the person asked twice")]
        std::process::exit(130);
    });
    let mut view = View::default();
    view.phase(&format!("starting mosquitto, Kafka and mongod in {}", settings.folder.display()));
    match std::fs::remove_dir_all(&settings.folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context(settings.folder.display().to_string());
        }
        _ => {}
    }
    let mut stack = Stack::start(&settings.folder).await?;
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
        (Some(report), Ok(_)) => Ok(Outcome::Judged(report)),
        (Some(_), Err(error)) => Err(error.context("stop the stack")),
        (None, _) => Ok(Outcome::Interrupted),
    }
}

async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).ok();
    let (Some(mut terminate), Some(mut hang_up)) = (listen(SignalKind::terminate()), listen(SignalKind::hangup())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
}

/// Wall time, ms since the epoch.
fn now_ms() -> i64 {
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
    let memory = stack.all().filter_map(|p| Some((p.name().to_owned(), p.peak_memory_bytes()?))).collect();
    let peak_rates = watching.peak_rates;
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
    if settings.keep && !stop.is_cancelled() {
        summary::print(view, &judged);
        let page = stack.running("gateway")?.address("http").context("the gateway's address")?;
        view.phase(&format!("the fleet drives on; the page stays open at http://{page}/ until Ctrl-C"));
        stack.launch(endless_fleet(settings)).await?;
        stop.cancelled().await;
    }
    // What ends by itself shows its tally: stop the roles now, so that G4 can be judged.
    stack.stop_programs().await?;
    summary::judge_conservation(&mut judged, &stack.ended, &TECHNICIANS);
    judged.report.duration_s = begun.elapsed().as_secs_f64();
    let path = judged.report.write()?;
    summary::print(view, &judged);
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
    stack.set(Role::Trainer, ["--history-ms".to_owned(), timeline.history_ms.to_string()]);
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

/// The live part: counters between two looks, alerts as they come.
struct Watching {
    timeline: Timeline,
    started: i64,
    client: reqwest::Client,
    before: (Instant, Counters, Value),
    shown: usize,
    model: Option<String>,
    peak_rates: std::collections::BTreeMap<String, f64>,
}

impl Watching {
    fn new(timeline: Timeline, started: i64) -> Self {
        Self {
            timeline,
            started,
            client: reqwest::Client::new(),
            before: (Instant::now(), Counters::new(), Value::Null),
            shown: 0,
            model: None,
            peak_rates: std::collections::BTreeMap::new(),
        }
    }

    /// Whether as much history as the trainer waits for has passed.
    fn history_is_there(&self) -> bool {
        self.timeline.simulated(self.started, now_ms()) - self.timeline.start > self.timeline.history_ms
    }

    async fn look(&mut self, stack: &mut Stack, view: &mut View) {
        let counters = stages::read(stack, &self.client).await;
        let progress =
            stack.running("simulator").ok().and_then(|p| p.last("progress")).unwrap_or(self.before.2.clone());
        let seconds = self.before.0.elapsed().as_secs_f64().max(0.001);
        let rows = stages::rows(&self.before.1, &counters, (&self.before.2, &progress), seconds);
        for row in rows.iter().filter(|_| self.before.1.contains_key("edge")) {
            let peak = self.peak_rates.entry(format!("{}_{}", row.stage, row.unit.replace(' ', "_"))).or_default();
            *peak = peak.max(row.rate);
        }
        self.before = (Instant::now(), counters, progress);
        self.show_news(stack, view);
        let simulated = (self.timeline.simulated(self.started, now_ms()) - self.timeline.start) / 1000;
        let total = self.timeline.duration_ms / 1000;
        let clock = format!(
            "simulated {}:{:02} of {}:{:02} h   connected {}",
            simulated / 3600,
            simulated / 60 % 60,
            total / 3600,
            total / 60 % 60,
            self.before.2["connected"]
        );
        view.table(&clock, &rows);
    }

    /// A model that was published, and alerts that the first technician was shown.
    fn show_news(&mut self, stack: &mut Stack, view: &mut View) {
        if let Ok(trainer) = stack.running("trainer") {
            let version = trainer.last("published").and_then(|line| line["version"].as_str().map(str::to_owned));
            if version.is_some() && version != self.model {
                view.phase(&format!("a model was published: {}", version.as_deref().unwrap_or_default()));
                self.model = version;
            }
        }
        let Ok(technician) = stack.running(TECHNICIANS[0]) else { return };
        let events = technician.events();
        for line in events.iter().skip(self.shown) {
            let event = &line["event"];
            if let (Some(id), Some(state)) = (event["id"].as_str(), event["state"].as_str()) {
                let blamed = event["contributions"][0]["signal"].as_str().unwrap_or("");
                let score = event["score"].as_f64().unwrap_or_default();
                view.alert(&format!("  {state:<12} {id}  score {score:.1}  {blamed}"), state == "firing");
            }
        }
        self.shown = events.len();
    }
}
