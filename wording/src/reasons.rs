//! Sentences for the planner's reasons, and for what is refused because of them: here and nowhere else.

use flamingock_api_types::execution::{ChangeReason as ReasonView, PlanReasons};
use flamingock_domain::audit::{ProbeRefusal, StartRefusal};
use flamingock_domain::ids::Seq;
use flamingock_domain::plan::{ChangeReason, Plan, PlanAction, PlanReason};

/// Code and sentence of the whole, and of every change that is not simply applied.
pub fn of(plan: &Plan) -> PlanReasons {
    let (code, message) = whole(plan);
    PlanReasons {
        code: code.to_owned(),
        message,
        changes: plan
            .findings
            .iter()
            .flat_map(|stage| &stage.changes)
            .filter(|change| !matches!(change.reason, ChangeReason::Applied | ChangeReason::AppliedInRun))
            .map(|change| {
                let (code, message) = of_change(change.reason);
                ReasonView {
                    id: change.id.to_string(),
                    code: code.to_owned(),
                    message: message.to_owned(),
                }
            })
            .collect(),
        policy: Vec::new(),
    }
}

fn whole(plan: &Plan) -> (&'static str, String) {
    match plan.reason {
        PlanReason::NothingToDo => ("NOTHING_TO_DO", "Every change is applied.".to_owned()),
        PlanReason::BlockFailed { block } => (
            "BLOCK_FAILED",
            format!(
                "A stage of block {block} failed in this run, and nothing else is left in it: later blocks wait."
            ),
        ),
        PlanReason::WorkPending { block } => ("WORK_PENDING", format!("Block {block} has changes to apply.")),
        PlanReason::PersonNeeded { block } => (
            "PERSON_NEEDED",
            format!("All that is left in block {block} waits for a person to decide what became of it."),
        ),
        PlanReason::HeldByOther => match &plan.action {
            PlanAction::Await { holder } => (
                "HELD_BY_OTHER",
                format!("Runner {} holds the lock and may be working.", holder.owner),
            ),
            PlanAction::Continue | PlanAction::Execute { .. } | PlanAction::Abort => {
                ("HELD_BY_OTHER", "Another runner holds the lock.".to_owned())
            }
        },
    }
}

