//! PostgreSQL: changes run in one transaction each, with their mark in the same database.
//!
//! The mark is a row of `flamingock_marks`, inserted as the last statement before the commit. Last, because then a
//! change that swallowed an SQL error (which leaves the transaction aborted, and PostgreSQL answers `COMMIT` with a
//! silent rollback) fails at the insert instead of counting as applied. Inserted and never updated, because the
//! primary key is the judge: a second attempt of the same change waits for the first to end and then fails.
//!
//! A change can execute `COMMIT` or `ROLLBACK` itself, as scripts do. Then its work is no longer one thing, whatever
//! it returns, and must be called neither applied nor rolled back. Two things tell. The transaction's id: the mark is
//! written and a rollback believed only where it is still the one that was begun, and any connection can be asked what
//! became of it. And a savepoint at the beginning: after an SQL error the id cannot be asked for, but going back to
//! the savepoint can, and works only if the transaction is still open.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    ops::{Deref, DerefMut},
    pin::Pin,
    time::Duration,
};

use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Row as _, Transaction};
use tokio::sync::OnceCell;

use super::{
    CommitError, Mark, MarkError, MarkScope, RollbackError, Target, TargetError, TargetFuture,
    TransactionalTarget, sql,
};
use crate::{causes, context::TransactionHandle};

const CREATE_TABLE: &str = "
    CREATE TABLE IF NOT EXISTS flamingock_marks (
        environment_id bigint NOT NULL,
        service_id bigint NOT NULL,
        change_id text NOT NULL,
        operation text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (environment_id, service_id, change_id)
    )";

/// Where the table is, with its schema: a change may set the search path of its session for good, as dumps do. Null where
/// there is none. By functions and not by a join of the catalogue: it is the first statement of a new session, and planning the
/// join took longer than all else that is asked here.
const FIND_TABLE: &str = "
    SELECT identity FROM pg_catalog.pg_identify_object(
        'pg_catalog.pg_class'::pg_catalog.regclass, pg_catalog.to_regclass('flamingock_marks'), 0)";

/// Assigns an id where there is none yet, so that it can be asked for later.
const TRANSACTION_ID: &str = "SELECT pg_catalog.pg_current_xact_id()::text";

/// Of any transaction, from any connection: `in progress`, `committed`, `aborted`, or null for one that is long gone.
const TRANSACTION_STATUS: &str = "SELECT pg_catalog.pg_xact_status(CAST($1 AS text)::pg_catalog.xid8)";

const SAVE: &str = "SAVEPOINT flamingock_begin";
const GO_BACK: &str = "ROLLBACK TO SAVEPOINT flamingock_begin";
/// How [`GO_BACK`] fails outside a transaction, and in another one.
const NO_SUCH_SAVEPOINT: [&str; 2] = ["25P01", "3B001"];

const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Key of the advisory lock under which the table is created: "flamingo" in ASCII.
const CREATE_TABLE_LOCK: i64 = i64::from_be_bytes(*b"flamingo");

/// A PostgreSQL database. Changes take the transaction as [`&mut PgTx`](PgTx), those declared
/// `transactional = false` (for `CREATE INDEX CONCURRENTLY`, say) the pool as `TargetClient<PgPool>`.
///
/// The table `flamingock_marks` is created when the first transactional change has to run, in the first schema of the
/// connection's search path. A pool of one connection is enough. PostgreSQL 13 or later.
#[derive(Debug)]
pub struct PostgresTarget {
    id: Cow<'static, str>,
    database: Database,
}

#[derive(Debug)]
struct Database {
    pool: PgPool,
    /// The marks' table, once it was found to exist.
    table: OnceCell<String>,
}

/// The open transaction of a change. Use it where sqlx takes a connection, as `&mut **tx`.
///
/// ```
/// use flamingock::{PgTx, change};
///
/// #[change(id = "create-orders", order = "0001", target = "orders-db")]
/// async fn create_orders(tx: &mut PgTx) -> Result<(), sqlx::Error> {
///     sqlx::query("CREATE TABLE orders (id bigint PRIMARY KEY)").execute(&mut **tx).await?;
///     Ok(())
/// }
/// ```
///
/// It commits when the change returns `Ok`, and only then. A change that executes `COMMIT` or `ROLLBACK` in it fails
/// (`TRANSACTION_ENDED`), whatever it returns, and a person has to look at what it did.
pub struct PgTx {
    transaction: Transaction<'static, Postgres>,
    /// Absent in a test's.
    id: Option<String>,
}

