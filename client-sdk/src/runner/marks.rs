//! The marks found in the target systems before a plan request.

use std::collections::HashSet;

use flamingock_api_types::execution::MarkStatus;
use futures_util::future::try_join_all;

use crate::{
    builder::Flamingock,
    causes,
    start_error::StartErrorKind,
    target::{MarkOperation, MarkScope, Target, TargetError},
};

/// The marks that a plan request carries, each with the target system that it came from.
#[derive(Default)]
pub(super) struct MarkSnapshot<'a> {
    found: Vec<(&'a Target, String, MarkOperation)>,
}

fn failed(target: &Target, error: TargetError) -> StartErrorKind {
    StartErrorKind::Target {
        target: target.id.to_string(),
        error,
    }
}

impl<'a> MarkSnapshot<'a> {
    /// Reads the marks of the pipeline's changes. Those of others, such as of changes that were removed from the code,
    /// are not sent and so never cleared.
    ///
    /// A mark that cannot be read must not count as absent: the server could have a committed change applied again.
    pub(super) async fn read(app: &'a Flamingock, scope: MarkScope) -> Result<Self, StartErrorKind> {
        let changes = app.stages.iter().flat_map(|stage| &stage.changes);
        let submitted: HashSet<_> = changes.map(|change| change.info.id()).collect();
        let each = app.targets.iter().filter_map(|target| {
            let marker = target.marker()?;
            Some(async move {
                let marks = marker.marks(scope).await.map_err(|error| failed(target, error))?;
                Ok::<_, StartErrorKind>((target, marks))
            })
        });
        let mut snapshot = Self::default();
        for (target, marks) in try_join_all(each).await? {
            let ours = marks
                .into_iter()
                .filter(|mark| submitted.contains(mark.change_id.as_str()));
            snapshot
                .found
                .extend(ours.map(|mark| (target, mark.change_id, mark.operation)));
        }
        Ok(snapshot)
    }

    /// What is sent for a change.
    pub(super) fn status(&self, change_id: &str) -> MarkStatus {
        let operations = || {
            self.found
                .iter()
                .filter(|(_, id, _)| id == change_id)
                .map(|(_, _, operation)| operation)
        };
        // A change that moved between targets can have two; that it was committed somewhere weighs more.
        if operations().any(|operation| *operation == MarkOperation::Applied) {
            MarkStatus::Applied
        } else if operations().next().is_some() {
            MarkStatus::RolledBack
        } else {
            MarkStatus::None
        }
    }

    /// Removes exactly these marks: the server has accounted for them. Tries each target system, and fails with the
    /// first that did not let it.
    ///
    /// Before a plan is carried out, a mark that stays must stop it. It contradicts what the plan was made from: the
    /// change's new mark would collide with it, so the change would leave nothing, and the next plan request would
    /// tell the server of the old mark, which takes it for the proof of this attempt.
    pub(super) async fn clear(self, scope: MarkScope) -> Result<(), StartErrorKind> {
        let mut cleared = Ok(());
        let mut rest = self.found;
        while let Some((target, _, _)) = rest.first() {
            let target = *target;
            let (here, elsewhere): (Vec<_>, Vec<_>) = rest
                .into_iter()
                .partition(|(other, _, _)| std::ptr::eq(*other, target));
            rest = elsewhere;
            let change_ids: Vec<_> = here.into_iter().map(|(_, id, _)| id).collect();
            cleared = cleared.and(clear_in(target, scope, &change_ids).await);
        }
        cleared
    }

    /// The same where nothing is carried out: a mark that stays is only sent again.
    pub(super) async fn clear_if_possible(self, scope: MarkScope) {
        // It has been logged.
        let _ = self.clear(scope).await;
    }
}

async fn clear_in(target: &Target, scope: MarkScope, change_ids: &[String]) -> Result<(), StartErrorKind> {
    let Some(marker) = target.marker() else {
        return Ok(());
    };
    match marker.clear_marks(scope, change_ids).await {
        Ok(()) => {
            tracing::debug!(target_system = %target.id, ?change_ids, "marks cleared");
            Ok(())
        }
        Err(error) => {
            tracing::warn!(target_system = %target.id, ?change_ids, error = %causes::one_line(&error), "marks stay");
            Err(failed(target, error))
        }
    }
}
