//! Reading executions for people: what was offered, what was reported, how they ended.

use chrono::{DateTime, Utc};
use flamingock_domain::audit::AuditState;
use flamingock_domain::ids::Fence;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::audit::{Entry, entry_columns, fitting};
use super::executions::End;
use super::{Scope, StoreError};

/// An execution as recorded. Texts are JSON, the edge's.
#[derive(Clone, Debug)]
pub struct Run {
    pub id: i64,
    pub runner_id: String,
    pub credential_id: i64,
    pub fence: Fence,
    pub starts_run: bool,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    pub ended_by: Option<End>,
    pub runner_facts: Option<String>,
    /// `None`: not asked for, because it is of another time, or too much for one page.
    pub plan: Option<String>,
}

/// Bytes of plans that one page reads before it is cut: a plan of a hundred thousand changes has ten million.
const PLANS_MAX_BYTES: i64 = 4 * 1024 * 1024;

/// Which executions to examine.
#[derive(Clone, Copy, Debug)]
pub struct Range<'a> {
    /// Only those with a smaller id.
    pub before: i64,
    pub runner_id: Option<&'a str>,
    /// Those that started outside come without their plan.
    pub since: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
    pub limit: i64,
}

/// Newest first. Always at least one plan, if there is a row in the time asked for.
pub async fn list(conn: &mut PgConnection, scope: Scope, range: Range<'_>) -> Result<Vec<Run>, StoreError> {
    macro_rules! sql {
        ($condition:literal) => {
            concat!(
                "SELECT y.*, CASE WHEN y.in_time AND y.bytes - y.own_bytes < $7 THEN (
                                  SELECT p.plan FROM executions p WHERE p.id = y.id) END AS plan
                   FROM (SELECT w.*, sum(w.own_bytes) OVER (ORDER BY w.id DESC) AS bytes
                           FROM (SELECT x.id, x.runner_id, x.credential_id, x.fence, x.starts_run, x.started_at, x.ended_at,
                                        x.ended_by, x.runner_facts, t.in_time,
                                        CASE WHEN t.in_time THEN octet_length(x.plan) ELSE 0 END AS own_bytes
                                   FROM (SELECT * FROM executions
                                          WHERE stream_id = (SELECT id FROM audit_streams
                                                              WHERE environment_id = $1 AND service_id = $2)
                                            AND id < $3 ",
                $condition,
                "                         ORDER BY id DESC LIMIT $4) AS x
                                  CROSS JOIN LATERAL (SELECT ($5::timestamptz IS NULL OR x.started_at >= $5)
                                                         AND ($6::timestamptz IS NULL OR x.started_at < $6)) AS t (in_time)
                                ) AS w) AS y
                  ORDER BY y.id DESC"
            )
        };
    }
    let query = match range.runner_id {
        Some(_) => sqlx::query(sql!("AND runner_id = $8")),
        None => sqlx::query(sql!("")),
    };
    let query = query
        .bind(scope.environment_id)
        .bind(scope.service_id)
        .bind(range.before)
        .bind(range.limit)
        .bind(range.since)
        .bind(range.until)
        .bind(PLANS_MAX_BYTES);
    let query = match range.runner_id {
        Some(runner) => query.bind(runner),
        None => query,
    };
    query.fetch_all(conn).await?.iter().map(run_of_row).collect()
}

fn run_of_row(row: &PgRow) -> Result<Run, StoreError> {
    Ok(Run {
        id: row.try_get("id")?,
        runner_id: row.try_get("runner_id")?,
        credential_id: row.try_get("credential_id")?,
        fence: row.try_get("fence")?,
        starts_run: row.try_get("starts_run")?,
        started_at: row.try_get("started_at")?,
        ended_at: row.try_get("ended_at")?,
        ended_by: row.try_get::<Option<&str>, _>("ended_by")?.map(End::of_text),
        runner_facts: row.try_get("runner_facts")?,
        plan: row.try_get("plan")?,
    })
}

