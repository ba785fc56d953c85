//! A change that takes long: it copies rows in batches, and keeps how far it is. Kill it in the middle and start it again: it
//! goes on where it was. `flamingock execution list` shows how far it is; `flamingock execution cancel` stops it.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT` and `FLAMINGOCK_SERVICE`, which
//! `flamingock-server dev` prints, and a directory for its archive in `ARCHIVE`:
//!
//! ```text
//! cargo run -p flamingock --example long_change
//! ```

use std::{env, io, path::PathBuf, time::Duration};

use flamingock::{
    Cancellation, ChangeError, Checkpoint, Flamingock, Progress, Stage, Target, TargetClient, change,
};
use serde::{Deserialize, Serialize};

/// Where the rows are copied to: a file for each batch.
#[derive(Clone)]
struct Archive(PathBuf);

impl Archive {
    /// Writing the same batch again writes the same file again, so a batch may be repeated.
    async fn write(&self, first: u64, rows: &[String]) -> io::Result<()> {
        tokio::time::sleep(Duration::from_millis(200)).await; // as if it were far away
        tokio::fs::write(self.0.join(format!("from-{first:06}.txt")), rows.join("\n")).await
    }
}

/// Where the rows are read from, in the order of their keys.
fn rows_after(key: u64) -> Vec<String> {
    (key + 1..=(key + BATCH).min(ROWS))
        .map(|key| format!("row {key}"))
        .collect()
}

const ROWS: u64 = 10_000;
const BATCH: u64 = 100;

/// A position, not the data: a name for each part, so that a later version can still read it.
#[derive(Default, Serialize, Deserialize)]
struct Cursor {
    after: u64,
}

#[change(
    id = "archive-rows",
    order = "0001",
    author = "mara",
    target = "archive",
    recovery = "always_retry"
)]
async fn archive_rows(
    archive: TargetClient<Archive>,
    checkpoint: Checkpoint,
    progress: Progress,
    cancellation: Cancellation,
) -> Result<(), ChangeError> {
    let mut cursor: Cursor = checkpoint.load()?.unwrap_or_default();
    loop {
        let rows = rows_after(cursor.after);
        if rows.is_empty() {
            return Ok(());
        }
        archive.write(cursor.after + 1, &rows).await?;
        cursor.after += rows.len() as u64;
        // What is done first, then that it is done: never the other way round.
        checkpoint.save(&cursor).await?;
        progress.report(cursor.after, ROWS, "rows");
        if let Some(reason) = cancellation.reason() {
            return Err(format!("stopped after row {}: {reason}", cursor.after).into());
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init(); // the report is logged at the end of the run
    let directory = env::var("ARCHIVE").map_err(|_| "ARCHIVE is not set: a directory")?;
    let archive = Archive(directory.into());
    tokio::fs::create_dir_all(&archive.0).await?;
    Flamingock::from_env()
        .target(Target::non_transactional("archive", archive))
        .stage(Stage::new("archive").change(archive_rows))
        .build()?
        .run()
        .await?;
    Ok(())
}
