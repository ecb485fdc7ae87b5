//! The unit's side: judging, entering, acting, answering.

use std::time::Instant;

use anyhow::Context;
use telemetry::event::VehicleCommandKind;

use super::memory::{Judgement, done};
use crate::{
    journal::Note,
    metrics::Commanded,
    publisher::Connection,
    unit::{GOODBYE, Link, Unit},
};

/// Answers that wait for the connection. Above it commands are not looked at; they come again.
const MOST_ANSWERS: usize = 256;

impl Unit {
    /// A command came.
    pub(crate) async fn commanded(&mut self, link: Link, payload: &[u8]) -> anyhow::Result<Link> {
        if self.answers.len() >= MOST_ANSWERS {
            self.counters.commanded(Commanded::Postponed);
            return Ok(link);
        }
        let vehicle = self.readings.vehicle().clone();
        let act = match self.memory.judge(&vehicle, payload, self.clock.wall()) {
            Judgement::Act(act) => act,
            Judgement::Repeated(reply) => {
                self.counters.commanded(Commanded::Repeated);
                self.answers.push_back(reply);
                return Ok(link);
            }
            Judgement::Refused(reply) => {
                tracing::debug!(%vehicle, id = %reply.id, error = reply.error, "a command is refused");
                self.counters.commanded(Commanded::Refused);
                self.answers.push_back(reply);
                return Ok(link);
            }
            Judgement::Full => {
                self.counters.commanded(Commanded::Postponed);
                return Ok(link);
            }
            Judgement::Unreadable => {
                self.counters.commanded(Commanded::Unreadable);
                return Ok(link);
            }
        };
        // From here on it has been carried out, whoever is killed.
        let (lasts, entered) = tokio::sync::oneshot::channel();
        self.journal.note_lasting(Note::Obeyed { vehicle: vehicle.clone(), act: act.clone(), lasts }, entered).await?;
        self.memory.acted(&act);
        self.counters.commanded(Commanded::Obeyed);
        let link = match act.kind {
            VehicleCommandKind::SetReportingInterval { interval_ms } => {
                self.readings.set_interval(i64::try_from(interval_ms).unwrap_or(i64::MAX), self.clock.simulated());
                link
            }
            // The memory has it.
            VehicleCommandKind::SetProperty { .. } => link,
            VehicleCommandKind::Reboot => self.reboot(link).await.context("reboot")?,
        };
        // Of a reboot after the birth that follows it.
        self.answers.push_back(done(&vehicle, act.id));
        Ok(link)
    }

    /// Takes leave and begins a new boot, with the outbox that it has.
    async fn reboot(&mut self, link: Link) -> anyhow::Result<Link> {
        if let Link::Up(connection) = link {
            self.outbox.disconnected(self.clock.monotonic());
            self.counters.disconnected();
            connection.close(self.clock.simulated(), GOODBYE).await;
        }
        let second = u32::try_from(self.clock.simulated() / 1_000).unwrap_or(u32::MAX);
        let boot = second.max(self.readings.boot().saturating_add(1));
        let (lasts, entered) = tokio::sync::oneshot::channel();
        let vehicle = self.readings.vehicle().clone();
        tracing::debug!(%vehicle, boot, "a vehicle reboots");
        self.journal.note_lasting(Note::Boot { vehicle, boot, lasts }, entered).await?;
        self.readings.reboot(boot);
        self.outbox.reboot(boot);
        self.target.boot = boot;
        // As at the start: a unit without a stored boot waits until no later start can have the same one.
        let retry_at = match self.manners.stores_boot {
            true => Instant::now(),
            false => self.clock.instant_of((i64::from(boot) + 1) * 1_000),
        };
        Ok(Link::Down { retry_at, paced: false })
    }

    /// Answers, as far as there is room.
    pub(crate) fn answer(&mut self, connection: &mut Connection) {
        while connection.room() > 0 {
            let Some(reply) = self.answers.pop_front() else { break };
            // Without an answer the command comes again.
            connection.publish_reply(&reply);
        }
    }
}
