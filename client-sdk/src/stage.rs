//! Stages: named groups of changes that run in order.

use std::{borrow::Cow, fmt, sync::Arc};

use flamingock_api_types::execution::BlockType;

use crate::{
    change::{Change, ChangeInfo},
    context::Requirement,
};

/// A named group of changes, carried out in the order of their `order` texts.
///
/// Stages do not wait for each other: when one fails, the others still run. A gate between stages is their
/// [`kind`](Self::kind).
pub struct Stage {
    pub(crate) name: Cow<'static, str>,
    pub(crate) kind: StageKind,
    pub(crate) changes: Vec<LoadedChange>,
    /// Where to read changes from when the application is built.
    #[cfg(feature = "templates")]
    pub(crate) sources: Vec<crate::templates::Source>,
    /// Some of its changes could not be read, which is said elsewhere.
    pub(crate) is_incomplete: bool,
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
    /// It goes on from a cursor of an earlier attempt, by its [requirements](Change::requirements).
    pub(crate) takes_cursor: bool,
    pub(crate) checksum: Option<String>,
    pub(crate) code: Arc<dyn Change>,
}

impl LoadedChange {
    pub(crate) fn of<C: Change>(info: ChangeInfo, change: C) -> Self {
        Self {
            takes_cursor: info.keeps_steps || change.requirements().iter().any(Requirement::is_checkpoint),
            info: Arc::new(info),
            checksum: change.checksum(),
            code: Arc::new(change),
        }
    }
}

impl Stage {
    /// An empty stage.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            kind: StageKind::default(),
            changes: Vec::new(),
            #[cfg(feature = "templates")]
            sources: Vec::new(),
            is_incomplete: false,
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
        self.changes.push(LoadedChange::of(info, change));
        self
    }
}

#[cfg(feature = "templates")]
impl Stage {
    /// A stage of the change files of a directory; those of directories below are not taken. They are read when the
    /// application is built. A relative path begins at the process's working directory.
    pub fn from_dir(name: impl Into<Cow<'static, str>>, path: impl Into<std::path::PathBuf>) -> Self {
        Self::new(name).dir(path)
    }

    /// A stage of the change files that [`embed_dir!`](crate::embed_dir) has compiled in.
    pub fn from_embedded(
        name: impl Into<Cow<'static, str>>,
        directory: crate::templates::EmbeddedDir,
    ) -> Self {
        Self::new(name).embedded(directory)
    }

    /// Adds the change files of a directory, as [`from_dir`](Self::from_dir).
    #[must_use]
    pub fn dir(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.sources
            .push(crate::templates::Source::Directory(path.into()));
        self
    }

    /// Adds the change files of a directory that was compiled in.
    #[must_use]
    pub fn embedded(mut self, directory: crate::templates::EmbeddedDir) -> Self {
        self.sources.push(crate::templates::Source::Embedded(directory));
        self
    }

    /// Reads the change files.
    pub(crate) fn load(
        &mut self,
        loader: &crate::templates::Loader,
        targets: &[crate::Target],
        problems: &mut Vec<crate::validate::Problem>,
    ) {
        for source in std::mem::take(&mut self.sources) {
            let (changes, found) = crate::templates::load(&source, loader, targets);
            self.changes.extend(changes);
            self.is_incomplete |= !found.is_empty();
            problems.extend(found);
        }
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes: Vec<_> = self.changes.iter().map(|change| change.info.id()).collect();
        f.debug_struct("Stage")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("changes", &changes)
            .finish_non_exhaustive()
    }
}
