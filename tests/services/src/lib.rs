//! Real mosquitto, Apache Kafka and mongod for the demo and the tests: started on free ports below one
//! folder, killed, restarted and stopped.
//!
//! `make deps` (`install.sh` beside this crate) installs what is started here. Every service runs in a
//! process group of its own, so that Ctrl-C in a terminal stops the programs first and the brokers last.
//! Three things see to it that none outlives its owner: [`Services::stop`] and `Drop`; a watcher process
//! that ends them when the owner is killed; and a record of process id and start time, by which the next
//! [`Services::start`] in the same folder ends what is left even then.
//!
//! ```no_run
//! # async fn example() -> Result<(), services::Error> {
//! use services::{Kind, Options, Services};
//!
//! let mut services = Services::start(Options::new("target/my-run")).await?;
//! println!("Kafka listens on {}", services.addresses().kafka);
//! services.kill(Kind::Kafka).await;
//! services.restart(Kind::Kafka).await?;
//! services.stop().await;
//! # Ok(())
//! # }
//! ```

mod addresses;
mod certificates;
mod error;
mod kafka;
mod mongod;
mod mosquitto;
mod ports;
mod process;
mod record;
mod running;
mod tls;
mod watcher;

pub use addresses::Addresses;
pub use certificates::{Authority, Pair, Use, Validity};
pub use error::Error;
pub use ports::{Ports, free_port};
pub use record::alive;
pub use running::{Options, Services, remove_stored_in, stop_in};
pub use tls::Tls;
pub use watcher::Watcher;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The three services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The MQTT broker.
    Mosquitto,
    /// Apache Kafka, one node, KRaft.
    Kafka,
    /// MongoDB's server, a replica set of one.
    Mongod,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mosquitto, Self::Kafka, Self::Mongod];

    /// The name as on the command line, in file names and in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mosquitto => "mosquitto",
            Self::Kafka => "kafka",
            Self::Mongod => "mongod",
        }
    }

    /// Where it stores what it stores; mosquitto stores nothing.
    fn stored_in(self, dir: &Path) -> PathBuf {
        dir.join(self.name())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("no service is called {text} (mosquitto, kafka or mongod)"))
    }
}
