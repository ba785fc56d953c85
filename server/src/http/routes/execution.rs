//! `GET …/execution` and `GET …/execution/{executionId}` (W 6.10)

use axum::Json;
use axum::extract::State;
use flamingock_api_types::execution::{ExecutionDetail, ExecutionSummary, OfferedPipeline};
use flamingock_api_types::{ErrorCode, ProblemDetails};
use serde::Deserialize;

use crate::app::{self, Scope};
use crate::http::Api;
use crate::http::extract::{ApiPath, ApiQuery, Reader};
use crate::http::problem::Problem;
use crate::http::wire::RecordedPlan;

#[derive(Debug, Deserialize)]
pub struct ListQuery {
    limit: Option<i64>,
    before: Option<i64>,
}

/// Rows on a page, when the caller does not say and at most.
pub const PAGE_DEFAULT: i64 = 50;
pub const PAGE_MAX: i64 = 500;

pub fn page_limit(limit: Option<i64>) -> Result<i64, Problem> {
    match limit {
        None => Ok(PAGE_DEFAULT),
        Some(limit) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
        Some(limit) => Err(Problem::malformed(format!(
            "The query parameter `limit` must be between 1 and {PAGE_MAX}, it is {limit}."
        ))),
    }
}

/// List executions
///
/// Newest first. For the next page pass the last `executionId` as `before`.
#[utoipa::path(
    get,
    path = "/api/v1/environment/{environmentId}/service/{serviceId}/execution",
    operation_id = "execution_list",
    tag = "history",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50"),
        ("before" = Option<i64>, Query, description = "Only executions with a smaller id"),
    ),
    responses(
        (status = 200, description = "Executions", body = Vec<ExecutionSummary>, example = json!([{
            "executionId": 9001, "environmentId": 12, "serviceId": 340, "runnerId": "billing@node-a#5f0c",
            "startedAt": "2026-09-14T08:21:07.512Z"
        }])),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the session's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_02`: nothing of that name within the token's reach", body = ProblemDetails),
    ),
)]
pub async fn execution_list(
    State(api): State<Api>,
    reader: Reader,
    ApiPath((environment_id, service_id)): ApiPath<(i64, i64)>,
    ApiQuery(query): ApiQuery<ListQuery>,
) -> Result<Json<Vec<ExecutionSummary>>, Problem> {
    let scope = reader.scope(&api, environment_id, service_id).await?;
    let limit = page_limit(query.limit)?;
    let executions = api.app.history.executions(scope, query.before, limit).await?;
    Ok(Json(
        executions
            .into_iter()
            .map(|execution| summary(scope, execution))
            .collect(),
    ))
}

/// View an execution
#[utoipa::path(
    get,
    path = "/api/v1/environment/{environmentId}/service/{serviceId}/execution/{executionId}",
    operation_id = "execution_view",
    tag = "history",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
        ("executionId" = i64, Path, description = "Execution"),
    ),
    responses(
        (status = 200, description = "What was submitted, what was offered and why", body = ExecutionDetail),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the session's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_EXEC_01`, `R_TENANT_02`: no such execution", body = ProblemDetails),
    ),
)]
pub async fn execution_view(
    State(api): State<Api>,
    reader: Reader,
    ApiPath((environment_id, service_id, execution_id)): ApiPath<(i64, i64, i64)>,
) -> Result<Json<ExecutionDetail>, Problem> {
    let scope = reader.scope(&api, environment_id, service_id).await?;
    let execution = api
        .app
        .history
        .execution(scope, execution_id)
        .await?
        .ok_or_else(|| {
            Problem::new(
                ErrorCode::ExecutionNotFound,
                format!("This service has no execution {execution_id} in this environment."),
            )
        })?;
    Ok(Json(detail(scope, execution)?))
}

fn summary(scope: Scope, execution: app::ExecutionSummary) -> ExecutionSummary {
    ExecutionSummary {
        execution_id: execution.id,
        environment_id: scope.environment_id,
        service_id: scope.service_id,
        runner_id: execution.runner_id,
        started_at: execution.started_at,
    }
}

fn detail(scope: Scope, execution: app::ExecutionDetail) -> Result<ExecutionDetail, Problem> {
    let unreadable = |error: serde_json::Error| Problem {
        cause: Some(std::sync::Arc::new(error)),
        ..Problem::new(
            ErrorCode::Internal,
            "The record of this execution cannot be read by this version of the server.",
        )
    };
    let plan: RecordedPlan = serde_json::from_str(&execution.plan).map_err(unreadable)?;
    Ok(ExecutionDetail {
        summary: summary(scope, execution.summary),
        client_submission: serde_json::from_str(&execution.submission).map_err(unreadable)?,
        pipeline: OfferedPipeline { stages: plan.stages },
        reasons: plan.reasons,
        fence: Some(execution.fence),
        ended_at: execution.ended_at,
        runner: execution
            .runner_facts
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(unreadable)?,
    })
}
