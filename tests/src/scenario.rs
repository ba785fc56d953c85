//! What an application of the tests does: said by the test, read by the process.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How the change under test uses its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// No transaction.
    NonTx,
    /// A transaction with a mark in it.
    Marker,
    /// A transaction without a mark.
    NoMarker,
}

/// How its `apply` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    Works,
    /// Half way through.
    Fails,
}

/// Whether it can be undone outside a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Undo {
    None,
    Works,
    /// Half way through.
    Fails,
}

/// What the change under test does when it is asked what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probing {
    /// It cannot be asked.
    None,
    /// It counts its steps: all, none, or something between.
    Looks,
    Fails,
    Panics,
}

/// An application with three changes in one stage: `before`, `tested`, `after`. All of them write rows into the table
/// `effects` of their target, one for each step: what really happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scenario {
    pub kind: Kind,
    pub ending: Ending,
    pub undo: Undo,
    pub probing: Probing,
    pub always_retry: bool,
    pub environment: String,
    pub service: String,
    pub lease_ms: u64,
    /// How long the tested change may go on after SIGTERM.
    pub stop_grace_ms: u64,
    /// The tested change is a saga of three steps; of `kind` nothing counts then.
    pub saga: bool,
    /// The tested change is a [`Long`](crate::Long) one; of what it says of itself only the id counts.
    pub is_long: bool,
    /// A directory of change files, which is the stage then; of the rest, environment, service and lease count.
    pub files: Option<PathBuf>,
}

impl Scenario {
    /// Works, needs a person after a crash.
    pub fn new(kind: Kind, service: &str) -> Self {
        Self {
            kind,
            ending: Ending::Works,
            undo: Undo::None,
            probing: Probing::None,
            always_retry: false,
            environment: "production".to_owned(),
            service: service.to_owned(),
            // Long enough that a busy machine does not lose it, and short enough to wait for its end.
            lease_ms: 5_000,
            stop_grace_ms: 60_000,
            saga: false,
            is_long: false,
            files: None,
        }
    }

    /// The changes of a directory, on the target systems `plain` and `marking`.
    pub fn of_files(directory: &Path, service: &str) -> Self {
        Self {
            files: Some(directory.to_owned()),
            ..Self::new(Kind::NonTx, service)
        }
    }

    #[must_use]
    pub fn failing(self) -> Self {
        Self {
            ending: Ending::Fails,
            ..self
        }
    }

    #[must_use]
    pub fn undo(self, undo: Undo) -> Self {
        Self { undo, ..self }
    }

    #[must_use]
    pub fn probing(self, probing: Probing) -> Self {
        Self { probing, ..self }
    }

    #[must_use]
    pub fn always_retry(self) -> Self {
        Self {
            always_retry: true,
            ..self
        }
    }

    #[must_use]
    pub fn long(self) -> Self {
        Self {
            is_long: true,
            ..self
        }
    }

    #[must_use]
    pub fn environment(self, environment: &str) -> Self {
        Self {
            environment: environment.to_owned(),
            ..self
        }
    }

    #[must_use]
    pub fn lease_ms(self, lease_ms: u64) -> Self {
        Self { lease_ms, ..self }
    }

    #[must_use]
    pub fn stop_grace_ms(self, stop_grace_ms: u64) -> Self {
        Self {
            stop_grace_ms,
            ..self
        }
    }

    /// A saga in place of the tested change.
    pub fn of_saga(service: &str) -> Self {
        Self {
            saga: true,
            ..Self::new(Kind::NonTx, service)
        }
    }

    /// After the deployment of a corrected version.
    #[must_use]
    pub fn corrected(self) -> Self {
        Self {
            ending: Ending::Works,
            ..self
        }
    }
}
