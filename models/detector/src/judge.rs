//! From deviations to a judgement: baselines, tails, limit, hysteresis, contributions. Pure.

use telemetry::{
    UnixMillis,
    event::{Contribution, Verdict},
};

use crate::{
    baseline::{Baseline, Baselines, Standing},
    family,
    layout::{Layout, Role},
    residual::Residual,
    scaler::Scaler,
    tail::{Levels, Tail},
    track::{CUSUM, MEANS, NAMES, RUN, Raw, STATISTICS, Track},
    window::Query,
};

/// Contributions that a judgement names.
const CONTRIBUTIONS: usize = 3;
/// A verdict stays anomalous down to this share of the limit, for [`HOLD_STEPS`].
const HOLD: f64 = 0.7;
/// For so many steps after the score last reached the limit, a verdict may stay anomalous.
pub const HOLD_STEPS: i64 = 360;

/// The judgement of one reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// ≥ 0; 1 is the limit.
    pub score: f64,
    /// Anomalous from a score of 1 on, and for a while as long as it does not fall much below that.
    pub verdict: Verdict,
    /// The signals that deviate most, largest first.
    pub contributions: Vec<Contribution>,
    /// Where to look first; none while the verdict is normal.
    pub family: Option<&'static str>,
    /// What of the first contribution is improbable, for people: a mean, a drift, a frozen value.
    pub statistic: &'static str,
}

/// What a model knows about health.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judge {
    pub(crate) baselines: Baselines,
    /// For vehicles with a baseline of their own.
    pub(crate) known: Measure,
    /// For all others.
    pub(crate) strangers: Measure,
}

/// What is usual, and what is too much.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measure {
    /// By input of the model; of signals that are context only, all unknown.
    pub(crate) tails: Vec<[Tail; STATISTICS]>,
    /// The level that is a score of 1.
    pub(crate) limit: f32,
}

/// A judge made ready to judge often.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bench {
    baselines: Baselines,
    known: Ready,
    strangers: Ready,
    /// By input: in so many parts of a unit numbers are told.
    parts: Vec<f64>,
}

/// A measure made ready.
#[derive(Debug, Clone, PartialEq)]
struct Ready {
    /// By input; none for context.
    levels: Vec<Option<Levels>>,
    limit: f32,
}

impl Ready {
    fn new(measure: &Measure) -> Self {
        let of = |tails: &[Tail; STATISTICS]| {
            let known = tails.iter().any(|tail| !tail.from.is_nan());
            known.then(|| Levels::of(tails))
        };
        Self { levels: measure.tails.iter().map(of).collect(), limit: measure.limit }
    }

    /// The signals with the most improbable statistics, largest first.
    fn top(&self, baselines: &[Baseline], residual: &Residual, raw: &[Raw]) -> [Option<Worst>; CONTRIBUTIONS] {
        let mut top: [Option<Worst>; CONTRIBUTIONS] = [None; CONTRIBUTIONS];
        for (at, ((_, input, _), raw)) in residual.signals.iter().zip(raw).enumerate() {
            let input = usize::from(*input);
            let Some(levels) = &self.levels[input] else { continue };
            // What is not above the last of them has no place. No level is below 0.
            let last = top[CONTRIBUTIONS - 1].map_or(-1.0, |held| held.level);
            let Some((statistic, level)) = levels.largest_above(&baselines[input].compare(raw), last) else { continue };
            // There is one, since it is above the last.
            let place = top.iter().position(|held| held.is_none_or(|held| held.level < level));
            if let Some(place) = place {
                top[place..].rotate_right(1);
                top[place] = Some(Worst { at, statistic, level });
            }
        }
        top
    }

    fn score(&self, level: f32) -> f32 {
        level / self.limit
    }
}

/// The most improbable statistic of a signal.
#[derive(Debug, Clone, Copy)]
struct Worst {
    /// Index among the residual's signals.
    at: usize,
    statistic: usize,
    level: f32,
}

