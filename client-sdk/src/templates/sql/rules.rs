//! What statements do to transactions, and which cannot be part of a change, in each dialect.

use super::{Dialect, split::Statement};

const STREAM: &str = "`COPY` from or to a client's stream cannot be part of a change: use `INSERT`";
const LOCAL_FILE: &str =
    "`LOAD DATA LOCAL` reads a file of the client, which cannot be part of a change: use `INSERT`";
const TRANSACTION: &str = "it begins or ends a transaction, which is the runner's to do: leave it out; what has to take effect \
                           on its own is a change, or a step, of its own";
const PROBES: &str = "a probe only looks: it is one `SELECT` that gives one value, true where the change took effect, false \
                      where it did not, and null where that cannot be said";

/// Why a statement cannot be part of a change.
pub(super) fn refusal(statement: &Statement<'_>, dialect: Dialect) -> Option<&'static str> {
    let words = words(statement);
    if let Some(why) = command_of_a_tool(statement, &words, dialect) {
        return Some(why);
    }
    let controls = match words.as_slice() {
        // MariaDB's block without a name.
        ["BEGIN", "NOT", "ATOMIC", ..] if dialect == Dialect::MySql => false,
        // To a savepoint is another thing.
        ["ROLLBACK", "TO", ..] | ["ROLLBACK", "WORK" | "TRANSACTION", "TO", ..] => false,
        ["BEGIN" | "COMMIT" | "ROLLBACK", ..] | ["START", "TRANSACTION", ..] => true,
        ["END" | "ABORT", ..] | ["PREPARE", "TRANSACTION", ..] => dialect != Dialect::MySql,
        ["XA", ..] => dialect == Dialect::MySql,
        ["SET", rest @ ..] => dialect == Dialect::MySql && rest.contains(&"AUTOCOMMIT"),
        _ => false,
    };
    if controls {
        return Some(TRANSACTION);
    }
    match (dialect, words.as_slice()) {
        (Dialect::Postgres, ["COPY", rest @ ..])
            if rest.iter().any(|word| matches!(*word, "STDIN" | "STDOUT")) =>
        {
            Some(STREAM)
        }
        (Dialect::MySql, ["LOAD", "DATA" | "XML", rest @ ..]) if rest.contains(&"LOCAL") => Some(LOCAL_FILE),
        _ => None,
    }
}

fn command_of_a_tool(statement: &Statement<'_>, words: &[&str], dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::Postgres => statement
            .text
            .starts_with('\\')
            .then_some("commands that begin with `\\` are psql's, not PostgreSQL's"),
        Dialect::MySql => (statement.text.starts_with('\\') || words.first() == Some(&"SOURCE")).then_some(
            "`SOURCE` and commands that begin with `\\` are those of the program mysql, not the server's",
        ),
        Dialect::Sqlite => statement
            .text
            .starts_with('.')
            .then_some("commands that begin with `.` are those of the program sqlite3, not SQLite's"),
    }
}

