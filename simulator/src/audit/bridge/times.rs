//! How long readings took, and which of them were late.
//!
//! Only the broker's own stamp (`message.timestamp.type=LogAppendTime`) says when a reading was in Kafka. A producer's
//! stamp may be older than an outage: it says when the bridge took the reading. A reading that is not there counts
//! with the age that it had when the run ended, so that what never came does not make a run look fast.

use hdrhistogram::Histogram;
use report::{Report, Series};
use telemetry::UnixMillis;

use crate::audit::timeline::Timeline;

/// Longer times count as a day, ms.
const LONGEST_MS: u64 = 24 * 3_600_000;

/// See the module.
pub struct Times {
    late_ms: u64,
    /// From the time at which a reading was due to the append of its first copy, ms.
    pub to_kafka: Histogram<u64>,
    /// The same where the stamp is the producer's.
    pub to_stamp: Histogram<u64>,
    /// How many of them are ages: of readings that are not there.
    pub missing: u64,
    /// Those that Kafka has later than allowed, or has not, though they were older than that when the run ended.
    late: u64,
    /// First copies whose stamp lies before the time at which they were due: clocks disagree.
    early: u64,
    /// First copies with the append's stamp.
    appended: u64,
    timeline: Timeline,
}

impl Times {
    /// Of nothing so far.
    pub(super) fn new(late_ms: u64) -> anyhow::Result<Self> {
        let blank = Histogram::new_with_bounds(1, LONGEST_MS, 3)?;
        Ok(Self {
            late_ms,
            to_kafka: blank.clone(),
            to_stamp: blank,
            missing: 0,
            late: 0,
            early: 0,
            appended: 0,
            timeline: Timeline::new(LONGEST_MS)?,
        })
    }

    /// Takes in the first copy of a reading.
    pub(super) fn found(&mut self, scheduled: UnixMillis, stamp: UnixMillis, append_stamped: bool) {
        let after = stamp.saturating_sub(scheduled);
        let ms = u64::try_from(after).unwrap_or(0);
        if append_stamped {
            self.appended += 1;
            self.early += u64::from(after < 0);
            self.late += u64::from(ms > self.late_ms);
            self.to_kafka.saturating_record(ms);
        } else {
            self.to_stamp.saturating_record(ms);
        }
        self.timeline.record(scheduled, ms);
    }

    /// Takes in a reading that is not there, after all that are; the run had not ended before `latest`.
    pub(super) fn missing(&mut self, scheduled: UnixMillis, latest: UnixMillis) {
        let age = u64::try_from(latest.saturating_sub(scheduled)).unwrap_or(0);
        self.missing += 1;
        self.late += u64::from(age > self.late_ms);
        // It is among those that it belongs to.
        let times = if self.to_stamp.is_empty() { &mut self.to_kafka } else { &mut self.to_stamp };
        times.saturating_record(age);
        self.timeline.record_missing(scheduled, age);
    }

    /// Whether the times until in Kafka are known: of all that is there, as a condition on a part of it would pass.
    fn are_measured(&self) -> bool {
        self.appended > 0 && self.to_stamp.is_empty()
    }

    /// How many were late, where that is known.
    pub(super) fn late(&self) -> Option<u64> {
        self.are_measured().then_some(self.late)
    }

    /// Enters what was measured.
    pub(super) fn fill(&self, report: &mut Report) {
        if self.are_measured() {
            report.count("late_readings", self.late);
            report.count("early_readings", self.early);
            report.latency_in_ms("schedule_to_kafka", &self.to_kafka);
        }
        report.latency_in_ms("schedule_to_stamp", &self.to_stamp);
        report.series.extend(self.series());
    }

    fn series(&self) -> Option<Series> {
        let until = if self.are_measured() { "in Kafka" } else { "the record's timestamp" };
        self.timeline.series(&format!("Latency until {until}"))
    }

    /// A line for people.
    pub(super) fn text(&self, report: &Report) -> String {
        let ms = |until: &str| {
            let ms = |p: &str| report.figures.get(&format!("schedule_to_{until}_{p}_ms")).copied().unwrap_or(0.0);
            let [p50, p90, p99, p999, max] = ["p50", "p90", "p99", "p999", "max"].map(ms);
            format!("p50 {p50:.0}  p90 {p90:.0}  p99 {p99:.0}  p999 {p999:.0}  max {max:.0}")
        };
        let missing = match self.missing {
            0 => String::new(),
            n => format!(" ({n} that are not there with their age when the run ended)"),
        };
        if self.are_measured() {
            return format!("schedule to Kafka, ms: {}{missing}", ms("kafka"));
        }
        if self.to_stamp.is_empty() {
            return "schedule to Kafka: not measured".to_owned();
        }
        format!(
            "schedule to the producer's timestamp, ms: {}{missing}\n\
             latency until in Kafka was not measured: it needs a topic with message.timestamp.type=LogAppendTime",
            ms("stamp"),
        )
    }
}
