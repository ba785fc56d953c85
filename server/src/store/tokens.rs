//! API tokens: found by the digest of their text, never by their text.

use chrono::{DateTime, Utc};
use flamingock_domain::access::Reach;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::StoreError;
use super::tenancy::{self, Named};

/// A token and what surrounds it.
#[derive(Clone, Debug)]
pub struct Token {
    pub id: i64,
    pub name: String,
    pub role: String,
    /// `None`: server-wide.
    pub organisation: Option<Named>,
    /// `None`: the whole organisation.
    pub project: Option<TokenProject>,
    /// `None`: all of the project, now and later.
    pub environment_ids: Option<Vec<i64>>,
    pub service_ids: Option<Vec<i64>>,
    /// By the database's clock.
    pub is_expired: bool,
    pub is_revoked: bool,
    /// Its last use was not noted within the last minute.
    pub use_is_stale: bool,
}

#[derive(Clone, Debug)]
pub struct TokenProject {
    pub id: i64,
    pub name: String,
    pub self_register_services: bool,
    pub is_archived: bool,
}

/// What [`token_of_row`] reads.
macro_rules! columns {
    () => {
        "SELECT t.id, t.name, t.role, t.environment_ids, t.service_ids,
                o.id AS organisation_id, o.name AS organisation_name,
                o.archived_at IS NOT NULL AS organisation_archived,
                p.id AS project_id, p.name AS project_name, p.self_register_services,
                p.archived_at IS NOT NULL AS project_archived,
                coalesce(t.expires_at <= clock_timestamp(), false) AS is_expired,
                t.revoked_at IS NOT NULL AS is_revoked,
                coalesce(t.last_used_at < clock_timestamp() - interval '1 minute', true) AS use_is_stale"
    };
}

pub async fn load_by_sha256(conn: &mut PgConnection, sha256: &[u8; 32]) -> Result<Option<Token>, StoreError> {
    let row = sqlx::query(concat!(
        columns!(),
        " FROM api_tokens t
           LEFT JOIN organisations o ON o.id = t.organisation_id
           LEFT JOIN projects p ON p.id = t.project_id
          WHERE t.sha256 = $1",
    ))
    .bind(sha256.as_slice())
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(token_of_row).transpose()
}

/// A token, and the environment and the service that its project has or had under these names. In one statement, because most
/// starts of applications are this and little more.
pub async fn load_with_names(
    conn: &mut PgConnection,
    sha256: &[u8; 32],
    environment: &str,
    service: &str,
) -> Result<Option<(Token, Option<Named>, Option<Named>)>, StoreError> {
    let row = sqlx::query(concat!(
        columns!(),
        ",
                e.id AS environment_id, e.name AS environment, e.archived_at IS NOT NULL AS environment_archived,
                s.id AS service_id, s.name AS service, s.archived_at IS NOT NULL AS service_archived
           FROM api_tokens t
           LEFT JOIN organisations o ON o.id = t.organisation_id
           LEFT JOIN projects p ON p.id = t.project_id
           LEFT JOIN unit_names en ON en.kind = 'environment' AND en.within_id = p.id AND en.name = $2
           LEFT JOIN environments e ON e.id = en.unit_id
           LEFT JOIN unit_names sn ON sn.kind = 'service' AND sn.within_id = p.id AND sn.name = $3
           LEFT JOIN services s ON s.id = sn.unit_id
          WHERE t.sha256 = $1",
    ))
    .bind(sha256.as_slice())
    .bind(environment)
    .bind(service)
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (environment, service) = tenancy::names_of_row(&row)?;
    Ok(Some((token_of_row(&row)?, environment, service)))
}

fn token_of_row(row: &PgRow) -> Result<Token, StoreError> {
    let organisation = match row.try_get::<Option<i64>, _>("organisation_id")? {
        Some(id) => Some(Named {
            id,
            name: row.try_get("organisation_name")?,
            is_archived: row.try_get("organisation_archived")?,
        }),
        None => None,
    };
    let project = match row.try_get("project_id")? {
        Some(id) => Some(TokenProject {
            id,
            name: row.try_get("project_name")?,
            self_register_services: row.try_get("self_register_services")?,
            is_archived: row.try_get("project_archived")?,
        }),
        None => None,
    };
    Ok(Token {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        role: row.try_get("role")?,
        organisation,
        project,
        environment_ids: row.try_get("environment_ids")?,
        service_ids: row.try_get("service_ids")?,
        is_expired: row.try_get("is_expired")?,
        is_revoked: row.try_get("is_revoked")?,
        use_is_stale: row.try_get("use_is_stale")?,
    })
}