impl PostgresTarget {
    /// A database by its pool.
    pub fn new(id: impl Into<Cow<'static, str>>, pool: PgPool) -> Self {
        Self {
            id: id.into(),
            database: Database {
                pool,
                table: OnceCell::new(),
            },
        }
    }
}

/// For programs that have no pool of their own.
impl PostgresTarget {
    /// A database by its address, such as `postgres://user@host/database`. Connections are made when they are needed, two
    /// at most. Statements are not logged: they may have secrets.
    pub fn connect_lazy(id: impl Into<Cow<'static, str>>, url: &str) -> Result<Self, TargetError> {
        Ok(Self::new(id, sql::lazy_pool(url)?))
    }
}

impl From<PostgresTarget> for Target {
    fn from(target: PostgresTarget) -> Self {
        Self::transactional(target.id, target.database)
    }
}

impl PgTx {
    /// A transaction of your own, for calling a change function in a test. Nothing is marked.
    pub fn new(transaction: Transaction<'static, Postgres>) -> Self {
        Self {
            transaction,
            id: None,
        }
    }

    /// Gives the transaction back.
    pub fn into_inner(self) -> Transaction<'static, Postgres> {
        self.transaction
    }
}

impl TransactionHandle for PgTx {}

impl Deref for PgTx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl DerefMut for PgTx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}

impl fmt::Debug for PgTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgTx").finish_non_exhaustive()
    }
}

impl TransactionalTarget for Database {
    type Transaction = PgTx;
    type Client = PgPool;

    fn client(&self) -> PgPool {
        self.pool.clone()
    }

