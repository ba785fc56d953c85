//! Which entry of a change is its latest.

use super::{ChangeState, Source, States};
use crate::ids::{ChangeId, Seq};

/// One entry of the log, as far as the fold needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldEntry {
    pub change: ChangeId,
    pub late: bool,
    pub state: ChangeState,
}

/// Folds a log, in whatever order it comes, into the latest state of each change.
///
/// The highest sequence wins, never a client's clock. Late entries are evidence only. History written by an importer
/// ranks before everything that happened here, even if it arrives afterwards: an import that is repeated next year
/// must not undo a year.
pub fn fold<'a>(entries: impl IntoIterator<Item = &'a FoldEntry>) -> States {
    let mut states = States::new();
    for entry in entries.into_iter().filter(|entry| !entry.late) {
        match states.get_mut(&entry.change) {
            Some(held) if rank(held) < rank(&entry.state) => *held = entry.state,
            Some(_) => {}
            None => {
                states.insert(entry.change.clone(), entry.state);
            }
        }
    }
    states
}

fn rank(state: &ChangeState) -> (bool, Seq) {
    (state.source != Source::Import, state.seq)
}
