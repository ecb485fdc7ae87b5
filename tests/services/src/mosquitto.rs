//! mosquitto: two listeners, one access list each, an account for the edge.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::{User, geteuid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::{Doing, Error};
use crate::process::{Place, Process, fill, find, in_configuration};
use crate::{Kind, Ports, record, tls};

pub(crate) const EDGE_USER: &str = "edge";

pub(crate) fn password_file(dir: &Path) -> PathBuf {
    dir.join("mosquitto-edge.password")
}

/// Writes the files that the broker reads; `password` becomes the edge's.
pub(crate) fn prepare(dir: &Path, ports: &Ports, password: &str, tls: bool) -> Result<(), Error> {
    let plain = password_file(dir);
    record::write_whole(&plain, password.as_bytes()).doing("write", &plain)?;

    // Hashed in place, so that the password is on no command line.
    let accounts = dir.join("mosquitto-edge.passwords");
    let line = format!("{EDGE_USER}:{password}\n");
    record::write_whole(&accounts, line.as_bytes()).doing("write", &accounts)?;
    let tool = find("mosquitto_passwd")?;
    let output = Command::new(&tool).arg("-U").arg(&accounts).output().doing("run", &tool)?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::Tool { doing: "hash the edge's password", output });
    }

    for (name, content) in [
        ("mosquitto-vehicles.acl", include_str!("../conf/mosquitto-vehicles.acl")),
        ("mosquitto-edge.acl", include_str!("../conf/mosquitto-edge.acl")),
    ] {
        let path = dir.join(name);
        fs::write(&path, content).doing("write", &path)?;
    }
    let user = User::from_uid(geteuid()).ok().flatten().map_or_else(|| "root".to_owned(), |user| user.name);
    let mut template = include_str!("../conf/mosquitto.conf.in").to_owned();
    if tls {
        tls::mosquitto(dir)?;
        template.push_str(include_str!("../conf/mosquitto-tls.conf.in"));
    }
    fill(
        &template,
        &[
            ("@DIR@", in_configuration(dir)?),
            ("@USER@", &user),
            ("@VEHICLES_PORT@", &ports.mqtt_vehicles.to_string()),
            ("@EDGE_PORT@", &ports.mqtt_edge.to_string()),
            ("@VEHICLES_TLS_PORT@", &ports.mqtt_vehicles_tls.to_string()),
            ("@EDGE_TLS_PORT@", &ports.mqtt_edge_tls.to_string()),
        ],
        &dir.join("mosquitto.conf"),
    )
}

pub(crate) fn spawn(place: &Place) -> Result<Process, Error> {
    let configuration = in_configuration(&place.dir.join("mosquitto.conf"))?.to_owned();
    Process::spawn(Kind::Mosquitto, place, &find("mosquitto")?, &["-c".to_owned(), configuration])
}

pub(crate) async fn until_ready(
    process: &mut Process,
    ports: &Ports,
    password: &str,
    within: Duration,
) -> Result<(), Error> {
    let edge = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.mqtt_edge));
    let vehicles = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.mqtt_vehicles));
    let probe = async || {
        TcpStream::connect(vehicles).await.map_err(|error| error.to_string())?;
        log_in(edge, password).await
    };
    process.until_ready(within, probe).await
}

/// Connects as the edge, in MQTT 5 with a client id that the broker chooses, and disconnects.
async fn log_in(edge: SocketAddr, password: &str) -> Result<(), String> {
    let exchange = async {
        let mut stream = TcpStream::connect(edge).await?;
        stream.write_all(&connect_packet(password)).await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        stream.write_all(&[0xE0, 0]).await?;
        Ok::<_, std::io::Error>(answer)
    };
    match exchange.await {
        // CONNACK: type, length (one byte, as it has few properties), session present, reason.
        Ok([0x20, _, _, 0]) => Ok(()),
        Ok([_, _, _, reason]) => Err(format!("refused the edge's account with reason {reason:#04x}")),
        Err(error) => Err(error.to_string()),
    }
}

fn connect_packet(password: &str) -> Vec<u8> {
    let mut body = Vec::new();
    let text = |body: &mut Vec<u8>, text: &str| {
        // All that is sent here is far shorter than the 65,535 bytes that fit.
        body.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        body.extend(text.as_bytes());
    };
    text(&mut body, "MQTT");
    // Version 5; user name, password and clean start; keep-alive 5 s; no properties; no client id.
    body.extend([5, 0b1100_0010, 0, 5, 0]);
    text(&mut body, "");
    text(&mut body, EDGE_USER);
    text(&mut body, password);
    let mut packet = vec![0x10, u8::try_from(body.len()).unwrap_or(u8::MAX)];
    packet.extend(body);
    packet
}
