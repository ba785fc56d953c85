//! One run: ask for a plan, carry it out, ask again, until there is nothing left or nothing possible.

use flamingock_api_types::{
    digest,
    execution::{BlockSubmission, MarkStatus},
};
use tracing::Instrument as _;

use crate::{
    builder::Flamingock,
    client::{Client, StartQuestion},
    events::RunEvent,
    report::{ErrorReport, Report, RunStatus},
    stage::Stage,
    start_error::{StartError, StartErrorKind},
};

mod audit;
#[cfg(feature = "certificate")]
mod certified;
mod marks;
mod offer;
mod plan_loop;
mod preview;
mod probing;
mod record;
mod stage;
pub(crate) mod step;
mod strategy;
mod validation;

use record::RunRecord;

/// The pipeline as it is submitted before anything was done.
pub(crate) fn submission(stages: &[Stage]) -> Vec<BlockSubmission> {
    RunRecord::new(stages).submission(|_| MarkStatus::None)
}

pub(crate) async fn run(app: &Flamingock) -> Result<Report, StartError> {
    let mut record = RunRecord::new(&app.stages);
    let Some(client) = &app.client else {
        tracing::info!("flamingock is switched off: nothing is applied");
        return Ok(record.report(None));
    };
    let span = tracing::info_span!("flamingock.run", runner_id = client.runner_id());
    async {
        app.events.emit(|| RunEvent::RunStarted {
            runner_id: client.runner_id().to_owned(),
            stages: app.stages.len(),
            changes: app.stages.iter().map(|stage| stage.changes.len()).sum(),
        });
        let ended = go(app, client, &mut record).await;
        conclude(app, &record, ended)
    }
    .instrument(span)
    .await
}

/// A run of which nothing is known.
pub(crate) fn failed(app: &Flamingock, kind: StartErrorKind) -> StartError {
    let (name, message) = kind.describe();
    let report = RunRecord::new(&app.stages).report(Some(ErrorReport::new(name, message, Vec::new())));
    StartError::new(kind, report)
}

async fn go(app: &Flamingock, client: &Client, record: &mut RunRecord<'_>) -> Result<(), StartErrorKind> {
    let question = StartQuestion {
        digest: digest::of_blocks(&record.submission(|_| MarkStatus::None)),
        certificate: app.settings.wants_certificate(),
    };
    let ended = ask_and_carry_out(app, client, &question, record).await;
    #[cfg(feature = "certificate")]
    if let Some(certificate) = &app.settings.certificate {
        return certified::conclude(app, client, record, &question.digest, certificate, ended).await;
    }
    ended
}

async fn ask_and_carry_out(
    app: &Flamingock,
    client: &Client,
    question: &StartQuestion,
    record: &mut RunRecord<'_>,
) -> Result<(), StartErrorKind> {
    if app.settings.validate_only {
        return validation::run(app, client, record).await;
    }
    let opened = tokio::select! {
        biased;
        _ = app.stop.requested() => return Err(StartErrorKind::Interrupted),
        opened = client.open(question) => opened.map_err(StartErrorKind::Server)?,
    };
    #[cfg(feature = "certificate")]
    if opened.all_applied.is_some() {
        record.note_heard();
    }
    // Target systems are not asked: where every change is applied, a mark decides nothing and can only be cleared, which the
    // next start with something to do does before it applies anything (docs/adr/030).
    if opened.all_applied == Some(true) {
        #[cfg(feature = "certificate")]
        record.note_certificate(opened.certificate);
        record.everything_was_applied();
        return Ok(());
    }
    plan_loop::run(app, client, &opened.session, record).await?;
    match record.failure() {
        Some(kind) => Err(kind),
        None => Ok(()),
    }
}

fn conclude(
    app: &Flamingock,
    record: &RunRecord<'_>,
    ended: Result<(), StartErrorKind>,
) -> Result<Report, StartError> {
    let error = ended.as_ref().err().and_then(|kind| match kind {
        // These are in the stages already.
        StartErrorKind::ChangesFailed | StartErrorKind::ManualIntervention { .. } => None,
        other => {
            let (name, message) = other.describe();
            Some(ErrorReport::new(name, message, Vec::new()))
        }
    });
    let report = record.report(error);
    if app.settings.log_report {
        if report.status == RunStatus::Failed {
            tracing::error!(target: "flamingock::report", "\n{report}");
        } else if report.status == RunStatus::Certified {
            tracing::warn!(target: "flamingock::report", "\n{report}");
        } else {
            tracing::info!(target: "flamingock::report", "\n{report}");
        }
    }
    app.events.emit(|| RunEvent::RunEnded {
        report: Box::new(report.clone()),
    });
    match ended {
        Ok(()) => Ok(report),
        Err(StartErrorKind::LockUnavailable { .. }) if !app.settings.fail_if_lock_unavailable => Ok(report),
        Err(kind) => Err(StartError::new(kind, report)),
    }
}
