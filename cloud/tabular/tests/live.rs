//! Against a real Kafka: a table goes in, and comes out of Parquet as it was; what is imported twice is there once.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs::File,
    path::{Path, PathBuf},
};

use clap::Parser;
use cloud_log::{History, KafkaConfig, topics};
use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::Field,
};
use services::{Kind, Options, Services};
use tabular::tools::{ExportArgs, ImportArgs, run_export, run_import};
use telemetry::{Encoding, decode, kafka_topic::TELEMETRY};
use tokio_util::sync::CancellationToken;

const PARTITIONS: u32 = 3;
const ROWS: usize = 3_000;
const START: i64 = 1_700_000_000;

const MAPPING: &str = r#"
bad_values = "drop-value"
[vehicle]
column = "car"
prefix = "live-"
[time]
column = "t"
format = "unix-s"
[signals]
speed = { path = "Vehicle.Speed", unit = "mph" }
rattle = "Motorcade.Foreign.Rattle"
moving = "Vehicle.IsMoving"
note = { path = "Motorcade.Foreign.Note", type = "text" }
[[labels]]
column = "broken"
"#;

#[derive(Parser)]
enum Line {
    Import(ImportArgs),
    Export(ExportArgs),
}

async fn run(line: &[&str]) -> Result<(), service::Error> {
    let stop = CancellationToken::new();
    match Line::try_parse_from(["data"].iter().chain(line)).map_err(|error| error.to_string()).unwrap() {
        Line::Import(args) => run_import(args, stop).await,
        Line::Export(args) => run_export(args, stop).await,
    }
}

/// Five cars in turn; each tenth row has no rattle, each hundredth an impossible speed.
fn table() -> String {
    let mut text = "t,car,speed,rattle,moving,note,broken\n".to_owned();
    for n in 0..ROWS {
        let time = START + (n / 5) as i64;
        let speed = if n % 100 == 99 { "1e6".to_owned() } else { (n % 90).to_string() };
        let rattle = if n % 10 == 9 { String::new() } else { format!("{}", n as f64 / 7.0) };
        let broken = u8::from(n % 5 == 3 && (500..600).contains(&n));
        writeln!(text, "{time},c{},{speed},{rattle},{},n{n},{broken}", n % 5, n.is_multiple_of(2)).unwrap();
    }
    text
}

type Readings = BTreeMap<(String, i64, i64), Vec<Vec<u8>>>;

/// Payloads in the log, by identity.
async fn in_the_log(kafka: &KafkaConfig) -> Readings {
    let mut found = Readings::new();
    let mut log = History::everything(kafka, TELEMETRY).await.unwrap();
    while let Some(records) = log.next(1_000).await.unwrap() {
        for record in records {
            let content_type = record.header("content-type").map(|bytes| std::str::from_utf8(bytes).unwrap());
            let payload = record.payload.clone().unwrap();
            let reading = decode(&payload, Encoding::from_content_type(content_type).unwrap(), None).unwrap();
            assert_eq!(record.key.as_deref(), Some(reading.vehicle.as_str().as_bytes()));
            let mqtt_topic = format!("v1/{}/telemetry", reading.vehicle);
            assert_eq!(record.header("mqtt-topic"), Some(mqtt_topic.as_bytes()));
            let identity = (reading.vehicle.to_string(), i64::from(reading.boot), reading.seq as i64);
            found.entry(identity).or_default().push(payload.to_vec());
        }
    }
    found
}

/// Rows of every Parquet file of a folder, cells by the names of their columns.
fn read_back(folder: &Path) -> Vec<BTreeMap<String, Field>> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    files.sort();
    let mut rows = Vec::new();
    for path in files {
        let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
        for row in reader.get_row_iter(None).unwrap() {
            rows.push(row.unwrap().get_column_iter().map(|(name, cell)| (name.clone(), cell.clone())).collect());
        }
    }
    rows
}

fn long(cell: &Field) -> i64 {
    match cell {
        Field::Long(number) | Field::TimestampMillis(number) => *number,
        other => panic!("{other:?} is no whole number"),
    }
}

