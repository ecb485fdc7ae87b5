//! A vehicle far above `--vehicle-rate`, against real mosquitto, edge and Kafka: asked to slow down it loses nothing, and
//! the edge's discards stop growing. Negative control: vehicles that do not listen go on being discarded.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use serde_json::Value;
use tests::{judge::judge_ledger, process::Program, scenario::Scenario, stack::Role};

const VEHICLES: u64 = 10;
/// What each vehicle may send in a second, and at once; each makes 20 a second, for 8 s.
const LIMITED: [&str; 8] =
    ["--vehicle-rate", "5", "--vehicle-burst", "5", "--ack-min-ms", "500", "--ack-max-ms", "2000"];
const READINGS: u64 = VEHICLES * 20 * 8;
/// 160 readings at 4.4 a second take 36 s, and a discarded one comes again.
const PATIENCE: Duration = Duration::from_secs(90);

/// What the edge has discarded so far because of the limit, by its own metrics.
async fn discarded(admin: &str) -> u64 {
    let text = reqwest::get(format!("http://{admin}/metrics")).await.unwrap().text().await.unwrap();
    let value =
        text.lines().find_map(|line| line.strip_prefix(r#"edge_records_discarded_total{reason="rate_limited"} "#));
    value.unwrap_or_else(|| panic!("not in the metrics: {text}")).parse().unwrap()
}

struct Loaded {
    scenario: Scenario,
    figures: BTreeMap<String, f64>,
    /// By the edge, each second until the load had ended, and then.
    discarded: Vec<u64>,
}

impl Loaded {
    /// Growth in the first and in the second half of the run.
    fn halves(&self) -> (u64, u64) {
        let middle = self.discarded[self.discarded.len() / 2];
        (middle, self.discarded.last().unwrap() - middle)
    }

    fn figure(&self, name: &str) -> u64 {
        // Counts, far below 2^53.
        self.figures[name] as u64
    }
}

/// Ten vehicles report for 8 s; then what is left in their outboxes is waited for.
async fn load(name: &'static str, flags: &str) -> Loaded {
    let mut scenario = Scenario::bare(name).await.unwrap();
    scenario.stack.set(Role::Edge, LIMITED);
    let admin = scenario.stack.role(Role::Edge).await.unwrap().admin().unwrap();
    let (ledger, report) = (scenario.folder().join("ledger"), scenario.folder().join("load.json"));
    let arguments = format!("load --vehicles {VEHICLES} --interval-ms 50 --duration-ms 8000 --resend-ms 500 {flags}");
    let program = Program::new("simulator", "motorcade-simulator", arguments.split(' '));
    let files = ["--ledger".into(), ledger.into_os_string(), "--report".into(), report.clone().into_os_string()];
    scenario.stack.spawn(program.with(files)).unwrap();
    let mut seen = Vec::new();
    {
        let mut end = pin!(scenario.stack.wait_for_end("simulator", PATIENCE));
        loop {
            tokio::select! {
                ended = &mut end => break ended.map(|_| ()).unwrap(),
                () = tokio::time::sleep(Duration::from_secs(1)) => seen.push(discarded(&admin).await),
            }
        }
    }
    seen.push(discarded(&admin).await);
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    let figures = serde_json::from_value(report["figures"].clone()).unwrap();
    Loaded { scenario, figures, discarded: seen }
}

#[tokio::test(flavor = "multi_thread")]
async fn vehicles_that_slow_down_when_asked_to_lose_nothing_and_are_discarded_no_more() {
    let loaded = load("slow-down", "--drain-ms 75000").await;
    let told = format!("{:?}, {:#?}", loaded.discarded, loaded.figures);
    eprintln!("{told}");
    assert_eq!(loaded.figure("made_readings"), READINGS, "{told}");
    assert_eq!((loaded.figure("acked_readings"), loaded.figure("given_up_readings")), (READINGS, 0), "{told}");
    assert!(
        loaded.figure("slow_down_acks") >= VEHICLES && loaded.figure("held_back_messages") > READINGS / 2,
        "{told}"
    );
    // What was on its way when the vehicles heard of it, and little more.
    let (early, late) = loaded.halves();
    assert!(early > 0 && early < READINGS / 8 && late <= VEHICLES, "{told}");
    let ledger = loaded.scenario.folder().join("ledger");
    let (verdict, facts) = judge_ledger(loaded.scenario.stack.kafka(), &ledger).await.unwrap();
    assert!(verdict.ok && facts.acked == READINGS && facts.in_kafka == READINGS, "{verdict:?}");
    let ended = loaded.scenario.stack.shut_down().await.unwrap();
    assert!(ended["edge"].tally.as_ref().unwrap().balances(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn vehicles_that_do_not_listen_go_on_being_discarded() {
    let loaded = load("heedless", "--heedless --drain-ms 3000").await;
    let told = format!("{:?}, {:#?}", loaded.discarded, loaded.figures);
    eprintln!("{told}");
    let (early, late) = loaded.halves();
    assert!(early > READINGS / 8 && late > READINGS / 8, "{told}");
    assert_eq!(loaded.figure("held_back_messages"), 0, "{told}");
    loaded.scenario.stack.shut_down().await.unwrap();
}

/// The fleet with physics keeps to the same rules.
#[tokio::test(flavor = "multi_thread")]
async fn a_driven_fleet_slows_down_too() {
    let mut scenario = Scenario::bare("slow-down-drive").await.unwrap();
    scenario.stack.set(Role::Edge, LIMITED);
    scenario.stack.role(Role::Edge).await.unwrap();
    let ledger = scenario.folder().join("ledger");
    let arguments = format!(
        "drive --vehicles {VEHICLES} --interval-ms 50 --duration-ms 8000 --resend-ms 500 --drain-ms 60000 \
         --grace-ms 70000 --faults none --ledger {}",
        ledger.display(),
    );
    let program = Program::new("simulator", "motorcade-simulator", arguments.split_whitespace());
    scenario.stack.launch(program).await.unwrap();
    let fleet = scenario.stack.wait_for_end("simulator", PATIENCE).await.unwrap().tally.clone().unwrap();
    assert!((fleet.received, fleet.sent, fleet.in_hand) == (READINGS, READINGS, 0), "{fleet:?}");
    assert!(fleet.further["slow_downs"] >= VEHICLES && fleet.further["held_back"] > READINGS / 2, "{fleet:?}");
    let (verdict, facts) = judge_ledger(scenario.stack.kafka(), &ledger).await.unwrap();
    assert!(verdict.ok && facts.acked == READINGS && facts.in_kafka == READINGS, "{verdict:?}");
    let ended = scenario.stack.shut_down().await.unwrap();
    let edge = ended["edge"].tally.as_ref().unwrap();
    assert!(edge.balances() && (1..READINGS / 8).contains(&edge.discarded["rate_limited"]), "{edge:?}");
}
