//! The vehicle simulator: physics, faults, outbox, MQTT clients, ledger, audit.

pub mod clock;
pub mod fault;
pub mod metrics;
pub mod outbox;
pub mod truth;
pub mod vehicle;
