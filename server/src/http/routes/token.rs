//! API tokens, as people manage them.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use flamingock_api_types::token::{
    CreatedToken, RootTokenCreateRequest, RotatedToken, TokenCreateRequest, TokenPage,
    TokenRevocationRequest, TokenRole, TokenRotationRequest, TokenView,
};
use flamingock_api_types::{ErrorCode, ProblemDetails};
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::execution::page_limit;
use super::tenancy::not_found;
use crate::app::auth::{Reach, Role};
use crate::app::tokens::{Filter, Made, Manager, Summary, TokenError, Wish};
use crate::http::cursor::Listing;
use crate::http::extract::{Administrator, ApiPath, ApiQuery, Root};
use crate::http::problem::Problem;
use crate::http::{Api, fields};

const OVERLAP_DEFAULT: Duration = Duration::from_hours(24);
const OVERLAP_MAX: Duration = Duration::from_hours(30 * 24);
/// Most environments or services that a token can be restricted to.
const RESTRICTIONS_MAX: usize = 500;

/// Nobody on the way may keep an answer that holds a value.
const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

type Secret<T> = (StatusCode, [(HeaderName, &'static str); 1], Json<T>);

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(token_list, token_create))
        .routes(routes!(root_token_list, root_token_create))
        .routes(routes!(token_view))
        .routes(routes!(token_rotate))
        .routes(routes!(token_revoke))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenQuery {
    name: Option<String>,
    role: Option<String>,
    project_id: Option<i64>,
    alive: Option<bool>,
    after: Option<String>,
    limit: Option<i64>,
}

#[derive(Serialize)]
struct Asked<'a> {
    organisation: Option<i64>,
    name: Option<&'a str>,
    role: Option<&'a str>,
    project: Option<i64>,
    alive: Option<bool>,
}

/// List the tokens of an organisation
///
/// Newest first, never with a value; those that ended are among them. An administrator of one project sees that project's.
#[utoipa::path(
    get,
    path = "/api/v1/admin/organisation/{organisationId}/token",
    operation_id = "token_list",
    tag = "tokens",
    params(
        ("organisationId" = i64, Path, description = "Organisation"),
        ("name" = Option<String>, Query, description = "Exactly this name"),
        ("role" = Option<String>, Query, description = "Exactly this role"),
        ("projectId" = Option<i64>, Query, description = "Those of this project"),
        ("alive" = Option<bool>, Query, description = "`true`: those that are accepted now. `false`: those that ended"),
        ("after" = Option<String>, Query, description = "The `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50"),
    ),
    responses(
        (status = 200, description = "Tokens", body = TokenPage, example = json!({"tokens": [{
            "tokenId": 21, "organisationId": 3, "projectId": 8, "projectName": "payments", "name": "billing-runner", "role": "runner",
            "hint": "flk_ab3xyz", "createdAt": "2026-01-01T00:00:00Z", "lastUsedAt": "2026-01-02T08:30:00Z", "alive": true
        }]})),
        (status = 400, description = "`R_GEN_02`: a parameter is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_04`: not an administrator's", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_03`: no such organisation within the token's reach", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn token_list(
    State(api): State<Api>,
    administrator: Administrator,
    ApiPath(organisation_id): ApiPath<i64>,
    ApiQuery(query): ApiQuery<TokenQuery>,
) -> Result<Json<TokenPage>, Problem> {
    let reach = administrator.reach();
    page(
        &api,
        "token_list",
        manager(&administrator, &reach),
        Some(organisation_id),
        query,
    )
    .await
}

/// Create a token
///
/// The answer is the only place where its value is ever shown. Nobody makes one that may do more than their own: an admin
/// makes every role but `root`, an admin of one project makes tokens of that project. Was the answer lost: rotate the token.
#[utoipa::path(
    post,
    path = "/api/v1/admin/organisation/{organisationId}/token",
    operation_id = "token_create",
    tag = "tokens",
    params(("organisationId" = i64, Path, description = "Organisation")),
    request_body(content = TokenCreateRequest, example = json!({
        "name": "billing-runner", "role": "runner", "projectId": 8, "environmentIds": [12], "serviceIds": [340],
        "expiresAt": "2031-01-01T00:00:00Z"
    })),
    responses(
        (status = 201, description = "Created; `Cache-Control: no-store`", body = CreatedToken, example = json!({
            "token": {"tokenId": 21, "organisationId": 3, "projectId": 8, "projectName": "payments", "name": "billing-runner", "role": "runner",
                      "hint": "flk_ab3xyz", "environmentIds": [12], "environmentNames": ["production"], "serviceIds": [340],
                      "serviceNames": ["billing"],
                      "createdAt": "2026-01-01T00:00:00Z", "expiresAt": "2031-01-01T00:00:00Z", "alive": true},
            "value": "flk_…"
        })),
        (status = 400, description = "`R_GEN_02`: malformed, or role and scope do not go together", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_04`: not an administrator's. `R_AUTH_07`: more than the caller may itself", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_…`: something that it names is not within the token's reach", body = ProblemDetails),
        (status = 409, description = "`R_TENANT_05`: the name is taken. `R_TENANT_06`: it is for something archived", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn token_create(
    State(api): State<Api>,
    administrator: Administrator,
    ApiPath(organisation_id): ApiPath<i64>,
    headers: HeaderMap,
    body: Body,
) -> Result<Secret<CreatedToken>, Problem> {
    let request: TokenCreateRequest = fields::body(&api, &headers, body).await?;
    let reach = administrator.reach();
    let wish = Wish {
        name: &request.name,
        role: role(request.role),
        organisation_id: Some(organisation_id),
        project_id: request.project_id,
        environment_ids: restriction("environmentIds", request.environment_ids)?,
        service_ids: restriction("serviceIds", request.service_ids)?,
        expires_at: request.expires_at,
        reason: fields::optional_reason(request.reason.as_deref())?,
    };
    let made = api
        .app
        .tokens
        .create(manager(&administrator, &reach), &wish)
        .await
        .map_err(problem)?;
    Ok(created(made))
}

/// List the root tokens
///
/// Those of the server itself, newest first, never with a value.
#[utoipa::path(
    get,
    path = "/api/v1/admin/token",
    operation_id = "root_token_list",
    tag = "tokens",
    params(
        ("name" = Option<String>, Query, description = "Exactly this name"),
        ("alive" = Option<bool>, Query, description = "`true`: those that are accepted now. `false`: those that ended"),
        ("after" = Option<String>, Query, description = "The `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50"),
    ),
    responses(
        (status = 200, description = "Tokens", body = TokenPage, example = json!({"tokens": [{
            "tokenId": 1, "name": "root", "role": "root", "hint": "flk_q2w3e4", "createdAt": "2026-01-01T00:00:00Z",
            "alive": true
        }]})),
        (status = 400, description = "`R_GEN_02`: a parameter is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_04`: not a root token", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn root_token_list(
    State(api): State<Api>,
    root: Root,
    ApiQuery(query): ApiQuery<TokenQuery>,
) -> Result<Json<TokenPage>, Problem> {
    let reach = Reach::everything();
    page(&api, "root_token_list", root_manager(&root, &reach), None, query).await
}

/// Create a root token
///
/// The answer is the only place where its value is ever shown.
#[utoipa::path(
    post,
    path = "/api/v1/admin/token",
    operation_id = "root_token_create",
    tag = "tokens",
    request_body(content = RootTokenCreateRequest, example = json!({"name": "root-of-mara"})),
    responses(
        (status = 201, description = "Created; `Cache-Control: no-store`", body = CreatedToken, example = json!({
            "token": {"tokenId": 2, "name": "root-of-mara", "role": "root", "hint": "flk_ab3xyz",
                      "createdAt": "2026-01-01T00:00:00Z", "alive": true},
            "value": "flk_…"
        })),
        (status = 400, description = "`R_GEN_02`: malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_04`: not a root token", body = ProblemDetails),
        (status = 409, description = "`R_TENANT_05`: the name is taken", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn root_token_create(
    State(api): State<Api>,
    root: Root,
    headers: HeaderMap,
    body: Body,
) -> Result<Secret<CreatedToken>, Problem> {
    let request: RootTokenCreateRequest = fields::body(&api, &headers, body).await?;
    let reach = Reach::everything();
    let wish = Wish {
        name: &request.name,
        role: Role::Root,
        organisation_id: None,
        project_id: None,
        environment_ids: None,
        service_ids: None,
        expires_at: request.expires_at,
        reason: fields::optional_reason(request.reason.as_deref())?,
    };
    let made = api
        .app
        .tokens
        .create(root_manager(&root, &reach), &wish)
        .await
        .map_err(problem)?;
    Ok(created(made))
}

/// View a token
///
/// Never with its value.
#[utoipa::path(
    get,
    path = "/api/v1/admin/token/{tokenId}",
    operation_id = "token_view",
    tag = "tokens",
    params(("tokenId" = i64, Path, description = "Token")),
    responses(
        (status = 200, description = "The token", body = TokenView, example = json!({
            "tokenId": 21, "organisationId": 3, "projectId": 8, "projectName": "payments", "name": "billing-runner", "role": "runner",
            "hint": "flk_ab3xyz", "createdAt": "2026-01-01T00:00:00Z", "alive": true
        })),
        (status = 400, description = "`R_GEN_02`: the id is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_04`: not an administrator's", body = ProblemDetails),
        (status = 404, description = "`R_TOKEN_01`: no such token within the caller's reach", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn token_view(
    State(api): State<Api>,
    administrator: Administrator,
    ApiPath(token_id): ApiPath<i64>,
) -> Result<Json<TokenView>, Problem> {
    let reach = administrator.reach();
    let found = api
        .app
        .tokens
        .view(manager(&administrator, &reach), token_id)
        .await
        .map_err(problem)?;
    Ok(Json(view(found)))
}

/// Rotate a token
///
/// A new value under the same name and terms, shown once. The old one opens sessions until the overlap ends, so that
/// applications can move one by one; sessions that it opened last as long as any. With an overlap of 0 the old one is revoked,
/// and its sessions end within seconds. Was the answer lost: rotate the new token.
#[utoipa::path(
    post,
    path = "/api/v1/admin/token/{tokenId}/rotation",
    operation_id = "token_rotate",
    tag = "tokens",
    params(("tokenId" = i64, Path, description = "Token")),
    request_body(content = TokenRotationRequest, example = json!({"overlapSeconds": 86400, "reason": "The yearly one."})),
    responses(
        (status = 201, description = "Rotated; `Cache-Control: no-store`", body = RotatedToken, example = json!({
            "token": {"tokenId": 22, "organisationId": 3, "projectId": 8, "projectName": "payments", "name": "billing-runner", "role": "runner",
                      "hint": "flk_cd5uvw", "createdAt": "2026-01-01T00:00:00Z", "alive": true},
            "value": "flk_…",
            "replaced": {"tokenId": 21, "organisationId": 3, "projectId": 8, "projectName": "payments", "name": "billing-runner", "role": "runner",
                         "hint": "flk_ab3xyz", "createdAt": "2025-01-01T00:00:00Z", "expiresAt": "2026-01-02T00:00:00Z",
                         "replacedBy": 22, "alive": true}
        })),
        (status = 400, description = "`R_GEN_02`: malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_04`: not an administrator's. `R_AUTH_07`: it may do more than the caller", body = ProblemDetails),
        (status = 404, description = "`R_TOKEN_01`: no such token within the caller's reach", body = ProblemDetails),
        (status = 409, description = "`R_TOKEN_02`: it was revoked or replaced, or has expired", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn token_rotate(
    State(api): State<Api>,
    administrator: Administrator,
    ApiPath(token_id): ApiPath<i64>,
    headers: HeaderMap,
    body: Body,
) -> Result<Secret<RotatedToken>, Problem> {
    let request: TokenRotationRequest = fields::optional_body(&api, &headers, body).await?;
    let overlap = request
        .overlap_seconds
        .map_or(OVERLAP_DEFAULT, Duration::from_secs);
    if overlap > OVERLAP_MAX {
        return Err(Problem::malformed(format!(
            "The field `overlapSeconds` may be up to {} (30 days), it is {}.",
            OVERLAP_MAX.as_secs(),
            overlap.as_secs()
        )));
    }
    let reason = fields::optional_reason(request.reason.as_deref())?;
    let reach = administrator.reach();
    let rotated = api
        .app
        .tokens
        .rotate(manager(&administrator, &reach), token_id, overlap, reason)
        .await
        .map_err(problem)?;
    let Made { token, value } = rotated.made;
    let answer = RotatedToken {
        token: view(token),
        value: value.expose().to_owned(),
        replaced: view(rotated.replaced),
    };
    Ok((StatusCode::CREATED, NO_STORE, Json(answer)))
}

/// Revoke a token
///
/// For good. It and the sessions that it opened are refused within seconds, by every replica. Revoking one that has ended
/// changes nothing. One may revoke oneself; the last root token that works cannot be revoked.
#[utoipa::path(
    post,
    path = "/api/v1/admin/token/{tokenId}/revocation",
    operation_id = "token_revoke",
    tag = "tokens",
    params(("tokenId" = i64, Path, description = "Token")),
    request_body(content = TokenRevocationRequest, example = json!({"reason": "The laptop was stolen."})),
    responses(
        (status = 200, description = "Revoked", body = TokenView, example = json!({
            "tokenId": 21, "organisationId": 3, "projectId": 8, "projectName": "payments", "name": "billing-runner", "role": "runner",
            "hint": "flk_ab3xyz", "createdAt": "2026-01-01T00:00:00Z", "revokedAt": "2026-01-03T02:59:00Z", "alive": false
        })),
        (status = 400, description = "`R_GEN_02`: malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_04`: not an administrator's. `R_AUTH_07`: it may do more than the caller", body = ProblemDetails),
        (status = 404, description = "`R_TOKEN_01`: no such token within the caller's reach", body = ProblemDetails),
        (status = 409, description = "`R_TOKEN_03`: it is the last root token that works", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn token_revoke(
    State(api): State<Api>,
    administrator: Administrator,
    ApiPath(token_id): ApiPath<i64>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<TokenView>, Problem> {
    let request: TokenRevocationRequest = fields::optional_body(&api, &headers, body).await?;
    let reason = fields::optional_reason(request.reason.as_deref())?;
    let reach = administrator.reach();
    let revoked = api
        .app
        .tokens
        .revoke(manager(&administrator, &reach), token_id, reason)
        .await
        .map_err(problem)?;
    Ok(Json(view(revoked)))
}

async fn page(
    api: &Api,
    operation: &str,
    manager: Manager<'_>,
    organisation_id: Option<i64>,
    query: TokenQuery,
) -> Result<Json<TokenPage>, Problem> {
    let limit = page_limit(query.limit)?;
    let name = fields::filter("name", query.name)?;
    let role = match query.role {
        Some(text) if Role::parse(&text).is_none() => {
            return Err(Problem::malformed(
                "The query parameter `role` must be `runner`, `viewer`, `operator`, `admin` or `root`.",
            ));
        }
        role => role,
    };
    let listing = Listing::new(
        operation,
        &Asked {
            organisation: organisation_id,
            name: name.as_deref(),
            role: role.as_deref(),
            project: query.project_id,
            alive: query.alive,
        },
    );
    let filter = Filter {
        before: listing.position(query.after.as_deref())?,
        name,
        role,
        project_id: query.project_id,
        alive: query.alive,
    };
    let mut found = api
        .app
        .tokens
        .list(manager, organisation_id, &filter, limit + 1)
        .await
        .map_err(problem)?;
    let more = found.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if more {
        found.pop();
    }
    let next = found.last().filter(|_| more).map(|last| listing.cursor(&last.id));
    Ok(Json(TokenPage {
        tokens: found.into_iter().map(view).collect(),
        next,
    }))
}

fn manager<'a>(administrator: &'a Administrator, reach: &'a Reach) -> Manager<'a> {
    Manager {
        role: administrator.role(),
        reach,
        actor: administrator.actor(),
    }
}

fn root_manager<'a>(root: &'a Root, reach: &'a Reach) -> Manager<'a> {
    Manager {
        role: Role::Root,
        reach,
        actor: root.actor(),
    }
}

fn restriction(field: &str, ids: Option<Vec<i64>>) -> Result<Option<Vec<i64>>, Problem> {
    let Some(mut ids) = ids else { return Ok(None) };
    if ids.len() > RESTRICTIONS_MAX {
        return Err(Problem::malformed(format!(
            "The field `{field}` may have up to {RESTRICTIONS_MAX} ids, it has {}.",
            ids.len()
        )));
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(Some(ids))
}

fn role(role: TokenRole) -> Role {
    match role {
        TokenRole::Runner => Role::Runner,
        TokenRole::Viewer => Role::Viewer,
        TokenRole::Operator => Role::Operator,
        TokenRole::Admin => Role::Admin,
        TokenRole::Root => Role::Root,
    }
}

fn created(made: Made) -> Secret<CreatedToken> {
    let answer = CreatedToken {
        token: view(made.token),
        value: made.value.expose().to_owned(),
    };
    (StatusCode::CREATED, NO_STORE, Json(answer))
}

fn view(token: Summary) -> TokenView {
    TokenView {
        alive: token.is_alive(),
        token_id: token.id,
        organisation_id: token.organisation_id,
        project_id: token.project_id,
        project_name: token.project_name,
        name: token.name,
        role: token.role,
        hint: token.hint,
        environment_ids: token.environment_ids,
        environment_names: token.environment_names,
        service_ids: token.service_ids,
        service_names: token.service_names,
        created_at: token.created_at,
        expires_at: token.expires_at,
        revoked_at: token.revoked_at,
        last_used_at: token.last_used_at,
        replaced_by: token.replaced_by,
    }
}

fn problem(error: TokenError) -> Problem {
    let message = error.to_string();
    let code = match error {
        TokenError::Fault(fault) => return fault.into(),
        TokenError::NotFound { .. } => ErrorCode::TokenNotFound,
        TokenError::UnitNotFound { kind, .. } => not_found(kind),
        TokenError::Archived { .. } => ErrorCode::Archived,
        TokenError::Beyond(_) => ErrorCode::BeyondOwnRights,
        TokenError::Name(_) | TokenError::Terms(_) => ErrorCode::RequestMalformed,
        TokenError::NameTaken { .. } => ErrorCode::NameTaken,
        TokenError::Ended { .. } => ErrorCode::TokenEnded,
        TokenError::LastRoot { .. } => ErrorCode::LastRootToken,
    };
    Problem::new(code, message)
}
