//! Of many runners of a scope that see its lock free at once, one goes to the database.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::AtomicU64;

use tokio::sync::Mutex;

use crate::store::Scope;

/// A door for each scope, striped: two scopes may share one, which costs a wait and nothing else.
pub(super) struct Gates {
    hasher: RandomState,
    gates: Vec<Gate>,
}

#[derive(Default)]
pub(super) struct Gate {
    pub(super) door: Mutex<()>,
    /// Grows with each decision behind the door.
    pub(super) turns: AtomicU64,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            gates: (0..256).map(|_| Gate::default()).collect(),
        }
    }
}

impl Gates {
    pub(super) fn of(&self, scope: Scope) -> &Gate {
        let hash = usize::try_from(self.hasher.hash_one(scope) % self.gates.len() as u64).unwrap_or(0);
        &self.gates[hash]
    }
}
