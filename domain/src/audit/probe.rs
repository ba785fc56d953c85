//! What becomes of a probe's verdict: a change's own answer to the question whether it took effect.
//!
//! A verdict is a decision, not a fact. It is about one entry, which must be the latest and leave the outcome open, and it
//! is made under the lock, like a start: whoever lost the lock may have looked at what another has changed since.

use super::judge::{Grant, under_its_lock};
use super::{AuditState, ChangeState, Source, StartRefusal};
use crate::ids::{ExecutionId, Fence, RunnerId, Seq};
use crate::lock::Lock;
use crate::plan::{Action, ChangeReason, base_action};
use crate::time::Timestamp;

/// What a probe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeVerdict {
    /// All of it is in effect.
    Applied,
    /// Nothing of it is left: it may be applied from its beginning.
    NotApplied,
    /// Neither can be said; also a probe that failed.
    Unknown,
}

impl ProbeVerdict {
    pub fn as_wire(self) -> &'static str {
        match self {
            Self::Applied => "APPLIED",
            Self::NotApplied => "NOT_APPLIED",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The state that settles the doubt, where the verdict does.
    pub fn settles(self) -> Option<AuditState> {
        match self {
            Self::Applied => Some(AuditState::Applied),
            Self::NotApplied => Some(AuditState::RolledBack),
            Self::Unknown => None,
        }
    }
}

/// Everything that the judgement of a verdict depends on.
#[derive(Clone, Copy, Debug)]
pub struct Probed<'a> {
    pub verdict: ProbeVerdict,
    /// Sequence of the entry that the verdict is about.
    pub about: Seq,
    /// The execution under which the change was asked. `None`: not one of this service.
    pub execution: Option<ProbedUnder<'a>>,
    /// Who tells: must hold the lock.
    pub runner: &'a RunnerId,
    /// The fence that the runner echoes, where it does.
    pub fence: Option<Fence>,
    /// The change's latest state that counts.
    pub latest: Option<&'a ChangeState>,
    /// To whom the execution was granted that the latest state is of.
    pub attempted_by: Option<&'a RunnerId>,
    /// A mark that was reported says otherwise than the latest entry.
    pub contradicted_by_mark: bool,
    pub lock: Option<&'a Lock>,
    pub now: Timestamp,
}

/// An execution of the service.
#[derive(Clone, Copy, Debug)]
pub struct ProbedUnder<'a> {
    pub id: ExecutionId,
    pub runner: &'a RunnerId,
    pub fence: Fence,
}

/// What becomes of a verdict that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeJudgement {
    /// It settles the doubt: this is the change's latest state now.
    Settle(AuditState),
    /// The doubt stays, for a person; that the change was asked in vain is evidence.
    KeepDoubt,
}

/// Why a verdict is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeRefusal {
    /// The execution may not say so: as a start would be refused.
    Unfenced(StartRefusal),
    /// Something was written about the change since: this is its latest entry.
    Outdated { actual: Seq },
    /// What became of the change is known, or for a person to say.
    NotInDoubt(Option<AuditState>),
    /// The attempt in doubt is the teller's own: its process lives, and so may what it began.
    OwnAttempt,
}

/// Whether the latest entry leaves the outcome open in a way that the change itself can settle: where table P1 asks a person
/// only because nobody knows. A rollback that failed is known to be dirty, and a state that is not understood may mean
/// anything.
pub fn is_in_doubt(latest: &ChangeState) -> bool {
    let (action, reason) = base_action(Some(latest));
    action == Action::ManualIntervention
        && matches!(
            reason,
            ChangeReason::OutcomeUnknown | ChangeReason::FailedHalfDone
        )
}

/// Judges a verdict.
pub fn judge_probe(probed: &Probed<'_>) -> Result<ProbeJudgement, ProbeRefusal> {
    let execution = probed
        .execution
        .ok_or(ProbeRefusal::Unfenced(StartRefusal::UnknownExecution))?;
    let grant = Grant {
        runner: execution.runner,
        fence: execution.fence,
    };
    under_its_lock(probed.runner, probed.fence, grant, probed.lock, probed.now)
        .map_err(ProbeRefusal::Unfenced)?;
    let latest = probed.latest.ok_or(ProbeRefusal::NotInDoubt(None))?;
    if latest.seq != probed.about {
        return Err(ProbeRefusal::Outdated { actual: latest.seq });
    }
    if !is_in_doubt(latest) || probed.contradicted_by_mark {
        return Err(ProbeRefusal::NotInDoubt(Some(latest.state)));
    }
    // What this process began, in this execution or in one before, it may still be doing: it reports how that ended, and
    // does not look what of it is there by now.
    if latest.execution == Some(execution.id) || probed.attempted_by == Some(probed.runner) {
        return Err(ProbeRefusal::OwnAttempt);
    }
    Ok(match probed.verdict.settles() {
        Some(state) => ProbeJudgement::Settle(state),
        None => ProbeJudgement::KeepDoubt,
    })
}

/// A verdict that was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedProbe<'a> {
    pub source: Source,
    pub state: &'a str,
    pub execution_ref: &'a str,
    pub runner: Option<&'a str>,
    pub note: Option<&'a str>,
}

/// Whether a report is one that was recorded before and is told once more, because its answer was lost. The note names the
/// entry that it is about.
pub fn repeats_probe(recorded: &RecordedProbe<'_>, told: &RecordedProbe<'_>) -> bool {
    recorded.source == Source::Probe && recorded == told
}
