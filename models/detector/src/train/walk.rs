//! Going through a vehicle's history: its readings through window and network, and from there through a track.

use std::sync::Arc;

use telemetry::UnixMillis;

use super::cross::Networks;
use crate::{
    Error, History, Track, Window,
    baseline::Baseline,
    network::BATCH,
    residual::Residual,
    scaler::Scaler,
    track::{self, Raw},
    window::Query,
};

/// Vehicles whose tracks are carried from one look to the next, each of some 8 KB for a network; those of more are warmed up
/// anew.
const CARRIED: usize = 8_192;

/// Tracks of a vehicle where a look at its history ended, as bytes: what the network made of it, and what the one did that
/// has not learnt from it. The next look goes on from there.
pub(super) type Carried = Option<[Box<[u8]>; 2]>;

/// Tracks of a vehicle at the end of a look; none where time was not `in_order`, for then a look's end parts its readings
/// otherwise than the window does.
pub(super) fn carried(vehicle: usize, in_order: bool, walks: [&Walk; 2]) -> Carried {
    (in_order && vehicle < CARRIED).then(|| walks.map(|walk| walk.track.to_bytes().into_boxed_slice()))
}

/// Readings of a vehicle from `from` on, as the network sees them and as the one does that has not learnt from it, where
/// there is one. Unless tracks were carried that far, those before are shown too, over the horizon of a track, so that no
/// track begins cold; readings from `to` on are left out. Whether time never went back.
pub(super) fn look_through(
    history: &dyn History,
    vehicle: usize,
    (scaler, networks): (&Scaler, &Networks),
    (from, to, are_carried): (UnixMillis, UnixMillis, bool),
    visit: &mut dyn FnMut(&Query, &Residual, Option<&Residual>),
) -> Result<bool, Error> {
    let layout = history.layout();
    let (mut in_order, mut latest) = (true, UnixMillis::MIN);
    let warm = if are_carried { from } else { from.saturating_sub(track::HORIZON * layout.step_ms()) };
    let mut window = Window::new(Arc::clone(layout));
    let mut waiting: Vec<Query> = Vec::with_capacity(BATCH);
    let mut flush = |waiting: &mut Vec<Query>| {
        let (residuals, others) = networks.look(scaler, vehicle, &waiting.iter().collect::<Vec<_>>())?;
        for (at, (query, residual)) in waiting.iter().zip(&residuals).enumerate() {
            visit(query, residual, others.as_ref().map(|others| &others[at]));
        }
        waiting.clear();
        Ok::<_, Error>(())
    };
    history.read(vehicle, &mut |reading| {
        in_order &= reading.time >= latest;
        latest = latest.max(reading.time);
        if reading.time >= to {
            return Ok(());
        }
        if let Some(query) = window.advance(reading).filter(|query| query.time() >= warm) {
            waiting.push(query);
        }
        if waiting.len() == BATCH { flush(&mut waiting) } else { Ok(()) }
    })?;
    flush(&mut waiting)?;
    Ok(in_order)
}

/// A vehicle's track through what is shown of its history.
pub(super) struct Walk {
    step_ms: i64,
    from: UnixMillis,
    track: Track,
    raw: Vec<Raw>,
}

impl Walk {
    /// Statistics are told of readings from `from` on; those before warm up the track, unless it was carried that far.
    pub(super) fn new(step_ms: i64, from: UnixMillis, carried: Option<&[u8]>) -> Result<Self, Error> {
        let track = carried.map_or_else(|| Ok(Track::new()), Track::from_bytes)?;
        Ok(Self { step_ms, from, track, raw: Vec::new() })
    }

    /// Takes the next reading; its statistics, in the order of the residual.
    pub(super) fn follow(&mut self, baselines: &[Baseline], query: &Query, residual: &Residual) -> Option<&[Raw]> {
        self.track.advance((1, self.step_ms), baselines, (query, residual), &mut self.raw);
        (query.time() >= self.from).then_some(&self.raw[..])
    }
}

#[cfg(test)]
mod tests {
    use telemetry::{Kind as RecordKind, Record, Signals, Value, VehicleId, signal};

    use super::*;
    use crate::{Kind, Layout, Recorded, network::Weights};

    const STEP: i64 = 10_000;
    const START: UnixMillis = 1_763_700_000_000;
    const MIDDLE: u64 = track::HORIZON as u64 + 1_234;
    const GONE_UNTIL: u64 = track::HORIZON as u64 + 2_500;
    const SIGNALS: [signal::Number; 2] = [signal::LOW_VOLTAGE, signal::BATTERY_VOLTAGE];

