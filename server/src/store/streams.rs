//! Streams and their heads: where the history of an (environment, service) stands.

use std::time::Duration;

use chrono::{DateTime, Utc};
use flamingock_domain::audit::{ChangeState, States};
use flamingock_domain::ids::{ChangeId, ExecutionId, Seq};
use flamingock_domain::lock::Lock;
use flamingock_domain::plan::Settings;
use flamingock_domain::plan::policy::Policy;
use flamingock_domain::time::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::{Scope, StoreError, locks, policies, states};

/// A stream, its row locked by the current transaction: nobody else appends or plans until it ends.
#[derive(Clone, Debug)]
pub struct Stream {
    pub id: i64,
    pub scope: Scope,
    pub head_seq: Seq,
    pub head_hash: [u8; 32],
    pub settings: Settings,
}

/// The end of a stream. The hash covers all that came before, so two equal positions stand for the same history, also after
/// a fail-over to a standby that had not everything, where a sequence number alone is given out a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    pub seq: Seq,
    pub hash: [u8; 32],
}

impl Stream {
    pub fn position(&self) -> Position {
        Position {
            seq: self.head_seq,
            hash: self.head_hash,
        }
    }
}

impl Position {
    /// Before the first entry.
    pub const ORIGIN: Self = Self {
        seq: 0,
        hash: [0; 32],
    };
}

/// Where a scope stands: enough to decide whether there is anything to do.
#[derive(Clone, Debug)]
pub struct Head {
    /// `None` while the service has never planned here.
    pub stream_id: Option<i64>,
    pub position: Position,
    pub lock: Option<Lock>,
    pub lock_execution: Option<ExecutionId>,
    /// The database's clock when it was read.
    pub now: Timestamp,
    pub settings: Settings,
    pub policy: Policy,
    pub policy_revision: i64,
}

impl Head {
    /// Names the policy that an answer which was kept leans on.
    pub fn policy_key(&self) -> i64 {
        self.policy.key(self.policy_revision)
    }
}

/// One read for many scopes. A scope that is not in the answer does not exist.
pub async fn load_heads(conn: &mut PgConnection, scopes: &[Scope]) -> Result<Vec<(Scope, Head)>, StoreError> {
    let environments: Vec<i64> = scopes.iter().map(|scope| scope.environment_id).collect();
    let services: Vec<i64> = scopes.iter().map(|scope| scope.service_id).collect();
    let rows = sqlx::query(
        "SELECT q.environment_id, q.service_id, e.trust_absent_marks,
                e.policy_revision, e.checksum_mismatch, e.out_of_order, e.approval_required,
                s.id AS stream_id, s.head_seq, s.head_hash,
                l.key, l.fence, l.owner, l.acquisition_id, l.lease_ms, l.expires_at, l.execution_id,
                l.cancel_execution_id, l.acquired_at,
                clock_timestamp() AS now
           FROM unnest($1::bigint[], $2::bigint[]) AS q (environment_id, service_id)
          CROSS JOIN LATERAL (SELECT * FROM environments WHERE id = q.environment_id LIMIT 1) AS e
           LEFT JOIN LATERAL (
                SELECT * FROM audit_streams
                 WHERE environment_id = q.environment_id AND service_id = q.service_id LIMIT 1) AS s ON true
           LEFT JOIN LATERAL (
                SELECT * FROM locks
                 WHERE environment_id = q.environment_id AND key = q.service_id::text LIMIT 1) AS l ON true",
    )
    .bind(environments)
    .bind(services)
    .fetch_all(conn)
    .await?;
    rows.iter().map(head_of_row).collect()
}

fn head_of_row(row: &PgRow) -> Result<(Scope, Head), StoreError> {
    let scope = Scope {
        environment_id: row.try_get("environment_id")?,
        service_id: row.try_get("service_id")?,
    };
    let key: Option<String> = row.try_get("key")?;
    let (lock, lock_execution) = match key {
        Some(_) => {
            let row = locks::lock_of_row(row)?;
            (Some(row.lock), row.execution)
        }
        None => (None, None),
    };
    let stream_id = row.try_get("stream_id")?;
    let position = match stream_id {
        Some(_) => position_of_row(row)?,
        None => Position::ORIGIN,
    };
    Ok((
        scope,
        Head {
            stream_id,
            position,
            lock,
            lock_execution,
            now: timestamp(row.try_get("now")?),
            settings: Settings {
                trust_absent_marks: row.try_get("trust_absent_marks")?,
            },
            policy: policies::policy_of_row(row)?,
            policy_revision: row.try_get("policy_revision")?,
        },
    ))
}

fn position_of_row(row: &PgRow) -> Result<Position, StoreError> {
    Ok(Position {
        seq: row.try_get("head_seq")?,
        hash: hash_of(row.try_get("head_hash")?, "audit_streams")?,
    })
}

