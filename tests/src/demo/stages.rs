//! What the live view shows: each stage's rate and lag, from the processes' own `/metrics`.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    kafka_reader, poll,
    stack::{Role, Stack},
};

/// A moment's counters, by process and metric name; labels are summed up.
pub type Counters = BTreeMap<String, BTreeMap<String, f64>>;

/// How long a process may take to tell its metrics: one that was stopped on purpose never does.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Reads the metrics of every process that answers.
pub async fn read(stack: &mut Stack, client: &reqwest::Client) -> Counters {
    let admins: Vec<_> = stack.all().filter_map(|p| Some((p.name().to_owned(), p.admin()?))).collect();
    let mut counters = Counters::new();
    for (name, admin) in admins {
        if let Ok(text) = scrape(client, &admin).await {
            counters.insert(name, sums(&text));
        }
    }
    counters
}

/// How long nothing may move before a lag of zero is believed: lags are looked up now and then, not at every record.
const STILL: Duration = Duration::from_secs(2);

/// Waits until every stage has handled everything that stands in Kafka: it owns all its partitions (who owns none has
/// no lag either), is not behind in any, and nothing has moved for [`STILL`].
pub async fn catch_up(stack: &mut Stack, within: Duration) -> Result<()> {
    let client = reqwest::Client::new();
    let kafka = stack.kafka().to_owned();
    let partitions =
        tokio::task::spawn_blocking(move || kafka_reader::watermarks(&kafka, telemetry::kafka_topic::TELEMETRY))
            .await
            .context("count the partitions")??;
    // The alerter's topics have as many each.
    let partitions = u32::try_from(partitions.len()).context("count the partitions")?;
    let mut last = (Instant::now(), Vec::new());
    poll::until("every stage has caught up", within, async || {
        let counters = read(stack, &client).await;
        let metric = |process: &str, metric: &str| {
            counters.get(process).and_then(|m| m.get(&format!("{process}_{metric}"))).copied().unwrap_or(f64::NAN)
        };
        let stages = [Role::Twin, Role::Scorer, Role::Alerter].map(Role::name);
        let owns_all = |name: &&str| metric(name, "assigned_partitions") >= f64::from(partitions);
        let lag_is_zero = stages.iter().all(|name| owns_all(name) && metric(name, "lag_records") == 0.0);
        let received: Vec<_> = stages.iter().map(|name| metric(name, "records_received_total").to_bits()).collect();
        if !lag_is_zero || received != last.1 {
            last = (Instant::now(), received);
        }
        Ok((last.0.elapsed() >= STILL).then_some(()))
    })
    .await
}

async fn scrape(client: &reqwest::Client, admin: &str) -> Result<String> {
    let request = client.get(format!("http://{admin}/metrics")).timeout(ANSWERS_WITHIN);
    Ok(request.send().await?.error_for_status()?.text().await?)
}

/// Sums of each metric over its labels, from the Prometheus text format.
pub fn sums(text: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((left, value)) = line.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        let name = left.split('{').next().unwrap_or(left);
        *sums.entry(name.to_owned()).or_default() += value;
    }
    sums
}

/// One line of the view.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The stage.
    pub stage: &'static str,
    /// What it counts.
    pub unit: &'static str,
    /// So far.
    pub total: f64,
    /// Per wall second since the last look.
    pub rate: f64,
    /// Behind by so many records, where it has a lag.
    pub lag: Option<f64>,
}

/// The rows between two looks that lie `seconds` apart; `fleet` is the simulator's last progress line.
pub fn rows(before: &Counters, after: &Counters, fleets: (&Value, &Value), seconds: f64) -> Vec<Row> {
    let metric = |counters: &Counters, process: &str, name: &str| {
        counters.get(process).and_then(|metrics| metrics.get(name)).copied().unwrap_or(0.0)
    };
    let row = |stage, unit, process: &str, name: &str, lag: Option<&str>| {
        let total = metric(after, process, name);
        let rate = (total - metric(before, process, name)).max(0.0) / seconds;
        Row { stage, unit, total, rate, lag: lag.map(|lag| metric(after, process, lag)) }
    };
    let fleet = |stage, unit, name: &str, lag: Option<f64>| {
        let total = fleets.1[name].as_f64().unwrap_or(0.0);
        let rate = (total - fleets.0[name].as_f64().unwrap_or(0.0)).max(0.0) / seconds;
        Row { stage, unit, total, rate, lag }
    };
    vec![
        fleet("vehicles", "readings made", "received", fleets.1["in_outbox"].as_f64()),
        row("edge", "in Kafka", Role::Edge.name(), "edge_records_sent_total", Some("edge_in_flight_records")),
        fleet("vehicles", "acknowledged", "sent", None),
        row("twin", "in twins", Role::Twin.name(), "twin_records_sent_total", Some("twin_lag_records")),
        row("scorer", "scored", Role::Scorer.name(), "scorer_records_sent_total", Some("scorer_lag_records")),
        row(
            "alerter",
            "scores judged",
            Role::Alerter.name(),
            "alerter_records_sent_total",
            Some("alerter_lag_records"),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_summed_up() {
        let text = "# TYPE a_total counter\na_total{reason=\"x\"} 3\na_total{reason=\"y z\"} 4\nb 1.5\nnonsense\n";
        assert_eq!(sums(text), BTreeMap::from([("a_total".into(), 7.0), ("b".into(), 1.5)]));
    }

    #[test]
    fn a_rate_is_the_growth_between_two_looks() {
        let look = |n: f64| Counters::from([("twin".into(), BTreeMap::from([("twin_records_sent_total".into(), n)]))]);
        let fleet = serde_json::json!({"received": 10, "sent": 5, "in_outbox": 5});
        let rows = rows(&look(100.0), &look(300.0), (&fleet, &fleet), 2.0);
        let twin = rows.iter().find(|row| row.stage == "twin").expect("the twin has a row");
        assert_eq!((twin.total, twin.rate), (300.0, 100.0));
        assert_eq!(rows[0].lag, Some(5.0));
    }
}
