//! People's requests that an execution stop.

use chrono::{DateTime, Utc};
use flamingock_domain::ids::{ExecutionId, LockKey};
use sqlx::{PgConnection, Row};

use super::{Scope, StoreError};

#[derive(Clone, Debug)]
pub struct Cancellation {
    pub execution: ExecutionId,
    pub actor: String,
    pub reason: String,
    pub requested_at: DateTime<Utc>,
}

/// Records a request, and has the holder of the lock told with its next heartbeat. The lock's row is held by the caller,
/// and is the execution's.
pub async fn insert(
    conn: &mut PgConnection,
    scope: Scope,
    execution: ExecutionId,
    actor: &str,
    reason: &str,
) -> Result<DateTime<Utc>, StoreError> {
    let key = LockKey::of_service(scope.service_id);
    let requested_at = sqlx::query_scalar(
        "WITH told AS (UPDATE locks SET cancel_execution_id = $3
                        WHERE environment_id = $1 AND key = $2 AND execution_id = $3 RETURNING execution_id)
         INSERT INTO execution_cancellations (execution_id, actor, reason) SELECT execution_id, $4, $5 FROM told
         RETURNING requested_at",
    )
    .bind(scope.environment_id)
    .bind(key.as_str())
    .bind(execution.0)
    .bind(actor)
    .bind(reason)
    .fetch_one(conn)
    .await?;
    Ok(requested_at)
}

/// Of some executions of a stream.
pub async fn list(
    conn: &mut PgConnection,
    stream_id: i64,
    executions: &[i64],
) -> Result<Vec<Cancellation>, StoreError> {
    let rows = sqlx::query(
        "SELECT c.execution_id, c.actor, c.reason, c.requested_at
           FROM execution_cancellations c JOIN executions x ON x.id = c.execution_id
          WHERE x.stream_id = $1 AND c.execution_id = ANY($2)",
    )
    .bind(stream_id)
    .bind(executions)
    .fetch_all(conn)
    .await?;
    rows.iter().map(of_row).collect()
}

/// Of one execution of a scope.
pub async fn load(
    conn: &mut PgConnection,
    scope: Scope,
    execution: ExecutionId,
) -> Result<Option<Cancellation>, StoreError> {
    let row = sqlx::query(
        "SELECT c.execution_id, c.actor, c.reason, c.requested_at
           FROM execution_cancellations c
           JOIN executions x ON x.id = c.execution_id
           JOIN audit_streams s ON s.id = x.stream_id
          WHERE s.environment_id = $1 AND s.service_id = $2 AND c.execution_id = $3",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .bind(execution.0)
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(of_row).transpose()
}

fn of_row(row: &sqlx::postgres::PgRow) -> Result<Cancellation, StoreError> {
    Ok(Cancellation {
        execution: ExecutionId(row.try_get("execution_id")?),
        actor: row.try_get("actor")?,
        reason: row.try_get("reason")?,
        requested_at: row.try_get("requested_at")?,
    })
}
