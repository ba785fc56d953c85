//! Approvals, append-only, and what waits for one.

use chrono::{DateTime, Utc};
use flamingock_domain::ids::{ChangeId, Checksum};
use flamingock_domain::plan::policy::{Approval, Approver};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::{Scope, StoreError};

#[derive(Clone, Debug)]
pub struct ApprovalRow {
    pub id: i64,
    pub change_id: String,
    pub checksum: Option<String>,
    pub withdrawn: bool,
    pub reason: String,
    pub actor: String,
    pub decided_at: DateTime<Utc>,
}

#[derive(Clone, Debug)]
pub struct NewApproval<'a> {
    pub stream_id: i64,
    pub change_id: &'a str,
    pub checksum: Option<&'a str>,
    pub withdrawn: bool,
    pub reason: &'a str,
    pub credential_id: Option<i64>,
    pub approver: Option<&'a str>,
    pub actor: &'a str,
}

/// A change that stopped a start.
#[derive(Clone, Debug)]
pub struct RequestRow {
    pub change_id: String,
    pub checksum: Option<String>,
    pub author: Option<String>,
    pub runner_id: String,
    pub first_asked_at: DateTime<Utc>,
    pub last_asked_at: DateTime<Utc>,
}

/// (change, checksum, author), to be written into the list of what waits.
pub type Asked<'a> = (&'a str, Option<&'a str>, Option<&'a str>);

/// What was approved of some changes and not withdrawn since.
pub async fn load_standing(
    conn: &mut PgConnection,
    stream_id: i64,
    changes: &[&str],
) -> Result<Vec<Approval>, StoreError> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    // A withdrawal takes back everything that was approved of this content before it.
    let rows = sqlx::query(
        "SELECT a.change_id, a.checksum, a.credential_id, a.approver
           FROM unnest($2::text[]) AS q (change_id)
          CROSS JOIN LATERAL (
                SELECT * FROM change_approvals WHERE stream_id = $1 AND change_id = q.change_id) AS a
          WHERE a.decision = 'APPROVED'
            AND NOT EXISTS (SELECT FROM change_approvals w
                             WHERE w.stream_id = $1 AND w.change_id = a.change_id
                               AND w.checksum IS NOT DISTINCT FROM a.checksum
                               AND w.decision = 'WITHDRAWN' AND w.id > a.id)",
    )
    .bind(stream_id)
    .bind(changes)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let checksum: Option<String> = row.try_get("checksum")?;
            Ok(Approval {
                change: ChangeId::parse(row.try_get::<String, _>("change_id")?)
                    .map_err(|error| corrupt(&error))?,
                checksum: checksum
                    .map(Checksum::parse)
                    .transpose()
                    .map_err(|error| corrupt(&error))?,
                approver: Approver {
                    credential: row.try_get("credential_id")?,
                    name: row.try_get("approver")?,
                },
            })
        })
        .collect()
}

fn corrupt(error: &dyn std::error::Error) -> StoreError {
    StoreError::Corrupt {
        table: "change_approvals",
        detail: error.to_string(),
    }
}

pub async fn append(conn: &mut PgConnection, new: &NewApproval<'_>) -> Result<ApprovalRow, StoreError> {
    let row = sqlx::query(
        "INSERT INTO change_approvals
                (stream_id, change_id, checksum, decision, reason, credential_id, approver, actor)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
      RETURNING id, change_id, checksum, decision, reason, actor, decided_at",
    )
    .bind(new.stream_id)
    .bind(new.change_id)
    .bind(new.checksum)
    .bind(if new.withdrawn { "WITHDRAWN" } else { "APPROVED" })
    .bind(new.reason)
    .bind(new.credential_id)
    .bind(new.approver)
    .bind(new.actor)
    .fetch_one(conn)
    .await?;
    approval_of_row(&row)
}

/// Decisions, newest first; `before` is the last id of the page before.
pub async fn list(
    conn: &mut PgConnection,
    scope: Scope,
    change: Option<&str>,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<ApprovalRow>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, change_id, checksum, decision, reason, actor, decided_at FROM change_approvals
          WHERE stream_id = (SELECT id FROM audit_streams WHERE environment_id = $1 AND service_id = $2)
            AND id < $3 AND ($4::text IS NULL OR change_id = $4)
          ORDER BY id DESC LIMIT $5",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .bind(before.unwrap_or(i64::MAX))
    .bind(change)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter().map(approval_of_row).collect()
}

