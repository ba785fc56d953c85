//! A database for each test, on one PostgreSQL for each test program.
//!
//! With `DATABASE_URL` set, that server is used (its user must be allowed to create databases); else an embedded one is
//! started. Tests that kill the database start a [`Cluster`] of their own.

use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use flamingock_embedded_postgres::{EmbeddedPostgres, Options};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, PgPool};

use crate::files;
use crate::process::Process;

/// Enough for every server and every runner of the tests that run at the same time.
const MAX_CONNECTIONS: u32 = 400;

/// A PostgreSQL.
pub struct Cluster {
    source: Source,
    /// By all tests that have none of their own.
    shared: bool,
}

enum Source {
    Embedded(Box<Mutex<EmbeddedPostgres>>),
    /// By its URL.
    Given(String),
}

/// One database on it. Dropped with the last clone of this: all of them at once would fill a disk.
#[derive(Clone, Debug)]
pub struct Database {
    pub url: String,
    name: String,
    /// Scheme, user and password, for reaching it by another address.
    credentials: String,
    /// None on a cluster of the test's own, which goes as a whole.
    _lease: Option<Arc<Lease>>,
}

/// A database on the shared cluster, until it is dropped.
#[derive(Debug)]
struct Lease {
    name: String,
}

impl Drop for Lease {
    fn drop(&mut self) {
        // What is left when the process ends goes with its cluster; on a server of somebody else's it stays.
        let _ = sweeper().send(std::mem::take(&mut self.name));
    }
}

impl Cluster {
    /// One of this test's own, for tests that kill it; what was committed must survive that.
    pub async fn of_its_own() -> Self {
        blocking(|| Self {
            source: Source::Embedded(Box::new(Mutex::new(start(&files::unique("postgres"), &[])))),
            shared: false,
        })
        .await
    }

    /// The one that all other tests share. Never dropped: an embedded PostgreSQL ends with the process.
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self {
            source: match std::env::var("DATABASE_URL") {
                Ok(url) => Source::Given(url),
                // Nobody pulls the plug of this one.
                Err(_) => Source::Embedded(Box::new(Mutex::new(start(
                    "postgres",
                    &[("fsync", "off"), ("full_page_writes", "off")],
                )))),
            },
            shared: true,
        })
    }

    /// A database with nothing in it.
    pub async fn create(&self, template: &str) -> Database {
        let name = format!("fl_black_box_{}_{}", std::process::id(), files::unique("db"));
        let mut admin = self.connect("postgres").await;
        let statement = format!("CREATE DATABASE \"{name}\" TEMPLATE \"{template}\"");
        for _ in 0..200 {
            match sqlx::query(AssertSqlSafe(statement.clone()))
                .execute(&mut admin)
                .await
            {
                Ok(_) => return self.leased(&name),
                // A template admits one copy at a time.
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55006") => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("database {name} cannot be created: {error}"),
            }
        }
        panic!("database {name} cannot be created: {template} is in use");
    }

    /// Kills it as a crash would, and starts it again on what it left.
    pub fn kill_and_restart(&self) {
        let Source::Embedded(postgres) = &self.source else {
            panic!("only a cluster of its own may be killed");
        };
        let mut postgres = postgres.lock().unwrap_or_else(PoisonError::into_inner);
        postgres.kill();
        postgres.restart().expect("PostgreSQL recovers from a crash");
    }

    async fn connect(&self, database: &str) -> PgConnection {
        self.options(database)
            .connect()
            .await
            .expect("PostgreSQL answers")
    }

    fn options(&self, database: &str) -> PgConnectOptions {
        self.database(database).url.parse().expect("a URL of PostgreSQL")
    }

    /// Created just now.
    fn leased(&self, name: &str) -> Database {
        let lease = || {
            Arc::new(Lease {
                name: name.to_owned(),
            })
        };
        Database {
            _lease: self.shared.then(lease),
            ..self.database(name)
        }
    }

    fn database(&self, name: &str) -> Database {
        match &self.source {
            Source::Embedded(postgres) => Database {
                url: postgres.lock().unwrap_or_else(PoisonError::into_inner).url(name),
                name: name.to_owned(),
                credentials: "postgres://postgres".to_owned(),
                _lease: None,
            },
            Source::Given(url) => {
                let (base, query) = url.split_once('?').unwrap_or((url, ""));
                let authority = base.find("://").map_or(0, |at| at + 3);
                let end = base[authority..]
                    .find('/')
                    .map_or(base.len(), |at| authority + at);
                let separator = if query.is_empty() { "" } else { "?" };
                Database {
                    url: format!("{}/{name}{separator}{query}", &base[..end]),
                    name: name.to_owned(),
                    credentials: base[..end]
                        .rsplit_once('@')
                        .map_or(&base[..authority], |(left, _)| left)
                        .to_owned(),
                    _lease: None,
                }
            }
        }
    }
}

