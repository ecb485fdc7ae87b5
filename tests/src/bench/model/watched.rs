//! A scorer that runs and is watched, ours or a peer: how far it is, what it has used, how it ends.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cloud_log::{Marks, Watermarks};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use telemetry::kafka_topic::SCORES;

use crate::{
    bench::{rig, topic::Topic, usage},
    demo::stages::sums,
    process::{Ended, Running},
};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// A scorer that gets no further for so long never will.
const STANDSTILL: Duration = Duration::from_secs(30);
const END_WITHIN: Duration = Duration::from_secs(60);

/// How far a scorer is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) at_s: f64,
    /// Records that it is through with.
    pub(super) records: f64,
    /// Scores that Kafka has.
    pub(super) scores: f64,
    pub(super) cpu_s: f64,
    /// What it wrote of states; none of a peer.
    pub(super) state_bytes: Option<f64>,
    /// Peak of resident memory.
    pub(super) peak_mb: f64,
}

/// How it is known how far it is.
pub(super) enum Told {
    /// By its own counters.
    Metrics(reqwest::Client),
    /// By what has come into its topic, which nobody else writes.
    Topic { name: String, marks: Watermarks, topic: Topic },
}

/// A scorer that runs.
pub(super) struct Watched {
    running: Running,
    whole: Whole,
    began: Instant,
    told: Told,
    /// Where its topic of scores ended when it was started.
    from: Marks,
}

/// A process group that is killed when it is let go of: a shell may have started more than itself.
struct Whole(Option<i32>);

impl Drop for Whole {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be gone already.
            killpg(Pid::from_raw(group), Signal::SIGKILL).ok();
        }
    }
}

impl Watched {
    pub(super) fn new(running: Running, told: Told, from: Marks) -> Result<Self> {
        let whole = Whole(Some(rig::group_of(&running)?));
        Ok(Self { running, whole, began: Instant::now(), told, from })
    }

    /// The topic of its scores.
    pub(super) fn scores(&self) -> &str {
        match &self.told {
            Told::Metrics(_) => SCORES,
            Told::Topic { name, .. } => name,
        }
    }

    /// Where that ended when it was started.
    pub(super) fn from(&self) -> &Marks {
        &self.from
    }

    /// Whether it is another's. Ours may have reasons not to score a reading, and says so in its tally.
    pub(super) fn is_peer(&self) -> bool {
        matches!(self.told, Told::Topic { .. })
    }

    pub(super) async fn look(&mut self) -> Result<Progress> {
        if !self.running.is_running() {
            bail!("{} has ended by itself\n{}", self.running.name(), self.running.log_tail());
        }
        let (records, scores, state_bytes) = match &self.told {
            Told::Metrics(client) => {
                let admin = self.running.admin().context("a scorer without an admin address")?;
                let answer = client.get(format!("http://{admin}/metrics")).send().await?.error_for_status()?;
                let counters = sums(&answer.text().await?);
                let count = |name: &str| counters.get(name).copied().unwrap_or_default();
                let scores = count("scorer_records_sent_total");
                let records = scores + count("scorer_records_discarded_total");
                (records, scores, Some(count("scorer_state_bytes_total")))
            }
            Told::Topic { name, marks, .. } => {
                let written = marks.of(name).await?.values().map(|(low, high)| high - low).sum::<i64>();
                #[expect(clippy::cast_precision_loss, reason = "counts of records")]
                let written = written as f64;
                (written, written, None)
            }
        };
        let at_s = self.began.elapsed().as_secs_f64();
        let group = self.whole.0.context("it has a group until it ends")?;
        let used = usage::of_groups(&[group]).remove(&group).context("it has ended")?;
        #[expect(clippy::cast_precision_loss, reason = "memory in MB")]
        let peak_mb = used.peak as f64 / 1e6;
        Ok(Progress { at_s, records, scores, cpu_s: used.cpu.as_secs_f64(), state_bytes, peak_mb })
    }

    /// Looks again and again until it is through with so many records; fails once it gets no further.
    pub(super) async fn through(&mut self, records: u64, mut take: impl FnMut(&Progress)) -> Result<Progress> {
        #[expect(clippy::cast_precision_loss, reason = "counts of records")]
        let all = records as f64;
        let (mut moved, mut seen) = (Instant::now(), 0.0);
        loop {
            let now = self.look().await?;
            take(&now);
            if now.records >= all {
                return Ok(now);
            }
            if now.records > seen {
                (moved, seen) = (Instant::now(), now.records);
            } else if moved.elapsed() > STANDSTILL {
                let name = self.running.name();
                bail!("{name} stands still after {seen} of {all} records\n{}", self.running.log_tail());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Stops it. Whether our scorer's tally balances with so many records in it; a peer has none.
    pub(super) async fn stop(self, records: u64) -> Result<bool> {
        let Self { running, mut whole, told, .. } = self;
        match told {
            Told::Metrics(_) => {
                let Ended { code, tally } = running.stop(END_WITHIN).await?;
                ensure!(code == Some(0), "the scorer ended with {code:?}");
                whole.0 = None;
                let tally = tally.context("a scorer without a tally")?;
                Ok(tally.balances() && tally.received == records)
            }
            Told::Topic { name, topic, .. } => {
                rig::end(running, Signal::SIGTERM).await?;
                whole.0 = None;
                topic.remove(&name).await?;
                Ok(true)
            }
        }
    }
}
