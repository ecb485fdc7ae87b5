//! The limit that keeps to a budget of alarms.

/// So many alarms say where a limit lies; of fewer, the tail of their heights says the rest.
const ENOUGH: f64 = 10.0;
/// Halvings: far below the last bit of what matters.
const HALVINGS: u32 = 40;
/// The least that the heights of alarms are believed to spread, as a share of the limit.
const LEAST_SPREAD: f64 = 0.02;

/// How far the heights of alarms spread beyond a limit, as known from elsewhere: their mean, in the unit of the scores, and
/// how many heights that knowledge is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// So many heights would tell as much.
    pub worth: f64,
}

/// The largest score of a while of one vehicle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// The vehicle, by any number.
    pub vehicle: u32,
    /// When, ms since the epoch.
    pub time: i64,
    /// The score. NaN: not scored.
    pub score: f32,
}

/// The heights of the alarms at a limit, where alarms of a vehicle that are at most `merge_ms` apart count once. Peaks lie
/// together by vehicle, ascending by time.
pub fn heights(peaks: &[Peak], limit: f32, merge_ms: i64) -> Vec<f32> {
    let mut heights: Vec<f32> = Vec::new();
    let mut last: Option<(u32, i64)> = None;
    for peak in peaks.iter().filter(|peak| peak.score >= limit) {
        match (last, heights.last_mut()) {
            (Some((vehicle, time)), Some(height)) if vehicle == peak.vehicle && peak.time - time <= merge_ms => {
                *height = height.max(peak.score);
            }
            _ => heights.push(peak.score),
        }
        last = Some((peak.vehicle, peak.time));
    }
    heights
}

/// The limit at which peaks give so many alarms: the highest such limit, for where almost everything is above, alarms
/// merge and get fewer again. If no limit gives so many, the one that gives most. Where so many are too few to count,
/// heights are taken to fall off exponentially behind the ten highest alarms, which alone tell little of how fast: what is
/// `known` of that counts beside them. An alarm counts `weight` of one: 1, or ½ where each vehicle was judged twice, under
/// another number. `None` without any score.
pub fn limit_for(peaks: &[Peak], weight: f64, wanted: f64, merge_ms: i64, known: Option<Spread>) -> Option<f32> {
    let mut scores: Vec<f32> = peaks.iter().map(|peak| peak.score).filter(|score| score.is_finite()).collect();
    scores.sort_unstable_by(|a, b| b.total_cmp(a));
    let mut high = scores.first()?.next_up();
    let counted = wanted.max(ENOUGH);
    let count = |limit: f32| heights(peaks, limit, merge_ms).len() as f64 * weight;
    // Twice as many peaks each time, until these are too many alarms.
    let ranks = std::iter::successors(Some(1_usize), |rank| Some(rank * 2)).take_while(|rank| *rank < scores.len());
    let (mut low, mut most) = (None, 0.0);
    for rank in ranks {
        let found = count(scores[rank]);
        if found > counted {
            low = Some(scores[rank]);
            break;
        }
        if found > most {
            (high, most) = (scores[rank], found);
        }
    }
    if let Some(mut low) = low {
        for _ in 0..HALVINGS {
            let middle = f32::midpoint(low, high);
            if count(middle) > counted { low = middle } else { high = middle }
        }
    }
    let above = heights(peaks, high, merge_ms);
    if above.is_empty() || wanted >= ENOUGH {
        return Some(high);
    }
    let spread = scale(above.iter().map(|height| f64::from(height - high)).collect(), weight, known);
    let spread = spread.max(LEAST_SPREAD * f64::from(high.abs()));
    Some(high + (spread * (above.len() as f64 * weight / wanted.max(1e-6)).ln().max(0.0)) as f32)
}

