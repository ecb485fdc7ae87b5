//! What a move of an alias does: pure, so that promotion, rollback and publishing can't differ in it.

use telemetry::{
    UnixMillis,
    event::{ModelAlias, ModelEvent, ModelVersion, Registry},
};

/// What a move writes: the alias to `models`, then the event to `model-events`.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    /// The alias.
    pub alias: String,
    /// What it becomes.
    pub entry: ModelAlias,
    /// What is told.
    pub event: ModelEvent,
}

/// Whether a name can be an alias's; the slash parts keys on `models`.
pub fn is_name(alias: &str) -> bool {
    !alias.is_empty() && alias.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
}

/// The version that a name means: an alias, or the version itself.
///
/// # Errors
/// Says that there is none, and what there is.
pub fn resolve<'a>(registry: &'a Registry, model: &str) -> Result<&'a ModelVersion, String> {
    let name = registry.aliases.get(model).map_or(model, |alias| &alias.version);
    match registry.versions.get(name) {
        Some(version) => Ok(version),
        None if name != model => Err(format!("the alias {model} points to {name}, which is not on models")),
        None => Err(format!("no version or alias {model:?}; `motorcade models list` shows what there is")),
    }
}

/// The aliases of a version, in the order of their names.
pub fn aliases_of<'a>(registry: &'a Registry, version: &str) -> Vec<&'a str> {
    registry.aliases.iter().filter(|(_, alias)| alias.version == version).map(|(name, _)| name.as_str()).collect()
}

/// Moves an alias to a version. None: it stands there already, and nothing is written, so that `previous` stays.
///
/// # Errors
/// If there is no such version, or the alias would hide one.
pub fn promote(
    registry: &Registry,
    alias: &str,
    version: &str,
    reason: &str,
    now: UnixMillis,
) -> Result<Option<Move>, String> {
    if registry.versions.contains_key(alias) {
        return Err(format!("{alias} is a version; an alias of that name would hide it"));
    }
    if !registry.versions.contains_key(version) {
        return Err(format!("no version {version:?}; `motorcade models list` shows what there is"));
    }
    let before = registry.aliases.get(alias);
    if before.is_some_and(|before| before.version == version) {
        return Ok(None);
    }
    let time = after(before, now);
    let previous = before.map(|before| before.version.clone());
    let entry = ModelAlias { version: version.to_owned(), previous, reason: reason.to_owned(), time };
    let event = ModelEvent::Promoted { alias: alias.to_owned(), version: version.to_owned(), time };
    Ok(Some(Move { alias: alias.to_owned(), entry, event }))
}

/// Moves an alias back to where it stood before. Where it stands now becomes its `previous`, so that a second rollback
/// undoes the first.
///
/// # Errors
/// If there is no such alias, it stood nowhere before, or that version is gone.
pub fn rollback(registry: &Registry, alias: &str, reason: Option<&str>, now: UnixMillis) -> Result<Move, String> {
    let before = registry.aliases.get(alias).ok_or_else(|| format!("no alias {alias:?}: there is nothing to undo"))?;
    let ModelAlias { version: from, previous, .. } = before;
    let Some(version) = previous.clone().filter(|previous| previous != from) else {
        return Err(format!("{alias} has pointed to {from} only: there is no version to go back to"));
    };
    if !registry.versions.contains_key(&version) {
        return Err(format!("{alias} pointed to {version} before, which is not on models any more"));
    }
    let time = after(Some(before), now);
    let reason = reason.map_or_else(|| format!("rolled back from {from}"), str::to_owned);
    let entry = ModelAlias { version: version.clone(), previous: Some(from.clone()), reason, time };
    let event = ModelEvent::RolledBack { alias: alias.to_owned(), version, from: from.clone(), time };
    Ok(Move { alias: alias.to_owned(), entry, event })
}

