//! Packets as bytes: what is complete is taken, what is not waits, what is none ends the connection.

use std::{
    io::{Read, Write},
    net::TcpListener,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use clap::Parser;
use services::{Authority, Use};

use super::{
    Happening, Identity, Link, Session, packets,
    up::{SILENCE, UNDECODED},
    wire::Wire,
};
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
    let mut session = session(&["--mqtt", &broker]);
    let mut now = Instant::now();
    let deadline = now + Duration::from_secs(20);
    while !session.connected() {
        now = Instant::now();
        assert!(now < deadline, "no connection");
        session.advance(now, true, true, true);
        while session.next(now, 0, true).is_some() {}
        session.flush();
    }
    let socket = silent.join().unwrap();
    let since = now;
    loop {
        now += Duration::from_millis(1_001);
        session.advance(now, false, true, true);
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

/// It looks at the socket and decodes nothing, again and again, as where Kafka takes one reading at a time.
#[test]
fn a_broker_that_sends_faster_than_we_decode_is_held_up_and_not_left() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = listener.local_addr().unwrap().to_string();
    let sends = std::thread::spawn(move || {
        let mut socket = listener.accept().unwrap().0;
        socket.read_exact(&mut [0; 14]).unwrap();
        // CONNACK, and then publishes until we go.
        socket.write_all(&[0x20, 3, 0, 0, 0]).unwrap();
        let publishes = PUBLISH.repeat(1_000);
        while socket.write_all(&publishes).is_ok() {}
    });
    let mut session = session(&["--mqtt", &broker]);
    let undecoded = |session: &mut Session| match &mut session.link {
        Link::Up(up) => up.wire.inbox().len(),
        _ => 0,
    };
    let mut now = Instant::now();
    let deadline = now + Duration::from_secs(20);
    while undecoded(&mut session) != UNDECODED {
        assert!(Instant::now() < deadline, "{} bytes", undecoded(&mut session));
        session.advance(now, true, true, true);
        session.flush();
        assert!(undecoded(&mut session) <= UNDECODED, "{} bytes", undecoded(&mut session));
    }
    for _ in 0..30 {
        now += Duration::from_secs(1);
        assert_eq!(session.advance(now, true, true, true), UNDECODED);
        assert_eq!(undecoded(&mut session), UNDECODED);
    }
    let mut publishes = 0;
    while let Some(happening) = session.next(now, 0, true) {
        publishes += usize::from(matches!(happening, Happening::Publish { .. }));
    }
    assert_eq!(publishes, (UNDECODED - 5) / PUBLISH.len(), "it goes on where it was");
    drop(session);
    sends.join().unwrap();
}

/// Its socket is open before it learns that another edge bridges: a CONNECT would throw that one out.
#[test]
fn who_was_slower_does_not_throw_the_other_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut session = session(&["--mqtt", &listener.local_addr().unwrap().to_string()]);
    session.advance(Instant::now(), true, true, true);
    let mut socket = listener.accept().unwrap().0;
    let deadline = Instant::now() + Duration::from_secs(20);
    while matches!(session.link, Link::Opening(_)) {
        assert!(Instant::now() < deadline, "it opens for ever");
        session.advance(Instant::now(), false, true, false);
    }
    session.flush();
    assert_eq!(socket.read(&mut [0; 14]).unwrap(), 0, "nothing was said");
    assert!(session.next(Instant::now(), 0, true).is_none(), "nothing was lost either");
}

#[test]
fn a_session_that_may_not_connect_wakes_nobody() {
    let session = session(&[]);
    let later = Instant::now() + Duration::from_secs(60);
    assert_eq!(session.wanted_at(later, false), None, "another edge is active, however long");
    assert!(session.wanted_at(later, true).is_some_and(|at| at > later), "never sooner than the next step");
}

#[test]
fn a_refusal_over_tls_is_heard_although_the_broker_closes_at_once() {
    // CONNACK: the user name or the password is wrong.
    const REFUSAL: [u8; 5] = [0x20, 3, 0, 0x86, 0];
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path()).unwrap();
    let own = authority.ensure("broker", Use::Server).unwrap();
    let [certificate, key] = [own.certificate, own.key].map(|path| std::fs::read(path).unwrap());
    let acceptor = native_tls::TlsAcceptor::new(native_tls::Identity::from_pkcs8(&certificate, &key).unwrap()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let broker = std::thread::spawn(move || {
        let mut stream = acceptor.accept(listener.accept().unwrap().0).unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0, "no CONNECT");
        stream.write_all(&REFUSAL).unwrap();
        stream.shutdown().unwrap();
    });

    let ca = authority.certificate().display().to_string();
    let mut session = session(&["--mqtt", &address, "--mqtt-tls", "--mqtt-ca", &ca]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !broker.is_finished() {
        assert!(Instant::now() < deadline, "no connection");
        // It does not listen before everything is there, so that one reading brings the refusal and the end.
        session.advance(Instant::now(), true, false, true);
        session.flush();
        std::thread::sleep(Duration::from_millis(1));
    }
    broker.join().unwrap();
    session.advance(Instant::now(), true, true, true);
    let happening = session.next(Instant::now(), 0, true);
    let Some(Happening::Refused(why)) = happening else { panic!("{happening:?}") };
    assert!(why.contains("BadUserNamePassword"), "{why}");
}
