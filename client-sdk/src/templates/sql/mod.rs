//! `sql-template`: SQL for PostgreSQL, MySQL, MariaDB and SQLite.

use serde::Deserialize;
#[cfg(feature = "mysql")]
use sqlx::MySqlPool;
#[cfg(feature = "postgres")]
use sqlx::PgPool;
#[cfg(feature = "sqlite")]
use sqlx::SqlitePool;

#[cfg(feature = "mysql")]
use crate::target::MySqlTx;
#[cfg(feature = "postgres")]
use crate::target::PgTx;
#[cfg(feature = "sqlite")]
use crate::target::SqliteTx;
use crate::{
    change::{ChangeError, ChangeFuture, ProbeFuture, Probed},
    context::{Context, Requirement},
    target::Target,
    templates::{Payload, Steps, Template},
};

mod rules;
mod run;
mod split;

/// Executes SQL on a `PostgresTarget`, a `MySqlTarget` or a `SqliteTarget`. In change files it is `sql-template`.
///
/// `apply` and `rollback` are texts of any number of statements; `steps` of such are possible too. The target system says
/// by what rules the text is parted into statements. What cannot be part of a transaction there, such as PostgreSQL's `CREATE
/// INDEX CONCURRENTLY` or all DDL of MySQL, is recognised, and a change with it runs outside one.
///
/// `probe` is one query that gives one value: true where the change took effect, false where nothing of it did. Null or no
/// row leaves it to a person. It is rolled back, whatever it does.
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

/// By whose rules SQL is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Postgres,
    MySql,
    Sqlite,
}

impl Dialect {
    fn of(target: &Target) -> Option<Self> {
        #[cfg(feature = "postgres")]
        if target.has_client::<PgPool>() {
            return Some(Self::Postgres);
        }
        #[cfg(feature = "mysql")]
        if target.has_client::<MySqlPool>() {
            return Some(Self::MySql);
        }
        #[cfg(feature = "sqlite")]
        if target.has_client::<SqlitePool>() {
            return Some(Self::Sqlite);
        }
        None
    }

    fn requirement(self, transactional: bool) -> Requirement {
        match (self, transactional) {
            #[cfg(feature = "postgres")]
            (Self::Postgres, true) => Requirement::transaction::<PgTx>(),
            #[cfg(feature = "postgres")]
            (Self::Postgres, false) => Requirement::client::<PgPool>(),
            #[cfg(feature = "mysql")]
            (Self::MySql, true) => Requirement::transaction::<MySqlTx>(),
            #[cfg(feature = "mysql")]
            (Self::MySql, false) => Requirement::client::<MySqlPool>(),
            #[cfg(feature = "sqlite")]
            (Self::Sqlite, true) => Requirement::transaction::<SqliteTx>(),
            #[cfg(feature = "sqlite")]
            (Self::Sqlite, false) => Requirement::client::<SqlitePool>(),
            #[cfg(not(all(feature = "mysql", feature = "postgres", feature = "sqlite")))]
            _ => Requirement::nothing(),
        }
    }
}

/// SQL and whose it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "String")]
struct Text {
    sql: String,
    /// Absent where the application lacks the target system, and so cannot be built.
    dialect: Option<Dialect>,
}

impl From<String> for Text {
    fn from(sql: String) -> Self {
        Self { sql, dialect: None }
    }
}

impl Text {
    fn validate(&self) -> Result<(), Vec<String>> {
        // For a database the text ends there.
        if self.sql.contains('\0') {
            return Err(vec!["it has the character NUL, which no SQL can have".to_owned()]);
        }
        self.sql.validate()
    }

    /// Its statements, once it is known whose they are.
    fn on(&mut self, target: &Target) -> Result<(Vec<split::Statement<'_>>, Dialect), Vec<String>> {
        let Some(dialect) = Dialect::of(target) else {
            return Err(vec![format!(
                "target system `{}` takes no SQL: `sql-template` works on those of {}",
                target.id(),
                KINDS.join(", ")
            )]);
        };
        self.dialect = Some(dialect);
        let statements = split::split(&self.sql, dialect).map_err(|fault| vec![fault.to_string()])?;
        if statements.is_empty() {
            return Err(vec!["there is no statement".to_owned()]);
        }
        Ok((statements, dialect))
    }

    fn requirements(&self, transactional: bool) -> Vec<Requirement> {
        let requirement = self.dialect.map(|dialect| dialect.requirement(transactional));
        requirement.into_iter().collect()
    }

    /// Where it is not known whose it is, nothing is sent.
    fn dialect(&self) -> Result<Dialect, ChangeError> {
        self.dialect
            .ok_or_else(|| "which database the SQL is for is not known".into())
    }
}

const KINDS: &[&str] = &[
    #[cfg(feature = "postgres")]
    "`PostgresTarget`",
    #[cfg(feature = "mysql")]
    "`MySqlTarget`",
    #[cfg(feature = "sqlite")]
    "`SqliteTarget`",
];

/// A text of statements.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Sql(Text);

