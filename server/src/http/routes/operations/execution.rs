//! Executions with what became of them.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use flamingock_api_types::history::{ExecutionPage, ExecutionReport};
use flamingock_api_types::{ErrorCode, ProblemDetails};
use serde::Deserialize;

use crate::app::operations::{ExecutionFilter, Outcome};
use crate::http::Api;
use crate::http::cursor::Listing;
use crate::http::extract::{ApiPath, ApiQuery, Reader};
use crate::http::operations::{execution_record, offer, refused_start, timeline_entry};
use crate::http::problem::Problem;
use crate::http::routes::execution::page_limit;
use crate::http::times;
use crate::http::wire::RecordedPlan;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportQuery {
    outcome: Option<String>,
    runner: Option<String>,
    since: Option<String>,
    until: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

/// List executions with their outcome
///
/// Newest first. With filters a page may have fewer than asked for, or none, and still a `next`: a request looks at a thousand
/// executions at most.
#[utoipa::path(
    get,
    path = "/api/v1/admin/environment/{environmentId}/service/{serviceId}/execution",
    operation_id = "execution_report_list",
    tag = "troubleshooting",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
        ("outcome" = Option<String>, Query, description = "`RUNNING`, `SUCCEEDED`, `FAILED`, `BLOCKED` or `ABANDONED`"),
        ("runner" = Option<String>, Query, description = "Only this runner's"),
        ("since" = Option<String>, Query, description = "Started at or after"),
        ("until" = Option<String>, Query, description = "Started before"),
        ("after" = Option<String>, Query, description = "The `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50"),
    ),
    responses(
        (status = 200, description = "Executions", body = ExecutionPage, example = json!({
            "executions": [{"executionId": 9001, "environmentId": 12, "serviceId": 340, "runnerId": "billing@node-a#5f0c",
                "outcome": "ABANDONED", "progress": {"offered": 3, "applied": 1, "failed": 0, "started": 1, "notReached": 1,
                "waitingForPerson": 0}, "fence": 7, "startsRun": true, "startedAt": "2026-09-14T02:58:12Z",
                "endedAt": "2026-09-14T03:05:20Z", "endedBy": "REPLACED", "credentialId": 5}],
            "next": "eyJsIjoi…"
        })),
        (status = 400, description = "`R_GEN_02`: a query parameter is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the session's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_02`: nothing of that id within the token's reach", body = ProblemDetails),
    ),
)]
pub async fn execution_report_list(
    State(api): State<Api>,
    reader: Reader,
    ApiPath((environment_id, service_id)): ApiPath<(i64, i64)>,
    ApiQuery(query): ApiQuery<ReportQuery>,
) -> Result<Json<ExecutionPage>, Problem> {
    let limit = usize::try_from(page_limit(query.limit)?).unwrap_or(1);
    let filter = ExecutionFilter {
        outcome: query.outcome.as_deref().map(outcome).transpose()?,
        since: query
            .since
            .as_deref()
            .map(|text| time("since", text))
            .transpose()?,
        until: query
            .until
            .as_deref()
            .map(|text| time("until", text))
            .transpose()?,
        runner_id: query.runner,
    };
    if let (Some(since), Some(until)) = (filter.since, filter.until)
        && since >= until
    {
        return Err(Problem::malformed(
            "The query parameter `since` must be before `until`: nothing lies between them.",
        ));
    }
    if filter.runner_id.as_deref().is_some_and(|id| id.contains('\0')) {
        return Err(Problem::malformed(
            "The query parameter `runner` must not have NUL characters.",
        ));
    }
    let listing = Listing::new(
        "execution_report_list",
        &(
            environment_id,
            service_id,
            query.outcome.map(|text| text.to_ascii_uppercase()),
            &filter.runner_id,
            filter.since,
            filter.until,
        ),
    );
    let after = listing.position(query.after.as_deref())?;
    let scope = reader.scope(&api, environment_id, service_id).await?;
    let page = api
        .app
        .operations
        .executions(scope, &filter, after, limit, offer)
        .await?;
    Ok(Json(ExecutionPage {
        executions: page
            .executions
            .iter()
            .map(|recorded| execution_record(scope, recorded))
            .collect(),
        next: page.examined.map(|id| listing.cursor(&id)),
    }))
}

