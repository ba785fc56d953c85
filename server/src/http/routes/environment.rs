//! Environments, as people manage them.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use flamingock_api_types::ProblemDetails;
use flamingock_api_types::tenancy::{
    EnvironmentCreateRequest, EnvironmentPage, EnvironmentUpdateRequest, EnvironmentView,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::tenancy::{Created, UnitQuery, page, problem, refuse_nothing};
use crate::app::auth::UnitKind;
use crate::app::tenancy::{Change, Found, NewUnit};
use crate::http::extract::{Administrator, ApiPath, ApiQuery, Reader};
use crate::http::problem::Problem;
use crate::http::{Api, fields};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(environment_list, environment_create))
        .routes(routes!(environment_view, environment_update))
}

/// List environments of a project
///
/// By name. Those that the token reaches. Archived ones are left out unless asked for.
#[utoipa::path(
    get,
    path = "/api/v1/admin/project/{projectId}/environment",
    operation_id = "environment_list",
    tag = "tenancy",
    params(
        ("projectId" = i64, Path, description = "Project"),
        ("name" = Option<String>, Query, description = "Exactly this name, present or former"),
        ("archived" = Option<String>, Query, description = "`false` (default), `true` or `any`"),
        ("after" = Option<String>, Query, description = "The `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50"),
    ),
    responses(
        (status = 200, description = "Environments", body = EnvironmentPage, example = json!({
            "environments": [{"environmentId": 12, "projectId": 8, "organisationId": 3, "name": "production", "trustAbsentMarks": false, "createdAt": "2026-01-01T00:00:00Z", "formerNames": []}]
        })),
        (status = 400, description = "`R_GEN_02`: a parameter is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_04`: no such project within the token's reach", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn environment_list(
    State(api): State<Api>,
    reader: Reader,
    ApiPath(project_id): ApiPath<i64>,
    ApiQuery(query): ApiQuery<UnitQuery>,
) -> Result<Json<EnvironmentPage>, Problem> {
    let (found, next) = page(
        &api,
        &reader.reach(),
        "environment_list",
        UnitKind::Environment,
        Some(project_id),
        query,
    )
    .await?;
    Ok(Json(EnvironmentPage {
        environments: found.into_iter().map(view).collect(),
        next,
    }))
}

/// Create an environment
///
/// Environments never create themselves: a mistyped name would begin with an empty history and run everything again.
#[utoipa::path(
    post,
    path = "/api/v1/admin/project/{projectId}/environment",
    operation_id = "environment_create",
    tag = "tenancy",
    params(("projectId" = i64, Path, description = "Project")),
    request_body(content = EnvironmentCreateRequest, example = json!({"name": "live"})),
    responses(
        (status = 201, description = "Created", body = EnvironmentView, example = json!(
            {"environmentId": 12, "projectId": 8, "organisationId": 3, "name": "live", "trustAbsentMarks": false, "createdAt": "2026-01-01T00:00:00Z", "formerNames": []}
        )),
        (status = 400, description = "`R_GEN_02`: malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the token's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_04`: no such project within the token's reach", body = ProblemDetails),
        (status = 409, description = "`R_TENANT_05`: the name is taken. `R_TENANT_06`: the project is archived", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn environment_create(
    State(api): State<Api>,
    administrator: Administrator,
    ApiPath(project_id): ApiPath<i64>,
    headers: HeaderMap,
    body: Body,
) -> Result<Created<EnvironmentView>, Problem> {
    let request: EnvironmentCreateRequest = fields::body(&api, &headers, body).await?;
    let new = NewUnit {
        kind: UnitKind::Environment,
        parent: Some(project_id),
        name: &request.name,
        setting: request.trust_absent_marks,
        reason: fields::optional_reason(request.reason.as_deref())?,
    };
    let made = api
        .app
        .tenancy
        .create(&administrator.reach(), administrator.actor(), &new)
        .await
        .map_err(problem)?;
    Ok((StatusCode::CREATED, Json(view(made))))
}

/// View an environment
#[utoipa::path(
    get,
    path = "/api/v1/admin/environment/{environmentId}",
    operation_id = "environment_view",
    tag = "tenancy",
    params(("environmentId" = i64, Path, description = "Environment")),
    responses(
        (status = 200, description = "The environment", body = EnvironmentView, example = json!(
            {"environmentId": 12, "projectId": 8, "organisationId": 3, "name": "live", "trustAbsentMarks": false, "createdAt": "2026-01-01T00:00:00Z", "formerNames": ["production"]}
        )),
        (status = 400, description = "`R_GEN_02`: the id is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_01`: no such environment within the token's reach", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn environment_view(
    State(api): State<Api>,
    reader: Reader,
    ApiPath(environment_id): ApiPath<i64>,
) -> Result<Json<EnvironmentView>, Problem> {
    let found = api
        .app
        .tenancy
        .view(&reader.reach(), UnitKind::Environment, environment_id)
        .await
        .map_err(problem)?;
    Ok(Json(view(found)))
}

/// Rename, archive or change an environment
///
/// A former name is kept. Applications that start under the former name go on finding it. Archived: no new session and no new plan; reports of what runs are still taken, and all
/// history stays. Nothing is ever deleted, and what is archived can be taken back.
#[utoipa::path(
    patch,
    path = "/api/v1/admin/environment/{environmentId}",
    operation_id = "environment_update",
    tag = "tenancy",
    params(("environmentId" = i64, Path, description = "Environment")),
    request_body(content = EnvironmentUpdateRequest, example = json!({"name": "live", "reason": "As it is called now."})),
    responses(
        (status = 200, description = "As it is now", body = EnvironmentView, example = json!(
            {"environmentId": 12, "projectId": 8, "organisationId": 3, "name": "live", "trustAbsentMarks": false, "createdAt": "2026-01-01T00:00:00Z", "formerNames": ["production"]}
        )),
        (status = 400, description = "`R_GEN_02`: malformed, or nothing is asked for", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the token's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_01`: no such environment within the token's reach", body = ProblemDetails),
        (status = 409, description = "`R_TENANT_05`: the name is taken", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn environment_update(
    State(api): State<Api>,
    administrator: Administrator,
    ApiPath(environment_id): ApiPath<i64>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<EnvironmentView>, Problem> {
    let request: EnvironmentUpdateRequest = fields::body(&api, &headers, body).await?;
    let change = Change {
        name: request.name.as_deref(),
        archived: request.archived,
        setting: request.trust_absent_marks,
        release_former_names: &request.release_former_names,
        reason: fields::optional_reason(request.reason.as_deref())?,
    };
    refuse_nothing(&change)?;
    let found = api
        .app
        .tenancy
        .update(
            &administrator.reach(),
            administrator.actor(),
            UnitKind::Environment,
            environment_id,
            &change,
        )
        .await
        .map_err(problem)?;
    Ok(Json(view(found)))
}

fn view(found: Found) -> EnvironmentView {
    EnvironmentView {
        environment_id: found.id,
        project_id: found.project_id.unwrap_or_default(),
        organisation_id: found.organisation_id,
        name: found.name,
        trust_absent_marks: found.setting.unwrap_or_default(),
        created_at: found.created_at,
        archived_at: found.archived_at,
        former_names: found.former_names,
    }
}
