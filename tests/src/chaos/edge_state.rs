//! What a running edge says of itself: for waiting, and for the state that G6 asks for. No verdict on readings rests
//! on it.

use anyhow::{Context, Result};

use crate::{demo::stages, stack::Stack};

/// Figures of the edge's `/metrics`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EdgeState {
    /// 0 live, 1 spooling, 2 catching up.
    pub mode: f64,
    /// Spooled records that Kafka has not confirmed.
    pub in_spool: f64,
    /// Taken in, and not confirmed by Kafka.
    pub in_flight: f64,
    /// Batches that the spool did not take.
    pub refusals: f64,
    /// Records that were spooled and could not be read again.
    pub discarded: f64,
    /// Connections to the broker after the first.
    pub reconnects: f64,
}

impl EdgeState {
    /// Nothing waits for Kafka.
    pub fn is_settled(&self) -> bool {
        self.mode == 0.0 && self.in_spool == 0.0 && self.in_flight == 0.0
    }

    /// Everything that was spooled is delivered, and new readings go to Kafka directly.
    pub fn is_settled_for_now(&self) -> bool {
        self.mode == 0.0 && self.in_spool == 0.0
    }
}

/// Asks the edge.
pub(super) async fn read(stack: &mut Stack) -> Result<EdgeState> {
    let admin = stack.running("edge")?.admin().context("the edge's admin address")?;
    let text = reqwest::get(format!("http://{admin}/metrics")).await?.error_for_status()?.text().await?;
    let sums = stages::sums(&text);
    let figure = |name: &str| sums.get(name).copied().unwrap_or_default();
    Ok(EdgeState {
        mode: figure("edge_spool_mode"),
        in_spool: figure("edge_spool_records"),
        in_flight: figure("edge_in_flight_records"),
        refusals: figure("edge_spool_refusals_total"),
        discarded: figure("edge_records_discarded_total"),
        reconnects: figure("edge_reconnects_total"),
    })
}
