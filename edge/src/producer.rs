//! Kafka: hands records over without ever waiting, and collects delivery reports, at most one for each record in hand.
//! Here and in `downlink` (`reader`, `group`, `dead_letter`) are rdkafka's types.
//!
//! The producer has no thread of its own that polls: the loop does, so that a report costs no wake-up.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
};
use service::Error;
use telemetry::kafka_topic;

use crate::{config::Config, delivery::Ticket, intake::OutRecord};

/// Where the edge writes, and reads. A topic that is missing at the start is an error that says so.
const KAFKA_TOPICS: [&str; 5] = [
    kafka_topic::TELEMETRY,
    kafka_topic::VEHICLE_STATUS,
    kafka_topic::COMMAND_REPLIES,
    kafka_topic::DEAD_LETTER,
    kafka_topic::VEHICLE_COMMANDS,
];

/// A topic that has just been created is not told at once: only after this time is one that is missing missing.
const TOLD_WITHIN: Duration = Duration::from_secs(2);
/// How long an edge with a spool waits for Kafka at its start.
const WITH_SPOOL: Duration = Duration::from_secs(2);

/// What became of a record that was handed over.
#[derive(Debug)]
pub(crate) enum Fate {
    /// Kafka has it.
    Delivered,
    /// Kafka will never take it as it is.
    Refused(String),
    /// Not now; it may be tried again.
    Failed(String),
    /// The producer is of no more use.
    Dead(String),
}

/// Why a record was not even taken.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// The queue is full.
    Full,
    /// As [`Fate::Refused`].
    Refused(String),
    /// As [`Fate::Failed`].
    Failed(String),
    /// As [`Fate::Dead`].
    Dead(String),
}

enum Verdict {
    Full,
    Poison,
    Retry,
    Fatal,
}

fn judge(error: &KafkaError) -> Verdict {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::QueueFull) => Verdict::Full,
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::PolicyViolation,
        ) => Verdict::Poison,
        Some(RDKafkaErrorCode::Fatal) => Verdict::Fatal,
        // Among them a topic that was deleted: the record waits until it is there again. Or a clock that is far ahead of
        // Kafka's, ours or one that stamped what was spooled: when it is right again, Kafka takes the record.
        _ => Verdict::Retry,
    }
}

/// Reports that a poll left for the loop.
#[derive(Default)]
struct Reports {
    /// Bounded by the records in hand.
    pending: Mutex<Vec<(Ticket, Fate)>>,
    /// How many reports and errors a poll has brought.
    served: AtomicU64,
    dead: AtomicBool,
    /// Every broker is down, and the log says so. At first: not reached yet, which `connect` reports.
    away: AtomicBool,
    /// What the last connection that failed met with. That all brokers are down does not say why.
    trouble: Mutex<Option<String>>,
}

impl Reports {
    fn pending(&self) -> MutexGuard<'_, Vec<(Ticket, Fate)>> {
        // A push or a take can't leave it half done.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Context(Arc<Reports>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // It tells every failed try of every broker; `error` below tells when none is left.
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.served.fetch_add(1, Ordering::Relaxed);
        if matches!(judge(&error), Verdict::Fatal) {
            self.0.dead.store(true, Ordering::Release);
        }
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            // Told again at every failed try.
            if !self.0.away.swap(true, Ordering::AcqRel) {
                let trouble = self.0.trouble();
                let reason = trouble.as_deref().unwrap_or(reason);
                tracing::warn!(reason, "Kafka is away: nothing is acknowledged to vehicles until it returns");
            }
        } else {
            *self.0.trouble() = Some(reason.to_owned());
            tracing::debug!(%error, reason, "librdkafka");
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        let fate = match result {
            Ok(_) => {
                if self.0.away.load(Ordering::Relaxed) && self.0.away.swap(false, Ordering::AcqRel) {
                    tracing::info!("Kafka is back");
                }
                Fate::Delivered
            }
            Err((error, _)) => match judge(error) {
                Verdict::Fatal => Fate::Dead(error.to_string()),
                Verdict::Poison => Fate::Refused(error.to_string()),
                Verdict::Retry | Verdict::Full => Fate::Failed(error.to_string()),
            },
        };
        self.0.served.fetch_add(1, Ordering::Relaxed);
        self.0.pending().push((Ticket::from_bits(ticket as u64), fate));
    }
}

