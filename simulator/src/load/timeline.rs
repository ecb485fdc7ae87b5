//! What happened second by second, in bounded memory: when there are too many points, neighbours become one, and their
//! latencies are merged as histograms, so that a percentile of the wider point is the right one.

use hdrhistogram::Histogram;
use report::Series;

use super::counts::Counts;

/// There are never more points.
const MOST: usize = 1_000;
/// Longer times count as an hour, µs.
const LONGEST_US: u64 = 3_600_000_000;
/// Percentiles of points, by name.
const QUANTILES: [(&str, f64); 3] = [("p50_ms", 0.5), ("p99_ms", 0.99), ("max_ms", 1.0)];

/// Time between two looks at the fleet.
#[derive(Debug, Clone, Default)]
struct Point {
    /// Its end, s after the run began.
    until_s: f64,
    /// How long it is, s.
    seconds: f64,
    /// At its end.
    connected: u64,
    in_outbox: u64,
    /// In it.
    made: u64,
    acknowledged: u64,
    published: u64,
    lost: u64,
    given_up: u64,
    /// Latencies that ended in it: (µs, how often), growing.
    latencies: Vec<(u64, u64)>,
}

impl Point {
    /// Takes in the one that follows.
    fn merge(&mut self, later: Self) {
        self.until_s = later.until_s;
        self.seconds += later.seconds;
        self.connected = later.connected;
        self.in_outbox = later.in_outbox;
        for (own, later) in [
            (&mut self.made, later.made),
            (&mut self.acknowledged, later.acknowledged),
            (&mut self.published, later.published),
            (&mut self.lost, later.lost),
            (&mut self.given_up, later.given_up),
        ] {
            *own += later;
        }
        self.latencies.extend(later.latencies);
        self.latencies.sort_unstable();
        self.latencies.dedup_by(|(us, n), (earlier_us, earlier_n)| {
            let same = us == earlier_us;
            *earlier_n += if same { *n } else { 0 };
            same
        });
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Timeline {
    points: Vec<Point>,
    /// Looks that make a point.
    width: usize,
    /// The point that is not complete, and its looks so far.
    open: Option<(Point, usize)>,
    before: Counts,
    before_s: f64,
    /// Latencies since the last look, to 2 digits: a point takes some kilobytes at most.
    latencies: Histogram<u64>,
}

impl Timeline {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            points: Vec::new(),
            width: 1,
            open: None,
            before: Counts::default(),
            before_s: 0.0,
            latencies: Histogram::new_with_bounds(1, LONGEST_US, 2)?,
        })
    }

    /// Takes in latencies of the stage that is judged: (µs, how often).
    pub(super) fn record(&mut self, latencies: &[(u64, u64)]) {
        for (us, n) in latencies {
            self.latencies.saturating_record_n(*us, *n);
        }
    }

    /// Looks at the fleet, so long after the run began.
    pub(super) fn look(&mut self, at_s: f64, counts: &Counts) {
        let before = &self.before;
        let since = |of: fn(&Counts) -> u64| of(counts).saturating_sub(of(before));
        let latencies = self.latencies.iter_recorded().map(|v| (v.value_iterated_to(), v.count_at_value()));
        let point = Point {
            until_s: at_s,
            seconds: at_s - self.before_s,
            connected: counts.connected,
            in_outbox: counts.in_outbox,
            made: since(|counts| counts.made),
            acknowledged: since(Counts::settled),
            published: since(|counts| counts.published),
            lost: since(|counts| counts.lost.values().sum()),
            given_up: since(|counts| counts.given_up),
            latencies: latencies.collect(),
        };
        self.latencies.reset();
        self.before = counts.clone();
        self.before_s = at_s;
        let (point, looks) = match self.open.take() {
            Some((mut open, looks)) => {
                open.merge(point);
                (open, looks + 1)
            }
            None => (point, 1),
        };
        if looks < self.width {
            self.open = Some((point, looks));
            return;
        }
        self.points.push(point);
        if self.points.len() == MOST {
            self.coarsen();
        }
    }

    fn coarsen(&mut self) {
        let mut points = std::mem::take(&mut self.points).into_iter();
        while let Some(mut point) = points.next() {
            if let Some(later) = points.next() {
                point.merge(later);
            }
            self.points.push(point);
        }
        self.width *= 2;
    }

    /// The lines of a report.
    pub(super) fn series(&self) -> anyhow::Result<Series> {
        let points: Vec<_> = self.points.iter().chain(self.open.as_ref().map(|(point, _)| point)).collect();
        let mut series = Series::new("time_s", points.iter().map(|point| round(point.until_s)).collect());
        let of = |value: fn(&Point) -> f64| points.iter().map(|point| Some(round(value(point)))).collect();
        series.line("Connections", "vehicles", "connected_vehicles", of(|p| count(p.connected)));
        let per_s = [
            ("made_readings_per_s", of(|p| count(p.made) / p.seconds)),
            ("acknowledged_readings_per_s", of(|p| count(p.acknowledged) / p.seconds)),
            ("published_messages_per_s", of(|p| count(p.published) / p.seconds)),
        ];
        per_s.into_iter().for_each(|(name, values)| series.line("Rates", "/s", name, values));
        let mut latencies = Histogram::new_with_bounds(1, LONGEST_US, 2)?;
        let mut quantiles = QUANTILES.map(|_| Vec::new());
        for point in &points {
            latencies.reset();
            point.latencies.iter().for_each(|(us, n)| latencies.saturating_record_n(*us, *n));
            for (values, (_, quantile)) in quantiles.iter_mut().zip(QUANTILES) {
                let ms = count(latencies.value_at_quantile(quantile)) / 1_000.0;
                values.push((!latencies.is_empty()).then_some(round(ms)));
            }
        }
        for ((name, _), values) in QUANTILES.into_iter().zip(quantiles) {
            series.line("Latency until acknowledged", "ms", name, values);
        }
        series.line("Outboxes", "readings", "in_outbox_readings", of(|p| count(p.in_outbox)));
        series.line("Losses", "", "connections_lost", of(|p| count(p.lost)));
        series.line("Losses", "", "given_up_readings", of(|p| count(p.given_up)));
        Ok(series)
    }
}

