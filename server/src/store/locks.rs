//! Lock rows. Leases are judged and written on the database's clock alone.

use chrono::{DateTime, Utc};
use flamingock_domain::ids::{AcquisitionId, ExecutionId, LockKey, RunnerId};
use flamingock_domain::lock::{Lease, Lock};
use flamingock_domain::time::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::StoreError;
use super::streams::{duration_ms, instant, timestamp};

/// A lock and the execution that it was granted for, where there is one.
#[derive(Clone, Debug)]
pub struct LockRow {
    pub lock: Lock,
    pub execution: Option<ExecutionId>,
    /// When it was granted last; extensions do not move it.
    pub granted_at: Option<Timestamp>,
    /// Somebody asked the execution to stop.
    pub is_cancelled: bool,
}

/// The database's clock around the wait for rows.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// When the statement arrived, before the wait.
    pub asked: Timestamp,
    /// When the rows were held, after it.
    pub now: Timestamp,
}

/// What a decision makes of a lock's row.
#[derive(Clone, Debug)]
pub struct LockUpdate {
    pub environment_id: i64,
    pub lock: Lock,
    pub execution: Option<ExecutionId>,
}

pub(super) fn lock_of_row(row: &PgRow) -> Result<LockRow, StoreError> {
    let corrupt = |detail: String| StoreError::Corrupt {
        table: "locks",
        detail,
    };
    let key: String = row.try_get("key")?;
    let owner: Option<String> = row.try_get("owner")?;
    let lease = match owner {
        Some(owner) => Some(Lease {
            owner: RunnerId::parse(owner).map_err(|error| corrupt(format!("owner {error}")))?,
            acquisition_id: AcquisitionId::parse(row.try_get::<String, _>("acquisition_id")?)
                .map_err(|error| corrupt(format!("acquisition_id {error}")))?,
            length: duration_ms(row.try_get("lease_ms")?),
            expires_at: timestamp(row.try_get("expires_at")?),
        }),
        None => None,
    };
    let execution: Option<i64> = row.try_get("execution_id")?;
    Ok(LockRow {
        // A request is for one execution; what is left of an earlier one says nothing.
        is_cancelled: execution.is_some() && execution == row.try_get("cancel_execution_id")?,
        lock: Lock {
            key: LockKey::parse(key).map_err(|error| corrupt(format!("key {error}")))?,
            fence: row.try_get("fence")?,
            lease,
        },
        execution: execution.map(ExecutionId),
        granted_at: row
            .try_get::<Option<DateTime<Utc>>, _>("acquired_at")?
            .map(timestamp),
    })
}

/// One lock as it is, with the database's clock; `None` where it was never taken.
pub async fn load(
    conn: &mut PgConnection,
    environment_id: i64,
    key: &LockKey,
) -> Result<Option<(LockRow, Timestamp)>, StoreError> {
    let row = sqlx::query(
        "SELECT key, fence, owner, acquisition_id, lease_ms, expires_at, execution_id, acquired_at,
                cancel_execution_id, clock_timestamp() AS now
           FROM locks WHERE environment_id = $1 AND key = $2",
    )
    .bind(environment_id)
    .bind(key.as_str())
    .fetch_optional(conn)
    .await?;
    row.map(|row| Ok((lock_of_row(&row)?, timestamp(row.try_get("now")?))))
        .transpose()
}

/// How strongly the rows are held: `Look` not at all, `Share` keeps others from changing them, `Update` is for changing
/// them ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    Look,
    Share,
    Update,
}

