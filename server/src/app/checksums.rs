//! Checksums that are accepted for applied changes, as people see and add to them.

use flamingock_domain::audit::AuditState;
use flamingock_domain::ids::{ChangeId, Checksum};
use serde_json::json;
use sqlx::PgPool;

use super::actor::{Action, Actor, Place};
use super::fault::Fault;
use super::retry;
use crate::store::{self, Scope, checksums, states, streams};

pub use crate::store::checksums::ChecksumRow;

#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// Its latest state, where anything was recorded of it.
    #[error("the change is not applied")]
    NotApplied { latest: Option<AuditState> },
    #[error(transparent)]
    Fault(#[from] Fault),
}

#[derive(Clone)]
pub struct Checksums {
    pool: PgPool,
}

impl Checksums {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Accepted ones, newest first; `before` is the last id of the page before.
    pub async fn list(
        &self,
        scope: Scope,
        change: Option<&ChangeId>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<ChecksumRow>, Fault> {
        let mut conn = self.pool.acquire().await?;
        Ok(checksums::list(&mut conn, scope, change.map(ChangeId::as_str), before, limit).await?)
    }

    /// Accepts a further checksum for an applied change. One that is accepted already is given as it was recorded.
    pub async fn accept(
        &self,
        scope: Scope,
        actor: &Actor,
        change: &ChangeId,
        checksum: &Checksum,
        reason: &str,
    ) -> Result<ChecksumRow, AcceptError> {
        retry::on_contention("checksum", || {
            self.try_accept(scope, actor, change, checksum, reason)
        })
        .await?
    }

    async fn try_accept(
        &self,
        scope: Scope,
        actor: &Actor,
        change: &ChangeId,
        checksum: &Checksum,
        reason: &str,
    ) -> Result<Result<ChecksumRow, AcceptError>, Fault> {
        let mut tx = store::begin(&self.pool).await?;
        let stream = streams::lock_existing(&mut tx, &[scope])
            .await?
            .into_iter()
            .next();
        let Some(stream) = stream else {
            return Ok(Err(AcceptError::NotApplied { latest: None }));
        };
        let latest = states::load_some(&mut tx, &[(stream.id, change.as_str())]).await?;
        let latest = latest.into_iter().next().map(|(.., state)| state);
        let Some(latest) =
            latest.filter(|it| matches!(it.state, AuditState::Applied | AuditState::MarkedApplied))
        else {
            return Ok(Err(AcceptError::NotApplied {
                latest: latest.map(|latest| latest.state),
            }));
        };
        let accepted: Vec<String> = checksums::list(&mut tx, scope, Some(change.as_str()), None, 100)
            .await?
            .into_iter()
            .map(|row| row.checksum)
            .collect();
        let named = (change.as_str(), latest.seq, checksum.as_str());
        let (row, is_new) =
            checksums::append_accepted(&mut tx, stream.id, named, &actor.to_string(), reason).await?;
        if is_new {
            let action = Action {
                action: "checksum_accept",
                place: Place::Scope(scope),
                target: change.as_str(),
                reason: Some(reason),
                before: Some(json!({"seq": latest.seq, "accepted": accepted})),
                after: Some(json!({"seq": latest.seq, "accepts": checksum.as_str()})),
            };
            actor.record(&mut tx, &action).await?;
            tracing::info!(change.id = %change, %actor, "a checksum was accepted");
        }
        tx.commit().await?;
        Ok(Ok(row))
    }
}
