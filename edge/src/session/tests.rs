//! Packets as bytes: what is complete is taken, what is not waits, what is none ends the connection.

use std::{
    io::{Read, Write},
    net::TcpListener,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use clap::Parser;

use super::{Happening, Identity, SILENCE, Session, packets, wire::Wire};
use crate::config::Config;

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

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    config: Config,
}

/// A connection that the network has forgotten brings nothing, not even its end. An edge without work looks at it once
/// in a second, and must take that for silence all the same.
#[test]
fn a_broker_that_falls_silent_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = listener.local_addr().unwrap().to_string();
    let silent = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.read_exact(&mut [0; 14]).unwrap();
        // CONNACK without a session or properties; then not a word.
        socket.write_all(&[0x20, 3, 0, 0, 0]).unwrap();
        socket
    });
    let config = Cli::try_parse_from(["edge", "--mqtt", &broker]).unwrap().config;
    let mut session = Session::new(&config, Identity::bridge("edge.1".into(), None)).unwrap();
    let mut now = Instant::now();
    let deadline = now + Duration::from_secs(20);
    while !session.connected() {
        now = Instant::now();
        assert!(now < deadline, "no connection");
        session.advance(now, true, true);
        while session.next(now, 0, true).is_some() {}
        session.flush();
    }
    let socket = silent.join().unwrap();
    let since = now;
    loop {
        now += Duration::from_millis(1_001);
        session.advance(now, false, true);
        if let Some(happening) = session.next(now, 0, true) {
            let Happening::Lost(why) = happening else { panic!("{happening:?}") };
            assert!(why.contains("silent"), "{why}");
            break;
        }
        assert!(now - since < 2 * SILENCE, "nobody noticed");
    }
    assert!(now - since > SILENCE);
    drop(socket);
}
