//! `POST …/execution`: the plan call.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flamingock_api_types::execution::{PlanAction, PlanRequest, PlanResponse, Submission};
use flamingock_api_types::{ErrorCode, ProblemDetails, digest, headers};
use flamingock_domain::ids::{AcquisitionId, ChangeId};
use flamingock_domain::lock::Proof;
use flamingock_domain::pipeline::Pipeline;
use flamingock_domain::plan::{Plan, PlanAction as Action};
use serde::Deserialize;

use crate::app::admission::Place;
use crate::app::cursors::Cursors;
use crate::app::plans::{Ask, PlanError, Planned};
use crate::http::answers::{Place as Kept, Question};
use crate::http::extract::{ApiPath, ApiQuery, Runner};
use crate::http::problem::Problem;
use crate::http::wire::{self, Submitted};
use crate::http::{Api, body, certificate, rulings};

/// The proof of W §2.7, as the plan call carries it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanQuery {
    elapsed_millis: Option<i64>,
    last_acquisition_id: Option<String>,
}

/// Plan
///
/// What may this runner do next? `CONTINUE`: nothing is left to do. `EXECUTE`: carry out these stages, under the lock that
/// this very answer grants. `AWAIT`: another runner holds the lock. `ABORT`: a stage failed, and nothing else may run.
#[utoipa::path(
    post,
    path = "/api/v1/environment/{environmentId}/service/{serviceId}/execution",
    operation_id = "execution_plan",
    tag = "runner",
    params(
        ("environmentId" = i64, Path, description = "From the token exchange"),
        ("serviceId" = i64, Path, description = "From the token exchange"),
        ("elapsedMillis" = Option<i64>, Query, description = "Milliseconds since the caller first saw `lastAcquisitionId`"),
        ("lastAcquisitionId" = Option<String>, Query, description = "The acquisition id of the latest `AWAIT`"),
        ("flamingock-runner-id" = String, Header, description = "The process that calls"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: hold an `AWAIT` for up to N seconds"),
    ),
    request_body(content = PlanRequest, example = json!({
        "lockAcquiredForMillis": 60000,
        "clientSubmission": {"blocks": [{"type": "DEFAULT", "stages": [{"name": "schema", "order": 0, "changes": [
            {"id": "create-invoices", "ongoingStatus": "NONE", "transactional": true}
        ]}]}]}
    })),
    responses(
        (status = 201, description = "The plan", body = PlanResponse, example = json!({
            "action": "EXECUTE", "executionId": 9001,
            "lock": {"key": "340", "owner": "billing@node-a#5f0c", "acquisitionId": "billing@node-a#5f0c-71e0",
                     "acquiredForMillis": 60000, "fence": 7, "expiresAt": "2026-01-01T00:01:00Z"},
            "stages": [{"name": "schema", "order": 0, "changes": [{"id": "create-invoices", "action": "APPLY"}]}],
            "pipelineResult": {"stages": [{"name": "schema", "verdict": "NEEDS_WORK", "changes": [
                {"id": "create-invoices", "status": "NOT_REACHED"}]}]},
            "synchronizedMarks": false,
            "reasons": {"code": "WORK_PENDING", "message": "Block 0 has changes to apply.", "changes": [
                {"id": "create-invoices", "code": "NEVER_RUN", "message": "It has never been run here."}]}
        })),
        (status = 400, description = "`R_GEN_01`, `R_GEN_02`: no runner id, or a malformed request", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable session", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`: the session is for another environment or service", body = ProblemDetails),
        (status = 409, description = "`R_PLAN_01`: send the whole pipeline instead of its digest. `R_PLAN_02`: the run has \
            failed, although no stage was reported as failed. `R_TENANT_06`: it was archived. `R_POLICY_01` to `R_POLICY_04`: the \
            environment's policies refuse the start", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
        (status = 422, description = "`R_GEN_06`: an id was damaged on its way", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn execution_plan(
    State(api): State<Api>,
    runner: Runner,
    ApiPath((environment_id, service_id)): ApiPath<(i64, i64)>,
    ApiQuery(query): ApiQuery<PlanQuery>,
    place: Option<Extension<Place>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    runner.refuse_expired()?;
    runner.refuse_archived(&api)?;
    let scope = runner.scope(environment_id, service_id)?;
    let bytes = body::read(body, api.settings.max_body_bytes).await?;
    let head = api.app.heads.read(scope).await?.ok_or_else(|| {
        Problem::new(
            ErrorCode::EnvironmentNotFound,
            "The environment of this session does not exist any more.",
        )
    })?;
    let question = Question::body(&bytes, body::declared_charset(&headers).as_deref());
    let asked_at = Kept::of(scope, &head);
    if let Some(answer) = api.answers.get(asked_at, question) {
        api.app.plans.count_cached_continue();
        return Ok(rendered(answer));
    }
    let text = body::decode(&bytes, &headers)?;
    let request: PlanRequest = body::parse(&text.text)?;
    let pipeline = match wire::submission(&request.client_submission)? {
        Submitted::Pipeline(pipeline) => pipeline,
        Submitted::Digest(digest) => {
            let answer = api.answers.get(asked_at, Question::digest(&digest)).ok_or_else(|| {
                Problem::new(
                    ErrorCode::DigestUnknown,
                    "This pipeline was not yet found fully applied at the present head of the audit. Send it whole.",
                )
            })?;
            api.app.plans.count_cached_continue();
            if request.certificate {
                // Not kept by its bytes: the certificate ends, and the answer does not.
                let certificate = certificate::issue(&api, scope, head.position, &digest).await;
                return Ok(rendered(written(&PlanResponse {
                    certificate,
                    ..nothing_to_do()
                })?));
            }
            // The digest says all that the body says: next time it is found by its bytes.
            api.answers.keep(asked_at, question, answer.clone());
            return Ok(rendered(answer));
        }
    };
    if api.settings.refuse_damaged_ids && !text.charset_declared {
        wire::refuse_damaged(&pipeline)?;
    }
    let proof = proof(&query)?;
    let submission = serde_json::to_string(&request.client_submission).unwrap_or_default();
    let runner_facts = request
        .runner
        .as_ref()
        .and_then(|facts| serde_json::to_string(facts).ok());
    let render = |plan: &Plan, cursors: &Cursors| {
        serde_json::to_string(&wire::recorded_plan(plan, cursors)).unwrap_or_default()
    };
    let failure_voids_cursor =
        |change: &ChangeId| wire::failure_voids_cursor(&request.client_submission, change);
    let unwelcome = Mutex::new(None);
    let is_welcome = || {
        let refusal = runner.refuse_unwelcome(&api, &headers).err();
        let is_welcome = refusal.is_none();
        *unwelcome.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
        is_welcome
    };
    let ask = Ask {
        scope,
        credential_id: runner.session.credential_id,
        runner: &runner.id,
        pipeline: &pipeline,
        proof: proof.as_ref(),
        lease: wire::lease(request.lock_acquired_for_millis),
        wait: requested_wait(&headers, &api),
        submission: &submission,
        runner_facts: runner_facts.as_deref(),
        render: &render,
        failure_voids_cursor: &failure_voids_cursor,
        place: place.as_ref().map(|Extension(place)| place),
        is_welcome: &is_welcome,
    };
    let planned = api
        .app
        .plans
        .plan(&ask, head)
        .await
        .map_err(|error| match error {
            PlanError::Stopped(findings) => rulings::stopped(&findings, pipeline.is_start_of_run()),
            PlanError::Unwelcome => {
                let refusal = unwelcome.lock().unwrap_or_else(PoisonError::into_inner).take();
                refusal.unwrap_or_else(|| {
                    Problem::new(
                        ErrorCode::CredentialRevoked,
                        "The right to ask was withdrawn during the wait.",
                    )
                })
            }
            PlanError::Fault(fault) => fault.into(),
        })?;
    refuse_silent_abort(&planned, &pipeline)?;
    let mut response = wire::plan_response(&planned);
    if request.certificate && wire::is_fully_applied(&planned.plan) {
        let blocks = request.client_submission.blocks.as_deref();
        if let Some(digest) = blocks.map(digest::of_blocks) {
            response.certificate = certificate::issue(&api, scope, planned.position, &digest).await;
        }
    }
    let answer = written(&response)?;
    // A warning is not kept, nor what passed for want of a recorded checksum: a person may accept one, which moves no head.
    let is_plain = !pipeline.has_marks()
        && !planned.depends_on_run
        && !planned.leans_on_absence
        && planned.warnings.is_empty();
    if response.action == PlanAction::Continue && is_plain {
        let holds_at = Kept {
            scope,
            position: planned.position,
            policy: planned.policy_key,
        };
        if !request.certificate {
            api.answers.keep(holds_at, question, answer.clone());
        }
        if pipeline.is_start_of_run() {
            keep_by_digest(&api, &request.client_submission, holds_at);
        }
    }
    Ok(rendered(answer))
}

/// A client that reported no failed stage takes `ABORT` for a success and starts its application (W §3.8, item 16). That
/// happens where one status stands for two stages of the same name, and the later stage's success was written over the
/// earlier one's failure. An error is the one answer that every generation stops at.
fn refuse_silent_abort(planned: &Planned, pipeline: &Pipeline) -> Result<(), Problem> {
    if !matches!(planned.plan.action, Action::Abort) || pipeline.reports_failure() {
        return Ok(());
    }
    let open: Vec<&str> = planned.plan.open_changes().map(ChangeId::as_str).collect();
    let shown = open.iter().take(10).copied().collect::<Vec<_>>().join(", ");
    let more = match open.len().saturating_sub(10) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(Problem::new(
        ErrorCode::RunFailed,
        format!(
            "This run has failed, although every stage was reported as finished: {shown}{more} did not succeed or did not \
             run in it, and nothing else may run. Look at the failure in the application's log and in the audit, then start \
             again. Do two stages have the same name? Then the client keeps one status for both, and one hides the other: \
             give them names of their own."
        ),
    ))
}

/// Whoever asks for this pipeline by its digest, at this head, has nothing to do either.
fn keep_by_digest(api: &Api, submission: &Submission, holds_at: Kept) {
    let Some(blocks) = &submission.blocks else { return };
    let digest = digest::of_blocks(blocks);
    if let Ok(answer) = written(&nothing_to_do()) {
        api.answers.keep(holds_at, Question::digest(&digest), answer);
    }
}

/// The answer to a digest.
fn nothing_to_do() -> PlanResponse {
    PlanResponse {
        action: PlanAction::Continue,
        execution_id: None,
        lock: None,
        stages: None,
        pipeline_result: None,
        synchronized_marks: false,
        reasons: None,
        certificate: None,
    }
}

fn written(response: &PlanResponse) -> Result<Bytes, Problem> {
    let answer = serde_json::to_vec(response).map_err(|error| Problem {
        cause: Some(std::sync::Arc::new(error)),
        ..Problem::new(ErrorCode::Internal, "The plan could not be written down.")
    })?;
    Ok(Bytes::from(answer))
}

fn rendered(answer: Bytes) -> Response {
    (
        StatusCode::CREATED,
        [(header::CONTENT_TYPE, "application/json")],
        answer,
    )
        .into_response()
}

fn proof(query: &PlanQuery) -> Result<Option<Proof>, Problem> {
    let Some(id) = query.last_acquisition_id.as_deref() else {
        return Ok(None);
    };
    let acquisition_id = AcquisitionId::parse(id)
        .map_err(|error| Problem::malformed(format!("The query parameter `lastAcquisitionId` {error}.")))?;
    let elapsed = query.elapsed_millis.unwrap_or(0);
    let elapsed = u64::try_from(elapsed).map_err(|_| {
        Problem::malformed(format!(
            "The query parameter `elapsedMillis` must not be negative, it is {elapsed}."
        ))
    })?;
    Ok(Some(Proof {
        acquisition_id,
        elapsed: Duration::from_millis(elapsed),
    }))
}

/// `Prefer: wait=N` (RFC 7240), bounded by the server's own limit. Whoever does not ask is never parked: the Java client
/// has no time-outs.
pub fn requested_wait(headers: &HeaderMap, api: &Api) -> Option<Duration> {
    let seconds = headers
        .get_all(headers::PREFER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .filter_map(|preference| preference.trim().strip_prefix("wait="))
        .find_map(|seconds| seconds.trim().trim_matches('"').parse::<u32>().ok())?;
    let wait = Duration::from_secs(seconds.into()).min(api.settings.wait_max);
    (!wait.is_zero()).then_some(wait)
}
