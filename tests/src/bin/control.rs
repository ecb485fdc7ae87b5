//! Makes the models that scenarios need and the trainer would not publish: see [`tests::control`].

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::SystemTime};

use anyhow::{Context, Result};
use cloud_log::{KafkaConfig, Producer};
use detector::{Detector, Layout, Options, Recorded};
use scorer::verify::{VerifyArgs, verify};
use service::{Error, Outcome};
use simulator::vehicle::{FleetSeed, Vehicle, vehicle_id};
use telemetry::{Kind, Record, SCHEMA, event::Score};
use trainer::{Trained, publish, replay};

#[derive(clap::Parser)]
enum Arguments {
    /// Publish a model of the scenarios' fleet; trained once and kept in a file.
    Trained {
        #[arg(long)]
        kafka: String,
        #[arg(long)]
        cache: PathBuf,
    },
    /// Verify published scores against telemetry with one flipped bit; fails unless that is found.
    Flipped {
        #[arg(long)]
        kafka: String,
        #[arg(long)]
        lateness_ms: i64,
    },
    /// Train on everything recorded, shuffle every weight, calibrate anew, publish.
    Shuffled {
        #[arg(long)]
        kafka: String,
        #[arg(long)]
        seed: u64,
    },
}

/// Flips the lowest bit of one digit of one value in the last reading that was scored, and verifies.
async fn flipped(kafka: &str, lateness_ms: i64) -> Result<(), Error> {
    let args = VerifyArgs {
        kafka: KafkaConfig::new(kafka),
        partition: None,
        from: None,
        to: None,
        name: None,
        lateness_ms,
        json: true,
    };
    let honest = verify(&args, |_| {}).await?;
    if !honest.ok {
        return Err(Error::VerdictFailed(format!("differs without a flipped bit: {honest:?}")));
    }
    // The last reading of a partition that was scored: it is in a window for certain.
    let mut log = cloud_log::History::everything(&args.kafka, telemetry::kafka_topic::SCORES).await?;
    let mut last = None;
    while let Some(records) = log.next(4_096).await? {
        for record in records {
            let score: Score =
                serde_json::from_slice(&record.payload.unwrap_or_default()).map_err(anyhow::Error::from)?;
            last = last.max(Some((score.source.partition, score.source.offset)));
        }
    }
    let Some(target) = last else { return Err(Error::BadInput("nothing was scored".into())) };
    let mut flips = 0;
    let found = verify(&args, |record| {
        if (record.partition, record.offset) == target {
            let mut payload = Vec::from(record.payload.take().unwrap_or_default());
            flips += u32::from(flip_a_digit(&mut payload));
            record.payload = Some(payload.into());
        }
    })
    .await?;
    if flips == 1 && !found.ok && found.differing > 0 {
        Ok(())
    } else {
        Err(Error::VerdictFailed(format!("{flips} bits were flipped, and this was found: {found:?}")))
    }
}

/// Flips the lowest bit of the last digit of the first signal's value in a JSON record: 4 becomes 5, 5 becomes 4. The
/// record stays a valid one.
fn flip_a_digit(payload: &mut [u8]) -> bool {
    const SIGNALS: &[u8] = b"\"signals\":";
    let Some(signals) = payload.windows(SIGNALS.len()).position(|bytes| bytes == SIGNALS) else { return false };
    // Past `"signals":{"path":`, up to the comma or brace behind the value.
    let rest = signals + SIGNALS.len();
    let Some(colon) = payload[rest..].iter().position(|byte| *byte == b':') else { return false };
    let value = rest + colon + 1;
    let Some(length) = payload[value..].iter().position(|byte| matches!(byte, b',' | b'}')) else { return false };
    match payload[value..value + length].last_mut().filter(|byte| byte.is_ascii_digit()) {
        Some(byte) => {
            *byte ^= 1;
            true
        }
        None => false,
    }
}

/// The fleet of `tests::scenario::Fleet::default`, in the hour before it drives.
const SEED: u64 = 11;
const VEHICLES: u32 = 60;
const READINGS: u32 = 420;
const INTERVAL_MS: i64 = 10_000;

fn main() -> ExitCode {
    if let Err(code) = motorcade::pin_arithmetic() {
        return code;
    }
    service::run("control", |arguments: Arguments, _| async move {
        let (kafka, trained, reason) = match arguments {
            Arguments::Trained { kafka, cache } => (kafka, fixture(&cache)?, "a scenario's model"),
            Arguments::Flipped { kafka, lateness_ms } => {
                return flipped(&kafka, lateness_ms).await.map(|()| Outcome::Done);
            }
            Arguments::Shuffled { kafka, seed } => {
                let trained = shuffled(&KafkaConfig::new(&kafka), seed).await?;
                (kafka, trained, "negative control: shuffled weights")
            }
        };
        let kafka = KafkaConfig::new(kafka);
        let producer = Producer::connect(&kafka).await?;
        publish::publish(&producer, &kafka, &trained, "champion", reason).await?;
        Ok::<_, Error>(Outcome::Done)
    })
}

fn fixture(cache: &PathBuf) -> Result<Trained> {
    // An artefact of another version of the code, or of another CPU class, does not load: train anew.
    if let Some(detector) = std::fs::read(cache).ok().and_then(|bytes| Detector::load(&bytes).ok()) {
        return Ok(Trained::from(&detector));
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
    let start = i64::try_from(now)? - i64::from(READINGS) * INTERVAL_MS;
    let mut history = Recorded::new(Arc::new(Layout::default()));
    for index in 1..=VEHICLES {
        let mut vehicle = Vehicle::new(FleetSeed { seed: SEED, start }, index);
        for n in 0..READINGS {
            let time = start + i64::from(n) * INTERVAL_MS;
            let sample = vehicle.step(time, &[]);
            let record = Record {
                schema: SCHEMA,
                vehicle: vehicle_id(index),
                boot: 1,
                seq: u64::from(n) + 1,
                time,
                kind: Kind::Full,
                signals: sample.signals,
                position: sample.position,
            };
            history.push(&record, time);
        }
    }
    let detector = detector::train(&history, &Options::default()).context("train the scenarios' model")?;
    // Beside, then renamed: a killed test leaves no half file.
    let beside = cache.with_extension(std::process::id().to_string());
    std::fs::write(&beside, detector.save())?;
    std::fs::rename(&beside, cache)?;
    Ok(Trained::from(&detector))
}

async fn shuffled(kafka: &KafkaConfig, seed: u64) -> Result<Trained, Error> {
    let replayed = replay::replay(kafka, &replay::Range::ALL, &replay::Spooling::default()).await?;
    let task = tokio::task::spawn_blocking(move || {
        let options = Options { seed, steps: 1_500, ..Options::default() };
        // Whether the model that is spoilt passes the gate does not matter, and on so short a history chance may
        // refuse it.
        let forgotten = detector::control::forgotten(&replayed.history, &options, seed)?;
        anyhow::Ok(Trained::from(&forgotten))
    });
    Ok(task.await.map_err(anyhow::Error::from)??)
}
