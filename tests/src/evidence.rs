//! What services stored in a run: evidence where the run fails, and in the way where it does not.

use std::path::PathBuf;

/// Removes what services stored in a folder once it is dropped; if that is because of a panic, everything stays. Whoever
/// holds it holds it until the last assertion, and drops the services before. Who ends with an error keeps it
/// ([`Evidence::keep`]): the panic comes later.
#[derive(Debug)]
#[must_use = "dropped at once it removes what is needed"]
pub struct Evidence {
    services: Option<PathBuf>,
}

impl Evidence {
    /// Of the services in this folder.
    pub fn of(services: impl Into<PathBuf>) -> Self {
        Self { services: Some(services.into()) }
    }

    /// Everything stays.
    pub fn keep(mut self) {
        self.services = None;
    }
}

impl Drop for Evidence {
    fn drop(&mut self) {
        let Some(services) = self.services.take().filter(|_| !std::thread::panicking()) else { return };
        if let Err(error) = services::remove_stored_in(&services) {
            tracing::warn!("what services stored is still there: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_goes_with_a_run_that_holds_and_stays_with_one_that_fails() {
        let folder = tempfile::tempdir().unwrap();
        let stored = folder.path().join("kafka/telemetry-0");
        let lay = || {
            std::fs::create_dir_all(&stored).unwrap();
            std::fs::write(folder.path().join("kafka.log"), "").unwrap();
            Evidence::of(folder.path())
        };
        let run = |holds: bool| {
            let evidence = lay();
            let ended = std::thread::spawn(move || {
                let _evidence = evidence;
                assert!(holds, "on purpose");
            });
            assert_eq!(ended.join().is_ok(), holds);
            assert!(folder.path().join("kafka.log").exists(), "logs stay");
            stored.exists()
        };
        assert!(run(false) && !run(true));
        lay().keep();
        assert!(stored.exists());
    }
}
