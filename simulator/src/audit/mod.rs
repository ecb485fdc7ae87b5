//! The audit: reads Kafka back with a consumer of its own and compares it with the ledger (guarantee G1). It
//! believes no counter of any process.
//!
//! [`run`] is strict: it knows our edge's topics, headers and dead letters. [`judge`] judges any bridge.

mod bridge;
mod config;
mod figures;
mod kafka;
#[cfg(test)]
mod tests;
mod timeline;

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::Entry},
    num::NonZeroU32,
};

use serde::{Deserialize, Serialize};
use service::Error;
use telemetry::{Encoding, PayloadHash, UnixMillis, VehicleId, kafka_topic::header, mqtt_topic};

pub(crate) use self::figures::figures_and_short_names;
pub use self::{
    bridge::{Comparison, Facts, judge},
    config::Config,
};
use crate::{by_seq::BySeq, ledger::Ledger, outbox::Key};

/// How many are named.
const NAMED: usize = 20;

/// Reads both topics from the earliest offset to their end now, and compares.
///
/// # Errors
/// [`Error::Unavailable`] if Kafka does not answer.
pub async fn run(kafka: &str, ledger: &Ledger) -> Result<Report, Error> {
    Ok(compare(&read(kafka).await?, ledger))
}

/// Reads `telemetry` and `telemetry.dead-letter` from the earliest offset to their end now, on a thread of its own.
///
/// # Errors
/// [`Error::Unavailable`] if Kafka does not answer.
pub async fn read(kafka: &str) -> Result<Stored, Error> {
    let servers = kafka.to_owned();
    let read = tokio::task::spawn_blocking(move || kafka::read(&servers)).await.map_err(anyhow::Error::from)?;
    let unavailable =
        |error| Error::Unavailable { flag: "kafka", address: kafka.to_owned(), detail: format!("{error:#}") };
    read.map_err(unavailable)
}

/// Where a reading stands in Kafka: its first copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Of the payload.
    pub hash: PayloadHash,
    /// Ingest time, ms since the epoch.
    pub timestamp: UnixMillis,
    /// Offset.
    pub offset: i64,
    /// Partition.
    pub partition: i32,
    /// How many there are.
    pub copies: NonZeroU32,
}

/// A record as it came from Kafka.
pub(crate) struct Found<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) payload: &'a [u8],
    pub(crate) headers: Vec<(&'a str, &'a [u8])>,
    pub(crate) place: Place,
    /// Its timestamp is the append's, not the producer's.
    pub(crate) append_stamped: bool,
}

impl Found<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(other, _)| *other == name)?;
        std::str::from_utf8(value).ok()
    }
}

/// Some, by name, and how many there are in all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cases {
    /// How many.
    pub count: u64,
    /// The first 20.
    pub first: Vec<String>,
}

impl Cases {
    fn add(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(name());
        }
    }
}

/// A payload among the dead letters.
#[derive(Debug)]
struct DeadLetter {
    place: Place,
    /// Why it was refused: one, unless its copies disagree.
    reasons: Vec<String>,
}

/// What stands in Kafka.
#[derive(Debug, Default)]
pub struct Stored {
    vehicles: Vec<VehicleId>,
    numbers: HashMap<VehicleId, u32>,
    /// The latest (boot, seq) of each vehicle, for reorderings.
    latest: Vec<(u32, u64)>,
    readings: BySeq<Place>,
    dead: HashMap<(u32, PayloadHash), DeadLetter>,
    /// Records in `telemetry`.
    pub records: u64,
    /// Dead letters of readings, refused by the edge.
    pub dead_letters: u64,
    /// Dead letters of anything else: of status messages, or refused by a role.
    pub other_dead_letters: u64,
    /// Dead letters of readings by reason.
    pub reasons: BTreeMap<String, u64>,
    /// First copies that stand behind a later reading of their vehicle.
    pub reorderings: u64,
    /// Records in `telemetry` that are no valid reading of the vehicle that they are filed under.
    pub unreadable: Cases,
    /// Identities that stand there with two different payloads.
    pub conflicts: Cases,
}

impl Stored {
    fn number(&mut self, vehicle: &VehicleId) -> u32 {
        if let Some(number) = self.numbers.get(vehicle) {
            return *number;
        }
        let number = u32::try_from(self.vehicles.len()).unwrap_or(u32::MAX);
        self.vehicles.push(vehicle.clone());
        self.latest.push((0, 0));
        self.numbers.insert(vehicle.clone(), number);
        number
    }