/// Locks the rows in an order that all transactions share, and reads the clock *after* they are held: a lease must not
/// be judged by a time from before the wait for the row. Missing rows are left out.
pub async fn lock_rows(
    conn: &mut PgConnection,
    asked: &[(i64, &str)],
    hold: Hold,
) -> Result<(Vec<(i64, LockRow)>, Clock), StoreError> {
    let environments: Vec<i64> = asked.iter().map(|(environment, _)| *environment).collect();
    let keys: Vec<&str> = asked.iter().map(|(_, key)| *key).collect();
    let sql = match hold {
        Hold::Look => {
            "WITH held AS MATERIALIZED (
                 SELECT * FROM locks
                  WHERE (environment_id, key) IN (SELECT * FROM unnest($1::bigint[], $2::text[])))
             SELECT held.environment_id, held.key, held.fence, held.owner, held.acquisition_id, held.lease_ms, held.expires_at,
                    held.acquired_at, held.execution_id, held.cancel_execution_id, clock.now, statement_timestamp() AS asked
               FROM (SELECT clock_timestamp() AS now) AS clock LEFT JOIN held ON true"
        }
        Hold::Update => {
            "WITH held AS MATERIALIZED (
                 SELECT * FROM locks
                  WHERE (environment_id, key) IN (SELECT * FROM unnest($1::bigint[], $2::text[]))
                  ORDER BY environment_id, key FOR UPDATE)
             SELECT held.environment_id, held.key, held.fence, held.owner, held.acquisition_id, held.lease_ms, held.expires_at,
                    held.acquired_at, held.execution_id, held.cancel_execution_id, clock.now, statement_timestamp() AS asked
               FROM (SELECT count(*) FROM held) AS n (n)
              CROSS JOIN LATERAL (SELECT clock_timestamp() + n.n * interval '0' AS now) AS clock
               LEFT JOIN held ON true"
        }
        Hold::Share => {
            "WITH held AS MATERIALIZED (
                 SELECT * FROM locks
                  WHERE (environment_id, key) IN (SELECT * FROM unnest($1::bigint[], $2::text[]))
                  ORDER BY environment_id, key FOR SHARE)
             SELECT held.environment_id, held.key, held.fence, held.owner, held.acquisition_id, held.lease_ms, held.expires_at,
                    held.acquired_at, held.execution_id, held.cancel_execution_id, clock.now, statement_timestamp() AS asked
               FROM (SELECT count(*) FROM held) AS n (n)
              CROSS JOIN LATERAL (SELECT clock_timestamp() + n.n * interval '0' AS now) AS clock
               LEFT JOIN held ON true"
        }
    };
    let rows = sqlx::query(sql)
        .bind(environments)
        .bind(keys)
        .fetch_all(conn)
        .await?;
    let clock = match rows.first() {
        Some(row) => Clock {
            asked: timestamp(row.try_get("asked")?),
            now: timestamp(row.try_get("now")?),
        },
        None => {
            return Err(StoreError::Corrupt {
                table: "locks",
                detail: "the clock gave no answer".to_owned(),
            });
        }
    };
    let found = rows
        .iter()
        .filter(|row| !matches!(row.try_get::<Option<String>, _>("key"), Ok(None)))
        .map(|row| Ok((row.try_get("environment_id")?, lock_of_row(row)?)))
        .collect::<Result<Vec<_>, StoreError>>()?;
    Ok((found, clock))
}

/// Makes sure that the rows exist: there is nothing to lock where there is no row.
pub async fn insert_absent(conn: &mut PgConnection, asked: &[(i64, &str)]) -> Result<(), StoreError> {
    let environments: Vec<i64> = asked.iter().map(|(environment, _)| *environment).collect();
    let keys: Vec<&str> = asked.iter().map(|(_, key)| *key).collect();
    sqlx::query(
        "INSERT INTO locks (environment_id, key) SELECT * FROM unnest($1::bigint[], $2::text[]) ORDER BY 1, 2
         ON CONFLICT ON CONSTRAINT locks_pkey DO NOTHING",
    )
    .bind(environments)
    .bind(keys)
    .execute(conn)
    .await?;
    Ok(())
}

/// Locks the rows for update, making those that are missing.
pub async fn lock_for_update(
    conn: &mut PgConnection,
    asked: &[(i64, &str)],
) -> Result<(Vec<(i64, LockRow)>, Clock), StoreError> {
    let (rows, clock) = lock_rows(conn, asked, Hold::Update).await?;
    if rows.len() == asked.len() {
        return Ok((rows, clock));
    }
    insert_absent(conn, asked).await?;
    lock_rows(conn, asked, Hold::Update).await
}

/// Says that what this transaction releases, it releases over the holder's head: the lock's history keeps it.
pub async fn mark_forced(conn: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("SELECT set_config('flamingock.lock_release', 'forced', true)")
        .execute(conn)
        .await?;
    Ok(())
}

