//! Whether a challenger takes the champion's place. Pure: figures in, a decision with its reason out.
//!
//! Both detectors are run over the same readings, which the challenger was not fitted on, and compared pair by pair:
//!
//! - **Without labels**, by the loss of each vehicle ([`detector::losses`]): the challenger wins if the paired t-interval
//!   (95 %, one-sided) of champion less challenger lies wholly above [`SEED_SPREAD`]. Differences within that are what
//!   another seed makes: a region of practical equivalence (Benavoli et al., JMLR 18, 2017).
//! - **With labels**, by the events that only one of them found at its promised budget: McNemar's exact test at 5 %
//!   (Dietterich, Neural Computation 10, 1998), and its VUS-PR must not be below the champion's.
//! - A champion that alarms more often than it may has to go, if the challenger keeps to the budget and is not shown to
//!   be worse: the readings have changed.
//!
//! A tie is the champion's: it is known.

use detector::SEED_SPREAD;
use evaluation::{Paired, more_found};
use serde::Serialize;

/// How a reason to keep a champion begins that has judged nothing.
pub(crate) const SILENT: &str = "the champion judged none of the held-out readings";
/// Chance may lead to a wrong promotion so often.
const CHANCE: f64 = 0.05;

/// Alarms on the held-out readings, and how many the budget and chance allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Alarms {
    pub(crate) count: u64,
    pub(crate) allowed: u64,
}

impl Alarms {
    fn holds(self) -> bool {
        self.count <= self.allowed
    }
}

/// What two detectors were compared by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Compared {
    /// Losses of vehicles, champion less challenger; none where too few vehicles have readings in both.
    Losses(Option<Paired>),
    /// Labelled events.
    Events {
        /// Events that only the challenger found.
        challenger_alone: u64,
        /// Events that only the champion found.
        champion_alone: u64,
        /// VUS-PR of challenger and champion.
        vus_pr: [Option<f64>; 2],
    },
}

/// Both on the same held-out readings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Contest {
    pub(crate) challenger: Alarms,
    pub(crate) champion: Alarms,
    pub(crate) compared: Compared,
}

/// Who holds the alias.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Champion {
    /// Nobody.
    None,
    /// The challenger itself.
    Same,
    /// One that does not load here, and why: nobody can score with it.
    Unusable(String),
    /// One that judged none of the readings, and why: nothing can be compared.
    Silent(String),
    /// Another, and how the two did.
    Rival(Contest),
}

/// What becomes of the alias, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    Promote(String),
    Keep(String),
}

/// Decides. The challenger has passed its own calibration; `force` is a person's reason to promote it whatever comes.
pub(crate) fn decide(champion: &Champion, force: Option<&str>) -> Decision {
    if let Some(reason) = force {
        return Decision::Promote(format!("forced: {reason}"));
    }
    match champion {
        Champion::None => Decision::Promote("the first to pass its calibration".into()),
        Champion::Same => Decision::Keep("it is the champion".into()),
        Champion::Unusable(why) => Decision::Promote(format!("the champion can't be used: {why}")),
        Champion::Silent(why) => Decision::Keep(format!("{SILENT}: {why}")),
        Champion::Rival(contest) => contest.decide(),
    }
}

impl Contest {
    fn decide(&self) -> Decision {
        let (told, better, worse) = self.compared.verdict();
        if !self.challenger.holds() {
            let Alarms { count, allowed } = self.challenger;
            return Decision::Keep(format!("{count} alarms in the held-out part, {allowed} allowed; {told}"));
        }
        if better {
            return Decision::Promote(told);
        }
        if !self.champion.holds() && !worse {
            let Alarms { count, allowed } = self.champion;
            return Decision::Promote(format!("the champion gave {count} alarms where {allowed} are allowed; {told}"));
        }
        Decision::Keep(told)
    }
}

impl Compared {
    /// In words, whether the challenger is shown to be better, and whether it is shown to be worse.
    fn verdict(&self) -> (String, bool, bool) {
        match self {
            Self::Losses(None) => ("too few vehicles to compare losses".into(), false, false),
            Self::Losses(Some(paired)) => {
                let Paired { pairs, mean, low, high } = paired;
                let told = format!(
                    "its loss is lower by {mean:.3} ({low:.3} to {high:.3}) over {pairs} vehicles, more than \
                     {SEED_SPREAD} is wanted"
                );
                // A comparison with NaN is neither.
                (told, *low > SEED_SPREAD, *high < -SEED_SPREAD)
            }
            Self::Events { challenger_alone, champion_alone, vus_pr: [challenger, champion] } => {
                let shown = |value: &Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
                let told = format!(
                    "{challenger_alone} events found by it alone, {champion_alone} by the champion alone, VUS-PR {} \
                     against {}",
                    shown(challenger),
                    shown(champion)
                );
                let behind = matches!((challenger, champion), (Some(own), Some(theirs)) if own < theirs);
                let better = more_found(*challenger_alone, *champion_alone) < CHANCE && !behind;
                (told, better, more_found(*champion_alone, *challenger_alone) < CHANCE)
            }
        }
    }
}

/// Of candidates from the simplest on, the first that the best is not shown to beat. `beats` says so of a candidate.
pub(crate) fn simplest(candidates: usize, best: usize, beats: impl Fn(usize) -> bool) -> usize {
    (0..candidates).find(|candidate| *candidate == best || !beats(*candidate)).unwrap_or(best)
}