    /// A vehicle's readings over twice the horizon of a track, with gaps in the beginning and at the end. The second signal is
    /// seldom there, and for longer than the horizon not at all. The clock is off by so much before the middle.
    fn history(off: i64) -> Recorded {
        let mut history = Recorded::new(Arc::new(Layout::default()));
        let is_there = |seq: u64| seq % 701 > 20 || (800..20_000).contains(&seq);
        for seq in (1..=2 * track::HORIZON as u64 + 3_000).filter(|seq| is_there(*seq)) {
            let mut signals = Signals::new();
            let wave = (seq as f64 * 0.618_033_988_749_895).fract();
            signals.insert(SIGNALS[0], Value::Number(11.0 + 3.0 * wave)).unwrap();
            if seq % 300 < 40 && !(1_100..GONE_UNTIL).contains(&seq) {
                signals.insert(SIGNALS[1], Value::Number(350.0 + 20.0 * wave)).unwrap();
            }
            let time = START + seq as i64 * STEP + if seq < MIDDLE { off } else { 0 };
            let vehicle = VehicleId::parse("veh-1").unwrap();
            let record =
                Record { schema: 1, vehicle, boot: 1, seq, time, kind: RecordKind::Full, signals, position: None };
            history.push(&record, time);
        }
        history
    }

    #[test]
    fn a_track_that_is_carried_on_says_what_one_does_that_was_warmed_up() {
        let history = [0, 5 * STEP].map(history);
        let layout = Arc::clone(history[0].layout());
        let inputs = SIGNALS.map(|number| layout.of_number(number).unwrap()).to_vec();
        let scaler = Scaler::of(layout.len(), inputs, (vec![12.5, 360.0], vec![1.0, 8.0]), crate::window::FEATURES);
        let weights = |spread: f32| Weights::from([("log_spread".to_owned(), (vec![2, 2], vec![spread; 4]))]);
        let networks = Networks::of(Kind::RobustZ, 2, (&weights(0.5), &[weights(1.0), weights(1.0), weights(1.0)]));
        let networks = networks.unwrap();
        let mut apart = Baseline::PLAIN;
        apart.center = [1.5, -1.0];
        // Where the walks of both networks stand at the end, and what they said, bit for bit.
        let walk_of = |history: &Recorded, (from, to), before: &Carried, baseline: Baseline| {
            let walk = |at: usize| Walk::new(STEP, from, before.as_ref().map(|tracks| &tracks[at][..])).unwrap();
            let (mut walks, mut said) = ([walk(0), walk(1)], Vec::new());
            let (baselines, span) = ([baseline; 2], (from, to, before.is_some()));
            let in_order = look_through(history, 0, (&scaler, &networks), span, &mut |query, residual, other| {
                for (walk, residual) in walks.iter_mut().zip([residual, other.unwrap()]) {
                    let raw = walk.follow(&baselines, query, residual);
                    said.extend(raw.map(|raw| format!("{} {raw:?}", query.time())));
                }
            })
            .unwrap();
            (carried(0, in_order, walks.each_ref()), said)
        };
        let walk = |span, before: &Carried, baseline| walk_of(&history[0], span, before, baseline);
        let middle = START + MIDDLE as i64 * STEP;
        let (before, first) = walk((UnixMillis::MIN, middle), &None, Baseline::PLAIN);
        let (_, on) = walk((middle, UnixMillis::MAX), &before, apart);
        let (_, anew) = walk((middle, UnixMillis::MAX), &None, apart);
        assert!(first.len() > 10_000 && on.len() > 3_000, "{} and {}", first.len(), on.len());
        assert!(on.iter().any(|said| !said.contains("cusum: NaN")), "{:?}", on.last());
        assert!(on == anew);
        // What is held against other baselines says something else.
        let (_, otherwise) = walk((middle, UnixMillis::MAX), &before, Baseline::PLAIN);
        assert!(on != otherwise && on.len() == otherwise.len());
        // A clock that was set back across the end of a look.
        assert_eq!(walk_of(&history[1], (UnixMillis::MIN, middle), &None, Baseline::PLAIN).0, None);
        assert_eq!(carried(CARRIED, true, [&Walk::new(STEP, 0, None).unwrap(); 2]), None);
    }
}
