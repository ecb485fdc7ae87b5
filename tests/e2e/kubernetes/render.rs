//! From an overlay's folder to validated objects: kustomize renders, `validate.py` checks and turns YAML into JSON.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::LazyLock,
};

use serde::Deserialize;
use serde_json::Value;

/// The oldest Kubernetes that the manifests are for, and the newest with known schemas.
const KUBERNETES: [&str; 2] = ["1.30", "1.37"];

/// What `validate.py` prints.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Checked {
    pub(crate) objects: Vec<Value>,
    pub(crate) problems: Vec<String>,
}

pub(crate) static LOCAL: LazyLock<Checked> = LazyLock::new(|| validate(&render("k8s/overlays/local")));
pub(crate) static PROD: LazyLock<Checked> = LazyLock::new(|| validate(&render("k8s/overlays/prod")));

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

pub(crate) fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn output(command: &mut Command) -> std::io::Result<Output> {
    command.current_dir(root()).output()
}

fn stdout_of(name: &str, output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// YAML of an overlay, by kubectl where it is, otherwise by kustomize.
pub(crate) fn render(overlay: &str) -> String {
    match output(Command::new("kubectl").args(["kustomize", overlay])) {
        Ok(rendered) => stdout_of(overlay, &rendered),
        Err(_) => stdout_of(overlay, &output(Command::new(&*STANDALONE).args(["build", overlay])).unwrap()),
    }
}

/// kustomize by itself: the one in PATH, or the one of `make deps`.
static STANDALONE: LazyLock<PathBuf> = LazyLock::new(|| {
    if Command::new("kustomize").arg("version").output().is_ok() {
        return "kustomize".into();
    }
    let executable = root().join(".deps/kustomize/kustomize");
    assert!(executable.exists(), "neither kubectl nor kustomize is there: type `make deps`");
    executable
});

/// What `validate.py` imports.
static SCHEMAS: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = root().join(".deps/kubernetes-validate");
    assert!(folder.exists(), "{} is missing: type `make deps`", folder.display());
    folder
});

/// Checks every object of `yaml` (or JSON) against the schemas; unknown fields and unknown kinds are problems.
pub(crate) fn validate(yaml: &str) -> Checked {
    let mut child = Command::new("python3")
        .env("PYTHONPATH", &*SCHEMAS)
        .arg(root().join("tests/e2e/kubernetes/validate.py"))
        .args(KUBERNETES)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The script reads everything before it writes.
    child.stdin.take().unwrap().write_all(yaml.as_bytes()).unwrap();
    serde_json::from_str(&stdout_of("validate.py", &child.wait_with_output().unwrap())).unwrap()
}
