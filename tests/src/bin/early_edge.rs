//! A negative control: the edge from the same parts, with one decision changed. It acknowledges on arrival, to the
//! broker and to the vehicle, before Kafka has anything. The ledger must notice.

use std::{process::ExitCode, time::Instant};

use edge::{
    delivery::Ticket,
    release::{Books, Release},
};

struct OnArrival;

impl Release for OnArrival {
    fn arrived(&mut self, books: &mut Books, ticket: Ticket, now: Instant) {
        books.acknowledge_to_broker(ticket);
        books.acknowledge_to_vehicle(ticket, now);
    }

    fn spooled(&mut self, _: &mut Books, _: Ticket, _: Instant) {}

    fn delivered(&mut self, _: &mut Books, _: Ticket, _: Instant) {}
}

/// An edge that acknowledges what it has not delivered. Only for tests.
#[derive(clap::Parser)]
struct Arguments {
    #[command(flatten)]
    config: edge::Config,
}

fn main() -> ExitCode {
    service::run("early-edge", |arguments: Arguments, process| async move {
        let edge = edge::connect_with(arguments.config, OnArrival).await?;
        process.ready(&edge.addresses());
        Ok(edge.run(process.stop()).await?.into())
    })
}
