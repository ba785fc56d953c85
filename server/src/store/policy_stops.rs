//! Starts that a policy refused, the latest of each kind: for people to see, nothing leans on them.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::{Scope, StoreError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusing {
    ChecksumMismatch,
    OutOfOrder,
}

impl Refusing {
    fn as_text(self) -> &'static str {
        match self {
            Self::ChecksumMismatch => "CHECKSUM_MISMATCH",
            Self::OutOfOrder => "OUT_OF_ORDER",
        }
    }
}

/// A start that was refused, and would be again as far as is known.
#[derive(Clone, Debug)]
pub struct StopRow {
    pub policy: Refusing,
    /// The first of them.
    pub change_ids: Vec<String>,
    pub changes: i64,
    pub runner_id: String,
    pub asked_at: DateTime<Utc>,
    /// So lately that whoever starts it is likely to be at it still.
    pub is_recent: bool,
}

/// Notes a refused start. Where nothing was ever recorded there is nothing to note: neither policy finds anything then.
pub async fn upsert(
    conn: &mut PgConnection,
    scope: Scope,
    policy: Refusing,
    runner: &str,
    change_ids: &[&str],
    changes: usize,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO policy_stops (stream_id, policy, policy_revision, change_ids, changes, runner_id)
         SELECT s.id, $3, e.policy_revision, $4, $5, $6
           FROM audit_streams s JOIN environments e ON e.id = s.environment_id
          WHERE s.environment_id = $1 AND s.service_id = $2
         ON CONFLICT ON CONSTRAINT policy_stops_pkey DO UPDATE
            SET policy_revision = excluded.policy_revision, change_ids = excluded.change_ids,
                changes = excluded.changes, runner_id = excluded.runner_id, asked_at = clock_timestamp()",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .bind(policy.as_text())
    .bind(change_ids)
    .bind(i64::try_from(changes).unwrap_or(i64::MAX))
    .bind(runner)
    .execute(conn)
    .await?;
    Ok(())
}

/// What still stands in the way: nothing was granted since, the policies are the same, and no person decided about one of
/// the changes. Latest first.
pub async fn list(conn: &mut PgConnection, scope: Scope) -> Result<Vec<StopRow>, StoreError> {
    // A start that had nothing to do leaves no trace: after a while it is not to be said that the service is stopped.
    let rows = sqlx::query(
        "SELECT p.policy, p.change_ids, p.changes, p.runner_id, p.asked_at,
                p.asked_at > clock_timestamp() - interval '1 hour' AS is_recent
           FROM audit_streams s
           JOIN environments e ON e.id = s.environment_id
           JOIN policy_stops p ON p.stream_id = s.id AND p.policy_revision = e.policy_revision
          WHERE s.environment_id = $1 AND s.service_id = $2
            AND coalesce((SELECT x.started_at FROM executions x
                           WHERE x.stream_id = s.id ORDER BY x.id DESC LIMIT 1) < p.asked_at, true)
            AND NOT EXISTS (SELECT FROM change_checksums k
                             WHERE p.policy = 'CHECKSUM_MISMATCH' AND k.stream_id = s.id
                               AND k.change_id = ANY(p.change_ids) AND k.recorded_at >= p.asked_at)
            AND NOT EXISTS (SELECT FROM change_approvals a
                             WHERE p.policy = 'OUT_OF_ORDER' AND a.stream_id = s.id AND a.decision = 'APPROVED'
                               AND a.change_id = ANY(p.change_ids) AND a.decided_at >= p.asked_at)
          ORDER BY p.asked_at DESC",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .filter_map(|row| stop_of_row(row).transpose())
        .collect()
}

/// `None`: of a policy that only a newer version of the server knows, which shows it.
fn stop_of_row(row: &PgRow) -> Result<Option<StopRow>, StoreError> {
    let policy = match row.try_get("policy")? {
        "CHECKSUM_MISMATCH" => Refusing::ChecksumMismatch,
        "OUT_OF_ORDER" => Refusing::OutOfOrder,
        _ => return Ok(None),
    };
    Ok(Some(StopRow {
        policy,
        change_ids: row.try_get("change_ids")?,
        changes: row.try_get("changes")?,
        runner_id: row.try_get("runner_id")?,
        asked_at: row.try_get("asked_at")?,
        is_recent: row.try_get("is_recent")?,
    }))
}
