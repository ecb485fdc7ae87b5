//! Raw `update` commands: many upserts in one request, unordered, acknowledged by a majority.
//!
//! A statement never filters on anything but `_id` (a version in the filter would leave the fast path and turn
//! every late record into a duplicate-key error) and never does anything but `$max`, so that a whole request
//! may be repeated.

use mongodb::{
    bson::{Document, RawArrayBuf, RawDocumentBuf, raw::cstr},
    error::{Error as MongoError, ErrorKind},
};

use crate::Store;

/// Statements in one request: the knee of the measured curve.
const STATEMENTS: usize = 1_000;
/// Bytes in one request; the server takes 48 MB.
const BYTES: usize = 8 * 1024 * 1024;
const DUPLICATE_KEY: i32 = 11_000;
/// How often a statement is repeated that lost the race for the first upsert of its document.
const RACES: usize = 5;
/// Errors of statements that pass: interrupted, stepping down, recovering, shutting down, time limits, conflicts.
const PASSING: [i32; 15] = [6, 7, 50, 89, 91, 112, 134, 189, 262, 9001, 10_107, 11_600, 11_602, 13_435, 13_436];

/// An upsert.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) id: String,
    pub(crate) update: RawDocumentBuf,
}

/// What became of acknowledged statements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Documents that changed or were created; the others were up to date.
    pub changed: u64,
    /// Statements that the server will never take.
    pub refused: Vec<Refused>,
}

/// A statement that the server will never take, for example because the document would grow too large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// `_id` of the document.
    pub id: String,
    /// MongoDB's error code.
    pub code: i32,
    /// Its sentence.
    pub reason: String,
}

/// A request that was not acknowledged; it may have been carried out, wholly or in part, and may be repeated.
#[derive(Debug, thiserror::Error)]
#[error("MongoDB: {reason}")]
pub struct WriteFailure {
    /// Whether repeating it can help.
    pub passing: bool,
    /// What happened.
    pub reason: String,
}

impl From<MongoError> for WriteFailure {
    fn from(error: MongoError) -> Self {
        let passing = match error.kind.as_ref() {
            ErrorKind::Io(_)
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::ServerSelection { .. }
            | ErrorKind::DnsResolve { .. } => true,
            ErrorKind::Command(refusal) => PASSING.contains(&refusal.code),
            _ => error.contains_label("RetryableWriteError") || error.contains_label("RetryableError"),
        };
        Self { passing, reason: error.kind.to_string() }
    }
}

impl Store {
    /// Carries out upserts; several for one document only in different calls.
    pub(crate) async fn upsert(&self, collection: &str, statements: Vec<Statement>) -> Result<Written, WriteFailure> {
        let mut written = Written::default();
        let mut left: Vec<Statement> = statements;
        let mut races = 0;
        while !left.is_empty() {
            let mut again = Vec::new();
            for request in split(&left) {
                let answer = self.database().run_raw_command(command(collection, request)).await?;
                let outcome = read(&answer, request)?;
                written.changed += outcome.changed;
                for refused in outcome.refused {
                    if refused.1.code == DUPLICATE_KEY && races < RACES {
                        again.push(request[refused.0].clone());
                    } else {
                        written.refused.push(refused.1);
                    }
                }
            }
            left = again;
            races += 1;
        }
        Ok(written)
    }
}

/// Cuts the statements into requests.
fn split(statements: &[Statement]) -> impl Iterator<Item = &[Statement]> {
    let mut rest = statements;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest.iter().take(STATEMENTS).take_while(|statement| {
            bytes += statement.update.as_bytes().len() + statement.id.len() + 64;
            bytes <= BYTES
        });
        // One alone is sent whatever its size: the server says what it thinks of it.
        let count = fitting.count().max(1).min(rest.len());
        let (request, left) = rest.split_at(count);
        rest = left;
        (!request.is_empty()).then_some(request)
    })
}

fn command(collection: &str, statements: &[Statement]) -> RawDocumentBuf {
    let mut updates = RawArrayBuf::new();
    for statement in statements {
        let mut query = RawDocumentBuf::new();
        query.append(cstr!("_id"), statement.id.as_str());
        let mut update = RawDocumentBuf::new();
        update.append(cstr!("q"), query);
        update.append(cstr!("u"), &*statement.update);
        update.append(cstr!("upsert"), true);
        updates.push(update);
    }
    let mut concern = RawDocumentBuf::new();
    concern.append(cstr!("w"), "majority");
    let mut command = RawDocumentBuf::new();
    command.append(cstr!("update"), collection);
    command.append(cstr!("ordered"), false);
    command.append(cstr!("writeConcern"), concern);
    command.append(cstr!("updates"), updates);
    command
}

