//! Reading what happened: executions, audit entries, the chain.

use sqlx::PgPool;

use super::fault::Fault;
use crate::store::Scope;
use crate::store::audit::{self, Entry, Verification};
use crate::store::executions::{self, ExecutionDetail, ExecutionSummary};

#[derive(Clone)]
pub struct History {
    pool: PgPool,
}

impl History {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool }
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
    pub async fn verify(&self, scope: Scope) -> Result<Option<Verification>, Fault> {
        let mut conn = self.pool.acquire().await?;
        Ok(audit::verify(&mut conn, scope).await?)
    }
}
