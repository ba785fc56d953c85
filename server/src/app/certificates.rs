//! Certificates of starts: the server's signed word that a pipeline was fully applied at some head.
//!
//! Handed out with `CONTINUE`, or with a session that says the same, to whoever asks, and kept by the runner for a time in which this server cannot be asked. Signing
//! is cheap and writes nothing; the same word is signed once in a while and given to everybody meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, Utc};
use flamingock_audit_chain::Signer;
use quick_cache::sync::Cache;
use sqlx::PgPool;
use tokio::time::Instant;

use super::checkpoints::Checkpoints;
use super::fault::Fault;
use crate::store::streams::Position;
use crate::store::{Scope, tenancy};

/// How old a certificate may be when it is handed out: a fifth of its validity, and no more than this.
const KEPT_FOR: Duration = Duration::from_mins(5);

/// After this the key is looked for anew: another replica may have made its successor.
const KEY_KEPT_FOR: Duration = Duration::from_mins(1);

/// What is certified, for the edge to write down.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    pub scope: Scope,
    pub organisation: String,
    pub environment: String,
    pub service: String,
    pub digest: &'a str,
    pub position: Position,
    pub issued_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub key_id: String,
}

/// A document, and what proves it.
#[derive(Clone, Debug)]
pub struct Signed {
    pub document: String,
    pub key_id: String,
    pub public_key: String,
    pub signature: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    scope: Scope,
    position: Position,
    digest: String,
}

type Kept = (Instant, Arc<Signed>);
/// The key that signs, and when it was read.
type Held = Option<(Instant, Arc<Signer>)>;

/// Cheap to clone.
#[derive(Clone)]
pub struct Certificates {
    pool: PgPool,
    checkpoints: Checkpoints,
    validity: Duration,
    signed: Arc<Cache<Key, Kept>>,
    signer: Arc<Mutex<Held>>,
}

impl Certificates {
    /// Signs with the key of the checkpoints.
    pub fn new(pool: PgPool, checkpoints: Checkpoints, validity: Duration) -> Self {
        Self {
            pool,
            checkpoints,
            validity,
            signed: Arc::new(Cache::new(1_000)),
            signer: Arc::default(),
        }
    }

    /// A certificate for a pipeline that was found fully applied at this position. `write` makes the document, `bytes` what is
    /// signed of it. `None`: there is no key at this moment, or the scope is gone.
    pub async fn issue(
        &self,
        scope: Scope,
        position: Position,
        digest: &str,
        write: impl Fn(&Subject<'_>) -> String + Send,
        bytes: impl Fn(&str) -> Vec<u8> + Send,
    ) -> Result<Option<Arc<Signed>>, Fault> {
        let key = Key {
            scope,
            position,
            digest: digest.to_owned(),
        };
        let fresh = KEPT_FOR.min(self.validity / 5);
        if let Some((at, signed)) = self.signed.get(&key)
            && at.elapsed() < fresh
        {
            return Ok(Some(signed));
        }
        let Some(signer) = self.signer().await? else {
            return Ok(None);
        };
        let mut conn = self.pool.acquire().await?;
        let identity = tenancy::load_scope_identity(&mut conn, scope).await?;
        drop(conn);
        let Some((organisation, environment, service, now)) = identity else {
            return Ok(None);
        };
        let issued_at = now.trunc_subsecs(0);
        let document = write(&Subject {
            scope,
            organisation,
            environment,
            service,
            digest,
            position,
            issued_at,
            expires_at: issued_at + self.validity,
            key_id: signer.key_id().to_owned(),
        });
        let certificate = Arc::new(Signed {
            signature: signer.sign_bytes(&bytes(&document)),
            document,
            key_id: signer.key_id().to_owned(),
            public_key: signer.public_key().to_hex(),
        });
        self.signed
            .insert(key, (Instant::now(), Arc::clone(&certificate)));
        Ok(Some(certificate))
    }

    async fn signer(&self) -> Result<Option<Arc<Signer>>, Fault> {
        let known = self.signer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, signer)) = &known
            && at.elapsed() < KEY_KEPT_FOR
        {
            return Ok(Some(Arc::clone(signer)));
        }
        let Some(signer) = self.checkpoints.ready_signer().await? else {
            // Checkpoints are being signed this moment: the key of a minute ago is as good.
            return Ok(known.map(|(_, signer)| signer));
        };
        *self.signer.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), Arc::clone(&signer)));
        Ok(Some(signer))
    }
}
