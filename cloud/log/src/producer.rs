//! The producer: idempotent, bounded, and silent about nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use rdkafka::{
    ClientContext, Message,
    client::Client,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{DeliveryResult, Producer as _, ProducerContext, ThreadedProducer},
};
use service::{Backoff, Error};
use tokio::sync::{Notify, oneshot};

use crate::{KafkaConfig, OutRecord, client, metrics};

/// Marks a record whose fate is told by [`Producer::flush`]; others have a number from 1 on.
const FLUSHED: usize = 0;

/// Set in the number of a record whose delivery is told to somebody besides: its failure is told by [`Producer::flush`].
const WATCHED: usize = 1 << (usize::BITS - 8);
/// Records are counted by generation, which a [`Barrier`] ends; so many can be told apart.
const GENERATIONS: usize = 4;

/// What became of one record.
type Fate = std::result::Result<(), String>;

/// Counts what was queued and what came of it.
#[derive(Default)]
struct Deliveries {
    /// Queued and not reported yet, by generation.
    outstanding: [AtomicU64; GENERATIONS],
    /// The generation of what is queued now.
    generation: AtomicUsize,
    /// Since the last flush.
    failures: Mutex<Failures>,
    settled: Notify,
    /// Who waits for the fate of one record, by its number.
    awaited: Mutex<HashMap<usize, oneshot::Sender<Fate>>>,
    last_number: AtomicUsize,
    /// Who watches the delivery of one record, by its number.
    watched: Mutex<HashMap<usize, oneshot::Sender<()>>>,
}

#[derive(Default)]
struct Failures {
    count: u64,
    first: Option<String>,
}

impl Deliveries {
    fn awaited(&self) -> MutexGuard<'_, HashMap<usize, oneshot::Sender<Fate>>> {
        // No code panics while it holds the lock.
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<usize, oneshot::Sender<()>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, number: usize, fate: Fate) {
        if number & WATCHED != 0 {
            // Dropped where it failed: the watcher learns that there is no delivery.
            if let Some(watcher) = self.watched().remove(&number).filter(|_| fate.is_ok()) {
                watcher.send(()).unwrap_or_default();
            }
            return self.tell(FLUSHED, fate);
        }
        if number != FLUSHED {
            if let Some(waiting) = self.awaited().remove(&number) {
                // Whoever asked may have given up.
                waiting.send(fate).unwrap_or_default();
            }
        } else if let Err(reason) = fate {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            failures.count += 1;
            failures.first.get_or_insert(reason);
        }
    }

    fn settle(&self, generation: usize) {
        if self.outstanding[generation].fetch_sub(1, Ordering::AcqRel) == 1 {
            self.settled.notify_waiters();
        }
    }

    fn outstanding(&self) -> u64 {
        self.outstanding.iter().map(|count| count.load(Ordering::Acquire)).sum()
    }

    /// Ends the generation; none while too many are under way.
    fn barrier(&self) -> Option<Barrier> {
        let now = self.generation.load(Ordering::Acquire);
        let next = &self.outstanding[(now + 1) % GENERATIONS];
        (next.load(Ordering::Acquire) == 0).then(|| {
            self.generation.store(now + 1, Ordering::Release);
            Barrier(now)
        })
    }

    /// Whether all generations up to this one are reported.
    fn passed(&self, Barrier(ended): &Barrier) -> bool {
        let now = self.generation.load(Ordering::Acquire);
        let later: Vec<usize> = (ended + 1..=now).map(|generation| generation % GENERATIONS).collect();
        let earlier = (0..GENERATIONS).filter(|slot| !later.contains(slot));
        earlier.map(|slot| self.outstanding[slot].load(Ordering::Acquire)).sum::<u64>() == 0
    }

    /// What failed since the last time.
    fn failed(&self) -> Result<()> {
        let failures = std::mem::take(&mut *self.failures.lock().unwrap_or_else(PoisonError::into_inner));
        match failures.first {
            None => Ok(()),
            Some(first) => bail!("{} records could not be delivered; the first: {first}", failures.count),
        }
    }
}

/// Stands behind everything that was queued before: see [`Producer::barrier`].
#[derive(Debug, PartialEq, Eq)]
pub struct Barrier(usize);

