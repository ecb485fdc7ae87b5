//! Commands down to vehicles while the edge, the broker and the vehicles are killed: each is carried out exactly once,
//! by the vehicles' own log, and each has its reply in `command-replies`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cloud_log::{KafkaConfig, OutRecord, Producer, group_lag};
use services::Kind;
use simulator::command::{Act, acts};
use telemetry::{
    Value, VehicleId,
    event::{CommandReply, PropertyName, Status, StatusState, VehicleCommand, VehicleCommandKind},
    kafka_topic::{COMMAND_REPLIES, DEAD_LETTER, VEHICLE_COMMANDS, VEHICLE_STATUS, header},
};
use tests::{kafka_reader, poll, process::Program, scenario::Scenario, stack::Role};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use uuid::Uuid;

const VEHICLES: u32 = 20;
/// For each step: processes start, a group takes 6 s to notice a killed member, pauses are 2 s.
const PATIENCE: Duration = Duration::from_secs(90);

/// In front of the broker: closed, nothing goes up any more, while what comes down still does.
struct Gate {
    address: SocketAddr,
    closed: Arc<AtomicBool>,
}

impl Gate {
    async fn start(broker: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let closed = Arc::<AtomicBool>::default();
        let state = Arc::clone(&closed);
        tokio::spawn(async move {
            while let Ok((vehicle, _)) = listener.accept().await {
                // A connection that breaks on one side is dropped on both.
                let state = Arc::clone(&state);
                tokio::spawn(async move { forward(vehicle, broker, &state).await.ok() });
            }
        });
        Self { address, closed }
    }

    fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::SeqCst);
    }
}

async fn forward(vehicle: TcpStream, broker: SocketAddr, closed: &AtomicBool) -> std::io::Result<()> {
    let broker = TcpStream::connect(broker).await?;
    let (mut from_vehicle, mut to_vehicle) = vehicle.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    let up = async {
        let mut bytes = [0; 4096];
        loop {
            let n = from_vehicle.read(&mut bytes).await?;
            if n == 0 {
                return Ok(());
            }
            if closed.load(Ordering::SeqCst) {
                while closed.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                // What was held is lost with its connection.
                return Ok(());
            }
            to_broker.write_all(&bytes[..n]).await?;
        }
    };
    tokio::select! {
        result = up => result,
        result = tokio::io::copy(&mut from_broker, &mut to_vehicle) => result.map(|_| ()),
    }
}

