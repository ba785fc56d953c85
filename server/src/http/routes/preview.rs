//! The dry run of a plan.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use chrono::DateTime;
use flamingock_api_types::execution::{PlanRequest, Verdict as VerdictView};
use flamingock_api_types::preview::{
    MissingChange, PlanPreview, PreviewAction, PreviewChange, PreviewCounts, PreviewStage, PreviewVerdict,
};
use flamingock_api_types::{ErrorCode, ProblemDetails};
use flamingock_domain::plan::{Action, ChangeFinding, PlanReason, Preview, Verdict};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::previews::Previewed;
use crate::http::extract::{ApiPath, Reader};
use crate::http::problem::Problem;
use crate::http::wire::{self, Submitted};
use crate::http::{Api, body, reasons, rulings};

/// Missing changes that are listed; all are counted.
const MISSING_MAX: usize = 1_000;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(plan_preview))
}

/// Preview a plan
///
/// What a start with this pipeline would get now: every change with its action and why, what the policies say, and who holds
/// the lock. A dry run: no lock is taken, nothing is written, no mark is accounted for. The body is the plan call's, of any
/// client generation; what it reports of a run (`status`, `currentStatus`) is left out of account.
#[utoipa::path(
    post,
    path = "/api/v1/admin/environment/{environmentId}/service/{serviceId}/plan",
    operation_id = "plan_preview",
    tag = "policies",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
    ),
    request_body(content = PlanRequest, example = json!({
        "clientSubmission": {"blocks": [{"type": "DEFAULT", "stages": [{"name": "schema", "order": 0, "changes": [
            {"id": "create-invoices", "ongoingStatus": "NONE", "transactional": true},
            {"id": "add-due-date", "ongoingStatus": "NONE", "transactional": true}
        ]}]}]}
    })),
    responses(
        (status = 200, description = "What a start would come to", body = PlanPreview, example = json!({
            "verdict": "PENDING", "verdictWhenFree": "PENDING",
            "message": "1 change would be applied.",
            "block": 0,
            "stages": [{"name": "schema", "verdict": "NEEDS_WORK", "changes": [
                {"id": "create-invoices", "action": "SKIP", "code": "APPLIED", "message": "It is applied.", "seq": 2},
                {"id": "add-due-date", "action": "APPLY", "code": "NEVER_RUN", "message": "It has never been run here."}
            ]}],
            "counts": {"applied": 1, "pending": 1, "needsPerson": 0, "inProgress": 0, "missing": 0},
            "headSeq": 2, "judgedAt": "2026-01-01T00:00:00Z"
        })),
        (status = 400, description = "`R_GEN_02`: malformed, or a digest instead of the pipeline", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the session's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_02`: nothing of that name within the token's reach", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
        (status = 422, description = "`R_GEN_06`: an id was damaged on its way", body = ProblemDetails),
    ),
)]
pub async fn plan_preview(
    State(api): State<Api>,
    reader: Reader,
    ApiPath((environment_id, service_id)): ApiPath<(i64, i64)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<PlanPreview>, Problem> {
    let scope = reader.scope(&api, environment_id, service_id).await?;
    let bytes = body::read(body, api.settings.max_body_bytes).await?;
    let text = body::decode(&bytes, &headers)?;
    let request: PlanRequest = body::parse(&text.text)?;
    let pipeline = match wire::submission(&request.client_submission)? {
        Submitted::Pipeline(pipeline) => pipeline,
        Submitted::Digest(_) => {
            return Err(Problem::malformed(
                "A dry run needs the whole pipeline: the field `clientSubmission` must have `blocks` or `stages`, not a \
                 `digest`.",
            ));
        }
    };
    if api.settings.refuse_damaged_ids && !text.charset_declared {
        wire::refuse_damaged(&pipeline)?;
    }
    let previewed = api
        .app
        .previews
        .preview(scope, reader.runner_credential(), pipeline)
        .await?
        .ok_or_else(|| {
            Problem::new(
                ErrorCode::EnvironmentNotFound,
                "The environment does not exist any more.",
            )
        })?;
    Ok(Json(view(&previewed)))
}

fn view(previewed: &Previewed) -> PlanPreview {
    let counts = counts(previewed);
    let missing = previewed.missing();
    PlanPreview {
        verdict: verdict(previewed.verdict),
        verdict_when_free: verdict(previewed.verdict_when_free),
        message: message(previewed, counts),
        held_by: previewed.held_by.as_ref().and_then(wire::lock_view),
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
            missing: i64::try_from(missing.len()).unwrap_or(i64::MAX),
            ..counts
        },
        missing_changes: missing
            .into_iter()
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
        head_seq: previewed.head_seq(),
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

fn action(previewed: &Previewed, change: &ChangeFinding) -> PreviewAction {
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

fn change_view(previewed: &Previewed, change: &ChangeFinding) -> PreviewChange {
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
        seq: previewed.latest(&change.id).map(|latest| latest.seq),
    }
}

/// Each change once, wherever it stands; those that are missing are not among them.
fn counts(previewed: &Previewed) -> PreviewCounts {
    let mut counts = PreviewCounts::default();
    let mut seen = std::collections::HashSet::new();
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

fn message(previewed: &Previewed, counts: PreviewCounts) -> String {
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
        Preview::StoppedByPolicy => rulings::stopped(&previewed.findings, true).message.into_owned(),
        Preview::Held => {
            let owner = previewed
                .held_by
                .as_ref()
                .and_then(|lock| lock.lease.as_ref())
                .map_or("another runner", |lease| lease.owner.as_str());
            format!("There is work, and the start would wait: {owner} holds the lock and may be working.")
        }
    }
}
