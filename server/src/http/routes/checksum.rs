//! Checksums that are accepted for applied changes.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use flamingock_api_types::policy::{ChecksumPage, ChecksumRequest, ChecksumSource, ChecksumView};
use flamingock_api_types::{ErrorCode, ProblemDetails};
use flamingock_domain::ids::ChangeId;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::execution::page_limit;
use crate::app::checksums::{AcceptError, ChecksumRow};
use crate::http::cursor::Listing;
use crate::http::extract::{ApiPath, ApiQuery, Operator, Reader};
use crate::http::problem::Problem;
use crate::http::{Api, fields};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(checksum_list, checksum_accept))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChecksumQuery {
    change_id: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

/// List accepted checksums
///
/// Of changes as they are applied now, newest first: with which content they were applied, and what was accepted since.
#[utoipa::path(
    get,
    path = "/api/v1/admin/environment/{environmentId}/service/{serviceId}/checksum",
    operation_id = "checksum_list",
    tag = "policies",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
        ("changeId" = Option<String>, Query, description = "Of this change only"),
        ("after" = Option<String>, Query, description = "The `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50"),
    ),
    responses(
        (status = 200, description = "Checksums", body = ChecksumPage, example = json!({"checksums": [
            {"checksumId": 7, "changeId": "create-invoices", "seq": 2, "checksum": "sha256-v1:5924aa7b",
             "source": "RUNNER", "recordedAt": "2026-01-01T00:00:00Z"}
        ]})),
        (status = 400, description = "`R_GEN_02`: a query parameter is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the session's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_02`: nothing of that name within the token's reach", body = ProblemDetails),
    ),
)]
pub async fn checksum_list(
    State(api): State<Api>,
    reader: Reader,
    ApiPath((environment_id, service_id)): ApiPath<(i64, i64)>,
    ApiQuery(query): ApiQuery<ChecksumQuery>,
) -> Result<Json<ChecksumPage>, Problem> {
    let limit = page_limit(query.limit)?;
    let change = fields::change_filter(query.change_id.as_deref())?;
    let scope = reader.scope(&api, environment_id, service_id).await?;
    let asked = change.as_ref().map(ChangeId::as_str);
    let listing = Listing::new("checksum_list", &(environment_id, service_id, asked));
    let before: Option<i64> = listing.position(query.after.as_deref())?;
    let mut rows = api
        .app
        .checksums
        .list(scope, change.as_ref(), before, limit + 1)
        .await?;
    let more = rows.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if more {
        rows.pop();
    }
    Ok(Json(ChecksumPage {
        next: rows.last().filter(|_| more).map(|last| listing.cursor(&last.id)),
        checksums: rows.into_iter().map(view).collect(),
    }))
}

/// Accept a checksum
///
/// For a change that is applied: from now on its content may be this one, too. Those accepted before stay accepted, so that
/// older releases of an application can still start beside the new one. Ends when the change is applied anew.
#[utoipa::path(
    post,
    path = "/api/v1/admin/environment/{environmentId}/service/{serviceId}/checksum",
    operation_id = "checksum_accept",
    tag = "policies",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
    ),
    request_body(content = ChecksumRequest, example = json!({
        "changeId": "create-invoices", "checksum": "sha256-v1:0c22062a", "reason": "A comment was corrected."
    })),
    responses(
        (status = 201, description = "Recorded, now or before", body = ChecksumView, example = json!({
            "checksumId": 8, "changeId": "create-invoices", "seq": 2, "checksum": "sha256-v1:0c22062a",
            "source": "PERSON", "actor": "token:4 (ada)", "reason": "A comment was corrected.",
            "recordedAt": "2026-01-01T00:00:00Z"
        })),
        (status = 400, description = "`R_GEN_02`: malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_02`: nothing of that name within the token's reach", body = ProblemDetails),
        (status = 409, description = "`R_POLICY_08`: the change is not applied", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
    ),
)]
pub async fn checksum_accept(
    State(api): State<Api>,
    operator: Operator,
    ApiPath((environment_id, service_id)): ApiPath<(i64, i64)>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<ChecksumView>), Problem> {
    let scope = operator.scope(&api, environment_id, service_id).await?;
    let request: ChecksumRequest = fields::body(&api, &headers, body).await?;
    let reason = fields::reason(&request.reason)?;
    let change = fields::change_id(&request.change_id)?;
    let checksum = fields::checksum(&request.checksum)?;
    match api
        .app
        .checksums
        .accept(scope, operator.actor(), &change, &checksum, reason)
        .await
    {
        Ok(row) => Ok((StatusCode::CREATED, Json(view(row)))),
        Err(AcceptError::NotApplied { latest }) => Err(Problem::new(
            ErrorCode::ChangeNotApplied,
            format!(
                "Nothing was recorded. A checksum is accepted for an applied change, and of change {change} {}.",
                latest.map_or_else(
                    || "nothing was ever recorded here".to_owned(),
                    |state| format!("the latest state is {}", state.as_wire())
                )
            ),
        )),
        Err(AcceptError::Fault(fault)) => Err(fault.into()),
    }
}

fn view(row: ChecksumRow) -> ChecksumView {
    ChecksumView {
        checksum_id: row.id,
        change_id: row.change_id,
        seq: row.seq,
        checksum: row.checksum,
        source: match row.source.as_str() {
            "RUNNER" => ChecksumSource::Runner,
            "FIRST_SEEN" => ChecksumSource::FirstSeen,
            "PERSON" => ChecksumSource::Person,
            _ => ChecksumSource::Unknown,
        },
        actor: row.actor,
        reason: row.reason,
        recorded_at: row.recorded_at,
    }
}
