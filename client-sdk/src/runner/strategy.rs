//! Executing one change: outside a transaction, or inside one.
//!
//! Four rules hold for both. Nothing is applied whose start the server has not acknowledged, or under a lease that has
//! run out. A change that worked is never undone because its result could not be reported: then the log says less than
//! the target, and a person or the mark settles it. Nothing is called rolled back that is not known to be: then the log
//! stays at `STARTED`, or says `ROLLBACK_FAILED` where something is known to have stayed. And whatever the change throws,
//! panics included, is a failure of the change and not of the run.

use std::{
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::{
    audit::{Fact, Job},
    step::{Step, reached, watched},
};
use crate::{
    cancellation::CancelReason,
    causes,
    change::{ChangeError, ChangeFuture, Recovery},
    context::Context,
    error::Error,
    report::{ChangeStatus, ErrorReport},
    target::{AnyTarget, AnyTransaction, CommitError, MarkError, RollbackError},
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
    let change = job.change.info.id();
    tracing::info!(change, "applying");
    let left_open = &job.execution.app.left_open;
    let outcome = match job.transactions() {
        None if left_open.has(change) => job.left_open(),
        None => {
            let outcome = outside_transactions(job).await;
            // Also where it was cut off: an application that was asked to stop runs nothing more.
            left_open.ended(change);
            outcome
        }
        Some(target) => in_transaction(job, target).await,
    };
    if matches!(outcome.status, ChangeStatus::Applied) {
        tracing::info!(change, "applied");
    }
    reached(job, Step::Ended).await;
    outcome
}

/// `STARTED`, apply, `APPLIED`; or `FAILED` and, where there is a rollback, `ROLLED_BACK` or `ROLLBACK_FAILED`.
async fn outside_transactions(job: &Job<'_>) -> Outcome {
    reached(job, Step::Starting).await;
    if let Err(error) = job.report_start().await {
        return job.not_started(&error).await;
    }
    reached(job, Step::Started).await;
    if let Some(outcome) = job.stopped_before_it_began().await {
        return outcome;
    }
    if job.change.info.keeps_steps {
        job.execution.app.left_open.begun(job.change.info.id());
    }
    let mut context = job.context(None);
    let Applying {
        result,
        took,
        is_cut_off,
    } = apply(job, &mut context).await;
    let error = match result {
        Ok(()) => {
            reached(job, Step::Applied).await;
            return job.applied(&Fact::applied(took)).await.0;
        }
        Err(error) => error,
    };
    reached(job, Step::Failed).await;
    tracing::error!(error = %trace::one_line(&error), "the change failed");
    // A result that cannot be recorded is logged; the rollback is needed all the same.
    let recorded = job.report(&Fact::failed(took, &error)).await;
    let unrecorded = recorded.is_err();
    let superseded = recorded.is_ok_and(|answer| answer.late);
    let info = &job.change.info;
    if is_cut_off && (info.has_probe || info.recovery == Recovery::AlwaysRetry) {
        job.execution.keeps_lock.store(true, Ordering::Relaxed);
    }
    if !info.has_rollback {
        tracing::warn!("it has no rollback: what it did stays");
    } else if is_cut_off {
        // What it had asked for last may take effect at any moment, also after a rollback. The log stays at `FAILED`: the next
        // process asks the change's probe or repeats what may be repeated, and else a person looks, as after a crash.
        tracing::error!(
            "it is not rolled back, because what it was doing when it was cut off may still take effect"
        );
    } else if superseded || job.execution.lease.is_lost() {
        // Another runner may be applying the same change by now, or have done so: undoing would work against it.
        tracing::error!(
            superseded,
            "it is not rolled back, because the lock was lost or another has written about the change since"
        );
    } else if unrecorded && job.attempt.has_cursor() {
        // If this process died in the rollback, the next attempt would go on from a cursor whose work is half undone: only
        // the recorded failure voids it.
        tracing::error!(
            "it is not rolled back, because its failure is not recorded and its cursor would outlive its work"
        );
    } else {
        job.attempt.rolls_back();
        let mut context = job.context(None);
        let (result, took) =
            run(|| watched(job, Step::RollingBack, job.change.code.rollback(&mut context))).await;
        reached(job, Step::RolledBack).await;
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
        let message = format!("not started: {}", causes::one_line(&error));
        return job.failure(ChangeStatus::Failed, "TARGET_UNAVAILABLE", message);
    }
    reached(job, Step::Starting).await;
    if let Err(error) = job.report_start().await {
        return job.not_started(&error).await;
    }
    reached(job, Step::Started).await;
    if let Some(outcome) = job.stopped_before_it_began().await {
        return outcome;
    }
    let transaction = match target.begin().await {
        Ok(transaction) => transaction,
        Err(error) => return job.rolled_back(Duration::ZERO, &error.into()).await,
    };
    let mut context = job.context(Some(transaction));
    // Cut off or not: what it was doing ends with the transaction, before that is known to be rolled back.
    let Applying { result, took, .. } = apply(job, &mut context).await;
    let step = if result.is_ok() {
        Step::Applied
    } else {
        Step::Failed
    };
    reached(job, step).await;
    let transaction = context
        .transaction
        .take()
        .expect("changes can only borrow the transaction");
    match result {
        Ok(()) => commit(job, target, transaction, took).await,
        Err(error) => match undo(job, target, transaction, took, &error).await {
            Ok(()) => job.rolled_back(took, &error).await,
            Err(outcome) => outcome,
        },
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
        let cause = ChangeError::from(causes::one_line(&error));
        if let Err(outcome) = undo(job, target, transaction, took, &cause).await {
            return outcome;
        }
        return match error {
            MarkError::AlreadyThere => job.already_committed(),
            MarkError::TransactionEnded => job.transaction_ended(took, &cause).await,
            MarkError::Failed(error) => job.rolled_back(took, &error.into()).await,
        };
    }
    // As late as it can be: until here nothing has taken effect, and another runner may have done the work meanwhile.
    if job.execution.lease.is_lost() {
        let error = ChangeError::from("the lock was lost before the change was committed".to_owned());
        return match undo(job, target, transaction, took, &error).await {
            Ok(()) => job.rolled_back(took, &error).await,
            Err(outcome) => outcome,
        };
    }
    match target.commit(transaction).await {
        Ok(()) => committed(job, target, took).await,
        Err(CommitError::AlreadyThere) => job.already_committed(),
        Err(CommitError::Definite(error)) => job.rolled_back(took, &error.into()).await,
        Err(CommitError::Ambiguous(error)) => {
            tracing::warn!(error = %causes::one_line(&error), "whether the commit took effect is not known");
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
                        causes::one_line(&error)
                    ),
                ),
            }
        }
    }
}

