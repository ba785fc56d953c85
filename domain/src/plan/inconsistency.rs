//! What can be wrong with a plan.

use crate::ids::{ChangeId, StageName};

/// Something that is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inconsistency {
    /// The findings are not the submitted stage names, each once, in order of first appearance.
    FindingsMissStages,
    /// A finding does not list exactly the changes submitted under its name.
    FindingMissesChanges(StageName),
    /// Two findings say different things of one change.
    FindingsDisagree(ChangeId),
    WrongVerdict(StageName),
    /// Skipped, but neither the log nor a mark nor the runner says that it is applied.
    SkippedWithoutProof(ChangeId),
    /// Withheld, but nothing failed in this run.
    WithheldWithoutFailure(ChangeId),
    /// Applied in the log and to be applied again.
    AppliesApplied(ChangeId),
    /// To be asked although nothing is in doubt, about another entry than the latest, or by a runner that cannot.
    ProbesKnown(ChangeId),
    /// Reported applied, failed or rolled back in this run, and offered again.
    OffersReported(ChangeId),
    /// The lock does not stand as the action says.
    WrongLock,
    /// The block in the reason is none, or not the first with something left.
    WrongBlock,
    /// Nothing is offered.
    NothingOffered,
    /// The name is offered twice, out of the submitted order, or from outside the block.
    StageMisplaced(StageName),
    /// The stage is reported failed, blocked or completed.
    StageIsOver(StageName),
    /// The list is not exactly the changes that the block has under this name, each once.
    OfferedListWrong(StageName),
    /// Nothing in it but `Skip`: the Java client ends the whole run there.
    NothingToDo(StageName),
    /// The offered action is not the one of the finding, or none to be offered.
    OfferDisagrees(ChangeId),
    /// To be applied in two stages of one plan.
    AppliedTwice(ChangeId),
    /// A stage with work in the active block that is not offered.
    StageForgotten(StageName),
    /// The plan ends the run and leaves this undone.
    LeavesWork(ChangeId),
    /// `ABORT` although nothing failed in this run: the Java client takes it for a success.
    AbortsWithoutFailure,
    /// `CONTINUE` although a stage failed in this run.
    ContinuesAfterFailure,
    /// The mark does not prove the derived entry, or the log has it already, or it is derived twice.
    DerivedWithoutProof(ChangeId),
    /// Marks were taken in while another runner holds the lock.
    TookMarksOfOther,
    /// The marks are said to be accounted for, and are not.
    ClaimsMarks,
    /// Not exactly the names that were submitted more than once.
    WrongRepeatedStages,
}