/// An idempotent producer.
pub(crate) struct Producer {
    // An option, so that dropping it can be sent to a thread that may block.
    inner: Option<BaseProducer<Context>>,
    reports: Arc<Reports>,
}

impl Producer {
    /// Reaches Kafka and finds every topic that the edge writes to or reads. Waits up to the connect timeout; with a spool not
    /// so long, and goes on without Kafka.
    ///
    /// # Errors
    /// [`Error::Usage`] for settings that librdkafka refuses, [`Error::Unavailable`] otherwise.
    pub(crate) fn connect(config: &Config) -> Result<Self, Error> {
        let reports = Arc::new(Reports { away: AtomicBool::new(true), ..Reports::default() });
        let inner: BaseProducer<Context> = settings(config)?
            .create_with_context(Context(Arc::clone(&reports)))
            .map_err(|error| Error::Usage { flag: "kafka", detail: error.to_string() })?;
        let unavailable = |detail: String| Error::Unavailable { flag: "kafka", address: config.kafka.clone(), detail };
        let spools = config.spool.is_some();
        let timeout = if spools { config.connect_timeout().min(WITH_SPOOL) } else { config.connect_timeout() };
        let missing = missing_topics(&inner, timeout);
        let producer = Self { inner: Some(inner), reports };
        let missing = match missing {
            Ok(missing) => missing,
            Err(error) => {
                let why = producer.reports.trouble().clone().unwrap_or_else(|| error.to_string());
                if spools {
                    tracing::warn!(why, "Kafka is away at the start: what arrives goes to the spool");
                    return Ok(producer);
                }
                return Err(unavailable(format!("no answer within {} ms ({why})", timeout.as_millis())));
            }
        };
        if !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(unavailable(format!("the topics {missing} are missing: run `motorcade topics apply`")));
        }
        producer.reports.away.store(false, Ordering::Release);
        Ok(producer)
    }

    /// Hands a record over. Never waits.
    pub(crate) fn send(&self, ticket: Ticket, record: &OutRecord<'_>) -> Result<(), NotTaken> {
        let Some(inner) = &self.inner else { return Err(NotTaken::Dead("closed".into())) };
        let opaque = usize::try_from(ticket.to_bits()).expect("64-bit targets only: librdkafka's opaque is a pointer");
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.iter().len());
        for (key, value) in record.headers.iter() {
            headers = headers.insert(Header { key, value: Some(&value[..]) });
        }
        let out = BaseRecord::<[u8], [u8], usize> {
            topic: record.kafka_topic,
            partition: None,
            payload: Some(record.payload),
            key: record.key,
            timestamp: Some(record.timestamp),
            headers: Some(headers),
            delivery_opaque: opaque,
        };
        inner.send(out).map_err(|(error, _)| match judge(&error) {
            Verdict::Full => NotTaken::Full,
            Verdict::Poison => NotTaken::Refused(error.to_string()),
            Verdict::Retry => NotTaken::Failed(error.to_string()),
            Verdict::Fatal => NotTaken::Dead(self.why_dead(&error.to_string())),
        })
    }

    /// Takes the reports that are there, into `reports`. Never waits.
    pub(crate) fn take_reports(&self, reports: &mut Vec<(Ticket, Fate)>) {
        if let Some(inner) = &self.inner {
            // A poll serves one event: the reports of one batch, or an error.
            loop {
                let before = self.reports.served.load(Ordering::Relaxed);
                inner.poll(Duration::ZERO);
                if self.reports.served.load(Ordering::Relaxed) == before {
                    break;
                }
            }
        }
        reports.append(&mut self.reports.pending());
    }

    /// Whether librdkafka gave up for good (an idempotence error), and why.
    pub(crate) fn death(&self) -> Option<String> {
        self.reports.dead.load(Ordering::Acquire).then(|| self.why_dead("fatal error"))
    }

    fn why_dead(&self, otherwise: &str) -> String {
        let fatal = self.inner.as_ref().and_then(|inner| inner.client().fatal_error());
        fatal.map_or_else(|| otherwise.to_owned(), |(code, text)| format!("{code}: {text}"))
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            // Purging what is left takes half a second and joins a thread.
            std::thread::spawn(move || drop(inner));
        }
    }
}