fn text(cell: &Field) -> String {
    match cell {
        Field::Str(text) => text.clone(),
        other => panic!("{other:?} is no text"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_goes_in_and_comes_out_as_it_was() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("tabular-live-{}", std::process::id()));
    let services = Services::start(Options::new(&dir).only(&[Kind::Kafka])).await.unwrap();
    let address = services.addresses().kafka.to_string();
    let kafka = KafkaConfig::new(&address);
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    std::fs::write(path("m.toml"), MAPPING).unwrap();
    std::fs::write(path("a.csv"), table()).unwrap();
    let (mapping, csv, labels) = (path("m.toml"), path("a.csv"), path("labels"));
    let import = ["import", "--kafka", &address, "--mapping", &mapping, &csv, "--labels-out", &labels];

    let error = run(&[&import[..], &["--connect-timeout-ms", "500"]].concat()).await.unwrap_err();
    assert_eq!(error.exit_code(), 69, "no topic yet: {error}");
    topics::apply(&kafka, PARTITIONS, false).await.unwrap();

    run(&import).await.unwrap();
    let once = in_the_log(&kafka).await;
    assert_eq!(once.len(), ROWS);
    run(&import).await.unwrap();
    let twice = in_the_log(&kafka).await;
    assert!(twice.keys().eq(once.keys()), "the same table has the same identities");
    assert!(twice.values().all(|payloads| payloads.len() == 2 && payloads[0] == payloads[1]), "and the same bytes");

    let out = path("out");
    run(&["export", "--kafka", &address, "--out", &out, "--labels", &labels]).await.unwrap();
    is_as_it_was(Path::new(&out));
    the_simulators_reader_reads_the_labels(Path::new(&labels));

    // A part, by time and by name.
    let (part, from) = (path("part"), (START + 10).to_string() + "000");
    let line = ["export", "--kafka", &address, "--out", &part, "--from", &from, "--to", "2023-11-14T22:13:32Z"];
    run(&[&line[..], &["--signals", "Vehicle.Speed", "--keep-duplicates"]].concat()).await.unwrap();
    let rows = read_back(Path::new(&part));
    assert_eq!(rows.len(), 2 * 2 * 5);
    assert!(rows.iter().all(|row| row.contains_key("Vehicle.Speed") && !row.contains_key("Motorcade.Foreign.Rattle")));

    nothing_is_exported_where_nothing_fits(&address, &dir).await;
    services.stop().await;
    std::fs::remove_dir_all(dir).unwrap();
}

async fn nothing_is_exported_where_nothing_fits(address: &str, dir: &Path) {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let foreign = r#"{"vehicle":"other","kind":"hot","from":1,"to":2}"#;
    std::fs::write(path("foreign"), foreign).unwrap();
    let (out, foreign) = (path("empty"), path("foreign"));
    for (flags, part) in [
        (["--to", "5"], "no reading in the range; telemetry holds event times 2023-11-14T22:13:20"),
        (["--labels", &foreign], "no label is of a vehicle"),
        (["--signals", "Vehicle.Sped"], "the nearest that has is Vehicle.Speed"),
    ] {
        let error = run(&[&["export", "--kafka", address, "--out", &out][..], &flags].concat()).await.unwrap_err();
        assert_eq!(error.exit_code(), 65, "{error}");
        assert!(error.to_string().contains(part), "{part:?} is not in {error}");
        assert!(!Path::new(&out).exists(), "the retry may take the same name");
    }
}

fn is_as_it_was(folder: &Path) {
    let rows = read_back(folder);
    assert_eq!(rows.len(), ROWS, "each identity once");
    let mut next: BTreeMap<String, i64> = BTreeMap::new();
    let mut labelled = 0;
    for row in &rows {
        let vehicle = text(&row["vehicle"]);
        let seq = next.entry(vehicle.clone()).or_insert(1);
        assert_eq!((long(&row["seq"]), long(&row["boot"])), (*seq, START), "in order, and each once");
        *seq += 1;
        let car: usize = vehicle.strip_prefix("live-c").unwrap().parse().unwrap();
        let n = (long(&row["seq"]) as usize - 1) * 5 + car;
        assert_eq!(long(&row["event_time"]), (START + (n / 5) as i64) * 1_000);
        assert!(long(&row["ingest_time"]) > long(&row["event_time"]));
        let speed = if n % 100 == 99 { Field::Null } else { Field::Double((n % 90) as f64 * 1.609_344) };
        assert_eq!(row["Vehicle.Speed"], speed, "row {n}");
        let rattle = if n % 10 == 9 { Field::Null } else { Field::Double(n as f64 / 7.0) };
        assert_eq!(row["Motorcade.Foreign.Rattle"], rattle, "row {n}");
        assert_eq!(row["Vehicle.IsMoving"], Field::Bool(n.is_multiple_of(2)));
        assert_eq!(row["Motorcade.Foreign.Note"], Field::Str(format!("n{n}")));
        let broken = n % 5 == 3 && (500..600).contains(&n);
        assert_eq!(row["label"], if broken { Field::Str("broken".into()) } else { Field::Null }, "row {n}");
        labelled += i64::from(broken);
    }
    let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let rows = ROWS as i64;
    assert_eq!((&manifest["received"], &manifest["written"]), (&(2 * rows).into(), &rows.into()));
    assert_eq!(manifest["discarded"], serde_json::json!({ "duplicate": rows }));
    assert_eq!((&manifest["labels"], &manifest["labelled_rows"]), (&1.into(), &labelled.into()));
    assert_eq!(manifest["partitions"].as_array().unwrap().len(), PARTITIONS as usize);
}

/// One reader does for both: what the judge reads is what the import wrote.
fn the_simulators_reader_reads_the_labels(path: &Path) {
    let truth = simulator::truth::read(std::io::BufReader::new(File::open(path).unwrap())).unwrap();
    let [only] = truth.as_slice() else { panic!("{truth:?}") };
    assert_eq!((only.vehicle.as_str(), only.kind.as_str()), ("live-c3", "broken"));
    assert_eq!((only.from, only.to), ((START + 100) * 1_000, (START + 120) * 1_000));
}
