//! Change files with SQL for MySQL and MariaDB.

use flamingock::{Builder, ChangeStatus, Stage};
use flamingock_targets_tests::{World, message};
use flamingock_tests::scratch_directory;

use super::{Shop, example, on_each};

/// An application with one file.
fn app(world: &World, shop: &Shop, fields: &str, sql: &str) -> Builder {
    let text = format!("-- flamingock:\n--   id: changed\n--   targetSystem: shop-db\n{fields}\n{sql}");
    let directory = scratch_directory(&[("_0001__changed.sql", text)]);
    world
        .app()
        .target(example::target(shop.pool.clone()))
        .stage(Stage::from_dir("files", directory))
}

#[tokio::test]
async fn statements_are_parted_as_the_client_parts_them() {
    let sql = r#"
        CREATE TABLE `a;b` (id INT AUTO_INCREMENT PRIMARY KEY, x VARCHAR(40)); # ; no end
        /* ; /* ; */ /*!40101 SET @old = 'x;' */;
        INSERT INTO `a;b` (x) VALUES ('it''s;'), ("say ""hi;"""), ('\';'), ("\";"), (5--1);
        CREATE TABLE log (x VARCHAR(80));
        CREATE TRIGGER logged AFTER INSERT ON `a;b` FOR EACH ROW
          IF NEW.x LIKE '%;%' THEN INSERT INTO log VALUES (CASE NEW.x WHEN 'it' THEN IF(1, 'a;', 'b') ELSE NEW.x END); END IF;
        CREATE PROCEDURE fill(n INT)
        BEGIN
          DECLARE i INT DEFAULT 0;
          filling: LOOP
            IF i >= n THEN LEAVE filling; END IF;
            CASE i WHEN 0 THEN INSERT INTO `a;b` (x) VALUES ('c;'); ELSE INSERT INTO `a;b` (x) VALUES (REPEAT('d;', 2)); END CASE;
            SET i = i + 1;
          END LOOP;
        END;
        DELIMITER $$
        CREATE PROCEDURE twice() BEGIN CALL fill(2); END$$
        CALL twice() $$
        DELIMITER ;
        CALL twice();
    "#;
    on_each(|world, shop| async move {
        world.start(app(&world, &shop, "", sql)).await.unwrap();
        let of = |sql: &'static str| {
            let pool = shop.pool.clone();
            async move {
                sqlx::query_scalar::<_, String>(sql)
                    .fetch_all(&pool)
                    .await
                    .unwrap()
            }
        };
        assert_eq!(
            of("SELECT x FROM `a;b` ORDER BY id").await,
            [
                "it's;",
                "say \"hi;\"",
                "';",
                "\";",
                "6",
                "c;",
                "d;d;",
                "c;",
                "d;d;"
            ]
        );
        assert_eq!(of("SELECT x FROM log").await, ["c;", "d;d;", "c;", "d;d;"]);
        assert_eq!(world.history("changed").await, "STARTED APPLIED");
        assert_eq!(shop.marks().await, 0, "with DDL it is not transactional");
    })
    .await;
}

/// Under these modes a backslash is a letter, in all strings or in those that are names then.
#[tokio::test]
async fn what_the_session_would_read_otherwise_is_not_sent() {
    on_each(|world, mut shop| async move {
        shop.execute("CREATE TABLE notes (x VARCHAR(40))").await;
        let plain = shop.pool.clone();
        for (mode, quote) in [("NO_BACKSLASH_ESCAPES", '\''), ("ANSI_QUOTES", '"')] {
            let set = format!("SET SESSION sql_mode = CONCAT(@@sql_mode, ',{mode}')");
            shop.pool = shop.pool_that_begins_with(set).await;
            let sql = format!(
                "INSERT INTO notes VALUES ('one');\nINSERT INTO notes VALUES ({quote}C:\\temp{quote});"
            );
            let error = world
                .start(app(&world, &shop, "", &sql))
                .await
                .expect_err("refused");
            let said = message(&error, "changed");
            assert!(said.contains(mode) && said.contains("nothing was sent"), "{said}");
            assert_eq!(shop.number("SELECT COUNT(*) FROM notes").await, 0);
        }
        // Without a backslash there is nothing to be mistaken about.
        let sql = "INSERT INTO notes VALUES ('one;');";
        world.start(app(&world, &shop, "", sql)).await.unwrap();
        shop.pool = plain;
        assert_eq!(shop.number("SELECT COUNT(*) FROM notes").await, 1);
    })
    .await;
}

