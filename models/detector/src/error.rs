//! Why an artefact can't be used or history can't be learnt from.

/// What went wrong; the text is one line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are no artefact of this detector.
    #[error("artefact: {0}")]
    Malformed(String),
    /// The artefact has another form than this program reads.
    #[error("artefact: form {artefact}, this program reads form {program}")]
    Form {
        /// Form of the artefact.
        artefact: u32,
        /// Form that this program reads.
        program: u32,
    },
    /// The artefact was made with other features than this program computes.
    #[error("artefact: made for features {artefact}, this program computes {program}")]
    Schema {
        /// Schema id in the artefact.
        artefact: String,
        /// Schema id of this program.
        program: String,
    },
    /// The network computes something else here than where it was made.
    #[error(
        "artefact: the golden vector is off by {off:e}, {allowed:e} allowed; made with CPU capability {made_with}, running with {running_with}"
    )]
    Golden {
        /// A difference that is too large, in scaled units.
        off: f32,
        /// Largest difference that is allowed.
        allowed: f32,
        /// CPU capability when it was made.
        made_with: String,
        /// CPU capability here.
        running_with: String,
    },
    /// There is too little to learn from.
    #[error("history: {0}")]
    TooLittle(String),
    /// The model failed its own calibration and must not be published.
    #[error("refused by its own calibration: {0}")]
    Refused(String),
    /// Recorded history could not be read back.
    #[error("history: {0}")]
    Unread(String),
    /// libtorch failed.
    #[error("libtorch: {0}")]
    Torch(String),
}

#[cfg(feature = "torch")]
impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.to_string().lines().next().unwrap_or_default().to_owned())
    }
}