/// Takes the number back when nobody waits any more, whether or not the record was queued.
struct Awaited<'a> {
    deliveries: &'a Deliveries,
    number: usize,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.deliveries.awaited().remove(&self.number);
    }
}

struct Context(Arc<Deliveries>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::log_error(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let (number, generation) = (opaque / GENERATIONS, opaque % GENERATIONS);
        let fate = result.as_ref().map(|_| ()).map_err(|(error, message)| {
            metrics::produce_failed();
            format!("{}: {}", message.topic(), client::reason(error))
        });
        self.0.tell(number, fate);
        self.0.settle(generation);
    }
}

/// An idempotent producer: no record is written twice or out of order by a retry.
///
/// A record waits in the queue for as long as Kafka is away; the queue is bounded, and when it is full
/// [`Producer::send`] waits. Dropping a producer gives up what is still queued: [`Producer::flush`] before.
pub struct Producer {
    inner: ThreadedProducer<Context>,
    deliveries: Arc<Deliveries>,
}

impl Producer {
    /// Reaches Kafka.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if Kafka does not answer within the connect timeout.
    pub async fn connect(kafka: &KafkaConfig) -> Result<Self, Error> {
        kafka.validate()?;
        let deliveries = Arc::new(Deliveries::default());
        let mut config = client::producer(kafka);
        // For ever: a record that timed out would leave a gap, and may have been written all the same.
        config.set("message.timeout.ms", "0");
        let inner: ThreadedProducer<Context> = config
            .create_with_context(Context(Arc::clone(&deliveries)))
            .map_err(|error| anyhow!(error).context("create a Kafka producer"))?;
        let (reached, kafka) = (inner.clone(), kafka.clone());
        client::blocking(move || {
            let client: &Client<Context> = reached.client();
            client::reach(client, &kafka, &[])
        })
        .await??;
        Ok(Self { inner, deliveries })
    }

    /// Queues a record; waits while the queue is full.
    ///
    /// # Errors
    /// If the record can't be queued (too large, or the producer failed for good). Whether a queued record
    /// was delivered is told by [`Producer::flush`].
    pub async fn send(&self, out: OutRecord) -> Result<()> {
        self.queue(&out, FLUSHED).await
    }

    /// As [`Producer::send`]; the receiver is told the moment of the delivery, for who measures. Where the delivery fails
    /// it is told nothing, and [`Producer::flush`] tells why.
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub async fn send_watched(&self, out: OutRecord) -> Result<oneshot::Receiver<()>> {
        let number = WATCHED | self.deliveries.last_number.fetch_add(1, Ordering::Relaxed);
        let (watcher, delivered) = oneshot::channel();
        self.deliveries.watched().insert(number, watcher);
        let queued = self.queue(&out, number).await;
        if queued.is_err() {
            self.deliveries.watched().remove(&number);
        }
        queued.map(|()| delivered)
    }

    /// Writes one record and waits until Kafka has confirmed it, for as long as Kafka is away. Others' failures do
    /// not count here, nor this one's in [`Producer::flush`]. A caller that gives up does not take the record back:
    /// it may be written later.
    ///
    /// # Errors
    /// If the record can't be queued, or its delivery failed.
    pub async fn deliver(&self, out: OutRecord) -> Result<()> {
        let number = self.deliveries.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        let (told, fate) = oneshot::channel();
        self.deliveries.awaited().insert(number, told);
        let _forgotten_at_the_end = Awaited { deliveries: &self.deliveries, number };
        self.queue(&out, number).await?;
        fate.await.context("the producer has ended")?.map_err(|reason| anyhow!(reason))
    }

    /// The cluster's id, as its first broker made it; none if Kafka does not tell in time.
    ///
    /// # Errors
    /// If the runtime ends.
    pub async fn cluster_id(&self) -> Result<Option<String>> {
        let asked = self.inner.clone();
        client::blocking(move || {
            let client: &Client<Context> = asked.client();
            client.fetch_cluster_id(client::REQUEST_TIMEOUT)
        })
        .await
    }

