//! A table, its rebuild and another journal mode, on SQLite.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT`, `FLAMINGOCK_SERVICE` and `SQLITE_URL`, such
//! as `sqlite://notes.db?mode=rwc`:
//!
//! ```text
//! cargo run -p flamingock --features sqlite --example sqlite
//! ```

use std::env;

use flamingock::{Flamingock, SqliteTarget, SqliteTx, Stage, TargetClient, change};
use sqlx::SqlitePool;

/// DDL is transactional here: a failure half way leaves no table.
#[change(id = "create-notes", order = "0001", author = "mara", target = "notes-db")]
async fn create_notes(tx: &mut SqliteTx) -> Result<(), sqlx::Error> {
    sqlx::query("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, done INTEGER)")
        .execute(&mut **tx)
        .await?;
    sqlx::query("INSERT INTO notes (text, done) VALUES ('buy milk', 0)")
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// `ALTER TABLE` cannot add a constraint, so the table is built anew: four steps that take effect together.
#[change(id = "notes-need-text", order = "0002", author = "mara", target = "notes-db")]
async fn notes_need_text(tx: &mut SqliteTx) -> Result<(), sqlx::Error> {
    for statement in [
        "CREATE TABLE notes_new (id INTEGER PRIMARY KEY, text TEXT NOT NULL CHECK (text <> ''), done INTEGER NOT NULL)",
        "INSERT INTO notes_new SELECT id, text, coalesce(done, 0) FROM notes",
        "DROP TABLE notes",
        "ALTER TABLE notes_new RENAME TO notes",
    ] {
        sqlx::query(statement).execute(&mut **tx).await?;
    }
    Ok(())
}

/// The journal's mode cannot be changed in a transaction. Setting it twice is as good as once.
#[change(
    id = "write-ahead-log",
    order = "0003",
    author = "lin",
    target = "notes-db",
    transactional = false,
    recovery = "always_retry",
    rollback = rollback_journal
)]
async fn write_ahead_log(pool: TargetClient<SqlitePool>) -> Result<(), sqlx::Error> {
    sqlx::query("PRAGMA journal_mode = WAL").execute(&*pool).await?;
    Ok(())
}

async fn rollback_journal(pool: TargetClient<SqlitePool>) -> Result<(), sqlx::Error> {
    sqlx::query("PRAGMA journal_mode = DELETE")
        .execute(&*pool)
        .await?;
    Ok(())
}

pub fn target(pool: SqlitePool) -> SqliteTarget {
    SqliteTarget::new("notes-db", pool)
}

pub fn stage() -> Stage {
    Stage::new("schema")
        .change(create_notes)
        .change(notes_need_text)
        .change(write_ahead_log)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let url =
        env::var("SQLITE_URL").map_err(|_| "SQLITE_URL is not set: such as sqlite://notes.db?mode=rwc")?;
    let pool = SqlitePool::connect(&url).await?;
    let app = Flamingock::from_env().target(target(pool)).stage(stage());
    app.build()?.run().await?;
    Ok(())
}