struct Outcome {
    changed: u64,
    refused: Vec<(usize, Refused)>,
}

fn read(answer: &Document, request: &[Statement]) -> Result<Outcome, WriteFailure> {
    let number = |document: &Document, key: &str| {
        document.get(key).and_then(|value| value.as_i32().map(i64::from).or_else(|| value.as_i64())).unwrap_or(0)
    };
    let text = |document: &Document, key: &str| document.get_str(key).unwrap_or_default().to_owned();
    let mut refused = Vec::new();
    for error in answer.get_array("writeErrors").into_iter().flatten().filter_map(|error| error.as_document()) {
        let code = i32::try_from(number(error, "code")).unwrap_or(0);
        let reason = text(error, "errmsg");
        if PASSING.contains(&code) {
            return Err(WriteFailure { passing: true, reason });
        }
        let at = usize::try_from(number(error, "index")).unwrap_or(usize::MAX);
        let Some(statement) = request.get(at) else {
            return Err(WriteFailure { passing: false, reason: format!("an answer that can't be read: {reason}") });
        };
        refused.push((at, Refused { id: statement.id.clone(), code, reason }));
    }
    // Carried out here, but not known to have reached a majority: no acknowledgement.
    if let Ok(error) = answer.get_document("writeConcernError") {
        return Err(WriteFailure { passing: true, reason: text(error, "errmsg") });
    }
    let upserted = answer.get_array("upserted").map_or(0, Vec::len) as u64;
    let modified = u64::try_from(number(answer, "nModified")).unwrap_or(0);
    Ok(Outcome { changed: modified + upserted, refused })
}

/// An update that is one `$max` over these fields.
pub(crate) fn max(fields: RawDocumentBuf) -> RawDocumentBuf {
    let mut update = RawDocumentBuf::new();
    update.append(cstr!("$max"), fields);
    update
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    fn statement(id: usize, bytes: usize) -> Statement {
        let mut fields = RawDocumentBuf::new();
        fields.append(cstr!("x"), "y".repeat(bytes).as_str());
        Statement { id: id.to_string(), update: max(fields) }
    }

    #[test]
    fn requests_are_bounded_and_lose_nothing() {
        let many: Vec<_> = (0..2_500).map(|id| statement(id, 10)).collect();
        assert_eq!(split(&many).map(<[_]>::len).collect::<Vec<_>>(), [1_000, 1_000, 500]);
        let large: Vec<_> = (0..5).map(|id| statement(id, 3 * 1024 * 1024)).collect();
        assert_eq!(split(&large).map(<[_]>::len).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(split(&[statement(0, 2 * BYTES)]).map(<[_]>::len).collect::<Vec<_>>(), [1]);
        assert_eq!(split(&[]).count(), 0);
    }

    #[test]
    fn an_answer_says_what_was_done_and_what_never_will_be() {
        let request = [statement(0, 1), statement(1, 1), statement(2, 1)];
        let answer = doc! {
            "ok": 1.0, "n": 2, "nModified": 1, "upserted": [{ "index": 0, "_id": "0" }],
            "writeErrors": [{ "index": 1, "code": 17_419, "errmsg": "too large" }],
        };
        let outcome = read(&answer, &request).unwrap();
        assert_eq!(outcome.changed, 2);
        assert_eq!(outcome.refused[0].1, Refused { id: "1".into(), code: 17_419, reason: "too large".into() });
        for passing in [
            doc! { "ok": 1.0, "writeErrors": [{ "index": 1, "code": 91, "errmsg": "shutting down" }] },
            doc! { "ok": 1.0, "writeErrors": [{ "index": 0, "code": 13_436, "errmsg": "recovering" }] },
            doc! { "ok": 1.0, "n": 3, "writeConcernError": { "code": 64, "errmsg": "waiting timed out" } },
        ] {
            assert!(read(&passing, &request).err().unwrap().passing);
        }
    }
}
