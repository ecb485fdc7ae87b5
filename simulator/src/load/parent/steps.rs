//! A load that looks for its capacity: one rate after the other with the same connected fleet, each judged by itself.

use std::time::{Duration, Instant};

use report::{Report, Table, Verdict};
use serde_json::Value;

use super::{LEAD, Load, figures, summary, wall_us};
use crate::load::{
    control::Order,
    counts::{Counts, Stages},
    search::{End, MOST_RATE, Search, Step},
};

/// Less of what was asked for is not that rate, %.
const MADE_PERCENT: f64 = 97.0;
/// What was made and not acknowledged is in the outboxes: a queue that grows by more than this in a step does not hold, %
/// of what was made,
const GROWTH_PERCENT: f64 = 5.0;
/// unless the step is so short that as much is always under way, s.
const UNDER_WAY_S: f64 = 0.25;

impl Load {
    /// Steps until the search is over or the load is told to stop. The first step has begun.
    pub(super) async fn find_capacity(&mut self, blank: &Report) -> anyhow::Result<()> {
        let mut search = Search::new(&self.config.search);
        let mut next = self.config.rate;
        let (mut first, mut broken_off) = (true, false);
        while let Some(rate) = next {
            if !first {
                self.change_rate(rate);
            }
            first = false;
            let Some(step) = self.step(rate, blank).await? else {
                broken_off = true;
                break;
            };
            let holds = step.broke.is_none();
            tracing::info!(
                "{rate}/s {}: {:.0}/s made, {:.0}/s acknowledged, p99 {:.1} ms",
                step.broke.as_deref().unwrap_or("holds"),
                step.made,
                step.settled,
                step.p99_ms.unwrap_or(f64::NAN),
            );
            self.steps.push(step);
            next = search.next(rate, holds);
            if !holds && next.is_some() && !self.recover().await {
                // Outboxes that do not empty any more end a search, too: what held before is its finding.
                broken_off = self.stop.is_cancelled() || self.crew.dead() > 0;
                break;
            }
        }
        self.capacity = search.held;
        self.search_end = if broken_off { End::BrokenOff } else { search.end() };
        Ok(())
    }

    fn change_rate(&mut self, per_s: u64) {
        self.crew.tell(&Order::Rate { at_us: wall_us(LEAD), per_s });
    }

    /// One step; none if it could not be taken to its end.
    async fn step(&mut self, rate: u64, blank: &Report) -> anyhow::Result<Option<Step>> {
        let (began, long) = (Instant::now() + LEAD, Duration::from_millis(self.config.search.step_ms()));
        if !self.wait_for_a_beat(began + long / 3).await {
            return Ok(None);
        }
        let before = self.crew.counts();
        self.step_stages = Some(Stages::new()?);
        if !self.wait_for_a_beat(began + long).await {
            return Ok(None);
        }
        if !self.look_at_all().await {
            return Ok(None);
        }
        let mut stages = self.step_stages.take().map_or_else(Stages::new, Ok)?;
        stages.count_unanswered(figures::judged(self.config.judge));
        let counts = self.crew.counts();
        let mut measured = blank.clone();
        let since = counts.since(&before);
        summary::fill(&mut measured, &self.config, &since, &stages, &self.ramp);
        // Everybody was connected before.
        measured.count("reconnects", counts.connections - before.connections);
        Ok(Some(self.judge_step(rate, measured, &since)))
    }

