//! Approvals of changes.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use flamingock_api_types::policy::{
    ApprovalDecision, ApprovalPage, ApprovalRequest, ApprovalView, PendingApproval,
};
use flamingock_api_types::{ErrorCode, ProblemDetails};
use flamingock_domain::ids::ChangeId;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::execution::page_limit;
use crate::app::approvals::{ApprovalRow, ApproveError, Decision, RequestRow};
use crate::http::cursor::Listing;
use crate::http::extract::{ApiPath, ApiQuery, Operator, Reader};
use crate::http::problem::Problem;
use crate::http::{Api, fields};

const PENDING_MAX: i64 = 500;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(approval_list, approval_decide))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalQuery {
    change_id: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

/// List approvals
///
/// What waits for approval because it stopped a start, and what was decided, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/admin/environment/{environmentId}/service/{serviceId}/approval",
    operation_id = "approval_list",
    tag = "policies",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
        ("changeId" = Option<String>, Query, description = "Of this change only"),
        ("after" = Option<String>, Query, description = "The `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "Decisions: 1 to 500, default 50"),
    ),
    responses(
        (status = 200, description = "Approvals", body = ApprovalPage, example = json!({
            "pending": [{"changeId": "add-due-date", "checksum": "sha256-v1:5924aa7b", "author": "mara",
                         "runnerId": "billing@node-a#5f0c", "firstAskedAt": "2026-01-01T00:00:00Z",
                         "lastAskedAt": "2026-01-01T00:05:00Z"}],
            "approvals": [{"approvalId": 9, "changeId": "create-invoices", "decision": "APPROVED",
                           "reason": "Read it with Mara.", "actor": "token:4 (ada)", "decidedAt": "2026-01-01T00:00:00Z"}]
        })),
        (status = 400, description = "`R_GEN_02`: a query parameter is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the session's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_02`: nothing of that name within the token's reach", body = ProblemDetails),
    ),
)]
pub async fn approval_list(
    State(api): State<Api>,
    reader: Reader,
    ApiPath((environment_id, service_id)): ApiPath<(i64, i64)>,
    ApiQuery(query): ApiQuery<ApprovalQuery>,
) -> Result<Json<ApprovalPage>, Problem> {
    let limit = page_limit(query.limit)?;
    let change = fields::change_filter(query.change_id.as_deref())?;
    let scope = reader.scope(&api, environment_id, service_id).await?;
    let asked = change.as_ref().map(ChangeId::as_str);
    let listing = Listing::new("approval_list", &(environment_id, service_id, asked));
    let before: Option<i64> = listing.position(query.after.as_deref())?;
    let mut rows = api
        .app
        .approvals
        .list(scope, change.as_ref(), before, limit + 1)
        .await?;
    let more = rows.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if more {
        rows.pop();
    }
    let pending = match before {
        None => {
            api.app
                .approvals
                .pending(scope, change.as_ref(), PENDING_MAX)
                .await?
        }
        Some(_) => Vec::new(),
    };
    Ok(Json(ApprovalPage {
        pending: pending.into_iter().map(pending_view).collect(),
        next: rows.last().filter(|_| more).map(|last| listing.cursor(&last.id)),
        approvals: rows.into_iter().map(view).collect(),
    }))
}

/// Approve a change
///
/// Or take back what was approved of it. It is the content that is approved: the same change with another checksum waits
/// anew. Nobody approves under the name of the change's author, and an approval by the credential that runs the change does
/// not count. May be given before the change was ever submitted.
#[utoipa::path(
    post,
    path = "/api/v1/admin/environment/{environmentId}/service/{serviceId}/approval",
    operation_id = "approval_decide",
    tag = "policies",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
    ),
    request_body(content = ApprovalRequest, example = json!({
        "changeId": "add-due-date", "checksum": "sha256-v1:5924aa7b", "reason": "Read it with Mara."
    })),
    responses(
        (status = 201, description = "Recorded", body = ApprovalView, example = json!({
            "approvalId": 10, "changeId": "add-due-date", "checksum": "sha256-v1:5924aa7b", "decision": "APPROVED",
            "reason": "Read it with Mara.", "actor": "token:4 (ada)", "decidedAt": "2026-01-01T00:06:00Z"
        })),
        (status = 400, description = "`R_GEN_02`: malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_02`: nothing of that name within the token's reach", body = ProblemDetails),
        (status = 409, description = "`R_POLICY_05`: the approver has the name of the author", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
    ),
)]
pub async fn approval_decide(
    State(api): State<Api>,
    operator: Operator,
    ApiPath((environment_id, service_id)): ApiPath<(i64, i64)>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<ApprovalView>), Problem> {
    let scope = operator.scope(&api, environment_id, service_id).await?;
    let request: ApprovalRequest = fields::body(&api, &headers, body).await?;
    let reason = fields::reason(&request.reason)?;
    let decision = Decision {
        change: fields::change_id(&request.change_id)?,
        checksum: request.checksum.as_deref().map(fields::checksum).transpose()?,
        withdraws: request.decision == Some(ApprovalDecision::Withdrawn),
    };
    match api
        .app
        .approvals
        .decide(scope, operator.actor(), &decision, reason)
        .await
    {
        Ok(row) => Ok((StatusCode::CREATED, Json(view(row)))),
        Err(ApproveError::IsAuthor { author }) => Err(Problem::new(
            ErrorCode::ApproverIsAuthor,
            format!(
                "Nothing was recorded. Change {} was submitted with the author {author}, and this credential goes by that name: \
                 somebody else must approve it.",
                decision.change
            ),
        )),
        Err(ApproveError::Fault(fault)) => Err(fault.into()),
    }
}

fn view(row: ApprovalRow) -> ApprovalView {
    ApprovalView {
        approval_id: row.id,
        change_id: row.change_id,
        checksum: row.checksum,
        decision: if row.withdrawn {
            ApprovalDecision::Withdrawn
        } else {
            ApprovalDecision::Approved
        },
        reason: row.reason,
        actor: row.actor,
        decided_at: row.decided_at,
    }
}

fn pending_view(row: RequestRow) -> PendingApproval {
    PendingApproval {
        change_id: row.change_id,
        checksum: row.checksum,
        author: row.author,
        runner_id: row.runner_id,
        first_asked_at: row.first_asked_at,
        last_asked_at: row.last_asked_at,
    }
}
