//! The chaos suite: a fleet drives, one thing breaks, and the ledger says what became of the readings.
//!
//! A [`Row`] is one fault. Each starts services of its own, does its fault to a [`Trial`] under load, takes it away,
//! waits until every vehicle has everything acknowledged, and is judged ([`Outcome`]). `make chaos` runs all rows,
//! `make test` the quick ones. Networks fail in [`crate::network`], so that no row needs a privilege.

mod broker;
mod edge_state;
mod judged;
mod rows;
mod spool_files;
mod suite;
mod trial;

use std::{future::Future, pin::Pin, time::Duration};

use anyhow::Result;

pub use judged::{Outcome, Promise};
pub use suite::{Settings, run};
pub use trial::{Fleet, Setup, Trial};

type Run = Pin<Box<dyn Future<Output = Result<Outcome>>>>;

/// A process that died is made up for after this time (G6).
const AFTER_A_DEATH: Duration = Duration::from_secs(30);
/// An outage is.
const AFTER_AN_OUTAGE: Duration = Duration::from_secs(60);

/// One fault.
#[derive(Clone, Copy)]
pub struct Row {
    /// On the command line and in the report.
    pub name: &'static str,
    /// What breaks.
    pub fault: &'static str,
    /// Whether `make test` runs it, too.
    pub quick: bool,
    run: fn(&'static str) -> Run,
}

impl Row {
    const fn new(name: &'static str, fault: &'static str, run: fn(&'static str) -> Run) -> Self {
        Self { name, fault, quick: false, run }
    }

    const fn quick(self) -> Self {
        Self { quick: true, ..self }
    }

    /// Runs it.
    ///
    /// # Errors
    /// What could not be done or did not happen in time; what was judged stands in the outcome.
    pub async fn run(&self) -> Result<Outcome> {
        let outcome = (self.run)(self.name).await?;
        if outcome.is_ok() {
            services::remove_stored_in(&trial::folder(self.name)?.join("services"))?;
        }
        Ok(outcome)
    }
}

/// Every row, in the order in which they run.
pub fn rows() -> Vec<Row> {
    rows::all()
}

/// One row by its name.
pub fn row(name: &str) -> Option<Row> {
    rows::all().into_iter().find(|row| row.name == name)
}
