//! `sql-template` on a real PostgreSQL.

use flamingock::{
    ChangeStatus, Flamingock, PostgresTarget, Report, Stage, StartError, templates::Placeholders,
};
use serde_json::json;

use crate::{
    postgres::Database,
    support::{FakeServer, Files, Kind},
};

const HEADER: &str = "id: changed\ntemplate: sql-template\ntargetSystem: db\n";

fn app(server: &FakeServer, database: &Database, files: &Files) -> Flamingock {
    server
        .app()
        .target(PostgresTarget::new("db", database.pool.clone()))
        .placeholders(Placeholders::none().with("SECRET", "hunter2-secret"))
        .stage(Stage::from_dir("files", files.path()))
        .build()
        .unwrap()
}

struct Run {
    server: FakeServer,
    result: Result<Report, StartError>,
}

async fn run(database: &Database, name: &str, text: &str) -> Run {
    let server = FakeServer::start().await;
    let files = Files::new(&[(name, text)]);
    let result = app(&server, database, &files).run().await;
    Run { server, result }
}

impl Run {
    fn message(&self) -> String {
        let error = self.result.as_ref().expect_err("it fails");
        let change = error.report().change("changed").expect("it is in the report");
        change.error.as_ref().expect("it has failed").message.clone()
    }

    fn tx_strategy(&self) -> serde_json::Value {
        self.server.calls_of(&Kind::Audit("STARTED".into()))[0].body["txStrategy"].clone()
    }
}

