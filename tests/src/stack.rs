//! The stack: real services, and every role as a process of its own.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use services::{Kind, Options, Services};

use crate::process::{Ended, Program, Running, peak_memory_bytes, run};

/// How long a role may take until it is ready, on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a role may take to end.
const END_WITHIN: Duration = Duration::from_secs(30);

/// A role of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// MQTT to Kafka.
    Edge,
    /// Kafka to MongoDB.
    Twin,
    /// History to model.
    Trainer,
    /// Telemetry to scores.
    Scorer,
    /// Scores to alerts.
    Alerter,
    /// REST, WebSocket, page.
    Gateway,
}

impl Role {
    /// Every role, in the order in which a reading meets them.
    pub const ALL: [Self; 6] = [Self::Edge, Self::Twin, Self::Trainer, Self::Scorer, Self::Alerter, Self::Gateway];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Twin => "twin",
            Self::Trainer => "trainer",
            Self::Scorer => "scorer",
            Self::Alerter => "alerter",
            Self::Gateway => "gateway",
        }
    }
}

/// Running services and processes in one folder.
#[derive(Debug)]
pub struct Stack {
    folder: PathBuf,
    /// Mosquitto, Kafka, mongod.
    pub services: Services,
    running: BTreeMap<String, Running>,
    /// How every process ended that was stopped.
    pub ended: BTreeMap<String, Ended>,
    settings: BTreeMap<Role, Vec<OsString>>,
}

impl Stack {
    /// Starts the three services in `folder` and creates the topics. What an earlier run left there is ended and
    /// removed; a folder that a living run uses is refused.
    pub async fn start_anew(folder: &Path) -> Result<Self> {
        Self::start_anew_with(folder, |options| options).await
    }

