//! Stages: named groups of changes that run in order.

use std::{borrow::Cow, fmt, sync::Arc};

use flamingock_api_types::execution::BlockType;

use crate::change::{Change, ChangeInfo};

/// A named group of changes, carried out in the order of their `order` texts.
///
/// Stages do not wait for each other: when one fails, the others still run. A gate between stages is their
/// [`kind`](Self::kind).
pub struct Stage {
    pub(crate) name: Cow<'static, str>,
    pub(crate) kind: StageKind,
    pub(crate) changes: Vec<LoadedChange>,
}

/// Which block a stage belongs to. Blocks run one after the other, in the order of these variants; the stages of one
/// start only when every stage of the one before is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum StageKind {
    /// What must be there before everything else.
    System,
    /// Changes that came from elsewhere.
    Legacy,
    /// The application's own.
    #[default]
    Default,
}

impl From<StageKind> for BlockType {
    fn from(kind: StageKind) -> Self {
        match kind {
            StageKind::System => Self::System,
            StageKind::Legacy => Self::Legacy,
            StageKind::Default => Self::Default,
        }
    }
}

#[derive(Clone)]
pub(crate) struct LoadedChange {
    pub(crate) info: Arc<ChangeInfo>,
    pub(crate) checksum: Option<String>,
    pub(crate) code: Arc<dyn Change>,
}

impl Stage {
    /// An empty stage.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            kind: StageKind::default(),
            changes: Vec::new(),
        }
    }

    /// Puts the stage into an earlier block.
    #[must_use]
    pub fn kind(mut self, kind: StageKind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds a change.
    #[must_use]
    pub fn change<C: Change>(mut self, change: C) -> Self {
        let mut info = change.info();
        if info.source.is_empty() {
            info.source = Cow::Borrowed(std::any::type_name::<C>());
        }
        self.changes.push(LoadedChange {
            info: Arc::new(info),
            checksum: change.checksum(),
            code: Arc::new(change),
        });
        self
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes: Vec<_> = self.changes.iter().map(|change| change.info.id()).collect();
        f.debug_struct("Stage")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("changes", &changes)
            .finish()
    }
}