/// Notes a use, at most once a minute: a busy token must not be a hot row.
pub async fn update_last_used(conn: &mut PgConnection, token_id: i64) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE api_tokens SET last_used_at = clock_timestamp()
          WHERE id = $1 AND coalesce(last_used_at < clock_timestamp() - interval '1 minute', true)",
    )
    .bind(token_id)
    .execute(conn)
    .await?;
    Ok(())
}

/// Tokens whose sessions a key that is still kept may have signed. A token that was revoked before the oldest of those keys
/// was made opened none of them. Whatever the lifetimes are set to today, a revocation is so not forgotten too early.
pub async fn list_revoked(conn: &mut PgConnection) -> Result<Vec<i64>, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT id FROM api_tokens
          WHERE revoked_at >= (SELECT min(created_at) FROM signing_keys) - interval '1 hour'",
    )
    .fetch_all(conn)
    .await?)
}

/// A token as its owner declares it.
#[derive(Clone, Debug)]
pub struct NewToken<'a> {
    pub organisation_id: Option<i64>,
    pub project_id: Option<i64>,
    pub name: &'a str,
    pub role: &'a str,
    pub sha256: [u8; 32],
    /// Its first characters.
    pub hint: &'a str,
    pub environment_ids: Option<Vec<i64>>,
    pub service_ids: Option<Vec<i64>>,
    pub expires_at: Option<DateTime<Utc>>,
}

pub async fn insert(conn: &mut PgConnection, token: &NewToken<'_>) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(
        "INSERT INTO api_tokens
                (organisation_id, project_id, name, role, sha256, environment_ids, service_ids, expires_at, hint)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         RETURNING id",
    )
    .bind(token.organisation_id)
    .bind(token.project_id)
    .bind(token.name)
    .bind(token.role)
    .bind(token.sha256.as_slice())
    .bind(token.environment_ids.as_deref())
    .bind(token.service_ids.as_deref())
    .bind(token.expires_at)
    .bind(token.hint)
    .fetch_one(conn)
    .await?)
}

/// Ends a token for good. `false`: it had ended before.
pub async fn revoke(conn: &mut PgConnection, token_id: i64) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE api_tokens SET revoked_at = clock_timestamp() WHERE id = $1 AND revoked_at IS NULL",
    )
    .bind(token_id)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Changes what a token may be used for, and until when.
pub async fn update_terms(
    conn: &mut PgConnection,
    token_id: i64,
    environment_ids: Option<&[i64]>,
    service_ids: Option<&[i64]>,
    expires_at: Option<DateTime<Utc>>,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE api_tokens SET environment_ids = $2, service_ids = $3, expires_at = $4 WHERE id = $1",
    )
    .bind(token_id)
    .bind(environment_ids)
    .bind(service_ids)
    .bind(expires_at)
    .execute(conn)
    .await?;
    Ok(())
}

/// A token as people see it: everything but its value.
#[derive(Clone, Debug)]
pub struct TokenSummary {
    pub id: i64,
    pub organisation_id: Option<i64>,
    pub project_id: Option<i64>,
    pub project_name: Option<String>,
    pub name: String,
    pub role: String,
    pub hint: Option<String>,
    pub environment_ids: Option<Vec<i64>>,
    /// In the order of the ids.
    pub environment_names: Option<Vec<String>>,
    pub service_ids: Option<Vec<i64>>,
    pub service_names: Option<Vec<String>>,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
    pub replaced_by: Option<i64>,
    /// By the database's clock.
    pub is_expired: bool,
}

impl TokenSummary {
    /// It opens sessions.
    pub fn is_alive(&self) -> bool {
        self.revoked_at.is_none() && !self.is_expired
    }
}

macro_rules! summaries {
    ($tail:literal) => {
        concat!(
            "SELECT id, organisation_id, project_id, name, role, hint, environment_ids, service_ids, created_at, expires_at,
                    revoked_at, last_used_at, replaced_by,
                    (SELECT p.name FROM projects p WHERE p.id = project_id) AS project_name,
                    (SELECT array_agg(coalesce(e.name, u.id::text) ORDER BY u.place)
                       FROM unnest(environment_ids) WITH ORDINALITY AS u (id, place)
                       LEFT JOIN environments e ON e.id = u.id) AS environment_names,
                    (SELECT array_agg(coalesce(s.name, u.id::text) ORDER BY u.place)
                       FROM unnest(service_ids) WITH ORDINALITY AS u (id, place)
                       LEFT JOIN services s ON s.id = u.id) AS service_names,
                    coalesce(expires_at <= clock_timestamp(), false) AS is_expired
               FROM api_tokens ",
            $tail
        )
    };
}

/// One by its id, whoever asks: the caller of this compares it with the asker's reach.
pub async fn load(conn: &mut PgConnection, token_id: i64) -> Result<Option<TokenSummary>, StoreError> {
    let row = sqlx::query(summaries!("WHERE id = $1"))
        .bind(token_id)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(summary_of_row).transpose()
}

