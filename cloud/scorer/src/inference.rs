//! The inference thread: libtorch's tensors never leave it.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Context, Result, anyhow};
use detector::{Detector, Layout};
use tokio::sync::{mpsc, oneshot};

use crate::judging::{Judged, Tracks, Work, judge};

enum Order {
    Load { version: String, artifact: Vec<u8>, reply: oneshot::Sender<Result<Arc<Layout>>> },
    Judge { work: Vec<Work>, tracks: Tracks, reply: oneshot::Sender<Result<(Vec<Judged>, Tracks)>> },
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
                            let layout = Arc::clone(detector.layout());
                            detectors.insert(version, detector);
                            layout
                        });
                        reply.send(loaded).ok();
                    }
                    Order::Judge { work, mut tracks, reply } => {
                        let judged = judge(&detectors, &work, &mut tracks);
                        reply.send(judged.map(|judged| (judged, tracks))).ok();
                    }
                }
            }
        };
        std::thread::Builder::new().name("inference".into()).spawn(work).context("start the inference thread")?;
        Ok(Self { orders })
    }

    /// Loads and checks an artefact; its layout.
    pub(crate) async fn load(&self, version: String, artifact: Vec<u8>) -> Result<Arc<Layout>> {
        let (reply, answer) = oneshot::channel();
        self.ask(Order::Load { version, artifact, reply }, answer).await
    }

    /// Judges readings, each vehicle's in their order, and gives the tracks back.
    pub(crate) async fn judge(&self, work: Vec<Work>, tracks: Tracks) -> Result<(Vec<Judged>, Tracks)> {
        let (reply, answer) = oneshot::channel();
        self.ask(Order::Judge { work, tracks, reply }, answer).await
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
