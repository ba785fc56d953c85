//! What becomes of a person's decision on a change.

use super::{AuditState, ChangeState, Source};
use crate::ids::{RunnerId, Seq};
use crate::lock::Lock;
use crate::plan::{Action, base_action};
use crate::time::Timestamp;

/// What a person found in the target system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolution {
    Applied,
    RolledBack,
}

impl Resolution {
    /// The state that is recorded.
    pub fn state(self) -> AuditState {
        match self {
            Self::Applied => AuditState::MarkedApplied,
            Self::RolledBack => AuditState::MarkedRolledBack,
        }
    }
}

/// Why a decision is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveRefusal {
    /// Its runner is at it this very moment.
    InProgress,
    /// The person looked at another entry than the latest, which is this one.
    Outdated { actual: Seq },
    /// There is nothing to decide.
    NoIssue,
}

/// Whether a person has to decide: the latest entry's base action (table P1) is manual intervention.
///
/// Knows no marks: see [`contradicts_mark`] for the issues that only a mark reveals.
pub fn is_issue(latest: &ChangeState) -> bool {
    base_action(Some(latest)).0 == Action::ManualIntervention
}

/// Whether an `APPLIED` mark that was first reported at head `seen` contradicts the latest entry (M5–M7).
///
/// `None`: reported just now, so nobody who decided before can have known.
pub fn contradicts_mark(latest: &ChangeState, seen: Option<Seq>) -> bool {
    match latest.state {
        AuditState::Failed | AuditState::RolledBack | AuditState::RollbackFailed | AuditState::Unknown => {
            true
        }
        AuditState::MarkedRolledBack => seen.is_none_or(|seen| latest.seq <= seen),
        AuditState::Started | AuditState::Applied | AuditState::MarkedApplied => false,
    }
}

/// Whether the change's runner is working on it under a live lease: `STARTED`, or `FAILED` and on its way to undo.
///
/// `its_runner`: whose execution wrote the latest entry. Not the execution is compared but the runner: the same process may
/// have renewed the lock while it works.
pub fn in_progress(
    latest: &ChangeState,
    its_runner: Option<&RunnerId>,
    lock: Option<&Lock>,
    now: Timestamp,
) -> bool {
    let unfinished = matches!(latest.state, AuditState::Started | AuditState::Failed);
    let lease = lock.and_then(|lock| lock.lease.as_ref());
    unfinished
        && lease
            .is_some_and(|lease| now < lease.expires_at && its_runner.is_some_and(|it| *it == lease.owner))
}

/// Whether a run under a live lease may be acting this moment on a decision, of a person or of the change's probe: it applies
/// anew what was found rolled back, or goes on from what was found applied. A person's decision is acted on by what was
/// planned after it. A probe's is by the execution that asked, too, which knows it before anybody else does; and since only
/// the lock's holder may tell one, that is whoever holds it now, or has the decision in its plan.
///
/// `planned_at`: the audit's head when the lock's holder was granted its work; `None` if it was granted none.
pub fn is_acted_on(
    latest: &ChangeState,
    lock: Option<&Lock>,
    planned_at: Option<Seq>,
    now: Timestamp,
) -> bool {
    let lease = lock.and_then(|lock| lock.lease.as_ref());
    lease.is_some_and(|lease| now < lease.expires_at)
        && match latest.source {
            Source::Person => planned_at.is_some_and(|planned_at| planned_at >= latest.seq),
            // One of a newer version may be a decision like a probe's.
            Source::Probe | Source::Unknown => planned_at.is_some(),
            Source::Runner | Source::Mark | Source::Import => false,
        }
}

/// Decides a resolution where no contradicting mark is known. Gives the state to record.
pub fn resolve(
    latest: Option<&ChangeState>,
    expected: Seq,
    in_progress: bool,
    resolution: Resolution,
) -> Result<AuditState, ResolveRefusal> {
    resolve_marked(latest, expected, in_progress, false, resolution)
}

/// As [`resolve`], where `contradicted` says that an `APPLIED` mark was reported against the latest entry: then a
/// person has to decide although the entry alone asks for nobody, and without this they never could.
pub fn resolve_marked(
    latest: Option<&ChangeState>,
    expected: Seq,
    in_progress: bool,
    contradicted: bool,
    resolution: Resolution,
) -> Result<AuditState, ResolveRefusal> {
    if in_progress {
        return Err(ResolveRefusal::InProgress);
    }
    let latest = latest.ok_or(ResolveRefusal::NoIssue)?;
    if latest.seq != expected {
        return Err(ResolveRefusal::Outdated { actual: latest.seq });
    }
    // People err, and so do probes. What was decided, a person may decide again.
    let decided_before = latest.source == Source::Probe
        || matches!(
            latest.state,
            AuditState::MarkedApplied | AuditState::MarkedRolledBack
        );
    if is_issue(latest) || decided_before || contradicted {
        Ok(resolution.state())
    } else {
        Err(ResolveRefusal::NoIssue)
    }
}

/// A person's decision that is a change's latest entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made<'a> {
    pub state: AuditState,
    pub actor: &'a str,
    pub reason: &'a str,
    /// The entry that it was about.
    pub about: Seq,
}

/// Whether a decision is the one that was made, told once more because its answer was lost: the same person says the same
/// about the same entry for the same reason, and nothing has happened to the change since. Then it is acknowledged, and
/// nothing is written. Any difference makes it another decision, and one about an entry that is not the latest any more.
pub fn repeats(made: &Made<'_>, resolution: Resolution, expected: Seq, actor: &str, reason: &str) -> bool {
    *made
        == Made {
            state: resolution.state(),
            actor,
            reason,
            about: expected,
        }
}
