//! The order in which events are told: a log for each organisation that says what is next, and copies nothing (ADR 017).

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::StoreError;

/// Where a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHead {
    pub id: i64,
    pub at: DateTime<Utc>,
}

/// What the place of a row is called now; names that are not this row's to tell are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub project: Option<String>,
    pub environment: Option<String>,
    pub service: Option<String>,
}

/// A row of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    pub organisation_id: i64,
    pub id: i64,
    pub ordered_at: DateTime<Utc>,
    pub project_id: Option<i64>,
    pub environment_id: Option<i64>,
    pub service_id: Option<i64>,
    pub names: Names,
    pub lock_key: Option<String>,
    pub stream_id: Option<i64>,
    /// Entries of the audit after the first and up to the second.
    pub seqs: (i64, i64),
    /// Changes of the lock, likewise.
    pub changes: (i64, i64),
    pub action_id: Option<i64>,
}

/// A service, or a lock without one, of which something is new.
#[derive(Clone, Debug)]
pub struct Moved {
    pub organisation_id: i64,
    pub project_id: i64,
    pub environment_id: i64,
    pub lock_key: String,
    pub stream_id: Option<i64>,
    pub seqs: (i64, i64),
    pub changes: (i64, i64),
}

/// An admin action that was taken out of the queue.
#[derive(Clone, Debug)]
pub struct QueuedAction {
    pub id: i64,
    pub organisation_id: i64,
    pub project_id: Option<i64>,
    pub environment_id: Option<i64>,
    pub service_id: Option<i64>,
}

/// Makes an organisation's log unless there is one. True if it was made here: then its baseline is still to be written.
pub async fn insert_log(conn: &mut PgConnection, organisation_id: i64) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "INSERT INTO event_logs (organisation_id) VALUES ($1)
         ON CONFLICT ON CONSTRAINT event_logs_pkey DO NOTHING",
    )
    .bind(organisation_id)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What happened before anybody ever listened is history, and no event.
pub async fn insert_baseline(conn: &mut PgConnection, organisation_id: i64) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO event_positions (environment_id, lock_key, seq, change)
         SELECT b.environment_id, b.lock_key, max(b.seq), max(b.change)
           FROM (SELECT s.environment_id, s.service_id::text AS lock_key, s.head_seq AS seq, 0 AS change
                   FROM audit_streams s
                   JOIN environments e ON e.id = s.environment_id JOIN projects p ON p.id = e.project_id
                  WHERE p.organisation_id = $1
                  UNION ALL
                 SELECT l.environment_id, l.key, 0, l.changes
                   FROM locks l
                   JOIN environments e ON e.id = l.environment_id JOIN projects p ON p.id = e.project_id
                  WHERE p.organisation_id = $1) b
          GROUP BY 1, 2",
    )
    .bind(organisation_id)
    .execute(&mut *conn)
    .await?;
    sqlx::query("DELETE FROM event_actions WHERE organisation_id = $1")
        .bind(organisation_id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Reading all heads of an organisation is quicker by whole tables than by one look-up each: the rest of the transaction may.
pub async fn allow_whole_tables(conn: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("SELECT set_config('enable_seqscan', 'on', true), set_config('enable_hashjoin', 'on', true)")
        .execute(conn)
        .await?;
    Ok(())
}

/// Holds those of the logs that nobody else is ordering at this moment.
pub async fn lock_logs(
    conn: &mut PgConnection,
    organisation_ids: &[i64],
) -> Result<Vec<(i64, i64)>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT organisation_id, head_id FROM event_logs WHERE organisation_id = ANY($1)
          ORDER BY organisation_id FOR UPDATE SKIP LOCKED",
    )
    .bind(organisation_ids)
    .fetch_all(conn)
    .await?)
}