pub(crate) fn settings(config: &Config) -> Result<ClientConfig, Error> {
    let mut settings = ClientConfig::new();
    let queue = 4 * u32::from(config.receive_maximum);
    for (name, value) in [
        ("bootstrap.servers", config.kafka.as_str()),
        ("client.id", &config.id),
        ("enable.idempotence", "true"),
        // What Kafka has not confirmed stays unacknowledged at the broker, however long that takes.
        ("message.timeout.ms", "0"),
        ("linger.ms", &config.linger_ms.to_string()),
        // Two windows of the broker, and what is being retried, fit.
        ("queue.buffering.max.messages", &queue.to_string()),
        ("queue.buffering.max.kbytes", &(2 * config.in_hand_kib).to_string()),
        ("message.max.bytes", &kafka_topic::MAX_MESSAGE_BYTES.to_string()),
        ("compression.type", config.compression.as_str()),
        // As Java's producers choose, so that every producer sends a vehicle to the same partition.
        ("partitioner", "murmur2_random"),
        ("broker.address.family", "any"),
        ("socket.keepalive.enable", "true"),
        ("socket.nagle.disable", "true"),
        // Lag is to be gone 30 s after Kafka's return.
        ("reconnect.backoff.max.ms", "1000"),
    ] {
        settings.set(name, value);
    }
    for (name, value) in config.secure.kafka()? {
        settings.set(name, value);
    }
    Ok(settings)
}

/// Asks for all topics: asking for one by name may create it.
fn missing_topics(producer: &BaseProducer<Context>, within: Duration) -> Result<Vec<&'static str>, KafkaError> {
    let began = Instant::now();
    let deadline = began + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match producer.client().fetch_metadata(None, left.min(Duration::from_secs(2))) {
            Ok(metadata) => {
                let there = |name: &&str| {
                    metadata.topics().iter().any(|found| found.name() == *name && !found.partitions().is_empty())
                };
                let missing: Vec<_> = KAFKA_TOPICS.into_iter().filter(|name| !there(name)).collect();
                if missing.is_empty() || began.elapsed() >= TOLD_WITHIN {
                    return Ok(missing);
                }
            }
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => {}
        }
        // Brings what connections meet with to the context.
        producer.poll(Duration::from_millis(250));
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
    }

    #[test]
    fn a_server_is_reached_by_either_family_of_addresses() {
        for host in ["127.0.0.1", "[::1]"] {
            // A machine without IPv6 has nothing to show here.
            let Ok(listener) = TcpListener::bind(format!("{host}:0")) else { continue };
            let server = listener.local_addr().unwrap().to_string();
            let config = Cli::try_parse_from(["edge", "--kafka", &server]).unwrap().config;
            config.validate().unwrap();
            let reports = Arc::new(Reports::default());
            let producer: BaseProducer<Context> =
                settings(&config).unwrap().create_with_context(Context(reports)).unwrap();
            let (sender, knocked) = std::sync::mpsc::channel();
            std::thread::spawn(move || sender.send(listener.accept().map(|_| ())));
            assert!(matches!(knocked.recv_timeout(Duration::from_secs(10)), Ok(Ok(()))), "{server}");
            drop(producer);
        }
    }
}
