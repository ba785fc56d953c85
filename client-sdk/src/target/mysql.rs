//! MySQL and MariaDB: changes run in one transaction each, with their mark in the same database.
//!
//! There every DDL statement commits what came before it, silently. A transactional change with an `ALTER TABLE` in the
//! middle would be half committed, and no rollback could tell. So the transaction is an XA transaction, in which the
//! server refuses such statements *before* they do anything (error 1399), and `COMMIT`, `ROLLBACK`, `BEGIN` and a change
//! of `autocommit` as well: nobody can end it who does not know its id. It is committed in one phase, so nothing of it
//! outlives the connection. After a deadlock such a transaction refuses everything, where an ordinary one is over and
//! lets the next statement commit by itself.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    ops::{Deref, DerefMut},
    pin::Pin,
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, MySql, MySqlConnection, MySqlPool, Row as _, Transaction,
    mysql::{MySqlDatabaseError, MySqlRow},
};
use tokio::{runtime::Handle, sync::OnceCell};
use uuid::Uuid;

use super::{
    CommitError, Mark, MarkError, MarkScope, RollbackError, Target, TargetError, TargetFuture,
    TransactionalTarget, sql,
};
use crate::{causes, context::TransactionHandle};

/// Ids are bytes: no collation takes one for another. 255 characters of four bytes fit.
const COLUMNS: &str = "
        environment_id BIGINT NOT NULL,
        service_id BIGINT NOT NULL,
        change_id VARBINARY(1020) NOT NULL,
        operation VARCHAR(16) NOT NULL,
        created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        PRIMARY KEY (environment_id, service_id, change_id)";

/// `The command cannot be executed when global transaction is in the … state`.
const REFUSED_IN_XA: u16 = 1399;
/// How that goes on where the change has sent a statement that would have committed. It may be another state: after a
/// deadlock everything is refused.
const IN_THE_MIDDLE: &str = "ACTIVE state";
/// Commits that the server has turned into rollbacks: for a deadlock, a timeout, or another reason.
const ROLLED_BACK: [u16; 3] = [1402, 1613, 1614];

/// A MySQL or MariaDB database. Changes take the transaction as [`&mut MySqlTx`](MySqlTx), those declared
/// `transactional = false` (for everything that is DDL) the pool as `TargetClient<MySqlPool>`.
///
/// The table `flamingock_marks` is created when the first transactional change has to run, in the database that the
/// connection names. MySQL 8.0 or MariaDB 10.5, or later; not a Galera cluster, which has no XA transactions.
#[derive(Debug)]
pub struct MySqlTarget {
    id: Cow<'static, str>,
    database: Database,
}

#[derive(Debug)]
struct Database {
    pool: MySqlPool,
    /// The marks' table, once it was found to exist.
    table: OnceCell<String>,
}

/// The open transaction of a change. Use it where sqlx takes a connection, as `&mut **tx`.
///
/// ```
/// use flamingock::{MySqlTx, change};
///
/// #[change(id = "tax-rates-2027", order = "0007", target = "shop-db")]
/// async fn tax_rates(tx: &mut MySqlTx) -> Result<(), sqlx::Error> {
///     sqlx::query("INSERT INTO tax_rates (country, year, percent) VALUES ('DE', 2027, 19)")
///         .execute(&mut **tx)
///         .await?;
///     Ok(())
/// }
/// ```
///
/// It commits when the change returns `Ok`, and only then. DDL, which on MySQL commits, is refused in it (error 1399), as
/// are `COMMIT` and `ROLLBACK`: declare the change `transactional = false`, and write it so that it can be repeated.
pub struct MySqlTx {
    /// Taken when it ends.
    open: Option<Open>,
}

struct Open {
    transaction: Transaction<'static, MySql>,
    /// Absent in a test's.
    xid: Option<String>,
}

const OPEN: &str = "nobody but what ends a transaction takes it";

