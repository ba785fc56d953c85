//! API tokens: found by the digest of their text, never by their text.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::StoreError;

/// A token and what surrounds it.
#[derive(Clone, Debug)]
pub struct Token {
    pub id: i64,
    pub name: String,
    pub role: String,
    /// `None`: server-wide.
    pub organisation: Option<(i64, String)>,
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
}

pub async fn load_by_sha256(conn: &mut PgConnection, sha256: &[u8; 32]) -> Result<Option<Token>, StoreError> {
    let row = sqlx::query(
        "SELECT t.id, t.name, t.role, t.environment_ids, t.service_ids,
                o.id AS organisation_id, o.name AS organisation_name,
                p.id AS project_id, p.name AS project_name, p.self_register_services,
                coalesce(t.expires_at <= clock_timestamp(), false) AS is_expired,
                t.revoked_at IS NOT NULL AS is_revoked,
                coalesce(t.last_used_at < clock_timestamp() - interval '1 minute', true) AS use_is_stale
           FROM api_tokens t
           LEFT JOIN organisations o ON o.id = t.organisation_id
           LEFT JOIN projects p ON p.id = t.project_id
          WHERE t.sha256 = $1",
    )
    .bind(sha256.as_slice())
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(token_of_row).transpose()
}

fn token_of_row(row: &PgRow) -> Result<Token, StoreError> {
    let organisation = match row.try_get::<Option<i64>, _>("organisation_id")? {
        Some(id) => Some((id, row.try_get("organisation_name")?)),
        None => None,
    };
    let project = match row.try_get("project_id")? {
        Some(id) => Some(TokenProject {
            id,
            name: row.try_get("project_name")?,
            self_register_services: row.try_get("self_register_services")?,
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
    pub environment_ids: Option<Vec<i64>>,
    pub service_ids: Option<Vec<i64>>,
    pub expires_at: Option<DateTime<Utc>>,
}

pub async fn insert(conn: &mut PgConnection, token: &NewToken<'_>) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(
        "INSERT INTO api_tokens
                (organisation_id, project_id, name, role, sha256, environment_ids, service_ids, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
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
