//! The twin's document, `twins`: `_id` = vehicle, and registers that are written with `$max` only.
//!
//! | field | register |
//! |---|---|
//! | `cur` | `{b, n, p, o, t, i, s: {<signal>: value}, g: {a, l, h}}`: the greatest `full` record: boot, sequence, partition, offset, event and ingest time, signals, position |
//! | `sig.<signal>` | `{b, n, p, o, t, v}`: the greatest change of that signal |
//! | `pos` | `{b, n, p, o, t, g}`: the greatest change of the position |
//! | `chg` | `{b, n, p, o, t, i}`: the greatest `change` record |
//! | `on` | `{b, t, s, p, o, w}`: the greatest status; s is 0 online, 1 offline |
//!
//! MongoDB compares sub-documents field by field, so the order of the fields is the order of the records. The
//! fields that decide are always 64-bit integers, and no two records share all of them: values are never
//! compared.

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use telemetry::{Position, VehicleId, event::StatusState};

use super::{Changed, Full, Newest, StatusRegister, Twin, TwinUpdate};
use crate::{
    SignalKey, SignalValue, Stamp, Store,
    connection::TWINS,
    value::append,
    write::{Statement, WriteFailure, Written, max},
};

/// The most twins that one page holds.
pub const MAX_PAGE: usize = 1_000;

impl Store {
    /// Writes registers, at most one update per vehicle, acknowledged by a majority. May be repeated.
    ///
    /// # Errors
    /// If it was not acknowledged; see [`WriteFailure::passing`].
    pub async fn write_twins(&self, updates: &[TwinUpdate]) -> Result<Written, WriteFailure> {
        self.upsert(TWINS, updates.iter().map(statement).collect()).await
    }

    /// The twin of a vehicle, if there is one.
    ///
    /// # Errors
    /// If MongoDB can't be reached or the document is none of ours.
    pub async fn twin(&self, vehicle: &VehicleId) -> Result<Option<Twin>> {
        let found = self.collection(TWINS).find_one(doc! { "_id": vehicle.as_str() }).await.context("read a twin")?;
        found.map(|document| read(&document).map(|registers| registers.view())).transpose()
    }

    /// Twins in order of vehicle, after this one, at most `limit` and at most [`MAX_PAGE`].
    ///
    /// # Errors
    /// As [`Store::twin`].
    pub async fn twins(&self, after: Option<&VehicleId>, limit: usize) -> Result<Vec<Twin>> {
        let filter = after.map_or_else(Document::new, |after| doc! { "_id": { "$gt": after.as_str() } });
        let limit = i64::try_from(limit.clamp(1, MAX_PAGE)).unwrap_or(1);
        let cursor = self.collection(TWINS).find(filter).sort(doc! { "_id": 1 }).limit(limit).await;
        let documents: Vec<Document> = cursor.context("list twins")?.try_collect().await.context("list twins")?;
        documents.iter().map(|document| read(document).map(|registers| registers.view())).collect()
    }

    /// About how many twins there are.
    ///
    /// # Errors
    /// If MongoDB can't be reached.
    pub async fn count_twins(&self) -> Result<u64> {
        self.collection(TWINS).estimated_document_count().await.context("count twins")
    }
}

fn statement(update: &TwinUpdate) -> Statement {
    let mut fields = RawDocumentBuf::new();
    if let Some(full) = &update.full {
        let mut register = RawDocumentBuf::new();
        full.stamp.append_to(&mut register);
        append(&mut register, "t", full.time);
        append(&mut register, "i", full.ingest);
        let mut signals = RawDocumentBuf::new();
        for (key, value) in &full.signals {
            value.append_to(&mut signals, &key.field());
        }
        append(&mut register, "s", signals);
        if let Some(position) = &full.position {
            append(&mut register, "g", place(position));
        }
        append(&mut fields, "cur", register);
    }
    for (key, changed) in &update.signals {
        let mut register = stamped(changed.stamp, changed.time);
        changed.value.append_to(&mut register, "v");
        append(&mut fields, &format!("sig.{}", key.field()), register);
    }
    if let Some(changed) = &update.position {
        let mut register = stamped(changed.stamp, changed.time);
        append(&mut register, "g", place(&changed.value));
        append(&mut fields, "pos", register);
    }
    if let Some(newest) = &update.change {
        let mut register = stamped(newest.stamp, newest.time);
        append(&mut register, "i", newest.ingest);
        append(&mut fields, "chg", register);
    }
    if let Some(status) = &update.status {
        let mut register = RawDocumentBuf::new();
        append(&mut register, "b", i64::from(status.boot));
        append(&mut register, "t", status.time);
        append(&mut register, "s", i64::from(status.state == StatusState::Offline));
        append(&mut register, "p", i64::from(status.partition));
        append(&mut register, "o", status.offset);
        if let Some(software) = &status.software {
            append(&mut register, "w", software.as_str());
        }
        append(&mut fields, "on", register);
    }
    Statement { id: update.vehicle.as_str().to_owned(), update: max(fields) }
}

