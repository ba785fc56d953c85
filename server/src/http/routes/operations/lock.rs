//! Locks, and their release by a person.

use std::fmt::Write as _;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use chrono::SecondsFormat;
use flamingock_api_types::lock::{LockPage, LockReleaseRequest, LockReleaseResponse};
use flamingock_api_types::{ErrorCode, ProblemDetails};
use serde::Deserialize;

use super::reason;
use crate::app::operations::{ForceError, Freed, LockListing, Operations};
use crate::http::cursor::Listing;
use crate::http::extract::{ApiPath, ApiQuery, Operator, Reader};
use crate::http::operations::{instant, lock_record, open_change};
use crate::http::problem::Problem;
use crate::http::routes::execution::page_limit;
use crate::http::{Api, body};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockQuery {
    standing: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

/// List locks
///
/// Who holds which lock of an environment, since when, when the holder gave its last sign of life, and when its lease ends, by
/// the database's clock. Services that never took their lock are not here.
#[utoipa::path(
    get,
    path = "/api/v1/admin/environment/{environmentId}/lock",
    operation_id = "lock_list",
    tag = "troubleshooting",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("standing" = Option<String>, Query, description = "Only locks that are `HELD`, `EXPIRED` or `FREE`"),
        ("after" = Option<String>, Query, description = "The `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50"),
    ),
    responses(
        (status = 200, description = "Locks within the credential's reach, by service", body = LockPage, example = json!({
            "locks": [{"environmentId": 12, "serviceId": 340, "serviceName": "billing", "standing": "EXPIRED", "fence": 7,
                       "owner": "billing@node-a#5f0c", "executionId": 9001, "leaseMillis": 60000,
                       "heldSince": "2026-09-14T02:58:12Z", "lastBeatAt": "2026-09-14T03:04:12Z",
                       "expiresAt": "2026-09-14T03:05:12Z", "takeableAt": "2026-09-14T03:05:17Z"}],
            "asOf": "2026-09-14T03:05:14Z"
        })),
        (status = 400, description = "`R_GEN_02`: a query parameter is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the session's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_01`: nothing of that id within the token's reach", body = ProblemDetails),
    ),
)]
pub async fn lock_list(
    State(api): State<Api>,
    reader: Reader,
    ApiPath(environment_id): ApiPath<i64>,
    ApiQuery(query): ApiQuery<LockQuery>,
) -> Result<Json<LockPage>, Problem> {
    let limit = page_limit(query.limit)?;
    let standing = query.standing.as_deref().map(standing).transpose()?;
    let listing = Listing::new("lock_list", &(environment_id, standing));
    let after = listing.position(query.after.as_deref())?.unwrap_or(0);
    let service_ids = reader.services_of(&api, environment_id).await?;
    let listed = LockListing {
        service_ids,
        standing,
        after,
        limit: limit + 1,
    };
    let (mut found, now) = api.app.operations.locks(environment_id, &listed).await?;
    let limit = usize::try_from(limit).unwrap_or(1);
    let more = found.len() > limit;
    found.truncate(limit);
    Ok(Json(LockPage {
        next: found
            .last()
            .filter(|_| more)
            .map(|last| listing.cursor(&last.service_id)),
        locks: found
            .iter()
            .map(|facts| lock_record(&api.app.operations, facts))
            .collect(),
        as_of: instant(now),
    }))
}

fn standing(text: &str) -> Result<&'static str, Problem> {
    ["HELD", "EXPIRED", "FREE"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(text))
        .ok_or_else(|| {
            Problem::malformed("The query parameter `standing` must be one of HELD, EXPIRED and FREE.")
        })
}

