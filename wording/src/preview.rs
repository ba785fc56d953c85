//! What a dry run of a plan came to.

use std::collections::HashSet;

use chrono::DateTime;
use flamingock_api_types::execution::Verdict as VerdictView;
use flamingock_api_types::lock::LockView;
use flamingock_api_types::preview::{
    MissingChange, PlanPreview, PreviewAction, PreviewChange, PreviewCounts, PreviewStage, PreviewVerdict,
};
use flamingock_domain::audit::ChangeState;
use flamingock_domain::ids::{ChangeId, Seq};
use flamingock_domain::plan::policy::Finding;
use flamingock_domain::plan::{Action, ChangeFinding, Plan, PlanReason, Preview, Verdict};
use flamingock_domain::time::Timestamp;

use crate::{reasons, rulings};

/// Missing changes that are listed; all are counted.
const MISSING_MAX: usize = 1_000;

/// What a dry run found.
pub struct Previewed<'a> {
    pub verdict: Preview,
    pub verdict_when_free: Preview,
    /// Made as if nobody held the lock.
    pub plan: &'a Plan,
    pub findings: &'a [Finding],
    /// Of whoever holds the lock and may be working.
    pub held_by: Option<LockView>,
    /// What the holder is working on this moment.
    pub in_progress: &'a HashSet<ChangeId>,
    /// The entry that a change was judged by.
    pub latest: &'a dyn Fn(&ChangeId) -> Option<Seq>,
    /// Recorded changes that the pipeline lacks, by id.
    pub missing: Vec<(&'a ChangeId, &'a ChangeState)>,
    pub head_seq: Seq,
    pub now: Timestamp,
}

pub fn preview(previewed: &Previewed<'_>) -> PlanPreview {
    let counts = counts(previewed);
    PlanPreview {
        verdict: verdict(previewed.verdict),
        verdict_when_free: verdict(previewed.verdict_when_free),
        message: message(previewed, counts),
        held_by: previewed.held_by.clone(),
        block: match previewed.plan.reason {
            PlanReason::WorkPending { block }
            | PlanReason::PersonNeeded { block }
            | PlanReason::BlockFailed { block } => i64::try_from(block).ok(),
            PlanReason::NothingToDo | PlanReason::HeldByOther => None,
        },
        stages: previewed
            .plan
            .findings
            .iter()
            .map(|stage| PreviewStage {
                name: stage.name.to_string(),
                verdict: match stage.verdict {
                    Verdict::NeedsWork => VerdictView::NeedsWork,
                    Verdict::UpToDate => VerdictView::UpToDate,
                },
                changes: stage
                    .changes
                    .iter()
                    .map(|change| change_view(previewed, change))
                    .collect(),
            })
            .collect(),
        policy: previewed.findings.iter().map(rulings::finding).collect(),
        counts: PreviewCounts {
            missing: i64::try_from(previewed.missing.len()).unwrap_or(i64::MAX),
            ..counts
        },
        missing_changes: previewed
            .missing
            .iter()
            .take(MISSING_MAX)
            .map(|(id, latest)| MissingChange {
                id: id.to_string(),
                state: latest.state.as_wire().to_owned(),
                seq: latest.seq,
            })
            .collect(),
        repeated_stages: previewed
            .plan
            .repeated_stages
            .iter()
            .map(ToString::to_string)
            .collect(),
        head_seq: previewed.head_seq,
        judged_at: DateTime::from_timestamp_micros(previewed.now.as_micros()).unwrap_or_default(),
    }
}

fn verdict(verdict: Preview) -> PreviewVerdict {
    match verdict {
        Preview::UpToDate => PreviewVerdict::UpToDate,
        Preview::Pending => PreviewVerdict::Pending,
        Preview::NeedsPerson => PreviewVerdict::NeedsPerson,
        Preview::StoppedByPolicy => PreviewVerdict::StoppedByPolicy,
        Preview::Held => PreviewVerdict::Held,
    }
}

fn action(previewed: &Previewed<'_>, change: &ChangeFinding) -> PreviewAction {
    if previewed.in_progress.contains(&change.id) {
        return PreviewAction::InProgress;
    }
    match change.action {
        Action::Skip => PreviewAction::Skip,
        Action::Apply => PreviewAction::Apply,
        Action::Probe { .. } => PreviewAction::Probe,
        // Nothing is withheld from a run that has not begun; if it ever were, a person should look.
        Action::ManualIntervention | Action::Withhold => PreviewAction::ManualIntervention,
    }
}

fn change_view(previewed: &Previewed<'_>, change: &ChangeFinding) -> PreviewChange {
    let action = action(previewed, change);
    let (code, message) = match action {
        PreviewAction::InProgress => ("IN_PROGRESS", "The runner that holds the lock is working on it."),
        _ => reasons::of_change(change.reason),
    };
    PreviewChange {
        id: change.id.to_string(),
        action,
        code: code.to_owned(),
        message: message.to_owned(),
        seq: (previewed.latest)(&change.id),
    }
}

/// Each change once, wherever it stands; those that are missing are not among them.
fn counts(previewed: &Previewed<'_>) -> PreviewCounts {
    let mut counts = PreviewCounts::default();
    let mut seen = HashSet::new();
    for change in previewed.plan.findings.iter().flat_map(|stage| &stage.changes) {
        if !seen.insert(&change.id) {
            continue;
        }
        match action(previewed, change) {
            PreviewAction::Skip => counts.applied += 1,
            PreviewAction::Apply | PreviewAction::Probe => counts.pending += 1,
            PreviewAction::InProgress => counts.in_progress += 1,
            PreviewAction::ManualIntervention | PreviewAction::Unknown => counts.needs_person += 1,
        }
    }
    counts
}

fn message(previewed: &Previewed<'_>, counts: PreviewCounts) -> String {
    let changes = |count: i64| {
        if count == 1 {
            "1 change".to_owned()
        } else {
            format!("{count} changes")
        }
    };
    match previewed.verdict {
        Preview::UpToDate => "Every change is applied: there is nothing to do.".to_owned(),
        Preview::Pending => format!("{} would be applied.", changes(counts.pending)),
        Preview::NeedsPerson => format!(
            "{} must be decided by a person first: the stage that holds it does not run. Look at the service's issues.",
            changes(counts.needs_person)
        ),
        Preview::StoppedByPolicy => rulings::stopped(previewed.findings, true).message,
        Preview::Held => {
            let owner = previewed
                .held_by
                .as_ref()
                .map_or("another runner", |lock| lock.owner.as_str());
            format!("There is work, and the start would wait: {owner} holds the lock and may be working.")
        }
    }
}
