//! A person asks an execution to stop.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use flamingock_api_types::execution::RunnerFacts;
use flamingock_api_types::progress::{ExecutionCancellation, ExecutionCancellationRequest};
use flamingock_api_types::{ErrorCode, ProblemDetails};

use super::reason;
use crate::app::operations::{Asked, CancelError, Outcome, Run};
use crate::http::extract::{ApiPath, Operator};
use crate::http::operations::{cancellation_notice, offer};
use crate::http::problem::Problem;
use crate::http::{Api, body};

/// Ask an execution to stop
///
/// Its runner is told with its next heartbeat, a third of its lease away at most: it begins no further change, and the change
/// that it is at is asked to stop, which it does by itself, or finishes. What it has done stays recorded as it is; the lock is
/// given back, and the next start goes on as after any other. Nothing is stopped by force, and runners that wait are not
/// meant. Asked again, the first request stands. Recorded with its reason.
#[utoipa::path(
    post,
    path = "/api/v1/admin/environment/{environmentId}/service/{serviceId}/execution/{executionId}/cancellation",
    operation_id = "execution_cancel",
    tag = "troubleshooting",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
        ("executionId" = i64, Path, description = "Execution"),
    ),
    request_body(content = ExecutionCancellationRequest, example = json!({
        "reason": "It slows down the shop; it goes on tonight."
    })),
    responses(
        (status = 200, description = "It was asked to stop", body = ExecutionCancellation, example = json!({
            "executionId": 9001, "runnerId": "billing@node-a#5f0c", "requestedBy": "token:12 (mara)",
            "reason": "It slows down the shop; it goes on tonight.", "requestedAt": "2026-09-14T03:02:12Z",
            "message": "Its runner is told with its next heartbeat. Nothing is stopped by force."
        })),
        (status = 400, description = "`R_GEN_02`: malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the scope or role", body = ProblemDetails),
        (status = 404, description = "`R_EXEC_01`, `R_TENANT_02`: no such execution", body = ProblemDetails),
        (status = 409, description = "`R_EXEC_02`: it is over", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
    ),
)]
pub async fn execution_cancel(
    State(api): State<Api>,
    operator: Operator,
    ApiPath((environment_id, service_id, execution_id)): ApiPath<(i64, i64, i64)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ExecutionCancellation>, Problem> {
    let scope = operator.scope(&api, environment_id, service_id).await?;
    let bytes = body::read(body, api.settings.max_body_bytes.min(64 * 1024)).await?;
    let request: ExecutionCancellationRequest = body::parse(&body::decode(&bytes, &headers)?.text)?;
    let asked = api
        .app
        .operations
        .cancel_execution(
            scope,
            operator.actor(),
            execution_id,
            reason(&request.reason)?,
            offer,
        )
        .await
        .map_err(|error| refusal((environment_id, service_id, execution_id), error))?;
    Ok(Json(ExecutionCancellation {
        execution_id,
        runner_id: asked.run.runner_id.clone(),
        message: message(&asked),
        notice: cancellation_notice(&asked.request),
    }))
}

fn message(asked: &Asked) -> String {
    if !asked.can_hear {
        return "It was asked to stop before, and is over by now.".to_owned();
    }
    let told = if asked.is_repeated {
        "It was asked to stop before, and that request stands."
    } else {
        "Its runner is told with its next heartbeat, a third of its lease away at most."
    };
    let heeded = if heeds(&asked.run) {
        "It begins no further change; the one that it is at stops when it next looks, or finishes. Nothing is stopped by force."
    } else {
        "But its SDK is not known to look at it: the Java SDK, for one, goes on. To stop it, stop its process."
    };
    format!("{told} {heeded}")
}

/// Whether the runner's SDK stops when it is asked to, as far as it says which it is.
fn heeds(run: &Run) -> bool {
    let facts = run.runner_facts.as_deref();
    facts
        .and_then(|facts| serde_json::from_str::<RunnerFacts>(facts).ok())
        .and_then(|facts| facts.sdk)
        .is_some_and(|sdk| sdk.starts_with("flamingock-rust/"))
}

fn refusal((environment_id, service_id, execution_id): (i64, i64, i64), error: CancelError) -> Problem {
    match error {
        CancelError::Fault(fault) => fault.into(),
        CancelError::Unknown => Problem::new(
            ErrorCode::ExecutionNotFound,
            format!("No execution {execution_id} of service {service_id} in environment {environment_id}."),
        ),
        CancelError::Over { outcome } => {
            let ended = match outcome {
                Outcome::Succeeded => "all that it was offered is applied",
                Outcome::Failed => "a change failed",
                Outcome::Blocked => "it stopped at a change that waits for a person",
                Outcome::Abandoned | Outcome::Running => "it was not carried out to its end",
            };
            Problem::new(
                ErrorCode::ExecutionOver,
                format!(
                    "Execution {execution_id} was not asked to stop: it is over, and {ended}. Who holds the lock now, if \
                     anybody does, says the service's explanation."
                ),
            )
        }
    }
}
