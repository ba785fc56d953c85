//! Brings everything up in order, runs the application, says where to look, and takes everything down again.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::processes::Process;

const SHOP_DATABASE: &str = "flamingock_demo_shop";
const PREFERRED_ADDRESS: &str = "127.0.0.1:8080";

pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// What `flamingock-server dev` writes once it serves.
#[derive(Deserialize)]
struct Ready {
    url: String,
    docs_url: String,
    metrics_url: String,
    database_url: String,
    runner_token: String,
    operator_token: String,
    admin_token_file: PathBuf,
    environment_id: i64,
    environment_name: String,
}

pub async fn run(data: &Path, once: bool) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    std::fs::create_dir_all(data).with_context(|| format!("creating {}", data.display()))?;
    let mut running = Vec::new();
    let shown = async {
        show(data, &mut running).await?;
        if once {
            return Ok(());
        }
        say("\nEverything keeps running. Ctrl-C stops it; the data stays for the next run.");
        match running.first_mut() {
            Some((process, _)) => process.ended().await,
            None => Ok(()),
        }
    };
    let result = tokio::select! {
        result = shown => result,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    if !running.is_empty() {
        say("\nstopping …");
    }
    // The server last started first: the API has no state to lose, the server closes its database.
    for (process, _) in running.into_iter().rev() {
        process.stop().await?;
    }
    result
}

/// Starts server and API into `running`, in that order, and runs the application.
async fn show(data: &Path, running: &mut Vec<(Process, PathBuf)>) -> Result<()> {
    let programs = std::env::current_exe()?
        .parent()
        .context("this program has no folder")?
        .to_owned();
    let server = programs.join("flamingock-server");
    if !server.exists() {
        bail!("{} is not there; ./run-demo builds it", server.display());
    }
    let ready = start_server(data, &server, running).await?;
    say(&format!(
        "[2/4] feature-flag API, a process of its own, flags in {}",
        data.join("flags.json").display()
    ));
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("flag-api").arg(data.join("flags.json"));
    let (api, api_url) = Process::start_and_read_line("the feature-flag API", command).await?;
    running.push((api, PathBuf::new()));

    say(&format!("[3/4] the application's own database, {SHOP_DATABASE}"));
    let shop_url = shop_database(&ready.database_url).await?;

    say("[4/4] the application starts, with its changes\n");
    let status = Command::new(std::env::current_exe()?)
        .arg("app")
        .env("FLAMINGOCK_SERVER", &ready.url)
        .env("FLAMINGOCK_TOKEN", &ready.runner_token)
        .env("FLAMINGOCK_ENVIRONMENT", &ready.environment_name)
        .env("FLAMINGOCK_SERVICE", "shop")
        .env("DATABASE_URL", &shop_url)
        .env("FLAG_API_URL", &api_url)
        .kill_on_drop(true)
        .status()
        .await?;
    if !status.success() {
        bail!("the application did not start ({status})");
    }
    let service_id = service_id(&ready).await?;
    let environment = &ready.environment_name;
    say(&format!(
        "
API docs   {docs}
Metrics    {metrics}
Flags      {api_url}/flags

Look around with the command line, in another terminal:

  alias flamingock={flamingock}
  flamingock login --server {url} --token-file {token} -e {environment} -s shop
  flamingock status
  flamingock audit list --history

Or paste this:

  curl -s -H 'Authorization: Bearer {operator}' \\
    {url}/api/v1/admin/environment/{environment_id}/service/{service_id}/audit

Run the demo again: there is nothing left to do.",
        docs = ready.docs_url,
        metrics = ready.metrics_url,
        flamingock = quoted(&programs.join("flamingock")),
        url = ready.url,
        token = quoted(&ready.admin_token_file),
        operator = ready.operator_token,
        environment_id = ready.environment_id
    ));
    Ok(())
}

async fn start_server(data: &Path, server: &Path, running: &mut Vec<(Process, PathBuf)>) -> Result<Ready> {
    let (file, log) = (data.join("ready.json"), data.join("server.log"));
    let _ = std::fs::remove_file(&file);
    // A port that somebody else has is no reason to fail.
    let listen = match TcpListener::bind(PREFERRED_ADDRESS).await {
        Ok(_) => PREFERRED_ADDRESS,
        Err(_) => "127.0.0.1:0",
    };
    say(&format!(
        "[1/4] PostgreSQL and the coordination server (log: {})",
        log.display()
    ));
    let mut command = Command::new(server);
    command
        .arg("dev")
        .arg("--data")
        .arg(data)
        .arg("--ready-file")
        .arg(&file)
        .args(["--listen", listen]);
    let started = Instant::now();
    running.push((Process::start("the server", command, &log)?, log.clone()));
    let mut told = Duration::from_secs(5);
    loop {
        if let Ok(text) = std::fs::read_to_string(&file)
            && let Ok(ready) = serde_json::from_str::<Ready>(&text)
        {
            say(&format!(
                "      serving at {} after {:.1} s",
                ready.url,
                started.elapsed().as_secs_f64()
            ));
            return Ok(ready);
        }
        for (process, log) in running.iter_mut() {
            process.must_run(log)?;
        }
        if started.elapsed() > told {
            say(
                "      still starting: the first time, PostgreSQL sets up its data, and may have to be fetched",
            );
            told += Duration::from_secs(15);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The application's database lives in the same PostgreSQL as the server's, and is none of the server's business.
async fn shop_database(server_database: &str) -> Result<String> {
    let options: PgConnectOptions = server_database.parse()?;
    let mut connection = options.connect().await.context("connecting to PostgreSQL")?;
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(SHOP_DATABASE)
        .fetch_one(&mut connection)
        .await?;
    if !exists {
        sqlx::query("CREATE DATABASE flamingock_demo_shop")
            .execute(&mut connection)
            .await?;
    }
    Ok(options.database(SHOP_DATABASE).to_url_lossy().to_string())
}

/// The service registered itself at the application's first start.
async fn service_id(ready: &Ready) -> Result<i64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Session {
        service_id: i64,
    }
    let session: Session = reqwest::Client::new()
        .post(format!("{}/api/v1/auth/exchange-token", ready.url))
        .json(&serde_json::json!({
            "apiToken": ready.runner_token, "environmentName": ready.environment_name, "serviceName": "shop"
        }))
        .send()
        .await?
        .error_for_status()?
        .json()
        .await?;
    Ok(session.service_id)
}

/// One word for a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
