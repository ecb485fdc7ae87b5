//! The one thread that writes the ledger, the outbox log and the log of commands, many entries at a time.
//!
//! Order within a batch: new readings to the outbox log, everything to the ledger, removals to the outbox log.
//! So no reading is sent that either does not know, and none leaves the log before the ledger has its
//! acknowledgement, wherever a kill strikes.

use std::{collections::BTreeMap, io, thread::JoinHandle};

use anyhow::Context;
use telemetry::{UnixMillis, VehicleId};
use tokio::sync::{mpsc, oneshot};

use crate::{
    clock,
    command::{Act, CommandLog},
    fleet::Reading,
    ledger::{self, Entry},
    outbox::Key,
    outbox_file::OutboxFile,
};

/// How many notes may wait, and how many are written at once.
const QUEUE: usize = 8_192;

pub(crate) enum Note {
    Reading {
        vehicle: VehicleId,
        boot: u32,
        reading: Reading,
        scheduled: UnixMillis,
        accepted: UnixMillis,
    },
    Acked {
        vehicle: VehicleId,
        keys: Vec<Key>,
        at: UnixMillis,
    },
    GivenUp {
        vehicle: VehicleId,
        key: Key,
    },
    /// The broker took it, though nobody listens, and its word counts: it leaves without an acknowledgement.
    Unheard {
        vehicle: VehicleId,
        key: Key,
    },
    Oversize {
        vehicle: VehicleId,
        time: UnixMillis,
    },
    /// A command is about to be carried out; answered when that is fsynced.
    Obeyed {
        vehicle: VehicleId,
        act: Act,
        lasts: oneshot::Sender<()>,
    },
    /// A vehicle begins another boot; answered when that is fsynced.
    Boot {
        vehicle: VehicleId,
        boot: u32,
        lasts: oneshot::Sender<()>,
    },
    /// Answered when everything before it is written.
    Written(oneshot::Sender<()>),
}

/// A way to write; none where neither a ledger nor an outbox log is kept.
#[derive(Clone)]
pub(crate) struct Journal(Option<mpsc::Sender<Note>>);

impl Journal {
    pub(crate) async fn note(&self, note: Note) -> anyhow::Result<()> {
        let Some(notes) = &self.0 else { return Ok(()) };
        notes.send(note).await.ok().context("the journal has stopped")
    }

    /// Waits until what is noted outlives the process; `lasts` is the other end of what the note carries.
    pub(crate) async fn note_lasting(&self, note: Note, lasts: oneshot::Receiver<()>) -> anyhow::Result<()> {
        if self.0.is_none() {
            return Ok(());
        }
        self.note(note).await?;
        lasts.await.context("the journal has stopped")
    }

    /// Waits until everything noted so far is with the kernel.
    pub(crate) async fn written(&self) -> anyhow::Result<()> {
        if self.0.is_none() {
            return Ok(());
        }
        let (done, written) = oneshot::channel();
        self.note(Note::Written(done)).await?;
        written.await.context("the journal has stopped")
    }
}

/// The running thread.
pub(crate) struct Writer {
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// What an earlier process left of one vehicle.
pub(crate) struct Left {
    pub(crate) vehicle: VehicleId,
    /// Oldest first, each with the boot in which it was measured.
    pub(crate) readings: Vec<(u32, Reading)>,
    pub(crate) last_seqs: BTreeMap<u32, u64>,
}

impl Left {
    /// When a reading of an earlier process was due is not known any more: `at` stands in.
    fn entries(&self, at: UnixMillis) -> impl Iterator<Item = Entry> {
        self.readings.iter().map(move |(boot, reading)| sent(self.vehicle.clone(), *boot, reading, at, at))
    }
}

fn sent(vehicle: VehicleId, boot: u32, reading: &Reading, scheduled: UnixMillis, accepted: UnixMillis) -> Entry {
    let Reading { record, hash, time, poison } = reading;
    Entry::Sent { vehicle, boot, key: record.key, hash: *hash, scheduled, accepted, time: *time, poison: *poison }
}

/// Starts the thread. What an earlier process left enters the ledger once more: a kill may have come before
/// its ledger had it, or this may be a new ledger.
pub(crate) fn start(
    mut ledger: Option<ledger::Writer>,
    outbox: Option<OutboxFile>,
    commands: Option<CommandLog>,
    left: &[Left],
) -> io::Result<(Journal, Writer)> {
    if let Some(ledger) = &mut ledger {
        let now = clock::wall_now();
        left.iter().flat_map(|left| left.entries(now)).for_each(|entry| ledger.push(&entry));
        ledger.write()?;
    }
    if ledger.is_none() && outbox.is_none() {
        return Ok((Journal(None), Writer { thread: None }));
    }
    let (notes, queue) = mpsc::channel(QUEUE);
    let thread = std::thread::Builder::new().name("journal".into()).spawn(move || {
        let result = Files { ledger, outbox, commands }.run(queue);
        if let Err(error) = &result {
            tracing::error!(%error, "the journal can't be written");
        }
        result
    })?;
    Ok((Journal(Some(notes)), Writer { thread: Some(thread) }))
}

impl Writer {
    /// Waits for the thread, which ends when every [`Journal`] is gone; the files are fsynced then.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        let Some(thread) = self.thread else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await?;
        joined.map_err(|_| anyhow::anyhow!("the journal panicked"))?.context("write the journal")
    }
}

