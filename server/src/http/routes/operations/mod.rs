//! For people: what runs, who waits, what is stopped and why.

mod cancellation;
mod execution;
mod explanation;
mod issue;
mod lock;
mod runner;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::Api;
use crate::http::problem::Problem;

/// Most characters of a reason.
pub const REASON_MAX_CHARS: usize = 2_000;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(explanation::service_explain))
        .routes(routes!(issue::issue_view))
        .routes(routes!(execution::execution_report_list))
        .routes(routes!(execution::execution_report_view))
        .routes(routes!(cancellation::execution_cancel))
        .routes(routes!(runner::runner_list))
        .routes(routes!(lock::lock_list))
        .routes(routes!(lock::lock_force_release))
}

/// A reason as it is kept: without the space around it.
pub fn reason(text: &str) -> Result<&str, Problem> {
    let reason = text.trim();
    if reason.is_empty() || reason.contains('\0') || reason.chars().count() > REASON_MAX_CHARS {
        return Err(Problem::malformed(format!(
            "The field `reason` must say why, in 1 to {REASON_MAX_CHARS} characters without NUL: it is kept for good."
        )));
    }
    Ok(reason)
}
