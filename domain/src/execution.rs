//! What became of an execution, judged by what was offered and what its own runner reported.

use crate::audit::AuditState;
use crate::plan::Action;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It holds the lock under a live lease.
    Running,
    /// All that was offered is applied.
    Succeeded,
    /// A change failed.
    Failed,
    /// Nothing failed, and something waits for a person.
    Blocked,
    /// It is over, and something that was offered has no recorded result.
    Abandoned,
}

impl Outcome {
    pub const ALL: [Self; 5] = [
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Blocked,
        Self::Abandoned,
    ];
}

/// One change of the offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    pub action: Action,
    /// What the execution's runner said of it last.
    pub reported: Option<AuditState>,
}

/// The changes of an offer, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Those to be applied: the sum of the four that follow.
    pub offered: u64,
    pub applied: u64,
    pub failed: u64,
    pub started: u64,
    pub not_reached: u64,
    pub waiting_for_person: u64,
}

impl Progress {
    pub fn of(changes: impl IntoIterator<Item = Offered>) -> Self {
        let mut progress = Self::default();
        for change in changes {
            match change.action {
                Action::Apply => progress.count(change.reported),
                Action::ManualIntervention => progress.waiting_for_person += 1,
                Action::Probe { .. } => progress.count_probe(change.reported),
                Action::Skip | Action::Withhold => {}
            }
        }
        progress
    }

    /// What a probe settles is applied, or offered by the next plan.
    fn count_probe(&mut self, said: Option<AuditState>) {
        match said {
            Some(AuditState::Applied | AuditState::RolledBack) => {}
            Some(_) => self.waiting_for_person += 1,
            None => self.count(None),
        }
    }

    fn count(&mut self, reported: Option<AuditState>) {
        self.offered += 1;
        match reported {
            None => self.not_reached += 1,
            Some(AuditState::Applied) => self.applied += 1,
            Some(AuditState::Failed | AuditState::RolledBack | AuditState::RollbackFailed) => {
                self.failed += 1;
            }
            // Runners report no others; one that is not known says that something was begun.
            Some(
                AuditState::Started
                | AuditState::MarkedApplied
                | AuditState::MarkedRolledBack
                | AuditState::Unknown,
            ) => self.started += 1,
        }
    }
}

/// `holds_live`: it holds the lock now, and its lease has not run out.
///
/// Something begun without a result outweighs a person's turn, and a failure outweighs both: a runner stops at the first
/// failure, so what it did not reach after one was not abandoned.
pub fn outcome(holds_live: bool, progress: &Progress) -> Outcome {
    if holds_live {
        Outcome::Running
    } else if progress.failed > 0 {
        Outcome::Failed
    } else if progress.started > 0 {
        Outcome::Abandoned
    } else if progress.waiting_for_person > 0 {
        Outcome::Blocked
    } else if progress.not_reached > 0 {
        Outcome::Abandoned
    } else {
        Outcome::Succeeded
    }
}

/// What a person's request that an execution stop comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// Its runner is told.
    Ask,
    /// It was asked before; that request stands, whether it heard of it or is over.
    AskedBefore,
    /// It holds the lock no more: there is nobody to tell.
    Over,
}

/// `holds_lock`: the lock is held for it, be the lease run out or not. Its runner may be silent for a while and go on.
pub fn stopping(holds_lock: bool, was_asked: bool) -> Stopping {
    match (holds_lock, was_asked) {
        (_, true) => Stopping::AskedBefore,
        (true, false) => Stopping::Ask,
        (false, false) => Stopping::Over,
    }
}
