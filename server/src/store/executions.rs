//! Executions: one row for each granted plan.

use chrono::{DateTime, Utc};
use flamingock_domain::ids::{ExecutionId, Fence, RunnerId, Seq};
use flamingock_domain::time::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::streams::instant;
use super::{Scope, StoreError};

/// What is recorded of a grant. The JSON texts are the edge's: what was submitted, what was offered and why.
#[derive(Clone, Debug)]
pub struct NewExecution<'a> {
    pub stream_id: i64,
    pub runner: &'a RunnerId,
    pub credential_id: i64,
    pub fence: Fence,
    pub planned_at: Seq,
    pub starts_run: bool,
    pub submission: &'a str,
    pub plan: &'a str,
    pub runner_facts: Option<&'a str>,
    /// JSON: what is to be applied, with its checksums.
    pub checksums: Option<&'a str>,
    pub started_at: Timestamp,
}

/// What the judgement of a report needs to know of its execution.
#[derive(Clone, Debug)]
pub struct ExecutionFacts {
    pub id: ExecutionId,
    pub stream_id: i64,
    pub runner: RunnerId,
    pub fence: Fence,
    pub planned_at: Seq,
    /// Its runner sent checksums of what it applies.
    pub has_checksums: bool,
}

#[derive(Clone, Debug)]
pub struct ExecutionSummary {
    pub id: i64,
    pub runner_id: String,
    pub started_at: DateTime<Utc>,
}

#[derive(Clone, Debug)]
pub struct ExecutionDetail {
    pub summary: ExecutionSummary,
    pub fence: Fence,
    pub ended_at: Option<DateTime<Utc>>,
    pub submission: String,
    pub plan: String,
    pub runner_facts: Option<String>,
}

pub async fn insert(conn: &mut PgConnection, new: &NewExecution<'_>) -> Result<ExecutionId, StoreError> {
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO executions (stream_id, runner_id, credential_id, fence, planned_at_seq, starts_run, submission,
                                 plan, runner_facts, started_at, checksums)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::jsonb) RETURNING id",
    )
    .bind(new.stream_id)
    .bind(new.runner.as_str())
    .bind(new.credential_id)
    .bind(new.fence)
    .bind(new.planned_at)
    .bind(new.starts_run)
    .bind(new.submission)
    .bind(new.plan)
    .bind(new.runner_facts)
    .bind(instant(new.started_at))
    .bind(new.checksums)
    .fetch_one(conn)
    .await?;
    Ok(ExecutionId(id))
}

/// Facts of some executions, whichever stream they belong to: the caller must compare the stream.
pub async fn load_facts(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<ExecutionFacts>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, stream_id, runner_id, fence, planned_at_seq, checksums IS NOT NULL AS has_checksums
           FROM executions WHERE id = ANY($1)",
    )
    .bind(ids)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(ExecutionFacts {
                id: ExecutionId(row.try_get("id")?),
                stream_id: row.try_get("stream_id")?,
                runner: RunnerId::parse(row.try_get::<String, _>("runner_id")?).map_err(|error| {
                    StoreError::Corrupt {
                        table: "executions",
                        detail: format!("runner_id {error}"),
                    }
                })?,
                fence: row.try_get("fence")?,
                planned_at: row.try_get("planned_at_seq")?,
                has_checksums: row.try_get("has_checksums")?,
            })
        })
        .collect()
}

/// Executions granted to a runner since it last asked without any report: those of its present run.
pub async fn list_of_run(
    conn: &mut PgConnection,
    stream_id: i64,
    runner: &RunnerId,
) -> Result<Vec<ExecutionId>, StoreError> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "SELECT id FROM executions
          WHERE stream_id = $1 AND runner_id = $2
            AND id >= (SELECT max(id) FROM executions WHERE stream_id = $1 AND runner_id = $2 AND starts_run)
          ORDER BY id DESC LIMIT 1000",
    )
    .bind(stream_id)
    .bind(runner.as_str())
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(ExecutionId).collect())
}

/// How an execution came to hold its lock no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its runner gave the lock back.
    Released,
    /// The lock was granted anew, to its own runner or to another.
    Replaced,
    /// A person released the lock.
    Forced,
    /// In a way that a newer version of the server knows.
    Unknown,
}

impl End {
    pub const ALL: [Self; 3] = [Self::Released, Self::Replaced, Self::Forced];

    fn as_text(self) -> &'static str {
        match self {
            Self::Released => "RELEASED",
            Self::Replaced => "REPLACED",
            Self::Forced => "FORCED",
            Self::Unknown => "UNKNOWN",
        }
    }

    pub(super) fn of_text(text: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|end| end.as_text() == text)
            .unwrap_or(Self::Unknown)
    }
}

/// Notes that executions no longer hold their lock.
pub async fn update_ended(conn: &mut PgConnection, ended: &[(ExecutionId, End)]) -> Result<(), StoreError> {
    if ended.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE executions x SET ended_at = clock_timestamp(), ended_by = n.ended_by
           FROM unnest($1::bigint[], $2::text[]) AS n (id, ended_by)
          WHERE x.id = n.id AND x.ended_at IS NULL",
    )
    .bind(ended.iter().map(|(id, _)| id.0).collect::<Vec<_>>())
    .bind(ended.iter().map(|(_, end)| end.as_text()).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Newest first; `before` is the last id of the page before.
pub async fn list(
    conn: &mut PgConnection,
    scope: Scope,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<ExecutionSummary>, StoreError> {
    let rows = sqlx::query(
        "SELECT x.id, x.runner_id, x.started_at
           FROM executions x
          WHERE x.stream_id = (SELECT id FROM audit_streams WHERE environment_id = $1 AND service_id = $2)
            AND x.id < $3
          ORDER BY x.id DESC LIMIT $4",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .bind(before.unwrap_or(i64::MAX))
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter().map(summary_of_row).collect()
}

pub async fn load(
    conn: &mut PgConnection,
    scope: Scope,
    id: i64,
) -> Result<Option<ExecutionDetail>, StoreError> {
    let row = sqlx::query(
        "SELECT x.id, x.runner_id, x.started_at, x.fence, x.ended_at, x.submission, x.plan, x.runner_facts
           FROM executions x
          WHERE x.stream_id = (SELECT id FROM audit_streams WHERE environment_id = $1 AND service_id = $2)
            AND x.id = $3",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .bind(id)
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(ExecutionDetail {
            summary: summary_of_row(&row)?,
            fence: row.try_get("fence")?,
            ended_at: row.try_get("ended_at")?,
            submission: row.try_get("submission")?,
            plan: row.try_get("plan")?,
            runner_facts: row.try_get("runner_facts")?,
        })
    })
    .transpose()
}

fn summary_of_row(row: &PgRow) -> Result<ExecutionSummary, StoreError> {
    Ok(ExecutionSummary {
        id: row.try_get("id")?,
        runner_id: row.try_get("runner_id")?,
        started_at: row.try_get("started_at")?,
    })
}
