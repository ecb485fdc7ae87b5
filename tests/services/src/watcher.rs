//! A small process that outlives the owner of other processes and ends them when the owner dies without having
//! stopped them. It reads process groups from a pipe; the pipe closes with the owner, however that ends.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Reads lines until the end, keeps the last one, kills the groups that it names.
const SCRIPT: &str =
    "groups=; while read -r line; do groups=$line; done; for group in $groups; do kill -KILL \"-$group\"; done";

/// The watcher of one owner's processes.
#[derive(Debug)]
pub struct Watcher(Mutex<Watched>);

#[derive(Debug)]
struct Watched {
    shell: Option<Child>,
    groups: BTreeSet<i32>,
}

impl Watcher {
    /// Starts it. Without one, what a killed owner leaves stays until the next start in the same folder.
    pub(crate) fn start() -> Self {
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .inspect_err(|error| tracing::warn!(%error, "no watcher for services"))
            .ok();
        Self(Mutex::new(Watched { shell, groups: BTreeSet::new() }))
    }

    /// From now on this process group is ended when the owner dies.
    pub fn add(&self, group: i32) {
        self.change(|groups| groups.insert(group));
    }

    /// It has ended, or shall outlive the owner.
    pub fn remove(&self, group: i32) {
        self.change(|groups| groups.remove(&group));
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<i32>) -> bool) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !change(&mut watched.groups) {
            return;
        }
        let mut line = watched.groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        line.push('\n');
        if let Some(pipe) = watched.shell.as_mut().and_then(|shell| shell.stdin.as_mut())
            && let Err(error) = pipe.write_all(line.as_bytes())
        {
            tracing::warn!(%error, "the watcher of services has ended");
        }
    }
}

impl Drop for Watcher {
    /// By now it has nothing to end, as every process takes itself off the list.
    fn drop(&mut self) {
        let watched = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(shell) = &mut watched.shell {
            drop(shell.stdin.take());
            if let Err(error) = shell.wait() {
                tracing::debug!(%error, "the watcher of services could not be waited for");
            }
        }
    }
}
