//! Services, as people manage them.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use flamingock_api_types::ProblemDetails;
use flamingock_api_types::tenancy::{ServiceCreateRequest, ServicePage, ServiceUpdateRequest, ServiceView};
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
        .routes(routes!(service_list, service_create))
        .routes(routes!(service_view, service_update))
}

/// List services of a project
///
/// By name. Those that the token reaches. Archived ones are left out unless asked for.
#[utoipa::path(
    get,
    path = "/api/v1/admin/project/{projectId}/service",
    operation_id = "service_list",
    tag = "tenancy",
    params(
        ("projectId" = i64, Path, description = "Project"),
        ("name" = Option<String>, Query, description = "Exactly this name, present or former"),
        ("archived" = Option<String>, Query, description = "`false` (default), `true` or `any`"),
        ("after" = Option<String>, Query, description = "The `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50"),
    ),
    responses(
        (status = 200, description = "Services", body = ServicePage, example = json!({
            "services": [{"serviceId": 340, "projectId": 8, "organisationId": 3, "name": "billing", "createdAt": "2026-01-01T00:00:00Z", "formerNames": []}]
        })),
        (status = 400, description = "`R_GEN_02`: a parameter is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_04`: no such project within the token's reach", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn service_list(
    State(api): State<Api>,
    reader: Reader,
    ApiPath(project_id): ApiPath<i64>,
    ApiQuery(query): ApiQuery<UnitQuery>,
) -> Result<Json<ServicePage>, Problem> {
    let (found, next) = page(
        &api,
        &reader.reach(),
        "service_list",
        UnitKind::Service,
        Some(project_id),
        query,
    )
    .await?;
    Ok(Json(ServicePage {
        services: found.into_iter().map(view).collect(),
        next,
    }))
}

/// Create a service
///
/// Services can also register themselves at their first token exchange, where the project allows it.
#[utoipa::path(
    post,
    path = "/api/v1/admin/project/{projectId}/service",
    operation_id = "service_create",
    tag = "tenancy",
    params(("projectId" = i64, Path, description = "Project")),
    request_body(content = ServiceCreateRequest, example = json!({"name": "invoicing"})),
    responses(
        (status = 201, description = "Created", body = ServiceView, example = json!(
            {"serviceId": 340, "projectId": 8, "organisationId": 3, "name": "invoicing", "createdAt": "2026-01-01T00:00:00Z", "formerNames": []}
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
pub async fn service_create(
    State(api): State<Api>,
    administrator: Administrator,
    ApiPath(project_id): ApiPath<i64>,
    headers: HeaderMap,
    body: Body,
) -> Result<Created<ServiceView>, Problem> {
    let request: ServiceCreateRequest = fields::body(&api, &headers, body).await?;
    let new = NewUnit {
        kind: UnitKind::Service,
        parent: Some(project_id),
        name: &request.name,
        setting: None,
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

/// View a service
#[utoipa::path(
    get,
    path = "/api/v1/admin/service/{serviceId}",
    operation_id = "service_view",
    tag = "tenancy",
    params(("serviceId" = i64, Path, description = "Service")),
    responses(
        (status = 200, description = "The service", body = ServiceView, example = json!(
            {"serviceId": 340, "projectId": 8, "organisationId": 3, "name": "invoicing", "createdAt": "2026-01-01T00:00:00Z", "formerNames": ["billing"]}
        )),
        (status = 400, description = "`R_GEN_02`: the id is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_02`: no such service within the token's reach", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn service_view(
    State(api): State<Api>,
    reader: Reader,
    ApiPath(service_id): ApiPath<i64>,
) -> Result<Json<ServiceView>, Problem> {
    let found = api
        .app
        .tenancy
        .view(&reader.reach(), UnitKind::Service, service_id)
        .await
        .map_err(problem)?;
    Ok(Json(view(found)))
}

/// Rename, archive or change a service
///
/// A former name is kept. Applications that start under the former name go on finding it, and no second one registers under it. Archived: no new session and no new plan; reports of what runs are still taken, and all
/// history stays. Nothing is ever deleted, and what is archived can be taken back.
#[utoipa::path(
    patch,
    path = "/api/v1/admin/service/{serviceId}",
    operation_id = "service_update",
    tag = "tenancy",
    params(("serviceId" = i64, Path, description = "Service")),
    request_body(content = ServiceUpdateRequest, example = json!({"name": "invoicing", "reason": "As it is called now."})),
    responses(
        (status = 200, description = "As it is now", body = ServiceView, example = json!(
            {"serviceId": 340, "projectId": 8, "organisationId": 3, "name": "invoicing", "createdAt": "2026-01-01T00:00:00Z", "formerNames": ["billing"]}
        )),
        (status = 400, description = "`R_GEN_02`: malformed, or nothing is asked for", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the token's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_02`: no such service within the token's reach", body = ProblemDetails),
        (status = 409, description = "`R_TENANT_05`: the name is taken", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn service_update(
    State(api): State<Api>,
    administrator: Administrator,
    ApiPath(service_id): ApiPath<i64>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ServiceView>, Problem> {
    let request: ServiceUpdateRequest = fields::body(&api, &headers, body).await?;
    let change = Change {
        name: request.name.as_deref(),
        archived: request.archived,
        setting: None,
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
            UnitKind::Service,
            service_id,
            &change,
        )
        .await
        .map_err(problem)?;
    Ok(Json(view(found)))
}

fn view(found: Found) -> ServiceView {
    ServiceView {
        service_id: found.id,
        project_id: found.project_id.unwrap_or_default(),
        organisation_id: found.organisation_id,
        name: found.name,
        created_at: found.created_at,
        archived_at: found.archived_at,
        former_names: found.former_names,
    }
}
