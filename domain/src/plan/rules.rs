//! The tables, one function each. None of them knows the pipeline: `survey` collects, `decide` walks.

use super::outcome::{Action, ChangeReason, ChangeStatus};
use super::survey::Completion;
use crate::audit::{AuditState, ChangeState, RecoveryStrategy, Source, TxStrategy, contradicts_mark};
use crate::ids::Seq;
use crate::pipeline::{Mark, ReportedChange};

/// Table P1: what the latest entry alone says. Strategies are those of the entry, not of the code deployed now: an edit
/// of the code does not change how an old attempt left its target.
pub fn base_action(latest: Option<&ChangeState>) -> (Action, ChangeReason) {
    use Action::{Apply, ManualIntervention, Skip};
    use AuditState as S;

    let Some(latest) = latest else {
        return (Apply, ChangeReason::NeverRun);
    };
    let retry = latest.recovery == RecoveryStrategy::AlwaysRetry;
    // Not in the table: a newer version wrote it. Run again is nothing by its word alone.
    if latest.source == Source::Unknown && !matches!(latest.state, S::Applied | S::MarkedApplied) {
        return (ManualIntervention, ChangeReason::SourceUnknown);
    }
    match latest.state {
        S::Applied => (Skip, ChangeReason::Applied),
        S::MarkedApplied => (Skip, ChangeReason::PersonSaysApplied),
        S::MarkedRolledBack => (Apply, ChangeReason::PersonSaysRolledBack),
        S::RolledBack => (Apply, ChangeReason::RolledBack),
        S::Failed if latest.tx_strategy != TxStrategy::NonTx => (Apply, ChangeReason::FailedInTransaction),
        S::Failed if retry => (Apply, ChangeReason::FailedRetry),
        S::Failed => (ManualIntervention, ChangeReason::FailedHalfDone),
        S::Started if retry => (Apply, ChangeReason::OutcomeUnknownRetry),
        S::Started => (ManualIntervention, ChangeReason::OutcomeUnknown),
        S::RollbackFailed if retry => (Apply, ChangeReason::RollbackFailedRetry),
        S::RollbackFailed => (ManualIntervention, ChangeReason::RollbackFailed),
        S::Unknown if retry => (Apply, ChangeReason::StateUnknownRetry),
        S::Unknown => (ManualIntervention, ChangeReason::StateUnknown),
    }
}

/// What the tables say of one change so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub action: Action,
    pub reason: ChangeReason,
    /// Applied in the log, an entry derived in this very answer included.
    pub applied: bool,
    /// The entry that a mark proves and the log lacks.
    pub derived: Option<AuditState>,
    /// Whether the mark, if there is one, may be cleared in the target system.
    pub accounted: bool,
    /// Whether the change makes its stage a failed one for this run.
    pub fails_stage: bool,
}

impl Judged {
    /// P1, with no mark and no report.
    pub(super) fn by_log(latest: Option<&ChangeState>) -> Self {
        let (action, reason) = base_action(latest);
        let applied = action == Action::Skip;
        Self {
            action,
            reason,
            applied,
            derived: None,
            accounted: true,
            fails_stage: false,
        }
    }

    /// Something that the runner may still be told to do, or to have a person do.
    pub(super) fn is_open(self) -> bool {
        matches!(
            self.action,
            Action::Apply | Action::ManualIntervention | Action::Probe { .. }
        )
    }

    pub(super) fn withhold(&mut self) {
        self.action = Action::Withhold;
        self.reason = ChangeReason::FailedInRun;
    }
}

/// Table P2: what the marker found in the target system adds. Only asked while no other runner holds the lock, for
/// else the mark may belong to what that runner commits this second.
///
/// `seen`: head of the stream when this mark was first reported, where it was before.
pub(super) fn with_mark(
    latest: Option<&ChangeState>,
    mark: Mark,
    seen: Option<Seq>,
    trust_absent: bool,
) -> Judged {
    match mark {
        Mark::None => without_mark(latest, trust_absent),
        Mark::Applied => with_applied_mark(latest, seen),
        Mark::RolledBack => with_rolled_back_mark(latest),
    }
}

