//! Who is calling?

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use flamingock_api_types::identity::{IdentityView, NamedId, ReachableProject};
use flamingock_api_types::{ErrorCode, ProblemDetails};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::tenancy::problem;
use crate::app::auth::{Caller, UnitKind};
use crate::http::Api;
use crate::http::extract::Reader;
use crate::http::problem::Problem;

/// What fits into one answer.
const PROJECTS_MAX: i64 = 100;
const PARTS_MAX: i64 = 1_000;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(identity_view))
}

/// View the caller
///
/// Which token this is, what it may do, and what it reaches, by id and name: enough to call everything else.
#[utoipa::path(
    get,
    path = "/api/v1/admin/identity",
    operation_id = "identity_view",
    tag = "tenancy",
    responses(
        (status = 200, description = "The caller", body = IdentityView, example = json!({
            "credentialId": 21, "name": "mara", "role": "operator", "session": false,
            "organisation": {"id": 3, "name": "acme"},
            "projects": [{
                "projectId": 8, "name": "payments", "organisation": {"id": 3, "name": "acme"},
                "environments": [{"id": 12, "name": "production"}], "services": [{"id": 340, "name": "billing"}]
            }],
            "truncated": false
        })),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again shortly", body = ProblemDetails),
    ),
)]
pub async fn identity_view(State(api): State<Api>, reader: Reader) -> Result<Json<IdentityView>, Problem> {
    let caller = reader.caller();
    let reach = reader.reach();
    let credential_id = caller.credential_id();
    let token = api.app.tokens.own(credential_id).await?.ok_or_else(|| {
        Problem::new(
            ErrorCode::ApiTokenRefused,
            "The API token behind this call does not exist any more.",
        )
    })?;
    let organisation = match reach.organisation {
        Some(id) => {
            let found = api
                .app
                .tenancy
                .view(&reach, UnitKind::Organisation, id)
                .await
                .map_err(problem)?;
            Some(NamedId { id, name: found.name })
        }
        None => None,
    };
    let mut found = api
        .app
        .tenancy
        .reachable(&reach, PROJECTS_MAX + 1, PARTS_MAX + 1)
        .await?;
    let too_many = |count: usize, max: i64| i64::try_from(count).is_ok_and(|count| count > max);
    let truncated = too_many(found.projects.len(), PROJECTS_MAX)
        || too_many(found.environments.len(), PARTS_MAX)
        || too_many(found.services.len(), PARTS_MAX);
    found
        .projects
        .truncate(usize::try_from(PROJECTS_MAX).unwrap_or_default());
    let mut environments = by_project(found.environments);
    let mut services = by_project(found.services);
    let projects = found
        .projects
        .into_iter()
        .map(|(id, name, organisation_id, organisation)| ReachableProject {
            project_id: id,
            name,
            organisation: NamedId {
                id: organisation_id,
                name: organisation,
            },
            environments: environments.remove(&id).unwrap_or_default(),
            services: services.remove(&id).unwrap_or_default(),
        })
        .collect();
    Ok(Json(IdentityView {
        credential_id,
        name: token.name,
        role: caller.role().as_str().to_owned(),
        session: matches!(caller, Caller::Session(_)),
        organisation,
        expires_at: token.expires_at,
        projects,
        truncated,
    }))
}

/// At most as many as fit, over all projects.
fn by_project(parts: Vec<(i64, i64, String)>) -> HashMap<i64, Vec<NamedId>> {
    let mut found: HashMap<i64, Vec<NamedId>> = HashMap::new();
    for (project, id, name) in parts
        .into_iter()
        .take(usize::try_from(PARTS_MAX).unwrap_or_default())
    {
        found.entry(project).or_default().push(NamedId { id, name });
    }
    found
}
