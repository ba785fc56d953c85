//! Approvals of changes, as people give and see them.

use flamingock_domain::ids::{ChangeId, Checksum};
use flamingock_domain::plan::policy::Approver;
use serde_json::json;
use sqlx::PgPool;

use super::actor::{Action, Actor, Place};
use super::fault::Fault;
use super::retry;
use crate::store::approvals::{self, NewApproval};
use crate::store::{self, Scope, StoreError, streams};

pub use crate::store::approvals::{ApprovalRow, RequestRow};

/// What an operator decides.
#[derive(Clone, Debug)]
pub struct Decision {
    pub change: ChangeId,
    pub checksum: Option<Checksum>,
    /// Takes back what was approved of this content before.
    pub withdraws: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// The change was submitted under the approver's own name.
    #[error("{author} is the change's author")]
    IsAuthor { author: String },
    #[error(transparent)]
    Fault(#[from] Fault),
}

#[derive(Clone)]
pub struct Approvals {
    pool: PgPool,
}

impl Approvals {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Decisions, newest first; `before` is the last id of the page before.
    pub async fn list(
        &self,
        scope: Scope,
        change: Option<&ChangeId>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<ApprovalRow>, Fault> {
        let mut conn = self.pool.acquire().await?;
        Ok(approvals::list(&mut conn, scope, change.map(ChangeId::as_str), before, limit).await?)
    }

    /// What stopped a start and waits, longest waiting first.
    pub async fn pending(
        &self,
        scope: Scope,
        change: Option<&ChangeId>,
        limit: i64,
    ) -> Result<Vec<RequestRow>, Fault> {
        let mut conn = self.pool.acquire().await?;
        Ok(approvals::list_requests(&mut conn, scope, change.map(ChangeId::as_str), limit).await?)
    }

    /// Records a decision. It may come before the service's first start: a change is best approved before it is deployed.
    pub async fn decide(
        &self,
        scope: Scope,
        actor: &Actor,
        decision: &Decision,
        reason: &str,
    ) -> Result<ApprovalRow, ApproveError> {
        retry::on_contention("approval", || self.try_decide(scope, actor, decision, reason)).await?
    }

    async fn try_decide(
        &self,
        scope: Scope,
        actor: &Actor,
        decision: &Decision,
        reason: &str,
    ) -> Result<Result<ApprovalRow, ApproveError>, Fault> {
        let mut tx = store::begin(&self.pool).await?;
        // Grants hold the stream too: a decision is before one or after it, never beside it.
        let stream = streams::lock(&mut tx, &[scope]).await?.into_iter().next();
        let stream = stream.ok_or_else(|| StoreError::Corrupt {
            table: "audit_streams",
            detail: "a stream that was made is missing".to_owned(),
        })?;
        let checksum = decision.checksum.as_ref().map(Checksum::as_str);
        let approver = approvals::load_name(&mut tx, actor.credential_id).await?;
        if !decision.withdraws {
            let author =
                approvals::load_author(&mut tx, stream.id, decision.change.as_str(), checksum).await?;
            let is_author = Approver {
                credential: actor.credential_id,
                name: approver.clone(),
            }
            .is_author(author.as_deref());
            if let Some(author) = author.filter(|_| is_author) {
                return Ok(Err(ApproveError::IsAuthor { author }));
            }
        }
        let who = actor.to_string();
        let row = approvals::append(
            &mut tx,
            &NewApproval {
                stream_id: stream.id,
                change_id: decision.change.as_str(),
                checksum,
                withdrawn: decision.withdraws,
                reason,
                credential_id: actor.credential_id,
                approver: approver.as_deref(),
                actor: &who,
            },
        )
        .await?;
        let action = Action {
            action: "approval_decide",
            place: Place::Scope(scope),
            target: decision.change.as_str(),
            reason: Some(reason),
            before: None,
            after: Some(json!({
                "approvalId": row.id,
                "checksum": checksum,
                "decision": if decision.withdraws { "WITHDRAWN" } else { "APPROVED" },
            })),
        };
        actor.record(&mut tx, &action).await?;
        tx.commit().await?;
        tracing::info!(change.id = %decision.change, withdrawn = decision.withdraws, %actor, "an approval was decided");
        Ok(Ok(row))
    }
}
