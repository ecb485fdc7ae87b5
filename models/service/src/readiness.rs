//! What `/readyz` says: whether the process does its work, and why not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether a process is ready. Clones speak of the same process; a default one speaks to nobody.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    started: bool,
    hindrance: Option<&'static str>,
}

impl Readiness {
    /// Says why the process can't do its work just now, or that nothing hinders it. Counts once it has started.
    pub fn hindered_by(&self, hindrance: Option<&'static str>) {
        self.state().hindrance = hindrance;
    }

    /// Dependencies are reached and listeners bound.
    pub(crate) fn start(&self) {
        self.state().started = true;
    }

    /// Why it is not ready; none if it is.
    pub(crate) fn hindrance(&self) -> Option<&'static str> {
        let state = self.state();
        if state.started { state.hindrance } else { Some("starting") }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is ever half said.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_once_it_has_started_and_while_nothing_hinders_it() {
        let readiness = Readiness::default();
        let told = readiness.clone();
        assert_eq!(readiness.hindrance(), Some("starting"));
        told.hindered_by(Some("no disk"));
        assert_eq!(readiness.hindrance(), Some("starting"));
        readiness.start();
        assert_eq!(readiness.hindrance(), Some("no disk"));
        told.hindered_by(None);
        assert_eq!(readiness.hindrance(), None);
    }
}