#[expect(clippy::cast_precision_loss, reason = "plots are drawn roughly")]
fn count(n: u64) -> f64 {
    n as f64
}

/// To three digits behind the point: nobody needs the others. A rate of no time is 0.
fn round(value: f64) -> f64 {
    if value.is_finite() { (value * 1_000.0).round() / 1_000.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'a>(series: &'a Series, name: &str) -> &'a [Option<f64>] {
        &series.lines.iter().find(|line| line.name == name).unwrap().values
    }

    #[test]
    fn each_second_has_its_own_counts_and_percentiles() {
        let mut timeline = Timeline::new().unwrap();
        let mut counts = Counts { connected: 5, made: 10, ..Counts::default() };
        timeline.look(1.0, &counts);
        timeline.record(&[(1_000, 99), (80_000, 1)]);
        (counts.made, counts.acked, counts.unheard, counts.in_outbox) = (40, 20, 2, 18);
        counts.lost.insert("closed".into(), 2);
        timeline.look(3.0, &counts);
        let series = timeline.series().unwrap();
        assert_eq!(series.at, [1.0, 3.0]);
        assert_eq!(line(&series, "made_readings_per_s"), [Some(10.0), Some(15.0)]);
        assert_eq!(line(&series, "acknowledged_readings_per_s"), [Some(0.0), Some(11.0)]);
        assert_eq!(line(&series, "connections_lost"), [Some(0.0), Some(2.0)]);
        assert_eq!(line(&series, "in_outbox_readings"), [Some(0.0), Some(18.0)]);
        let [p99, max] = ["p99_ms", "max_ms"].map(|name| line(&series, name)[1].unwrap());
        assert_eq!(line(&series, "p99_ms")[0], None, "nothing was acknowledged");
        assert!((1.0..1.1).contains(&p99) && (80.0..81.0).contains(&max), "{p99} {max}");
    }

    #[test]
    fn a_long_run_has_few_points_and_the_same_sums_and_percentiles() {
        let mut timeline = Timeline::new().unwrap();
        let mut counts = Counts::default();
        for second in 1..=5_003 {
            counts.made += 3;
            counts.connected = second;
            // One slow reading in each hundred: a tenth of the seconds has one, and the mean of percentiles would miss it.
            timeline.record(&[(1_000, 9), (if second % 10 == 0 { 500_000 } else { 1_000 }, 1)]);
            timeline.look(f64::from(u32::try_from(second).unwrap()), &counts);
        }
        let series = timeline.series().unwrap();
        assert!(series.at.len() <= MOST && series.at.len() >= MOST / 2 - 1, "{}", series.at.len());
        assert_eq!(*series.at.last().unwrap(), 5_003.0);
        assert_eq!(line(&series, "connected_vehicles").last().unwrap().unwrap(), 5_003.0);
        let mut from = 0.0;
        let mut made = 0.0;
        for (until, rate) in series.at.iter().zip(line(&series, "made_readings_per_s")) {
            made += rate.unwrap() * (until - from);
            from = *until;
        }
        assert!((made - 3.0 * 5_003.0).abs() < 1.0, "{made}");
        let slow = line(&series, "max_ms").iter().filter(|max| max.unwrap() > 490.0).count();
        // Points are eight seconds wide: four of five hold a tenth second.
        assert!(slow > series.at.len() / 2, "{slow}");
        let histograms: u64 = timeline.points.iter().flat_map(|point| &point.latencies).map(|(_, n)| n).sum();
        let open: u64 = timeline.open.iter().flat_map(|(point, _)| &point.latencies).map(|(_, n)| n).sum();
        assert_eq!(histograms + open, 50_030, "no latency is lost by merging");
        assert!(timeline.points.iter().all(|point| point.latencies.len() <= 2));
    }
}
