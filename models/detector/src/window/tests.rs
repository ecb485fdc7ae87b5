//! What a window holds, forgets and survives.

use std::sync::Arc;

use proptest::prelude::*;
use telemetry::Kind;

use super::{CARRY, COARSE, FEATURES, FINE, HORIZON, Query, Reading, VALUES, Window};
use crate::layout::Layout;

const STEP: i64 = 1_000;
const START: i64 = 1_763_700_000_000;

fn layout() -> Arc<Layout> {
    Arc::new(Layout::new(std::iter::empty(), STEP).unwrap())
}

/// A reading of three signals.
#[derive(Debug, Clone)]
struct Given {
    boot: u32,
    seq: u64,
    time: i64,
    kind: Kind,
    at: Vec<u16>,
    numbers: Vec<f32>,
}

impl Given {
    fn full(seq: u64, numbers: [f32; 3]) -> Self {
        let time = START + seq as i64 * STEP;
        Self { boot: 1, seq, time, kind: Kind::Full, at: vec![0, 1, 2], numbers: numbers.to_vec() }
    }

    fn go(&self, window: &mut Window) -> Option<Query> {
        let Self { boot, seq, time, kind, at, numbers } = self;
        window.advance(&Reading { boot: *boot, seq: *seq, time: *time, kind: *kind, at, numbers })
    }
}

fn features(query: &Query, at: u16) -> &[f32] {
    &query.signals.iter().find(|signal| signal.at == at).unwrap().features
}

fn value(query: &Query, at: u16) -> Option<f32> {
    query.signals.iter().find(|signal| signal.at == at).map(|signal| signal.features[0])
}

fn places(query: &Query) -> Vec<u16> {
    query.signals.iter().map(|signal| signal.at).collect()
}

#[test]
fn a_query_holds_the_last_values_and_means_over_growing_times() {
    let mut window = Window::new(layout());
    let mut last = None;
    for seq in 1..=2 * HORIZON as u64 {
        last = Given::full(seq, [seq as f32, 7.0, -1.0]).go(&mut window);
    }
    let query = last.unwrap();
    assert_eq!(places(&query), [0, 1, 2]);
    let newest = 2.0 * HORIZON as f32;
    let found = features(&query, 0);
    assert_eq!(&found[..VALUES], [newest, newest - 1.0, newest - 2.0, newest - 3.0]);
    assert_eq!(found[VALUES], newest - 2.5, "the last six");
    // Means over about 30, 180 and 720 steps, of which the current block is only begun.
    for (mean, [least, most]) in found[VALUES + 1..].iter().zip([[24.0, 30.0], [120.0, 180.0], [660.0, 720.0]]) {
        let age = newest - mean;
        assert!((least / 2.0 - 1.0..=most / 2.0).contains(&age), "{age} is not between {least} and {most} halved");
    }
    assert_eq!(features(&query, 1)[VALUES..], [7.0; FEATURES - VALUES]);
}

#[test]
fn after_a_gap_the_values_before_it_are_no_past_but_still_in_the_means() {
    let mut window = Window::new(layout());
    for seq in 1..=20 {
        Given::full(seq, [10.0, 0.0, 0.0]).go(&mut window);
    }
    let after = Given { time: START + 30 * STEP, ..Given::full(21, [20.0, 0.0, 0.0]) };
    let query = after.go(&mut window).unwrap();
    let found = features(&query, 0);
    assert!(found[1..VALUES].iter().all(|value| value.is_nan()));
    assert_eq!(found[VALUES], 20.0);
    assert!(found[VALUES + 2] < 11.0, "{found:?}");
}

