//! `GET …/audit/checkpoint` and `GET /api/v1/admin/checkpoint-key`

use axum::Json;
use axum::extract::State;
use flamingock_api_types::ProblemDetails;
use flamingock_api_types::audit::{CheckpointKeyView, CheckpointKeys, CheckpointPage, CheckpointView};
use flamingock_audit_chain::SignedCheckpoint;
use flamingock_audit_chain::export::CheckpointLine;

use crate::http::Api;
use crate::http::cursor::Listing;
use crate::http::extract::{ApiPath, Reader};
use crate::http::parameters::Parameters;
use crate::http::problem::Problem;
use crate::http::routes::execution::page_limit;

/// List checkpoints
///
/// Signed statements about positions of the chain, newest first. Keep one somewhere else: it holds everything before it.
#[utoipa::path(
    get,
    path = "/api/v1/admin/environment/{environmentId}/service/{serviceId}/audit/checkpoint",
    operation_id = "checkpoint_list",
    tag = "history",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50"),
    ),
    responses(
        (status = 200, description = "Checkpoints", body = CheckpointPage, example = json!({
            "checkpoints": [{
                "environmentId": 12, "serviceId": 340, "seq": 12,
                "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "signedAt": "2026-09-14T08:22:00.118204Z", "keyId": "5b1c7e0a93f0d24c", "signature": "7d0f…"
            }]
        })),
        (status = 400, description = "`R_GEN_02`: a parameter that is not known or does not fit", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the session's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_02`: nothing of that name within the token's reach", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again", body = ProblemDetails),
    ),
)]
pub async fn checkpoint_list(
    State(api): State<Api>,
    reader: Reader,
    ApiPath((environment_id, service_id)): ApiPath<(i64, i64)>,
    parameters: Parameters,
) -> Result<Json<CheckpointPage>, Problem> {
    let scope = reader.scope(&api, environment_id, service_id).await?;
    let parameters = parameters.only(&["after", "limit"])?;
    let limit = page_limit(parameters.number("limit")?)?;
    let listing = Listing::new("checkpoint_list", &(environment_id, service_id));
    let before = listing.position::<i64>(parameters.one("after")?.as_deref())?;
    let mut signed = api.app.signed.list(scope, before, limit + 1).await?;
    // One more than the page tells whether there is another.
    let more = i64::try_from(signed.len()).is_ok_and(|count| count > limit);
    if more {
        signed.pop();
    }
    Ok(Json(CheckpointPage {
        next: signed
            .last()
            .filter(|_| more)
            .map(|last| listing.cursor(&last.checkpoint.seq)),
        checkpoints: signed.iter().map(checkpoint_view).collect(),
    }))
}

pub(super) fn checkpoint_view(signed: &SignedCheckpoint) -> CheckpointView {
    let CheckpointLine {
        environment_id,
        service_id,
        seq,
        hash,
        signed_at,
        key_id,
        signature,
    } = CheckpointLine::of(signed);
    CheckpointView {
        environment_id,
        service_id,
        seq,
        hash,
        signed_at,
        key_id,
        signature,
    }
}

/// List the public keys of checkpoints
///
/// Every key that ever signed, newest first. Needs no token. Take them over a channel that you trust and pin them: who can
/// rewrite an export can rewrite the keys in it.
#[utoipa::path(
    get,
    path = "/api/v1/admin/checkpoint-key",
    operation_id = "checkpoint_key_list",
    tag = "public",
    responses(
        (status = 200, description = "Keys", body = CheckpointKeys, example = json!({
            "keys": [{
                "keyId": "21fe31dfa154a261", "algorithm": "Ed25519",
                "publicKey": "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "pem": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n",
                "createdAt": "2026-09-14T08:00:00.000000Z"
            }]
        })),
        (status = 503, description = "`R_GEN_08`: try again", body = ProblemDetails),
    ),
)]
pub async fn checkpoint_key_list(State(api): State<Api>) -> Result<Json<CheckpointKeys>, Problem> {
    let keys = api.app.signed.keys().await?;
    Ok(Json(CheckpointKeys {
        keys: keys
            .into_iter()
            .map(|key| CheckpointKeyView {
                key_id: key.key_id,
                algorithm: "Ed25519".to_owned(),
                public_key: key.public_key.to_hex(),
                pem: key.public_key.to_pem(),
                created_at: key.created_at,
            })
            .collect(),
    }))
}
