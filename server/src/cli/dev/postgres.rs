//! The embedded PostgreSQL, whose functions block.

use std::path::Path;

use flamingock_embedded_postgres::{EmbeddedPostgres, Options};
use flamingock_server::config::{Config, DatabaseUrl};

use crate::cli::failure::Failure;

const DATABASE: &str = "flamingock";

pub(super) struct Postgres(EmbeddedPostgres);

impl Postgres {
    pub(super) async fn start(data: &Path, config: &Config) -> Result<(Self, DatabaseUrl), Failure> {
        let mut options = Options::new(data.join("postgres"));
        // Room for the pool, and for people who want to look.
        options.max_connections = config.database.max_connections.saturating_add(20).max(50);
        options.progress =
            Box::new(|message| tracing::info!(target: "flamingock_server::postgres", "{message}"));
        let postgres = blocking(move || {
            let postgres = EmbeddedPostgres::start(options)?;
            postgres.create_database(DATABASE)?;
            Ok(postgres)
        })
        .await
        .map_err(|failure| {
            failure.help("with a PostgreSQL of your own, set DATABASE_URL and none is started")
        })?;
        let url = DatabaseUrl::new(postgres.url(DATABASE));
        Ok((Self(postgres), url))
    }

    pub(super) async fn stop(self) -> Result<(), Failure> {
        blocking(move || self.0.stop()).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, flamingock_embedded_postgres::Error> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| Failure::new("the embedded PostgreSQL failed").because(error)),
        Err(error) => Err(Failure::new("the embedded PostgreSQL failed").because(error)),
    }
}
