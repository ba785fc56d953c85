//! Checksums that are accepted for applied changes. Append-only.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use flamingock_domain::ids::{ChangeId, Checksum, Seq};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::{Scope, StoreError};

#[derive(Clone, Debug)]
pub struct ChecksumRow {
    pub id: i64,
    pub change_id: String,
    pub seq: Seq,
    pub checksum: String,
    pub source: String,
    pub actor: Option<String>,
    pub reason: Option<String>,
    pub recorded_at: DateTime<Utc>,
}

/// An `APPLIED` entry of an execution whose checksums may be known.
#[derive(Clone, Copy, Debug)]
pub struct Applied<'a> {
    pub stream_id: i64,
    pub change_id: &'a str,
    pub seq: Seq,
    pub execution_id: i64,
}

/// What is accepted for the changes of a stream that are applied now.
pub async fn load_accepted(
    conn: &mut PgConnection,
    stream_id: i64,
) -> Result<HashMap<ChangeId, Vec<Checksum>>, StoreError> {
    let rows = sqlx::query(
        "SELECT k.change_id, k.checksum
           FROM change_checksums k
           JOIN change_states c ON c.stream_id = k.stream_id AND c.change_id = k.change_id AND c.seq = k.seq
          WHERE k.stream_id = $1
          ORDER BY k.id",
    )
    .bind(stream_id)
    .fetch_all(conn)
    .await?;
    let mut accepted: HashMap<ChangeId, Vec<Checksum>> = HashMap::new();
    for row in &rows {
        let change =
            ChangeId::parse(row.try_get::<String, _>("change_id")?).map_err(|error| corrupt(&error))?;
        let checksum =
            Checksum::parse(row.try_get::<String, _>("checksum")?).map_err(|error| corrupt(&error))?;
        accepted.entry(change).or_default().push(checksum);
    }
    Ok(accepted)
}

fn corrupt(error: &dyn std::error::Error) -> StoreError {
    StoreError::Corrupt {
        table: "change_checksums",
        detail: error.to_string(),
    }
}

/// Records with what checksums changes were applied, where their executions know.
pub async fn append_of_executions(
    conn: &mut PgConnection,
    applied: &[Applied<'_>],
) -> Result<(), StoreError> {
    if applied.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "-- Unpacked once for each execution: of a large pipeline they are megabytes, and unpacking them for each row would
         -- take longer than all the rest.
         WITH x AS MATERIALIZED (
              SELECT e.id, e.checksums || '{}' AS checksums FROM executions e WHERE e.id = ANY($4) AND e.checksums IS NOT NULL)
         INSERT INTO change_checksums (stream_id, change_id, seq, checksum, source)
         SELECT q.stream_id, q.change_id, q.seq, x.checksums ->> q.change_id, 'RUNNER'
           FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[])
                AS q (stream_id, change_id, seq, execution_id)
           JOIN x ON x.id = q.execution_id
          WHERE x.checksums ->> q.change_id IS NOT NULL
         ON CONFLICT ON CONSTRAINT change_checksums_stream_id_change_id_seq_checksum_key DO NOTHING",
    )
    .bind(applied.iter().map(|it| it.stream_id).collect::<Vec<_>>())
    .bind(applied.iter().map(|it| it.change_id).collect::<Vec<_>>())
    .bind(applied.iter().map(|it| it.seq).collect::<Vec<_>>())
    .bind(applied.iter().map(|it| it.execution_id).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes the checksums of changes that were applied without one as those that they were applied with. The stream is
/// locked: what is missing stays missing until this is written.
pub async fn append_first_seen(
    conn: &mut PgConnection,
    stream_id: i64,
    seen: &[(&str, Seq, &str)],
) -> Result<(), StoreError> {
    if seen.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO change_checksums (stream_id, change_id, seq, checksum, source)
         SELECT $1, q.change_id, q.seq, q.checksum, 'FIRST_SEEN'
           FROM unnest($2::text[], $3::bigint[], $4::text[]) AS q (change_id, seq, checksum)
          WHERE NOT EXISTS (SELECT FROM change_checksums k
                             WHERE k.stream_id = $1 AND k.change_id = q.change_id AND k.seq = q.seq)
         ON CONFLICT ON CONSTRAINT change_checksums_stream_id_change_id_seq_checksum_key DO NOTHING",
    )
    .bind(stream_id)
    .bind(seen.iter().map(|(change, ..)| *change).collect::<Vec<_>>())
    .bind(seen.iter().map(|(_, seq, _)| *seq).collect::<Vec<_>>())
    .bind(seen.iter().map(|(.., checksum)| *checksum).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Records what a person accepts. The row that says so: this one, or the one that did before.
pub async fn append_accepted(
    conn: &mut PgConnection,
    stream_id: i64,
    (change, seq, checksum): (&str, Seq, &str),
    actor: &str,
    reason: &str,
) -> Result<(ChecksumRow, bool), StoreError> {
    let done = sqlx::query(
        "INSERT INTO change_checksums (stream_id, change_id, seq, checksum, source, actor, reason)
         VALUES ($1, $2, $3, $4, 'PERSON', $5, $6)
         ON CONFLICT ON CONSTRAINT change_checksums_stream_id_change_id_seq_checksum_key DO NOTHING",
    )
    .bind(stream_id)
    .bind(change)
    .bind(seq)
    .bind(checksum)
    .bind(actor)
    .bind(reason)
    .execute(&mut *conn)
    .await?;
    let row = sqlx::query(
        "SELECT k.id, k.change_id, k.seq, k.checksum, k.source, k.actor, k.reason, k.recorded_at
           FROM change_checksums k
          WHERE stream_id = $1 AND change_id = $2 AND seq = $3 AND checksum = $4",
    )
    .bind(stream_id)
    .bind(change)
    .bind(seq)
    .bind(checksum)
    .fetch_one(conn)
    .await?;
    Ok((checksum_of_row(&row)?, done.rows_affected() == 1))
}

/// Newest first; `before` is the last id of the page before. Those of applied changes only, as they are applied now.
pub async fn list(
    conn: &mut PgConnection,
    scope: Scope,
    change: Option<&str>,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<ChecksumRow>, StoreError> {
    let rows = sqlx::query(
        "SELECT k.id, k.change_id, k.seq, k.checksum, k.source, k.actor, k.reason, k.recorded_at
           FROM change_checksums k
          CROSS JOIN LATERAL (
                SELECT 1 FROM change_states c
                 WHERE c.stream_id = k.stream_id AND c.change_id = k.change_id AND c.seq = k.seq LIMIT 1) AS current
          WHERE k.stream_id = (SELECT id FROM audit_streams WHERE environment_id = $1 AND service_id = $2)
            AND k.id < $3 AND ($4::text IS NULL OR k.change_id = $4)
          ORDER BY k.id DESC LIMIT $5",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .bind(before.unwrap_or(i64::MAX))
    .bind(change)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter().map(checksum_of_row).collect()
}

fn checksum_of_row(row: &PgRow) -> Result<ChecksumRow, StoreError> {
    Ok(ChecksumRow {
        id: row.try_get("id")?,
        change_id: row.try_get("change_id")?,
        seq: row.try_get("seq")?,
        checksum: row.try_get("checksum")?,
        source: row.try_get("source")?,
        actor: row.try_get("actor")?,
        reason: row.try_get("reason")?,
        recorded_at: row.try_get("recorded_at")?,
    })
}
