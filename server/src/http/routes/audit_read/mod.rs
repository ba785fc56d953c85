//! Reading the audit: lists, exports, the chain and its checkpoints, the difference between environments.

mod checkpoint;
mod difference;
mod export;
mod list;
mod question;
mod verification;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::Api;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list::audit_list))
        .routes(routes!(export::audit_export))
        .routes(routes!(verification::audit_verify))
        .routes(routes!(checkpoint::checkpoint_list))
        .routes(routes!(difference::audit_difference))
}

/// For anybody: public keys are.
pub fn public_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(checkpoint::checkpoint_key_list))
}
