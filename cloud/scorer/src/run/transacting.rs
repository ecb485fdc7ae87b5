//! The scorer with `--transactions`: what belongs to one commit stands in Kafka together or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::BuildHasher,
};

use anyhow::{Context, Result};
use cloud_log::{OutRecord, Part, TopicPartition, Transactions};
use tokio::sync::oneshot;

use super::{
    HANDED_OVER, Scorer,
    ledger::Ledger,
    publish::ingest_to_score,
    round::{Round, Stage},
};
use crate::{desk::Mark, metrics};

/// Told of a transaction: which partitions were left out.
pub(super) type Outcome = oneshot::Receiver<Result<BTreeSet<TopicPartition>>>;

/// What writes, and what waits for it.
#[derive(Debug)]
pub(super) struct Transacting {
    pub(super) transactions: Transactions,
    pub(super) ledger: Ledger,
}

impl Transacting {
    /// Begins to write; none where there is nothing to.
    pub(super) fn write(&mut self, states: Vec<OutRecord>, marks: BTreeMap<i32, Mark>) -> Option<Outcome> {
        let bytes = states.iter().filter_map(|state| state.payload.as_ref()).map(|payload| payload.len()).sum();
        metrics::states(states.len() as u64, bytes);
        let parts: Vec<Part> = self.ledger.close(states, marks);
        (!parts.is_empty()).then(|| self.transactions.write(parts))
    }
}

/// The id of a process's transactions. Without a name of its own it is another one with each start.
pub(crate) fn id(group: &str, instance: Option<&str>) -> String {
    let random = || format!("{:016x}", std::hash::RandomState::new().hash_one(std::process::id()));
    format!("{group}-{}", instance.map_or_else(random, str::to_owned))
}

/// The outcome of the transaction that is being written, if one is. Cancel-safe.
pub(super) async fn outcome(round: &mut Option<Round>) -> Result<BTreeSet<TopicPartition>> {
    match round {
        Some(Round { stage: Stage::Transaction(outcome), .. }) => {
            outcome.await.context("the thread that writes transactions has ended")?
        }
        _ => std::future::pending().await,
    }
}

impl Scorer {
    /// The transaction stands.
    pub(super) fn settle(&mut self, left_out: &BTreeSet<TopicPartition>) {
        self.round = None;
        let Some(Transacting { ledger, .. }) = &mut self.transacting else { return };
        let settled = ledger.settle(left_out);
        self.queued -= settled.left;
        self.confirm(self.outstanding());
        self.discard(HANDED_OVER, settled.left);
        settled.ingests.into_iter().for_each(ingest_to_score);
    }

    /// The partition is ours no more; what of it does not stand in Kafka is left to its next owner.
    pub(super) fn give_up(&mut self, partition: i32) {
        let Some(Transacting { ledger, .. }) = &mut self.transacting else { return };
        let left = ledger.give_up(partition);
        self.queued -= left;
        self.discard(HANDED_OVER, left);
        if let Some(round) = &mut self.round {
            round.marks.remove(&partition);
            round.states.retain(|state| state.partition != Some(partition));
        }
        self.leaving += 1;
    }

    /// Waits until the threads are through with every partition that was given up, so that what they still make of one is
    /// not taken for what its next tenure brings.
    pub(super) async fn see_off(&mut self) -> Result<()> {
        while self.leaving > 0 {
            let made = self.crew.next().await?;
            self.made(made).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_process_own_or_that_of_its_name() {
        assert_eq!(id("g", Some("scorer-0")), "g-scorer-0");
        assert_ne!(id("g", None), id("g", None));
    }
}
