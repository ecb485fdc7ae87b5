//! The PyTorch module in `models/python` computes what the network here computes, and what it writes loads here.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use super::*;

/// `python3` as the shell finds it, and Debian's own, which is the one that sees Debian's `python3-torch`.
const INTERPRETERS: [&str; 2] = ["python3", "/usr/bin/python3"];

fn interpreter() -> &'static str {
    let has_torch = |name: &&str| {
        let output = Command::new(name).args(["-c", "import torch"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let found = INTERPRETERS.into_iter().find(has_torch);
    found.expect("no Python with PyTorch: `make deps` installs Debian's python3-torch; `pip install torch` also serves")
}

fn module() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../python/motorcade_model.py")
}

/// Runs `check` on a file.
fn check(python: &str, file: &Path) -> (bool, String) {
    said(Command::new(python).arg(module()).arg("check").arg(file).output().unwrap())
}

/// Runs a few lines that may use the module as `m`; `sys.argv[2:]` are these paths.
fn run(python: &str, lines: &str, paths: &[&Path]) -> (bool, String) {
    let program = format!("import sys; sys.path.insert(0, sys.argv[1]); import motorcade_model as m\n{lines}");
    // A cache beside the module would be a file that git does not know.
    let mut command = Command::new(python);
    command.args(["-B", "-c", &program]).arg(module().parent().unwrap()).args(paths);
    said(command.output().unwrap())
}

fn said(output: Output) -> (bool, String) {
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn pytorch_computes_the_same_and_what_it_saves_loads_here() {
    let (python, dir) = (interpreter(), tempfile::tempdir().unwrap());
    let (file, saved) = (dir.path().join("model.safetensors"), dir.path().join("saved.safetensors"));
    for kind in Kind::ALL {
        let detector = control::ungated(healthy(), &Options { kind, ..options() }).unwrap();
        std::fs::write(&file, detector.save()).unwrap();
        let (ok, said) = check(python, &file);
        assert!(ok && said.contains(kind.as_str()), "{said}");

        // Negative control: one weight is another.
        let mut artifact = Artifact::read(&detector.save()).unwrap();
        let (name, shape) = crate::network::shapes(kind, artifact.card.signals.len()).pop().unwrap();
        let name = format!("network.{name}");
        let mut weight = artifact.f32(&name, &shape).unwrap();
        weight[0] += 1e-3;
        artifact.put_f32(&name, &shape, &weight);
        std::fs::write(&file, artifact.to_bytes().unwrap()).unwrap();
        let (ok, said) = check(python, &file);
        assert!(!ok && said.contains("golden vector is off"), "{kind}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");

        // The same weight again, now as one that Python has learnt: with a golden vector of its own the file is sound.
        std::fs::write(&file, detector.save()).unwrap();
        let lines = "model = m.load(sys.argv[2])\n\
                     model.weights[sys.argv[4].split('.', 1)[1]].data.flatten()[0] += 1e-3\n\
                     model.save(sys.argv[3])";
        let (ok, said) = run(python, lines, &[&file, &saved, Path::new(&name)]);
        assert!(ok, "{kind}: {said}");
        let bytes = std::fs::read(&saved).unwrap();
        let learnt = Detector::load(&bytes).unwrap();
        assert_ne!(learnt.version(), detector.version());
        // Loaded: so its sum over the tensors is as the one here.
        assert!(
            learnt.card().tensors_sha256.is_some() && learnt.card().tensors_sha256 != detector.card().tensors_sha256
        );
        assert!(learnt.card().versions.last().unwrap().contains("Python"), "{:?}", learnt.card().versions);
        assert_eq!(learnt.card().calibration, detector.card().calibration);
        let refused = crate::keeps_its_promise(learnt.card()).unwrap_err().to_string();
        assert!(refused.contains("models calibrate"), "{refused}");
        let read = Artifact::read(&bytes).unwrap();
        assert_eq!(read.f32(&name, &shape).unwrap(), weight, "{kind}");
        for (name, tensor) in &Artifact::read(&detector.save()).unwrap().tensors {
            let is_new = name.starts_with("network.") || name == "golden.expected";
            assert!(is_new || read.tensors[name] == *tensor, "{kind}: {name} is another");
        }
    }
}

#[test]
fn what_is_no_artefact_is_refused_in_a_line() {
    let (python, dir) = (interpreter(), tempfile::tempdir().unwrap());
    let file = dir.path().join("model.safetensors");
    let (ok, said) = check(python, &file);
    assert!(!ok && said.lines().count() == 1, "{said}");
    let mut artifact = Artifact::read(artifact()).unwrap();
    artifact.card.form += 1;
    for bytes in [b"nothing".to_vec(), artifact.to_bytes().unwrap()] {
        std::fs::write(&file, bytes).unwrap();
        let (ok, said) = check(python, &file);
        assert!(!ok && said.lines().count() == 1, "{said}");
    }
    let mut damaged = super::artifact().to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&file, damaged).unwrap();
    let (ok, said) = check(python, &file);
    assert!(!ok && said.lines().count() == 1 && said.contains("damaged"), "{said}");
    let lines =
        "model = m.load(sys.argv[2])\nnext(model.parameters()).data.fill_(float('nan'))\nmodel.save(sys.argv[2])";
    std::fs::write(&file, super::artifact()).unwrap();
    let (ok, said) = run(python, lines, &[&file]);
    assert!(!ok && said.contains("must be finite"), "{said}");
    assert_eq!(std::fs::read(&file).unwrap(), super::artifact(), "a file that was refused is as it was");
}
