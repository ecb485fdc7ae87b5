//! Faults as rare as in life: a stated share of all vehicle-hours, kinds in proportion, each with its own length.

use std::{collections::BTreeMap, ops::Range};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use telemetry::UnixMillis;

use super::{
    Bursts, Course, Fault, FaultKind, FaultPlan,
    plan::{STREAM, below},
};
use crate::vehicle::{FleetSeed, World, first_cohort};

const HOUR_MS: f64 = 3_600_000.0;
/// An episode lasts at most this share of the span, so that a short run sees it grow and heal too.
const LONGEST_SHARE: f64 = 0.5;
/// Shorter episodes are not worth a line of truth, ms.
const SHORTEST_MS: i64 = 60_000;
/// How often a vehicle without a fault at that time is looked for before an episode is left out.
const TRIES: u32 = 64;
/// Bursts of an intermittent fault at most, so that its truth stays a short line.
const BURSTS: i64 = 24;

/// How a kind of fault goes.
struct Habit {
    kind: FaultKind,
    /// Its share of the faulty hours, relative to the others.
    weight: f64,
    /// How long it lasts until somebody mends it, h; drawn from 0.6 to 1.4 times this.
    hours: f64,
    /// Share of that in which it grows; 0: at once.
    grow: f64,
    /// Share of that in which it heals; 0: at once.
    heal: f64,
    /// Whether it comes and goes.
    intermittent: bool,
}

const fn habit(kind: FaultKind, weight: f64, hours: f64, (grow, heal): (f64, f64)) -> Habit {
    Habit { kind, weight, hours, grow, heal, intermittent: false }
}

/// The kinds that occur, with what workshops see of them in mind.
const HABITS: [Habit; 11] = [
    // Refilled in a minute.
    habit(FaultKind::CoolantLeak, 9.0, 10.0, (0.80, 0.0)),
    // A valve breaks, and is replaced.
    habit(FaultKind::ThermostatStuck, 9.0, 20.0, (0.0, 0.0)),
    // Pumped up.
    habit(FaultKind::SlowTyreLeak, 16.0, 30.0, (0.90, 0.01)),
    habit(FaultKind::WheelBearing, 9.0, 40.0, (0.70, 0.0)),
    // Balancing takes as long as the cell took.
    habit(FaultKind::CellImbalance, 8.0, 30.0, (0.45, 0.40)),
    habit(FaultKind::Alternator, 8.0, 12.0, (0.50, 0.0)),
    // A caliper seizes quickly and frees itself slowly.
    habit(FaultKind::BrakeDrag, 8.0, 6.0, (0.10, 0.30)),
    habit(FaultKind::SensorDrift, 9.0, 30.0, (0.90, 0.0)),
    // Until the unit starts anew.
    habit(FaultKind::SensorFreeze, 8.0, 5.0, (0.0, 0.0)),
    // Until the plug is reseated; the contact grows worse.
    Habit { intermittent: true, ..habit(FaultKind::IntermittentConnector, 9.0, 8.0, (0.50, 0.0)) },
    // Until the release is rolled back.
    habit(FaultKind::FirmwareRegression, 7.0, 6.0, (0.0, 0.0)),
];

/// For people: how long a fault lasts, and how it grows and heals. None for kinds that the plan lacks.
pub(super) fn goes(kind: FaultKind) -> Option<String> {
    let Habit { hours, grow, heal, intermittent, .. } = HABITS.iter().find(|habit| habit.kind == kind)?;
    let percent = |share: f64| (100.0 * share).round();
    let grows = if *grow == 0.0 { "at once".to_owned() } else { format!("grows for {} %", percent(*grow)) };
    let heals = if *heal == 0.0 { "mended at once".to_owned() } else { format!("heals for {} %", percent(*heal)) };
    let bursts = if *intermittent { ", in bursts" } else { "" };
    Some(format!("{hours} h: {grows}, {heals}{bursts}"))
}

/// What a prevalence plan is drawn for.
#[derive(Debug, Clone, PartialEq)]
pub struct Prevalence {
    /// What the fleet follows from.
    pub fleet: FleetSeed,
    /// What it consists of.
    pub world: World,
    /// The vehicles.
    pub indices: Range<u32>,
    /// The span in which every fault begins and ends, event time, ms since the epoch.
    pub span: Range<UnixMillis>,
    /// Faulty vehicle-hours at most, as a share of all of the span, 0 to 1.
    pub share: f64,
}

