//! The workers as their parent sees them: processes of the same executable, each with a socket pair as its standard
//! input and a thread here that reads it. None is trusted to be alive.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream, unix::process::CommandExt},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::sync::mpsc;

use super::{
    control::{self, Order, Word},
    counts::Counts,
    plan::Plan,
};

/// A worker that says nothing for so long has failed: it has something to say each second.
const SILENCE: Duration = Duration::from_secs(20);
/// How long a worker may take to exit after its last word.
const EXIT: Duration = Duration::from_secs(5);
/// Words that may wait for the parent.
const WORDS: usize = 64;
/// The subcommand that starts a worker.
pub const WORKER: &str = "load-worker";

/// Something from a worker; none: it has gone.
pub(super) type Heard = (usize, Option<Word>);

struct Worker {
    process: Child,
    orders: UnixStream,
    heard: Instant,
    /// As it last told.
    counts: Counts,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Complete,
    Done,
    Ended,
    Dead,
}

impl State {
    fn is_there(self) -> bool {
        matches!(self, Self::Connecting | Self::Complete | Self::Done)
    }
}

/// All workers of a load. They are killed with it.
pub(super) struct Crew {
    workers: Vec<Worker>,
    /// What went wrong with whom.
    pub(super) failures: Vec<String>,
}

impl Crew {
    /// Starts a worker for each plan.
    pub(super) fn start(plans: Vec<Plan>) -> anyhow::Result<(Self, mpsc::Receiver<Heard>)> {
        let executable = std::env::current_exe().context("find this executable")?;
        let (words, receiver) = mpsc::channel(WORDS);
        let mut crew = Self { workers: Vec::new(), failures: Vec::new() };
        for (number, plan) in plans.into_iter().enumerate() {
            let (own, theirs) = UnixStream::pair()?;
            let process = Command::new(&executable)
                .arg(WORKER)
                // It knows nothing of the parent's flags: its plan tells it everything.
                .env_remove("MOTORCADE_CONFIG")
                .stdin(Stdio::from(OwnedFd::from(theirs)))
                .stdout(Stdio::null())
                // A signal of the terminal goes to the parent alone, who tells the workers.
                .process_group(0)
                .spawn()
                .with_context(|| format!("start {}", executable.display()))?;
            let reader = own.try_clone()?;
            // A worker that does not read its orders has failed too.
            own.set_write_timeout(Some(SILENCE))?;
            let mut worker = Worker {
                process,
                orders: own,
                heard: Instant::now(),
                counts: Counts::default(),
                state: State::Connecting,
            };
            let planned = control::send(&mut worker.orders, &Order::Connect(Box::new(plan)));
            crew.workers.push(worker);
            planned.with_context(|| format!("tell worker {number} its plan"))?;
            let words = words.clone();
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || listen(reader, number, &words))?;
        }
        Ok((crew, receiver))
    }

    pub(super) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Tells all that are there.
    pub(super) fn tell(&mut self, order: &Order) {
        for (number, worker) in self.workers.iter_mut().enumerate() {
            if worker.state.is_there()
                && let Err(error) = control::send(&mut worker.orders, order)
            {
                fail(worker, &mut self.failures, format!("worker {number} does not take orders: {error}"));
            }
        }
    }

    /// Notes what a worker said.
    pub(super) fn hear(&mut self, number: usize, word: Option<&Word>) {
        let worker = &mut self.workers[number];
        worker.heard = Instant::now();
        match word {
            Some(Word::Tick(tick)) => worker.counts = tick.counts.clone(),
            Some(Word::Connected { .. }) => worker.state = State::Complete,
            Some(Word::Unanswered(_)) => {}
            Some(Word::Done) => worker.state = State::Done,
            Some(Word::Ended { failure: None }) => worker.state = State::Ended,
            Some(Word::Ended { failure: Some(failure) }) => {
                fail(worker, &mut self.failures, format!("worker {number}: {failure}"));
            }
            None if matches!(worker.state, State::Ended | State::Dead) => {}
            None => {
                // It may take a moment until the kernel says how it ended.
                std::thread::sleep(Duration::from_millis(20));
                let how = match worker.process.try_wait() {
                    Ok(Some(status)) => status.to_string(),
                    _ => "it closed its socket".to_owned(),
                };
                fail(worker, &mut self.failures, format!("worker {number} died: {how}"));
            }
        }
    }

    /// Gives up on who has been silent for too long.
    pub(super) fn watch(&mut self) {
        for (number, worker) in self.workers.iter_mut().enumerate() {
            if worker.state.is_there() && worker.heard.elapsed() > SILENCE {
                fail(worker, &mut self.failures, format!("worker {number} is silent"));
            }
        }
    }

    /// Whether all vehicles of all workers are connected.
    pub(super) fn is_complete(&self) -> bool {
        self.workers.iter().all(|worker| worker.state == State::Complete)
    }

    /// Whether nobody has anything left to do but to leave.
    pub(super) fn is_done(&self) -> bool {
        self.workers.iter().all(|worker| matches!(worker.state, State::Done | State::Ended | State::Dead))
    }

    /// Whether nobody is there any more.
    pub(super) fn has_ended(&self) -> bool {
        self.workers.iter().all(|worker| matches!(worker.state, State::Ended | State::Dead))
    }

    /// How many died.
    pub(super) fn dead(&self) -> u64 {
        self.workers.iter().filter(|worker| worker.state == State::Dead).count() as u64
    }

    /// What all of them told last.
    pub(super) fn counts(&self) -> Counts {
        let mut all = Counts::default();
        self.workers.iter().for_each(|worker| all.add(&worker.counts));
        all
    }

    /// Waits until the processes are gone.
    pub(super) async fn close(mut self) -> Vec<String> {
        let until = Instant::now() + EXIT;
        for (number, worker) in self.workers.iter_mut().enumerate() {
            while worker.state == State::Ended && Instant::now() < until {
                match worker.process.try_wait() {
                    Ok(Some(status)) if status.success() => break,
                    Ok(Some(status)) => {
                        fail(worker, &mut self.failures, format!("worker {number} ended with {status}"))
                    }
                    _ => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        }
        std::mem::take(&mut self.failures)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            // Nothing happens to one that is gone.
            worker.process.kill().ok();
            worker.process.wait().ok();
        }
    }
}

fn fail(worker: &mut Worker, failures: &mut Vec<String>, failure: String) {
    tracing::error!("{failure}");
    worker.state = State::Dead;
    worker.process.kill().ok();
    failures.push(failure);
}

fn listen(mut from: UnixStream, number: usize, words: &mpsc::Sender<Heard>) {
    loop {
        let word: io::Result<Option<Word>> = control::receive(&mut from);
        if let Err(error) = &word {
            tracing::warn!(number, %error, "a worker can't be understood");
        }
        let word = word.unwrap_or_default();
        let gone = word.is_none();
        if words.blocking_send((number, word)).is_err() || gone {
            break;
        }
    }
}