    /// `counts`: of the step alone.
    fn judge_step(&self, rate: u64, mut measured: Report, counts: &Counts) -> Step {
        let known = figures::known();
        let names = figures::names(self.config.judge, &known);
        let conditions: Vec<_> = figures::of_steps(&self.config.fail_if, &names).cloned().collect();
        measured.judge(&conditions, &names);
        let figure = |name: &str| measured.figures.get(name).copied();
        let (made, settled) = (figure("made_readings_per_s"), figure("settled_readings_per_s"));
        let (made, settled) = (made.unwrap_or(0.0), settled.unwrap_or(0.0));
        let given_up = figure("given_up_readings").unwrap_or(0.0);
        let asked = u32::try_from(rate).map_or(f64::INFINITY, f64::from);
        let window_s = Duration::from_micros(counts.until_us).as_secs_f64();
        let broke = if !measured.is_ok() {
            Some(summary::failed(&measured))
        } else if made < asked * MADE_PERCENT / 100.0 {
            Some("fewer readings are made than asked for".to_owned())
        } else if given_up > 0.0 {
            Some("outboxes are full".to_owned())
        } else if grows(made, settled, window_s) {
            Some("fewer readings are acknowledged than made".to_owned())
        } else {
            None
        };
        let stage = figures::judged(self.config.judge).as_str();
        let ms = |p: &str| figure(&format!("{stage}_{p}_ms"));
        Step {
            rate,
            made,
            settled,
            p50_ms: ms("p50"),
            p99_ms: ms("p99"),
            max_ms: ms("max"),
            in_outbox: counts.in_outbox,
            lost: count(figure("connections_lost")),
            given_up: count(Some(given_up)),
            broke,
        }
    }

    /// Makes nothing until the outboxes are empty; whether they have come to be.
    async fn recover(&mut self) -> bool {
        self.change_rate(0);
        let until = Instant::now() + LEAD + Duration::from_millis(self.config.drain_ms);
        // An order that has not come yet leaves an outbox that is empty by chance.
        let mut goes_on = self.wait_for_a_beat(Instant::now() + 2 * LEAD).await;
        while goes_on && self.crew.counts().in_outbox > 0 && Instant::now() < until {
            goes_on = self.wait_for_a_beat(Instant::now()).await;
        }
        goes_on && self.crew.counts().in_outbox == 0
    }

    /// Lets every worker tell where it stands now, and how old what is unanswered is; false if the load has to end
    /// before.
    async fn look_at_all(&mut self) -> bool {
        self.looked = 0;
        self.crew.tell(&Order::Look);
        while self.looked < self.crew.len() {
            let stop = self.stop.clone();
            tokio::select! {
                () = self.hear(Duration::from_millis(100)) => {}
                () = stop.cancelled() => return false,
            }
            if self.crew.dead() > 0 || self.crew.has_ended() {
                return false;
            }
        }
        true
    }

    /// Waits until a time, and then for the end of a second, when every worker has told where it stands; false if the
    /// load has to end before.
    async fn wait_for_a_beat(&mut self, until: Instant) -> bool {
        loop {
            let stop = self.stop.clone();
            tokio::select! {
                () = self.hear(Duration::from_millis(100)) => {}
                () = stop.cancelled() => return false,
            }
            let over = self.look("searching");
            if self.stop.is_cancelled() || self.crew.dead() > 0 || self.crew.has_ended() {
                return false;
            }
            if over && Instant::now() >= until {
                return true;
            }
        }
    }

    /// Enters what was found.
    pub(super) fn tell_capacity(&self, report: &mut Report) {
        let verdict = verdict(&self.steps, self.capacity, self.search_end);
        if let Some(capacity) = self.capacity.filter(|_| verdict.ok) {
            report.count(figures::CAPACITY, capacity);
        }
        report.verdicts.insert("capacity".into(), verdict);
        report.tables.insert("Capacity".into(), table(&self.steps));
    }
}

/// A search that was broken off has not found the capacity, whatever held until then, and neither has one in which
/// nothing broke.
fn verdict(steps: &[Step], capacity: Option<u64>, end: End) -> Verdict {
    let broke = steps.iter().filter_map(|step| Some(format!("{}/s: {}", step.rate, step.broke.as_ref()?)));
    let held = capacity.map_or("nothing held".to_owned(), |capacity| format!("{capacity}/s held"));
    let why = match end {
        End::Broke => None,
        End::BrokenOff => Some(format!("the search was broken off, {held} until then")),
        End::Unbroken => {
            let (steps, more) = (steps.len(), capacity.is_none_or(|capacity| capacity < MOST_RATE));
            let advice =
                if more { "begin at a higher --rate, or take a larger --step" } else { "no load asks for more" };
            Some(format!("the search ended after {steps} steps: {held} and nothing broke; {advice}"))
        }
    };
    let found = capacity.filter(|_| end == End::Broke);
    Verdict {
        ok: found.is_some(),
        checked: steps.len() as u64,
        counts: found.map(|capacity| (figures::CAPACITY.to_owned(), capacity)).into_iter().collect(),
        examples: why.into_iter().chain(broke).collect(),
    }
}

