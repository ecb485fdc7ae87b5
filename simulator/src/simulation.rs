//! A run: one unit for each vehicle, what they share, and what an earlier process left them.

use std::{
    collections::{HashSet, VecDeque},
    fs::File,
    io::{self, BufWriter},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use service::{Error, Tally};
use telemetry::{UnixMillis, VehicleId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    account::Credentials,
    clock::{self, Anchor, Clock},
    command::{CommandLog, Memory},
    config::{Config, Faults},
    fault::{FaultPlan, Prevalence},
    fleet::{Fleet, Readings},
    journal::{self, Journal, Note},
    ledger,
    metrics::{Counters, Discarded},
    outbox::Outbox,
    outbox_file::OutboxFile,
    pace::Pace,
    publisher::{self, Target, Unwelcome},
    report::{self, Reporter},
    truth,
    unit::{Manners, Unit},
    vehicle::{FleetSeed, vehicle_id},
};

/// A simulator that has reached its broker.
pub struct Simulator {
    config: Config,
    units: Vec<Unit>,
    writer: journal::Writer,
    reporter: Reporter,
    stop: CancellationToken,
}

/// Reads what an earlier process left, writes the truth, and reaches the broker.
///
/// # Errors
/// [`Error::Usage`], [`Error::BadInput`] for files that can't be used, [`Error::Unavailable`] if the broker
/// does not answer in time, or refuses the first vehicle.
pub async fn connect(config: Config) -> Result<Simulator, Error> {
    config.validate()?;
    let prepared = prepare(&config)?;
    let target = target(&config, &prepared.credentials, vehicle_id(config.first_vehicle), 0)?;
    let payload_room = reach(&config, &target, prepared.outbox.is_none()).await?;
    assemble(config, prepared, payload_room).await
}

/// What is there before the broker is asked.
struct Prepared {
    clock: Clock,
    /// Simulated time at which the units start.
    from: UnixMillis,
    plan: Arc<FaultPlan>,
    ledger: Option<ledger::Writer>,
    outbox: Option<OutboxFile>,
    commands: Option<CommandLog>,
    credentials: Arc<Credentials>,
}

fn prepare(config: &Config) -> Result<Prepared, Error> {
    let credentials = Arc::new(config.account.open()?);
    // Its lock holds for the other, too.
    let outbox = config.outbox.as_deref().map(open_outbox).transpose()?;
    let commands = config.outbox.as_deref().map(open_commands).transpose()?;
    let wall = clock::wall_now();
    let earlier = earlier_anchor(config, outbox.as_ref())?;
    let anchor =
        earlier.unwrap_or(Anchor { start: config.start.unwrap_or(wall), wall_start: wall, speed: config.speed });
    let clock = Clock::new(anchor);
    // A fleet that begins starts at its first moment, however long files and the broker take: what it reports is a
    // function of the flags. Without an outbox a rerun with the same --start has the same identities therefore;
    // without --start the wall clock, and the second that a unit waits, keep boots apart.
    let from = if earlier.is_some() { clock.simulated() } else { anchor.start };
    let plan = Arc::new(plan(config, anchor.start));
    if let Some(path) = &config.truth {
        let written =
            File::create(path).and_then(|file| truth::write(&plan, config.world(), &mut BufWriter::new(file)));
        written.map_err(|error| usage("truth", path, &error))?;
    }
    let ledger =
        config.ledger.as_deref().map(|dir| ledger::create(dir, wall).map_err(|error| usage("ledger", dir, &error)));
    let ledger = ledger.transpose()?.map(ledger::Writer::new);
    Ok(Prepared { clock, from, plan, ledger, outbox, commands, credentials })
}

fn usage(flag: &'static str, path: &Path, error: &io::Error) -> Error {
    Error::Usage { flag, detail: format!("{}: {error}", path.display()) }
}

fn unusable(dir: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::InvalidData => Error::BadInput(format!("--outbox {}: {error}", dir.display())),
        _ => usage("outbox", dir, error),
    }
}

fn open_commands(dir: &Path) -> Result<CommandLog, Error> {
    let commands = CommandLog::open(dir).map_err(|error| unusable(dir, &error))?;
    if commands.torn_bytes > 0 {
        tracing::warn!(bytes = commands.torn_bytes, "the log of commands ended in a torn entry, which was cut off");
    }
    Ok(commands)
}

fn open_outbox(dir: &Path) -> Result<OutboxFile, Error> {
    let outbox = OutboxFile::open(dir).map_err(|error| unusable(dir, &error))?;
    if outbox.torn_bytes > 0 {
        tracing::warn!(bytes = outbox.torn_bytes, "the outbox log ended in a torn entry, which was cut off");
    }
    Ok(outbox)
}

