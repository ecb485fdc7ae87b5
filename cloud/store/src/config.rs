//! Where MongoDB is.

use std::fmt;

use mongodb::options::{ConnectionString, HostInfo};
use service::Error;

/// How to reach MongoDB; flattened into the flags of roles and tools.
#[derive(clap::Args, Clone)]
pub struct MongoConfig {
    /// MongoDB's connection string. With a password in it, set it through the environment: processes' flags
    /// are visible to others.
    #[arg(
        long,
        env = "MOTORCADE_MONGO",
        value_name = "URL",
        default_value = "mongodb://127.0.0.1:27017",
        hide_env_values = true
    )]
    pub mongo: String,
    /// The database.
    #[arg(long, env = "MOTORCADE_DATABASE", value_name = "NAME", default_value = "motorcade")]
    pub database: String,
    /// How long MongoDB may take to answer at start, ms. Not a flag.
    #[arg(skip = 10_000_u64)]
    pub connect_timeout_ms: u64,
}

impl MongoConfig {
    /// This server and database.
    pub fn new(mongo: impl Into<String>, database: impl Into<String>) -> Self {
        Self { mongo: mongo.into(), database: database.into(), connect_timeout_ms: 10_000 }
    }

    /// Checks the flags; opens no socket.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is no connection string or no name of a database. The text holds no credentials.
    pub fn validate(&self) -> Result<(), Error> {
        if ConnectionString::parse(&self.mongo).is_err() {
            // The parser's own sentence may quote the string, and so the password.
            let detail = "not a connection string: mongodb://HOST:PORT/?replicaSet=NAME".into();
            return Err(Error::Usage { flag: "mongo", detail });
        }
        let forbidden = |c: char| c.is_whitespace() || c.is_control() || "/\\.\"$*<>:|?".contains(c);
        if self.database.is_empty() || self.database.len() > 63 || self.database.contains(forbidden) {
            let detail = format!("{:?} can't name a database", self.database);
            return Err(Error::Usage { flag: "database", detail });
        }
        Ok(())
    }

    /// The hosts, without credentials.
    pub(crate) fn address(&self) -> String {
        match ConnectionString::parse(&self.mongo).map(|parsed| parsed.host_info) {
            Ok(HostInfo::HostIdentifiers(hosts)) => hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            Ok(HostInfo::DnsRecord(name)) => name,
            _ => String::from("(no address)"),
        }
    }

    pub(crate) fn unavailable(&self, detail: impl Into<String>) -> Error {
        Error::Unavailable { flag: "mongo", address: self.address(), detail: detail.into() }
    }
}

impl fmt::Debug for MongoConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoConfig")
            .field("mongo", &self.address())
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_holds_the_password() {
        let config = MongoConfig::new("mongodb://kim:s3cret@db-0:27017,db-1:27018/?replicaSet=rs0", "motorcade");
        config.validate().unwrap();
        assert_eq!(config.address(), "db-0:27017,db-1:27018");
        assert!(!format!("{config:?}").contains("s3cret"));
        assert!(!config.unavailable("no answer").to_string().contains("s3cret"));
        for bad in ["mongodb//kim:s3cret@db", "mongodb://kim:s3cret@@db:1:2", "http://kim:s3cret@db", ""] {
            let error = MongoConfig::new(bad, "motorcade").validate().unwrap_err();
            assert_eq!(error.exit_code(), 64, "{bad}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_database_has_a_plain_name() {
        for bad in ["", "a b", "a.b", "a$b", &"x".repeat(64)] {
            assert!(MongoConfig::new("mongodb://db", bad).validate().is_err(), "{bad:?}");
        }
    }
}
