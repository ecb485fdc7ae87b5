//! An artefact is used only once it has loaded here: form, features and golden vector are the detector's to judge.

use detector::{Detector, Error as Refusal};
use service::Error;

use crate::Trained;

/// Loads an artefact; `name` is what the error calls it: a file or a version.
///
/// # Errors
/// [`Error::BadInput`] with one line that says what to do.
pub(crate) async fn load(name: &str, bytes: Vec<u8>) -> Result<Trained, Error> {
    // Libtorch's tensors stay on the thread that made them.
    let loaded = tokio::task::spawn_blocking(move || Detector::load(&bytes).map(|detector| Trained::from(&detector)));
    loaded.await.map_err(anyhow::Error::from)?.map_err(|refusal| match advice(&refusal) {
        Some(advice) => Error::BadInput(format!("{name}: {refusal}; {advice}")),
        None => Error::Internal(anyhow::Error::new(refusal).context(name.to_owned())),
    })
}

/// What to do about a refusal; none where the artefact is not to blame.
fn advice(refusal: &Refusal) -> Option<&'static str> {
    match refusal {
        Refusal::Malformed(_) => Some("take a file that `motorcade models export` or models/python has written"),
        Refusal::Form { .. } => Some("use the motorcade that wrote it, or train again with this one"),
        Refusal::Schema { .. } => {
            Some("train again with this motorcade: weights fit only the features they learnt from")
        }
        Refusal::Golden { .. } => Some(
            "run it on the CPU class that it was made on, or let models/python's save() write a golden vector to new \
             weights",
        ),
        Refusal::TooLittle(_) | Refusal::Refused(_) | Refusal::Unread(_) | Refusal::Torch(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_artefact_is_refused_with_the_files_name_and_what_to_do() {
        let error = load("my.safetensors", b"nothing".to_vec()).await.unwrap_err();
        assert_eq!(error.exit_code(), 65);
        let text = error.to_string();
        assert!(text.starts_with("my.safetensors: ") && text.contains("models/python"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn every_fault_of_an_artefact_has_its_own_advice() {
        let schema = Refusal::Schema { artefact: "a".into(), program: "b".into() };
        let golden =
            Refusal::Golden { off: 1.0, allowed: 1e-5, made_with: "avx2".into(), running_with: "default".into() };
        let faults = [Refusal::Malformed("x".into()), Refusal::Form { artefact: 1, program: 2 }, schema, golden];
        let advised: std::collections::BTreeSet<_> = faults.iter().map(|fault| advice(fault).unwrap()).collect();
        assert_eq!(advised.len(), faults.len());
        assert_eq!(advice(&Refusal::Torch("out of memory".into())), None);
    }
}
