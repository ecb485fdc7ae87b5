//! What all clients have in common: settings, log lines, the first contact with Kafka, and reading a message.

use std::{
    collections::BTreeMap,
    net::{TcpStream, ToSocketAddrs},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use rdkafka::{
    ClientConfig, ClientContext, Message,
    client::Client,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Header, Headers as _, Timestamp},
};
use service::{Backoff, Error};
use smol_str::SmolStr;
use telemetry::kafka_topic::{MAX_MESSAGE_BYTES, SCORES};

use crate::{Headers, InRecord, KafkaConfig, Pieces};

/// How long one question to a broker may take after the start.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a tool waits for a topic once Kafka has answered: one that was just created is known a moment later.
const TOPIC_PATIENCE: Duration = Duration::from_millis(1_500);
/// How long a bare connection may take that only asks why there is none.
const KNOCK: Duration = Duration::from_secs(1);

/// Settings of every client. Reconnecting is quick, because recovery is measured in seconds.
pub(crate) fn base(kafka: &KafkaConfig) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &kafka.kafka)
        .set("client.id", "motorcade")
        .set("broker.address.family", "any")
        .set("socket.keepalive.enable", "true")
        .set("socket.timeout.ms", "20000")
        .set("socket.connection.setup.timeout.ms", "5000")
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "2000")
        .set("topic.metadata.refresh.interval.ms", "30000")
        .set("log.connection.close", "false");
    config
}

/// Settings of every consumer: bounded prefetch, committed records only, check sums checked.
pub(crate) fn consumer(kafka: &KafkaConfig, group: &str) -> ClientConfig {
    let mut config = base(kafka);
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        .set("fetch.max.bytes", "8388608")
        .set("max.partition.fetch.bytes", "1048576")
        .set("queued.max.messages.kbytes", "16384")
        .set("queued.min.messages", "20000")
        // Without this a full queue delays the next fetch by a whole second.
        .set("fetch.queue.backoff.ms", "20");
    config
}

/// Settings of every producer: no record is written twice or out of order by a retry; the queue is bounded.
pub(crate) fn producer(kafka: &KafkaConfig) -> ClientConfig {
    let mut config = base(kafka);
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("partitioner", "murmur2_random")
        .set("compression.type", "lz4")
        // Whoever sends sends a batch at once; to wait longer for more would only add to its age.
        .set("linger.ms", "1")
        .set("message.max.bytes", MAX_MESSAGE_BYTES.to_string())
        .set("queue.buffering.max.messages", "50000")
        .set("queue.buffering.max.kbytes", "65536");
    config
}

/// A consumer without a group.
///
/// Closing one blocks for as long as a request is on its way. The last handle may go anywhere, on the runtime too
/// where an error ends a future early: there a thread closes it.
pub(crate) struct Reader(Option<BaseConsumer<Quiet>>);

impl Reader {
    pub(crate) fn create(config: &ClientConfig) -> anyhow::Result<Self> {
        Ok(Self(Some(config.create_with_context(Quiet).context("create a Kafka consumer")?)))
    }

    pub(crate) fn consumer(&self) -> anyhow::Result<&BaseConsumer<Quiet>> {
        self.0.as_ref().context("the consumer is closed")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(consumer) = self.0.take() else { return };
        if tokio::runtime::Handle::try_current().is_err() {
            return drop(consumer);
        }
        let closing = std::thread::Builder::new().name("kafka-close".into()).spawn(move || drop(consumer));
        if let Err(error) = closing {
            tracing::warn!(%error, "no thread to close a consumer; it was closed on the runtime");
        }
    }
}

/// A context that only forwards log lines.
pub(crate) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ConsumerContext for Quiet {}

pub(crate) fn log_line(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            // Connections that fail are told once by `error`, when no broker is left.
            if matches!(facility, "FAIL" | "ERROR") {
                tracing::debug!(facility, "{line}");
            } else {
                tracing::error!(facility, "{line}");
            }
        }
        RDKafkaLogLevel::Warning => tracing::warn!(facility, "{line}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(facility, "{line}");
        }
    }
}