impl Bench {
    pub(crate) fn new(judge: Judge, scaler: &Scaler) -> Self {
        let (known, strangers) = (Ready::new(&judge.known), Ready::new(&judge.strangers));
        let parts = scaler.spread.iter().map(|spread| parts(*spread)).collect();
        Self { baselines: judge.baselines, known, strangers, parts }
    }

    pub(crate) fn baselines(&self, key: u64) -> (Standing, &[Baseline]) {
        self.baselines.of(key)
    }

    /// Judges a reading whose residual the track has just taken in. None where too little is known.
    pub(crate) fn judge(
        &self,
        (layout, scaler): (&Layout, &Scaler),
        (standing, baselines): (Standing, &[Baseline]),
        track: &mut Track,
        (query, residual, raw): (&Query, &Residual, &[Raw]),
    ) -> Option<Judgement> {
        let measure = match standing {
            Standing::Known => &self.known,
            Standing::Stranger => &self.strangers,
        };
        let top = measure.top(baselines, residual, raw);
        let first = top[0]?;
        let score = f64::from(measure.score(first.level));
        let hold_ms = HOLD_STEPS * layout.step_ms();
        let anomalous = is_anomalous(score, query.time, &mut track.alarmed, hold_ms);
        let contributions = top.iter().flatten().map(|worst| {
            let (n, input, heads) = residual.signals[worst.at];
            let (signal, input) = (&query.signals[usize::from(n)], usize::from(input));
            let observed = signal.features[0];
            let baseline = &baselines[input];
            // By how many of its spreads the reading is off, by the statistic that says so.
            let off = match worst.statistic {
                CUSUM => Some(raw[worst.at].means[0][MEANS - 1] - baseline.center[0]),
                // What stands still is expected to move; where to, head A says.
                RUN => Some(heads[0].deviation),
                statistic => {
                    let (head, length) = (statistic / (1 + MEANS), statistic % (1 + MEANS));
                    Some(if length == 0 {
                        heads[head].deviation
                    } else {
                        raw[worst.at].means[head][length - 1] - baseline.center[head]
                    })
                }
            };
            let head = usize::from((1 + MEANS..2 * (1 + MEANS)).contains(&worst.statistic));
            let off = off.filter(|off| !off.is_nan()).unwrap_or_default() * heads[head].spread * scaler.spread[input];
            Contribution {
                signal: layout.places()[usize::from(signal.at)].path.clone(),
                score: measure.score(worst.level),
                // Every bit: it tells of a change anywhere in the reading, which the score may not show.
                expected: observed - off,
                observed: round(observed, self.parts[input]),
            }
        });
        let contributions: Vec<Contribution> = contributions.collect();
        let family = anomalous.then(|| match first.statistic {
            RUN => family::SENSOR,
            _ => contributions.first().map_or(family::SENSOR, |first| family::of(&first.signal)),
        });
        let verdict = if anomalous { Verdict::Anomalous } else { Verdict::Normal };
        Some(Judgement { score, verdict, contributions, family, statistic: NAMES[first.statistic] })
    }
}

/// Whether a score is anomalous: from 1 on, and for a while after it last was that, as long as it does not fall below 0.7.
/// `alarmed`: when it last was; ms, as `hold_ms`, which is [`HOLD_STEPS`] of the layout's steps.
pub fn is_anomalous(score: f64, time: UnixMillis, alarmed: &mut Option<UnixMillis>, hold_ms: i64) -> bool {
    if score >= 1.0 {
        *alarmed = Some(time);
    }
    score >= 1.0 || score >= HOLD && alarmed.is_some_and(|alarmed| time - alarmed <= hold_ms)
}

/// Whether a place is judged.
pub(crate) fn is_judged(layout: &Layout, at: u16) -> bool {
    layout.places().get(usize::from(at)).is_some_and(|place| place.role == Role::Judged)
}

/// Parts of a unit, a power of ten, that show a thousandth of a spread.
fn parts(spread: f32) -> f64 {
    10_f64.powi((3.0 - spread.max(1e-9).log10().floor()).clamp(0.0, 12.0) as i32)
}

