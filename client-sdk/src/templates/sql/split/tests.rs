use proptest::prelude::*;

use super::*;

fn texts(sql: &str, dialect: Dialect) -> Vec<&str> {
    split(sql, dialect)
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
        .into_iter()
        .map(|statement| statement.text)
        .collect()
}

#[test]
fn statements_are_parted_where_postgresql_parts_them() {
    for (sql, expected) in [
        ("", &[][..]),
        (" ;; -- nothing\n ; /* ; */", &[]),
        ("a; b", &["a", "b"]),
        ("a;b;", &["a", "b"]),
        ("a -- ;\n b; c", &["a -- ;\n b", "c"]),
        ("a /* ; /* ; */ ; */ b; c", &["a /* ; /* ; */ ; */ b", "c"]),
        ("-- before\na /* x */; -- after", &["a"]),
        ("SELECT ';' ';;'; b", &["SELECT ';' ';;'", "b"]),
        ("SELECT 'it''s;'; b", &["SELECT 'it''s;'", "b"]),
        // A backslash is a letter, but in an E string it is not.
        (r"SELECT '\'; b", &[r"SELECT '\'", "b"]),
        (r"SELECT E'\';'; b", &[r"SELECT E'\';'", "b"]),
        (r"SELECT e'\\'; b", &[r"SELECT e'\\'", "b"]),
        ("SELECT E'a'\n  '\\';'; b", &["SELECT E'a'\n  '\\';'", "b"]),
        ("SELECT E'a' -- c\n", &["SELECT E'a'"]),
        (r"SELECT type'\'; b", &[r"SELECT type'\'", "b"]),
        ("SELECT U&'\\0041;'; b", &["SELECT U&'\\0041;'", "b"]),
        (r#"SELECT ";""x;"; b"#, &[r#"SELECT ";""x;""#, "b"]),
        ("DO $$ a; b; $$; c", &["DO $$ a; b; $$", "c"]),
        ("DO $x$ a; $$ ; $y$; $x$; c", &["DO $x$ a; $$ ; $y$; $x$", "c"]),
        ("SELECT $1; b", &["SELECT $1", "b"]),
        ("SELECT $1$; b", &["SELECT $1$", "b"]),
        ("SELECT a$$; b$$", &["SELECT a$$", "b$$"]),
        (
            "CREATE RULE r AS ON INSERT TO t DO (a; b); c",
            &["CREATE RULE r AS ON INSERT TO t DO (a; b)", "c"],
        ),
        (") ; b", &[")", "b"]),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; b",
            &[
                "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END",
                "b",
            ],
        ),
        (
            "create or replace procedure p() begin atomic a; end; b",
            &["create or replace procedure p() begin atomic a; end", "b"],
        ),
        ("BEGIN; a; END; b", &["BEGIN", "a", "END", "b"]),
        ("é; ü", &["é", "ü"]),
        ("SELECT $é$;$é$; b", &["SELECT $é$;$é$", "b"]),
    ] {
        assert_eq!(texts(sql, Dialect::Postgres), expected, "{sql}");
    }
}

#[test]
fn lines_and_words_are_known() {
    let statements = split(
        "\n-- c\nCreate\n index Concurrently \"i\";\n\nb",
        Dialect::Postgres,
    )
    .expect("splits");
    assert_eq!(statements[0].line, 3);
    assert_eq!(statements[0].words, ["CREATE", "INDEX", "CONCURRENTLY"]);
    assert_eq!(statements[1].line, 6);
}

