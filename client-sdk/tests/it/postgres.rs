//! The PostgreSQL target against a real PostgreSQL: crash windows, lost connections, racing runners.

use std::{
    path::PathBuf,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use flamingock::{
    Builder, ChangeError, ChangeStatus, Dep, PgTx, PostgresTarget, Report, Stage, StartError, TargetClient,
    change,
};
use flamingock_embedded_postgres::{EmbeddedPostgres, Options};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};

use crate::support::{FakeServer, IMPATIENT, Kind, Reply};

mod proxy;

use proxy::{Cut, Proxy};

static POSTGRES: LazyLock<EmbeddedPostgres> = LazyLock::new(|| {
    // Data are of one major version: what `PG_BIN` names has its own.
    let chosen = std::env::var("PG_BIN").unwrap_or_default().replace('/', "-");
    let directory = format!("sdk-postgres{chosen}");
    let mut options = Options::new(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(directory));
    options.max_connections = 200;
    EmbeddedPostgres::start(options).expect("a PostgreSQL for the tests")
});

/// A database of its own for one test.
pub(crate) struct Database {
    name: String,
    pub(crate) pool: PgPool,
}

impl Database {
    pub(crate) async fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "t{}_{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let created = name.clone();
        tokio::task::spawn_blocking(move || POSTGRES.create_database(&created))
            .await
            .unwrap()
            .unwrap();
        let pool = pool(&POSTGRES.url(&name)).await;
        Self { name, pool }
    }

    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    pub(crate) async fn has(&self, table: &str) -> bool {
        let found: Option<String> = sqlx::query_scalar("SELECT to_regclass($1)::text")
            .bind(table)
            .fetch_one(&self.pool)
            .await
            .unwrap();
        found.is_some()
    }

    pub(crate) async fn marks(&self) -> Vec<String> {
        if !self.has("flamingock_marks").await {
            return Vec::new();
        }
        sqlx::query_scalar("SELECT change_id FROM flamingock_marks ORDER BY change_id")
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // All of them at once, and those of every earlier run, would fill a disk.
        let statement = format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name);
        let _ = POSTGRES.execute("postgres", &statement);
    }
}

async fn pool(url: &str) -> PgPool {
    PgPoolOptions::new()
        .max_connections(3)
        .acquire_timeout(Duration::from_secs(5))
        .connect(url)
        .await
        .unwrap()
}

fn app(server: &FakeServer, pool: &PgPool) -> Builder {
    server.app().target(PostgresTarget::new("db", pool.clone()))
}

#[change(id = "create-orders", order = "0001", author = "mara", target = "db")]
async fn create_orders(tx: &mut PgTx) -> Result<(), sqlx::Error> {
    sqlx::query("CREATE TABLE IF NOT EXISTS orders (id bigint)")
        .execute(&mut **tx)
        .await?;
    sqlx::query("INSERT INTO orders VALUES (1)")
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn run(server: &FakeServer, pool: &PgPool) -> Result<Report, StartError> {
    app(server, pool)
        .stage(Stage::new("schema").change(create_orders))
        .build()
        .unwrap()
        .run()
        .await
}

fn status(report: &Report) -> ChangeStatus {
    report.change("create-orders").unwrap().status
}

#[tokio::test]
async fn a_change_and_its_mark_are_committed_together_and_the_mark_is_cleared() {
    let (server, database) = (FakeServer::start().await, Database::new().await);
    run(&server, &database.pool).await.unwrap();
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 1);
    assert!(database.has("flamingock_marks").await);
    assert_eq!(database.marks().await, Vec::<String>::new());
    assert_eq!(
        server.calls_of(&Kind::Audit("APPLIED".into()))[0].body["txStrategy"],
        "TX_SEPARATE_WITH_MARKER"
    );
}

#[tokio::test]
async fn nothing_is_created_where_nothing_has_to_run() {
    let (server, database) = (FakeServer::start().await, Database::new().await);
    server.set_applied(&["create-orders"]);
    run(&server, &database.pool).await.unwrap();
    assert!(!database.has("flamingock_marks").await);
}

