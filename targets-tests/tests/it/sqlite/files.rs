//! Change files with SQL for SQLite.

use flamingock::{BuildError, Builder, SqliteTarget, Stage, Target};
use flamingock_targets_tests::{World, message};
use flamingock_tests::scratch_directory;
use sqlx::SqlitePool;

use super::Notes;

const HEADER: &str = "-- flamingock:\n--   id: changed\n--   targetSystem: notes-db\n";

/// An application with one file.
fn app(world: &World, pool: &SqlitePool, fields: &str, sql: &str) -> Builder {
    with_target(world, SqliteTarget::new("notes-db", pool.clone()), fields, sql)
}

fn with_target(world: &World, target: impl Into<Target>, fields: &str, sql: &str) -> Builder {
    let directory = scratch_directory(&[("_0001__changed.sql", format!("{HEADER}{fields}\n{sql}"))]);
    world
        .app()
        .target(target)
        .stage(Stage::from_dir("files", directory))
}

#[tokio::test]
async fn statements_are_one_transaction_and_parted_as_sqlite_parts_them() {
    let (world, notes) = (World::new().await, Notes::new().await);
    let sql = r#"
        CREATE TABLE notes (id INTEGER PRIMARY KEY, "a;b" TEXT, [c;d] TEXT, `e;f` TEXT); -- ; no end
        CREATE TABLE log (text TEXT); /* ; /* ; */
        CREATE TRIGGER logged AFTER INSERT ON notes WHEN CASE new.id WHEN 0 THEN 0 ELSE 1 END BEGIN
          INSERT INTO log VALUES (CASE WHEN new."a;b" = '\' THEN 'back;slash' ELSE 'it''s;' END);
          DELETE FROM log WHERE text IS NULL;
        END;
        INSERT INTO notes ("a;b") VALUES ('\'), ('other;');
    "#;
    world
        .start(app(&world, &notes.pool, "", &format!("{sql}\nSELECT nonsense;")))
        .await
        .expect_err("the last statement fails");
    assert!(!notes.has("notes").await);
    let error = world
        .start(app(&world, &notes.pool, "", &format!("{sql}\nSELECT nonsense;")))
        .await
        .expect_err("and again");
    let said = message(&error, "changed");
    assert!(
        said.starts_with("statement 5 of 5 (line 14 of the SQL): no such column: nonsense (SQLite's code 1)"),
        "{said}"
    );

    world.start(app(&world, &notes.pool, "", sql)).await.unwrap();
    let logged: Vec<String> = sqlx::query_scalar("SELECT text FROM log ORDER BY text")
        .fetch_all(&notes.pool)
        .await
        .unwrap();
    assert_eq!(logged, ["back;slash", "it's;"]);
    assert_eq!(
        world.history("changed").await,
        "STARTED FAILED ROLLED_BACK STARTED FAILED ROLLED_BACK STARTED APPLIED"
    );
    assert_eq!(notes.marks().await, Vec::<String>::new());
}

/// The way that SQLite's manual tells to change a table, which has no effect inside a transaction.
#[tokio::test]
async fn a_pragma_that_needs_it_runs_outside_and_is_not_left_to_the_application() {
    let (world, notes) = (World::new().await, Notes::new().await);
    for statement in [
        "CREATE TABLE owners (id INTEGER PRIMARY KEY)",
        "CREATE TABLE notes (id INTEGER, owner INTEGER REFERENCES owners ON DELETE CASCADE)",
        "INSERT INTO owners VALUES (1)",
        "INSERT INTO notes VALUES (1, 1)",
    ] {
        sqlx::query(statement).execute(&notes.pool).await.unwrap();
    }
    let sql = "PRAGMA foreign_keys = OFF;\nCREATE TABLE new (id INTEGER PRIMARY KEY, name TEXT);\n\
               INSERT INTO new (id) SELECT id FROM owners;\nDROP TABLE owners;\nALTER TABLE new RENAME TO owners;\n";
    world.start(app(&world, &notes.pool, "", sql)).await.unwrap();
    assert_eq!(
        notes.number("SELECT count(*) FROM notes").await,
        1,
        "dropping the table would have removed it"
    );
    for _ in 0..3 {
        assert_eq!(
            notes.number("SELECT foreign_keys FROM pragma_foreign_keys").await,
            1
        );
    }
}

/// A savepoint outside a transaction begins one, and what is in it is gone with the connection.
#[tokio::test]
async fn a_savepoint_that_is_not_released_is_no_success() {
    const OUTSIDE: &str = "--   transactional: false\n";
    let open = "SAVEPOINT a;\nINSERT INTO notes VALUES (1);";
    let (world, notes) = (World::new().await, Notes::new().await);
    sqlx::query("CREATE TABLE notes (id INTEGER)")
        .execute(&notes.pool)
        .await
        .unwrap();
    let error = world
        .start(app(&world, &notes.pool, OUTSIDE, open))
        .await
        .expect_err("nothing of it stays");
    let said = message(&error, "changed");
    assert!(said.contains("left a transaction open"), "{said}");
    assert_eq!(notes.number("SELECT count(*) FROM notes").await, 0);

    let (world, released) = (World::new().await, format!("{open}\nRELEASE a;"));
    world
        .start(app(&world, &notes.pool, OUTSIDE, &released))
        .await
        .unwrap();
    assert_eq!(notes.number("SELECT count(*) FROM notes").await, 1);
}

#[tokio::test]
async fn a_database_in_memory_outlives_a_change_outside_a_transaction() {
    let world = World::new().await;
    let options = sqlx::sqlite::SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None);
    let pool = options.connect("sqlite::memory:").await.unwrap();
    let fields = "--   transactional: false\n";
    world
        .start(app(&world, &pool, fields, "CREATE TABLE kept (id INTEGER)"))
        .await
        .unwrap();
    let found: i64 = sqlx::query_scalar("SELECT count(*) FROM kept")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(found, 0);
}

#[tokio::test]
async fn what_cannot_work_is_refused_before_anything_is_opened() {
    let (world, notes) = (World::new().await, Notes::new().await);
    let problem = |built: Result<_, BuildError>| {
        let error = built.map(|_| ()).expect_err("refused");
        error.problems()[0].to_string()
    };
    for (fields, sql, line, why) in [
        (
            "",
            "BEGIN;\nSELECT 1;",
            5,
            "statement 1 (line 5 of the SQL): it begins or ends a transaction",
        ),
        ("", ".tables", 5, "those of the program sqlite3"),
        (
            "",
            "SELECT 1;\nSELECT [a",
            5,
            "the quoted name that begins in line 6 of the SQL has no end",
        ),
        (
            "--   transactional: true\n",
            "VACUUM",
            4,
            "cannot be part of a transaction",
        ),
        (
            "",
            "CREATE TABLE a (b);\0\nCREATE TABLE c (d);",
            5,
            "character NUL",
        ),
        (
            "",
            "SELECT 1;\n-- flamingock: probe\nDELETE FROM notes",
            7,
            "a probe only looks",
        ),
        (
            "",
            "SELECT 1;\n-- flamingock: probe\nSELECT 1; SELECT 2",
            7,
            "a probe only looks",
        ),
    ] {
        let said = problem(app(&world, &notes.pool, fields, sql).build());
        assert!(said.contains(&format!("_0001__changed.sql:{line}: ")), "{said}");
        assert!(said.contains(why), "{said}");
    }
    let said = problem(
        with_target(
            &world,
            Target::non_transactional("notes-db", 1_u8),
            "",
            "SELECT 1",
        )
        .build(),
    );
    assert!(
        said.contains("`apply`: target system `notes-db` takes no SQL: `sql-template` works on those of"),
        "{said}"
    );
    assert!(said.contains("`SqliteTarget`"), "{said}");
}

/// What a probe finds where the process died after the last statement, and before it could say so.
#[tokio::test]
async fn a_probe_settles_what_became_of_a_change_outside_a_transaction() {
    const OUTSIDE: &str = "--   transactional: false\n";
    let probes = [
        (
            "SELECT EXISTS (SELECT 1 FROM notes WHERE id = 1)",
            "STARTED APPLIED",
            1,
            true,
        ),
        (
            "SELECT count(*) > 1 FROM notes;",
            "STARTED ROLLED_BACK STARTED APPLIED",
            2,
            true,
        ),
        ("SELECT NULL", "STARTED late PROBE_UNDECIDED", 1, false),
        ("SELECT 1 WHERE 1 = 2", "STARTED late PROBE_UNDECIDED", 1, false),
        ("SELECT 7", "STARTED late PROBE_UNDECIDED", 1, false),
        ("SELECT 1, 1", "STARTED late PROBE_UNDECIDED", 1, false),
        (
            "SELECT 1 UNION ALL SELECT 1",
            "STARTED late PROBE_UNDECIDED",
            1,
            false,
        ),
        ("SELECT id FROM nowhere", "STARTED late PROBE_UNDECIDED", 1, false),
        // It is no look, and so nothing of it stays.
        (
            "WITH all_of AS (SELECT 1) DELETE FROM notes RETURNING 1",
            "STARTED APPLIED",
            1,
            true,
        ),
    ];
    for (probe, history, rows, starts) in probes {
        let (world, notes) = (World::new().await, Notes::new().await);
        sqlx::query("CREATE TABLE notes (id INTEGER)")
            .execute(&notes.pool)
            .await
            .unwrap();
        let sql = format!("INSERT INTO notes VALUES (1);\n-- flamingock: probe\n{probe}");
        world
            .die_before_the_report(app(&world, &notes.pool, OUTSIDE, &sql))
            .await;
        let started = world.start(app(&world, &notes.pool, OUTSIDE, &sql)).await;
        assert_eq!(started.is_ok(), starts, "{probe}");
        assert_eq!(world.history("changed").await, history, "{probe}");
        assert_eq!(notes.number("SELECT count(*) FROM notes").await, rows, "{probe}");
    }
}
