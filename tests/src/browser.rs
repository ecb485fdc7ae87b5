//! A real browser without a window: Chromium, driven over the DevTools protocol.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// Its names in PATH, as `tests/services/install.sh` has them; the variable `CHROMIUM` names another one.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// How long Chromium may take to start, and one command to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running Chromium with a profile of its own. Dropping it kills it.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    devtools: String,
    _profile: tempfile::TempDir,
}

/// One tab.
#[derive(Debug)]
pub struct Page {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next: u64,
}

fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|program| program.is_file())
}

impl Browser {
    /// Starts Chromium.
    pub async fn launch() -> Result<Self> {
        let program = find().with_context(|| format!("none of {NAMES:?} is in PATH: type `make deps`"))?;
        let profile = tempfile::tempdir()?;
        let child = Command::new(&program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-dev-shm-usage",
                "--remote-debugging-port=0",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| program.display().to_string())?;
        // Chromium writes its port into the profile once it listens.
        let port_file = profile.path().join("DevToolsActivePort");
        let devtools = crate::poll::until("Chromium listens", PATIENCE, async || {
            let text = std::fs::read_to_string(&port_file).unwrap_or_default();
            Ok(text.lines().next().and_then(|port| port.parse::<u16>().ok()).map(|port| format!("127.0.0.1:{port}")))
        })
        .await?;
        Ok(Self { child, devtools, _profile: profile })
    }

    /// Opens a tab as wide as a phone.
    pub async fn open(&self, url: &str) -> Result<Page> {
        ensure!(self.child.id().is_some(), "Chromium has ended");
        let client = reqwest::Client::new();
        let target: Value =
            client.put(format!("http://{}/json/new?about:blank", self.devtools)).send().await?.json().await?;
        let socket = target["webSocketDebuggerUrl"].as_str().context("a tab has an address")?;
        let (socket, _) = connect_async(socket).await.context("connect to the tab")?;
        let mut page = Page { socket, next: 0 };
        page.call("Page.enable", json!({})).await?;
        page.call("Runtime.enable", json!({})).await?;
        let phone = json!({"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true});
        page.call("Emulation.setDeviceMetricsOverride", phone).await?;
        page.call("Page.navigate", json!({"url": url})).await?;
        page.wait_for("document.readyState === 'complete'", PATIENCE).await?;
        Ok(page)
    }
}

impl Page {
    async fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        self.next += 1;
        let id = self.next;
        let request = json!({"id": id, "method": method, "params": params});
        self.socket.send(Message::text(request.to_string())).await?;
        let answer = async {
            while let Some(message) = self.socket.next().await {
                let Message::Text(text) = message? else { continue };
                let value: Value = serde_json::from_str(&text)?;
                // Events come between; only the answer has our number.
                if value["id"] == id {
                    ensure!(value["error"].is_null(), "{method}: {}", value["error"]);
                    return Ok(value["result"].clone());
                }
            }
            bail!("{method}: Chromium has gone")
        };
        tokio::time::timeout(PATIENCE, answer).await.with_context(|| format!("{method}: no answer"))?
    }

    /// Evaluates JavaScript and gives back its value.
    pub async fn eval(&mut self, expression: &str) -> Result<Value> {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", params).await?;
        ensure!(result["exceptionDetails"].is_null(), "{expression}: {}", result["exceptionDetails"]);
        Ok(result["result"]["value"].clone())
    }

    /// Waits until the expression is true.
    pub async fn wait_for(&mut self, expression: &str, within: Duration) -> Result<()> {
        let start = Instant::now();
        while self.eval(&format!("Boolean({expression})")).await? != Value::Bool(true) {
            ensure!(start.elapsed() < within, "{expression}: not true within {} s", within.as_secs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Takes a picture of what is visible.
    pub async fn screenshot(&mut self, path: &Path) -> Result<()> {
        let result = self.call("Page.captureScreenshot", json!({"format": "png"})).await?;
        let picture = result["data"].as_str().context("a screenshot has bytes")?;
        std::fs::write(path, decode_base64(picture)?).with_context(|| path.display().to_string())
    }
}

fn decode_base64(text: &str) -> Result<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).context("decode the screenshot")
}
