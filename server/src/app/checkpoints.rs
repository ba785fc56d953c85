//! Signed checkpoints: made again and again, over whatever was appended since, and only over a chain that goes on from the
//! checkpoint before. A chain that does not is left unsigned, and told.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flamingock_audit_chain::{Checkpoint, SignedCheckpoint, Signer};
use flamingock_domain::ids::Seq;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::time::Instant;

use super::fault::Fault;
use crate::metrics::Metrics;
use crate::store::checkpoints::{self, Moved};
use crate::store::{self, Scope, StoreError, streams};

pub use crate::store::checkpoints::CheckpointKey;

/// Streams that one transaction signs: it holds a lock that only keeps other replicas from the same work.
const STREAMS_PER_TURN: i64 = 20;

/// Entries of one stream that are recomputed before it is signed; the rest is the next turn's.
const STRETCH: i64 = 500;

/// How long one round may go on when there is much to sign, as after an import.
const ROUND_MAX: Duration = Duration::from_secs(30);

/// What became of a stream that had moved; the labels of the metric.
pub const RESULTS: &[&str] = &[SIGNED, REFUSED, FAILED];
const SIGNED: &str = "signed";
const REFUSED: &str = "refused";
/// It could not be looked at; the others are signed all the same.
const FAILED: &str = "failed";

/// Where the private key is.
#[derive(Clone)]
enum KeySource {
    /// In the database, followed by a new one at this age.
    Database { rotation: Duration },
    /// Somewhere else, shown to this process.
    Own(Arc<Signer>),
}

#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("{} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} holds no Ed25519 private key in PEM", path.display())]
    NoKey { path: PathBuf },
}

/// Reads a private key that is kept outside the database.
pub fn read_key_file(path: &PathBuf) -> Result<Signer, KeyFileError> {
    let text = std::fs::read_to_string(path).map_err(|source| KeyFileError::Unreadable {
        path: path.clone(),
        source,
    })?;
    Signer::from_pem(&text).map_err(|_| KeyFileError::NoKey { path: path.clone() })
}

/// Makes checkpoints. Cheap to clone.
#[derive(Clone)]
pub struct Checkpoints {
    pool: PgPool,
    key: KeySource,
    metrics: Metrics,
    /// Streams that were found broken, so that each is told of once.
    told: Arc<Mutex<HashSet<i64>>>,
}

impl Checkpoints {
    /// With a key in the database, which is followed by a new one at an age.
    pub fn with_key_in_database(pool: PgPool, rotation: Duration, metrics: &Metrics) -> Self {
        Self::new(pool, KeySource::Database { rotation }, metrics)
    }

    /// With a key that is kept elsewhere.
    pub fn with_key(pool: PgPool, signer: Signer, metrics: &Metrics) -> Self {
        Self::new(pool, KeySource::Own(Arc::new(signer)), metrics)
    }

    fn new(pool: PgPool, key: KeySource, metrics: &Metrics) -> Self {
        for result in RESULTS {
            metrics.checkpoints.with_label_values(&[result]);
        }
        Self {
            pool,
            key,
            metrics: metrics.clone(),
            told: Arc::default(),
        }
    }

    /// Signs every stream that has moved. One replica at a time: where another is at it, there is nothing to do.
    pub async fn sign(&self) -> Result<(), Fault> {
        let deadline = Instant::now() + ROUND_MAX;
        let mut after = 0;
        let mut left_over = false;
        loop {
            match self.turn(after).await? {
                Turn::Signed { last, incomplete } => {
                    after = last;
                    left_over |= incomplete;
                }
                // Streams with more than a stretch to sign are gone through again.
                Turn::End if left_over => {
                    after = 0;
                    left_over = false;
                }
                Turn::OtherReplica | Turn::End => return Ok(()),
            }
            if Instant::now() >= deadline {
                return Ok(());
            }
        }
    }

    async fn turn(&self, after: i64) -> Result<Turn, Fault> {
        let mut tx = store::begin(&self.pool).await?;
        if !checkpoints::try_lock(&mut tx).await? {
            return Ok(Turn::OtherReplica);
        }
        let moved = checkpoints::list_moved(&mut tx, after, STREAMS_PER_TURN).await?;
        let Some(last) = moved.last().map(|moved| moved.stream_id) else {
            return Ok(Turn::End);
        };
        let signer = self.signer(&mut tx).await?;
        let mut incomplete = false;
        let mut results = Vec::with_capacity(moved.len());
        for moved in &moved {
            // A savepoint for each: what is wrong with one stream must not keep those behind it from their checkpoints.
            let mut point = tx.begin().await.map_err(StoreError::from)?;
            match self.sign_one(&mut point, &signer, moved).await {
                Ok(reach) => {
                    point.commit().await.map_err(StoreError::from)?;
                    incomplete |= reach == Some(Reach::Stretch);
                    results.push(if reach.is_some() { SIGNED } else { REFUSED });
                }
                Err(error) => {
                    // Fails where the connection is lost: then nothing of this turn happened, and the round ends.
                    point.rollback().await.map_err(StoreError::from)?;
                    tracing::error!(
                        environment.id = moved.scope.environment_id,
                        service.id = moved.scope.service_id,
                        error = &error as &dyn std::error::Error,
                        "an audit stream could not be signed; it is tried again in the next round"
                    );
                    results.push(FAILED);
                }
            }
        }
        tx.commit().await?;
        for result in results {
            self.metrics.checkpoints.with_label_values(&[result]).inc();
        }
        Ok(Turn::Signed { last, incomplete })
    }

