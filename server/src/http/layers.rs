//! What every request passes, outermost first. The order is a decision; each layer says why it stands where it does.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flamingock_api_types::{ErrorCode, headers};
use futures_util::FutureExt as _;
use tracing::Instrument as _;

use super::Api;
use super::problem::Problem;

static REQUEST_ID: HeaderName = HeaderName::from_static(headers::REQUEST_ID);

/// Outermost: whatever happens inside, the request is named, timed, counted and logged once, and a problem gets its body.
pub async fn observe(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(&request).unwrap_or_else(|| api.request_ids.next());
    request.extensions_mut().insert(RequestId(Arc::clone(&id)));
    // Routes are a closed set; what matched none shares one label.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let method = request.method().clone();
    let native = request.uri().path().starts_with("/api/v1/admin/");
    let runner = request
        .headers()
        .get(headers::RUNNER_ID)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let span = tracing::info_span!("request", request.id = %id);
    let mut response = run_catching(request, next).instrument(span.clone()).await;
    let elapsed = started.elapsed();
    let problem = response.extensions_mut().remove::<Problem>();
    if let Some(problem) = &problem {
        let media_type = if native {
            "application/problem+json"
        } else {
            "application/json"
        };
        response = problem.render(&id, media_type);
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID.clone(), value);
    }
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let status = response.status();
    api.metrics
        .http_seconds
        .with_label_values(&[&route])
        .observe(elapsed.as_secs_f64());
    api.metrics
        .http_requests
        .with_label_values(&[route.as_str(), known_method(&method), status.as_str()])
        .inc();
    let _entered = span.enter();
    let duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    match problem {
        Some(problem) if status == StatusCode::SERVICE_UNAVAILABLE => {
            // The load's doing or the database's, not a bug of ours; and under overload there are many.
            let cause = problem
                .cause
                .as_deref()
                .map(|cause| chain(cause))
                .unwrap_or_default();
            tracing::warn!(%method, route, status = status.as_u16(), duration_ms, runner.id = runner,
                code = problem.code.as_str(), cause, "request turned away");
        }
        Some(problem) if status.is_server_error() => {
            let cause = problem
                .cause
                .as_deref()
                .map(|cause| chain(cause))
                .unwrap_or_default();
            tracing::error!(%method, route, status = status.as_u16(), duration_ms, runner.id = runner,
                code = problem.code.as_str(), cause, "request failed");
        }
        Some(problem) => {
            tracing::info!(%method, route, status = status.as_u16(), duration_ms, runner.id = runner,
                code = problem.code.as_str(), "request refused");
        }
        None => {
            tracing::debug!(%method, route, status = status.as_u16(), duration_ms, runner.id = runner, "request answered");
        }
    }
    response
}

/// What the request is called, for whoever records what it did.
#[derive(Clone, Debug)]
pub struct RequestId(pub Arc<str>);

/// The caller's own id if it is a sane one, so that its log and ours can be joined.
fn request_id(request: &Request) -> Option<Arc<str>> {
    let given = request.headers().get(&REQUEST_ID)?.to_str().ok()?;
    let sane = (1..=64).contains(&given.len())
        && given
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b));
    sane.then(|| given.into())
}

/// Names requests: what names this process, and a count. Unique without asking the system for randomness each time.
pub struct RequestIds {
    process: u64,
    count: AtomicU64,
}

impl RequestIds {
    pub fn new() -> Self {
        Self {
            process: uuid::Uuid::new_v4().as_u64_pair().0,
            count: AtomicU64::new(0),
        }
    }

    fn next(&self) -> Arc<str> {
        format!(
            "{:016x}-{:x}",
            self.process,
            self.count.fetch_add(1, Ordering::Relaxed)
        )
        .into()
    }
}

/// Methods are the caller's text too: a closed set keeps the label bounded.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "DELETE" => "DELETE",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// The whole chain, for the log.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// A panic of ours becomes an ordinary answer, and a log line with the request's id.
async fn run_catching(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            tracing::error!(panic = text, "a handler panicked");
            Problem::new(
                ErrorCode::Internal,
                "The server failed to do this. Quote the instance of this answer when you ask the operators for help.",
            )
            .into_response()
        }
    }
}

/// Inside [`observe`], before anything is read or parsed: an overloaded server must stay able to say so. 503 and never 429,
/// which would end a Java runner's start just the same and make its lock refresher loop (W §4.5). Then the work is bounded;
/// a plan request may be parked on top of it, for as long as it asked.
pub async fn admit(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let Some(place) = api.admission.enter().await else {
        api.metrics.http_shed.inc();
        return turned_away("The server is working on as many requests as it may. Try again shortly.");
    };
    request.extensions_mut().insert(place);
    let wait = super::routes::plan::requested_wait(request.headers(), &api).unwrap_or_default();
    match tokio::time::timeout(api.settings.request_timeout + wait, next.run(request)).await {
        Ok(response) => response,
        Err(_) => turned_away(
            "The request took longer than the server allows. It may or may not have been carried out: repeat it.",
        ),
    }
}

/// Most of a body that is read from somebody who has shown no token, and how long it may take.
pub const SESSION_BODY_MAX: usize = 64 * 1024;
const SESSION_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Outside [`admit`], for calls that anybody can make: a place is taken only once the body is here. Otherwise a few hundred
/// connections that dribble their bodies would hold every place, with no token and for as long as they like.
pub async fn read_before_admission(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(SESSION_BODY_TIMEOUT, super::body::read(body, SESSION_BODY_MAX)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Ok(Err(problem)) => problem.into_response(),
        Err(_) => Problem::new(
            ErrorCode::RequestTimedOut,
            format!(
                "The body did not arrive within {} s. Send it in one go.",
                SESSION_BODY_TIMEOUT.as_secs()
            ),
        )
        .into_response(),
    }
}

fn turned_away(message: &'static str) -> Response {
    Problem {
        retry_after: Some(Duration::from_secs(1)),
        ..Problem::new(ErrorCode::Unavailable, message)
    }
    .into_response()
}