/// Whether a lower loss is shown: by pairs, loss of the one less loss of the best.
pub(crate) fn loses_to_the_best(behind: Option<Paired>) -> bool {
    behind.is_some_and(|behind| behind.low > SEED_SPREAD)
}

#[cfg(test)]
mod tests {
    use evaluation::paired;

    use super::*;

    const FEW: Alarms = Alarms { count: 1, allowed: 4 };
    const MANY: Alarms = Alarms { count: 9, allowed: 4 };

    fn losses(differences: &[f64]) -> Compared {
        Compared::Losses(paired(differences))
    }

    fn decided(challenger: Alarms, champion: Alarms, compared: Compared) -> Decision {
        decide(&Champion::Rival(Contest { challenger, champion, compared }), None)
    }

    fn promoted(challenger: Alarms, champion: Alarms, compared: Compared) -> bool {
        matches!(decided(challenger, champion, compared), Decision::Promote(_))
    }

    #[test]
    fn the_first_and_whoever_follows_an_unusable_one_are_promoted() {
        assert!(matches!(decide(&Champion::None, None), Decision::Promote(_)));
        let unusable = decide(&Champion::Unusable("form 1".into()), None);
        assert!(matches!(unusable, Decision::Promote(why) if why.contains("form 1")));
        assert!(matches!(decide(&Champion::Same, None), Decision::Keep(_)));
        let silent = decide(&Champion::Silent("steps of 1h".into()), None);
        assert!(matches!(silent, Decision::Keep(why) if why.starts_with(SILENT) && why.ends_with("steps of 1h")));
    }

    #[test]
    fn a_clear_and_steady_gain_wins() {
        assert!(promoted(FEW, FEW, losses(&[0.3, 0.25, 0.35, 0.28, 0.31])));
    }

    #[test]
    fn negative_control_an_identical_model_is_not_promoted() {
        assert!(!promoted(FEW, FEW, losses(&[0.0; 40])));
    }

    #[test]
    fn a_gain_that_another_seed_would_make_is_none_however_sure_it_is() {
        assert!(!promoted(FEW, FEW, losses(&[0.015; 500])));
    }

    #[test]
    fn a_large_gain_on_some_vehicles_only_may_be_chance() {
        assert!(!promoted(FEW, FEW, losses(&[0.9, -0.5, 0.8, -0.7, 0.3])));
    }

    #[test]
    fn a_worse_one_is_not_promoted_even_if_the_champion_alarms_too_often() {
        assert!(!promoted(FEW, FEW, losses(&[-0.3, -0.25, -0.35])));
        assert!(!promoted(FEW, MANY, losses(&[-0.3, -0.25, -0.35])));
    }

    #[test]
    fn a_champion_that_breaks_its_promise_goes_to_an_equal() {
        assert!(promoted(FEW, MANY, losses(&[0.01, -0.01, 0.0])));
        assert!(promoted(FEW, MANY, Compared::Losses(None)));
        assert!(!promoted(MANY, MANY, losses(&[0.5, 0.5, 0.5])));
    }

    #[test]
    fn nothing_to_compare_by_is_no_reason() {
        assert!(!promoted(FEW, FEW, Compared::Losses(None)));
        let undefined = Paired { pairs: 3, mean: f64::NAN, low: f64::NAN, high: f64::NAN };
        assert!(!promoted(FEW, FEW, Compared::Losses(Some(undefined))));
    }

    #[test]
    fn events_decide_where_there_are_labels() {
        let events = |challenger_alone, champion_alone, vus_pr: [f64; 2]| Compared::Events {
            challenger_alone,
            champion_alone,
            vus_pr: vus_pr.map(Some),
        };
        assert!(promoted(FEW, FEW, events(8, 1, [0.5, 0.4])));
        assert!(!promoted(FEW, FEW, events(8, 1, [0.3, 0.4])), "it finds more and ranks worse");
        assert!(!promoted(FEW, FEW, events(3, 0, [0.5, 0.4])), "three are chance");
        assert!(!promoted(FEW, FEW, events(0, 0, [0.5, 0.4])), "negative control: the same events");
        assert!(promoted(FEW, MANY, events(0, 0, [0.5, 0.4])));
        assert!(!promoted(FEW, MANY, events(0, 9, [0.5, 0.4])));
    }

    #[test]
    fn a_person_may_overrule_and_says_why() {
        let contest = Contest { challenger: MANY, champion: FEW, compared: losses(&[-1.0, -1.0]) };
        let forced = decide(&Champion::Rival(contest), Some("ticket 12"));
        assert_eq!(forced, Decision::Promote("forced: ticket 12".into()));
    }

    #[test]
    fn every_decision_says_its_figures() {
        let Decision::Keep(why) = decided(FEW, FEW, losses(&[0.01, 0.02, 0.03])) else { panic!("promoted") };
        assert!(why.contains("0.020") && why.contains("3 vehicles"), "{why}");
    }

    #[test]
    fn the_simplest_that_the_best_does_not_beat_is_taken() {
        assert_eq!(simplest(4, 3, |candidate| candidate < 2), 2);
        assert_eq!(simplest(4, 3, |_| true), 3);
        assert_eq!(simplest(4, 0, |_| true), 0);
        assert!(loses_to_the_best(paired(&[0.3, 0.31, 0.29])) && !loses_to_the_best(paired(&[0.01; 9])));
        assert!(!loses_to_the_best(None));
    }
}
