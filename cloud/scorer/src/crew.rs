//! The scoring threads: each with its own detectors and its own partitions, so that nothing is shared or lent.
//!
//! Orders reach a thread in their order and are answered in that order. What is on its way is bounded by the number of
//! orders that may be open at once ([`Crew::has_room`]); who waits for a thread therefore never blocks it.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use anyhow::{Context, Result, anyhow};
use cloud_log::InRecord;
use detector::{Detector, Layout};
use tokio::sync::{mpsc, oneshot};

use crate::{
    desk::{Desk, Ended, Output, Snapshot},
    judging::{Judge, load},
    shadow::Shadow,
    state::{Found, Turn},
    timeline::Timeline,
};

/// Orders that may wait for a thread, and answers for us: far more than there are batches and partitions. We never wait
/// for a place among the orders, so a thread that waits for one among the answers gets it.
const WAITING: usize = 4_096;
/// Batches that may be open for each thread: one in work, one that waits for it.
const OPEN: usize = 2;

enum Order {
    Load {
        version: String,
        artifact: Arc<[u8]>,
        loaded: oneshot::Sender<Result<Arc<Layout>>>,
    },
    Begin {
        lane: Beginning,
        begun: oneshot::Sender<Result<u64>>,
    },
    Take {
        records: Vec<InRecord>,
        timeline: Arc<Timeline>,
    },
    Shadow(Option<(String, f64)>),
    Snapshot(Turn),
    /// A partition goes, and whether its states are wanted.
    End(i32, bool),
}

/// A partition that is taken over.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) partition: i32,
    pub(crate) next: i64,
    /// What comes of its records below this offset is published already.
    pub(crate) scored: i64,
    /// Layouts that windows may have.
    pub(crate) layouts: Vec<Arc<Layout>>,
    pub(crate) states: Found,
}

/// What a thread has made.
#[derive(Debug)]
pub(crate) enum Made {
    /// Of so many records.
    Output(usize, Output),
    Snapshot(Snapshot),
    /// A partition that was given up.
    Ended(Ended),
    Failed(anyhow::Error),
}

/// The answer of a thread: which, what, how many of its readings wait then, and how many vehicles it knows.
#[derive(Debug)]
struct Answer {
    worker: usize,
    made: Made,
    waiting: u64,
    vehicles: u64,
}

#[derive(Debug)]
struct Worker {
    orders: mpsc::Sender<Order>,
    waiting: u64,
    vehicles: u64,
}

/// The threads.
#[derive(Debug)]
pub(crate) struct Crew {
    workers: Vec<Worker>,
    answers: mpsc::Receiver<Answer>,
    /// Who works on a partition.
    by_partition: BTreeMap<i32, usize>,
    /// Batches on their way, and the records in them.
    open: usize,
    records: usize,
}

impl Crew {
    /// Starts the threads; `scores` is where scores go.
    pub(crate) fn start(workers: usize, lateness_ms: i64, scores: &str) -> Result<Self> {
        let (answer, answers) = mpsc::channel(WAITING);
        let start = |worker: usize| {
            let (orders, inbox) = mpsc::channel(WAITING);
            let (answer, desk) = (answer.clone(), Desk::new(BTreeMap::new(), lateness_ms, scores));
            let work = move || work(worker, desk, inbox, &answer);
            std::thread::Builder::new().name(format!("scorer-{worker}")).spawn(work).context("start a thread")?;
            Ok(Worker { orders, waiting: 0, vehicles: 0 })
        };
        let workers = (0..workers.max(1)).map(start).collect::<Result<_>>()?;
        Ok(Self { workers, answers, by_partition: BTreeMap::new(), open: 0, records: 0 })
    }

    fn order(&self, worker: usize, order: Order) -> Result<()> {
        let sent = self.workers[worker].orders.try_send(order);
        sent.map_err(|error| anyhow!("a scoring thread takes no orders: {error}"))
    }

    /// Loads and checks an artefact in every thread; its layout.
    pub(crate) async fn load(&self, version: &str, artifact: &[u8]) -> Result<Arc<Layout>> {
        let artifact: Arc<[u8]> = artifact.into();
        let mut answers = Vec::with_capacity(self.workers.len());
        for worker in 0..self.workers.len() {
            let (loaded, answer) = oneshot::channel();
            self.order(worker, Order::Load { version: version.to_owned(), artifact: Arc::clone(&artifact), loaded })?;
            answers.push(answer);
        }
        let mut layout = Err(anyhow!("no thread"));
        for answer in answers {
            layout = Ok(answer.await.context("a scoring thread has ended")??);
        }
        layout
    }

    /// Gives a partition to the thread that has the fewest; how many of its readings wait.
    pub(crate) async fn begin(&mut self, lane: Beginning) -> Result<u64> {
        let load = |worker: &usize| self.by_partition.values().filter(|of| *of == worker).count();
        let worker = (0..self.workers.len()).min_by_key(load).context("no thread")?;
        self.by_partition.insert(lane.partition, worker);
        let (begun, answer) = oneshot::channel();
        self.order(worker, Order::Begin { lane, begun })?;
        answer.await.context("a scoring thread has ended")?
    }

