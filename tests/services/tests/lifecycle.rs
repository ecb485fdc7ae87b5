//! Real services are started, killed, restarted, stopped; nothing outlives its owner.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mongodb::Client;
use mongodb::bson::{Document, doc};
use services::{Error, Kind, Options, Services};

fn exists(pid: i32) -> bool {
    // A zombie whose parent does not collect it has ended all the same.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen in time");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Every process that has the folder on its command line: what a clean stop must leave none of.
fn processes_of(dir: &Path) -> Vec<String> {
    let folder = dir.canonicalize().unwrap();
    let commands = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.ok()?.path().join("cmdline");
        std::fs::read_to_string(path).ok()
    });
    commands.filter(|command| command.contains(folder.to_str().unwrap())).collect()
}

/// One request in Kafka's own protocol, and the answer to it.
fn kafka_call(address: &str, api: u16, version: u16, body: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(api.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend([0, 0, 0, 1, 0xFF, 0xFF]);
    request.extend(body);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(&u32::try_from(request.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(&request).unwrap();
    let mut size = [0; 4];
    stream.read_exact(&mut size).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(size).try_into().unwrap()];
    stream.read_exact(&mut answer).unwrap();
    answer
}

/// Creates the topic `kept` (CreateTopics, version 2) and returns the error code for it.
fn create_topic(address: &str) -> u16 {
    let body = b"\0\0\0\x01\0\x04kept\0\0\0\x03\0\x01\0\0\0\0\0\0\0\0\0\0\x4E\x20\0";
    let answer = kafka_call(address, 19, 2, body);
    // Correlation id, throttle time, one topic, its name (2 + 4), its error.
    u16::from_be_bytes([answer[18], answer[19]])
}

#[tokio::test]
async fn all_three_start_survive_kills_and_stop() {
    let dir = tempfile::tempdir().unwrap();
    let mut services = Services::start(Options::new(dir.path())).await.unwrap();
    let addresses = services.addresses().clone();

    let names: Vec<_> = services.environment().into_iter().map(|(name, _)| name).collect();
    let expected = [
        "MOTORCADE_MQTT",
        "MOTORCADE_EDGE_MQTT",
        "MOTORCADE_EDGE_MQTT_USER",
        "MOTORCADE_EDGE_MQTT_PASSWORD_FILE",
        "MOTORCADE_KAFKA",
        "MOTORCADE_MONGO",
    ];
    assert_eq!(names, expected);
    let kafka: SocketAddr = addresses.kafka.parse().unwrap();
    for address in [addresses.mqtt_vehicles, addresses.mqtt_edge, kafka] {
        assert!(address.ip().is_loopback());
        TcpStream::connect(address).unwrap();
    }

    // Kafka keeps topics over a kill, mongod documents that a majority has.
    assert_eq!(create_topic(&addresses.kafka), 0);
    let mongo = Client::with_uri_str(&addresses.mongo).await.unwrap();
    let collection = mongo.database("test").collection::<Document>("kept");
    collection.insert_one(doc! { "_id": 1 }).await.unwrap();

    for kind in Kind::ALL {
        let before = services.pid(kind).unwrap();
        services.kill(kind).await;
        assert!(!exists(before), "{kind} is gone when kill returns");
        assert_eq!(services.pid(kind), None);
        services.restart(kind).await.unwrap();
        assert_ne!(services.pid(kind), Some(before));
    }
    const TOPIC_ALREADY_EXISTS: u16 = 36;
    assert_eq!(create_topic(&addresses.kafka), TOPIC_ALREADY_EXISTS);
    assert_eq!(collection.count_documents(doc! {}).await.unwrap(), 1);
    collection.insert_one(doc! { "_id": 2 }).await.unwrap();
    assert_eq!(services.addresses().kafka, addresses.kafka);

    services.stop_gracefully(Kind::Kafka).await;
    services.restart(Kind::Kafka).await.unwrap();
    assert_eq!(create_topic(&addresses.kafka), TOPIC_ALREADY_EXISTS);

    let pids: Vec<_> = Kind::ALL.into_iter().filter_map(|kind| services.pid(kind)).collect();
    assert_eq!(pids.len(), 3);
    assert!(matches!(services::remove_stored_in(dir.path()), Err(Error::InUse { .. })), "it is in use");
    services.stop().await;
    assert!(!pids.into_iter().any(exists));
    assert_eq!(processes_of(dir.path()), Vec::<String>::new());
    assert!(services::alive(dir.path()).is_empty());

    let bytes = |kind: Kind| bytes_in(&dir.path().join(kind.name()));
    assert!(bytes(Kind::Kafka) > 0 && bytes(Kind::Mongod) > 0);
    services::remove_stored_in(dir.path()).unwrap();
    assert_eq!((bytes(Kind::Kafka), bytes(Kind::Mongod)), (0, 0), "what they stored is gone");
    for kind in Kind::ALL {
        assert!(dir.path().join(format!("{kind}.log")).is_file(), "what {kind} told stays");
    }
}

/// What lies in a folder and below it; 0 where there is none.
fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.metadata().map_or(0, |found| found.len()) + bytes_in(&entry.path())).sum()
}

#[tokio::test]
async fn a_replica_set_follows_when_its_port_changes() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options::new(dir.path()).only(&[Kind::Mongod]);
    let services = Services::start(options()).await.unwrap();
    let first = services.addresses().mongo.clone();
    let collection = async |uri: &str| {
        let client = Client::with_uri_str(uri).await.unwrap();
        client.database("test").collection::<Document>("kept")
    };
    collection(&first).await.insert_one(doc! { "_id": 1 }).await.unwrap();
    services.stop().await;

    std::fs::remove_file(dir.path().join("ports.json")).unwrap();
    let services = Services::start(options()).await.unwrap();
    let second = services.addresses().mongo.clone();
    assert_ne!(second, first);
    let collection = collection(&second).await;
    assert_eq!(collection.count_documents(doc! {}).await.unwrap(), 1);
    collection.insert_one(doc! { "_id": 2 }).await.unwrap();
    services.stop().await;
}

