//! Tests of the start: what a run begins with, and which broker it takes for one.

use clap::Parser;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::fleet::Made;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    config: Config,
}

fn config(flags: &[&str]) -> Config {
    Cli::try_parse_from(["simulator"].iter().chain(flags)).unwrap().config
}

/// Boot and first readings of each vehicle of a fleet that takes `delay` to reach its broker.
async fn beginning(flags: &[&str], delay: Duration) -> Vec<(u32, Vec<Made>)> {
    let config = config(flags);
    config.validate().unwrap();
    let prepared = prepare(&config).unwrap();
    tokio::time::sleep(delay).await;
    let Simulator { units, writer, .. } = assemble(config, prepared, usize::MAX).await.unwrap();
    let begin = |mut unit: Unit| (unit.readings.boot(), (0..20).map(|_| unit.readings.make()).collect());
    let begun = units.into_iter().map(begin).collect();
    // The outbox is locked until then.
    writer.close().await.unwrap();
    begun
}

const FLAGS: [&str; 10] =
    ["--start", "2025-10-09T08:53:20Z", "--speed", "60", "--vehicles", "3", "--poison", "4", "--faults", "demo"];

#[tokio::test]
async fn the_same_flags_give_the_same_boots_and_readings_however_long_the_start_takes() {
    let first = beginning(&FLAGS, Duration::ZERO).await;
    // More than a minute of simulated time.
    let second = beginning(&FLAGS, Duration::from_millis(1_100)).await;
    assert_eq!(first, second);
    assert!(first.iter().all(|(boot, _)| *boot == 1_760_000_000), "the second of --start");
    // With an outbox that is still empty too.
    let dir = tempfile::tempdir().unwrap();
    let outbox = dir.path().join("outbox");
    let flags: Vec<_> = FLAGS.into_iter().chain(["--outbox", outbox.to_str().unwrap()]).collect();
    assert_eq!(beginning(&flags, Duration::from_millis(50)).await, first);
    // The next process finds it, and goes on.
    let next = beginning(&flags, Duration::ZERO).await;
    assert!(next.iter().zip(&first).all(|((boot, made), (before, _))| boot > before && !made.is_empty()));
    let time = |made: &[Made]| made[0].readings[0].time;
    assert!(next.iter().zip(&first).all(|((_, made), (_, before))| time(made) >= time(before)));
}

/// The hash of everything that the first vehicles of a fleet report, in order.
async fn bytes_of(flags: &[&str], readings: usize) -> String {
    let config = config(&[&["--start", "2025-10-09T08:53:20Z", "--vehicles", "50"], flags].concat());
    config.validate().unwrap();
    let prepared = prepare(&config).unwrap();
    let Simulator { units, writer, .. } = assemble(config, prepared, usize::MAX).await.unwrap();
    let mut bytes = Vec::new();
    for mut unit in units {
        for _ in 0..readings {
            for reading in unit.readings.make().readings {
                bytes.extend_from_slice(&reading.record.payload);
            }
        }
    }
    writer.close().await.unwrap();
    telemetry::PayloadHash::of(&bytes).to_string()
}

/// Detectors are trained on these bytes, demos and their figures follow from them: whoever changes them changes
/// those. New physics comes by new flags.
#[tokio::test]
async fn a_fleet_of_the_default_flags_makes_the_bytes_that_it_always_made() {
    for (flags, readings, expected) in [
        (&[][..], 100, "4f5513276b60ea1f"),
        (&["--seed", "7", "--interval-ms", "10000", "--faults", "demo"], 200, "4b64edb6a504ba7b"),
        (
            &["--encoding", "protobuf", "--changes", "10", "--poison", "7", "--interval-ms", "700"],
            60,
            "00ba4fc2fd4752cf",
        ),
    ] {
        assert_eq!(bytes_of(flags, readings).await, expected, "{flags:?}");
    }
    // Not everything has one hash.
    assert_ne!(bytes_of(&["--seed", "2"], 1).await, bytes_of(&["--seed", "3"], 1).await);
}

const MIXED: [&str; 12] = [
    "--drivetrain",
    "mixed",
    "--cycle",
    "wltp",
    "--faults",
    "prevalence",
    "--fault-share",
    "0.05",
    "--interval-ms",
    "60000",
    "--faults-for-ms",
    "20000000",
];

/// This hash may change with the physics of the new worlds; what it shows is that another process, and another machine,
/// make the same bytes.
#[tokio::test]
async fn a_mixed_fleet_makes_the_same_bytes_in_every_process() {
    let bytes = bytes_of(&MIXED, 250).await;
    assert_eq!(bytes, bytes_of(&MIXED, 250).await);
    assert_eq!(bytes, "14f1c9beb55c3d74");
}

#[test]
fn the_faults_of_others_change_nothing_and_ones_own_nothing_before_they_begin() {
    let start = 1_760_000_000_000;
    let flags: Vec<_> = MIXED.into_iter().chain(["--start", "2025-10-09T08:53:20Z", "--vehicles", "60"]).collect();
    let config = config(&flags);
    let plan = Arc::new(plan(&config, start));
    let healthy = fleet(&config, start, Arc::new(FaultPlan::none()));
    let faulty = fleet(&config, start, plan.clone());
    let (mut untouched, mut touched) = (0, 0);
    for index in config.indices() {
        let begins = plan.of_vehicle(index).iter().map(|fault| fault.from).min().unwrap_or(UnixMillis::MAX);
        let [mut expected, mut readings] = [&healthy, &faulty].map(|of| Readings::new(of.clone(), index, 1, start));
        for _ in 0..330 {
            let (expected, made) = (expected.make(), readings.make());
            if made.readings[0].time < begins {
                untouched += 1;
                assert_eq!(expected, made, "vehicle {index}");
            } else {
                touched += i32::from(expected != made);
            }
        }
    }
    assert!(untouched > 15_000 && touched > 200, "{untouched} alike, {touched} changed: {:?}", plan.faults());
}

