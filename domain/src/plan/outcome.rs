//! A plan and its reasons. Sentences are made at the edge; here every reason is an enum.

use crate::audit::AuditState;
use crate::ids::{ChangeId, ExecutionId, Fence, Seq, StageName};
use crate::lock::{GrantKind, Lease};

/// What the runner may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanAction {
    /// Nothing left to do.
    Continue,
    /// Carry out these stages, under a lock granted with this fence.
    Execute {
        kind: GrantKind,
        fence: Fence,
        stages: Vec<OfferedStage>,
    },
    /// Another runner holds the lock.
    Await { holder: Lease },
    /// A failed stage closes the gate to all that is left. A Java client to which
    /// [`reports_failure`](crate::pipeline::Pipeline::reports_failure) does not apply takes this for a success.
    Abort,
}

/// A stage to carry out: unique by name, every one of its changes listed once, at least one of them not `Skip`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedStage {
    pub name: StageName,
    /// Position of the stage's first occurrence in the active block, counted over all blocks from 0.
    pub order: usize,
    /// `Apply`, `Skip`, `ManualIntervention` or `Probe`.
    pub changes: Vec<(ChangeId, Action)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Apply,
    Skip,
    ManualIntervention,
    /// The change's own probe says what became of it, and which entry that settles. Only where the runner has one.
    Probe {
        about: Seq,
    },
    /// Not offered again in this run, and not applied either. Never inside an [`OfferedStage`].
    Withhold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeStatus {
    NotReached,
    Applied,
    AlreadyApplied,
    Failed,
    RolledBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    NeedsWork,
    UpToDate,
}

/// What is known of one submitted stage name (stages of equal name are one, W 6.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageFinding {
    pub name: StageName,
    pub verdict: Verdict,
    pub changes: Vec<ChangeFinding>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeFinding {
    pub id: ChangeId,
    pub action: Action,
    pub status: ChangeStatus,
    pub reason: ChangeReason,
}

/// An entry that the server writes itself because a marker proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    pub id: ChangeId,
    pub stage: StageName,
    /// `Applied` or `RolledBack`.
    pub state: AuditState,
    /// The execution whose attempt left the mark, where the log knows it.
    pub execution: Option<ExecutionId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub action: PlanAction,
    pub reason: PlanReason,
    /// One for each submitted stage name, in order of first appearance, with all its changes.
    ///
    /// Under [`PlanAction::Await`] they say what the log says while another runner is writing it, marks left aside: its
    /// change in progress looks like one whose outcome is unknown. Not to be shown as an issue.
    pub findings: Vec<StageFinding>,
    /// To be recorded before the answer leaves. Empty under [`PlanAction::Await`]. Where it is not empty, the plan must
    /// have been decided while the lock's row was held, whatever the action: a mark proves nothing while another
    /// runner may be at work.
    pub derived: Vec<Derived>,
    /// Whether every mark of the request is accounted for, and there was at least one (S §2.3).
    pub synchronized_marks: bool,
    /// Stage names that occur more than once: worth a warning.
    pub repeated_stages: Vec<StageName>,
}

impl Plan {
    /// Changes that are neither applied nor reported so in this run, in the order of the pipeline; one that stands in two
    /// stages comes twice.
    pub fn open_changes(&self) -> impl Iterator<Item = &ChangeId> {
        self.findings
            .iter()
            .flat_map(|stage| &stage.changes)
            .filter(|change| change.action != Action::Skip)
            .map(|change| &change.id)
    }
}

/// Why the plan as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlanReason {
    /// B1, B5: every change is applied or was reported so in this run.
    NothingToDo,
    /// B2: the named block (from 0) has a failed stage and nothing left to offer.
    BlockFailed { block: usize },
    /// B3, B6: the named block has changes to apply.
    WorkPending { block: usize },
    /// B7: all that is left in the named block waits for a person.
    PersonNeeded { block: usize },
    /// B4.
    HeldByOther,
}

/// Why one change. The table or rule is named beside each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeReason {
    /// P1 none.
    NeverRun,
    /// P1 `APPLIED`.
    Applied,
    /// P1 `MANUAL_MARKED_AS_APPLIED`.
    PersonSaysApplied,
    /// P1 `MANUAL_MARKED_AS_ROLLED_BACK`.
    PersonSaysRolledBack,
    /// P1 `STARTED`: the outcome is unknown.
    OutcomeUnknown,
    /// P1 `STARTED` with `ALWAYS_RETRY`.
    OutcomeUnknownRetry,
    /// P1 `STARTED`, and the change can be asked.
    OutcomeUnknownProbe,
    /// P1 `FAILED` without a transaction: may be half done.
    FailedHalfDone,
    /// P1 `FAILED` without a transaction, with `ALWAYS_RETRY`.
    FailedRetry,
    /// P1 `FAILED` without a transaction, and the change can be asked.
    FailedHalfDoneProbe,
    /// P1 `STARTED`, or `FAILED` without a transaction, and the change can be asked, but the attempt was made by the very
    /// runner that would ask.
    OwnAttempt,
    /// P1 `FAILED` in a transaction: the target rolled it back.
    FailedInTransaction,
    /// P1 `ROLLED_BACK`.
    RolledBack,
    /// P1 `ROLLBACK_FAILED`: known to be dirty.
    RollbackFailed,
    /// P1 `ROLLBACK_FAILED` with `ALWAYS_RETRY`.
    RollbackFailedRetry,
    /// P1 unknown state.
    StateUnknown,
    /// P1 unknown state with `ALWAYS_RETRY`.
    StateUnknownRetry,
    /// The latest entry is of a source that this version does not know, and does not say applied.
    SourceUnknown,
    /// M1, M8: the mark proves that it committed.
    CommittedByMark,
    /// M3 with `trust_absent_marks`: no mark, so it did not commit.
    NotCommittedByMark,
    /// M5, M6: the mark says applied, the record says otherwise.
    MarkContradictsRecord,
    /// M7: the mark says applied, a person who did not know of it says not.
    MarkContradictsPerson,
    /// M7: a person who knew of the mark says not applied.
    PersonOverridesMark,
    /// M10: the mark says rolled back.
    RolledBackByMark,
    /// C2: applied in this run.
    AppliedInRun,
    /// C3, W 6.16: reported applied in this run (or its stage completed), but the log lacks it.
    ReportedButUnrecorded,
    /// C6, C7, P4, W item 9: it or its stage failed or was blocked in this run; the next run decides anew.
    FailedInRun,
}
