//! Sending SQL to whichever database the change's target system is.

use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Connection as _, Database, Executor, Pool, pool::PoolConnection};

use super::{Dialect, SqlConfiguration, split};
use crate::{
    causes::{self, Rows},
    change::{ChangeError, Probed},
    lease::Lease,
};

/// A database as far as sqlx does not know it.
pub(super) trait Spoken: Database {
    const DIALECT: Dialect;
    /// Begins what only looks. It is always rolled back.
    const BEGIN_LOOKING: &'static str;

    /// The truth in a row's only column.
    fn truth(row: &Self::Row) -> Result<Option<bool>, sqlx::Error>;

    /// The setting of the session under which the database reads this SQL otherwise than it was parted.
    async fn misread_under(
        _: &mut Self::Connection,
        _sql: &str,
    ) -> Result<Option<&'static str>, sqlx::Error> {
        Ok(None)
    }

    /// Ends a transaction that statements outside of one have left open, and says whether there was one.
    async fn ends_open_transaction(_: &mut Self::Connection) -> Result<bool, sqlx::Error> {
        Ok(false)
    }

    /// Whether the data are gone with the connection.
    async fn dies_with_connection(_: &mut Self::Connection) -> Result<bool, sqlx::Error> {
        Ok(false)
    }
}

/// Sends the statements of a change in its transaction.
pub(super) async fn inside<DB>(
    connection: &mut DB::Connection,
    sql: &str,
    configuration: SqlConfiguration,
) -> Result<(), ChangeError>
where
    DB: Spoken,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    send::<DB>(connection, sql, configuration, None).await
}

/// Sends the statements of a change outside a transaction.
pub(super) async fn outside<DB>(
    pool: &Pool<DB>,
    sql: &str,
    configuration: SqlConfiguration,
    lease: Lease,
) -> Result<(), ChangeError>
where
    DB: Spoken,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let mut pooled: PoolConnection<DB> = pool.acquire().await?;
    if DB::dies_with_connection(&mut pooled).await? {
        return send_and_leave_none_open::<DB>(&mut pooled, sql, configuration, &lease).await;
    }
    // Taken from the pool for good: what the SQL sets in its session must not stay for the application.
    let mut connection = pooled.detach();
    let sent = send_and_leave_none_open::<DB>(&mut connection, sql, configuration, &lease).await;
    if let Err(error) = connection.close().await {
        tracing::debug!(error = %causes::one_line(&error), "the connection did not end well");
    }
    sent
}

/// What is in a transaction that is still open is gone with the connection, and so was not done.
async fn send_and_leave_none_open<DB>(
    connection: &mut DB::Connection,
    sql: &str,
    configuration: SqlConfiguration,
    lease: &Lease,
) -> Result<(), ChangeError>
where
    DB: Spoken,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let sent = send::<DB>(connection, sql, configuration, Some(lease)).await;
    let was_open = DB::ends_open_transaction(connection).await;
    sent?;
    if was_open? {
        return Err("the SQL left a transaction open, which was rolled back: of what it did only what was committed before stays"
            .into());
    }
    Ok(())
}

async fn send<DB>(
    connection: &mut DB::Connection,
    sql: &str,
    configuration: SqlConfiguration,
    lease: Option<&Lease>,
) -> Result<(), ChangeError>
where
    DB: Spoken,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    if !configuration.split_statements {
        let sent = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
        return sent.map(drop).map_err(|error| failed("the SQL", error));
    }
    // It was split when the application was built, or there would be no change.
    let statements = split::split(sql, DB::DIALECT).map_err(|fault| fault.to_string())?;
    if let Some(setting) = DB::misread_under(connection, sql).await? {
        let text = format!(
            "the session has {setting}, under which a backslash in this SQL ends a string elsewhere than the SDK reads it; \
             nothing was sent. Take the setting away for the pool's connections, write the string without a backslash, or \
             write `splitStatements: false` if the SQL is one statement"
        );
        return Err(text.into());
    }
    let of = statements.len();
    for (index, statement) in statements.iter().enumerate() {
        if lease.is_some_and(Lease::is_lost) {
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

/// Asks the database whether the change took effect.
pub(super) async fn look<DB>(pool: &Pool<DB>, sql: &str) -> Result<Probed, ChangeError>
where
    DB: Spoken,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let failed = |error| failed("the probe", error);
    // Validated to be one statement: without the semicolon, and without what the tool alone knows.
    let statements = split::split(sql, DB::DIALECT).map_err(|fault| fault.to_string())?;
    let [statement] = statements.as_slice() else {
        return Err("the probe is not one statement".into());
    };
    let mut transaction = pool.begin_with(DB::BEGIN_LOOKING).await.map_err(failed)?;
    let mut rows = sqlx::raw_sql(AssertSqlSafe(statement.text)).fetch(&mut *transaction);
    let first = rows.try_next().await.map_err(failed)?;
    let more = rows.try_next().await.map_err(failed)?.is_some();
    drop(rows);
    transaction.rollback().await.map_err(failed)?;
    if more {
        return Err("the probe gives more than one row: it is to give one, with one value".into());
    }
    let Some(row) = first else {
        return Ok(Probed::Unknown);
    };
    Ok(match DB::truth(&row).map_err(failed)? {
        Some(true) => Probed::Applied,
        Some(false) => Probed::NotApplied,
        None => Probed::Unknown,
    })
}

/// What the database says. Other errors are kept as they are, below what was being done.
fn failed(what: &str, error: sqlx::Error) -> ChangeError {
    let name = std::any::type_name::<sqlx::Error>();
    if let Some(said) = causes::sql::said(&error, Rows::Told) {
        return ChangeError::named(name, format!("{what}: {said}").into());
    }
    let what = what.to_owned();
    ChangeError::named(name, Box::new(ConnectionError { what, source: error }))
}

#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct ConnectionError {
    what: String,
    source: sqlx::Error,
}

