//! The baseline of `docs/moving.md`, on databases that sqlx's own migrator has brought up.

use flamingock::{ChangeError, ChangeStatus, PgTx, PostgresTarget, Report, Stage, StartError, change};
use sqlx::{
    AssertSqlSafe, PgPool, Row, SqlSafeStr as _,
    migrate::{Migration, MigrationType, Migrator},
};

use crate::{postgres::Database, support::FakeServer};

// What the page shows.

/// What the old tool calls its last migration.
const LAST: &str = "42";

/// All of it is one transaction: a new database has everything or nothing.
#[change(id = "baseline", order = "0000", author = "mara", target = "shop-db")]
async fn baseline(tx: &mut PgTx) -> Result<(), ChangeError> {
    match latest(tx).await?.as_deref() {
        Some(LAST) => Ok(()),
        Some(earlier) => Err(format!(
            "the database is at {earlier}, not at {LAST}: start the last version that had the old tool first"
        )
        .into()),
        None => {
            sqlx::raw_sql(SCHEMA).execute(&mut **tx).await?;
            Ok(())
        }
    }
}

/// The old tool's last migration that is complete. `None` where it has never been.
async fn latest(tx: &mut PgTx) -> Result<Option<String>, sqlx::Error> {
    let was_here: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(OLD_TABLE)
        .fetch_one(&mut **tx)
        .await?;
    if !was_here {
        return Ok(None);
    }
    let row = sqlx::query(AssertSqlSafe(OLD_LATEST))
        .fetch_one(&mut **tx)
        .await?;
    row.try_get(0)
}

// sqlx
const OLD_TABLE: &str = "_sqlx_migrations";
const OLD_LATEST: &str = "SELECT max(version)::text FROM _sqlx_migrations WHERE success";

// Until here.

const SCHEMA: &str =
    "CREATE TABLE shops (name text PRIMARY KEY); CREATE TABLE orders (id bigint PRIMARY KEY);";

/// By sqlx, up to this version.
async fn brought_up_to(pool: &PgPool, version: i64) {
    let migrations = [
        (41, "CREATE TABLE shops (name text PRIMARY KEY)"),
        (42, "CREATE TABLE orders (id bigint PRIMARY KEY)"),
    ];
    let migrations = migrations
        .into_iter()
        .filter(|(number, _)| *number <= version)
        .map(|(number, sql)| {
            Migration::new(
                number,
                "step".into(),
                MigrationType::Simple,
                sql.into_sql_str(),
                false,
            )
        })
        .collect::<Vec<_>>();
    let migrator = Migrator {
        migrations: migrations.into(),
        ..Migrator::DEFAULT
    };
    migrator.run(pool).await.expect("sqlx migrates");
}

async fn start(database: &Database) -> Result<Report, StartError> {
    let server = FakeServer::start().await;
    let app = server
        .app()
        .target(PostgresTarget::new("shop-db", database.pool.clone()))
        .stage(Stage::new("schema").change(baseline))
        .build()
        .expect("a sound pipeline");
    app.run().await
}

#[tokio::test]
async fn a_database_that_is_up_to_date_is_taken_over_as_it_is() {
    let database = Database::new().await;
    brought_up_to(&database.pool, 42).await;
    sqlx::query("INSERT INTO shops VALUES ('corner')")
        .execute(&database.pool)
        .await
        .unwrap();
    let report = start(&database).await.expect("it starts");
    assert_eq!(report.stages[0].changes[0].status, ChangeStatus::Applied);
    assert_eq!(database.number("SELECT count(*) FROM shops").await, 1);
}

#[tokio::test]
async fn an_empty_database_is_created() {
    let database = Database::new().await;
    start(&database).await.expect("it starts");
    assert!(database.has("shops").await && database.has("orders").await);
}

#[tokio::test]
async fn a_database_that_lags_behind_is_refused_and_left_alone() {
    let database = Database::new().await;
    brought_up_to(&database.pool, 41).await;
    let error = start(&database).await.expect_err("it is refused");
    assert!(
        error
            .report()
            .to_string()
            .contains("the database is at 41, not at 42"),
        "{}",
        error.report()
    );
    assert!(database.has("shops").await && !database.has("orders").await);
}

#[test]
fn the_page_shows_what_is_tested() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/moving.md"))
        .expect("the page is in the repository");
    let tested = include_str!("moving.rs")
        .split_once("// What the page shows.")
        .and_then(|(_, rest)| rest.split_once("// Until here."))
        .expect("the marks are there")
        .0;
    let page = words(&page);
    for part in tested.split("\n\n").map(words).filter(|part| !part.is_empty()) {
        assert!(page.contains(&part), "the page lacks:\n{part}");
    }
}
