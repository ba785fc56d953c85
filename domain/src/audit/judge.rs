//! What becomes of a runner's report.
//!
//! A report is either a request for permission (`STARTED`, which can be refused) or a fact (everything else, which
//! never is). What a fact can lose is its say: it is appended late when a newer word on the change exists.

use super::{
    AuditState, ChangeState, Judgement, Report, ReportedExecution, Source, StartRefusal, TxStrategy,
};
use crate::ids::{ExecutionId, Fence, RunnerId, Seq};
use crate::lock::Lock;
use crate::plan::{Action, ChangeReason, base_action};
use crate::time::Timestamp;

/// Judges a report (design §5.2–5.4).
pub fn judge(report: &Report<'_>) -> Judgement {
    match (report.state, report.execution) {
        (
            AuditState::Started,
            ReportedExecution::Known {
                id,
                runner,
                fence,
                planned_at,
            },
        ) => match start(report, id, runner, fence, planned_at) {
            Ok(judgement) => judgement,
            Err(refusal) => Judgement::Refuse(refusal),
        },
        (AuditState::Started, ReportedExecution::Unknown(_)) => {
            Judgement::Refuse(StartRefusal::UnknownExecution)
        }
        _ if report.same.is_some() => Judgement::Duplicate,
        _ if counts(report) => Judgement::Append,
        _ => Judgement::AppendLate,
    }
}

/// The lock first, the state after: only to the holder may the log say that there is something to run.
fn start(
    report: &Report<'_>,
    id: ExecutionId,
    its_runner: &RunnerId,
    its_fence: Fence,
    planned_at: Seq,
) -> Result<Judgement, StartRefusal> {
    let grant = Grant {
        runner: its_runner,
        fence: its_fence,
    };
    under_its_lock(report.runner, report.fence, grant, report.lock, report.now)?;
    if let Some(seq) = report.same {
        // A lost answer may be asked for again only until anything else happened to the change: after that, "yes, you
        // may" would let it run a second time.
        return match report.latest {
            Some(latest) if latest.seq == seq => Ok(Judgement::Duplicate),
            latest => Err(StartRefusal::StateForbids(
                latest.map_or(AuditState::Started, |it| it.state),
            )),
        };
    }
    match report.latest {
        // One execution runs a change once. Its result is here already, so this `STARTED` was overtaken on its way:
        // counted, it would turn a known outcome into an unknown one.
        Some(latest) if latest.execution == Some(id) => Err(StartRefusal::StateForbids(latest.state)),
        Some(latest) if !may_follow(latest, planned_at, report.trust_absent_marks) => {
            Err(StartRefusal::StateForbids(latest.state))
        }
        // The attempt that saved the cursor was alive after all, or its word was on its way: it has failed, and may be undoing
        // what the cursor counts.
        Some(latest) if report.handed_on_at.is_some_and(|at| at != latest.seq) => {
            Err(StartRefusal::CursorOutdated)
        }
        _ => Ok(Judgement::Append),
    }
}

/// To whom an execution was granted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant<'a> {
    pub runner: &'a RunnerId,
    pub fence: Fence,
}

/// Whether it is the execution's runner that speaks, holding the lock by this very grant, under a lease that has not run out.
pub(super) fn under_its_lock(
    speaker: &RunnerId,
    echoed: Option<Fence>,
    grant: Grant<'_>,
    lock: Option<&Lock>,
    now: Timestamp,
) -> Result<(), StartRefusal> {
    if speaker != grant.runner {
        return Err(StartRefusal::NotItsRunner);
    }
    let lock = lock.ok_or(StartRefusal::NotTheHolder)?;
    let lease = lock.lease.as_ref().filter(|lease| lease.owner == *speaker);
    let lease = lease.ok_or(StartRefusal::NotTheHolder)?;
    if lock.fence != grant.fence || echoed.is_some_and(|echoed| echoed != lock.fence) {
        return Err(StartRefusal::StaleFence);
    }
    if now >= lease.expires_at {
        return Err(StartRefusal::LeaseExpired);
    }
    Ok(())
}

