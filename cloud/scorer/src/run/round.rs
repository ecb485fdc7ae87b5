//! A commit, step by step, beside the scoring.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use cloud_log::{Barrier, OutRecord};
use telemetry::kafka_topic::TELEMETRY;

use super::{
    Scorer,
    transacting::{Outcome, outcome},
};
use crate::{desk::Mark, metrics, state::Turn};

/// How far a commit is. Nothing waits for it: scores go on while it does.
#[derive(Debug)]
pub(super) enum Stage {
    /// So many threads have not answered yet.
    Asked(usize),
    /// The scores before it have to be delivered, then the states may be written.
    Scores(Barrier),
    /// The states have to be delivered, then the offsets may be committed.
    States(Barrier),
    /// With `--transactions`, instead of both: all of it is being written.
    Transaction(Outcome),
}

/// A commit on its way.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) stage: Stage,
    pub(super) states: Vec<OutRecord>,
    pub(super) marks: BTreeMap<i32, Mark>,
}

impl Round {
    /// Whether the partition's thread has answered, so that what it makes now belongs to the next commit.
    pub(super) fn has_answered(&self, partition: i32) -> bool {
        matches!(self.stage, Stage::Asked(_)) && self.marks.contains_key(&partition)
    }
}

impl Scorer {
    pub(super) fn ask(&mut self, turn: Turn) -> Result<()> {
        self.asked = self.now();
        let stage = Stage::Asked(self.crew.snapshot(turn)?);
        self.round = Some(Round { stage, states: Vec::new(), marks: BTreeMap::new() });
        Ok(())
    }

    /// Scores first, then the states that cover them, then the offsets that the states cover.
    pub(super) async fn advance(&mut self) -> Result<()> {
        let Some(round) = &mut self.round else { return Ok(()) };
        match &round.stage {
            Stage::Asked(0) if let Some(transacting) = &mut self.transacting => {
                let (states, marks) = (std::mem::take(&mut round.states), std::mem::take(&mut round.marks));
                match transacting.write(states, marks) {
                    Some(outcome) => round.stage = Stage::Transaction(outcome),
                    None => self.round = None,
                }
            }
            Stage::Asked(0) => {
                if let Some(barrier) = self.producer.barrier() {
                    round.stage = Stage::Scores(barrier);
                }
            }
            Stage::Scores(barrier) if self.producer.passed(barrier).context("scores were not delivered")? => {
                let states = std::mem::take(&mut round.states);
                self.write(states).await?;
                // There is room for it: the one before was passed just now.
                if let (Some(round), Some(barrier)) = (&mut self.round, self.producer.barrier()) {
                    round.stage = Stage::States(barrier);
                }
            }
            Stage::States(barrier) if self.producer.passed(barrier).context("states were not delivered")? => {
                let marks = std::mem::take(&mut round.marks).into_iter();
                let offsets = marks.map(|(partition, mark)| ((TELEMETRY.into(), partition), mark.needed)).collect();
                self.round = None;
                if let Err(error) = self.consumer.commit(&offsets) {
                    // A rebalance may be on its way; the states stand, and the next commit says more.
                    tracing::warn!(error = format!("{error:#}"), "commit failed");
                }
            }
            Stage::Asked(_) | Stage::Scores(_) | Stage::States(_) | Stage::Transaction(_) => {}
        }
        Ok(())
    }

    /// Carries a commit to its end.
    pub(super) async fn conclude(&mut self) -> Result<()> {
        while let Some(round) = &self.round {
            if let Stage::Asked(1..) = round.stage {
                let made = self.crew.next().await?;
                self.made(made).await?;
            } else if let Stage::Transaction(_) = round.stage {
                let left_out = outcome(&mut self.round).await?;
                self.settle(&left_out);
            } else {
                self.flush().await?;
            }
            self.advance().await?;
        }
        Ok(())
    }

    pub(super) async fn write(&self, states: Vec<OutRecord>) -> Result<()> {
        metrics::states(
            states.len() as u64,
            states.iter().filter_map(|state| state.payload.as_ref()).map(|payload| payload.len()).sum(),
        );
        for state in states {
            self.producer.send(state).await?;
        }
        Ok(())
    }
}