/// Why a text cannot be a probe.
pub(super) fn refusal_of_probe(statements: &[Statement<'_>]) -> Option<&'static str> {
    let [one] = statements else {
        return Some(PROBES);
    };
    let looks = matches!(
        words(one).as_slice(),
        ["SELECT" | "WITH" | "VALUES" | "TABLE", ..]
    );
    // `(SELECT …)` has its word, too. Whatever follows a semicolon was not looked at here, and could commit and write.
    (!looks || one.has_semicolon).then_some(PROBES)
}

/// Whether a statement refuses to be part of a transaction, or has no effect there.
pub(super) fn needs_none(statement: &Statement<'_>, dialect: Dialect) -> bool {
    let words = words(statement);
    match dialect {
        Dialect::Postgres => postgres_needs_none(&words),
        Dialect::MySql => mysql_commits(&words),
        Dialect::Sqlite => sqlite_needs_none(statement, &words),
    }
}

fn postgres_needs_none(words: &[&str]) -> bool {
    let concurrently = words.contains(&"CONCURRENTLY");
    match words {
        ["VACUUM", ..]
        | ["CREATE" | "DROP", "DATABASE" | "TABLESPACE", ..]
        | ["ALTER", "SYSTEM", ..]
        | ["DISCARD", "ALL", ..]
        | ["CLUSTER"]
        | ["REINDEX", "DATABASE" | "SYSTEM" | "SCHEMA", ..] => true,
        ["CREATE" | "DROP", "INDEX", ..] | ["CREATE", "UNIQUE", "INDEX", ..] | ["REINDEX", ..] => {
            concurrently
        }
        ["ALTER", "TABLE", ..] => concurrently && words.contains(&"DETACH"),
        _ => false,
    }
}

/// The statements that commit, silently, what came before them: in the transactions of
/// [`MySqlTarget`](crate::MySqlTarget) the server refuses them.
fn mysql_commits(words: &[&str]) -> bool {
    match words {
        // They are of the session alone.
        ["CREATE" | "DROP", "TEMPORARY", ..] | ["CREATE", "OR", "REPLACE", "TEMPORARY", ..] | [] => false,
        ["SET", rest @ ..] => matches!(rest, ["PASSWORD", ..] | ["DEFAULT", "ROLE", ..]),
        [first, ..] => matches!(
            *first,
            "ALTER"
                | "ANALYZE"
                | "CACHE"
                | "CHANGE"
                | "CHECK"
                | "CREATE"
                | "DROP"
                | "FLUSH"
                | "GRANT"
                | "INSTALL"
                | "LOCK"
                | "OPTIMIZE"
                | "PURGE"
                | "RENAME"
                | "REPAIR"
                | "RESET"
                | "REVOKE"
                | "START"
                | "STOP"
                | "TRUNCATE"
                | "UNINSTALL"
                | "UNLOCK"
        ),
    }
}

fn sqlite_needs_none(statement: &Statement<'_>, words: &[&str]) -> bool {
    match words {
        ["VACUUM" | "ATTACH" | "DETACH", ..] => true,
        ["PRAGMA", rest @ ..] => {
            // Names may be quoted, and then are none of the words.
            let plain = statement
                .text
                .split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            let mut named = plain.filter(|word| !word.is_empty()).skip(1).take(2);
            rest.iter().take(2).any(|word| is_bound_to_none(word)) || named.any(is_bound_to_none)
        }
        _ => false,
    }
}

/// Whether it is a pragma that in a transaction fails or, as the first, has no effect and says nothing. A schema may stand
/// before its name.
fn is_bound_to_none(pragma: &str) -> bool {
    ["FOREIGN_KEYS", "JOURNAL_MODE", "SYNCHRONOUS", "WAL_CHECKPOINT"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(pragma))
}

fn words<'s>(statement: &'s Statement<'_>) -> Vec<&'s str> {
    statement.words.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::split::split, *};
    use Dialect::{MySql, Postgres, Sqlite};

    fn of(sql: &str, dialect: Dialect, rule: impl Fn(&Statement<'_>) -> bool) -> bool {
        let statements = split(sql, dialect).expect(sql);
        assert!(!statements.is_empty(), "{sql}");
        statements.iter().any(rule)
    }

    #[test]
    fn what_cannot_be_part_of_a_transaction_is_known() {
        for (dialect, sql) in [
            (Postgres, "SELECT 1; CREATE INDEX CONCURRENTLY i ON t (a)"),
            (Postgres, "create unique index concurrently i on t (a)"),
            (Postgres, "DROP INDEX CONCURRENTLY i"),
            (Postgres, "REINDEX (CONCURRENTLY) TABLE t"),
            (Postgres, "REINDEX TABLE CONCURRENTLY t"),
            (Postgres, "VACUUM t"),
            (Postgres, "CREATE DATABASE d"),
            (Postgres, "ALTER SYSTEM SET x = 1"),
            (Postgres, "ALTER TABLE t DETACH PARTITION p CONCURRENTLY"),
            (MySql, "UPDATE t SET a = 1; alter table t add b int"),
            (MySql, "CREATE TABLE t (a INT)"),
            (
                MySql,
                "/*!50003 CREATE*/ TRIGGER t AFTER INSERT ON x FOR EACH ROW SET @a = 1",
            ),
            (MySql, "TRUNCATE t"),
            (MySql, "GRANT SELECT ON t TO u"),
            (MySql, "SET PASSWORD = 'x'"),
            (MySql, "LOCK TABLES t WRITE"),
            (Sqlite, "VACUUM"),
            (Sqlite, "pragma foreign_keys = off"),
            (Sqlite, "PRAGMA main.journal_mode = wal"),
            (Sqlite, "PRAGMA \"foreign_keys\" = OFF"),
            (Sqlite, "PRAGMA [main] . 'foreign_keys' = OFF"),
            (Sqlite, "ATTACH 'a.db' AS a"),
        ] {
            assert!(
                of(sql, dialect, |statement| needs_none(statement, dialect)),
                "{sql}"
            );
        }
        for (dialect, sql) in [
            (Postgres, "CREATE INDEX i ON t (a)"),
            (Postgres, "CREATE TABLE vacuum (a int)"),
            (Postgres, "SELECT 'VACUUM; CREATE DATABASE d'"),
            (Postgres, "-- VACUUM\nSELECT 1"),
            (Postgres, "REFRESH MATERIALIZED VIEW CONCURRENTLY v"),
            (Postgres, "REINDEX TABLE t"),
            (MySql, "INSERT INTO t VALUES ('CREATE')"),
            (MySql, "CREATE TEMPORARY TABLE t (a INT); DROP TEMPORARY TABLE t"),
            (MySql, "SET @a = 1"),
            (MySql, "CALL p()"),
            (Sqlite, "CREATE TABLE t (a); ALTER TABLE t ADD b; DROP TABLE t"),
            (Sqlite, "PRAGMA user_version = 7"),
            (Sqlite, "PRAGMA main.table_info('synchronous')"),
        ] {
            assert!(
                !of(sql, dialect, |statement| needs_none(statement, dialect)),
                "{sql}"
            );
        }
    }

    #[test]
    fn what_cannot_be_part_of_a_change_is_refused() {
        for (dialect, sql) in [
            (Postgres, "COMMIT"),
            (Postgres, "start transaction"),
            (Postgres, "PREPARE TRANSACTION 'a'"),
            (Postgres, "COPY t FROM STDIN"),
            (Postgres, "\\c other"),
            (MySql, "BEGIN"),
            (MySql, "START TRANSACTION READ ONLY"),
            (MySql, "XA COMMIT 'a'"),
            (MySql, "SET SESSION autocommit = 0"),
            (MySql, "LOAD DATA LOCAL INFILE 'a' INTO TABLE t"),
            (MySql, "source other.sql"),
            (Sqlite, "BEGIN IMMEDIATE"),
            (Sqlite, "END TRANSACTION"),
            (Sqlite, ".tables"),
        ] {
            assert!(
                of(sql, dialect, |statement| refusal(statement, dialect).is_some()),
                "{sql}"
            );
        }
        for (dialect, sql) in [
            (
                Postgres,
                "SAVEPOINT a; ROLLBACK TO a; ROLLBACK WORK TO SAVEPOINT a; RELEASE a",
            ),
            (Postgres, "COPY t FROM '/file'"),
            (
                Postgres,
                "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$",
            ),
            (MySql, "CREATE PROCEDURE p() BEGIN START TRANSACTION; COMMIT; END"),
            (MySql, "BEGIN NOT ATOMIC SET @a = 1; END"),
            (MySql, "LOAD DATA INFILE '/file' INTO TABLE t"),
            (Sqlite, "ROLLBACK TRANSACTION TO a"),
        ] {
            assert!(
                !of(sql, dialect, |statement| refusal(statement, dialect).is_some()),
                "{sql}"
            );
        }
    }

    #[test]
    fn a_probe_is_one_query() {
        for sql in [
            "",
            "SELECT 1; SELECT 2",
            "DELETE FROM t",
            "SET x = 1",
            "INSERT INTO t SELECT 1",
        ] {
            let statements = split(sql, Postgres).expect(sql);
            assert!(refusal_of_probe(&statements).is_some(), "{sql}");
        }
        for (sql, dialect) in [
            ("DELIMITER //\nSELECT 1; COMMIT; DELETE FROM t//", MySql),
            ("SELECT 1 /*! ; COMMIT */", MySql),
        ] {
            let statements = split(sql, dialect).expect(sql);
            assert!(refusal_of_probe(&statements).is_some(), "{sql}");
        }
        for sql in [
            "SELECT true;",
            "SELECT ';', $$;$$ -- ;",
            "with a as (select 1) select * from a",
            "(SELECT true)",
            "VALUES (true)",
        ] {
            let statements = split(sql, Postgres).expect(sql);
            assert_eq!(refusal_of_probe(&statements), None, "{sql}");
        }
    }
}