    fn marks(&self, scope: MarkScope) -> TargetFuture<'_, Vec<Mark>> {
        Box::pin(async move {
            let failed = |error| TargetError::new("reading the marks", error);
            let Some(table) = self.find_table().await.map_err(failed)? else {
                return Ok(Vec::new());
            };
            let MarkScope {
                environment_id,
                service_id,
            } = scope;
            let statement = format!(
                "SELECT change_id, operation FROM {table} \
                 WHERE environment_id = {environment_id} AND service_id = {service_id}"
            );
            let rows = sqlx::raw_sql(AssertSqlSafe(statement))
                .fetch_all(&self.pool)
                .await
                .map_err(failed)?;
            rows.iter().map(mark).collect()
        })
    }

    fn prepare(&self) -> TargetFuture<'_, ()> {
        Box::pin(async move {
            self.make_table()
                .await
                .map_err(|error| TargetError::new("creating the table flamingock_marks", error))?;
            Ok(())
        })
    }

    fn begin(&self) -> TargetFuture<'_, PgTx> {
        Box::pin(async move {
            let failed = |error| TargetError::new("beginning a transaction", error);
            let mut transaction = self.pool.begin().await.map_err(failed)?;
            let id = sqlx::query_scalar(TRANSACTION_ID)
                .fetch_one(&mut *transaction)
                .await
                .map_err(failed)?;
            sqlx::raw_sql(SAVE)
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
            Ok(PgTx {
                transaction,
                id: Some(id),
            })
        })
    }

    fn write_mark<'a>(
        &'a self,
        transaction: &'a mut PgTx,
        scope: MarkScope,
        change_id: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<(), MarkError>> + Send + 'a>> {
        Box::pin(async move {
            let failed = |error| TargetError::new("writing the mark", error);
            // Known since `prepare`: no second connection is needed while the transaction is open.
            let table = self.make_table().await.map_err(failed)?;
            let statement = format!(
                "INSERT INTO {table} (environment_id, service_id, change_id, operation) \
                 SELECT $1, $2, $3, 'APPLIED' WHERE pg_catalog.pg_current_xact_id()::text = $4"
            );
            let inserted = insert(statement, scope, change_id)
                .bind(transaction.id.clone())
                .execute(&mut **transaction)
                .await;
            match inserted {
                Ok(done) if done.rows_affected() == 1 => Ok(()),
                Ok(_) => Err(MarkError::TransactionEnded),
                Err(error) if sql::is_unique_violation(&error) => Err(MarkError::AlreadyThere),
                Err(error) => Err(failed(error).into()),
            }
        })
    }

    fn commit(
        &self,
        transaction: PgTx,
    ) -> Pin<Box<dyn Future<Output = Result<(), CommitError>> + Send + '_>> {
        Box::pin(async move {
            transaction.transaction.commit().await.map_err(|error| {
                let definite = is_definite(&error);
                let error = TargetError::new("committing", error);
                if definite {
                    CommitError::Definite(error)
                } else {
                    CommitError::Ambiguous(error)
                }
            })
        })
    }

    fn rollback(
        &self,
        transaction: PgTx,
    ) -> Pin<Box<dyn Future<Output = Result<(), RollbackError>> + Send + '_>> {
        Box::pin(async move {
            let PgTx { mut transaction, id } = transaction;
            let still_open = is_still_open(&mut transaction, id.as_deref()).await;
            // Whatever is open now, ours or one that the change began. And the connection is given back, which a pool
            // of one needs to answer the next question.
            let ended = transaction.rollback().await;
            match still_open {
                // Nothing can commit it any more: a rollback that does not arrive is done when the connection ends.
                Ok(true) => Ok(()),
                Ok(false) => Err(RollbackError::TransactionEnded),
                Err(error) => {
                    tracing::warn!(error = %causes::one_line(&error), ?ended, "the connection was lost; asking for the transaction on another");
                    self.look_for_abort(id.as_deref()).await
                }
            }
        })
    }

    fn was_committed<'a>(
        &'a self,
        scope: MarkScope,
        change_id: &'a str,
        patience: Duration,
    ) -> TargetFuture<'a, bool> {
        Box::pin(async move {
            tokio::time::timeout(patience, self.look_for_commit(scope, change_id, patience))
                .await
                .map_err(|elapsed| TargetError::new("looking for the mark", elapsed))?
                .map_err(|error| TargetError::new("looking for the mark", error))
        })
    }

    fn clear_marks<'a>(&'a self, scope: MarkScope, change_ids: &'a [String]) -> TargetFuture<'a, ()> {
        Box::pin(async move {
            let failed = |error| TargetError::new("clearing the marks", error);
            let Some(table) = self.find_table().await.map_err(failed)? else {
                return Ok(());
            };
            let statement = format!(
                "DELETE FROM {table} WHERE environment_id = $1 AND service_id = $2 AND change_id = ANY($3)"
            );
            sqlx::query(AssertSqlSafe(statement))
                .bind(scope.environment_id)
                .bind(scope.service_id)
                .bind(change_ids)
                .execute(&self.pool)
                .await
                .map_err(failed)?;
            Ok(())
        })
    }
}

impl Database {
    /// This and the read of the marks are not prepared: most processes ask them once, if at all, and it is one trip to the
    /// database instead of two.
    async fn find_table(&self) -> Result<Option<&str>, sqlx::Error> {
        if self.table.get().is_none() {
            let found = sqlx::raw_sql(FIND_TABLE).fetch_one(&self.pool).await?;
            let Some(found) = found.try_get(0)? else {
                return Ok(None);
            };
            self.table.get_or_init(|| async { found }).await;
        }
        Ok(self.table.get().map(String::as_str))
    }