#[tokio::test]
async fn statements_and_mark_are_one_transaction() {
    let database = Database::new().await;
    let text = format!("{HEADER}apply: |\n  CREATE TABLE a (id int);\n  INSERT INTO a VALUES (1), (2);\n");
    let done = run(&database, "_0001__a.yaml", &text).await;
    done.result.as_ref().expect("it works");
    assert_eq!(database.number("SELECT count(*) FROM a").await, 2);
    assert_eq!(done.tx_strategy(), "TX_SEPARATE_WITH_MARKER");
    assert_eq!(done.server.audit(), ["changed STARTED", "changed APPLIED"]);
    assert!(database.has("flamingock_marks").await);
    assert_eq!(database.marks().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_failure_leaves_nothing_and_names_the_statement_but_no_secret() {
    let database = Database::new().await;
    let text =
        format!("{HEADER}apply: |\n  CREATE TABLE a (id int);\n\n  INSERT INTO a VALUES ('${{SECRET}}');\n");
    let done = run(&database, "_0001__a.yaml", &text).await;
    assert_eq!(
        done.message(),
        "statement 2 of 2 (line 3 of the SQL): invalid input syntax for type integer: \"${SECRET}\" \
         (SQLSTATE 22P02)"
    );
    assert!(!database.has("a").await);
    let audit = done.server.audit();
    assert_eq!(
        audit,
        ["changed STARTED", "changed FAILED", "changed ROLLED_BACK"]
    );
    assert!(!format!("{:?}", done.server.calls()).contains("hunter2"));
    let trace = &done.server.calls_of(&Kind::Audit("FAILED".into()))[0].body["errorTrace"];
    assert!(
        trace.as_str().is_some_and(|trace| trace.contains("sqlx")),
        "{trace}"
    );
}

/// What PostgreSQL says of a commit quotes the row, and is not seen by the template that knows the secret.
#[tokio::test]
async fn a_refused_commit_shows_no_secret() {
    let database = Database::new().await;
    let text = format!(
        "{HEADER}apply: |\n  CREATE TABLE a (t text UNIQUE DEFERRABLE INITIALLY DEFERRED);\n  INSERT INTO a VALUES \
         ('${{SECRET}}'), ('${{SECRET}}');\n"
    );
    let done = run(&database, "_0001__a.yaml", &text).await;
    let message = done.message();
    assert!(
        message.contains("a_t_key") && message.contains("23505"),
        "{message}"
    );
    assert!(!message.contains("hunter2"), "{message}");
    assert!(!format!("{:?}", done.server.calls()).contains("hunter2"));
}

#[tokio::test]
async fn the_line_of_a_sql_file_is_the_files() {
    let database = Database::new().await;
    let text =
        "-- flamingock:\n--   id: changed\n--   targetSystem: db\n\nSELECT 1;\n\n-- here\nSELECT nonsense;\n";
    let done = run(&database, "_0001__a.sql", text).await;
    let message = done.message();
    assert!(
        message.starts_with("statement 2 of 2 (line 8 of the SQL): "),
        "{message}"
    );
}

#[tokio::test]
async fn what_cannot_be_in_a_transaction_runs_outside_and_is_undone_by_its_rollback() {
    let database = Database::new().await;
    let good = "-- flamingock:\n--   id: changed\n--   targetSystem: db\n\nCREATE TABLE a (id int);\n\
                SET search_path = pg_catalog;\nCREATE INDEX CONCURRENTLY i ON public.a (id);\n";
    let done = run(&database, "_0001__a.sql", good).await;
    done.result.as_ref().expect("it works");
    assert_eq!(done.tx_strategy(), "NON_TX");
    let valid = "SELECT count(*) FROM pg_index WHERE indexrelid = 'i'::regclass AND indisvalid";
    assert_eq!(
        database.number(valid).await,
        1,
        "and the search path is not the pool's"
    );

    let bad = "-- flamingock:\n--   id: changed\n--   targetSystem: db\n\nCREATE TABLE b (id int);\n\
               INSERT INTO b VALUES (1), (1);\nCREATE UNIQUE INDEX CONCURRENTLY j ON b (id);\n\
               -- flamingock: rollback\nDROP TABLE IF EXISTS b;\n";
    let done = run(&database, "_0002__b.sql", bad).await;
    assert!(done.message().contains("statement 3 of 3"), "{}", done.message());
    let audit = done.server.audit();
    assert_eq!(
        audit,
        ["changed STARTED", "changed FAILED", "changed ROLLED_BACK"]
    );
    assert!(!database.has("b").await);
}

#[tokio::test]
async fn the_second_of_three_steps_fails_and_the_first_is_undone() {
    let database = Database::new().await;
    let text = format!(
        "{HEADER}transactional: false\nsteps:\n  - apply: CREATE TABLE a (id int)\n    rollback: DROP TABLE IF EXISTS a\n  \
         - apply: |\n      CREATE TABLE b (id int);\n      SELECT 1 / 0;\n    rollback: DROP TABLE IF EXISTS b\n  \
         - apply: CREATE TABLE c (id int)\n    rollback: DROP TABLE c\n"
    );
    let done = run(&database, "_0001__a.yaml", &text).await;
    assert_eq!(
        done.message(),
        "step 2 of 3: statement 2 of 2 (line 2 of the SQL): division by zero (SQLSTATE 22012)"
    );
    assert_eq!(done.tx_strategy(), "NON_TX");
    let audit = done.server.audit();
    assert_eq!(
        audit,
        ["changed STARTED", "changed FAILED", "changed ROLLED_BACK"]
    );
    for table in ["a", "b", "c"] {
        assert!(!database.has(table).await, "{table}");
    }
}

#[tokio::test]
async fn postgresql_agrees_about_where_statements_end() {
    let sql = r#"
        CREATE TABLE t (id serial, x text, "odd;name" text); -- ; no end
        /* ; /* ; */ ; */
        INSERT INTO t (x) VALUES ('a;''b;'), (E'c\';'), ('\'), ($$d;$$), ($x$e;$$;$x$);
        INSERT INTO t (x) VALUES (E'f;'
          '\';');
        CREATE FUNCTION two() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;
        CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $body$
        BEGIN
          INSERT INTO log VALUES (new.x); RETURN new;
        END; $body$;
        CREATE TABLE log (x text);
        CREATE TRIGGER note AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();
        CREATE RULE also AS ON DELETE TO t DO ALSO (INSERT INTO log VALUES ('gone'); INSERT INTO log VALUES ('gone'));
        DO $$ BEGIN INSERT INTO t (x) VALUES ('g;'); END $$;
        INSERT INTO t (x, "odd;name") SELECT U&'\0068;', 'i;' FROM (SELECT two() AS a$b) s WHERE a$b = 2;
        DELETE FROM t WHERE x = 'a;''b;'
    "#;
    for split in [true, false] {
        let database = Database::new().await;
        let text = format!(
            "{HEADER}configuration: {{splitStatements: {split}}}\napply: |\n{}",
            sql.replace('\n', "\n  ")
        );
        let done = run(&database, "_0001__a.yaml", &text).await;
        done.result.as_ref().expect("it works");
        let rows: Vec<String> = sqlx::query_scalar("SELECT x FROM t ORDER BY id")
            .fetch_all(&database.pool)
            .await
            .unwrap();
        assert_eq!(rows, ["c';", "\\", "d;", "e;$$;", "f;';", "g;", "h;"], "{split}");
        assert_eq!(database.number("SELECT count(*) FROM log").await, 4);
    }
}

#[tokio::test]
async fn unsplit_outside_a_transaction_it_is_one_all_the_same() {
    let database = Database::new().await;
    let text = format!(
        "{HEADER}transactional: false\nconfiguration: {{splitStatements: false}}\n\
         apply: CREATE TABLE a (id int); SELECT 1 / 0;\n"
    );
    let done = run(&database, "_0001__a.yaml", &text).await;
    assert!(done.message().contains("division by zero"), "{}", done.message());
    assert!(!database.has("a").await);
    assert_eq!(done.server.audit(), ["changed STARTED", "changed FAILED"]);
}

#[test]
fn on_another_kind_of_target_it_is_refused() {
    let files = Files::new(&[("_0001__a.yaml", format!("{HEADER}apply: SELECT 1\n"))]);
    let builder = Flamingock::builder("http://localhost:1")
        .token("t")
        .environment("e")
        .service("s");
    let built = builder
        .target(flamingock::Target::non_transactional("db", 1_u8))
        .stage(Stage::from_dir("files", files.path()))
        .build();
    let error = files.plain(&built.expect_err("refused").to_string());
    assert!(
        error.contains(
            "_0001__a.yaml:4: `apply`: target system `db` takes no SQL: `sql-template` works on those of"
        ) && error.contains("`PostgresTarget`"),
        "{error}"
    );
}

#[tokio::test]
async fn a_change_that_was_applied_is_not_touched() {
    let database = Database::new().await;
    let server = FakeServer::start().await;
    server.set_applied(&["changed"]);
    let files = Files::new(&[(
        "_0001__a.yaml",
        format!("{HEADER}apply: CREATE TABLE a (id int)\n"),
    )]);
    let report = app(&server, &database, &files)
        .run()
        .await
        .expect("nothing to do");
    assert_eq!(
        report.change("changed").unwrap().status,
        ChangeStatus::AlreadyApplied
    );
    assert!(!database.has("a").await);
    let submitted =
        &server.calls_of(&Kind::Plan)[0].body["clientSubmission"]["blocks"][0]["stages"][0]["changes"][0];
    assert_eq!(submitted["transactional"], json!(true));
    assert!(
        submitted["checksum"]
            .as_str()
            .is_some_and(|checksum| checksum.starts_with("sha256-v1:"))
    );
}
