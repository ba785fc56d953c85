//! Reading what happened: executions, audit entries, the chain.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::Semaphore;

use super::fault::Fault;
use crate::store::audit::{self, Entry, Verification};
use crate::store::executions::{self, ExecutionDetail, ExecutionSummary};
use crate::store::{Scope, StoreError};

/// Chains verified at once. Each reads a whole history: more of them would take the connections that runners need.
const VERIFICATIONS_MAX: usize = 2;

/// How long one queues for its turn.
const VERIFICATION_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct History {
    pool: PgPool,
    verifications: Arc<Semaphore>,
}

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("{VERIFICATIONS_MAX} chains are being verified already")]
    TooMany,
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl History {
    pub(super) fn new(pool: PgPool) -> Self {
        Self {
            pool,
            verifications: Arc::new(Semaphore::new(VERIFICATIONS_MAX)),
        }
    }

    /// Newest first; `before` is the last id of the page before.
    pub async fn executions(
        &self,
        scope: Scope,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<ExecutionSummary>, Fault> {
        let mut conn = self.pool.acquire().await?;
        Ok(executions::list(&mut conn, scope, before, limit).await?)
    }

    pub async fn execution(&self, scope: Scope, id: i64) -> Result<Option<ExecutionDetail>, Fault> {
        let mut conn = self.pool.acquire().await?;
        Ok(executions::load(&mut conn, scope, id).await?)
    }

    /// Oldest first; `after` is the last sequence of the page before.
    pub async fn entries(
        &self,
        scope: Scope,
        after: i64,
        change_id: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Entry>, Fault> {
        let mut conn = self.pool.acquire().await?;
        Ok(audit::list(&mut conn, scope, after, change_id, limit).await?)
    }

    /// The chain recomputed by the database; `None` where nothing was ever recorded.
    pub async fn verify(&self, scope: Scope) -> Result<Option<Verification>, VerifyError> {
        let turn = Arc::clone(&self.verifications).acquire_owned();
        let Ok(Ok(permit)) = tokio::time::timeout(VERIFICATION_PATIENCE, turn).await else {
            return Err(VerifyError::TooMany);
        };
        let pool = self.pool.clone();
        // A task of its own: when the asker hangs up the statement goes on, and so does its claim on a place.
        let verified = tokio::spawn(async move {
            let _permit = permit;
            let mut conn = pool.acquire().await?;
            Ok::<_, Fault>(audit::verify(&mut conn, scope).await?)
        });
        let verified = verified
            .await
            .map_err(|_| Fault::from(StoreError::Query(sqlx::Error::WorkerCrashed)))?;
        Ok(verified?)
    }
}
