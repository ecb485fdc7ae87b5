//! One process of ours: started from the shipped executable, followed by its lines of JSON, stopped or killed.

use std::{
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use service::Tally;
use services::Watcher;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::poll;

/// What to start.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// Its name in messages, logs and reports.
    pub name: String,
    /// The executable's name.
    pub executable: String,
    /// Arguments.
    pub arguments: Vec<OsString>,
    /// Environment variables.
    pub environment: Vec<(String, OsString)>,
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    /// What was started.
    pub program: Program,
    child: Child,
    _watched: Watched,
    log: PathBuf,
    events: Arc<Mutex<Vec<Value>>>,
}

/// Ends the process should its owner be killed, as long as this lives.
#[derive(Debug)]
struct Watched {
    watcher: Arc<Watcher>,
    group: i32,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watcher.remove(self.group);
    }
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; none after a signal.
    pub code: Option<i32>,
    /// The tally line, if it printed one.
    pub tally: Option<Tally>,
}

/// The folder of the executables: where cargo puts those of the profile that this code was built with.
pub fn executables() -> Result<PathBuf> {
    let mut folder = std::env::current_exe().context("find the running executable")?;
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    Ok(folder)
}

/// Builds the executables, once per test run, so that `cargo test` alone tests what the source says.
pub fn build_executables() -> Result<()> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    let build = || {
        let folder = executables().map_err(|error| error.to_string())?;
        let release = folder.ends_with("release").then_some("--release");
        let built = std::process::Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--workspace", "--bins"])
            .args(release)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .output()
            .map_err(|error| error.to_string())?;
        if built.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&built.stderr).into_owned()) }
    };
    BUILT.get_or_init(build).clone().map_err(|error| anyhow::anyhow!("build the executables: {error}"))
}

impl Program {
    /// An executable with arguments.
    pub fn new<A: Into<OsString>>(name: &str, executable: &str, arguments: impl IntoIterator<Item = A>) -> Self {
        Self {
            name: name.into(),
            executable: executable.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn with<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Starts it; its log goes to `<folder>/<name>.log`. The watcher ends it should its owner be killed.
    pub fn start(self, folder: &Path, watcher: Arc<Watcher>) -> Result<Running> {
        let log = folder.join(format!("{}.log", self.name));
        let stderr = File::options().create(true).append(true).open(&log).with_context(|| log.display().to_string())?;
        let path = executables()?.join(&self.executable);
        let mut child = Command::new(&path)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            // A group of its own: Ctrl-C in the terminal reaches the demo first, which stops its parts in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", path.display()))?;
        let group = i32::try_from(child.id().context("it has just been started")?)?;
        watcher.add(group);
        let events: Arc<Mutex<Vec<Value>>> = Arc::default();
        let stdout = child.stdout.take().context("standard output is piped")?;
        let sink = Arc::clone(&events);
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(event) = serde_json::from_str(&line) {
                    sink.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                }
            }
        });
        Ok(Running { program: self, child, _watched: Watched { watcher, group }, log, events })
    }
}

impl Running {
    /// The name that it was started under.
    pub fn name(&self) -> &str {
        &self.program.name
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// All lines of JSON so far.
    pub fn events(&self) -> Vec<Value> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last line whose `event` is this.
    pub fn last(&self, event: &str) -> Option<Value> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().rev().find(|line| line["event"] == event).cloned()
    }

    /// Waits for the ready line; fails at once if the process ends before.
    pub async fn ready(&mut self, within: Duration) -> Result<Value> {
        let what = format!("{} is ready (log: {})", self.name(), self.log.display());
        let start = std::time::Instant::now();
        loop {
            if let Some(ready) = self.last("ready") {
                return Ok(ready);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{}: ended with {status} before it was ready\n{}", self.name(), self.log_tail());
            }
            ensure!(start.elapsed() < within, "{what}: not within {} s\n{}", within.as_secs(), self.log_tail());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Address of its admin listener, once it is ready.
    pub fn admin(&self) -> Option<String> {
        self.last("ready")?["admin"].as_str().map(Into::into)
    }

    /// One of the addresses in its ready line.
    pub fn address(&self, name: &str) -> Option<String> {
        self.last("ready")?["addresses"][name].as_str().map(Into::into)
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(mut self) -> Result<Program> {
        ensure!(self.is_running(), "{} had ended before it was killed\n{}", self.name(), self.log_tail());
        self.child.kill().await?;
        Ok(self.program)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().with_context(|| format!("{} has ended", self.name()))?;
        kill(Pid::from_raw(i32::try_from(pid)?), signal).with_context(|| format!("signal {}", self.name()))
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(self, within: Duration) -> Result<Ended> {
        self.signal(Signal::SIGTERM)?;
        self.ended(within).await
    }

    /// Waits until it ends by itself.
    pub async fn ended(mut self, within: Duration) -> Result<Ended> {
        let status = tokio::time::timeout(within, self.child.wait())
            .await
            .with_context(|| format!("{} ends within {} s\n{}", self.name(), within.as_secs(), self.log_tail()))??;
        // The reader may still be at the last line.
        let tally = poll::until("the last line", Duration::from_secs(1), async || Ok(self.last("tally"))).await.ok();
        let tally = tally.and_then(|line| serde_json::from_value(line["tally"].clone()).ok());
        Ok(Ended { code: status.code(), tally })
    }

    /// The end of its log, for messages.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Resident memory's peak so far, bytes (`VmHWM` of the kernel).
    pub fn peak_memory_bytes(&self) -> Option<u64> {
        peak_memory_bytes(self.pid()?)
    }
}

/// Peak of a process's resident memory, bytes.
pub fn peak_memory_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Runs a tool to its end and gives back exit code and both outputs.
pub async fn run(program: &Program) -> Result<(Option<i32>, String, String)> {
    let output = Command::new(executables()?.join(&program.executable))
        .args(&program.arguments)
        .envs(program.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("run {}", program.executable))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}
