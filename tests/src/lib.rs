//! The whole system: stack, scenarios, demo.
