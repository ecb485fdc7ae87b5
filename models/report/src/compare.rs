//! Two reports side by side: which figures are better, which are worse, which verdicts failed, and what else differed.
//! Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Serialize;

use crate::{Better, Condition, Names, Report, Verdict, condition::change_percent};

/// Below it two figures count as the same, %: runs are never the same twice.
const SAME_PERCENT: f64 = 2.0;
/// So many examples of a failed verdict are told.
const MOST_EXAMPLES: usize = 3;

/// One figure in both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub figure: String,
    /// In the first report; none: not measured.
    pub a: Option<f64>,
    /// In the second.
    pub b: Option<f64>,
    /// b / a, where both were measured and a is not zero.
    pub ratio: Option<f64>,
    /// `better`, `worse` or `same` in the second; none where neither way is better, or it was measured only once.
    pub change: Option<&'static str>,
}

impl Row {
    /// Whether it is zero in both: that is worth no line.
    fn is_nothing(&self) -> bool {
        [self.a, self.b].iter().all(|value| value.is_some_and(|value| value.abs() <= 0.0))
    }
}

/// Two reports side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// What else differs: (what, in the first, in the second).
    pub differing: Vec<(String, String, String)>,
    /// Every figure of either.
    pub rows: Vec<Row>,
    /// Verdicts of the conditions.
    pub verdicts: BTreeMap<String, Verdict>,
    /// Verdicts of the second report that failed there, and in the first one did not fail or were not asked for.
    pub newly_failed: BTreeMap<String, Verdict>,
}

impl Comparison {
    /// Of two reports, the earlier first.
    pub fn new(a: &Report, b: &Report, conditions: &[Condition], names: &Names<'_>) -> Self {
        let figures: BTreeSet<_> = a.figures.keys().chain(b.figures.keys()).collect();
        let rows = figures.into_iter().map(|figure| row(figure, a.figures.get(figure), b.figures.get(figure)));
        let verdict =
            |condition: &Condition| (condition.verdict_name(), condition.judge_change(&a.figures, &b.figures, names));
        let (verdicts, differing) = (conditions.iter().map(verdict).collect(), differing(a, b));
        let newly =
            b.verdicts.iter().filter(|(name, verdict)| !verdict.ok && a.verdicts.get(*name).is_none_or(|a| a.ok));
        let newly_failed = newly.map(|(name, verdict)| (name.clone(), verdict.clone())).collect();
        Self { differing, rows: rows.collect(), verdicts, newly_failed }
    }

    /// Whether every condition is met, and no verdict failed that had not failed before.
    pub fn is_ok(&self) -> bool {
        self.failed().is_empty()
    }

    /// What is not, and why.
    pub fn failed(&self) -> Vec<String> {
        let conditions = self.verdicts.iter().filter(|(_, verdict)| !verdict.ok);
        let conditions = conditions.map(|(name, verdict)| format!("{name} ({})", verdict.examples.join("; ")));
        let newly = self.newly_failed.iter().map(|(name, verdict)| format!("verdict {name} of b: {}", told(verdict)));
        conditions.chain(newly).collect()
    }
}

fn row(figure: &str, a: Option<&f64>, b: Option<&f64>) -> Row {
    let both = a.zip(b);
    let change = both.and_then(|(a, b)| {
        let percent = change_percent(*a, *b);
        let less = match Better::of(figure) {
            Better::Neither => return None,
            Better::Less => percent < 0.0,
            Better::More => percent > 0.0,
        };
        Some(if percent.abs() < SAME_PERCENT {
            "same"
        } else if less {
            "better"
        } else {
            "worse"
        })
    });
    let ratio = both.filter(|(a, _)| a.abs() > 0.0).map(|(a, b)| b / a);
    Row { figure: figure.to_owned(), a: a.copied(), b: b.copied(), ratio, change }
}

/// A verdict in a few words.
fn told(verdict: &Verdict) -> String {
    if verdict.ok {
        return "ok".to_owned();
    }
    let counts = verdict.counts.iter().filter(|(_, n)| **n > 0).map(|(name, n)| format!("{n} {name}"));
    let why: Vec<_> = counts.chain(verdict.examples.iter().take(MOST_EXAMPLES).cloned()).collect();
    match why.is_empty() {
        true => format!("FAILED ({} checked)", verdict.checked),
        false => format!("FAILED ({})", why.join("; ")),
    }
}

/// Name, commit, machine, parameters and verdicts, where they are not the same.
fn differing(a: &Report, b: &Report) -> Vec<(String, String, String)> {
    let facts = |report: &Report| {
        let mut facts =
            BTreeMap::from([("name".to_owned(), report.name.clone()), ("commit".to_owned(), report.commit.clone())]);
        facts.extend(report.machine.iter().map(|(name, value)| (format!("machine {name}"), value.clone())));
        facts.extend(report.parameters.iter().map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            (format!("parameter {name}"), value)
        }));
        facts.extend(report.verdicts.iter().map(|(name, verdict)| (format!("verdict {name}"), told(verdict))));
        facts
    };
    let (a, b) = (facts(a), facts(b));
    let names: BTreeSet<_> = a.keys().chain(b.keys()).collect();
    let value = |of: &BTreeMap<String, String>, name: &str| of.get(name).cloned().unwrap_or_else(|| "none".into());
    let both = names.into_iter().map(|name| (name.clone(), value(&a, name), value(&b, name)));
    both.filter(|(_, a, b)| a != b).collect()
}

