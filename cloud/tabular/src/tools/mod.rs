//! `motorcade data import` and `motorcade data export`: the rim, where files and Kafka are opened.

mod export;
mod import;
mod manifest;
mod nearest;
mod output;
mod replay;
mod summary;
mod table;

pub use export::{ExportArgs, run_export};
pub use import::{ImportArgs, run_import};
