//! What a mapping file may say, and what is said where it can't.

use super::*;
use crate::moment::Parts;

const WHOLE: &str = r#"
delimiter = ";"
decimal = ","
bad_values = "drop-value"
[vehicle]
column = "car"
prefix = "x-"
replace = "_"
[time]
column = "when"
format = "%Y-%m-%d %H:%M:%S"
utc_offset = "+01:00"
[signals]
speed = { path = "Vehicle.Speed", unit = "mph" }
rattle = { path = "Motorcade.Foreign.Rattle", unit = "g", to = "m/s^2" }
odd = { path = "Motorcade.Foreign.Odd", scale = 2.0, offset = 1.0, optional = true }
moving = "Vehicle.IsMoving"
note = { path = "Motorcade.Foreign.Note", type = "text" }
[[labels]]
column = "rul"
at_most = 30
kind = "worn"
[[labels]]
column = "anomaly"
"#;

#[test]
fn a_whole_mapping_is_understood() {
    let mapping = Mapping::parse(WHOLE).unwrap();
    assert_eq!((mapping.delimiter, mapping.decimal, mapping.bad_values), (b';', ',', BadValues::DropValue));
    assert!(matches!(&mapping.time, TimeFormat::Pattern { parts: Parts::DateTime, .. }));
    let signal = |path: &str| mapping.signals.iter().find(|signal| signal.path == path).unwrap();
    assert_eq!(signal("Vehicle.Speed").unit, "km/h");
    assert_eq!(signal("Vehicle.Speed").line.apply(10.0), 16.093_44);
    assert_eq!(signal("Motorcade.Foreign.Rattle").unit, "m/s^2");
    assert_eq!(signal("Motorcade.Foreign.Odd").line.apply(3.0), 7.0);
    assert!(signal("Motorcade.Foreign.Odd").optional);
    assert_eq!(signal("Vehicle.IsMoving").form, Form::Boolean);
    assert_eq!(signal("Motorcade.Foreign.Note").form, Form::Text);
    assert_eq!((mapping.labels[0].kind.as_str(), &mapping.labels[0].rule), ("worn", &LabelRule::AtMost(30.0)));
    assert_eq!((mapping.labels[1].kind.as_str(), &mapping.labels[1].rule), ("anomaly", &LabelRule::NotZero));
    assert!(mapping.missing.contains(&String::new()));
}

#[test]
fn what_is_wrong_is_told_in_a_line_that_says_what_to_write() {
    let with = |from: &str, to: &str| {
        assert!(WHOLE.contains(from), "{from}");
        Mapping::parse(&WHOLE.replacen(from, to, 1)).unwrap_err()
    };
    for (from, to, parts) in [
        ("delimiter = \";\"", "delimiter = \"::\"", &["delimiter", "tab"][..]),
        ("decimal = \",\"", "decimal = \";\"", &["decimal"]),
        ("bad_values = \"drop-value\"", "bad_values = \"x\"", &["line 4", "reject-row"]),
        ("column = \"car\"", "", &["[vehicle]", "constant", "file_parts"]),
        ("column = \"car\"", "constant = \"a b\"", &["constant", "A-Z"]),
        ("column = \"car\"", "file_parts = 0", &["file_parts"]),
        ("prefix = \"x-\"", "prefix = \"x/\"", &["prefix", "{file}"]),
        ("replace = \"_\"", "replace = \"/\"", &["replace"]),
        ("column = \"when\"", "colum = \"when\"", &["line 10", "colum"]),
        ("format = \"%Y-%m-%d %H:%M:%S\"", "format = \"iso\"", &["format", "rfc3339"]),
        ("format = \"%Y-%m-%d %H:%M:%S\"", "format = \"unix-s\"", &["utc_offset"]),
        ("utc_offset = \"+01:00\"", "utc_offset = \"CET\"", &["utc_offset", "+01:00"]),
        ("utc_offset = \"+01:00\"", "start = \"0\"", &["start", "counter"]),
        ("unit = \"mph\"", "unit = \"furlongs\"", &["speed", "furlongs", "scale"]),
        ("unit = \"mph\"", "unit = \"bar\"", &["speed", "bar", "km/h"]),
        ("unit = \"mph\"", "to = \"mph\"", &["speed", "`to`"]),
        ("unit = \"mph\"", "type = \"text\"", &["speed", "type"]),
        ("unit = \"mph\"", "units = \"mph\"", &["speed", "units"]),
        ("unit = \"g\", ", "", &["rattle", "`unit`"]),
        ("scale = 2.0", "scale = 0.0", &["odd", "scale"]),
        ("moving = \"Vehicle.IsMoving\"", "moving = 3", &["moving", "path"]),
        ("moving = \"Vehicle.IsMoving\"", "moving = { path = \"Vehicle.IsMoving\", scale = 2.0 }", &["moving"]),
        (
            "Vehicle.IsMoving",
            "Vehicle.isMoving",
            &["catalogue", "Motorcade.Foreign.", "did you mean Vehicle.IsMoving?"],
        ),
        ("Motorcade.Foreign.Rattle", "Motorcade.Foreign.", &["rattle", "letters"]),
        ("Motorcade.Foreign.Odd", "Motorcade.Foreign.Note", &["\"note\"", "\"odd\"", "both"]),
        ("at_most = 30", "at_most = 30\nequals = \"x\"", &["either"]),
    ] {
        let error = with(from, to);
        assert!(!error.contains('\n'), "{error}");
        for part in parts {
            assert!(error.contains(part), "{to}: {part:?} is not in {error:?}");
        }
    }
    assert!(Mapping::parse("x").unwrap_err().starts_with("line 1"));
}

#[test]
fn a_counter_needs_where_it_starts_and_how_far_it_goes() {
    let with = |more: &str| {
        Mapping::parse(&format!(
            "[vehicle]\nconstant = \"a\"\n[time]\ncolumn = \"n\"\nformat = \"counter\"\n{more}\n[signals]\ns = \"Vehicle.Speed\""
        ))
    };
    let mapping = with("start = \"1970-01-01T00:01:00Z\"\nstep_ms = 500").unwrap();
    assert_eq!(mapping.time, TimeFormat::Counter { start: 60_000, step_ms: 500.0 });
    for bad in ["", "start = \"0\"", "start = \"soon\"\nstep_ms = 5", "start = \"0\"\nstep_ms = 0"] {
        assert!(with(bad).unwrap_err().contains("[time]"), "{bad}");
    }
}

#[test]
fn every_example_of_the_folder_is_built_in_and_understood() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/mappings");
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    let mut built_in = EXAMPLES.map(|(name, _)| name);
    built_in.sort_unstable();
    assert_eq!(names, built_in);
    for (name, text) in EXAMPLES {
        Mapping::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