    /// Takes in a record of `telemetry`; each partition in the order of its offsets.
    pub(crate) fn add_reading(&mut self, found: &Found<'_>) {
        self.records += 1;
        let key = found.key.and_then(|key| std::str::from_utf8(key).ok()).and_then(|key| VehicleId::parse(key).ok());
        let encoding = Encoding::from_content_type(found.header(header::CONTENT_TYPE));
        let record = encoding.and_then(|encoding| telemetry::decode(found.payload, encoding, key.as_ref()));
        let (Some(vehicle), Ok(record)) = (key, record) else {
            let Place { partition, offset, .. } = found.place;
            self.unreadable.add(|| format!("partition {partition} offset {offset}"));
            return;
        };
        let number = self.number(&vehicle);
        let (place, known) = self.readings.get_or_insert(number, record.boot, record.seq, found.place);
        if known {
            place.copies = place.copies.saturating_add(1);
            if place.hash != found.place.hash {
                self.conflicts.add(|| record.identity().to_string());
            }
            return;
        }
        let latest = &mut self.latest[number as usize];
        if (record.boot, record.seq) < *latest {
            self.reorderings += 1;
        } else {
            *latest = (record.boot, record.seq);
        }
    }

    /// Takes in a record of `telemetry.dead-letter`.
    pub(crate) fn add_dead_letter(&mut self, found: &Found<'_>) {
        let by_edge = found.header(header::REFUSED_BY) == Some("edge");
        let source = found.header(header::MQTT_TOPIC).and_then(mqtt_topic::parse);
        let Some((vehicle, mqtt_topic::Channel::Telemetry)) = source.filter(|_| by_edge) else {
            self.other_dead_letters += 1;
            return;
        };
        self.dead_letters += 1;
        let reason = found.header(header::REASON).unwrap_or("none").to_owned();
        *self.reasons.entry(reason.clone()).or_default() += 1;
        let number = self.number(&vehicle);
        match self.dead.entry((number, found.place.hash)) {
            Entry::Occupied(known) => {
                let known = known.into_mut();
                known.place.copies = known.place.copies.saturating_add(1);
                if !known.reasons.contains(&reason) {
                    known.reasons.push(reason);
                }
            }
            Entry::Vacant(new) => {
                new.insert(DeadLetter { place: found.place, reasons: vec![reason] });
            }
        }
    }

    /// Where a valid reading stands.
    pub fn reading(&self, vehicle: &str, boot: u32, seq: u64) -> Option<&Place> {
        self.readings.get(*self.numbers.get(vehicle)?, boot, seq)
    }

    /// Where a refused payload stands.
    pub fn dead_letter(&self, vehicle: &str, hash: PayloadHash) -> Option<&Place> {
        self.dead.get(&(*self.numbers.get(vehicle)?, hash)).map(|dead| &dead.place)
    }

    /// Why it was refused, one for each reason that its copies name.
    pub fn reasons_of(&self, vehicle: &str, hash: PayloadHash) -> &[String] {
        let dead = self.numbers.get(vehicle).and_then(|number| self.dead.get(&(*number, hash)));
        dead.map_or(&[], |dead| &dead.reasons)
    }
}

/// What the audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Nothing lost, altered or invented, nothing malformed taken for a reading or refused for another reason
    /// than its own, and a ledger that does not contradict itself.
    pub ok: bool,
    /// Acknowledged readings that were looked for.
    pub checked: u64,
    /// Acknowledged readings that are neither in `telemetry` nor in the dead-letter topic.
    pub lost: Cases,
    /// Readings whose payload in Kafka is another than the vehicle sent, or that stand there with two.
    pub mismatched: Cases,
    /// Readings in Kafka that no vehicle sent.
    pub invented: Cases,
    /// Malformed payloads that are in `telemetry`.
    pub poison_accepted: Cases,
    /// Malformed payloads among the dead letters whose reason is not the one for which they were made.
    pub wrong_reason: Cases,
    /// Valid readings that are dead letters; not wrong in itself, but worth a look.
    pub valid_dead_letters: Cases,
    /// Records in `telemetry` that are no valid reading of the vehicle that they are filed under.
    pub unreadable: Cases,
    /// Acknowledgements of what the ledger does not know.
    pub acked_unsent: Cases,
    /// Identities under which two different payloads were sent.
    pub ambiguous: Cases,
    /// Readings in the ledger.
    pub sent: u64,
    /// Malformed ones among them.
    pub poison: u64,
    /// Readings that no ack has named at the end, and were not given up.
    pub unacked_at_end: u64,
    /// Those among them that Kafka has all the same.
    pub unacked_but_stored: u64,
    /// Readings that left a full outbox.
    pub given_up: u64,
    /// Readings too large to be sent.
    pub oversize: u64,
    /// Distinct readings in `telemetry`.
    pub stored: u64,
    /// Further copies of readings, in both topics.
    pub duplicates: u64,
    /// First copies that stand behind a later reading of their vehicle.
    pub reorderings: u64,
    /// Dead letters of readings by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// Bytes of torn ends of ledger files.
    pub torn_bytes: u64,
}

