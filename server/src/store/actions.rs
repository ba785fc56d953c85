//! The log of what people and automation did to the server's own state. Append-only.

use chrono::{DateTime, Duration, Utc};
use flamingock_domain::access::Reach;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

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

/// What the place of an action is called now.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub organisation: Option<String>,
    pub project: Option<String>,
    pub environment: Option<String>,
    pub service: Option<String>,
}

/// One as it was recorded.
#[derive(Clone, Debug)]
pub struct ActionRow {
    pub id: i64,
    pub acted_at: DateTime<Utc>,
    pub action: String,
    pub organisation_id: Option<i64>,
    pub project_id: Option<i64>,
    pub environment_id: Option<i64>,
    pub service_id: Option<i64>,
    pub names: Names,
    pub target: String,
    pub credential_id: Option<i64>,
    pub actor: String,
    pub role: String,
    pub address: Option<String>,
    pub forwarded_for: Option<String>,
    pub request_id: Option<String>,
    pub reason: Option<String>,
    pub before: Option<String>,
    pub after: Option<String>,
}

/// Which of them to list.
#[derive(Clone, Debug, Default)]
pub struct ActionFilter {
    pub action: Option<String>,
    pub target: Option<String>,
    pub credential_id: Option<i64>,
    pub project_id: Option<i64>,
    pub environment_id: Option<i64>,
    pub service_id: Option<i64>,
    pub since: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
    /// Ids below this one.
    pub before: Option<i64>,
}

/// Actions that one page looks at, at most, however rare those are that it asks for.
pub const EXAMINED_MAX: i64 = 10_000;

/// How far the database's clock may have gone back without hiding actions behind a bound of time.
const CLOCK_STEP_MAX: Duration = Duration::hours(1);

/// Some actions, and the id behind which to go on; `None` at the end.
#[derive(Debug)]
pub struct ActionPage {
    pub actions: Vec<ActionRow>,
    pub next: Option<i64>,
}

/// A stretch of $15 actions of the owner, and of these what the filter lets through.
macro_rules! list_sql {
    ($owner:literal) => {
        concat!(
            "SELECT w.edge, w.looked_at, (SELECT acted_at FROM admin_actions WHERE id = w.edge) AS edge_at, a.*,
                    o.name AS organisation_name, p.name AS project_name, e.name AS environment_name,
                    s.name AS service_name
               FROM (SELECT min(c.id) AS edge, count(*) AS looked_at
                       FROM (SELECT id FROM admin_actions
                              WHERE ", $owner, " AND id < $13 ORDER BY id DESC LIMIT $15) c) w
               LEFT JOIN LATERAL (
                    SELECT id, acted_at, action, organisation_id, project_id, environment_id, service_id, target,
                           credential_id, actor, role, address, forwarded_for, request_id, reason, before, after
                      FROM admin_actions WHERE ",
            $owner,
            " AND id < $13 AND id >= w.edge
              AND ($2::bigint IS NULL OR project_id = $2)
              AND ($3::bigint[] IS NULL OR environment_id = ANY($3))
              AND ($4::bigint[] IS NULL OR service_id = ANY($4))
              AND ($5::text IS NULL OR action = $5)
              AND ($6::text IS NULL OR target = $6)
              AND ($7::bigint IS NULL OR credential_id = $7)
              AND ($8::bigint IS NULL OR project_id = $8)
              AND ($9::bigint IS NULL OR environment_id = $9)
              AND ($10::bigint IS NULL OR service_id = $10)
              AND ($11::timestamptz IS NULL OR acted_at >= $11)
              AND ($12::timestamptz IS NULL OR acted_at < $12)
                     ORDER BY id DESC LIMIT $14) a ON true
               LEFT JOIN organisations o ON o.id = a.organisation_id
               LEFT JOIN projects p ON p.id = a.project_id
               LEFT JOIN environments e ON e.id = a.environment_id
               LEFT JOIN services s ON s.id = a.service_id
              ORDER BY a.id DESC"
        )
    };
}

