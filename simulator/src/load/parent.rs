//! A load as a whole: starts the workers, waits until the fleet is connected, lets it report, watches, and tells
//! what came of it.

mod steps;

use std::{
    io::Write,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use report::Report;
use service::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    config::Config,
    control::{Order, Word},
    counts::Stages,
    crew::{Crew, Heard},
    figures, machine,
    search::{End, Step},
    summary,
    timeline::Timeline,
    watch::{Beat, Teller},
};

/// From the order to start until the first reading may be due: the order is with every worker by then.
const LEAD: Duration = Duration::from_millis(300);
/// How long workers may take to end beyond their drain and goodbyes.
const SPARE: Duration = Duration::from_secs(20);
/// The same where the fleet did not come to connect.
const FAREWELL: Duration = Duration::from_secs(4);

/// What the ramp showed.
#[derive(Debug, Default)]
pub(super) struct Ramp {
    /// Until the last vehicle was connected; none: it never was.
    pub(super) took: Option<Duration>,
    /// Connections that stand, as the kernel counts them: after the ramp,
    pub(super) established: u64,
    /// and before the vehicles leave; none: nobody looked.
    pub(super) established_at_end: Option<u64>,
    /// Resident memory of all workers before there was a vehicle, and with all of them idle, bytes.
    pub(super) memory: (u64, u64),
    /// What rendering a payload takes, ns: the slowest worker.
    pub(super) payload_ns: u64,
}

/// Runs a load to its end, or until `stop` fires; prints a summary and writes the report.
///
/// # Errors
/// [`Error::Unavailable`] if the fleet can't connect, [`Error::VerdictFailed`] if a worker died or readings are
/// not accounted for, [`Error::Usage`] for folders and files that can't be written.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), Error> {
    config.validate()?;
    let most = machine::most_open_files().map_err(anyhow::Error::from)?;
    if let Some(detail) = machine::too_few_files(config.vehicles, config.workers(), most) {
        return Err(Error::Usage { flag: "workers", detail });
    }
    if let Some(doubt) = config.doubt() {
        tracing::warn!("{doubt}");
    }
    let brokers = {
        let config = config.clone();
        tokio::task::spawn_blocking(move || config.brokers()).await.map_err(anyhow::Error::from)??
    };
    if let Some(dir) = &config.ledger {
        std::fs::create_dir_all(dir)
            .map_err(|error| Error::Usage { flag: "ledger", detail: format!("{}: {error}", dir.display()) })?;
    }
    let mut report = Report::new(&config.name);
    let began = Instant::now();
    let plans = (0..config.workers()).map(|worker| config.plan(worker, &brokers, report.started)).collect();
    let (crew, words) = Crew::start(plans)?;
    let teller = Teller::new(config.progress, config.vehicles);
    let mut load = Load {
        config,
        brokers,
        crew,
        words,
        stages: Stages::new()?,
        timeline: Timeline::new()?,
        ramp: Ramp::default(),
        stop,
        beat: Beat::new(),
        teller,
        began,
        steps: Vec::new(),
        step_stages: None,
        looked: 0,
        capacity: None,
        search_end: End::default(),
    };
    let ramped = load.ramp().await;
    if ramped.is_ok() {
        load.drive(&report).await?;
    }
    load.finish(&mut report, ramped).await
}

struct Load {
    config: Config,
    brokers: Vec<SocketAddr>,
    crew: Crew,
    words: mpsc::Receiver<Heard>,
    stages: Stages,
    ramp: Ramp,
    stop: CancellationToken,
    /// Each second.
    beat: Beat,
    teller: Teller,
    timeline: Timeline,
    began: Instant,
    /// The steps of a search for the capacity,
    steps: Vec<Step>,
    /// the latencies of the one that is measured,
    step_stages: Option<Stages>,
    /// how many workers have told what is unanswered at its end,
    looked: usize,
    /// the highest rate that held,
    capacity: Option<u64>,
    /// and how the search came to its end.
    search_end: End,
}

impl Load {
    /// Waits for a word, and takes it in; at most so long.
    async fn hear(&mut self, within: Duration) {
        let heard = tokio::time::timeout(within, self.words.recv()).await;
        self.crew.watch();
        let Ok(heard) = heard else { return };
        let Some((number, word)) = heard else {
            // All threads have ended, so all workers are gone.
            tokio::time::sleep(within).await;
            return;
        };
        self.take_in(number, word);
    }

