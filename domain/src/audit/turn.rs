//! What an entry does to the list of issues: for those who are told of what happens as it happens.
//!
//! A change that its runner is working on is no issue, and `FAILED` is not the runner's last word while it may still undo.
//! So a `STARTED` or `FAILED` becomes one when its runner's lock ends, and not before.

use super::{AuditState, ChangeState, is_issue};

/// An issue appears or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssueTurn {
    Opened,
    Closed,
}

/// An entry that counts, in its place.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    pub before: Option<&'a ChangeState>,
    pub after: &'a ChangeState,
    /// Both were reported of one execution.
    pub same_execution: bool,
    /// The entry's execution held the lock no more, or there was never one that could: an import, a person's decision.
    pub runner_is_out: bool,
}

/// What the entry makes of the list.
pub fn issue_turn(turn: &Turn<'_>) -> Option<IssueTurn> {
    let was = turn.before.is_some_and(|before| {
        is_issue(before) && !(is_unfinished(before) && turn.same_execution && !turn.runner_is_out)
    });
    let is = is_issue(turn.after) && (!is_unfinished(turn.after) || turn.runner_is_out);
    match (was, is) {
        (false, true) => Some(IssueTurn::Opened),
        // A new attempt at it is under way: not settled, and nothing to decide at this moment either.
        (true, false) if is_issue(turn.after) => None,
        (true, false) => Some(IssueTurn::Closed),
        _ => None,
    }
}

/// Whether a change in this state becomes an issue when the lock of its runner ends.
pub fn is_issue_without_runner(latest: &ChangeState) -> bool {
    is_unfinished(latest) && is_issue(latest)
}

fn is_unfinished(state: &ChangeState) -> bool {
    matches!(state.state, AuditState::Started | AuditState::Failed)
}
