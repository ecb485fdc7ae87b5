//! The tracks of one partition, and the order in which they become durable. Pure.
//!
//! `scores` and `alert-commands` are two logs, and nothing fixes how their records interleave; after a kill a
//! replay may interleave them differently. So the state goes first, with the events of its last change inside it
//! (an outbox), and only then the events: what was published is always in the state, and a successor publishes
//! the outbox again instead of deciding again. Without this, a replay could give an old revision a new meaning,
//! and whoever had seen that revision would drop it.
//!
//! The key of a state is `vehicle|detector`, not the alert's id: windows that have not fired yet are state too,
//! and the number of keys stays that of vehicles, so compaction needs no tombstones.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use telemetry::{
    VehicleId,
    event::{AlertCommand, AlertEvent, Score},
};

use crate::lifecycle::{Rules, Step, Track, detector_of};

/// The key of the record that holds a partition's epoch. No vehicle has a `#` in its name.
pub const EPOCH_KEY: &str = "#epoch";

/// A record on `alert-state`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StateRecord {
    /// Counts the owners of the partition. A killed owner may write late; the newer owner's record wins.
    pub epoch: u64,
    /// Next offset of `scores` that could change this state.
    #[serde(default)]
    pub scores_next: i64,
    /// Next offset of `alert-commands` that could change this state.
    #[serde(default)]
    pub commands_next: i64,
    /// The lifecycle.
    #[serde(flatten)]
    pub track: Track,
    /// The events of the last change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outbox: Vec<AlertEvent>,
}

/// What has to become durable: first the states, then the events, then the commit.
#[derive(Debug, Default, PartialEq)]
pub struct Pending {
    /// Key and value for `alert-state`.
    pub states: Vec<(String, StateRecord)>,
    /// For `alerts`, in order.
    pub events: Vec<AlertEvent>,
}

/// The tracks of one partition.
#[derive(Debug, Default)]
pub struct Shard {
    epoch: u64,
    tracks: HashMap<String, StateRecord>,
    touched: BTreeSet<String>,
    events: Vec<AlertEvent>,
}

impl Shard {
    /// Folds the partition of `alert-state`, read to its end. The new owner's epoch is one above the highest;
    /// its marker has to be written before anything else.
    pub fn recover(records: impl IntoIterator<Item = (String, StateRecord)>) -> Self {
        let mut shard = Self::default();
        for (key, record) in records {
            shard.epoch = shard.epoch.max(record.epoch);
            if key == EPOCH_KEY {
                continue;
            }
            let order = |r: &StateRecord| (r.epoch, r.scores_next, r.commands_next);
            match shard.tracks.get(&key) {
                Some(known) if order(known) > order(&record) => {}
                _ => {
                    shard.tracks.insert(key, record);
                }
            }
        }
        shard.epoch += 1;
        shard
    }

    /// The marker of this owner.
    pub fn marker(&self) -> StateRecord {
        StateRecord { epoch: self.epoch, ..StateRecord::default() }
    }

    /// Events of states that reach beyond the committed offsets: the owner before may have died before it
    /// published them.
    pub fn unconfirmed(&self, scores_committed: i64, commands_committed: i64) -> Vec<AlertEvent> {
        let mut events: Vec<AlertEvent> = self
            .tracks
            .values()
            .filter(|r| r.scores_next > scores_committed || r.commands_next > commands_committed)
            .flat_map(|r| r.outbox.iter().cloned())
            .collect();
        events.sort_by(|a, b| (&a.id, a.revision).cmp(&(&b.id, b.revision)));
        events
    }

    /// Number of tracks.
    pub fn len(&self) -> usize {
        self.tracks.len()
    }

    /// Whether there is no track.
    pub fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }

    /// Takes a record of `scores`.
    pub fn score(&mut self, rules: &Rules, offset: i64, score: &Score) -> Step {
        let detector = detector_of(&score.model);
        self.apply(&score.vehicle, detector, |record| {
            let step = record.track.score(rules, detector, score);
            if matches!(step, Step::Changed | Step::Event(_)) {
                record.scores_next = record.scores_next.max(offset + 1);
            }
            step
        })
    }

    /// Takes a record of `alert-commands`.
    pub fn command(&mut self, offset: i64, command: &AlertCommand) -> Step {
        self.apply(&command.alert.vehicle, &command.alert.detector, |record| {
            if offset < record.commands_next {
                return Step::Refused(crate::lifecycle::Refusal::AlreadySo);
            }
            let step = record.track.command(command);
            if matches!(step, Step::Changed | Step::Event(_)) {
                record.commands_next = offset + 1;
            }
            step
        })
    }

    fn apply(&mut self, vehicle: &VehicleId, detector: &str, change: impl FnOnce(&mut StateRecord) -> Step) -> Step {
        let key = format!("{vehicle}|{detector}");
        let mut fresh = None;
        let record = match self.tracks.get_mut(&key) {
            Some(record) => record,
            // Kept only if the input changes it: a healthy vehicle has no track.
            None => fresh.insert(StateRecord::default()),
        };
        let step = change(record);
        if matches!(step, Step::Changed | Step::Event(_)) {
            if !self.touched.contains(&key) {
                record.epoch = self.epoch;
                record.outbox.clear();
            }
            if let Step::Event(event) = &step {
                record.outbox.push((**event).clone());
                self.events.push((**event).clone());
            }
            if let Some(record) = fresh {
                self.tracks.insert(key.clone(), record);
            }
            self.touched.insert(key);
        }
        step
    }

    /// Everything that changed since the last call.
    pub fn pending(&mut self) -> Pending {
        let states = std::mem::take(&mut self.touched);
        let states = states.into_iter().filter_map(|key| self.tracks.get(&key).cloned().map(|record| (key, record)));
        Pending { states: states.collect(), events: std::mem::take(&mut self.events) }
    }
}

#[cfg(test)]
#[path = "shard/tests.rs"]
mod tests;
