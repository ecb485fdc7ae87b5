//! The set of services that one owner runs in one folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Doing, Error};
use crate::process::{Place, Process};
use crate::watcher::Watcher;
use crate::{Addresses, Authority, Kind, Ports, Tls, kafka, mongod, mosquitto, record, tls};

/// How often a service is given other ports because somebody took the one that was free a moment ago.
const ATTEMPTS: u32 = 5;
/// The file whose lock says that the folder has a living owner.
const LOCK: &str = "lock";

/// What to start, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder for configuration, logs and data. What is in it from an earlier run is used again.
    pub dir: PathBuf,
    /// Where `make deps` put what is started here.
    pub deps: PathBuf,
    /// Which services.
    pub kinds: Vec<Kind>,
    /// The ports; without them, those of the folder's last run where they are free, others otherwise.
    pub ports: Option<Ports>,
    /// A proxy that some of Kafka's clients come through. Those who ask at [`Services::kafka_far`], to where it has
    /// to lead, are told its address.
    pub kafka_through: Option<SocketAddr>,
    /// Whether mosquitto and Kafka listen with TLS too; see [`Services::tls`]. A Kafka folder of an earlier run without
    /// it knows no account.
    pub tls: bool,
    /// How long a service may take until it is ready.
    pub ready_within: Duration,
    /// How long a service that was asked to end may take before it is killed.
    pub stop_within: Duration,
    /// Whether what an earlier run left in the folder is removed, once nothing of it runs.
    pub anew: bool,
}

impl Options {
    /// All three, from the workspace's `.deps` (or from `MOTORCADE_DEPS`).
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let installed = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.deps");
        Self {
            dir: dir.into(),
            deps: std::env::var_os("MOTORCADE_DEPS").map_or_else(installed, PathBuf::from),
            kinds: Kind::ALL.to_vec(),
            ports: None,
            kafka_through: None,
            tls: false,
            ready_within: Duration::from_secs(90),
            stop_within: Duration::from_secs(20),
            anew: false,
        }
    }

    /// With nothing of an earlier run.
    #[must_use]
    pub const fn anew(mut self) -> Self {
        self.anew = true;
        self
    }

    /// With listeners that speak TLS, beside the plain ones.
    #[must_use]
    pub const fn with_tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Only these services.
    #[must_use]
    pub fn only(mut self, kinds: &[Kind]) -> Self {
        self.kinds = kinds.to_vec();
        self
    }
}

/// Running services. Dropping them kills them; [`Services::stop`] ends them in good order.
#[derive(Debug)]
pub struct Services {
    options: Options,
    ports: Ports,
    password: String,
    addresses: Addresses,
    running: BTreeMap<Kind, Process>,
    watcher: Arc<Watcher>,
    /// Held as long as this owner lives, so that no other one takes the folder for abandoned.
    _lock: File,
}

impl Services {
    /// Ends what a crashed run left in the folder, starts the services side by side and returns when all
    /// of them answer.
    ///
    /// # Errors
    ///
    /// When something is not installed, the folder is in use, or a service does not become ready.
    pub async fn start(mut options: Options) -> Result<Self, Error> {
        fs::create_dir_all(&options.dir).doing("create", &options.dir)?;
        options.dir = options.dir.canonicalize().doing("find", &options.dir)?;
        options.kinds.sort_unstable();
        options.kinds.dedup();
        let lock = take(&options.dir)?;
        record::end_recorded(&options.dir, Duration::ZERO).await;
        if options.anew {
            empty(&options.dir)?;
        }

        let ports = match options.ports {
            Some(ports) => ports,
            None => Ports::of(&options.dir)?,
        };
        let password = random_name()?;
        let addresses = Addresses::new(&ports, &options.dir, &password);
        if options.tls {
            // Before two services look for it at the same time.
            Authority::open(tls::certificates(&options.dir))?;
        }
        let running = BTreeMap::new();
        let watcher = Arc::new(Watcher::start());
        let kinds = options.kinds.clone();
        let mut services = Self { options, ports, password, addresses, running, watcher, _lock: lock };
        services.start_all(&kinds).await?;
        services.ports.save(&services.options.dir)?;
        Ok(services)
    }