#[tokio::test]
async fn after_a_crash_before_the_result_the_mark_tells() {
    let (server, database) = (FakeServer::start().await, Database::new().await);
    // As good as dead: what it says does not arrive any more.
    server.next(Kind::Audit("APPLIED".into()), vec![Reply::Hang; 100]);
    server.always(Kind::Extend, Reply::Hang);
    let short = app(&server, &database.pool)
        .lease(Duration::from_secs(1))
        .request_timeout(IMPATIENT);
    short
        .stage(Stage::new("schema").change(create_orders))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 1);
    assert_eq!(database.marks().await, ["create-orders"]);

    let server = FakeServer::start().await;
    server.next(
        Kind::Plan,
        [Reply::Json(
            201,
            json!({"action": "CONTINUE", "synchronizedMarks": true, "pipelineResult": {"stages": []}}),
        )],
    );
    let report = run(&server, &database.pool).await.unwrap();
    let stage = &server.calls_of(&Kind::Plan)[0].body["clientSubmission"]["blocks"][0]["stages"][0];
    assert_eq!(stage["changes"][0]["ongoingStatus"], "APPLIED");
    assert_eq!(status(&report), ChangeStatus::AlreadyApplied);
    assert_eq!(database.marks().await, Vec::<String>::new());
}

#[tokio::test]
async fn dropped_in_the_middle_it_leaves_nothing() {
    #[change(id = "slow", order = "0001", target = "db")]
    async fn slow(tx: &mut PgTx) -> Result<(), sqlx::Error> {
        sqlx::query("CREATE TABLE half (id bigint)")
            .execute(&mut **tx)
            .await?;
        sqlx::query("SELECT pg_sleep(10)").execute(&mut **tx).await?;
        Ok(())
    }
    let (server, database) = (FakeServer::start().await, Database::new().await);
    let app = app(&server, &database.pool)
        .stage(Stage::new("schema").change(slow))
        .build()
        .unwrap();
    tokio::time::timeout(Duration::from_millis(800), app.run())
        .await
        .unwrap_err();
    assert_eq!(server.audit(), ["slow STARTED"]);
    assert!(!database.has("half").await);
    assert_eq!(database.marks().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_failure_or_a_panic_leaves_nothing() {
    #[change(id = "fails", order = "0001", target = "db")]
    async fn fails(tx: &mut PgTx, panics: Dep<bool>) -> Result<(), ChangeError> {
        sqlx::query("CREATE TABLE half (id bigint)")
            .execute(&mut **tx)
            .await?;
        assert!(!*panics, "as told");
        sqlx::query("INSERT INTO half VALUES ('not a number')")
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
    for panics in [false, true] {
        let (server, database) = (FakeServer::start().await, Database::new().await);
        let app = app(&server, &database.pool)
            .dependency(panics)
            .stage(Stage::new("schema").change(fails));
        let error = app.build().unwrap().run().await.unwrap_err();
        assert_eq!(
            error.report().change("fails").unwrap().status,
            ChangeStatus::RolledBack
        );
        assert_eq!(
            server.audit(),
            ["fails STARTED", "fails FAILED", "fails ROLLED_BACK"]
        );
        assert!(!database.has("half").await);
        assert_eq!(database.marks().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_error_that_was_swallowed_does_not_count_as_applied() {
    #[change(id = "careless", order = "0001", target = "db")]
    async fn careless(tx: &mut PgTx) -> Result<(), sqlx::Error> {
        sqlx::query("CREATE TABLE half (id bigint)")
            .execute(&mut **tx)
            .await?;
        let _ = sqlx::query("SELECT 1 / 0").execute(&mut **tx).await;
        Ok(())
    }
    let (server, database) = (FakeServer::start().await, Database::new().await);
    let app = app(&server, &database.pool)
        .stage(Stage::new("schema").change(careless))
        .build()
        .unwrap();
    let error = app.run().await.unwrap_err();
    assert_eq!(
        error.report().change("careless").unwrap().status,
        ChangeStatus::RolledBack
    );
    assert!(!database.has("half").await);
}

#[tokio::test]
async fn what_the_database_says_is_reported_in_full_and_no_line_of_its_own_source() {
    #[derive(Debug, thiserror::Error)]
    #[error("order {0} was not booked")]
    struct NotBooked(i64, #[source] sqlx::Error);

    #[change(id = "book", order = "0001", target = "db")]
    async fn book(tx: &mut PgTx) -> Result<(), NotBooked> {
        for statement in [
            "CREATE TABLE bookings (id bigint PRIMARY KEY)",
            "INSERT INTO bookings VALUES (7)",
            "INSERT INTO bookings VALUES (7)",
        ] {
            sqlx::query(statement)
                .execute(&mut **tx)
                .await
                .map_err(|error| NotBooked(7, error))?;
        }
        Ok(())
    }
    let (server, database) = (FakeServer::start().await, Database::new().await);
    let app = app(&server, &database.pool)
        .stage(Stage::new("schema").change(book))
        .build()
        .unwrap();
    let said = "duplicate key value violates unique constraint \"bookings_pkey\" (SQLSTATE 23505); \
                detail: Key (id)=(7) already exists.";
    let error = app.run().await.unwrap_err();
    let change = error.report().change("book").unwrap();
    assert_eq!(
        change.error.as_ref().unwrap().message,
        format!("order 7 was not booked: {said}")
    );
    let recorded = &server.calls_of(&Kind::Audit("FAILED".into()))[0].body["errorTrace"];
    let recorded: serde_json::Value = serde_json::from_str(recorded.as_str().unwrap()).unwrap();
    assert_eq!(recorded["message"], "order 7 was not booked");
    assert_eq!(recorded["rootCause"]["message"], said);
}

#[tokio::test]
async fn a_row_that_fails_is_not_told_to_the_audit() {
    #[change(id = "open-account", order = "0001", author = "mara", target = "db")]
    async fn open_account(tx: &mut PgTx) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO accounts VALUES ('hunter2', NULL)")
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
    for (column, what) in [
        ("secret text, iban text NOT NULL", "null value in column \"iban\""),
        (
            "secret text CONSTRAINT long CHECK (length(secret) > 20), iban text",
            "check constraint \"long\"",
        ),
    ] {
        let database = Database::new().await;
        let server = FakeServer::start().await;
        let create = format!("CREATE TABLE accounts ({column})");
        sqlx::query(AssertSqlSafe(create))
            .execute(&database.pool)
            .await
            .unwrap();
        let app = app(&server, &database.pool)
            .stage(Stage::new("schema").change(open_account))
            .build()
            .unwrap();
        let error = app.run().await.unwrap_err();
        let told = format!("{error} {} {:?}", error.report(), server.calls());
        assert!(told.contains(what), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[tokio::test]
async fn a_commit_that_the_database_refuses_is_a_failure() {
    #[change(id = "deferred", order = "0001", target = "db")]
    async fn deferred(tx: &mut PgTx) -> Result<(), sqlx::Error> {
        sqlx::query("CREATE TABLE nodes (id bigint PRIMARY KEY, parent bigint REFERENCES nodes DEFERRABLE INITIALLY DEFERRED)")
            .execute(&mut **tx)
            .await?;
        sqlx::query("INSERT INTO nodes VALUES (1, 2)")
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
    let (server, database) = (FakeServer::start().await, Database::new().await);
    let app = app(&server, &database.pool)
        .stage(Stage::new("schema").change(deferred))
        .build()
        .unwrap();
    let error = app.run().await.unwrap_err();
    let change = error.report().change("deferred").unwrap();
    assert_eq!(change.status, ChangeStatus::RolledBack);
    assert!(
        change.error.as_ref().unwrap().message.contains("foreign key"),
        "{:?}",
        change.error
    );
    assert_eq!(
        server.audit(),
        ["deferred STARTED", "deferred FAILED", "deferred ROLLED_BACK"]
    );
    assert!(!database.has("nodes").await);
}

#[tokio::test]
async fn a_connection_lost_at_commit_is_settled_by_the_mark() {
    for (cut, committed) in [
        (Cut::BeforeCommit, false),
        (Cut::AfterCommit, true),
        (Cut::CommitComesLater, true),
    ] {
        let (server, database) = (FakeServer::start().await, Database::new().await);
        let proxy = Proxy::start(POSTGRES.socket_dir().join(".s.PGSQL.5432")).await;
        let pool = pool(&proxy.url(&database.name)).await;
        proxy.arm(cut);
        let outcome = run(&server, &pool).await;
        let expected: &[&str] = if committed {
            &["create-orders STARTED", "create-orders APPLIED"]
        } else {
            &[
                "create-orders STARTED",
                "create-orders FAILED",
                "create-orders ROLLED_BACK",
            ]
        };
        assert_eq!(server.audit(), expected, "{cut:?}: {outcome:?}");
        assert!(proxy.has_cut());
        assert_eq!(database.has("orders").await, committed);
        assert_eq!(database.marks().await, Vec::<String>::new());
        assert_eq!(outcome.is_ok(), committed);
    }
}

#[tokio::test]
async fn two_runners_that_both_believe_in_their_lock_apply_it_once() {
    #[change(id = "add-row", order = "0001", target = "db")]
    async fn add_row(tx: &mut PgTx) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO ledger VALUES (1)")
            .execute(&mut **tx)
            .await?;
        sqlx::query("SELECT pg_sleep(0.3)").execute(&mut **tx).await?;
        Ok(())
    }
    let database = Database::new().await;
    sqlx::query("CREATE TABLE ledger (id bigint)")
        .execute(&database.pool)
        .await
        .unwrap();
    let runs = (0..4).map(|_| {
        let pool = database.pool.clone();
        async move {
            // Each has a server of its own, that lets it have its way. The mark stays: the result is refused.
            let server = FakeServer::start().await;
            server.always(Kind::Audit("APPLIED".into()), Reply::Hang);
            server.always(Kind::Extend, Reply::Hang);
            let app = app(&server, &pool)
                .lease(Duration::from_secs(1))
                .request_timeout(IMPATIENT)
                .stage(Stage::new("s").change(add_row));
            app.build().unwrap().run().await.unwrap_err();
            server.audit().iter().any(|entry| entry == "add-row APPLIED")
        }
    });
    let committed = futures_util::future::join_all(runs).await;
    assert_eq!(
        committed.iter().filter(|committed| **committed).count(),
        1,
        "{committed:?}"
    );
    assert_eq!(database.number("SELECT count(*) FROM ledger").await, 1);
    assert_eq!(database.marks().await, ["add-row"]);
}

#[tokio::test]
async fn marks_of_other_services_are_none_of_ours() {
    let (server, database) = (FakeServer::start().await, Database::new().await);
    run(&server, &database.pool).await.unwrap();
    sqlx::query("INSERT INTO flamingock_marks VALUES (12, 341, 'create-orders', 'APPLIED'), (13, 340, 'create-orders', 'APPLIED'), (12, 340, 'gone', 'APPLIED')")
        .execute(&database.pool)
        .await
        .unwrap();
    let server = FakeServer::start().await;
    let report = run(&server, &database.pool).await.unwrap();
    assert_eq!(status(&report), ChangeStatus::Applied);
    let stage = &server.calls_of(&Kind::Plan)[0].body["clientSubmission"]["blocks"][0]["stages"][0];
    assert_eq!(stage["changes"][0]["ongoingStatus"], "NONE");
    assert_eq!(database.marks().await.len(), 3, "and are not cleared");
}

#[tokio::test]
async fn many_runners_create_the_table_at_once() {
    let database = Database::new().await;
    let runs = (0..8).map(|_| {
        let url = POSTGRES.url(&database.name);
        async move {
            let (server, pool) = (FakeServer::start().await, pool(&url).await);
            // Not the same change: only the table is fought over.
            server.always(Kind::Audit("STARTED".into()), Reply::problem(409, "R_AUDIT_01"));
            let error = run(&server, &pool).await.unwrap_err();
            error
                .report()
                .change("create-orders")
                .unwrap()
                .error
                .as_ref()
                .unwrap()
                .error_type
                .clone()
        }
    });
    let outcomes = futures_util::future::join_all(runs).await;
    assert_eq!(outcomes, vec!["START_REFUSED"; 8], "none failed at the table");
}

#[tokio::test]
async fn outside_a_transaction_a_change_gets_the_pool() {
    #[change(id = "index", order = "0002", target = "db", transactional = false, rollback = drop_index)]
    async fn index(pool: TargetClient<PgPool>) -> Result<(), sqlx::Error> {
        sqlx::query("CREATE INDEX CONCURRENTLY orders_id ON orders (id)")
            .execute(&*pool)
            .await?;
        Ok(())
    }
    async fn drop_index(pool: TargetClient<PgPool>) -> Result<(), sqlx::Error> {
        sqlx::query("DROP INDEX CONCURRENTLY IF EXISTS orders_id")
            .execute(&*pool)
            .await?;
        Ok(())
    }
    let (server, database) = (FakeServer::start().await, Database::new().await);
    let stage = Stage::new("schema").change(create_orders).change(index);
    app(&server, &database.pool)
        .stage(stage)
        .build()
        .unwrap()
        .run()
        .await
        .unwrap();
    assert!(database.has("orders_id").await);
    assert_eq!(
        server.calls_of(&Kind::Audit("APPLIED".into()))[1].body["txStrategy"],
        "NON_TX"
    );
}

#[tokio::test]
async fn a_pool_of_one_connection_is_enough_and_a_role_without_create_too() {
    let (server, database) = (FakeServer::start().await, Database::new().await);
    run(&server, &database.pool).await.unwrap();
    let role = format!("app_{}", database.name);
    for statement in [
        format!("CREATE ROLE {role} LOGIN"),
        format!("GRANT SELECT, INSERT, DELETE ON flamingock_marks, orders TO {role}"),
    ] {
        sqlx::query(AssertSqlSafe(statement))
            .execute(&database.pool)
            .await
            .unwrap();
    }
    #[change(id = "more", order = "0001", target = "db")]
    async fn more(tx: &mut PgTx) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO orders VALUES (2)")
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
    let url = POSTGRES
        .url(&database.name)
        .replace("postgres@", &format!("{role}@"));
    let one = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(2));
    let one = one.connect(&url).await.unwrap();
    app(&server, &one)
        .stage(Stage::new("more").change(more))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap();
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 2);
}

#[tokio::test]
async fn a_change_function_can_be_called_by_a_test() {
    let database = Database::new().await;
    let mut tx = PgTx::new(database.pool.begin().await.unwrap());
    create_orders::run(&mut tx).await.unwrap();
    tx.into_inner().rollback().await.unwrap();
    assert!(!database.has("orders").await);
}

#[tokio::test]
async fn a_change_that_commits_by_itself_is_found_out() {
    #[change(id = "script", order = "0001", target = "db")]
    async fn script(tx: &mut PgTx) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("BEGIN; CREATE TABLE half (id bigint); COMMIT")
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
    let (server, database) = (FakeServer::start().await, Database::new().await);
    let app = app(&server, &database.pool)
        .stage(Stage::new("schema").change(script))
        .build()
        .unwrap();
    let error = app.run().await.unwrap_err();
    let change = error.report().change("script").unwrap();
    assert_eq!(change.error.as_ref().unwrap().error_type, "TRANSACTION_ENDED");
    assert_eq!(
        server.audit(),
        ["script STARTED", "script ROLLBACK_FAILED"],
        "a person has to look"
    );
    assert_eq!(database.marks().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_script_that_empties_the_search_path_does_not_hide_the_marks() {
    #[change(id = "dump", order = "0001", target = "db")]
    async fn dump(tx: &mut PgTx) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(
            "SELECT pg_catalog.set_config('search_path', '', false); CREATE TABLE public.dumped (id bigint)",
        )
        .execute(&mut **tx)
        .await?;
        Ok(())
    }
    let (server, database) = (FakeServer::start().await, Database::new().await);
    server.always(Kind::Audit("APPLIED".into()), Reply::Hang);
    server.always(Kind::Extend, Reply::Hang);
    let app = app(&server, &database.pool)
        .lease(Duration::from_secs(1))
        .request_timeout(IMPATIENT)
        .stage(Stage::new("s").change(dump));
    app.build().unwrap().run().await.unwrap_err();
    let last = server.calls_of(&Kind::Plan).pop().unwrap();
    let stage = &last.body["clientSubmission"]["blocks"][0]["stages"][0];
    assert_eq!(stage["changes"][0]["ongoingStatus"], "APPLIED");
}

/// Runs a change that executes a script and then does as told; the row of a `ledger` tells whether it left something.
async fn run_script(database: &Database, script: &'static str, then: Then) -> (FakeServer, StartError) {
    struct Script(&'static str, Then);

    #[change(id = "script", order = "0001", target = "db")]
    async fn scripted(tx: &mut PgTx, script: Dep<Script>) -> Result<(), sqlx::Error> {
        let Script(sql, then) = &*script;
        let done = sqlx::raw_sql(*sql).execute(&mut **tx).await;
        match then {
            Then::Tells => done.map(|_| ()),
            Then::IsSilent => Ok(()),
            Then::Panics => panic!("as told"),
        }
    }
    sqlx::query("CREATE TABLE ledger (id bigint)")
        .execute(&database.pool)
        .await
        .unwrap();
    let server = FakeServer::start().await;
    let error = app(&server, &database.pool)
        .dependency(Script(script, then))
        .stage(Stage::new("schema").change(scripted))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    (server, error)
}

#[derive(Clone, Copy, Debug)]
enum Then {
    /// Returns the script's error.
    Tells,
    /// Returns `Ok`, whatever happened.
    IsSilent,
    Panics,
}

#[tokio::test]
async fn a_change_that_ended_its_transaction_and_failed_is_not_called_rolled_back() {
    for (script, then) in [
        ("INSERT INTO ledger VALUES (1); COMMIT; SELECT 1 / 0", Then::Tells),
        (
            "BEGIN; INSERT INTO ledger VALUES (1); COMMIT; BEGIN; SELECT 1 / 0; COMMIT",
            Then::Tells,
        ),
        ("INSERT INTO ledger VALUES (1); COMMIT", Then::Panics),
        ("INSERT INTO ledger VALUES (1); COMMIT; BEGIN", Then::Panics),
        (
            "INSERT INTO ledger VALUES (1); COMMIT; BEGIN; SELECT 1 / 0",
            Then::IsSilent,
        ),
        // Its own transaction was rolled back, what it did afterwards was not.
        ("ROLLBACK; INSERT INTO ledger VALUES (1)", Then::Panics),
        (
            "ROLLBACK; BEGIN; INSERT INTO ledger VALUES (1); COMMIT; BEGIN; SELECT 1 / 0",
            Then::Tells,
        ),
        (
            "INSERT INTO ledger VALUES (1); COMMIT AND CHAIN; SELECT 1 / 0",
            Then::IsSilent,
        ),
        (
            "INSERT INTO ledger VALUES (1); COMMIT; BEGIN; SAVEPOINT flamingock_begin; SELECT 1 / 0",
            Then::Tells,
        ),
        // Nobody can be asked on the connection any more.
        (
            "INSERT INTO ledger VALUES (1); COMMIT; SELECT pg_terminate_backend(pg_backend_pid())",
            Then::Tells,
        ),
    ] {
        let database = Database::new().await;
        let (server, error) = run_script(&database, script, then).await;
        let change = error.report().change("script").unwrap();
        let failure = change.error.as_ref().unwrap();
        assert_eq!(
            server.audit(),
            ["script STARTED", "script ROLLBACK_FAILED"],
            "{script} {then:?}: a person has to look"
        );
        assert_eq!(failure.error_type, "TRANSACTION_ENDED", "{script} {then:?}");
        assert_eq!(change.status, ChangeStatus::Failed);
        assert_eq!(
            database.number("SELECT count(*) FROM ledger").await,
            1,
            "{script}"
        );
        assert_eq!(database.marks().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_connection_lost_in_the_change_is_rolled_back_and_known_to_be() {
    for script in [
        "INSERT INTO ledger VALUES (1); SELECT pg_terminate_backend(pg_backend_pid())",
        // Savepoints of its own are its own affair.
        "SAVEPOINT s; INSERT INTO ledger VALUES (1); RELEASE SAVEPOINT s; SELECT 1 / 0",
        "SAVEPOINT s; INSERT INTO ledger VALUES (1); ROLLBACK TO SAVEPOINT s; SELECT 1 / 0",
    ] {
        let database = Database::new().await;
        let (server, error) = run_script(&database, script, Then::Tells).await;
        assert_eq!(
            server.audit(),
            ["script STARTED", "script FAILED", "script ROLLED_BACK"],
            "{script}: {error}"
        );
        assert_eq!(database.number("SELECT count(*) FROM ledger").await, 0);
    }
}

#[tokio::test]
async fn what_the_database_says_is_said_once_however_it_is_wrapped() {
    #[derive(Debug, thiserror::Error)]
    enum Shop {
        #[error(transparent)]
        Sql(#[from] sqlx::Error),
        #[error("booking failed: {0}")]
        Booking(#[source] sqlx::Error),
    }

    async fn insert(tx: &mut PgTx) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO nowhere VALUES (7)")
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    #[change(id = "shown-in-its-place", order = "0001", target = "db")]
    async fn shown_in_its_place(tx: &mut PgTx) -> Result<(), Shop> {
        Ok(insert(tx).await?)
    }

    #[change(id = "repeated", order = "0001", target = "db")]
    async fn repeated(tx: &mut PgTx) -> Result<(), Shop> {
        insert(tx).await.map_err(Shop::Booking)
    }

    #[change(id = "anyhow", order = "0001", target = "db")]
    async fn by_anyhow(tx: &mut PgTx) -> Result<(), anyhow::Error> {
        Ok(insert(tx).await?)
    }

    let (server, database) = (FakeServer::start().await, Database::new().await);
    let said = "relation \"nowhere\" does not exist (SQLSTATE 42P01)";
    for (stage, before) in [
        (Stage::new("schema").change(shown_in_its_place), ""),
        (Stage::new("schema").change(repeated), "booking failed: "),
        (Stage::new("schema").change(by_anyhow), ""),
    ] {
        let app = app(&server, &database.pool).stage(stage).build().unwrap();
        let error = app.run().await.unwrap_err();
        let reported = error.report().stages[0].changes[0].error.as_ref().unwrap();
        assert_eq!(reported.message, format!("{before}{said}"));
    }
}
