//! The policies of an environment.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use flamingock_api_types::policy::{PolicyMode, PolicyRequest, PolicyView};
use flamingock_api_types::{ErrorCode, ProblemDetails};
use flamingock_domain::plan::policy::{Mode, Policy};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::policies::{NewPolicy, PolicyRow, SetError};
use crate::http::extract::{Administrator, ApiPath, Reader};
use crate::http::problem::Problem;
use crate::http::{Api, fields, gate};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(policy_view, policy_set))
}

/// View the policy of an environment
#[utoipa::path(
    get,
    path = "/api/v1/admin/environment/{environmentId}/policy",
    operation_id = "policy_view",
    tag = "policies",
    params(("environmentId" = i64, Path, description = "Environment")),
    responses(
        (status = 200, description = "The policy", body = PolicyView, example = json!({
            "environmentId": 12, "revision": 3, "checksumMismatch": "WARN", "outOfOrder": "ALLOW",
            "approvalRequired": true, "trustAbsentMarks": false,
            "changedAt": "2026-01-01T00:00:00Z", "changedBy": "token:4 (ada)"
        })),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_04`: the role does not allow this", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_01`: no such environment within the credential's reach", body = ProblemDetails),
    ),
)]
pub async fn policy_view(
    State(api): State<Api>,
    reader: Reader,
    ApiPath(environment_id): ApiPath<i64>,
) -> Result<Json<PolicyView>, Problem> {
    let environment = gate::environment(&api, reader.caller(), environment_id).await?;
    let row = api.app.policies.view(environment.id).await?;
    Ok(Json(view(row.ok_or_else(|| gone(environment_id))?)))
}

/// Set the policy of an environment
///
/// The whole of it. What is granted from then on is judged by it, on every replica; runs under way are not cut. What it was
/// before stays in the log of actions.
#[utoipa::path(
    put,
    path = "/api/v1/admin/environment/{environmentId}/policy",
    operation_id = "policy_set",
    tag = "policies",
    params(("environmentId" = i64, Path, description = "Environment")),
    request_body(content = PolicyRequest, example = json!({
        "checksumMismatch": "WARN", "outOfOrder": "REFUSE", "approvalRequired": true, "trustAbsentMarks": false,
        "expectedRevision": 2, "reason": "Four eyes on production."
    })),
    responses(
        (status = 200, description = "The policy as it is now", body = PolicyView, example = json!({
            "environmentId": 12, "revision": 3, "checksumMismatch": "WARN", "outOfOrder": "REFUSE",
            "approvalRequired": true, "trustAbsentMarks": false,
            "changedAt": "2026-01-01T00:00:00Z", "changedBy": "token:4 (ada)"
        })),
        (status = 400, description = "`R_GEN_02`: malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: for some of its services only, or not an administrator", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_01`: no such environment within the credential's reach", body = ProblemDetails),
        (status = 409, description = "`R_POLICY_06`: it has another revision than `expectedRevision`", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
    ),
)]
pub async fn policy_set(
    State(api): State<Api>,
    administrator: Administrator,
    ApiPath(environment_id): ApiPath<i64>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<PolicyView>, Problem> {
    let environment = gate::environment(&api, administrator.caller(), environment_id).await?;
    environment
        .refuse_beyond(&api, administrator.caller(), None)
        .await?;
    let request: PolicyRequest = fields::body(&api, &headers, body).await?;
    let reason = fields::reason(&request.reason)?;
    let new = NewPolicy {
        policy: Policy {
            checksum_mismatch: mode(request.checksum_mismatch),
            out_of_order: mode(request.out_of_order),
            approval_required: request.approval_required,
        },
        trust_absent_marks: request.trust_absent_marks,
        expected_revision: request.expected_revision,
    };
    let set = api
        .app
        .policies
        .set(environment.id, administrator.actor(), new, reason)
        .await;
    match set {
        Ok(row) => Ok(Json(view(row))),
        Err(SetError::NoEnvironment) => Err(gone(environment_id)),
        Err(SetError::Outdated { actual }) => Err(Problem::new(
            ErrorCode::PolicyOutdated,
            format!(
                "The policy of environment {environment_id} has revision {actual}, not the one that you expected: somebody \
                 changed it. Nothing was set. Look at it again."
            ),
        )),
        Err(SetError::Fault(fault)) => Err(fault.into()),
    }
}

fn gone(environment_id: i64) -> Problem {
    Problem::new(
        ErrorCode::EnvironmentNotFound,
        format!("No environment {environment_id} is within this credential's reach."),
    )
}

fn view(row: PolicyRow) -> PolicyView {
    PolicyView {
        environment_id: row.environment_id,
        revision: row.revision,
        checksum_mismatch: mode_view(row.policy.checksum_mismatch),
        out_of_order: mode_view(row.policy.out_of_order),
        approval_required: row.policy.approval_required,
        trust_absent_marks: row.trust_absent_marks,
        changed_at: row.changed_at,
        changed_by: row.changed_by,
    }
}

fn mode(mode: PolicyMode) -> Mode {
    match mode {
        PolicyMode::Allow => Mode::Allow,
        PolicyMode::Warn => Mode::Warn,
        PolicyMode::Refuse => Mode::Refuse,
    }
}

fn mode_view(mode: Mode) -> PolicyMode {
    match mode {
        Mode::Allow => PolicyMode::Allow,
        Mode::Warn => PolicyMode::Warn,
        Mode::Refuse => PolicyMode::Refuse,
    }
}
