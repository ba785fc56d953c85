//! Freeze windows.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use chrono::{DateTime, Datelike as _, Utc};
use flamingock_api_types::policy::{FreezeEndRequest, FreezePage, FreezeRequest, FreezeView};
use flamingock_api_types::{ErrorCode, ProblemDetails};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::execution::page_limit;
use crate::app::freezes::{FreezeRow, StartError, Wanted};
use crate::http::cursor::Listing;
use crate::http::extract::{ApiPath, ApiQuery, Operator, Reader};
use crate::http::problem::Problem;
use crate::http::{Api, fields, gate};

const SERVICES_MAX: usize = 100;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(freeze_list, freeze_start))
        .routes(routes!(freeze_end))
}

#[derive(Debug, Default, Deserialize)]
pub struct FreezeQuery {
    active: Option<bool>,
    after: Option<String>,
    limit: Option<i64>,
}

/// List freeze windows
///
/// Newest first, those that are over included. A credential for some services sees those that concern one of them.
#[utoipa::path(
    get,
    path = "/api/v1/admin/environment/{environmentId}/freeze",
    operation_id = "freeze_list",
    tag = "policies",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("active" = Option<bool>, Query, description = "Only those that are open now, or only those that are not"),
        ("after" = Option<String>, Query, description = "The `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50"),
    ),
    responses(
        (status = 200, description = "Freeze windows", body = FreezePage, example = json!({"freezes": [{
            "freezeId": 5, "environmentId": 12, "startsAt": "2026-12-20T00:00:00Z", "endsAt": "2027-01-04T00:00:00Z",
            "reason": "Christmas business", "active": false, "createdAt": "2026-12-01T10:00:00Z",
            "createdBy": "token:4 (ada)"
        }]})),
        (status = 400, description = "`R_GEN_02`: a query parameter is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_04`: the role does not allow this", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_01`: no such environment within the credential's reach", body = ProblemDetails),
    ),
)]
pub async fn freeze_list(
    State(api): State<Api>,
    reader: Reader,
    ApiPath(environment_id): ApiPath<i64>,
    ApiQuery(query): ApiQuery<FreezeQuery>,
) -> Result<Json<FreezePage>, Problem> {
    let limit = page_limit(query.limit)?;
    let environment = gate::environment(&api, reader.caller(), environment_id).await?;
    let listing = Listing::new("freeze_list", &(environment_id, query.active));
    let before: Option<i64> = listing.position(query.after.as_deref())?;
    let mut rows = api
        .app
        .freezes
        .list(
            environment.id,
            environment.services(),
            query.active,
            before,
            limit + 1,
        )
        .await?;
    let more = rows.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if more {
        rows.pop();
    }
    Ok(Json(FreezePage {
        next: rows.last().filter(|_| more).map(|last| listing.cursor(&last.id)),
        freezes: rows
            .into_iter()
            .map(|row| view(row, environment.services()))
            .collect(),
    }))
}

/// Freeze an environment
///
/// While the window is open no work is granted: an application with pending changes does not start and says why, one that is
/// up to date starts. Runs under way go on. Judged by the database's clock. The very same call again, because its answer was
/// lost, is answered 200 with the window that the first one has set, as long as that is not over.
#[utoipa::path(
    post,
    path = "/api/v1/admin/environment/{environmentId}/freeze",
    operation_id = "freeze_start",
    tag = "policies",
    params(("environmentId" = i64, Path, description = "Environment")),
    request_body(content = FreezeRequest, example = json!({
        "startsAt": "2026-12-20T00:00:00Z", "endsAt": "2027-01-04T00:00:00Z", "reason": "Christmas business"
    })),
    responses(
        (status = 200, description = "Set before, by the same call", body = FreezeView),
        (status = 201, description = "Set", body = FreezeView, example = json!({
            "freezeId": 5, "environmentId": 12, "startsAt": "2026-12-20T00:00:00Z", "endsAt": "2027-01-04T00:00:00Z",
            "reason": "Christmas business", "active": false, "createdAt": "2026-12-01T10:00:00Z",
            "createdBy": "token:4 (ada)"
        })),
        (status = 400, description = "`R_GEN_02`: malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: for some of its services only, or the role does not allow this", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_01`, `R_TENANT_02`: no such environment or service within the credential's reach", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
    ),
)]
pub async fn freeze_start(
    State(api): State<Api>,
    operator: Operator,
    ApiPath(environment_id): ApiPath<i64>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<FreezeView>), Problem> {
    let environment = gate::environment(&api, operator.caller(), environment_id).await?;
    let request: FreezeRequest = fields::body(&api, &headers, body).await?;
    let reason = fields::reason(&request.reason)?;
    let service_ids = services(request.service_ids)?;
    environment
        .refuse_beyond(&api, operator.caller(), service_ids.as_deref())
        .await?;
    for (name, at) in [("startsAt", request.starts_at), ("endsAt", request.ends_at)] {
        refuse_odd_time(name, at)?;
    }
    let wanted = Wanted {
        environment_id: environment.id,
        service_ids,
        starts_at: request.starts_at,
        ends_at: request.ends_at,
        reason: reason.to_owned(),
    };
    match api.app.freezes.start(operator.actor(), &wanted).await {
        Ok((row, is_repetition)) => {
            let status = if is_repetition {
                StatusCode::OK
            } else {
                StatusCode::CREATED
            };
            Ok((status, Json(view(row, environment.services()))))
        }
        Err(StartError::EndsBeforeStart) => Err(Problem::malformed(
            "The field `endsAt` must be later than `startsAt`, or later than now where that is left out.",
        )),
        Err(StartError::Fault(fault)) => Err(fault.into()),
    }
}