impl Database {
    /// With the server's schema.
    pub async fn migrated() -> Self {
        let template = blocking(|| {
            static TEMPLATE: OnceLock<Database> = OnceLock::new();
            TEMPLATE.get_or_init(make_template)
        })
        .await;
        Cluster::shared().create(&template.name).await
    }

    /// With nothing in it.
    pub async fn empty() -> Self {
        blocking(Cluster::shared).await.create("template0").await
    }

    /// A small pool, to look at what is there or to break it. Goes back to the server as superuser.
    pub async fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(30))
            .connect(&self.url)
            .await
            .expect("the database answers")
    }

    pub async fn execute(&self, sql: &str) {
        let options: PgConnectOptions = self.url.parse().expect("a URL of PostgreSQL");
        let mut connection = options.connect().await.expect("the database answers");
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// One number.
    pub async fn number(&self, sql: &str) -> i64 {
        let options: PgConnectOptions = self.url.parse().expect("a URL of PostgreSQL");
        let mut connection = options.connect().await.expect("the database answers");
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// A copy of it as it is now. Whoever is connected to it is thrown out.
    pub async fn copy(&self) -> Self {
        self.disconnect_all().await;
        Cluster::shared().create(&self.name).await
    }

    /// Puts another database in its place, as a fail-over does. Whoever is connected to it is thrown out.
    pub async fn replace_by(&self, other: &Self) {
        let mut admin = Cluster::shared().connect("postgres").await;
        let Self { name: place, .. } = self;
        let Self { name: new, .. } = other;
        for statement in [
            drop_statement(place),
            format!("ALTER DATABASE \"{new}\" RENAME TO \"{place}\""),
        ] {
            sqlx::query(AssertSqlSafe(statement))
                .execute(&mut admin)
                .await
                .unwrap_or_else(|error| panic!("{new} cannot take the place of {place}: {error}"));
        }
    }

    async fn disconnect_all(&self) {
        let mut admin = Cluster::shared().connect("postgres").await;
        sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
            .bind(&self.name)
            .execute(&mut admin)
            .await
            .expect("they are thrown out");
    }

    /// The same database, reached by a proxy.
    #[must_use]
    pub fn at(&self, address: &str) -> Self {
        let Self {
            name, credentials, ..
        } = self;
        let at = if credentials.ends_with('/') { "" } else { "@" };
        Self {
            url: format!("{credentials}{at}{address}/{name}?sslmode=disable"),
            ..self.clone()
        }
    }

    /// For JDBC, which knows TCP only: of a database that is reached by a proxy.
    pub fn jdbc_url(&self) -> String {
        let (_, authority) = self.credentials.split_once("://").expect("a URL of PostgreSQL");
        let (user, password) = authority.split_once(':').unwrap_or((authority, ""));
        let (_, place) = self.url.rsplit_once('@').expect("the URL of a proxied database");
        format!("jdbc:postgresql://{place}&user={user}&password={password}")
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

fn start(directory: &str, more: &[(&str, &str)]) -> EmbeddedPostgres {
    let mut options = Options::new(files::scratch().join(directory));
    options.max_connections = MAX_CONNECTIONS;
    options.extra_settings = more
        .iter()
        .chain(&[("shared_buffers", "64MB")])
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    EmbeddedPostgres::start(options).expect("an embedded PostgreSQL starts; or set DATABASE_URL")
}

/// Migrated once, by the server's own command, and copied for each test. In a runtime of its own: that of the first test
/// ends with it.
fn make_template() -> Database {
    let database = std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(Cluster::shared().create("template0"))
    })
    .join()
    .expect("the template is created");
    let mut command = Command::new(files::server_program());
    let mut migrate = Process::start(
        "migrate",
        command.arg("migrate").env("DATABASE_URL", &database.url),
    );
    let status = loop {
        match migrate.ended() {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    assert!(
        status.success(),
        "the migrations do not apply:\n{}",
        migrate.log()
    );
    database
}

/// Drops what nobody needs any more, beside the tests.
fn sweeper() -> &'static mpsc::Sender<String> {
    static SWEEPER: OnceLock<mpsc::Sender<String>> = OnceLock::new();
    SWEEPER.get_or_init(|| {
        let (sender, names) = mpsc::channel();
        std::thread::spawn(move || sweep(&names));
        sender
    })
}

fn sweep(names: &mpsc::Receiver<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    while let Ok(name) = names.recv() {
        runtime.block_on(async {
            // What cannot be dropped stays: it is no fault of the test that is long over.
            if let Ok(mut admin) = Cluster::shared().options("postgres").connect().await {
                let _ = sqlx::query(AssertSqlSafe(drop_statement(&name)))
                    .execute(&mut admin)
                    .await;
            }
        });
    }
}

/// Whoever is still connected, such as a server that is being killed, is thrown out.
fn drop_statement(name: &str) -> String {
    format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)")
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .expect("it does not panic")
}
