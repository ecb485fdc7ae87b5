//! `services up | down | status | run`: the services of a development machine, from the command line.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use services::{Authority, Error, Kind, Options, Services, Use};
use tokio::signal::unix::{SignalKind, signal};

/// Starts and stops mosquitto, Apache Kafka and mongod on free ports, without root and without Docker.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The folder for their configuration, logs and data.
    #[arg(long, global = true, env = "MOTORCADE_SERVICES_DIR", default_value = ".services")]
    dir: PathBuf,
    /// Where `make deps` put what is started here [default: .deps in the source folder].
    #[arg(long, global = true, env = "MOTORCADE_DEPS")]
    deps: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Start them in the background and print the environment variables that programs need, for `eval` in a shell; the
    /// file `env` in the folder holds them too.
    Up {
        /// Only these, e.g. `kafka,mongod`.
        #[arg(long, value_delimiter = ',')]
        only: Vec<Kind>,
        /// Let mosquitto and Kafka listen with TLS too; the variables then name mosquitto's listeners that do.
        #[arg(long)]
        tls: bool,
    },
    /// The same, but stay, and stop them at SIGINT or SIGTERM.
    Run {
        /// Only these, e.g. `kafka,mongod`.
        #[arg(long, value_delimiter = ',')]
        only: Vec<Kind>,
        /// Let mosquitto and Kafka listen with TLS too; the variables then name mosquitto's listeners that do.
        #[arg(long)]
        tls: bool,
    },
    /// Issue certificates for vehicles, by the authority of the services that listen with TLS.
    Certificates {
        /// For how many.
        #[arg(long)]
        vehicles: u32,
        /// Index of the first: 1 is veh-00001.
        #[arg(long, default_value_t = 1)]
        first_vehicle: u32,
    },
    /// Stop what `up` started.
    Down,
    /// Say which of them run.
    Status,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let wanted = !error.use_stderr();
            return match error.print() {
                Ok(()) if wanted => ExitCode::SUCCESS,
                _ => ExitCode::from(64),
            };
        }
    };
    let outcome = match &arguments.command {
        Command::Up { only, tls } => up(options(&arguments, only, *tls)).await,
        Command::Run { only, tls } => run(options(&arguments, only, *tls)).await,
        Command::Certificates { vehicles, first_vehicle } => issue(&arguments.dir, *first_vehicle, *vehicles),
        Command::Down => services::stop_in(&arguments.dir).await,
        Command::Status => return status(&arguments.dir),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&mut std::io::stderr(), &format!("services: {error}\n"));
            ExitCode::from(69)
        }
    }
}

fn options(arguments: &Arguments, only: &[Kind], tls: bool) -> Options {
    let mut options = Options::new(&arguments.dir);
    options.tls = tls;
    if let Some(deps) = &arguments.deps {
        options.deps.clone_from(deps);
    }
    if only.is_empty() { options } else { options.only(only) }
}

fn issue(dir: &Path, first: u32, vehicles: u32) -> Result<(), Error> {
    let authority = Authority::open(dir.join("certificates"))?;
    for vehicle in (first..).zip(0..vehicles).map(|(vehicle, _)| vehicle) {
        authority.ensure(&format!("veh-{vehicle:05}"), Use::Client)?;
    }
    Ok(())
}

fn environment_file(dir: &Path) -> PathBuf {
    dir.join("env")
}

async fn up(options: Options) -> Result<(), Error> {
    let mut running: Vec<_> = services::alive(&options.dir).into_iter().map(|(kind, _)| kind).collect();
    running.sort_unstable();
    if options.kinds.iter().all(|kind| running.contains(kind))
        && let Ok(lines) = std::fs::read_to_string(environment_file(&options.dir))
    {
        say(&mut std::io::stdout(), &lines);
        return Ok(());
    }
    // Those that run already are started again together with those that do not.
    let mut options = options;
    options.kinds.extend(running);
    let services = Services::start(options).await?;
    announce(&services)?;
    services.detach();
    Ok(())
}

async fn run(options: Options) -> Result<(), Error> {
    let hear = |kind| signal(kind).map_err(|cause| Error::Io { doing: "wait for a signal".to_owned(), cause });
    let (mut interrupt, mut terminate) = (hear(SignalKind::interrupt())?, hear(SignalKind::terminate())?);
    let told = async {
        tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () }
    };
    tokio::pin!(told);
    let services = tokio::select! {
        services = Services::start(options) => services?,
        // Dropped half started: whatever runs is killed.
        () = &mut told => return Ok(()),
    };
    announce(&services)?;
    told.await;
    services.stop().await;
    Ok(())
}

/// Prints the variables as a shell takes them (`eval`), and leaves them in the folder for whoever comes later.
fn announce(services: &Services) -> Result<(), Error> {
    let mut environment = services.environment();
    // Of two lines for one variable the later counts.
    environment.extend(services.tls().into_iter().flat_map(|tls| tls.environment()));
    let lines: String = environment.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect();
    let path = environment_file(services.dir());
    std::fs::write(&path, &lines).map_err(|cause| Error::Io { doing: format!("write {}", path.display()), cause })?;
    say(&mut std::io::stdout(), &lines);
    Ok(())
}

/// As a shell needs it: the question mark of a connection string is a pattern to it.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if value.chars().all(plain) { value.to_owned() } else { format!("'{}'", value.replace('\'', r"'\''")) }
}

fn status(dir: &Path) -> ExitCode {
    let alive = services::alive(dir);
    for kind in Kind::ALL {
        let pid = alive.iter().find(|(running, _)| *running == kind).map(|(_, pid)| pid);
        let line = pid.map_or_else(|| format!("{kind}: down\n"), |pid| format!("{kind}: up, process {pid}\n"));
        say(&mut std::io::stdout(), &line);
    }
    if alive.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Writes to a terminal or pipe that may be gone, which is no reason to fail.
fn say(to: &mut impl Write, text: &str) {
    if to.write_all(text.as_bytes()).and_then(|()| to.flush()).is_err() {
        tracing::debug!("nobody reads the output");
    }
}
