//! The baseline of `docs/moving.md`, on databases that the old tools have brought up: sqlx here and now, refinery in `bench`,
//! which has it anyway. What Flyway and Liquibase left was kept as it was, in `moving/*.sql`.

use flamingock::{ChangeStatus, PostgresTarget, Report, Stage, StartError};
use sqlx::{
    AssertSqlSafe, PgPool, SqlSafeStr as _,
    migrate::{Migration, MigrationType, Migrator},
    postgres::PgPoolOptions,
};

use crate::{postgres::Database, support::FakeServer};

/// As `pg_dump` begins and goes on.
const SCHEMA: &str = "
    SET statement_timeout = 0;
    SET client_encoding = 'UTF8';
    SELECT pg_catalog.set_config('search_path', '', false);
    SET row_security = off;
    CREATE TABLE public.shops (name text PRIMARY KEY);
    CREATE TABLE public.orders (id bigint PRIMARY KEY);";

/// The baseline, with what each tool calls its table and its migrations.
macro_rules! baseline_of {
    ($($tool:ident: $file:literal),*) => {
        $(mod $tool {
            use super::SCHEMA;
            include!($file);
            include!("moving/baseline.rs");

            pub(super) fn stage() -> flamingock::Stage {
                flamingock::Stage::new("schema").change(baseline)
            }
        })*
    };
}

baseline_of!(from_sqlx: "moving/sqlx.rs", from_flyway: "moving/flyway.rs", from_liquibase: "moving/liquibase.rs");

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

/// A database with nothing but an old tool's table.
async fn left(table: &'static str) -> Database {
    let database = Database::new().await;
    sqlx::raw_sql(AssertSqlSafe(table))
        .execute(&database.pool)
        .await
        .expect("the tool's table");
    database
}

async fn start(database: &Database, stage: Stage) -> Result<Report, StartError> {
    start_on(database.pool.clone(), stage).await
}

async fn start_on(pool: PgPool, stage: Stage) -> Result<Report, StartError> {
    let server = FakeServer::start().await;
    let app = server
        .app()
        .target(PostgresTarget::new("shop-db", pool))
        .stage(stage)
        .build()
        .expect("a sound pipeline");
    app.run().await
}

/// It is taken over, and nothing is made.
async fn is_taken_over(database: &Database, stage: Stage) {
    let report = start(database, stage).await.expect("it starts");
    assert_eq!(report.stages[0].changes[0].status, ChangeStatus::Applied);
}

#[track_caller]
fn is_refused(ended: Result<Report, StartError>, because: &str) {
    let report = ended.expect_err("it is refused").report().to_string();
    assert!(report.contains(because), "{report}");
}

#[tokio::test]
async fn a_database_that_is_up_to_date_is_taken_over_as_it_is() {
    let database = Database::new().await;
    brought_up_to(&database.pool, 42).await;
    sqlx::query("INSERT INTO shops VALUES ('corner')")
        .execute(&database.pool)
        .await
        .unwrap();
    is_taken_over(&database, from_sqlx::stage()).await;
    assert_eq!(database.number("SELECT count(*) FROM shops").await, 1);
    // The version before, beside the new one.
    brought_up_to(&database.pool, 42).await;
}

#[tokio::test]
async fn an_empty_database_is_created() {
    for stage in [from_sqlx::stage(), from_flyway::stage(), from_liquibase::stage()] {
        let database = Database::new().await;
        start(&database, stage).await.expect("it starts");
        assert!(database.has("shops").await && database.has("orders").await);
    }
}

#[tokio::test]
async fn what_a_dump_sets_is_not_left_to_the_application() {
    let database = Database::new().await;
    let options = (*database.pool.connect_options()).clone();
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
        .unwrap();
    let settings = async || {
        let shown: (String, String) =
            sqlx::query_as("SELECT current_setting('search_path'), current_setting('row_security')")
                .fetch_one(&pool)
                .await
                .unwrap();
        shown
    };
    let before = settings().await;
    start_on(pool.clone(), from_sqlx::stage())
        .await
        .expect("it starts");
    assert_eq!(settings().await, before);
    assert!(database.has("shops").await);
}

#[tokio::test]
async fn a_database_that_lags_behind_is_refused_and_left_alone() {
    let database = Database::new().await;
    brought_up_to(&database.pool, 41).await;
    is_refused(
        start(&database, from_sqlx::stage()).await,
        "the database is at 41, not at 42",
    );
    assert!(database.has("shops").await && !database.has("orders").await);
}

#[tokio::test]
async fn what_flyway_left_is_read_as_flyway_means_it() {
    for table in [
        include_str!("moving/flyway_done.sql"),
        include_str!("moving/flyway_repaired.sql"),
        include_str!("moving/flyway_out_of_order.sql"),
    ] {
        let database = left(table).await;
        is_taken_over(&database, from_flyway::stage()).await;
        assert!(!database.has("shops").await, "nothing is made");
    }
    let behind = left(include_str!("moving/flyway_behind.sql")).await;
    is_refused(
        start(&behind, from_flyway::stage()).await,
        "the database is at 41, not at 42",
    );
}

/// By hand: undoing is not in the edition that is open.
#[tokio::test]
async fn a_migration_that_flyway_has_undone_does_not_count() {
    let database = left(include_str!("moving/flyway_done.sql")).await;
    sqlx::query(
        "INSERT INTO flyway_schema_history
         SELECT 4, version, description, 'UNDO_SQL', 'U42__orders.sql', checksum, installed_by, now(), 1, true
           FROM flyway_schema_history WHERE version = '42'",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    is_refused(
        start(&database, from_flyway::stage()).await,
        "the database is at 41, not at 42",
    );
}

#[tokio::test]
async fn what_liquibase_left_is_read_as_liquibase_means_it() {
    for table in [
        include_str!("moving/liquibase_done.sql"),
        include_str!("moving/liquibase_reran.sql"),
    ] {
        let database = left(table).await;
        is_taken_over(&database, from_liquibase::stage()).await;
        assert!(!database.has("shops").await, "nothing is made");
    }
    let behind = left(include_str!("moving/liquibase_behind.sql")).await;
    is_refused(
        start(&behind, from_liquibase::stage()).await,
        "not at liquibase/changelog.yaml::42::mara",
    );
}

/// The tool was here, and went before it did anything.
#[tokio::test]
async fn a_table_without_a_row_is_like_none() {
    for (table, stage) in [
        (include_str!("moving/flyway_done.sql"), from_flyway::stage()),
        (include_str!("moving/liquibase_done.sql"), from_liquibase::stage()),
    ] {
        let database = left(table.split_once("INSERT").expect("it has rows").0).await;
        start(&database, stage).await.expect("it starts");
        assert!(database.has("orders").await);
    }
}

#[test]
fn the_page_shows_what_is_tested() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/moving.md"))
        .expect("the page is in the repository");
    let page = words(&page);
    for tested in [
        include_str!("moving/baseline.rs"),
        include_str!("moving/sqlx.rs"),
        include_str!("moving/refinery.rs"),
        include_str!("moving/flyway.rs"),
        include_str!("moving/liquibase.rs"),
    ] {
        for part in tested
            .split("\n\n")
            .map(words)
            .filter(|part| !part.starts_with("// Shown"))
        {
            assert!(page.contains(&part), "the page lacks:\n{part}");
        }
    }
}