    fn take_in(&mut self, number: usize, word: Option<Word>) {
        self.crew.hear(number, word.as_ref());
        match word {
            Some(Word::Tick(tick)) => {
                self.stages.add(&tick.recorded);
                if let Some(stages) = &mut self.step_stages {
                    stages.add(&tick.recorded);
                }
                self.timeline.record(tick.recorded.of(figures::judged(self.config.judge)));
            }
            Some(Word::Connected { memory, payload_ns }) => {
                let (before, connected) = self.ramp.memory;
                self.ramp.memory = (before + memory.0, connected + memory.1);
                self.ramp.payload_ns = self.ramp.payload_ns.max(payload_ns);
            }
            // Of a step: at the end of the run they come with the last tick.
            Some(Word::Unanswered(ages)) => {
                self.looked += 1;
                if let Some(stages) = &mut self.step_stages {
                    stages.add(&ages);
                }
            }
            Some(Word::Done | Word::Ended { .. }) | None => {}
        }
    }

    /// Waits until every vehicle is connected.
    async fn ramp(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        let limit = Duration::from_millis(self.config.ramp_ms());
        while !self.crew.is_complete() {
            let mut gone = self.crew.dead() > 0;
            let stop = self.stop.clone();
            tokio::select! {
                () = self.hear(Duration::from_millis(500)) => {}
                () = stop.cancelled() => gone = true,
            }
            self.look("connecting");
            if gone || began.elapsed() > limit {
                return Err(self.unconnected(began).await);
            }
        }
        self.ramp.took = Some(began.elapsed());
        self.ramp.established = self.established().await?;
        Ok(())
    }

    async fn established(&self) -> anyhow::Result<u64> {
        let brokers = self.brokers.clone();
        // A table with a line for each connection: not on this thread.
        Ok(tokio::task::spawn_blocking(move || machine::established(&brokers)).await?)
    }

    /// Sends everybody home, and says how far they came and why no farther.
    async fn unconnected(&mut self, began: Instant) -> Error {
        let (took, connected) = (began.elapsed(), self.crew.counts().connected);
        self.crew.tell(&Order::Stop { drain_ms: 0 });
        self.crew.tell(&Order::Leave);
        let until = Instant::now() + FAREWELL;
        while !self.crew.has_ended() && Instant::now() < until {
            self.hear(Duration::from_millis(100)).await;
        }
        let failed = self.crew.counts().failed;
        let failed: Vec<_> = failed.iter().map(|(reason, n)| format!("{n} × {reason}")).collect();
        let detail = format!(
            "{connected} of {} vehicles connected after {:.1} s{}{}",
            self.config.vehicles,
            took.as_secs_f64(),
            if failed.is_empty() { "" } else { ": " },
            failed.join(", "),
        );
        Error::Unavailable { flag: "mqtt", address: self.config.mqtt.clone(), detail }
    }

    /// Lets the fleet report until it has come to its end.
    async fn drive(&mut self, blank: &Report) -> anyhow::Result<()> {
        self.crew.tell(&Order::Start { at_us: wall_us(LEAD) });
        let began = Instant::now() + LEAD;
        let drain = Duration::from_millis(self.config.drain_ms);
        let mut until = match self.config.duration_ms {
            0 => None,
            ms => Some(began + Duration::from_millis(ms) + drain + SPARE),
        };
        if self.config.search.find_capacity {
            self.find_capacity(blank).await?;
            self.crew.tell(&Order::Stop { drain_ms: self.config.drain_ms });
            until = Some(Instant::now() + drain + SPARE);
        }
        let (mut stopping, mut leaving) = (false, false);
        while !self.crew.has_ended() {
            let stop = self.stop.clone();
            tokio::select! {
                () = self.hear(Duration::from_millis(200)) => {}
                () = stop.cancelled(), if !stopping => {}
            }
            if !stopping && (self.stop.is_cancelled() || self.crew.dead() > 0) {
                stopping = true;
                let drain_ms = self.config.stop_drain_ms.min(self.config.drain_ms);
                self.crew.tell(&Order::Stop { drain_ms });
                until = Some(Instant::now() + Duration::from_millis(drain_ms) + SPARE);
            }
            if !leaving && self.crew.is_done() {
                leaving = true;
                self.ramp.established_at_end = Some(self.established().await?);
                self.crew.tell(&Order::Leave);
            }
            self.look("driving");
            if until.is_some_and(|until| Instant::now() > until) {
                self.crew.failures.push("workers did not come to their end".to_owned());
                break;
            }
        }
        // What was said before the end.
        while let Ok((number, word)) = self.words.try_recv() {
            self.take_in(number, word);
        }
        Ok(())
    }

