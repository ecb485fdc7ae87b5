//! Who runs in a folder: process id and start time per service, in a file, so that the next run can end
//! what a crashed one left without ever hitting a stranger who got the same process id.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::Kind;

/// One recorded process, which also leads its process group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pid: i32,
    /// Clock ticks between the system's start and the process's.
    started: u64,
    /// The system's start: ticks mean nothing across two of them.
    boot: String,
}

impl Record {
    /// The record of a process that runs now.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, started: started(pid)?, boot: boot()? })
    }

    pub(crate) const fn pid(&self) -> i32 {
        self.pid
    }

    pub(crate) fn is_alive(&self) -> bool {
        started(self.pid) == Some(self.started) && boot().as_ref() == Some(&self.boot)
    }

    /// Sends a signal to the process group, if it is still the same process.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.is_alive()
            && let Err(error) = killpg(Pid::from_raw(self.pid), signal)
        {
            tracing::debug!(pid = self.pid, %signal, %error, "process ended by itself");
        }
    }

    pub(crate) fn save(&self, dir: &Path, kind: Kind) -> io::Result<()> {
        write_whole(&path(dir, kind), &to_json(self))
    }

    pub(crate) fn load(dir: &Path, kind: Kind) -> Option<Self> {
        serde_json::from_slice(&fs::read(path(dir, kind)).ok()?).ok()
    }

    pub(crate) fn remove(dir: &Path, kind: Kind) {
        if let Err(error) = fs::remove_file(path(dir, kind))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%kind, %error, "could not remove the record of a process that has ended");
        }
    }
}

/// The services recorded in `dir` that run now, with their process ids.
#[must_use]
pub fn alive(dir: &Path) -> Vec<(Kind, i32)> {
    let recorded = Kind::ALL.into_iter().filter_map(|kind| Some((kind, Record::load(dir, kind)?)));
    recorded.filter(|(_, record)| record.is_alive()).map(|(kind, record)| (kind, record.pid)).collect()
}

/// Ends what is recorded in `dir`: with `polite` for a while, then without asking.
pub(crate) async fn end_recorded(dir: &Path, polite: Duration) {
    let records: Vec<_> = Kind::ALL.into_iter().filter_map(|kind| Some((kind, Record::load(dir, kind)?))).collect();
    let gone_within = async |limit: Duration| {
        let deadline = Instant::now() + limit;
        while records.iter().any(|(_, record)| record.is_alive()) {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        true
    };
    if !polite.is_zero() {
        records.iter().for_each(|(_, record)| record.signal(Signal::SIGTERM));
        gone_within(polite).await;
    }
    records.iter().for_each(|(_, record)| record.signal(Signal::SIGKILL));
    if !gone_within(Duration::from_secs(20)).await {
        tracing::warn!(dir = %dir.display(), "a service does not end although it was killed");
        return;
    }
    for (kind, _) in &records {
        Record::remove(dir, *kind);
    }
}

fn path(dir: &Path, kind: Kind) -> PathBuf {
    dir.join(format!("{kind}.pid.json"))
}

/// When the process started, unless it has ended (a zombie has: it waits only for its parent).
fn started(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, second and in brackets, may hold blanks and brackets itself.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn boot() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// Writes a file that is there whole or not at all, and for this user only.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_added_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_its_successor_with_the_same_id() {
        let own = Record::of(std::process::id().try_into().unwrap()).unwrap();
        assert!(own.is_alive());
        assert!(!Record { started: own.started + 1, ..own.clone() }.is_alive());
        assert!(!Record { boot: "another".into(), ..own }.is_alive());
    }

    #[test]
    fn a_zombie_counts_as_ended() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id().try_into().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while started(pid).is_some() {
            assert!(Instant::now() < deadline, "`true` did not end");
            std::thread::yield_now();
        }
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        child.wait().unwrap();
    }
}
