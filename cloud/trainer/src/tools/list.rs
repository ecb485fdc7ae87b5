//! `motorcade models list`: every version, the newest first, with its aliases.

use cloud_log::KafkaConfig;
use serde_json::{Value, json};
use service::Error;
use telemetry::event::{ModelVersion, Registry};

use super::{date, figure, print, shown};
use crate::{alias::aliases_of, evidence::Evidence, registry};

/// List the versions, the newest first.
///
/// Of each the alarms in 1,000 vehicle-hours that were held out, with what they may be (95 %).
#[derive(Debug, Clone, clap::Args)]
pub struct ListArgs {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs `models list`.
///
/// # Errors
/// If Kafka can't be reached.
pub async fn run_list(args: ListArgs) -> Result<(), Error> {
    args.kafka.validate()?;
    let registry = registry::read(&args.kafka).await?;
    if args.json { print(&rows(&registry).to_string()) } else { lines(&registry).iter().try_for_each(|l| print(l)) }
}

fn newest_first(registry: &Registry) -> Vec<&ModelVersion> {
    let mut versions: Vec<_> = registry.versions.values().collect();
    versions.sort_by_key(|version| std::cmp::Reverse(version.time));
    versions
}

const REALISED: &str = "/calibration/realised_per_1000_h";
const BUDGET: &str = "/calibration/budget_per_1000_h";

fn rows(registry: &Registry) -> Value {
    let row = |version: &ModelVersion| {
        let evidence = Evidence::of_card(&version.card);
        let realised = evidence.and_then(|evidence| evidence.realised());
        json!({
            "version": version.version,
            "detector": version.detector,
            "artifact": version.artifact,
            "time": version.time,
            "aliases": aliases_of(registry, &version.version),
            "realised_alarms_per_1000_h": figure(&version.card, REALISED),
            "realised_low_alarms_per_1000_h": realised.map(|rate| rate.low),
            "realised_high_alarms_per_1000_h": realised.map(|rate| rate.high),
            "budget_per_1000_h": figure(&version.card, BUDGET),
            "promised_alarms": evidence.map(|evidence| evidence.promised()),
        })
    };
    newest_first(registry).into_iter().map(row).collect()
}

/// The realised rate, what it may be, and whether that says anything.
fn realised(card: &Value) -> String {
    let rate = shown(figure(card, REALISED));
    let Some(evidence) = Evidence::of_card(card) else { return rate };
    let may_be = evidence.realised().map_or_else(String::new, |rate| format!(" ({:.0} to {:.0})", rate.low, rate.high));
    format!("{rate}{may_be}{}", if evidence.is_thin() { ", too few hours" } else { "" })
}

/// A table; the aliases come last, because there may be none.
fn lines(registry: &Registry) -> Vec<String> {
    let heads = ["VERSION", "DETECTOR", "REGISTERED", "ALARMS/1000H", "BUDGET", "ALIASES"].map(str::to_owned);
    let cells = newest_first(registry).into_iter().map(|version| {
        [
            version.version.clone(),
            version.detector.clone(),
            date(version.time),
            realised(&version.card),
            shown(figure(&version.card, BUDGET)),
            aliases_of(registry, &version.version).join(" "),
        ]
    });
    let table: Vec<[String; 6]> = std::iter::once(heads).chain(cells).collect();
    let widths: [usize; 6] = std::array::from_fn(|at| table.iter().map(|row| row[at].len()).max().unwrap_or_default());
    let line = |row: &[String; 6]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    table.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alias::tests::{alias, registry};

    #[test]
    fn the_newest_stands_first_with_its_aliases_and_figures() {
        let mut registry = registry(&["pca-1", "pca-2"], &[("champion", alias("pca-1", None))]);
        registry.versions.get_mut("pca-2").unwrap().card = json!({"calibration": {"realised_per_1000_h": 17.5}});
        registry.versions.get_mut("pca-2").unwrap().time += 1_000;
        let lines = lines(&registry);
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("VERSION  DETECTOR  REGISTERED"), "{lines:#?}");
        assert!(lines[1].starts_with("pca-2 ") && lines[1].contains("17.500"), "{lines:#?}");
        assert!(lines[2].starts_with("pca-1 ") && lines[2].ends_with("champion"), "{lines:#?}");
        let rows = rows(&registry);
        assert_eq!(rows[1]["aliases"], json!(["champion"]));
        assert_eq!(rows[0]["realised_alarms_per_1000_h"], json!(17.5));
        assert_eq!(rows[1]["realised_alarms_per_1000_h"], Value::Null, "a card that does not say it is listed too");
    }

    #[test]
    fn a_rate_of_next_to_no_time_is_told_as_such() {
        let card = |hours: f64| {
            let of = json!({"realised_per_1000_h": 0.0, "held_out_alarms": 0, "held_out_hours": hours, "budget_per_1000_h": 20.0});
            json!({"calibration": of})
        };
        assert_eq!(realised(&card(0.26)), "0 (0 to 14188), too few hours");
        assert_eq!(realised(&card(100.0)), "0 (0 to 37)");
    }

    #[test]
    fn an_empty_registry_lists_nothing() {
        assert_eq!(rows(&Registry::default()), json!([]));
        assert_eq!(lines(&Registry::default()).len(), 1, "the heads alone");
    }
}
