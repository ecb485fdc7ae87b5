//! The configuration file: flags by name in TOML, below what the environment and the command line say.
//!
//! A key is the name of a flag without its dashes, for example `spool-limit-mib = 512`. What the file says is
//! handed to the same parser and to the same checks as flags are; a key that is no flag is an error.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgAction, ArgMatches, Command, parser::ValueSource};
use toml::{Table, Value};

use crate::Error;

/// The flag's name.
pub(crate) const FLAG: &str = "config";

/// The command line with what the file adds, if one is named.
///
/// # Errors
/// [`Error::Usage`] for a file that can't be read, that is no TOML, or that names something else than a flag.
pub(crate) fn with_file(command: &Command, arguments: Vec<OsString>) -> Result<Vec<OsString>, Error> {
    let mut lenient = command.clone().ignore_errors(true);
    lenient.build();
    // A line that can't be read at all is told by the parser itself.
    let Ok(matches) = lenient.clone().try_get_matches_from(&arguments) else { return Ok(arguments) };
    let (leaf, matches) = leaf(&lenient, &matches);
    let Ok(Some(path)) = matches.try_get_one::<PathBuf>(FLAG) else { return Ok(arguments) };
    let usage = |detail: String| Error::Usage { flag: FLAG, detail: format!("{}: {detail}", path.display()) };
    let text = std::fs::read_to_string(path).map_err(|error| usage(error.to_string()))?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| usage(one_line(&error)))?;
    let mut all = arguments;
    for (key, value) in table {
        let flag = leaf.get_arguments().find(|flag| flag.get_long() == Some(&key));
        let Some(flag) = flag.filter(|_| ![FLAG, "help", "version"].contains(&key.as_str())) else {
            return Err(usage(format!("{key} is no flag of {}", leaf.get_name())));
        };
        let said = matches.value_source(flag.get_id().as_str());
        if matches!(said, Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
            continue;
        }
        let values = match value {
            Value::Array(values) => values,
            value => vec![value],
        };
        for value in values {
            match (flag.get_action(), value) {
                (ArgAction::SetTrue, Value::Boolean(true)) => all.push(format!("--{key}").into()),
                (ArgAction::SetTrue, Value::Boolean(false)) => {}
                (ArgAction::SetTrue, _) => return Err(usage(format!("{key} is true or false"))),
                (_, Value::String(text)) => all.push(format!("--{key}={text}").into()),
                (_, Value::Integer(number)) => all.push(format!("--{key}={number}").into()),
                (_, Value::Float(number)) => all.push(format!("--{key}={number}").into()),
                (_, Value::Boolean(truth)) => all.push(format!("--{key}={truth}").into()),
                (_, _) => return Err(usage(format!("{key} is no text, number, truth value or list of them"))),
            }
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

    #[derive(Debug, Subcommand)]
    enum What {
        Drive {
            #[arg(long)]
            vehicles: u32,
            #[arg(long)]
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
        let all = with_file(&command::<Arguments>(), arguments).map_err(|error| error.to_string())?;
        let matches = command::<Arguments>().try_get_matches_from(all).map_err(|error| error.to_string())?;
        Ok(format!("{:?}", Arguments::from_arg_matches(&matches).unwrap().what))
    }

    #[test]
    fn flags_come_from_the_file_unless_the_line_says_otherwise() {
        let file = "vehicles = 7\nfast = true\nfaults = 'demo'\nbroker = ['a:1', 'b:2']\ngrace-ms = 5000\n";
        let all = parse(file, &[]).unwrap();
        assert_eq!(all, r#"Drive { vehicles: 7, fast: true, faults: "demo", broker: ["a:1", "b:2"] }"#);
        let some = parse(file, &["--vehicles", "8", "--broker", "c:3"]).unwrap();
        assert_eq!(some, r#"Drive { vehicles: 8, fast: true, faults: "demo", broker: ["c:3"] }"#);
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
        let error = with_file(&command::<Arguments>(), line).unwrap_err();
        assert!(error.to_string().starts_with("--config: /nowhere/edge.toml"), "{error}");
    }
}
