//! What a run tells: a progress line each second, and the tally at its end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Serialize;
use service::Tally;
use telemetry::UnixMillis;

use crate::{
    clock::Clock,
    metrics::{Commanded, Counters, Discarded, value},
};

/// Where a run stands. Counts are of the whole run; received = sent + discarded + in the outboxes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Always `progress`.
    pub event: &'static str,
    /// Simulated time, ms since the epoch.
    pub time: UnixMillis,
    /// How far simulated time is behind the real one, ms.
    pub behind_ms: i64,
    /// Vehicles that make readings.
    pub driving: u64,
    /// Vehicles with a connection.
    pub connected: u64,
    /// Readings made, malformed ones and those of an earlier process included.
    pub received: u64,
    /// Readings that whoever judges has acknowledged: the edge, or the broker.
    pub sent: u64,
    /// Readings put aside, by reason.
    pub discarded: BTreeMap<&'static str, u64>,
    /// Readings in the outboxes.
    pub in_outbox: u64,
    /// Malformed ones among those received.
    pub poison: u64,
    /// Publishes handed to the MQTT client.
    pub published: u64,
    /// Those of readings that had been sent before.
    pub resent: u64,
    /// Publishes that the broker refused.
    pub refused: u64,
    /// Acks of the edge.
    pub acks: u64,
    /// Acks that asked to slow down.
    pub slow_downs: u64,
    /// Publishes that were held back for it, and
    pub held_back: u64,
    /// for how long together, ms.
    pub held_back_ms: u64,
    /// Connections since the start.
    pub connections: u64,
    /// Commands that were carried out,
    pub commands_obeyed: u64,
    /// that came again, and
    pub commands_repeated: u64,
    /// that were refused.
    pub commands_refused: u64,
}

/// Tells where a run stands.
#[derive(Debug, Clone)]
pub struct Reporter {
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
}

impl Reporter {
    /// Where the run stands now.
    pub fn progress(&self) -> Progress {
        let counters = &*self.counters;
        counters.show();
        let time = self.clock.simulated();
        Progress {
            event: "progress",
            time,
            behind_ms: self.clock.wall() - time,
            driving: value(&counters.driving),
            connected: value(&counters.connected),
            received: value(&counters.received),
            sent: value(&counters.acked),
            discarded: discarded(counters).collect(),
            in_outbox: counters.in_hand(),
            poison: value(&counters.poison),
            published: value(&counters.published),
            resent: value(&counters.resent),
            refused: value(&counters.refused),
            acks: value(&counters.acks),
            slow_downs: value(&counters.slow_downs),
            held_back: value(&counters.held_back),
            held_back_ms: value(&counters.held_back_ms),
            connections: value(&counters.connections),
            commands_obeyed: value(&counters.commands[Commanded::Obeyed as usize]),
            commands_repeated: value(&counters.commands[Commanded::Repeated as usize]),
            commands_refused: value(&counters.commands[Commanded::Refused as usize]),
        }
    }

    /// Gives it to `tell` each second, for ever.
    pub async fn each_second(self, tell: impl Fn(&Progress)) {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            seconds.tick().await;
            tell(&self.progress());
        }
    }
}

fn discarded(counters: &Counters) -> impl Iterator<Item = (&'static str, u64)> {
    let all = [
        (Discarded::GivenUp, &counters.given_up),
        (Discarded::Oversize, &counters.oversize),
        (Discarded::Unheard, &counters.unheard),
    ];
    all.into_iter().map(|(why, counter)| (why.as_str(), value(counter))).filter(|(_, n)| *n > 0)
}

/// The tally of a run that left `in_hand` readings in its outboxes (counted there, not computed).
pub(crate) fn tally(counters: &Counters, in_hand: u64) -> Tally {
    let mut tally =
        Tally { received: value(&counters.received), sent: value(&counters.acked), in_hand, ..Tally::default() };
    for (reason, n) in discarded(counters) {
        tally.discard(reason, n);
    }
    let further = [
        ("restored", &counters.restored),
        ("poison", &counters.poison),
        ("published", &counters.published),
        ("resent", &counters.resent),
        ("refused_by_broker", &counters.refused),
        ("acks", &counters.acks),
        ("unreadable_acks", &counters.unreadable_acks),
        ("refused_ranges", &counters.refused_ranges),
        ("slow_downs", &counters.slow_downs),
        ("held_back", &counters.held_back),
        ("held_back_ms", &counters.held_back_ms),
        ("connections", &counters.connections),
        ("failed_connections", &counters.failed_connections),
    ];
    tally.further = further.into_iter().map(|(name, counter)| (name.to_owned(), value(counter))).collect();
    for what in Commanded::ALL {
        tally.further.insert(format!("commands_{}", what.as_str()), value(&counters.commands[what as usize]));
    }
    tally
}
