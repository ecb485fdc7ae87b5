//! `motorcade commands send`: a command to a vehicle, written to `vehicle-commands`; with `--wait`, its reply out of
//! `command-replies`.

use std::{
    io::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use clap::{Args, Subcommand};
use cloud_log::{History, KafkaConfig, OutRecord, Producer, Tail, TailFrom};
use service::Error;
use telemetry::{
    UnixMillis, Value, VehicleId,
    event::{CommandReply, MAX_COMMAND_LIFE_MS, PropertyName, VehicleCommand, VehicleCommandKind},
    kafka_topic::{COMMAND_REPLIES, VEHICLE_COMMANDS},
    validation::MAX_TEXT_BYTES,
};
use uuid::Uuid;

/// Replies that are taken at once.
const CHUNK: usize = 500;
/// How long a reply may need once the command has expired: it was carried out in time, and is on its way.
const AFTER_EXPIRY: Duration = Duration::from_secs(5);

/// Flags of `motorcade commands send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// Where Kafka is.
    #[command(flatten)]
    kafka: KafkaConfig,
    /// Who shall act.
    #[arg(long, value_name = "VEHICLE")]
    vehicle: VehicleId,
    /// It is not carried out later than this; at most 7 days.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "60s")]
    expires_in: Duration,
    /// Waits for the vehicle's reply and prints it; fails if it was not carried out.
    #[arg(long)]
    wait: bool,
    #[command(subcommand)]
    what: What,
}

/// What it shall do.
#[derive(Debug, Subcommand)]
enum What {
    /// Report every so many ms.
    SetInterval {
        /// The interval, ms.
        #[arg(value_name = "MS")]
        interval_ms: u64,
    },
    /// Keep a desired value.
    SetProperty {
        /// The property, for example `Vehicle.Cabin.HVAC.AmbientAirTemperature`.
        #[arg(value_name = "NAME", value_parser = property_name)]
        name: PropertyName,
        /// A number, `true`, `false`, or else a text.
        #[arg(value_name = "VALUE", value_parser = property_value, allow_hyphen_values = true)]
        value: Value,
    },
    /// Start again with a new boot.
    Reboot,
}

fn property_name(text: &str) -> Result<PropertyName, String> {
    PropertyName::parse(text).ok_or_else(|| "a property's name is 1 to 64 of A-Z a-z 0-9 _ - .".to_owned())
}

fn property_value(text: &str) -> Result<Value, String> {
    match text.parse() {
        Ok(number) if f64::is_finite(number) => return Ok(Value::Number(number)),
        _ => {}
    }
    match text {
        "true" => Ok(Value::Boolean(true)),
        "false" => Ok(Value::Boolean(false)),
        text if text.len() <= MAX_TEXT_BYTES => Ok(Value::Text(text.to_owned())),
        _ => Err(format!("a text has at most {MAX_TEXT_BYTES} bytes")),
    }
}

impl From<What> for VehicleCommandKind {
    fn from(what: What) -> Self {
        match what {
            What::SetInterval { interval_ms } => Self::SetReportingInterval { interval_ms },
            What::SetProperty { name, value } => Self::SetProperty { name, value },
            What::Reboot => Self::Reboot,
        }
    }
}

/// Writes the command, prints its id once Kafka has it, and waits for the reply if asked to.
///
/// # Errors
/// [`Error::Usage`] for a life of no time or of more than 7 days, [`Error::Unavailable`] if Kafka can't be reached,
/// [`Error::VerdictFailed`] if the vehicle refused the command or did not answer in time.
pub async fn run_send(args: SendArgs) -> Result<(), Error> {
    let SendArgs { kafka, vehicle, expires_in, wait, what } = args;
    kafka.validate()?;
    let life = UnixMillis::try_from(expires_in.as_millis()).unwrap_or(UnixMillis::MAX);
    if !(1..=MAX_COMMAND_LIFE_MS).contains(&life) {
        let detail = format!("{} is not 1 ms to 7 days", humantime::format_duration(expires_in));
        return Err(Error::Usage { flag: "expires-in", detail });
    }
    let replies = if wait { Some(replies_from_now_on(&kafka).await?) } else { None };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = UnixMillis::try_from(since.as_millis()).unwrap_or(UnixMillis::MAX);
    let command = VehicleCommand { id: Uuid::now_v7(), vehicle, kind: what.into(), expires_at: now + life };
    let payload = serde_json::to_vec(&command).context("write JSON")?;
    let producer = Producer::connect(&kafka).await?;
    producer.deliver(OutRecord::new(VEHICLE_COMMANDS, command.vehicle.as_str(), payload)).await?;
    print(&command.id)?;
    let Some(mut replies) = replies else { return Ok(()) };
    let answered = tokio::time::timeout(expires_in + AFTER_EXPIRY, reply_to(&command, &mut replies)).await;
    let Ok(reply) = answered else {
        return Err(Error::VerdictFailed(format!("{} did not answer before the command expired", command.vehicle)));
    };
    let reply = reply?;
    print(&serde_json::to_string(&reply).context("write JSON")?)?;
    if reply.done {
        return Ok(());
    }
    let why = reply.error.unwrap_or_default();
    Err(Error::VerdictFailed(format!("{} did not carry it out: {why}", command.vehicle)))
}

async fn replies_from_now_on(kafka: &KafkaConfig) -> Result<Tail, Error> {
    let marks = History::watermarks(kafka, COMMAND_REPLIES).await?;
    let ends = marks.into_iter().map(|(partition, (_, high))| (partition, high)).collect();
    Tail::open(kafka, COMMAND_REPLIES, TailFrom::Offsets(ends)).await
}

async fn reply_to(command: &VehicleCommand, replies: &mut Tail) -> Result<CommandReply, Error> {
    loop {
        for record in replies.next(CHUNK, Duration::from_secs(1)).await? {
            let reply = record.payload.and_then(|payload| serde_json::from_slice::<CommandReply>(&payload).ok());
            if let Some(reply) = reply.filter(|reply| reply.id == command.id && reply.vehicle == command.vehicle) {
                return Ok(reply);
            }
        }
    }
}

fn print(line: &impl std::fmt::Display) -> Result<(), Error> {
    writeln!(std::io::stdout().lock(), "{line}").context("write to stdout")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_they_look_like() {
        for (text, value) in [
            ("21.5", Value::Number(21.5)),
            ("-3", Value::Number(-3.0)),
            ("true", Value::Boolean(true)),
            ("nan", Value::Text("nan".into())),
            ("eco", Value::Text("eco".into())),
        ] {
            assert_eq!(property_value(text), Ok(value));
        }
        assert!(property_value(&"x".repeat(MAX_TEXT_BYTES + 1)).is_err());
        assert!(property_name("a b").is_err());
    }
}
