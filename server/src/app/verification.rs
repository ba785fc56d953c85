//! Is the chain what was recorded? Recomputed by the database, a stretch at a time, and held against what was signed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use flamingock_audit_chain::{GENESIS, Hash, SignedCheckpoint};
use flamingock_domain::ids::Seq;
use sqlx::PgPool;
use tokio::time::Instant;

use super::fault::Fault;
use super::turns::{Busy, Turns};
use crate::store::checkpoints::{self, Held, Stretch};
use crate::store::{Scope, StoreError, tenancy};

/// Chains verified at once. Each reads a whole history: more of them would take the connections that runners need.
const VERIFICATIONS_MAX: usize = 3;
/// Of one organisation.
const VERIFICATIONS_SHARE: usize = 2;

/// How long one queues for its turn.
const VERIFICATION_PATIENCE: Duration = Duration::from_secs(5);

/// Entries recomputed by one statement: far from any statement's time limit.
const STRETCH: i64 = 5_000;

/// How long one call goes on before it answers how far it came.
const BUDGET: Duration = Duration::from_secs(8);

/// The last entry that was found good, and its hash.
pub type Position = (Seq, Hash);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub verified_seq: Seq,
    pub head: Position,
    /// The end was reached, or the first break.
    pub complete: bool,
    pub broken: Option<(Seq, Finding)>,
    /// The newest signed statement about this chain.
    pub checkpoint: Option<SignedCheckpoint>,
    /// Where to go on; `None` when complete.
    pub next: Option<Position>,
}

/// What is wrong with the first entry that cannot be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// In the words of the database that recomputed it.
    Chain(String),
    /// The chain is whole, and another one than was signed.
    Rewritten { seq: Seq, signed_at: DateTime<Utc> },
    /// Entries were signed that are not there any more.
    TailCut { seq: Seq, signed_at: DateTime<Utc> },
    /// A checkpoint that its key has not signed.
    Forged { seq: Seq, key_id: String },
}

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    TooMany(#[from] Busy),
    #[error(transparent)]
    Fault(#[from] Fault),
}

#[derive(Clone)]
pub struct Verification {
    pool: PgPool,
    turns: Turns,
}

impl Verification {
    pub(super) fn new(pool: PgPool) -> Self {
        Self {
            pool,
            turns: Turns::new(VERIFICATIONS_MAX, VERIFICATIONS_SHARE, VERIFICATION_PATIENCE),
        }
    }

    /// From behind an entry that is trusted, as far as the time allows. `None` where nothing was ever recorded.
    pub async fn verify(
        &self,
        scope: Scope,
        after: Option<Position>,
    ) -> Result<Option<Verified>, VerifyError> {
        let owner = {
            let mut conn = self.pool.acquire().await.map_err(Fault::from)?;
            tenancy::load_environment_owner(&mut conn, scope.environment_id)
                .await
                .map_err(Fault::from)?
        };
        let Some((_, organisation_id)) = owner else {
            return Ok(None);
        };
        let turn = self.turns.take(organisation_id).await?;
        let pool = self.pool.clone();
        // A task of its own: when the asker hangs up the statement goes on, and so does its claim on a place.
        let verified = tokio::spawn(async move {
            let _turn = turn;
            verify_within(&pool, scope, after.unwrap_or((0, GENESIS)), BUDGET).await
        });
        let verified = verified
            .await
            .map_err(|_| Fault::from(StoreError::Query(sqlx::Error::WorkerCrashed)))?;
        Ok(verified?)
    }
}

async fn verify_within(
    pool: &PgPool,
    scope: Scope,
    mut after: Position,
    budget: Duration,
) -> Result<Option<Verified>, Fault> {
    let deadline = Instant::now() + budget;
    loop {
        // Each stretch takes a connection of its own: between them others have a turn.
        let mut conn = pool.acquire().await?;
        let Some(stretch) = checkpoints::verify_stretch(&mut conn, scope, after, STRETCH).await? else {
            return Ok(None);
        };
        let held =
            checkpoints::list_between(&mut conn, scope, stretch.stream_id, after.0, stretch.verified.0)
                .await?;
        let broken = judge(&stretch, &held, after.0);
        let complete = stretch.complete || broken.is_some();
        if complete || Instant::now() >= deadline {
            let checkpoint = checkpoints::list(&mut conn, scope, Seq::MAX, 1).await?;
            return Ok(Some(Verified {
                verified_seq: broken
                    .as_ref()
                    .map_or(stretch.verified.0, |(seq, _)| stretch.verified.0.min(seq - 1)),
                head: stretch.head,
                complete,
                broken,
                checkpoint: checkpoint.into_iter().next(),
                next: (!complete).then_some(stretch.verified),
            }));
        }
        drop(conn);
        after = stretch.verified;
    }
}

/// The first thing that is wrong: what was signed comes before what the chain itself says, because it is about entries that
/// the chain found good.
fn judge(stretch: &Stretch, held: &[Held], after: Seq) -> Option<(Seq, Finding)> {
    let mut trusted = after;
    for checkpoint in held {
        let at = &checkpoint.signed.checkpoint;
        if !checkpoint.signed.is_signed_by(&checkpoint.key) {
            let key_id = checkpoint.signed.key_id.clone();
            return Some((trusted + 1, Finding::Forged { seq: at.seq, key_id }));
        }
        if checkpoint.entry_hash != Some(at.hash) {
            let signed_at = DateTime::from_timestamp_micros(at.signed_at_micros).unwrap_or_default();
            return Some((
                trusted + 1,
                Finding::Rewritten {
                    seq: at.seq,
                    signed_at,
                },
            ));
        }
        trusted = at.seq;
    }
    // The chain and its head agree, and still entries are gone that were signed.
    if let Some((seq, signed_at)) = stretch.newest_checkpoint
        && stretch.complete
        && stretch.broken.is_none()
        && seq > stretch.verified.0
    {
        return Some((stretch.verified.0 + 1, Finding::TailCut { seq, signed_at }));
    }
    stretch
        .broken
        .clone()
        .map(|(seq, finding)| (seq, Finding::Chain(finding)))
}
