//! Guarantee G2: the twins are the fold of the log, document by document as readers see them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use cloud_log::{History, KafkaConfig};
use serde::Serialize;
use service::Error;
use store::{Store, Twin, twin::MAX_PAGE};
use telemetry::{VehicleId, kafka_topic::TELEMETRY};

use crate::{naive::Log, role::reading};

/// The most differences that a report shows.
const SHOWN: usize = 20;
const PAUSE: Duration = Duration::from_millis(300);
const CHUNK: usize = 1_000;

/// What a comparison found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether no twin differs.
    pub ok: bool,
    /// Vehicles that were compared.
    pub checked: u64,
    /// How many of them differ.
    pub differing: u64,
    /// The first 20 of those.
    pub different: Vec<Difference>,
    /// Vehicles whose last `full` record the log no longer holds: there is nothing to compare with.
    pub unjudged: u64,
    /// Records of the log that were folded.
    pub records: u64,
    /// Records that can't be read, which the twin writer refuses too.
    pub unreadable: u64,
}

/// A twin that is not the fold of the log.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// Whose.
    pub vehicle: VehicleId,
    /// The fold of the log.
    pub log: Option<Twin>,
    /// The document.
    pub twin: Option<Twin>,
}

/// The log, as far as it was read.
struct Reader<'a> {
    kafka: &'a KafkaConfig,
    log: Log,
    read_to: BTreeMap<i32, i64>,
    /// Whether retention has removed records already.
    cut: bool,
    records: u64,
    unreadable: u64,
}

/// Compares every twin with the fold of the log.
///
/// It may run while vehicles send: what differs is compared again, with what the log holds then, until it is
/// equal or `patience` is over. A vehicle that was equal once is done.
///
/// # Errors
/// [`Error::Unavailable`] if Kafka can't be reached; [`Error::Internal`] if reading fails.
pub async fn verify(kafka: &KafkaConfig, store: &Store, patience: Duration) -> Result<Report, Error> {
    let mut reader =
        Reader { kafka, log: Log::default(), read_to: BTreeMap::new(), cut: false, records: 0, unreadable: 0 };
    let deadline = Instant::now() + patience;
    reader.catch_up().await?;
    let mut left = all_twins(store).await?;
    for vehicle in reader.log.vehicles() {
        left.entry(vehicle.clone()).or_insert(None);
    }
    let (mut checked, mut unjudged) = (left.len() as u64, BTreeSet::new());
    loop {
        left.retain(|vehicle, twin| {
            let judged = !reader.cut || reader.log.has_full(vehicle);
            if !judged {
                unjudged.insert(vehicle.clone());
            }
            judged && reader.log.twin(vehicle) != without_status(twin.clone())
        });
        if left.is_empty() || Instant::now() >= deadline {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        for (vehicle, twin) in &mut left {
            *twin = store.twin(vehicle).await?;
        }
        // After the twins: a record in a twin is then in the log that it is compared with.
        reader.catch_up().await?;
    }
    checked -= unjudged.len() as u64;
    let difference = |(vehicle, twin): (&VehicleId, &Option<Twin>)| Difference {
        vehicle: vehicle.clone(),
        log: reader.log.twin(vehicle),
        twin: without_status(twin.clone()),
    };
    Ok(Report {
        ok: left.is_empty(),
        checked,
        differing: left.len() as u64,
        different: left.iter().take(SHOWN).map(difference).collect(),
        unjudged: unjudged.len() as u64,
        records: reader.records,
        unreadable: reader.unreadable,
    })
}

/// The part that comes from `telemetry`; `vehicle-status` is compacted, its past is gone. A document of a
/// vehicle that never sent a reading is none.
fn without_status(twin: Option<Twin>) -> Option<Twin> {
    twin.filter(|twin| twin.last.is_some()).map(|twin| Twin { status: None, ..twin })
}

async fn all_twins(store: &Store) -> Result<BTreeMap<VehicleId, Option<Twin>>> {
    let mut all = BTreeMap::new();
    loop {
        let after: Option<&VehicleId> = all.last_key_value().map(|(vehicle, _)| vehicle);
        let page = store.twins(after, MAX_PAGE).await?;
        let last = page.len() < MAX_PAGE;
        all.extend(page.into_iter().map(|twin| (twin.vehicle.clone(), Some(twin))));
        if last {
            return Ok(all);
        }
    }
}

impl Reader<'_> {
    /// Folds what the log holds beyond what was read.
    async fn catch_up(&mut self) -> Result<(), Error> {
        let marks = History::watermarks(self.kafka, TELEMETRY).await?;
        let mut ranges: BTreeMap<i32, Range<i64>> = BTreeMap::new();
        for (partition, (low, high)) in marks {
            self.cut |= low > 0;
            let from = self.read_to.insert(partition, high).unwrap_or(low);
            if from < high {
                ranges.insert(partition, from..high);
            }
        }
        if ranges.is_empty() {
            return Ok(());
        }
        let mut history = History::open(self.kafka, TELEMETRY, ranges).await?;
        while let Some(records) = history.next(CHUNK).await.context("read the log")? {
            for record in records {
                let Some(payload) = &record.payload else { continue };
                match reading(&record, payload) {
                    Ok(reading) if i64::try_from(reading.seq).is_ok() => {
                        self.records += 1;
                        self.log.add(reading, record.partition, record.offset, record.timestamp);
                    }
                    _ => self.unreadable += 1,
                }
            }
        }
        Ok(())
    }
}
