//! The log of what people and automation did.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use flamingock_api_types::ProblemDetails;
use flamingock_api_types::action::{ActionPage, ActionView};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::execution::page_limit;
use super::tenancy::problem;
use crate::app::actions::{Filter, Recorded};
use crate::app::auth::Reach;
use crate::http::cursor::Listing;
use crate::http::extract::{Administrator, ApiPath, ApiQuery, Root};
use crate::http::problem::Problem;
use crate::http::{Api, fields};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(action_list))
        .routes(routes!(server_action_list))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionQuery {
    action: Option<String>,
    target: Option<String>,
    credential_id: Option<i64>,
    project_id: Option<i64>,
    environment_id: Option<i64>,
    service_id: Option<i64>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    after: Option<String>,
    limit: Option<i64>,
}

/// What a list was asked for, in its cursor.
#[derive(Serialize)]
struct Asked<'a> {
    organisation: Option<i64>,
    action: Option<&'a str>,
    target: Option<&'a str>,
    credential: Option<i64>,
    place: (Option<i64>, Option<i64>, Option<i64>),
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
}

/// List the actions in an organisation
///
/// Who did what, from where, to what, why, and what was there before and after; newest first. An administrator of a part sees
/// what was done to that part. The work for one page is bounded: a page of a rare kind may hold few or none and still have a
/// `next`. Go on until there is none.
#[utoipa::path(
    get,
    path = "/api/v1/admin/organisation/{organisationId}/action",
    operation_id = "action_list",
    tag = "actions",
    params(
        ("organisationId" = i64, Path, description = "Organisation"),
        ("action" = Option<String>, Query, description = "Exactly this operation, such as `token_revoke`"),
        ("target" = Option<String>, Query, description = "Exactly this target: a name, a key, a change"),
        ("credentialId" = Option<i64>, Query, description = "By this API token"),
        ("projectId" = Option<i64>, Query, description = "In this project"),
        ("environmentId" = Option<i64>, Query, description = "In this environment"),
        ("serviceId" = Option<i64>, Query, description = "In this service"),
        ("since" = Option<String>, Query, description = "At this moment or later, such as `2026-01-31T00:00:00Z`"),
        ("until" = Option<String>, Query, description = "Before this moment"),
        ("after" = Option<String>, Query, description = "The `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50"),
    ),
    responses(
        (status = 200, description = "Actions", body = ActionPage, example = json!({"actions": [{
            "actionId": 77, "actedAt": "2026-01-03T02:59:00Z", "action": "token_revoke", "organisationId": 3, "projectId": 8,
            "organisationName": "acme", "projectName": "payments", "target": "billing-runner", "credentialId": 20, "actor": "token:20 (mara)", "role": "admin",
            "address": "192.0.2.7", "requestId": "8d1f0c7a5b2e4f60-1a", "reason": "The laptop was stolen.",
            "before": {"revokedAt": null}, "after": {"revokedAt": "2026-01-03T02:59:00Z"}
        }]})),
        (status = 400, description = "`R_GEN_02`: a parameter is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_04`: not an administrator's", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_03`: no such organisation within the token's reach", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn action_list(
    State(api): State<Api>,
    administrator: Administrator,
    ApiPath(organisation_id): ApiPath<i64>,
    ApiQuery(query): ApiQuery<ActionQuery>,
) -> Result<Json<ActionPage>, Problem> {
    page(
        &api,
        "action_list",
        &administrator.reach(),
        Some(organisation_id),
        query,
    )
    .await
}

/// List the actions in the whole server
///
/// As the list of an organisation, with what belongs to none: new organisations, root tokens.
#[utoipa::path(
    get,
    path = "/api/v1/admin/action",
    operation_id = "server_action_list",
    tag = "actions",
    params(
        ("action" = Option<String>, Query, description = "Exactly this operation, such as `token_revoke`"),
        ("target" = Option<String>, Query, description = "Exactly this target: a name, a key, a change"),
        ("credentialId" = Option<i64>, Query, description = "By this API token"),
        ("projectId" = Option<i64>, Query, description = "In this project"),
        ("environmentId" = Option<i64>, Query, description = "In this environment"),
        ("serviceId" = Option<i64>, Query, description = "In this service"),
        ("since" = Option<String>, Query, description = "At this moment or later, such as `2026-01-31T00:00:00Z`"),
        ("until" = Option<String>, Query, description = "Before this moment"),
        ("after" = Option<String>, Query, description = "The `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50"),
    ),
    responses(
        (status = 200, description = "Actions", body = ActionPage, example = json!({"actions": [{
            "actionId": 1, "actedAt": "2026-01-01T00:00:00Z", "action": "organisation_create", "organisationId": 3,
            "organisationName": "acme", "target": "acme", "actor": "server:bootstrap", "role": "root", "after": {"name": "acme"}
        }]})),
        (status = 400, description = "`R_GEN_02`: a parameter is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_04`: not a root token", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn server_action_list(
    State(api): State<Api>,
    _root: Root,
    ApiQuery(query): ApiQuery<ActionQuery>,
) -> Result<Json<ActionPage>, Problem> {
    page(&api, "server_action_list", &Reach::everything(), None, query).await
}

async fn page(
    api: &Api,
    operation: &str,
    reach: &Reach,
    organisation_id: Option<i64>,
    query: ActionQuery,
) -> Result<Json<ActionPage>, Problem> {
    let limit = page_limit(query.limit)?;
    let action = fields::filter("action", query.action)?;
    let target = fields::filter("target", query.target)?;
    let listing = Listing::new(
        operation,
        &Asked {
            organisation: organisation_id,
            action: action.as_deref(),
            target: target.as_deref(),
            credential: query.credential_id,
            place: (query.project_id, query.environment_id, query.service_id),
            since: query.since,
            until: query.until,
        },
    );
    let filter = Filter {
        before: listing.position(query.after.as_deref())?,
        action,
        target,
        credential_id: query.credential_id,
        project_id: query.project_id,
        environment_id: query.environment_id,
        service_id: query.service_id,
        since: query.since,
        until: query.until,
    };
    let found = api
        .app
        .actions
        .list(reach, organisation_id, &filter, limit)
        .await
        .map_err(problem)?;
    Ok(Json(ActionPage {
        actions: found.actions.into_iter().map(view).collect(),
        next: found.next.map(|id| listing.cursor(&id)),
    }))
}

fn view(row: Recorded) -> ActionView {
    ActionView {
        action_id: row.id,
        acted_at: row.acted_at,
        action: row.action,
        organisation_id: row.organisation_id,
        project_id: row.project_id,
        environment_id: row.environment_id,
        service_id: row.service_id,
        organisation_name: row.names.organisation,
        project_name: row.names.project,
        environment_name: row.names.environment,
        service_name: row.names.service,
        target: row.target,
        credential_id: row.credential_id,
        actor: row.actor,
        role: row.role,
        address: row.address,
        forwarded_for: row.forwarded_for,
        request_id: row.request_id,
        reason: row.reason,
        before: row.before.as_deref().map(json),
        after: row.after.as_deref().map(json),
    }
}

/// Written by us as JSON; shown as it is if it should not be.
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}