/// Where the tables ask a person, and only because the outcome is not known, the change itself is asked first. What is known,
/// be it dirty, and what a mark says is not for a probe to overrule.
///
/// `is_own`: the attempt was the asking runner's. A process that dropped its run in the middle may still be at work on it, and
/// would ask itself: what a look finds now says nothing about what is there in a moment.
pub(super) fn with_probe(
    judged: Judged,
    latest: Option<&ChangeState>,
    has_probe: bool,
    is_own: bool,
) -> Judged {
    let Some(latest) = latest.filter(|_| has_probe && judged.action == Action::ManualIntervention) else {
        return judged;
    };
    let reason = match judged.reason {
        ChangeReason::OutcomeUnknown | ChangeReason::FailedHalfDone if is_own => {
            return Judged {
                reason: ChangeReason::OwnAttempt,
                ..judged
            };
        }
        ChangeReason::OutcomeUnknown => ChangeReason::OutcomeUnknownProbe,
        ChangeReason::FailedHalfDone => ChangeReason::FailedHalfDoneProbe,
        _ => return judged,
    };
    Judged {
        action: Action::Probe { about: latest.seq },
        reason,
        ..judged
    }
}

/// M2, M3, M13.
fn without_mark(latest: Option<&ChangeState>, trust_absent: bool) -> Judged {
    let log = Judged::by_log(latest);
    let with_marker = latest.is_some_and(|it| it.tx_strategy == TxStrategy::WithMarker);
    if trust_absent && with_marker && log.reason == ChangeReason::OutcomeUnknown {
        return Judged {
            action: Action::Apply,
            reason: ChangeReason::NotCommittedByMark,
            ..log
        };
    }
    log
}

/// M1, M4–M9. The strategy of the last entry does not matter (M9): the mark is evidence of the database.
fn with_applied_mark(latest: Option<&ChangeState>, seen: Option<Seq>) -> Judged {
    let log = Judged::by_log(latest);
    let state = latest.map(|it| it.state);
    match latest {
        _ if log.applied => log,
        Some(latest) if contradicts_mark(latest, seen) => {
            let reason = if latest.state == AuditState::MarkedRolledBack {
                ChangeReason::MarkContradictsPerson
            } else {
                ChangeReason::MarkContradictsRecord
            };
            Judged {
                action: Action::ManualIntervention,
                reason,
                accounted: false,
                ..log
            }
        }
        _ if state == Some(AuditState::MarkedRolledBack) => Judged {
            reason: ChangeReason::PersonOverridesMark,
            ..log
        },
        // `STARTED` or nothing: the mark is the missing entry. Before ALWAYS_RETRY, as nobody wants to run again what
        // is committed.
        _ => Judged {
            action: Action::Skip,
            reason: ChangeReason::CommittedByMark,
            applied: true,
            derived: Some(AuditState::Applied),
            ..log
        },
    }
}

/// M10–M12.
fn with_rolled_back_mark(latest: Option<&ChangeState>) -> Judged {
    let log = Judged::by_log(latest);
    match latest.map(|it| it.state) {
        Some(AuditState::Started) => Judged {
            action: Action::Apply,
            reason: ChangeReason::RolledBackByMark,
            derived: Some(AuditState::RolledBack),
            ..log
        },
        // Not in the table: the record says dirty or nothing intelligible. The mark decides nothing, and stays in the
        // target system as evidence for the person who will.
        Some(AuditState::RollbackFailed | AuditState::Unknown) => Judged {
            accounted: false,
            ..log
        },
        _ => log,
    }
}

/// What the runner says of a change in this run, and what the log knows of this run's attempts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub reported: Option<ReportedChange>,
    pub completion: Completion,
    /// The state that an execution of this same run left as the latest, if one did (W item 9).
    pub left_by_run: Option<AuditState>,
}