/// Scale of an exponential distribution from values of which the largest fifth counts only as not smaller than the one
/// before it (Epstein and Sobel, 1953): one vehicle that really is unwell does not lift the limit of all. With what is known
/// it is the mean under a conjugate prior of this mean and weight, but for one value of weight. A value has this `weight`.
fn scale(mut values: Vec<f64>, weight: f64, known: Option<Spread>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let counted = (values.len() * 4).div_ceil(5);
    let Some(last) = counted.checked_sub(1).and_then(|at| values.get(at)) else { return 0.0 };
    let sum: f64 = values[..counted].iter().sum::<f64>() + last * (values.len() - counted) as f64;
    let Spread { mean, worth } = known.unwrap_or(Spread { mean: 0.0, worth: 0.0 });
    (sum * weight + mean * worth) / (counted as f64 * weight + worth)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peaks(of: &[(u32, i64, f32)]) -> Vec<Peak> {
        of.iter().map(|(vehicle, time, score)| Peak { vehicle: *vehicle, time: *time, score: *score }).collect()
    }

    #[test]
    fn alarms_close_together_count_once_per_vehicle() {
        let peaks = peaks(&[(0, 0, 3.0), (0, 10, 5.0), (0, 50, f32::NAN), (0, 100, 3.0), (1, 100, 4.0), (1, 105, 1.0)]);
        assert_eq!(heights(&peaks, 2.0, 20), [5.0, 3.0, 4.0]);
        assert_eq!(heights(&peaks, 2.0, 95), [5.0, 4.0]);
    }

    #[test]
    fn the_limit_gives_the_wanted_number_and_reaches_beyond_what_was_seen() {
        // Heights of an exponential distribution with a mean of 0.5, each an alarm of its own.
        let of = |n: u32| (n, 0, -0.5 * ((n as f32 + 0.5) / 2_000.0).ln());
        let peaks = peaks(&(0..2_000).map(of).collect::<Vec<_>>());
        let level = limit_for(&peaks, 1.0, 50.0, 0, None).unwrap();
        assert_eq!(heights(&peaks, level, 0).len(), 50);
        let beyond = limit_for(&peaks, 1.0, 0.1, 0, None).unwrap();
        let exact = 0.5 * 20_000_f32.ln();
        assert!((beyond - exact).abs() < 0.7, "{beyond} for {exact}");
        // Ten heights of which the last eight are told apart, against knowledge that is worth as much: halfway.
        let known = |worth| limit_for(&peaks, 1.0, 0.1, 0, Some(Spread { mean: 0.9, worth })).unwrap();
        let highest = limit_for(&peaks, 1.0, 10.0, 0, None).unwrap();
        assert!((known(0.0) - beyond).abs() < 1e-5, "{} for {beyond}", known(0.0));
        assert!((known(1e9) - highest - 0.9 * 100_f32.ln()).abs() < 1e-3, "{} above {highest}", known(1e9));
        assert!((known(8.0) - f32::midpoint(known(0.0), known(1e9))).abs() < 1e-3, "{}", known(8.0));
        // Where alarms can be counted, it changes nothing.
        assert_eq!(limit_for(&peaks, 1.0, 50.0, 0, Some(Spread { mean: 9.0, worth: 1e3 })), Some(level));
        // One of them a hundred times as high: the limit is the same.
        let outlier =
            peaks.iter().map(|peak| Peak { score: if peak.vehicle == 0 { 400.0 } else { peak.score }, ..*peak });
        assert_eq!(limit_for(&outlier.collect::<Vec<_>>(), 1.0, 0.1, 0, None), Some(beyond));
        assert_eq!(limit_for(&[], 1.0, 1.0, 0, None), None);
        // Judged twice, with the same result: the same limits.
        let again = peaks.iter().map(|peak| Peak { vehicle: peak.vehicle + 2_000, ..*peak });
        let twice: Vec<Peak> = peaks.iter().copied().chain(again).collect();
        let of_twice = |wanted, known| limit_for(&twice, 0.5, wanted, 0, known).unwrap();
        assert_eq!(of_twice(50.0, None), level);
        let spread = Spread { mean: 0.9, worth: 8.0 };
        assert!((of_twice(0.1, Some(spread)) - known(8.0)).abs() < 1e-3, "{}", of_twice(0.1, Some(spread)));
        // One vehicle, always at work: below some limit all is one alarm.
        let one: Vec<Peak> = (0..1_000).map(|n| Peak { vehicle: 0, time: n, score: (n % 100) as f32 }).collect();
        let most = limit_for(&one, 1.0, 500.0, 5, None).unwrap();
        assert_eq!(heights(&one, most, 5).len(), 10, "limit {most}");
    }
}
