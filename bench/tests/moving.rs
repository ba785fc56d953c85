//! The baseline of `docs/moving.md` on databases that refinery has brought up. Here, because the benchmarks have refinery
//! anyway, and nothing else should wait for it; the other tools' are in `client-sdk/tests/it/moving.rs`.

use std::str::FromStr as _;

use flamingock::testing::Coordinator;
use flamingock::{PostgresTarget, Report, Stage, StartError};
use flamingock_tests::Database;
use refinery::{Migration, Runner};

const SCHEMA: &str =
    "CREATE TABLE shops (name text PRIMARY KEY); CREATE TABLE orders (id bigint PRIMARY KEY);";

include!("../../client-sdk/tests/it/moving/refinery.rs");
include!("../../client-sdk/tests/it/moving/baseline.rs");

/// By refinery, up to this version.
async fn brought_up_to(database: &Database, version: u32) {
    let config = tokio_postgres::Config::from_str(&database.url).expect("the URL is good");
    let (mut client, connection) = config
        .connect(tokio_postgres::NoTls)
        .await
        .expect("it can be reached");
    let connection = tokio::spawn(connection);
    let migrations: Vec<_> = [
        (41, "V41__shops", "CREATE TABLE shops (name text PRIMARY KEY)"),
        (42, "V42__orders", "CREATE TABLE orders (id bigint PRIMARY KEY)"),
    ]
    .into_iter()
    .filter(|(number, ..)| *number <= version)
    .map(|(_, name, sql)| Migration::unapplied(name, sql).expect("a name of refinery's"))
    .collect();
    Runner::new(&migrations)
        .run_async(&mut client)
        .await
        .expect("refinery migrates");
    drop(client);
    connection.await.expect("it ends").expect("it ends well");
}

async fn start(database: &Database) -> Result<Report, StartError> {
    let coordinator = Coordinator::start().await.expect("a free port");
    let app = coordinator
        .builder()
        .target(PostgresTarget::new("shop-db", database.pool().await))
        .stage(Stage::new("schema").change(baseline));
    app.build().expect("a sound pipeline").run().await
}

async fn tables(database: &Database) -> i64 {
    database
        .number("SELECT count(*) FROM pg_tables WHERE tablename IN ('shops', 'orders')")
        .await
}

#[tokio::test]
async fn a_database_that_is_up_to_date_is_taken_over_and_refinery_still_finds_it_so() {
    let database = Database::empty().await;
    brought_up_to(&database, 42).await;
    start(&database).await.expect("it starts");
    brought_up_to(&database, 42).await;
    assert_eq!(tables(&database).await, 2);
}

#[tokio::test]
async fn an_empty_database_is_created() {
    let database = Database::empty().await;
    start(&database).await.expect("it starts");
    assert_eq!(tables(&database).await, 2);
}

#[tokio::test]
async fn a_database_that_lags_behind_is_refused_and_left_alone() {
    let database = Database::empty().await;
    brought_up_to(&database, 41).await;
    let report = start(&database)
        .await
        .expect_err("it is refused")
        .report()
        .to_string();
    assert!(report.contains("the database is at 41, not at 42"), "{report}");
    assert_eq!(tables(&database).await, 1);
}
