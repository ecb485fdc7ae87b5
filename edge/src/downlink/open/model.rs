//! The same rules, told naively: every record that was ever read in one list, everything found by looking through it.

use std::collections::{BTreeMap, BTreeSet};

use super::Place;

/// Vehicle and id.
pub(super) type Name = (u8, u8);

#[derive(Debug)]
pub(super) struct Record {
    pub(super) place: Place,
    /// None: unreadable.
    pub(super) name: Option<Name>,
    pub(super) is_open: bool,
}

#[derive(Debug)]
struct Life {
    name: Name,
    deadline: i64,
    unanswered: u32,
    was_published: bool,
    due_at: Option<u64>,
    /// Tells which of two that are due at one moment is first.
    since: usize,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) records: Vec<Record>,
    lives: Vec<Life>,
    online: BTreeSet<u8>,
    ends: BTreeMap<i32, i64>,
    pause_ms: u64,
    longest_ms: u64,
    pub(super) answered: u64,
    pub(super) expired: u64,
    pub(super) refused: u64,
    pub(super) given_back: u64,
}

impl Model {
    pub(super) fn new(pause_ms: u64, longest_ms: u64) -> Self {
        Self { pause_ms, longest_ms, ..Self::default() }
    }

    pub(super) fn add(&mut self, place: Place, name: Option<Name>, deadline: i64, now: u64, wall: i64) {
        self.ends.insert(place.partition, place.offset + 1);
        self.records.push(Record { place, name, is_open: true });
        let Some(name) = name else { return };
        if !self.lives.iter().any(|life| life.name == name) {
            self.lives.push(Life {
                name,
                deadline,
                unanswered: 0,
                was_published: false,
                due_at: Some(now),
                since: self.records.len(),
            });
        }
        self.expire(wall);
    }

    fn close(&mut self, name: Name) -> u64 {
        self.lives.retain(|life| life.name != name);
        let open = self.records.iter_mut().filter(|record| record.is_open && record.name == Some(name));
        open.map(|record| record.is_open = false).count() as u64
    }

    pub(super) fn expire(&mut self, wall: i64) {
        let over: Vec<Name> = self.lives.iter().filter(|life| life.deadline <= wall).map(|life| life.name).collect();
        for name in over {
            self.expired += self.close(name);
        }
    }

    pub(super) fn answered(&mut self, name: Name) {
        self.answered += self.close(name);
    }

    pub(super) fn buried(&mut self, place: Place) {
        for record in self.records.iter_mut().filter(|record| record.is_open && record.place == place) {
            record.is_open = false;
            self.refused += 1;
        }
    }

    pub(super) fn revoked(&mut self, partition: i32) {
        self.ends.remove(&partition);
        for record in self.records.iter_mut().filter(|record| record.is_open && record.place.partition == partition) {
            record.is_open = false;
            self.given_back += 1;
        }
        let records = &self.records;
        self.lives.retain(|life| records.iter().any(|record| record.is_open && record.name == Some(life.name)));
    }

    pub(super) fn heard_of(&mut self, vehicle: u8, birth: bool, now: u64) {
        if self.online.insert(vehicle) || birth {
            for life in self.lives.iter_mut().filter(|life| life.name.0 == vehicle) {
                life.due_at = Some(now);
                life.unanswered = 0;
            }
        }
    }

    pub(super) fn gone(&mut self, vehicle: u8) {
        self.online.remove(&vehicle);
        self.lives.iter_mut().filter(|life| life.name.0 == vehicle).for_each(|life| life.due_at = None);
    }

    pub(super) fn all_gone(&mut self, now: u64) {
        self.online.clear();
        self.lives.iter_mut().for_each(|life| life.due_at = (!life.was_published).then_some(now));
    }

    pub(super) fn uncertain(&mut self, name: Name, now: u64) {
        self.lives.iter_mut().filter(|life| life.name == name).for_each(|life| life.due_at = Some(now));
    }

    /// Publishes what is due; what was published, in order.
    pub(super) fn publish(&mut self, now: u64) -> Vec<Name> {
        let (pause, longest, online) = (self.pause_ms, self.longest_ms, &self.online);
        let mut due: Vec<&mut Life> =
            self.lives.iter_mut().filter(|life| life.due_at.is_some_and(|at| at <= now)).collect();
        due.sort_by_key(|life| (life.due_at, life.since));
        due.into_iter()
            .map(|life| {
                let again_at = now + (pause << life.unanswered.min(16)).min(longest);
                life.due_at = online.contains(&life.name.0).then_some(again_at);
                life.unanswered += 1;
                life.was_published = true;
                life.name
            })
            .collect()
    }

    pub(super) fn commits(&self) -> BTreeMap<i32, i64> {
        let first_open = |partition: i32| {
            let open = self.records.iter().filter(|record| record.is_open && record.place.partition == partition);
            open.map(|record| record.place.offset).min()
        };
        self.ends.iter().map(|(partition, end)| (*partition, first_open(*partition).unwrap_or(*end))).collect()
    }

    pub(super) fn open(&self) -> usize {
        self.records.iter().filter(|record| record.is_open).count()
    }
}
