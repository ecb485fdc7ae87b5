//! What the held-out part of a calibration shows of the promised alarms: in so few hours, often nothing.

use detector::card::Calibration;
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
}

impl From<&Calibration> for Evidence {
    fn from(of: &Calibration) -> Self {
        Self { alarms: of.held_out_alarms, hours: of.held_out_hours, budget: of.budget_per_1000_h }
    }
}

impl Evidence {
    /// Of a card of any form; none where it does not say it.
    pub(crate) fn of_card(card: &Value) -> Option<Self> {
        let of = card.get("calibration")?;
        let (alarms, hours) = (of.get("held_out_alarms")?.as_u64()?, of.get("held_out_hours")?.as_f64()?);
        Some(Self { alarms, hours, budget: of.get("budget_per_1000_h")?.as_f64()? })
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
        let Self { alarms, hours, budget } = self;
        let may_be = self.realised().map_or_else(String::new, |rate| {
            format!(": {:.0} to {:.0} in 1,000 h (95 %), {budget} promised", rate.low, rate.high)
        });
        format!("{alarms} alarms in {} held-out vehicle-hours{may_be}", short(*hours))
    }

    /// Says that it shows nothing; none where it does.
    pub(crate) fn warning(&self) -> Option<String> {
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

    #[test]
    fn no_alarm_in_no_time_is_said_to_show_nothing() {
        let calibration = Calibration { budget_per_1000_h: 20.0, held_out_hours: 0.26, ..Calibration::default() };
        let thin = Evidence::from(&calibration);
        assert_eq!(thin.told(), "0 alarms in 0.26 held-out vehicle-hours: 0 to 14188 in 1,000 h (95 %), 20 promised");
        assert!(thin.warning().unwrap().contains("promises 0.0052 alarms"), "{:?}", thin.warning());
        let enough = Evidence { hours: 50.0, alarms: 1, ..thin };
        assert_eq!(enough.warning(), None);
        assert!(enough.told().starts_with("1 alarms in 50.0 "), "{}", enough.told());
    }

    #[test]
    fn a_card_of_another_form_says_nothing() {
        let card = json!({"calibration": {"held_out_alarms": 2, "held_out_hours": 10.0, "budget_per_1000_h": 20.0}});
        assert_eq!(Evidence::of_card(&card), Some(Evidence { alarms: 2, hours: 10.0, budget: 20.0 }));
        assert_eq!(Evidence::of_card(&Value::Null), None);
        assert_eq!(Evidence { alarms: 0, hours: 0.0, budget: 20.0 }.realised(), None);
    }
}
