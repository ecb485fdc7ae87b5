//! The flags and the survey: everything of an import that needs no Kafka.

use clap::Parser;
use telemetry::decode;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    import: ImportArgs,
}

const MAPPING: &str = "[vehicle]\ncolumn = \"car\"\n[time]\ncolumn = \"t\"\nformat = \"unix-s\"\n\
                       [signals]\nv = \"Vehicle.Speed\"\n[[labels]]\ncolumn = \"bad\"\noptional = true";

/// Runs an import of one table without Kafka, in a folder of its own.
async fn import(table: &str, flags: &[&str]) -> (tempfile::TempDir, Result<(), Error>) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("m.toml"), MAPPING).unwrap();
    std::fs::write(path("a.csv"), table).unwrap();
    let (mapping, csv, rejects, labels) = (path("m.toml"), path("a.csv"), path("rejects"), path("labels"));
    let own = ["import", "--kafka", "127.0.0.1:9", "--connect-timeout-ms", "300", "--mapping", &mapping, &csv];
    let own = own.into_iter().chain(["--rejects", &rejects, "--labels-out", &labels]);
    let line = Line::try_parse_from(own.chain(flags.iter().copied())).map_err(|e| e.to_string()).unwrap();
    let outcome = run_import(line.import, CancellationToken::new()).await;
    (dir, outcome)
}

#[tokio::test]
async fn a_dry_run_needs_no_kafka_and_tells_what_it_put_aside() {
    let table = "t,car,v,bad\n1700000000,a,1,1\n1700000001,a,2,0\n1700000002,a,900,0\n";
    let (dir, outcome) = import(table, &["--dry-run"]).await;
    outcome.unwrap();
    let rejects = std::fs::read_to_string(dir.path().join("rejects")).unwrap();
    let reject: serde_json::Value = serde_json::from_str(&rejects).unwrap();
    assert_eq!(
        (&reject["line"], &reject["column"], &reject["reason"]),
        (&4.into(), &"v".into(), &"out_of_range".into())
    );
    assert!(reject["file"].as_str().unwrap().ends_with("a.csv"));
    let labels = std::fs::read_to_string(dir.path().join("labels")).unwrap();
    let label: serde_json::Value = serde_json::from_str(&labels).unwrap();
    assert_eq!((&label["from"], &label["to"]), (&1_700_000_000_000_i64.into(), &1_700_000_001_000_i64.into()));
    // The fields that the simulator's truth can't do without.
    for field in ["vehicle", "kind", "from", "to", "full_from", "severity", "signals"] {
        assert!(label.get(field).is_some(), "{field}");
    }
}

#[tokio::test]
async fn what_is_refused_is_refused_before_a_socket_is_opened() {
    for (table, flags, code, parts) in [
        ("x,y\n1,2\n", &[][..], 65, &["a.csv: ", "fits nothing", "header line"][..]),
        ("t,car,v\nsoon,a,1\n", &[], 65, &["none of the 1 rows", "line 2", "bad_time"]),
        ("t,car,v\n", &[], 65, &["none of the 0 rows"]),
        ("t,car,v\n1700000009,a,1\n1700000000,a,1\n", &["--sort-window", "0"], 65, &["line 3", "--sort-window"]),
        ("t,car,v\n1700000000,a,1\n1700000001,a,x\n", &["--strict"], 65, &["line 3", "column \"v\"", "--strict"]),
        ("t,car,v\n1700000000,a,1\n", &[], 69, &["--kafka 127.0.0.1:9"]),
    ] {
        let (_dir, outcome) = import(table, flags).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.exit_code(), code, "{error}");
        for part in parts {
            assert!(error.to_string().contains(part), "{part:?} is not in {error}");
        }
    }
}

#[test]
fn a_mapping_that_is_missing_or_broken_is_bad_input() {
    let error = read_mapping(Path::new("no/such.toml")).unwrap_err();
    assert_eq!(error.exit_code(), 65);
    assert!(error.to_string().starts_with("--mapping no/such.toml: "), "{error}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "delimiter = 3").unwrap();
    let error = read_mapping(file.path()).unwrap_err();
    assert_eq!(error.exit_code(), 65);
    assert!(error.to_string().contains("line 1"), "{error}");
    assert!(Line::try_parse_from(["import"]).is_err());
    assert!(Line::try_parse_from(["import", "--print-example", "skab"]).is_ok());
    assert!(Line::try_parse_from(["import", "--mapping", "m", "--boot", "0", "c"]).is_err());
}

#[test]
fn a_record_leaves_as_the_edge_would_write_it() {
    let row = crate::lanes::tests::row("veh-1", 1, crate::lanes::tests::START);
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let out = outgoing(&row.record, encoding).unwrap();
        assert_eq!((&*out.kafka_topic, &*out.key, out.timestamp), ("telemetry", &b"veh-1"[..], None));
        let expected: [(&str, &[u8]); 3] = [
            ("content-type", encoding.content_type().as_bytes()),
            ("schema", b"1"),
            ("mqtt-topic", b"v1/veh-1/telemetry"),
        ];
        assert_eq!(out.headers.iter().collect::<Vec<_>>(), expected);
        assert_eq!(decode(&out.payload.unwrap(), encoding, None).unwrap(), row.record);
    }
}
