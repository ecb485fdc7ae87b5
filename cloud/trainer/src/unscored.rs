//! Why a model scores none of the readings that it is shown.

use std::{collections::BTreeSet, time::Duration};

use detector::{Card, Error, History};
use evaluation::Scored;

/// Readings that a model has scored.
pub(crate) fn count(scored: &[Scored]) -> u64 {
    scored.iter().flat_map(|one| &one.scores).filter(|score| !score.is_nan()).count() as u64
}

/// The reason, for people; looked for only where nothing was scored.
///
/// # Errors
/// If history can't be read.
pub(crate) fn why(card: &Card, history: &dyn History) -> Result<String, Error> {
    let (learnt, shown) = (card.layout.step_ms, history.layout().step_ms());
    if learnt >= 2 * shown || shown >= 2 * learnt {
        let apart = |ms: i64| humantime::format_duration(Duration::from_millis(ms.unsigned_abs())).to_string();
        return Ok(format!("it was learnt at steps of {}, the readings come every {}", apart(learnt), apart(shown)));
    }
    let known = card.signals.len();
    let mut found: BTreeSet<u16> = BTreeSet::new();
    for vehicle in 0..history.vehicles().len() {
        history.read(vehicle, &mut |reading| {
            found.extend(reading.at);
            Ok(())
        })?;
    }
    let places = history.layout().places();
    let paths: BTreeSet<&str> = found.iter().map(|at| places[usize::from(*at)].path.as_str()).collect();
    let shared = card.signals.iter().filter(|signal| paths.contains(signal.path.as_str())).count();
    Ok(match shared {
        0 => format!("the readings hold none of the {known} signals that it knows"),
        _ => format!(
            "the readings hold {shared} of the {known} signals that it knows, too little to judge one of them by"
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use detector::{Kind, Layout, Options, Reading, Recorded, control};
    use telemetry::VehicleId;

    use super::*;

    /// Vehicles with three signals, or two others.
    fn history(paths: [&str; 3], step_ms: i64) -> Recorded {
        let layout = Layout::new(paths.iter().map(|path| (*path).to_owned()), step_ms).unwrap();
        let first = layout.len() as u16 - 3;
        let mut history = Recorded::new(Arc::new(layout));
        for vehicle in 0..6_u64 {
            let id = VehicleId::parse(&format!("v-{vehicle}")).unwrap();
            for seq in 1..=600_u64 {
                let draw = |n: u64| (((vehicle * 7_919 + seq * 31 + n * 101) as f64) * 0.618_033_988_749_895).fract();
                let numbers = [draw(1), draw(1) + 0.1 * draw(2), draw(3)].map(|value| value as f32);
                let (at, time) = ([first, first + 1, first + 2], 1_000_000 + seq as i64 * step_ms);
                let kind = telemetry::Kind::Full;
                history.push_reading(&id, &Reading { boot: 1, seq, time, kind, at: &at, numbers: &numbers });
            }
        }
        history
    }

    #[test]
    fn the_step_is_told_before_the_signals() {
        let options = Options { kind: Kind::RobustZ, ..Options::default() };
        let model = control::ungated(&history(["a", "b", "c"], 10_000), &options).unwrap();
        let why = |paths, step| super::why(model.card(), &history(paths, step)).unwrap();
        let slow = why(["a", "b", "c"], 3_600_000);
        assert_eq!(slow, "it was learnt at steps of 10s, the readings come every 1h");
        assert!(why(["x", "y", "z"], 10_000).contains("none of the 3 signals"));
        assert!(why(["x", "y", "c"], 10_000).contains("1 of the 3 signals"));
    }

    #[test]
    fn what_is_no_number_was_not_scored() {
        let one = |scores: &[f32]| Scored { times: vec![0; scores.len()], scores: scores.to_vec() };
        assert_eq!(count(&[one(&[0.5, f32::NAN]), one(&[f32::NAN])]), 1);
    }
}