impl MySqlTarget {
    /// A database by its pool, whose connections must name a database.
    pub fn new(id: impl Into<Cow<'static, str>>, pool: MySqlPool) -> Self {
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
impl MySqlTarget {
    /// A database by its address, such as `mysql://user@host/database`. Connections are made when they are needed, two
    /// at most. Statements are not logged: they may have secrets.
    pub fn connect_lazy(id: impl Into<Cow<'static, str>>, url: &str) -> Result<Self, TargetError> {
        Ok(Self::new(id, sql::lazy_pool(url)?))
    }
}

impl From<MySqlTarget> for Target {
    fn from(target: MySqlTarget) -> Self {
        Self::transactional(target.id, target.database)
    }
}

impl MySqlTx {
    /// A transaction of your own, for calling a change function in a test. Nothing is marked, and DDL is not refused.
    pub fn new(transaction: Transaction<'static, MySql>) -> Self {
        Self {
            open: Some(Open {
                transaction,
                xid: None,
            }),
        }
    }

    /// Gives the transaction back.
    pub fn into_inner(mut self) -> Transaction<'static, MySql> {
        self.take().transaction
    }

    fn take(&mut self) -> Open {
        self.open.take().expect(OPEN)
    }
}

impl Open {
    /// `XA END '…'` and the like.
    async fn xa(&mut self, verb: &str, rest: &str) -> Result<(), sqlx::Error> {
        let Some(xid) = &self.xid else { return Ok(()) };
        // The id is ours, and has no quote in it.
        sqlx::raw_sql(AssertSqlSafe(format!("XA {verb} '{xid}'{rest}")))
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// Ends it without effect, and gives the connection back.
    async fn abandon(mut self) -> Result<(), sqlx::Error> {
        // Refused where the server has rolled it back already, as after a deadlock.
        let _ = self.xa("END", "").await;
        self.xa("ROLLBACK", "").await?;
        if let Err(error) = self.transaction.rollback().await {
            tracing::debug!(error = %causes::one_line(&error), "the connection was lost after the rollback");
        }
        Ok(())
    }

    /// The author may not know why the server refused a statement.
    async fn explain_refusal(&mut self) {
        let errors = sqlx::raw_sql("SHOW ERRORS")
            .fetch_all(&mut *self.transaction)
            .await;
        let text = |row: &MySqlRow, column| row.try_get_unchecked::<String, _>(column).unwrap_or_default();
        let refused = errors.iter().flatten().any(|row| {
            let number = text(row, "Code").parse().unwrap_or_default();
            is_refused_commit(number, &text(row, "Message"))
        });
        if refused {
            tracing::warn!(
                "the last statement was refused, because it would have committed the transaction in the middle of the \
                 change, as every DDL statement does here: declare the change `transactional = false`, or move the \
                 statement to a change of its own that is"
            );
        }
    }
}

impl TransactionHandle for MySqlTx {}

/// Where the change is dropped in the middle. What sqlx does by itself then, a `ROLLBACK`, is refused in this transaction,
/// and the pool must not get its connection back so.
impl Drop for MySqlTx {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        if open.xid.is_some()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(open.abandon());
        }
    }
}

impl Deref for MySqlTx {
    type Target = MySqlConnection;

    fn deref(&self) -> &MySqlConnection {
        &self.open.as_ref().expect(OPEN).transaction
    }
}

impl DerefMut for MySqlTx {
    fn deref_mut(&mut self) -> &mut MySqlConnection {
        &mut self.open.as_mut().expect(OPEN).transaction
    }
}

impl fmt::Debug for MySqlTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySqlTx").finish_non_exhaustive()
    }
}

impl TransactionalTarget for Database {
    type Transaction = MySqlTx;
    type Client = MySqlPool;

    fn client(&self) -> MySqlPool {
        self.pool.clone()
    }

    fn marks(&self, scope: MarkScope) -> TargetFuture<'_, Vec<Mark>> {
        Box::pin(async move {
            let failed = |error| TargetError::new("reading the marks", error);
            let Some(table) = self.find_table().await.map_err(failed)? else {
                return Ok(Vec::new());
            };
            let statement = format!(
                "SELECT change_id, operation FROM {table} WHERE environment_id = ? AND service_id = ?"
            );
            let rows = sqlx::query(AssertSqlSafe(statement))
                .bind(scope.environment_id)
                .bind(scope.service_id)
                .fetch_all(&self.pool)
                .await
                .map_err(failed)?;
            let mark = |row: &MySqlRow| {
                let change_id: Vec<u8> = row.try_get("change_id").map_err(failed)?;
                let operation: String = row.try_get("operation").map_err(failed)?;
                let change_id = String::from_utf8(change_id)
                    .map_err(|error| TargetError::new("reading the marks", error))?;
                sql::mark(change_id, &operation)
            };
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

    fn begin(&self) -> TargetFuture<'_, MySqlTx> {
        Box::pin(async move {
            let failed = |error| TargetError::new("beginning a transaction", error);
            let xid = format!("flamingock-{}", Uuid::new_v4());
            let transaction = self
                .pool
                .begin_with(AssertSqlSafe(format!("XA START '{xid}'")))
                .await
                .map_err(failed)?;
            let xid = Some(xid);
            Ok(MySqlTx {
                open: Some(Open { transaction, xid }),
            })
        })
    }

    fn write_mark<'a>(
        &'a self,
        transaction: &'a mut MySqlTx,
        scope: MarkScope,
        change_id: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<(), MarkError>> + Send + 'a>> {
        Box::pin(async move {
            let failed = |error| MarkError::from(TargetError::new("writing the mark", error));
            // Known since `prepare`: no second connection is needed while the transaction is open.
            let table = self.make_table().await.map_err(failed)?;
            let inserted = insert(table, scope, change_id).execute(&mut **transaction).await;
            match inserted {
                Ok(_) => Ok(()),
                Err(error) if sql::is_unique_violation(&error) => Err(MarkError::AlreadyThere),
                Err(error) => Err(failed(error)),
            }
        })
    }