fn approval_of_row(row: &PgRow) -> Result<ApprovalRow, StoreError> {
    Ok(ApprovalRow {
        id: row.try_get("id")?,
        change_id: row.try_get("change_id")?,
        checksum: row.try_get("checksum")?,
        withdrawn: row.try_get::<String, _>("decision")? == "WITHDRAWN",
        reason: row.try_get("reason")?,
        actor: row.try_get("actor")?,
        decided_at: row.try_get("decided_at")?,
    })
}

/// Notes what stopped a start, so that people see it.
pub async fn upsert_requests(
    conn: &mut PgConnection,
    stream_id: i64,
    runner: &str,
    asked: &[Asked<'_>],
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO approval_requests (stream_id, change_id, checksum, author, runner_id)
         SELECT $1, q.change_id, coalesce(q.checksum, ''), q.author, $2
           FROM unnest($3::text[], $4::text[], $5::text[]) AS q (change_id, checksum, author)
          -- One order for all: two runners that are stopped at once must not wait for each other in a circle.
          ORDER BY 2, 3
         ON CONFLICT ON CONSTRAINT approval_requests_pkey DO UPDATE
            SET author = excluded.author, runner_id = excluded.runner_id, last_asked_at = clock_timestamp()",
    )
    .bind(stream_id)
    .bind(runner)
    .bind(asked.iter().map(|(change, ..)| *change).collect::<Vec<_>>())
    .bind(asked.iter().map(|(_, checksum, _)| *checksum).collect::<Vec<_>>())
    .bind(asked.iter().map(|(.., author)| *author).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// The name that a credential goes by.
pub async fn load_name(
    conn: &mut PgConnection,
    credential_id: Option<i64>,
) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar("SELECT name FROM api_tokens WHERE id = $1")
        .bind(credential_id)
        .fetch_optional(conn)
        .await?)
}

/// The author under which a change of this content was submitted and stopped.
pub async fn load_author(
    conn: &mut PgConnection,
    stream_id: i64,
    change: &str,
    checksum: Option<&str>,
) -> Result<Option<String>, StoreError> {
    let author: Option<Option<String>> = sqlx::query_scalar(
        "SELECT author FROM approval_requests
          WHERE stream_id = $1 AND change_id = $2 AND checksum = coalesce($3, '')",
    )
    .bind(stream_id)
    .bind(change)
    .bind(checksum)
    .fetch_optional(conn)
    .await?;
    Ok(author.flatten())
}

/// What waits: it stopped a start, and nobody decided about it and nothing applied it since. Whom a decision did not let go on
/// (its author's own, a withdrawal) stops again at the next start, and is back. Longest waiting first.
pub async fn list_requests(
    conn: &mut PgConnection,
    scope: Scope,
    change: Option<&str>,
    limit: i64,
) -> Result<Vec<RequestRow>, StoreError> {
    let rows = sqlx::query(
        "SELECT r.change_id, r.checksum, r.author, r.runner_id, r.first_asked_at, r.last_asked_at
           FROM approval_requests r
          WHERE r.stream_id = (SELECT id FROM audit_streams WHERE environment_id = $1 AND service_id = $2)
            AND ($3::text IS NULL OR r.change_id = $3)
            AND NOT EXISTS (SELECT FROM change_states c
                             WHERE c.stream_id = r.stream_id AND c.change_id = r.change_id
                               AND c.state IN ('APPLIED', 'MANUAL_MARKED_AS_APPLIED'))
            AND NOT EXISTS (SELECT FROM change_approvals a
                             WHERE a.stream_id = r.stream_id AND a.change_id = r.change_id
                               AND coalesce(a.checksum, '') = r.checksum AND a.decided_at >= r.last_asked_at)
          ORDER BY r.first_asked_at, r.change_id LIMIT $4",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .bind(change)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let checksum: String = row.try_get("checksum")?;
            Ok(RequestRow {
                change_id: row.try_get("change_id")?,
                checksum: Some(checksum).filter(|text| !text.is_empty()),
                author: row.try_get("author")?,
                runner_id: row.try_get("runner_id")?,
                first_asked_at: row.try_get("first_asked_at")?,
                last_asked_at: row.try_get("last_asked_at")?,
            })
        })
        .collect()
}