    /// As [`Stack::start_anew`], with other services, or other options for them.
    pub async fn start_anew_with(folder: &Path, change: impl FnOnce(Options) -> Options) -> Result<Self> {
        let own = folder.join("services");
        // First the services: they hold the folder's lock, so that nothing is removed under another run.
        let services = Services::start(change(Options::new(&own).anew())).await?;
        for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let removed = match path.is_dir() {
                true if path == own => Ok(()),
                true => std::fs::remove_dir_all(&path),
                false => std::fs::remove_file(&path),
            };
            removed.with_context(|| format!("remove {}", path.display()))?;
        }
        Self::with(folder, services).await
    }

    /// As [`Stack::start_anew`], but on what an earlier run left.
    pub async fn start(folder: &Path) -> Result<Self> {
        let services = Services::start(Options::new(folder.join("services"))).await?;
        Self::with(folder, services).await
    }

    async fn with(folder: &Path, services: Services) -> Result<Self> {
        let stack = Self {
            folder: folder.into(),
            services,
            running: BTreeMap::new(),
            ended: BTreeMap::new(),
            settings: BTreeMap::new(),
        };
        stack.tool(["topics", "apply"]).await.context("create the topics")?;
        Ok(stack)
    }

    /// Flags that this role is started with from now on.
    pub fn set<A: Into<OsString>>(&mut self, role: Role, flags: impl IntoIterator<Item = A>) {
        self.settings.insert(role, flags.into_iter().map(Into::into).collect());
    }

    /// The folder with logs, ledger and services.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Kafka's address.
    pub fn kafka(&self) -> &str {
        &self.services.addresses().kafka
    }

    /// MongoDB's address.
    pub fn mongo(&self) -> &str {
        &self.services.addresses().mongo
    }

    fn environment(&self) -> Vec<(String, OsString)> {
        self.services.environment().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
    }

    /// Starts a program in this stack's environment and waits until it is ready.
    pub async fn launch(&mut self, program: Program) -> Result<&mut Running> {
        let name = self.spawn(program)?;
        let running = self.running(&name)?;
        running.ready(READY_WITHIN).await?;
        Ok(running)
    }

    /// Starts a program in this stack's environment; tools have no ready line.
    pub fn spawn(&mut self, mut program: Program) -> Result<String> {
        let name = program.name.clone();
        // A program that is started again keeps what it had.
        if program.environment.is_empty() {
            program.environment = self.environment();
        }
        let running = program.start(&self.folder, self.services.watcher())?;
        self.running.insert(name.clone(), running);
        Ok(name)
    }

    /// Starts a role.
    pub async fn role(&mut self, role: Role) -> Result<&mut Running> {
        let flags = self.settings.get(&role).cloned().unwrap_or_default();
        let program = match role {
            Role::Edge => Program::new("edge", "motorcade-edge", flags),
            Role::Gateway => Program::new("gateway", "motorcade", ["run", "gateway"]).with(flags),
            _ => Program::new(role.name(), "motorcade", ["run", role.name()]).with(flags),
        };
        self.launch(program).await
    }

    /// A process by name.
    pub fn running(&mut self, name: &str) -> Result<&mut Running> {
        self.running.get_mut(name).with_context(|| format!("{name} does not run"))
    }

    /// Every process.
    pub fn all(&mut self) -> impl Iterator<Item = &mut Running> {
        self.running.values_mut()
    }

    /// Peak of resident memory so far, bytes: of every process that runs, services included.
    pub fn peak_memory(&self) -> BTreeMap<String, u64> {
        let programs = self.running.values().filter_map(|p| Some((p.name().to_owned(), p.peak_memory_bytes()?)));
        let services = Kind::ALL.into_iter().filter_map(|kind| {
            let pid = u32::try_from(self.services.pid(kind)?).ok()?;
            Some((kind.name().to_owned(), peak_memory_bytes(pid)?))
        });
        programs.chain(services).collect()
    }

    /// SIGKILL, then starts the same program again.
    pub async fn kill_and_restart(&mut self, name: &str) -> Result<()> {
        let program = self.kill(name).await?;
        self.launch(program).await.map(|_| ())
    }

    /// SIGKILL.
    pub async fn kill(&mut self, name: &str) -> Result<Program> {
        let running = self.running.remove(name).with_context(|| format!("{name} does not run"))?;
        running.kill().await
    }

    /// SIGKILL of a service, then starts it again on the same ports.
    pub async fn kill_and_restart_service(&mut self, kind: Kind) -> Result<()> {
        self.services.kill(kind).await;
        self.services.restart(kind).await?;
        Ok(())
    }

    /// Waits until a process ends by itself.
    pub async fn wait_for_end(&mut self, name: &str, within: Duration) -> Result<&Ended> {
        let running = self.running.remove(name).with_context(|| format!("{name} does not run"))?;
        let ended = running.ended(within).await?;
        Ok(self.ended.entry(name.into()).insert_entry(ended).into_mut())
    }

    /// Stops one process in good order.
    pub async fn stop(&mut self, name: &str) -> Result<&Ended> {
        let running = self.running.remove(name).with_context(|| format!("{name} does not run"))?;
        let ended = running.stop(END_WITHIN).await?;
        Ok(self.ended.entry(name.into()).insert_entry(ended).into_mut())
    }

    /// Stops what runs, in the order in which a reading meets it.
    pub async fn stop_programs(&mut self) -> Result<()> {
        let known = ["simulator", "fleet"].into_iter().chain(Role::ALL.map(Role::name));
        let mut order: Vec<String> = known.filter(|name| self.running.contains_key(*name)).map(Into::into).collect();
        order.extend(self.running.keys().filter(|name| !order.contains(name)).cloned().collect::<Vec<_>>());
        for name in order {
            self.stop(&name).await?;
        }
        Ok(())
    }

    /// Stops everything, services last.
    pub async fn shut_down(mut self) -> Result<BTreeMap<String, Ended>> {
        let stopped = self.stop_programs().await;
        self.services.stop().await;
        stopped.map(|()| self.ended)
    }

    /// Runs a tool of `motorcade` and gives back what it printed; fails unless it exits with 0.
    pub async fn tool<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let (code, out, err) = self.tool_result(arguments).await?;
        ensure!(code == Some(0), "exit code {code:?}: {err}{out}");
        Ok(out)
    }

    /// Runs a tool of `motorcade`: exit code, standard output, standard error.
    pub async fn tool_result<'a>(
        &self,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<(Option<i32>, String, String)> {
        let mut program = Program::new("tool", "motorcade", arguments);
        program.environment = self.environment();
        run(&program).await
    }
}
