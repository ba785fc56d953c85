//! SQLite: changes run in one transaction each, with their mark in the same file.
//!
//! The transaction takes the write lock when it begins (`BEGIN IMMEDIATE`): a runner that comes second waits at the
//! beginning, and does not fail half way where it would have to write.
//!
//! A change can execute `COMMIT` or `ROLLBACK` itself, and SQLite ends a transaction by itself after some errors (a full
//! disk, `ON CONFLICT ROLLBACK`). What comes after that is committed statement by statement, so the work is no longer
//! one thing. A savepoint at the beginning tells: it is there exactly as long as the transaction is.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    ops::{Deref, DerefMut},
    pin::Pin,
    time::Duration,
};

use sqlx::{Row as _, Sqlite, SqliteConnection, SqlitePool, Transaction};

use super::{
    CommitError, Mark, MarkError, MarkScope, RollbackError, Target, TargetError, TargetFuture,
    TransactionalTarget, sql,
};
use crate::context::TransactionHandle;

const BEGIN: &str = "BEGIN IMMEDIATE";

const CREATE_TABLE: &str = "
    CREATE TABLE IF NOT EXISTS main.flamingock_marks (
        environment_id INTEGER NOT NULL,
        service_id INTEGER NOT NULL,
        change_id TEXT NOT NULL,
        operation TEXT NOT NULL,
        created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
        PRIMARY KEY (environment_id, service_id, change_id)
    ) WITHOUT ROWID";
const HAS_TABLE: &str =
    "SELECT count(*) FROM main.sqlite_master WHERE type = 'table' AND name = 'flamingock_marks'";
const MARKS: &str =
    "SELECT change_id, operation FROM main.flamingock_marks WHERE environment_id = $1 AND service_id = $2";
const WRITE_MARK: &str = "
    INSERT INTO main.flamingock_marks (environment_id, service_id, change_id, operation)
    VALUES ($1, $2, $3, 'APPLIED')";
const HAS_MARK: &str = "
    SELECT count(*) FROM main.flamingock_marks
    WHERE environment_id = $1 AND service_id = $2 AND change_id = $3";
const CLEAR_MARKS: &str = "
    DELETE FROM main.flamingock_marks
    WHERE environment_id = $1 AND service_id = $2 AND change_id IN (SELECT value FROM json_each($3))";

const SAVE: &str = "SAVEPOINT flamingock_begin";
/// Fails outside a transaction, and in another one.
const SAVE_AGAIN: &str = "RELEASE SAVEPOINT flamingock_begin; SAVEPOINT flamingock_begin";
const GO_BACK: &str = "ROLLBACK TO SAVEPOINT flamingock_begin";
const NO_SUCH_SAVEPOINT: &str = "no such savepoint";

/// A SQLite database. Changes take the transaction as [`&mut SqliteTx`](SqliteTx), those declared
/// `transactional = false` (for `VACUUM`, or a pragma that has no effect in a transaction) the pool as
/// `TargetClient<SqlitePool>`.
///
/// The table `flamingock_marks` is created in the main database when the first transactional change has to run. SQLite
/// 3.38 or later; the one that comes with sqlx is.
#[derive(Debug)]
pub struct SqliteTarget {
    id: Cow<'static, str>,
    database: Database,
}

#[derive(Debug)]
struct Database {
    pool: SqlitePool,
}

/// The open transaction of a change. Use it where sqlx takes a connection, as `&mut **tx`.
///
/// ```
/// use flamingock::{SqliteTx, change};
///
/// #[change(id = "create-notes", order = "0001", target = "notes-db")]
/// async fn create_notes(tx: &mut SqliteTx) -> Result<(), sqlx::Error> {
///     sqlx::query("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)").execute(&mut **tx).await?;
///     Ok(())
/// }
/// ```
///
/// It commits when the change returns `Ok`, and only then. A change that executes `COMMIT` or `ROLLBACK` in it fails
/// (`TRANSACTION_ENDED`), whatever it returns, and a person has to look at what it did.
pub struct SqliteTx {
    transaction: Transaction<'static, Sqlite>,
}

