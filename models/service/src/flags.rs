//! The command line: flags that every executable has, and errors in one line.

use std::{io::Write, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, FromArgMatches, ValueEnum, builder::Resettable, error::ErrorKind};

use crate::{
    Error,
    file::{self, Presets},
};

/// Flags that every executable has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Process")]
pub struct Flags {
    /// TOML file with flags by their names, without dashes; the environment and the command line go before it.
    #[arg(long = file::FLAG, id = file::FLAG, env = "MOTORCADE_CONFIG", value_name = "FILE", global = true)]
    pub config_file: Option<PathBuf>,
    /// Address of /healthz, /readyz and /metrics while a role runs; port 0 takes a free one.
    #[arg(long, env = "MOTORCADE_ADMIN_LISTEN", default_value = "127.0.0.1:0", global = true)]
    pub admin_listen: SocketAddr,
    /// File with the bearer token of /metrics; needed beyond loopback.
    #[arg(long, env = "MOTORCADE_ADMIN_TOKEN_FILE", global = true)]
    pub admin_token_file: Option<PathBuf>,
    /// What is logged to standard error, for example `info` or `edge=debug,warn`.
    #[arg(long, env = "MOTORCADE_LOG", default_value = "info", global = true)]
    pub log: String,
    /// Form of the log.
    #[arg(long, env = "MOTORCADE_LOG_FORMAT", default_value = "text", global = true)]
    pub log_format: LogFormat,
    /// How long a stop may take before the process gives up, ms.
    #[arg(long, env = "MOTORCADE_GRACE_MS", default_value_t = 10_000, global = true)]
    pub grace_ms: u64,
}

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How long a stop may take in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace {
    ms: u64,
}

impl Grace {
    pub(crate) fn new(flags: &Flags) -> Self {
        Self { ms: flags.grace_ms }
    }

    /// The time.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.ms)
    }

    /// Checks that a part of the stop fits: it takes `ms`, and `spare_ms` have to be left after it.
    ///
    /// # Errors
    /// [`Error::Usage`] with the part's flag.
    pub fn must_hold(self, flag: &'static str, ms: u64, spare_ms: u64) -> Result<(), Error> {
        if ms.saturating_add(spare_ms) <= self.ms {
            return Ok(());
        }
        let most = self.ms.saturating_sub(spare_ms);
        Err(Error::Usage { flag, detail: format!("{ms} is above {most}, what --grace-ms {} leaves for it", self.ms) })
    }
}

/// The executable's own command with [`Flags`]; these would put their description in the place of its own.
pub(crate) fn command<A: clap::CommandFactory>() -> clap::Command {
    let own = A::command();
    let (about, long_about) = (own.get_about().cloned(), own.get_long_about().cloned());
    Flags::augment_args(own).about(Resettable::from(about)).long_about(Resettable::from(long_about))
}

/// The parsed command line, or the code to exit with after what was to be said has been said.
pub(crate) fn parse<A: clap::Parser>(name: &str, presets: Option<Presets>) -> Result<(Flags, A), ExitCode> {
    let command = command::<A>();
    let arguments = file::with_file(&command, std::env::args_os().collect(), presets).map_err(|error| {
        writeln!(std::io::stderr().lock(), "{name}: {error}").ok();
        ExitCode::from(error.exit_code())
    })?;
    let parsed = command
        .try_get_matches_from(arguments)
        .and_then(|matches| Ok((Flags::from_arg_matches(&matches)?, A::from_arg_matches(&matches)?)));
    parsed.map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            error.print().ok();
            ExitCode::SUCCESS
        }
        // Nothing was asked for: what can be asked for says more than a line.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.print().ok();
            ExitCode::from(64)
        }
        // clap's 2 means "usage"; sysexits calls it 64.
        _ => {
            writeln!(std::io::stderr().lock(), "{name}: {}", one_line(&error.render().to_string())).ok();
            ExitCode::from(64)
        }
    })
}

/// What clap says before its first blank line, the error itself, and what was probably meant; without usage and other tips.
fn one_line(text: &str) -> String {
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = paragraph.split_whitespace().collect();
    let line = words.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    let mut tips = text.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
    match tips.find(|tip| tip.contains("similar")) {
        Some(similar) => format!("{line}; {similar}"),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    /// Drives.
    #[derive(Debug, Parser)]
    struct Arguments {
        #[arg(long)]
        vehicles: u32,
        #[arg(long)]
        form: LogFormat,
    }

    #[test]
    fn help_says_what_the_executable_does() {
        let help = command::<Arguments>().render_help().to_string();
        assert!(help.starts_with("Drives") && help.contains("--vehicles") && help.contains("--grace-ms"), "{help}");
    }

    #[test]
    fn a_wrong_flag_is_told_in_one_line_that_names_it() {
        Arguments::command().debug_assert();
        for (arguments, names) in [
            (&["--no-such-flag"][..], &["--no-such-flag"][..]),
            (&["--vehicles", "many"], &["--vehicles", "many"]),
            (&["--vehicles", "1", "--form", "xml"], &["--form", "xml", "text, json"]),
            (&[], &["--vehicles", "--form"]),
            (&["--vehicles"], &["--vehicles"]),
            (&["--vehicels", "1"], &["--vehicels", "similar", "'--vehicles'"]),
            (&["--vehicles", "1", "--form", "jsn"], &["similar", "'json'"]),
        ] {
            let error = Arguments::try_parse_from(["program"].iter().chain(arguments)).unwrap_err();
            let line = one_line(&error.render().to_string());
            assert!(!line.contains('\n') && !line.starts_with("error"), "{line:?}");
            for name in names {
                assert!(line.contains(name), "{arguments:?}: {name} is not in {line:?}");
            }
        }
    }

    #[test]
    fn a_part_of_the_stop_has_to_fit_into_the_grace() {
        let grace = Grace { ms: 10_000 };
        assert!(grace.must_hold("drain-ms", 7_000, 2_000).is_ok());
        assert!(grace.must_hold("drain-ms", 8_000, 2_000).is_ok());
        let error = grace.must_hold("drain-ms", 8_001, 2_000).unwrap_err();
        assert_eq!(error.exit_code(), 64);
        assert_eq!(error.to_string(), "--drain-ms: 8001 is above 8000, what --grace-ms 10000 leaves for it");
    }
}