    async fn queue(&self, out: &OutRecord, number: usize) -> Result<()> {
        let mut backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(50));
        loop {
            let generation = self.deliveries.generation.load(Ordering::Acquire) % GENERATIONS;
            let opaque = number * GENERATIONS + generation;
            let record = out.to_send(opaque);
            // Before the call: the report may come before it returns.
            self.deliveries.outstanding[generation].fetch_add(1, Ordering::AcqRel);
            let Err((error, _)) = self.inner.send(record) else { return Ok(()) };
            self.deliveries.settle(generation);
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                bail!("{}: {}", out.kafka_topic, client::reason(&error));
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// Waits until every record that was queued before is delivered, for as long as Kafka is away.
    ///
    /// # Errors
    /// If a delivery failed since the last flush: the first reason and the number.
    pub async fn flush(&self) -> Result<()> {
        loop {
            let mut settled = std::pin::pin!(self.deliveries.settled.notified());
            settled.as_mut().enable();
            if self.deliveries.outstanding() == 0 {
                break;
            }
            settled.await;
        }
        self.deliveries.failed()
    }

    /// Puts a barrier behind what was queued before, so that its delivery can be asked for while more is queued. None
    /// while several are under way: try again later.
    pub fn barrier(&self) -> Option<Barrier> {
        self.deliveries.barrier()
    }

    /// Whether everything before the barrier is delivered.
    ///
    /// # Errors
    /// If a delivery failed since the last flush, before the barrier or behind it.
    pub fn passed(&self, barrier: &Barrier) -> Result<bool> {
        let passed = self.deliveries.passed(barrier);
        self.deliveries.failed().map(|()| passed)
    }

    /// Records that are queued and not delivered yet.
    pub fn outstanding(&self) -> u64 {
        self.deliveries.outstanding()
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("outstanding", &self.outstanding()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fate_of_one_record_is_told_to_whoever_waits_for_it_and_to_nobody_else() {
        let deliveries = Deliveries::default();
        let (told, mut fate) = oneshot::channel();
        deliveries.awaited().insert(1, told);
        let waiting = Awaited { deliveries: &deliveries, number: 2 };
        deliveries.tell(FLUSHED, Err("flushed".into()));
        deliveries.tell(1, Err("alone".into()));
        assert_eq!(fate.try_recv(), Ok(Err("alone".into())));
        let failures = deliveries.failures.lock().unwrap();
        assert_eq!((failures.count, failures.first.as_deref()), (1, Some("flushed")));
        drop(waiting);
        deliveries.tell(2, Ok(()));
        drop(failures);
        for (number, fate) in [(WATCHED, Ok(())), (WATCHED | 1, Err("watched".to_owned()))] {
            let (watcher, mut delivered) = oneshot::channel();
            deliveries.watched().insert(number, watcher);
            let told = fate.is_ok();
            deliveries.tell(number, fate);
            assert_eq!(delivered.try_recv().is_ok(), told);
        }
        assert_eq!(deliveries.failures.lock().unwrap().count, 2, "the watched record's failure counts for the flush");
        assert!(deliveries.watched().is_empty());
        assert!(deliveries.awaited().is_empty());
    }

    #[test]
    fn a_barrier_is_passed_once_all_before_it_is_delivered_whatever_comes_behind() {
        let deliveries = Deliveries::default();
        let queue = || {
            let generation = deliveries.generation.load(Ordering::Acquire) % GENERATIONS;
            deliveries.outstanding[generation].fetch_add(1, Ordering::AcqRel);
            generation
        };
        for _ in 0..3 {
            let (first, second) = (queue(), queue());
            let barrier = deliveries.barrier().unwrap();
            let behind = queue();
            deliveries.settle(second);
            assert!(!deliveries.passed(&barrier));
            let next = deliveries.barrier().unwrap();
            deliveries.settle(first);
            assert!(deliveries.passed(&barrier) && !deliveries.passed(&next));
            deliveries.settle(behind);
            assert!(deliveries.passed(&next) && deliveries.outstanding() == 0);
        }
        // One record that takes long: its slot is not used again.
        let slow = queue();
        let barriers: Vec<_> = (0..GENERATIONS).map_while(|_| deliveries.barrier()).collect();
        assert_eq!(barriers.len(), GENERATIONS - 1);
        assert!(barriers.iter().all(|barrier| !deliveries.passed(barrier)));
        deliveries.settle(slow);
        assert!(barriers.iter().all(|barrier| deliveries.passed(barrier)) && deliveries.barrier().is_some());
    }
}
