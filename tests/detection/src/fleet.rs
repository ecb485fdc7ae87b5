//! The fleet that is judged: months of readings of simulated vehicles, made once, held in memory.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use detector::{Layout, Reading, Recorded, Values};
use simulator::{
    fault::{Fault, FaultPlan, Prevalence},
    vehicle::{Cycle, Drivetrains, FleetSeed, Vehicle, World, vehicle_id},
};
use telemetry::{Kind, UnixMillis, VehicleId};

/// Event time between two readings, ms: 0.1 Hz.
pub(crate) const STEP_MS: i64 = 10_000;
const DAY_MS: i64 = 86_400_000;
/// 15 May 2026, 00:00 UTC: training sees no winter.
const START: UnixMillis = 1_778_803_200_000;
/// So much later it is another season: the middle of January.
const SEASON_MS: i64 = 230 * DAY_MS;
/// Readings before a test, so that no window begins cold.
const LEAD_MS: i64 = 30 * 3_600_000;
/// Share of the vehicle-hours of a test in which something is wrong.
const FAULTY_SHARE: f64 = 0.2;
/// The indices of vehicles that training never saw begin here.
const UNSEEN: u32 = 100_001;

/// How large a fleet, for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// What the fleet follows from.
    pub(crate) seed: u64,
    /// Vehicles that are trained on.
    pub(crate) vehicles: u32,
    /// Vehicles that are only tested on.
    pub(crate) unseen: u32,
    /// Days of the training part.
    pub(crate) train_days: i64,
    /// Days that set the limits.
    pub(crate) limit_days: i64,
    /// Days of each test.
    pub(crate) test_days: i64,
}

/// One test: vehicles over a while, healthy or with faults of one size.
#[derive(Debug)]
pub(crate) struct Test {
    /// What it tests.
    pub(crate) set: Set,
    /// Size of the faults in percent of the simulator's table; none: healthy.
    pub(crate) percent: Option<u16>,
    /// Readings, from [`LEAD_MS`] before the test on.
    pub(crate) history: Recorded,
    /// When it begins, ms.
    pub(crate) from: UnixMillis,
    /// The faults of each vehicle, in the order of the history's vehicles.
    pub(crate) faults: Vec<Vec<Fault>>,
}

/// What a test tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Set {
    /// Known vehicles, right after training.
    InSeason,
    /// Known vehicles in winter, trained in spring.
    ShiftedSeason,
    /// Vehicles that training never saw.
    Unseen,
}

impl Set {
    /// The name in figures.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InSeason => "in_season",
            Self::ShiftedSeason => "shifted_season",
            Self::Unseen => "unseen_vehicles",
        }
    }
}

/// All readings.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// Training part and the part that sets the limits.
    pub(crate) history: Recorded,
    /// End of the training part, ms.
    pub(crate) train_until: UnixMillis,
    /// End of the part that sets the limits, ms.
    pub(crate) limit_until: UnixMillis,
    /// The tests.
    pub(crate) tests: Vec<Test>,
}

impl fmt::Display for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tested: u64 = self.tests.iter().map(|test| test.history.records()).sum();
        let faults: usize = self
            .tests
            .iter()
            .find(|test| test.percent.is_some())
            .map_or(0, |test| test.faults.iter().map(Vec::len).sum());
        write!(f, "{} readings to learn from, {tested} in tests, {faults} faults in season", self.history.records())
    }
}

const WORLD: World = World { drivetrains: Drivetrains::Mixed, cycle: Cycle::Wltp };

/// Drives the fleet.
pub(crate) fn drive(size: &Size, sizes: &[u16], threads: usize) -> Fleet {
    let train_until = START + size.train_days * DAY_MS;
    let limit_until = train_until + size.limit_days * DAY_MS;
    let known = 1..size.vehicles + 1;
    let unseen = UNSEEN..UNSEEN + size.unseen;
    let layout = Arc::new(Layout::default());
    let mut fleet = Fleet { history: Recorded::new(layout), train_until, limit_until, tests: Vec::new() };
    let test = |set: Set, from: UnixMillis| {
        let sizes = sizes.iter().filter(move |percent| set == Set::InSeason || **percent == 100).map(|p| Some(*p));
        (set, from, std::iter::once(None).chain(sizes).collect::<Vec<_>>())
    };
    let season = test(Set::ShiftedSeason, START + SEASON_MS);
    for (indices, start, tests, learnt) in [
        (known.clone(), START, test(Set::InSeason, limit_until), true),
        (known, season.1 - LEAD_MS, season, false),
        (unseen, limit_until - LEAD_MS, test(Set::Unseen, limit_until), false),
    ] {
        let plan = plan(size.seed, start, indices.clone(), tests.1..tests.1 + size.test_days * DAY_MS);
        let drives =
            Drives { seed: FleetSeed { seed: size.seed, start }, start, days: size.test_days, plan, tests, learnt };
        drives.all(indices, threads, &mut fleet);
    }
    fleet
}

