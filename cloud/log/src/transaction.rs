//! Records and offsets that stand in Kafka together or not at all.
//!
//! A transaction is written at once, when all that belongs to it is known: nothing is open while anybody computes. Who
//! may write for a partition is decided by the group: a member's epoch goes with the offsets, and an epoch that has
//! passed is refused. Then the transaction is aborted and written again without the partitions that were given up
//! meanwhile.
//!
//! Whatever else goes wrong is an error that the process should end with: librdkafka does not know KIP-890, so that after
//! a timeout or an unknown outcome a producer is not to be trusted with a further transaction. The next one of the same
//! id ends what was left open.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail};
use rdkafka::{
    ClientContext, Message, Offset, TopicPartitionList,
    client::Client,
    config::RDKafkaLogLevel,
    consumer::ConsumerGroupMetadata,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, DeliveryResult, Producer as _, ProducerContext},
};
use service::Error;
use tokio::sync::oneshot;

use crate::{KafkaConfig, OutRecord, Standing, TopicPartition, client, metrics};

/// Kafka aborts a transaction that has been open for so long, as soon as it looks.
const TIMEOUT_MS: u64 = 10_000;
/// A record that is not delivered by then, or a request not answered, never is; it has to be less.
const DELIVERY_MS: u64 = 8_000;
/// How long one request of ours may take.
const REQUEST: Duration = Duration::from_millis(TIMEOUT_MS);
/// How long it may take to begin: a transaction that was left open under this id is ended first.
const BEGIN: Duration = Duration::from_secs(30);
/// How long the group may refuse us, while it shares out partitions.
const REFUSED: Duration = Duration::from_secs(60);
/// Pause after a refusal.
const PAUSE: Duration = Duration::from_millis(100);
/// How long reports of deliveries are waited for at a time: rdkafka's own ways to wait take a tenth of a second.
const BREATH: Duration = Duration::from_millis(1);

/// What a transaction holds of one partition that was read.
#[derive(Debug, Clone)]
pub struct Part {
    /// The partition.
    pub source: TopicPartition,
    /// [`crate::Assigned::tenure`] that it was read in.
    pub tenure: u64,
    /// What came of it.
    pub records: Vec<OutRecord>,
    /// The offset to commit.
    pub next: i64,
    /// Stands beside the offset: see [`crate::Assigned::note`].
    pub note: String,
}

struct Context;

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::log_error(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        // The transaction fails with it.
        if let Err((error, message)) = result {
            metrics::produce_failed();
            tracing::debug!(kafka_topic = message.topic(), "not delivered: {}", client::reason(error));
        }
    }
}

/// A producer of transactions for a member of a group; one at a time.
#[derive(Clone)]
pub struct Transactions {
    producer: Arc<BaseProducer<Context>>,
    standing: Standing,
}

/// Why an attempt came to nothing, and nothing of it is there.
enum Refused {
    /// The group knows us by another epoch.
    Epoch(String),
    Failed(anyhow::Error),
}

impl Transactions {
    /// Reaches Kafka, and ends what a process before left open under this id. Two that run at a time need two ids: the
    /// later one puts the earlier one out.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if Kafka does not answer in time.
    pub async fn connect(kafka: &KafkaConfig, id: &str, standing: Standing) -> Result<Self, Error> {
        kafka.validate()?;
        let mut config = client::producer(kafka);
        config
            .set("transactional.id", id)
            .set("transaction.timeout.ms", TIMEOUT_MS.to_string())
            .set("message.timeout.ms", DELIVERY_MS.to_string())
            .set("socket.timeout.ms", DELIVERY_MS.to_string())
            // All that there is comes at once.
            .set("linger.ms", "1")
            // Kafka refuses to begin one while it still writes the end of the one before: ask again soon.
            .set("retry.backoff.ms", "10");
        let producer: BaseProducer<Context> = config
            .create_with_context(Context)
            .map_err(|error| anyhow!(error).context("create a Kafka producer of transactions"))?;
        let (producer, kafka) = (Arc::new(producer), kafka.clone());
        let reached = Arc::clone(&producer);
        client::blocking(move || {
            let client: &Client<Context> = reached.client();
            client::reach(client, &kafka, &[])?;
            let begun = reached.init_transactions(BEGIN);
            begun.map_err(|error| kafka.unavailable(format!("begin transactions: {}", client::reason(&error))))
        })
        .await??;
        Ok(Self { producer, standing })
    }

    /// Writes a transaction, in the background. Told is which partitions were left out, because they were given up since
    /// they were read; of these nothing was written.
    ///
    /// # Errors
    /// Whatever went wrong: it is not known then whether the transaction stands.
    pub fn write(&self, parts: Vec<Part>) -> oneshot::Receiver<Result<BTreeSet<TopicPartition>>> {
        let (writer, (told, outcome)) = (self.clone(), oneshot::channel());
        tokio::task::spawn_blocking(move || {
            // Who asked may have ended.
            told.send(writer.write_blocking(parts)).unwrap_or_default();
        });
        outcome
    }

