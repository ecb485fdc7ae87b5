//! TLS: what the edge forwards, what it survives, and how it says that it may not come in.

use std::path::{Path, PathBuf};

use rumqttc::v5::mqttbytes::v5::PubAckReason;
use services::{Authority, Kind, Use, Validity};

use crate::{
    Site, all_acked, kafka,
    process::{Edge, Flags, until},
    vehicle::Vehicle,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_over_tls_is_in_kafka_whatever_dies() {
    let mut site = Site::start().await;
    let edge = site.start_edge("first", &site.flags()).ready();
    let vehicles = ["veh-1", "veh-2", "veh-3"].map(|name| site.vehicle(name));
    let go_on_to = |seq| vehicles.iter().for_each(|vehicle| vehicle.go_on_to(seq));
    go_on_to(200);
    all_acked(&vehicles, 200);

    // The broker restarts, and knows no session any more.
    site.services.restart(Kind::Mosquitto).await.unwrap();
    go_on_to(400);
    all_acked(&vehicles, 400);
    assert!(vehicles.iter().all(|vehicle| vehicle.connections() >= 2), "all came back over TLS");
    assert!(edge.log().contains("the MQTT broker is away"), "{}", edge.log());

    // The edge dies with work in hand.
    go_on_to(3_000);
    until("acks while more is on its way", || vehicles.iter().all(|v| v.acked().len() > 600).then_some(()));
    edge.kill();
    let told = vehicles.iter().map(|vehicle| (vehicle.name.clone(), vehicle.acked())).collect::<Vec<_>>();
    assert!(told.iter().any(|(_, acked)| acked.len() < 3_000), "it was killed too late to show anything");
    let in_kafka = kafka::readings(site.kafka());
    for (vehicle, acked) in told {
        let lost: Vec<_> = acked.iter().filter(|seq| !in_kafka.contains_key(&(vehicle.clone(), **seq))).collect();
        assert!(lost.is_empty(), "{vehicle}: {lost:?}");
    }

    let edge = site.start_edge("second", &site.flags()).ready();
    all_acked(&vehicles, 3_000);
    assert_eq!(kafka::readings(site.kafka()).len(), 9_000);
    let (tally, log) = edge.stop();
    assert!(tally.contains(r#""event":"tally""#), "{tally}");
    assert!(!log.contains("PRIVATE KEY"), "a key in the log");
    site.services.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vehicle_is_who_its_certificate_names_and_nobody_else() {
    let site = Site::start().await;
    let edge = site.start_edge("edge", &site.flags()).ready();
    let honest = site.vehicle("veh-1");
    // Its certificate is good, the name that it gives is another's.
    let own = site.authority.ensure("veh-2", Use::Client).unwrap();
    let authority = site.authority.certificate();
    let forger = Vehicle::start(&site.tls, &authority, &own, "veh-1", "v1/veh-1/telemetry");
    for vehicle in [&honest, &forger] {
        vehicle.go_on_to(50);
    }
    until("acks of the honest one", || (honest.acked().len() == 50).then_some(()));
    until("the forger is refused", || {
        forger.troubles().0.first().copied().map(|reason| {
            assert_eq!(reason, PubAckReason::NotAuthorized);
        })
    });
    assert!(forger.acked().is_empty(), "it heard another's acks");
    assert_eq!(honest.connections(), 1, "nobody took its place");
    // Certificates that no vehicle should get in with.
    let elsewhere = Authority::open(site.folder.path().join("elsewhere")).unwrap();
    let strangers = [
        elsewhere.issue("veh-3", Use::Client, Validity::Now).unwrap(),
        site.authority.issue("veh-4", Use::Client, Validity::Over).unwrap(),
    ];
    for stranger in strangers {
        let vehicle = Vehicle::start(&site.tls, &authority, &stranger, "veh-3", "v1/veh-3/telemetry");
        until("it is turned away", || (vehicle.troubles().1.len() > 2).then_some(()));
        assert_eq!(vehicle.connections(), 0);
    }
    let in_kafka = kafka::readings(site.kafka());
    assert!(in_kafka.len() == 50 && in_kafka.keys().all(|(vehicle, _)| vehicle == "veh-1"), "{in_kafka:?}");
    edge.stop();
    site.services.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_renewed_counts_from_the_next_connection() {
    let mut site = Site::start().await;
    let edge = site.start_edge("edge", &site.flags()).ready();
    let vehicles = [site.vehicle("veh-1")];
    vehicles[0].go_on_to(50);
    all_acked(&vehicles, 50);

    site.authority.issue("edge", Use::Client, Validity::Over).unwrap();
    site.services.restart(Kind::Mosquitto).await.unwrap();
    until("the old one is refused", || edge.log().contains("certificate expired").then_some(()));
    site.authority.issue("edge", Use::Client, Validity::Now).unwrap();
    vehicles[0].go_on_to(100);
    all_acked(&vehicles, 100);
    edge.stop();
    site.services.stop().await;
}

/// Ways of not coming in, and what the edge says of each.
fn refusals(site: &Site, elsewhere: &Path, wrong_password: &Path) -> Vec<(&'static str, Flags, &'static str)> {
    let flags = || site.flags().with("connect-timeout-ms", "4000");
    let port = |address: &str| address.rsplit_once(':').unwrap().1.to_owned();
    let (mqtt, kafka) = (port(&site.tls.mqtt_edge.to_string()), port(&site.tls.kafka));
    let account = || {
        let flags = flags().without(&["kafka-cert", "kafka-key"]);
        flags.with("kafka", &site.tls.kafka_accounts).with("kafka-user", site.tls.kafka_user)
    };
    let path = |path: &Path| path.display().to_string();
    vec![
        ("mqtt-wrong-authority", flags().with("mqtt-ca", path(elsewhere)), "certificate verify failed"),
        ("mqtt-system-authorities", flags().without(&["mqtt-ca"]), "certificate verify failed"),
        ("mqtt-wrong-host", flags().with("mqtt", format!("localhost:{mqtt}")), "hostname mismatch"),
        ("mqtt-no-certificate", flags().without(&["mqtt-cert", "mqtt-key"]), "certificate required"),
        ("mqtt-plain", flags().without(&["mqtt-tls", "mqtt-ca", "mqtt-cert", "mqtt-key"]), "--mqtt"),
        ("kafka-wrong-authority", flags().with("kafka-ca", path(elsewhere)), "certificate verify failed"),
        ("kafka-wrong-host", flags().with("kafka", format!("localhost:{kafka}")), "verify failed"),
        ("kafka-no-certificate", flags().without(&["kafka-cert", "kafka-key"]), "certificate"),
        ("kafka-plain", flags().without(&["kafka-tls", "kafka-ca", "kafka-cert", "kafka-key"]), "--kafka"),
        ("kafka-wrong-password", account().with("kafka-password-file", path(wrong_password)), "uthentication failed"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_not_come_in_is_told_why() {
    let mut site = Site::start().await;
    let elsewhere = Authority::open(site.folder.path().join("elsewhere")).unwrap().certificate();
    let wrong_password: PathBuf = site.folder.path().join("wrong");
    std::fs::write(&wrong_password, "xyzzy-not-the-password").unwrap();
    let started: Vec<_> = refusals(&site, &elsewhere, &wrong_password)
        .into_iter()
        .map(|(name, flags, why)| (name, site.start_edge(name, &flags), why))
        .collect();
    for (name, edge, why) in started {
        refused(name, edge, why);
    }

    // Beside them, what differs from these only in being right.
    let right = site.flags().without(&["kafka-cert", "kafka-key"]).with("kafka", &site.tls.kafka_accounts);
    let password_file = site.tls.kafka_password_file.display().to_string();
    let right = right.with("kafka-user", site.tls.kafka_user).with("kafka-password-file", password_file);
    let edge = site.start_edge("with-an-account", &right).ready();
    let vehicle = site.vehicle("veh-1");
    vehicle.go_on_to(100);
    all_acked(std::slice::from_ref(&vehicle), 100);
    let (_, log) = edge.stop();
    let password = std::fs::read_to_string(&site.tls.kafka_password_file).unwrap();
    assert!(password.len() > 16 && !log.contains(password.trim()), "the password is in the log");
    assert_eq!(kafka::readings(site.kafka()).len(), 100);

    // Both servers' certificates are over.
    for name in ["mosquitto", "kafka"] {
        site.authority.issue(name, Use::Server, Validity::Over).unwrap();
    }
    let flags = site.flags().with("connect-timeout-ms", "4000");
    site.services.restart(Kind::Mosquitto).await.unwrap();
    refused("mqtt-expired", site.start_edge("mqtt-expired", &flags), "certificate has expired");
    site.services.restart(Kind::Kafka).await.unwrap();
    refused("kafka-expired", site.start_edge("kafka-expired", &flags), "certificate verify failed");
    site.services.stop().await;
}

/// It ends by itself, with the code of a service that can't be reached, and the last line says why.
fn refused(name: &str, edge: Edge, why: &str) {
    let (code, log) = edge.ended();
    let last = log.lines().last().unwrap_or_default();
    assert_eq!(code, Some(69), "{name}: {log}");
    let side = if name.starts_with("mqtt") { "--mqtt" } else { "--kafka" };
    assert!(last.contains(why) && last.contains(side), "{name}: {last}");
    assert!(!log.contains("panicked") && !log.contains("PRIVATE KEY") && !log.contains("xyzzy"), "{name}: {log}");
}
