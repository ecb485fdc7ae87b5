//! The thread below [`crate::History`] and [`crate::Tail`]: reads given partitions of one topic from given
//! offsets, without a group, into a bounded channel.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode},
};
use service::Error;
use tokio::sync::mpsc;

use crate::{
    InRecord, KafkaConfig,
    client::{self, Copies, REQUEST_TIMEOUT, Reader},
};

/// Chunks that wait for the reader: at most so many times [`CHUNK_RECORDS`] or [`CHUNK_BYTES`].
const CHANNEL: usize = 8;
const CHUNK_RECORDS: usize = 500;
const CHUNK_BYTES: usize = 1024 * 1024;

/// Where one partition begins and ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) from: i64,
    /// Everything below it is delivered before the partition counts as reached.
    pub(crate) to: i64,
}

pub(crate) enum Step {
    Records(Vec<InRecord>),
    /// Every partition has reached its `to`. A bounded replay ends with it.
    Reached,
    Failed(String),
}

/// Of every partition the first offset that is there and the offset after the last readable record.
pub type Marks = BTreeMap<i32, (i64, i64)>;

/// First and next offsets of the partitions.
pub(crate) async fn watermarks(
    reader: &Arc<Reader>,
    kafka: &KafkaConfig,
    kafka_topic: &str,
    partitions: Vec<i32>,
) -> Result<Marks, Error> {
    let (reader, kafka, name) = (Arc::clone(reader), kafka.clone(), kafka_topic.to_owned());
    client::blocking(move || {
        let consumer = reader.consumer()?;
        let ask = |partition: i32| {
            let marks = consumer.fetch_watermarks(&name, partition, REQUEST_TIMEOUT);
            let marks =
                marks.map_err(|error| kafka.unavailable(format!("{name}/{partition}: {}", client::reason(&error))))?;
            Ok((partition, marks))
        };
        partitions.into_iter().map(ask).collect()
    })
    .await?
}

/// The topic's partitions, once Kafka answers and has the topic.
pub(crate) async fn reach(reader: &Arc<Reader>, kafka: &KafkaConfig, kafka_topic: &str) -> Result<Vec<i32>, Error> {
    let (reader, kafka, name) = (Arc::clone(reader), kafka.clone(), kafka_topic.to_owned());
    let found = client::blocking(move || client::reach(reader.consumer()?.client(), &kafka, &[&name])).await??;
    Ok(found.into_values().next().unwrap_or_default())
}

/// A consumer without a group.
pub(crate) fn create(kafka: &KafkaConfig) -> Result<Arc<Reader>, Error> {
    create_with(kafka, &[("enable.partition.eof", "true")])
}

/// One that learns soon that there is no more: behind a transaction's marker only an empty answer tells.
fn create_bounded(kafka: &KafkaConfig) -> Result<Arc<Reader>, Error> {
    create_with(kafka, &[("enable.partition.eof", "true"), ("fetch.wait.max.ms", "20")])
}

/// One that sees the ends that open transactions have not reached yet. To ask, not to read.
pub(crate) fn create_uncommitted(kafka: &KafkaConfig) -> Result<Arc<Reader>, Error> {
    create_with(kafka, &[("isolation.level", "read_uncommitted")])
}

fn create_with(kafka: &KafkaConfig, settings: &[(&str, &str)]) -> Result<Arc<Reader>, Error> {
    kafka.validate()?;
    // librdkafka wants a name even where no group is joined and nothing is committed.
    let mut config = client::consumer(kafka, "motorcade-replay");
    config.set("auto.offset.reset", "error");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    Ok(Arc::new(Reader::create(&config)?))
}

/// A consumer without a group that has found Kafka and the topic, with the topic's partitions. `live`: it goes on where
/// the log ends.
pub(crate) async fn connect(
    kafka: &KafkaConfig,
    kafka_topic: &str,
    live: bool,
) -> Result<(Arc<Reader>, Vec<i32>), Error> {
    let reader = if live { create(kafka) } else { create_bounded(kafka) }?;
    let partitions = reach(&reader, kafka, kafka_topic).await?;
    Ok((reader, partitions))
}

/// The receiving end of the thread.
pub(crate) struct Replay {
    steps: mpsc::Receiver<Step>,
    stop: Arc<AtomicBool>,
}