#[tokio::test]
async fn sets_in_two_folders_run_side_by_side() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let start = |dir: &Path| Services::start(Options::new(dir).only(&[Kind::Mosquitto]));
    let (first, second) = tokio::join!(start(one.path()), start(two.path()));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_ne!(first.addresses().mqtt_vehicles, second.addresses().mqtt_vehicles);
    assert_ne!(first.addresses().mqtt_edge_password, second.addresses().mqtt_edge_password);

    let again = start(one.path()).await;
    assert!(matches!(again, Err(Error::InUse { .. })), "a folder has one owner at a time");
    first.stop().await;
    start(one.path()).await.unwrap().stop().await;
    second.stop().await;
}

#[tokio::test]
async fn dropped_services_are_killed() {
    let dir = tempfile::tempdir().unwrap();
    let services = Services::start(Options::new(dir.path()).only(&[Kind::Mosquitto])).await.unwrap();
    let pid = services.pid(Kind::Mosquitto).unwrap();
    drop(services);
    assert!(!exists(pid));
}

#[tokio::test]
async fn what_is_not_installed_is_named() {
    let (dir, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut options = Options::new(dir.path());
    options.deps = empty.path().into();
    let error = Services::start(options).await.unwrap_err();
    assert!(error.to_string().contains("make deps"), "{error}");
    assert_eq!(processes_of(dir.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_service_that_fails_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options::new(dir.path()).only(&[Kind::Mongod]);
    Services::start(options()).await.unwrap().stop().await;
    std::fs::write(dir.path().join("mongod/storage.bson"), "nonsense").unwrap();
    let error = Services::start(options()).await.unwrap_err().to_string();
    assert!(error.contains("mongod ended before it was ready") && error.contains("mongod.log"), "{error}");
    assert!(error.contains("storage engine metadata"), "{error}");
}

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_services"));
    command.arg("--dir").arg(dir).args(arguments);
    command
}

#[tokio::test]
async fn leftovers_are_ended_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    // Services without an owner, as after a crash of owner and watcher.
    let up = command(dir.path(), &["up", "--only", "mosquitto,mongod"]).output().unwrap();
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    let left: Vec<_> = services::alive(dir.path()).into_iter().map(|(_, pid)| pid).collect();
    assert_eq!(left.len(), 2);

    let services = Services::start(Options::new(dir.path()).only(&[Kind::Mosquitto])).await.unwrap();
    assert!(!left.into_iter().any(exists));
    assert_eq!(services::alive(dir.path()).len(), 1);
    services.stop().await;
}

#[tokio::test]
async fn a_start_anew_ends_and_removes_what_is_left_but_nothing_of_a_living_owner() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options::new(dir.path()).only(&[Kind::Mosquitto]).anew();
    let up = command(dir.path(), &["up", "--only", "mosquitto"]).output().unwrap();
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    let left = services::alive(dir.path())[0].1;
    std::fs::write(dir.path().join("old"), "").unwrap();

    let services = Services::start(options()).await.unwrap();
    assert!(!exists(left) && !dir.path().join("old").exists());

    std::fs::write(dir.path().join("mine"), "").unwrap();
    assert!(matches!(Services::start(options()).await, Err(Error::InUse { .. })));
    assert!(dir.path().join("mine").exists() && exists(services.pid(Kind::Mosquitto).unwrap()));
    services.stop().await;
}

#[test]
fn up_is_idempotent_and_down_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let up = || command(dir.path(), &["up", "--only", "mosquitto,mongod"]).output().unwrap();
    let first = up();
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let pids = services::alive(dir.path());
    let second = up();
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(services::alive(dir.path()), pids);
    assert_eq!(std::fs::read(dir.path().join("env")).unwrap(), first.stdout);
    assert!(command(dir.path(), &["status"]).output().unwrap().status.success());

    // A shell can take the lines as they are.
    let script = ". \"$0\"; printenv MOTORCADE_MONGO";
    let shell = Command::new("sh").args(["-euc", script]).arg(dir.path().join("env")).output().unwrap();
    let value = String::from_utf8(shell.stdout).unwrap();
    assert!(value.trim_end().ends_with("/?replicaSet=rs0"), "{value}");

    assert!(command(dir.path(), &["down"]).status().unwrap().success());
    assert!(!pids.into_iter().any(|(_, pid)| exists(pid)));
    assert_eq!(processes_of(dir.path()), Vec::<String>::new());
    assert!(!command(dir.path(), &["status"]).output().unwrap().status.success());
    assert!(command(dir.path(), &["down"]).status().unwrap().success());
}

/// Starts `services run` and returns it once mosquitto answers.
fn foreground(dir: &Path) -> (Child, i32) {
    let run = command(dir, &["run", "--only", "mosquitto"]).stdout(Stdio::null()).spawn().unwrap();
    wait_until("a start", || dir.join("env").exists());
    let pid = services::alive(dir)[0].1;
    (run, pid)
}

#[test]
fn services_of_a_killed_owner_end_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut owner, pid) = foreground(dir.path());
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("the end of mosquitto", || !exists(pid));
}

#[test]
fn a_terminated_owner_stops_its_services() {
    let dir = tempfile::tempdir().unwrap();
    let (mut owner, pid) = foreground(dir.path());
    assert!(Command::new("kill").arg(owner.id().to_string()).status().unwrap().success());
    assert!(owner.wait().unwrap().success());
    assert!(!exists(pid));
}
