//! Reading what happened: executions.

use sqlx::PgPool;

use super::fault::Fault;
use crate::store::Scope;
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
}