fn vehicle(number: u32) -> VehicleId {
    VehicleId::parse(&format!("veh-{number:05}")).unwrap()
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn property(round: u32) -> VehicleCommandKind {
    let name = PropertyName::parse("Vehicle.Cabin.HVAC.AmbientAirTemperature").unwrap();
    VehicleCommandKind::SetProperty { name, value: Value::Number(f64::from(round)) }
}

/// Writes and reads what goes down and comes back.
struct Commander {
    producer: Producer,
    kafka: String,
    sent: BTreeMap<Uuid, VehicleId>,
}

impl Commander {
    /// To every vehicle; each twice, as a gateway does that did not hear of the first.
    async fn send_all(&mut self, kind: &VehicleCommandKind) {
        for number in 1..=VEHICLES {
            let vehicle = vehicle(number);
            let expires_at = now_ms() + 600_000;
            let command =
                VehicleCommand { id: Uuid::now_v7(), vehicle: vehicle.clone(), kind: kind.clone(), expires_at };
            self.send(&command).await;
            self.send(&command).await;
            self.sent.insert(command.id, vehicle);
        }
    }

    async fn send(&self, command: &VehicleCommand) {
        self.write(command.vehicle.as_str(), serde_json::to_vec(command).unwrap()).await;
    }

    async fn write(&self, key: &str, payload: Vec<u8>) {
        self.producer.deliver(OutRecord::new(VEHICLE_COMMANDS, key, payload)).await.unwrap();
    }

    async fn records(&self, kafka_topic: &'static str) -> Vec<kafka_reader::Seen> {
        let kafka = self.kafka.clone();
        tokio::task::spawn_blocking(move || kafka_reader::read(&kafka, kafka_topic)).await.unwrap().unwrap()
    }

    async fn replies(&self) -> Vec<CommandReply> {
        let records = self.records(COMMAND_REPLIES).await;
        records.iter().map(|record| serde_json::from_slice(&record.payload).unwrap()).collect()
    }

    /// The ids whose own vehicle says that it is done.
    async fn done(&self) -> BTreeSet<Uuid> {
        let replies = self.replies().await.into_iter();
        replies.filter(|reply| reply.done && self.sent.get(&reply.id) == Some(&reply.vehicle)).map(|r| r.id).collect()
    }

    async fn until_all_are_done(&self) {
        poll::until("every command has its reply", PATIENCE, async || {
            Ok((self.done().await.len() == self.sent.len()).then_some(()))
        })
        .await
        .unwrap();
    }
}

async fn until_acts(outbox: &Path, at_least: usize) {
    poll::until("commands are carried out", PATIENCE, async || {
        // There is no log before the fleet has made it.
        Ok(acts(outbox).ok().filter(|acts| acts.len() >= at_least).map(|_| ()))
    })
    .await
    .unwrap();
}

/// What is wrong with what vehicles did: each command once, by whom it was meant for, and nothing else.
fn wrong(sent: &BTreeMap<Uuid, VehicleId>, acts: &[(VehicleId, Act)]) -> Vec<String> {
    let mut counts: BTreeMap<(&VehicleId, Uuid), usize> = BTreeMap::new();
    for (vehicle, act) in acts {
        *counts.entry((vehicle, act.id)).or_default() += 1;
    }
    let missing = sent.iter().filter(|(id, vehicle)| !counts.contains_key(&(*vehicle, **id)));
    let missing = missing.map(|(id, vehicle)| format!("{vehicle} has not carried out {id}"));
    let odd = counts.iter().filter(|((vehicle, id), n)| **n != 1 || sent.get(id) != Some(*vehicle));
    let odd = odd.map(|((vehicle, id), n)| format!("{vehicle} has carried out {id} {n} times"));
    missing.chain(odd).collect()
}

#[test]
fn a_command_that_is_left_out_done_twice_or_by_another_is_noticed() {
    let (id, other) = (Uuid::now_v7(), Uuid::now_v7());
    let sent = BTreeMap::from([(id, vehicle(1))]);
    let act = |whose: u32, id: Uuid| (vehicle(whose), Act { id, deadline: 2, at: 1, kind: VehicleCommandKind::Reboot });
    assert_eq!(wrong(&sent, &[act(1, id)]), Vec::<String>::new());
    for acts in [vec![], vec![act(1, id), act(1, id)], vec![act(1, id), act(2, id)], vec![act(1, id), act(1, other)]] {
        assert!(!wrong(&sent, &acts).is_empty(), "{acts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_carried_out_once_whoever_is_killed() {
    let mut scenario = Scenario::bare("commands").await.unwrap();
    scenario.stack.set(Role::Edge, ["--command-pause-ms", "2000", "--ack-min-ms", "500", "--ack-max-ms", "2000"]);
    scenario.stack.role(Role::Edge).await.unwrap();
    let gate = Gate::start(scenario.stack.services.addresses().mqtt_vehicles).await;
    let outbox = scenario.folder().join("outbox");
    let flags = [
        ("--vehicles", VEHICLES.to_string()),
        ("--seed", "7".into()),
        ("--interval-ms", "1000".into()),
        ("--mqtt", gate.address.to_string()),
        ("--outbox", outbox.display().to_string()),
        ("--reconnect-ms", "100".into()),
        ("--reconnect-max-ms", "1000".into()),
        ("--probe-ms", "3000".into()),
        ("--probe-max-ms", "12000".into()),
        ("--progress", "json".into()),
    ];
    let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    scenario.stack.launch(Program::new("fleet", "motorcade-simulator", flags)).await.unwrap();

    let kafka = scenario.stack.kafka().to_owned();
    let producer = Producer::connect(&KafkaConfig::new(&kafka)).await.unwrap();
    let mut commander = Commander { producer, kafka: kafka.clone(), sent: BTreeMap::new() };

    // The edge is away when they are sent, and the broker dies when some have been carried out.
    let edge = scenario.stack.kill("edge").await.unwrap();
    commander.send_all(&property(1)).await;
    commander.send_all(&VehicleCommandKind::SetReportingInterval { interval_ms: 500 }).await;
    scenario.stack.launch(edge).await.unwrap();
    until_acts(&outbox, 1).await;
    scenario.stack.kill_and_restart_service(Kind::Mosquitto).await.unwrap();
    commander.until_all_are_done().await;

    // The vehicles die when they have carried out what they were told, and nobody has heard of it.
    let heard = commander.done().await.len();
    gate.close(true);
    commander.send_all(&property(2)).await;
    until_acts(&outbox, commander.sent.len()).await;
    let fleet = scenario.stack.kill("fleet").await.unwrap();
    assert_eq!(commander.done().await.len(), heard, "the gate let replies pass");
    gate.close(false);
    scenario.stack.launch(fleet).await.unwrap();
    commander.until_all_are_done().await;

    // Vehicles reboot; the edge dies meanwhile.
    let before = boots(&commander).await;
    let known = acts(&outbox).unwrap().len();
    commander.send_all(&VehicleCommandKind::Reboot).await;
    until_acts(&outbox, known + 1).await;
    scenario.stack.kill_and_restart("edge").await.unwrap();
    commander.until_all_are_done().await;
    poll::until("every vehicle is born with a new boot", PATIENCE, async || {
        let after = boots(&commander).await;
        Ok((1..=VEHICLES).all(|n| after[&vehicle(n)] > before[&vehicle(n)]).then_some(()))
    })
    .await
    .unwrap();

    // What nobody may carry out, and what nobody can read, holds up nothing.
    let late = VehicleCommand {
        id: Uuid::now_v7(),
        vehicle: vehicle(1),
        kind: VehicleCommandKind::Reboot,
        expires_at: now_ms() - 1,
    };
    commander.send(&late).await;
    commander.write("veh-00001", b"{\"id\":1}".to_vec()).await;
    let flags =
        ["commands", "send", "--vehicle", "veh-00002", "--expires-in", "60s", "--wait", "set-property", "a", "b"];
    let printed = scenario.stack.tool(flags).await.unwrap();
    commander.sent.insert(printed.lines().next().unwrap().parse().unwrap(), vehicle(2));
    let refused =
        scenario.stack.tool_result(["commands", "send", "--vehicle", "veh-00002", "--wait", "set-interval", "1"]);
    let (code, _, error) = refused.await.unwrap();
    assert!(code == Some(1) && error.contains("the interval is not"), "{code:?} {error}");

    poll::until("the group has committed everything", PATIENCE, async || {
        let lag = group_lag(&KafkaConfig::new(&kafka), "edge-commands.edge.1", VEHICLE_COMMANDS).await?;
        Ok((lag == 0).then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(wrong(&commander.sent, &acts(&outbox).unwrap()), Vec::<String>::new());
    assert_eq!(commander.done().await, commander.sent.keys().copied().collect());
    let letters = commander.records(DEAD_LETTER).await;
    let source = |letter: &kafka_reader::Seen| letter.header(header::SOURCE).unwrap_or_default().to_owned();
    assert!(letters.len() == 1 && source(&letters[0]).starts_with("vehicle-commands/"), "{letters:?}");
    assert_eq!(letters[0].payload, b"{\"id\":1}");

    let ended = scenario.stack.shut_down().await.unwrap();
    let count = |name: &str| ended["edge"].tally.as_ref().unwrap().further[name];
    let closed =
        ["answered", "expired", "refused", "given_back", "open"].map(|name| count(&format!("commands_{name}")));
    assert_eq!(count("commands_read"), closed.iter().sum::<u64>());
    assert_eq!((count("commands_expired"), count("commands_refused"), count("commands_open")), (1, 1, 0));
    let fleet = ended["fleet"].tally.as_ref().unwrap();
    assert!(fleet.balances() && fleet.further["commands_repeated"] > 0, "{fleet:?}");
}

/// The last boot of each vehicle that said that it is online.
async fn boots(commander: &Commander) -> BTreeMap<VehicleId, u32> {
    let mut boots = BTreeMap::new();
    for record in commander.records(VEHICLE_STATUS).await {
        let status: Status = serde_json::from_slice(&record.payload).unwrap();
        if status.state == StatusState::Online {
            let boot = boots.entry(status.vehicle).or_insert(0);
            *boot = status.boot.max(*boot);
        }
    }
    boots
}
