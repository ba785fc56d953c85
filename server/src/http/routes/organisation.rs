//! Organisations, as people manage them.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use flamingock_api_types::ProblemDetails;
use flamingock_api_types::tenancy::{
    OrganisationCreateRequest, OrganisationPage, OrganisationUpdateRequest, OrganisationView,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::tenancy::{Created, UnitQuery, page, problem, refuse_nothing};
use crate::app::auth::{Reach, UnitKind};
use crate::app::tenancy::{Change, Found, NewUnit};
use crate::http::extract::{Administrator, ApiPath, ApiQuery, Reader, Root};
use crate::http::problem::Problem;
use crate::http::{Api, fields};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(organisation_list, organisation_create))
        .routes(routes!(organisation_view, organisation_update))
}

/// List organisations
///
/// By name. The token's own; a root token sees all. Archived ones are left out unless asked for.
#[utoipa::path(
    get,
    path = "/api/v1/admin/organisation",
    operation_id = "organisation_list",
    tag = "tenancy",
    params(
        ("name" = Option<String>, Query, description = "Exactly this name, present or former"),
        ("archived" = Option<String>, Query, description = "`false` (default), `true` or `any`"),
        ("after" = Option<String>, Query, description = "The `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50"),
    ),
    responses(
        (status = 200, description = "Organisations", body = OrganisationPage, example = json!({
            "organisations": [{"organisationId": 3, "name": "acme", "createdAt": "2026-01-01T00:00:00Z", "formerNames": []}]
        })),
        (status = 400, description = "`R_GEN_02`: a parameter is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn organisation_list(
    State(api): State<Api>,
    reader: Reader,
    ApiQuery(query): ApiQuery<UnitQuery>,
) -> Result<Json<OrganisationPage>, Problem> {
    let (found, next) = page(
        &api,
        &reader.reach(),
        "organisation_list",
        UnitKind::Organisation,
        None,
        query,
    )
    .await?;
    Ok(Json(OrganisationPage {
        organisations: found.into_iter().map(view).collect(),
        next,
    }))
}

/// Create an organisation
///
/// Only a root token does. Next it needs a token of its own: `token_create` with the role `admin`.
#[utoipa::path(
    post,
    path = "/api/v1/admin/organisation",
    operation_id = "organisation_create",
    tag = "tenancy",
    request_body(content = OrganisationCreateRequest, example = json!({"name": "Acme Ltd"})),
    responses(
        (status = 201, description = "Created", body = OrganisationView, example = json!(
            {"organisationId": 3, "name": "Acme Ltd", "createdAt": "2026-01-01T00:00:00Z", "formerNames": []}
        )),
        (status = 400, description = "`R_GEN_02`: malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the token's scope or role", body = ProblemDetails),
        (status = 409, description = "`R_TENANT_05`: the name is taken", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn organisation_create(
    State(api): State<Api>,
    root: Root,
    headers: HeaderMap,
    body: Body,
) -> Result<Created<OrganisationView>, Problem> {
    let request: OrganisationCreateRequest = fields::body(&api, &headers, body).await?;
    let new = NewUnit {
        kind: UnitKind::Organisation,
        parent: None,
        name: &request.name,
        setting: None,
        reason: fields::optional_reason(request.reason.as_deref())?,
    };
    let made = api
        .app
        .tenancy
        .create(&Reach::everything(), root.actor(), &new)
        .await
        .map_err(problem)?;
    Ok((StatusCode::CREATED, Json(view(made))))
}

/// View an organisation
#[utoipa::path(
    get,
    path = "/api/v1/admin/organisation/{organisationId}",
    operation_id = "organisation_view",
    tag = "tenancy",
    params(("organisationId" = i64, Path, description = "Organisation")),
    responses(
        (status = 200, description = "The organisation", body = OrganisationView, example = json!(
            {"organisationId": 3, "name": "Acme Ltd", "createdAt": "2026-01-01T00:00:00Z", "formerNames": ["acme"]}
        )),
        (status = 400, description = "`R_GEN_02`: the id is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_03`: no such organisation within the token's reach", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn organisation_view(
    State(api): State<Api>,
    reader: Reader,
    ApiPath(organisation_id): ApiPath<i64>,
) -> Result<Json<OrganisationView>, Problem> {
    let found = api
        .app
        .tenancy
        .view(&reader.reach(), UnitKind::Organisation, organisation_id)
        .await
        .map_err(problem)?;
    Ok(Json(view(found)))
}

/// Rename, archive or change an organisation
///
/// A former name is kept. Only a root token renames an organisation: its name is unique on the server. Archived: no new
/// session and no new plan; reports of what runs are still taken, and all history stays. Nothing is ever deleted, and what
/// is archived can be taken back.
#[utoipa::path(
    patch,
    path = "/api/v1/admin/organisation/{organisationId}",
    operation_id = "organisation_update",
    tag = "tenancy",
    params(("organisationId" = i64, Path, description = "Organisation")),
    request_body(content = OrganisationUpdateRequest, example = json!({"name": "Acme Ltd", "reason": "As it is called now."})),
    responses(
        (status = 200, description = "As it is now", body = OrganisationView, example = json!(
            {"organisationId": 3, "name": "Acme Ltd", "createdAt": "2026-01-01T00:00:00Z", "formerNames": ["acme"]}
        )),
        (status = 400, description = "`R_GEN_02`: malformed, or nothing is asked for", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the token's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_03`: no such organisation within the token's reach", body = ProblemDetails),
        (status = 409, description = "`R_TENANT_05`: the name is taken", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn organisation_update(
    State(api): State<Api>,
    administrator: Administrator,
    ApiPath(organisation_id): ApiPath<i64>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<OrganisationView>, Problem> {
    let request: OrganisationUpdateRequest = fields::body(&api, &headers, body).await?;
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
            UnitKind::Organisation,
            organisation_id,
            &change,
        )
        .await
        .map_err(problem)?;
    Ok(Json(view(found)))
}

fn view(found: Found) -> OrganisationView {
    OrganisationView {
        organisation_id: found.id,
        name: found.name,
        created_at: found.created_at,
        archived_at: found.archived_at,
        former_names: found.former_names,
    }
}
