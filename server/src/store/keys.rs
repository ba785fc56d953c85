//! Keys that sign sessions. Ages are measured on the database's clock: replicas must agree on them.

use std::time::Duration;

use sqlx::{PgConnection, Row};

use super::StoreError;
use super::streams::duration_ms;

/// A key pair in PKCS #8.
pub struct SigningKey {
    pub kid: String,
    pub private_pkcs8: Vec<u8>,
    pub age: Duration,
}

/// Whoever makes or removes keys holds this until the end of the transaction.
pub async fn lock_all(conn: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('flamingock.signing_keys', 0))")
        .execute(conn)
        .await?;
    Ok(())
}

/// All keys, newest first.
pub async fn load_all(conn: &mut PgConnection) -> Result<Vec<SigningKey>, StoreError> {
    let rows = sqlx::query(
        "SELECT kid, private_pkcs8,
                (extract(epoch FROM clock_timestamp() - created_at) * 1000)::bigint AS age_ms
           FROM signing_keys
          ORDER BY created_at DESC, kid",
    )
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(SigningKey {
                kid: row.try_get("kid")?,
                private_pkcs8: row.try_get("private_pkcs8")?,
                age: duration_ms(row.try_get("age_ms")?),
            })
        })
        .collect()
}

pub async fn insert(conn: &mut PgConnection, kid: &str, private_pkcs8: &[u8]) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO signing_keys (kid, algorithm, private_pkcs8) VALUES ($1, 'EdDSA', $2)")
        .bind(kid)
        .bind(private_pkcs8)
        .execute(conn)
        .await?;
    Ok(())
}

pub async fn delete(conn: &mut PgConnection, kids: &[&str]) -> Result<u64, StoreError> {
    let done = sqlx::query("DELETE FROM signing_keys WHERE kid = ANY($1)")
        .bind(kids)
        .execute(conn)
        .await?;
    Ok(done.rows_affected())
}
