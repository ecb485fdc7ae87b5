//! What promotion and rollback share: their flags, and a move that is only made to a version that loads here.

use cloud_log::{KafkaConfig, Producer};
use detector::Card;
use serde_json::json;
use service::Error;
use telemetry::event::Registry;

use super::print;
use crate::{
    alias::{Move, is_name, resolve},
    checked, publish, registry,
};

pub(super) const CHAMPION: &str = "champion";

/// Flags of every tool that moves an alias.
#[derive(Debug, Clone, clap::Args)]
pub struct Moving {
    /// The alias to move.
    #[arg(long, default_value = CHAMPION)]
    pub alias: String,
    /// Why; kept with the alias.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

impl Moving {
    /// Checks the flags; opens no socket.
    pub(super) fn validate(&self) -> Result<(), Error> {
        check_alias(&self.alias)?;
        check_reason(self.reason.as_deref())
    }
}

/// Checks an alias's name; opens no socket.
fn check_alias(alias: &str) -> Result<(), Error> {
    if is_name(alias) {
        return Ok(());
    }
    let detail = format!("{alias:?} is no name: letters, digits and signs other than `/`, without spaces");
    Err(Error::Usage { flag: "alias", detail })
}

/// Checks a reason; opens no socket.
pub(super) fn check_reason(reason: Option<&str>) -> Result<(), Error> {
    match reason {
        Some(text) if text.trim().is_empty() || text.chars().any(char::is_control) => {
            Err(Error::Usage { flag: "reason", detail: "must be one line of text".into() })
        }
        _ => Ok(()),
    }
}

/// Makes a move to a version that loads here, for a scorer would refuse any other and go on with what it has; and whose
/// card passes this check.
pub(super) async fn make(
    kafka: &KafkaConfig,
    registry: &Registry,
    moved: &Move,
    check: impl Fn(&Card) -> Result<(), detector::Error>,
) -> Result<(), Error> {
    let version = resolve(registry, &moved.entry.version).map_err(Error::BadInput)?;
    let bytes = registry::artifact_of(kafka, version).await?;
    let trained = checked::load(&version.version, bytes).await?;
    check(&trained.card).map_err(|refusal| {
        let (version, alias) = (&version.version, &moved.alias);
        Error::VerdictFailed(format!("{version}: {refusal}; {alias} stays (--force REASON moves it all the same)"))
    })?;
    publish::move_alias(&Producer::connect(kafka).await?, moved).await
}

/// Says where the alias stands now and where it stood before.
pub(super) fn tell(as_json: bool, moved: &Move) -> Result<(), Error> {
    let Move { alias, entry, .. } = moved;
    if as_json {
        return print(
            &json!({"alias": alias, "version": entry.version, "previous": entry.previous, "moved": true,
                "reason": entry.reason, "time": entry.time})
            .to_string(),
        );
    }
    print(&format!("{alias}: {}, before: {}", entry.version, entry.previous.as_deref().unwrap_or("nothing")))
}

/// Says that the alias stands there already.
pub(super) fn tell_unmoved(as_json: bool, registry: &Registry, alias: &str) -> Result<(), Error> {
    let Some(entry) = registry.aliases.get(alias) else { return Ok(()) };
    if as_json {
        return print(
            &json!({"alias": alias, "version": entry.version, "previous": entry.previous, "moved": false,
                "reason": entry.reason, "time": entry.time})
            .to_string(),
        );
    }
    print(&format!("{alias}: {} already; nothing was moved", entry.version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_alias_or_reason_is_a_usage_error() {
        check_alias(CHAMPION).unwrap();
        assert_eq!(check_alias("a/b").unwrap_err().exit_code(), 64);
        check_reason(None).unwrap();
        check_reason(Some("fewer false alarms, ticket 12")).unwrap();
        for bad in ["", "  ", "two\nlines"] {
            assert_eq!(check_reason(Some(bad)).unwrap_err().exit_code(), 64, "{bad:?}");
        }
    }
}
