//! A database for each test, on one PostgreSQL for each test program.
//!
//! With DATABASE_URL set, that server is used (its user must be allowed to create databases); else an embedded one is
//! started in a directory of its own under `target/`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flamingock_embedded_postgres::{EmbeddedPostgres, Options};
use flamingock_server::store;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, PgPool};

/// How long databases of a test program that was stopped are left on a server of somebody else, to be looked at.
const LEFT_FOR: u64 = 2 * 60 * 60;

// Not every test program uses all of this.
const _: fn() = || {
    let _ = database;
    let _ = database_url;
    let _ = empty_database_url;
    let _ = connect;
};

/// A pool on a database of its own, with all migrations.
pub async fn database() -> PgPool {
    connect(&database_url().await).await
}

/// The URL of a database of its own, with all migrations.
pub async fn database_url() -> String {
    create(true).await
}

/// The URL of a database of its own, with nothing in it.
pub async fn empty_database_url() -> String {
    create(false).await
}

pub async fn connect(url: &str) -> PgPool {
    PgPoolOptions::new()
        .max_connections(8)
        .acquire_timeout(Duration::from_secs(30))
        .connect(url)
        .await
        .expect("the database was just created")
}

struct Server {
    postgres: Option<EmbeddedPostgres>,
    url: String,
    /// Starts the names of this program's databases.
    prefix: String,
    next: AtomicU32,
}

/// Never dropped: an embedded PostgreSQL ends with the process.
static SERVER: OnceLock<Server> = OnceLock::new();

async fn create(migrated: bool) -> String {
    let server = tokio::task::spawn_blocking(|| SERVER.get_or_init(Server::start))
        .await
        .expect("it starts");
    let name = format!(
        "{}_{}",
        server.prefix,
        server.next.fetch_add(1, Ordering::Relaxed)
    );
    let template = if migrated {
        format!("{}_template", server.prefix)
    } else {
        "template0".to_owned()
    };
    let mut admin = server.admin().await;
    create_from(&mut admin, &name, &template).await;
    server.url_of(&name)
}

/// A template admits one copy at a time when somebody still looks at it.
async fn create_from(admin: &mut PgConnection, name: &str, template: &str) {
    let statement = format!("CREATE DATABASE \"{name}\" TEMPLATE \"{template}\"");
    for _ in 0..200 {
        match sqlx::query(AssertSqlSafe(statement.clone()))
            .execute(&mut *admin)
            .await
        {
            Ok(_) => return,
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55006") => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("cannot create database {name}: {error}"),
        }
    }
    panic!("cannot create database {name}: its template is in use");
}

impl Server {
    fn start() -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        let (postgres, url) = if let Ok(url) = std::env::var("DATABASE_URL") {
            (None, url)
        } else {
            let postgres = start_embedded();
            let url = postgres.url("postgres");
            (Some(postgres), url)
        };
        let server = Self {
            postgres,
            url,
            prefix: format!("fl_test_{now}_{}", std::process::id()),
            next: AtomicU32::new(0),
        };
        // A runtime of its own: that of the first test ends with it.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut admin = server.admin().await;
            if server.postgres.is_none() {
                remove_old(&mut admin, now).await;
            }
            let template = format!("{}_template", server.prefix);
            create_from(&mut admin, &template, "template0").await;
            let pool = connect(&server.url_of(&template)).await;
            store::migrator().run(&pool).await.expect("the migrations apply");
            pool.close().await;
        });
        server
    }

    async fn admin(&self) -> PgConnection {
        let options: PgConnectOptions = self.url.parse().expect("DATABASE_URL is a URL");
        options.connect().await.expect("the server answers")
    }

    fn url_of(&self, database: &str) -> String {
        if let Some(postgres) = &self.postgres {
            return postgres.url(database);
        }
        let (base, query) = self
            .url
            .split_once('?')
            .map_or((self.url.as_str(), ""), |(base, query)| (base, query));
        let authority = base.find("://").map_or(0, |at| at + 3);
        let end = base[authority..]
            .find('/')
            .map_or(base.len(), |at| authority + at);
        let question = if query.is_empty() { "" } else { "?" };
        format!("{}/{database}{question}{query}", &base[..end])
    }
}

fn start_embedded() -> EmbeddedPostgres {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgres");
    remove_stale(&home);
    let mut options = Options::new(home.join(std::process::id().to_string()));
    options.max_connections = 200;
    // Tests of this crate do not pull the plug.
    options.extra_settings = [
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("shared_buffers", "64MB"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    EmbeddedPostgres::start(options).expect("an embedded PostgreSQL starts; or set DATABASE_URL")
}

/// Removes the clusters of test programs that have ended.
fn remove_stale(home: &Path) {
    let Ok(entries) = std::fs::read_dir(home) else {
        return;
    };
    for entry in entries.flatten() {
        let path: PathBuf = entry.path();
        let pid = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.parse::<u32>().ok());
        if let Some(pid) = pid
            && !is_alive(pid)
        {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

fn is_alive(pid: u32) -> bool {
    std::process::Command::new("kill")
        .args(["-0", &pid.to_string()])
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

async fn remove_old(admin: &mut PgConnection, now: u64) {
    let names: Vec<String> =
        sqlx::query_scalar("SELECT datname::text FROM pg_database WHERE datname LIKE 'fl\\_test\\_%'")
            .fetch_all(&mut *admin)
            .await
            .expect("the server lists its databases");
    for name in names {
        let made = name.split('_').nth(2).and_then(|text| text.parse::<u64>().ok());
        if made.is_some_and(|made| made + LEFT_FOR < now) {
            let _ = sqlx::query(AssertSqlSafe(format!("DROP DATABASE IF EXISTS \"{name}\"")))
                .execute(&mut *admin)
                .await;
        }
    }
}
