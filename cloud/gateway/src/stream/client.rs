//! What clients say on the stream.

use serde::Deserialize;
use telemetry::event::AlertId;
use uuid::Uuid;

/// A frame from a client.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromClient {
    Hello {
        #[serde(default)]
        token: Option<String>,
        #[serde(default)]
        from: From,
        #[serde(default)]
        epoch: Option<String>,
    },
    Command {
        id: Uuid,
        alert: AlertId,
        action: String,
        actor: String,
        #[serde(default)]
        note: Option<String>,
        #[serde(default)]
        outcome: Option<String>,
    },
    Pong,
}

/// The first offset that a client wants.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum From {
    Offset(i64),
    Named(Named),
    #[default]
    Nothing,
}

/// The same by name.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Named {
    Snapshot,
    Head,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_names_where_to_begin() {
        for (text, expected) in [
            (r#"{"type":"hello"}"#, From::Nothing),
            (r#"{"type":"hello","from":"snapshot"}"#, From::Named(Named::Snapshot)),
            (r#"{"type":"hello","from":"head"}"#, From::Named(Named::Head)),
            (r#"{"type":"hello","from":41}"#, From::Offset(41)),
        ] {
            let Ok(FromClient::Hello { from, .. }) = serde_json::from_str(text) else { panic!("{text}") };
            assert_eq!(from, expected);
        }
        for bad in [r#"{"type":"hello","from":"middle"}"#, r#"{"type":"what"}"#, "{}"] {
            assert!(serde_json::from_str::<FromClient>(bad).is_err(), "{bad}");
        }
    }
}
