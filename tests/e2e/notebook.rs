//! The notebook in `models/python`, run as a data scientist would: on exported Parquet and an exported model.

use std::path::{Path, PathBuf};

use tests::{control, stack::Stack};
use tokio::process::Command;

/// `python3` as the shell finds it, and Debian's own, which is the one that sees Debian's `python3-torch`.
const INTERPRETERS: [&str; 2] = ["python3", "/usr/bin/python3"];

/// Runs the cells of a notebook one after the other, as its kernel would.
const RUN: &str = "
import json, sys
space = {'__name__': '__main__'}
for number, cell in enumerate(json.load(open(sys.argv[1]))['cells']):
    if cell['cell_type'] == 'code':
        exec(compile(''.join(cell['source']), f'cell {number}', 'exec'), space)
";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

async fn interpreter() -> &'static str {
    for name in INTERPRETERS {
        let found = Command::new(name).args(["-c", "import torch"]).output().await;
        if found.is_ok_and(|output| output.status.success()) {
            return name;
        }
    }
    panic!("no Python with PyTorch: `make deps` installs it");
}

/// Exports readings and the scenarios' model from this Kafka, and runs the notebook on them.
pub(crate) async fn goes_from_parquet_to_the_golden_vector(stack: &Stack) {
    control::publish_trained(stack.kafka()).await.unwrap();
    let [export, artefact, trained] = ["export", "model", "trained"].map(|name| stack.folder().join(name));
    let [out, file] = [&export, &artefact].map(|path| path.to_str().unwrap());
    stack.tool(["data", "export", "--out", out]).await.unwrap();
    stack.tool(["models", "export", "champion", "--out", file]).await.unwrap();

    let modules = repository().join("models/python");
    let output = Command::new(interpreter().await)
        .args(["-B", "-c", RUN])
        .arg(modules.join("from_parquet.ipynb"))
        .env("PYTHONPATH", repository().join(".deps/parquet"))
        .env("MODULES", &modules)
        .env("EXPORT", &export)
        .env("ARTEFACT", &artefact)
        .env("TRAINED", &trained)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    for line in [" readings of 30 vehicles", "leave-one-out", "explained here", "off by", "loss "] {
        assert!(said.contains(line), "{line:?} is missing: {said}");
    }
    // What Python has trained comes back: the golden vector is computed again when it is registered.
    let registered = stack.tool(["models", "register", trained.to_str().unwrap()]).await.unwrap();
    assert!(registered.contains("leave-one-out"), "{registered}");
    let promote = ["models", "register", trained.to_str().unwrap(), "--promote"];
    let (code, out, err) = stack.tool_result(promote).await.unwrap();
    assert!(code == Some(1) && err.contains("models calibrate"), "{code:?} {err}{out}");
}
