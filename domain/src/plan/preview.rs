//! What a dry run comes to.

use super::outcome::{Action, Plan, PlanAction};

/// What a start would come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preview {
    UpToDate,
    Pending,
    NeedsPerson,
    StoppedByPolicy,
    Held,
}

/// Sums up a plan that was made as if nobody held the lock, and what the policies say to it.
///
/// `held`: another runner holds the lock. Then work waits, whatever else stands in its way: what looks like a change for a
/// person may be the holder's work of this second. A stop comes before a person: nothing runs until it is gone.
pub fn preview(plan: &Plan, stopped: bool, held: bool) -> Preview {
    let has_work = !matches!(plan.action, PlanAction::Continue);
    let needs_person = || {
        let mut changes = plan.findings.iter().flat_map(|stage| &stage.changes);
        changes.any(|change| change.action == Action::ManualIntervention)
    };
    match () {
        () if has_work && held => Preview::Held,
        () if stopped => Preview::StoppedByPolicy,
        () if !has_work => Preview::UpToDate,
        () if needs_person() => Preview::NeedsPerson,
        () => Preview::Pending,
    }
}
