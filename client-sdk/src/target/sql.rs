//! What the targets on sqlx share.

use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection, Database, Pool, pool::PoolOptions};

use super::{Mark, MarkOperation, TargetError};

/// How long a connection is waited for, where the target makes its own.
const CONNECT: Duration = Duration::from_secs(15);

/// A pool of a target's own, for programs that have none. Statements are not logged: they may have secrets.
pub(super) fn lazy_pool<DB: Database>(url: &str) -> Result<Pool<DB>, TargetError> {
    let options = url
        .parse::<<DB::Connection as Connection>::Options>()
        .map_err(|error| TargetError::new("reading the address of a database", error))?;
    Ok(PoolOptions::new()
        .max_connections(2)
        .acquire_timeout(CONNECT)
        .connect_lazy_with(options.disable_statement_logging()))
}

/// A row of `flamingock_marks`.
pub(super) fn mark(change_id: String, operation: &str) -> Result<Mark, TargetError> {
    let operation = match operation {
        "APPLIED" => MarkOperation::Applied,
        "ROLLED_BACK" => MarkOperation::RolledBack,
        other => {
            return Err(TargetError::new(
                "reading the marks",
                format!("`{other}` is no operation of a mark"),
            ));
        }
    };
    Ok(Mark { change_id, operation })
}

pub(super) fn is_unique_violation(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}
