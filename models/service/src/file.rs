//! The configuration file: flags by name in TOML, below what the environment and the command line say.
//!
//! A key is the name of a flag without its dashes, for example `spool-limit-mib = 512`. What the file says is
//! handed to the same parser and to the same checks as flags are; a key that is no flag is an error. A program may have
//! [`Presets`] besides: files of the same kind, some of them built in, below the configuration file.

use std::{collections::BTreeSet, ffi::OsString, path::PathBuf};

use clap::{ArgAction, ArgMatches, Command, Id, parser::ValueSource};
use toml::{Table, Value};

use crate::Error;

/// The flag's name.
pub(crate) const FLAG: &str = "config";
/// What a preset says of itself; no flag.
const DESCRIPTION: &str = "description";

/// A flag that names a file of flags, or one that is built into the program. Such a file may have a `description`.
#[derive(Debug, Clone, Copy)]
pub struct Presets {
    /// The flag's name and id; its value is a text.
    pub flag: &'static str,
    /// The built-in file of a name.
    pub built_in: fn(&str) -> Option<&'static str>,
}

/// A file of flags that was read.
struct Read {
    flag: &'static str,
    origin: String,
    table: Table,
}

impl Read {
    fn new(flag: &'static str, origin: String, text: Result<String, std::io::Error>) -> Result<Self, Error> {
        let mut read = Self { flag, origin, table: Table::new() };
        let text = text.map_err(|error| read.usage(&error.to_string()))?;
        read.table = text.parse().map_err(|error: toml::de::Error| read.usage(&one_line(&error)))?;
        Ok(read)
    }

    fn usage(&self, detail: &str) -> Error {
        Error::Usage { flag: self.flag, detail: format!("{}: {detail}", self.origin) }
    }
}

/// The command line with what the files add, if any are named.
///
/// # Errors
/// [`Error::Usage`] for a file that can't be read, that is no TOML, or that names something else than a flag.
pub(crate) fn with_file(
    command: &Command,
    arguments: Vec<OsString>,
    presets: Option<Presets>,
) -> Result<Vec<OsString>, Error> {
    let mut lenient = command.clone().ignore_errors(true);
    lenient.build();
    // A line that can't be read at all is told by the parser itself.
    let Ok(matches) = lenient.clone().try_get_matches_from(&arguments) else { return Ok(arguments) };
    let (leaf, matches) = leaf(&lenient, &matches);
    let mut files = Vec::new();
    if let Ok(Some(path)) = matches.try_get_one::<PathBuf>(FLAG) {
        files.push(Read::new(FLAG, path.display().to_string(), std::fs::read_to_string(path))?);
    }
    if let Some(Presets { flag, built_in }) = presets {
        let of_line = matches.try_get_one::<String>(flag).ok().flatten().map(String::as_str);
        let of_file = files.first().and_then(|file| file.table.get(flag)?.as_str());
        if let Some(name) = of_line.or(of_file).map(str::to_owned) {
            let text = built_in(&name).map_or_else(|| std::fs::read_to_string(&name), |text| Ok(text.to_owned()));
            let mut preset = Read::new(flag, name, text)?;
            if !preset.table.remove(DESCRIPTION).is_none_or(|description| description.is_str()) {
                return Err(preset.usage("description is no text"));
            }
            files.push(preset);
        }
    }
    let mut all = arguments;
    let mut said: BTreeSet<Id> = BTreeSet::new();
    let in_line = |id: &Id| {
        let source = matches.value_source(id.as_str());
        matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    };
    for file in &files {
        let mut says = BTreeSet::new();
        for (key, value) in &file.table {
            let flag = leaf.get_arguments().find(|flag| flag.get_long() == Some(key));
            let never = [FLAG, "help", "version"].contains(&key.as_str()) || (file.flag != FLAG && key == file.flag);
            let Some(flag) = flag.filter(|_| !never) else {
                return Err(file.usage(&format!("{key} is no flag of {}", leaf.get_name())));
            };
            let before = |id: &Id| in_line(id) || said.contains(id);
            // What excludes it was said before, too: `--rate` on the line goes before `interval-ms` in the file.
            let excluded = leaf.get_groups().any(|group| {
                !group.clone().is_multiple()
                    && group.get_args().any(|id| id == flag.get_id())
                    && group.get_args().any(before)
            });
            if before(flag.get_id()) || excluded {
                continue;
            }
            says.insert(flag.get_id().clone());
            all.extend(as_arguments(key, value, flag.get_action()).map_err(|detail| file.usage(&detail))?);
        }
        said.extend(says);
    }
    Ok(all)
}

/// What stands in a file, as it would stand on the command line.
fn as_arguments(key: &str, value: &Value, action: &ArgAction) -> Result<Vec<OsString>, String> {
    let one = std::slice::from_ref(value);
    let values = if let Value::Array(values) = value { values } else { one };
    let mut all = Vec::new();
    for value in values {
        match (action, value) {
            (ArgAction::SetTrue, Value::Boolean(true)) => all.push(format!("--{key}").into()),
            (ArgAction::SetTrue, Value::Boolean(false)) => {}
            (ArgAction::SetTrue, _) => return Err(format!("{key} is true or false")),
            (_, Value::String(text)) => all.push(format!("--{key}={text}").into()),
            (_, Value::Integer(number)) => all.push(format!("--{key}={number}").into()),
            (_, Value::Float(number)) => all.push(format!("--{key}={number}").into()),
            (_, Value::Boolean(truth)) => all.push(format!("--{key}={truth}").into()),
            (_, _) => return Err(format!("{key} is no text, number, truth value or list of them")),
        }
    }
    Ok(all)
}

