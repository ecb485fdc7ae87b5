//! Reading `vehicle-commands`: a consumer on a thread of its own, in the group `edge-commands.<id>`, which is the same
//! for an edge and its standby.
//!
//! The loop never waits for it, nor it for the loop: what came goes into a bounded channel, and while that is full the
//! partitions are paused. The group begins at its commit; without one at the first record. The thread goes on by
//! itself when Kafka was away, and begins anew after an error that ends a consumer.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use mio::Waker;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
};
use service::{Backoff, Error};
use telemetry::{Invalid, Reason, UnixMillis, kafka_topic::VEHICLE_COMMANDS};

use super::{
    dead_letter::DeadLetters,
    group::{Context, Group, locked},
    open::{Command, Place},
    record,
};
use crate::config::Config;

/// Events that wait for the loop.
const CHANNEL: usize = 256;
/// Dead letters on their way, above which no more records are read.
const MOST_LETTERS: usize = 256;
/// How long a poll waits for a record where nothing else is to be done, and where something is.
const IDLE: Duration = Duration::from_millis(100);
const BUSY: Duration = Duration::from_millis(10);
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// What the thread tells, in order.
#[derive(Debug)]
pub(super) enum Event {
    /// A record; without a command where it can't be read.
    Read { place: Place, command: Option<Command> },
    /// The dead letter of an unreadable one is in Kafka.
    Buried { place: Place, reason: Reason },
    /// The partition is not ours any more.
    Revoked { partition: i32 },
}

/// A command that can't be published, and why.
pub(super) struct Unfit {
    pub(super) place: Place,
    pub(super) command: Command,
    pub(super) invalid: Invalid,
}

/// What the loop and the thread share.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// No more records are wanted just now.
    full: AtomicBool,
    ended: AtomicBool,
    /// Next offsets that are to be committed, by partition.
    wanted: Mutex<BTreeMap<i32, i64>>,
    /// Bounded by the records that are open.
    unfit: Mutex<Vec<Unfit>>,
}

impl Shared {
    fn wanted(&self) -> MutexGuard<'_, BTreeMap<i32, i64>> {
        // An assignment can't leave it half done.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unfit(&self) -> MutexGuard<'_, Vec<Unfit>> {
        // Nor can a push or a take.
        self.unfit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The loop's side of the thread. Dropping it ends the thread in the background.
pub(super) struct Reader {
    events: Receiver<Event>,
    shared: Arc<Shared>,
}

impl Reader {
    /// Starts the thread, which reaches for Kafka and wakes the loop when something came.
    pub(super) fn start(config: &Config, waker: Arc<Waker>) -> Result<Self, Error> {
        let (sender, events) = sync_channel(CHANNEL);
        let shared = Arc::<Shared>::default();
        let member = Member {
            settings: settings(config)?,
            letters: DeadLetters::new(config)?,
            max_age_ms: i64::try_from(config.commands.command_max_age_ms).unwrap_or(i64::MAX),
            shared: Arc::clone(&shared),
            group: Arc::default(),
            sender,
            waker,
            held: VecDeque::new(),
            paused: false,
            committed: BTreeMap::new(),
            committed_at: Instant::now(),
        };
        std::thread::Builder::new()
            .name("commands".to_owned())
            .spawn(move || member.run())
            .context("a thread for commands")?;
        Ok(Self { events, shared })
    }

    /// What came, if something did.
    pub(super) fn next(&self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Whether records may stay in Kafka for now. A few are on their way and still come.
    pub(super) fn pause(&self, full: bool) {
        self.shared.full.store(full, Ordering::Release);
    }

    /// These next offsets are to be committed, soon.
    pub(super) fn commit(&self, next_offsets: BTreeMap<i32, i64>) {
        *self.shared.wanted() = next_offsets;
    }

    /// Its dead letter is to be written; [`Event::Buried`] follows.
    pub(super) fn bury(&self, unfit: Unfit) {
        self.shared.unfit().push(unfit);
    }

    /// Commits, leaves the group, ends.
    pub(super) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread.
struct Member {
    settings: ClientConfig,
    letters: DeadLetters,
    max_age_ms: i64,
    shared: Arc<Shared>,
    group: Arc<Mutex<Group>>,
    sender: SyncSender<Event>,
    waker: Arc<Waker>,
    /// What the channel had no room for, in order. Above it the partitions are paused.
    held: VecDeque<Event>,
    paused: bool,
    committed: BTreeMap<i32, i64>,
    committed_at: Instant,
}

/// Kafka can't be reached, and no more than that.
fn is_absence(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, Resolve};
    let absences = [AllBrokersDown, BrokerTransportFailure, OperationTimedOut, Resolve];
    error.rdkafka_error_code().is_some_and(|code| absences.contains(&code))
}

impl Member {
    fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
        while let Err(error) = self.take_part() {
            let pause = backoff.next();
            tracing::warn!(error, ?pause, "commands can't be read; beginning anew");
            let until = Instant::now() + pause;
            while Instant::now() < until && !self.stopping() {
                std::thread::sleep(BUSY);
            }
        }
        self.shared.ended.store(true, Ordering::Release);
        self.waker.wake().ok();
    }