/// For people.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, a, b) in &self.differing {
            writeln!(f, "differs: {what}: {a} | {b}")?;
        }
        let width = self.rows.iter().map(|row| row.figure.len()).max().unwrap_or(0).max(6);
        writeln!(f, "{:<width$} {:>14} {:>14} {:>8}", "figure", "a", "b", "b/a")?;
        for row in self.rows.iter().filter(|row| !row.is_nothing()) {
            let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
            let ratio = row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            let change = row.change.filter(|change| *change != "same").unwrap_or_default();
            let line =
                format!("{:<width$} {:>14} {:>14} {ratio:>8}  {change}", row.figure, number(row.a), number(row.b));
            writeln!(f, "{}", line.trim_end())?;
        }
        for (name, verdict) in &self.verdicts {
            writeln!(f, "{name}: {}: {}", if verdict.ok { "ok" } else { "FAILED" }, verdict.examples.join("; "))?;
        }
        Ok(())
    }
}

/// A figure for people: whole where it is, otherwise with three digits that count.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if value.fract() == 0.0 && size < 1e15 {
        format!("{value:.0}")
    } else if size >= 100.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else if size >= 0.001 {
        format!("{value:.3}")
    } else {
        format!("{value:.2e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(p99: f64, rate: f64) -> Report {
        let mut report = Report::new("night");
        report.figures.insert("trip_p99_ms".into(), p99);
        report.figures.insert("readings_per_s".into(), rate);
        report
    }

    #[test]
    fn what_became_worse_is_told_by_the_direction_of_the_figure() {
        let (a, mut b) = (report(100.0, 1_000.0), report(150.0, 1_500.0));
        b.figures.insert("made_readings".into(), 7.0);
        let lost = |report: &Report| Report { figures: [("lost".into(), 0.0)].into(), ..report.clone() };
        b.parameters.insert("rate".into(), 1_500.into());
        b.commit = "another".into();
        let names = Names { figures: &[], short: &[] };
        let conditions = ["trip_p99_ms>+10%".parse().unwrap(), "readings_per_s<-5%".parse().unwrap()];
        let comparison = Comparison::new(&a, &b, &conditions, &names);
        let changes: Vec<_> = comparison.rows.iter().map(|row| (row.change, row.ratio)).collect();
        assert_eq!(changes, [(None, None), (Some("better"), Some(1.5)), (Some("worse"), Some(1.5))]);
        let what: Vec<_> = comparison.differing.iter().map(|(what, ..)| what.as_str()).collect();
        assert_eq!(what, ["commit", "parameter rate"]);
        let ok: Vec<_> = comparison.verdicts.values().map(|verdict| verdict.ok).collect();
        assert_eq!((ok, comparison.is_ok()), (vec![true, false], false));
        let text = comparison.to_string();
        assert!(text.contains("trip_p99_ms") && text.contains("worse") && text.contains("FAILED"), "{text}");
        let nothing = Comparison::new(&lost(&a), &lost(&b), &[], &names);
        assert!(nothing.rows.len() == 1 && !nothing.to_string().contains("lost"), "{nothing}");
        let same = Comparison::new(&a, &report(101.0, 1_000.0), &conditions, &names);
        assert!(same.is_ok() && same.differing.is_empty());
        assert!(same.rows.iter().all(|row| row.change == Some("same")), "a percent is noise");
    }

    #[test]
    fn a_verdict_that_failed_in_the_second_report_only_fails_the_comparison() {
        let names = Names { figures: &[], short: &[] };
        let with = |verdict: Option<bool>| {
            let mut report = report(100.0, 1_000.0);
            let verdict = verdict.map(|ok| {
                let counts = [("lost".to_owned(), u64::from(!ok)), ("altered".to_owned(), 0)].into();
                let examples = if ok { Vec::new() } else { vec!["lost: veh-00001/7/1".to_owned()] };
                ("G1".to_owned(), Verdict { ok, checked: 5, counts, examples })
            });
            report.verdicts.extend(verdict);
            report
        };
        let conditions = ["trip_p99_ms>+10%".parse().unwrap()];
        let compare = |a, b| Comparison::new(&with(a), &with(b), &conditions, &names);
        for a in [None, Some(true)] {
            let comparison = compare(a, Some(false));
            assert!(!comparison.is_ok() && comparison.verdicts.values().all(|verdict| verdict.ok));
            assert_eq!(comparison.failed(), ["verdict G1 of b: FAILED (1 lost; lost: veh-00001/7/1)"]);
            let before = if a.is_none() { "none" } else { "ok" };
            let line = format!("differs: verdict G1: {before} | FAILED (1 lost; lost: veh-00001/7/1)\n");
            assert!(comparison.to_string().contains(&line), "{comparison}");
        }
        // It had failed before, or is mended.
        for (a, b) in
            [(Some(false), Some(false)), (Some(false), Some(true)), (Some(true), None), (Some(true), Some(true))]
        {
            assert!(compare(a, b).is_ok(), "{a:?} {b:?}");
        }
        assert!(compare(Some(false), Some(true)).to_string().contains("lost: veh-00001/7/1) | ok\n"));
        assert!(!compare(Some(false), Some(false)).to_string().contains("differs"), "the same in both");
        assert_eq!(told(&Verdict::default()), "FAILED (0 checked)");
    }
}
