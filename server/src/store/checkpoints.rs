//! The chain in stretches, signed checkpoints, and the keys that sign them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use flamingock_audit_chain::{Checkpoint, Hash, PublicKey, SignedCheckpoint};
use flamingock_domain::ids::Seq;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::streams::{duration_ms, hash_of};
use super::{Scope, StoreError};

/// A stretch of a chain, as the database recomputes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub stream_id: i64,
    /// The last entry that is good.
    pub verified: (Seq, Hash),
    pub head: (Seq, Hash),
    /// The end was reached, or a break.
    pub complete: bool,
    pub broken: Option<(Seq, String)>,
    /// The newest checkpoint, read in the same snapshot: none is ahead of an honest head.
    pub newest_checkpoint: Option<(Seq, DateTime<Utc>)>,
}

/// `None`: the stream does not exist, so there is nothing to break.
pub async fn verify_stretch(
    conn: &mut PgConnection,
    scope: Scope,
    after: (Seq, Hash),
    entries_max: i64,
) -> Result<Option<Stretch>, StoreError> {
    let row = sqlx::query(
        "SELECT s.id, v.*, c.seq AS checkpoint_seq, c.signed_at AS checkpoint_signed_at
           FROM audit_streams s
          CROSS JOIN LATERAL audit_verify_stretch(s.id, $3, $4, $5) v
           LEFT JOIN LATERAL (
                SELECT k.seq, k.signed_at FROM checkpoints k WHERE k.stream_id = s.id
                 ORDER BY k.seq DESC LIMIT 1) c ON true
          WHERE s.environment_id = $1 AND s.service_id = $2",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .bind(after.0)
    .bind(after.1.as_slice())
    .bind(entries_max)
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let broken: Option<Seq> = row.try_get("broken_seq")?;
        let finding: Option<String> = row.try_get("finding")?;
        let checkpoint: Option<Seq> = row.try_get("checkpoint_seq")?;
        let signed_at: Option<DateTime<Utc>> = row.try_get("checkpoint_signed_at")?;
        Ok(Stretch {
            stream_id: row.try_get("id")?,
            verified: (
                row.try_get("verified_seq")?,
                hash_of(row.try_get("verified_hash")?, "audit_entries")?,
            ),
            head: (
                row.try_get("head_seq")?,
                hash_of(row.try_get("head_hash")?, "audit_streams")?,
            ),
            complete: row.try_get("complete")?,
            broken: broken.map(|seq| (seq, finding.unwrap_or_default())),
            newest_checkpoint: checkpoint.zip(signed_at),
        })
    })
    .transpose()
}

/// A checkpoint with its key, and the hash that the entry at its position has today.
pub struct Held {
    pub signed: SignedCheckpoint,
    pub key: PublicKey,
    pub entry_hash: Option<Hash>,
}

/// The checkpoints behind a position and up to another, lowest first.
pub async fn list_between(
    conn: &mut PgConnection,
    scope: Scope,
    stream_id: i64,
    after: Seq,
    up_to: Seq,
) -> Result<Vec<Held>, StoreError> {
    let rows = sqlx::query(
        "SELECT c.seq, c.hash, c.signed_at, c.key_id, c.signature, k.public_key, a.hash AS entry_hash
           FROM checkpoints c
           JOIN checkpoint_keys k ON k.key_id = c.key_id
           LEFT JOIN LATERAL (
                SELECT e.hash FROM audit_entries e WHERE e.stream_id = c.stream_id AND e.seq = c.seq LIMIT 1) a ON true
          WHERE c.stream_id = $1 AND c.seq > $2 AND c.seq <= $3
          ORDER BY c.seq",
    )
    .bind(stream_id)
    .bind(after)
    .bind(up_to)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let entry_hash: Option<&[u8]> = row.try_get("entry_hash")?;
            Ok(Held {
                signed: signed_of_row(row, scope)?,
                key: key_of(row.try_get("public_key")?)?,
                entry_hash: entry_hash
                    .map(|hash| hash_of(hash, "audit_entries"))
                    .transpose()?,
            })
        })
        .collect()
}

/// The checkpoints of a scope before a position, newest first.
pub async fn list(
    conn: &mut PgConnection,
    scope: Scope,
    before: Seq,
    limit: i64,
) -> Result<Vec<SignedCheckpoint>, StoreError> {
    sqlx::query(
        "SELECT c.seq, c.hash, c.signed_at, c.key_id, c.signature
           FROM checkpoints c
          WHERE c.stream_id = (SELECT id FROM audit_streams WHERE environment_id = $1 AND service_id = $2)
            AND c.seq < $3
          ORDER BY c.seq DESC LIMIT $4",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .bind(before)
    .bind(limit)
    .fetch_all(conn)
    .await?
    .iter()
    .map(|row| signed_of_row(row, scope))
    .collect()
}

/// Where an export ends and what is signed of it, in one snapshot.
pub struct Anchor {
    pub head: (Seq, Hash),
    pub now: DateTime<Utc>,
    pub checkpoint: Option<SignedCheckpoint>,
}

/// `None`: the stream does not exist.
pub async fn load_anchor(conn: &mut PgConnection, scope: Scope) -> Result<Option<Anchor>, StoreError> {
    let row = sqlx::query(
        "SELECT s.head_seq, s.head_hash, clock_timestamp() AS now, c.seq, c.hash, c.signed_at, c.key_id, c.signature
           FROM audit_streams s
           LEFT JOIN LATERAL (
                SELECT * FROM checkpoints k WHERE k.stream_id = s.id ORDER BY k.seq DESC LIMIT 1) c ON true
          WHERE s.environment_id = $1 AND s.service_id = $2",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let signed: Option<Seq> = row.try_get("seq")?;
        Ok(Anchor {
            head: (
                row.try_get("head_seq")?,
                hash_of(row.try_get("head_hash")?, "audit_streams")?,
            ),
            now: row.try_get("now")?,
            checkpoint: signed.map(|_| signed_of_row(&row, scope)).transpose()?,
        })
    })
    .transpose()
}

