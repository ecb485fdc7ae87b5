//! What stands beside the Parquet files: where they come from, and what is in them. It holds no moment of writing: two
//! exports of the same records are the same.

use std::{collections::BTreeMap, ops::Range};

use serde::Serialize;
use telemetry::{UnixMillis, signal};

use super::replay::Span;
use crate::{columns::Columns, mapping::Form};

/// The file `manifest.json`.
#[derive(Debug, Serialize)]
pub(super) struct Manifest {
    /// Version of this form.
    pub(super) format: u32,
    pub(super) kafka_topic: &'static str,
    /// Window time, ms since the epoch, where it was limited.
    pub(super) from: Option<UnixMillis>,
    pub(super) to: Option<UnixMillis>,
    /// Whether readings that came more than once stand in it as often as they came.
    pub(super) duplicates_kept: bool,
    pub(super) received: u64,
    pub(super) written: u64,
    pub(super) discarded: BTreeMap<&'static str, u64>,
    /// Values whose signal has no column, or one of another type.
    pub(super) values_left_out: u64,
    /// Labels of the file that was given, and rows with one.
    pub(super) labels: Option<usize>,
    pub(super) labelled_rows: u64,
    pub(super) partitions: Vec<Partition>,
    pub(super) signals: Vec<Signal>,
}

#[derive(Debug, Serialize)]
pub(super) struct Partition {
    pub(super) partition: i32,
    /// First offset.
    pub(super) from: i64,
    /// The offset after the last one.
    pub(super) to: i64,
    pub(super) received: u64,
    pub(super) written: u64,
    pub(super) discarded: BTreeMap<&'static str, u64>,
    /// Chain of XXH3-64 over the written payloads.
    pub(super) hash: String,
    /// None where there is nothing to write.
    pub(super) file: Option<String>,
    pub(super) bytes: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Signal {
    path: String,
    column: String,
    #[serde(rename = "type")]
    form: &'static str,
    /// The catalogue's; what it lacks has none.
    unit: &'static str,
    number: Option<u16>,
}

impl Manifest {
    /// Nothing written yet.
    pub(super) fn new(kafka_topic: &'static str, within: &Range<UnixMillis>, columns: &Columns) -> Self {
        Self {
            format: 1,
            kafka_topic,
            from: Some(within.start).filter(|from| *from != UnixMillis::MIN),
            to: Some(within.end).filter(|to| *to != UnixMillis::MAX),
            duplicates_kept: false,
            received: 0,
            written: 0,
            discarded: BTreeMap::new(),
            values_left_out: 0,
            labels: None,
            labelled_rows: 0,
            partitions: Vec::new(),
            signals: columns.signals.iter().map(|(path, form)| Signal::of(path, *form)).collect(),
        }
    }

    /// A partition is through.
    pub(super) fn add(&mut self, partition: i32, offsets: &Range<i64>, span: &Span, file: Option<(String, u64)>) {
        self.received += span.received;
        self.written += span.written;
        for (reason, n) in &span.discarded {
            *self.discarded.entry(reason).or_default() += n;
        }
        let (file, bytes) = file.unzip();
        self.partitions.push(Partition {
            partition,
            from: offsets.start,
            to: offsets.end,
            received: span.received,
            written: span.written,
            discarded: span.discarded.clone(),
            hash: span.hash(),
            file,
            bytes: bytes.unwrap_or_default(),
        });
    }
}

impl Signal {
    fn of(path: &str, form: Form) -> Self {
        let row = signal::by_path(path);
        let form = match form {
            Form::Number => "number",
            Form::Boolean => "boolean",
            Form::Text => "text",
        };
        Self {
            path: path.to_owned(),
            column: Columns::name(path),
            form,
            unit: row.map_or("", |row| row.unit),
            number: row.map(|row| row.number),
        }
    }
}