/// What has moved beyond its position in the order, in one snapshot: audit heads and lock changes that belong together are
/// seen together.
pub async fn list_moved(
    conn: &mut PgConnection,
    organisation_ids: &[i64],
    limit: i64,
) -> Result<Vec<Moved>, StoreError> {
    let rows = sqlx::query(
        "WITH places AS MATERIALIZED (
             SELECT p.organisation_id, p.id AS project_id, e.id AS environment_id
               FROM projects p JOIN environments e ON e.project_id = p.id
              WHERE p.organisation_id = ANY($1)),
         moved AS (
             SELECT a.*, s.service_id::text AS lock_key, s.head_seq, 0 AS head_change,
                    coalesce(q.seq, 0) AS seq, coalesce(q.change, 0) AS change
               FROM places a
               JOIN audit_streams s ON s.environment_id = a.environment_id
               LEFT JOIN event_positions q ON q.environment_id = s.environment_id AND q.lock_key = s.service_id::text
              WHERE s.head_seq > coalesce(q.seq, 0)
              UNION ALL
             SELECT a.*, l.key, 0, l.changes, coalesce(q.seq, 0), coalesce(q.change, 0)
               FROM places a
               JOIN locks l ON l.environment_id = a.environment_id
               LEFT JOIN event_positions q ON q.environment_id = l.environment_id AND q.lock_key = l.key
              WHERE l.changes > coalesce(q.change, 0)),
         together AS MATERIALIZED (
             SELECT organisation_id, project_id, environment_id, lock_key, seq, change,
                    greatest(max(head_seq), seq) AS head_seq, greatest(max(head_change), change) AS head_change
               FROM moved
              GROUP BY organisation_id, project_id, environment_id, lock_key, seq, change
              ORDER BY organisation_id, environment_id, lock_key
              LIMIT $2)
         SELECT t.*, s.id AS stream_id
           FROM together t
           LEFT JOIN LATERAL (
                SELECT id FROM audit_streams
                 WHERE environment_id = t.environment_id
                   AND service_id = CASE WHEN t.lock_key ~ '^[0-9]{1,18}$' THEN t.lock_key::bigint END
                 LIMIT 1) s ON true
          ORDER BY t.organisation_id, t.environment_id, t.lock_key",
    )
    .bind(organisation_ids)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Moved {
                organisation_id: row.try_get("organisation_id")?,
                project_id: row.try_get("project_id")?,
                environment_id: row.try_get("environment_id")?,
                lock_key: row.try_get("lock_key")?,
                stream_id: row.try_get("stream_id")?,
                seqs: (row.try_get("seq")?, row.try_get("head_seq")?),
                changes: (row.try_get("change")?, row.try_get("head_change")?),
            })
        })
        .collect()
}

/// Whether admin actions wait to be put into the order.
pub async fn has_actions(conn: &mut PgConnection, organisation_ids: &[i64]) -> Result<bool, StoreError> {
    Ok(
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM event_actions WHERE organisation_id = ANY($1))")
            .bind(organisation_ids)
            .fetch_one(conn)
            .await?,
    )
}

/// Takes admin actions out of the queue, in the order of their ids.
pub async fn take_actions(
    conn: &mut PgConnection,
    organisation_ids: &[i64],
    limit: i64,
) -> Result<Vec<QueuedAction>, StoreError> {
    let rows = sqlx::query(
        "WITH taken AS (
             DELETE FROM event_actions WHERE action_id IN (
                 SELECT action_id FROM event_actions WHERE organisation_id = ANY($1)
                  ORDER BY organisation_id, action_id LIMIT $2)
             RETURNING action_id)
         SELECT a.id, a.organisation_id, a.project_id, a.environment_id, a.service_id
           FROM taken t JOIN admin_actions a ON a.id = t.action_id
          ORDER BY a.id",
    )
    .bind(organisation_ids)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(QueuedAction {
                id: row.try_get("id")?,
                organisation_id: row.try_get("organisation_id")?,
                project_id: row.try_get("project_id")?,
                environment_id: row.try_get("environment_id")?,
                service_id: row.try_get("service_id")?,
            })
        })
        .collect()
}

/// Appends rows to logs that the transaction holds, and moves positions and heads with them. `ordered_at` and
/// `names` of the rows are not read: the database says when, and what things are called.
pub async fn append(conn: &mut PgConnection, rows: &[LogRow]) -> Result<(), StoreError> {
    fn column<T>(rows: &[LogRow], of: impl Fn(&LogRow) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
    let done = sqlx::query(
        "WITH new AS MATERIALIZED (
             SELECT n.*, c.now
               FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[],
                           $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[])
                    AS n (organisation_id, id, project_id, environment_id, service_id, lock_key, stream_id, from_seq,
                          to_seq, from_change, to_change, action_id)
              CROSS JOIN (SELECT clock_timestamp() AS now) c),
         logged AS (
             INSERT INTO event_log (organisation_id, id, ordered_at, project_id, environment_id, service_id, lock_key,
                                    stream_id, from_seq, to_seq, from_change, to_change, action_id)
             SELECT organisation_id, id, now, project_id, environment_id, service_id, lock_key, stream_id, from_seq,
                    to_seq, from_change, to_change, action_id
               FROM new),
         placed AS (
             INSERT INTO event_positions (environment_id, lock_key, seq, change)
             SELECT environment_id, lock_key, to_seq, to_change FROM new WHERE lock_key IS NOT NULL
             ON CONFLICT ON CONSTRAINT event_positions_pkey
             DO UPDATE SET seq = excluded.seq, change = excluded.change)
         UPDATE event_logs l SET head_id = h.id, head_at = h.now
           FROM (SELECT DISTINCT ON (organisation_id) organisation_id, id, now FROM new
                  ORDER BY organisation_id, id DESC) h
          WHERE l.organisation_id = h.organisation_id AND l.head_id < h.id",
    )
    .bind(column(rows, |row| row.organisation_id))
    .bind(column(rows, |row| row.id))
    .bind(column(rows, |row| row.project_id))
    .bind(column(rows, |row| row.environment_id))
    .bind(column(rows, |row| row.service_id))
    .bind(column(rows, |row| row.lock_key.clone()))
    .bind(column(rows, |row| row.stream_id))
    .bind(column(rows, |row| row.seqs.0))
    .bind(column(rows, |row| row.seqs.1))
    .bind(column(rows, |row| row.changes.0))
    .bind(column(rows, |row| row.changes.1))
    .bind(column(rows, |row| row.action_id))
    .execute(conn)
    .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::Corrupt {
            table: "event_logs",
            detail: "no head to move".to_owned(),
        });
    }
    Ok(())
}

