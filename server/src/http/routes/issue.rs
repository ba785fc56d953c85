//! Issues, and a person's decisions on them.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use chrono::SecondsFormat;
use flamingock_api_types::issue::{
    IssuePage, IssueView, LateReport, RecordedResolution, ResolutionRequest, ResolutionResponse,
};
use flamingock_api_types::{ErrorCode, ProblemDetails};
use flamingock_domain::audit::ResolveRefusal;
use flamingock_domain::ids::ChangeId;
use serde::Deserialize;

use super::execution::page_limit;
use super::operations::reason;
use crate::app::issues::{Decision, Issue, Refused, ResolveError};
use crate::http::extract::{ApiPath, ApiQuery, Operator, Reader};
use crate::http::problem::Problem;
use crate::http::{Api, body, reasons, wire};

const RESOLUTIONS_MAX: usize = 1_000;

/// List issues
///
/// Changes that stop their service until a person decides what became of them, by id. A change that its runner is working
/// on this moment is not among them. A page ends early where traces are long: go on as long as there is a `next`.
#[utoipa::path(
    get,
    path = "/api/v1/admin/environment/{environmentId}/service/{serviceId}/issue",
    operation_id = "issue_list",
    tag = "issues",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
        ("after" = Option<String>, Query, description = "The `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50"),
    ),
    responses(
        (status = 200, description = "Issues", body = IssuePage),
        (status = 400, description = "`R_GEN_02`: a query parameter is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the session's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_02`: nothing of that name within the token's reach", body = ProblemDetails),
    ),
)]
pub async fn issue_list(
    State(api): State<Api>,
    reader: Reader,
    ApiPath((environment_id, service_id)): ApiPath<(i64, i64)>,
    ApiQuery(query): ApiQuery<IssueQuery>,
) -> Result<Json<IssuePage>, Problem> {
    let limit = usize::try_from(page_limit(query.limit)?).unwrap_or(1);
    let scope = reader.scope(&api, environment_id, service_id).await?;
    let (issues, more) = api.app.issues.list(scope, query.after.as_deref(), limit).await?;
    let next = issues
        .last()
        .filter(|_| more)
        .map(|issue| issue.change.to_string());
    Ok(Json(IssuePage {
        issues: issues.into_iter().map(view).collect(),
        next,
    }))
}

#[derive(Debug, Default, Deserialize)]
pub struct IssueQuery {
    after: Option<String>,
    limit: Option<i64>,
}

