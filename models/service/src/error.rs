//! The error that ends a component, and the exit code that it ends the process with.

/// Why a component could not start or had to stop. The text is one line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag's value can't be used; found before any socket was opened. Exit code 64.
    #[error("--{flag}: {detail}")]
    Usage {
        /// The flag, without dashes.
        flag: &'static str,
        /// What is wrong and what is accepted.
        detail: String,
    },
    /// A service can't be reached, or refuses us. Exit code 69.
    #[error("--{flag} {address}: {detail}")]
    Unavailable {
        /// The flag that named the address, without dashes.
        flag: &'static str,
        /// The address, without credentials.
        address: String,
        /// What happened.
        detail: String,
    },
    /// Input that can't be read. Exit code 65.
    #[error("{0}")]
    BadInput(String),
    /// What was to be shown does not hold. Exit code 1.
    #[error("{0}")]
    VerdictFailed(String),
    /// Anything else. Exit code 70.
    #[error("{0:#}")]
    Internal(#[from] anyhow::Error),
}

impl Error {
    /// The exit code, after sysexits.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::VerdictFailed(_) => 1,
            Self::Usage { .. } => 64,
            Self::BadInput(_) => 65,
            Self::Unavailable { .. } => 69,
            Self::Internal(_) => 70,
        }
    }
}
