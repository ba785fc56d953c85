//! A table, the configuration that names it, and the index that is made of both: all three or none of them.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT`, `FLAMINGOCK_SERVICE`, `SQLITE_URL`, such as
//! `sqlite://notes.db?mode=rwc`, and `CONFIG_DIRECTORY`. Kill it in the middle, and start it again:
//!
//! ```text
//! cargo run -p flamingock --features local,signal,sqlite --example saga
//! ```

use std::{env, error::Error, path::PathBuf};

use flamingock::{
    CommandError, Commands, CommandsTarget, FileError, Files, FilesTarget, Flamingock, Probed, RunEvent,
    Saga, SqliteTarget, Stage, Step, TargetClient, change, shutdown_signal,
};
use sqlx::SqlitePool;

/// What the saga builds on.
#[change(
    id = "first-config",
    order = "0001",
    author = "mara",
    target = "config",
    recovery = "always_retry",
    rollback = no_config
)]
async fn first_config(files: Files) -> Result<(), FileError> {
    files.write("shop.conf", "orders = memory\n").await
}

async fn no_config(files: Files) -> Result<(), FileError> {
    files.restore("shop.conf").await?;
    Ok(())
}

async fn create_orders(db: TargetClient<SqlitePool>) -> Result<(), sqlx::Error> {
    sqlx::query("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL)")
        .execute(&*db)
        .await?;
    Ok(())
}

async fn drop_orders(db: TargetClient<SqlitePool>) -> Result<(), sqlx::Error> {
    sqlx::query("DROP TABLE orders").execute(&*db).await?;
    Ok(())
}

/// One statement, so it is there as a whole or not at all.
async fn orders_are_there(db: TargetClient<SqlitePool>) -> Result<Probed, sqlx::Error> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'orders'")
            .fetch_optional(&*db)
            .await?;
    Ok(found.map_or(Probed::NotApplied, |_| Probed::Applied))
}

/// A file is replaced as a whole, and what was there before the first attempt is kept beside it.
async fn name_the_table(files: Files) -> Result<(), FileError> {
    files.write("shop.conf", "orders = sqlite:orders\n").await
}

async fn name_it_no_more(files: Files) -> Result<(), FileError> {
    files.restore("shop.conf").await?;
    Ok(())
}

async fn make_index(commands: TargetClient<Commands>) -> Result<(), CommandError> {
    commands.run("sh", ["-c", "sha256sum shop.conf > index"]).await?;
    Ok(())
}

async fn remove_index(commands: TargetClient<Commands>) -> Result<(), CommandError> {
    commands.run("rm", ["-f", "index"]).await?;
    Ok(())
}

pub fn orders_on_disk() -> Saga {
    Saga::new("orders-on-disk", "0002", "orders-db")
        .author("mara")
        .step(Step::new("table", "orders-db", create_orders, drop_orders).probe(orders_are_there))
        .step(Step::new("config", "config", name_the_table, name_it_no_more).idempotent())
        .step(Step::new("index", "machine", make_index, remove_index).idempotent())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().init();
    let directory = env::var("CONFIG_DIRECTORY").map_err(|_| "CONFIG_DIRECTORY is not set: a directory")?;
    let directory = PathBuf::from(directory);
    let url =
        env::var("SQLITE_URL").map_err(|_| "SQLITE_URL is not set: such as sqlite://notes.db?mode=rwc")?;
    let db = SqlitePool::connect(&url).await?;
    let app = Flamingock::from_env()
        .target(SqliteTarget::new("orders-db", db))
        .target(FilesTarget::new("config", directory.clone()))
        .target(CommandsTarget::new("machine").directory(directory))
        .stage(Stage::new("shop").change(first_config).change(orders_on_disk()))
        .on_event(|event| {
            if let RunEvent::ChangeApplied {
                change, duration_ms, ..
            } = event
            {
                tracing::info!("{change}: {duration_ms} ms");
            }
        })
        .build()?;
    app.run_until(shutdown_signal()?).await?;
    Ok(())
}