#[test]
fn a_change_carries_what_it_leaves_out_and_not_for_ever() {
    let mut window = Window::new(layout());
    Given::full(1, [1.0, 2.0, 3.0]).go(&mut window);
    let change = |seq: u64| Given { kind: Kind::Change, at: vec![0], numbers: vec![5.0], ..Given::full(seq, [0.0; 3]) };
    let query = change(2).go(&mut window).unwrap();
    assert_eq!((value(&query, 0), value(&query, 1)), (Some(5.0), Some(2.0)));
    for seq in 3..=1 + u64::from(CARRY) {
        assert_eq!(value(&change(seq).go(&mut window).unwrap(), 1), Some(2.0), "seq {seq}");
    }
    assert_eq!(value(&change(2 + u64::from(CARRY)).go(&mut window).unwrap(), 1), None);
    // A hole: what was missed may have said otherwise.
    Given::full(100, [1.0, 2.0, 3.0]).go(&mut window);
    assert_eq!(value(&change(102).go(&mut window).unwrap(), 1), None);
}

#[test]
fn a_value_that_stands_still_is_counted_only_while_others_move() {
    let mut window = Window::new(layout());
    let mut run = 0;
    for seq in 1..=200 {
        let moving = if seq > 100 { seq as f32 } else { 1.0 };
        let query = Given::full(seq, [moving, 42.0, 1.0]).go(&mut window).unwrap();
        run = query.signals[1].run;
        assert_eq!(query.signals[0].run, 0);
    }
    assert_eq!(run, 100);
    // A parked vehicle adds nothing, and after the horizon all is forgotten.
    for seq in 201..=201 + HORIZON as u64 {
        run = Given::full(seq, [1.0, 42.0, 1.0]).go(&mut window).unwrap().signals[1].run;
    }
    assert_eq!(run, 0);
}

#[test]
fn not_a_number_is_not_known_and_nothing_known_is_no_query() {
    let mut window = Window::new(layout());
    let query = Given::full(1, [f32::NAN, f32::INFINITY, 3.0]).go(&mut window).unwrap();
    assert_eq!(places(&query), [2]);
    assert_eq!(Given::full(2, [f32::NAN; 3]).go(&mut window), None);
    let beyond = Given { at: vec![u16::MAX], numbers: vec![1.0], ..Given::full(3, [0.0; 3]) };
    assert_eq!(beyond.go(&mut window), None);
}

#[test]
fn a_clock_set_back_far_starts_anew_and_a_little_does_not() {
    let mut window = Window::new(layout());
    for seq in 1..=100 {
        Given::full(seq, [1.0, 1.0, 1.0]).go(&mut window);
    }
    let back = |steps: i64| Given { time: START + (100 - steps) * STEP, ..Given::full(101, [9.0, 9.0, 9.0]) };
    let mut little = window.clone();
    let query = back(COARSE / 2).go(&mut little).unwrap();
    assert_eq!(query.time(), START + 100 * STEP, "time does not go back");
    assert!(features(&query, 0)[FEATURES - 1] < 2.0);
    let query = back(COARSE + 1).go(&mut window).unwrap();
    assert_eq!(features(&query, 0)[FEATURES - 1], 9.0);
}

#[test]
fn a_signal_that_comes_late_leaves_the_others_as_they_are() {
    let (mut without, mut with) = (Window::new(layout()), Window::new(layout()));
    let only = |seq: u64, at: &[u16]| {
        let numbers = at.iter().map(|at| (seq * (u64::from(*at) + 3) % 17) as f32).collect();
        Given { at: at.to_vec(), numbers, ..Given::full(seq, [0.0; 3]) }
    };
    for seq in 1..=3 * COARSE as u64 {
        // The new one comes between those that are known, before them, and in another order; a place that is none, never.
        let at: &[u16] = match seq {
            ..100 => &[4, 9],
            100..120 => &[4, 7, 9],
            120..140 => &[9, 2, 7, 4, 9_999],
            _ => &[4, 9],
        };
        let (plain, query) = (only(seq, &[4, 9]).go(&mut without).unwrap(), only(seq, at).go(&mut with).unwrap());
        let bits = |query: &Query, at| features(query, at).iter().map(|number| number.to_bits()).collect::<Vec<_>>();
        assert!([4, 9].into_iter().all(|at| bits(&query, at) == bits(&plain, at)), "{seq}");
        let mut named: Vec<u16> = at.iter().copied().filter(|at| *at < 9_999).collect();
        named.sort_unstable();
        assert_eq!(places(&query), named);
        assert_eq!(value(&query, 7), (100..140).contains(&seq).then(|| (seq * 10 % 17) as f32));
        assert!(seq != 100 || features(&query, 7)[1].is_nan(), "it has no past");
    }
    assert_eq!(without.channels.len(), 2, "what a vehicle never shows takes no room");
}

