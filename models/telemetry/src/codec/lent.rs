//! A text that is read where it stands. `Cow<str>` alone always copies: serde lends its text only to a field that asks.

use std::{borrow::Cow, ops::Deref};

use serde::Deserialize;

/// Lent by the payload; copied only where it holds escapes.
#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct Lent<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Lent<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn copied<'a>(texts: impl IntoIterator<Item = &'a Lent<'a>>) -> Vec<bool> {
        texts.into_iter().map(|text| matches!(text.0, Cow::Owned(_))).collect()
    }

    #[test]
    fn a_text_is_copied_only_where_it_holds_escapes_and_so_is_a_key() {
        let texts: Vec<Lent<'_>> = serde_json::from_slice(br#"["new\nline", "plain"]"#).unwrap();
        assert_eq!(texts.iter().map(|text| &**text).collect::<Vec<_>>(), ["new\nline", "plain"]);
        assert_eq!(copied(&texts), [true, false]);
        let keys: BTreeMap<Lent<'_>, u8> = serde_json::from_slice(br#"{"new\nline": 1, "plain": 2}"#).unwrap();
        assert_eq!(copied(keys.keys()), [true, false]);
    }
}