    /// `None`: it was not signed, because it is not what it was.
    async fn sign_one(
        &self,
        conn: &mut PgConnection,
        signer: &Signer,
        moved: &Moved,
    ) -> Result<Option<Reach>, StoreError> {
        let Some(stretch) = checkpoints::verify_stretch(conn, moved.scope, moved.signed, STRETCH).await?
        else {
            return Ok(None);
        };
        if let Some((seq, finding)) = stretch.broken {
            self.tell(moved, seq, &finding);
            return Ok(None);
        }
        let now = streams::load_now(conn).await?;
        let (seq, hash) = stretch.verified;
        let checkpoint = signer.sign(Checkpoint {
            environment_id: moved.scope.environment_id,
            service_id: moved.scope.service_id,
            seq,
            hash,
            signed_at_micros: now.as_micros(),
        });
        checkpoints::append(conn, moved.stream_id, &checkpoint).await?;
        Ok(Some(if stretch.complete {
            Reach::Head
        } else {
            Reach::Stretch
        }))
    }

    fn tell(&self, moved: &Moved, seq: Seq, finding: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(moved.stream_id) {
            tracing::error!(
                environment.id = moved.scope.environment_id,
                service.id = moved.scope.service_id,
                seq,
                finding,
                "an audit chain is broken: it gets no checkpoint"
            );
        }
    }

    /// The key that signs, for something else than a checkpoint. `None`: another replica is about to make one.
    pub(super) async fn ready_signer(&self) -> Result<Option<Arc<Signer>>, Fault> {
        let mut tx = store::begin(&self.pool).await?;
        if !checkpoints::try_lock(&mut tx).await? {
            return Ok(None);
        }
        let signer = self.signer(&mut tx).await?;
        tx.commit().await?;
        Ok(Some(signer))
    }

    /// The key that signs, published before it does.
    async fn signer(&self, conn: &mut PgConnection) -> Result<Arc<Signer>, StoreError> {
        match &self.key {
            KeySource::Own(signer) => {
                checkpoints::insert_key(conn, &signer.public_key(), None).await?;
                self.forget_others(conn, signer).await?;
                Ok(Arc::clone(signer))
            }
            KeySource::Database { rotation } => {
                let keys = checkpoints::load_keys(conn).await?;
                let newest = keys
                    .iter()
                    .find_map(|key| Some((key.private_pkcs8.as_deref()?, key.age)));
                if let Some((pkcs8, age)) = newest
                    && age < *rotation
                {
                    return Ok(Arc::new(Signer::from_pkcs8(pkcs8).map_err(|error| {
                        StoreError::Corrupt {
                            table: "checkpoint_keys",
                            detail: error.to_string(),
                        }
                    })?));
                }
                let pkcs8 = Signer::generate_pkcs8();
                let signer = Signer::from_pkcs8(&pkcs8).expect("a key that was just made is one");
                checkpoints::insert_key(conn, &signer.public_key(), Some(&pkcs8)).await?;
                tracing::info!(key.id = signer.key_id(), "made a key that signs checkpoints");
                self.forget_others(conn, &signer).await?;
                Ok(Arc::new(signer))
            }
        }
    }

    async fn forget_others(&self, conn: &mut PgConnection, signer: &Signer) -> Result<(), StoreError> {
        let forgotten = checkpoints::forget_private_keys(conn, signer.key_id()).await?;
        if forgotten > 0 {
            tracing::info!(
                keys = forgotten,
                "forgot private keys of checkpoints whose successor signs"
            );
        }
        Ok(())
    }
}

enum Turn {
    OtherReplica,
    Signed { last: i64, incomplete: bool },
    End,
}

/// How far a checkpoint reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Head,
    /// As far as one turn recomputes.
    Stretch,
}

/// Reads what was signed.
#[derive(Clone)]
pub struct SignedHistory {
    pool: PgPool,
}

impl SignedHistory {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Newest first, before a position.
    pub async fn list(
        &self,
        scope: Scope,
        before: Option<Seq>,
        limit: i64,
    ) -> Result<Vec<SignedCheckpoint>, Fault> {
        let mut conn = self.pool.acquire().await?;
        Ok(checkpoints::list(&mut conn, scope, before.unwrap_or(Seq::MAX), limit).await?)
    }

    /// All keys that ever signed, newest first.
    pub async fn keys(&self) -> Result<Vec<CheckpointKey>, Fault> {
        let mut conn = self.pool.acquire().await?;
        Ok(checkpoints::load_keys(&mut conn).await?)
    }
}