    /// Enters the second that is over, and tells it; whether one is over.
    fn look(&mut self, what: &'static str) -> bool {
        let over = self.beat.is_over();
        if over {
            let (counts, at_s) = (self.crew.counts(), self.began.elapsed().as_secs_f64());
            // What the workers told half a second ago.
            self.timeline.look(at_s - 0.5, &counts);
            self.teller.tell(at_s, what, counts, self.stages.get(figures::judged(self.config.judge)));
        }
        over
    }

    async fn finish(mut self, report: &mut Report, ramped: Result<(), Error>) -> Result<(), Error> {
        let (counts, dead, workers) = (self.crew.counts(), self.crew.dead(), self.crew.len() as u64);
        if self.config.search.find_capacity {
            self.tell_capacity(report);
        }
        // What happened since the last second.
        self.timeline.look(self.began.elapsed().as_secs_f64(), &counts);
        self.stages.count_unanswered(figures::judged(self.config.judge));
        let failures = self.crew.close().await;
        report.duration_s = self.began.elapsed().as_secs_f64();
        report.series.push(self.timeline.series()?);
        summary::fill(report, &self.config, &counts, &self.stages, &self.ramp);
        summary::judge(report, &self.config, &counts, &self.ramp, workers, dead, &failures);
        let figures = figures::known();
        let names = figures::names(self.config.judge, &figures);
        if self.config.search.find_capacity {
            let conditions: Vec<_> = figures::of_search(&self.config.fail_if, &names).cloned().collect();
            report.judge(&conditions, &names);
        } else {
            report.judge(&self.config.fail_if, &names);
        }
        if let Some(path) = &self.config.report {
            report
                .write(path)
                .map_err(|error| Error::Usage { flag: "report", detail: format!("{}: {error}", path.display()) })?;
        }
        if let Some(path) = &self.config.html {
            report::page::write(report, path)
                .map_err(|error| Error::Usage { flag: "html", detail: format!("{}: {error}", path.display()) })?;
        }
        let text = match self.config.json {
            true => serde_json::to_string(report).map_err(anyhow::Error::from)?,
            false => summary::text(report, &counts),
        };
        writeln!(std::io::stdout().lock(), "{text}").ok();
        // A boot is a whole second: the next load of these vehicles must not begin in this one's.
        tokio::time::sleep(rest_of_second(report.started, SystemTime::now())).await;
        ramped?;
        if report.is_ok() {
            return Ok(());
        }
        Err(Error::VerdictFailed(summary::failed(report)))
    }
}

/// How long the second still lasts that `started` (ms since the epoch) lies in.
fn rest_of_second(started: i64, now: SystemTime) -> Duration {
    let over = Duration::from_secs(u64::try_from(started / 1_000 + 1).unwrap_or(0));
    let rest = over.saturating_sub(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    // A clock that was set back is nothing to wait for.
    if rest > Duration::from_secs(1) { Duration::ZERO } else { rest }
}

/// The wall time after a while, µs since the epoch.
fn wall_us(after: Duration) -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + after;
    u64::try_from(wall.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_ends_after_the_second_in_which_it_began() {
        let at = |ms| UNIX_EPOCH + Duration::from_millis(ms);
        assert_eq!(rest_of_second(7_250, at(7_900)), Duration::from_millis(100));
        assert_eq!(rest_of_second(7_250, at(8_000)), Duration::ZERO);
        assert_eq!(rest_of_second(7_250, at(90_000)), Duration::ZERO);
        assert_eq!(rest_of_second(7_250, at(1_000)), Duration::ZERO, "the clock was set back");
    }
}
