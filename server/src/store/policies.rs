//! The policies of environments: columns of their rows.

use chrono::{DateTime, Utc};
use flamingock_domain::plan::policy::{Freeze, Mode, Policy};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::streams::timestamp;
use super::{Scope, StoreError};

/// The policy of one environment, with what is known of its last change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRow {
    pub environment_id: i64,
    /// 0: never set.
    pub revision: i64,
    pub policy: Policy,
    pub trust_absent_marks: bool,
    pub changed_at: Option<DateTime<Utc>>,
    pub changed_by: Option<String>,
}

pub fn mode_as_text(mode: Mode) -> &'static str {
    match mode {
        Mode::Allow => "ALLOW",
        Mode::Warn => "WARN",
        Mode::Refuse => "REFUSE",
    }
}

/// One that a newer version of the server knows is taken for the strictest.
fn mode_of(text: &str) -> Mode {
    match text {
        "ALLOW" => Mode::Allow,
        "WARN" => Mode::Warn,
        _ => Mode::Refuse,
    }
}

/// Of a row with the columns of `environments`.
pub(super) fn policy_of_row(row: &PgRow) -> Result<Policy, StoreError> {
    Ok(Policy {
        checksum_mismatch: mode_of(row.try_get("checksum_mismatch")?),
        out_of_order: mode_of(row.try_get("out_of_order")?),
        approval_required: row.try_get("approval_required")?,
    })
}

/// `None`: there is no such environment.
pub async fn load(conn: &mut PgConnection, environment_id: i64) -> Result<Option<PolicyRow>, StoreError> {
    let row = sqlx::query(
        "SELECT id, policy_revision, checksum_mismatch, out_of_order, approval_required, trust_absent_marks,
                policy_changed_at, policy_changed_by
           FROM environments WHERE id = $1",
    )
    .bind(environment_id)
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(view_of_row).transpose()
}

/// As [`load`], and nobody else changes the environment until the transaction ends.
pub async fn lock(conn: &mut PgConnection, environment_id: i64) -> Result<Option<PolicyRow>, StoreError> {
    let row = sqlx::query(
        "SELECT id, policy_revision, checksum_mismatch, out_of_order, approval_required, trust_absent_marks,
                policy_changed_at, policy_changed_by
           FROM environments WHERE id = $1 FOR NO KEY UPDATE",
    )
    .bind(environment_id)
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(view_of_row).transpose()
}

fn view_of_row(row: &PgRow) -> Result<PolicyRow, StoreError> {
    Ok(PolicyRow {
        environment_id: row.try_get("id")?,
        revision: row.try_get("policy_revision")?,
        policy: policy_of_row(row)?,
        trust_absent_marks: row.try_get("trust_absent_marks")?,
        changed_at: row.try_get("policy_changed_at")?,
        changed_by: row.try_get("policy_changed_by")?,
    })
}

/// Sets the policy; its revision grows by one.
pub async fn update(
    conn: &mut PgConnection,
    environment_id: i64,
    policy: Policy,
    trust_absent_marks: bool,
    changed_by: &str,
) -> Result<PolicyRow, StoreError> {
    let row = sqlx::query(
        "UPDATE environments
            SET policy_revision = policy_revision + 1, checksum_mismatch = $2, out_of_order = $3,
                approval_required = $4, trust_absent_marks = $5, policy_changed_at = clock_timestamp(),
                policy_changed_by = $6
          WHERE id = $1
      RETURNING id, policy_revision, checksum_mismatch, out_of_order, approval_required, trust_absent_marks,
                policy_changed_at, policy_changed_by",
    )
    .bind(environment_id)
    .bind(mode_as_text(policy.checksum_mismatch))
    .bind(mode_as_text(policy.out_of_order))
    .bind(policy.approval_required)
    .bind(trust_absent_marks)
    .bind(changed_by)
    .fetch_one(conn)
    .await?;
    view_of_row(&row)
}

/// All that a grant is judged by: the policy as it is now, and the freeze windows that are open for the scope or will be.
/// One read.
pub async fn load_rules(
    conn: &mut PgConnection,
    scope: Scope,
) -> Result<Option<(PolicyRow, Vec<Freeze>)>, StoreError> {
    let rows = sqlx::query(
        "SELECT e.id, e.policy_revision, e.checksum_mismatch, e.out_of_order, e.approval_required, e.trust_absent_marks,
                e.policy_changed_at, e.policy_changed_by, f.id AS freeze_id, f.starts_at, f.ends_at, f.reason
           FROM environments e
           LEFT JOIN LATERAL (
                SELECT * FROM freeze_windows
                 WHERE environment_id = e.id AND ended_at IS NULL
                   AND (ends_at IS NULL OR ends_at > clock_timestamp())
                   AND (service_ids IS NULL OR $2 = ANY(service_ids))
                 ORDER BY starts_at, id LIMIT 100) AS f ON true
          WHERE e.id = $1",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .fetch_all(conn)
    .await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let policy = view_of_row(first)?;
    let mut freezes = Vec::new();
    for row in &rows {
        if let Some(id) = row.try_get("freeze_id")? {
            freezes.push(Freeze {
                id,
                starts_at: timestamp(row.try_get("starts_at")?),
                ends_at: row.try_get::<Option<DateTime<Utc>>, _>("ends_at")?.map(timestamp),
                reason: row.try_get("reason")?,
            });
        }
    }
    Ok(Some((policy, freezes)))
}