/// That a row has one column.
fn alone<R: sqlx::Row>(row: &R) -> Result<(), sqlx::Error> {
    if row.len() == 1 {
        return Ok(());
    }
    let text = format!("it gives {} columns, and one is asked for", row.len());
    Err(sqlx::Error::Decode(text.into()))
}

/// Where a truth is a number.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
fn of_number(number: Option<i64>) -> Result<Option<bool>, sqlx::Error> {
    match number {
        None => Ok(None),
        Some(0) => Ok(Some(false)),
        Some(1) => Ok(Some(true)),
        Some(other) => {
            let text = format!("it gives {other}, which is neither true (1) nor false (0)");
            Err(sqlx::Error::Decode(text.into()))
        }
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use sqlx::{Postgres, Row as _, postgres::PgRow};

    use super::{super::Dialect, Spoken, alone};

    impl Spoken for Postgres {
        const DIALECT: Dialect = Dialect::Postgres;
        const BEGIN_LOOKING: &'static str = "BEGIN READ ONLY";

        fn truth(row: &PgRow) -> Result<Option<bool>, sqlx::Error> {
            alone(row)?;
            row.try_get(0)
        }
    }
}

#[cfg(feature = "mysql")]
mod mysql {
    use sqlx::{MySql, MySqlConnection, Row as _, mysql::MySqlDatabaseError, mysql::MySqlRow};

    use super::{super::Dialect, Spoken, alone, of_number};

    /// What transactions are like cannot be set while there is one.
    const REFUSED_IN_ANY: u16 = 1568;

    impl Spoken for MySql {
        const DIALECT: Dialect = Dialect::MySql;
        const BEGIN_LOOKING: &'static str = "START TRANSACTION READ ONLY";

        async fn misread_under(
            connection: &mut MySqlConnection,
            sql: &str,
        ) -> Result<Option<&'static str>, sqlx::Error> {
            if !sql.contains('\\') {
                return Ok(None);
            }
            let modes: String = sqlx::query_scalar("SELECT @@SESSION.sql_mode")
                .fetch_one(connection)
                .await?;
            let has = |mode: &str| modes.split(',').any(|set| set == mode);
            Ok(if has("NO_BACKSLASH_ESCAPES") {
                Some("the sql_mode NO_BACKSLASH_ESCAPES")
            } else if has("ANSI_QUOTES") && sql.contains('"') {
                Some("the sql_mode ANSI_QUOTES")
            } else {
                None
            })
        }

        /// A procedure begins one, or a session without `autocommit`. A setting that is refused in transactions tells.
        async fn ends_open_transaction(connection: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
            let set = sqlx::raw_sql("SET TRANSACTION READ WRITE").execute(&mut *connection);
            match set.await {
                Ok(_) => Ok(false),
                Err(error) if is_refused_in_any(&error) => {
                    sqlx::raw_sql("ROLLBACK").execute(connection).await?;
                    Ok(true)
                }
                Err(error) => Err(error),
            }
        }

        fn truth(row: &MySqlRow) -> Result<Option<bool>, sqlx::Error> {
            alone(row)?;
            of_number(row.try_get(0)?)
        }
    }

    fn is_refused_in_any(error: &sqlx::Error) -> bool {
        let said = error.as_database_error();
        said.and_then(|said| said.try_downcast_ref::<MySqlDatabaseError>())
            .is_some_and(|said| said.number() == REFUSED_IN_ANY)
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use sqlx::{Row as _, Sqlite, SqliteConnection, sqlite::SqliteRow};

    use super::{super::Dialect, Spoken, alone, of_number};

    impl Spoken for Sqlite {
        const DIALECT: Dialect = Dialect::Sqlite;
        const BEGIN_LOOKING: &'static str = "BEGIN";

        fn truth(row: &SqliteRow) -> Result<Option<bool>, sqlx::Error> {
            alone(row)?;
            of_number(row.try_get(0)?)
        }

        /// A savepoint begins one. Nothing else says so: `ROLLBACK` fails where there is none.
        async fn ends_open_transaction(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
            match sqlx::raw_sql("ROLLBACK").execute(connection).await {
                Ok(_) => Ok(true),
                Err(error) if is_none_active(&error) => Ok(false),
                Err(error) => Err(error),
            }
        }

        /// A database in memory has no file.
        async fn dies_with_connection(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
            let file: Option<String> =
                sqlx::query_scalar("SELECT file FROM pragma_database_list WHERE name = 'main'")
                    .fetch_one(connection)
                    .await?;
            Ok(file.is_none_or(|file| file.is_empty()))
        }
    }

    fn is_none_active(error: &sqlx::Error) -> bool {
        let said = error.as_database_error();
        said.is_some_and(|said| said.message().contains("no transaction is active"))
    }
}
