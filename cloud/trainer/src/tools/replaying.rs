//! Flags of the tools that replay history, and of the labels beside it.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use cloud_log::{KafkaConfig, check_partitions, parse_moment, parse_offsets};
use evaluation::labels::{self, Labels};
use service::Error;
use telemetry::{UnixMillis, VehicleId, kafka_topic};

use super::date;
use crate::replay::{Range, Replayed, Spooling, replay, times};

/// What to replay, and where to.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Replaying {
    /// Event time to begin with: ms since the epoch, RFC 3339, or a date (its midnight, UTC).
    #[arg(long, value_name = "TIME", value_parser = parse_moment, allow_hyphen_values = true, conflicts_with = "offsets")]
    pub from: Option<UnixMillis>,
    /// Event time to end before.
    #[arg(long, value_name = "TIME", value_parser = parse_moment, allow_hyphen_values = true, conflicts_with = "offsets")]
    pub to: Option<UnixMillis>,
    /// Exact offsets instead, `PARTITION:FROM-TO[,…]`; TO is exclusive.
    #[arg(long, value_name = "P:FROM-TO")]
    pub offsets: Option<String>,
    /// Folder that replayed history is spooled to, about a hundred bytes a record; it stays, and an interrupted replay of
    /// the same range goes on there. Without it: a temporary folder, removed at the end.
    #[arg(long, value_name = "DIR")]
    pub spool: Option<PathBuf>,
}

impl Replaying {
    /// Checks the flags; opens no socket.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub(super) fn validate(&self) -> Result<(), Error> {
        self.range().map(|_| ())
    }

    /// Replays.
    pub(super) async fn replay(&self, kafka: &KafkaConfig) -> Result<Replayed, Error> {
        let range = self.range()?;
        if let Range::Offsets(offsets) = &range {
            check_partitions(kafka, kafka_topic::TELEMETRY, offsets).await?;
        }
        replay(kafka, &range, &Spooling { folder: self.spool.clone(), most: None }).await
    }

    /// What an empty range is refused with.
    pub(super) async fn empty(&self, kafka: &KafkaConfig) -> Error {
        match times(kafka).await {
            Ok(Some((from, to))) => Error::BadInput(format!(
                "no reading in the range; telemetry holds event times {} to {}",
                date(from),
                date(to)
            )),
            Ok(None) => Error::BadInput("no reading in the range; telemetry holds none at all".into()),
            Err(error) => error,
        }
    }

    fn range(&self) -> Result<Range, Error> {
        let (from, to) = (self.from.unwrap_or(UnixMillis::MIN), self.to.unwrap_or(UnixMillis::MAX));
        match &self.offsets {
            Some(text) => parse_offsets(text).map(Range::Offsets),
            None if from >= to => {
                Err(Error::Usage { flag: "to", detail: format!("{to} is not later than --from {from}") })
            }
            None => Ok(Range::Time { from, to }),
        }
    }
}

/// Reads a file of labels; opens no socket.
pub(super) fn read_labels(path: &Path) -> Result<Labels, Error> {
    let wrong = |detail: &dyn std::fmt::Display| Error::BadInput(format!("{}: {detail}", path.display()));
    let file = File::open(path).map_err(|error| wrong(&error))?;
    let labels = labels::read(BufReader::new(file)).map_err(|error| wrong(&error))?;
    if labels.is_empty() {
        return Err(wrong(&"no label in it; `motorcade data import --labels-out` writes such a file"));
    }
    Ok(labels)
}

/// Refuses labels of other vehicles than those that were replayed: nothing could be found.
pub(super) fn check_labels(labels: &Labels, vehicles: &[VehicleId]) -> Result<(), Error> {
    if labels::events(labels, vehicles, (UnixMillis::MIN, UnixMillis::MAX)).iter().all(Vec::is_empty) {
        return Err(Error::BadInput("no label is of a vehicle that was replayed: widen the range".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_ends_before_it_begins_is_a_usage_error() {
        let replaying = Replaying { from: Some(5), to: Some(5), ..Replaying::default() };
        assert_eq!(replaying.validate().unwrap_err().exit_code(), 64);
        Replaying::default().validate().unwrap();
    }

    #[test]
    fn a_file_without_labels_is_refused_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.jsonl");
        std::fs::write(&path, "\n").unwrap();
        for path in [path, dir.path().join("absent")] {
            let error = read_labels(&path).unwrap_err();
            assert!(error.exit_code() == 65 && error.to_string().contains(&path.display().to_string()), "{error}");
        }
    }
}
