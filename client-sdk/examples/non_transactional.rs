//! Any client can be a target system. Here it is a directory; a broker or an HTTP API is no different.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT` and `FLAMINGOCK_SERVICE`:
//!
//! ```text
//! cargo run -p flamingock --example non_transactional
//! ```

use std::{io, path::PathBuf, time::Duration};

use flamingock::{Cancellation, ChangeError, Flamingock, Stage, Target, TargetClient, change};
use tokio::fs;

#[derive(Clone)]
struct Directory(PathBuf);

#[change(id = "create-inbox", order = "0001", author = "mara", target = "files", rollback = remove_inbox)]
async fn create_inbox(files: TargetClient<Directory>) -> io::Result<()> {
    fs::create_dir_all(files.0.join("inbox")).await
}

async fn remove_inbox(files: TargetClient<Directory>) -> io::Result<()> {
    fs::remove_dir(files.0.join("inbox")).await
}

/// A long one: it looks for the signal to stop, and can be repeated from any point.
#[change(
    id = "number-letters",
    order = "0002",
    author = "mara",
    target = "files",
    recovery = "always_retry"
)]
async fn number_letters(files: TargetClient<Directory>, stop: Cancellation) -> Result<(), ChangeError> {
    for number in 1..=10 {
        if let Some(reason) = stop.reason() {
            return Err(reason.to_string().into());
        }
        fs::write(
            files.0.join("inbox").join(format!("letter-{number}")),
            "dear customer",
        )
        .await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let directory = Directory(std::env::temp_dir().join("flamingock-example"));

    let outcome = Flamingock::from_env()
        .target(Target::non_transactional("files", directory))
        .stage(Stage::new("files").change(create_inbox).change(number_letters))
        .build()?
        .run()
        .await;
    match outcome {
        Ok(report) => tracing::info!("{}", report.one_line()),
        // What was done before the failure, and what a person can do about it.
        Err(error) => tracing::error!("{}\n{}", error.report(), error.next_steps()),
    }
    Ok(())
}
