//! Loads with a name: files of flags, the ones below `simulator/scenarios` built in. Whoever wants another one starts
//! from one of these (`motorcade-simulator scenarios NAME`) and gives the file to `load --scenario`.

use std::io::Write;

use serde::Deserialize;
use service::{Error, Presets};

macro_rules! built_in {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../scenarios/", $name, ".toml")))),+]
    };
}

/// Name and text of every scenario that is built in.
const BUILT_IN: [(&str, &str); 9] = built_in![
    "bursts",
    "day",
    "drifting-clocks",
    "messy-network",
    "reconnect-storm",
    "regional-blackout",
    "rush-hour",
    "steps",
    "tunnel",
];

/// How `load` finds its scenarios.
pub const PRESETS: Presets = Presets { flag: "scenario", built_in: text };

/// The file of a built-in scenario.
pub fn text(name: &str) -> Option<&'static str> {
    BUILT_IN.iter().find(|(built_in, _)| *built_in == name).map(|(_, text)| *text)
}

/// Flags of `motorcade-simulator scenarios`.
#[derive(Debug, Clone, clap::Args)]
pub struct Scenarios {
    /// Prints this scenario's file instead of the list: a place to start from.
    pub name: Option<String>,
}

#[derive(Deserialize)]
struct Described {
    description: String,
}

/// Prints what there is.
///
/// # Errors
/// [`Error::Usage`] for a name that there is not.
pub fn show(scenarios: &Scenarios) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    // Whoever reads our output may have gone.
    match &scenarios.name {
        None => {
            for (name, text) in BUILT_IN {
                writeln!(out, "{name:18} {}", described(text)).ok();
            }
            Ok(())
        }
        Some(name) => match text(name) {
            Some(text) => {
                write!(out, "{text}").ok();
                Ok(())
            }
            None => Err(Error::Usage { flag: "scenario", detail: format!("{name:?} is not built in") }),
        },
    }
}

fn described(text: &str) -> String {
    toml::from_str(text).map_or_else(|_| String::new(), |described: Described| described.description)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_of_the_folder_is_built_in_and_says_what_it_is() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<_> = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        names.sort();
        assert_eq!(names, BUILT_IN.map(|(name, _)| name));
        for (name, text) in BUILT_IN {
            assert!((20..=118).contains(&described(text).len()), "{name}: {}", described(text));
            assert!(text.contains(&format!("\nname = \"{name}\"\n")), "{name} has another name in its report");
        }
        assert_eq!(text("nothing"), None);
    }
}
