//! The vehicle simulator: physics, faults, outbox, MQTT clients, ledger, audit.
