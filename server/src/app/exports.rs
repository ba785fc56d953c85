//! The audit as a stream: read in batches, each a statement of its own, so that a slow reader holds no connection and no
//! transaction. What is exported ends where the stream stood at the beginning; before that nothing changes any more.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use flamingock_audit_chain::{GENESIS, Hash, PublicKey, SignedCheckpoint};
use flamingock_domain::ids::Seq;
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fault::Fault;
use super::reading::{Place, Question, Reading};
use crate::store::Scope;
use crate::store::audit::Entry;
use crate::store::checkpoints::{self, Anchor};

/// Exports at once. Each is at work on the database as long as its reader takes what it reads.
const EXPORTS_MAX: usize = 4;

/// How long one queues for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Entries of a batch. The longest possible ones fill some 40 MB, ordinary ones a hundredth of that.
const BATCH: i64 = 200;

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("{EXPORTS_MAX} exports are under way already")]
    TooMany,
    #[error(transparent)]
    Fault(#[from] Fault),
}

#[derive(Clone)]
pub struct Exports {
    pool: PgPool,
    reading: Reading,
    turns: Arc<Semaphore>,
}

/// Where an export ends, and what is signed of it.
#[derive(Clone, Debug)]
pub struct Proof {
    pub head_seq: Seq,
    pub head_hash: Hash,
    pub now: DateTime<Utc>,
    pub checkpoint: Option<SignedCheckpoint>,
    pub keys: Vec<PublicKey>,
}

/// An export under way. Its turn ends when it is dropped.
pub struct Export {
    reading: Reading,
    scope: Scope,
    question: Question,
    after: Option<Place>,
    done: bool,
    pub proof: Proof,
    _turn: OwnedSemaphorePermit,
}

impl Exports {
    pub(super) fn new(pool: PgPool, reading: Reading) -> Self {
        Self {
            pool,
            reading,
            turns: Arc::new(Semaphore::new(EXPORTS_MAX)),
        }
    }

    pub async fn begin(&self, scope: Scope, mut question: Question) -> Result<Export, ExportError> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(PATIENCE, turn).await else {
            return Err(ExportError::TooMany);
        };
        let proof = self.proof(scope).await?;
        question.up_to = Some(proof.head_seq);
        Ok(Export {
            reading: self.reading.clone(),
            scope,
            question,
            after: None,
            done: false,
            proof,
            _turn: turn,
        })
    }

    async fn proof(&self, scope: Scope) -> Result<Proof, Fault> {
        let mut conn = self.pool.acquire().await?;
        let anchor = checkpoints::load_anchor(&mut conn, scope).await?;
        let keys = checkpoints::load_keys(&mut conn).await?;
        let keys = keys.into_iter().map(|key| key.public_key).collect();
        Ok(match anchor {
            Some(Anchor {
                head,
                now,
                checkpoint,
            }) => Proof {
                head_seq: head.0,
                head_hash: head.1,
                now,
                checkpoint,
                keys,
            },
            // Nothing was ever recorded.
            None => Proof {
                head_seq: 0,
                head_hash: GENESIS,
                now: Utc::now(),
                checkpoint: None,
                keys,
            },
        })
    }
}

impl Export {
    /// The next entries, in order; `None` at the end. A batch may be empty: it found nothing that was asked for.
    pub async fn next_batch(&mut self) -> Result<Option<Vec<Entry>>, Fault> {
        if self.done {
            return Ok(None);
        }
        let answer = self
            .reading
            .page(self.scope, &self.question, self.after.as_ref(), BATCH)
            .await?;
        self.done = answer.next.is_none();
        self.after = answer.next;
        Ok(Some(answer.entries))
    }
}
