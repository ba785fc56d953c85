//! Why a service waits or is stopped.

use axum::Json;
use axum::extract::State;
use flamingock_api_types::ProblemDetails;
use flamingock_api_types::explanation::Explanation;

use crate::http::extract::{ApiPath, Reader};
use crate::http::problem::Problem;
use crate::http::{Api, explanation, operations};

/// Explain a service
///
/// Why is it waiting or stopped, since when, on whom, and what would unblock it: who holds the lock and what it is at, who
/// waits, what needs a person, how the latest plan ended. With commands to paste. The server knows a pipeline only as far as
/// it was offered or reported: an application that nobody started has nothing that could be said of it.
#[utoipa::path(
    get,
    path = "/api/v1/admin/environment/{environmentId}/service/{serviceId}/explanation",
    operation_id = "service_explain",
    tag = "troubleshooting",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
    ),
    responses(
        (status = 200, description = "How it stands", body = Explanation, example = json!({
            "environmentId": 12, "environmentName": "production", "serviceId": 340, "serviceName": "billing",
            "standing": "NEEDS_PERSON",
            "message": "billing in production is stopped until a person decides what became of change add-due-date. Every \
                start stops there.",
            "since": "2026-09-14T02:58:13Z", "asOf": "2026-09-14T03:12:40Z",
            "stops": [{"kind": "ISSUE", "changeId": "add-due-date", "state": "STARTED", "seq": 12,
                "since": "2026-09-14T02:58:13Z", "message": "Change add-due-date waits for a person: it was started and no \
                    result was recorded: it may have taken effect fully, partly or not at all."}],
            "remedies": [{"purpose": "See what is known of change add-due-date.",
                "command": "flamingock issue get add-due-date -e production -s billing"}]
        })),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the session's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_02`: nothing of that id within the token's reach", body = ProblemDetails),
    ),
)]
pub async fn service_explain(
    State(api): State<Api>,
    reader: Reader,
    ApiPath((environment_id, service_id)): ApiPath<(i64, i64)>,
) -> Result<Json<Explanation>, Problem> {
    let scope = reader.scope(&api, environment_id, service_id).await?;
    let explained = api.app.operations.explain(scope, operations::offer).await?;
    Ok(Json(explanation::view(&api.app.operations, scope, &explained)))
}
