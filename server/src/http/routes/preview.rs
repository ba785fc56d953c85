//! The dry run of a plan.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use flamingock_api_types::execution::PlanRequest;
use flamingock_api_types::preview::PlanPreview;
use flamingock_api_types::{ErrorCode, ProblemDetails};
use flamingock_wording::preview as wording;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::previews::Previewed;
use crate::http::extract::{ApiPath, Reader};
use crate::http::problem::Problem;
use crate::http::wire::{self, Submitted};
use crate::http::{Api, body};

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
    wording::preview(&wording::Previewed {
        verdict: previewed.verdict,
        verdict_when_free: previewed.verdict_when_free,
        plan: &previewed.plan,
        findings: &previewed.findings,
        held_by: previewed.held_by.as_ref().and_then(wire::lock_view),
        in_progress: &previewed.in_progress,
        latest: &|change| previewed.latest(change).map(|latest| latest.seq),
        missing: previewed.missing(),
        head_seq: previewed.head_seq(),
        now: previewed.now,
    })
}