pub fn of_change(reason: ChangeReason) -> (&'static str, &'static str) {
    match reason {
        ChangeReason::NeverRun => ("NEVER_RUN", "It has never been run here."),
        ChangeReason::Applied => ("APPLIED", "It is applied."),
        ChangeReason::PersonSaysApplied => ("PERSON_SAYS_APPLIED", "A person decided that it is applied."),
        ChangeReason::PersonSaysRolledBack => (
            "PERSON_SAYS_ROLLED_BACK",
            "A person decided that it left nothing behind: it may run again.",
        ),
        ChangeReason::OutcomeUnknown => (
            "OUTCOME_UNKNOWN",
            "It was started and its result was never recorded: it may have taken effect fully, partly or not at all. \
             Look at the target system and record what you find.",
        ),
        ChangeReason::OutcomeUnknownRetry => (
            "OUTCOME_UNKNOWN_RETRY",
            "It was started without a recorded result, and declares that it may be repeated.",
        ),
        ChangeReason::OutcomeUnknownProbe => (
            "OUTCOME_UNKNOWN_PROBE",
            "It was started and its result was never recorded. It can tell by itself whether it took effect, and is asked \
             before a person is.",
        ),
        ChangeReason::FailedHalfDoneProbe => (
            "FAILED_HALF_DONE_PROBE",
            "It failed outside a transaction and was not rolled back. It can tell by itself whether anything of it is in \
             effect, and is asked before a person is.",
        ),
        ChangeReason::OwnAttempt => (
            "OWN_ATTEMPT",
            "Nobody knows how its last attempt ended. It can tell by itself, but this very process made that attempt, and what \
             it began may still be under way. Once the process has ended, the next one asks the change; or look at the target \
             system and record what you find.",
        ),
        ChangeReason::FailedHalfDone => (
            "FAILED_HALF_DONE",
            "It failed outside a transaction and was not rolled back: it may be half done. Look at the target system and \
             record what you find.",
        ),
        ChangeReason::FailedRetry => ("FAILED_RETRY", "It failed, and declares that it may be repeated."),
        ChangeReason::FailedInTransaction => (
            "FAILED_IN_TRANSACTION",
            "It failed inside a transaction, which the target system rolled back.",
        ),
        ChangeReason::RolledBack => ("ROLLED_BACK", "It failed and was rolled back."),
        ChangeReason::RollbackFailed => (
            "ROLLBACK_FAILED",
            "It failed and its rollback failed too: the target system is known to be dirty. Repair it by hand and record \
             the result.",
        ),
        ChangeReason::RollbackFailedRetry => (
            "ROLLBACK_FAILED_RETRY",
            "Its rollback failed, and it declares that it may be repeated.",
        ),
        ChangeReason::StateUnknown => (
            "STATE_UNKNOWN",
            "Its latest entry has a state that this server does not know. Look at the target system and record what you \
             find.",
        ),
        ChangeReason::StateUnknownRetry => (
            "STATE_UNKNOWN_RETRY",
            "Its latest state is not known to this server, and it declares that it may be repeated.",
        ),
        ChangeReason::SourceUnknown => (
            "SOURCE_UNKNOWN",
            "Its latest entry is of a source that this server does not know: a newer version of the server wrote it. Upgrade \
             this one, or look at the target system and record what you find.",
        ),
        ChangeReason::CommittedByMark => (
            "COMMITTED_BY_MARK",
            "The marker in the target system proves that it was committed.",
        ),
        ChangeReason::NotCommittedByMark => (
            "NOT_COMMITTED_BY_MARK",
            "There is no marker in the target system, and this environment trusts that as proof that it was not committed.",
        ),
        ChangeReason::MarkContradictsRecord => (
            "MARK_CONTRADICTS_RECORD",
            "The marker in the target system says applied, the record says that it failed. Look at the target system and \
             record what you find.",
        ),
        ChangeReason::MarkContradictsPerson => (
            "MARK_CONTRADICTS_PERSON",
            "A person decided that it was not applied, and since then its marker in the target system was reported. Look \
             again and record what you find.",
        ),
        ChangeReason::PersonOverridesMark => (
            "PERSON_OVERRIDES_MARK",
            "A person who knew of its marker decided that it is not applied: it may run again.",
        ),
        ChangeReason::RolledBackByMark => (
            "ROLLED_BACK_BY_MARK",
            "The marker in the target system says that it was rolled back.",
        ),
        ChangeReason::AppliedInRun => ("APPLIED_IN_RUN", "It was applied in this run."),
        ChangeReason::ReportedButUnrecorded => (
            "REPORTED_BUT_UNRECORDED",
            "The runner reports it as applied, but the audit lacks the entry. It is not offered again in this run; the next \
             run is judged by the audit.",
        ),
        ChangeReason::FailedInRun => (
            "FAILED_IN_RUN",
            "It failed in this run; the next run decides anew.",
        ),
    }
}

/// Why a `STARTED` is refused, and what the runner must do about it.
pub fn of_refusal(refusal: StartRefusal, change: &str) -> String {
    let why = unfenced(refusal);
    format!("Change {change} must not be started: {why}. Do not run it; ask for a new plan.")
}

/// What stands in the way of whoever has no right to speak for the execution.
fn unfenced(refusal: StartRefusal) -> String {
    match refusal {
        StartRefusal::UnknownExecution => "the execution is not known to this server".to_owned(),
        StartRefusal::NotItsRunner => "the execution was granted to another runner".to_owned(),
        StartRefusal::NotTheHolder => "this runner does not hold the lock".to_owned(),
        StartRefusal::StaleFence => "the lock was granted anew since this execution was planned".to_owned(),
        StartRefusal::LeaseExpired => "the lease has run out".to_owned(),
        StartRefusal::CursorOutdated => {
            "the attempt whose cursor it was to go on from has been heard of since, and may be \
            undoing what the cursor counts"
                .to_owned()
        }
        StartRefusal::StateForbids(state) => {
            format!("its latest entry is {}, which allows no start", state.as_wire())
        }
    }
}

/// Why the verdict of a probe does not count.
pub fn of_probe_refusal(refusal: ProbeRefusal, about: Seq, change: &str) -> String {
    let why = match refusal {
        ProbeRefusal::Unfenced(refusal) => unfenced(refusal),
        ProbeRefusal::Outdated { actual } => {
            format!("it is about entry {about}, and the change's latest entry is {actual}")
        }
        ProbeRefusal::NotInDoubt(Some(state)) => format!(
            "its latest entry is {}, which leaves nothing for a probe to settle here",
            state.as_wire()
        ),
        ProbeRefusal::NotInDoubt(None) => "it was never run here".to_owned(),
        ProbeRefusal::OwnAttempt => {
            "the attempt in doubt was made by this very process, and what it began may still be under \
            way; a new process may ask"
                .to_owned()
        }
    };
    format!(
        "What the probe of change {change} found is not recorded: {why}. Do not act on it; ask for a new plan."
    )
}
