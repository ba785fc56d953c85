//! `sql-template`: SQL for PostgreSQL.

use serde::Deserialize;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, postgres::PgDatabaseError};

use super::{Payload, Steps, Template};
use crate::{
    change::{ChangeError, ChangeFuture},
    context::{Context, Requirement},
    target::PgTx,
};

mod split;

/// Executes SQL on a [`PostgresTarget`](crate::PostgresTarget). In change files it is `sql-template`.
///
/// `apply` and `rollback` are texts of any number of statements; `steps` of such are possible too. What cannot be part
/// of a transaction, such as `CREATE INDEX CONCURRENTLY`, is recognised, and a change with it runs outside one.
#[derive(Clone, Copy, Debug, Default)]
pub struct SqlTemplate;

/// The `configuration` of `sql-template`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SqlConfiguration {
    /// Whether each statement is sent by itself, so that an error names it. Otherwise the text is sent as one, which
    /// PostgreSQL, outside a transaction, takes as one transaction.
    pub split_statements: bool,
}

impl Default for SqlConfiguration {
    fn default() -> Self {
        Self {
            split_statements: true,
        }
    }
}

/// A text of statements.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Sql(String);

impl Payload for Sql {
    fn validate(&self) -> Result<(), Vec<String>> {
        let statements = split::split(&self.0).map_err(|error| {
            vec![format!(
                "the {} that begins in line {} of the SQL has no end",
                error.what, error.line
            )]
        })?;
        if statements.is_empty() {
            return Err(vec!["there is no statement".to_owned()]);
        }
        let faults: Vec<_> = statements
            .iter()
            .enumerate()
            .filter_map(|(index, statement)| {
                let why = refusal(statement)?;
                Some(format!(
                    "statement {} (line {} of the SQL): {why}",
                    index + 1,
                    statement.line
                ))
            })
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn supports_transactions(&self) -> Option<bool> {
        let statements = split::split(&self.0).ok()?;
        statements
            .iter()
            .any(|statement| needs_none(&words(statement)))
            .then_some(false)
    }
}

impl Template for SqlTemplate {
    const NAME: &'static str = "sql-template";
    const STEPS: Steps = Steps::Either;
    const ROLLBACK_REQUIRED: bool = false;
    type Configuration = SqlConfiguration;
    type Apply = Sql;
    type Rollback = Sql;

    fn requirements(&self, transactional: bool) -> Vec<Requirement> {
        vec![if transactional {
            Requirement::transaction::<PgTx>()
        } else {
            Requirement::client::<PgPool>()
        }]
    }

    fn apply<'a>(
        &'a self,
        sql: &'a Sql,
        configuration: &'a SqlConfiguration,
        context: &'a mut Context,
    ) -> ChangeFuture<'a> {
        Box::pin(execute(&sql.0, *configuration, context))
    }

    fn rollback<'a>(
        &'a self,
        sql: &'a Sql,
        configuration: &'a SqlConfiguration,
        context: &'a mut Context,
    ) -> ChangeFuture<'a> {
        Box::pin(execute(&sql.0, *configuration, context))
    }
}

async fn execute(
    sql: &str,
    configuration: SqlConfiguration,
    context: &mut Context,
) -> Result<(), ChangeError> {
    if let Ok(transaction) = context.transaction::<PgTx>() {
        return send(sql, configuration, transaction, || true).await;
    }
    // Taken from the pool for good: what the SQL sets in its session must not stay for the application.
    let mut connection = context.client::<PgPool>()?.acquire().await?.detach();
    let lease = context.lease.clone();
    let sent = send(sql, configuration, &mut connection, || !lease.is_lost()).await;
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "the connection did not end well");
    }
    sent
}

async fn send(
    sql: &str,
    configuration: SqlConfiguration,
    connection: &mut PgConnection,
    may_go_on: impl Fn() -> bool,
) -> Result<(), ChangeError> {
    if !configuration.split_statements {
        let sent = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
        return sent.map(drop).map_err(|error| failed("the SQL", error));
    }
    // It was split when the application was built, or there would be no change.
    let statements = split::split(sql).map_err(|error| format!("a {} has no end", error.what))?;
    let of = statements.len();
    for (index, statement) in statements.iter().enumerate() {
        if !may_go_on() {
            let text = format!("the lock was lost before statement {} of {of}", index + 1);
            return Err(text.into());
        }
        let sent = sqlx::raw_sql(AssertSqlSafe(statement.text))
            .execute(&mut *connection)
            .await;
        sent.map_err(|error| {
            let what = format!(
                "statement {} of {of} (line {} of the SQL)",
                index + 1,
                statement.line
            );
            failed(&what, error)
        })?;
    }
    Ok(())
}

