//! How far changes are, and from where a later attempt can go on: overwritten in place, under the row of the lock.

use chrono::{DateTime, Utc};
use flamingock_domain::audit::ChangeState;
use flamingock_domain::ids::{ChangeId, ExecutionId, Seq};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::states::state_of_row;
use super::{Scope, StoreError};

/// What a runner tells of a change that it runs.
#[derive(Clone, Debug)]
pub struct NewProgress {
    pub execution: ExecutionId,
    pub change: ChangeId,
    pub sequence: i64,
    /// Absent: the one before stays.
    pub cursor: Option<String>,
    pub void_when_failed: bool,
    pub done: Option<i64>,
    pub total: Option<i64>,
    pub message: Option<String>,
}

/// A row.
#[derive(Clone, Debug)]
pub struct Progress {
    pub change_id: String,
    pub execution: ExecutionId,
    pub cursor: Option<String>,
    pub cursor_saved_at: Option<DateTime<Utc>>,
    pub void_when_failed: bool,
    pub handed_on_at: Option<Seq>,
    pub done: Option<i64>,
    pub total: Option<i64>,
    pub message: Option<String>,
    pub reported_at: Option<DateTime<Utc>>,
}

/// A row that becomes a new attempt's.
#[derive(Clone, Copy, Debug)]
pub struct HandedOn<'a> {
    pub change: &'a ChangeId,
    /// The new attempt undoes, when it fails, what the cursor counts.
    pub void_when_failed: bool,
    /// The change's latest entry.
    pub at: Seq,
}

/// The latest state of one change of a scope, with its stream.
pub async fn load_latest(
    conn: &mut PgConnection,
    scope: Scope,
    change: &ChangeId,
) -> Result<Option<(i64, ChangeState)>, StoreError> {
    let row = sqlx::query(
        "SELECT c.stream_id, c.change_id, c.seq, c.state, c.tx_strategy, c.recovery_strategy, c.execution_id, c.source
           FROM audit_streams s JOIN change_states c ON c.stream_id = s.id
          WHERE s.environment_id = $1 AND s.service_id = $2 AND c.change_id = $3",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .bind(change.as_str())
    .fetch_optional(conn)
    .await?;
    row.map(|row| Ok((row.try_get("stream_id")?, state_of_row(&row)?.1)))
        .transpose()
}

/// Takes in what was told, unless something newer is there: of a later attempt, or told later by the same.
pub async fn upsert(conn: &mut PgConnection, stream_id: i64, new: &NewProgress) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO change_progress AS p
                (stream_id, change_id, execution_id, sequence, cursor, cursor_saved_at, void_when_failed, done, total,
                 message, reported_at)
         VALUES ($1, $2, $3, $4, $5::text, CASE WHEN $5::text IS NOT NULL THEN clock_timestamp() END, $6, $7::bigint,
                 $8::bigint, $9::text,
                 CASE WHEN num_nonnulls($7::bigint, $8::bigint, $9::text) > 0 THEN clock_timestamp() END)
         ON CONFLICT ON CONSTRAINT change_progress_pkey DO UPDATE
            SET execution_id = EXCLUDED.execution_id, sequence = EXCLUDED.sequence,
                -- It says what the cursor counts on; a write without a cursor says nothing about the one that is there.
                void_when_failed = CASE WHEN EXCLUDED.cursor IS NULL AND p.execution_id = EXCLUDED.execution_id
                                        THEN p.void_when_failed ELSE EXCLUDED.void_when_failed END,
                -- What another attempt left, and this one was not given, is gone.
                cursor = coalesce(EXCLUDED.cursor,
                                  CASE WHEN p.execution_id = EXCLUDED.execution_id THEN p.cursor END),
                cursor_saved_at = coalesce(EXCLUDED.cursor_saved_at,
                                  CASE WHEN p.execution_id = EXCLUDED.execution_id THEN p.cursor_saved_at END),
                (done, total, message, reported_at) = (SELECT t.done, t.total, t.message, t.reported_at
                    FROM (VALUES (EXCLUDED.done, EXCLUDED.total, EXCLUDED.message, EXCLUDED.reported_at, 1),
                                 (p.done, p.total, p.message, p.reported_at, 2)) AS t (done, total, message, reported_at, nth)
                   WHERE t.nth = CASE WHEN EXCLUDED.reported_at IS NULL AND p.execution_id = EXCLUDED.execution_id
                                      THEN 2 ELSE 1 END)
          WHERE p.execution_id < EXCLUDED.execution_id
             OR (p.execution_id = EXCLUDED.execution_id AND p.sequence < EXCLUDED.sequence)",
    )
    .bind(stream_id)
    .bind(new.change.as_str())
    .bind(new.execution.0)
    .bind(new.sequence)
    .bind(new.cursor.as_deref())
    .bind(new.void_when_failed)
    .bind(new.done)
    .bind(new.total)
    .bind(new.message.as_deref())
    .execute(conn)
    .await?;
    Ok(())
}

