//! SQLite, in a file of its own for each test.

use std::path::PathBuf;
use std::time::Duration;

use flamingock::{ChangeError, ChangeStatus, SqliteTx, Stage, change};
use flamingock_api_types::issue::ResolutionKind;
use flamingock_targets_tests::{Fidelity, System, World, message};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Connection as _, SqlitePool};
use uuid::Uuid;

#[expect(dead_code, reason = "its main function")]
#[path = "../../../client-sdk/examples/sqlite.rs"]
mod example;
mod files;

struct Notes {
    _system: System,
    file: PathBuf,
    pool: SqlitePool,
}

impl Notes {
    async fn new() -> Self {
        let name = format!("notes-{}.db", Uuid::new_v4());
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let pool = Self::pool(&file).await;
        let version: String = sqlx::query_scalar("SELECT sqlite_version()")
            .fetch_one(&pool)
            .await
            .unwrap();
        Self {
            _system: System::new("SQLite", Fidelity::Real, version),
            file,
            pool,
        }
    }

    async fn pool(file: &PathBuf) -> SqlitePool {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .busy_timeout(Duration::from_secs(10));
        SqlitePoolOptions::new()
            .max_connections(3)
            .connect_with(options)
            .await
            .unwrap()
    }

    async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    async fn has(&self, table: &str) -> bool {
        let found: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_master WHERE name = $1")
            .bind(table)
            .fetch_one(&self.pool)
            .await
            .unwrap();
        found > 0
    }

    async fn marks(&self) -> Vec<String> {
        if !self.has("flamingock_marks").await {
            return Vec::new();
        }
        sqlx::query_scalar("SELECT change_id FROM flamingock_marks")
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut file = self.file.clone().into_os_string();
            file.push(suffix);
            let _ = std::fs::remove_file(file); // most of them are not there
        }
    }
}