/// End a freeze window
///
/// Before its time, or before it has begun. One that is over already stays as it is.
#[utoipa::path(
    post,
    path = "/api/v1/admin/freeze/{freezeId}/end",
    operation_id = "freeze_end",
    tag = "policies",
    params(("freezeId" = i64, Path, description = "Freeze window")),
    request_body(content = FreezeEndRequest, example = json!({"reason": "The fix must go out."})),
    responses(
        (status = 200, description = "As it is now", body = FreezeView, example = json!({
            "freezeId": 5, "environmentId": 12, "startsAt": "2026-12-20T00:00:00Z", "endsAt": "2027-01-04T00:00:00Z",
            "reason": "Christmas business", "active": false, "createdAt": "2026-12-01T10:00:00Z",
            "createdBy": "token:4 (ada)", "endedAt": "2026-12-22T09:30:00Z", "endedBy": "token:4 (ada)",
            "endReason": "The fix must go out."
        })),
        (status = 400, description = "`R_GEN_02`: malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: it concerns services beyond the credential's, or the role does not allow this", body = ProblemDetails),
        (status = 404, description = "`R_POLICY_07`: no such window within the credential's reach", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
    ),
)]
pub async fn freeze_end(
    State(api): State<Api>,
    operator: Operator,
    ApiPath(freeze_id): ApiPath<i64>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<FreezeView>, Problem> {
    let request: FreezeEndRequest = fields::body(&api, &headers, body).await?;
    let reason = fields::reason(&request.reason)?;
    let not_found = || {
        Problem::new(
            ErrorCode::FreezeNotFound,
            format!("No freeze window {freeze_id} is within this credential's reach."),
        )
    };
    // An absent one costs the look at an environment too, so that a foreign one cannot be told from it by the work.
    let found = api.app.freezes.find(freeze_id).await?;
    let environment_id = found.as_ref().map_or(0, |row| row.environment_id);
    let environment = gate::environment(&api, operator.caller(), environment_id).await;
    let (freeze, environment) = match (found, environment) {
        (Some(freeze), Ok(environment)) => (freeze, environment),
        // A fault of ours; every other refusal would tell of an environment that the caller did not name.
        (_, Err(problem)) if problem.cause.is_some() => return Err(problem),
        _ => return Err(not_found()),
    };
    let concerns = |services: &[i64]| {
        freeze
            .service_ids
            .as_ref()
            .is_none_or(|ids| ids.iter().any(|id| services.contains(id)))
    };
    if !environment.services().is_none_or(concerns) {
        return Err(not_found());
    }
    environment
        .refuse_beyond(&api, operator.caller(), freeze.service_ids.as_deref())
        .await
        .map_err(|_| {
            Problem::new(
                ErrorCode::OutOfScope,
                format!("Freeze window {freeze_id} concerns services beyond this credential's. Use one that reaches them all."),
            )
        })?;
    let row = api.app.freezes.end(operator.actor(), &freeze, reason).await?;
    Ok(Json(view(row, environment.services())))
}

fn services(ids: Option<Vec<i64>>) -> Result<Option<Vec<i64>>, Problem> {
    let Some(mut ids) = ids else { return Ok(None) };
    ids.sort_unstable();
    ids.dedup();
    if (1..=SERVICES_MAX).contains(&ids.len()) {
        Ok(Some(ids))
    } else {
        Err(Problem::malformed(format!(
            "The field `serviceIds` must name 1 to {SERVICES_MAX} services, it names {}. Leave it out for all of them.",
            ids.len()
        )))
    }
}

/// A year outside of these is a slip of the pen.
fn refuse_odd_time(name: &str, at: Option<DateTime<Utc>>) -> Result<(), Problem> {
    match at {
        Some(at) if !(2000..2200).contains(&at.year()) => Err(Problem::malformed(format!(
            "The field `{name}` must be in the years 2000 to 2199, it is {at}."
        ))),
        _ => Ok(()),
    }
}

/// Of the services that it names, those that the caller reaches.
fn view(row: FreezeRow, reached: Option<&[i64]>) -> FreezeView {
    let names = row.service_names.unwrap_or_default();
    let (service_ids, service_names) = row
        .service_ids
        .map(|ids| {
            let is_reached = |id: &i64| reached.is_none_or(|reached| reached.contains(id));
            ids.into_iter()
                .zip(names)
                .filter(|(id, _)| is_reached(id))
                .unzip()
        })
        .unzip();
    FreezeView {
        freeze_id: row.id,
        environment_id: row.environment_id,
        service_ids,
        service_names,
        starts_at: row.starts_at,
        ends_at: row.ends_at,
        reason: row.reason,
        active: row.active,
        created_at: row.created_at,
        created_by: row.created_by,
        ended_at: row.ended_at,
        ended_by: row.ended_by,
        end_reason: row.end_reason,
    }
}
