//! Conditions over figures, as `--fail-if` takes them: `p99_ms>50`, or against an earlier report `p99_ms>+10%`. Pure.

use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::Verdict;

/// How a figure is held against the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
}

impl Operator {
    /// Those of two characters first: `>` is the beginning of `>=`.
    const ALL: [Self; 5] = [Self::AtLeast, Self::AtMost, Self::Equal, Self::Above, Self::Below];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Equal => "==",
        }
    }

    #[expect(clippy::float_cmp, reason = "== is asked of counts, which are exact")]
    fn holds(self, figure: f64, bound: f64) -> bool {
        match self {
            Self::Above => figure > bound,
            Self::AtLeast => figure >= bound,
            Self::Below => figure < bound,
            Self::AtMost => figure <= bound,
            Self::Equal => figure == bound,
        }
    }
}

/// What a figure must not be. A run in which it comes true has failed, and so has one that did not measure the figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    figure: String,
    operator: Operator,
    bound: f64,
    /// The bound is a change against an earlier report, %.
    relative: bool,
    /// As it was written, without spaces.
    text: String,
}

/// So many figures with a similar name are told where there is none of that name.
const MOST_NEAR: usize = 8;

/// The figures that a condition may name.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// All of them.
    pub figures: &'a [String],
    /// Short names for those that people mean: (short, full).
    pub short: &'a [(&'a str, &'a str)],
}

impl Names<'_> {
    fn full<'n>(&'n self, name: &'n str) -> &'n str {
        self.short.iter().find(|(short, _)| *short == name).map_or(name, |(_, full)| full)
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let wrong = || format!("{text:?} is no condition: a figure, one of > >= < <= ==, and a number: p99_ms>50");
        let at = text.find(['<', '>', '=', '!']).ok_or_else(wrong)?;
        let (figure, rest) = text.split_at(at);
        let split = |operator: &Operator| rest.strip_prefix(operator.as_str()).map(|bound| (*operator, bound));
        let (operator, bound) = Operator::ALL.iter().find_map(split).ok_or_else(wrong)?;
        let (bound, relative) = bound.strip_suffix('%').map_or((bound, false), |bound| (bound, true));
        let bound: f64 = bound.parse().map_err(|_| wrong())?;
        if figure.is_empty() || !bound.is_finite() {
            return Err(wrong());
        }
        Ok(Self { figure: figure.to_owned(), operator, bound, relative, text })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Condition {
    /// Whether the bound is a change against an earlier report.
    pub fn is_relative(&self) -> bool {
        self.relative
    }

    /// The full name of its figure.
    pub fn figure<'a>(&'a self, names: &'a Names<'_>) -> &'a str {
        names.full(&self.figure)
    }

    /// Checks that there is such a figure.
    ///
    /// # Errors
    /// What is wrong, with the names that are known.
    pub fn check(&self, names: &Names<'_>) -> Result<(), String> {
        let full = names.full(&self.figure);
        if names.figures.iter().any(|figure| figure == full) {
            return Ok(());
        }
        let mut known: Vec<&str> = names.short.iter().map(|(short, _)| *short).collect();
        // Units stand in too many names to tell anything.
        let words: Vec<_> = self.figure.split('_').filter(|word| word.len() > 2).collect();
        let near = names.figures.iter().filter(|name| words.iter().any(|word| name.contains(word)));
        known.extend(near.map(String::as_str).take(MOST_NEAR));
        let known = known.join(", ");
        Err(format!("{:?} is no figure; known are {known} and whatever a report has under `figures`", self.figure))
    }

    /// The name of its verdict.
    pub fn verdict_name(&self) -> String {
        format!("fail-if {}", self.text)
    }

    /// Judges one run's figures. A figure that is not there fails, and so does a bound that is relative to nothing.
    pub fn judge(&self, figures: &BTreeMap<String, f64>, names: &Names<'_>) -> Verdict {
        let name = names.full(&self.figure);
        match figures.get(name).filter(|figure| !figure.is_nan()) {
            Some(figure) if !self.relative => self.verdict(*figure, format!("{name} = {}", told(*figure))),
            Some(_) => unmeasured(format!("{name}: there is nothing to compare it with")),
            None => unmeasured(format!("{name} was not measured")),
        }
    }

    /// Judges the figures of a later run, where the bound may be a change since an earlier one.
    pub fn judge_change(
        &self,
        before: &BTreeMap<String, f64>,
        after: &BTreeMap<String, f64>,
        names: &Names<'_>,
    ) -> Verdict {
        if !self.relative {
            return self.judge(after, names);
        }
        let name = names.full(&self.figure);
        match (before.get(name), after.get(name)) {
            (Some(before), Some(after)) => {
                let change = change_percent(*before, *after);
                self.verdict(change, format!("{name}: {} -> {}, {change:+.1} %", told(*before), told(*after)))
            }
            _ => unmeasured(format!("{name} was not measured in both")),
        }
    }

    fn verdict(&self, value: f64, example: String) -> Verdict {
        let ok = !self.operator.holds(value, self.bound);
        Verdict { ok, checked: 1, counts: BTreeMap::new(), examples: vec![example] }
    }
}

