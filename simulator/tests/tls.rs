//! Vehicles with certificates against a real mosquitto that asks for them: `load`, `drive`, and who is not let in.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions, mqttbytes::QoS};
use serde_json::Value;
use services::{Authority, Kind, Options, Services, Tls, Use};

/// Far above what any step takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Site {
    services: Services,
    tls: Tls,
    folder: tempfile::TempDir,
}

impl Site {
    /// A broker, and certificates for so many vehicles.
    async fn start(vehicles: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::new(folder.path().join("services")).only(&[Kind::Mosquitto]).with_tls();
        let services = Services::start(options).await.unwrap();
        let tls = services.tls().unwrap();
        let authority = Authority::open(&tls.certificates).unwrap();
        for vehicle in 1..=vehicles {
            authority.issue(&format!("veh-{vehicle:05}"), Use::Client, services::Validity::Now).unwrap();
        }
        Self { services, tls, folder }
    }

    /// The simulator, with TLS; `authority` is whom it trusts.
    fn simulator(&self, subcommand: &str, authority: &Path, arguments: &str) -> Child {
        let pattern = |kind| self.tls.certificates.join(format!("{{vehicle}}.{kind}"));
        Command::new(env!("CARGO_BIN_EXE_motorcade-simulator"))
            .args([subcommand, "--mqtt", &self.tls.mqtt_vehicles.to_string(), "--mqtt-tls", "--mqtt-ca"])
            .arg(authority)
            .arg("--mqtt-cert")
            .arg(pattern("crt"))
            .arg("--mqtt-key")
            .arg(pattern("key"))
            .args(arguments.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn load(&self, arguments: &str) -> Child {
        let report = self.folder.path().join("report.json");
        self.simulator("load", &self.authority(), &format!("--report {} {arguments}", report.display()))
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.folder.path().join("report.json")).unwrap()).unwrap()
    }

    fn authority(&self) -> std::path::PathBuf {
        self.tls.certificates.join("ca.crt")
    }
}

/// Waits for its end; kills it and fails if that does not come.
async fn end(mut child: Child) -> (Option<i32>, Output) {
    let until = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            child.kill().unwrap();
            panic!("it hangs: {}", String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let output = child.wait_with_output().unwrap();
    (output.status.code(), output)
}

#[tokio::test]
async fn a_load_of_vehicles_with_certificates_reports_and_survives_the_broker() {
    let mut site = Site::start(40).await;
    let arguments = "--vehicles 40 --workers 2 --rate 400 --duration-ms 3000 --judge puback --payload kib \
                     --reconnect-ms 100 --drain-ms 20000 --ledger";
    let ledger = site.folder.path().join("ledger");
    let child = site.load(&format!("{arguments} {}", ledger.display()));
    let until = Instant::now() + PATIENCE;
    while !simulator::ledger::read(&ledger).is_ok_and(|ledger| ledger.len() > 200) {
        assert!(Instant::now() < until, "no readings");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    site.services.restart(Kind::Mosquitto).await.unwrap();
    let (code, output) = end(child).await;
    assert_eq!(code, Some(0), "{output:?}");
    let figures = &site.report()["figures"];
    // Nobody subscribes, and the broker says so of each; a vehicle that wrote as another would be told 0x87.
    assert_eq!((&figures["made_readings"], &figures["unheard_readings"]), (&1_200.0.into(), &1_200.0.into()));
    assert_eq!((&figures["connections_lost"], &figures["reconnects"]), (&40.0.into(), &40.0.into()), "{figures}");
}

#[tokio::test]
async fn a_fleet_with_certificates_is_heard_and_each_vehicle_as_itself() {
    let site = Site::start(3).await;
    let addresses = site.services.addresses();
    let mut options = MqttOptions::new("edge.test", addresses.mqtt_edge.ip().to_string(), addresses.mqtt_edge.port());
    options.set_credentials(&addresses.mqtt_edge_user, &addresses.mqtt_edge_password);
    let (client, mut event_loop) = AsyncClient::new(options, 16);
    client.subscribe("v1/+/telemetry", QoS::AtLeastOnce).await.unwrap();
    while !matches!(event_loop.poll().await.unwrap(), Event::Incoming(Incoming::SubAck(_))) {}
    let child = site.simulator("drive", &site.authority(), "--vehicles 3 --interval-ms 200 --stop-drain-ms 500");
    let mut heard: BTreeMap<String, u32> = BTreeMap::new();
    let hears = async {
        while heard.len() < 3 || heard.values().any(|readings| *readings < 5) {
            if let Event::Incoming(Incoming::Publish(publish)) = event_loop.poll().await.unwrap() {
                *heard.entry(String::from_utf8(publish.topic.to_vec()).unwrap()).or_default() += 1;
            }
        }
    };
    tokio::time::timeout(PATIENCE, hears).await.expect("readings of all three");
    assert!(heard.keys().eq([1, 2, 3].map(|n| format!("v1/veh-0000{n}/telemetry")).iter()), "{heard:?}");
    let mut child = child;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn who_is_not_let_in_says_why_and_does_not_hang() {
    let site = Site::start(4).await;
    let elsewhere = Authority::open(site.folder.path().join("elsewhere")).unwrap();
    let ramp = "--vehicles 4 --blast --ramp-ms 2000 --judge puback";
    let port = site.tls.mqtt_vehicles.port();

    let (code, output) = end(site.simulator("load", &elsewhere.certificate(), ramp)).await;
    refused("wrong authority", code, &output, "the broker's certificate: self-signed certificate");
    // A plain socket where TLS is spoken.
    let arguments = format!("load --mqtt {} {ramp}", site.tls.mqtt_vehicles);
    let (code, output) = end(command(&arguments)).await;
    refused("plain", code, &output, "0 of 4 vehicles");
    // No certificate, another authority's, none of its own, and another name for the broker.
    let tls =
        format!("load --mqtt {} --mqtt-tls --mqtt-ca {} {ramp}", site.tls.mqtt_vehicles, site.authority().display());
    let (code, output) = end(command(&tls)).await;
    refused("no certificate", code, &output, "certificate required");
    let wrong_host = tls.replace(&site.tls.mqtt_vehicles.to_string(), &format!("localhost:{port}"));
    let (code, output) = end(command(&wrong_host)).await;
    refused("wrong host", code, &output, "hostname mismatch");
    elsewhere.issue("veh-00004", Use::Client, services::Validity::Now).unwrap();
    for kind in ["crt", "key"] {
        let name = format!("veh-00004.{kind}");
        std::fs::copy(elsewhere.dir().join(&name), site.tls.certificates.join(&name)).unwrap();
    }
    let (code, output) = end(site.load(ramp)).await;
    refused("another authority's", code, &output, "3 of 4 vehicles");
    std::fs::remove_file(site.tls.certificates.join("veh-00004.crt")).unwrap();
    let (code, output) = end(site.load(ramp)).await;
    refused("no file", code, &output, "a vehicle's certificate or key can't be used");

    // The fleet with physics finds it out at its start.
    let arguments = "--vehicles 3 --connect-timeout-ms 2000";
    let (code, output) = end(site.simulator("drive", &elsewhere.certificate(), arguments)).await;
    refused("wrong authority", code, &output, "certificate verify failed");
}

fn command(arguments: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_motorcade-simulator"))
        .args(arguments.split(' '))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn refused(what: &str, code: Option<i32>, output: &Output, why: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(code, Some(69), "{what}: {error}");
    assert!(error.contains(why) && error.contains("--mqtt"), "{what}: {error}");
    assert!(!error.contains("panicked") && !error.contains("PRIVATE KEY"), "{what}: {error}");
}
