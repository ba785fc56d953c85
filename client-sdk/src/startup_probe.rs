//! What a platform's probes are told while a run goes on in the background.

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::readiness::{Activity, Pending, Readiness, ReadinessState};

/// Routes for a platform's probes, to be merged into the application's own or served on a port of their own:
///
/// | route | pending | ready | failed |
/// | --- | --- | --- | --- |
/// | `/health/startup` | 503 | 200 | 500 |
/// | `/health/ready` | 503 | 200 | 500 |
/// | `/health/live` | 200 | 200 | 500 |
///
/// The answer's body is JSON and says what is going on and since when:
///
/// ```json
/// {"status": "pending", "message": "applying change `copy-orders` of stage `archive`", "activity": "applying",
///  "stage": "archive", "change": "copy-orders", "since": "2026-01-01T10:00:03Z", "started": "2026-01-01T10:00:00Z",
///  "lastEvent": "2026-01-01T10:00:03Z"}
/// ```
///
/// A process is alive for as long as its run is: a long change is no reason to kill it. A run that has failed does not
/// go on by itself, so there a restart is the way, and `/health/live` asks for one. `docs/start-up.md` has the manifest.
///
/// Answers name changes, runners and errors: do not offer them to the public.
///
/// ```no_run
/// # use flamingock::{Flamingock, startup_probe};
/// # async fn start(app: Flamingock) -> Result<(), Box<dyn std::error::Error>> {
/// let readiness = app.spawn();
/// let probes = tokio::net::TcpListener::bind("0.0.0.0:9000").await?;
/// tokio::spawn(axum::serve(probes, startup_probe(readiness.clone())).into_future());
/// readiness.ready().await?;
/// // … serve …
/// # Ok(())
/// # }
/// ```
pub fn startup_probe(readiness: Readiness) -> Router {
    Router::new()
        .route("/health/startup", get(may_serve))
        .route("/health/ready", get(may_serve))
        .route("/health/live", get(is_alive))
        .with_state(readiness)
}

async fn may_serve(State(readiness): State<Readiness>) -> Response {
    let state = readiness.state();
    let status = match &state {
        ReadinessState::Pending(_) => StatusCode::SERVICE_UNAVAILABLE,
        ReadinessState::Ready(_) => StatusCode::OK,
        ReadinessState::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    answer(status, &state)
}

async fn is_alive(State(readiness): State<Readiness>) -> Response {
    let state = readiness.state();
    let status = match &state {
        ReadinessState::Pending(_) | ReadinessState::Ready(_) => StatusCode::OK,
        ReadinessState::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    answer(status, &state)
}

fn answer(status: StatusCode, state: &ReadinessState) -> Response {
    // A cache in between would tell of a past that no longer is.
    let headers = [(header::CACHE_CONTROL, "no-store")];
    (status, headers, Json(Body::of(state))).into_response()
}

#[derive(Serialize)]
#[serde(tag = "status", rename_all = "lowercase", rename_all_fields = "camelCase")]
enum Body {
    Pending {
        message: String,
        activity: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        holder: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        stage: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        change: Option<String>,
        since: DateTime<Utc>,
        started: DateTime<Utc>,
        last_event: DateTime<Utc>,
    },
    Ready {
        message: String,
    },
    Failed {
        error: &'static str,
        message: String,
        next_steps: String,
    },
}

impl Body {
    fn of(state: &ReadinessState) -> Self {
        match state {
            ReadinessState::Pending(pending) => Self::pending(pending),
            ReadinessState::Ready(report) => Self::Ready {
                message: report.one_line(),
            },
            ReadinessState::Failed(error) => Self::Failed {
                error: error.kind().name(),
                message: error.report().one_line(),
                next_steps: error.next_steps(),
            },
        }
    }

    fn pending(pending: &Pending) -> Self {
        let (mut holder, mut stage, mut change) = (None, None, None);
        let activity = match &pending.activity {
            Activity::Planning => "planning",
            Activity::WaitingForLock { holder: other } => {
                holder = Some(other.clone());
                "waitingForLock"
            }
            Activity::Applying {
                stage: at,
                change: what,
            } => {
                (stage, change) = (Some(at.clone()), Some(what.clone()));
                "applying"
            }
            Activity::RollingBack {
                stage: at,
                change: what,
            } => {
                (stage, change) = (Some(at.clone()), Some(what.clone()));
                "rollingBack"
            }
        };
        Self::Pending {
            message: pending.activity.to_string(),
            activity,
            holder,
            stage,
            change,
            since: pending.since,
            started: pending.started,
            last_event: pending.last_event,
        }
    }
}
