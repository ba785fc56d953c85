//! Freeze windows.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::StoreError;

#[derive(Clone, Debug)]
pub struct FreezeRow {
    pub id: i64,
    pub environment_id: i64,
    pub service_ids: Option<Vec<i64>>,
    /// In the order of the ids.
    pub service_names: Option<Vec<String>>,
    pub starts_at: DateTime<Utc>,
    pub ends_at: Option<DateTime<Utc>>,
    pub reason: String,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    pub ended_at: Option<DateTime<Utc>>,
    pub ended_by: Option<String>,
    pub end_reason: Option<String>,
    /// On the database's clock, when it was read.
    pub active: bool,
}

#[derive(Clone, Debug)]
pub struct NewFreeze<'a> {
    pub environment_id: i64,
    pub service_ids: Option<&'a [i64]>,
    /// `None`: now.
    pub starts_at: Option<DateTime<Utc>>,
    pub ends_at: Option<DateTime<Utc>>,
    pub reason: &'a str,
    pub created_by: &'a str,
}

/// Has whoever sets a window in an environment wait for the one before: of two equal calls at once, one finds the other's.
/// What refers to the environment is written meanwhile.
pub async fn lock_environment(conn: &mut PgConnection, environment_id: i64) -> Result<(), StoreError> {
    sqlx::query("SELECT id FROM environments WHERE id = $1 FOR NO KEY UPDATE")
        .bind(environment_id)
        .execute(conn)
        .await?;
    Ok(())
}

/// The window that the very same call has made, as long as it is not over.
pub async fn load_same(conn: &mut PgConnection, new: &NewFreeze<'_>) -> Result<Option<i64>, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT f.id FROM freeze_windows f
          WHERE f.environment_id = $1 AND f.ended_at IS NULL
            AND f.service_ids IS NOT DISTINCT FROM $2 AND f.ends_at IS NOT DISTINCT FROM $4
            AND f.reason = $5 AND f.created_by = $6
            -- Without a time it began when it was made.
            AND CASE WHEN $3::timestamptz IS NULL THEN f.starts_at <= f.created_at ELSE f.starts_at = $3 END
            AND coalesce(clock_timestamp() < f.ends_at, true)
          ORDER BY f.id DESC LIMIT 1",
    )
    .bind(new.environment_id)
    .bind(new.service_ids)
    .bind(new.starts_at)
    .bind(new.ends_at)
    .bind(new.reason)
    .bind(new.created_by)
    .fetch_optional(conn)
    .await?)
}

/// Newest first; `before` is the last id of the page before. With `active`, only those that are open, or only those
/// that are not; with `services`, only those that concern one of them.
pub async fn list(
    conn: &mut PgConnection,
    environment_id: i64,
    services: Option<&[i64]>,
    active: Option<bool>,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<FreezeRow>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, environment_id, service_ids, starts_at, ends_at, reason, created_at, created_by, ended_at, ended_by,
                end_reason, active,
                (SELECT array_agg(coalesce(s.name, u.id::text) ORDER BY u.place)
                   FROM unnest(service_ids) WITH ORDINALITY AS u (id, place)
                   LEFT JOIN services s ON s.id = u.id) AS service_names
           FROM (
             SELECT f.*, ended_at IS NULL AND starts_at <= now AND (ends_at IS NULL OR now < ends_at) AS active
               FROM freeze_windows f CROSS JOIN (SELECT clock_timestamp() AS now) AS clock
              WHERE f.environment_id = $1 AND f.id < $3
                AND ($5::bigint[] IS NULL OR f.service_ids IS NULL OR f.service_ids && $5)) AS f
          WHERE $2::boolean IS NULL OR f.active = $2
          ORDER BY f.id DESC LIMIT $4",
    )
    .bind(environment_id)
    .bind(active)
    .bind(before.unwrap_or(i64::MAX))
    .bind(limit)
    .bind(services)
    .fetch_all(conn)
    .await?;
    rows.iter().map(freeze_of_row).collect()
}

/// One window, by its id alone: the caller must judge whether its environment may be seen.
pub async fn load(conn: &mut PgConnection, id: i64) -> Result<Option<FreezeRow>, StoreError> {
    let row = sqlx::query(
        "SELECT id, environment_id, service_ids, starts_at, ends_at, reason, created_at, created_by, ended_at, ended_by,
                end_reason,
                (SELECT array_agg(coalesce(s.name, u.id::text) ORDER BY u.place)
                   FROM unnest(service_ids) WITH ORDINALITY AS u (id, place)
                   LEFT JOIN services s ON s.id = u.id) AS service_names,
                ended_at IS NULL AND starts_at <= now AND (ends_at IS NULL OR now < ends_at) AS active
           FROM freeze_windows f CROSS JOIN (SELECT clock_timestamp() AS now) AS clock
          WHERE f.id = $1",
    )
    .bind(id)
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(freeze_of_row).transpose()
}

pub async fn insert(conn: &mut PgConnection, new: &NewFreeze<'_>) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(
        "INSERT INTO freeze_windows (environment_id, service_ids, starts_at, ends_at, reason, created_by)
         VALUES ($1, $2, coalesce($3, clock_timestamp()), $4, $5, $6) RETURNING id",
    )
    .bind(new.environment_id)
    .bind(new.service_ids)
    .bind(new.starts_at)
    .bind(new.ends_at)
    .bind(new.reason)
    .bind(new.created_by)
    .fetch_one(conn)
    .await?)
}

/// Ends a window that is not over yet. `false`: it is, or was ended before.
pub async fn update_ended(
    conn: &mut PgConnection,
    environment_id: i64,
    id: i64,
    ended_by: &str,
    reason: &str,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE freeze_windows SET ended_at = clock_timestamp(), ended_by = $3, end_reason = $4
          WHERE id = $2 AND environment_id = $1 AND ended_at IS NULL
            AND (ends_at IS NULL OR ends_at > clock_timestamp())",
    )
    .bind(environment_id)
    .bind(id)
    .bind(ended_by)
    .bind(reason)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

fn freeze_of_row(row: &PgRow) -> Result<FreezeRow, StoreError> {
    Ok(FreezeRow {
        id: row.try_get("id")?,
        environment_id: row.try_get("environment_id")?,
        service_ids: row.try_get("service_ids")?,
        service_names: row.try_get("service_names")?,
        starts_at: row.try_get("starts_at")?,
        ends_at: row.try_get("ends_at")?,
        reason: row.try_get("reason")?,
        created_at: row.try_get("created_at")?,
        created_by: row.try_get("created_by")?,
        ended_at: row.try_get("ended_at")?,
        ended_by: row.try_get("ended_by")?,
        end_reason: row.try_get("end_reason")?,
        active: row.try_get("active")?,
    })
}
