//! A person asks an execution to stop.

use flamingock_domain::execution::{self, Outcome, Stopping};
use flamingock_domain::ids::{ExecutionId, LockKey};
use serde_json::json;

use super::executions::{outcome_of, stream_of};
use super::{Operations, ReadOffer, Run};
use crate::app::actor::{Action, Actor, Place};
use crate::app::fault::Fault;
use crate::app::locks::Cancellation;
use crate::app::retry;
use crate::store::locks::{self, Hold};
use crate::store::{self, Scope, cancellations, runs};

/// An execution that was asked to stop.
#[derive(Clone, Debug)]
pub struct Asked {
    pub run: Run,
    /// The first request; not this one, where it was asked before.
    pub request: Cancellation,
    /// It holds the lock, so that it can still hear of it.
    pub can_hear: bool,
    pub is_repeated: bool,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum CancelError {
    #[error("no such execution of the service")]
    Unknown,
    #[error("the execution is over")]
    Over { outcome: Outcome },
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Operations {
    /// Has the execution's runner told to stop. Recorded as an action, once.
    pub async fn cancel_execution(
        &self,
        scope: Scope,
        actor: &Actor,
        id: i64,
        reason: &str,
        read_offer: ReadOffer,
    ) -> Result<Asked, CancelError> {
        // The refusal travels inside the result: it is an answer, not a fault to be retried.
        let done = retry::on_contention("execution_cancel", || {
            self.try_cancel(scope, actor, id, reason, read_offer)
        })
        .await?;
        if let Ok(asked) = &done
            && !asked.is_repeated
        {
            tracing::warn!(execution.id = id, runner.id = %asked.run.runner_id, %actor, "an execution was asked to stop");
        }
        done
    }

    async fn try_cancel(
        &self,
        scope: Scope,
        actor: &Actor,
        id: i64,
        reason: &str,
        read_offer: ReadOffer,
    ) -> Result<Result<Asked, CancelError>, Fault> {
        let mut tx = store::begin(&self.pool).await?;
        let Some(stream_id) = stream_of(&mut tx, scope).await? else {
            return Ok(Err(CancelError::Unknown));
        };
        let Some((run, _)) = runs::load(&mut tx, scope, id).await? else {
            return Ok(Err(CancelError::Unknown));
        };
        let key = LockKey::of_service(scope.service_id);
        let (rows, _) =
            locks::lock_rows(&mut tx, &[(scope.environment_id, key.as_str())], Hold::Update).await?;
        let execution = ExecutionId(id);
        let holds_lock = rows.iter().any(|(_, row)| row.execution == Some(execution));
        let earlier = cancellations::load(&mut tx, scope, execution).await?;
        let request = match (execution::stopping(holds_lock, earlier.is_some()), earlier) {
            (Stopping::Over, _) => {
                let outcome = outcome_of(&mut tx, scope, stream_id, run, read_offer).await?;
                return Ok(Err(CancelError::Over { outcome }));
            }
            (Stopping::AskedBefore, Some(request)) => {
                return Ok(Ok(Asked {
                    run,
                    request,
                    can_hear: holds_lock,
                    is_repeated: true,
                }));
            }
            (Stopping::Ask | Stopping::AskedBefore, _) => {
                let who = actor.to_string();
                let requested_at = cancellations::insert(&mut tx, scope, execution, &who, reason).await?;
                Cancellation {
                    execution,
                    actor: who,
                    reason: reason.to_owned(),
                    requested_at,
                }
            }
        };
        actor
            .record(
                &mut tx,
                &Action {
                    action: "execution_cancel",
                    place: Place::Scope(scope),
                    target: &id.to_string(),
                    reason: Some(reason),
                    before: None,
                    after: Some(json!({"runnerId": run.runner_id, "fence": run.fence})),
                },
            )
            .await?;
        tx.commit().await?;
        Ok(Ok(Asked {
            run,
            request,
            can_hear: true,
            is_repeated: false,
        }))
    }
}
