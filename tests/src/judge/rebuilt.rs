//! Scores that are built anew beside the live ones: complete, written once however often it is run, and each bit that of a
//! replay.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{report::Verdict, stack::Stack};

/// Builds the scores anew, twice, and verifies them; as many come out as the live scorer published distinct ones.
pub async fn judge_rebuilt(stack: &Stack, lateness_ms: i64, live: u64) -> Result<Verdict> {
    let lateness = lateness_ms.to_string();
    let flags = ["--as", "again", "--lateness-ms", &lateness, "--json"];
    let rebuild = async || {
        let out = stack.tool(["view", "rebuild", "scores"].into_iter().chain(flags)).await?;
        serde_json::from_str::<Value>(&out).with_context(|| out.clone())
    };
    let count = |summary: &Value, pointer: &str| summary.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let (first, second) = (rebuild().await?, rebuild().await?);
    ensure!(first["kafka_topic"] == "scores.again", "{first}");
    let (written, repeated) = (count(&first, "/tally/sent"), count(&second, "/tally/sent"));
    let known = count(&second, "/tally/discarded/already_there");
    let out = stack.tool(["scores", "verify"].into_iter().chain(flags)).await?;
    let verified: Value = serde_json::from_str(&out).with_context(|| out.clone())?;
    let checked = count(&verified, "/checked");
    let complete = first["complete"] == true && second["complete"] == true;
    Ok(Verdict {
        ok: complete
            && verified["ok"] == true
            && written > 0
            && [live, known, checked] == [written; 3]
            && repeated == 0,
        checked,
        counts: [("written", written), ("written_again", repeated), ("already_there", known), ("live", live)]
            .map(|(name, count)| (name.to_owned(), count))
            .into(),
        examples: if complete { Vec::new() } else { vec![first.to_string(), second.to_string()] },
    })
}
