//! Judging readings: the same for live scoring, for batches of history and for verification. Pure.
//!
//! A reading that breaks inference is found by halving its batch. It gets no score, and the vehicle's track goes on as if
//! it had not been there; what stood beside it in the batch is judged with the same bits as without it, because a
//! residual depends on its own query alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, anyhow};
use detector::{Detector, Judgement, Layout, Query, Question, Residual, Track};

/// Readings that go through a network at once.
pub(crate) const MICRO_BATCH: usize = 256;

/// How far back a score reaches: L.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// In event time, ms.
    pub(crate) ms: i64,
    /// In records before that.
    pub(crate) records: u64,
}

/// Model versions that judge.
pub(crate) trait Judge {
    /// The layout of a version; none where that version is not at hand.
    fn layout(&self, version: &str) -> Option<&Arc<Layout>>;

    /// What a version, which is at hand, expects at each query.
    fn look(&self, version: &str, queries: &[&Query]) -> Result<Vec<Residual>>;

    /// What a version, which is at hand, makes of a reading; none where too little is known.
    fn judge(&self, version: &str, question: Question<'_>, residual: &Residual) -> Option<Judgement>;

    /// L of the model that reaches back furthest.
    fn memory(&self) -> Memory;
}

impl Judge for BTreeMap<String, Detector> {
    fn layout(&self, version: &str) -> Option<&Arc<Layout>> {
        self.get(version).map(Detector::layout)
    }

    fn look(&self, version: &str, queries: &[&Query]) -> Result<Vec<Residual>> {
        Ok(self.get(version).context("a version that is not at hand")?.look(queries)?)
    }

    fn judge(&self, version: &str, question: Question<'_>, residual: &Residual) -> Option<Judgement> {
        self.get(version)?.judge(question, residual)
    }

    fn memory(&self) -> Memory {
        let cards = || self.values().map(Detector::card);
        let ms = cards().map(|card| card.memory_ms).max().unwrap_or_default();
        Memory { ms, records: cards().map(|card| card.memory_records).max().unwrap_or_default() }
    }
}

/// Reads an artefact and holds it against the version that it was published under.
pub(crate) fn load(version: &str, artifact: &[u8]) -> Result<Detector> {
    let detector = Detector::load(artifact)?;
    if detector.version() != version {
        return Err(anyhow!("the artefact of {version} is {}", detector.version()));
    }
    if let Some((made, here)) = detector.card().other_cpu()
        && is_news(version)
    {
        tracing::warn!(version, made, here, "other CPU capability than the model was made with: last bits may differ");
    }
    Ok(detector)
}

/// Every thread loads a model; what is to be said of it is said once.
fn is_news(version: &str) -> bool {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(version.to_owned())
}

/// What a network made of a query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Looked {
    Seen(Residual),
    /// The version is not at hand.
    NoModel,
    /// Why this query, and it alone, could not be looked at.
    Failed(String),
}

/// What came of a reading.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Judged {
    Judgement(Judgement),
    /// Too little is known yet.
    WarmingUp,
    /// The version is not at hand.
    NoModel,
    /// It breaks inference.
    Failed(String),
}

/// Looks at queries, each with its version, in large batches.
///
/// # Errors
/// If a version fails at everything: then it is no fault of a reading.
pub(crate) fn look<J: Judge>(judge: &J, asked: &[(&str, &Query)]) -> Result<Vec<Looked>> {
    let mut looked = vec![Looked::NoModel; asked.len()];
    let mut open: Vec<usize> = (0..asked.len()).collect();
    while let Some(first) = open.first() {
        let version = asked[*first].0;
        let (places, rest): (Vec<usize>, Vec<usize>) = open.iter().partition(|at| asked[**at].0 == version);
        if judge.layout(version).is_some() {
            for places in places.chunks(MICRO_BATCH) {
                look_at(judge, version, asked, places, &mut looked)?;
            }
        }
        open = rest;
    }
    Ok(looked)
}

fn look_at<J: Judge>(
    judge: &J,
    version: &str,
    asked: &[(&str, &Query)],
    places: &[usize],
    looked: &mut [Looked],
) -> Result<()> {
    let queries: Vec<&Query> = places.iter().map(|at| asked[*at].1).collect();
    let error = match attempt(|| judge.look(version, &queries)) {
        Ok(residuals) => {
            for (at, residual) in places.iter().zip(residuals) {
                looked[*at] = if residual.is_sound() {
                    Looked::Seen(residual)
                } else {
                    Looked::Failed("the network's answer is not a number".into())
                };
            }
            return Ok(());
        }
        Err(error) => error,
    };
    if let [only] = places {
        // A model that can't even look at nothing is broken itself: no reading is to blame.
        attempt(|| judge.look(version, &[&Query::default()])).with_context(|| format!("{version} fails"))?;
        looked[*only] = Looked::Failed(format!("{error:#}"));
        return Ok(());
    }
    let (left, right) = places.split_at(places.len() / 2);
    look_at(judge, version, asked, left, looked)?;
    look_at(judge, version, asked, right, looked)
}

/// Judges a reading that was looked at; its vehicle's readings come in their order, and the track goes on.
pub(crate) fn conclude<J: Judge>(judge: &J, version: &str, question: Question<'_>, looked: &Looked) -> Judged {
    let residual = match looked {
        Looked::Seen(residual) => residual,
        Looked::NoModel => return Judged::NoModel,
        Looked::Failed(error) => return Judged::Failed(error.clone()),
    };
    let Question { vehicle, track, query } = question;
    match attempt(|| Ok(judge.judge(version, Question { vehicle, track: &mut *track, query }, residual))) {
        Ok(Some(judgement)) if is_sound(&judgement) => Judged::Judgement(judgement),
        Ok(Some(_)) => Judged::Failed("the judgement is not a number".into()),
        Ok(None) => Judged::WarmingUp,
        Err(error) => {
            // It may be half changed, and half of what is not known.
            *track = Track::new();
            Judged::Failed(format!("{error:#}"))
        }
    }
}

/// JSON has no place for what is not a number.
fn is_sound(judgement: &Judgement) -> bool {
    let numbers = judgement.contributions.iter().flat_map(|one| [one.score, one.expected, one.observed]);
    judgement.score.is_finite() && numbers.into_iter().all(f32::is_finite)
}

fn attempt<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    // What a panic leaves half done is dropped, or begun anew by the caller.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(anyhow!("inference panicked: {text}"))
    })
}
