//! The audit as a stream: read in batches, each a statement of its own, so that a slow reader holds no connection and no
//! transaction. What is exported ends where the stream stood at the beginning; before that nothing changes any more.

use std::time::Duration;

use chrono::{DateTime, Utc};
use flamingock_audit_chain::{GENESIS, Hash, PublicKey, SignedCheckpoint};
use flamingock_domain::ids::Seq;
use sqlx::PgPool;
use tokio::time::Instant;

use super::fault::Fault;
use super::reading::{Place, Question, Reading};
use super::turns::{Busy, Turn, Turns};
use crate::store::Scope;
use crate::store::audit::Entry;
use crate::store::checkpoints::{self, Anchor};
use crate::store::tenancy;

/// Exports at once. Each is at work on the database as long as its reader takes what it reads.
const EXPORTS_MAX: usize = 4;
/// Of one organisation.
const EXPORTS_SHARE: usize = 2;

/// How long one queues for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Entries of a batch. The longest possible ones fill some 40 MB, ordinary ones a hundredth of that.
const BATCH: i64 = 200;

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    TooMany(#[from] Busy),
    #[error(transparent)]
    Fault(#[from] Fault),
}

#[derive(Clone)]
pub struct Exports {
    pool: PgPool,
    reading: Reading,
    turns: Turns,
    limit: Duration,
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
    /// When it must have ended.
    pub deadline: Instant,
    _turn: Turn,
}

impl Exports {
    pub(super) fn new(pool: PgPool, reading: Reading, limit: Duration) -> Self {
        Self {
            pool,
            reading,
            turns: Turns::new(EXPORTS_MAX, EXPORTS_SHARE, PATIENCE),
            limit,
        }
    }

    pub async fn begin(&self, scope: Scope, mut question: Question) -> Result<Export, ExportError> {
        let turn = self.turns.take(self.organisation_of(scope).await?).await?;
        let proof = self.proof(scope).await?;
        question.up_to = Some(proof.head_seq);
        Ok(Export {
            reading: self.reading.clone(),
            scope,
            question,
            after: None,
            done: false,
            proof,
            deadline: Instant::now() + self.limit,
            _turn: turn,
        })
    }

    async fn organisation_of(&self, scope: Scope) -> Result<i64, Fault> {
        let mut conn = self.pool.acquire().await?;
        let owner = tenancy::load_environment_owner(&mut conn, scope.environment_id).await?;
        // Nothing is ever deleted: the caller's scope was found a moment ago.
        Ok(owner.map_or(0, |(_, organisation)| organisation))
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