/// With an outbox of the same start and speed, simulated time goes on where it would be by now.
fn earlier_anchor(config: &Config, outbox: Option<&OutboxFile>) -> Result<Option<Anchor>, Error> {
    let ours: HashSet<_> = config.indices().map(vehicle_id).collect();
    if let Some(stray) = outbox.into_iter().flat_map(OutboxFile::in_hand).find(|id| !ours.contains(*id)) {
        let detail = format!("holds readings of {stray}, who is not among --vehicles");
        return Err(Error::Usage { flag: "outbox", detail });
    }
    let earlier = outbox.and_then(OutboxFile::anchor);
    let same =
        |earlier: &Anchor| config.start == Some(earlier.start) && config.speed.to_bits() == earlier.speed.to_bits();
    Ok(earlier.filter(same))
}

fn plan(config: &Config, start: UnixMillis) -> FaultPlan {
    let ms = |ms: u64| UnixMillis::try_from(ms).unwrap_or(UnixMillis::MAX / 4);
    let from = start.saturating_add(ms(config.faults_from_ms()));
    let to = from.saturating_add(ms(config.faults_for_ms()));
    let fleet = FleetSeed { seed: config.seed, start };
    let plan = match config.faults() {
        Faults::None => FaultPlan::none(),
        Faults::Demo => FaultPlan::demo(fleet, config.indices(), from, to),
        Faults::Prevalence => FaultPlan::prevalence(&Prevalence {
            fleet,
            world: config.world(),
            indices: config.indices(),
            span: from..to,
            share: config.fault_share(),
        }),
    };
    plan.sized(config.fault_percent())
}

fn target(config: &Config, credentials: &Arc<Credentials>, vehicle: VehicleId, boot: u32) -> Result<Target, Error> {
    let tls = config.tls.mqtt_tls.then(|| Arc::new(config.tls.clone()));
    Ok(Target {
        broker: config.broker()?,
        tls,
        credentials: credentials.clone(),
        vehicle,
        boot,
        session_expiry_s: config.session_expiry_s,
        judge: config.judge,
    })
}

