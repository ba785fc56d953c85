//! Sagas that a run was dropped in, by a time-out around it: the process lives, and so may what they were doing.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Sagas, by id, that were begun and have not ended. What a look finds of the step that was under way may be otherwise a moment
/// later, so not this process goes on with them, but the next.
#[derive(Debug, Default)]
pub(crate) struct LeftOpen(Mutex<HashSet<String>>);

impl LeftOpen {
    pub(crate) fn begun(&self, id: &str) {
        self.ids().insert(id.to_owned());
    }

    pub(crate) fn ended(&self, id: &str) {
        self.ids().remove(id);
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.ids().contains(id)
    }

    fn ids(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
