//! Executing one change: outside a transaction, or inside one.
//!
//! Three rules hold for both. Nothing is applied whose start the server has not acknowledged, or under a lease that has
//! run out. A change that worked is
//! never undone because its result could not be reported: then the log says less than the target, and a person or the
//! mark settles it. And whatever the change throws, panics included, is a failure of the change and not of the run.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::audit::{Fact, Job};
use crate::{
    change::{ChangeError, ChangeFuture},
    error::Error,
    report::{ChangeStatus, ErrorReport},
    start_error::with_sources,
    target::{AnyTarget, AnyTransaction, CommitError, MarkError},
    trace,
};

/// How long one look for a mark may take before it is tried anew.
const LOOK: Duration = Duration::from_secs(10);
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

pub(super) struct Outcome {
    pub(super) status: ChangeStatus,
    pub(super) error: Option<ErrorReport>,
}

pub(super) async fn execute(job: &Job<'_>) -> Outcome {
    match job.transactions() {
        None => outside_transactions(job).await,
        Some(target) => in_transaction(job, target).await,
    }
}

/// `STARTED`, apply, `APPLIED`; or `FAILED` and, where there is a rollback, `ROLLED_BACK` or `ROLLBACK_FAILED`.
async fn outside_transactions(job: &Job<'_>) -> Outcome {
    if let Err(error) = job.report_start().await {
        return job.not_started(&error);
    }
    if let Some(outcome) = job.lost_before_it_began().await {
        return outcome;
    }
    let mut context = job.context(None);
    let (result, took) = run(|| job.change.code.apply(&mut context)).await;
    let error = match result {
        Ok(()) => return job.applied(&Fact::applied(took)).await.0,
        Err(error) => error,
    };
    tracing::error!(error = %trace::one_line(&error), "the change failed");
    // A result that cannot be recorded is logged; the rollback is needed all the same.
    let _ = job.report(&Fact::failed(took, &error)).await;
    if !job.change.info.has_rollback {
        tracing::warn!("it has no rollback: what it did stays");
    } else if job.execution.lease.is_lost() {
        // Another runner may be applying the same change by now: undoing would work against it.
        tracing::error!("it is not rolled back, because the lock was lost");
    } else {
        let mut context = job.context(None);
        let (result, took) = run(|| job.change.code.rollback(&mut context)).await;
        match &result {
            Ok(()) => tracing::info!("rolled back"),
            Err(error) => tracing::error!(error = %trace::one_line(error), "the rollback failed as well"),
        }
        let _ = job.report(&Fact::rollback(took, &result)).await;
    }
    job.failed(&error)
}

/// `STARTED`, then apply and mark in one transaction, commit, `APPLIED`, clear the mark; or `FAILED`, `ROLLED_BACK`.
async fn in_transaction(job: &Job<'_>, target: &Arc<dyn AnyTarget>) -> Outcome {
    if target.keeps_marks()
        && let Err(error) = target.prepare().await
    {
        let message = format!("not started: {}", with_sources(&error));
        return job.failure(ChangeStatus::Failed, "TARGET_UNAVAILABLE", message);
    }
    if let Err(error) = job.report_start().await {
        return job.not_started(&error);
    }
    if let Some(outcome) = job.lost_before_it_began().await {
        return outcome;
    }
    let transaction = match target.begin().await {
        Ok(transaction) => transaction,
        Err(error) => return job.rolled_back(Duration::ZERO, &error.into()).await,
    };
    let mut context = job.context(Some(transaction));
    let (result, took) = run(|| job.change.code.apply(&mut context)).await;
    let transaction = context
        .transaction
        .take()
        .expect("changes can only borrow the transaction");
    match result {
        Ok(()) => commit(job, target, transaction, took).await,
        Err(error) => {
            undo(target, transaction).await;
            job.rolled_back(took, &error).await
        }
    }
}

async fn commit(
    job: &Job<'_>,
    target: &Arc<dyn AnyTarget>,
    mut transaction: AnyTransaction,
    took: Duration,
) -> Outcome {
    let (scope, id) = (job.execution.scope, job.change.info.id());
    if target.keeps_marks()
        && let Err(error) = target.write_mark(&mut transaction, scope, id).await
    {
        undo(target, transaction).await;
        return match error {
            // The log stays at `STARTED`; with the mark that is there, the server knows the change as applied.
            MarkError::AlreadyThere => job.failure(
                ChangeStatus::RolledBack,
                "ALREADY_COMMITTED",
                "another attempt of this change was committed meanwhile; this one left nothing".to_owned(),
            ),
            // Nobody knows what stayed: a person has to look.
            MarkError::TransactionEnded => {
                job.failure(ChangeStatus::Failed, "TRANSACTION_ENDED", error.to_string())
            }
            MarkError::Failed(error) => job.rolled_back(took, &error.into()).await,
        };
    }
    // As late as it can be: until here nothing has taken effect, and another runner may have done the work meanwhile.
    if job.execution.lease.is_lost() {
        undo(target, transaction).await;
        let error = ChangeError::from("the lock was lost before the change was committed".to_owned());
        return job.rolled_back(took, &error).await;
    }
    match target.commit(transaction).await {
        Ok(()) => committed(job, target, took).await,
        Err(CommitError::Definite(error)) => job.rolled_back(took, &error.into()).await,
        Err(CommitError::Ambiguous(error)) => {
            tracing::warn!(error = %with_sources(&error), "whether the commit took effect is not known");
            match look_for_commit(job, target).await {
                Some(true) => {
                    tracing::info!("the mark is there: it was committed");
                    committed(job, target, took).await
                }
                Some(false) => job.rolled_back(took, &error.into()).await,
                // The log stays at `STARTED`: a person, the mark or a retry settles it.
                None => job.failure(
                    ChangeStatus::Failed,
                    "COMMIT_OUTCOME_UNKNOWN",
                    format!(
                        "whether the change was committed is not known: {}",
                        with_sources(&error)
                    ),
                ),
            }
        }
    }
}