/// Compares what stands in Kafka with the ledger.
pub fn compare(stored: &Stored, ledger: &Ledger) -> Report {
    let cases = |(first, count): &(Vec<String>, u64)| Cases { first: first.clone(), count: *count };
    let mut report = Report {
        mismatched: stored.conflicts.clone(),
        unreadable: stored.unreadable.clone(),
        acked_unsent: cases(&ledger.acked_unsent),
        ambiguous: cases(&ledger.ambiguous),
        sent: ledger.len() as u64,
        oversize: ledger.oversize,
        stored: stored.readings.len() as u64,
        reorderings: stored.reorderings,
        dead_letters: stored.reasons.clone(),
        torn_bytes: ledger.torn_bytes,
        ..Report::default()
    };
    look_for_what_was_sent(stored, ledger, &mut report);
    let given_up = ledger.unsent.iter().filter(|unsent| unsent.given_up).count() as u64;
    report.given_up += given_up;
    report.unacked_at_end += ledger.unsent.len() as u64 - given_up;
    look_at_what_is_stored(stored, ledger, &mut report);
    let bad = [
        &report.lost,
        &report.mismatched,
        &report.invented,
        &report.poison_accepted,
        &report.wrong_reason,
        &report.unreadable,
        &report.acked_unsent,
        &report.ambiguous,
    ];
    report.ok = bad.iter().all(|cases| cases.count == 0);
    report
}

fn look_for_what_was_sent(stored: &Stored, ledger: &Ledger, report: &mut Report) {
    for (vehicle, key, sent) in ledger.iter() {
        let reading = match key {
            Key::Seq { boot, seq } => stored.reading(vehicle.as_str(), boot, seq),
            Key::Hash(_) => None,
        };
        let dead = stored.dead_letter(vehicle.as_str(), sent.hash);
        report.poison += u64::from(sent.poison.is_some());
        if reading.is_some() && sent.poison.is_some() {
            report.poison_accepted.add(|| key.of(vehicle));
        }
        match sent.poison {
            None if dead.is_some() => report.valid_dead_letters.add(|| key.of(vehicle)),
            Some(own) => {
                let reasons = stored.reasons_of(vehicle.as_str(), sent.hash);
                if reasons.iter().any(|reason| reason != own.as_str()) {
                    report.wrong_reason.add(|| format!("{}: {}, not {own}", key.of(vehicle), reasons.join(" and ")));
                }
            }
            None => {}
        }
        let there = reading.is_some() || dead.is_some();
        report.given_up += u64::from(sent.given_up);
        if sent.acked.is_some() {
            report.checked += 1;
            if !there {
                report.lost.add(|| key.of(vehicle));
            }
        } else if !sent.given_up {
            report.unacked_at_end += 1;
            report.unacked_but_stored += u64::from(there);
        }
    }
}

fn look_at_what_is_stored(stored: &Stored, ledger: &Ledger, report: &mut Report) {
    for (number, boot, seq, place) in stored.readings.iter() {
        let vehicle = &stored.vehicles[number as usize];
        let key = Key::Seq { boot, seq };
        report.duplicates += u64::from(place.copies.get() - 1);
        match ledger.get(vehicle.as_str(), key) {
            None => report.invented.add(|| key.of(vehicle)),
            Some(sent) if sent.hash != place.hash => report.mismatched.add(|| key.of(vehicle)),
            Some(_) => {}
        }
    }
    // Few, unlike what was sent.
    let mut unexplained: HashSet<_> = stored.dead.keys().copied().collect();
    for (vehicle, _, sent) in ledger.iter() {
        if let Some(number) = stored.numbers.get(vehicle) {
            unexplained.remove(&(*number, sent.hash));
        }
    }
    for (number, hash) in unexplained {
        report.invented.add(|| Key::Hash(hash).of(&stored.vehicles[number as usize]));
    }
    report.duplicates += stored.dead.values().map(|dead| u64::from(dead.place.copies.get() - 1)).sum::<u64>();
}
