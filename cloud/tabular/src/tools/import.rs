//! `motorcade data import`: CSV into telemetry.
//!
//! The tables are read twice. The first time nothing is sent: what would be refused is refused before the first record
//! leaves. The second time everything goes to Kafka, as the edge writes it.

use std::{
    path::{Path, PathBuf},
    slice::Iter,
    time::{Duration, Instant},
};

use cloud_log::{History, KafkaConfig, OutRecord, Producer};
use serde::Serialize;
use service::Error;
use telemetry::{Encoding, Record, encode, kafka_topic, kafka_topic::header, mqtt_topic::Channel};
use tokio_util::sync::CancellationToken;

use super::{
    output::{Lines, print},
    summary::Summary,
    table::Table,
};
use crate::{
    intake::{Counts, Intake, Rules, Yield},
    mapping::{Bound, EXAMPLES, Mapping},
    rows::Rejection,
};

/// Rows that are read before what came of them is handed on.
const CHUNK: usize = 500;
/// How often a long run says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Flags of `data import`.
#[derive(Debug, Clone, clap::Args)]
pub struct ImportArgs {
    /// Where Kafka is.
    #[command(flatten)]
    kafka: KafkaConfig,
    /// TOML file that says which column is what.
    #[arg(long, value_name = "FILE", required_unless_present = "print_example")]
    mapping: Option<PathBuf>,
    /// The tables, in the order of their times.
    #[arg(value_name = "CSV", required_unless_present = "print_example")]
    tables: Vec<PathBuf>,
    /// Print a commented mapping for a public data set, and end.
    #[arg(long, value_name = "NAME", value_parser = EXAMPLES.map(|(name, _)| name), conflicts_with = "mapping")]
    print_example: Option<String>,
    /// One boot for all readings. Without it: the Unix second of each vehicle's first reading in a table.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    boot: Option<u32>,
    /// json or protobuf.
    #[arg(long, default_value = "json")]
    encoding: Encoding,
    /// Rows of a vehicle that are held back to put them in order; they are in memory.
    #[arg(long, value_name = "ROWS", default_value_t = 100)]
    sort_window: usize,
    /// Say what would be done, and open no socket.
    #[arg(long)]
    dry_run: bool,
    /// Refuse everything if a single row or value has to be put aside.
    #[arg(long)]
    strict: bool,
    /// Write what is put aside there: JSON Lines with file, line, column, reason and a sentence.
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Write the labels there, in the form of the simulator's truth: JSON Lines.
    #[arg(long, value_name = "FILE")]
    labels_out: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `data import`.
///
/// # Errors
/// [`Error::BadInput`] if the mapping does not fit the tables, no row can be a reading, or a vehicle's rows are out of
/// order; [`Error::Unavailable`] if Kafka can't be reached or lacks the topic.
pub async fn run_import(args: ImportArgs, stop: CancellationToken) -> Result<(), Error> {
    args.kafka.validate()?;
    let example = args.print_example.as_deref().and_then(|asked| EXAMPLES.iter().find(|(name, _)| *name == asked));
    if let Some((_, text)) = example {
        return print(text);
    }
    let mapping = read_mapping(args.mapping.as_deref().unwrap_or(Path::new("")))?;
    let rules = Rules { window: args.sort_window, boot: args.boot };
    let (counts, vehicles) = survey(&args, &mapping, rules, &stop)?;
    if !args.dry_run {
        let feed = Feed::new(&mapping, &args.tables, rules);
        send(&args, feed, &counts, &stop).await?;
    }
    let summary = Summary::new(&mapping, args.tables.len(), &counts, vehicles, args.dry_run);
    print(&if args.json { summary.json()? } else { summary.to_string() })
}

fn read_mapping(path: &Path) -> Result<Mapping, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::BadInput(format!("--mapping {}: {error}", path.display())))?;
    Mapping::parse(&text).map_err(|detail| Error::BadInput(format!("{}: {detail}", path.display())))
}

/// A rejection and its table.
#[derive(Serialize)]
struct Rejected<'a> {
    file: &'a Path,
    #[serde(flatten)]
    rejection: &'a Rejection,
}

