//! The kinds of detector, simplest first.

use serde::{Deserialize, Serialize};

/// A kind of detector. The order is that of simplicity: of two that are as good, the lesser is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Each signal on its own, against centre and spread.
    RobustZ,
    /// Reconstruction from principal components.
    Pca,
    /// A windowed autoencoder.
    Autoencoder,
    /// Each signal expected from all the others.
    LeaveOneOut,
}

impl Kind {
    /// All of them, simplest first.
    pub const ALL: [Self; 4] = [Self::RobustZ, Self::Pca, Self::Autoencoder, Self::LeaveOneOut];

    /// The name: the first part of a version, the middle part of an alert's id.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RobustZ => "robust-z",
            Self::Pca => "pca",
            Self::Autoencoder => "autoencoder",
            Self::LeaveOneOut => "leave-one-out",
        }
    }

    /// Whether it has a head that knows the signal's own past.
    pub(crate) fn has_own_past(self) -> bool {
        matches!(self, Self::RobustZ | Self::LeaveOneOut)
    }

    /// Whether an optimiser fits it.
    #[cfg(feature = "torch")]
    pub(crate) fn is_learnt(self) -> bool {
        matches!(self, Self::Autoencoder | Self::LeaveOneOut)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = || Self::ALL.map(Self::as_str).join(", ");
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("{text:?} is none of {}", names()))
    }
}