    fn stopping(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    /// From joining the group to leaving it; an error if the consumer is of no more use.
    fn take_part(&mut self) -> Result<(), String> {
        let text = |error: KafkaError| error.to_string();
        let consumer = self.settings.create_with_context(Context(Arc::clone(&self.group))).map_err(text)?;
        let consumer: BaseConsumer<Context> = consumer;
        consumer.subscribe(&[VEHICLE_COMMANDS]).map_err(text)?;
        let mut complaint = String::new();
        let ended = loop {
            if self.stopping() {
                self.commit(&consumer, CommitMode::Sync);
                break Ok(());
            }
            let wait = if self.held.is_empty() && self.letters.len() == 0 { IDLE } else { BUSY };
            let polled = consumer.poll(wait);
            self.take_group();
            match polled {
                None => {}
                Some(Ok(message)) => self.take(&message),
                Some(Err(error)) => {
                    let is_fatal = error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal)
                        || matches!(error, KafkaError::MessageConsumptionFatal(_))
                        || consumer.client().fatal_error().is_some();
                    if is_fatal {
                        break Err(error.to_string());
                    }
                    // The same one comes again and again; that Kafka is away is told by the producer.
                    let text = error.to_string();
                    if is_absence(&error) {
                        tracing::debug!(error = text, "commands");
                    } else if text != complaint {
                        tracing::warn!(error = text, "commands");
                        complaint = text;
                    }
                }
            }
            for Unfit { place, command, invalid } in mem::take(&mut *self.shared.unfit()) {
                self.letters.bury_command(place, &command, invalid);
            }
            self.held.extend(self.letters.poll().into_iter().map(|(place, reason)| Event::Buried { place, reason }));
            self.hand_over(&consumer);
            if self.committed_at.elapsed() >= COMMIT_EVERY {
                self.commit(&consumer, CommitMode::Async);
            }
        };
        // Leaves the group.
        drop(consumer);
        self.paused = false;
        let mut group = locked(&self.group);
        let lost = mem::take(&mut group.assigned);
        group.revoked.extend(lost);
        drop(group);
        self.take_group();
        ended
    }

    /// Tells what went, before anything that came after it.
    fn take_group(&mut self) {
        let mut group = locked(&self.group);
        if mem::take(&mut group.commit_failed) {
            self.committed.clear();
        }
        for partition in mem::take(&mut group.revoked) {
            self.committed.remove(&partition);
            self.shared.wanted().remove(&partition);
            self.shared.unfit().retain(|unfit| unfit.place.partition != partition);
            self.letters.forget(partition);
            self.held.push_back(Event::Revoked { partition });
        }
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) {
        let place = Place { partition: message.partition(), offset: message.offset() };
        let payload = message.payload().unwrap_or_default();
        let came = message.timestamp().to_millis().filter(|time| *time > 0).unwrap_or_else(wall_now);
        let command = match record::read(payload, came.saturating_add(self.max_age_ms)) {
            Ok(command) => Some(command),
            Err(invalid) => {
                tracing::warn!(?place, %invalid, "a command that can't be read");
                self.letters.bury(place, message, invalid);
                None
            }
        };
        self.held.push_back(Event::Read { place, command });
    }

    /// Gives the channel what it takes; pauses the partitions while something is left, too many letters are, or the
    /// loop has no room.
    fn hand_over(&mut self, consumer: &BaseConsumer<Context>) {
        let mut handed = false;
        while let Some(event) = self.held.pop_front() {
            match self.sender.try_send(event) {
                Ok(()) => handed = true,
                Err(TrySendError::Full(event)) => {
                    self.held.push_front(event);
                    break;
                }
                // The loop is gone; so is this thread, soon.
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
        if handed {
            self.waker.wake().ok();
        }
        let full = self.shared.full.load(Ordering::Acquire);
        let pause = full || !self.held.is_empty() || self.letters.len() >= MOST_LETTERS;
        if !pause && !self.paused {
            return;
        }
        // While paused again and again: a partition that has just become ours is not.
        let result = consumer.assignment().and_then(|ours| match pause {
            true => consumer.pause(&ours),
            false => consumer.resume(&ours),
        });
        match result {
            Ok(()) => self.paused = pause,
            Err(error) => tracing::warn!(%error, pause, "commands"),
        }
    }

    fn commit(&mut self, consumer: &BaseConsumer<Context>, mode: CommitMode) {
        self.committed_at = Instant::now();
        let ours = locked(&self.group).assigned.clone();
        let wanted = self.shared.wanted().clone();
        let news: BTreeMap<i32, i64> = wanted
            .into_iter()
            .filter(|(partition, next)| ours.contains(partition) && self.committed.get(partition) != Some(next))
            .collect();
        let mut list = TopicPartitionList::new();
        for (partition, next) in &news {
            if let Err(error) = list.add_partition_offset(VEHICLE_COMMANDS, *partition, Offset::Offset(*next)) {
                tracing::error!(%error, partition, next, "an offset that librdkafka does not take");
            }
        }
        if list.count() == 0 {
            return;
        }
        match consumer.commit(&list, mode) {
            Ok(()) => self.committed.extend(news),
            Err(error) => tracing::debug!(%error, "a commit of commands failed and is repeated"),
        }
    }
}

fn wall_now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::try_from(since.as_millis()).unwrap_or(UnixMillis::MAX)
}

fn settings(config: &Config) -> Result<ClientConfig, Error> {
    let mut settings = ClientConfig::new();
    for (name, value) in [
        ("bootstrap.servers", config.kafka.as_str()),
        ("client.id", &config.id),
        ("group.id", &format!("edge-commands.{}", config.id)),
        ("group.protocol", "consumer"),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("isolation.level", "read_committed"),
        ("check.crcs", "true"),
        // Commands are small and few.
        ("fetch.max.bytes", "2097152"),
        ("max.partition.fetch.bytes", "1048576"),
        ("queued.max.messages.kbytes", "4096"),
        ("broker.address.family", "any"),
        ("socket.keepalive.enable", "true"),
        ("reconnect.backoff.max.ms", "1000"),
    ] {
        settings.set(name, value);
    }
    for (name, value) in config.secure.kafka()? {
        settings.set(name, value);
    }
    Ok(settings)
}