/// The subcommand that was named, and what was said to it.
fn leaf<'a>(mut command: &'a Command, mut matches: &'a ArgMatches) -> (&'a Command, &'a ArgMatches) {
    while let Some((name, inner)) = matches.subcommand()
        && let Some(sub) = command.find_subcommand(name)
    {
        (command, matches) = (sub, inner);
    }
    (command, matches)
}

fn one_line(error: &toml::de::Error) -> String {
    let place = error.span().map(|span| format!(" (byte {})", span.start)).unwrap_or_default();
    format!("{}{place}", error.message().replace('\n', ", "))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

    use super::*;
    use crate::flags::command;

    #[derive(Debug, Parser)]
    struct Arguments {
        #[command(subcommand)]
        what: What,
    }

    const PRESETS: Presets = Presets {
        flag: "scenario",
        built_in: |name| (name == "storm").then_some("description = 'Wind.'\nfaults = 'storm'\nvehicles = 9\n"),
    };

    #[derive(Debug, Subcommand)]
    enum What {
        #[command(group = clap::ArgGroup::new("speed"))]
        Drive {
            #[arg(long)]
            vehicles: u32,
            #[arg(long)]
            scenario: Option<String>,
            #[arg(long, group = "speed")]
            slow: Option<u32>,
            #[arg(long, group = "speed")]
            fast: bool,
            #[arg(long, default_value = "none")]
            faults: String,
            #[arg(long)]
            broker: Vec<String>,
        },
    }

    fn parse(file: &str, line: &[&str]) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edge.toml");
        std::fs::write(&path, file).unwrap();
        let mut arguments: Vec<OsString> = vec!["program".into(), "drive".into(), "--config".into(), path.into()];
        arguments.extend(line.iter().map(Into::into));
        let all = with_file(&command::<Arguments>(), arguments, Some(PRESETS)).map_err(|error| error.to_string())?;
        let matches = command::<Arguments>().try_get_matches_from(all).map_err(|error| error.to_string())?;
        Ok(format!("{:?}", Arguments::from_arg_matches(&matches).unwrap().what))
    }

    #[test]
    fn flags_come_from_the_file_unless_the_line_says_otherwise() {
        let file = "vehicles = 7\nfast = true\nfaults = 'demo'\nbroker = ['a:1', 'b:2']\ngrace-ms = 5000\n";
        let all = parse(file, &[]).unwrap();
        assert_eq!(
            all,
            r#"Drive { vehicles: 7, scenario: None, slow: None, fast: true, faults: "demo", broker: ["a:1", "b:2"] }"#
        );
        let some = parse(file, &["--vehicles", "8", "--broker", "c:3"]).unwrap();
        assert_eq!(
            some,
            r#"Drive { vehicles: 8, scenario: None, slow: None, fast: true, faults: "demo", broker: ["c:3"] }"#
        );
    }

    #[test]
    fn a_preset_lies_below_the_file_which_may_name_it() {
        let built_in = parse("", &["--scenario", "storm"]).unwrap();
        assert!(built_in.contains("vehicles: 9") && built_in.contains("\"storm\""), "{built_in}");
        let below = parse("faults = 'file'", &["--scenario", "storm", "--vehicles", "1"]).unwrap();
        assert!(below.contains("vehicles: 1,") && below.contains("\"file\""), "{below}");
        assert_eq!(parse("scenario = 'storm'\nfaults = 'file'", &["--vehicles", "1"]).unwrap(), below);
        let own = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(own.path(), "vehicles = 5\nvehicels = 6").unwrap();
        let path = own.path().to_str().unwrap();
        let error = parse("", &["--scenario", path]).unwrap_err();
        assert!(error.starts_with("--scenario") && error.contains("vehicels is no flag of drive"), "{error}");
        std::fs::write(own.path(), "vehicles = 5\nscenario = 'storm'").unwrap();
        assert!(parse("", &["--scenario", path]).unwrap_err().contains("scenario is no flag"));
        assert!(parse("", &["--scenario", "calm"]).unwrap_err().contains("calm"), "neither built in nor a file");
        assert!(parse("description = 'x'", &[]).unwrap_err().contains("description is no flag"));
    }

    #[test]
    fn what_excludes_a_key_of_the_file_goes_before_it() {
        let file = "vehicles = 7\nfast = true";
        assert!(parse(file, &["--slow", "1"]).unwrap().contains("slow: Some(1), fast: false"));
        assert!(parse("vehicles = 7\nfast = true\nslow = 1", &[]).unwrap_err().contains("--slow"), "not both");
    }

    #[test]
    fn what_is_no_flag_or_no_value_of_one_is_refused() {
        Arguments::command().debug_assert();
        for (file, says) in [
            ("vehicels = 7", "vehicels is no flag of drive"),
            ("config = 'other.toml'", "config is no flag"),
            ("vehicles = ", "edge.toml"),
            ("fast = 1", "fast is true or false"),
            ("[vehicles]\nn = 7", "vehicles is no text"),
            ("vehicles = 'many'", "--vehicles"),
            ("faults = 'x'", "--vehicles"),
        ] {
            let error = parse(file, &[]).unwrap_err();
            assert!(error.contains(says), "{file}: {error}");
        }
        let line = ["program", "drive", "--config", "/nowhere/edge.toml"].map(OsString::from).into();
        let error = with_file(&command::<Arguments>(), line, None).unwrap_err();
        assert!(error.to_string().starts_with("--config: /nowhere/edge.toml"), "{error}");
    }
}