    /// Where they listen.
    #[must_use]
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Where Kafka listens for those who come through [`Options::kafka_through`]; silent without it.
    #[must_use]
    pub fn kafka_far(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.kafka_far))
    }

    /// The listeners that speak TLS, if they were asked for.
    #[must_use]
    pub fn tls(&self) -> Option<Tls> {
        self.options.tls.then(|| Tls::new(&self.ports, &self.options.dir))
    }

    /// The folder with logs (`kafka.log` and so on), configuration and data.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// The environment variables by which programs find these services.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        self.addresses.environment(&self.options.kinds)
    }

    /// What ends these services should their owner be killed; it can end the owner's other processes too.
    #[must_use]
    pub fn watcher(&self) -> Arc<Watcher> {
        Arc::clone(&self.watcher)
    }

    /// The process id, unless the service has been killed or stopped. It leads a process group.
    #[must_use]
    pub fn pid(&self, kind: Kind) -> Option<i32> {
        self.running.get(&kind).map(Process::pid)
    }

    /// Kills a service as a crash would (SIGKILL) and returns when it is gone. Its data stays.
    pub async fn kill(&mut self, kind: Kind) {
        self.end(kind, Duration::ZERO).await;
    }

    /// Asks a service to end (SIGTERM) and returns when it is gone; kills it when it takes too long.
    pub async fn stop_gracefully(&mut self, kind: Kind) {
        self.end(kind, self.options.stop_within).await;
    }

    /// Starts a service again, on the same ports, with its data, and returns when it answers. One that
    /// still runs is killed first. mosquitto keeps nothing: its sessions and retained messages are gone.
    ///
    /// # Errors
    ///
    /// When the service does not become ready.
    pub async fn restart(&mut self, kind: Kind) -> Result<(), Error> {
        self.kill(kind).await;
        let process = self.launch(kind, self.ports).await?;
        self.running.insert(kind, process);
        Ok(())
    }

    /// Asks all services to end, kills those that take too long, and returns when all are gone.
    pub async fn stop(mut self) {
        let patience = self.options.stop_within;
        let mut ending = tokio::task::JoinSet::new();
        for process in std::mem::take(&mut self.running).into_values() {
            ending.spawn(process.end(patience));
        }
        ending.join_all().await;
    }

    /// Leaves the services running without an owner, until the next start in the folder or [`stop_in`].
    pub fn detach(mut self) {
        std::mem::take(&mut self.running).into_values().for_each(Process::leave);
    }

    async fn start_all(&mut self, kinds: &[Kind]) -> Result<(), Error> {
        let mut ports = self.ports;
        let mut missing = kinds.to_vec();
        for attempt in 1..=ATTEMPTS {
            let wanted = |kind| missing.contains(&kind);
            let start = async |kind| {
                if wanted(kind) { Some(self.launch(kind, ports).await) } else { None }
            };
            let (mosquitto, kafka, mongod) =
                tokio::join!(start(Kind::Mosquitto), start(Kind::Kafka), start(Kind::Mongod));
            let mut failed = None;
            missing.clear();
            for (kind, outcome) in Kind::ALL.into_iter().zip([mosquitto, kafka, mongod]) {
                match outcome {
                    Some(Ok(process)) => {
                        self.running.insert(kind, process);
                    }
                    Some(Err(error))
                        if error.port_was_taken() && attempt < ATTEMPTS && self.options.ports.is_none() =>
                    {
                        ports = ports.with_new(kind)?;
                        missing.push(kind);
                    }
                    Some(Err(error)) => failed = Some(error),
                    None => {}
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
            if missing.is_empty() {
                break;
            }
        }
        self.ports = ports;
        self.addresses = Addresses::new(&ports, &self.options.dir, &self.password);
        Ok(())
    }

    async fn launch(&self, kind: Kind, ports: Ports) -> Result<Process, Error> {
        let Options { dir, deps, ready_within, kafka_through, tls, .. } = self.options.clone();
        let place = Place { dir, deps, watcher: Arc::clone(&self.watcher) };
        let password = self.password.clone();
        // Off the runtime's threads: formatting Kafka's folder takes a second.
        let spawned = tokio::task::spawn_blocking(move || match kind {
            Kind::Mosquitto => {
                mosquitto::prepare(&place.dir, &ports, &password, tls)?;
                mosquitto::spawn(&place)
            }
            Kind::Kafka => {
                kafka::prepare(&place.dir, &place.deps, &ports, kafka_through, tls)?;
                kafka::spawn(&place)
            }
            Kind::Mongod => {
                mongod::prepare(&place.dir, &ports)?;
                mongod::spawn(&place)
            }
        });
        let mut process = spawned
            .await
            .map_err(|error| Error::Io { doing: format!("start {kind}"), cause: io::Error::other(error) })??;
        let ready = match kind {
            Kind::Mosquitto => mosquitto::until_ready(&mut process, &ports, &self.password, ready_within).await,
            Kind::Kafka => kafka::until_ready(&mut process, &ports, ready_within).await,
            Kind::Mongod => mongod::until_ready(&mut process, &ports, ready_within).await,
        };
        match ready {
            Ok(()) => Ok(process),
            Err(error) => {
                process.end(Duration::ZERO).await;
                Err(error)
            }
        }
    }

    async fn end(&mut self, kind: Kind, polite: Duration) {
        if let Some(process) = self.running.remove(&kind) {
            process.end(polite).await;
        }
    }
}

/// Ends the services that were started in `dir` and left running, and returns when they are gone.
///
/// # Errors
///
/// When another living process owns them.
pub async fn stop_in(dir: &Path) -> Result<(), Error> {
    if !dir.is_dir() {
        return Ok(());
    }
    let _lock = take(dir)?;
    record::end_recorded(dir, Duration::from_secs(20)).await;
    Ok(())
}

/// Removes what services stored in `dir`: hundreds of megabytes, which nobody needs of a run that went well. Logs and
/// configuration stay.
///
/// # Errors
///
/// When they have a living owner, or it can't be removed.
pub fn remove_stored_in(dir: &Path) -> Result<(), Error> {
    if !dir.is_dir() {
        return Ok(());
    }
    let _lock = take(dir)?;
    for stored in Kind::ALL.map(|kind| kind.stored_in(dir)) {
        if stored.is_dir() {
            fs::remove_dir_all(&stored).doing("remove", &stored)?;
        }
    }
    Ok(())
}

/// Removes everything but the lock, which is held: whoever looks for it meanwhile must find the same file.
fn empty(dir: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(dir).doing("read", dir)? {
        let path = entry.doing("read", dir)?.path();
        if path.file_name().is_some_and(|name| name == LOCK) {
            continue;
        }
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.doing("remove", &path)?;
    }
    Ok(())
}

fn take(dir: &Path) -> Result<File, Error> {
    let path = dir.join(LOCK);
    let lock = File::create(&path).doing("create", &path)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(Error::InUse { dir: dir.to_owned() }),
        Err(fs::TryLockError::Error(source)) => Err(source).doing("lock", &path),
    }
}

/// 32 random hexadecimal digits.
pub(crate) fn random_name() -> Result<String, Error> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    File::open(source).and_then(|mut file| file.read_exact(&mut bytes)).doing("read", source)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
