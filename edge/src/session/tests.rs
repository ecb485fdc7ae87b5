//! Packets as bytes: what is complete is taken, what is not waits, what is none ends the connection.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use clap::Parser;

use super::{Happening, Identity, Session, packets, wire::Wire};
use crate::config::Config;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    config: Config,
}

fn session(flags: &[&str]) -> Session {
    let config = Cli::parse_from(std::iter::once("edge").chain(flags.iter().copied())).config;
    Session::new(&config, Identity::bridge("edge.1".to_owned(), None)).unwrap()
}

/// PUBLISH of QoS 1 on `t` with packet id 7, no properties, payload `x`.
const PUBLISH: [u8; 9] = [0x32, 7, 0, 1, b't', 0, 7, 0, b'x'];

#[test]
fn a_packet_is_taken_when_it_is_complete() {
    let mut inbox = BytesMut::new();
    for (at, byte) in PUBLISH.iter().enumerate() {
        assert!(packets::next(&mut inbox, 5).unwrap().is_none(), "after {at} bytes");
        inbox.extend_from_slice(&[*byte]);
    }
    let Some(packets::Came::Happening(Happening::Publish { packet_id, entry })) = packets::next(&mut inbox, 5).unwrap()
    else {
        panic!("a publish")
    };
    assert_eq!((packet_id, entry.ingest, entry.qos0), (Some(7), 5, false));
    assert_eq!((&entry.mqtt_topic[..], &entry.payload[..]), (&b"t"[..], &b"x"[..]));
    assert!(inbox.is_empty());
}

#[test]
fn what_is_no_packet_is_an_error() {
    assert!(packets::next(&mut BytesMut::from(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF][..]), 0).is_err());
}

#[test]
fn a_broker_that_takes_leave_is_understood_in_every_form() {
    let ended = |bytes: &[u8]| packets::next(&mut BytesMut::from(bytes), 0);
    for bytes in [&[0xE0, 0][..], &[0xE0, 1, 0x8B], &[0xE0, 2, 0x8B, 0]] {
        let why = ended(bytes).err().unwrap();
        assert!(why.contains("the broker ends the connection"), "{bytes:x?}: {why}");
    }
    // Another edge has our session.
    for bytes in [&[0xE0, 1, 0x8E][..], &[0xE0, 2, 0x8E, 0]] {
        let taken_over = matches!(ended(bytes), Ok(Some(packets::Came::Happening(Happening::TakenOver))));
        assert!(taken_over, "{bytes:x?}");
    }
}

#[test]
fn pubacks_gather_in_order() {
    let mut outbox = BytesMut::new();
    packets::puback(1, &mut outbox);
    packets::puback(0x0203, &mut outbox);
    assert_eq!(outbox[..], [0x40, 2, 0, 1, 0x40, 2, 2, 3]);
}

#[test]
fn a_broker_is_reached_by_either_family_of_addresses() {
    for host in ["127.0.0.1", "[::1]"] {
        // A machine without IPv6 has nothing to show here.
        let Ok(listener) = TcpListener::bind(format!("{host}:0")) else { continue };
        let broker = listener.local_addr().unwrap().to_string().parse().unwrap();
        let opened = Wire::open(&broker, None, Duration::from_secs(10));
        assert!(opened.is_ok(), "{broker}: {:?}", opened.err());
    }
}

#[test]
fn a_session_that_may_not_connect_wakes_nobody() {
    let session = session(&[]);
    let later = Instant::now() + Duration::from_secs(60);
    assert_eq!(session.wanted_at(later, false), None, "another edge is active, however long");
    assert!(session.wanted_at(later, true).is_some_and(|at| at > later), "never sooner than the next step");
}