    fn commit(
        &self,
        mut transaction: MySqlTx,
    ) -> Pin<Box<dyn Future<Output = Result<(), CommitError>> + Send + '_>> {
        Box::pin(async move {
            let mut open = transaction.take();
            if let Err(error) = open.xa("END", "").await {
                // Nothing was committed, and nothing can be any more.
                let _ = open.abandon().await;
                return Err(CommitError::Definite(TargetError::new("committing", error)));
            }
            if let Err(error) = open.xa("COMMIT", " ONE PHASE").await {
                let definite = number(&error).is_some_and(|number| ROLLED_BACK.contains(&number));
                let error = TargetError::new("committing", error);
                let _ = open.abandon().await;
                return Err(if definite {
                    CommitError::Definite(error)
                } else {
                    CommitError::Ambiguous(error)
                });
            }
            // It is committed. This tells sqlx, which would send a ROLLBACK otherwise.
            if let Err(error) = open.transaction.commit().await {
                tracing::debug!(error = %causes::one_line(&error), "the connection was lost after the commit");
            }
            Ok(())
        })
    }

    fn rollback(
        &self,
        mut transaction: MySqlTx,
    ) -> Pin<Box<dyn Future<Output = Result<(), RollbackError>> + Send + '_>> {
        Box::pin(async move {
            let mut open = transaction.take();
            open.explain_refusal().await;
            match open.abandon().await {
                Err(error) if number(&error).is_some() => {
                    tracing::warn!(error = %causes::one_line(&error), "the transaction is not there any more");
                    Err(RollbackError::TransactionEnded)
                }
                // Nobody but its own connection could commit it, and nobody but this target would have: if the
                // connection is lost, the server rolls back when it notices that.
                Ok(()) | Err(_) => Ok(()),
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
            let statement =
                format!("DELETE FROM {table} WHERE environment_id = ? AND service_id = ? AND change_id = ?");
            let mut transaction = self.pool.begin().await.map_err(failed)?;
            for change_id in change_ids {
                sqlx::query(AssertSqlSafe(statement.clone()))
                    .bind(scope.environment_id)
                    .bind(scope.service_id)
                    .bind(change_id.as_bytes())
                    .execute(&mut *transaction)
                    .await
                    .map_err(failed)?;
            }
            transaction.commit().await.map_err(failed)
        })
    }
}

impl Database {
    /// With its database: a change may `USE` another for good.
    async fn find_table(&self) -> Result<Option<&str>, sqlx::Error> {
        if self.table.get().is_none() {
            let found: Option<Option<Vec<u8>>> = sqlx::query_scalar(
                "SELECT CAST(table_schema AS BINARY) FROM information_schema.tables \
                 WHERE table_schema = DATABASE() AND table_name = 'flamingock_marks'",
            )
            .fetch_optional(&self.pool)
            .await?;
            let Some(schema) = found.flatten() else {
                return Ok(None);
            };
            let schema = String::from_utf8(schema).map_err(|error| sqlx::Error::Decode(error.into()))?;
            let table = format!("`{}`.flamingock_marks", schema.replace('`', "``"));
            self.table.get_or_init(|| async { table }).await;
        }
        Ok(self.table.get().map(String::as_str))
    }

    /// The table, created unless it exists: a role that may use it need not be allowed to create one.
    async fn make_table(&self) -> Result<&str, sqlx::Error> {
        if let Some(table) = self.find_table().await? {
            return Ok(table);
        }
        let statement = format!("CREATE TABLE IF NOT EXISTS flamingock_marks ({COLUMNS}) ENGINE = InnoDB");
        sqlx::query(AssertSqlSafe(statement)).execute(&self.pool).await?;
        self.find_table().await?.ok_or(sqlx::Error::RowNotFound)
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
        let wait =
            |seconds: String| AssertSqlSafe(format!("SET SESSION innodb_lock_wait_timeout = {seconds}"));
        sqlx::raw_sql(wait(patience.as_secs().max(1).to_string()))
            .execute(&mut *transaction)
            .await?;
        let inserted = insert(table, scope, change_id).execute(&mut *transaction).await;
        sqlx::raw_sql(wait("DEFAULT".to_owned()))
            .execute(&mut *transaction)
            .await?;
        transaction.rollback().await?;
        match inserted {
            Ok(_) => Ok(false),
            Err(error) if sql::is_unique_violation(&error) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// The text of the statement is ours but for the table's name, which is quoted.
fn insert(
    table: &str,
    scope: MarkScope,
    change_id: &str,
) -> sqlx::query::Query<'static, MySql, sqlx::mysql::MySqlArguments> {
    let statement = format!(
        "INSERT INTO {table} (environment_id, service_id, change_id, operation) VALUES (?, ?, ?, 'APPLIED')"
    );
    sqlx::query(AssertSqlSafe(statement))
        .bind(scope.environment_id)
        .bind(scope.service_id)
        .bind(change_id.as_bytes().to_vec())
}

/// The server's number of an error, if it is one of the server's.
fn number(error: &sqlx::Error) -> Option<u16> {
    error
        .as_database_error()?
        .try_downcast_ref::<MySqlDatabaseError>()
        .map(MySqlDatabaseError::number)
}

/// Whether the server refused a statement because it would have committed in the middle of a change.
pub(crate) fn is_refused_commit(number: u16, message: &str) -> bool {
    number == REFUSED_IN_XA && message.contains(IN_THE_MIDDLE)
}