/// What PostgreSQL says, in full. Other errors are kept as they are, below what was being done.
fn failed(what: &str, error: sqlx::Error) -> ChangeError {
    let name = std::any::type_name::<sqlx::Error>();
    let said = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    let Some(said) = said else {
        let what = what.to_owned();
        return ChangeError::named(name, Box::new(ConnectionError { what, source: error }));
    };
    let mut text = format!("{what}: {} (SQLSTATE {})", said.message(), said.code());
    for (label, more) in [("detail", said.detail()), ("hint", said.hint())] {
        if let Some(more) = more {
            text = format!("{text}; {label}: {more}");
        }
    }
    ChangeError::named(name, text.into())
}

#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct ConnectionError {
    what: String,
    source: sqlx::Error,
}

fn words<'s>(statement: &'s split::Statement<'_>) -> Vec<&'s str> {
    statement.words.iter().map(String::as_str).collect()
}

/// Why a statement cannot be part of a change.
fn refusal(statement: &split::Statement<'_>) -> Option<&'static str> {
    if statement.text.starts_with('\\') {
        return Some("commands that begin with `\\` are psql's, not PostgreSQL's");
    }
    let words = words(statement);
    let controls = match words.as_slice() {
        // To a savepoint is another thing.
        ["ROLLBACK", "TO", ..] | ["ROLLBACK", "WORK" | "TRANSACTION", "TO", ..] => false,
        ["BEGIN" | "COMMIT" | "END" | "ABORT" | "ROLLBACK", ..]
        | ["START" | "PREPARE", "TRANSACTION", ..] => true,
        ["COPY", rest @ ..] => {
            let streams = rest.iter().any(|word| matches!(*word, "STDIN" | "STDOUT"));
            return streams
                .then_some("`COPY` from or to a client's stream cannot be part of a change: use `INSERT`");
        }
        _ => false,
    };
    controls.then_some(
        "it begins or ends a transaction, which is the runner's to do: leave it out; what has to take effect on its own is \
         a change, or a step, of its own",
    )
}

/// Whether a statement refuses to be part of a transaction.
fn needs_none(words: &[&str]) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(text: &str) -> Sql {
        Sql(text.to_owned())
    }

    #[test]
    fn what_cannot_be_part_of_a_transaction_is_known() {
        for text in [
            "SELECT 1; CREATE INDEX CONCURRENTLY i ON t (a)",
            "create unique index concurrently i on t (a)",
            "DROP INDEX CONCURRENTLY i",
            "REINDEX (CONCURRENTLY) TABLE t",
            "REINDEX TABLE CONCURRENTLY t",
            "VACUUM t",
            "CREATE DATABASE d",
            "ALTER SYSTEM SET x = 1",
            "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
        ] {
            assert_eq!(sql(text).supports_transactions(), Some(false), "{text}");
        }
        for text in [
            "CREATE INDEX i ON t (a)",
            "CREATE TABLE vacuum (a int)",
            "SELECT 'VACUUM; CREATE DATABASE d'",
            "-- VACUUM\nSELECT 1",
            "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
            "REINDEX TABLE t",
        ] {
            assert_eq!(sql(text).supports_transactions(), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_part_of_a_change_is_refused() {
        for (text, why) in [
            ("  -- only a remark\n ;", "there is no statement"),
            (
                "SELECT 'a",
                "the string that begins in line 1 of the SQL has no end",
            ),
            (
                "SELECT 1;\nCOMMIT;",
                "statement 2 (line 2 of the SQL): it begins or ends a transaction",
            ),
            ("start transaction", "begins or ends"),
            ("COPY t FROM STDIN", "`COPY` from or to"),
            ("\\c other", "are psql's"),
        ] {
            let faults = sql(text).validate().expect_err(text);
            assert!(faults[0].contains(why), "{text}: {faults:?}");
        }
        for text in [
            "SAVEPOINT a; ROLLBACK TO a; ROLLBACK WORK TO SAVEPOINT a; RELEASE a",
            "COPY t FROM '/file'",
            "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$",
        ] {
            assert_eq!(sql(text).validate(), Ok(()), "{text}");
        }
    }
}