impl Replay {
    /// Starts the thread. `live`: go on after every partition is reached.
    pub(crate) fn start(
        reader: Arc<Reader>,
        kafka_topic: &str,
        spans: &BTreeMap<i32, Span>,
        live: bool,
    ) -> Result<Self> {
        let (sender, steps) = mpsc::channel(CHANNEL);
        let stop = Arc::new(AtomicBool::new(false));
        let thread = Thread {
            reader,
            copies: Copies::apart(),
            kafka_topic: kafka_topic.to_owned(),
            positions: spans.iter().map(|(partition, span)| (*partition, span.from)).collect(),
            open: spans.iter().filter(|(_, span)| span.from < span.to).map(|(p, span)| (*p, span.to)).collect(),
            live,
            announced: false,
            sender,
            stop: Arc::clone(&stop),
        };
        std::thread::Builder::new().name("kafka-replay".into()).spawn(move || thread.run())?;
        Ok(Self { steps, stop })
    }

    /// The next step; none once a bounded replay has told that it is through. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Step> {
        self.steps.recv().await
    }

    pub(crate) fn try_next(&mut self) -> Option<Step> {
        self.steps.try_recv().ok()
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Thread {
    reader: Arc<Reader>,
    copies: Copies,
    kafka_topic: String,
    /// Next offset expected per partition.
    positions: BTreeMap<i32, i64>,
    /// Partitions that are not through yet, with their ends.
    open: BTreeMap<i32, i64>,
    live: bool,
    /// That every partition is through.
    announced: bool,
    sender: mpsc::Sender<Step>,
    stop: Arc<AtomicBool>,
}

impl Thread {
    fn run(mut self) {
        if let Err(error) = self.read() {
            // Where nobody listens any more, nobody needs the reason.
            drop(self.sender.blocking_send(Step::Failed(format!("{error:#}"))));
        }
    }

    fn read(&mut self) -> Result<()> {
        let mut assignment = TopicPartitionList::new();
        for (partition, from) in &self.positions {
            assignment.add_partition_offset(&self.kafka_topic, *partition, Offset::Offset(*from))?;
        }
        if !self.open.is_empty() || self.live {
            self.reader.consumer()?.assign(&assignment)?;
        }
        while !self.stop.load(Ordering::Relaxed) && !self.sender.is_closed() {
            if self.open.is_empty() && !self.announced {
                self.announced = true;
                if self.sender.blocking_send(Step::Reached).is_err() || !self.live {
                    return Ok(());
                }
            }
            let chunk = self.chunk()?;
            if !chunk.is_empty() && self.sender.blocking_send(Step::Records(chunk)).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What arrives at once, after at most 100 ms.
    fn chunk(&mut self) -> Result<Vec<InRecord>> {
        let (mut chunk, mut bytes, mut wait) = (Vec::new(), 0, Duration::from_millis(100));
        while chunk.len() < CHUNK_RECORDS && bytes < CHUNK_BYTES {
            match self.reader.consumer()?.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    let record = self.copies.of(&message);
                    if self.take(&record) {
                        bytes += record.size();
                        chunk.push(record);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    // The log's end lies at or beyond the range's: both consumers' opens see to it, with the
                    // end that read_committed sees. The last offsets may hold no record (compaction,
                    // transaction markers).
                    self.open.remove(&partition);
                }
                Some(Err(error)) => dispose(&error)?,
            }
            // Every partition is through: told at once, not after the next wait.
            if self.open.is_empty() && !self.announced {
                break;
            }
            wait = Duration::ZERO;
        }
        Ok(chunk)
    }

    /// Whether the record lies in its partition's range.
    fn take(&mut self, record: &InRecord) -> bool {
        let end = self.open.get(&record.partition).copied();
        self.positions.insert(record.partition, record.offset + 1);
        if end.is_some_and(|end| record.offset + 1 >= end) {
            self.open.remove(&record.partition);
        }
        self.live || end.is_some_and(|end| record.offset < end)
    }
}

/// An error that passes is logged, one that stays ends the replay.
fn dispose(error: &KafkaError) -> Result<()> {
    use RDKafkaErrorCode::{AutoOffsetReset, TopicAuthorizationFailed, UnknownPartition, UnknownTopic};
    match error {
        KafkaError::MessageConsumption(
            AutoOffsetReset | TopicAuthorizationFailed | UnknownTopic | UnknownPartition,
        )
        | KafkaError::MessageConsumptionFatal(_) => bail!("{}", client::reason(error)),
        _ => {
            client::log_error(error, "reading goes on");
            Ok(())
        }
    }
}
