//! Tables of rows and columns, in and out: other people's CSV becomes telemetry, telemetry becomes Parquet.
//!
//! `data import` reads a [`mapping`] that says which column is what, turns each row into a reading ([`rows`]), puts
//! each vehicle's readings in order and gives them their identities ([`lanes`]; [`intake`] is the whole), and writes them to `telemetry` as the
//! edge would. `data export` replays `telemetry` into Parquet files with one column a signal ([`columns`]). Label
//! columns never enter telemetry: they become a file of [`labels`], in the form of the simulator's truth, and
//! the export joins such a file again.
//!
//! What is decided is pure; [`tools`] opens files and Kafka.

pub mod columns;
pub mod intake;
pub mod labels;
pub mod lanes;
pub mod mapping;
mod moment;
mod parquet_file;
pub mod rows;
pub mod tools;
mod unit;