fn outcome(text: &str) -> Result<Outcome, Problem> {
    const NAMES: [(&str, Outcome); 5] = [
        ("RUNNING", Outcome::Running),
        ("SUCCEEDED", Outcome::Succeeded),
        ("FAILED", Outcome::Failed),
        ("BLOCKED", Outcome::Blocked),
        ("ABANDONED", Outcome::Abandoned),
    ];
    NAMES
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text))
        .map(|(_, outcome)| outcome)
        .ok_or_else(|| {
            Problem::malformed(
                "The query parameter `outcome` must be one of RUNNING, SUCCEEDED, FAILED, BLOCKED and ABANDONED.",
            )
        })
}

fn time(name: &str, text: &str) -> Result<DateTime<Utc>, Problem> {
    times::parse_in_query(text)
        .map_err(|expected| Problem::malformed(format!("The query parameter `{name}` {expected}.")))
}

/// View an execution with its outcome
///
/// What was submitted, what was offered and why, what was reported under it in order of arrival, and what became of it.
#[utoipa::path(
    get,
    path = "/api/v1/admin/environment/{environmentId}/service/{serviceId}/execution/{executionId}",
    operation_id = "execution_report_view",
    tag = "troubleshooting",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
        ("executionId" = i64, Path, description = "Execution"),
    ),
    responses(
        (status = 200, description = "The execution", body = ExecutionReport, example = json!({
            "executionId": 9001, "environmentId": 12, "serviceId": 340, "runnerId": "billing@node-a#5f0c",
            "outcome": "FAILED", "progress": {"offered": 1, "applied": 0, "failed": 1, "started": 0, "notReached": 0,
            "waitingForPerson": 0}, "fence": 7, "startsRun": true, "startedAt": "2026-09-14T02:58:12Z",
            "endedAt": "2026-09-14T02:58:14Z", "endedBy": "RELEASED", "credentialId": 5,
            "stages": [{"name": "schema", "order": 0, "changes": [{"id": "add-due-date", "action": "APPLY"}]}],
            "reasons": {"code": "WORK_PENDING", "message": "Block 0 has changes to apply.", "changes": [
                {"id": "add-due-date", "code": "NEVER_RUN", "message": "It has never been run here."}]},
            "submission": {"blocks": []},
            "timeline": [
                {"seq": 11, "changeId": "add-due-date", "state": "STARTED", "source": "RUNNER",
                 "receivedAt": "2026-09-14T02:58:12.4Z", "executionRef": "9001", "runnerId": "billing@node-a#5f0c",
                 "host": "node-a", "stageId": "schema", "actor": "credential:5"},
                {"seq": 12, "changeId": "add-due-date", "state": "FAILED", "source": "RUNNER",
                 "receivedAt": "2026-09-14T02:58:13Z", "executionRef": "9001", "runnerId": "billing@node-a#5f0c",
                 "host": "node-a", "stageId": "schema", "durationMillis": 530, "actor": "credential:5",
                 "errorSummary": "org.postgresql.util.PSQLException: column \"due\" exists"}
            ]
        })),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the session's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_EXEC_01`, `R_TENANT_02`: no such execution", body = ProblemDetails),
    ),
)]
pub async fn execution_report_view(
    State(api): State<Api>,
    reader: Reader,
    ApiPath((environment_id, service_id, execution_id)): ApiPath<(i64, i64, i64)>,
) -> Result<Json<ExecutionReport>, Problem> {
    let scope = reader.scope(&api, environment_id, service_id).await?;
    let report = api
        .app
        .operations
        .execution(scope, execution_id, offer)
        .await?
        .ok_or_else(|| {
            Problem::new(
                ErrorCode::ExecutionNotFound,
                format!("This service has no execution {execution_id} in this environment."),
            )
        })?;
    let unreadable = |error: serde_json::Error| Problem {
        cause: Some(std::sync::Arc::new(error)),
        ..Problem::new(
            ErrorCode::Internal,
            "The record of this execution cannot be read by this version of the server.",
        )
    };
    let plan = report.recorded.run.plan.as_deref().unwrap_or("{}");
    let plan: RecordedPlan = serde_json::from_str(plan).map_err(unreadable)?;
    Ok(Json(ExecutionReport {
        record: execution_record(scope, &report.recorded),
        stages: plan.stages,
        reasons: plan.reasons,
        submission: serde_json::from_str(&report.submission).map_err(unreadable)?,
        timeline: report.timeline.iter().map(timeline_entry).collect(),
        timeline_is_cut: report.timeline_is_cut,
        refused_starts: report.refusals.iter().map(refused_start).collect(),
    }))
}
