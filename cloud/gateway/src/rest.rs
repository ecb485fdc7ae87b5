//! REST: vehicles, twins, history, scores, alerts, models, pipeline. Answers are structs of this module.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{
        Path, Query, State as Extract,
        rejection::{JsonRejection, QueryRejection},
    },
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{SignalValue, Twin, alerts::AlertFilter, history::Reading};
use telemetry::{
    UnixMillis, VehicleId,
    event::{AlertEvent, AlertId, AlertState, Severity, StatusState},
    signal,
};

use crate::{
    commands::{self, CommandRequest},
    problem::Problem,
    ring::OpenAlert,
    scores::Point,
    state::{Shared, State, now},
};

type Answer<T> = Result<Json<T>, Problem>;
/// A query that may not parse; the answer is a problem then, too.
type Asked<T> = Result<Query<T>, QueryRejection>;

fn asked<T>(query: Asked<T>) -> Result<T, Problem> {
    query.map(|Query(query)| query).map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))
}

const MAX_PAGE: usize = 500;
const MAX_MINUTES: i64 = 24 * 60;
const MAX_POINTS: usize = 5_000;

#[derive(Deserialize)]
pub(crate) struct VehiclesQuery {
    after: Option<VehicleId>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(crate) struct VehicleRow {
    vehicle: VehicleId,
    online: bool,
    /// Event time of the last reading, ms.
    last_time: Option<UnixMillis>,
    /// When that reading arrived, ms.
    last_ingest: Option<UnixMillis>,
    /// `ok`, or the severity of the worst open alert.
    health: &'static str,
    open_alerts: usize,
}

#[derive(Serialize)]
pub(crate) struct VehiclesPage {
    vehicles: Vec<VehicleRow>,
    /// Pass it as `after` for the next page.
    next: Option<VehicleId>,
    total: u64,
}

pub(crate) async fn vehicles(Extract(state): Extract<Shared>, query: Asked<VehiclesQuery>) -> Answer<VehiclesPage> {
    let query = asked(query)?;
    let limit = query.limit.unwrap_or(100).clamp(1, MAX_PAGE);
    let twins = state.store.twins(query.after.as_ref(), limit).await?;
    let next = (twins.len() == limit).then(|| twins.last().map(|twin| twin.vehicle.clone())).flatten();
    let vehicles: Vec<_> = twins.iter().map(|twin| row(&state, twin)).collect();
    let total = state.store.count_twins().await?;
    Ok(Json(VehiclesPage { vehicles, next, total }))
}

fn row(state: &State, twin: &Twin) -> VehicleRow {
    let ring = state.ring();
    let open = || ring.open_of(&twin.vehicle);
    let health = match open().map(|open| open.event.severity).max() {
        None => "ok",
        Some(Severity::Warning) => "warning",
        Some(Severity::Critical) => "critical",
    };
    VehicleRow {
        vehicle: twin.vehicle.clone(),
        online: twin.status.as_ref().is_some_and(|status| status.state == StatusState::Online),
        last_time: twin.last.as_ref().map(|last| last.time),
        last_ingest: twin.last.as_ref().map(|last| last.ingest),
        health,
        open_alerts: open().count(),
    }
}

fn vehicle_of(text: &str) -> Result<VehicleId, Problem> {
    VehicleId::parse(text).map_err(|error| Problem::bad(error.to_string()))
}

#[derive(Serialize)]
pub(crate) struct TwinAnswer {
    twin: Twin,
    open_alerts: Vec<AlertRow>,
}

pub(crate) async fn twin(Extract(state): Extract<Shared>, Path(vehicle): Path<String>) -> Answer<TwinAnswer> {
    let vehicle = vehicle_of(&vehicle)?;
    let twin = state.store.twin(&vehicle).await?.ok_or_else(|| Problem::not_found("no such vehicle"))?;
    let open_alerts = state.ring().open_of(&vehicle).map(AlertRow::from).collect();
    Ok(Json(TwinAnswer { twin, open_alerts }))
}

#[derive(Deserialize)]
pub(crate) struct SpanQuery {
    minutes: Option<i64>,
    until: Option<UnixMillis>,
}

impl SpanQuery {
    /// The span, which by default ends with the vehicle's last reading: its clock may be simulated.
    async fn span(&self, state: &State, vehicle: &VehicleId) -> Result<(UnixMillis, UnixMillis), Problem> {
        let until = match self.until {
            Some(until) => until,
            None => {
                let twin = state.store.twin(vehicle).await?.ok_or_else(|| Problem::not_found("no such vehicle"))?;
                twin.last.map_or_else(now, |last| last.time)
            }
        };
        let minutes = self.minutes.unwrap_or(15).clamp(1, MAX_MINUTES);
        Ok((until.saturating_sub(minutes * 60_000), until))
    }
}

#[derive(Serialize)]
pub(crate) struct HistoryAnswer {
    from: UnixMillis,
    to: UnixMillis,
    /// By path: unit and points of (time, value); booleans as 0 and 1.
    signals: BTreeMap<String, Series>,
}

#[derive(Default, Serialize)]
struct Series {
    unit: &'static str,
    points: Vec<(UnixMillis, f64)>,
}

pub(crate) async fn history(
    Extract(state): Extract<Shared>,
    Path(vehicle): Path<String>,
    query: Asked<SpanQuery>,
) -> Answer<HistoryAnswer> {
    let vehicle = vehicle_of(&vehicle)?;
    let (from, to) = asked(query)?.span(&state, &vehicle).await?;
    let readings = state.store.history(&vehicle, from, to, MAX_POINTS).await?;
    Ok(Json(HistoryAnswer { from, to, signals: series(readings) }))
}

fn series(readings: Vec<Reading>) -> BTreeMap<String, Series> {
    let mut signals: BTreeMap<String, Series> = BTreeMap::new();
    for reading in readings {
        for (path, value) in reading.signals {
            let value = match value {
                SignalValue::Number(number) => number,
                SignalValue::Boolean(truth) => f64::from(u8::from(truth)),
                SignalValue::Text(_) => continue,
            };
            let unit = signal::by_path(&path).map_or("", |signal| signal.unit);
            let series = signals.entry(path).or_insert_with(|| Series { unit, points: Vec::new() });
            series.points.push((reading.time, value));
        }
    }
    signals
}

#[derive(Serialize)]
pub(crate) struct ScoresAnswer {
    from: UnixMillis,
    to: UnixMillis,
    threshold: f64,
    points: Vec<Point>,
}

pub(crate) async fn scores(
    Extract(state): Extract<Shared>,
    Path(vehicle): Path<String>,
    query: Asked<SpanQuery>,
) -> Answer<ScoresAnswer> {
    let vehicle = vehicle_of(&vehicle)?;
    let (from, to) = asked(query)?.span(&state, &vehicle).await?;
    let points = state.scores().of(&vehicle, from, to);
    Ok(Json(ScoresAnswer { from, to, threshold: 1.0, points }))
}

#[derive(Serialize)]
pub(crate) struct AlertRow {
    pub(crate) offset: i64,
    pub(crate) event: AlertEvent,
}

impl From<&OpenAlert> for AlertRow {
    fn from(open: &OpenAlert) -> Self {
        Self { offset: open.offset, event: open.event.clone() }
    }
}

#[derive(Deserialize)]
pub(crate) struct AlertsQuery {
    state: Option<String>,
    vehicle: Option<VehicleId>,
    before: Option<i64>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(crate) struct AlertsPage {
    alerts: Vec<AlertRow>,
    /// Pass it as `before` for the next page.
    next: Option<i64>,
}

pub(crate) async fn alerts(Extract(state): Extract<Shared>, query: Asked<AlertsQuery>) -> Answer<AlertsPage> {
    let query = asked(query)?;
    let limit = query.limit.unwrap_or(100).clamp(1, MAX_PAGE);
    let wanted = match query.state.as_deref() {
        None => None,
        Some("firing") => Some(AlertState::Firing),
        Some("acknowledged") => Some(AlertState::Acknowledged),
        Some("resolved") => Some(AlertState::Resolved),
        Some("open") => {
            let ring = state.ring();
            let mut alerts: Vec<_> = ring
                .open()
                .filter(|open| query.vehicle.as_ref().is_none_or(|vehicle| *vehicle == open.event.id.vehicle))
                .filter(|open| query.before.is_none_or(|before| open.offset < before))
                .map(AlertRow::from)
                .collect();
            alerts.sort_by_key(|row| std::cmp::Reverse(row.offset));
            alerts.truncate(limit);
            return Ok(Json(page(alerts, limit)));
        }
        Some(_) => return Err(Problem::bad("state is open, firing, acknowledged or resolved")),
    };
    let filter = AlertFilter { vehicle: query.vehicle, state: wanted, before: query.before, limit };
    let found = state.store.alerts(&filter).await?;
    Ok(Json(page(
        found.into_iter().map(|alert| AlertRow { offset: alert.offset, event: alert.event }).collect(),
        limit,
    )))
}

fn page(alerts: Vec<AlertRow>, limit: usize) -> AlertsPage {
    let next = (alerts.len() == limit).then(|| alerts.last().map(|row| row.offset)).flatten();
    AlertsPage { alerts, next }
}

fn alert_id(text: &str) -> Result<AlertId, Problem> {
    text.parse().map_err(|error: telemetry::event::InvalidAlertId| Problem::bad(error.to_string()))
}

pub(crate) async fn alert(Extract(state): Extract<Shared>, Path(id): Path<String>) -> Answer<AlertRow> {
    let id = alert_id(&id)?;
    if let Some(open) = state.ring().open_alert(&id) {
        return Ok(Json(AlertRow::from(open)));
    }
    let found = state.store.alert(&id).await?.ok_or_else(|| Problem::not_found("no such alert"))?;
    Ok(Json(AlertRow { offset: found.offset, event: found.event }))
}

pub(crate) async fn command(
    Extract(state): Extract<Shared>,
    Path((id, action)): Path<(String, String)>,
    request: Result<Json<CommandRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let Json(request) = request.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    commands::admit(&state)?;
    let id = commands::submit(&state, &alert_id(&id)?, &action, request).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": id }))))
}

pub(crate) async fn models(Extract(state): Extract<Shared>) -> Json<Value> {
    let models = state.models().clone();
    let versions: Vec<_> = models.versions.values().collect();
    Json(json!({ "aliases": models.aliases, "versions": versions }))
}

pub(crate) async fn pipeline(Extract(state): Extract<Shared>) -> Json<Value> {
    let pipeline = state.pipeline().clone();
    let (head, open) = {
        let ring = state.ring();
        (ring.next(), ring.open().count())
    };
    Json(json!({
        "now": now(),
        "kafka": pipeline,
        "gateway": {
            "ready": state.is_ready(),
            "connections": state.open_connections(),
            "alerts_head": head,
            "open_alerts": open,
        },
        "champion": state.models().aliases.get("champion").map(|alias| alias.version.clone()),
    }))
}

pub(crate) async fn signals() -> Json<Value> {
    let rows: Vec<_> = signal::CATALOGUE
        .iter()
        .map(|signal| json!({ "number": signal.number, "path": signal.path, "unit": signal.unit }))
        .collect();
    Json(json!({ "signals": rows }))
}
