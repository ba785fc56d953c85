//! Starts that were refused. Append-only.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row};

use super::{Scope, StoreError};

#[derive(Clone, Debug)]
pub struct NewRefusal<'a> {
    pub change_id: &'a str,
    pub execution_ref: &'a str,
    pub runner_id: &'a str,
    pub reason: &'a str,
    pub fence: Option<i64>,
    pub lock_owner: Option<&'a str>,
    pub lock_fence: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct Refusal {
    pub change_id: String,
    pub execution_ref: String,
    pub runner_id: String,
    pub reason: String,
    pub fence: Option<i64>,
    pub lock_owner: Option<String>,
    pub lock_fence: Option<i64>,
    pub refused_at: DateTime<Utc>,
}

/// Keeps one; the same again is not kept again.
pub async fn append(conn: &mut PgConnection, scope: Scope, new: &NewRefusal<'_>) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO refused_starts (stream_id, change_id, execution_ref, runner_id, reason, fence, lock_owner, lock_fence)
         SELECT s.id, $3, $4, $5, $6, $7, $8, $9
           FROM audit_streams s WHERE s.environment_id = $1 AND s.service_id = $2
         ON CONFLICT ON CONSTRAINT refused_starts_key DO NOTHING",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .bind(new.change_id)
    .bind(new.execution_ref)
    .bind(new.runner_id)
    .bind(new.reason)
    .bind(new.fence)
    .bind(new.lock_owner)
    .bind(new.lock_fence)
    .execute(conn)
    .await?;
    Ok(())
}

/// Of one change, newest first.
pub async fn list_of_change(
    conn: &mut PgConnection,
    stream_id: i64,
    change_id: &str,
    limit: i64,
) -> Result<Vec<Refusal>, StoreError> {
    let rows = sqlx::query(
        "SELECT r.change_id, r.execution_ref, r.runner_id, r.reason, r.fence, r.lock_owner, r.lock_fence, r.refused_at
           FROM refused_starts r WHERE r.stream_id = $1 AND r.change_id = $2 ORDER BY r.id DESC LIMIT $3",
    )
    .bind(stream_id)
    .bind(change_id)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter().map(refusal_of_row).collect()
}

/// Of one execution, for some of its changes, newest first.
pub async fn list_of_execution(
    conn: &mut PgConnection,
    stream_id: i64,
    execution_ref: &str,
    changes: &[&str],
    limit: i64,
) -> Result<Vec<Refusal>, StoreError> {
    let rows = sqlx::query(
        "SELECT r.change_id, r.execution_ref, r.runner_id, r.reason, r.fence, r.lock_owner, r.lock_fence, r.refused_at
           FROM unnest($2::text[]) AS q (change_id)
          CROSS JOIN LATERAL (
                SELECT * FROM refused_starts r
                 WHERE r.stream_id = $1 AND r.change_id = q.change_id AND r.execution_ref = $3 LIMIT $4) AS r
          ORDER BY r.id DESC LIMIT $4",
    )
    .bind(stream_id)
    .bind(changes)
    .bind(execution_ref)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter().map(refusal_of_row).collect()
}

fn refusal_of_row(row: &sqlx::postgres::PgRow) -> Result<Refusal, StoreError> {
    Ok(Refusal {
        change_id: row.try_get("change_id")?,
        execution_ref: row.try_get("execution_ref")?,
        runner_id: row.try_get("runner_id")?,
        reason: row.try_get("reason")?,
        fence: row.try_get("fence")?,
        lock_owner: row.try_get("lock_owner")?,
        lock_fence: row.try_get("lock_fence")?,
        refused_at: row.try_get("refused_at")?,
    })
}