/// Faults as workshops see them, but many: twice as many vehicle-hours as one would like.
fn plan(seed: u64, start: UnixMillis, indices: Range<u32>, span: Range<UnixMillis>) -> FaultPlan {
    let fleet = FleetSeed { seed, start };
    FaultPlan::prevalence(&Prevalence { fleet, world: WORLD, indices, span, share: FAULTY_SHARE })
}

/// Vehicles that drive alike, and what is tested on them.
struct Drives {
    seed: FleetSeed,
    start: UnixMillis,
    days: i64,
    plan: FaultPlan,
    tests: (Set, UnixMillis, Vec<Option<u16>>),
    learnt: bool,
}

impl Drives {
    fn all(&self, indices: Range<u32>, threads: usize, fleet: &mut Fleet) {
        let next = AtomicU32::new(indices.start);
        let done = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= indices.end {
                            return;
                        }
                        let driven = self.one(index);
                        done.lock().unwrap_or_else(PoisonError::into_inner).push((index, driven));
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(index, _)| *index);
        let (set, from, sizes) = &self.tests;
        let layout = Arc::new(Layout::default());
        let mut tests: Vec<Test> = sizes
            .iter()
            .map(|percent| {
                let history = Recorded::new(Arc::clone(&layout));
                Test { set: *set, percent: *percent, history, from: *from, faults: Vec::new() }
            })
            .collect();
        for (index, (learnt, runs)) in done {
            if self.learnt {
                fleet.history.append(learnt);
            }
            for (test, run) in tests.iter_mut().zip(runs) {
                test.history.append(run);
                test.faults.push(if test.percent.is_some() {
                    self.plan.of_vehicle(index).to_vec()
                } else {
                    Vec::new()
                });
            }
        }
        fleet.tests.extend(tests);
    }

    /// Readings before the test, and of each run of it.
    fn one(&self, index: u32) -> (Recorded, Vec<Recorded>) {
        let layout = Arc::new(Layout::default());
        let (_, from, sizes) = &self.tests;
        let mut vehicle = Vehicle::of_world(self.seed, index, WORLD);
        let recorder = Recorder::new(index, Arc::clone(&layout));
        let (mut learnt, mut lead) = (recorder.clone(), recorder);
        // Vehicles do not report all at once.
        let mut time = self.start + i64::from(index % 1_000) * 1_237 % STEP_MS;
        while time < *from {
            let sample = vehicle.step(time, &[]);
            if self.learnt {
                learnt.record(time, &sample.signals);
            } else {
                learnt.seq += 1;
            }
            if time >= from - LEAD_MS {
                lead.seq = learnt.seq - 1;
                lead.record(time, &sample.signals);
            }
            time += STEP_MS;
        }
        let runs = sizes.iter().map(|percent| {
            let (mut vehicle, mut recorder, mut time) = (vehicle.clone(), lead.clone(), time);
            let faults = percent.map(|percent| self.plan.clone().sized(percent));
            let faults = faults.as_ref().map_or(&[][..], |plan| plan.of_vehicle(index));
            while time < from + self.days * DAY_MS {
                recorder.record(time, &vehicle.step(time, faults).signals);
                time += STEP_MS;
            }
            recorder.recorded
        });
        let runs = runs.collect();
        (learnt.recorded, runs)
    }
}

/// Turns samples of one vehicle into readings.
#[derive(Clone)]
pub(crate) struct Recorder {
    id: VehicleId,
    layout: Arc<Layout>,
    pub(crate) recorded: Recorded,
    values: Values,
    seq: u64,
}

impl Recorder {
    pub(crate) fn new(index: u32, layout: Arc<Layout>) -> Self {
        let recorded = Recorded::new(Arc::clone(&layout));
        Self { id: vehicle_id(index), layout, recorded, values: Values::default(), seq: 0 }
    }

    pub(crate) fn record(&mut self, time: UnixMillis, signals: &telemetry::Signals) {
        self.seq += 1;
        self.layout.extract(signals, &mut self.values);
        let (at, numbers) = (&self.values.at[..], &self.values.numbers[..]);
        let reading = Reading { boot: 1, seq: self.seq, time, kind: Kind::Full, at, numbers };
        self.recorded.push_reading(&self.id, &reading);
    }
}
