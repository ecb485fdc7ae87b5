//! Flags of the tools that replay history, and of the labels beside it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use cloud_log::KafkaConfig;
use evaluation::labels::{self, Labels};
use service::Error;
use telemetry::UnixMillis;

use crate::replay::{Range, Replayed, Spooling, replay};

/// What to replay, and where to.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Replaying {
    /// Event time to begin with, ms since the epoch.
    #[arg(long, value_name = "MS", conflicts_with = "offsets")]
    pub from: Option<UnixMillis>,
    /// Event time to end before, ms since the epoch.
    #[arg(long, value_name = "MS", conflicts_with = "offsets")]
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
        replay(kafka, &self.range()?, &Spooling { folder: self.spool.clone(), most: None }).await
    }

    fn range(&self) -> Result<Range, Error> {
        let (from, to) = (self.from.unwrap_or(UnixMillis::MIN), self.to.unwrap_or(UnixMillis::MAX));
        match &self.offsets {
            Some(text) => parse_offsets(text)
                .map(Range::Offsets)
                .ok_or_else(|| Error::Usage { flag: "offsets", detail: format!("{text:?} is not P:FROM-TO[,…]") }),
            None if from >= to => {
                Err(Error::Usage { flag: "to", detail: format!("{to} is not later than --from {from}") })
            }
            None => Ok(Range::Time { from, to }),
        }
    }
}

fn parse_offsets(text: &str) -> Option<BTreeMap<i32, std::ops::Range<i64>>> {
    let one = |part: &str| {
        let (partition, range) = part.split_once(':')?;
        let (from, to) = range.split_once('-')?;
        let (from, to) = (from.parse::<i64>().ok()?, to.parse::<i64>().ok()?);
        (from < to).then_some((partition.parse().ok()?, from..to))
    };
    text.split(',').map(one).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_or_refused_whole() {
        assert_eq!(parse_offsets("0:5-10,3:0-7"), Some(BTreeMap::from([(0, 5..10), (3, 0..7)])));
        for bad in ["", "0", "0:5", "0:10-5", "x:1-2", "0:1-2,"] {
            assert_eq!(parse_offsets(bad), None, "{bad:?}");
        }
    }

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
