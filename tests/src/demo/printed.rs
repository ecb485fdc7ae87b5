//! What a person reads at the end: the report's figures and verdicts in lines that fit 80 columns.

use super::{
    summary::{ALARM_BUDGET_PER_1000_HOURS, Judged},
    view::View,
};
use crate::report::Verdict;

/// What a terminal has at least.
const COLUMNS: usize = 80;

/// Prints figures and verdicts.
pub(super) fn print(view: &mut View, judged: &Judged) {
    let report = &judged.report;
    let figure = |name: &str| report.figures.get(name).copied().unwrap_or(f64::NAN);
    let count = |title: &str, name: &str| format!("{title} {:.0}", figure(name));
    view.say("");
    view.phase("summary");
    let readings = [
        count("sent", "readings_sent_count"),
        count("acknowledged", "readings_acknowledged_count"),
        count("in Kafka", "readings_in_kafka_count"),
        count("in twins", "readings_in_twins_count"),
        count("scored", "readings_scored_count"),
    ];
    for line in wrapped("  readings       ", &readings) {
        view.say(&line);
    }
    for (title, name) in [("publish→twin ", "publish_to_twin"), ("publish→alert", "publish_to_alert")] {
        view.say(&format!(
            "  {title}  p50 {:.0} ms · p99 {:.0} ms · max {:.0} ms  ({:.0} measured)",
            figure(&format!("{name}_p50_ms")),
            figure(&format!("{name}_p99_ms")),
            figure(&format!("{name}_max_ms")),
            figure(&format!("{name}_count"))
        ));
    }
    for (fault, (found, of, delays)) in judged.alarms.by_fault() {
        let delays: Vec<_> = delays.iter().map(|delay| format!("{:.1}", delay / 60.0)).collect();
        let after = if delays.is_empty() { String::new() } else { format!(" after {} min", delays.join(" and ")) };
        view.say(&format!("  {fault:<24} {found} of {of} found{after}"));
    }
    view.say(&format!(
        "  false alarms   {} in {:.0} vehicle-hours of healthy driving, {} promised{}",
        judged.alarms.false_alarms.len(),
        judged.alarms.healthy_hours,
        (judged.alarms.healthy_hours * ALARM_BUDGET_PER_1000_HOURS / 1000.0).round(),
        match judged.alarms.repeated {
            0 => String::new(),
            more => format!("; {more} more repeat one of the same vehicle"),
        }
    ));
    for line in &judged.alarms.false_alarms {
        view.say(&format!("    {line}"));
    }
    for (name, verdict) in &report.verdicts {
        print_verdict(view, name, verdict);
    }
}

/// Prints one verdict: what holds, how often it was checked, and every count that is not zero.
pub(super) fn print_verdict(view: &mut View, name: &str, verdict: &Verdict) {
    let promise = match name {
        "G1" => "no acknowledged reading is lost",
        "G2" => "every twin is what the log says",
        "G3" => "every alert was shown to everyone once",
        "G4" => "nothing disappears silently",
        "alarms" => "a model was in time, faults are found, few false alarms",
        _ => "",
    };
    let mark = if verdict.ok { "✓" } else { "✗" };
    view.alert(&format!("  {mark} {name:<7} {promise}"), !verdict.ok);
    let counts = verdict.counts.iter().filter(|(_, count)| **count > 0).map(|(name, count)| format!("{name} {count}"));
    let counts: Vec<_> = std::iter::once(format!("checked {}", verdict.checked)).chain(counts).collect();
    for line in wrapped("            ", &counts) {
        view.say(&line);
    }
    for example in verdict.examples.iter().filter(|_| !verdict.ok) {
        view.say(&format!("      {example}"));
    }
}

/// The parts, with dots between them, in lines that are not too long; later lines begin below the first part.
fn wrapped(title: &str, parts: &[String]) -> Vec<String> {
    let indent = " ".repeat(title.chars().count());
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 3 + part.chars().count() <= COLUMNS => {
                line.push_str(" · ");
                line.push_str(part);
            }
            None => lines.push(format!("{title}{part}")),
            Some(_) => lines.push(format!("{indent}{part}")),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_a_terminal_and_lose_nothing() {
        let parts: Vec<_> = (0..20).map(|n| format!("count_{n} {}", n * 1000)).collect();
        let lines = wrapped("  readings ", &parts);
        assert!(lines.len() > 2 && lines.iter().all(|line| line.chars().count() <= COLUMNS), "{lines:#?}");
        assert!(lines[0].starts_with("  readings count_0 0 · ") && lines[1].starts_with("           count_"));
        assert!(parts.iter().all(|part| lines.iter().any(|line| line.contains(part.as_str()))));
    }
}