#[tokio::test]
async fn without_a_start_a_later_process_has_a_higher_boot() {
    let first = beginning(&["--vehicles", "2"], Duration::ZERO).await;
    // The boot is a time in seconds: a unit without memory waits for the next one before it connects.
    tokio::time::sleep(Duration::from_millis(1_010)).await;
    let second = beginning(&["--vehicles", "2"], Duration::ZERO).await;
    assert!(first.iter().zip(&second).all(|((before, _), (boot, _))| boot > before));
}

#[test]
fn faults_befall_vehicles_of_this_process() {
    let config = config(&["--faults", "demo", "--first-vehicle", "1001", "--vehicles", "50"]);
    let plan = plan(&config, 1_760_000_000_000);
    assert_eq!(plan.faults().len(), 20);
    assert!(plan.faults().iter().all(|fault| (1_001..1_051).contains(&fault.vehicle_index)));
}

/// Listens, answers the first packet of each connection with `answer`, and tells what came on the first one.
async fn broker(answer: &'static [u8]) -> (String, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let first = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut came = vec![0; 1_024];
        let n = socket.read(&mut came).await.unwrap();
        came.truncate(n);
        socket.write_all(answer).await.unwrap();
        socket.read_to_end(&mut came).await.ok();
        came
    });
    (address, first)
}

async fn reached(address: &str, further: &[&str]) -> Result<usize, Error> {
    let flags: Vec<_> = ["--mqtt", address, "--connect-timeout-ms", "700"].iter().chain(further).copied().collect();
    let config = config(&flags);
    let target = target(&config, &Arc::new(config.account.open()?), vehicle_id(1), 0)?;
    reach(&config, &target, config.outbox.is_none()).await
}

#[tokio::test]
async fn what_is_no_broker_or_does_not_want_us_is_unavailable() {
    for (answer, what) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "no CONNACK within 700 ms"),
        (b"", "no CONNACK within 700 ms"),
        // CONNACK with 0x88, server unavailable: that may change.
        (&[0x20, 3, 0, 0x88, 0], "no CONNACK within 700 ms"),
        (&[0x20, 3, 0, 0x87, 0], "NotAuthorized"),
        (&[0x20, 3, 0, 0x86, 0], "BadUserNamePassword"),
        // A PINGRESP.
        (&[0xD0, 0], "no CONNACK within 700 ms"),
    ] {
        let (address, listening) = broker(answer).await;
        let error = reached(&address, &[]).await.unwrap_err();
        assert_eq!(error.exit_code(), 69);
        let text = error.to_string();
        assert!(text.starts_with(&format!("--mqtt {address}: ")) && text.contains(what), "{text}");
        listening.abort();
    }
}

#[tokio::test]
async fn a_greeting_leaves_the_session_as_it_is_and_learns_the_packet_limit() {
    // Success, session present, Maximum Packet Size 2000; then a command at QoS 1 that waited in the session.
    const ANSWER: &[u8] = b"\x20\x08\x01\x00\x05\x27\x00\x00\x07\xd0\x32\x08\x00\x01c\x00\x01\x00{}";
    for (further, connect_flags) in [(&["--outbox", "/nowhere"][..], 0x80), (&[], 0x82)] {
        let (address, came) = broker(ANSWER).await;
        let room = reached(&address, further).await.unwrap();
        assert!((1_900..2_000 - "v1/veh-00001/telemetry".len()).contains(&room), "{room}");
        let came = came.await.unwrap();
        let connect = 2 + usize::from(came[1]);
        // A user name, no will; Clean Start only where no outbox is kept.
        assert_eq!(came[9], connect_flags);
        assert_eq!(came[12..18], [13, 0x11, 0, 1, 0x51, 0x80], "the session is kept for a day");
        // Neither an acknowledgement nor anything but the DISCONNECT.
        assert_eq!(came[connect..], [0xE0, 0]);
    }
}

#[test]
fn faults_as_in_life_are_spread_over_the_whole_drive() {
    let start = 1_760_000_000_000;
    let hours = |flags: &[&str]| {
        let flags = ["--faults", "prevalence", "--vehicles", "300", "--fault-share", "0.1"].iter().chain(flags);
        let config = config(&flags.copied().collect::<Vec<_>>());
        let (plan, again) = (plan(&config, start), plan(&config, start));
        let of =
            |plan: &FaultPlan| config.indices().flat_map(|index| plan.of_vehicle(index).to_vec()).collect::<Vec<_>>();
        assert_eq!(of(&plan), of(&again));
        of(&plan).iter().map(|fault| (fault.to - start) / 3_600_000).max()
    };
    // Ten hours: the last fault ends in the last of them.
    assert!(hours(&["--duration-ms", "36000000"]).is_some_and(|last| (8..=10).contains(&last)));
    assert!(hours(&[]).is_some_and(|last| (140..=168).contains(&last)), "a week, where there is no end");
    assert!(hours(&["--duration-ms", "36000000", "--faults-for-ms", "3600000"]).is_some_and(|last| last <= 1));
    assert_eq!(
        hours(&["--duration-ms", "3600000", "--faults-from-ms", "3600000"]),
        None,
        "they would begin at its end"
    );
}