/// Whether a start may follow the latest entry: table P1 says so, or the plan said so because of an absent mark (M3).
/// The plan was decided under the lock; of what it saw, nothing newer than `planned_at` may be held against it.
fn may_follow(latest: &ChangeState, planned_at: Seq, trust_absent_marks: bool) -> bool {
    let (action, reason) = base_action(Some(latest));
    let by_table = action == Action::Apply;
    let by_absent_mark = trust_absent_marks
        && reason == ChangeReason::OutcomeUnknown
        && latest.tx_strategy == TxStrategy::WithMarker
        && latest.seq <= planned_at;
    by_table || by_absent_mark
}

/// Whether a fact becomes the change's latest state.
fn counts(report: &Report<'_>) -> bool {
    if let ReportedExecution::Known { runner, .. } = report.execution
        && runner != report.runner
    {
        // Whoever is not the execution's runner may have seen something, but cannot know what became of the change.
        return false;
    }
    let Some(latest) = report.latest else { return true };
    match report.execution {
        ReportedExecution::Known { id, planned_at, .. } => {
            if latest.execution == Some(id) {
                follows(report.state, latest)
            } else {
                // History ranks before every execution, also where it is told while one runs (W item 6).
                latest.source == Source::Import || latest.seq <= planned_at
            }
        }
        ReportedExecution::Unknown(id) => latest.execution == Some(id) && follows(report.state, latest),
        ReportedExecution::Import { at_ms, latest_at_ms } => {
            latest.source == Source::Import
                && !happened_before(report.state, at_ms, latest.state, latest_at_ms)
        }
    }
}

/// Whether a report comes after what its own execution said last.
///
/// A runner writes `STARTED`, then `APPLIED` or `FAILED`, then perhaps `ROLLED_BACK` or `ROLLBACK_FAILED`, one after
/// the other. `APPLIED` then `ROLLED_BACK` really happens: the Java client undoes a change whose `APPLIED` was
/// not acknowledged (W §3.5). The reverse never does; it means that the network held back an `APPLIED` while the runner
/// gave up and undid the change, and to believe it would record as applied what is not there.
fn follows(reported: AuditState, latest: &ChangeState) -> bool {
    if matches!(latest.source, Source::Mark | Source::Unknown) {
        // The mark was written in the change's own transaction. Whatever the runner believes, that was committed:
        // no `FAILED` may make it something to run again. Of a mark that says rolled back the runner knows better.
        // Of an unknown source the same may be true, and to believe that harms least.
        return latest.state != AuditState::Applied || reported == AuditState::Applied;
    }
    if latest.source == Source::Probe {
        // It looked from outside, perhaps a moment too early. The attempt itself knows better, as long as no other was begun.
        return true;
    }
    match (step(reported), step(latest.state)) {
        (Some(reported), Some(latest)) => reported >= latest,
        _ => true,
    }
}

/// Whether one piece of history is older than another. Histories are told in pieces and in any order, so here, and
/// only here, the clocks of those days decide, as they did where the history was written. An older `ROLLED_BACK` that is
/// told last must not offer again what was applied after it. Without a time, arrival decides.
fn happened_before(
    state: AuditState,
    at_ms: Option<i64>,
    latest: AuditState,
    latest_at_ms: Option<i64>,
) -> bool {
    match (at_ms, latest_at_ms) {
        (Some(at), Some(latest_at)) if at == latest_at => historic_step(state) < historic_step(latest),
        (Some(at), Some(latest_at)) => at < latest_at,
        _ => false,
    }
}

/// What came later within one millisecond (W item 6). What nobody knows comes last: it makes a person look.
fn historic_step(state: AuditState) -> u8 {
    match state {
        AuditState::MarkedApplied => 6,
        AuditState::MarkedRolledBack => 7,
        AuditState::Unknown => 8,
        of_an_attempt => step(of_an_attempt).unwrap_or(8),
    }
}

/// The order in which a runner writes the states of one attempt.
fn step(state: AuditState) -> Option<u8> {
    match state {
        AuditState::Started => Some(1),
        AuditState::Applied => Some(2),
        AuditState::Failed => Some(3),
        AuditState::RolledBack => Some(4),
        AuditState::RollbackFailed => Some(5),
        AuditState::MarkedApplied | AuditState::MarkedRolledBack | AuditState::Unknown => None,
    }
}
