//! Runners that were told to wait.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row};

use super::{Scope, StoreError};

/// What a replica saw of a runner. Times are spans before now, so that only the database's clock is written.
#[derive(Clone, Debug)]
pub struct NewSighting {
    pub scope: Scope,
    pub runner_id: String,
    pub first_seen_ms_ago: i64,
    pub last_seen_ms_ago: i64,
    pub is_waiting: bool,
    pub parked_for_ms: Option<i64>,
    pub waits_for: Option<String>,
    pub runner_facts: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Sighting {
    pub runner_id: String,
    pub first_seen_at: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
    pub is_waiting: bool,
    pub parked_until: Option<DateTime<Utc>>,
    pub waits_for: Option<String>,
    pub runner_facts: Option<String>,
}

/// Writes many; each (scope, runner) once. Whoever was away for more than a minute begins to wait anew.
pub async fn upsert(conn: &mut PgConnection, seen: &[NewSighting]) -> Result<(), StoreError> {
    if seen.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        ($it:ident => $value:expr) => {
            seen.iter().map(|$it| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query(
        "INSERT INTO runner_sightings AS r
                (stream_id, runner_id, first_seen_at, last_seen_at, is_waiting, parked_until, waits_for, runner_facts)
         SELECT s.id, q.runner_id, clock.now - q.first_ago * interval '1 ms', clock.now - q.last_ago * interval '1 ms',
                q.is_waiting, clock.now + q.parked_for * interval '1 ms', q.waits_for, q.runner_facts
           FROM (SELECT clock_timestamp() AS now) AS clock,
                unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::boolean[], $7::bigint[],
                       $8::text[], $9::text[])
                AS q (environment_id, service_id, runner_id, first_ago, last_ago, is_waiting, parked_for, waits_for,
                      runner_facts)
          CROSS JOIN LATERAL (
                SELECT id FROM audit_streams
                 WHERE environment_id = q.environment_id AND service_id = q.service_id LIMIT 1) AS s
          -- Replicas write at once: in one order, so that they do not wait for each other in a circle.
          ORDER BY s.id, q.runner_id
         ON CONFLICT ON CONSTRAINT runner_sightings_pkey DO UPDATE
            SET first_seen_at = CASE
                    WHEN r.is_waiting AND r.last_seen_at > excluded.first_seen_at - interval '1 minute'
                    THEN least(r.first_seen_at, excluded.first_seen_at) ELSE excluded.first_seen_at END,
                last_seen_at = excluded.last_seen_at, is_waiting = excluded.is_waiting,
                parked_until = excluded.parked_until, waits_for = coalesce(excluded.waits_for, r.waits_for),
                runner_facts = coalesce(excluded.runner_facts, r.runner_facts)
          -- What another replica saw later stands; times are only as exact as spans in milliseconds.
          WHERE r.last_seen_at <= excluded.last_seen_at + interval '10 ms'",
    )
    .bind(column!(it => it.scope.environment_id))
    .bind(column!(it => it.scope.service_id))
    .bind(column!(it => it.runner_id.as_str()))
    .bind(column!(it => it.first_seen_ms_ago))
    .bind(column!(it => it.last_seen_ms_ago))
    .bind(column!(it => it.is_waiting))
    .bind(column!(it => it.parked_for_ms))
    .bind(column!(it => it.waits_for.as_deref()))
    .bind(column!(it => it.runner_facts.as_deref()))
    .execute(conn)
    .await?;
    Ok(())
}

/// Those of a stream, the one seen last first.
pub async fn list(conn: &mut PgConnection, stream_id: i64, limit: i64) -> Result<Vec<Sighting>, StoreError> {
    let rows = sqlx::query(
        "SELECT runner_id, first_seen_at, last_seen_at, is_waiting, parked_until, waits_for, runner_facts
           FROM runner_sightings WHERE stream_id = $1 ORDER BY last_seen_at DESC LIMIT $2",
    )
    .bind(stream_id)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Sighting {
                runner_id: row.try_get("runner_id")?,
                first_seen_at: row.try_get("first_seen_at")?,
                last_seen_at: row.try_get("last_seen_at")?,
                is_waiting: row.try_get("is_waiting")?,
                parked_until: row.try_get("parked_until")?,
                waits_for: row.try_get("waits_for")?,
                runner_facts: row.try_get("runner_facts")?,
            })
        })
        .collect()
}

/// Forgets who was not seen for an hour.
pub async fn delete_old(conn: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM runner_sightings WHERE last_seen_at < clock_timestamp() - interval '1 hour'")
        .execute(conn)
        .await?;
    Ok(())
}