impl Payload for Sql {
    fn validate(&self) -> Result<(), Vec<String>> {
        self.0.validate()
    }

    fn for_target(&mut self, target: &Target) -> Result<(), Vec<String>> {
        let (statements, dialect) = self.0.on(target)?;
        let faults: Vec<_> = statements
            .iter()
            .enumerate()
            .filter_map(|(index, statement)| {
                let why = rules::refusal(statement, dialect)?;
                Some(format!(
                    "statement {} (line {} of the SQL): {why}",
                    index + 1,
                    statement.line
                ))
            })
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn requirements(&self, transactional: bool) -> Vec<Requirement> {
        self.0.requirements(transactional)
    }

    fn supports_transactions(&self) -> Option<bool> {
        // Without its target system a pipeline can be looked at, and not run.
        let dialect = self.0.dialect.unwrap_or(Dialect::Postgres);
        let statements = split::split(&self.0.sql, dialect).ok()?;
        statements
            .iter()
            .any(|statement| rules::needs_none(statement, dialect))
            .then_some(false)
    }
}

/// A query that tells whether a change took effect.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct SqlProbe(Text);

impl Payload for SqlProbe {
    fn validate(&self) -> Result<(), Vec<String>> {
        self.0.validate()
    }

    fn for_target(&mut self, target: &Target) -> Result<(), Vec<String>> {
        let (statements, _) = self.0.on(target)?;
        match rules::refusal_of_probe(&statements) {
            Some(why) => Err(vec![why.to_owned()]),
            None => Ok(()),
        }
    }

    fn requirements(&self, _transactional: bool) -> Vec<Requirement> {
        self.0.requirements(false)
    }
}

impl Template for SqlTemplate {
    const NAME: &'static str = "sql-template";
    const STEPS: Steps = Steps::Either;
    const ROLLBACK_REQUIRED: bool = false;
    type Configuration = SqlConfiguration;
    type Apply = Sql;
    type Rollback = Sql;
    type Probe = SqlProbe;

    /// The payloads say, since it depends on their target system.
    fn requirements(&self, _transactional: bool) -> Vec<Requirement> {
        Vec::new()
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

    fn probe<'a>(
        &'a self,
        probe: &'a SqlProbe,
        _: &'a SqlConfiguration,
        context: &'a mut Context,
    ) -> ProbeFuture<'a> {
        Box::pin(look(&probe.0, context))
    }
}

async fn execute(
    text: &Text,
    configuration: SqlConfiguration,
    context: &mut Context,
) -> Result<(), ChangeError> {
    let (sql, lease) = (&text.sql, context.lease.clone());
    match text.dialect()? {
        #[cfg(feature = "postgres")]
        Dialect::Postgres => match context.transaction::<PgTx>() {
            Ok(transaction) => run::inside::<sqlx::Postgres>(&mut **transaction, sql, configuration).await,
            Err(_) => run::outside(&*context.client::<PgPool>()?, sql, configuration, lease).await,
        },
        #[cfg(feature = "mysql")]
        Dialect::MySql => match context.transaction::<MySqlTx>() {
            Ok(transaction) => run::inside::<sqlx::MySql>(&mut **transaction, sql, configuration).await,
            Err(_) => run::outside(&*context.client::<MySqlPool>()?, sql, configuration, lease).await,
        },
        #[cfg(feature = "sqlite")]
        Dialect::Sqlite => match context.transaction::<SqliteTx>() {
            Ok(transaction) => run::inside::<sqlx::Sqlite>(&mut **transaction, sql, configuration).await,
            Err(_) => run::outside(&*context.client::<SqlitePool>()?, sql, configuration, lease).await,
        },
        #[cfg(not(all(feature = "mysql", feature = "postgres", feature = "sqlite")))]
        _ => Err(NOT_BUILT_IN.into()),
    }
}

async fn look(text: &Text, context: &mut Context) -> Result<Probed, ChangeError> {
    let sql = &text.sql;
    match text.dialect()? {
        #[cfg(feature = "postgres")]
        Dialect::Postgres => run::look(&*context.client::<PgPool>()?, sql).await,
        #[cfg(feature = "mysql")]
        Dialect::MySql => run::look(&*context.client::<MySqlPool>()?, sql).await,
        #[cfg(feature = "sqlite")]
        Dialect::Sqlite => run::look(&*context.client::<SqlitePool>()?, sql).await,
        #[cfg(not(all(feature = "mysql", feature = "postgres", feature = "sqlite")))]
        _ => Err(NOT_BUILT_IN.into()),
    }
}

#[cfg(not(all(feature = "mysql", feature = "postgres", feature = "sqlite")))]
const NOT_BUILT_IN: &str = "no feature of this database is built in";

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target::non_transactional("flags", 1_u8)
    }

    #[test]
    fn a_target_system_without_sql_is_refused() {
        let mut sql = Sql("SELECT 1".to_owned().into());
        let faults = sql.for_target(&target()).expect_err("refused");
        assert!(
            faults[0].starts_with("target system `flags` takes no SQL"),
            "{faults:?}"
        );
    }
}
