//! The edge as a process, told by flags.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{sys::signal, unistd::Pid};
use services::{Pair, Tls};

/// Far above what any step takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is there.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A command line: flags by name, none twice.
#[derive(Debug, Clone)]
pub(crate) struct Flags(BTreeMap<&'static str, Option<String>>);

impl Flags {
    /// TLS on both sides, with this certificate.
    pub(crate) fn new(tls: &Tls, authority: &Path, own: &Pair) -> Self {
        let path = |path: &Path| path.display().to_string();
        Self::none()
            .with("mqtt", tls.mqtt_edge.to_string())
            .on("mqtt-tls")
            .with("mqtt-ca", path(authority))
            .with("mqtt-cert", path(&own.certificate))
            .with("mqtt-key", path(&own.key))
            .with("kafka", &tls.kafka)
            .on("kafka-tls")
            .with("kafka-ca", path(authority))
            .with("kafka-cert", path(&own.certificate))
            .with("kafka-key", path(&own.key))
            .with("ack-records", "20")
            .with("ack-min-records", "1")
            .with("ack-min-ms", "100")
            .with("ack-max-ms", "500")
    }

    /// Every flag has its default.
    pub(crate) fn none() -> Self {
        Self(BTreeMap::new())
    }

    pub(crate) fn with(mut self, flag: &'static str, value: impl Into<String>) -> Self {
        self.0.insert(flag, Some(value.into()));
        self
    }

    pub(crate) fn on(mut self, flag: &'static str) -> Self {
        self.0.insert(flag, None);
        self
    }

    pub(crate) fn without(mut self, flags: &[&'static str]) -> Self {
        flags.iter().for_each(|flag| drop(self.0.remove(flag)));
        self
    }
}

/// A running edge. Dropping it kills it.
pub(crate) struct Edge {
    process: Child,
    out: PathBuf,
    log: PathBuf,
}

impl Edge {
    /// Starts one; `name` tells its files from others'.
    pub(crate) fn start(folder: &Path, name: &str, flags: &Flags) -> Self {
        let (out, log) = (folder.join(format!("{name}.out")), folder.join(format!("{name}.log")));
        let mut command = Command::new("/bin/sh");
        // A write above a limit of the process is an error then, and no signal.
        command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_motorcade-edge")]);
        for (flag, value) in &flags.0 {
            command.arg(format!("--{flag}")).args(value);
        }
        let process = command
            .args(["--log", "debug"])
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { process, out, log }
    }

    /// Waits until it bridges.
    pub(crate) fn ready(mut self) -> Self {
        until("the edge is ready", || {
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("the edge ended ({status}): {}", self.log());
            }
            self.out().contains(r#""event":"ready""#).then_some(())
        });
        self
    }

    /// Standard output so far: its ready line, and its tally.
    pub(crate) fn out(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap()
    }

    /// The log so far, of every level down to debug.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Asks its admin listener: status and body.
    pub(crate) fn ask(&self, path: &str) -> (u16, String) {
        let out = self.out();
        let ready = out.lines().next().unwrap();
        let ready: serde_json::Value = serde_json::from_str(ready).unwrap();
        let stream = TcpStream::connect(ready["admin"].as_str().unwrap());
        let mut stream = stream.unwrap_or_else(|error| panic!("{error}: {}", self.log()));
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// A metric without labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let metrics = self.ask("/metrics").1;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
    }

    /// From now on the disk takes nothing from it.
    pub(crate) fn disk_takes_nothing(&self) {
        let limited = Command::new("prlimit").args(["--pid", &self.process.id().to_string(), "--fsize=0"]).status();
        assert!(limited.unwrap().success());
    }

    /// Waits for its end: exit code and log.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.process.try_wait().unwrap() {
                Some(status) => return (status.code(), self.log()),
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                None => panic!("{} does not end: {}", self.log.display(), self.log()),
            }
        }
    }

    /// SIGKILL, in the middle of whatever it does.
    pub(crate) fn kill(mut self) {
        assert!(self.process.try_wait().unwrap().is_none(), "it had ended before: {}", self.log());
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// SIGTERM; what it then prints and logs.
    pub(crate) fn stop(mut self) -> (String, String) {
        let id = i32::try_from(self.process.id()).unwrap();
        signal::kill(Pid::from_raw(id), signal::Signal::SIGTERM).unwrap();
        let status = until("the edge ends", || self.process.try_wait().unwrap());
        assert!(status.success(), "{status}: {}", self.log());
        (self.out(), self.log())
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