#[tokio::test]
async fn rows_are_one_transaction_with_their_mark_and_ddl_cannot_hide_in_it() {
    on_each(|world, shop| async move {
        shop.execute("CREATE TABLE ledger (id BIGINT PRIMARY KEY)").await;
        shop.execute("CREATE PROCEDURE make() CREATE TABLE half (id BIGINT)")
            .await;

        let error = world
            .start(app(
                &world,
                &shop,
                "",
                "INSERT INTO ledger VALUES (1);\nINSERT INTO ledger VALUES (1);",
            ))
            .await
            .expect_err("the second is there");
        let said = message(&error, "changed");
        assert!(
            said.starts_with("statement 2 of 2 (line 6 of the SQL): Duplicate entry"),
            "{said}"
        );
        assert!(said.ends_with("(error 1062)"), "{said}");
        assert_eq!(shop.number("SELECT COUNT(*) FROM ledger").await, 0);

        let error = world
            .start(app(
                &world,
                &shop,
                "",
                "INSERT INTO ledger VALUES (1);\nCALL make();",
            ))
            .await
            .expect_err("it would commit");
        let said = message(&error, "changed");
        assert!(
            said.contains("(error 1399); it would have committed") && said.contains("transactional: false"),
            "{said}"
        );
        assert_eq!(shop.number("SELECT COUNT(*) FROM ledger").await, 0);
        assert!(!shop.has("half").await);
        assert_eq!(
            world.history("changed").await,
            "STARTED FAILED ROLLED_BACK STARTED FAILED ROLLED_BACK"
        );

        world
            .die_before_the_report(app(&world, &shop, "", "INSERT INTO ledger VALUES (1)"))
            .await;
        assert_eq!(shop.marks().await, 1);
        let report = world
            .start(app(&world, &shop, "", "INSERT INTO ledger VALUES (1)"))
            .await
            .unwrap();
        assert_eq!(
            report.change("changed").unwrap().status,
            ChangeStatus::AlreadyApplied
        );
        assert_eq!(shop.number("SELECT COUNT(*) FROM ledger").await, 1);
    })
    .await;
}

/// What is in a transaction is gone with the connection, whoever began it.
#[tokio::test]
async fn a_transaction_that_is_left_open_is_no_success() {
    on_each(|_, shop| async move {
        shop.execute("CREATE TABLE ledger (id BIGINT PRIMARY KEY)").await;
        shop.execute("CREATE PROCEDURE opens() START TRANSACTION").await;
        shop.execute("CREATE PROCEDURE ends() COMMIT").await;
        for sql in [
            "CALL opens();\nINSERT INTO ledger VALUES (1);",
            "SET `autocommit` = 0;\nINSERT INTO ledger VALUES (1);",
        ] {
            let (world, fields) = (World::new().await, "--   transactional: false\n");
            let error = world
                .start(app(&world, &shop, fields, sql))
                .await
                .expect_err("nothing of it stays");
            let said = message(&error, "changed");
            assert!(said.contains("left a transaction open"), "{said}");
            assert_eq!(shop.number("SELECT COUNT(*) FROM ledger").await, 0);

            let (world, ends) = (World::new().await, format!("{sql}\nCALL ends();"));
            world.start(app(&world, &shop, fields, &ends)).await.unwrap();
            assert_eq!(shop.number("SELECT COUNT(*) FROM ledger").await, 1);
            shop.execute("DELETE FROM ledger").await;
        }
    })
    .await;
}

#[tokio::test]
async fn ddl_in_a_file_that_wants_a_transaction_is_refused_before_anything_is_opened() {
    on_each(|world, shop| async move {
        for (fields, sql, why) in [
            (
                "--   transactional: true\n",
                "ALTER TABLE ledger ADD x INT",
                "cannot be part of a transaction",
            ),
            ("", "SET autocommit = 1", "it begins or ends a transaction"),
            ("", "DELIMITER\nSELECT 1", "does not say what ends statements"),
            (
                "",
                "CREATE PROCEDURE p() BEGIN SELECT 1;",
                "the body that begins in line 5 of the SQL has no end",
            ),
        ] {
            let error = app(&world, &shop, fields, sql).build().expect_err("refused");
            let said = error.problems()[0].to_string();
            assert!(said.contains(why), "{said}");
        }
    })
    .await;
}

#[tokio::test]
async fn ddl_that_fails_half_way_is_undone_by_its_rollback() {
    on_each(|world, shop| async move {
        let sql = "CREATE TABLE a (id INT);\nCREATE TABLE a (id INT);\n-- flamingock: rollback\nDROP TABLE IF EXISTS a;";
        let error = world.start(app(&world, &shop, "", sql)).await.expect_err("fails");
        assert!(message(&error, "changed").starts_with("statement 2 of 2 (line 6 of the SQL): Table 'a' already exists"));
        assert!(!shop.has("a").await);
        assert_eq!(world.history("changed").await, "STARTED FAILED ROLLED_BACK");
    })
    .await;
}

/// What a probe finds where the process died after the last statement, and before it could say so.
#[tokio::test]
async fn a_probe_settles_what_became_of_ddl() {
    let table = "information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'made'";
    for (probe, history, starts) in [
        (
            format!("SELECT EXISTS (SELECT 1 FROM {table})"),
            "STARTED APPLIED",
            true,
        ),
        (
            format!("SELECT IF(COUNT(*) = 1, NULL, FALSE) FROM {table}"),
            "STARTED late PROBE_UNDECIDED",
            false,
        ),
        (
            "SELECT FALSE".to_owned(),
            "STARTED ROLLED_BACK STARTED APPLIED",
            true,
        ),
        ("SELECT 'true'".to_owned(), "STARTED late PROBE_UNDECIDED", false),
    ] {
        let sql = format!("CREATE TABLE IF NOT EXISTS made (id INT);\n-- flamingock: probe\n{probe}");
        on_each(|world, shop| {
            let sql = sql.clone();
            async move {
                world.die_before_the_report(app(&world, &shop, "", &sql)).await;
                assert!(shop.has("made").await);
                let started = world.start(app(&world, &shop, "", &sql)).await;
                assert_eq!(started.is_ok(), starts, "{sql}");
                assert_eq!(world.history("changed").await, history, "{sql}");
            }
        })
        .await;
    }
}