#[test]
fn a_window_of_another_layout_begins_anew_and_broken_bytes_are_refused() {
    let mut window = Window::new(layout());
    Given::full(1, [1.0, 2.0, 3.0]).go(&mut window);
    let bytes = window.to_bytes();
    assert_eq!(Window::layout_id(&bytes).unwrap(), layout().id());
    let other = Arc::new(Layout::new(["x".into()], STEP).unwrap());
    assert_eq!(Window::from_bytes(other, &bytes).unwrap().last(), None);
    for end in [0, 1, 10, bytes.len() - 1] {
        assert!(Window::from_bytes(layout(), &bytes[..end]).is_err(), "{end}");
    }
}

/// Readings with gaps, holes, changes, new boots and clocks that wander.
fn readings() -> impl Strategy<Value = Vec<Given>> {
    let one = (0_u8..100, 0_u8..100, prop::collection::vec(-3.0_f32..3.0, 3), 0_u8..100);
    prop::collection::vec(one, 30..120).prop_map(|steps| {
        let (mut boot, mut seq, mut time) = (1, 0, START);
        let make = |(gap, hole, numbers, kind): (u8, u8, Vec<f32>, u8)| {
            time += match gap {
                0..80 => STEP,
                80..90 => 3 * STEP / 2,
                90..95 => -4 * STEP,
                95..98 => 40 * STEP,
                _ => COARSE * STEP,
            };
            seq += if hole < 95 { 1 } else { 3 };
            if hole >= 98 {
                (boot, seq) = (boot + 1, 1);
            }
            let (kind, at) = match kind {
                0..60 => (Kind::Full, vec![0, 1, 2]),
                60..95 => (Kind::Change, vec![1]),
                _ => (Kind::Change, vec![5, 1]),
            };
            // Few values, so that some stand still.
            let numbers = numbers.into_iter().map(f32::round).take(at.len()).collect();
            Given { boot, seq, time, kind, at, numbers }
        };
        steps.into_iter().map(make).collect()
    })
}

proptest! {
    #[test]
    fn a_window_restored_from_bytes_goes_on_the_same(readings in readings(), cut in 0_usize..120) {
        let (mut whole, mut part) = (Window::new(layout()), Window::new(layout()));
        for (at, reading) in readings.iter().enumerate() {
            if at == cut {
                part = Window::from_bytes(layout(), &part.to_bytes()).unwrap();
            }
            prop_assert_eq!(format!("{:?}", reading.go(&mut whole)), format!("{:?}", reading.go(&mut part)));
            prop_assert_eq!(whole.to_bytes(), part.to_bytes());
        }
    }

    /// The promise behind `scores verify`: what is older has no part.
    #[test]
    fn what_is_older_than_the_horizon_has_no_part(before in readings(), readings in readings()) {
        let mut whole = Window::new(layout());
        for reading in &before {
            reading.go(&mut whole);
        }
        // A lead-in of the horizon, at a steady pace, and the records that may be carried from.
        let offset = before.last().unwrap().time - START + 100 * STEP;
        let lead = (1..=HORIZON as u64 + FINE as u64 + u64::from(CARRY)).map(|seq| {
            let given = Given::full(seq, [(seq % 5) as f32, (seq % 3) as f32, 1.0]);
            Given { boot: 1_000, time: given.time + offset, ..given }
        });
        let mut part = Window::new(layout());
        let lead: Vec<Given> = lead.collect();
        for reading in &lead {
            reading.go(&mut whole);
            reading.go(&mut part);
        }
        let offset = lead.last().unwrap().time - START;
        for reading in readings {
            let reading = Given { boot: reading.boot + 2_000, time: reading.time + offset, ..reading };
            prop_assert_eq!(format!("{:?}", reading.go(&mut whole)), format!("{:?}", reading.go(&mut part)));
        }
        prop_assert_eq!(whole.to_bytes(), part.to_bytes());
    }
}