/// Waits until the broker greets a vehicle; returns the largest payload that it takes, bytes.
async fn reach(config: &Config, target: &Target, clean_start: bool) -> Result<usize, Error> {
    let unavailable = |detail| Error::Unavailable { flag: "mqtt", address: config.mqtt.clone(), detail };
    let mut last = "no answer".to_owned();
    let greeted = async {
        loop {
            match publisher::greet(target, clean_start).await {
                Ok(payload_room) => return Ok(payload_room),
                Err(Unwelcome::Refused(why)) => return Err(why),
                Err(Unwelcome::Away(why)) => last = why,
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    match tokio::time::timeout(Duration::from_millis(config.connect_timeout_ms), greeted).await {
        Ok(greeted) => greeted.map_err(unavailable),
        Err(_) => Err(unavailable(format!("no CONNACK within {} ms ({last})", config.connect_timeout_ms))),
    }
}

async fn assemble(config: Config, prepared: Prepared, payload_room: usize) -> Result<Simulator, Error> {
    let Prepared { clock, from, plan, ledger, mut outbox, commands, credentials } = prepared;
    // Boots are u32 and the clock is checked to lie after 2020: good until 2106.
    let second = u32::try_from(from / 1_000).unwrap_or(u32::MAX);
    let ids: Vec<_> = config.indices().map(|index| (index, vehicle_id(index))).collect();
    let boot_before = |id: &VehicleId| outbox.as_ref().and_then(|outbox| outbox.stored(id)).map(|stored| stored.boot);
    let boots: Vec<_> = ids
        .into_iter()
        .map(|(index, id)| {
            let before = boot_before(&id);
            let boot = before.map_or(second, |before| second.max(before.saturating_add(1)));
            (index, id, boot, before.is_some())
        })
        .collect();

    let mut left = Vec::new();
    if let Some(outbox) = &mut outbox {
        let all: Vec<_> = boots.iter().map(|(_, id, boot, _)| (id.clone(), *boot)).collect();
        left = take_over(outbox, &all);
        outbox.begin(clock.anchor(), &all).map_err(anyhow::Error::from)?;
    }
    let persistent = outbox.is_some();
    let remember = |id: &VehicleId| commands.as_ref().map(|commands| Memory::of(commands.of(id))).unwrap_or_default();
    let memories: Vec<Memory> = boots.iter().map(|(_, id, ..)| remember(id)).collect();
    let (journal, writer) = journal::start(ledger, outbox, commands, &left).map_err(anyhow::Error::from)?;
    let counters = Arc::new(Counters::default());
    let stop = CancellationToken::new();
    let pace = Arc::new(Pace::new(Instant::now(), config.connect_rate));
    let fleet = fleet(&config, clock.anchor().start, plan);
    let mut left = left.into_iter();
    let mut units = Vec::with_capacity(boots.len());
    for ((index, id, boot, known), memory) in boots.into_iter().zip(memories) {
        let rng = ChaCha8Rng::seed_from_u64(config.seed ^ (u64::from(index) << 32) ^ u64::from(boot));
        let mut outbox = Outbox::new(config.settings(), boot, rng);
        if let Some(left) = left.next() {
            counters.restored(left.readings.len() as u64);
            let records = left.readings.into_iter().map(|(_, reading)| reading.record).collect();
            for given_up in outbox.restore(records, &left.last_seqs) {
                counters.discarded(Discarded::GivenUp, 1);
                journal.note(Note::GivenUp { vehicle: id.clone(), key: given_up.key }).await?;
            }
        }
        let manners = Manners {
            connect_from: if known { Instant::now() } else { clock.instant_of((UnixMillis::from(boot) + 1) * 1_000) },
            clean_start: !persistent,
            stores_boot: persistent,
            reconnect: config.reconnect(),
            drain: Duration::from_millis(config.drain_ms),
            stop_drain: Duration::from_millis(config.stop_drain_ms),
            judge: config.judge,
        };
        let mut readings = Readings::new(fleet.clone(), index, boot, from);
        readings.bound(payload_room);
        if let Some(interval_ms) = memory.interval_ms {
            readings.set_interval(i64::try_from(interval_ms).unwrap_or(i64::MAX), from);
        }
        units.push(Unit {
            readings,
            outbox,
            memory,
            answers: VecDeque::new(),
            clock,
            target: target(&config, &credentials, id, boot)?,
            manners,
            pace: pace.clone(),
            journal: journal.clone(),
            counters: counters.clone(),
            stop: stop.clone(),
        });
    }
    drop::<Journal>(journal);
    Ok(Simulator { config, units, writer, reporter: Reporter { counters, clock }, stop })
}

fn fleet(config: &Config, start: UnixMillis, faults: Arc<FaultPlan>) -> Fleet {
    let duration = UnixMillis::try_from(config.duration_ms).unwrap_or(UnixMillis::MAX / 4);
    Fleet {
        seed: FleetSeed { seed: config.seed, start },
        world: config.world(),
        interval_ms: i64::from(config.interval_ms),
        end: (duration > 0).then(|| start.saturating_add(duration)),
        encoding: config.encoding,
        changes: config.changes,
        poison: config.poison,
        faults,
    }
}

fn take_over(outbox: &OutboxFile, boots: &[(VehicleId, u32)]) -> Vec<journal::Left> {
    let left = |(vehicle, _): &(VehicleId, u32)| {
        let stored = outbox.stored(vehicle);
        journal::Left {
            vehicle: vehicle.clone(),
            readings: stored.map(|s| s.readings().map(|(boot, r)| (boot, r.clone())).collect()).unwrap_or_default(),
            last_seqs: stored.map(|stored| stored.last_seqs.clone()).unwrap_or_default(),
        }
    };
    boots.iter().map(left).collect()
}

impl Simulator {
    /// What the ready line names.
    pub fn addresses(&self) -> Vec<(&'static str, String)> {
        vec![("mqtt", self.config.mqtt.clone())]
    }

    /// Tells where the run stands.
    pub fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }

    /// Drives until every vehicle has come to its end, or until `stop` fires.
    ///
    /// # Errors
    /// [`Error::Internal`] if the ledger or the outbox can't be written.
    pub async fn run(self, stop: CancellationToken) -> Result<Tally, Error> {
        let Self { units, writer, reporter, stop: all, .. } = self;
        reporter.counters.driving.store(units.len() as u64, Ordering::Relaxed);
        let mut running = JoinSet::new();
        for unit in units {
            running.spawn(unit.run());
        }
        let (mut in_hand, mut failure) = (0, None);
        loop {
            tokio::select! {
                ended = running.join_next() => match ended {
                    None => break,
                    Some(Ok(Ok(left))) => in_hand += left,
                    Some(Ok(Err(error))) => fail(&mut failure, error, &all),
                    Some(Err(error)) => fail(&mut failure, anyhow::Error::from(error), &all),
                },
                () = stop.cancelled(), if !all.is_cancelled() => all.cancel(),
            }
        }
        writer.close().await?;
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(report::tally(&reporter.counters, in_hand)),
        }
    }
}

fn fail(failure: &mut Option<anyhow::Error>, error: anyhow::Error, all: &CancellationToken) {
    // The first one is the cause; the others stop because of it.
    failure.get_or_insert(error);
    all.cancel();
}

#[cfg(test)]
mod tests;