async fn committed(job: &Job<'_>, target: &Arc<dyn AnyTarget>, took: Duration) -> Outcome {
    let (outcome, acknowledged) = job.applied(&Fact::applied(took)).await;
    // The mark stays as long as the log may say something else.
    if acknowledged && target.keeps_marks() {
        let ids = [job.change.info.id().to_owned()];
        if let Err(error) = target.clear_marks(job.execution.scope, &ids).await {
            tracing::warn!(error = %with_sources(&error), "the mark stays until the next start");
        }
    }
    outcome
}

/// After a commit of unknown outcome. `None` if it cannot be found out while there is time.
async fn look_for_commit(job: &Job<'_>, target: &Arc<dyn AnyTarget>) -> Option<bool> {
    if !target.keeps_marks() {
        return None;
    }
    let until = job.execution.lease.report_until();
    loop {
        let left = until().saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        match target
            .was_committed(job.execution.scope, job.change.info.id(), LOOK.min(left))
            .await
        {
            Ok(committed) => return Some(committed),
            Err(error) => tracing::warn!(error = %with_sources(&error), "the target cannot be asked yet"),
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// That this fails is no harm: a transaction that is not committed has no effect.
async fn undo(target: &Arc<dyn AnyTarget>, transaction: AnyTransaction) {
    if let Err(error) = target.rollback(transaction).await {
        tracing::debug!(error = %with_sources(&error), "the transaction ended without a rollback");
    }
}

/// Runs a function of the change. A panic in it is its failure.
async fn run<'a>(start: impl FnOnce() -> ChangeFuture<'a>) -> (Result<(), ChangeError>, Duration) {
    let began = Instant::now();
    let result = AssertUnwindSafe(async { start().await }).catch_unwind().await;
    (
        result.unwrap_or_else(|payload| Err(trace::of_panic(&*payload))),
        began.elapsed(),
    )
}

impl Job<'_> {
    /// Reports success. The flag: acknowledged, and counted.
    async fn applied(&self, fact: &Fact<'_>) -> (Outcome, bool) {
        match self.report(fact).await {
            Ok(answer) => (
                Outcome {
                    status: ChangeStatus::Applied,
                    error: None,
                },
                !answer.late,
            ),
            Err(error) => {
                let message = format!("the change was applied, but that could not be recorded: {error}");
                (
                    self.failure(ChangeStatus::Failed, "AUDIT_WRITE_FAILED", message),
                    false,
                )
            }
        }
    }

    /// Reports a failure that left nothing behind.
    async fn rolled_back(&self, took: Duration, error: &ChangeError) -> Outcome {
        tracing::error!(error = %trace::one_line(error), "the change failed and left nothing");
        // Each says something that the other does not, so the second is tried even if the first fails.
        let _ = self.report(&Fact::failed(took, error)).await;
        let _ = self.report(&Fact::rolled_back_natively()).await;
        self.failure(
            ChangeStatus::RolledBack,
            error.type_name(),
            trace::one_line(error),
        )
    }

    /// The answer to `STARTED` may have come late, to a process that stood still: by now the change may be another
    /// runner's, and done. It was permitted and never begun, which is what is reported.
    async fn lost_before_it_began(&self) -> Option<Outcome> {
        if !self.execution.lease.is_lost() {
            return None;
        }
        let error = ChangeError::from("the lock was lost before the change was begun".to_owned());
        tracing::error!(error = %trace::one_line(&error), "not applied");
        let _ = self.report(&Fact::failed(Duration::ZERO, &error)).await;
        let _ = self.report(&Fact::never_begun()).await;
        Some(self.failure(ChangeStatus::RolledBack, "LOCK_LOST", trace::one_line(&error)))
    }

    fn not_started(&self, error: &Error) -> Outcome {
        tracing::error!(%error, "not started, because the server did not acknowledge it");
        let name = if error.is_start_refused() {
            "START_REFUSED"
        } else {
            "AUDIT_WRITE_FAILED"
        };
        self.failure(ChangeStatus::Failed, name, format!("not started: {error}"))
    }

    fn failed(&self, error: &ChangeError) -> Outcome {
        self.failure(ChangeStatus::Failed, error.type_name(), trace::one_line(error))
    }

    fn failure(&self, status: ChangeStatus, error_type: &str, message: String) -> Outcome {
        let change_ids = vec![self.change.info.id().to_owned()];
        Outcome {
            status,
            error: Some(ErrorReport::new(error_type, message, change_ids)),
        }
    }
}
