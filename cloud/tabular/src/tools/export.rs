//! `motorcade data export`: a bounded replay of `telemetry` into Parquet.
//!
//! The range is fixed by offsets before it is read. A first pass finds the signals, and so the columns; a second one
//! writes. With `--signals` there is only the second. One partition after the other, so that one row group is in memory.

use std::{
    collections::BTreeMap,
    fs::File,
    io::BufReader,
    ops::Range,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use cloud_log::{History, InRecord, KafkaConfig, Offsets, check_partitions, parse_moment, parse_offsets};
use service::Error;
use telemetry::{Record, UnixMillis, kafka_topic, validation::MAX_PATH_BYTES};
use tokio_util::sync::CancellationToken;

use super::{
    manifest::Manifest,
    nearest::nearest,
    output::{NewFolder, print},
    replay::{Judge, Span},
};
use crate::{
    columns::{Columns, Found, MAX_COLUMNS, Place},
    labels::LabelIndex,
    parquet_file::ParquetFile,
};

/// How often a long run says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);
const CHUNK: usize = 1_000;

/// Flags of `data export`.
#[derive(Debug, Clone, clap::Args)]
pub struct ExportArgs {
    /// Where Kafka is.
    #[command(flatten)]
    kafka: KafkaConfig,
    /// The folder to write; it must not be there yet.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Event time to begin with, judged as training does: ms since the epoch, RFC 3339, or a date
    /// (its midnight, UTC).
    #[arg(long, value_name = "TIME", value_parser = parse_moment, allow_hyphen_values = true)]
    from: Option<UnixMillis>,
    /// Event time to end before.
    #[arg(long, value_name = "TIME", value_parser = parse_moment, allow_hyphen_values = true)]
    to: Option<UnixMillis>,
    /// Exact offsets, `PARTITION:FROM-TO[,…]`; TO is exclusive. Without it: everything that is there.
    #[arg(long, value_name = "P:FROM-TO")]
    offsets: Option<String>,
    /// Only these signals, by path; saves the pass that looks for them. Texts and booleans outside the catalogue need it.
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    signals: Vec<String>,
    /// JSON Lines with labels, as `data import --labels-out` and the simulator write them; adds the column `label`.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Write a reading as often as it is in the log.
    #[arg(long)]
    keep_duplicates: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `data export`.
///
/// # Errors
/// [`Error::Usage`] if the folder is there already, [`Error::BadInput`] if a label can't be read, offsets are not in the
/// log, or the range has no reading, no vehicle with a label or no value of a signal that was named; no folder is left
/// then. [`Error::Unavailable`] if Kafka can't be reached.
pub async fn run_export(args: ExportArgs, stop: CancellationToken) -> Result<(), Error> {
    args.kafka.validate()?;
    let within = args.from.unwrap_or(UnixMillis::MIN)..args.to.unwrap_or(UnixMillis::MAX);
    if within.is_empty() {
        return Err(Error::Usage { flag: "to", detail: "it is not after --from".into() });
    }
    if args.signals.len() > MAX_COLUMNS
        || args.signals.iter().any(|path| path.is_empty() || path.len() > MAX_PATH_BYTES)
    {
        let detail = format!("at most {MAX_COLUMNS} paths of 1 to {MAX_PATH_BYTES} bytes");
        return Err(Error::Usage { flag: "signals", detail });
    }
    let asked = args.offsets.as_deref().map(parse_offsets).transpose()?;
    let labels = args.labels.as_deref().map(read_labels).transpose()?;
    let folder = NewFolder::create("out", &args.out)?;
    let mut export = Export {
        place: if asked.is_some() { "what --offsets names" } else { kafka_topic::TELEMETRY },
        offsets: match asked {
            Some(offsets) => {
                check_partitions(&args.kafka, kafka_topic::TELEMETRY, &offsets).await?;
                offsets
            }
            None => everything(&args.kafka).await?,
        },
        kafka: args.kafka,
        named: !args.signals.is_empty(),
        within,
        keep_duplicates: args.keep_duplicates,
        labels,
        stop,
        told: Instant::now(),
    };
    let columns = if args.signals.is_empty() {
        export.find().await?
    } else {
        Columns::named(&args.signals, export.labels.is_some())
    };
    let manifest = export.write(&columns, folder.path()).await?;
    let text = serde_json::to_string_pretty(&manifest).context("write JSON")? + "\n";
    std::fs::write(folder.path().join("manifest.json"), &text).context("write manifest.json")?;
    folder.finish()?;
    if args.json {
        return print(&(serde_json::to_string(&manifest).context("write JSON")? + "\n"));
    }
    print(&told(&manifest, &args.out))
}

/// What people read at the end.
fn told(manifest: &Manifest, out: &Path) -> String {
    let reasons: Vec<_> = manifest.discarded.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    let bytes: u64 = manifest.partitions.iter().map(|partition| partition.bytes).sum();
    let mut text = format!(
        "{} records read: {} written, discarded: {}\n{} signals, {} files, {bytes} bytes in {}\n",
        manifest.received,
        manifest.written,
        if reasons.is_empty() { "none".to_owned() } else { reasons.join(", ") },
        manifest.signals.len(),
        manifest.partitions.iter().filter(|partition| partition.file.is_some()).count(),
        out.display()
    );
    if let Some(labels) = manifest.labels {
        text += &format!("{labels} labels, {} rows with one\n", manifest.labelled_rows);
    }
    if manifest.values_left_out > 0 {
        text += &format!(
            "{} values of signals without a column, or of another type than it, left out\n",
            manifest.values_left_out
        );
    }
    text
}

async fn everything(kafka: &KafkaConfig) -> Result<Offsets, Error> {
    let marks = History::watermarks(kafka, kafka_topic::TELEMETRY).await?;
    Ok(marks.into_iter().map(|(partition, (low, high))| (partition, low..high)).collect())
}

fn read_labels(path: &Path) -> Result<LabelIndex, Error> {
    let file = File::open(path).map_err(|error| Error::BadInput(format!("--labels {}: {error}", path.display())))?;
    LabelIndex::read(BufReader::new(file)).map_err(|detail| Error::BadInput(format!("{}: {detail}", path.display())))
}

/// An export under way.
struct Export {
    kafka: KafkaConfig,
    offsets: Offsets,
    /// What the offsets are of, for people.
    place: &'static str,
    /// Whether the signals were named.
    named: bool,
    within: Range<UnixMillis>,
    keep_duplicates: bool,
    labels: Option<LabelIndex>,
    stop: CancellationToken,
    told: Instant,
}

impl Export {
    /// The first pass: which columns there are.
    async fn find(&mut self) -> Result<Columns, Error> {
        let mut judge = Judge::new(self.within.clone(), self.keep_duplicates);
        let (mut found, mut full) = (Found::default(), None);
        for (partition, offsets) in self.offsets.clone() {
            self.replay("looking for signals", partition, offsets, |record| {
                if let Ok(record) = judge.judge(record) {
                    full = full.take().or(found.take(&record).err());
                }
            })
            .await?;
            if let Some(detail) = full {
                return Err(Error::BadInput(detail));
            }
        }
        judge.must_have_kept(self.place)?;
        Ok(found.columns(self.labels.is_some()))
    }

    /// The second pass: a file for each partition.
    async fn write(&mut self, columns: &Columns, folder: &Path) -> Result<Manifest, Error> {
        let mut judge = Judge::new(self.within.clone(), self.keep_duplicates);
        let mut manifest = Manifest::new(kafka_topic::TELEMETRY, &self.within, columns);
        manifest.duplicates_kept = self.keep_duplicates;
        let labels = self.labels.take();
        manifest.labels = labels.as_ref().map(LabelIndex::len);
        let mut fits = labels.as_ref().is_none_or(LabelIndex::is_empty);
        // None where nothing is to be held against it: no signal was named, or there are too many others.
        let mut found = self.named.then(Found::default);
        for (partition, offsets) in self.offsets.clone() {
            let name = format!("telemetry-{partition}.parquet");
            let (mut span, mut file, mut failed) = (Span::default(), None, None);
            let (mut left_out, mut labelled) = (0, 0);
            self.replay("writing", partition, offsets.clone(), |record| {
                let judged = judge.judge(record);
                span.take(record, judged.as_ref().map(|_| ()).map_err(|reason| *reason));
                if let (Ok(reading), None) = (judged, &failed) {
                    fits = fits || labels.as_ref().is_some_and(|labels| labels.names(&reading.vehicle));
                    if found.as_mut().is_some_and(|found| found.take(&reading).is_err()) {
                        found = None;
                    }
                    let label = labels.as_ref().and_then(|labels| labels.at(&reading.vehicle, reading.time));
                    labelled += u64::from(label.is_some());
                    match put(&mut file, &folder.join(&name), columns, record, &reading, label) {
                        Ok(n) => left_out += n,
                        Err(error) => failed = Some(error),
                    }
                }
            })
            .await?;
            if let Some(error) = failed {
                return Err(error.context(format!("write {name}")).into());
            }
            debug_assert!(span.balances(), "{span:?}");
            let bytes = file.map(|file| file.finish(columns)).transpose().with_context(|| format!("write {name}"))?;
            manifest.values_left_out += left_out;
            manifest.labelled_rows += labelled;
            manifest.add(partition, &offsets, &span, bytes.map(|bytes| (name, bytes)));
        }
        judge.must_have_kept(self.place)?;
        if !fits {
            let text =
                "no label is of a vehicle that was read: other labels, or a wider range (--from, --to, --offsets)";
            return Err(Error::BadInput(text.into()));
        }
        if let Some(found) = found {
            columns.signals.iter().try_for_each(|(path, _)| must_be_there(path, &found))?;
        }
        Ok(manifest)
    }

    /// Hands every record of a range to `each`.
    async fn replay(
        &mut self,
        what: &str,
        partition: i32,
        offsets: Range<i64>,
        mut each: impl FnMut(&InRecord),
    ) -> Result<(), Error> {
        if offsets.is_empty() {
            return Ok(());
        }
        let end = offsets.end;
        let ranges = BTreeMap::from([(partition, offsets)]);
        let mut log = History::open(&self.kafka, kafka_topic::TELEMETRY, ranges).await?;
        loop {
            let records = tokio::select! {
                records = log.next(CHUNK) => records?,
                () = self.stop.cancelled() => {
                    return Err(Error::VerdictFailed("stopped; nothing was written".into()));
                }
            };
            let Some(records) = records else { return Ok(()) };
            records.iter().for_each(&mut each);
            if self.told.elapsed() >= TELL_EVERY {
                self.told = Instant::now();
                let at = records.last().map_or(0, |record| record.offset);
                tracing::info!("{what}: partition {partition} of {} at offset {at} of {end}", self.offsets.len());
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Refuses a signal that no reading has.
fn must_be_there(path: &str, found: &Found) -> Result<(), Error> {
    if found.has(path) {
        return Ok(());
    }
    let near = nearest(path, found.paths()).map(|near| format!("; the nearest that has is {near}"));
    Err(Error::BadInput(format!("--signals {path}: no reading in the range has it{}", near.unwrap_or_default())))
}

/// Adds a row, to a file that begins with the first one.
fn put(
    file: &mut Option<ParquetFile>,
    path: &Path,
    columns: &Columns,
    record: &InRecord,
    reading: &Record,
    label: Option<String>,
) -> anyhow::Result<u64> {
    let place = Place { partition: record.partition, offset: record.offset, ingest_time: record.timestamp };
    let file = match file {
        Some(file) => file,
        None => file.insert(ParquetFile::create(path, columns)?),
    };
    let left_out = file.rows().push(columns, place, reading, label);
    file.settle(columns)?;
    Ok(left_out)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        export: ExportArgs,
    }

    #[tokio::test]
    async fn what_is_refused_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("labels"), "{}\n").unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        for (flags, code, part) in [
            (vec!["--out".to_owned(), path("")], 64, "is there already"),
            (vec!["--out".to_owned(), path("no/such")], 64, "--out"),
            (vec!["--out".to_owned(), path("new"), "--labels".into(), path("none")], 65, "--labels"),
            (vec!["--out".to_owned(), path("new"), "--labels".into(), path("labels")], 65, "line 1"),
            (vec!["--out".to_owned(), path("new"), "--from".into(), "5".into(), "--to".into(), "5".into()], 64, "--to"),
            (vec!["--out".to_owned(), path("new"), "--signals".into(), "a,,b".into()], 64, "--signals"),
            (vec!["--out".to_owned(), path("new"), "--offsets".into(), "x".into()], 64, "--offsets"),
            (vec!["--out".to_owned(), path("new")], 69, "--kafka 127.0.0.1:9"),
        ] {
            let own = ["export", "--kafka", "127.0.0.1:9", "--connect-timeout-ms", "200"].map(str::to_owned);
            let line = Line::try_parse_from(own.into_iter().chain(flags.clone())).map_err(|e| e.to_string()).unwrap();
            let error = run_export(line.export, CancellationToken::new()).await.unwrap_err();
            assert_eq!(error.exit_code(), code, "{flags:?}: {error}");
            assert!(error.to_string().contains(part), "{flags:?}: {error}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "only the labels");
        assert!(Line::try_parse_from(["export", "--out", "x", "--from", "now"]).is_err());
    }
}
