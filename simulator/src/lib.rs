//! The vehicle simulator: physics, faults, outbox, MQTT clients, load engine, ledger, audit.
//!
//! [`connect`] reads what an earlier process left and reaches the broker; [`Simulator::run`] drives. Pure are
//! [`vehicle`], [`fault`], [`fleet`], [`outbox`], [`poison`] and the [`clock::Anchor`].

mod account;
#[cfg(feature = "audit")]
pub mod audit;
mod by_seq;
pub mod clock;
pub mod command;
pub mod compare;
mod config;
pub mod fault;
pub mod fleet;
mod frame;
mod journal;
pub mod ledger;
pub mod load;
pub mod metrics;
pub mod outbox;
mod outbox_file;
mod pace;
pub mod poison;
mod publisher;
mod report;
mod simulation;
mod tls;
pub mod truth;
mod unit;
pub mod vehicle;

pub use self::{
    account::Account,
    report::{Progress, Reporter},
};
pub use config::{Config, Faults, ProgressForm};
pub use simulation::{Simulator, connect};
pub use tls::Tls;