/// A number of 32 bits as short as it came in.
fn round(value: f32, parts: f64) -> f32 {
    ((f64::from(value) * parts).round() / parts) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::residual::Head;

    #[test]
    fn a_verdict_holds_for_a_while_and_down_to_a_share_of_the_limit() {
        let mut alarmed = None;
        let mut at = |time: i64, score: f64| is_anomalous(score, time, &mut alarmed, 100);
        assert!(!at(0, 0.9), "nothing to hold yet");
        assert!(at(10, 1.0) && at(20, 0.7) && !at(30, 0.69));
        assert!(at(40, 0.8), "a dip does not end the hold");
        assert!(at(110, 0.99) && !at(111, 0.99), "what is held begins no hold of its own");
        assert!(at(120, 1.2) && at(220, 0.7));
    }

    /// Bounds and floors leave out what can't be among the first; here every level of every signal is looked at.
    #[test]
    fn the_top_is_what_comes_first_when_everything_is_compared() {
        const INPUTS: usize = 12;
        let tail = |input: usize, at: usize| Tail {
            from: 1.0 + ((input + at) % 3) as f32,
            share: 0.02,
            scale: 0.5,
            shape: if at.is_multiple_of(2) { 0.0 } else { 0.3 },
        };
        let tails = (0..INPUTS).map(|input| match input % 5 {
            4 => [Tail::NONE; STATISTICS],
            _ => std::array::from_fn(|at| tail(input, at)),
        });
        let measure = Measure { tails: tails.collect(), limit: 3.0 };
        let (ready, baselines) = (Ready::new(&measure), vec![Baseline::PLAIN; INPUTS]);
        let (mut draws, mut full) = ((0..).map(|n| (f64::from(n) * 0.618_033_988_749_895).fract() as f32), 0);
        for reading in 0..5_000_usize {
            // Whole numbers, so that many levels are equal; here and there nothing is known.
            let mut draw = || {
                let share = draws.next().unwrap();
                if share < 0.2 { f32::NAN } else { (share * share * 9.0).floor() }
            };
            let heads = [Head { expected: 0.0, spread: 1.0, deviation: 0.0 }; 2];
            let known: Vec<usize> = (0..INPUTS).filter(|input| (input + reading) % 7 != 0).collect();
            let signals = known.iter().map(|input| (0, *input as u16, heads)).collect();
            let raw: Vec<Raw> = known
                .iter()
                .map(|_| Raw {
                    largest: [draw(), draw()],
                    means: [[draw(), draw(), draw()], [draw(), draw(), draw()]],
                    cusum: draw(),
                    run: draw() as u16,
                })
                .collect();
            let mut all = Vec::new();
            for (at, (input, raw)) in known.iter().zip(&raw).enumerate() {
                let values = baselines[*input].compare(raw);
                let levels = values.into_iter().zip(&measure.tails[*input]).map(|(value, tail)| tail.level(value));
                let levels = levels.enumerate().filter(|(_, level)| !level.is_nan());
                // The first of several.
                let worst = levels.reduce(|held, next| if next.1 > held.1 { next } else { held });
                all.extend(worst.map(|(statistic, level)| (at, statistic, level)));
            }
            all.sort_by(|a, b| b.2.total_cmp(&a.2));
            all.truncate(CONTRIBUTIONS);
            let top = ready.top(&baselines, &Residual { signals }, &raw);
            let top: Vec<_> = top.into_iter().flatten().map(|worst| (worst.at, worst.statistic, worst.level)).collect();
            assert_eq!(top, all, "reading {reading}: {raw:?}");
            full += usize::from(top.len() == CONTRIBUTIONS);
        }
        assert!(full > 4_000, "{full}");
    }

    #[test]
    fn numbers_are_rounded_to_a_thousandth_of_a_spread() {
        assert_eq!((parts(31.2), parts(0.02), parts(2_000.0)), (1e2, 1e5, 1.0));
        assert_eq!(round(12.345_678, parts(31.2)), 12.35);
        assert_eq!(round(-0.123_456, 1e4), -0.1235);
    }
}
