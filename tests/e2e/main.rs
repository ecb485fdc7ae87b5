//! What holds of the repository and of the whole system.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says what it does")]

mod benches;
mod chaos;
mod command_lines;
mod commands;
mod demos;
mod dependency_rules;
mod disturbed;
mod drift;
mod foreign;
mod ground;
mod kubernetes;
mod notebook;
mod page;
mod rate_limit;
mod replayed;
mod scenarios;
mod standby;
mod tidy;
mod transactions;