pub async fn load_heads(
    conn: &mut PgConnection,
    organisation_ids: &[i64],
) -> Result<Vec<(i64, LogHead)>, StoreError> {
    let rows = sqlx::query(
        "SELECT organisation_id, head_id, head_at FROM event_logs WHERE organisation_id = ANY($1)",
    )
    .bind(organisation_ids)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let head = LogHead {
                id: row.try_get("head_id")?,
                at: row.try_get("head_at")?,
            };
            Ok((row.try_get("organisation_id")?, head))
        })
        .collect()
}

/// Rows of a log from an id on.
pub async fn list_log(
    conn: &mut PgConnection,
    organisation_id: i64,
    from: i64,
    limit: i64,
) -> Result<Vec<LogRow>, StoreError> {
    let rows = sqlx::query(
        // A lock's key may be any number: only a service of the row's own project is named.
        "SELECT l.organisation_id, l.id, l.ordered_at, l.project_id, l.environment_id, l.service_id, l.lock_key,
                l.stream_id, l.from_seq, l.to_seq, l.from_change, l.to_change, l.action_id,
                p.name AS project_name, e.name AS environment_name, s.name AS service_name
           FROM event_log l
           LEFT JOIN projects p ON p.id = l.project_id AND p.organisation_id = l.organisation_id
           LEFT JOIN environments e ON e.id = l.environment_id AND e.project_id = p.id
           LEFT JOIN services s ON s.id = l.service_id AND s.project_id = p.id
          WHERE l.organisation_id = $1 AND l.id >= $2 ORDER BY l.id LIMIT $3",
    )
    .bind(organisation_id)
    .bind(from)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter().map(log_row).collect()
}

fn log_row(row: &PgRow) -> Result<LogRow, StoreError> {
    Ok(LogRow {
        organisation_id: row.try_get("organisation_id")?,
        id: row.try_get("id")?,
        ordered_at: row.try_get("ordered_at")?,
        project_id: row.try_get("project_id")?,
        environment_id: row.try_get("environment_id")?,
        service_id: row.try_get("service_id")?,
        names: Names {
            project: row.try_get("project_name")?,
            environment: row.try_get("environment_name")?,
            service: row.try_get("service_name")?,
        },
        lock_key: row.try_get("lock_key")?,
        stream_id: row.try_get("stream_id")?,
        seqs: (row.try_get("from_seq")?, row.try_get("to_seq")?),
        changes: (row.try_get("from_change")?, row.try_get("to_change")?),
        action_id: row.try_get("action_id")?,
    })
}

/// Forgets the oldest rows of a log that are older than some days, so many at most; never the last row.
pub async fn delete_old(
    conn: &mut PgConnection,
    organisation_id: i64,
    kept_days: i32,
    limit: i64,
) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "DELETE FROM event_log l USING (
             SELECT o.organisation_id, o.id, o.ordered_at FROM event_log o
              WHERE o.organisation_id = $1 AND o.id < (SELECT head_id FROM event_logs WHERE organisation_id = $1)
              ORDER BY o.id LIMIT $3) old
          WHERE l.organisation_id = old.organisation_id AND l.id = old.id
            AND old.ordered_at < clock_timestamp() - make_interval(days => $2)",
    )
    .bind(organisation_id)
    .bind(kept_days)
    .bind(limit)
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
