//! Only looking: whether a start would have anything to do, asked without a lock, so that nobody ever waits for the answer
//! and nothing of it stays.

use flamingock_api_types::{
    ErrorCode,
    execution::{ChangeResult, ChangeStatus, PipelineResult, StageResult},
    policy::PolicyKind,
    preview::{PlanPreview, PreviewAction, PreviewVerdict},
};
use tokio::time::Instant;

use super::{preview, record::RunRecord, stage};
use crate::{
    builder::Flamingock, client::Client, events::RunEvent, report::StageState, start_error::StartErrorKind,
};

pub(super) async fn run(
    app: &Flamingock,
    client: &Client,
    record: &mut RunRecord<'_>,
) -> Result<(), StartErrorKind> {
    let preview = tokio::select! {
        biased;
        _ = app.stop.requested() => {
            app.events.emit(|| RunEvent::Stopping {});
            return Err(StartErrorKind::Interrupted);
        }
        preview = when_free(app, client) => preview?,
    };
    for found in &preview.policy {
        let change = found.change_id.as_deref().unwrap_or_default();
        tracing::warn!(policy = ?found.policy, change, "{}", found.message);
    }
    let known = known(&preview);
    match preview.verdict {
        PreviewVerdict::UpToDate => record.finish(&known),
        PreviewVerdict::Pending => {
            record.merge(&known)?;
            Err(StartErrorKind::PendingChanges {
                change_ids: those(&preview, |action| action != PreviewAction::Skip),
            })
        }
        PreviewVerdict::NeedsPerson => {
            record.merge(&known)?;
            block(&preview, record);
            record
                .failure()
                .map_or_else(|| Err(nonsense("it needs a person, but for no change")), Err)
        }
        PreviewVerdict::StoppedByPolicy => {
            record.merge(&known)?;
            Err(stopped(&preview))
        }
        PreviewVerdict::Held | PreviewVerdict::Unknown => Err(nonsense("its verdict is unknown")),
    }
}

/// Asks until what is asked does not depend on a runner at work, as long as a start would wait for it.
async fn when_free(app: &Flamingock, client: &Client) -> Result<PlanPreview, StartErrorKind> {
    let settings = app.settings.lock;
    let began = Instant::now();
    let mut seen: Option<String> = None;
    loop {
        let preview = preview::ask(app, client).await?;
        if preview.verdict != PreviewVerdict::Held {
            return Ok(preview);
        }
        let holder = preview
            .held_by
            .ok_or_else(|| nonsense("the lock is held, but it does not say by whom"))?
            .owner;
        // There is work.
        #[cfg(feature = "certificate")]
        if seen.is_none()
            && let Some(certificate) = &app.settings.certificate
        {
            certificate.forget().await;
        }
        if seen.as_ref() != Some(&holder) {
            tracing::info!(%holder, "another runner is at work");
            app.events.emit(|| RunEvent::WaitingForLock {
                holder: holder.clone(),
            });
            seen = Some(holder.clone());
        }
        let left = settings.wait.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(StartErrorKind::LockUnavailable {
                holder,
                waited: began.elapsed(),
            });
        }
        tokio::time::sleep(settings.poll.min(left)).await;
    }
}

/// As a plan would have said it.
fn known(preview: &PlanPreview) -> PipelineResult {
    let stages = preview.stages.iter().map(|stage| StageResult {
        name: stage.name.clone(),
        verdict: stage.verdict,
        changes: stage
            .changes
            .iter()
            .map(|change| ChangeResult {
                id: change.id.clone(),
                status: if change.action == PreviewAction::Skip {
                    ChangeStatus::AlreadyApplied
                } else {
                    ChangeStatus::NotReached
                },
            })
            .collect(),
    });
    PipelineResult {
        stages: stages.collect(),
    }
}

fn those(preview: &PlanPreview, wanted: impl Fn(PreviewAction) -> bool) -> Vec<String> {
    let changes = preview.stages.iter().flat_map(|stage| &stage.changes);
    changes
        .filter(|change| wanted(change.action))
        .map(|change| change.id.clone())
        .collect()
}

fn block(preview: &PlanPreview, record: &mut RunRecord<'_>) {
    for found in &preview.stages {
        let waiting: Vec<_> = found
            .changes
            .iter()
            .filter(|change| change.action == PreviewAction::ManualIntervention)
            .map(|change| change.id.clone())
            .collect();
        let position = record.stages().iter().position(|stage| stage.name == found.name);
        if let Some(position) = position.filter(|_| !waiting.is_empty()) {
            let blocked = record.stage(position);
            blocked.state = StageState::BlockedManualIntervention;
            blocked.error = Some(stage::intervention(waiting, &[]));
        }
    }
}

/// What a person must act on comes first; a freeze, which ends by itself, last: as in the refusal of a start.
fn stopped(preview: &PlanPreview) -> StartErrorKind {
    let stops = || preview.policy.iter().filter(|found| found.stops);
    let code = [
        (PolicyKind::ChecksumMismatch, ErrorCode::ChecksumMismatch),
        (PolicyKind::OutOfOrder, ErrorCode::OutOfOrder),
        (PolicyKind::ApprovalMissing, ErrorCode::ApprovalMissing),
    ]
    .into_iter()
    .find(|(kind, _)| stops().any(|found| found.policy == *kind))
    .map_or(ErrorCode::Frozen, |(_, code)| code);
    StartErrorKind::StoppedByPolicy {
        code,
        reason: preview.message.clone(),
        change_ids: stops().filter_map(|found| found.change_id.clone()).collect(),
    }
}

fn nonsense(text: &str) -> StartErrorKind {
    StartErrorKind::Protocol(text.to_owned())
}
