//! One running service: spawned into its own process group, recorded, waited for, ended.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::Kind;
use crate::error::{Doing, Error};
use crate::record::Record;
use crate::watcher::Watcher;

/// Raises the limit of open files to what this user may have, then becomes the service: thousands of
/// vehicles need more than the usual 1,024.
const LAUNCH: &str = "ulimit -n \"$(ulimit -Hn)\"; exec \"$@\"";

/// Where a service is started, and who ends it should its owner die.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) deps: PathBuf,
    pub(crate) watcher: Arc<Watcher>,
}

/// A service that was started here. Dropped while it runs, it is killed.
#[derive(Debug)]
pub(crate) struct Process {
    kind: Kind,
    dir: PathBuf,
    child: Child,
    record: Record,
    log: PathBuf,
    /// Where this run's part of the log begins.
    log_start: u64,
    watcher: Arc<Watcher>,
    /// True once it has ended or shall stay.
    released: bool,
}

impl Process {
    pub(crate) fn spawn(kind: Kind, place: &Place, program: &Path, arguments: &[String]) -> Result<Self, Error> {
        let Place { dir, watcher, .. } = place.clone();
        let log = dir.join(format!("{kind}.log"));
        let output = OpenOptions::new().create(true).append(true).open(&log).doing("open", &log)?;
        let log_start = output.metadata().doing("read", &log)?.len();
        let errors = output.try_clone().doing("open", &log)?;
        let mut child = Command::new("/bin/sh")
            .args(["-c", LAUNCH, "sh"])
            .arg(program)
            .args(arguments)
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .doing("start", program)?;
        let recorded = i32::try_from(child.id()).ok().and_then(Record::of).ok_or(io::ErrorKind::NotFound);
        let saved = recorded.map_err(io::Error::from).and_then(|record| record.save(&dir, kind).map(|()| record));
        match saved {
            Ok(record) => {
                watcher.add(record.pid());
                Ok(Self { kind, dir, child, record, log, log_start, watcher, released: false })
            }
            Err(cause) => {
                // It has ended already or can't be recorded: then it must not stay.
                child.kill().doing("end", program)?;
                child.wait().doing("end", program)?;
                Err(Error::Io { doing: format!("record the process of {kind}"), cause })
            }
        }
    }

    pub(crate) const fn pid(&self) -> i32 {
        self.record.pid()
    }

    /// Asks again and again until the service answers, ends or takes too long.
    pub(crate) async fn until_ready(
        &mut self,
        within: Duration,
        mut probe: impl AsyncFnMut() -> Result<(), String>,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.ended()? {
                let tail = self.tail();
                return Err(Error::Died { kind: self.kind, status, log: self.log.clone(), tail });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = tokio::time::timeout(left, probe()).await;
            let why = match answer {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(why)) => why,
                Err(_) => "no answer".to_owned(),
            };
            if Instant::now() >= deadline {
                let tail = self.tail();
                return Err(Error::NotReady { kind: self.kind, within, why, log: self.log.clone(), tail });
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Ends it: with SIGTERM for as long as `polite`, then with SIGKILL; returns when it is gone.
    pub(crate) async fn end(mut self, polite: Duration) {
        if !polite.is_zero() {
            self.record.signal(Signal::SIGTERM);
            if self.gone_within(polite).await {
                return;
            }
            tracing::warn!(kind = %self.kind, "did not end when asked to: killed");
        }
        self.record.signal(Signal::SIGKILL);
        if !self.gone_within(Duration::from_secs(20)).await {
            tracing::warn!(kind = %self.kind, pid = self.pid(), "does not end although it was killed");
        }
    }

    async fn gone_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            match self.ended() {
                Ok(Some(_)) => {
                    self.forget();
                    return true;
                }
                Ok(None) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(5)).await,
                Ok(None) => return false,
                Err(error) => {
                    tracing::warn!(kind = %self.kind, %error, "could not wait for its end");
                    return false;
                }
            }
        }
    }

    /// Lets it run on without an owner.
    pub(crate) fn leave(mut self) {
        self.watcher.remove(self.pid());
        self.released = true;
    }

    fn forget(&mut self) {
        Record::remove(&self.dir, self.kind);
        self.watcher.remove(self.pid());
        self.released = true;
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.child.try_wait().doing("wait for", Path::new(self.kind.name()))
    }

    /// The last lines that this run logged.
    fn tail(&self) -> String {
        let read = || -> io::Result<String> {
            let mut file = File::open(&self.log)?;
            let from = self.log_start.max(file.metadata()?.len().saturating_sub(8_192));
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<_> = text.lines().collect();
            Ok(lines[lines.len().saturating_sub(20)..].join("\n"))
        };
        read().unwrap_or_else(|error| format!("(can't be read: {error})"))
    }
}

impl Drop for Process {
    /// The last resort: nothing can be awaited here, and SIGKILL does not take long.
    fn drop(&mut self) {
        if self.released {
            return;
        }
        self.record.signal(Signal::SIGKILL);
        match self.child.wait() {
            Ok(_) => self.forget(),
            Err(error) => tracing::warn!(kind = %self.kind, %error, "could not wait for its end"),
        }
    }
}

/// Finds a program as a shell would, and in the folders of system programs, which are not on every path.
pub(crate) fn find(program: &'static str) -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/local/sbin".into(), "/usr/sbin".into()]);
    let mut candidates = folders.map(|folder| folder.join(program));
    let missing = || Error::Missing { what: program, path: PathBuf::from("/usr/sbin").join(program) };
    candidates.find(|candidate| candidate.is_file()).ok_or_else(missing)
}

/// Writes a configuration file out of a shipped template: `@NAME@` becomes its value.
pub(crate) fn fill(template: &str, values: &[(&str, &str)], path: &Path) -> Result<(), Error> {
    let filled = values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value));
    fs::write(path, filled).doing("write", path)
}

/// The folder's name as it goes into configuration files.
pub(crate) fn in_configuration(dir: &Path) -> Result<&str, Error> {
    dir.to_str()
        .filter(|name| !name.contains(['"', '\n', '\r', '\\', '@']))
        .ok_or_else(|| Error::FolderName { dir: dir.to_owned() })
}
