//! What the targets on sqlx share.

use std::time::Duration;

use super::{Mark, MarkOperation, TargetError};

/// How long a connection is waited for, where the target makes its own.
pub(super) const CONNECT: Duration = Duration::from_secs(15);

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