impl FaultPlan {
    /// Faults in at most the stated share of the vehicle-hours. No vehicle has two at a time; a regression befalls a
    /// whole cohort, see [`first_cohort`].
    pub fn prevalence(of: &Prevalence) -> Self {
        let mut draws = ChaCha8Rng::seed_from_u64(of.fleet.seed);
        draws.set_stream(STREAM);
        let span_ms = (of.span.end - of.span.start).max(0);
        let vehicle_ms = f64::from(of.indices.end.saturating_sub(of.indices.start)) * span_ms as f64;
        let possible: Vec<_> = HABITS.iter().filter(|habit| candidates(of, habit.kind) > 0).collect();
        let weights: f64 = possible.iter().map(|habit| habit.weight).sum();
        let mut order: Vec<_> = possible.into_iter().collect();
        // Who comes late gets what the others leave: nobody is always late.
        for at in (1..order.len()).rev() {
            order.swap(at, below(&mut draws, at as u32 + 1) as usize);
        }
        let mut planned = Planned::default();
        // Faulty time that is still to be given away, ms.
        let mut left = 0.0;
        for habit in order {
            left += of.share.clamp(0.0, 1.0) * vehicle_ms * habit.weight / weights;
            if habit.kind == FaultKind::FirmwareRegression {
                left -= planned.regress(of, habit, left, span_ms, &mut draws);
                continue;
            }
            loop {
                let length_ms = length(habit, span_ms, &mut draws).min(left as i64);
                if length_ms < SHORTEST_MS.min(span_ms / 8).max(1) || !planned.episode(of, habit, length_ms, &mut draws)
                {
                    break;
                }
                left -= length_ms as f64;
            }
        }
        FaultPlan::of(planned.faults)
    }
}

/// How many vehicles can have it.
fn candidates(of: &Prevalence, kind: FaultKind) -> usize {
    of.indices.clone().filter(|index| kind.befalls(of.world.model(*index))).take(1).count()
}

/// From 0 to 1.
fn share(draws: &mut ChaCha8Rng) -> f64 {
    (draws.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

fn length(habit: &Habit, span_ms: i64, draws: &mut ChaCha8Rng) -> i64 {
    let natural = habit.hours * HOUR_MS * (0.6 + 0.8 * share(draws));
    natural.min(span_ms as f64 * LONGEST_SHARE) as i64
}

#[derive(Default)]
struct Planned {
    faults: Vec<Fault>,
    /// By vehicle: when it has one.
    taken: BTreeMap<u32, Vec<Range<UnixMillis>>>,
}

impl Planned {
    fn is_free(&self, index: u32, when: &Range<UnixMillis>) -> bool {
        let meets = |other: &Range<UnixMillis>| when.start < other.end && other.start < when.end;
        self.taken.get(&index).is_none_or(|taken| !taken.iter().any(meets))
    }

    fn put(&mut self, habit: &Habit, vehicle_index: u32, when: Range<UnixMillis>) {
        let length_ms = when.end - when.start;
        let part = |share: f64| (share * length_ms as f64) as i64;
        let bursts = habit.intermittent.then(|| {
            let period_ms = (length_ms / BURSTS).max(2);
            Bursts { period_ms, on_ms: (period_ms / 6).max(1) }
        });
        let course = Course::Episode { grow_ms: part(habit.grow), heal_ms: part(habit.heal), bursts };
        self.faults.push(Fault {
            kind: habit.kind,
            vehicle_index,
            from: when.start,
            to: when.end,
            course,
            percent: 100,
        });
        self.taken.entry(vehicle_index).or_default().push(when);
    }

    /// One vehicle gets it for so long; false if none was found.
    fn episode(&mut self, of: &Prevalence, habit: &Habit, length_ms: i64, draws: &mut ChaCha8Rng) -> bool {
        let room = of.span.end - of.span.start - length_ms;
        for _ in 0..TRIES {
            let index = of.indices.start + below(draws, of.indices.end - of.indices.start);
            let from = of.span.start + (share(draws) * room as f64) as i64;
            let when = from..from + length_ms;
            if habit.kind.befalls(of.world.model(index)) && self.is_free(index, &when) {
                self.put(habit, index, when);
                return true;
            }
        }
        false
    }

    /// The first cohort gets a release, one after the other, and all get the old one back at once. Returns the faulty
    /// time, ms.
    fn regress(&mut self, of: &Prevalence, habit: &Habit, most: f64, span_ms: i64, draws: &mut ChaCha8Rng) -> f64 {
        let cohort: Vec<_> = first_cohort(of.indices.clone()).collect();
        let each = (most / cohort.len().max(1) as f64) as i64;
        let length_ms = length(habit, span_ms, draws).min(each);
        if length_ms < SHORTEST_MS.min(span_ms / 8).max(1) {
            return 0.0;
        }
        let from = of.span.start + (share(draws) * (span_ms - length_ms) as f64) as i64;
        let mut given = 0.0;
        for index in cohort {
            // Within the first fifth each installs it when it suits.
            let installed = from + (share(draws) * 0.2 * length_ms as f64) as i64;
            let when = installed..from + length_ms;
            if self.is_free(index, &when) {
                given += (when.end - when.start) as f64;
                self.put(habit, index, when);
            }
        }
        given
    }
}