/// Makes sure that the streams exist: there is nothing to lock where there is no row.
pub async fn insert_absent(conn: &mut PgConnection, scopes: &[Scope]) -> Result<(), StoreError> {
    let environments: Vec<i64> = scopes.iter().map(|scope| scope.environment_id).collect();
    let services: Vec<i64> = scopes.iter().map(|scope| scope.service_id).collect();
    sqlx::query(
        "INSERT INTO audit_streams (environment_id, service_id)
         SELECT * FROM unnest($1::bigint[], $2::bigint[])
         ORDER BY 1, 2
         ON CONFLICT ON CONSTRAINT audit_streams_environment_id_service_id_key DO NOTHING",
    )
    .bind(environments)
    .bind(services)
    .execute(conn)
    .await?;
    Ok(())
}

/// Locks the streams that exist, in an order that all transactions share, so that two of them cannot wait for each
/// other in a circle. No key of theirs ever changes, so rows that refer to them are written meanwhile.
pub async fn lock_existing(conn: &mut PgConnection, scopes: &[Scope]) -> Result<Vec<Stream>, StoreError> {
    let environments: Vec<i64> = scopes.iter().map(|scope| scope.environment_id).collect();
    let services: Vec<i64> = scopes.iter().map(|scope| scope.service_id).collect();
    let rows = sqlx::query(
        "SELECT s.id, s.environment_id, s.service_id, s.head_seq, s.head_hash, e.trust_absent_marks
           FROM audit_streams s JOIN environments e ON e.id = s.environment_id
          WHERE (s.environment_id, s.service_id) IN (SELECT * FROM unnest($1::bigint[], $2::bigint[]))
          ORDER BY s.id
            FOR NO KEY UPDATE OF s",
    )
    .bind(environments)
    .bind(services)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Stream {
                id: row.try_get("id")?,
                scope: Scope {
                    environment_id: row.try_get("environment_id")?,
                    service_id: row.try_get("service_id")?,
                },
                head_seq: row.try_get("head_seq")?,
                head_hash: hash_of(row.try_get("head_hash")?, "audit_streams")?,
                settings: Settings {
                    trust_absent_marks: row.try_get("trust_absent_marks")?,
                },
            })
        })
        .collect()
}

/// Locks the streams of the scopes, making those that are missing.
pub async fn lock(conn: &mut PgConnection, scopes: &[Scope]) -> Result<Vec<Stream>, StoreError> {
    let streams = lock_existing(conn, scopes).await?;
    let missing: Vec<Scope> = scopes
        .iter()
        .copied()
        .filter(|scope| !streams.iter().any(|stream| stream.scope == *scope))
        .collect();
    if missing.is_empty() {
        return Ok(streams);
    }
    insert_absent(conn, &missing).await?;
    lock_existing(conn, scopes).await
}

/// All latest states of a stream with the head that they belong to, in one snapshot.
pub async fn load_fold(conn: &mut PgConnection, stream_id: i64) -> Result<(Position, States), StoreError> {
    let rows = sqlx::query(
        "SELECT s.head_seq, s.head_hash, c.change_id, c.seq, c.state, c.tx_strategy, c.recovery_strategy, c.execution_id, c.source
           FROM audit_streams s
           LEFT JOIN change_states c ON c.stream_id = s.id
          WHERE s.id = $1",
    )
    .bind(stream_id)
    .fetch_all(conn)
    .await?;
    let mut position = Position::ORIGIN;
    if let Some(row) = rows.first() {
        position = position_of_row(row)?;
    }
    let mut folded = States::with_capacity(rows.len());
    for row in &rows {
        if row.try_get::<Option<String>, _>("change_id")?.is_some() {
            let (id, state): (ChangeId, ChangeState) = states::state_of_row(row)?;
            folded.insert(id, state);
        }
    }
    Ok((position, folded))
}

/// Moves the heads of locked streams to where the appends of this transaction left them.
pub async fn update_heads(conn: &mut PgConnection, streams: &[Stream]) -> Result<(), StoreError> {
    let ids: Vec<i64> = streams.iter().map(|stream| stream.id).collect();
    let seqs: Vec<i64> = streams.iter().map(|stream| stream.head_seq).collect();
    let hashes: Vec<&[u8]> = streams.iter().map(|stream| stream.head_hash.as_slice()).collect();
    let done = sqlx::query(
        "UPDATE audit_streams s SET head_seq = n.head_seq, head_hash = n.head_hash
           FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) AS n (id, head_seq, head_hash)
          WHERE s.id = n.id AND s.head_seq <= n.head_seq",
    )
    .bind(&ids)
    .bind(&seqs)
    .bind(&hashes)
    .execute(conn)
    .await?;
    if done.rows_affected() != ids.len() as u64 {
        return Err(StoreError::Corrupt {
            table: "audit_streams",
            detail: format!("{} heads to move, {} moved", ids.len(), done.rows_affected()),
        });
    }
    Ok(())
}

/// The database's clock. Statements of one transaction may see it move: it is not the transaction's start.
pub async fn load_now(conn: &mut PgConnection) -> Result<Timestamp, StoreError> {
    let now: DateTime<Utc> = sqlx::query_scalar("SELECT clock_timestamp()")
        .fetch_one(conn)
        .await?;
    Ok(timestamp(now))
}

pub(super) fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp::from_micros(at.timestamp_micros())
}

pub fn instant(at: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.as_micros()).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

pub(super) fn duration_ms(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

pub(super) fn hash_of(bytes: &[u8], table: &'static str) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt {
        table,
        detail: format!("a hash of {} bytes", bytes.len()),
    })
}
