//! The judge of any bridge: what a ledger holds against one Kafka topic, whoever wrote it and in whatever form its
//! keys and headers are. The identity of a record stands in its payload, which a bridge forwards as it is.
//!
//! Unlike [`super::compare`], which knows our edge's topics, headers and dead letters, it keeps nothing of what it
//! reads but a few bytes for each reading: six million fit into half a gigabyte.

mod identity;
mod nameless;
mod times;
mod told;

use std::{
    collections::{HashMap, HashSet},
    io::Write as _,
};

use anyhow::Context;
use report::Report;
use service::Error;
use telemetry::{
    Identity, VehicleId,
    kafka_topic::{self, header},
};

use self::{
    identity::{identity, source},
    nameless::Nameless,
    times::Times,
    told::{fill, text},
};
use super::{Cases, Config, Found, kafka};
use crate::{
    by_seq::BySeq,
    ledger::{self, Ledger},
    outbox::Key,
};

/// What one topic, or two, hold of what a ledger knows.
pub struct Comparison<'a> {
    ledger: &'a Ledger,
    /// Every boot of a vehicle, by its number, of which the ledger has a reading.
    boots: HashSet<(u32, u32)>,
    /// Copies of each reading.
    copies: BySeq<Copies>,
    nameless: Nameless,
    /// The latest (boot, seq) by vehicle and partition: order is a promise of one partition only.
    latest: HashMap<(u32, i32), (u32, u64)>,
    facts: Facts,
}

/// How many there are of a reading, up to 255 each.
#[derive(Debug, Clone, Copy, Default)]
struct Copies {
    /// Where readings belong,
    read: u8,
    /// and among the dead letters.
    refused: u8,
}

/// What a comparison found.
pub struct Facts {
    /// Records of the topics.
    pub records: u64,
    /// Readings of the ledger that are there: malformed ones also where they are dead letters.
    pub found: u64,
    /// Readings of the ledger that are dead letters and nothing else.
    pub dead_letters: u64,
    /// Those among them that are well-formed: nobody who reads the topic of readings will see them.
    pub refused: u64,
    /// Those of them that were acknowledged.
    pub refused_acknowledged: Cases,
    /// Further copies.
    pub duplicates: u64,
    /// First copies behind a later reading of the same vehicle, in one partition.
    pub reordered: u64,
    /// Records whose timestamp is the append's (the topic's `message.timestamp.type`), not the producer's.
    pub append_stamped: u64,
    /// Acknowledged readings that are nowhere.
    pub lost: Cases,
    /// Readings with other bytes than were sent.
    pub altered: Cases,
    /// Records that no vehicle sent, though the ledger knows the vehicle and its boot; and, outside of the topic of dead
    /// letters, records of nobody.
    pub invented: Cases,
    /// Records of another run: of a vehicle or a boot that the ledger does not know, dead letters of nobody, and those
    /// that a role wrote. They are no readings of this ledger, and break nothing.
    pub foreign: u64,
    /// Acknowledged readings.
    pub acknowledged: u64,
    /// Readings of the ledger that were neither acknowledged nor given up, sent or not.
    pub unacknowledged: u64,
    /// Those among them that are there all the same.
    pub unacknowledged_but_stored: u64,
    /// Readings that left a full outbox, sent or not.
    pub given_up: u64,
    /// How long they took.
    pub times: Times,
}

impl<'a> Comparison<'a> {
    /// Of nothing so far.
    ///
    /// # Errors
    /// None in practice: the bounds of the histogram are constants.
    pub fn new(ledger: &'a Ledger, late_ms: u64) -> anyhow::Result<Self> {
        let mut nameless = Nameless::default();
        let (mut boots, mut last) = (HashSet::new(), None);
        for (vehicle, key, _) in ledger.iter() {
            let number = ledger.number_of(vehicle.as_str());
            match key {
                Key::Hash(hash) => {
                    number.into_iter().for_each(|number| nameless.sent(hash, number, ledger.times_sent(number, hash)));
                }
                Key::Seq { boot, .. } => {
                    // Readings of a boot come in runs.
                    let of = number.map(|number| (number, boot));
                    if of != last {
                        boots.extend(of);
                        last = of;
                    }
                }
            }
        }
        // Nothing of it may be there, and what is all the same was invented, not another run's.
        boots.extend(ledger.unsent.iter().filter_map(|unsent| Some((unsent.vehicle, unsent.boot?))));
        let facts = Facts {
            records: 0,
            found: 0,
            dead_letters: 0,
            refused: 0,
            refused_acknowledged: Cases::default(),
            duplicates: 0,
            reordered: 0,
            append_stamped: 0,
            lost: Cases::default(),
            altered: Cases::default(),
            invented: Cases::default(),
            foreign: 0,
            acknowledged: 0,
            unacknowledged: 0,
            unacknowledged_but_stored: 0,
            given_up: 0,
            times: Times::new(late_ms)?,
        };
        Ok(Self { ledger, boots, copies: BySeq::default(), nameless, latest: HashMap::new(), facts })
    }

