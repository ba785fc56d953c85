//! The log of what people and automation did to the server's own state. Append-only.

use sqlx::{PgConnection, Row as _};

use super::StoreError;

/// Where an action belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Server,
    Organisation(i64),
    Project(i64),
    Environment(i64),
    Service(i64),
    /// A service within an environment.
    Scope(super::Scope),
}

#[derive(Clone, Debug)]
pub struct NewAction<'a> {
    /// The operation's id, such as `token_revoke`.
    pub action: &'static str,
    pub place: Place,
    pub target: &'a str,
    pub credential_id: Option<i64>,
    pub actor: &'a str,
    pub role: &'a str,
    pub address: Option<&'a str>,
    pub forwarded_for: Option<&'a str>,
    pub request_id: Option<&'a str>,
    pub reason: Option<&'a str>,
    /// JSON, without secrets.
    pub before: Option<&'a str>,
    pub after: Option<&'a str>,
}

/// Appends one. Belongs into the transaction of what it tells of: the two exist together or not at all.
pub async fn append(conn: &mut PgConnection, new: &NewAction<'_>) -> Result<(), StoreError> {
    let (organisation, project, environment, service) = match new.place {
        Place::Server => (None, None, None, None),
        Place::Organisation(id) => (Some(id), None, None, None),
        Place::Project(id) => (None, Some(id), None, None),
        Place::Environment(id) => (None, None, Some(id), None),
        Place::Service(id) => (None, None, None, Some(id)),
        Place::Scope(scope) => (None, None, Some(scope.environment_id), Some(scope.service_id)),
    };
    sqlx::query(
        "INSERT INTO admin_actions (action, organisation_id, project_id, environment_id, service_id, target,
                                    credential_id, actor, role, address, forwarded_for, request_id, reason, before,
                                    after)
         SELECT $1, coalesce($2, p.organisation_id), above.project_id, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,
                $15
           FROM (SELECT coalesce($3, (SELECT e.project_id FROM environments e WHERE e.id = $4),
                                 (SELECT s.project_id FROM services s WHERE s.id = $5)) AS project_id) above
           LEFT JOIN projects p ON p.id = above.project_id",
    )
    .bind(new.action)
    .bind(organisation)
    .bind(project)
    .bind(environment)
    .bind(service)
    .bind(new.target)
    .bind(new.credential_id)
    .bind(new.actor)
    .bind(new.role)
    .bind(new.address)
    .bind(new.forwarded_for)
    .bind(new.request_id)
    .bind(new.reason)
    .bind(new.before)
    .bind(new.after)
    .execute(conn)
    .await?;
    Ok(())
}

/// What an event tells of an action.
#[derive(Clone, Debug)]
pub struct ToldAction {
    pub id: i64,
    pub acted_at: chrono::DateTime<chrono::Utc>,
    pub action: String,
    pub target: String,
    pub actor: String,
    pub role: String,
    pub reason: Option<String>,
}

/// Actions by their ids, whichever organisation they belong to: the caller took the ids from that organisation's log.
pub async fn load_told(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<ToldAction>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, acted_at, action, target, actor, role, reason FROM admin_actions WHERE id = ANY($1)",
    )
    .bind(ids)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(ToldAction {
                id: row.try_get("id")?,
                acted_at: row.try_get("acted_at")?,
                action: row.try_get("action")?,
                target: row.try_get("target")?,
                actor: row.try_get("actor")?,
                role: row.try_get("role")?,
                reason: row.try_get("reason")?,
            })
        })
        .collect()
}