/// Resolve issues
///
/// Records what a person found: `APPLIED`, the change is in place and never runs again; `ROLLED_BACK`, nothing of it is left
/// and it runs at the next start. All decisions of a call are recorded together or not at all; a decision about an entry that
/// is not the latest any more is refused, and so is one about a change that its runner is working on. A decision is undone by
/// a further one about its entry, as long as nothing has happened since; nothing is ever edited. The very same call again,
/// because its answer was lost, is answered 200 and writes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/admin/environment/{environmentId}/service/{serviceId}/resolution",
    operation_id = "issue_resolve",
    tag = "issues",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
    ),
    request_body(content = ResolutionRequest, example = json!({
        "resolutions": [{"changeId": "add-due-date", "resolution": "ROLLED_BACK", "expectedSeq": 12}],
        "reason": "Checked with psql: the column is not there."
    })),
    responses(
        (status = 200, description = "Recorded before, by the same call", body = ResolutionResponse),
        (status = 201, description = "Recorded", body = ResolutionResponse, example = json!({
            "recorded": [{"changeId": "add-due-date", "state": "MANUAL_MARKED_AS_ROLLED_BACK", "seq": 13}]
        })),
        (status = 400, description = "`R_GEN_02`: malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_02`: nothing of that name within the token's reach", body = ProblemDetails),
        (status = 409, description = "`R_ISSUE_01` no issue, `R_ISSUE_02` in progress, `R_ISSUE_03` \
            outdated; `details` has a line for each refused decision, with the change's latest entry", body = ProblemDetails),
    ),
)]
pub async fn issue_resolve(
    State(api): State<Api>,
    operator: Operator,
    ApiPath((environment_id, service_id)): ApiPath<(i64, i64)>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<ResolutionResponse>), Problem> {
    let scope = operator.scope(&api, environment_id, service_id).await?;
    let bytes = body::read(body, api.settings.max_body_bytes.min(1024 * 1024)).await?;
    let request: ResolutionRequest = body::parse(&body::decode(&bytes, &headers)?.text)?;
    let reason = reason(&request.reason)?;
    let decisions = decisions(&request)?;
    let resolved = api
        .app
        .issues
        .resolve(scope, operator.actor(), reason, &decisions)
        .await
        .map_err(problem)?;
    let recorded = resolved
        .decided
        .into_iter()
        .map(|one| RecordedResolution {
            change_id: one.change.to_string(),
            state: one.state.as_wire().to_owned(),
            seq: one.seq,
        })
        .collect();
    let status = if resolved.is_repetition {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok((status, Json(ResolutionResponse { recorded })))
}

fn decisions(request: &ResolutionRequest) -> Result<Vec<Decision>, Problem> {
    let count = request.resolutions.len();
    if !(1..=RESOLUTIONS_MAX).contains(&count) {
        return Err(Problem::malformed(format!(
            "The field `resolutions` must have 1 to {RESOLUTIONS_MAX} decisions, it has {count}."
        )));
    }
    let mut seen = std::collections::HashSet::new();
    request
        .resolutions
        .iter()
        .enumerate()
        .map(|(at, resolution)| {
            let change = ChangeId::parse(resolution.change_id.as_str())
                .map_err(|error| Problem::malformed(format!("The field `resolutions[{at}].changeId` {error}.")))?;
            if !seen.insert(change.clone()) {
                return Err(Problem::malformed(format!(
                    "The field `resolutions[{at}].changeId` names {change} a second time: one call decides a change once."
                )));
            }
            Ok(Decision {
                change,
                resolution: wire::resolution(resolution.resolution),
                expected: resolution.expected_seq,
            })
        })
        .collect()
}

fn view(issue: Issue) -> IssueView {
    let fact = issue.fact;
    IssueView {
        guidance: reasons::guidance(
            issue.change.as_str(),
            &issue.latest,
            issue.contradicted_by_mark,
            fact.target_system_id.as_deref(),
        ),
        change_id: issue.change.to_string(),
        state: fact.state,
        seq: issue.latest.seq,
        since: issue.since,
        stage_id: fact.stage_id,
        target_system_id: fact.target_system_id,
        author: fact.author,
        execution_id: issue.latest.execution.map(|id| id.0),
        runner_id: fact.runner_id,
        error_trace: fact.error_trace,
        late_reports: issue
            .late_reports
            .into_iter()
            .map(|entry| LateReport {
                seq: entry.seq,
                state: entry.fact.state,
                received_at: entry.received_at,
                execution_ref: entry.fact.execution_ref,
                runner_id: entry.fact.runner_id,
                error_trace: entry.fact.error_trace,
                note: entry.fact.note,
            })
            .collect(),
    }
}

fn problem(error: ResolveError) -> Problem {
    let refused = match error {
        ResolveError::Fault(fault) => return fault.into(),
        ResolveError::Refused(refused) => refused,
    };
    let Some(first) = refused.first() else {
        return Problem::malformed("There is no decision to record.");
    };
    let others = match refused.len() - 1 {
        0 => String::new(),
        others => format!(" {others} more are refused too, see `details`."),
    };
    let code = match first.refusal {
        ResolveRefusal::InProgress => ErrorCode::ChangeInProgress,
        ResolveRefusal::Outdated { .. } => ErrorCode::DecisionOutdated,
        ResolveRefusal::NoIssue => ErrorCode::IssueNotFound,
    };
    Problem::new(
        code,
        format!(
            "Nothing was recorded. The decision on change {} is refused: {}.{others}",
            first.change,
            why(first)
        ),
    )
    .with_details(
        refused
            .iter()
            .map(|one| format!("{}: {}", one.change, why(one)))
            .collect(),
    )
}

/// Why, and how the change stands: whoever was too slow must see what somebody else decided.
fn why(refused: &Refused) -> String {
    let latest = refused.latest.as_ref().map(|latest| {
        let note = latest
            .note
            .as_ref()
            .map(|note| format!(" ({note})"))
            .unwrap_or_default();
        format!(
            "entry {}, {}, written by {} at {}{note}",
            latest.seq,
            latest.state,
            latest.actor,
            latest.received_at.to_rfc3339_opts(SecondsFormat::Millis, true)
        )
    });
    match (refused.refusal, latest) {
        (ResolveRefusal::InProgress, _) => {
            "a runner holds a live lease and is working on it, or was granted its work on what was decided of it. Wait until it has \
             finished or the lease has run out".to_owned()
        }
        (ResolveRefusal::Outdated { .. }, Some(latest)) => {
            format!("its latest is {latest}, and not the one that you decided about. Look again")
        }
        (ResolveRefusal::Outdated { actual }, None) => {
            format!("its latest entry is {actual}, and not the one that you decided about. Look again")
        }
        (ResolveRefusal::NoIssue, Some(latest)) => format!("it needs no decision; its latest is {latest}"),
        (ResolveRefusal::NoIssue, None) => {
            "it needs no decision: nothing was ever recorded of it here".to_owned()
        }
    }
}
