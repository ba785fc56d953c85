//! The submitted pipeline, with what repeats in it merged: stages by name, changes by id (W 6.9).
//!
//! A client that has two stages of one name keeps one status for both and is broken by an answer that lists the name
//! twice. A change has no identity but its id, so it is judged once wherever it stands.

use std::collections::HashMap;
use std::ops::Range;

use crate::ids::{ChangeId, StageName};
use crate::pipeline::{Change, Mark, Pipeline, ReportedChange, ReportedStage};

/// What a stage's `COMPLETED` says of a change in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Completion {
    /// Nothing: none of its stages is reported so.
    Unsaid,
    /// Little: the name repeats, and the client's one status for it is that of the last stage it went through. The
    /// change may stand in another, that failed or was blocked.
    Doubtful,
    /// That it is applied.
    Said,
}

/// A change id, wherever and however often it was submitted.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub id: &'a ChangeId,
    pub mark: Mark,
    pub reported: Option<ReportedChange>,
    pub completion: Completion,
    /// Wherever it stands.
    pub has_probe: bool,
    /// The merged stage in which it came first, and the others. There are hardly ever others.
    pub stage: usize,
    more_stages: Vec<usize>,
}

impl Seen<'_> {
    pub(super) fn stages(&self) -> impl Iterator<Item = usize> {
        std::iter::once(self.stage).chain(self.more_stages.iter().copied())
    }
}

/// A stage name, wherever and however often it was submitted.
#[derive(Debug)]
pub(super) struct Named<'a> {
    pub name: &'a StageName,
    /// Indexes of its changes, each once, in order of first appearance.
    pub changes: Vec<usize>,
    pub reported_failed: bool,
    pub repeated: bool,
}

/// One submitted stage.
#[derive(Debug)]
pub(super) struct Occurrence {
    /// Index of its name.
    pub stage: usize,
    /// Its changes: a range of [`Survey::submitted`].
    changes: Range<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Survey<'a> {
    pub changes: Vec<Seen<'a>>,
    pub stages: Vec<Named<'a>>,
    /// All submitted stages; their index is their position counted over all blocks.
    pub occurrences: Vec<Occurrence>,
    /// Ranges of [`Survey::occurrences`].
    pub blocks: Vec<Range<usize>>,
    /// Index of the change at each submitted place.
    submitted: Vec<usize>,
}

impl<'a> Survey<'a> {
    pub(super) fn of(pipeline: &'a Pipeline) -> Self {
        let size = pipeline.stages().map(|stage| stage.changes.len()).sum();
        let mut survey = Self::default();
        survey.changes.reserve(size);
        survey.submitted.reserve(size);
        let mut ids: HashMap<&ChangeId, usize> = HashMap::with_capacity(size);
        let mut names: HashMap<&StageName, usize> = HashMap::new();

        for block in &pipeline.blocks {
            let first = survey.occurrences.len();
            for stage in &block.stages {
                let index = *names.entry(&stage.name).or_insert(survey.stages.len());
                survey.name_stage(index, &stage.name, stage.reported, stage.changes.len());
                let start = survey.submitted.len();
                for change in &stage.changes {
                    let known = *ids.entry(&change.id).or_insert(survey.changes.len());
                    survey.see(known, index, change);
                }
                let changes = start..survey.submitted.len();
                survey.occurrences.push(Occurrence {
                    stage: index,
                    changes,
                });
            }
            survey.blocks.push(first..survey.occurrences.len());
        }
        survey.hear_completions(pipeline);
        survey
    }

    /// Only when all names are known is it known which of them repeat.
    fn hear_completions(&mut self, pipeline: &Pipeline) {
        for (stage, occurrence) in pipeline.stages().zip(&self.occurrences) {
            if stage.reported != Some(ReportedStage::Completed) {
                continue;
            }
            let repeated = self.stages[occurrence.stage].repeated;
            let said = if repeated {
                Completion::Doubtful
            } else {
                Completion::Said
            };
            for &change in &self.submitted[occurrence.changes.clone()] {
                let known = &mut self.changes[change].completion;
                *known = said.max(*known);
            }
        }
    }

    fn name_stage(
        &mut self,
        index: usize,
        name: &'a StageName,
        reported: Option<ReportedStage>,
        size: usize,
    ) {
        let failed = matches!(reported, Some(ReportedStage::Failed | ReportedStage::Blocked));
        if let Some(known) = self.stages.get_mut(index) {
            known.repeated = true;
            known.reported_failed |= failed;
        } else {
            let changes = Vec::with_capacity(size);
            self.stages.push(Named {
                name,
                changes,
                reported_failed: failed,
                repeated: false,
            });
        }
    }

    fn see(&mut self, index: usize, stage: usize, change: &'a Change) {
        self.submitted.push(index);
        if let Some(known) = self.changes.get_mut(index) {
            known.mark = stronger_mark(known.mark, change.mark);
            known.reported = stronger_report(known.reported, change.reported);
            known.has_probe &= change.has_probe;
            if known.stage == stage || known.more_stages.contains(&stage) {
                return;
            }
            known.more_stages.push(stage);
        } else {
            self.changes.push(Seen {
                id: &change.id,
                mark: change.mark,
                reported: change.reported,
                completion: Completion::Unsaid,
                has_probe: change.has_probe,
                stage,
                more_stages: Vec::new(),
            });
        }
        self.stages[stage].changes.push(index);
    }

    pub(super) fn changes_of(&self, occurrence: &Occurrence) -> impl Iterator<Item = usize> {
        self.submitted[occurrence.changes.clone()].iter().copied()
    }
}

/// Of two reports on one change: bad news before good, and a result before hearsay.
fn stronger_report(one: Option<ReportedChange>, other: Option<ReportedChange>) -> Option<ReportedChange> {
    std::cmp::max_by_key(one, other, |reported| match reported {
        None => 0,
        Some(ReportedChange::AlreadyApplied) => 1,
        Some(ReportedChange::Applied) => 2,
        Some(ReportedChange::RolledBack) => 3,
        Some(ReportedChange::Failed) => 4,
    })
}

fn stronger_mark(one: Mark, other: Mark) -> Mark {
    match (one, other) {
        (Mark::Applied, _) | (_, Mark::Applied) => Mark::Applied,
        (Mark::RolledBack, _) | (_, Mark::RolledBack) => Mark::RolledBack,
        (Mark::None, Mark::None) => Mark::None,
    }
}