/// Writes what was decided for locked rows. A grant restarts `acquired_at`, an extension only moves `extended_at`.
pub async fn update(conn: &mut PgConnection, updates: &[LockUpdate]) -> Result<(), StoreError> {
    if updates.is_empty() {
        return Ok(());
    }
    let lease = |update: &LockUpdate| update.lock.lease.clone();
    let done = sqlx::query(
        "UPDATE locks l
            SET fence = n.fence, owner = n.owner, acquisition_id = n.acquisition_id, lease_ms = n.lease_ms,
                expires_at = n.expires_at, execution_id = n.execution_id,
                acquired_at = CASE WHEN l.fence <> n.fence THEN clock_timestamp() ELSE l.acquired_at END,
                extended_at = clock_timestamp()
           FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[],
                       $7::timestamptz[], $8::bigint[])
                AS n (environment_id, key, fence, owner, acquisition_id, lease_ms, expires_at, execution_id)
          WHERE l.environment_id = n.environment_id AND l.key = n.key",
    )
    .bind(
        updates
            .iter()
            .map(|update| update.environment_id)
            .collect::<Vec<_>>(),
    )
    .bind(
        updates
            .iter()
            .map(|update| update.lock.key.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(updates.iter().map(|update| update.lock.fence).collect::<Vec<_>>())
    .bind(
        updates
            .iter()
            .map(|update| lease(update).map(|lease| lease.owner.to_string()))
            .collect::<Vec<_>>(),
    )
    .bind(
        updates
            .iter()
            .map(|update| lease(update).map(|lease| lease.acquisition_id.to_string()))
            .collect::<Vec<_>>(),
    )
    .bind(
        updates
            .iter()
            .map(|update| {
                lease(update).map(|lease| i64::try_from(lease.length.as_millis()).unwrap_or(i64::MAX))
            })
            .collect::<Vec<_>>(),
    )
    .bind(
        updates
            .iter()
            .map(|update| lease(update).map(|lease| instant(lease.expires_at)))
            .collect::<Vec<_>>(),
    )
    .bind(
        updates
            .iter()
            .map(|update| update.execution.map(|id| id.0))
            .collect::<Vec<_>>(),
    )
    .execute(conn)
    .await?;
    if done.rows_affected() != updates.len() as u64 {
        return Err(StoreError::Corrupt {
            table: "locks",
            detail: format!(
                "{} locks to write, {} written",
                updates.len(),
                done.rows_affected()
            ),
        });
    }
    Ok(())
}

/// A service's lock for people, with the clock that it is to be judged by.
#[derive(Clone, Debug)]
pub struct LockFacts {
    pub environment_id: i64,
    pub service_id: i64,
    pub service_name: String,
    pub lock: Lock,
    pub execution: Option<ExecutionId>,
    pub granted_at: Option<Timestamp>,
    /// When it was granted, extended or given back last.
    pub touched_at: Option<Timestamp>,
    pub now: Timestamp,
}

/// Locks to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct LockFilter<'a> {
    /// `None`: every service of the environment's project.
    pub service_ids: Option<&'a [i64]>,
    /// `HELD`, `EXPIRED` or `FREE`.
    pub standing: Option<&'a str>,
    /// Only those of services with a higher id.
    pub after: i64,
    pub limit: i64,
}

/// Locks of an environment that were ever taken, by service id.
pub async fn list(
    conn: &mut PgConnection,
    environment_id: i64,
    filter: LockFilter<'_>,
) -> Result<Vec<LockFacts>, StoreError> {
    let rows = sqlx::query(
        "SELECT s.id AS service_id, s.name AS service_name, l.key, l.fence, l.owner, l.acquisition_id, l.lease_ms,
                l.expires_at, l.execution_id, l.acquired_at, l.extended_at, l.cancel_execution_id, clock.now
           FROM (SELECT clock_timestamp() AS now) AS clock, environments e
           JOIN services s ON s.project_id = e.project_id
           JOIN locks l ON l.environment_id = e.id AND l.key = s.id::text
          WHERE e.id = $1 AND s.id > $2 AND ($3::bigint[] IS NULL OR s.id = ANY($3))
            AND ($4::text IS NULL
                 OR $4 = CASE WHEN l.owner IS NULL THEN 'FREE' WHEN clock.now < l.expires_at THEN 'HELD' ELSE 'EXPIRED' END)
          ORDER BY s.id LIMIT $5",
    )
    .bind(environment_id)
    .bind(filter.after)
    .bind(filter.service_ids)
    .bind(filter.standing)
    .bind(filter.limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let LockRow {
                lock,
                execution,
                granted_at,
                is_cancelled: _,
            } = lock_of_row(row)?;
            Ok(LockFacts {
                environment_id,
                service_id: row.try_get("service_id")?,
                service_name: row.try_get("service_name")?,
                lock,
                execution,
                granted_at,
                touched_at: row
                    .try_get::<Option<DateTime<Utc>>, _>("extended_at")?
                    .map(timestamp),
                now: timestamp(row.try_get("now")?),
            })
        })
        .collect()
}
