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

use anyhow::{Result, anyhow, bail};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};
use service::Error;
use tokio::sync::mpsc;

use crate::{
    InRecord, KafkaConfig,
    client::{self, Names, Quiet, REQUEST_TIMEOUT},
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

/// First and next offsets of the partitions. Blocks.
pub(crate) fn watermarks(
    consumer: &BaseConsumer<Quiet>,
    kafka_topic: &str,
    partitions: &[i32],
) -> Result<BTreeMap<i32, (i64, i64)>> {
    let ask = |partition: &i32| {
        let marks = consumer.fetch_watermarks(kafka_topic, *partition, REQUEST_TIMEOUT);
        let marks = marks.map_err(|error| anyhow!("{kafka_topic}/{partition}: {}", client::reason(&error)))?;
        Ok((*partition, marks))
    };
    partitions.iter().map(ask).collect()
}

/// A consumer without a group that has found Kafka and the topic, with the topic's partitions.
pub(crate) async fn connect(
    kafka: &KafkaConfig,
    kafka_topic: &str,
) -> Result<(Arc<BaseConsumer<Quiet>>, Vec<i32>), Error> {
    kafka.validate()?;
    // librdkafka wants a name even where no group is joined and nothing is committed.
    let mut config = client::consumer(kafka, "motorcade-replay");
    config.set("enable.partition.eof", "true").set("auto.offset.reset", "error");
    let consumer: BaseConsumer<Quiet> =
        config.create_with_context(Quiet).map_err(|error| anyhow!(error).context("create a Kafka consumer"))?;
    let consumer = Arc::new(consumer);
    let (reached, kafka, name) = (Arc::clone(&consumer), kafka.clone(), kafka_topic.to_owned());
    let found = client::blocking(move || {
        let found = client::reach(reached.client(), &kafka, &[&name]);
        // The last handle must not be dropped on the runtime, where closing would block; here it may be.
        drop(reached);
        found
    })
    .await??;
    let partitions = found.into_iter().next().map(|(_, partitions)| partitions).unwrap_or_default();
    Ok((consumer, partitions))
}

/// The receiving end of the thread.
pub(crate) struct Replay {
    steps: mpsc::Receiver<Step>,
    stop: Arc<AtomicBool>,
}

impl Replay {
    /// Starts the thread. `live`: go on after every partition is reached.
    pub(crate) fn start(
        consumer: Arc<BaseConsumer<Quiet>>,
        kafka_topic: &str,
        spans: &BTreeMap<i32, Span>,
        live: bool,
    ) -> Result<Self> {
        let (sender, steps) = mpsc::channel(CHANNEL);
        let stop = Arc::new(AtomicBool::new(false));
        let thread = Thread {
            consumer,
            names: Names::default(),
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
    consumer: Arc<BaseConsumer<Quiet>>,
    names: Names,
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
            self.consumer.assign(&assignment)?;
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
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    let record = client::copy(&message, &mut self.names);
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