/// Table P3, with the guard of W item 9: nothing is offered twice in a run.
pub(super) fn with_report(mut judged: Judged, told: Told) -> Judged {
    match told.reported {
        // C6–C8. The stage has failed for this run even if the change is fixed meanwhile.
        Some(ReportedChange::Failed | ReportedChange::RolledBack) => {
            judged.fails_stage = true;
            if !judged.applied {
                judged.withhold();
            }
        }
        // C2, C3: believed for this run; the next one is judged by the log.
        Some(ReportedChange::Applied) => {
            if !judged.applied {
                believe(&mut judged);
            } else if judged.reason == ChangeReason::Applied {
                judged.reason = ChangeReason::AppliedInRun;
            }
        }
        // C1, C4, C5. "Already applied" proves nothing: the client says it of everything that a plan left out.
        Some(ReportedChange::AlreadyApplied) | None => {
            if judged.applied {
                return judged;
            }
            // A failure of this run that the log knows is not talked away by a `COMPLETED`, and a `COMPLETED` that may
            // be another stage's is no reason to skip. Nor may either be offered again: the client would say the same
            // once more, for ever.
            let unfinished = match told.completion {
                Completion::Unsaid => told.left_by_run.is_some(),
                Completion::Doubtful => true,
                Completion::Said => told.left_by_run.is_some_and(is_failure),
            };
            if unfinished {
                judged.fails_stage = true;
                judged.withhold();
            } else if told.completion == Completion::Said {
                believe(&mut judged);
            }
        }
    }
    judged
}

fn believe(judged: &mut Judged) {
    judged.action = Action::Skip;
    judged.reason = ChangeReason::ReportedButUnrecorded;
    // M10 does not speak against the runner's own word: nothing is recorded, and the mark stays.
    judged.accounted &= judged.derived.take().is_none();
}

fn is_failure(state: AuditState) -> bool {
    matches!(
        state,
        AuditState::Failed | AuditState::RolledBack | AuditState::RollbackFailed
    )
}

/// The status that is answered for a change (W item 24): what was reported is never contradicted, else the log speaks.
///
/// Where the stage is reported `COMPLETED`, its changes are reported with it: one without a word of its own counts as
/// reported `APPLIED`, and `ALREADY_APPLIED` stands.
pub(super) fn status(
    reported: Option<ReportedChange>,
    completion: Completion,
    applied: bool,
) -> ChangeStatus {
    let completed = completion == Completion::Said;
    match reported {
        Some(ReportedChange::Applied) => ChangeStatus::Applied,
        Some(ReportedChange::Failed) => ChangeStatus::Failed,
        Some(ReportedChange::RolledBack) => ChangeStatus::RolledBack,
        Some(ReportedChange::AlreadyApplied) if applied || completed => ChangeStatus::AlreadyApplied,
        None if applied => ChangeStatus::AlreadyApplied,
        None if completed => ChangeStatus::Applied,
        Some(ReportedChange::AlreadyApplied) | None => ChangeStatus::NotReached,
    }
}

/// How a stage stands in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StageStanding {
    /// Nothing of it is offered again in this run.
    Failed,
    /// To be offered, whole.
    Pending,
    /// Nothing to do.
    Done,
}

/// Table P4. `open`: whether one of its changes is to be applied or waits for a person.
pub(super) fn stage_standing(failed: bool, open: bool) -> StageStanding {
    match (failed, open) {
        (true, _) => StageStanding::Failed,
        (false, true) => StageStanding::Pending,
        (false, false) => StageStanding::Done,
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// B1.
    Nothing,
    /// B2.
    Closed { block: usize },
    /// B3, B4, B6, B7: the lock decides.
    Work { block: usize },
}

/// Table P5, without the lock: the blocks in the order submitted, each the gate of those behind it.
pub(super) fn step<S>(blocks: impl IntoIterator<Item = S>) -> Step
where
    S: IntoIterator<Item = StageStanding>,
{
    for (block, stages) in blocks.into_iter().enumerate() {
        let mut failed = false;
        for standing in stages {
            match standing {
                // B6: a failed stage does not stop the others of its block.
                StageStanding::Pending => return Step::Work { block },
                StageStanding::Failed => failed = true,
                StageStanding::Done => {}
            }
        }
        if failed {
            return Step::Closed { block };
        }
    }
    Step::Nothing
}