    fn write_blocking(&self, mut parts: Vec<Part>) -> Result<BTreeSet<TopicPartition>> {
        let (began, mut left_out) = (Instant::now(), BTreeSet::new());
        loop {
            let (metadata, ours) = self.standing.now()?;
            parts.retain(|part| {
                let is_ours = ours.get(&part.source) == Some(&part.tenure);
                if !is_ours {
                    left_out.insert(part.source.clone());
                }
                is_ours
            });
            if parts.is_empty() {
                return Ok(left_out);
            }
            match self.attempt(&parts, &metadata) {
                Ok(()) => return Ok(left_out),
                Err(Refused::Epoch(reason)) if began.elapsed() < REFUSED => {
                    tracing::info!(reason, "the group is sharing out partitions; the transaction is written again");
                    std::thread::sleep(PAUSE);
                }
                Err(Refused::Epoch(reason)) => bail!("the group refuses our offsets: {reason}"),
                Err(Refused::Failed(error)) => return Err(error.context("a transaction failed")),
            }
        }
    }

    fn attempt(&self, parts: &[Part], metadata: &ConsumerGroupMetadata) -> Result<(), Refused> {
        let began = Instant::now();
        // Until it is asked for its end, it is certain that it does not stand.
        let failed = |what: &'static str| move |error| Refused::Failed(self.give_up(&error, true).context(what));
        let begun = self.producer.begin_transaction();
        begun.map_err(|error| Refused::Failed(anyhow!(told(&error)).context("begin")))?;
        for record in parts.iter().flat_map(|part| &part.records) {
            self.queue(record).map_err(failed("queue a record"))?;
        }
        let offsets = offsets(parts).map_err(failed("name the offsets"))?;
        if let Err(error) = self.producer.send_offsets_to_transaction(&offsets, metadata, REQUEST) {
            if !is_of_epoch(&error) {
                return Err(failed("send the offsets")(error));
            }
            self.abort().map_err(|error| Refused::Failed(anyhow!(told(&error)).context("abort")))?;
            return Err(Refused::Epoch(client::reason(&error)));
        }
        self.await_reports();
        let committed = self.producer.commit_transaction(REQUEST);
        committed.map_err(|error| Refused::Failed(self.give_up(&error, false).context("commit")))?;
        metrics::transaction(began.elapsed().as_secs_f64());
        let records: usize = parts.iter().map(|part| part.records.len()).sum();
        tracing::debug!(records, parts = parts.len(), took = ?began.elapsed(), "a transaction stands");
        Ok(())
    }

    fn queue(&self, out: &OutRecord) -> Result<(), KafkaError> {
        let began = Instant::now();
        loop {
            let Err((error, _)) = self.producer.send(out.to_send(())) else { return Ok(()) };
            let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            if !is_full || began.elapsed() > REQUEST {
                return Err(error);
            }
            self.producer.poll(BREATH);
        }
    }

    /// Waits until it is known of every record what became of it.
    fn await_reports(&self) {
        let began = Instant::now();
        while self.producer.in_flight_count() > 0 && began.elapsed() < REQUEST {
            self.producer.poll(BREATH);
        }
    }

    /// Ends a transaction that does not stand. librdkafka throws away what is not sent yet, then waits for whoever takes
    /// the reports of all that: that is us, meanwhile. To wait for them before would mean until they are too old.
    fn abort(&self) -> Result<(), KafkaError> {
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Acquire) {
                    self.producer.poll(BREATH);
                }
            });
            let aborted = self.producer.abort_transaction(REQUEST);
            is_done.store(true, Ordering::Release);
            aborted
        })
    }

    /// Ends a transaction of which it is certain that it does not stand, so that no reader waits for its timeout.
    fn give_up(&self, error: &KafkaError, is_certain: bool) -> anyhow::Error {
        let (is_fatal, wants_abort) = match error {
            KafkaError::Transaction(error) => (error.is_fatal(), error.txn_requires_abort()),
            _ => (false, false),
        };
        if !is_fatal
            && (is_certain || wants_abort)
            && let Err(error) = self.abort()
        {
            tracing::debug!("abort: {}", client::reason(&error));
        }
        anyhow!(told(error))
    }
}

fn told(error: &KafkaError) -> String {
    match error {
        KafkaError::Transaction(transaction) => format!("{}: {}", transaction.name(), transaction.string()),
        other => client::reason(other),
    }
}

/// Whether the group has refused offsets because of our epoch.
fn is_of_epoch(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{FencedMemberEpoch, IllegalGeneration, StaleMemberEpoch, UnknownMemberId};
    let KafkaError::Transaction(error) = error else { return false };
    let known = [FencedMemberEpoch, IllegalGeneration, StaleMemberEpoch, UnknownMemberId];
    error.txn_requires_abort() && known.contains(&error.code())
}

fn offsets(parts: &[Part]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for Part { source: (name, partition), next, note, .. } in parts {
        let mut element = list.add_partition(name, *partition);
        element.set_offset(Offset::Offset(*next))?;
        element.set_metadata(note);
    }
    Ok(list)
}

impl std::fmt::Debug for Transactions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transactions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod refused;
