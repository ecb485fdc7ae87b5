//! A commit, step by step, beside the scoring.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use cloud_log::{Barrier, OutRecord};
use telemetry::kafka_topic::TELEMETRY;

use super::Scorer;
use crate::{metrics, state::Turn};

/// How far a commit is. Nothing waits for it: scores go on while it does.
#[derive(Debug)]
pub(super) enum Stage {
    /// So many threads have not answered yet.
    Asked(usize),
    /// The scores before it have to be delivered, then the states may be written.
    Scores(Barrier),
    /// The states have to be delivered, then the offsets may be committed.
    States(Barrier),
}

/// A commit on its way.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) stage: Stage,
    pub(super) states: Vec<OutRecord>,
    pub(super) offsets: BTreeMap<i32, i64>,
}

impl Scorer {
    pub(super) fn ask(&mut self, turn: Turn) -> Result<()> {
        self.asked = self.now();
        let stage = Stage::Asked(self.crew.snapshot(turn)?);
        self.round = Some(Round { stage, states: Vec::new(), offsets: BTreeMap::new() });
        Ok(())
    }

    /// Scores first, then the states that cover them, then the offsets that the states cover.
    pub(super) async fn advance(&mut self) -> Result<()> {
        let Some(round) = &mut self.round else { return Ok(()) };
        match &round.stage {
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
                let offsets = std::mem::take(&mut round.offsets).into_iter();
                let offsets = offsets.map(|(partition, next)| ((TELEMETRY.into(), partition), next)).collect();
                self.round = None;
                if let Err(error) = self.consumer.commit(&offsets) {
                    // A rebalance may be on its way; the states stand, and the next commit says more.
                    tracing::warn!(error = format!("{error:#}"), "commit failed");
                }
            }
            Stage::Asked(_) | Stage::Scores(_) | Stage::States(_) => {}
        }
        Ok(())
    }

    /// Carries a commit to its end.
    pub(super) async fn conclude(&mut self) -> Result<()> {
        while let Some(round) = &self.round {
            if let Stage::Asked(1..) = round.stage {
                let made = self.crew.next().await?;
                self.made(made).await?;
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
            states.iter().filter_map(|state| state.payload.as_ref()).map(Vec::len).sum(),
        );
        for state in states {
            self.producer.send(state).await?;
        }
        Ok(())
    }
}
