//! Reaching the database, and its schema.

use std::time::{Duration, Instant};

use flamingock_server::app;
use flamingock_server::config::{Config, DatabaseUrl};
use flamingock_server::store::{self, StoreError};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, PgPool};

use super::failure::Failure;

/// Containers often start before their database.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the schema stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schema {
    Current,
    /// `None`: there is none yet.
    Behind(Option<i64>),
    /// A newer binary was here; its schema still serves this one.
    Ahead(i64),
}

pub(super) fn required_url(url: Option<&DatabaseUrl>) -> Result<&DatabaseUrl, Failure> {
    url.ok_or_else(|| {
        Failure::new("DATABASE_URL is not set")
            .help("set it to postgres://user:password@host:5432/database; `flamingock-server dev` needs none")
    })
}

/// One connection outside the pool, without limits of time: a migration may take long.
pub(super) async fn connect(url: &DatabaseUrl) -> Result<PgConnection, Failure> {
    let options: PgConnectOptions = url.expose().parse().map_err(|_: sqlx::Error| {
        // Not the cause: it may quote the URL.
        Failure::new(format!("DATABASE_URL cannot be read: {url}")).help(
            "expected postgres://user:password@host:5432/database, with special characters percent-encoded",
        )
    })?;
    options
        .application_name("flamingock-server")
        .connect()
        .await
        .map_err(|error| {
            let help = match &error {
                sqlx::Error::Database(_) => {
                    "the database answered and refused: check user, password and database name"
                }
                sqlx::Error::Tls(_) => "check sslmode and sslrootcert in the URL",
                _ => "is it running, and reachable from here?",
            };
            Failure::new(format!("cannot connect to the database {url}"))
                .because(error)
                .help(help)
        })
}

/// Waits for a database that does not answer yet. One that answers and refuses is not waited for.
pub(super) async fn connect_patiently(url: &DatabaseUrl) -> Result<PgConnection, Failure> {
    let begin = Instant::now();
    let mut told = false;
    loop {
        let failure = match connect(url).await {
            Ok(conn) => return Ok(conn),
            Err(failure) if begin.elapsed() > PATIENCE || !failure.is_connection_trouble() => {
                return Err(failure);
            }
            Err(failure) => failure,
        };
        if !told {
            told = true;
            tracing::warn!(
                database = %url,
                patience_s = PATIENCE.as_secs(),
                reason = failure.cause_text(),
                "waiting for the database"
            );
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

pub(super) async fn schema(conn: &mut PgConnection) -> Result<Schema, Failure> {
    let failure = |error: StoreError| Failure::new("cannot read the schema's version").because(error);
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *conn)
        .await
        .map_err(|error| failure(error.into()))?;
    if !exists {
        return Ok(Schema::Behind(None));
    }
    let actual = store::load_schema_version(conn).await.map_err(failure)?;
    let expected = store::expected_schema_version();
    Ok(match actual.cmp(&expected) {
        std::cmp::Ordering::Less => Schema::Behind(Some(actual)),
        std::cmp::Ordering::Equal => Schema::Current,
        std::cmp::Ordering::Greater => Schema::Ahead(actual),
    })
}

/// Brings the schema up to date; says from where.
pub(super) async fn migrate(conn: &mut PgConnection) -> Result<Schema, Failure> {
    let before = schema(conn).await?;
    if let Schema::Behind(_) = before {
        store::migrator().run(&mut *conn).await.map_err(|error| {
            Failure::new("the database's schema could not be brought up to date").because(error).help(
                "a migration that failed was undone; the database's user must be allowed to create tables in it",
            )
        })?;
    }
    Ok(before)
}

/// Refuses to serve on a schema that this binary cannot work with.
pub(super) async fn require_current(conn: &mut PgConnection) -> Result<(), Failure> {
    let expected = store::expected_schema_version();
    match schema(conn).await? {
        Schema::Current => Ok(()),
        Schema::Ahead(actual) => {
            tracing::warn!(
                actual,
                expected,
                "the database's schema is of a newer version of this server"
            );
            Ok(())
        }
        Schema::Behind(actual) => {
            let actual = actual.map_or_else(|| "none yet".to_owned(), |version| format!("version {version}"));
            Err(Failure::new(format!(
                "the database's schema is {actual}, this server needs version {expected}"
            ))
            .help("run `flamingock-server migrate`, or start with `--migrate`"))
        }
    }
}

pub(super) fn pool(config: &Config, url: &DatabaseUrl) -> Result<PgPool, Failure> {
    let database = &config.database;
    app::connect(
        url.expose(),
        database.max_connections,
        database.acquire_timeout,
        database.statement_timeout,
    )
    .map_err(|error| Failure::new(format!("cannot use the database {url}")).because(error))
}