fn stamped(stamp: Stamp, time: i64) -> RawDocumentBuf {
    let mut register = RawDocumentBuf::new();
    stamp.append_to(&mut register);
    append(&mut register, "t", time);
    register
}

pub(crate) fn place(position: &Position) -> RawDocumentBuf {
    let mut place = RawDocumentBuf::new();
    append(&mut place, "a", position.latitude);
    append(&mut place, "l", position.longitude);
    if let Some(heading) = position.heading {
        append(&mut place, "h", heading);
    }
    place
}

pub(crate) fn read_place(document: &Document) -> Option<Position> {
    let heading = document.get_f64("h").ok();
    Some(Position { latitude: document.get_f64("a").ok()?, longitude: document.get_f64("l").ok()?, heading })
}

/// The registers of a document.
pub(super) fn read(document: &Document) -> Result<TwinUpdate> {
    let id = document.get_str("_id").context("a twin without _id")?;
    let vehicle = VehicleId::parse(id).with_context(|| format!("a twin called {id:?}"))?;
    registers(vehicle, document).with_context(|| format!("the twin {id} can't be read"))
}

fn registers(vehicle: VehicleId, document: &Document) -> Option<TwinUpdate> {
    let part = |name: &str| match document.get(name) {
        None => Some(None),
        Some(Bson::Document(register)) => Some(Some(register)),
        Some(_) => None,
    };
    let mut update = TwinUpdate::new(vehicle);
    if let Some(register) = part("cur")? {
        update.full = Some(Full {
            stamp: Stamp::read(register)?,
            time: register.get_i64("t").ok()?,
            ingest: register.get_i64("i").ok()?,
            signals: read_signals(register.get_document("s").ok()?)?,
            position: register.get_document("g").ok().and_then(read_place),
        });
    }
    for (field, register) in part("sig")?.into_iter().flatten() {
        let register = register.as_document()?;
        let changed = Changed {
            stamp: Stamp::read(register)?,
            time: register.get_i64("t").ok()?,
            value: SignalValue::read(register.get("v")?)?,
        };
        update.signals.insert(SignalKey::from_field(field)?, changed);
    }
    if let Some(register) = part("pos")? {
        update.position = Some(Changed {
            stamp: Stamp::read(register)?,
            time: register.get_i64("t").ok()?,
            value: read_place(register.get_document("g").ok()?)?,
        });
    }
    if let Some(register) = part("chg")? {
        update.change = Some(Newest {
            stamp: Stamp::read(register)?,
            time: register.get_i64("t").ok()?,
            ingest: register.get_i64("i").ok()?,
        });
    }
    if let Some(register) = part("on")? {
        update.status = Some(StatusRegister {
            boot: u32::try_from(register.get_i64("b").ok()?).ok()?,
            time: register.get_i64("t").ok()?,
            state: if register.get_i64("s").ok()? == 0 { StatusState::Online } else { StatusState::Offline },
            partition: i32::try_from(register.get_i64("p").ok()?).ok()?,
            offset: register.get_i64("o").ok()?,
            software: register.get_str("w").ok().map(str::to_owned),
        });
    }
    Some(update)
}

pub(crate) fn read_signals(document: &Document) -> Option<std::collections::BTreeMap<SignalKey, SignalValue>> {
    document.iter().map(|(field, value)| Some((SignalKey::from_field(field)?, SignalValue::read(value)?))).collect()
}

/// The fields of the update's `$max`, as a document.
#[cfg(test)]
pub(super) fn fields(update: &TwinUpdate) -> Document {
    let written = Document::try_from(&*statement(update).update).unwrap();
    written.get_document("$max").unwrap().clone()
}