/// One of a scope, with what was submitted.
pub async fn load(
    conn: &mut PgConnection,
    scope: Scope,
    id: i64,
) -> Result<Option<(Run, String)>, StoreError> {
    let row = sqlx::query(
        "SELECT x.id, x.runner_id, x.credential_id, x.fence, x.starts_run, x.started_at, x.ended_at, x.ended_by,
                x.runner_facts, x.plan, x.submission
           FROM executions x
          WHERE x.stream_id = (SELECT id FROM audit_streams WHERE environment_id = $1 AND service_id = $2)
            AND x.id = $3",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .bind(id)
    .fetch_optional(conn)
    .await?;
    row.map(|row| Ok((run_of_row(&row)?, row.try_get("submission")?)))
        .transpose()
}

/// Some of a stream by their numbers, without their plans.
pub async fn load_some(conn: &mut PgConnection, stream_id: i64, ids: &[i64]) -> Result<Vec<Run>, StoreError> {
    sqlx::query(
        "SELECT x.id, x.runner_id, x.credential_id, x.fence, x.starts_run, x.started_at, x.ended_at, x.ended_by,
                x.runner_facts, NULL::text AS plan
           FROM executions x WHERE x.stream_id = $1 AND x.id = ANY($2) ORDER BY x.id",
    )
    .bind(stream_id)
    .bind(ids)
    .fetch_all(conn)
    .await?
    .iter()
    .map(run_of_row)
    .collect()
}

/// What executions reported of changes last: (execution, change, state). What counted goes before what came late.
pub async fn load_reported(
    conn: &mut PgConnection,
    stream_id: i64,
    asked: &[(String, &str)],
) -> Result<Vec<(String, String, AuditState)>, StoreError> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT q.execution_ref, q.change_id, a.state
           FROM unnest($2::text[], $3::text[]) AS q (execution_ref, change_id)
          -- A handful each, by audit_entries_report_key.
          CROSS JOIN LATERAL (
                SELECT e.state FROM audit_entries e
                 WHERE e.stream_id = $1 AND e.change_id = q.change_id AND e.execution_ref = q.execution_ref
                   AND e.source IN ('RUNNER', 'IMPORT')
                 ORDER BY e.late, e.seq DESC LIMIT 1) AS a",
    )
    .bind(stream_id)
    .bind(
        asked
            .iter()
            .map(|(execution, _)| execution.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(asked.iter().map(|(_, change)| *change).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok((
                row.try_get("execution_ref")?,
                row.try_get("change_id")?,
                AuditState::from_wire(row.try_get("state")?),
            ))
        })
        .collect()
}

/// What probes that were asked under executions said last: (execution, change, state).
pub async fn load_probed(
    conn: &mut PgConnection,
    stream_id: i64,
    asked: &[(String, &str)],
) -> Result<Vec<(String, String, AuditState)>, StoreError> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT q.execution_ref, q.change_id, a.state
           FROM unnest($2::text[], $3::text[]) AS q (execution_ref, change_id)
          -- By the index of what others than runners wrote under an execution.
          CROSS JOIN LATERAL (
                SELECT e.state FROM audit_entries e
                 WHERE e.stream_id = $1 AND e.execution_ref = q.execution_ref AND e.change_id = q.change_id
                   AND e.source NOT IN ('RUNNER', 'IMPORT') AND e.source = 'PROBE'
                 ORDER BY e.seq DESC LIMIT 1) AS a",
    )
    .bind(stream_id)
    .bind(
        asked
            .iter()
            .map(|(execution, _)| execution.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(asked.iter().map(|(_, change)| *change).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(execution, change, state)| (execution, change, AuditState::from_wire(&state)))
        .collect())
}

/// What was recorded of some changes under an execution, oldest first; true where more was than fits into an answer.
pub async fn list_entries(
    conn: &mut PgConnection,
    stream_id: i64,
    execution_ref: &str,
    changes: &[&str],
    limit: i64,
) -> Result<(Vec<Entry>, bool), StoreError> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        entry_columns!(),
        " FROM unnest($3::text[]) AS q (change_id)
          CROSS JOIN LATERAL (
                SELECT * FROM audit_entries e
                 WHERE e.stream_id = $1 AND e.change_id = q.change_id AND e.execution_ref = $2
                 ORDER BY e.seq LIMIT $4) AS a
          ORDER BY a.seq LIMIT $4"
    ))
    .bind(stream_id)
    .bind(execution_ref)
    .bind(changes)
    .bind(limit)
    .fetch(conn);
    fitting(rows).await
}

/// The newest entries of one change, oldest first; true where there are more than fit into an answer.
pub async fn list_newest_of_change(
    conn: &mut PgConnection,
    stream_id: i64,
    change_id: &str,
    limit: i64,
) -> Result<(Vec<Entry>, bool), StoreError> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        entry_columns!(),
        " FROM audit_entries a
          WHERE a.stream_id = $1 AND a.change_id = $2 ORDER BY a.seq DESC LIMIT $3"
    ))
    .bind(stream_id)
    .bind(change_id)
    .bind(limit)
    .fetch(conn);
    let (mut entries, is_cut) = fitting(rows).await?;
    entries.reverse();
    Ok((entries, is_cut))
}