fn signed_of_row(row: &PgRow, scope: Scope) -> Result<SignedCheckpoint, StoreError> {
    let signed_at: DateTime<Utc> = row.try_get("signed_at")?;
    Ok(SignedCheckpoint {
        checkpoint: Checkpoint {
            environment_id: scope.environment_id,
            service_id: scope.service_id,
            seq: row.try_get("seq")?,
            hash: hash_of(row.try_get("hash")?, "checkpoints")?,
            signed_at_micros: signed_at.timestamp_micros(),
        },
        key_id: row.try_get("key_id")?,
        signature: row.try_get("signature")?,
    })
}

/// Whoever signs or makes keys holds this until the end of the transaction; `false`: another replica does.
pub async fn try_lock(conn: &mut PgConnection) -> Result<bool, StoreError> {
    Ok(
        sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtextextended('flamingock.checkpoints', 0))")
            .fetch_one(conn)
            .await?,
    )
}

/// A stream with entries that no checkpoint covers.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    pub stream_id: i64,
    pub scope: Scope,
    /// Its newest checkpoint; the beginning if there is none.
    pub signed: (Seq, Hash),
}

/// Streams whose head has moved since their newest checkpoint, by id, behind a stream.
pub async fn list_moved(
    conn: &mut PgConnection,
    after_stream: i64,
    limit: i64,
) -> Result<Vec<Moved>, StoreError> {
    let rows = sqlx::query(
        "SELECT s.id, s.environment_id, s.service_id, c.seq, c.hash
           FROM audit_streams s
           LEFT JOIN LATERAL (
                SELECT k.seq, k.hash FROM checkpoints k WHERE k.stream_id = s.id ORDER BY k.seq DESC LIMIT 1) c ON true
          WHERE s.id > $1 AND s.head_seq > coalesce(c.seq, 0)
          ORDER BY s.id LIMIT $2",
    )
    .bind(after_stream)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let seq: Option<Seq> = row.try_get("seq")?;
            let hash: Option<&[u8]> = row.try_get("hash")?;
            Ok(Moved {
                stream_id: row.try_get("id")?,
                scope: Scope {
                    environment_id: row.try_get("environment_id")?,
                    service_id: row.try_get("service_id")?,
                },
                signed: match (seq, hash) {
                    (Some(seq), Some(hash)) => (seq, hash_of(hash, "checkpoints")?),
                    _ => (0, flamingock_audit_chain::GENESIS),
                },
            })
        })
        .collect()
}

/// Appends a checkpoint.
pub async fn append(
    conn: &mut PgConnection,
    stream_id: i64,
    signed: &SignedCheckpoint,
) -> Result<(), StoreError> {
    let signed_at = DateTime::from_timestamp_micros(signed.checkpoint.signed_at_micros)
        .unwrap_or(DateTime::<Utc>::MAX_UTC);
    sqlx::query(
        "INSERT INTO checkpoints (stream_id, seq, hash, signed_at, key_id, signature) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(stream_id)
    .bind(signed.checkpoint.seq)
    .bind(signed.checkpoint.hash.as_slice())
    .bind(signed_at)
    .bind(&signed.key_id)
    .bind(signed.signature.as_slice())
    .execute(conn)
    .await?;
    Ok(())
}

/// A key that signs or has signed.
pub struct CheckpointKey {
    pub key_id: String,
    pub public_key: PublicKey,
    /// Absent where a successor signs, or where the private key is kept outside the database.
    pub private_pkcs8: Option<Vec<u8>>,
    pub created_at: DateTime<Utc>,
    pub age: Duration,
}

/// All keys, newest first.
pub async fn load_keys(conn: &mut PgConnection) -> Result<Vec<CheckpointKey>, StoreError> {
    let rows = sqlx::query(
        "SELECT key_id, public_key, private_pkcs8, created_at,
                (extract(epoch FROM clock_timestamp() - created_at) * 1000)::bigint AS age_ms
           FROM checkpoint_keys ORDER BY created_at DESC, key_id",
    )
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(CheckpointKey {
                key_id: row.try_get("key_id")?,
                public_key: key_of(row.try_get("public_key")?)?,
                private_pkcs8: row.try_get("private_pkcs8")?,
                created_at: row.try_get("created_at")?,
                age: duration_ms(row.try_get("age_ms")?),
            })
        })
        .collect()
}

/// Publishes a key; one that is there stays as it is.
pub async fn insert_key(
    conn: &mut PgConnection,
    key: &PublicKey,
    private_pkcs8: Option<&[u8]>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO checkpoint_keys (key_id, public_key, private_pkcs8) VALUES ($1, $2, $3)
         ON CONFLICT ON CONSTRAINT checkpoint_keys_pkey DO NOTHING",
    )
    .bind(key.id())
    .bind(key.as_bytes().as_slice())
    .bind(private_pkcs8)
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets the private halves of all keys but one: what they signed stays verifiable, and they sign nothing more.
pub async fn forget_private_keys(conn: &mut PgConnection, but: &str) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "UPDATE checkpoint_keys SET private_pkcs8 = NULL WHERE private_pkcs8 IS NOT NULL AND key_id <> $1",
    )
    .bind(but)
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

fn key_of(bytes: &[u8]) -> Result<PublicKey, StoreError> {
    PublicKey::from_bytes(bytes).ok_or_else(|| StoreError::Corrupt {
        table: "checkpoint_keys",
        detail: format!("a public key of {} bytes", bytes.len()),
    })
}