/// Release a lock by force
///
/// Frees a lock whose holder does not. Refused while the holder's lease is live, unless `insist` is true: then stop the holder
/// first. Its execution is over, and it may start nothing more: its heartbeats and starts are refused from now on. What it
/// had begun and not ended is listed; its outcome is unknown, and so it waits for a person, or for the next start where it may
/// be repeated. Recorded with its reason. The very same call again, because its answer was lost, is answered like the first
/// and frees nothing more.
#[utoipa::path(
    post,
    path = "/api/v1/admin/environment/{environmentId}/service/{serviceId}/lock/release",
    operation_id = "lock_force_release",
    tag = "troubleshooting",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
    ),
    request_body(content = LockReleaseRequest, example = json!({
        "expectedFence": 7, "reason": "node-a is gone for good, its volume too."
    })),
    responses(
        (status = 200, description = "The lock is free", body = LockReleaseResponse, example = json!({
            "released": {"environmentId": 12, "serviceId": 340, "serviceName": "billing", "standing": "EXPIRED", "fence": 7,
                         "owner": "billing@node-a#5f0c", "executionId": 9001, "leaseMillis": 60000,
                         "heldSince": "2026-09-14T02:58:12Z", "lastBeatAt": "2026-09-14T03:04:12Z",
                         "expiresAt": "2026-09-14T03:05:12Z", "takeableAt": "2026-09-14T03:05:17Z"},
            "wasLive": false,
            "inProgress": [{"changeId": "add-due-date", "state": "STARTED", "seq": 12, "needsPerson": true}],
            "message": "The lock is free. 1 change had begun and has no recorded end, and waits for a person."
        })),
        (status = 400, description = "`R_GEN_02`: malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the scope or role", body = ProblemDetails),
        (status = 404, description = "`R_LOCK_03`: nobody holds it. `R_TENANT_02`: nothing of that id within the token's \
            reach", body = ProblemDetails),
        (status = 409, description = "`R_LOCK_04` its holder is alive, `R_LOCK_05` it was granted anew", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
    ),
)]
pub async fn lock_force_release(
    State(api): State<Api>,
    operator: Operator,
    ApiPath((environment_id, service_id)): ApiPath<(i64, i64)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<LockReleaseResponse>, Problem> {
    let scope = operator.scope(&api, environment_id, service_id).await?;
    let bytes = body::read(body, api.settings.max_body_bytes.min(64 * 1024)).await?;
    let request: LockReleaseRequest = body::parse(&body::decode(&bytes, &headers)?.text)?;
    let freed = api
        .app
        .operations
        .force_release(
            scope,
            operator.actor(),
            reason(&request.reason)?,
            request.expected_fence,
            request.insist,
        )
        .await
        .map_err(|error| refusal(&api.app.operations, error))?;
    Ok(Json(LockReleaseResponse {
        message: what_now(&freed),
        released: lock_record(&api.app.operations, &freed.before),
        was_live: freed.was_live,
        in_progress: freed.open.iter().map(open_change).collect(),
    }))
}

fn what_now(freed: &Freed) -> String {
    let for_person = freed.open.iter().filter(|it| it.needs_person).count();
    let repeated = freed.open.len() - for_person;
    // Writing to a string cannot fail.
    let mut text = "The lock is free.".to_owned();
    if freed.was_live {
        text.push_str(
            " Its holder was alive: it may start nothing more, but what it runs this moment runs on. Make sure that it has \
             ended before you start the service.",
        );
    }
    match for_person {
        0 => {}
        1 => text.push_str(" 1 change had begun and has no recorded end, and waits for a person."),
        many => {
            let _ = write!(
                text,
                " {many} changes had begun and have no recorded end, and wait for a person."
            );
        }
    }
    match repeated {
        0 => {}
        1 => text.push_str(" 1 change had begun and has no recorded end, and is repeated at the next start."),
        many => {
            let _ = write!(
                text,
                " {many} changes had begun and have no recorded end, and are repeated at the next start."
            );
        }
    }
    if freed.open.is_empty() {
        text.push_str(" No change was in progress: the next start goes on where this one stopped.");
    }
    text
}

fn refusal(operations: &Operations, error: ForceError) -> Problem {
    match error {
        ForceError::Fault(fault) => fault.into(),
        ForceError::Free => Problem::new(
            ErrorCode::LockNotFound,
            "Nobody holds this service's lock: there is nothing to release.",
        ),
        ForceError::Moved { fence } => Problem::new(
            ErrorCode::LockMoved,
            format!(
                "Nothing was released: this service's lock was granted anew since you looked, and its fence is {fence} now. Look \
                 who holds it."
            ),
        ),
        ForceError::Live { holder } => {
            let record = lock_record(operations, &holder);
            let time = |at: Option<chrono::DateTime<chrono::Utc>>| {
                at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true))
                    .unwrap_or_default()
            };
            Problem::new(
                ErrorCode::LockIsLive,
                format!(
                    "Nothing was released: {} is alive. It gave its last sign of life at {}, and its lease lasts until {}. \
                     Wait for its end, or stop the process and repeat this with `insist`.",
                    record.owner.as_deref().unwrap_or("its holder"),
                    time(record.last_beat_at),
                    time(record.expires_at)
                ),
            )
        }
    }
}
