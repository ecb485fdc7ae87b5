//! Dead letters of commands that can't be read or published, by a small producer of their own, made with the first one: the
//! reader's thread needs no part of the loop for them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Message,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::{BorrowedMessage, Header, Headers, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DeliveryResult, ProducerContext},
};
use service::Error;
use telemetry::{
    Encoding, Invalid, Reason,
    kafka_topic::{DEAD_LETTER, MAX_MESSAGE_BYTES, VEHICLE_COMMANDS, header},
};

use super::open::{Command, Place};
use crate::{config::Config, producer};

/// What Kafka did not take is tried again after this time.
const PAUSE: Duration = Duration::from_secs(1);
/// Room for the headers of a letter, bytes.
const HEADERS: usize = 4 * 1024;
/// The longest content type that is kept, bytes.
const MAX_CONTENT_TYPE_BYTES: usize = 256;
/// The longest text of an error, bytes.
const MAX_ERROR_BYTES: usize = 300;

/// A record that can't be read or published, and why. Bounded by the records that are open.
struct Letter {
    key: Vec<u8>,
    payload: Vec<u8>,
    content_type: Option<Vec<u8>>,
    invalid: Invalid,
    /// None while it is on its way.
    send_at: Option<Instant>,
}

/// Places and whether Kafka has their letters.
type Reports = Arc<Mutex<Vec<(Place, Result<(), String>)>>>;

fn locked(reports: &Reports) -> MutexGuard<'_, Vec<(Place, Result<(), String>)>> {
    reports.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Context(Reports);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka, dead letters of commands");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka, dead letters of commands");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Place>;

    fn delivery(&self, result: &DeliveryResult<'_>, place: Box<Place>) {
        let fate = result.as_ref().map(|_| ()).map_err(|(error, _)| error.to_string());
        locked(&self.0).push((*place, fate));
    }
}

/// See the module.
pub(super) struct DeadLetters {
    settings: ClientConfig,
    producer: Option<BaseProducer<Context>>,
    reports: Reports,
    letters: BTreeMap<Place, Letter>,
}

impl DeadLetters {
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        let settings = producer::settings(config)?;
        Ok(Self { settings, producer: None, reports: Reports::default(), letters: BTreeMap::new() })
    }

    /// Letters that Kafka does not have yet.
    pub(super) fn len(&self) -> usize {
        self.letters.len()
    }

    /// Takes a record that can't be read.
    pub(super) fn bury(&mut self, place: Place, message: &BorrowedMessage<'_>, mut invalid: Invalid) {
        let content_type = message.headers().and_then(|headers| {
            let found = headers.iter().find(|header| header.key == header::CONTENT_TYPE)?;
            let value = found.value?;
            Some(value[..value.len().min(MAX_CONTENT_TYPE_BYTES)].to_vec())
        });
        let key = message.key().unwrap_or_default().to_vec();
        // A record that Kafka took has a key that fits.
        let room = (MAX_MESSAGE_BYTES as usize - HEADERS).saturating_sub(key.len());
        let mut payload = message.payload().unwrap_or_default().to_vec();
        if payload.len() > room {
            payload.truncate(room);
            invalid.detail.push_str("; cut off here");
        }
        self.letters.insert(place, Letter { key, payload, content_type, invalid, send_at: Some(Instant::now()) });
    }

    /// Takes a command that was read and can't be published.
    pub(super) fn bury_command(&mut self, place: Place, command: &Command, invalid: Invalid) {
        let letter = Letter {
            key: command.vehicle.as_str().as_bytes().to_vec(),
            payload: command.payload.to_vec(),
            content_type: Some(Encoding::Json.content_type().as_bytes().to_vec()),
            invalid,
            send_at: Some(Instant::now()),
        };
        self.letters.insert(place, letter);
    }

    /// Its partition is not ours any more: whoever has it now reads the record again.
    pub(super) fn forget(&mut self, partition: i32) {
        self.letters.retain(|place, _| place.partition != partition);
    }

    /// Sends what is to be sent; gives the places whose letters Kafka has. Never waits.
    pub(super) fn poll(&mut self) -> Vec<(Place, Reason)> {
        if self.letters.is_empty() {
            return Vec::new();
        }
        if let Err(error) = self.send() {
            tracing::error!(%error, "dead letters of commands can't be sent");
        }
        if let Some(producer) = &self.producer {
            producer.poll(Duration::ZERO);
        }
        let mut buried = Vec::new();
        for (place, fate) in locked(&self.reports).drain(..) {
            match fate {
                Ok(()) => buried.extend(self.letters.remove(&place).map(|letter| (place, letter.invalid.reason))),
                Err(error) => {
                    tracing::warn!(error, ?place, "the dead letter of a command; trying again");
                    if let Some(letter) = self.letters.get_mut(&place) {
                        letter.send_at = Some(Instant::now() + PAUSE);
                    }
                }
            }
        }
        buried
    }

    fn send(&mut self) -> Result<(), KafkaError> {
        let now = Instant::now();
        let producer = match &self.producer {
            Some(producer) => producer,
            None => self.producer.insert(self.settings.create_with_context(Context(Arc::clone(&self.reports)))?),
        };
        for (place, letter) in self.letters.iter_mut().filter(|(_, letter)| letter.send_at.is_some_and(|at| at <= now))
        {
            let source = format!("{VEHICLE_COMMANDS}/{}/{}", place.partition, place.offset);
            let error = &letter.invalid.detail[..letter.invalid.detail.floor_char_boundary(MAX_ERROR_BYTES)];
            let mut headers = OwnedHeaders::new();
            if let Some(content_type) = &letter.content_type {
                headers = headers.insert(Header { key: header::CONTENT_TYPE, value: Some(content_type) });
            }
            for (key, text) in [
                (header::REASON, letter.invalid.reason.as_str()),
                (header::ERROR, error),
                (header::REFUSED_BY, "edge"),
                (header::SOURCE, &source),
            ] {
                headers = headers.insert(Header { key, value: Some(text) });
            }
            let record = BaseRecord::with_opaque_to(DEAD_LETTER, Box::new(*place))
                .key(&letter.key)
                .payload(&letter.payload)
                .headers(headers);
            letter.send_at = match producer.send(record) {
                Ok(()) => None,
                Err((error, _)) => {
                    tracing::warn!(%error, ?place, "the dead letter of a command; trying again");
                    Some(now + PAUSE)
                }
            };
        }
        Ok(())
    }
}
