//! The shapes that a load may have over time, as flags: each is a curve of [`super::arrivals`].

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde_json::Value;
use service::Error;

use super::arrivals::{Arrivals, Curve, Stretch};

/// How the rate of the fleet changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// Not at all.
    Constant,
    /// From --low-rate up to the full rate within --period-ms; there it stays.
    Ramp,
    /// The same in --steps equal steps, each held equally long.
    Steps,
    /// --low-rate, and the full rate for the last --burst-ms of each --period-ms.
    Burst,
    /// Traffic of a day, midnight to midnight, at full rate in the morning's rush hour; a day lasts --period-ms.
    Day,
}

/// Flags of the profile.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Profile")]
pub struct Profile {
    /// How the rate changes over time; --rate or --interval-ms say how high it gets [default:
    /// constant].
    #[arg(long, env = "MOTORCADE_LOAD_PROFILE", value_name = "SHAPE")]
    pub profile: Option<Shape>,
    /// Ramp: rate of the fleet at its foot; steps: below the first; burst: between two. Readings in a second [default: 0].
    #[arg(long, env = "MOTORCADE_LOAD_LOW_RATE", value_name = "N")]
    pub low_rate: Option<u64>,
    /// Ramp, steps: how long it climbs; burst: from one to the next; day: how long a day takes. Ms [default: 60000].
    #[arg(long, env = "MOTORCADE_LOAD_PERIOD_MS", value_name = "MS")]
    pub period_ms: Option<u64>,
    /// Steps: how many [default: 5].
    #[arg(long, env = "MOTORCADE_LOAD_STEPS", value_name = "N")]
    pub steps: Option<u32>,
    /// Burst: how long one lasts, ms [default: 5000].
    #[arg(long, env = "MOTORCADE_LOAD_BURST_MS", value_name = "MS")]
    pub burst_ms: Option<u64>,
}

/// The values that count.
struct Values {
    profile: Shape,
    low_rate: u64,
    period_ms: u64,
    steps: u32,
    burst_ms: u64,
}

/// Percent of the full rate at each full hour of a day: quiet nights, a rush in the morning and a broader one in the
/// afternoon.
const DAY: [u8; 24] = [8, 5, 4, 4, 6, 15, 38, 75, 100, 82, 66, 64, 68, 66, 68, 78, 92, 98, 80, 58, 42, 32, 24, 14];
/// More steps than anybody looks at would only be memory.
const MOST_STEPS: u32 = 1_000;
/// Longer ones are no test any more, ms: a week.
const LONGEST_MS: u64 = 7 * 24 * 3_600_000;

impl Profile {
    /// Whether the rate stays as it is.
    pub fn is_constant(&self) -> bool {
        self.values().profile == Shape::Constant
    }

    fn values(&self) -> Values {
        Values {
            profile: self.profile.unwrap_or(Shape::Constant),
            low_rate: self.low_rate.unwrap_or(0),
            period_ms: self.period_ms.unwrap_or(60_000),
            steps: self.steps.unwrap_or(5),
            burst_ms: self.burst_ms.unwrap_or(5_000),
        }
    }

    /// A flag that is given, though the profile has no use for it, and the profiles that have. Who asks for a constant
    /// rate turns off what a scenario has.
    fn unused(&self) -> Option<(&'static str, &'static str)> {
        let of = self.values().profile;
        [
            (
                self.low_rate.is_some(),
                "low-rate",
                &[Shape::Ramp, Shape::Steps, Shape::Burst][..],
                "ramp, steps or burst",
            ),
            (
                self.period_ms.is_some(),
                "period-ms",
                &[Shape::Ramp, Shape::Steps, Shape::Burst, Shape::Day],
                "ramp, steps, burst or day",
            ),
            (self.steps.is_some(), "steps", &[Shape::Steps], "steps"),
            (self.burst_ms.is_some(), "burst-ms", &[Shape::Burst], "burst"),
        ]
        .into_iter()
        .find(|(given, _, users, _)| *given && !users.contains(&of) && self.profile != Some(Shape::Constant))
        .map(|(_, flag, _, users)| (flag, users))
    }

    /// Checks every value. `full`: the highest rate of the fleet in a second; none in a load that follows no clock.
    ///
    /// # Errors
    /// [`Error::Usage`] with the flag's name.
    pub fn validate(&self, full: Option<f64>) -> Result<(), Error> {
        let usage = |flag, detail: String| Err(Error::Usage { flag, detail });
        if let Some((flag, users)) = self.unused() {
            return usage(flag, format!("says nothing without --profile {users}"));
        }
        let of = self.values();
        if of.profile == Shape::Constant {
            return Ok(());
        }
        let Some(full) = full else { return usage("profile", "a blast follows no clock".into()) };
        // Rates are far below 2^53.
        if of.low_rate as f64 > full {
            return usage("low-rate", format!("{} is above the full rate, {full} in a second", of.low_rate));
        }
        if !(24..=LONGEST_MS).contains(&of.period_ms) {
            return usage("period-ms", format!("{} is not 24 to {LONGEST_MS}", of.period_ms));
        }
        if !(1..=MOST_STEPS).contains(&of.steps) || u64::from(of.steps) > of.period_ms {
            return usage("steps", format!("{} is not 1 to {MOST_STEPS}, or above --period-ms", of.steps));
        }
        if of.profile == Shape::Burst && !(1..of.period_ms).contains(&of.burst_ms) {
            return usage("burst-ms", format!("{} is not 1 to --period-ms {}", of.burst_ms, of.period_ms));
        }
        Ok(())
    }

