//! Runs two detectors over the same held-out readings: what [`crate::gate`] decides by.

use detector::{Card, History};
use evaluation::{
    BUDGETS, Labelled, Measure, Outcome, Scored,
    events::Found,
    labels::{self, Labels},
    paired,
};
use service::Error;

use crate::{
    Trained,
    gate::{Alarms, Champion, Compared, Contest, loses_to_the_best, simplest},
    unscored,
};

/// Readings that losses are compared on, over all vehicles, about.
const COMPARED: usize = 40_000;
/// After an event alarms are neither right nor wrong for so many steps: as long as a verdict may be held.
pub(crate) const SETTLE_STEPS: i64 = 360;
/// A score of 1 is the promised budget.
const LIMIT: f32 = 1.0;

/// Compares a challenger with the champion on what the challenger held out.
pub(crate) fn hold(
    history: &dyn History,
    challenger: &Trained,
    champion: &Trained,
    labels: Option<&Labels>,
    threads: usize,
) -> Result<Champion, Error> {
    let span = held_out(&challenger.card);
    let of = |trained: &Trained| detector::score(&trained.artifact, history, span, threads).map_err(failed);
    let measure = Measure::of_step(challenger.card.layout.step_ms, SETTLE_STEPS);
    let scored = of(champion)?;
    if unscored::count(&scored) == 0 {
        return Ok(Champion::Silent(unscored::why(&champion.card, history).map_err(failed)?));
    }
    let theirs = Judged::of(&scored, history, labels, span, &measure);
    let own = Judged::of(&of(challenger)?, history, labels, span, &measure);
    // Alarms are those of all vehicles, also of such as came after the limit was set and have no baseline.
    let calibration = &challenger.card.calibration;
    let allowed = calibration.allowed_alarms.max(calibration.strangers.allowed_alarms);
    let compared = match labels {
        Some(_) if own.found.is_empty() => {
            let (from, to) = span;
            let text = format!("no label of these vehicles lies in the held-out part, {from} to {to}: widen the range");
            return Err(Error::BadInput(text));
        }
        Some(_) => {
            let (challenger_alone, champion_alone) = alone(&own.found, &theirs.found);
            Compared::Events { challenger_alone, champion_alone, vus_pr: [own.vus_pr, theirs.vus_pr] }
        }
        None => {
            let losses = losses(history, &[champion, challenger], threads)?;
            Compared::Losses(paired(&differences(&losses[0], &losses[1])))
        }
    };
    Ok(Champion::Rival(Contest {
        challenger: Alarms { count: own.false_alarms, allowed },
        champion: Alarms { count: theirs.false_alarms, allowed },
        compared,
    }))
}

/// Of candidates trained on the same history, simplest first, the one to send into the contest.
pub(crate) fn choose(
    history: &dyn History,
    candidates: &[Trained],
    labels: Option<&Labels>,
    threads: usize,
) -> Result<usize, Error> {
    let Some(first) = candidates.first() else { return Ok(0) };
    let all: Vec<&Trained> = candidates.iter().collect();
    if let Some(labels) = labels {
        let span = held_out(&first.card);
        let measure = Measure::of_step(first.card.layout.step_ms, SETTLE_STEPS);
        let found = |trained: &&Trained| {
            let scored = detector::score(&trained.artifact, history, span, threads).map_err(failed)?;
            Ok(Judged::of(&scored, history, Some(labels), span, &measure).found)
        };
        let found = all.iter().map(found).collect::<Result<Vec<_>, Error>>()?;
        let hits = |found: &[Option<Found>]| found.iter().flatten().count();
        // Of equals the simpler.
        let best = (0..found.len()).rev().max_by_key(|at| hits(&found[*at])).unwrap_or_default();
        let beats = |at: usize| {
            let (more, less) = alone(&found[best], &found[at]);
            evaluation::more_found(more, less) < 0.05
        };
        return Ok(simplest(found.len(), best, beats));
    }
    let losses = losses(history, &all, threads)?;
    let mean = |losses: &detector::Losses| {
        let known: Vec<f64> = losses.iter().copied().flatten().collect();
        known.iter().sum::<f64>() / known.len() as f64
    };
    let best = (0..losses.len()).rev().min_by(|a, b| mean(&losses[*a]).total_cmp(&mean(&losses[*b])));
    let best = best.unwrap_or_default();
    let beats = |at: usize| loses_to_the_best(paired(&differences(&losses[at], &losses[best])));
    Ok(simplest(losses.len(), best, beats))
}

