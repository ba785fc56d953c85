//! Who is there.

use axum::Json;
use axum::extract::State;
use flamingock_api_types::ProblemDetails;
use flamingock_api_types::history::RunnerList;

use crate::http::Api;
use crate::http::extract::{ApiPath, Reader};
use crate::http::operations::runner_record;
use crate::http::problem::Problem;

/// List runners
///
/// Who works, who waits and for whom, and who was there in the last hour, at most two hundred. Waiting runners show up after a
/// second or two. Nobody tells the server that it has gone: what is concluded from when a runner was seen last says so
/// (`isGuess`). A start that finds nothing to do leaves no trace here.
#[utoipa::path(
    get,
    path = "/api/v1/admin/environment/{environmentId}/service/{serviceId}/runner",
    operation_id = "runner_list",
    tag = "troubleshooting",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
    ),
    responses(
        (status = 200, description = "Runners", body = RunnerList, example = json!({
            "runners": [
                {"runnerId": "billing@node-a#5f0c", "activity": "WORKING", "since": "2026-09-14T02:58:12Z",
                 "lastSeenAt": "2026-09-14T03:04:12Z", "executionId": 9001, "host": "node-a",
                 "facts": {"sdk": "flamingock-rust/0.1.0", "applicationVersion": "4.2.0", "host": "node-a"}},
                {"runnerId": "billing@node-b#77aa", "activity": "WAITING", "isGuess": true,
                 "since": "2026-09-14T03:01:00Z", "lastSeenAt": "2026-09-14T03:04:13Z",
                 "waitsFor": "billing@node-a#5f0c", "host": "node-b"}
            ],
            "asOf": "2026-09-14T03:04:14Z"
        })),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the session's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_02`: nothing of that id within the token's reach", body = ProblemDetails),
    ),
)]
pub async fn runner_list(
    State(api): State<Api>,
    reader: Reader,
    ApiPath((environment_id, service_id)): ApiPath<(i64, i64)>,
) -> Result<Json<RunnerList>, Problem> {
    let scope = reader.scope(&api, environment_id, service_id).await?;
    let (seen, as_of) = api.app.operations.runners(scope).await?;
    Ok(Json(RunnerList {
        runners: seen.iter().map(runner_record).collect(),
        as_of,
    }))
}
