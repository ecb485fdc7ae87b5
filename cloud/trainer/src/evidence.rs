//! What the held-out part of a calibration shows of the promised alarms: in so few hours, often nothing.

use detector::Card;
use evaluation::{Interval, rate_interval};
use serde_json::Value;

/// Where the budget itself promises fewer alarms than this, that none came is no sign that it is kept.
const LEAST_PROMISED: f64 = 1.0;

/// Alarms on what was held out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Evidence {
    alarms: u64,
    hours: f64,
    budget: f64,
    /// Alarms if the model had known none of the vehicles, and in how many hours; cards of older forms do not say.
    as_strangers: Option<(u64, f64)>,
    /// Whether limits for vehicles that no training saw come of networks that have not learnt from vehicles, as those of older
    /// cards do not; none of cards without such limits.
    cross_fitted: Option<bool>,
    /// Vehicles that were learnt from, and how many of them have no baseline of their own.
    vehicles: [u64; 2],
}

impl From<&Card> for Evidence {
    fn from(card: &Card) -> Self {
        let of = &card.calibration;
        Self {
            alarms: of.held_out_alarms,
            hours: of.held_out_hours,
            budget: of.budget_per_1000_h,
            as_strangers: Some((of.strangers.held_out_alarms, of.strangers.held_out_hours)),
            cross_fitted: Some(of.strangers.networks > 0),
            vehicles: [card.vehicles, card.vehicles.saturating_sub(card.baselines)],
        }
    }
}

impl Evidence {
    /// Of a card of any form; none where it does not say it.
    pub(crate) fn of_card(card: &Value) -> Option<Self> {
        let of = card.get("calibration")?;
        let (alarms, hours) = (of.get("held_out_alarms")?.as_u64()?, of.get("held_out_hours")?.as_f64()?);
        let number = |of: &Value, pointer: &str| of.pointer(pointer).and_then(Value::as_u64);
        let vehicles = number(card, "/vehicles").unwrap_or_default();
        let known = number(card, "/baselines").unwrap_or(vehicles);
        Some(Self {
            alarms,
            hours,
            budget: of.get("budget_per_1000_h")?.as_f64()?,
            as_strangers: number(of, "/strangers/held_out_alarms")
                .zip(of.pointer("/strangers/held_out_hours").and_then(Value::as_f64)),
            cross_fitted: of.get("strangers").map(|of| number(of, "/networks").unwrap_or_default() > 0),
            vehicles: [vehicles, vehicles.saturating_sub(known)],
        })
    }

    /// Alarms in 1,000 vehicle-hours, with what they may be (95 %).
    pub(crate) fn realised(&self) -> Option<Interval> {
        rate_interval(self.alarms, self.hours / 1_000.0)
    }

    /// Alarms that the budget allows for in the held-out hours.
    pub(crate) fn promised(&self) -> f64 {
        self.budget * self.hours / 1_000.0
    }

    /// Whether the hours are too few to show anything.
    pub(crate) fn is_thin(&self) -> bool {
        self.promised() < LEAST_PROMISED
    }

    /// For people, in one line.
    pub(crate) fn told(&self) -> String {
        let Self { alarms, hours, budget, as_strangers, .. } = self;
        let may_be = self.realised().map_or_else(String::new, |rate| {
            format!(": {:.0} to {:.0} in 1,000 h (95 %), {budget} promised", rate.low, rate.high)
        });
        let strangers = as_strangers.map_or_else(String::new, |(alarms, all)| {
            // Vehicles that came later have no baseline, and count only here.
            let within = if all > 1.01 * hours { format!(" in {} hours", short(all)) } else { String::new() };
            format!("; {alarms}{within} if all were strangers to it")
        });
        format!("{alarms} alarms in {} held-out vehicle-hours{may_be}{strangers}", short(*hours))
    }

    /// What to know beside the figures, for people.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        let [vehicles, unknown] = self.vehicles;
        let strangers = (unknown > 0).then(|| {
            format!(
                "{unknown} of {vehicles} vehicles have no baseline of their own: they are held against the fleet's, as \
                 vehicles are that no training saw, and less is found in them"
            )
        });
        let learnt_from = (self.cross_fitted == Some(false)).then(|| {
            "limits for vehicles that no training saw were set on vehicles that were learnt from: such vehicles may raise more \
             alarms than promised"
                .to_owned()
        });
        self.warning().into_iter().chain(strangers).chain(learnt_from)
    }

    /// Says that it shows nothing; none where it does.
    fn warning(&self) -> Option<String> {
        self.is_thin().then(|| {
            format!(
                "too few hours were held out to show that the budget is kept: it promises {} alarms in them; more vehicles \
                 or a longer range hold out more",
                short(self.promised())
            )
        })
    }
}

/// Two digits of what is small, one behind the point of the rest.
fn short(number: f64) -> String {
    match number {
        n if n >= 1.0 => format!("{n:.1}"),
        n if n >= 0.1 => format!("{n:.2}"),
        n => format!("{n:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn evidence(alarms: u64, hours: f64) -> Evidence {
        Evidence { alarms, hours, budget: 20.0, as_strangers: None, cross_fitted: None, vehicles: [9, 0] }
    }

    #[test]
    fn no_alarm_in_no_time_is_said_to_show_nothing() {
        let thin = evidence(0, 0.26);
        assert_eq!(thin.told(), "0 alarms in 0.26 held-out vehicle-hours: 0 to 14188 in 1,000 h (95 %), 20 promised");
        assert!(thin.warning().unwrap().contains("promises 0.0052 alarms"), "{:?}", thin.warning());
        let enough = evidence(1, 50.0);
        assert_eq!(enough.warnings().count(), 0);
        assert!(enough.told().starts_with("1 alarms in 50.0 "), "{}", enough.told());
    }

    #[test]
    fn a_card_of_another_form_says_nothing_and_an_older_one_less() {
        let calibration = json!({"held_out_alarms": 2, "held_out_hours": 10.0, "budget_per_1000_h": 20.0});
        let mut card = json!({"calibration": calibration});
        let old = Evidence::of_card(&card).unwrap();
        assert_eq!(old, Evidence { vehicles: [0, 0], ..evidence(2, 10.0) });
        assert!(!old.told().contains("strangers"));
        assert_eq!(Evidence::of_card(&Value::Null), None);
        assert_eq!(evidence(0, 0.0).realised(), None);
        card["calibration"]["strangers"] = json!({"held_out_alarms": 5, "held_out_hours": 10.0});
        card["vehicles"] = json!(5_000);
        card["baselines"] = json!(2_000);
        let new = Evidence::of_card(&card).unwrap();
        assert!(new.told().ends_with("; 5 if all were strangers to it"), "{}", new.told());
        card["calibration"]["strangers"]["held_out_hours"] = json!(12.0);
        assert!(Evidence::of_card(&card).unwrap().told().ends_with("; 5 in 12.0 hours if all were strangers to it"));
        let warned: Vec<String> = new.warnings().collect();
        assert!(warned.iter().any(|line| line.starts_with("3000 of 5000 vehicles have no baseline")), "{warned:?}");
        let of_learnt_from = |card: &Value| {
            Evidence::of_card(card)
                .unwrap()
                .warnings()
                .any(|line| line.starts_with("limits for vehicles that no training saw"))
        };
        assert!(of_learnt_from(&card), "older cards do not say, and it was so");
        card["calibration"]["strangers"]["networks"] = json!(3);
        assert!(!of_learnt_from(&card));
        assert_eq!(old.warnings().count(), 1, "nothing of strangers: {:?}", old.warnings().collect::<Vec<_>>());
    }
}
