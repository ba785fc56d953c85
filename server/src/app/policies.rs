//! The policies of environments, as people see and set them. What they say to a plan is `rulings`.

use flamingock_domain::plan::policy::Policy;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::actor::{Action, Actor, Place};
use super::fault::Fault;
use super::retry;
use crate::store::{self, policies};

pub use crate::store::policies::PolicyRow;

/// What an administrator sets.
#[derive(Clone, Copy, Debug)]
pub struct NewPolicy {
    pub policy: Policy,
    pub trust_absent_marks: bool,
    /// The revision that is replaced; `None`: whatever it is.
    pub expected_revision: Option<i64>,
}

#[derive(Debug, thiserror::Error)]
pub enum SetError {
    #[error("there is no such environment")]
    NoEnvironment,
    /// Somebody was faster.
    #[error("the policy has revision {actual}")]
    Outdated { actual: i64 },
    #[error(transparent)]
    Fault(#[from] Fault),
}

#[derive(Clone)]
pub struct Policies {
    pool: PgPool,
}

impl Policies {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// `None`: there is no such environment.
    pub async fn view(&self, environment_id: i64) -> Result<Option<PolicyRow>, Fault> {
        let mut conn = self.pool.acquire().await?;
        Ok(policies::load(&mut conn, environment_id).await?)
    }

    /// Sets the policy, and records it.
    pub async fn set(
        &self,
        environment_id: i64,
        actor: &Actor,
        new: NewPolicy,
        reason: &str,
    ) -> Result<PolicyRow, SetError> {
        // The refusal travels inside the result: it is an answer, not a fault to be retried.
        retry::on_contention("policy", || self.try_set(environment_id, actor, new, reason)).await?
    }

    async fn try_set(
        &self,
        environment_id: i64,
        actor: &Actor,
        new: NewPolicy,
        reason: &str,
    ) -> Result<Result<PolicyRow, SetError>, Fault> {
        let mut tx = store::begin(&self.pool).await?;
        let Some(before) = policies::lock(&mut tx, environment_id).await? else {
            return Ok(Err(SetError::NoEnvironment));
        };
        if new
            .expected_revision
            .is_some_and(|expected| expected != before.revision)
        {
            return Ok(Err(SetError::Outdated {
                actual: before.revision,
            }));
        }
        let who = actor.to_string();
        let after =
            policies::update(&mut tx, environment_id, new.policy, new.trust_absent_marks, &who).await?;
        actor
            .record(
                &mut tx,
                &Action {
                    action: "policy_set",
                    place: Place::Environment(environment_id),
                    target: "policy",
                    reason: Some(reason),
                    before: Some(recorded(&before)),
                    after: Some(recorded(&after)),
                },
            )
            .await?;
        tx.commit().await?;
        tracing::info!(environment.id = environment_id, revision = after.revision, %actor, "a policy was set");
        Ok(Ok(after))
    }
}

pub(super) fn recorded(row: &PolicyRow) -> Value {
    json!({
        "revision": row.revision,
        "checksumMismatch": policies::mode_as_text(row.policy.checksum_mismatch),
        "outOfOrder": policies::mode_as_text(row.policy.out_of_order),
        "approvalRequired": row.policy.approval_required,
        "trustAbsentMarks": row.trust_absent_marks,
    })
}
