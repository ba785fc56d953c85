//! `/health/live`, `/health/ready`, `/metrics`: for the platform, without a token and before admission.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use flamingock_api_types::{ErrorCode, ProblemDetails};
use serde::Serialize;

use crate::app::NotReady;
use crate::http::Api;
use crate::http::problem::Problem;

#[derive(Serialize, utoipa::ToSchema)]
pub struct Health {
    status: &'static str,
}

/// Liveness
///
/// The process runs and answers. Says nothing of the database: restarting this process would not mend it.
#[utoipa::path(
    get,
    path = "/health/live",
    operation_id = "health_live",
    tag = "operations",
    responses((status = 200, description = "Alive", body = Health, example = json!({"status": "alive"}))),
)]
pub async fn health_live() -> Json<Health> {
    Json(Health { status: "alive" })
}

/// Readiness
///
/// The database answers and has the schema of this server. Not while the server is stopping.
#[utoipa::path(
    get,
    path = "/health/ready",
    operation_id = "health_ready",
    tag = "operations",
    responses(
        (status = 200, description = "Ready", body = Health, example = json!({"status": "ready"})),
        (status = 503, description = "`R_GEN_08`: not now", body = ProblemDetails),
    ),
)]
pub async fn health_ready(State(api): State<Api>) -> Result<Json<Health>, Problem> {
    if api.stopping.is_cancelled() {
        return Err(Problem::new(ErrorCode::Unavailable, "The server is stopping."));
    }
    match api.app.ready().await {
        Ok(()) => Ok(Json(Health { status: "ready" })),
        Err(error) => {
            let message = match &error {
                NotReady::Database(_) => "The database does not answer.",
                NotReady::Schema { .. } => {
                    "The database does not have the schema of this server: migrations are pending."
                }
            };
            Err(Problem {
                cause: Some(std::sync::Arc::new(error)),
                ..Problem::new(ErrorCode::Unavailable, message)
            })
        }
    }
}

/// Metrics
///
/// Prometheus' text format, version 0.0.4. About this process alone.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "operations",
    responses((status = 200, description = "Metrics", body = String, content_type = "text/plain")),
)]
pub async fn metrics(State(api): State<Api>) -> Response {
    let (used, idle) = api.app.pool_state();
    api.metrics
        .pool_connections
        .with_label_values(&["used"])
        .set(used.into());
    api.metrics
        .pool_connections
        .with_label_values(&["idle"])
        .set(idle.into());
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        api.metrics.render(),
    )
        .into_response()
}
