//! `motorcade twin show` and `motorcade twin verify`.

use std::{fmt::Write as _, io::Write as _, time::Duration};

use anyhow::Context;
use cloud_log::KafkaConfig;
use service::Error;
use store::{MongoConfig, SignalValue, Store, Twin};
use telemetry::{VehicleId, signal};

use crate::verify::{Report, verify};

/// Flags of `twin show`.
#[derive(clap::Args, Debug, Clone)]
pub struct ShowArgs {
    /// Where MongoDB is.
    #[command(flatten)]
    mongo: MongoConfig,
    /// Whose twin.
    vehicle: VehicleId,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Flags of `twin verify`.
#[derive(clap::Args, Debug, Clone)]
pub struct VerifyArgs {
    /// Where Kafka is.
    #[command(flatten)]
    kafka: KafkaConfig,
    /// Where MongoDB is.
    #[command(flatten)]
    mongo: MongoConfig,
    /// How long the twin writer may take to catch up with the log, ms.
    #[arg(long, env = "MOTORCADE_TWIN_PATIENCE_MS", default_value_t = 10_000)]
    patience_ms: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints a vehicle's twin.
///
/// # Errors
/// [`Error::BadInput`] if there is none, [`Error::Unavailable`] if MongoDB can't be reached.
pub async fn run_show(args: ShowArgs) -> Result<(), Error> {
    let store = Store::connect(&args.mongo).await?;
    let twin = store.twin(&args.vehicle).await?;
    let twin = twin.ok_or_else(|| Error::BadInput(format!("there is no twin of {}", args.vehicle)))?;
    store.close().await;
    print(&if args.json { json(&twin)? } else { table(&twin) })
}

/// Compares every twin with an independent fold of the log, and prints what differs.
///
/// # Errors
/// [`Error::VerdictFailed`] if a twin differs, [`Error::Unavailable`] if a service can't be reached.
pub async fn run_verify(args: VerifyArgs) -> Result<(), Error> {
    args.kafka.validate()?;
    let store = Store::connect(&args.mongo).await?;
    let report = verify(&args.kafka, &store, Duration::from_millis(args.patience_ms)).await?;
    store.close().await;
    print(&if args.json { json(&report)? } else { sentences(&report)? })?;
    if report.ok {
        return Ok(());
    }
    let Report { differing, checked, .. } = report;
    Err(Error::VerdictFailed(format!("{differing} of {checked} twins differ from the fold of the log")))
}

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    Ok(serde_json::to_string(value).context("write JSON")? + "\n")
}

fn print(text: &str) -> Result<(), Error> {
    std::io::stdout().lock().write_all(text.as_bytes()).context("write to stdout")?;
    Ok(())
}

fn sentences(report: &Report) -> Result<String, Error> {
    let mut text = String::new();
    for difference in &report.different {
        text += &format!("{} differs\n", difference.vehicle);
        text += &format!("  log:  {}", json(&difference.log)?);
        text += &format!("  twin: {}", json(&difference.twin)?);
    }
    let Report { checked, differing, unjudged, records, unreadable, .. } = report;
    text += &format!("{checked} twins compared with {records} records of the log: {differing} differ\n");
    if *unjudged > 0 {
        text += &format!("{unjudged} not judged: their last full record is no longer in the log\n");
    }
    if *unreadable > 0 {
        text += &format!("{unreadable} records can't be read\n");
    }
    Ok(text)
}

fn table(twin: &Twin) -> String {
    let mut rows = vec![("vehicle".to_owned(), twin.vehicle.to_string())];
    if let Some(last) = &twin.last {
        rows.push(("reading".into(), format!("boot {} seq {} at {} ms", last.boot, last.seq, last.time)));
        rows.push(("source".into(), format!("partition {} offset {}", last.partition, last.offset)));
    }
    if let Some(status) = &twin.status {
        let state = if twin.is_online() { "online" } else { "offline" };
        rows.push(("status".into(), format!("{state} since {} ms", status.time)));
    }
    if let Some(place) = &twin.position {
        rows.push(("position".into(), format!("{:.5}, {:.5}", place.position.latitude, place.position.longitude)));
    }
    for (path, value) in &twin.signals {
        let unit = signal::by_path(path).map_or("", |signal| signal.unit);
        let text = match &value.value {
            SignalValue::Number(number) => format!("{number} {unit}"),
            SignalValue::Boolean(truth) => truth.to_string(),
            SignalValue::Text(text) => text.clone(),
        };
        rows.push((path.clone(), text));
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    rows.iter().fold(String::new(), |mut text, (name, value)| {
        // Writing to a string never fails.
        writeln!(text, "{name:width$}  {}", value.trim_end()).unwrap_or_default();
        text
    })
}