/// Those of an organisation (`None`: all there are), as far as the credential reaches, newest first. A page may hold little
/// or nothing and still have a next one.
pub async fn list(
    conn: &mut PgConnection,
    organisation_id: Option<i64>,
    reach: &Reach,
    filter: &ActionFilter,
    limit: i64,
) -> Result<ActionPage, StoreError> {
    let statement = match organisation_id {
        Some(_) => list_sql!("organisation_id = $1"),
        None => list_sql!("$1::bigint IS NULL"),
    };
    let rows = sqlx::query(statement)
        .bind(organisation_id)
        .bind(reach.project)
        .bind(reach.environments.as_deref())
        .bind(reach.services.as_deref())
        .bind(filter.action.as_deref())
        .bind(filter.target.as_deref())
        .bind(filter.credential_id)
        .bind(filter.project_id)
        .bind(filter.environment_id)
        .bind(filter.service_id)
        .bind(filter.since)
        .bind(filter.until)
        .bind(filter.before.unwrap_or(i64::MAX))
        .bind(limit + 1)
        .bind(EXAMINED_MAX)
        .fetch_all(conn)
        .await?;
    let mut actions = Vec::with_capacity(rows.len());
    for row in &rows {
        // Nothing let through: one row that has no action.
        if row.try_get::<Option<i64>, _>("id")?.is_some() {
            actions.push(action_of_row(row)?);
        }
    }
    if i64::try_from(actions.len()).is_ok_and(|count| count > limit) {
        actions.pop();
        let next = actions.last().map(|action| action.id);
        return Ok(ActionPage { actions, next });
    }
    let Some(row) = rows.first() else {
        return Ok(ActionPage { actions, next: None });
    };
    let edge_at: Option<DateTime<Utc>> = row.try_get("edge_at")?;
    let since = filter
        .since
        .and_then(|since| since.checked_sub_signed(CLOCK_STEP_MAX));
    let is_past = since.is_some_and(|since| edge_at.is_some_and(|at| at < since));
    let looked_at: i64 = row.try_get("looked_at")?;
    let next = if looked_at == EXAMINED_MAX && !is_past {
        row.try_get("edge")?
    } else {
        None
    };
    Ok(ActionPage { actions, next })
}

fn action_of_row(row: &PgRow) -> Result<ActionRow, StoreError> {
    Ok(ActionRow {
        id: row.try_get("id")?,
        acted_at: row.try_get("acted_at")?,
        action: row.try_get("action")?,
        organisation_id: row.try_get("organisation_id")?,
        project_id: row.try_get("project_id")?,
        environment_id: row.try_get("environment_id")?,
        service_id: row.try_get("service_id")?,
        names: Names {
            organisation: row.try_get("organisation_name")?,
            project: row.try_get("project_name")?,
            environment: row.try_get("environment_name")?,
            service: row.try_get("service_name")?,
        },
        target: row.try_get("target")?,
        credential_id: row.try_get("credential_id")?,
        actor: row.try_get("actor")?,
        role: row.try_get("role")?,
        address: row.try_get("address")?,
        forwarded_for: row.try_get("forwarded_for")?,
        request_id: row.try_get("request_id")?,
        reason: row.try_get("reason")?,
        before: row.try_get("before")?,
        after: row.try_get("after")?,
    })
}

/// The newest of a kind that was done to a service within an environment.
pub async fn load_newest(
    conn: &mut PgConnection,
    scope: super::Scope,
    action: &str,
) -> Result<Option<ActionRow>, StoreError> {
    let row = sqlx::query(
        "SELECT a.*, o.name AS organisation_name, p.name AS project_name, e.name AS environment_name, s.name AS service_name
           FROM (SELECT id, acted_at, action, organisation_id, project_id, environment_id, service_id, target, credential_id,
                        actor, role, address, forwarded_for, request_id, reason, before, after
                   FROM admin_actions
                  WHERE environment_id = $1 AND service_id = $2 AND action = $3 ORDER BY id DESC LIMIT 1) AS a
           LEFT JOIN organisations o ON o.id = a.organisation_id
           LEFT JOIN projects p ON p.id = a.project_id
           LEFT JOIN environments e ON e.id = a.environment_id
           LEFT JOIN services s ON s.id = a.service_id",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .bind(action)
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(action_of_row).transpose()
}

/// Actions by their ids, whichever organisation they belong to: the caller took the ids from that organisation's log.
pub async fn load_some(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<ActionRow>, StoreError> {
    let rows = sqlx::query(
        "SELECT a.id, a.acted_at, a.action, a.organisation_id, a.project_id, a.environment_id, a.service_id, a.target,
                a.credential_id, a.actor, a.role, a.address, a.forwarded_for, a.request_id, a.reason, a.before, a.after,
                o.name AS organisation_name, p.name AS project_name, e.name AS environment_name, s.name AS service_name
           FROM admin_actions a
           LEFT JOIN organisations o ON o.id = a.organisation_id
           LEFT JOIN projects p ON p.id = a.project_id
           LEFT JOIN environments e ON e.id = a.environment_id
           LEFT JOIN services s ON s.id = a.service_id
          WHERE a.id = ANY($1)",
    )
        .bind(ids)
        .fetch_all(conn)
        .await?;
    rows.iter().map(action_of_row).collect()
}
