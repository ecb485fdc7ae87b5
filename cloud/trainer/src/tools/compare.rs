//! `motorcade models compare`: two versions side by side. Cards are read figure by figure, so that one of another form
//! can be compared too.

use std::collections::BTreeMap;

use cloud_log::KafkaConfig;
use serde::Serialize;
use serde_json::Value;
use service::Error;
use telemetry::event::{ModelVersion, Registry};

use super::{date, figure, print, shown};
use crate::{
    alias::{aliases_of, resolve},
    registry,
};

/// Compare two versions side by side.
#[derive(Debug, Clone, clap::Args)]
pub struct CompareArgs {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// Version or alias.
    pub a: String,
    /// Version or alias.
    pub b: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs `models compare`.
///
/// # Errors
/// [`Error::BadInput`] if there is no such model.
pub async fn run_compare(args: CompareArgs) -> Result<(), Error> {
    args.kafka.validate()?;
    let registry = registry::read(&args.kafka).await?;
    let of = |model: &str| resolve(&registry, model).map_err(Error::BadInput);
    let comparison = Comparison::of(&registry, of(&args.a)?, of(&args.b)?);
    if args.json {
        return print(&serde_json::to_string(&comparison).map_err(anyhow::Error::from)?);
    }
    comparison.lines().iter().try_for_each(|line| print(line))
}

/// Figures of a card: name, and place in it.
const FIGURES: [(&str, &str); 18] = [
    ("records", "/records"),
    ("vehicles", "/vehicles"),
    ("vehicles_with_baseline", "/baselines"),
    ("sample", "/sample"),
    ("training_steps", "/training_steps"),
    ("step_ms", "/layout/step_ms"),
    ("budget_per_1000_h", "/calibration/budget_per_1000_h"),
    ("limit", "/calibration/limit"),
    ("limit_hours", "/calibration/limit_hours"),
    ("limit_alarms", "/calibration/limit_alarms"),
    ("held_out_hours", "/calibration/held_out_hours"),
    ("held_out_alarms", "/calibration/held_out_alarms"),
    ("held_out_alarms_as_strangers", "/calibration/strangers/held_out_alarms"),
    ("allowed_alarms", "/calibration/allowed_alarms"),
    ("realised_per_1000_h", "/calibration/realised_per_1000_h"),
    ("held_out_loss", "/calibration/held_out_loss"),
    ("trivial_loss", "/calibration/trivial_loss"),
    ("form", "/form"),
];

/// One of the two.
#[derive(Debug, Serialize)]
struct Side {
    version: String,
    detector: String,
    aliases: Vec<String>,
    time: i64,
    schema: Option<String>,
    cpu_capability: Option<String>,
}

/// What two versions have and differ in.
#[derive(Debug, Serialize)]
struct Comparison {
    a: Side,
    b: Side,
    /// Of A and of B; none where a card does not say it.
    figures: BTreeMap<&'static str, [Option<f64>; 2]>,
    /// In the order of people's reading, which a map has not.
    #[serde(skip)]
    order: Vec<&'static str>,
    /// Only B has them as inputs.
    signals_gained: Vec<String>,
    /// Only A has them.
    signals_lost: Vec<String>,
    /// Judged by both: share of the variance that is explained, of A and of B.
    explained: BTreeMap<String, [Option<f64>; 2]>,
}

/// Input signals by path: whether they are judged, and how well they are explained.
fn signals(card: &Value) -> BTreeMap<String, (bool, Option<f64>)> {
    let signals = card.pointer("/signals").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let signal = |signal: &Value| {
        let path = signal.get("path")?.as_str()?.to_owned();
        let judged = signal.get("judged").and_then(Value::as_bool).unwrap_or(true);
        Some((path, (judged, figure(signal, "/explained"))))
    };
    signals.iter().filter_map(signal).collect()
}

fn mean_explained(signals: &BTreeMap<String, (bool, Option<f64>)>) -> Option<f64> {
    let known: Vec<f64> = signals.values().filter(|(judged, _)| *judged).filter_map(|(_, share)| *share).collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

impl Comparison {
    fn of(registry: &Registry, a: &ModelVersion, b: &ModelVersion) -> Self {
        let side = |version: &ModelVersion| {
            let text = |name| version.card.get(name).and_then(Value::as_str).map(str::to_owned);
            Side {
                version: version.version.clone(),
                detector: version.detector.clone(),
                aliases: aliases_of(registry, &version.version).into_iter().map(str::to_owned).collect(),
                time: version.time,
                schema: text("schema"),
                cpu_capability: text("cpu_capability"),
            }
        };
        let [of_a, of_b] = [a, b].map(|version| signals(&version.card));
        let both = |pointer| [a, b].map(|version| figure(&version.card, pointer));
        let mut figures: BTreeMap<_, _> = FIGURES.into_iter().map(|(name, pointer)| (name, both(pointer))).collect();
        figures.insert("signals", [&of_a, &of_b].map(|signals| Some(signals.len() as f64)));
        figures.insert("mean_explained", [&of_a, &of_b].map(mean_explained));
        let order = FIGURES.iter().map(|(name, _)| *name).chain(["signals", "mean_explained"]).collect();
        let only = |has: &BTreeMap<String, _>, lacks: &BTreeMap<String, _>| {
            has.keys().filter(|path| !lacks.contains_key(*path)).cloned().collect()
        };
        let explained = of_a.iter().filter_map(|(path, (judged, share))| {
            let (judged_by_b, of_b) = of_b.get(path)?;
            (*judged && *judged_by_b).then(|| (path.clone(), [*share, *of_b]))
        });
        Self {
            a: side(a),
            b: side(b),
            figures,
            order,
            signals_gained: only(&of_b, &of_a),
            signals_lost: only(&of_a, &of_b),
            explained: explained.collect(),
        }
    }

    /// Name, of A and of B.
    fn rows(&self) -> Vec<(String, String, String)> {
        let Self { a, b, .. } = self;
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        let mut rows = vec![
            ("version".to_owned(), a.version.clone(), b.version.clone()),
            ("aliases".into(), a.aliases.join(" "), b.aliases.join(" ")),
            ("detector".into(), a.detector.clone(), b.detector.clone()),
            ("registered".into(), date(a.time), date(b.time)),
            ("schema".into(), text(&a.schema), text(&b.schema)),
            ("cpu_capability".into(), text(&a.cpu_capability), text(&b.cpu_capability)),
        ];
        rows.extend(self.order.iter().map(|name| {
            let [a, b] = self.figures.get(name).copied().unwrap_or_default().map(shown);
            ((*name).to_owned(), a, b)
        }));
        let explained = self.explained.iter().map(|(path, shares)| {
            let [a, b] = shares.map(shown);
            (format!("explained {path}"), a, b)
        });
        rows.extend(explained);
        rows
    }

    /// Three columns; what differs is marked.
    fn lines(&self) -> Vec<String> {
        let rows = self.rows();
        let first = rows.iter().map(|row| row.0.len()).max().unwrap_or_default();
        let second = rows.iter().map(|row| row.1.len()).max().unwrap_or_default();
        let line = |(name, a, b): &(String, String, String)| {
            let mark = if a == b { ' ' } else { '*' };
            format!("{mark} {name:first$}  {a:second$}  {b}").trim_end().to_owned()
        };
        let mut lines: Vec<String> = rows.iter().map(line).collect();
        lines.extend(self.signals_gained.iter().map(|path| format!("+ {path}")));
        lines.extend(self.signals_lost.iter().map(|path| format!("- {path}")));
        lines
    }
}

/// One version as the comparison shows it, without what its card does not say.
pub(super) fn summary(registry: &Registry, version: &ModelVersion) -> Vec<String> {
    let rows = Comparison::of(registry, version, version).rows();
    let width = rows.iter().map(|row| row.0.len()).max().unwrap_or_default();
    let said = rows.iter().filter(|(_, told, _)| told != "-");
    said.map(|(name, told, _)| format!("{name:width$}  {told}").trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::alias::tests::{alias, registry, version};

    fn card(limit: f64, signals: &[(&str, bool, f64)]) -> Value {
        let signals = signals
            .iter()
            .map(|(path, judged, explained)| json!({"path": path, "judged": judged, "explained": explained}));
        json!({
            "schema": "0123",
            "calibration": {"limit": limit, "held_out_alarms": 3},
            "signals": signals.collect::<Vec<_>>(),
        })
    }

    fn two() -> Comparison {
        let registry = registry(&["pca-1", "pca-2"], &[("champion", alias("pca-2", None))]);
        let a = ModelVersion { card: card(6.5, &[("speed", true, 0.9), ("soc", false, 0.1)]), ..version("pca-1") };
        let b = ModelVersion { card: card(7.0, &[("speed", true, 0.7), ("lambda", true, 0.5)]), ..version("pca-2") };
        Comparison::of(&registry, &a, &b)
    }

    #[test]
    fn figures_and_signals_stand_side_by_side() {
        let comparison = two();
        assert_eq!(comparison.figures["limit"], [Some(6.5), Some(7.0)]);
        assert_eq!(comparison.figures["held_out_hours"], [None, None]);
        assert_eq!(comparison.signals_gained, ["lambda"]);
        assert_eq!(comparison.signals_lost, ["soc"]);
        assert_eq!(comparison.explained, BTreeMap::from([("speed".into(), [Some(0.9), Some(0.7)])]));
        // Context is not judged, so how well it is explained does not count.
        assert_eq!(comparison.figures["mean_explained"], [Some(0.9), Some(0.6)]);
        assert_eq!(comparison.b.aliases, ["champion"]);
    }

    #[test]
    fn what_differs_is_marked() {
        let lines = two().lines();
        let line = |name: &str| lines.iter().find(|line| line[2..].starts_with(name)).unwrap();
        assert!(line("limit ").starts_with('*') && line("limit ").contains("6.500"), "{lines:#?}");
        assert!(line("held_out_alarms").starts_with(' '), "{lines:#?}");
        assert!(line("explained speed").starts_with('*'), "{lines:#?}");
        assert_eq!(lines[lines.len() - 2..], ["+ lambda", "- soc"]);
    }

    #[test]
    fn a_summary_leaves_out_what_a_card_does_not_say() {
        let registry = registry(&["pca-1"], &[]);
        let card = card(6.5, &[("speed", true, 0.9)]);
        let lines = summary(&registry, &ModelVersion { card, ..version("pca-1") });
        assert!(lines.iter().any(|line| line.starts_with("limit ") && line.ends_with(" 6.500")), "{lines:#?}");
        assert!(lines.iter().all(|line| !line.starts_with("held_out_hours")), "{lines:#?}");
    }

    #[test]
    fn json_has_stable_names() {
        let json = serde_json::to_value(two()).unwrap();
        assert_eq!(json["figures"]["limit"], json!([6.5, 7.0]));
        assert_eq!(json["signals_gained"], json!(["lambda"]));
        assert_eq!(json["a"]["version"], "pca-1");
        assert!(json.get("order").is_none());
    }

    #[test]
    fn cards_that_say_nothing_can_be_compared() {
        let registry = registry(&["a-1"], &[]);
        let comparison = Comparison::of(&registry, &version("a-1"), &version("a-1"));
        assert!(comparison.figures.values().flatten().all(|figure| figure.is_none_or(|count| count == 0.0)));
        assert!(comparison.lines().iter().all(|line| line.starts_with(' ')), "nothing differs");
    }
}
