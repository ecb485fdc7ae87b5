//! The connection, its collections and indexes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mongodb::{
    Client, Collection, Database, IndexModel,
    bson::{Document, doc},
    options::{ClientOptions, IndexOptions},
};
use service::{Backoff, Error};

use crate::MongoConfig;

pub(crate) const TWINS: &str = "twins";
pub(crate) const HISTORY: &str = "history";
pub(crate) const ALERTS: &str = "alerts";

/// A connection to one database. Cloning is cheap: clones share a pool.
#[derive(Debug, Clone)]
pub struct Store {
    client: Client,
    database: Database,
}

impl Store {
    /// Waits until MongoDB answers.
    ///
    /// # Errors
    /// [`Error::Usage`] if the flags are wrong, [`Error::Unavailable`] if MongoDB does not answer in time; the
    /// texts hold no credentials.
    pub async fn connect(config: &MongoConfig) -> Result<Self, Error> {
        config.validate()?;
        let mut options = ClientOptions::parse(&config.mongo)
            .await
            .map_err(|_| config.unavailable("the connection string's host can't be resolved"))?;
        options.app_name = Some("motorcade".into());
        options.max_pool_size = Some(16);
        options.connect_timeout = Some(Duration::from_secs(5));
        options.server_selection_timeout = Some(Duration::from_secs(2));
        // A server that comes back is found after a second, not after ten.
        options.heartbeat_freq = Some(Duration::from_secs(1));
        let client = Client::with_options(options)
            .map_err(|_| Error::Usage { flag: "mongo", detail: "options of the connection string".into() })?;
        let store = Self { database: client.database(&config.database), client };

        let deadline = Instant::now() + Duration::from_millis(config.connect_timeout_ms);
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(1));
        while let Err(error) = store.ping().await {
            let pause = backoff.next();
            if Instant::now() + pause >= deadline {
                tracing::debug!("MongoDB: {error:#}");
                let detail = format!("no answer within {} ms", config.connect_timeout_ms);
                return Err(config.unavailable(detail));
            }
            tokio::time::sleep(pause).await;
        }
        Ok(store)
    }

    /// Asks the server for a sign of life.
    ///
    /// # Errors
    /// If it gives none.
    pub async fn ping(&self) -> Result<()> {
        self.database.run_command(doc! { "ping": 1 }).await.context("ping MongoDB")?;
        Ok(())
    }

    /// Creates the indexes that are missing.
    ///
    /// # Errors
    /// If MongoDB can't be reached, or an index of the same name is another one.
    pub async fn ensure_indexes(&self) -> Result<()> {
        let index =
            |keys: Document, options: Option<IndexOptions>| IndexModel::builder().keys(keys).options(options).build();
        let expiry = IndexOptions::builder().expire_after(Duration::ZERO).build();
        let history = index(doc! { "x": 1 }, Some(expiry));
        self.collection(HISTORY).create_index(history).await.context("index of the history")?;
        let alerts = [index(doc! { "cur.o": -1 }, None), index(doc! { "cur.e.state": 1, "cur.o": -1 }, None)];
        self.collection(ALERTS).create_indexes(alerts).await.context("indexes of the alerts")?;
        Ok(())
    }

    /// Deletes the database: for tests and for a rebuild from the log.
    ///
    /// # Errors
    /// If MongoDB can't be reached.
    pub async fn drop_everything(&self) -> Result<()> {
        self.database.drop().await.context("drop the database")
    }

    /// Closes the connections.
    pub async fn close(self) {
        self.client.shutdown().await;
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    pub(crate) fn collection(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }
}