/// That no broker is left is told by every client with every try: one line in a while is enough, and none at
/// start, where the error that ends the start says it.
struct Outage {
    reached: AtomicBool,
    told: Mutex<Option<Instant>>,
}

static OUTAGE: Outage = Outage { reached: AtomicBool::new(false), told: Mutex::new(None) };
const TELL_EVERY: Duration = Duration::from_secs(10);

impl Outage {
    fn is_news(&self, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let due = told.is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY);
        let news = due && self.reached.load(Ordering::Relaxed);
        if news {
            *told = Some(now);
        }
        news
    }
}

pub(crate) fn log_error(error: &KafkaError, reason: &str) {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, PartitionEOF, Resolve};
    match error.rdkafka_error_code() {
        // The end of a partition is what a replay looks for, not an error.
        Some(PartitionEOF) => {}
        Some(AllBrokersDown) if !OUTAGE.is_news(Instant::now()) => tracing::debug!("Kafka: {error}: {reason}"),
        Some(BrokerTransportFailure | Resolve | OperationTimedOut) => tracing::debug!("Kafka: {error}: {reason}"),
        _ => tracing::warn!("Kafka: {error}: {reason}"),
    }
}

/// Waits until Kafka answers and has these topics; gives their partitions. Blocks.
///
/// # Errors
/// [`Error::Unavailable`] after the connect timeout; sooner where Kafka answers and a topic is not worth waiting for.
pub(crate) fn reach<C: ClientContext>(
    client: &Client<C>,
    kafka: &KafkaConfig,
    kafka_topics: &[&str],
) -> Result<BTreeMap<String, Vec<i32>>, Error> {
    let mut deadline = Instant::now() + kafka.connect_timeout();
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(1));
    let mut first_answer = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        // All topics: asking for one that is missing would make librdkafka keep asking for it.
        let lacking = match client.fetch_metadata(None, left) {
            Ok(metadata) => {
                OUTAGE.reached.store(true, Ordering::Relaxed);
                let answered = *first_answer.get_or_insert_with(Instant::now);
                if !kafka.waits_for_topics {
                    deadline = deadline.min(answered + TOPIC_PATIENCE);
                }
                let found: BTreeMap<_, _> = metadata
                    .topics()
                    .iter()
                    .filter(|topic| topic.error().is_none() && kafka_topics.contains(&topic.name()))
                    .map(|topic| (topic.name().to_owned(), topic.partitions().iter().map(|p| p.id()).collect()))
                    .collect();
                match kafka_topics.iter().find(|name| !found.contains_key(**name)) {
                    None => return Ok(found),
                    Some(name) => Ok(*name),
                }
            }
            Err(error) => Err(error),
        };
        let pause = backoff.next();
        if Instant::now() + pause >= deadline {
            return Err(kafka.unavailable(match lacking {
                Ok(name) => absent(name),
                Err(error) => silence(kafka, &error),
            }));
        }
        std::thread::sleep(pause);
    }
}

/// That a topic is missing, and what makes it.
fn absent(kafka_topic: &str) -> String {
    let makes = match kafka_topic.strip_prefix(SCORES).and_then(|rest| rest.strip_prefix('.')) {
        Some(name) => format!("`motorcade view rebuild scores --as {name}` writes it"),
        None => "`motorcade topics apply` creates it".to_owned(),
    };
    format!("it has no topic {kafka_topic:?}; {makes}")
}

/// That Kafka does not answer, why, and what is to be done.
fn silence(kafka: &KafkaConfig, error: &KafkaError) -> String {
    // librdkafka calls a refused port and an unknown host the same.
    let why = refusals(&kafka.kafka).unwrap_or_else(|| reason(error));
    let within = kafka.connect_timeout_ms;
    format!(
        "no answer within {within} ms ({why}); --kafka or MOTORCADE_KAFKA says where it is, `make services` starts one"
    )
}