    /// The table, created unless it exists: a role that may use it need not be allowed to create one.
    async fn make_table(&self) -> Result<&str, sqlx::Error> {
        if let Some(table) = self.find_table().await? {
            return Ok(table);
        }
        let mut transaction = self.pool.begin().await?;
        // Two sessions that create the same table at once collide in the catalogue, IF NOT EXISTS or not.
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(CREATE_TABLE_LOCK)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(CREATE_TABLE).execute(&mut *transaction).await?;
        transaction.commit().await?;
        self.find_table().await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// What became of a transaction whose connection was lost. It can take PostgreSQL a while to notice that.
    ///
    /// One case stays hidden: a change that executed `ROLLBACK`, committed other work after it, and then lost its
    /// connection. Only the connection knew of the second transaction.
    async fn look_for_abort(&self, id: Option<&str>) -> Result<(), RollbackError> {
        loop {
            match self.status(id).await {
                Ok(Some(status)) if status == "aborted" => return Ok(()),
                Ok(Some(status)) if status == "in progress" => {}
                Ok(Some(_)) => return Err(RollbackError::TransactionEnded),
                Ok(None) => {
                    let error =
                        TargetError::new("asking for the transaction", "its status is not known any more");
                    return Err(RollbackError::Unknown(error));
                }
                Err(error) => {
                    tracing::warn!(error = %causes::one_line(&error), "the target cannot be asked yet");
                }
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    async fn status(&self, id: Option<&str>) -> Result<Option<String>, sqlx::Error> {
        sqlx::query_scalar(TRANSACTION_STATUS)
            .bind(id)
            .fetch_one(&self.pool)
            .await
    }

    /// A read alone would not do: the lost session may still be committing. Inserting the same key waits until it
    /// has ended, and then either finds the row or could have written it.
    async fn look_for_commit(
        &self,
        scope: MarkScope,
        change_id: &str,
        patience: Duration,
    ) -> Result<bool, sqlx::Error> {
        let table = self.make_table().await?;
        let mut transaction = self.pool.begin().await?;
        sqlx::query("SELECT pg_catalog.set_config('lock_timeout', $1, true)")
            .bind(format!("{}ms", patience.as_millis().max(1)))
            .execute(&mut *transaction)
            .await?;
        let statement = format!(
            "INSERT INTO {table} (environment_id, service_id, change_id, operation) \
             VALUES ($1, $2, $3, 'APPLIED') ON CONFLICT DO NOTHING"
        );
        let inserted = insert(statement, scope, change_id)
            .execute(&mut *transaction)
            .await?;
        transaction.rollback().await?;
        Ok(inserted.rows_affected() == 0)
    }
}

/// The text of the statement is ours but for the table's name, which the database has quoted.
fn insert(
    statement: String,
    scope: MarkScope,
    change_id: &str,
) -> sqlx::query::Query<'_, Postgres, sqlx::postgres::PgArguments> {
    sqlx::query(AssertSqlSafe(statement))
        .bind(scope.environment_id)
        .bind(scope.service_id)
        .bind(change_id)
}

/// Goes back to where the change began, and tells whether that was still in its own transaction. An error means that
/// the connection cannot tell.
async fn is_still_open(
    transaction: &mut Transaction<'static, Postgres>,
    id: Option<&str>,
) -> Result<bool, sqlx::Error> {
    match sqlx::raw_sql(GO_BACK).execute(&mut **transaction).await {
        Ok(_) => {}
        Err(error) if NO_SUCH_SAVEPOINT.iter().any(|code| has_code(&error, code)) => return Ok(false),
        Err(error) => return Err(error),
    }
    let current: String = sqlx::query_scalar(TRANSACTION_ID)
        .fetch_one(&mut **transaction)
        .await?;
    Ok(id == Some(&*current))
}

fn mark(row: &sqlx::postgres::PgRow) -> Result<Mark, TargetError> {
    let read = |column| {
        row.try_get::<String, _>(column)
            .map_err(|error| TargetError::new("reading the marks", error))
    };
    sql::mark(read("change_id")?, &read("operation")?)
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|found| found == code)
}

/// Did the server itself say that it did not commit? Only then is it certain.
fn is_definite(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| is_definite_code(&code))
}

/// Not certain are: a connection that broke (class 08), a statement whose completion is unknown (40003), an operator
/// who ended the session (57P…) and a server that is in trouble (58, XX): each may come after the commit record.
fn is_definite_code(code: &str) -> bool {
    !(code.starts_with("08")
        || code.starts_with("57P")
        || code.starts_with("58")
        || code.starts_with("XX")
        || code == "40003")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_word_of_the_server_is_a_definite_failure() {
        for code in ["23505", "23503", "40001", "40P01", "25P02", "53100", "P0001"] {
            assert!(is_definite_code(code), "{code}");
        }
        for code in ["08006", "08007", "57P01", "57P02", "40003", "58030", "XX000"] {
            assert!(!is_definite_code(code), "{code}");
        }
        assert!(!is_definite(&sqlx::Error::WorkerCrashed));
    }
}