#[tokio::test]
async fn the_example_is_applied_once() {
    let (world, notes) = (World::new().await, Notes::new().await);
    for expected in [ChangeStatus::Applied, ChangeStatus::AlreadyApplied] {
        let app = world
            .app()
            .target(example::target(notes.pool.clone()))
            .stage(example::stage());
        let report = world.start(app).await.unwrap();
        for change in ["create-notes", "notes-need-text", "write-ahead-log"] {
            assert_eq!(report.change(change).unwrap().status, expected, "{change}");
        }
    }
    assert_eq!(notes.number("SELECT count(*) FROM notes").await, 1);
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&notes.pool)
        .await
        .unwrap();
    assert_eq!(mode, "wal");
    assert_eq!(notes.marks().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_failure_in_the_middle_leaves_nothing_and_the_next_start_goes_on() {
    let (world, notes) = (World::new().await, Notes::new().await);
    let app = || {
        world
            .app()
            .target(example::target(notes.pool.clone()))
            .stage(example::stage())
    };
    // Somebody was faster, and left a note without text: the second of the four steps fails.
    for statement in ["CREATE TABLE notes_new (id INTEGER)"] {
        sqlx::query(statement).execute(&notes.pool).await.unwrap();
    }
    let error = world.start(app()).await.unwrap_err();
    let failed = error.report().change("notes-need-text").unwrap();
    assert_eq!(failed.status, ChangeStatus::RolledBack);
    assert!(message(&error, "notes-need-text").contains("already exists"));
    sqlx::query("DROP TABLE notes_new")
        .execute(&notes.pool)
        .await
        .unwrap();
    sqlx::query("INSERT INTO notes (text) VALUES (NULL)")
        .execute(&notes.pool)
        .await
        .unwrap();
    let error = world.start(app()).await.unwrap_err();
    assert!(message(&error, "notes-need-text").contains("NOT NULL"));
    assert!(!notes.has("notes_new").await, "the first step is undone");
    assert_eq!(notes.number("SELECT count(*) FROM notes").await, 2);

    sqlx::query("DELETE FROM notes WHERE text IS NULL")
        .execute(&notes.pool)
        .await
        .unwrap();
    world.start(app()).await.unwrap();
    assert_eq!(
        world.history("notes-need-text").await,
        "STARTED FAILED ROLLED_BACK STARTED FAILED ROLLED_BACK STARTED APPLIED"
    );
}

#[tokio::test]
async fn after_a_death_between_commit_and_report_the_mark_tells() {
    let (world, notes) = (World::new().await, Notes::new().await);
    let app = || {
        world
            .app()
            .target(example::target(notes.pool.clone()))
            .stage(example::stage())
    };
    world.die_before_the_report(app()).await;
    assert_eq!(world.history("create-notes").await, "STARTED");
    assert_eq!(notes.marks().await, ["create-notes"]);
    assert_eq!(notes.number("SELECT count(*) FROM notes").await, 1);

    world.start(app()).await.unwrap();
    assert_eq!(world.history("create-notes").await, "STARTED APPLIED");
    assert_eq!(notes.number("SELECT count(*) FROM notes").await, 1, "not again");
    assert_eq!(notes.marks().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_death_in_the_middle_leaves_nothing_and_nothing_locked() {
    #[change(id = "slow", order = "0001", target = "notes-db")]
    async fn slow(tx: &mut SqliteTx) -> Result<(), sqlx::Error> {
        sqlx::query("CREATE TABLE half (id INTEGER)")
            .execute(&mut **tx)
            .await?;
        std::future::pending().await
    }
    let (world, notes) = (World::new().await, Notes::new().await);
    let app = world
        .app()
        .target(example::target(notes.pool.clone()))
        .stage(Stage::new("s").change(slow));
    let app = app.build().unwrap();
    let start = tokio::spawn(async move { app.run().await.is_ok() });
    let begun = || async { (world.history("slow").await == "STARTED").then_some(()) };
    flamingock_targets_tests::eventually("the change has begun", begun).await;
    start.abort();
    let _ = start.await;
    // Waits for the write lock, and gets it.
    sqlx::query("CREATE TABLE another (id INTEGER)")
        .execute(&Notes::pool(&notes.file).await)
        .await
        .unwrap();
    assert!(!notes.has("half").await);
    assert_eq!(notes.marks().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_change_that_ends_its_transaction_waits_for_a_person() {
    #[change(id = "script", order = "0001", target = "notes-db")]
    async fn script(tx: &mut SqliteTx) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("CREATE TABLE half (id INTEGER); COMMIT")
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
    #[change(id = "script", order = "0001", target = "notes-db")]
    async fn fails(tx: &mut SqliteTx) -> Result<(), ChangeError> {
        sqlx::raw_sql("CREATE TABLE half (id INTEGER); COMMIT; BEGIN; CREATE TABLE other (id INTEGER)")
            .execute(&mut **tx)
            .await?;
        Err("and then this".into())
    }
    for stage in [Stage::new("s").change(script), Stage::new("s").change(fails)] {
        let (world, notes) = (World::new().await, Notes::new().await);
        let app = world.app().target(example::target(notes.pool.clone()));
        let error = world.start(app.stage(stage)).await.unwrap_err();
        let failed = error.report().change("script").unwrap();
        assert_eq!(failed.error.as_ref().unwrap().error_type, "TRANSACTION_ENDED");
        assert_eq!(world.history("script").await, "STARTED ROLLBACK_FAILED");
        assert!(notes.has("half").await && !notes.has("other").await);
        assert_eq!(notes.marks().await, Vec::<String>::new());
        // Its connection is as good as any.
        for _ in 0..3 {
            let mut transaction = notes.pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
            sqlx::query("CREATE TABLE IF NOT EXISTS fine (id INTEGER)")
                .execute(&mut *transaction)
                .await
                .unwrap();
            transaction.commit().await.unwrap();
        }
        world.resolve("script", ResolutionKind::Applied).await;
        let app = world.app().target(example::target(notes.pool.clone()));
        world
            .start(app.stage(Stage::new("s").change(script)))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_commit_that_sqlite_refuses_is_a_failure_and_leaves_nothing() {
    #[change(id = "deferred", order = "0001", target = "notes-db")]
    async fn deferred(tx: &mut SqliteTx) -> Result<(), sqlx::Error> {
        for statement in [
            "CREATE TABLE nodes (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES nodes DEFERRABLE INITIALLY DEFERRED)",
            "INSERT INTO nodes VALUES (1, 2)",
        ] {
            sqlx::query(statement).execute(&mut **tx).await?;
        }
        Ok(())
    }
    let (world, notes) = (World::new().await, Notes::new().await);
    let app = world.app().target(example::target(notes.pool.clone()));
    let error = world
        .start(app.stage(Stage::new("s").change(deferred)))
        .await
        .unwrap_err();
    assert!(message(&error, "deferred").contains("FOREIGN KEY"), "{error}");
    assert_eq!(world.history("deferred").await, "STARTED FAILED ROLLED_BACK");
    assert!(!notes.has("nodes").await);
}

#[tokio::test]
async fn nested_transactions_of_sqlx_and_swallowed_errors_are_a_matter_of_the_change() {
    #[change(id = "nested", order = "0001", target = "notes-db")]
    async fn nested(tx: &mut SqliteTx) -> Result<(), sqlx::Error> {
        sqlx::query("CREATE TABLE kept (id INTEGER)")
            .execute(&mut **tx)
            .await?;
        let mut inner = tx.begin().await?;
        sqlx::query("CREATE TABLE undone (id INTEGER)")
            .execute(&mut *inner)
            .await?;
        inner.rollback().await?;
        let _ = sqlx::query("INSERT INTO nowhere VALUES (1)")
            .execute(&mut **tx)
            .await;
        Ok(())
    }
    let (world, notes) = (World::new().await, Notes::new().await);
    let app = world.app().target(example::target(notes.pool.clone()));
    world
        .start(app.stage(Stage::new("s").change(nested)))
        .await
        .unwrap();
    assert!(notes.has("kept").await && !notes.has("undone").await);
    assert_eq!(world.history("nested").await, "STARTED APPLIED");
}
