//! mongod: a replica set of one member, initiated here because there is no shell to do it with.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::{ClientOptions, ServerAddress};
use mongodb::{Client, Database};

use crate::error::{Doing, Error};
use crate::process::{Place, Process, fill, in_configuration};
use crate::{Kind, Ports};

/// As in conf/mongod.conf.in.
pub(crate) const REPLICA_SET: &str = "rs0";
/// What mongod answers when asked for the configuration of a set that there is none of.
const NOT_YET_INITIALIZED: i32 = 94;

pub(crate) fn program(deps: &Path) -> Result<PathBuf, Error> {
    let path = deps.join("mongod/mongod");
    if path.is_file() { Ok(path) } else { Err(Error::Missing { what: "mongod", path }) }
}

pub(crate) fn prepare(dir: &Path, ports: &Ports) -> Result<(), Error> {
    let files = Kind::Mongod.stored_in(dir);
    fs::create_dir_all(&files).doing("create", &files)?;
    fill(
        include_str!("../conf/mongod.conf.in"),
        &[("@DIR@", in_configuration(dir)?), ("@PORT@", &ports.mongod.to_string())],
        &dir.join("mongod.conf"),
    )
}

pub(crate) fn spawn(place: &Place) -> Result<Process, Error> {
    let configuration = in_configuration(&place.dir.join("mongod.conf"))?.to_owned();
    Process::spawn(Kind::Mongod, place, &program(&place.deps)?, &["--config".to_owned(), configuration])
}

pub(crate) async fn until_ready(process: &mut Process, ports: &Ports, within: Duration) -> Result<(), Error> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.mongod));
    // The driver waits for ten seconds between two attempts to reach a server: ask it only once there is
    // something to talk to.
    let listening = async || {
        let connected = tokio::net::TcpStream::connect(address).await;
        connected.map(drop).map_err(|error| error.to_string())
    };
    process.until_ready(within, listening).await?;

    let options = ClientOptions::builder()
        .hosts(vec![ServerAddress::Tcp { host: address.ip().to_string(), port: Some(address.port()) }])
        .direct_connection(true)
        .server_selection_timeout(Duration::from_secs(5))
        .build();
    let client = Client::with_options(options)
        .map_err(|error| Error::Tool { doing: "talk to mongod", output: error.to_string() })?;
    let admin = client.database("admin");
    let ready = process.until_ready(within, async || writable(&admin, address).await).await;
    client.shutdown().await;
    ready
}

/// Initiates the set where there is none, corrects its address where the ports have changed, and says
/// whether this member takes writes.
async fn writable(admin: &Database, address: SocketAddr) -> Result<(), String> {
    let run = async |command: Document| admin.run_command(command).await;
    let hello = run(doc! { "hello": 1 }).await.map_err(|error| error.to_string())?;
    let me = address.to_string();
    let primary = hello.get_bool("isWritablePrimary").unwrap_or(false);
    if primary && hello.get_str("me").is_ok_and(|known| known == me) {
        return Ok(());
    }
    match run(doc! { "replSetGetConfig": 1 }).await {
        Ok(answer) => {
            let mut set = answer.get_document("config").map_err(|error| error.to_string())?.clone();
            let version = set.get_i32("version").map_err(|error| error.to_string())?;
            let member = doc! { "_id": 0, "host": &me };
            let listed = set.get_array("members").ok().and_then(|members| members.first()?.as_document());
            if listed.and_then(|member| member.get_str("host").ok()) != Some(me.as_str()) {
                set.insert("members", vec![member]);
                set.insert("version", version + 1);
                let command = doc! { "replSetReconfig": set, "force": true };
                run(command).await.map_err(|error| error.to_string())?;
            }
        }
        Err(error) => match error.kind.as_ref() {
            ErrorKind::Command(refusal) if refusal.code == NOT_YET_INITIALIZED => {
                let set = doc! { "_id": REPLICA_SET, "members": [{ "_id": 0, "host": &me }] };
                run(doc! { "replSetInitiate": set }).await.map_err(|error| error.to_string())?;
            }
            _ => return Err(error.to_string()),
        },
    }
    Err("it is not a writable primary yet".to_owned())
}
