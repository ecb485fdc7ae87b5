//! The volume under the surface of precision, recall and tolerance (VUS-PR).
//!
//! Paparrizos et al., "Volume Under the Surface", VLDB 2022; with the conventions of TSB-AD (NeurIPS 2024), so that
//! figures compare: 250 thresholds at even ranks; around a run of wrong readings labels fall off with the square root of
//! the distance; recall is multiplied by the share of runs that were met at all, and counts faded labels only where
//! something was found.

use std::ops::RangeInclusive;

use crate::{Series, ordered};

/// Thresholds of a curve.
const THRESHOLDS: usize = 250;

/// VUS-PR of all series together, with tolerances of 0 to `most` readings in `steps` even steps. `None` where nothing is
/// wrong, everything is, or there is one reading at most.
pub fn vus_pr(series: &[Series<'_>], most: usize, steps: usize) -> Option<f64> {
    let mut scores: Vec<f32> = series.iter().flat_map(|one| one.scores).map(|score| ordered(*score)).collect();
    let wrong = series.iter().flat_map(|one| one.labels).filter(|label| **label).count();
    if wrong == 0 || wrong == scores.len() || scores.len() < 2 {
        return None;
    }
    scores.sort_unstable_by(|a, b| b.total_cmp(a));
    let thresholds: Vec<f32> = (0..THRESHOLDS).map(|n| scores[(scores.len() - 1) * n / (THRESHOLDS - 1)]).collect();
    // How many readings each threshold calls wrong: those that score as much or more.
    let called: Vec<usize> =
        thresholds.iter().map(|threshold| scores.partition_point(|score| score >= threshold)).collect();
    let firsts: Vec<Vec<u16>> = series.iter().map(|one| first_thresholds(one.scores, &thresholds)).collect();
    let areas = (0..=steps).map(|step| {
        let tolerance = (most * step).checked_div(steps).unwrap_or(most);
        area(series, &firsts, &called, wrong, tolerance)
    });
    Some(areas.sum::<f64>() / (steps + 1) as f64)
}

/// For each reading, the first threshold (they fall) that calls it wrong.
fn first_thresholds(scores: &[f32], thresholds: &[f32]) -> Vec<u16> {
    let first = |score: &f32| thresholds.partition_point(|threshold| *threshold > ordered(*score));
    // At most 250.
    scores.iter().map(|score| first(score) as u16).collect()
}

/// The area under the curve of one tolerance.
fn area(series: &[Series<'_>], firsts: &[Vec<u16>], called: &[usize], wrong: usize, tolerance: usize) -> f64 {
    // By threshold at which it comes in: found wrong readings, found faded labels, runs that are met.
    let (mut core, mut faded, mut met) = (vec![0.0; THRESHOLDS], vec![0.0; THRESHOLDS], vec![0.0; THRESHOLDS]);
    let mut runs = 0;
    for (one, firsts) in series.iter().zip(firsts) {
        let own = one.runs();
        for (at, label) in labels_around(&own, one.labels.len(), tolerance) {
            let first = usize::from(firsts[at]);
            if first < THRESHOLDS {
                if one.labels[at] { core[first] += 1.0 } else { faded[first] += label }
            }
        }
        for run in merged(&own, one.labels.len(), tolerance) {
            runs += 1;
            let first = firsts[run].iter().copied().min().map_or(THRESHOLDS, usize::from);
            if first < THRESHOLDS {
                met[first] += 1.0;
            }
        }
    }
    let (mut found_core, mut found_faded, mut found_runs) = (0.0, 0.0, 0.0);
    let (mut before, mut area) = (0.0, 0.0);
    for n in 0..THRESHOLDS {
        found_core += core[n];
        found_faded += faded[n];
        found_runs += met[n];
        let found = found_core + found_faded;
        let positives = wrong as f64 + found_faded / 2.0;
        let recall = (found / positives).min(1.0) * found_runs / f64::from(runs);
        area += (recall - before) * found / called[n] as f64;
        before = recall;
    }
    area
}

/// Labels above zero at a tolerance: 1 inside runs, then falling; each reading once.
fn labels_around(runs: &[RangeInclusive<usize>], length: usize, tolerance: usize) -> Vec<(usize, f64)> {
    let reach = tolerance / 2;
    let fade = |distance: usize| (1.0 - distance as f64 / tolerance as f64).sqrt();
    let mut labels = std::collections::BTreeMap::new();
    for run in runs {
        let (first, last) = (*run.start(), *run.end());
        for at in first.saturating_sub(reach)..(last + reach + 1).min(length) {
            let label = if at < first {
                fade(first - at)
            } else if at > last {
                fade(at - last)
            } else {
                1.0
            };
            let sum: &mut f64 = labels.entry(at).or_insert(0.0);
            *sum = (*sum + label).min(1.0);
        }
    }
    labels.into_iter().collect()
}

/// Runs with their tolerance; those that meet are one.
fn merged(runs: &[RangeInclusive<usize>], length: usize, tolerance: usize) -> Vec<RangeInclusive<usize>> {
    let reach = tolerance / 2;
    let mut merged: Vec<RangeInclusive<usize>> = Vec::new();
    for run in runs {
        let (first, last) = (run.start().saturating_sub(reach), (run.end() + reach).min(length - 1));
        match merged.last_mut() {
            Some(before) if first <= *before.end() => *before = *before.start()..=last,
            _ => merged.push(first..=last),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By definition, threshold by threshold, for one series.
    fn by_definition(scores: &[f32], labels: &[bool], most: usize) -> f64 {
        let one = Series { scores, labels };
        let runs = one.runs();
        let mut sorted = scores.to_vec();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        let wrong = labels.iter().filter(|label| **label).count() as f64;
        let mut volume = 0.0;
        for tolerance in 0..=most {
            let mut soft = vec![0.0; labels.len()];
            for (at, label) in labels_around(&runs, labels.len(), tolerance) {
                soft[at] = label;
            }
            let merged = merged(&runs, labels.len(), tolerance);
            let (mut before, mut area) = (0.0, 0.0);
            for n in 0..THRESHOLDS {
                let threshold = sorted[(sorted.len() - 1) * n / (THRESHOLDS - 1)];
                let called: Vec<bool> = scores.iter().map(|score| *score >= threshold).collect();
                let product = |at: usize| if called[at] { soft[at] } else { 0.0 };
                let found: f64 = (0..labels.len()).map(product).sum();
                let counted: f64 = (0..labels.len()).map(|at| if labels[at] { 1.0 } else { product(at) }).sum();
                let met = merged.iter().filter(|run| (**run).clone().any(|at| called[at])).count() as f64;
                let recall = (found / ((wrong + counted) / 2.0)).min(1.0) * met / merged.len() as f64;
                area += (recall - before) * found / called.iter().filter(|called| **called).count() as f64;
                before = recall;
            }
            volume += area;
        }
        volume / (most + 1) as f64
    }

    #[test]
    fn a_perfect_score_has_the_whole_volume_and_chance_little() {
        let labels: Vec<bool> = (0..400).map(|n| (100..140).contains(&n) || (300..320).contains(&n)).collect();
        let perfect: Vec<f32> = labels.iter().map(|label| f32::from(u8::from(*label))).collect();
        let exact = vus_pr(&[Series { scores: &perfect, labels: &labels }], 0, 0).unwrap();
        assert!((exact - 1.0).abs() < 1e-9, "{exact}");
        let chance: Vec<f32> = (0..400).map(|n| ((n * 7_919) % 400) as f32).collect();
        let volume = vus_pr(&[Series { scores: &chance, labels: &labels }], 20, 20).unwrap();
        assert!(volume < 0.35, "{volume}");
        assert!(vus_pr(&[Series { scores: &chance, labels: &vec![false; 400] }], 20, 20).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_is_what_its_definition_says(
            values in proptest::collection::vec((0_u16..40, proptest::bool::weighted(0.2)), 2..120), most in 0_usize..12,
        ) {
            let scores: Vec<f32> = values.iter().map(|(score, _)| f32::from(*score)).collect();
            let labels: Vec<bool> = values.iter().map(|(_, label)| *label).collect();
            let volume = vus_pr(&[Series { scores: &scores, labels: &labels }], most, most);
            let wrong = labels.iter().filter(|label| **label).count();
            prop_assert_eq!(volume.is_some(), wrong > 0 && wrong < labels.len());
            if let Some(volume) = volume {
                let expected = by_definition(&scores, &labels, most);
                prop_assert!((volume - expected).abs() < 1e-9, "{volume} instead of {expected}");
            }
        }
    }
}