    /// Takes in a record; those of a partition in the order of their offsets.
    pub(crate) fn add(&mut self, found: &Found<'_>, dead_letter: bool) {
        self.facts.records += 1;
        self.facts.append_stamped += u64::from(found.append_stamped);
        if dead_letter && found.header(header::REFUSED_BY).is_some_and(|by| by != "edge") {
            self.facts.foreign += 1;
            return;
        }
        let name = || format!("partition {} offset {}", found.place.partition, found.place.offset);
        let source = source(found);
        let Some(Identity { vehicle, boot, seq }) = identity(found, source.as_ref()) else {
            let from = source.map(|vehicle| self.ledger.number_of(vehicle.as_str()));
            let mine = match from {
                // Its bridge tells, and this ledger does not know the vehicle.
                Some(None) => None,
                from => self.nameless.add(found.place.hash, from.flatten()),
            };
            match mine {
                Some(first) => self.facts.dead_letters += u64::from(dead_letter && first),
                None if dead_letter || from == Some(None) => self.facts.foreign += 1,
                None => self.facts.invented.add(name),
            }
            return;
        };
        let other = source.filter(|source| *source != vehicle && self.sent(source, boot, seq, found));
        let vehicle = other.unwrap_or(vehicle);
        let key = Key::Seq { boot, seq };
        let number = self.ledger.number_of(vehicle.as_str());
        let Some(number) = number.filter(|number| self.boots.contains(&(*number, boot))) else {
            self.facts.foreign += 1;
            return;
        };
        let Some(sent) = self.ledger.of_number(number, key) else {
            self.facts.invented.add(|| key.of(&vehicle));
            return;
        };
        if sent.hash != found.place.hash {
            self.facts.altered.add(|| key.of(&vehicle));
            return;
        }
        let copies = self.copies.get_or_insert(number, boot, seq, Copies::default()).0;
        self.facts.duplicates += u64::from(copies.read > 0 || copies.refused > 0);
        let own = if dead_letter { &mut copies.refused } else { &mut copies.read };
        *own = own.saturating_add(1);
        if dead_letter || copies.read > 1 {
            return;
        }
        let latest = self.latest.entry((number, found.place.partition)).or_default();
        if (boot, seq) < *latest {
            self.facts.reordered += 1;
        } else {
            *latest = (boot, seq);
        }
        self.facts.times.found(sent.scheduled, found.place.timestamp, found.append_stamped);
    }

    /// Whether that vehicle has sent just this under that name: well-formed, a payload may still name another one, and
    /// be refused for it.
    fn sent(&self, vehicle: &VehicleId, boot: u32, seq: u64, found: &Found<'_>) -> bool {
        self.ledger.get(vehicle.as_str(), Key::Seq { boot, seq }).is_some_and(|sent| sent.hash == found.place.hash)
    }

    /// Looks for everything that was acknowledged.
    pub fn finish(mut self) -> Facts {
        let facts = &mut self.facts;
        facts.duplicates += self.nameless.duplicates();
        for (vehicle, key, sent) in self.ledger.iter() {
            let number = self.ledger.number_of(vehicle.as_str());
            let (there, refused) = match key {
                Key::Seq { boot, seq } => {
                    let copies = number.and_then(|number| self.copies.get(number, boot, seq));
                    let Copies { read, refused } = copies.copied().unwrap_or_default();
                    let dead = read == 0 && refused > 0;
                    facts.dead_letters += u64::from(dead);
                    // A malformed one is where it belongs.
                    (read > 0 || (dead && sent.poison.is_some()), dead && sent.poison.is_none())
                }
                Key::Hash(hash) => (number.is_some_and(|number| self.nameless.is_there(hash, number)), false),
            };
            facts.found += u64::from(there);
            facts.refused += u64::from(refused);
            if !there && !refused {
                facts.times.missing(sent.scheduled, self.ledger.latest);
            }
            facts.given_up += u64::from(sent.given_up);
            if sent.acked.is_some() {
                facts.acknowledged += 1;
                if refused {
                    facts.refused_acknowledged.add(|| key.of(vehicle));
                } else if !there {
                    facts.lost.add(|| key.of(vehicle));
                }
            } else if !sent.given_up {
                facts.unacknowledged += 1;
                facts.unacknowledged_but_stored += u64::from(there);
            }
        }
        for unsent in &self.ledger.unsent {
            let count = if unsent.given_up { &mut facts.given_up } else { &mut facts.unacknowledged };
            *count += 1;
            if let Some(scheduled) = unsent.scheduled {
                facts.times.missing(scheduled, self.ledger.latest);
            }
        }
        self.facts
    }

