//! `/api/v1/{key}/lock…`

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use flamingock_api_types::lock::{LockAcquisitionRequest, LockResponse, LockStatus, LockView};
use flamingock_api_types::progress::{
    CURSOR_MAX_BYTES, LockExtensionRequest, MESSAGE_MAX_CHARS, ProgressReceipt, ProgressWrite,
};
use flamingock_api_types::{ErrorCode, ProblemDetails};
use flamingock_domain::ids::{AcquisitionId, ChangeId, ExecutionId, LockKey};
use flamingock_domain::lock::{Lease, Lock, Proof};
use serde::Deserialize;

use crate::app::locks::{NewProgress, Outcome, Wish};
use crate::http::extract::{ApiPath, ApiQuery, Runner};
use crate::http::operations::cancellation_notice;
use crate::http::problem::Problem;
use crate::http::{Api, body, wire};

/// A session reaches the lock of its own service and no other: any other key is, for it, one that does not exist.
fn is_own(runner: &Runner, key: &str) -> bool {
    key == LockKey::of_service(runner.session.service_id).as_str()
}

/// Acquire a lock
///
/// Takes a free lock, renews the caller's own, or takes over one whose lease ran out. The plan call does the same on the
/// way; a runner that only carries out plans does not need this.
#[utoipa::path(
    post,
    path = "/api/v1/{key}/lock/acquisition",
    operation_id = "lock_acquire",
    tag = "lock",
    params(
        ("key" = String, Path, description = "The service id as decimal text"),
        ("flamingock-runner-id" = String, Header, description = "The process that calls"),
    ),
    request_body(content = LockAcquisitionRequest, example = json!({"acquiredForMillis": 60000})),
    responses(
        (status = 201, description = "The caller holds the lock", body = LockResponse, example = json!({
            "status": "ACQUIRED", "lock": {"key": "340", "owner": "billing@node-a#5f0c",
            "acquisitionId": "billing@node-a#5f0c-71e0", "acquiredForMillis": 60000, "fence": 7,
            "expiresAt": "2026-01-01T00:01:00Z"}
        })),
        (status = 401, description = "`R_AUTH_…`: no usable session", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`: not the key of the session's service", body = ProblemDetails),
        (status = 409, description = "`R_LOCK_01`: another owner holds it, or its end is not proven", body = ProblemDetails),
    ),
)]
pub async fn lock_acquire(
    State(api): State<Api>,
    runner: Runner,
    ApiPath(key): ApiPath<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<LockResponse>), Problem> {
    runner.refuse_expired()?;
    runner.refuse_archived(&api)?;
    let bytes = body::read(body, api.settings.max_body_bytes.min(64 * 1024)).await?;
    let request: LockAcquisitionRequest = body::parse(&body::decode(&bytes, &headers)?.text)?;
    if !is_own(&runner, &key) {
        return Err(Problem::new(
            ErrorCode::OutOfScope,
            format!(
                "A session acquires the lock of its own service, whose key is {}; the path names {key}.",
                runner.session.service_id
            ),
        ));
    }
    let proof = match &request.last_acquisition_id {
        Some(id) => Some(Proof {
            acquisition_id: AcquisitionId::parse(id.as_str())
                .map_err(|error| Problem::malformed(format!("The field `lastAcquisitionId` {error}.")))?,
            elapsed: Duration::from_millis(
                u64::try_from(request.elapsed_millis.unwrap_or(0))
                    .map_err(|_| Problem::malformed("The field `elapsedMillis` must not be negative."))?,
            ),
        }),
        None => None,
    };
    let lease = wire::lease(Some(request.acquired_for_millis));
    match api
        .app
        .locks
        .wish(
            runner.own_scope(),
            runner.id.clone(),
            Wish::Acquire { lease, proof },
        )
        .await?
    {
        Outcome::Granted { lock, .. } | Outcome::Released(lock) => {
            Ok((StatusCode::CREATED, answer(LockStatus::Acquired, &lock)?))
        }
        Outcome::Extended(extended) => {
            Ok((StatusCode::CREATED, answer(LockStatus::Acquired, &extended.lock)?))
        }
        Outcome::HeldByOther { holder, retry_after } => Err(Problem {
            retry_after: Some(retry_after),
            ..held_by_other(&key, Some(&holder))
        }),
        Outcome::NotHeld { holder } => Err(held_by_other(&key, holder.as_ref())),
    }
}

/// Extend a lock
///
/// The heartbeat. Gives the lease its full length again, under a new acquisition id; the fence stays. A lease that ran
/// out is extended too, as long as nobody took it over.
///
/// A body may tell how far the change is that the holder is at, and from where a later attempt can go on: it is recorded when
/// the answer comes, and with no other answer. Told of an execution that the lock is not held for, nothing is extended.
/// `cancel` asks the holder to stop as soon as it safely can.
#[utoipa::path(
    post,
    path = "/api/v1/{key}/lock/extension",
    operation_id = "lock_extend",
    tag = "lock",
    params(
        ("key" = String, Path, description = "The service id as decimal text"),
        ("flamingock-runner-id" = String, Header, description = "The process that calls"),
    ),
    request_body(content = Option<LockExtensionRequest>, example = json!({"progress": {
        "executionId": 9001, "changeId": "copy-orders", "sequence": 4, "cursor": "{\"after\":120000}", "done": 120_000,
        "total": 300_000, "message": "orders"
    }})),
    responses(
        (status = 200, description = "Extended", body = LockResponse, example = json!({
            "status": "EXTENDED", "lock": {"key": "340", "owner": "billing@node-a#5f0c",
            "acquisitionId": "billing@node-a#5f0c-0b9d", "acquiredForMillis": 60000, "fence": 7,
            "expiresAt": "2026-01-01T00:01:20Z"}, "progress": {"sequence": 4, "recorded": true}
        })),
        (status = 400, description = "`R_GEN_02`: `progress` is malformed", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable session", body = ProblemDetails),
        (status = 409, description = "`R_LOCK_01`: the caller does not hold it, or not for that execution", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
    ),
)]
pub async fn lock_extend(
    State(api): State<Api>,
    runner: Runner,
    ApiPath(key): ApiPath<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<LockResponse>, Problem> {
    runner.refuse_expired_unless_holder(&api).await?;
    if !is_own(&runner, &key) {
        return Err(held_by_other(&key, None));
    }
    let request = extension(&body::read(body, EXTENSION_MAX_BYTES).await?, &headers)?;
    let progress = request.progress.as_ref().map(new_progress).transpose()?;
    let wish = Wish::Extend {
        progress: progress.map(Box::new),
    };
    match api
        .app
        .locks
        .wish(runner.own_scope(), runner.id.clone(), wish)
        .await?
    {
        Outcome::Extended(extended) => {
            let Json(answer) = answer(LockStatus::Extended, &extended.lock)?;
            Ok(Json(LockResponse {
                cancel: extended.cancellation.is_some(),
                cancellation: extended.cancellation.as_ref().map(cancellation_notice),
                progress: request
                    .progress
                    .zip(extended.recorded)
                    .map(|(told, recorded)| ProgressReceipt {
                        sequence: told.sequence,
                        recorded,
                    }),
                ..answer
            }))
        }
        Outcome::Granted { lock, .. } | Outcome::Released(lock) => answer(LockStatus::Extended, &lock),
        Outcome::HeldByOther { holder, .. } => Err(held_by_other(&key, Some(&holder))),
        Outcome::NotHeld { holder } => Err(held_by_other(&key, holder.as_ref())),
    }
}

#[derive(Debug, Default, Deserialize)]
pub struct ReleaseQuery {
    fence: Option<i64>,
}

/// Release a lock
///
/// Answers with the lock as it was. Only the grant that the caller had when it asked is given back: a release that was held
/// up on its way, and arrives when its runner has been granted the lock anew, is refused.
#[utoipa::path(
    delete,
    path = "/api/v1/{key}/lock",
    operation_id = "lock_release",
    tag = "lock",
    params(
        ("key" = String, Path, description = "The service id as decimal text"),
        ("fence" = Option<i64>, Query, description = "Fence of the grant that is given back: no other is"),
        ("flamingock-runner-id" = String, Header, description = "The process that calls"),
    ),
    responses(
        (status = 200, description = "Released", body = LockView),
        (status = 401, description = "`R_AUTH_…`: no usable session", body = ProblemDetails),
        (status = 409, description = "`R_LOCK_02`: the caller does not hold it", body = ProblemDetails),
    ),
)]
pub async fn lock_release(
    State(api): State<Api>,
    runner: Runner,
    ApiPath(key): ApiPath<String>,
    ApiQuery(query): ApiQuery<ReleaseQuery>,
) -> Result<Response, Problem> {
    runner.refuse_expired_unless_holder(&api).await?;
    let not_held = || {
        Problem::new(
            ErrorCode::LockNotHeld,
            format!(
                "The lock {key} is not held by {}: there is nothing to release.",
                runner.id
            ),
        )
    };
    if !is_own(&runner, &key) {
        return Err(not_held());
    }
    match api
        .app
        .locks
        .wish(
            runner.own_scope(),
            runner.id.clone(),
            Wish::Release { fence: query.fence },
        )
        .await?
    {
        Outcome::Released(_) if api.settings.empty_write_answers => Ok(StatusCode::OK.into_response()),
        Outcome::Released(lock) | Outcome::Granted { lock, .. } => Ok(Json(view(&lock)?).into_response()),
        Outcome::Extended(extended) => Ok(Json(view(&extended.lock)?).into_response()),
        Outcome::HeldByOther { .. } | Outcome::NotHeld { .. } => Err(not_held()),
    }
}

/// View a lock
#[utoipa::path(
    get,
    path = "/api/v1/{key}/lock",
    operation_id = "lock_view",
    tag = "lock",
    params(
        ("key" = String, Path, description = "The service id as decimal text"),
        ("flamingock-runner-id" = String, Header, description = "The process that calls"),
    ),
    responses(
        (status = 200, description = "The lock as recorded, run out or not", body = LockView),
        (status = 401, description = "`R_AUTH_…`: no usable session", body = ProblemDetails),
        (status = 404, description = "`R_LOCK_03`: nobody holds it", body = ProblemDetails),
    ),
)]
pub async fn lock_view(
    State(api): State<Api>,
    runner: Runner,
    ApiPath(key): ApiPath<String>,
) -> Result<Json<LockView>, Problem> {
    runner.refuse_expired_unless_holder(&api).await?;
    let lock = if is_own(&runner, &key) {
        api.app.locks.view(runner.own_scope()).await?
    } else {
        None
    };
    match lock {
        Some(lock) => Ok(Json(view(&lock)?)),
        None => Err(Problem::new(
            ErrorCode::LockNotFound,
            format!("No lock {key} is held in this environment."),
        )),
    }
}

const PROGRESS: &[u8] = b"\"progress\"";

/// A cursor of the longest, every byte of it escaped, and room for the rest.
const EXTENSION_MAX_BYTES: usize = 64 * 1024;

/// Older clients send `{}`, nothing, or a field of their own: only a `progress` is read, and must be well-formed.
fn extension(bytes: &[u8], headers: &HeaderMap) -> Result<LockExtensionRequest, Problem> {
    let names_progress = bytes.windows(PROGRESS.len()).any(|window| window == PROGRESS);
    if !names_progress {
        return Ok(LockExtensionRequest::default());
    }
    body::parse(&body::decode(bytes, headers)?.text)
}

fn new_progress(told: &ProgressWrite) -> Result<NewProgress, Problem> {
    let at_fault = |what: &str| Problem::malformed(format!("The field `progress.{what}."));
    let change =
        ChangeId::parse(told.change_id.as_str()).map_err(|error| at_fault(&format!("changeId` {error}")))?;
    if told.sequence < 1 {
        return Err(at_fault("sequence` must be 1 or more"));
    }
    if let Some(cursor) = &told.cursor
        && (cursor.len() > CURSOR_MAX_BYTES || cursor.contains('\0'))
    {
        return Err(at_fault(&format!(
            "cursor` must have at most {CURSOR_MAX_BYTES} bytes, without NUL; it has {}",
            cursor.len()
        )));
    }
    if told.done.is_some_and(|done| done < 0) || told.total.is_some_and(|total| total < 0) {
        return Err(at_fault("done` and `total` must not be negative"));
    }
    if told
        .message
        .as_ref()
        .is_some_and(|message| message.contains('\0'))
    {
        return Err(at_fault("message` must not have NUL characters"));
    }
    Ok(NewProgress {
        execution: ExecutionId(told.execution_id),
        change,
        sequence: told.sequence,
        cursor: told.cursor.clone(),
        void_when_failed: told.void_when_failed,
        done: told.done,
        total: told.total,
        message: told
            .message
            .as_ref()
            .map(|message| message.chars().take(MESSAGE_MAX_CHARS).collect()),
    })
}

fn answer(status: LockStatus, lock: &Lock) -> Result<Json<LockResponse>, Problem> {
    Ok(Json(LockResponse {
        status,
        lock: view(lock)?,
        cancel: false,
        cancellation: None,
        progress: None,
    }))
}

fn view(lock: &Lock) -> Result<LockView, Problem> {
    wire::lock_view(lock)
        .ok_or_else(|| Problem::new(ErrorCode::Internal, "A lock that should be held has no holder."))
}

fn held_by_other(key: &str, holder: Option<&Lease>) -> Problem {
    let message = match holder {
        Some(holder) => {
            let until = chrono::DateTime::from_timestamp_micros(holder.expires_at.as_micros())
                .map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
                .unwrap_or_default();
            format!(
                "The lock {key} is held by {} until {until}. Stop working under it; ask for a new plan.",
                holder.owner
            )
        }
        None => {
            format!("The lock {key} is not held by this runner. Stop working under it; ask for a new plan.")
        }
    };
    Problem::new(ErrorCode::LockHeldByOther, message)
}
