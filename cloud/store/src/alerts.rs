//! The current state of each alert. The events themselves are the topic `alerts`; of each alert the one with
//! the greatest revision stands here.
//!
//! Document: `_id` = the alert's id, `cur` = `{r, o, e}`: revision, offset on `alerts`, event. Written with
//! `$max` only, so that a repeated or late event is a no-op.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use mongodb::bson::{self, Document, RawDocumentBuf, doc};
use serde::{Deserialize, Serialize};
use telemetry::{
    VehicleId,
    event::{AlertEvent, AlertId, AlertState},
};

use crate::{
    Store,
    connection::ALERTS,
    value::append,
    write::{Statement, WriteFailure, Written, max},
};

/// The most alerts that one page holds.
pub const MAX_PAGE: usize = 1_000;

/// An alert as readers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Offset of the event on `alerts`: its place in the total order.
    pub offset: i64,
    /// The last event, which carries the whole state.
    pub event: AlertEvent,
}

/// Which alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// Only of this vehicle.
    pub vehicle: Option<VehicleId>,
    /// Only in this state.
    pub state: Option<AlertState>,
    /// Only those whose last event stands before this offset: for the next page, the offset of the last alert.
    pub before: Option<i64>,
    /// At most so many; 0 means [`MAX_PAGE`], which is also the bound.
    pub limit: usize,
}

impl Store {
    /// Writes events with their offsets on `alerts`, acknowledged by a majority. Several of one alert may stand
    /// in one call. May be repeated.
    ///
    /// # Errors
    /// If it was not acknowledged; see [`WriteFailure::passing`].
    pub async fn write_alerts(&self, events: &[Alert]) -> Result<Written, WriteFailure> {
        let mut newest: BTreeMap<&AlertId, &Alert> = BTreeMap::new();
        for alert in events {
            let known = newest.entry(&alert.event.id).or_insert(alert);
            if (alert.event.revision, alert.offset) > (known.event.revision, known.offset) {
                *known = alert;
            }
        }
        let statements: Result<Vec<_>> = newest.into_values().map(statement).collect();
        let statements = statements.map_err(|error| WriteFailure { passing: false, reason: format!("{error:#}") })?;
        self.upsert(ALERTS, statements).await
    }

    /// Alerts, the newest event first.
    ///
    /// # Errors
    /// If MongoDB can't be reached or a document is none of ours.
    pub async fn alerts(&self, filter: &AlertFilter) -> Result<Vec<Alert>> {
        let mut query = Document::new();
        if let Some(vehicle) = &filter.vehicle {
            // `}` follows `|`, and neither stands in a vehicle's name.
            query.insert("_id", doc! { "$gt": format!("{vehicle}|"), "$lt": format!("{vehicle}}}") });
        }
        if let Some(state) = filter.state {
            query.insert("cur.e.state", bson::serialize_to_bson(&state).context("an alert's state")?);
        }
        if let Some(before) = filter.before {
            query.insert("cur.o", doc! { "$lt": before });
        }
        let limit = if filter.limit == 0 { MAX_PAGE } else { filter.limit.min(MAX_PAGE) };
        let cursor = self
            .collection(ALERTS)
            .find(query)
            .sort(doc! { "cur.o": -1 })
            .limit(i64::try_from(limit).unwrap_or(1))
            .await;
        let documents: Vec<Document> = cursor.context("list alerts")?.try_collect().await.context("list alerts")?;
        documents.iter().map(read).collect()
    }

    /// One alert, if there is one.
    ///
    /// # Errors
    /// As [`Store::alerts`].
    pub async fn alert(&self, id: &AlertId) -> Result<Option<Alert>> {
        let found = self.collection(ALERTS).find_one(doc! { "_id": id.to_string() }).await.context("read an alert")?;
        found.as_ref().map(read).transpose()
    }
}

fn statement(alert: &Alert) -> Result<Statement> {
    let mut register = RawDocumentBuf::new();
    append(&mut register, "r", i64::try_from(alert.event.revision).context("an alert's revision")?);
    append(&mut register, "o", alert.offset);
    append(&mut register, "e", bson::serialize_to_raw_document_buf(&alert.event).context("an alert's event")?);
    let mut fields = RawDocumentBuf::new();
    append(&mut fields, "cur", register);
    Ok(Statement { id: alert.event.id.to_string(), update: max(fields) })
}

fn read(document: &Document) -> Result<Alert> {
    let current = document.get_document("cur").context("an alert without its state")?;
    let event = current.get_document("e").context("an alert without its event")?;
    let event = bson::deserialize_from_document(event.clone()).context("an alert that can't be read")?;
    Ok(Alert { offset: current.get_i64("o").context("an alert without its offset")?, event })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_survives_its_document() {
        let text = r#"{"id":"veh-1|autoencoder|7.42","revision":2,"state":"acknowledged","severity":"critical",
            "time":5,"opened_at":4,"trigger":{"boot":7,"seq":44},"source":{"partition":1,"offset":9},
            "model":"autoencoder-1-ab","score":1.7000000000000002,"contributions":[],"actor":"kim"}"#;
        let Ok(event) = serde_json::from_str::<AlertEvent>(text) else {
            panic!("the event's form has changed: adapt this test");
        };
        let alert = Alert { offset: 12, event };
        let written = Document::try_from(&*statement(&alert).unwrap().update).unwrap();
        let fields = written.get_document("$max").unwrap();
        assert_eq!(fields.get_document("cur").unwrap().keys().collect::<Vec<_>>(), ["r", "o", "e"]);
        assert_eq!(read(fields).unwrap(), alert);
    }
}