/// Moves of an alias have times that grow, whatever the clocks of those who make them say.
fn after(before: Option<&ModelAlias>, now: UnixMillis) -> UnixMillis {
    before.map_or(now, |before| now.max(before.time.saturating_add(1)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn version(name: &str) -> ModelVersion {
        let detector = name.split('-').next().unwrap().to_owned();
        ModelVersion {
            version: name.into(),
            detector,
            artifact: "ab".into(),
            card: serde_json::Value::Null,
            time: 1_000,
        }
    }

    pub(crate) fn alias(version: &str, previous: Option<&str>) -> ModelAlias {
        ModelAlias {
            version: version.into(),
            previous: previous.map(str::to_owned),
            reason: "test".into(),
            time: 2_000,
        }
    }

    pub(crate) fn registry(versions: &[&str], aliases: &[(&str, ModelAlias)]) -> Registry {
        Registry {
            versions: versions.iter().map(|name| ((*name).to_owned(), version(name))).collect(),
            aliases: aliases.iter().map(|(name, alias)| ((*name).to_owned(), alias.clone())).collect(),
        }
    }

    #[test]
    fn the_first_promotion_has_no_previous_and_the_second_names_the_first() {
        let mut registry = registry(&["a-1", "b-2"], &[]);
        let first = promote(&registry, "champion", "a-1", "why", 5_000).unwrap().unwrap();
        assert_eq!(
            first.entry,
            ModelAlias { version: "a-1".into(), previous: None, reason: "why".into(), time: 5_000 }
        );
        registry.aliases.insert(first.alias, first.entry);
        let second = promote(&registry, "champion", "b-2", "why", 6_000).unwrap().unwrap();
        assert_eq!(second.entry.previous.as_deref(), Some("a-1"));
        let told = ModelEvent::Promoted { alias: "champion".into(), version: "b-2".into(), time: 6_000 };
        assert_eq!(second.event, told);
    }

    #[test]
    fn a_promotion_to_where_the_alias_stands_writes_nothing_and_so_keeps_previous() {
        let registry = registry(&["a-1", "b-2"], &[("champion", alias("b-2", Some("a-1")))]);
        assert_eq!(promote(&registry, "champion", "b-2", "again", 9_000), Ok(None));
        assert_eq!(rollback(&registry, "champion", None, 9_000).unwrap().entry.version, "a-1");
    }

    #[test]
    fn an_unknown_version_is_refused() {
        let registry = registry(&["a-1"], &[("champion", alias("a-1", None))]);
        let error = promote(&registry, "champion", "b-2", "why", 1).unwrap_err();
        assert!(error.contains("b-2") && error.contains("models list"), "{error}");
    }

    #[test]
    fn an_alias_must_not_hide_a_version() {
        let registry = registry(&["a-1", "b-2"], &[]);
        assert!(promote(&registry, "a-1", "b-2", "why", 1).unwrap_err().contains("is a version"));
    }

    #[test]
    fn an_alias_of_a_version_that_is_gone_can_be_moved_on() {
        let registry = registry(&["b-2"], &[("champion", alias("a-1", None))]);
        let moved = promote(&registry, "champion", "b-2", "why", 1).unwrap().unwrap();
        assert_eq!(moved.entry.previous.as_deref(), Some("a-1"));
    }

    #[test]
    fn a_rollback_goes_back_and_a_second_one_undoes_it() {
        let mut registry = registry(&["a-1", "b-2"], &[("champion", alias("b-2", Some("a-1")))]);
        let back = rollback(&registry, "champion", None, 3_000).unwrap();
        assert_eq!((back.entry.version.as_str(), back.entry.previous.as_deref()), ("a-1", Some("b-2")));
        assert_eq!(back.entry.reason, "rolled back from b-2");
        let told =
            ModelEvent::RolledBack { alias: "champion".into(), version: "a-1".into(), from: "b-2".into(), time: 3_000 };
        assert_eq!(back.event, told);
        registry.aliases.insert(back.alias, back.entry);
        let again = rollback(&registry, "champion", Some("it was not the model"), 4_000).unwrap();
        assert_eq!((again.entry.version.as_str(), again.entry.previous.as_deref()), ("b-2", Some("a-1")));
        assert_eq!(again.entry.reason, "it was not the model");
    }

    #[test]
    fn a_rollback_to_nowhere_is_refused() {
        let none = registry(&["a-1"], &[]);
        assert!(rollback(&none, "champion", None, 1).unwrap_err().contains("no alias"));
        let first = registry(&["a-1"], &[("champion", alias("a-1", None))]);
        assert!(rollback(&first, "champion", None, 1).unwrap_err().contains("only"));
        let same = registry(&["a-1"], &[("champion", alias("a-1", Some("a-1")))]);
        assert!(rollback(&same, "champion", None, 1).unwrap_err().contains("only"));
        let gone = registry(&["b-2"], &[("champion", alias("b-2", Some("a-1")))]);
        assert!(rollback(&gone, "champion", None, 1).unwrap_err().contains("any more"));
    }

    #[test]
    fn only_the_named_alias_is_rolled_back() {
        let aliases = [("champion", alias("b-2", Some("a-1"))), ("challenger", alias("a-1", Some("b-2")))];
        let registry = registry(&["a-1", "b-2"], &aliases);
        let back = rollback(&registry, "challenger", None, 3_000).unwrap();
        assert_eq!((back.alias.as_str(), back.entry.version.as_str()), ("challenger", "b-2"));
    }

    #[test]
    fn times_of_moves_grow_though_a_clock_is_behind() {
        let registry = registry(&["a-1", "b-2"], &[("champion", alias("b-2", Some("a-1")))]);
        assert_eq!(promote(&registry, "champion", "a-1", "why", 7).unwrap().unwrap().entry.time, 2_001);
        assert_eq!(rollback(&registry, "champion", None, 7).unwrap().entry.time, 2_001);
    }

    #[test]
    fn names_are_resolved_and_a_dangling_alias_is_told_from_an_unknown_name() {
        let aliases = [("champion", alias("a-1", None)), ("lost", alias("z-9", None))];
        let registry = registry(&["a-1"], &aliases);
        assert_eq!(resolve(&registry, "champion").unwrap().version, "a-1");
        assert_eq!(resolve(&registry, "a-1").unwrap().version, "a-1");
        assert!(resolve(&registry, "lost").unwrap_err().contains("z-9"));
        assert!(resolve(&registry, "nobody").unwrap_err().contains("models list"));
        assert_eq!(aliases_of(&registry, "a-1"), ["champion"]);
    }

    #[test]
    fn a_name_has_no_slash_and_no_space() {
        assert!(is_name("champion") && is_name("night-shift.2"));
        assert!(["", "a/b", "a b", "a\n", "ü"].iter().all(|name| !is_name(name)));
    }
}