/// What a card held out, event time, ms.
fn held_out(card: &Card) -> (i64, i64) {
    (card.limit_until, card.to_time.saturating_add(1))
}

/// Losses of each, on the signals that all judge.
fn losses(history: &dyn History, all: &[&Trained], threads: usize) -> Result<Vec<detector::Losses>, Error> {
    let Some(last) = all.last() else { return Ok(Vec::new()) };
    let shared = all.iter().map(|trained| detector::judged_by_both(&trained.card, &last.card));
    let shared = shared.reduce(|a, b| a.intersection(&b).cloned().collect()).unwrap_or_default();
    let span = held_out(&last.card);
    let of = |trained: &&Trained| {
        detector::losses(&trained.artifact, history, span, &shared, (COMPARED, threads)).map_err(failed)
    };
    all.iter().map(of).collect()
}

/// Vehicle by vehicle, where both are known.
fn differences(a: &detector::Losses, b: &detector::Losses) -> Vec<f64> {
    a.iter().zip(b).filter_map(|(a, b)| Some((*a)? - (*b)?)).collect()
}

/// Events that only the one found, and that only the other did.
fn alone(a: &[Option<Found>], b: &[Option<Found>]) -> (u64, u64) {
    let only = |a: &[Option<Found>], b: &[Option<Found>]| {
        a.iter().zip(b).filter(|(a, b)| a.is_some() && b.is_none()).count() as u64
    };
    (only(a, b), only(b, a))
}

/// What scores were worth at a model's own limit.
struct Judged {
    false_alarms: u64,
    found: Vec<Option<Found>>,
    vus_pr: Option<f64>,
}

impl Judged {
    fn of(
        scored: &[Scored],
        history: &dyn History,
        labels: Option<&Labels>,
        span: (i64, i64),
        measure: &Measure,
    ) -> Self {
        let events: Vec<Vec<Labelled>> = match labels {
            Some(labels) => labels::events(labels, history.vehicles(), span),
            None => vec![Vec::new(); scored.len()],
        };
        let Outcome { mut budgets, vus_pr, .. } =
            evaluation::outcome(scored, &events, &[LIMIT; BUDGETS.len()], measure);
        let at = budgets.swap_remove(0);
        Self { false_alarms: at.false_alarms, found: at.found, vus_pr }
    }
}

