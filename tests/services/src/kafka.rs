//! Apache Kafka: formatted once, then one JVM that is broker and controller.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::{Doing, Error};
use crate::process::{Place, Process, fill, find, in_configuration};
use crate::{Kind, Ports, running, tls};

/// For the tool that formats the log folder, which lives for a second.
const SHORT_LIVED: [&str; 3] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"];
const BROKER: [&str; 5] =
    ["-Xms256m", "-Xmx768m", "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true"];
/// No files of counters in the folder for temporary files; a log that is quiet unless something is wrong.
const COMMON: [&str; 5] = [
    "-XX:-UsePerfData",
    "-Djava.net.preferIPv4Stack=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
];

fn properties(dir: &Path) -> PathBuf {
    dir.join("kafka.properties")
}

/// Where the jars are; the error says what to do when they are not.
pub(crate) fn libraries(deps: &Path) -> Result<PathBuf, Error> {
    let path = deps.join("kafka/libs");
    if path.is_dir() { Ok(path) } else { Err(Error::Missing { what: "Apache Kafka", path }) }
}

fn java() -> Result<PathBuf, Error> {
    let home = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java"));
    match home.filter(|java| java.is_file()) {
        Some(java) => Ok(java),
        None => find("java"),
    }
}

fn class_path(deps: &Path) -> Result<String, Error> {
    Ok(format!("{}/*", in_configuration(&libraries(deps)?)?))
}

/// Lines for further listeners: for clients that come `through` a proxy, and for those that speak TLS. Kafka tells each
/// client the address of the listener that it came to, and clients go on there.
fn further_listeners(dir: &Path, ports: &Ports, through: Option<SocketAddr>, tls: bool) -> Result<String, Error> {
    let Ports { kafka, kafka_far, kafka_controller, .. } = ports;
    let mut listeners = format!("PLAINTEXT://127.0.0.1:{kafka},CONTROLLER://127.0.0.1:{kafka_controller}");
    let mut advertised = format!("PLAINTEXT://127.0.0.1:{kafka}");
    let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
    let mut add = |name: &str, port: &u16, address: SocketAddr, protocol: &str| {
        listeners.push_str(&format!(",{name}://127.0.0.1:{port}"));
        advertised.push_str(&format!(",{name}://{address}"));
        protocols.push_str(&format!(",{name}:{protocol}"));
    };
    if let Some(proxy) = through {
        add("FAR", kafka_far, proxy, "PLAINTEXT");
    }
    let mut more = String::new();
    if tls {
        let own = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        add("TLS", &ports.kafka_tls, own(ports.kafka_tls), "SSL");
        add("ACCOUNTS", &ports.kafka_accounts, own(ports.kafka_accounts), "SASL_SSL");
        more = include_str!("../conf/kafka-tls.properties.in").replace("@DIR@", in_configuration(dir)?);
    }
    Ok(format!(
        "# Of two lines for one setting the later counts.\n\
         listeners={listeners}\nadvertised.listeners={advertised}\nlistener.security.protocol.map={protocols}\n{more}"
    ))
}

/// Writes the configuration and, the first time, formats the log folder. Blocks for a second then.
pub(crate) fn prepare(
    dir: &Path,
    deps: &Path,
    ports: &Ports,
    through: Option<SocketAddr>,
    tls: bool,
) -> Result<(), Error> {
    let properties = properties(dir);
    fill(
        include_str!("../conf/kafka.properties.in"),
        &[
            ("@DIR@", in_configuration(dir)?),
            ("@BROKER_PORT@", &ports.kafka.to_string()),
            ("@CONTROLLER_PORT@", &ports.kafka_controller.to_string()),
        ],
        &properties,
    )?;
    if through.is_some() || tls {
        let lines = further_listeners(dir, ports, through, tls)?;
        let mut file = OpenOptions::new().append(true).open(&properties).doing("open", &properties)?;
        file.write_all(lines.as_bytes()).doing("write", &properties)?;
    }
    if tls {
        tls::kafka(dir)?;
    }
    let log_dir = Kind::Kafka.stored_in(dir);
    if log_dir.join("meta.properties").is_file() {
        return Ok(());
    }
    // A format that was cut off leaves a folder that the tool refuses; there is nothing in it yet.
    if log_dir.exists() {
        fs::remove_dir_all(&log_dir).doing("remove", &log_dir)?;
    }
    // Of its own, so that clients of another instance notice when they talk to the wrong one. The id is
    // the base64 of 16 bytes, and letters as bytes never give one that begins with a hyphen.
    let id = running::random_name()?;
    let id = URL_SAFE_NO_PAD.encode(&id.as_bytes()[..16]);
    let output = Command::new(java()?)
        .args(SHORT_LIVED)
        .args(COMMON)
        .args(["-cp", &class_path(deps)?, "kafka.tools.StorageTool", "format", "-t", &id, "-c"])
        .arg(&properties)
        .args(if tls { tls::kafka_account(dir)? } else { Vec::new() })
        .output()
        .doing("run", &java()?)?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::Tool { doing: "format Kafka's log folder", output });
    }
    Ok(())
}

pub(crate) fn spawn(place: &Place) -> Result<Process, Error> {
    let mut arguments: Vec<_> = BROKER.into_iter().chain(COMMON).map(str::to_owned).collect();
    arguments.extend(["-cp".to_owned(), class_path(&place.deps)?, "kafka.Kafka".to_owned()]);
    arguments.push(in_configuration(&properties(&place.dir))?.to_owned());
    Process::spawn(Kind::Kafka, place, &java()?, &arguments)
}

pub(crate) async fn until_ready(process: &mut Process, ports: &Ports, within: Duration) -> Result<(), Error> {
    let broker = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.kafka));
    process.until_ready(within, async || brokers(broker).await).await
}

/// Asks for metadata, as every client does first. The broker answers once it has caught up with the
/// cluster's log, and names itself once it may serve.
async fn brokers(broker: SocketAddr) -> Result<(), String> {
    // Size, API 3 (Metadata) in version 1, correlation id 7, no client id, an array of no topics.
    const REQUEST: [u8; 18] = [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 7, 0xFF, 0xFF, 0, 0, 0, 0];
    let exchange = async {
        let mut stream = TcpStream::connect(broker).await?;
        stream.write_all(&REQUEST).await?;
        // Size, correlation id, number of brokers.
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    match exchange.await {
        Ok([_, _, _, _, 0, 0, 0, 7, 0, 0, 0, 1]) => Ok(()),
        Ok(_) => Err("it knows no broker yet".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
