//! What the benchmarks stand on: a real PostgreSQL, the server's release binary on it, and a tenant.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use flamingock_embedded_postgres::{EmbeddedPostgres, Options};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::process::{Child, Command};

use crate::http::{Connection, Runner};

const TOKEN_VARIABLE: &str = "BENCH_RUNNER_TOKEN";
const ADMINISTRATOR_VARIABLE: &str = "BENCH_ADMINISTRATOR_TOKEN";

pub struct Stand {
    pub address: String,
    pub database_url: String,
    pub server: Child,
    token: String,
    administrator: String,
    directory: PathBuf,
    _postgres: Option<EmbeddedPostgres>,
}

impl Stand {
    /// Starts everything; `binary` is the server's.
    pub async fn start(binary: &Path, data: &Path) -> Result<Self> {
        if !binary.exists() {
            bail!(
                "{} is not there: build it with `cargo build --release --workspace --bins`",
                binary.display()
            );
        }
        std::fs::create_dir_all(data).with_context(|| format!("creating {}", data.display()))?;
        let name = format!("bench_{}", std::process::id());
        let (postgres, database_url) = if let Ok(url) = std::env::var("DATABASE_URL") {
            (None, url)
        } else {
            let postgres = EmbeddedPostgres::start(Options::new(data.join("postgres")))?;
            postgres.create_database(&name)?;
            let url = postgres.url(&name);
            (Some(postgres), url)
        };
        let token = new_token(binary).await?;
        let administrator = new_token(binary).await?;
        let bootstrap = data.join("bootstrap.toml");
        std::fs::write(&bootstrap, bootstrap_file())?;
        let ready = data.join("ready.json");
        let _ = std::fs::remove_file(&ready);
        let mut server = Command::new(binary)
            .args(["serve", "--migrate", "--ready-file"])
            .arg(&ready)
            .env("DATABASE_URL", &database_url)
            .env("FLAMINGOCK_LISTEN", "127.0.0.1:0")
            .env("FLAMINGOCK_BOOTSTRAP", &bootstrap)
            // Slow statements are expected, and their log would be longer than the table.
            .env("FLAMINGOCK_LOG_FILTER", "error")
            .env(TOKEN_VARIABLE, &token)
            .env(ADMINISTRATOR_VARIABLE, &administrator)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting the server")?;
        let url = wait_for(&ready, &mut server).await?;
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Ok(Self {
            address,
            database_url,
            server,
            token,
            administrator,
            directory: data.to_owned(),
            _postgres: postgres,
        })
    }

    /// The API token of runners.
    pub fn runner_token(&self) -> &str {
        &self.token
    }

    /// The request for a session.
    pub fn exchange(&self, environment: &str, service: &str, digest: Option<&str>) -> Vec<u8> {
        let body = serde_json::json!({
            "apiToken": self.token, "serviceName": service, "environmentName": environment, "digest": digest
        })
        .to_string();
        format!(
            "POST /api/v1/auth/exchange-token HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .into_bytes()
    }

    /// A session of a service of its own; services register themselves.
    pub async fn runner(&self, service: &str) -> Result<Runner> {
        self.runner_in("production", service).await
    }

    pub async fn runner_in(&self, environment: &str, service: &str) -> Result<Runner> {
        let answer = Connection::open(&self.address)
            .await?
            .send(&self.exchange(environment, service, None))
            .await?
            .expect(200)?
            .json()?;
        Ok(Runner {
            host: self.address.clone(),
            jwt: answer["jwt"].as_str().context("jwt")?.to_owned(),
            id: format!("{service}@bench#1"),
            environment_id: answer["environmentId"].as_i64().context("environmentId")?,
            service_id: answer["serviceId"].as_i64().context("serviceId")?,
        })
    }

    /// A request of the organisation's administrator.
    pub fn administrator_request(&self, path: &str) -> Vec<u8> {
        format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-length: 0\r\n\r\n",
            self.address, self.administrator
        )
        .into_bytes()
    }

    pub async fn pool(&self, connections: u32) -> Result<PgPool> {
        Ok(PgPoolOptions::new()
            .max_connections(connections)
            .min_connections(connections)
            .acquire_timeout(Duration::from_secs(20))
            .connect(&self.database_url)
            .await?)
    }

    /// Resident memory of the server in MB.
    pub fn server_rss_mb(&self) -> Result<f64> {
        self.server_memory_mb("VmRSS:")
    }

    /// From here on the peak is measured anew.
    pub fn forget_server_peak(&self) -> Result<()> {
        let pid = self.server.id().context("the server has ended")?;
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("resetting the peak")
    }

    /// The most that it had since then.
    pub fn server_peak_mb(&self) -> Result<f64> {
        self.server_memory_mb("VmHWM:")
    }

    fn server_memory_mb(&self, what: &'static str) -> Result<f64> {
        let pid = self.server.id().context("the server has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find(|line| line.starts_with(what)).context(what)?;
        let kb: f64 = line.split_whitespace().nth(1).context(what)?.parse()?;
        Ok(kb / 1024.0)
    }

    pub async fn stop(mut self) -> Result<()> {
        self.server.kill().await?;
        let _ = std::fs::remove_dir_all(&self.directory);
        Ok(())
    }
}

async fn new_token(binary: &Path) -> Result<String> {
    let output = Command::new(binary).arg("generate-token").output().await?;
    let token = String::from_utf8(output.stdout)?.trim().to_owned();
    if token.is_empty() {
        bail!("no token: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(token)
}

fn bootstrap_file() -> String {
    format!(
        r#"[[organisations]]
name = "bench"

[[organisations.tokens]]
name = "administrator"
role = "admin"
value_env = "{ADMINISTRATOR_VARIABLE}"

[[organisations.projects]]
name = "bench"
self_register_services = true

[[organisations.projects.environments]]
name = "production"

[[organisations.projects.environments]]
name = "staging"

[[organisations.projects.tokens]]
name = "runner"
role = "runner"
value_env = "{TOKEN_VARIABLE}"
"#
    )
}

async fn wait_for(ready: &Path, server: &mut Child) -> Result<String> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_mins(1) {
        if let Ok(text) = std::fs::read_to_string(ready)
            && let Ok(json) = serde_json::from_str::<serde_json::Value>(&text)
        {
            return Ok(json["url"].as_str().context("url")?.to_owned());
        }
        if let Some(status) = server.try_wait()? {
            bail!("the server ended: {status}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the server did not come up within a minute")
}