/// Hands rows on to a new attempt. What was known of their progress stays until it tells of its own.
pub async fn update_attempt(
    conn: &mut PgConnection,
    stream_id: i64,
    execution: ExecutionId,
    handed_on: &[HandedOn<'_>],
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE change_progress p SET execution_id = $2, sequence = 0, void_when_failed = n.void_when_failed, handed_on_seq = n.seq
           FROM unnest($3::text[], $4::boolean[], $5::bigint[]) AS n (change_id, void_when_failed, seq)
          WHERE p.stream_id = $1 AND p.change_id = n.change_id",
    )
    .bind(stream_id)
    .bind(execution.0)
    .bind(handed_on.iter().map(|it| it.change.as_str()).collect::<Vec<_>>())
    .bind(handed_on.iter().map(|it| it.void_when_failed).collect::<Vec<_>>())
    .bind(handed_on.iter().map(|it| it.at).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Which executions were handed a cursor of a change, asked for as (stream, change, execution), and the change's latest entry
/// then.
pub async fn load_handed_on(
    conn: &mut PgConnection,
    asked: &[(i64, &str, ExecutionId)],
) -> Result<Vec<(i64, String, ExecutionId, Seq)>, StoreError> {
    let rows = sqlx::query(
        "SELECT p.stream_id, p.change_id, p.execution_id, p.handed_on_seq
           FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS q (stream_id, change_id, execution_id)
           JOIN change_progress p USING (stream_id, change_id, execution_id)
          WHERE p.handed_on_seq IS NOT NULL",
    )
    .bind(asked.iter().map(|it| it.0).collect::<Vec<_>>())
    .bind(asked.iter().map(|it| it.1).collect::<Vec<_>>())
    .bind(asked.iter().map(|it| it.2.0).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok((
                row.try_get("stream_id")?,
                row.try_get("change_id")?,
                ExecutionId(row.try_get("execution_id")?),
                row.try_get("handed_on_seq")?,
            ))
        })
        .collect()
}

/// What is known of some changes of a stream.
pub async fn load_some(
    conn: &mut PgConnection,
    stream_id: i64,
    changes: &[&str],
) -> Result<Vec<Progress>, StoreError> {
    let rows = sqlx::query(
        "SELECT change_id, execution_id, cursor, cursor_saved_at, void_when_failed, handed_on_seq, done, total, message,
                reported_at
           FROM change_progress WHERE stream_id = $1 AND change_id = ANY($2)",
    )
    .bind(stream_id)
    .bind(changes)
    .fetch_all(conn)
    .await?;
    rows.iter().map(progress_of_row).collect()
}

/// What is known of changes that some executions of a stream have begun and not finished, whom nobody has decided about: at
/// most a hundred, the latest first.
pub async fn list_of_executions(
    conn: &mut PgConnection,
    stream_id: i64,
    executions: &[i64],
) -> Result<Vec<Progress>, StoreError> {
    let rows = sqlx::query(
        "SELECT p.change_id, p.execution_id, p.cursor, p.cursor_saved_at, p.void_when_failed, p.handed_on_seq, p.done, p.total,
                p.message, p.reported_at
           FROM change_progress p
           JOIN change_states c ON c.stream_id = p.stream_id AND c.change_id = p.change_id
          WHERE p.stream_id = $1 AND p.execution_id = ANY($2) AND c.source = 'RUNNER' AND c.state <> 'APPLIED'
          ORDER BY greatest(p.reported_at, p.cursor_saved_at) DESC NULLS LAST, p.change_id LIMIT 100",
    )
    .bind(stream_id)
    .bind(executions)
    .fetch_all(conn)
    .await?;
    rows.iter().map(progress_of_row).collect()
}

fn progress_of_row(row: &PgRow) -> Result<Progress, StoreError> {
    Ok(Progress {
        change_id: row.try_get("change_id")?,
        execution: ExecutionId(row.try_get("execution_id")?),
        cursor: row.try_get("cursor")?,
        cursor_saved_at: row.try_get("cursor_saved_at")?,
        void_when_failed: row.try_get("void_when_failed")?,
        handed_on_at: row.try_get("handed_on_seq")?,
        done: row.try_get("done")?,
        total: row.try_get("total")?,
        message: row.try_get("message")?,
        reported_at: row.try_get("reported_at")?,
    })
}
