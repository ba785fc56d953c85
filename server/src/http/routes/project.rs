//! Projects, as people manage them.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use flamingock_api_types::ProblemDetails;
use flamingock_api_types::tenancy::{ProjectCreateRequest, ProjectPage, ProjectUpdateRequest, ProjectView};
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
        .routes(routes!(project_list, project_create))
        .routes(routes!(project_view, project_update))
}

/// List projects of an organisation
///
/// By name. Those that the token reaches. Archived ones are left out unless asked for.
#[utoipa::path(
    get,
    path = "/api/v1/admin/organisation/{organisationId}/project",
    operation_id = "project_list",
    tag = "tenancy",
    params(
        ("organisationId" = i64, Path, description = "Organisation"),
        ("name" = Option<String>, Query, description = "Exactly this name, present or former"),
        ("archived" = Option<String>, Query, description = "`false` (default), `true` or `any`"),
        ("after" = Option<String>, Query, description = "The `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50"),
    ),
    responses(
        (status = 200, description = "Projects", body = ProjectPage, example = json!({
            "projects": [{"projectId": 8, "organisationId": 3, "name": "payments", "selfRegisterServices": false, "createdAt": "2026-01-01T00:00:00Z", "formerNames": []}]
        })),
        (status = 400, description = "`R_GEN_02`: a parameter is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_03`: no such organisation within the token's reach", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn project_list(
    State(api): State<Api>,
    reader: Reader,
    ApiPath(organisation_id): ApiPath<i64>,
    ApiQuery(query): ApiQuery<UnitQuery>,
) -> Result<Json<ProjectPage>, Problem> {
    let (found, next) = page(
        &api,
        &reader.reach(),
        "project_list",
        UnitKind::Project,
        Some(organisation_id),
        query,
    )
    .await?;
    Ok(Json(ProjectPage {
        projects: found.into_iter().map(view).collect(),
        next,
    }))
}

/// Create a project
///
/// It begins empty, without environments and services.
#[utoipa::path(
    post,
    path = "/api/v1/admin/organisation/{organisationId}/project",
    operation_id = "project_create",
    tag = "tenancy",
    params(("organisationId" = i64, Path, description = "Organisation")),
    request_body(content = ProjectCreateRequest, example = json!({"name": "billing"})),
    responses(
        (status = 201, description = "Created", body = ProjectView, example = json!(
            {"projectId": 8, "organisationId": 3, "name": "billing", "selfRegisterServices": false, "createdAt": "2026-01-01T00:00:00Z", "formerNames": []}
        )),
        (status = 400, description = "`R_GEN_02`: malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the token's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_03`: no such organisation within the token's reach", body = ProblemDetails),
        (status = 409, description = "`R_TENANT_05`: the name is taken. `R_TENANT_06`: the organisation is archived", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn project_create(
    State(api): State<Api>,
    administrator: Administrator,
    ApiPath(organisation_id): ApiPath<i64>,
    headers: HeaderMap,
    body: Body,
) -> Result<Created<ProjectView>, Problem> {
    let request: ProjectCreateRequest = fields::body(&api, &headers, body).await?;
    let new = NewUnit {
        kind: UnitKind::Project,
        parent: Some(organisation_id),
        name: &request.name,
        setting: request.self_register_services,
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

/// View a project
#[utoipa::path(
    get,
    path = "/api/v1/admin/project/{projectId}",
    operation_id = "project_view",
    tag = "tenancy",
    params(("projectId" = i64, Path, description = "Project")),
    responses(
        (status = 200, description = "The project", body = ProjectView, example = json!(
            {"projectId": 8, "organisationId": 3, "name": "billing", "selfRegisterServices": false, "createdAt": "2026-01-01T00:00:00Z", "formerNames": ["payments"]}
        )),
        (status = 400, description = "`R_GEN_02`: the id is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_04`: no such project within the token's reach", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn project_view(
    State(api): State<Api>,
    reader: Reader,
    ApiPath(project_id): ApiPath<i64>,
) -> Result<Json<ProjectView>, Problem> {
    let found = api
        .app
        .tenancy
        .view(&reader.reach(), UnitKind::Project, project_id)
        .await
        .map_err(problem)?;
    Ok(Json(view(found)))
}

/// Rename, archive or change a project
///
/// A former name is kept. Archived: no new session and no new plan; reports of what runs are still taken, and all
/// history stays. Nothing is ever deleted, and what is archived can be taken back.
#[utoipa::path(
    patch,
    path = "/api/v1/admin/project/{projectId}",
    operation_id = "project_update",
    tag = "tenancy",
    params(("projectId" = i64, Path, description = "Project")),
    request_body(content = ProjectUpdateRequest, example = json!({"name": "billing", "reason": "As it is called now."})),
    responses(
        (status = 200, description = "As it is now", body = ProjectView, example = json!(
            {"projectId": 8, "organisationId": 3, "name": "billing", "selfRegisterServices": false, "createdAt": "2026-01-01T00:00:00Z", "formerNames": ["payments"]}
        )),
        (status = 400, description = "`R_GEN_02`: malformed, or nothing is asked for", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the token's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_04`: no such project within the token's reach", body = ProblemDetails),
        (status = 409, description = "`R_TENANT_05`: the name is taken", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn project_update(
    State(api): State<Api>,
    administrator: Administrator,
    ApiPath(project_id): ApiPath<i64>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ProjectView>, Problem> {
    let request: ProjectUpdateRequest = fields::body(&api, &headers, body).await?;
    let change = Change {
        name: request.name.as_deref(),
        archived: request.archived,
        setting: request.self_register_services,
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
            UnitKind::Project,
            project_id,
            &change,
        )
        .await
        .map_err(problem)?;
    Ok(Json(view(found)))
}

fn view(found: Found) -> ProjectView {
    ProjectView {
        project_id: found.id,
        organisation_id: found.organisation_id,
        name: found.name,
        self_register_services: found.setting.unwrap_or_default(),
        created_at: found.created_at,
        archived_at: found.archived_at,
        former_names: found.former_names,
    }
}