impl SqliteTarget {
    /// A database by its pool.
    pub fn new(id: impl Into<Cow<'static, str>>, pool: SqlitePool) -> Self {
        Self {
            id: id.into(),
            database: Database { pool },
        }
    }
}

/// For programs that have no pool of their own.
impl SqliteTarget {
    /// A database by its address, such as `sqlite:///var/lib/shop/notes.db`. Connections are made when they are needed,
    /// two at most. Statements are not logged: they may have secrets. The file must be there, unless `?mode=rwc` follows.
    pub fn connect_lazy(id: impl Into<Cow<'static, str>>, url: &str) -> Result<Self, TargetError> {
        Ok(Self::new(id, sql::lazy_pool(url)?))
    }
}

impl From<SqliteTarget> for Target {
    fn from(target: SqliteTarget) -> Self {
        Self::transactional(target.id, target.database)
    }
}

impl SqliteTx {
    /// A transaction of your own, for calling a change function in a test. Nothing is marked.
    pub fn new(transaction: Transaction<'static, Sqlite>) -> Self {
        Self { transaction }
    }

    /// Gives the transaction back.
    pub fn into_inner(self) -> Transaction<'static, Sqlite> {
        self.transaction
    }
}

impl TransactionHandle for SqliteTx {}

impl Deref for SqliteTx {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.transaction
    }
}

impl DerefMut for SqliteTx {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }
}

impl fmt::Debug for SqliteTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteTx").finish_non_exhaustive()
    }
}

impl TransactionalTarget for Database {
    type Transaction = SqliteTx;
    type Client = SqlitePool;

    fn client(&self) -> SqlitePool {
        self.pool.clone()
    }

    fn marks(&self, scope: MarkScope) -> TargetFuture<'_, Vec<Mark>> {
        Box::pin(async move {
            let failed = |error| TargetError::new("reading the marks", error);
            if !self.has_table().await.map_err(failed)? {
                return Ok(Vec::new());
            }
            let rows = sqlx::query(MARKS)
                .bind(scope.environment_id)
                .bind(scope.service_id)
                .fetch_all(&self.pool)
                .await
                .map_err(failed)?;
            let mark = |row: &sqlx::sqlite::SqliteRow| {
                let change_id = row.try_get("change_id").map_err(failed)?;
                let operation: String = row.try_get("operation").map_err(failed)?;
                sql::mark(change_id, &operation)
            };
            rows.iter().map(mark).collect()
        })
    }

    fn prepare(&self) -> TargetFuture<'_, ()> {
        Box::pin(async move {
            let failed = |error| TargetError::new("creating the table flamingock_marks", error);
            // Looked for first: creating, even if there is nothing to create, takes the write lock.
            if !self.has_table().await.map_err(failed)? {
                sqlx::query(CREATE_TABLE)
                    .execute(&self.pool)
                    .await
                    .map_err(failed)?;
            }
            Ok(())
        })
    }

    fn begin(&self) -> TargetFuture<'_, SqliteTx> {
        Box::pin(async move {
            let failed = |error| TargetError::new("beginning a transaction", error);
            let mut transaction = self.pool.begin_with(BEGIN).await.map_err(failed)?;
            sqlx::raw_sql(SAVE)
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
            Ok(SqliteTx { transaction })
        })
    }

    fn write_mark<'a>(
        &'a self,
        transaction: &'a mut SqliteTx,
        scope: MarkScope,
        change_id: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<(), MarkError>> + Send + 'a>> {
        Box::pin(async move {
            let failed = |error| MarkError::from(TargetError::new("writing the mark", error));
            match sqlx::raw_sql(SAVE_AGAIN).execute(&mut **transaction).await {
                Ok(_) => {}
                Err(error) if is_no_such_savepoint(&error) => return Err(MarkError::TransactionEnded),
                Err(error) => return Err(failed(error)),
            }
            let inserted = sqlx::query(WRITE_MARK)
                .bind(scope.environment_id)
                .bind(scope.service_id)
                .bind(change_id)
                .execute(&mut **transaction)
                .await;
            match inserted {
                Ok(_) => Ok(()),
                Err(error) if sql::is_unique_violation(&error) => Err(MarkError::AlreadyThere),
                Err(error) => Err(failed(error)),
            }
        })
    }

    fn commit(
        &self,
        transaction: SqliteTx,
    ) -> Pin<Box<dyn Future<Output = Result<(), CommitError>> + Send + '_>> {
        Box::pin(async move {
            // If it fails the transaction may still be open; dropping it rolls it back.
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
        transaction: SqliteTx,
    ) -> Pin<Box<dyn Future<Output = Result<(), RollbackError>> + Send + '_>> {
        Box::pin(async move {
            let mut transaction = transaction.transaction;
            let gone_back = sqlx::raw_sql(GO_BACK).execute(&mut *transaction).await;
            let ended = matches!(&gone_back, Err(error) if is_no_such_savepoint(error));
            if ended {
                // sqlx counts a transaction that is none any more, and the connection goes back to the pool. Fails where
                // the change began another one, which is just as good.
                let _ = sqlx::raw_sql("BEGIN").execute(&mut *transaction).await;
            }
            let failed = |error| RollbackError::Unknown(TargetError::new("rolling back", error));
            let rolled_back = transaction.rollback().await.map_err(failed);
            if ended {
                return Err(RollbackError::TransactionEnded);
            }
            gone_back.map_err(failed).and(rolled_back)
        })
    }

    fn was_committed<'a>(
        &'a self,
        scope: MarkScope,
        change_id: &'a str,
        patience: Duration,
    ) -> TargetFuture<'a, bool> {
        Box::pin(async move {
            tokio::time::timeout(patience, self.look_for_commit(scope, change_id))
                .await
                .map_err(|elapsed| TargetError::new("looking for the mark", elapsed))?
                .map_err(|error| TargetError::new("looking for the mark", error))
        })
    }

    fn clear_marks<'a>(&'a self, scope: MarkScope, change_ids: &'a [String]) -> TargetFuture<'a, ()> {
        Box::pin(async move {
            let failed = |error| TargetError::new("clearing the marks", error);
            if !self.has_table().await.map_err(failed)? {
                return Ok(());
            }
            sqlx::query(CLEAR_MARKS)
                .bind(scope.environment_id)
                .bind(scope.service_id)
                .bind(serde_json::json!(change_ids).to_string())
                .execute(&self.pool)
                .await
                .map_err(failed)?;
            Ok(())
        })
    }
}

