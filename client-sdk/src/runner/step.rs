//! The points in the life of a change at which a process can die. The testing kit has it die there; without the kit
//! passing one costs nothing.

use super::audit::Job;
use crate::change::ChangeFuture;

/// A point in the life of a change: something before it has happened, and nothing after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(
    not(feature = "testing"),
    expect(dead_code, reason = "the coordinator of the testing kit passes these")
)]
pub enum Step {
    /// The change is next; its start has not been reported.
    Starting,
    /// `STARTED` is recorded, which the runner does not know yet.
    StartRecorded,
    /// The runner may begin; nothing has been done.
    Started,
    /// `apply` waits for something, for the first, second, … time.
    Applying(u32),
    /// `apply` has succeeded. In a transaction: nothing is committed. Outside: done, and not reported.
    Applied,
    /// The transaction is committed with its mark, and nothing is reported.
    Committed,
    /// `APPLIED` is recorded, which the runner does not know yet.
    SuccessRecorded,
    /// `apply` has failed; nothing is undone or reported.
    Failed,
    /// `FAILED` is recorded, which the runner does not know yet.
    FailureRecorded,
    /// `rollback` waits for something, for the first, second, … time.
    RollingBack(u32),
    /// What the change did is undone, by its rollback or by the target system, and that is not reported.
    RolledBack,
    /// `ROLLED_BACK` or `ROLLBACK_FAILED` is recorded, which the runner does not know yet.
    RollbackRecorded,
    /// The runner is done with the change, and goes on.
    Ended,
}

#[cfg(not(feature = "testing"))]
pub(super) fn reached(_: &Job<'_>, _: Step) -> std::future::Ready<()> {
    std::future::ready(())
}

#[cfg(not(feature = "testing"))]
pub(super) fn watched<'a>(_: &Job<'_>, _: fn(u32) -> Step, work: ChangeFuture<'a>) -> ChangeFuture<'a> {
    work
}

/// Does not return where the script has the process die at this point.
#[cfg(feature = "testing")]
pub(super) async fn reached(job: &Job<'_>, step: Step) {
    use crate::testing::Accident;

    let Some(script) = &job.execution.app.script else {
        return;
    };
    match script.reached(job.change.info.id(), step) {
        Some(Accident::Crash) => std::future::pending().await,
        Some(Accident::LoseLock) => {
            // Until the runner knows: its heartbeat finds out.
            job.execution.lease.cancellation().cancelled().await;
        }
        // The runner's own steps have no answer.
        Some(Accident::LoseAnswer) | None => {}
    }
}

/// The work, whose waiting for something counts as a step.
#[cfg(feature = "testing")]
pub(super) fn watched<'a>(
    job: &'a Job<'_>,
    step: fn(u32) -> Step,
    mut work: ChangeFuture<'a>,
) -> ChangeFuture<'a> {
    use std::task::Poll;

    use crate::testing::Accident;

    let Some(script) = job.execution.app.script.clone() else {
        return work;
    };
    let (mut waited, mut is_dead) = (0, false);
    Box::pin(std::future::poll_fn(move |context| {
        if is_dead {
            return Poll::Pending;
        }
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            waited += 1;
            is_dead = script.reached(job.change.info.id(), step(waited)) == Some(Accident::Crash);
        }
        polled
    }))
}