#[test]
fn statements_are_parted_where_mysql_parts_them() {
    for (sql, expected) in [
        (" ;; -- nothing\n ; # ;\n /* ; */", &[][..]),
        ("a -- ;\n b; c # ;\n d", &["a -- ;\n b", "c # ;\n d"]),
        // Two minus signs before anything but white space are two minus signs.
        ("SELECT 5--1; b", &["SELECT 5--1", "b"]),
        ("a; --", &["a"]),
        ("a /* ; /* ; */ b; c", &["a /* ; /* ; */ b", "c"]),
        (
            r#"SELECT 'it''s;', "a;""b", '\';', "\";"; b"#,
            &[r#"SELECT 'it''s;', "a;""b", '\';', "\";""#, "b"],
        ),
        ("SELECT `;``x;\\`; b", &["SELECT `;``x;\\`", "b"]),
        ("SELECT $$; b; $$", &["SELECT $$", "b", "$$"]),
        (
            "/*!40101 SET NAMES utf8 */; /*!50003 CREATE*/ /*!50017 DEFINER=`a`@`b`*/ /*!50003 TRIGGER t BEFORE INSERT ON x \
             FOR EACH ROW SET new.a = ';' */; b",
            &[
                "/*!40101 SET NAMES utf8 */",
                "/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`b`*/ /*!50003 TRIGGER t BEFORE INSERT ON x FOR EACH ROW SET new.a = \
                 ';' */",
                "b",
            ],
        ),
        (
            "/*M!100500 SET a = 1; */; /*+ none */ b",
            &["/*M!100500 SET a = 1; */", "b"],
        ),
        // Another delimiter ends a statement wherever it stands, and nothing else does.
        (
            "DELIMITER //\nCREATE PROCEDURE p() BEGIN a; b; END//\nc //\ndelimiter ;\nd; e",
            &["CREATE PROCEDURE p() BEGIN a; b; END", "c", "d", "e"],
        ),
        ("DELIMITER $$\r\na; b END$$ c$$", &["a; b END", "c"]),
        ("DELIMITER ;;\na; b;;\nDELIMITER ;\nc; d", &["a; b", "c", "d"]),
        ("SELECT delimiter; b", &["SELECT delimiter", "b"]),
        // One of letters, with which a word inside `/*! … */` begins.
        (
            "DELIMITER go\n/*!50003 goto x */ go\nb go",
            &["/*!50003 goto x */", "b"],
        ),
        // Without one, bodies are known.
        (
            "CREATE DEFINER = 'a'@'%' PROCEDURE IF NOT EXISTS p(x INT) COMMENT ';' BEGIN IF x THEN a; ELSEIF y THEN b; ELSE c; \
             END IF; CASE x WHEN 1 THEN a; ELSE BEGIN END; END CASE; END; b",
            &[
                "CREATE DEFINER = 'a'@'%' PROCEDURE IF NOT EXISTS p(x INT) COMMENT ';' BEGIN IF x THEN a; ELSEIF y THEN b; ELSE c; \
                 END IF; CASE x WHEN 1 THEN a; ELSE BEGIN END; END CASE; END",
                "b",
            ],
        ),
        (
            "create procedure p() l: loop a; repeat b; until c end repeat; while d do e; end while; leave l; end loop l; b",
            &[
                "create procedure p() l: loop a; repeat b; until c end repeat; while d do e; end while; leave l; end loop l",
                "b",
            ],
        ),
        (
            "CREATE FUNCTION f(x INT) RETURNS INT DETERMINISTIC RETURN IF(x, CASE WHEN x THEN 1 END, REPEAT('a', 2)); b",
            &[
                "CREATE FUNCTION f(x INT) RETURNS INT DETERMINISTIC RETURN IF(x, CASE WHEN x THEN 1 END, REPEAT('a', 2))",
                "b",
            ],
        ),
        (
            "CREATE FUNCTION f() RETURNS INT RETURN CASE WHEN x THEN IF(a, b, c) ELSE IF(d, e, f) END; b",
            &[
                "CREATE FUNCTION f() RETURNS INT RETURN CASE WHEN x THEN IF(a, b, c) ELSE IF(d, e, f) END",
                "b",
            ],
        ),
        (
            "CREATE TRIGGER t AFTER UPDATE ON x FOR EACH ROW IF NEW.end > OLD.begin THEN SET @end = 1; UPDATE y SET end = 2; \
             END IF; b",
            &[
                "CREATE TRIGGER t AFTER UPDATE ON x FOR EACH ROW IF NEW.end > OLD.begin THEN SET @end = 1; UPDATE y SET end = 2; \
                 END IF",
                "b",
            ],
        ),
        (
            "CREATE TRIGGER t AFTER UPDATE ON x FOR EACH ROW SET @a = IF(1, 2, 3); b",
            &[
                "CREATE TRIGGER t AFTER UPDATE ON x FOR EACH ROW SET @a = IF(1, 2, 3)",
                "b",
            ],
        ),
        (
            "ALTER EVENT e ON SCHEDULE EVERY 1 DAY DO BEGIN a; b; END; BEGIN NOT ATOMIC FOR i IN 1..3 DO a; END FOR; END; b",
            &[
                "ALTER EVENT e ON SCHEDULE EVERY 1 DAY DO BEGIN a; b; END",
                "BEGIN NOT ATOMIC FOR i IN 1..3 DO a; END FOR; END",
                "b",
            ],
        ),
        (
            "CREATE TABLE event (begin INT, `end` INT); b",
            &["CREATE TABLE event (begin INT, `end` INT)", "b"],
        ),
        (
            "CREATE VIEW v AS SELECT CASE WHEN a THEN b END; c",
            &["CREATE VIEW v AS SELECT CASE WHEN a THEN b END", "c"],
        ),
        ("BEGIN; a; END; b", &["BEGIN", "a", "END", "b"]),
        ("IF a; b", &["IF a", "b"]),
    ] {
        assert_eq!(texts(sql, Dialect::MySql), expected, "{sql}");
    }
}

#[test]
fn statements_are_parted_where_sqlite_parts_them() {
    for (sql, expected) in [
        (" ;; -- nothing\n ; /* ; */", &[][..]),
        ("a --;\n b; c", &["a --;\n b", "c"]),
        ("a /* ; /* ; */ b; c", &["a /* ; /* ; */ b", "c"]),
        (r"SELECT '\', 'it''s;'; b", &[r"SELECT '\', 'it''s;'", "b"]),
        (
            r#"SELECT ";""x;", `;``y`, [;'"z]; b"#,
            &[r#"SELECT ";""x;", `;``y`, [;'"z]"#, "b"],
        ),
        ("SELECT $a, :b, @c, ?1; # d", &["SELECT $a, :b, @c, ?1", "# d"]),
        ("SELECT $a('); b; --'); c", &["SELECT $a(')", "b"]),
        ("a; \u{feff}COMMIT", &["a", "COMMIT"]),
        (
            "CREATE TEMP TRIGGER IF NOT EXISTS t AFTER UPDATE ON x WHEN CASE new.a WHEN 1 THEN 1 END BEGIN UPDATE y SET a = CASE \
             WHEN 1 THEN 2 END; DELETE FROM z; END; b",
            &[
                "CREATE TEMP TRIGGER IF NOT EXISTS t AFTER UPDATE ON x WHEN CASE new.a WHEN 1 THEN 1 END BEGIN UPDATE y SET a = \
                 CASE WHEN 1 THEN 2 END; DELETE FROM z; END",
                "b",
            ],
        ),
        (
            "create trigger t begin a; end -- ;\n ; b",
            &["create trigger t begin a; end", "b"],
        ),
        ("CREATE TABLE trigger (a); b", &["CREATE TABLE trigger (a)", "b"]),
        ("BEGIN; a; END; b", &["BEGIN", "a", "END", "b"]),
    ] {
        assert_eq!(texts(sql, Dialect::Sqlite), expected, "{sql}");
    }
}

#[test]
fn what_does_not_end_is_named_with_its_line() {
    use Dialect::{MySql, Postgres, Sqlite};
    for (sql, dialect, line, what) in [
        ("a;\n'b", Postgres, 2, "string"),
        ("\n\"b", Postgres, 2, "quoted name"),
        ("/* /* */", Postgres, 1, "comment"),
        ("a;\n\nDO $x$ $$", Postgres, 3, "dollar-quoted string"),
        ("E'\\'", Postgres, 1, "string"),
        ("a;\n\"\\\"", MySql, 2, "string"),
        ("`b``", MySql, 1, "quoted name"),
        ("a;\n/*!50003 b", MySql, 2, "comment"),
        ("a;\nCREATE PROCEDURE p()\nBEGIN a; b;", MySql, 2, "body"),
        ("[b", Sqlite, 1, "quoted name"),
        ("/* a", Sqlite, 1, "comment"),
        ("a;\n\nCREATE TRIGGER t BEGIN a; b;", Sqlite, 3, "body"),
    ] {
        assert_eq!(
            split(sql, dialect),
            Err(Fault::Unterminated { line, what }),
            "{dialect:?} {sql}"
        );
    }
    assert_eq!(
        split("a;\nDELIMITER \nb", MySql),
        Err(Fault::NoDelimiter { line: 2 })
    );
}

/// Pieces that each may hold semicolons, none of which ends the statement.
fn piece(dialect: Dialect) -> BoxedStrategy<String> {
    let shared = prop_oneof![
        "[a-df-z_][a-z0-9_]{0,6}",
        "[0-9]{1,4}",
        "[;a-z \"$\n-]{0,8}".prop_map(|text| format!("'{text}'")),
        "[;a-z]{0,4}".prop_map(|text| format!("'{text}''{text}'")),
        "[;a-z'\" $]{0,8}".prop_map(|text| format!("-- {text}\n")),
        Just("=".to_owned()),
    ];
    let own = match dialect {
        Dialect::Postgres => prop_oneof![
            "[;\\\\a-z \"$\n-]{0,8}".prop_map(|text| format!("'{text}'")),
            "[;a-z \"$\n]{0,8}".prop_map(|text| format!("E'\\'{text}\\\\'")),
            "[;a-z '$\n-]{0,8}".prop_map(|text| format!("\"{text}\"")),
            "[;a-z'\" /*\n-]{0,8}".prop_map(|text| format!("$q1${text}$q1$")),
            "[;a-z'\" $\n]{0,8}".prop_map(|text| format!("/* {text} /* ; */ */")),
            "[;a-z ]{0,8}".prop_map(|text| format!("({text})")),
            Just("$1".to_owned()),
        ]
        .boxed(),
        Dialect::MySql => prop_oneof![
            "[;a-z \"\n]{0,8}".prop_map(|text| format!("'\\'{text}\\\\'")),
            "[;a-z '\n]{0,8}".prop_map(|text| format!("\"\\\"{text}\"")),
            "[;a-z '\"\\\\\n]{0,8}".prop_map(|text| format!("`{text}`")),
            "[;a-z'\"` $]{0,8}".prop_map(|text| format!("# {text}\n")),
            "[;a-z'\"` /\n]{0,8}".prop_map(|text| format!("/* {text} */")),
            "[;a-z \n]{0,8}".prop_map(|text| format!("/*!50003 {text} ';*/' */")),
            Just("5--1".to_owned()),
        ]
        .boxed(),
        Dialect::Sqlite => prop_oneof![
            "[;\\\\a-z \"$\n-]{0,8}".prop_map(|text| format!("'{text}'")),
            "[;a-z '\n-]{0,8}".prop_map(|text| format!("\"{text}\"")),
            "[;a-z '\"\n-]{0,8}".prop_map(|text| format!("`{text}`")),
            "[;a-z '\"`\n-]{0,8}".prop_map(|text| format!("[{text}]")),
            "[;a-z'\"` /\n]{0,8}".prop_map(|text| format!("/* {text} */")),
            Just("$a".to_owned()),
        ]
        .boxed(),
    };
    prop_oneof![shared, own].boxed()
}

fn dialect() -> impl Strategy<Value = Dialect> {
    prop_oneof![
        Just(Dialect::Postgres),
        Just(Dialect::MySql),
        Just(Dialect::Sqlite)
    ]
}

/// A statement: begins and ends with a word, so that no comment is at an edge.
fn statement(dialect: Dialect) -> impl Strategy<Value = String> {
    let plain = proptest::collection::vec(piece(dialect), 1..6)
        .prop_map(|pieces| format!("w {} w", pieces.join(" ")));
    let body = |before: &'static str| {
        proptest::collection::vec(proptest::collection::vec(piece(dialect), 1..4), 1..4).prop_map(
            move |statements| {
                let inner: Vec<_> = statements
                    .iter()
                    .map(|pieces| format!("w {} w;", pieces.join(" ")))
                    .collect();
                format!("{before} {} END", inner.join("\n"))
            },
        )
    };
    match dialect {
        Dialect::Postgres => plain.boxed(),
        Dialect::MySql => prop_oneof![
            plain,
            body("CREATE PROCEDURE p() BEGIN IF a THEN b; END IF; "),
            body("CREATE TRIGGER t FOR EACH ROW BEGIN "),
        ]
        .boxed(),
        Dialect::Sqlite => prop_oneof![plain, body("CREATE TRIGGER t BEGIN ")].boxed(),
    }
}

proptest! {
    #[test]
    fn what_was_put_together_is_parted_again(
        (dialect, statements) in dialect()
            .prop_flat_map(|dialect| (Just(dialect), proptest::collection::vec(statement(dialect), 1..6)))
    ) {
        let sql = statements.join(" ;\n");
        prop_assert_eq!(texts(&sql, dialect), statements);
    }

    #[test]
    fn nothing_makes_it_panic_and_nothing_is_lost(
        dialect in dialect(),
        sql in "([ae;'\"$\\\\/*!#`\\[\n()é-]|BEGIN |END|CREATE |TRIGGER |DELIMITER ){0,40}"
    ) {
        if let Ok(statements) = split(&sql, dialect) {
            let mut rest = sql.as_str();
            for statement in statements {
                let position = rest.find(statement.text);
                prop_assert!(position.is_some());
                rest = &rest[position.unwrap_or_default() + statement.text.len()..];
            }
        }
    }
}