/// Reads everything and sends nothing.
fn survey(
    args: &ImportArgs,
    mapping: &Mapping,
    rules: Rules,
    stop: &CancellationToken,
) -> Result<(Counts, usize), Error> {
    let mut rejects = args.rejects.as_deref().map(|path| Lines::create("rejects", path)).transpose()?;
    let mut labels = args.labels_out.as_deref().map(|path| Lines::create("labels-out", path)).transpose()?;
    let mut feed = Feed::new(mapping, &args.tables, rules);
    let mut first = None;
    let outcome = loop {
        let step = match feed.next() {
            Ok(Some(step)) => step,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        for rejection in &step.rejections {
            if let Some(rejects) = &mut rejects {
                rejects.line(&Rejected { file: feed.path, rejection })?;
            }
            first.get_or_insert_with(|| tell(feed.path, rejection));
        }
        if let Some(labels) = &mut labels {
            step.labels.iter().try_for_each(|label| labels.line(label))?;
        }
        feed.tell("read");
        match &first {
            Some(first) if args.strict => break Err(Error::BadInput(format!("{first} (--strict)"))),
            _ if stop.is_cancelled() => break Err(Error::VerdictFailed("stopped; nothing was sent".into())),
            _ => {}
        }
    };
    // Also where it was refused: they say why.
    rejects.map(Lines::finish).transpose()?;
    outcome?;
    labels.map(Lines::finish).transpose()?;
    let (counts, vehicles) = (feed.intake.counts().clone(), feed.intake.vehicles());
    if counts.taken == 0 {
        let first = first.map(|first| format!("; the first: {first}")).unwrap_or_default();
        return Err(Error::BadInput(format!("none of the {} rows can be a reading{first}", counts.received)));
    }
    Ok((counts, vehicles))
}

fn tell(path: &Path, rejection: &Rejection) -> String {
    let column = rejection.column.as_deref().map(|column| format!(", column {column:?}")).unwrap_or_default();
    format!("{} line {}{column}: {}: {}", path.display(), rejection.line, rejection.reason, rejection.detail)
}

/// Sends what the survey has counted.
async fn send(args: &ImportArgs, mut feed: Feed<'_>, counts: &Counts, stop: &CancellationToken) -> Result<(), Error> {
    // Tells of a missing topic; a producer would only fail to deliver.
    History::watermarks(&args.kafka, kafka_topic::TELEMETRY).await?;
    let producer = Producer::connect(&args.kafka).await?;
    while let Some(step) = feed.next()? {
        for row in step.rows {
            producer.send(outgoing(&row.record, args.encoding)?).await?;
        }
        feed.tell("handed to Kafka");
        if stop.is_cancelled() {
            producer.flush().await?;
            let (done, all) = (feed.intake.counts().taken, counts.taken);
            return Err(Error::VerdictFailed(format!(
                "stopped: {done} of {all} readings are in Kafka; the same command again completes them"
            )));
        }
    }
    producer.flush().await?;
    if feed.intake.counts() != counts {
        return Err(Error::VerdictFailed(
            "a table changed while it was imported; import it again with another --boot".into(),
        ));
    }
    Ok(())
}

/// A record as the edge writes it.
fn outgoing(record: &Record, encoding: Encoding) -> Result<OutRecord, Error> {
    let payload = encode(record, encoding).map_err(|invalid| Error::BadInput(invalid.to_string()))?;
    let mut out = OutRecord::new(kafka_topic::TELEMETRY, record.vehicle.as_str(), payload);
    out.headers = [
        (header::CONTENT_TYPE, encoding.content_type().to_owned()),
        (header::SCHEMA, record.schema.to_string()),
        (header::MQTT_TOPIC, Channel::Telemetry.topic(&record.vehicle)),
    ]
    .into();
    Ok(out)
}

/// One reading of all tables, in chunks.
struct Feed<'m> {
    mapping: &'m Mapping,
    intake: Intake<'m>,
    tables: Iter<'m, PathBuf>,
    /// The table at hand.
    path: &'m Path,
    open: Option<(Table, Bound<'m>)>,
    told: Instant,
}

impl<'m> Feed<'m> {
    fn new(mapping: &'m Mapping, tables: &'m [PathBuf], rules: Rules) -> Self {
        let intake = Intake::new(mapping, rules);
        Self { mapping, intake, tables: tables.iter(), path: Path::new(""), open: None, told: Instant::now() }
    }

    /// What came of the next rows; none behind the last table.
    fn next(&mut self) -> Result<Option<Yield>, Error> {
        if self.open.is_none() {
            let Some(path) = self.tables.next() else { return Ok(None) };
            self.path = path;
            let table = Table::open(path, self.mapping).map_err(|detail| self.bad(&detail))?;
            let bound = self.mapping.bind(&table.header, path).map_err(|detail| self.bad(&detail))?;
            self.open = Some((table, bound));
        }
        let mut out = Yield::default();
        let read = self.fill(&mut out);
        read.map_err(|detail| self.bad(&detail))?;
        Ok(Some(out))
    }

    fn fill(&mut self, out: &mut Yield) -> Result<(), String> {
        let Some((table, bound)) = &mut self.open else { return Ok(()) };
        for _ in 0..CHUNK {
            if !table.advance()? {
                self.intake.end_table(out);
                self.open = None;
                return Ok(());
            }
            let cells = table.cells();
            let cells = cells.as_ref().map(Vec::as_slice).map_err(Clone::clone);
            self.intake.take(bound, table.line(), cells, out)?;
        }
        Ok(())
    }

    fn bad(&self, detail: &str) -> Error {
        Error::BadInput(format!("{}: {detail}", self.path.display()))
    }

    fn tell(&mut self, what: &str) {
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            tracing::info!("{}: {} rows {what} so far", self.path.display(), self.intake.counts().received);
        }
    }
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
