//! The demo as a newcomer starts it: with nothing broken, with a model that has learnt nothing, interrupted, killed.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tests::{
    poll,
    process::{Program, build_executables, executables, run},
    scenario::{room, whole_room},
};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Services, up to 200 s of driving, catching up and judging take a good four minutes.
const AT_MOST: Duration = Duration::from_secs(400);
/// Services and roles start.
const STARTED_WITHIN: Duration = Duration::from_secs(90);
/// Everything stops.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);

fn target() -> PathBuf {
    executables().unwrap().parent().unwrap().to_owned()
}

/// Runs it to its end; fails unless every verdict holds. The verdict on alarms.
async fn alarms(name: &'static str, flags: &[&str]) -> Value {
    build_executables().unwrap();
    let _room = whole_room().await;
    let folder = target().join("e2e").join(name);
    let program = Program::new(name, "demo", ["--folder", folder.to_str().unwrap(), "--report", name]);
    let ended = tokio::time::timeout(AT_MOST, run(&program.with(flags))).await;
    let (code, out, err) = ended.expect("the demo ends in time").unwrap();
    assert_eq!(code, Some(0), "{out}{err}");
    let report = std::fs::read(target().join("reports").join(format!("{name}.json"))).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let alarms = report["verdicts"]["alarms"].clone();
    assert!(report["figures"]["healthy_driving_hours"].as_f64().unwrap() > 50.0, "{alarms:#}\n{out}");
    for process in ["simulator", "edge", "twin", "scorer", "alerter", "gateway", "kafka", "mongod", "mosquitto"] {
        assert!(report["figures"][format!("{process}_peak_memory_bytes")].as_f64().unwrap() > 1e6, "{process}: {out}");
    }
    alarms
}

#[tokio::test(flavor = "multi_thread")]
async fn without_faults_the_demo_keeps_its_alarm_budget() {
    let alarms = alarms("demo-no-faults", &["--faults", "none"]).await;
    assert_eq!((alarms["faults"].as_u64(), alarms["ok"].as_bool()), (Some(0), Some(true)), "{alarms:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_faults_the_trained_model_finds_them_within_its_budget() {
    let alarms = alarms("demo-faults", &[]).await;
    assert_eq!((alarms["faults"].as_u64(), alarms["ok"].as_bool()), (Some(20), Some(true)), "{alarms:#}");
    assert!(alarms["detected"].as_u64().unwrap() >= 10, "{alarms:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_shuffled_weights_the_detection_vanishes() {
    // Of simulated time as much as by default. The control's training shares its cores with a process that starts for it.
    let flags = ["--model", "shuffled", "--seconds", "200", "--speed", "30"];
    let alarms = alarms("demo-shuffled", &flags).await;
    assert_eq!((alarms["faults"].as_u64(), alarms["ok"].as_bool()), (Some(20), Some(true)), "{alarms:#}");
    assert!(alarms["detected"].as_u64().unwrap() <= 5, "{alarms:#}");
}

/// Processes that were started below this folder: its path stands in their arguments or their environment.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let text = |path: PathBuf| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).replace('\0', " ");
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let named = entries.filter(|path| path.join("cmdline").exists());
    let found = named.filter(|p| text(p.join("environ")).contains(folder) || text(p.join("cmdline")).contains(folder));
    found.map(|path| text(path.join("cmdline"))).collect()
}

/// Starts the demo, waits until the fleet drives, sends the signal; its exit code, once nothing of it is left.
async fn after(name: &'static str, signal: Signal) -> Option<i32> {
    build_executables().unwrap();
    let _room = room().await;
    let folder = target().join("e2e").join(name);
    let mut demo = tokio::process::Command::new(executables().unwrap().join("demo"))
        .args(["--folder", folder.to_str().unwrap(), "--report", name, "--vehicles", "40"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let driving = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("vehicles drive") {
                return;
            }
        }
        panic!("the demo ended before the fleet drove");
    };
    tokio::time::timeout(STARTED_WITHIN, driving).await.expect("the fleet drives in time");
    // Three services, edge, five roles, the simulator, two technicians, and the demo itself.
    let running = processes_of(&folder);
    assert!(running.len() >= 12, "the look at processes does not see them: {running:#?}");
    kill(Pid::from_raw(i32::try_from(demo.id().unwrap()).unwrap()), signal).unwrap();
    let ended = tokio::time::timeout(STOPPED_WITHIN, demo.wait()).await.expect("the demo ends in time").unwrap();
    let gone =
        poll::until("nothing is left", STOPPED_WITHIN, async || Ok(processes_of(&folder).is_empty().then_some(())));
    gone.await.unwrap_or_else(|error| panic!("{error:#}: {:#?}", processes_of(&folder)));
    ended.code()
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_stops_everything() {
    assert_eq!(after("demo-interrupted", Signal::SIGINT).await, Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_demo_leaves_no_process() {
    assert_eq!(after("demo-killed", Signal::SIGKILL).await, None);
}
