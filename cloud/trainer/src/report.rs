//! The report file of a training.

use std::{path::Path, time::SystemTime};

use anyhow::Context;
use detector::History;
use serde_json::json;
use service::Error;

use crate::{Fitting, Trained, replay::Replayed};

/// Writes what was learnt, or why it was refused.
pub(crate) fn write(
    path: &Path,
    fitting: &Fitting,
    (started, seconds): (SystemTime, f64),
    replayed: &Replayed,
    result: Result<&Trained, &Error>,
) -> Result<(), Error> {
    let started = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let records = replayed.history.records();
    let mut figures = json!({
        "training_s": seconds,
        "training_records": records,
        "training_vehicles": replayed.history.vehicles().len(),
        "replayed_records": replayed.received,
    });
    let (mut version, mut card, mut refused) = (None, None, None);
    match result {
        Ok(trained) => {
            let calibration = &trained.card.calibration;
            figures["held_out_vehicle_hours"] = json!(calibration.held_out_hours);
            figures["held_out_alarms"] = json!(calibration.held_out_alarms);
            figures["realised_alarms_per_1000_h"] = json!(calibration.realised_per_1000_h);
            version = Some(&trained.version);
            card = Some(&trained.card);
        }
        Err(error) => refused = Some(error.to_string()),
    }
    let report = json!({
        "name": "training",
        "commit": option_env!("MOTORCADE_COMMIT"),
        "machine": {
            "arch": std::env::consts::ARCH,
            "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        },
        "started": started,
        "duration_s": seconds,
        "parameters": {"detector": fitting.detector, "sample": fitting.sample, "seed": fitting.seed, "steps": fitting.steps, "alarm_budget_per_1000_h": fitting.alarm_budget},
        "figures": figures,
        "verdicts": {"calibration": {"ok": refused.is_none(), "checked": records, "refused": refused}},
        "version": version,
        "card": card,
    });
    let text = serde_json::to_vec_pretty(&report).map_err(anyhow::Error::from)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(())
}