    /// How many vehicles stand in more than one partition: nobody who reads the topic sees their readings in order.
    fn scattered(&self) -> u64 {
        let mut partitions: HashMap<u32, u32> = HashMap::new();
        self.latest.keys().for_each(|(number, _)| *partitions.entry(*number).or_default() += 1);
        partitions.values().filter(|count| **count > 1).count() as u64
    }
}

/// Reads ledger and Kafka, compares, prints and writes what was found.
///
/// # Errors
/// [`Error::BadInput`] for a ledger that can't be read, [`Error::Unavailable`] if Kafka does not answer,
/// [`Error::VerdictFailed`] if an acknowledged reading is lost or refused, or a reading altered or invented.
pub async fn judge(config: Config) -> Result<(), Error> {
    config.validate()?;
    let judging = tokio::task::spawn_blocking(move || judge_blocking(&config));
    judging.await.map_err(anyhow::Error::from)?
}

fn judge_blocking(config: &Config) -> Result<(), Error> {
    let bad = |error| Error::BadInput(format!("--ledger {}: {error}", config.ledger.display()));
    let began = std::time::Instant::now();
    let mut report = Report::new("audit");
    let ledger = ledger::read(&config.ledger).map_err(bad)?;
    if ledger.torn_bytes > 0 {
        tracing::warn!(bytes = ledger.torn_bytes, "the ledger has torn ends: what stood there is not looked for");
    }
    let mut comparison = Comparison::new(&ledger, config.late_ms)?;
    let unavailable = |error: anyhow::Error| Error::Unavailable {
        flag: "kafka",
        address: config.kafka.clone(),
        detail: format!("{error:#}"),
    };
    let dead_letter_topic = match &config.dead_letter_topic {
        Some(named) => Some(named.clone()),
        None if config.kafka_topic != kafka_topic::TELEMETRY => None,
        // Our own edge's.
        None => {
            let ours = kafka::exists(&config.kafka, kafka_topic::DEAD_LETTER).map_err(unavailable)?;
            ours.then(|| kafka_topic::DEAD_LETTER.to_owned())
        }
    };
    let topics = [(Some(&config.kafka_topic), false), (dead_letter_topic.as_ref(), true)];
    for (kafka_topic, dead_letter) in topics {
        if let Some(kafka_topic) = kafka_topic {
            let read = kafka::read_topic_of(&config.kafka, kafka_topic, |found| comparison.add(found, dead_letter));
            read.with_context(|| format!("read {kafka_topic}")).map_err(unavailable)?;
        }
    }
    let scattered = comparison.scattered();
    let facts = comparison.finish();
    fill(&mut report, config, &ledger, &facts, scattered);
    report.duration_s = began.elapsed().as_secs_f64();
    if let Some(path) = &config.json {
        let written = report.write(path);
        written.map_err(|error| Error::Usage { flag: "json", detail: format!("{}: {error}", path.display()) })?;
    }
    if let Some(path) = &config.html {
        let written = report::page::write(&report, path);
        written.map_err(|error| Error::Usage { flag: "html", detail: format!("{}: {error}", path.display()) })?;
    }
    let text = text(&ledger, &facts, &report, scattered);
    writeln!(std::io::stdout().lock(), "{text}").ok();
    if report.is_ok() {
        return Ok(());
    }
    let verdict = &report.verdicts["G1"];
    let counts: Vec<_> = verdict.counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
    let failed = report.failed().join(", ");
    let detail = format!("{failed}: of {} acknowledged readings: {}", verdict.checked, counts.join(", "));
    Err(Error::VerdictFailed(detail))
}

#[cfg(test)]
mod tests;