    /// Takes a partition back; [`Made::Ended`] follows, behind what is on its way, with its states if they are wanted.
    /// Whether it was there.
    pub(crate) fn end(&mut self, partition: i32, states: bool) -> Result<bool> {
        let Some(worker) = self.by_partition.remove(&partition) else { return Ok(false) };
        self.order(worker, Order::End(partition, states))?;
        Ok(true)
    }

    /// Hands out records, each partition's in order of offset; [`Made::Output`] follows. How many are of no partition here.
    pub(crate) fn take(&mut self, records: Vec<InRecord>, timeline: &Arc<Timeline>) -> Result<usize> {
        let mut batches: Vec<Vec<InRecord>> = vec![Vec::new(); self.workers.len()];
        let all = records.len();
        let mut taken = 0;
        for record in records {
            if let Some(worker) = self.by_partition.get(&record.partition) {
                batches[*worker].push(record);
                taken += 1;
            }
        }
        for (worker, records) in batches.into_iter().enumerate().filter(|(_, records)| !records.is_empty()) {
            self.open += 1;
            self.records += records.len();
            self.order(worker, Order::Take { records, timeline: Arc::clone(timeline) })?;
        }
        Ok(all - taken)
    }

    /// Asks every thread for states; as many [`Made::Snapshot`] follow as are told.
    pub(crate) fn snapshot(&self, turn: Turn) -> Result<usize> {
        for worker in 0..self.workers.len() {
            self.order(worker, Order::Snapshot(turn))?;
        }
        Ok(self.workers.len())
    }

    /// From now on this version, which is loaded, judges so large a share of the vehicles in the shadow; or none does.
    pub(crate) fn shadow(&self, challenger: Option<(&str, f64)>) -> Result<()> {
        for worker in 0..self.workers.len() {
            self.order(worker, Order::Shadow(challenger.map(|(version, share)| (version.to_owned(), share))))?;
        }
        Ok(())
    }

    /// Whether further records may be handed out.
    pub(crate) fn has_room(&self) -> bool {
        self.open < OPEN * self.workers.len()
    }

    /// Records handed out and not answered yet.
    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// Readings that wait for a missing seq.
    pub(crate) fn waiting(&self) -> u64 {
        self.workers.iter().map(|worker| worker.waiting).sum()
    }

    /// Vehicles that are kept in mind.
    pub(crate) fn vehicles(&self) -> u64 {
        self.workers.iter().map(|worker| worker.vehicles).sum()
    }

    /// What a thread has made next. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Made> {
        let answer = self.answers.recv().await.context("the scoring threads have ended")?;
        let Answer { worker, made, waiting, vehicles } = answer;
        (self.workers[worker].waiting, self.workers[worker].vehicles) = (waiting, vehicles);
        if let Made::Output(records, _) = &made {
            self.open -= 1;
            self.records -= records;
        }
        match made {
            Made::Failed(error) => Err(error),
            made => Ok(made),
        }
    }
}

type Detectors = BTreeMap<String, Detector>;

fn work(worker: usize, mut desk: Desk<Detectors>, mut inbox: mpsc::Receiver<Order>, answer: &mpsc::Sender<Answer>) {
    while let Some(order) = inbox.blocking_recv() {
        // A panic here is our fault, not a reading's. Without an answer the process would wait for ever.
        let made = catch_unwind(AssertUnwindSafe(|| carry_out(&mut desk, order)));
        let made = made.unwrap_or_else(|_| Some(Made::Failed(anyhow!("a scoring thread panicked"))));
        let Some(made) = made else { continue };
        if answer.blocking_send(Answer { worker, made, waiting: desk.waiting(), vehicles: desk.vehicles() }).is_err() {
            return;
        }
    }
}

fn carry_out(desk: &mut Desk<Detectors>, order: Order) -> Option<Made> {
    let made = match order {
        Order::Load { version, artifact, loaded } => {
            let layout = load(&version, &artifact).map(|detector| {
                let layout = Arc::clone(detector.layout());
                desk.judge.insert(version, detector);
                layout
            });
            // Whoever asked may have stopped waiting, here and below.
            loaded.send(layout).ok();
            return None;
        }
        Order::Begin { lane, begun } => {
            begun.send(begin(desk, &lane)).ok();
            return None;
        }
        Order::Take { records, timeline } => {
            let count = records.len();
            desk.take(records, &timeline).map(|output| Made::Output(count, output))
        }
        Order::Shadow(challenger) => {
            desk.shadow(challenger.map(|(version, share)| Shadow::new(version, share)));
            return None;
        }
        Order::Snapshot(turn) => desk.snapshot(turn).map(Made::Snapshot),
        Order::End(partition, states) => desk.end(partition, states).map(Made::Ended),
    };
    Some(made.unwrap_or_else(Made::Failed))
}

fn begin<J: Judge>(desk: &mut Desk<J>, lane: &Beginning) -> Result<u64> {
    let vehicles = lane.states.restore(&lane.layouts, lane.next).context("restore the scorer's state")?;
    tracing::info!(partition = lane.partition, offset = lane.next, vehicles = vehicles.len(), "partition taken over");
    let waiting = desk.begin(lane.partition, lane.next, vehicles);
    desk.mute(lane.partition, lane.scored);
    Ok(waiting)
}