    /// What a report says of it.
    pub(super) fn parameters(&self) -> BTreeMap<String, Value> {
        let of = self.values();
        let name = of.profile.to_possible_value().map(|value| value.get_name().to_owned());
        let mut all: Vec<(&str, Value)> = vec![("profile", name.into())];
        if matches!(of.profile, Shape::Ramp | Shape::Steps | Shape::Burst) {
            all.push(("low_rate", of.low_rate.into()));
        }
        if of.profile != Shape::Constant {
            all.push(("period_ms", of.period_ms.into()));
        }
        match of.profile {
            Shape::Steps => all.push(("steps", of.steps.into())),
            Shape::Burst => all.push(("burst_ms", of.burst_ms.into())),
            _ => {}
        }
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The arrivals of a fleet whose highest rate is `full` readings in a second; none where the rate is constant.
    pub(super) fn arrivals(&self, fleet: u32, full: f64) -> Option<Arrivals> {
        let of = self.values();
        let (low, us) = (of.low_rate as f64, of.period_ms * 1_000);
        let flat = |us, rate| Stretch { us, from: rate, to: rate };
        let curve = match of.profile {
            Shape::Constant => return None,
            Shape::Ramp => Curve::new(&[Stretch { us, from: low, to: full }], false),
            Shape::Steps => {
                let each = (full - low) / f64::from(of.steps);
                let step = |n: u32| flat(us / u64::from(of.steps), low + each * f64::from(n));
                Curve::new(&(1..=of.steps).map(step).collect::<Vec<_>>(), false)
            }
            Shape::Burst => {
                let burst = of.burst_ms * 1_000;
                Curve::new(&[flat(us - burst, low), flat(burst, full)], true)
            }
            Shape::Day => {
                let rate = |hour: usize| full * f64::from(DAY[hour % 24]) / 100.0;
                let hour = |hour| Stretch { us: us / 24, from: rate(hour), to: rate(hour + 1) };
                Curve::new(&(0..24).map(hour).collect::<Vec<_>>(), true)
            }
        };
        Some(Arrivals::Curve { fleet, curve })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(profile: Shape) -> Profile {
        Profile {
            profile: Some(profile),
            low_rate: (profile != Shape::Day).then_some(100),
            period_ms: Some(24_000),
            steps: (profile == Shape::Steps).then_some(4),
            burst_ms: (profile == Shape::Burst).then_some(4_000),
        }
    }

    /// Readings of a fleet of 10 in each second, at 1,000 in a second at most.
    fn seconds(flags: &Profile, count: usize) -> Vec<u64> {
        let arrivals = flags.arrivals(10, 1_000.0).unwrap();
        let mut seconds = vec![0; count];
        for vehicle in 0..10 {
            let due =
                (0..).map_while(|n| arrivals.due_us(vehicle, n)).map(|us| usize::try_from(us / 1_000_000).unwrap());
            due.take_while(|second| *second < count).for_each(|second| seconds[second] += 1);
        }
        seconds
    }

    #[test]
    fn steps_climb_and_the_last_one_stays() {
        let seconds = seconds(&flags(Shape::Steps), 30);
        for (second, count) in seconds.iter().enumerate() {
            let expected = [325, 550, 775, 1_000][(second / 6).min(3)];
            assert!(count.abs_diff(expected) <= 1, "{second}: {count}");
        }
    }

    #[test]
    fn bursts_are_the_end_of_each_period() {
        let seconds = seconds(&flags(Shape::Burst), 48);
        let wrong = seconds.iter().enumerate().filter(|(second, count)| {
            let expected = if second % 24 < 20 { 100 } else { 1_000 };
            count.abs_diff(expected) > 1
        });
        assert_eq!(wrong.count(), 0, "{seconds:?}");
    }

    #[test]
    fn a_day_is_compressed_has_its_rush_hours_and_comes_again() {
        // An hour is a second.
        let seconds = seconds(&flags(Shape::Day), 48);
        let (night, morning, noon, afternoon) = (seconds[2], seconds[8], seconds[11], seconds[16]);
        assert!(night < 60 && morning > 850 && (600..700).contains(&noon) && afternoon > 900, "{seconds:?}");
        assert!(seconds[..24].iter().zip(&seconds[24..]).all(|(one, other)| one.abs_diff(*other) <= 1), "{seconds:?}");
    }

    #[test]
    fn what_can_not_be_used_is_refused_with_the_name_of_the_flag() {
        let refused = |flags: Profile, full| flags.validate(full).unwrap_err().to_string();
        let burst = flags(Shape::Burst);
        assert!(burst.validate(Some(1_000.0)).is_ok() && flags(Shape::Constant).validate(None).is_ok());
        assert!(refused(burst.clone(), None).contains("--profile"));
        assert!(refused(burst.clone(), Some(99.0)).contains("--low-rate"));
        assert!(refused(Profile { burst_ms: Some(24_000), ..burst }, Some(1e3)).contains("--burst-ms"));
        assert!(refused(Profile { period_ms: Some(0), ..burst }, Some(1e3)).contains("--period-ms"));
        assert!(refused(Profile { steps: Some(0), ..flags(Shape::Steps) }, Some(1e3)).contains("--steps"));
    }
}