/// What a detector says of a history that it can't judge.
pub(crate) fn failed(error: detector::Error) -> Error {
    match error {
        detector::Error::TooLittle(_) | detector::Error::Refused(_) => Error::VerdictFailed(error.to_string()),
        _ => Error::Internal(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use detector::{Kind, Layout, Options, Reading, Recorded, control};
    use telemetry::VehicleId;

    use super::*;
    use crate::gate::{Decision, decide};

    const STEP: i64 = 10_000;
    const READINGS: i64 = 700;
    const VEHICLES: u64 = 12;
    /// From here on, within the held-out part, the vehicles below [`FAULTY`] are not what they were.
    const FAULT: i64 = 660;
    const FAULTY: u64 = 8;

    fn draw(vehicle: u64, seq: i64, n: u64) -> f32 {
        let mut state = (vehicle << 40) ^ ((seq as u64) << 8) ^ n;
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((state ^ (state >> 31)) >> 40) as f32 / (1_u32 << 24) as f32
    }

    /// All signals follow from one quantity; in a faulty vehicle one of them follows from another. Each by itself stays
    /// what it is.
    fn fleet() -> Recorded {
        let paths = (0..4).map(|n| format!("pump.signal{n}"));
        let layout = Layout::new(paths, STEP).unwrap();
        let first = layout.len() as u16 - 4;
        let mut history = Recorded::new(Arc::new(layout));
        for (vehicle, seq) in (0..VEHICLES).flat_map(|vehicle| (1..=READINGS).map(move |seq| (vehicle, seq))) {
            let value = |n: u64| {
                let other = n == 2 && vehicle < FAULTY && seq >= FAULT;
                draw(vehicle, seq, if other { 101 } else { 100 }) + 0.05 * draw(vehicle, seq, n)
            };
            let (at, numbers) = ([0, 1, 2, 3].map(|n| first + n), [0, 1, 2, 3].map(value));
            let (time, kind) = (seq * STEP, telemetry::Kind::Full);
            let id = VehicleId::parse(&format!("veh-{vehicle:02}")).unwrap();
            let reading = Reading { boot: 1, seq: seq as u64, time, kind, at: &at, numbers: &numbers };
            history.push_reading(&id, &reading);
        }
        history
    }

    fn labels(vehicles: std::ops::Range<u64>) -> Labels {
        let line = |vehicle| {
            let (from, to) = (FAULT * STEP, (READINGS + 1) * STEP);
            format!("{{\"vehicle\":\"veh-{vehicle:02}\",\"kind\":\"leak\",\"from\":{from},\"to\":{to}}}\n")
        };
        labels::read(vehicles.map(line).collect::<String>().as_bytes()).unwrap()
    }

    #[test]
    fn with_labels_the_model_that_finds_the_faults_wins_and_of_equals_the_simpler() {
        let history = fleet();
        // The gate of a calibration counts faults in the held-out part as alarms: it does not see labels.
        let train = |kind| {
            let options = Options { kind, budget_per_1000_h: 50.0, sample: 4_000, ..Options::default() };
            Trained::from(&control::ungated(&history, &options).unwrap())
        };
        let (simple, pca) = (train(Kind::RobustZ), train(Kind::Pca));
        let both = [simple.clone(), pca.clone()];
        let (faults, health) = (labels(0..FAULTY), labels(FAULTY..VEHICLES));
        assert_eq!(choose(&history, &both, Some(&faults), 2).unwrap(), 1);
        assert_eq!(choose(&history, &both, Some(&health), 2).unwrap(), 0, "neither finds what is not there");

        let contest = |challenger: &Trained, champion: &Trained, labels: &Labels| {
            decide(&hold(&history, challenger, champion, Some(labels), 2).unwrap(), None)
        };
        let Decision::Promote(told) = contest(&pca, &simple, &faults) else { panic!("it finds all") };
        assert!(told.starts_with("8 events found by it alone, 0 by the champion alone"), "{told}");
        let Decision::Keep(told) = contest(&simple, &pca, &faults) else { panic!("it finds none") };
        assert!(told.contains("0 events found by it alone, 8 by the champion alone"), "{told}");
        // The same alarms, and nothing was wrong: more than the budget and chance allow.
        let Decision::Keep(told) = contest(&pca, &simple, &health) else { panic!("it alarms about health") };
        assert!(told.contains("alarms in the held-out part"), "{told}");
    }

    #[test]
    fn labels_that_lie_elsewhere_decide_nothing() {
        let history = fleet();
        let simple =
            Trained::from(&control::ungated(&history, &Options { kind: Kind::RobustZ, ..Options::default() }).unwrap());
        let early = b"{\"vehicle\":\"veh-00\",\"kind\":\"leak\",\"from\":10000,\"to\":20000}\n";
        let early = labels::read(&early[..]).unwrap();
        let error = hold(&history, &simple, &simple, Some(&early), 2).unwrap_err();
        assert!(error.exit_code() == 65 && error.to_string().contains("widen"), "{error}");
    }
}