/// What a bare connection to each of the addresses meets with; none where one is accepted.
fn refusals(addresses: &str) -> Option<String> {
    let connect = |address: &str| -> std::io::Result<()> {
        let mut last = Err(std::io::ErrorKind::AddrNotAvailable.into());
        for address in address.to_socket_addrs()? {
            last = TcpStream::connect_timeout(&address, KNOCK).map(drop);
            if last.is_ok() {
                break;
            }
        }
        last
    };
    let met =
        addresses.split(',').map(str::trim).map(|address| Some(format!("{address}: {}", connect(address).err()?)));
    met.collect::<Option<Vec<_>>>().map(|met| met.join(", "))
}

/// librdkafka's sentence without the wrapper's.
pub(crate) fn reason(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}

/// Runs a blocking call off the runtime's threads.
pub(crate) async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(call).await.map_err(|error| anyhow::anyhow!("a blocking call ended early: {error}"))
}

/// Copies messages out of librdkafka's memory, so that nothing holds a whole fetch alive.
pub(crate) struct Copies {
    /// The topic of the last one.
    name: SmolStr,
    /// Where copies are put that lie together.
    pieces: Option<Pieces>,
    headers: Vec<u8>,
}

impl Copies {
    /// Many copies lie in one piece of memory, for readers that keep none.
    pub(crate) fn together() -> Self {
        Self { pieces: Some(Pieces::default()), ..Self::apart() }
    }

    /// Each copy has memory of its own, for readers that keep some of them.
    pub(crate) fn apart() -> Self {
        Self { name: SmolStr::default(), pieces: None, headers: Vec::new() }
    }

    pub(crate) fn of(&mut self, message: &BorrowedMessage<'_>) -> InRecord {
        let timestamp = match message.timestamp() {
            Timestamp::CreateTime(time) | Timestamp::LogAppendTime(time) => time,
            Timestamp::NotAvailable => 0,
        };
        if self.name != message.topic() {
            self.name = message.topic().into();
        }
        self.headers.clear();
        for Header { key, value } in message.headers().into_iter().flat_map(|headers| headers.iter()) {
            Headers::write(key, value.unwrap_or_default(), &mut self.headers);
        }
        let mut put = |bytes: &[u8]| match &mut self.pieces {
            Some(pieces) => pieces.put(bytes),
            None => Bytes::copy_from_slice(bytes),
        };
        InRecord {
            kafka_topic: self.name.clone(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp,
            key: message.key().map(&mut put),
            payload: message.payload().map(&mut put),
            headers: Headers::written(put(&self.headers)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_now_and_then_but_not_at_start() {
        let outage = Outage { reached: AtomicBool::new(false), told: Mutex::new(None) };
        let start = Instant::now();
        assert!(!outage.is_news(start));
        outage.reached.store(true, Ordering::Relaxed);
        assert!(outage.is_news(start));
        assert!(!outage.is_news(start + TELL_EVERY / 2));
        assert!(outage.is_news(start + TELL_EVERY));
    }

    #[test]
    fn what_is_lacking_is_told_with_what_makes_it() {
        assert!(absent("telemetry").contains("no topic \"telemetry\"; `motorcade topics apply`"));
        assert!(absent("scores").contains("`motorcade topics apply`"));
        assert!(absent("scores.v2").contains("`motorcade view rebuild scores --as v2`"));
    }

    #[test]
    fn a_refused_port_and_an_unknown_host_are_told_apart() {
        let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = open.local_addr().unwrap().to_string();
        assert_eq!(refusals(&address), None);
        drop(open);
        let told = refusals(&format!("{address}, nowhere.invalid:1")).unwrap();
        assert!(told.contains(&format!("{address}: Connection refused")), "{told}");
        let unknown = told.split_once("nowhere.invalid:1: ").unwrap().1;
        assert!(!unknown.contains("refused"), "{told}");
    }
}
