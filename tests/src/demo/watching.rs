//! The live part of the demo: counters between looks, memory, the model, alerts as they come.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    run::{TECHNICIANS, now_ms},
    stages::{self, Counters},
    timeline::Timeline,
    view::View,
};
use crate::stack::Stack;

/// A rate is an average over this time: roles and fleet tell their counters in steps of a second or so.
const AVERAGED_OVER: Duration = Duration::from_secs(5);

/// Counters at one moment; `fleet` is the simulator's last progress line.
struct Look {
    at: Instant,
    counters: Counters,
    fleet: Value,
}

/// Everything that was seen so far.
pub(super) struct Watching {
    timeline: Timeline,
    started: i64,
    client: reqwest::Client,
    /// Oldest first; the oldest is what rates are measured from.
    looks: VecDeque<Look>,
    shown: usize,
    model: Option<String>,
    /// Highest rate of each row of the view, per wall second.
    pub peak_rates: BTreeMap<String, f64>,
    /// Peak resident memory of each process, bytes. The fleet's own is gone with it at the end.
    pub memory: BTreeMap<String, u64>,
}

impl Watching {
    /// Nothing has been seen; simulated time begins at the wall time `started`, ms.
    pub(super) fn new(timeline: Timeline, started: i64) -> Self {
        Self {
            timeline,
            started,
            client: reqwest::Client::new(),
            looks: VecDeque::new(),
            shown: 0,
            model: None,
            peak_rates: BTreeMap::new(),
            memory: BTreeMap::new(),
        }
    }

    /// Whether as much history as the trainer waits for has passed.
    pub(super) fn history_is_there(&self) -> bool {
        self.timeline.simulated(self.started, now_ms()) - self.timeline.start > self.timeline.history_ms
    }

    /// Looks at every process once and draws what it saw.
    pub(super) async fn look(&mut self, stack: &mut Stack, view: &mut View) {
        self.memory.extend(stack.peak_memory());
        let counters = stages::read(stack, &self.client).await;
        let last = self.looks.back().map_or(Value::Null, |look| look.fleet.clone());
        let fleet = stack.running("simulator").ok().and_then(|p| p.last("progress")).unwrap_or(last);
        let now = Look { at: Instant::now(), counters, fleet };
        while self.looks.get(1).is_some_and(|second| now.at - second.at >= AVERAGED_OVER) {
            self.looks.pop_front();
        }
        let before = self.looks.front().unwrap_or(&now);
        let seconds = (now.at - before.at).as_secs_f64().max(0.001);
        let rows = stages::rows(&before.counters, &now.counters, (&before.fleet, &now.fleet), seconds);
        // Shorter spans hold a step or none.
        for row in rows.iter().filter(|_| now.at - before.at >= AVERAGED_OVER) {
            let peak = self.peak_rates.entry(format!("{}_{}", row.stage, row.unit.replace(' ', "_"))).or_default();
            *peak = peak.max(row.rate);
        }
        let connected = now.fleet["connected"].as_u64().unwrap_or(0);
        self.looks.push_back(now);
        self.show_news(stack, view);
        let clock = |seconds: i64| format!("{}:{:02}", seconds / 3600, seconds / 60 % 60);
        let simulated = (self.timeline.simulated(self.started, now_ms()) - self.timeline.start) / 1000;
        let total = clock(self.timeline.duration_ms / 1000);
        view.table(&format!("simulated {} of {total} h   {connected} connected", clock(simulated)), &rows);
    }

    /// A model that was published, and alerts that the first technician was shown.
    fn show_news(&mut self, stack: &mut Stack, view: &mut View) {
        if let Ok(trainer) = stack.running("trainer") {
            let version = trainer.last("published").and_then(|line| line["version"].as_str().map(str::to_owned));
            if version.is_some() && version != self.model {
                view.phase(&format!("a model was published: {}", version.as_deref().unwrap_or_default()));
                self.model = version;
            }
        }
        let Ok(technician) = stack.running(TECHNICIANS[0]) else { return };
        let events = technician.events();
        for line in events.iter().skip(self.shown) {
            let event = &line["event"];
            if let (Some(id), Some(state)) = (event["id"].as_str(), event["state"].as_str()) {
                let vehicle = id.split('|').next().unwrap_or(id);
                let blamed = event["contributions"][0]["signal"].as_str().unwrap_or("");
                let severity = event["severity"].as_str().unwrap_or("");
                let score = event["score"].as_f64().unwrap_or_default();
                let line = format!("  {state:<13}{severity:<9}{vehicle:<10}{score:>4.1}×  {}", short(blamed));
                view.alert(&line, state == "firing");
            }
        }
        self.shown = events.len();
    }
}

/// As many of a path's last parts as leave the line within 80 columns.
fn short(path: &str) -> &str {
    const ROOM: usize = 39;
    let path = path.strip_prefix("Vehicle.").unwrap_or(path);
    let mut suffixes = path.match_indices('.').map(|(at, _)| &path[at + 1..]);
    if path.len() <= ROOM { path } else { suffixes.find(|suffix| suffix.len() <= ROOM).unwrap_or("") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shortened_to_whole_parts() {
        assert_eq!(short("Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.Pressure"), "Axle.Row1.Wheel.Left.Tire.Pressure");
        assert_eq!(short("Vehicle.Speed"), "Speed");
        assert_eq!(short(""), "");
    }
}