impl Database {
    async fn has_table(&self) -> Result<bool, sqlx::Error> {
        let found: i64 = sqlx::query_scalar(HAS_TABLE).fetch_one(&self.pool).await?;
        Ok(found > 0)
    }

    /// Under the write lock: a transaction that is still committing has ended when there is one.
    async fn look_for_commit(&self, scope: MarkScope, change_id: &str) -> Result<bool, sqlx::Error> {
        let mut transaction = self.pool.begin_with(BEGIN).await?;
        let found: i64 = sqlx::query_scalar(HAS_MARK)
            .bind(scope.environment_id)
            .bind(scope.service_id)
            .bind(change_id)
            .fetch_one(&mut *transaction)
            .await?;
        transaction.rollback().await?;
        Ok(found > 0)
    }
}

fn is_no_such_savepoint(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.message().contains(NO_SUCH_SAVEPOINT))
}

/// Did SQLite itself say that it did not commit? Only then is it certain.
fn is_definite(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .and_then(|code| code.parse().ok())
        .is_some_and(is_definite_code)
}

/// `SQLITE_BUSY`, `SQLITE_LOCKED`, `SQLITE_READONLY`, `SQLITE_FULL` and `SQLITE_CONSTRAINT` come before anything is written
/// for good. An input or output error may come after.
fn is_definite_code(code: u32) -> bool {
    matches!(code & 0xff, 5 | 6 | 8 | 13 | 19)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_word_of_sqlite_is_a_definite_failure() {
        for code in [5, 517, 6, 8, 13, 19, 787] {
            assert!(is_definite_code(code), "{code}");
        }
        for code in [1, 10, 1034, 1546, 11, 26] {
            assert!(!is_definite_code(code), "{code}");
        }
        assert!(!is_definite(&sqlx::Error::WorkerCrashed));
    }
}