struct Files {
    ledger: Option<ledger::Writer>,
    outbox: Option<OutboxFile>,
    commands: Option<CommandLog>,
}

impl Files {
    fn run(mut self, mut queue: mpsc::Receiver<Note>) -> io::Result<()> {
        let mut batch = Vec::with_capacity(QUEUE);
        let mut waiting = Vec::new();
        while queue.blocking_recv_many(&mut batch, QUEUE) > 0 {
            for note in batch.drain(..) {
                self.take(note, &mut waiting)?;
            }
            if let Some(outbox) = &mut self.outbox {
                outbox.write_puts()?;
            }
            if let Some(ledger) = &mut self.ledger {
                ledger.write()?;
            }
            if let Some(outbox) = &mut self.outbox {
                outbox.write_removes()?;
            }
            if let Some(commands) = &mut self.commands {
                commands.sync(clock::wall_now())?;
            }
            for done in waiting.drain(..) {
                // Whoever waited may have been stopped.
                done.send(()).ok();
            }
        }
        if let Some(ledger) = self.ledger {
            ledger.close()?;
        }
        self.outbox.map_or(Ok(()), OutboxFile::close)
    }

    fn take(&mut self, note: Note, waiting: &mut Vec<oneshot::Sender<()>>) -> io::Result<()> {
        match note {
            Note::Reading { vehicle, boot, reading, scheduled, accepted } => {
                self.enter(&sent(vehicle.clone(), boot, &reading, scheduled, accepted));
                if let Some(outbox) = &mut self.outbox {
                    outbox.put(&vehicle, boot, reading);
                }
            }
            Note::Acked { vehicle, keys, at } => {
                for key in keys {
                    self.enter(&Entry::Acked { vehicle: vehicle.clone(), key, at });
                    if let Some(outbox) = &mut self.outbox {
                        outbox.remove(&vehicle, key);
                    }
                }
            }
            Note::GivenUp { vehicle, key } => {
                self.enter(&Entry::GivenUp { vehicle: vehicle.clone(), key });
                if let Some(outbox) = &mut self.outbox {
                    outbox.remove(&vehicle, key);
                }
            }
            Note::Unheard { vehicle, key } => {
                if let Some(outbox) = &mut self.outbox {
                    outbox.remove(&vehicle, key);
                }
            }
            Note::Oversize { vehicle, time } => self.enter(&Entry::Oversize { vehicle, time }),
            Note::Obeyed { vehicle, act, lasts } => {
                if let Some(commands) = &mut self.commands {
                    commands.enter(vehicle, act);
                }
                waiting.push(lasts);
            }
            Note::Boot { vehicle, boot, lasts } => {
                if let Some(outbox) = &mut self.outbox {
                    outbox.reboot(vehicle, boot)?;
                }
                waiting.push(lasts);
            }
            Note::Written(done) => waiting.push(done),
        }
        Ok(())
    }

    fn enter(&mut self, entry: &Entry) {
        if let Some(ledger) = &mut self.ledger {
            ledger.push(entry);
        }
    }
}
