//! The keys that sign sessions, and their rotation.
//!
//! A new key is published before it is used: it signs when it is [`AuthSettings::key_lead`] old, and by then every
//! replica has read it. An old key verifies until no session that it signed can be of use to anyone.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::HEXLOWER;
use jsonwebtoken::{DecodingKey, EncodingKey};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;

use super::AuthSettings;
use crate::app::Fault;
use crate::store::keys::SigningKey;
use crate::store::{self, StoreError, keys};

/// What a replica knows of the keys.
pub(super) struct KeySet {
    verifying: HashMap<String, DecodingKey>,
    /// Newest first: since when a key may sign.
    signing: Vec<(Instant, Signer)>,
}

#[derive(Clone)]
pub(super) struct Signer {
    pub(super) kid: String,
    pub(super) key: EncodingKey,
}

impl KeySet {
    fn new(rows: &[SigningKey], settings: &AuthSettings) -> Result<Self, Fault> {
        let now = Instant::now();
        let mut set = Self {
            verifying: HashMap::new(),
            signing: Vec::new(),
        };
        for row in rows {
            let pair =
                Ed25519KeyPair::from_pkcs8(&row.private_pkcs8).map_err(|error| StoreError::Corrupt {
                    table: "signing_keys",
                    detail: format!("key {}: {error}", row.kid),
                })?;
            let public = DecodingKey::from_ed_der(pair.public_key().as_ref());
            set.verifying.insert(row.kid.clone(), public);
            let signer = Signer {
                kid: row.kid.clone(),
                key: EncodingKey::from_ed_der(&row.private_pkcs8),
            };
            set.signing
                .push((now + settings.key_lead.saturating_sub(row.age), signer));
        }
        Ok(set)
    }

    pub(super) fn verifier(&self, kid: &str) -> Option<&DecodingKey> {
        self.verifying.get(kid)
    }

    /// The newest key that everybody knows by now; the oldest if all are that new.
    pub(super) fn signer(&self) -> Option<&Signer> {
        let now = Instant::now();
        let known = self.signing.iter().find(|(since, _)| *since <= now);
        known.or_else(|| self.signing.last()).map(|(_, signer)| signer)
    }

    /// Whether every key of the other set is in this one.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.verifying.keys().all(|kid| self.verifying.contains_key(kid))
    }
}

/// Reads the keys; makes one if there is none or the newest is due, and removes those that nobody needs.
pub(super) async fn load(pool: &PgPool, settings: &AuthSettings) -> Result<KeySet, Fault> {
    let mut conn = pool.acquire().await?;
    let rows = keys::load_all(&mut conn).await?;
    drop(conn);
    if !is_due(&rows, settings) && useless(&rows, settings).is_empty() {
        return KeySet::new(&rows, settings);
    }

    let mut tx = store::begin(pool).await?;
    keys::lock_all(&mut tx).await?;
    // Again: another replica may have been here first.
    let rows = keys::load_all(&mut tx).await?;
    if is_due(&rows, settings) {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .expect("the operating system has random bytes");
        let kid = HEXLOWER.encode(&Sha256::digest(pkcs8.as_ref())[..8]);
        keys::insert(&mut tx, &kid, pkcs8.as_ref()).await?;
        tracing::info!(key.id = kid, "made a key that signs sessions");
    }
    let useless = useless(&rows, settings);
    if !useless.is_empty() {
        let deleted = keys::delete(&mut tx, &useless).await?;
        tracing::info!(keys = deleted, "removed keys of sessions that have long ended");
    }
    let rows = keys::load_all(&mut tx).await?;
    tx.commit().await?;
    KeySet::new(&rows, settings)
}

/// Reads the keys.
pub(super) async fn reload(pool: &PgPool, settings: &AuthSettings) -> Result<KeySet, Fault> {
    let mut conn = pool.acquire().await?;
    KeySet::new(&keys::load_all(&mut conn).await?, settings)
}

fn is_due(newest_first: &[SigningKey], settings: &AuthSettings) -> bool {
    newest_first
        .first()
        .is_none_or(|newest| newest.age >= settings.key_rotation)
}

/// A key signs until its successor is known everywhere, and verifies for as long as its last session may be shown.
fn useless<'a>(newest_first: &'a [SigningKey], settings: &AuthSettings) -> Vec<&'a str> {
    newest_first
        .windows(2)
        .filter(|pair| pair[0].age > settings.key_lead + settings.session_retention())
        .map(|pair| pair[1].kid.as_str())
        .collect()
}

impl AuthSettings {
    /// How long after its making a session is recognised. Longer than it lasts: a run that outlived its session may
    /// still report what it did, and lifetimes that were shortened yesterday do not cut those given before.
    pub(super) fn session_retention(&self) -> Duration {
        self.session_lifetime + self.session_lifetime.max(Duration::from_hours(7 * 24))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> AuthSettings {
        AuthSettings {
            session_lifetime: Duration::from_hours(24),
            key_rotation: Duration::from_hours(30 * 24),
            ..AuthSettings::default()
        }
    }

    fn aged(ages: &[Duration]) -> Vec<SigningKey> {
        let random = SystemRandom::new();
        ages.iter()
            .enumerate()
            .map(|(position, age)| SigningKey {
                kid: format!("k{position}"),
                private_pkcs8: Ed25519KeyPair::generate_pkcs8(&random)
                    .expect("random")
                    .as_ref()
                    .to_vec(),
                age: *age,
            })
            .collect()
    }

    #[test]
    fn a_new_key_signs_only_when_every_replica_has_read_it() {
        let day = Duration::from_hours(24);
        let signer = |ages: &[Duration]| {
            let set = KeySet::new(&aged(ages), &settings()).expect("keys");
            set.signer().map(|signer| signer.kid.clone())
        };
        assert_eq!(signer(&[]), None);
        assert_eq!(signer(&[Duration::ZERO]).as_deref(), Some("k0"));
        assert_eq!(signer(&[Duration::ZERO, 30 * day]).as_deref(), Some("k1"));
        assert_eq!(signer(&[day, 31 * day]).as_deref(), Some("k0"));
        assert_eq!(
            signer(&[Duration::ZERO, Duration::from_secs(1)]).as_deref(),
            Some("k1")
        );
    }

    #[test]
    fn a_key_goes_when_its_successor_outlived_every_session_of_it() {
        let day = Duration::from_hours(24);
        assert!(useless(&aged(&[400 * day]), &settings()).is_empty());
        assert!(useless(&aged(&[7 * day, 37 * day]), &settings()).is_empty());
        assert_eq!(
            useless(&aged(&[7 * day, 37 * day, 67 * day]), &settings()),
            ["k2"]
        );
        assert_eq!(useless(&aged(&[9 * day, 39 * day]), &settings()), ["k1"]);
        assert!(is_due(&[], &settings()));
        assert!(!is_due(&aged(&[29 * day, 31 * day]), &settings()));
        assert!(is_due(&aged(&[30 * day]), &settings()));
    }
}