/// Whether the queue of what is not acknowledged grows too fast, of rates in a second, in so many s.
fn grows(made: f64, settled: f64, window_s: f64) -> bool {
    made - settled > made * f64::max(GROWTH_PERCENT / 100.0, UNDER_WAY_S / window_s)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures of counts are whole")]
fn count(figure: Option<f64>) -> u64 {
    figure.unwrap_or(0.0) as u64
}

fn table(steps: &[Step]) -> Table {
    let columns = [
        "rate_per_s",
        "made_per_s",
        "acknowledged_per_s",
        "p50_ms",
        "p99_ms",
        "max_ms",
        "in_outbox_readings",
        "connections_lost",
        "given_up_readings",
        "holds",
    ];
    let row = |step: &Step| {
        let round = |value: f64| (value * 10.0).round() / 10.0;
        vec![
            step.rate.into(),
            round(step.made).into(),
            round(step.settled).into(),
            step.p50_ms.into(),
            step.p99_ms.into(),
            step.max_ms.into(),
            step.in_outbox.into(),
            step.lost.into(),
            step.given_up.into(),
            step.broke.as_ref().map_or_else(|| Value::from("yes"), |why| Value::from(format!("no: {why}"))),
        ]
    };
    Table { columns: columns.map(ToOwned::to_owned).to_vec(), rows: steps.iter().map(row).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_that_flow_for_a_part_of_the_step_do_not_keep_up() {
        let before = Counts { made: 500, acked: 500, until_us: 5_000_000, ..Counts::default() };
        // 1,000 in a second, of which the acknowledgements kept pace for 3 of 10 s.
        let after =
            Counts { made: 10_500, acked: 3_500, until_us: 15_000_000, last_made_us: 15_000_000, ..before.clone() };
        let since = after.since(&before);
        let per_s =
            |n: u64| f64::from(u32::try_from(n).unwrap()) * 1e6 / f64::from(u32::try_from(since.until_us).unwrap());
        assert_eq!((per_s(since.made), per_s(since.settled())), (1_000.0, 300.0));
        assert!(grows(1_000.0, 300.0, 10.0));
    }

    #[test]
    fn a_queue_that_grows_by_a_notable_part_of_the_rate_does_not_hold() {
        assert!(grows(1_000.0, 940.0, 10.0) && grows(1_000.0, 940.0, 600.0));
        assert!(!grows(1_000.0, 960.0, 10.0) && !grows(1_000.0, 1_000.0, 10.0) && !grows(1_000.0, 1_100.0, 10.0));
        assert!(!grows(1_000.0, 900.0, 2.0), "a fifth of a second is under way");
        assert!(grows(1_000.0, 850.0, 2.0));
    }

    #[test]
    fn a_search_that_was_broken_off_says_so_and_has_found_nothing() {
        let whole = verdict(&[], Some(700), End::Broke);
        assert!(whole.ok && whole.counts[figures::CAPACITY] == 700 && whole.examples.is_empty());
        let broken_off = verdict(&[], Some(700), End::BrokenOff);
        assert!(!broken_off.ok && broken_off.counts.is_empty());
        assert_eq!(broken_off.examples, ["the search was broken off, 700/s held until then"]);
        assert!(!verdict(&[], None, End::Broke).ok);
    }

    #[test]
    fn a_search_in_which_nothing_broke_claims_no_capacity() {
        let unbroken = verdict(&[], Some(700), End::Unbroken);
        assert!(!unbroken.ok && unbroken.counts.is_empty());
        let why = "the search ended after 0 steps: 700/s held and nothing broke; ";
        assert_eq!(unbroken.examples, [format!("{why}begin at a higher --rate, or take a larger --step")]);
        let fastest = verdict(&[], Some(MOST_RATE), End::Unbroken);
        assert!(!fastest.ok && fastest.examples[0].ends_with("no load asks for more"));
    }
}
