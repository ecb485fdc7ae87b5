//! When to train, and on what: enough history, a timer, or drift. Pure.

use std::collections::BTreeMap;

use telemetry::UnixMillis;

use crate::replay::Range;

/// What the role has seen of `telemetry` so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    readings: u64,
    times: Option<(UnixMillis, UnixMillis)>,
    ends: BTreeMap<i32, (i64, i64)>,
}

impl Seen {
    /// Takes a record in; `time` is its reading's window time, none if it can't be read or was there already.
    pub(crate) fn take(&mut self, partition: i32, offset: i64, time: Option<UnixMillis>) {
        let (_, end) = self.ends.entry(partition).or_insert((offset, offset));
        *end = offset + 1;
        let Some(time) = time else { return };
        self.readings += 1;
        let (from, to) = self.times.unwrap_or((time, time));
        self.times = Some((from.min(time), to.max(time)));
    }

    /// Readings that are there, as far as they were told apart.
    pub(crate) fn readings(&self) -> u64 {
        self.readings
    }

    fn span_ms(&self) -> i64 {
        self.times.map_or(0, |(from, to)| to - from)
    }

    fn latest(&self) -> UnixMillis {
        self.times.map_or(UnixMillis::MIN, |(_, to)| to)
    }
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Next {
    /// So much recorded history, ms, and so many readings.
    History(i64, u64),
    /// Event time until a moment, and so many readings.
    Until(UnixMillis, u64),
    /// Event time until a moment; what is learnt from begins with the onset of drift.
    Drift {
        onset: UnixMillis,
        until: UnixMillis,
    },
    Nothing,
}

/// When to train.
#[derive(Debug)]
pub(crate) struct Schedule {
    history_ms: i64,
    min_readings: u64,
    /// 0: no timer.
    every_ms: i64,
    next: Next,
}

impl Schedule {
    /// First when so much history and so many readings are there, then every so often in event time; 0 = never.
    /// `learnt_until`: event time of the last reading that the model learnt from that is there already.
    pub(crate) fn new(history_ms: i64, min_readings: u64, every_ms: i64, learnt_until: Option<UnixMillis>) -> Self {
        let mut schedule = Self { history_ms, min_readings, every_ms, next: Next::History(history_ms, min_readings) };
        if let Some(until) = learnt_until {
            schedule.go_on_from(until);
        }
        schedule
    }

    /// There is a model that has learnt until a moment.
    fn go_on_from(&mut self, learnt_until: UnixMillis) {
        self.next = match self.every_ms {
            0 => Next::Nothing,
            every_ms => Next::Until(learnt_until.saturating_add(every_ms), self.min_readings),
        };
    }

    /// Drift asks for a new model, which has to learn from what came after the onset.
    pub(crate) fn drifted(&mut self, onset: UnixMillis) {
        // Asked again while it waits: the first onset stands. A first model comes before any other.
        let waits_for_the_first = matches!(self.next, Next::History(span, _) if span == self.history_ms);
        if !waits_for_the_first && !matches!(self.next, Next::Drift { .. }) {
            self.next = Next::Drift { onset, until: onset.saturating_add(self.history_ms) };
        }
    }

    /// What to learn from now; none while it is not time.
    pub(crate) fn due(&self, seen: &Seen) -> Option<Range> {
        let everything = || {
            let ends = seen.ends.iter().map(|(partition, (from, to))| (*partition, *from..*to));
            Range::Offsets(ends.collect())
        };
        match self.next {
            Next::History(span_ms, readings) => {
                (seen.span_ms() >= span_ms && seen.readings >= readings).then(everything)
            }
            Next::Until(time, readings) => (seen.latest() >= time && seen.readings >= readings).then(everything),
            Next::Drift { onset, until } => {
                (seen.latest() >= until).then(|| Range::Time { from: onset, to: seen.latest().saturating_add(1) })
            }
            Next::Nothing => None,
        }
    }

    /// A model was trained.
    pub(crate) fn trained(&mut self, seen: &Seen) {
        self.go_on_from(seen.latest());
    }

    /// A model was refused: a quarter more may do, and never more than a first model needs.
    pub(crate) fn refused(&mut self, seen: &Seen) {
        self.next = match self.next {
            Next::Drift { onset, .. } => {
                let gone = seen.latest().saturating_sub(onset);
                Next::Drift { onset, until: seen.latest().saturating_add(gone / 4) }
            }
            _ => {
                let (span, readings) = (seen.span_ms(), seen.readings);
                let more = (readings / 4).min(self.min_readings);
                Next::History(span + (span / 4).min(self.history_ms), readings + more)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(until: UnixMillis) -> Seen {
        let mut seen = Seen::default();
        (0..=until).for_each(|time| seen.take((time % 2) as i32, 10 + time / 2, Some(time)));
        seen
    }

    #[test]
    fn the_first_model_waits_for_history_and_readings_and_learns_exactly_what_was_seen() {
        let schedule = Schedule::new(100, 50, 0, None);
        assert_eq!(schedule.due(&seen(99)), None);
        assert_eq!(schedule.due(&seen(100)), Some(Range::Offsets(BTreeMap::from([(0, 10..61), (1, 10..60)]))));
        assert_eq!(Schedule::new(100, 500, 0, None).due(&seen(100)), None, "too few readings");
        let mut unreadable = Seen::default();
        (0..200).for_each(|offset| unreadable.take(0, offset, None));
        assert_eq!(schedule.due(&unreadable), None);
    }

    #[test]
    fn after_a_model_the_timer_counts_and_after_a_refusal_a_quarter_more() {
        let mut schedule = Schedule::new(100, 50, 40, None);
        schedule.trained(&seen(100));
        assert!(schedule.due(&seen(139)).is_none() && schedule.due(&seen(140)).is_some());
        schedule.refused(&seen(140));
        assert!(schedule.due(&seen(174)).is_none() && schedule.due(&seen(176)).is_some());
        let mut once = Schedule::new(100, 50, 0, None);
        once.trained(&seen(100));
        assert_eq!(once.due(&seen(10_000)), None);
    }

    #[test]
    fn where_a_model_is_there_already_the_schedule_goes_on_from_it() {
        assert_eq!(Schedule::new(100, 50, 0, Some(200)).due(&seen(10_000)), None, "a restart is no reason to train");
        let timed = Schedule::new(100, 50, 40, Some(200));
        assert!(timed.due(&seen(239)).is_none() && timed.due(&seen(240)).is_some());
        let mut drifting = Schedule::new(100, 50, 0, Some(200));
        drifting.drifted(220);
        assert_eq!(drifting.due(&seen(320)), Some(Range::Time { from: 220, to: 321 }));
    }

    #[test]
    fn drift_waits_for_history_behind_its_onset_and_learns_from_nothing_older() {
        let mut schedule = Schedule::new(100, 50, 0, None);
        schedule.drifted(20);
        assert!(
            schedule.due(&seen(100)).is_some_and(|range| matches!(range, Range::Offsets(_))),
            "the first one first"
        );
        schedule.trained(&seen(100));
        schedule.drifted(150);
        schedule.drifted(190);
        assert_eq!(schedule.due(&seen(249)), None);
        assert_eq!(schedule.due(&seen(250)), Some(Range::Time { from: 150, to: 251 }));
        schedule.refused(&seen(250));
        assert_eq!(schedule.due(&seen(274)), None);
        assert_eq!(schedule.due(&seen(275)), Some(Range::Time { from: 150, to: 276 }));
        schedule.trained(&seen(275));
        assert_eq!(schedule.due(&seen(1_000)), None);
    }
}
