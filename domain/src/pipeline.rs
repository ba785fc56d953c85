//! A pipeline as submitted by a runner, and what the runner says of it.

use crate::ids::{ChangeId, Checksum, StageName};

/// Information only: gates follow the submitted list, never the type (S §1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockType {
    System,
    Legacy,
    Default,
}

/// The marker found in the target system for a change (`ongoingStatus`, S §1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    None,
    Applied,
    RolledBack,
}

/// What happened to a change in this run, as its runner reports (`currentStatus`). Absent means not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportedChange {
    Applied,
    AlreadyApplied,
    Failed,
    RolledBack,
}

/// What happened to a stage in this run, as its runner reports (`status`). Absent means not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportedStage {
    Started,
    Completed,
    Failed,
    Blocked,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub id: ChangeId,
    pub mark: Mark,
    pub reported: Option<ReportedChange>,
    /// The change's own flag; for display and validation only (S §2.1).
    pub transactional: bool,
    /// Who wrote it, as it says itself.
    pub author: Option<String>,
    /// It can be asked whether it took effect.
    pub has_probe: bool,
    /// It goes on from a cursor of an earlier attempt. One that does not begins at its beginning.
    pub takes_cursor: bool,
    /// Names its content. Absent: its client sends none, such as the Java client.
    pub checksum: Option<Checksum>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    pub name: StageName,
    pub reported: Option<ReportedStage>,
    pub changes: Vec<Change>,
}

/// Stages that are independent of each other; the next block waits for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub kind: BlockType,
    pub stages: Vec<Stage>,
}

/// Blocks in the submitted order. Stage names and change ids may repeat here; the planner merges (W 6.9).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pipeline {
    pub blocks: Vec<Block>,
}

impl Pipeline {
    pub fn stages(&self) -> impl Iterator<Item = &Stage> {
        self.blocks.iter().flat_map(|block| &block.stages)
    }

    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.stages().flat_map(|stage| &stage.changes)
    }

    /// Whether the runner reports nothing yet: the first request of a run looks like this (W 6.19).
    pub fn is_start_of_run(&self) -> bool {
        self.stages().all(|stage| stage.reported.is_none())
            && self.changes().all(|change| change.reported.is_none())
    }

    /// Whether a change goes on from a cursor, wherever it stands.
    pub fn takes_cursor(&self, id: &ChangeId) -> bool {
        self.changes()
            .filter(|change| change.id == *id)
            .all(|change| change.takes_cursor)
    }

    /// Whether a stage is reported failed or blocked. Where none is, the Java client takes an `ABORT` for a success
    /// (W item 16).
    pub fn reports_failure(&self) -> bool {
        self.stages().any(|stage| {
            matches!(
                stage.reported,
                Some(ReportedStage::Failed | ReportedStage::Blocked)
            )
        })
    }

    /// The same pipeline as a start submits it: what this run did is left out.
    #[must_use]
    pub fn at_start(mut self) -> Self {
        for stage in self.blocks.iter_mut().flat_map(|block| &mut block.stages) {
            stage.reported = None;
            for change in &mut stage.changes {
                change.reported = None;
            }
        }
        self
    }

    pub fn has_marks(&self) -> bool {
        self.changes().any(|change| change.mark != Mark::None)
    }
}
