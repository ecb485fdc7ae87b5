//! From an overlay's folder to validated objects: kustomize renders, `validate.py` checks and turns YAML into JSON.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::LazyLock,
};

use serde::Deserialize;
use serde_json::Value;

const KUSTOMIZE: &str = "v5.7.1";
/// The oldest Kubernetes that the manifests are for, and the newest with known schemas.
const KUBERNETES: [&str; 2] = ["1.30", "1.37"];
const REQUIREMENTS: &str = include_str!("requirements.txt");

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

/// kustomize by itself: the one in PATH, or built once into `.deps/bin`.
static STANDALONE: LazyLock<PathBuf> = LazyLock::new(|| {
    if Command::new("kustomize").arg("version").output().is_ok() {
        return "kustomize".into();
    }
    let folder = root().join(".deps/bin");
    let executable = folder.join("kustomize");
    if !executable.exists() {
        let module = format!("sigs.k8s.io/kustomize/kustomize/v5@{KUSTOMIZE}");
        let built = ["go", "/usr/local/go/bin/go"]
            .into_iter()
            .find_map(|go| output(Command::new(go).args(["install", &module]).env("GOBIN", &folder)).ok());
        let built = built.expect("install kubectl or kustomize, or Go, with which this test builds kustomize");
        stdout_of("go install kustomize", &built);
    }
    executable
});

/// A Python that has what `validate.py` imports: made once in `.deps`, again when the pins change.
static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = root().join(".deps/kubernetes-validate");
    let python = folder.join("bin/python");
    let mark = folder.join(".pins");
    if std::fs::read_to_string(&mark).is_ok_and(|made_from| made_from == REQUIREMENTS) {
        return python;
    }
    let made = output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
    stdout_of("python3 -m venv (Debian: python3-venv)", &made.expect("install python3"));
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary=:all:"]);
    pip.args(["--require-hashes", "-r", "tests/e2e/kubernetes/requirements.txt"]);
    stdout_of("pip install", &output(&mut pip).unwrap());
    std::fs::write(mark, REQUIREMENTS).unwrap();
    python
});

/// Checks every object of `yaml` (or JSON) against the schemas; unknown fields and unknown kinds are problems.
pub(crate) fn validate(yaml: &str) -> Checked {
    let mut child = Command::new(&*PYTHON)
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
