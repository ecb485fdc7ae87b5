//! `motorcade models …`: one file a verb. What an alias move does is decided in [`crate::alias`], what two versions
//! differ in in [`compare`]; the verbs check flags, read the registry and write to it.

mod calibrate;
mod compare;
mod evaluate;
mod export;
mod list;
mod model;
mod moving;
mod promote;
mod register;
mod replaying;
mod rollback;
mod show;
mod train;

use std::io::Write;

use service::Error;
use telemetry::UnixMillis;

pub use self::{
    calibrate::{CalibrateArgs, run_calibrate},
    compare::{CompareArgs, run_compare},
    evaluate::{EvaluateArgs, run_evaluate},
    export::{ExportArgs, run_export},
    list::{ListArgs, run_list},
    moving::Moving,
    promote::{PromoteArgs, run_promote},
    register::{RegisterArgs, run_register},
    replaying::Replaying,
    rollback::{RollbackArgs, run_rollback},
    show::{ShowArgs, run_show},
    train::{TrainArgs, run_train},
};

fn print(line: &str) -> Result<(), Error> {
    writeln!(std::io::stdout().lock(), "{line}").map_err(|error| Error::Internal(error.into()))
}

/// The first ms of the year 10000, which RFC 3339 can't write.
const TOO_LATE: u64 = 253_402_300_800_000;

/// A time for people, `2026-03-01T12:00:00Z`; the bare number where that can't be written.
fn date(time: UnixMillis) -> String {
    match u64::try_from(time) {
        Ok(ms) if ms < TOO_LATE => {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms);
            humantime::format_rfc3339_seconds(time).to_string()
        }
        _ => time.to_string(),
    }
}

/// A figure of a card, or none: cards of other forms may lack it.
fn figure(card: &serde_json::Value, pointer: &str) -> Option<f64> {
    card.pointer(pointer)?.as_f64()
}

/// A figure for people.
fn shown(figure: Option<f64>) -> String {
    match figure {
        None => "-".into(),
        Some(number) if number.fract() == 0.0 && number.abs() < 1e15 => format!("{number:.0}"),
        // The sum takes the sign off a zero.
        Some(number) => format!("{:.3}", (number * 1e3).round() / 1e3 + 0.0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dates_and_figures_are_readable_and_nothing_strange_ends_the_program() {
        assert_eq!(date(1_763_712_000_000), "2025-11-21T08:00:00Z");
        assert_eq!(date(i64::MAX), i64::MAX.to_string());
        assert_eq!(date(-5), "-5");
        assert_eq!(shown(Some(20.0)), "20");
        assert_eq!(shown(Some(0.12345)), "0.123");
        assert_eq!(shown(Some(-0.0001)), "0.000");
        assert_eq!(shown(figure(&json!({"a": null}), "/a")), "-");
        assert_eq!(figure(&json!({"a": {"b": 2}}), "/a/b"), Some(2.0));
    }
}
