//! What a model must hold to be published at all.

use crate::{Card, Error};

/// At least half of the judged signals have this share of their variance explained.
const LEAST_EXPLAINED: f64 = 0.5;
/// A network expects better than no network by this much, in natural logarithms a signal.
const LEAST_GAIN: f64 = 0.2;

/// Refuses a model that does not hold what it promises, by what its card says of the readings that were held out.
///
/// # Errors
/// [`Error::Refused`], with the figures.
pub fn keeps_its_promise(card: &Card) -> Result<(), Error> {
    let calibration = &card.calibration;
    if card.uncalibrated {
        let text = "its weights are newer than its calibration: `motorcade models calibrate` measures it anew";
        return Err(Error::Refused(text.into()));
    }
    if calibration.held_out_hours == 0.0 {
        return Err(Error::Refused("too few readings to hold any out".into()));
    }
    if calibration.held_out_alarms > calibration.allowed_alarms {
        return Err(Error::Refused(format!(
            "{} alarms in {:.1} held-out vehicle-hours, {} allowed for a budget of {} per 1,000 h",
            calibration.held_out_alarms,
            calibration.held_out_hours,
            calibration.allowed_alarms,
            calibration.budget_per_1000_h
        )));
    }
    // Where most vehicles are judged as strangers are, it is them that the promise is about.
    let strangers = &calibration.strangers;
    if 2 * card.baselines < card.vehicles && strangers.held_out_alarms > strangers.allowed_alarms {
        return Err(Error::Refused(format!(
            "{} alarms in {:.1} held-out vehicle-hours of a fleet without baselines, {} allowed; {} of {} vehicles have one",
            strangers.held_out_alarms,
            strangers.held_out_hours,
            strangers.allowed_alarms,
            card.baselines,
            card.vehicles
        )));
    }
    if calibration.tail_blocks > calibration.allowed_tail_blocks {
        return Err(Error::Refused(format!(
            "scores grow after the limit was set: {} held-out blocks in its upper twentieth, {} allowed",
            calibration.tail_blocks, calibration.allowed_tail_blocks
        )));
    }
    if !card.detector.is_learnt() {
        return Ok(());
    }
    let judged = || card.signals.iter().filter(|signal| signal.judged);
    let explained = judged().filter(|signal| signal.explained >= LEAST_EXPLAINED).count();
    if 2 * explained < judged().count() {
        let text = format!("of {} signals only {explained} are explained to {LEAST_EXPLAINED}", judged().count());
        return Err(Error::Refused(text));
    }
    if calibration.held_out_loss > calibration.trivial_loss - LEAST_GAIN {
        let (loss, trivial) = (calibration.held_out_loss, calibration.trivial_loss);
        return Err(Error::Refused(format!("held-out loss {loss:.3}, {trivial:.3} without any network")));
    }
    Ok(())
}
