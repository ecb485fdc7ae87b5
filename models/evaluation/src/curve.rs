//! The area under the curve of precision over recall.

use crate::{Series, ordered};

/// Average precision over all readings: the mean of the precisions at the ranks of the wrong ones; readings of one score
/// are taken at once. `None` where all readings are wrong, or none is.
pub fn average_precision(series: &[Series<'_>]) -> Option<f64> {
    let mut ranked: Vec<(f32, bool)> = series
        .iter()
        .flat_map(|one| one.scores.iter().map(|score| ordered(*score)).zip(one.labels.iter().copied()))
        .collect();
    ranked.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let wrong = ranked.iter().filter(|(_, label)| *label).count();
    if wrong == 0 || wrong == ranked.len() {
        return None;
    }
    let (mut found, mut seen, mut area) = (0_usize, 0_usize, 0.0);
    for tied in ranked.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let more = tied.iter().filter(|(_, label)| *label).count();
        found += more;
        seen += tied.len();
        area += more as f64 * found as f64 / seen as f64;
    }
    Some(area / wrong as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(scores: &[f32], labels: &[bool]) -> Option<f64> {
        average_precision(&[Series { scores, labels }])
    }

    #[test]
    fn known_rankings_have_their_known_areas() {
        let labels = [true, false, true, false];
        assert_eq!(of(&[4.0, 3.0, 2.0, 1.0], &labels), Some((1.0 + 2.0 / 3.0) / 2.0));
        assert_eq!(of(&[4.0, 1.0, 3.0, 2.0], &labels), Some(1.0));
        // All alike: as good as chance.
        assert_eq!(of(&[1.0; 4], &labels), Some(0.5));
        // What is not scored is ranked last.
        assert_eq!(of(&[f32::NAN, 1.0, 2.0, 0.0], &labels), Some((1.0 + 0.5) / 2.0));
        assert_eq!(of(&[1.0, 2.0], &[false, false]), None);
        assert_eq!(of(&[1.0, 2.0], &[true, true]), None);
    }

    #[test]
    fn several_series_are_one_ranking() {
        let split = [
            Series { scores: &[4.0, 3.0], labels: &[true, false] },
            Series { scores: &[2.0, 1.0], labels: &[true, false] },
        ];
        assert_eq!(average_precision(&split), of(&[4.0, 3.0, 2.0, 1.0], &[true, false, true, false]));
    }
}
