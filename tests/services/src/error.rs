//! What can go wrong, said so that the reader knows what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::Kind;

/// Why services could not be started or restarted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that `make deps` installs is not there.
    #[error("{what} is not at {}: type `make deps`", path.display())]
    Missing {
        /// The thing.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Another process has services in this folder.
    #[error("another process runs services in {}: end it, or use another folder", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder's name can't stand in configuration files.
    #[error("{} can't be used as a folder for services: its name holds a quote, a line break or bytes that are not UTF-8", dir.display())]
    FolderName {
        /// The folder.
        dir: PathBuf,
    },
    /// A service ended before it was ready.
    #[error("{kind} ended before it was ready ({status}); last lines of {}:\n{tail}", log.display())]
    Died {
        /// Which one.
        kind: Kind,
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The end of its log.
        tail: String,
    },
    /// A service did not become ready in time.
    #[error("{kind} did not become ready in {} s ({why}); last lines of {}:\n{tail}", within.as_secs(), log.display())]
    NotReady {
        /// Which one.
        kind: Kind,
        /// How long it was waited for.
        within: Duration,
        /// What the last attempt to talk to it said.
        why: String,
        /// Its log.
        log: PathBuf,
        /// The end of its log.
        tail: String,
    },
    /// No free ports.
    #[error("found no free ports on 127.0.0.1 below the range that the system gives to outgoing connections")]
    NoPorts,
    /// A file or process operation failed.
    #[error("could not {doing}: {cause}")]
    Io {
        /// What was tried.
        doing: String,
        /// Why it failed. Not called `source`: the text above says it already.
        cause: io::Error,
    },
    /// One of the tools that prepare a service failed.
    #[error("could not {doing}: {output}")]
    Tool {
        /// What was tried.
        doing: &'static str,
        /// What the tool said.
        output: String,
    },
}

impl Error {
    /// True where another process had taken the port, so that another port is worth a try.
    pub(crate) fn port_was_taken(&self) -> bool {
        matches!(self, Self::Died { tail, .. } if tail.to_ascii_lowercase().contains("address already in use"))
    }
}

/// Names what was tried when an operation of the system fails.
pub(crate) trait Doing<T> {
    fn doing(self, verb: &str, path: &Path) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, verb: &str, path: &Path) -> Result<T, Error> {
        self.map_err(|cause| Error::Io { doing: format!("{verb} {}", path.display()), cause })
    }
}
