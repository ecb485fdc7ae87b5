//! The inference thread: libtorch's tensors never leave it.

use std::collections::HashMap;

use anyhow::{Context, Result, anyhow};
use detector::{Detector, Judgement, Query};
use tokio::sync::{mpsc, oneshot};

/// Windows that are judged at once.
pub(crate) const MICRO_BATCH: usize = 256;

enum Order {
    Load { version: String, artifact: Vec<u8>, reply: oneshot::Sender<Result<()>> },
    Score { version: String, queries: Vec<Query>, reply: oneshot::Sender<Result<Vec<Option<Judgement>>>> },
}

/// Judges windows on a thread of its own.
#[derive(Debug)]
pub(crate) struct Inference {
    orders: mpsc::Sender<Order>,
}

impl Inference {
    pub(crate) fn start() -> Result<Self> {
        let (orders, mut inbox) = mpsc::channel::<Order>(2);
        let work = move || {
            let mut detectors: HashMap<String, Detector> = HashMap::new();
            // Whoever asked may have stopped waiting.
            while let Some(order) = inbox.blocking_recv() {
                match order {
                    Order::Load { version, artifact, reply } => {
                        let loaded = load(&version, &artifact).map(|detector| {
                            detectors.insert(version, detector);
                        });
                        reply.send(loaded).ok();
                    }
                    Order::Score { version, queries, reply } => {
                        let detector = detectors.get(&version).ok_or_else(|| anyhow!("{version} is not loaded"));
                        let judged = detector.and_then(|detector| {
                            let mut all = Vec::with_capacity(queries.len());
                            for batch in queries.chunks(MICRO_BATCH) {
                                all.extend(detector.score(batch)?);
                            }
                            Ok(all)
                        });
                        reply.send(judged).ok();
                    }
                }
            }
        };
        std::thread::Builder::new().name("inference".into()).spawn(work).context("start the inference thread")?;
        Ok(Self { orders })
    }

    /// Loads and checks an artefact.
    pub(crate) async fn load(&self, version: String, artifact: Vec<u8>) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.ask(Order::Load { version, artifact, reply }, answer).await
    }

    /// Judges windows with a loaded version, in their order.
    pub(crate) async fn score(&self, version: String, queries: Vec<Query>) -> Result<Vec<Option<Judgement>>> {
        let (reply, answer) = oneshot::channel();
        self.ask(Order::Score { version, queries, reply }, answer).await
    }

    async fn ask<T>(&self, order: Order, answer: oneshot::Receiver<Result<T>>) -> Result<T> {
        self.orders.send(order).await.map_err(|_| anyhow!("the inference thread ended"))?;
        answer.await.context("the inference thread ended")?
    }
}

/// Reads an artefact and holds it against the version that it was published under.
pub(crate) fn load(version: &str, artifact: &[u8]) -> Result<Detector> {
    let detector = Detector::load(artifact)?;
    if detector.version() != version {
        return Err(anyhow!("the artefact of {version} is {}", detector.version()));
    }
    Ok(detector)
}