async fn committed(job: &Job<'_>, target: &Arc<dyn AnyTarget>, took: Duration) -> Outcome {
    reached(job, Step::Committed).await;
    let (outcome, acknowledged) = job.applied(&Fact::applied(took)).await;
    // The mark stays as long as the log may say something else.
    if acknowledged && target.keeps_marks() {
        let ids = [job.change.info.id().to_owned()];
        if let Err(error) = target.clear_marks(job.execution.scope, &ids).await {
            tracing::warn!(error = %causes::one_line(&error), "the mark stays; a later start removes it before it applies anything");
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
            // Without the lock the mark's absence says nothing: the server tells whoever comes next that the change is
            // applied, and that one removes the mark.
            Ok(false) if job.execution.lease.is_lost() => return None,
            Ok(committed) => return Some(committed),
            Err(error) => tracing::warn!(error = %causes::one_line(&error), "the target cannot be asked yet"),
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// Rolls back, and makes sure that it was: "rolled back" in the log has the change applied again. If something may have
/// stayed, there is an outcome, and the log does not say so.
async fn undo(
    job: &Job<'_>,
    target: &Arc<dyn AnyTarget>,
    transaction: AnyTransaction,
    took: Duration,
    cause: &ChangeError,
) -> Result<(), Outcome> {
    match while_reportable(job, target.rollback(transaction)).await {
        Some(Ok(())) => {
            reached(job, Step::RolledBack).await;
            Ok(())
        }
        Some(Err(RollbackError::TransactionEnded)) => Err(job.transaction_ended(took, cause).await),
        Some(Err(RollbackError::Unknown(error))) => {
            Err(job.rollback_unknown(cause, &causes::one_line(&error)))
        }
        None => Err(job.rollback_unknown(cause, "the target did not answer in time")),
    }
}

/// `None` if it takes longer than the result of the change can be reported.
async fn while_reportable<T>(job: &Job<'_>, work: impl Future<Output = T>) -> Option<T> {
    let until = job.execution.lease.report_until();
    let mut work = pin!(work);
    loop {
        match tokio::time::timeout_at(until(), &mut work).await {
            Ok(done) => return Some(done),
            // The lease was extended meanwhile.
            Err(_) if until() > Instant::now() => {}
            Err(_) => return None,
        }
    }
}

/// How applying a change ended.
struct Applying {
    result: Result<(), ChangeError>,
    took: Duration,
    /// It has not ended: nobody listens to it any more.
    is_cut_off: bool,
}

/// Applies the change; cuts it off when the grace after a request to stop is over.
async fn apply(job: &Job<'_>, context: &mut Context) -> Applying {
    let app = job.execution.app;
    let (began, grace) = (Instant::now(), app.settings.stop_grace);
    tokio::select! {
        biased;
        (result, took) = run(|| watched(job, Step::Applying, job.change.code.apply(context))) => Applying {
            result,
            took,
            is_cut_off: false,
        },
        () = app.stop.grace_over(grace) => {
            let mut text = format!("cut off: it had not ended {grace:?} after the application was asked to stop");
            if job.transactions().is_none() {
                text.push_str("; what it was doing may still take effect");
            }
            tracing::warn!("{text}");
            Applying {
                result: Err(ChangeError::named("interrupted", text.into())),
                took: began.elapsed(),
                is_cut_off: true,
            }
        }
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
            // The change may be running a second time at this moment: the application must not start on it.
            Ok(answer) if answer.late => {
                let message = "the change was applied, but that is recorded as evidence only: another execution or a \
                               person has written about it since. Before the next start, compare the target system \
                               with the change's history on the server";
                (
                    self.failure(ChangeStatus::Failed, "RECORDED_LATE", message.to_owned()),
                    false,
                )
            }
            Ok(_) => (
                Outcome {
                    status: ChangeStatus::Applied,
                    error: None,
                },
                true,
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

    /// The log stays at `STARTED`; with the mark that is there, the server knows the change as applied.
    fn already_committed(&self) -> Outcome {
        self.failure(
            ChangeStatus::RolledBack,
            "ALREADY_COMMITTED",
            "another attempt of this change was committed meanwhile; this one left nothing".to_owned(),
        )
    }

    /// The answer to `STARTED` may have come late, to a process that stood still: by now the change may be another
    /// runner's, and done. Or somebody asked it to stop meanwhile. It was permitted and never begun, which is
    /// what is reported.
    async fn stopped_before_it_began(&self) -> Option<Outcome> {
        let (name, reason) = match self.execution.lease.check() {
            Err(reason @ CancelReason::LockLost) => ("LOCK_LOST", reason),
            Err(reason @ CancelReason::Shutdown) => ("INTERRUPTED", reason),
            Err(reason @ CancelReason::Requested) => ("CANCELLED", reason),
            Ok(()) => return None,
        };
        let error = ChangeError::from(format!("{reason} before the change was begun"));
        tracing::error!(error = %trace::one_line(&error), "not applied");
        self.report_never_begun(&error).await;
        Some(self.failure(ChangeStatus::RolledBack, name, trace::one_line(&error)))
    }

    /// What it did before its own `COMMIT` stayed, and nobody knows how much that is: a person has to look. It is reported
    /// as a rollback that failed, which it is, for `STARTED` alone could be taken for an attempt of which nothing was
    /// committed, where the server is told to trust that there is no mark.
    async fn transaction_ended(&self, took: Duration, cause: &ChangeError) -> Outcome {
        let _ = self.report(&Fact::rollback_impossible(took, cause)).await;
        self.outcome_unknown(
            "TRANSACTION_ENDED",
            &format!(
                "the change ended its transaction by itself, by a COMMIT or ROLLBACK of its own, so some of what it \
                 did may have stayed; it ended with: {}",
                trace::one_line(cause)
            ),
        )
    }

    /// The log stays at `STARTED`.
    fn rollback_unknown(&self, cause: &ChangeError, why: &str) -> Outcome {
        self.outcome_unknown(
            "ROLLBACK_OUTCOME_UNKNOWN",
            &format!(
                "the change failed, and whether it was rolled back is not known: {why}; it had failed with: {}",
                trace::one_line(cause)
            ),
        )
    }

    fn outcome_unknown(&self, error_type: &str, what: &str) -> Outcome {
        tracing::error!(error_type, "{what}");
        let message = format!(
            "{what}. Check in the target system what is there, complete or undo it by hand, and record on the server \
             that the change is applied or rolled back"
        );
        self.failure(ChangeStatus::Failed, error_type, message)
    }

    /// An unanswered `STARTED` may have been recorded all the same, and then a person would have to decide about a
    /// change that never ran. A refused one was not, and what the server refuses is not contradicted.
    async fn not_started(&self, error: &Error) -> Outcome {
        tracing::error!(%error, "not started, because the server did not acknowledge it");
        if error.is_in_doubt() && error.status() != Some(409) {
            let why = ChangeError::from(format!("its start was not acknowledged: {error}"));
            self.report_never_begun(&why).await;
        }
        let name = if error.is_start_refused() {
            "START_REFUSED"
        } else {
            "AUDIT_WRITE_FAILED"
        };
        self.failure(ChangeStatus::Failed, name, format!("not started: {error}"))
    }

    /// Nothing is recorded: the log tells the next process what it needs to go on.
    fn left_open(&self) -> Outcome {
        tracing::error!("not begun: this process has begun it before, and may still be at work on it");
        self.failure(
            ChangeStatus::Failed,
            "OWN_ATTEMPT",
            "a run of this very process was dropped in the middle of it, and what it was doing may still be under way; once \
             the process has ended, the next one goes on"
                .to_owned(),
        )
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
