//! A replica of the server: the real program, as a process.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::callers::{Person, Runner};
use crate::files;
use crate::postgres::Database;
use crate::process::Process;
use crate::tenants::{self, Tokens, tokens};
use crate::waiting::eventually;

/// The settings of every replica, unless a test says otherwise.
const SETTINGS: &[(&str, &str)] = &[
    ("FLAMINGOCK_DATABASE_MAX_CONNECTIONS", "8"),
    ("FLAMINGOCK_LOCK_TAKEOVER_GRACE", "300ms"),
    ("FLAMINGOCK_LOG_FILTER", "debug,sqlx=warn,hyper=warn"),
];

/// One replica. Killed when dropped; its log is shown when the test fails.
pub struct TestServer {
    /// `127.0.0.1:PORT`; stays the same over restarts.
    pub address: String,
    // Before the database, so that it ends before.
    process: Mutex<Process>,
    pub database: Database,
    settings: Vec<(String, String)>,
    tokens: Tokens,
}

impl TestServer {
    /// On a database of its own.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// On a database of its own, with other settings.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::on(Database::migrated().await, settings).await
    }

    /// On this database, which need not have the schema.
    pub async fn on(database: Database, settings: &[(&str, &str)]) -> Self {
        Self::with_tokens(database, tokens().clone(), settings).await
    }

    /// As [`on`](Self::on), with credentials of its own.
    pub async fn with_tokens(database: Database, tokens: Tokens, settings: &[(&str, &str)]) -> Self {
        let settings: Vec<(String, String)> = SETTINGS
            .iter()
            .filter(|(name, _)| settings.iter().all(|(other, _)| other != name))
            .chain(settings)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let (process, address) = launch(&database, &tokens, &settings, "127.0.0.1:0").await;
        Self {
            address,
            database,
            settings,
            tokens,
            process: Mutex::new(process),
        }
    }

    /// Another replica on the same database, with the same settings.
    pub async fn replica(&self) -> Self {
        self.replica_with_tokens(self.tokens.clone()).await
    }

    /// Another replica, whose bootstrap file has other credentials.
    pub async fn replica_with_tokens(&self, tokens: Tokens) -> Self {
        let settings: Vec<(&str, &str)> = self
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        Self::with_tokens(self.database.clone(), tokens, &settings).await
    }

    /// Kills it, as a crash of its machine would.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// Asks it to stop and waits until it has. True if it ended in order.
    pub async fn stop(&self) -> bool {
        let pid = self.process().pid();
        crate::process::terminate(pid);
        eventually("the server ends", async || self.process().ended())
            .await
            .success()
    }

    /// Starts it again, at the same address.
    pub async fn restart(&self) {
        let (process, _) = launch(&self.database, &self.tokens, &self.settings, &self.address).await;
        *self.process() = process;
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn log(&self) -> String {
        self.process().log()
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process of a service of acme, in production.
    pub async fn runner(&self, service: &str) -> Runner {
        Runner::open(&self.address, &self.tokens.runner, "production", service).await
    }

    /// A process of a service of globex, in production.
    pub async fn other_tenants_runner(&self, service: &str) -> Runner {
        Runner::open(&self.address, &self.tokens.other_runner, "production", service).await
    }

    /// Somebody of acme who decides.
    pub fn operator(&self) -> Person {
        self.person(&self.tokens.operator)
    }

    /// A new token of acme/payments that may do everything there: it runs changes, too.
    pub async fn project_admin(&self) -> String {
        let token = tenants::generate();
        let insert = format!(
            "INSERT INTO api_tokens (organisation_id, project_id, name, role, sha256)
             SELECT organisation_id, id, 'project-admin', 'admin', sha256('{token}')
               FROM projects WHERE name = 'payments'"
        );
        self.database.execute(&insert).await;
        token
    }

    /// Somebody who manages acme.
    pub fn admin(&self) -> Person {
        self.person(&self.tokens.admin)
    }

    /// Somebody who manages the server.
    pub fn root(&self) -> Person {
        self.person(&self.tokens.root)
    }

    pub fn person(&self, token: &str) -> Person {
        Person {
            address: self.address.clone(),
            token: token.to_owned(),
        }
    }

    /// The value of a metric, by its line up to the value.
    pub async fn metric(&self, line: &str) -> f64 {
        let text = crate::http::Call::get("/metrics")
            .send(&self.address)
            .await
            .expect(200)
            .text();
        text.lines()
            .find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
            .unwrap_or_default()
    }
}

async fn launch(
    database: &Database,
    tokens: &Tokens,
    settings: &[(String, String)],
    listen: &str,
) -> (Process, String) {
    let ready: PathBuf = files::scratch().join(format!("{}.json", files::unique("ready")));
    let mut command = Command::new(files::server_program());
    command
        .args(["serve", "--migrate", "--ready-file"])
        .arg(&ready)
        .env("DATABASE_URL", &database.url)
        .env("FLAMINGOCK_LISTEN", listen)
        .env("FLAMINGOCK_BOOTSTRAP", tenants::bootstrap_file(tokens));
    for (name, value) in settings {
        command.env(name, value);
    }
    let process = Mutex::new(Process::start("server", &mut command));
    let url = eventually("the server serves", async || {
        let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(
            process.ended().is_none(),
            "the server ended at once:\n{}",
            process.log()
        );
        let text = std::fs::read_to_string(&ready).ok()?;
        let content: Value = serde_json::from_str(&text).ok()?;
        content["url"].as_str().map(str::to_owned)
    })
    .await;
    let address = url.trim_start_matches("http://").to_owned();
    (
        process.into_inner().unwrap_or_else(PoisonError::into_inner),
        address,
    )
}
