//! What to train: a kind of detector, or the simplest that is good enough.

use std::{fmt, str::FromStr};

use detector::Kind;
use serde::{Serialize, Serializer};

/// A kind of detector, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// All kinds, of which the simplest goes on that the best is not shown to beat.
    Auto,
    /// One kind.
    One(Kind),
}

impl Choice {
    /// What has to be trained, simplest first.
    pub fn kinds(self) -> Vec<Kind> {
        match self {
            Self::Auto => Kind::ALL.to_vec(),
            Self::One(kind) => vec![kind],
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::One(kind) => kind.fmt(f),
        }
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            kind => kind.parse().map(Self::One).map_err(|error: String| format!("{error}, auto")),
        }
    }
}

impl Serialize for Choice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_a_kind_or_all_of_them() {
        assert_eq!("auto".parse(), Ok(Choice::Auto));
        assert_eq!("pca".parse(), Ok(Choice::One(Kind::Pca)));
        assert!("forest".parse::<Choice>().unwrap_err().ends_with("leave-one-out, auto"));
        assert_eq!(Choice::Auto.kinds().first(), Some(&Kind::RobustZ));
        assert_eq!(Choice::One(Kind::Pca).to_string(), "pca");
    }
}
