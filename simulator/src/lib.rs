//! The vehicle simulator: physics, faults, outbox, MQTT clients, ledger, audit.

pub mod fault;
pub mod truth;
pub mod vehicle;