/// As [`load`], held until the end of the transaction.
pub async fn lock(conn: &mut PgConnection, token_id: i64) -> Result<Option<TokenSummary>, StoreError> {
    let row = sqlx::query(summaries!("WHERE id = $1 FOR NO KEY UPDATE"))
        .bind(token_id)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(summary_of_row).transpose()
}

/// Which tokens to list.
#[derive(Clone, Debug, Default)]
pub struct TokenFilter {
    pub name: Option<String>,
    pub role: Option<String>,
    pub project_id: Option<i64>,
    /// Those that open sessions, or those that do not any more. `None`: both.
    pub alive: Option<bool>,
    /// Ids below this one.
    pub before: Option<i64>,
}

macro_rules! list_sql {
    ($owner:literal) => {
        concat!(
            summaries!("WHERE "),
            $owner,
            " AND ($2::bigint IS NULL OR project_id = $2)
              AND ($3::text IS NULL OR name = $3)
              AND ($4::text IS NULL OR role = $4)
              AND ($5::bigint IS NULL OR project_id = $5)
              AND ($6::boolean IS NULL
                   OR (revoked_at IS NULL AND coalesce(expires_at > clock_timestamp(), true)) = $6)
              AND ($7::bigint IS NULL OR id < $7)
              AND ($9::bigint[] IS NULL OR environment_ids <@ $9)
              AND ($10::bigint[] IS NULL OR service_ids <@ $10)
            ORDER BY id DESC LIMIT $8"
        )
    };
}

/// Tokens of an organisation (`None`: of the server) that reach no further than `reach`, newest first.
pub async fn list(
    conn: &mut PgConnection,
    organisation_id: Option<i64>,
    reach: &Reach,
    filter: &TokenFilter,
    limit: i64,
) -> Result<Vec<TokenSummary>, StoreError> {
    let statement = match organisation_id {
        Some(_) => list_sql!("organisation_id = $1"),
        None => list_sql!("organisation_id IS NULL AND $1::bigint IS NULL"),
    };
    let rows = sqlx::query(statement)
        .bind(organisation_id)
        .bind(reach.project)
        .bind(filter.name.as_deref())
        .bind(filter.role.as_deref())
        .bind(filter.project_id)
        .bind(filter.alive)
        .bind(filter.before)
        .bind(limit)
        .bind(reach.environments.as_deref())
        .bind(reach.services.as_deref())
        .fetch_all(conn)
        .await?;
    rows.iter().map(summary_of_row).collect()
}

fn summary_of_row(row: &PgRow) -> Result<TokenSummary, StoreError> {
    Ok(TokenSummary {
        id: row.try_get("id")?,
        organisation_id: row.try_get("organisation_id")?,
        project_id: row.try_get("project_id")?,
        project_name: row.try_get("project_name")?,
        name: row.try_get("name")?,
        role: row.try_get("role")?,
        hint: row.try_get("hint")?,
        environment_ids: row.try_get("environment_ids")?,
        environment_names: row.try_get("environment_names")?,
        service_ids: row.try_get("service_ids")?,
        service_names: row.try_get("service_names")?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        revoked_at: row.try_get("revoked_at")?,
        last_used_at: row.try_get("last_used_at")?,
        replaced_by: row.try_get("replaced_by")?,
        is_expired: row.try_get("is_expired")?,
    })
}

/// Marks a token as replaced by one that is yet to be made, so that the name is free for it.
pub async fn reserve_replacement(conn: &mut PgConnection, token_id: i64) -> Result<(), StoreError> {
    sqlx::query("UPDATE api_tokens SET replaced_by = id WHERE id = $1")
        .bind(token_id)
        .execute(conn)
        .await?;
    Ok(())
}

/// A token that was replaced lives on until its overlap ends, or until it would have ended anyway.
pub async fn update_replaced(
    conn: &mut PgConnection,
    token_id: i64,
    replaced_by: i64,
    overlap: std::time::Duration,
) -> Result<DateTime<Utc>, StoreError> {
    Ok(sqlx::query_scalar(
        "UPDATE api_tokens
            SET replaced_by = $2,
                expires_at = least(expires_at, clock_timestamp() + make_interval(secs => $3::double precision))
          WHERE id = $1 RETURNING expires_at",
    )
    .bind(token_id)
    .bind(replaced_by)
    .bind(overlap.as_secs_f64())
    .fetch_one(conn)
    .await?)
}

/// Root tokens that open something, but for one.
pub async fn count_other_roots(conn: &mut PgConnection, but: i64) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT count(*) FROM api_tokens
          WHERE role = 'root' AND organisation_id IS NULL AND id <> $1 AND revoked_at IS NULL
            AND coalesce(expires_at > clock_timestamp(), true)",
    )
    .bind(but)
    .fetch_one(conn)
    .await?)
}