/// A figure as it is told: to three digits behind the point, where it has any.
fn told(figure: f64) -> f64 {
    (figure * 1_000.0).round() / 1_000.0
}

fn unmeasured(example: String) -> Verdict {
    Verdict { examples: vec![example], ..Verdict::default() }
}

/// By how much a figure has changed, %. What was zero has changed by nothing or without bound.
pub(crate) fn change_percent(before: f64, after: f64) -> f64 {
    if before.abs() > 0.0 {
        return (after - before) / before.abs() * 100.0;
    }
    if after.abs() > 0.0 { f64::INFINITY.copysign(after) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(of: &[(&str, f64)]) -> BTreeMap<String, f64> {
        of.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    const SHORT: [(&str, &str); 1] = [("p99_ms", "trip_p99_ms")];

    fn judge(condition: &str, measured: &[(&str, f64)]) -> Verdict {
        let names = Names { figures: &["trip_p99_ms".to_owned(), "lost".to_owned()], short: &SHORT };
        let condition: Condition = condition.parse().unwrap();
        condition.check(&names).unwrap();
        condition.judge(&figures(measured), &names)
    }

    #[test]
    fn a_condition_that_comes_true_fails_the_run_and_no_other_does() {
        for (condition, fails) in [
            ("p99_ms>50", false),
            ("p99_ms > 49.9", true),
            ("p99_ms>=50", true),
            ("p99_ms<50", false),
            ("p99_ms<=50", true),
            ("p99_ms==50", true),
            ("trip_p99_ms==51", false),
            ("trip_p99_ms>5e1", false),
            ("trip_p99_ms>-1", true),
        ] {
            let verdict = judge(condition, &[("trip_p99_ms", 50.0)]);
            assert_eq!((verdict.ok, verdict.checked), (!fails, 1), "{condition}");
            assert_eq!(verdict.examples, ["trip_p99_ms = 50"]);
        }
    }

    #[test]
    fn what_was_not_measured_never_passes() {
        for condition in ["p99_ms>50", "p99_ms<50", "lost==1"] {
            let verdict = judge(condition, &[]);
            assert_eq!((verdict.ok, verdict.checked), (false, 0), "{condition}");
            assert!(verdict.examples[0].ends_with("was not measured"), "{verdict:?}");
        }
        assert!(!judge("p99_ms>50", &[("trip_p99_ms", f64::NAN)]).ok, "no number is above 50");
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in ["", "p99_ms", ">5", "p99_ms>", "p99_ms>x", "p99_ms=5", "p99_ms!=5", "p99_ms=>5", "a>inf", "a>NaN"]
        {
            let error = text.parse::<Condition>().unwrap_err();
            assert!(error.contains("p99_ms>50"), "{text}: {error}");
        }
        let names = Names { figures: &["trip_p99_ms".to_owned(), "lost_readings".to_owned()], short: &SHORT };
        let error = "trips_p98_ms>1".parse::<Condition>().unwrap().check(&names).unwrap_err();
        assert!(error.contains("\"trips_p98_ms\" is no figure; known are p99_ms and"), "{error}");
        let error = "trip_ms>1".parse::<Condition>().unwrap().check(&names).unwrap_err();
        assert!(
            error.contains("p99_ms, trip_p99_ms and") && !error.contains("lost_readings"),
            "what is near it: {error}"
        );
    }

    #[test]
    fn a_change_is_held_against_the_earlier_run() {
        let names = Names { figures: &[], short: &SHORT };
        let verdict = |condition: &str, before: &[(&str, f64)], after: &[(&str, f64)]| {
            condition.parse::<Condition>().unwrap().judge_change(&figures(before), &figures(after), &names)
        };
        let (before, after) = ([("trip_p99_ms", 100.0)], [("trip_p99_ms", 111.0)]);
        assert!(!verdict("p99_ms>+10%", &before, &after).ok);
        assert!(verdict("p99_ms>+12%", &before, &after).ok);
        assert!(verdict("p99_ms<-10%", &before, &after).ok);
        assert!(!verdict("p99_ms<-9%", &after, &before).ok);
        assert!(!verdict("p99_ms>110", &before, &after).ok, "a plain bound is of the later run");
        assert!(verdict("lost>+10%", &[("lost", 0.0)], &[("lost", 0.0)]).ok);
        assert!(!verdict("lost>+10%", &[("lost", 0.0)], &[("lost", 1.0)]).ok);
        assert!(!verdict("lost>+10%", &[], &[("lost", 1.0)]).ok, "nothing to compare with");
        assert!(!"p99_ms>+10%".parse::<Condition>().unwrap().judge(&figures(&after), &names).ok);
    }
}
