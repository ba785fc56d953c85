//! `GET …/audit/verification`

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use data_encoding::HEXLOWER;
use flamingock_api_types::ProblemDetails;
use flamingock_api_types::audit::ChainVerification;

use super::checkpoint::checkpoint_view;
use crate::app::Busy;
use crate::app::verification::{Finding, Verified, VerifyError};
use crate::http::Api;
use crate::http::cursor::Listing;
use crate::http::extract::{ApiPath, Reader};
use crate::http::parameters::Parameters;
use crate::http::problem::Problem;

/// Verify the chain
///
/// The database recomputes every hash of the stream, the checkpoints of the stream are held against it with their
/// signatures, and the first entry that does not fit is named. A long chain takes several calls: as long as there is a
/// `next`, pass it as `after`, and believe `intact` only once `complete` is true.
#[utoipa::path(
    get,
    path = "/api/v1/admin/environment/{environmentId}/service/{serviceId}/audit/verification",
    operation_id = "audit_verify",
    tag = "history",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
        ("after" = Option<String>, Query, description = "`next` of the call before"),
    ),
    responses(
        (status = 200, description = "Intact or not", body = ChainVerification, example = json!({
            "intact": true, "complete": true, "verifiedSeq": 12, "headSeq": 12,
            "headHash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "checkpoint": {
                "environmentId": 12, "serviceId": 340, "seq": 12,
                "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "signedAt": "2026-09-14T08:22:00.118204Z", "keyId": "5b1c7e0a93f0d24c", "signature": "7d0f…"
            }
        })),
        (status = 400, description = "`R_GEN_02`: a parameter that is not known, or a cursor of another chain", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the session's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_02`: nothing of that name within the token's reach", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: two are being verified already", body = ProblemDetails),
    ),
)]
pub async fn audit_verify(
    State(api): State<Api>,
    reader: Reader,
    ApiPath((environment_id, service_id)): ApiPath<(i64, i64)>,
    parameters: Parameters,
) -> Result<Json<ChainVerification>, Problem> {
    let scope = reader.scope(&api, environment_id, service_id).await?;
    let parameters = parameters.only(&["after"])?;
    let listing = Listing::new("audit_verify", &(environment_id, service_id));
    let after = listing
        .position::<(i64, String)>(parameters.one("after")?.as_deref())?
        .map(|(seq, hash)| {
            HEXLOWER
                .decode(hash.as_bytes())
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .map(|hash| (seq, hash))
                .ok_or_else(|| {
                    Problem::malformed("The query parameter `after` is not a cursor of this chain.")
                })
        })
        .transpose()?;
    let verified = api
        .app
        .verification
        .verify(scope, after)
        .await
        .map_err(|error| match error {
            VerifyError::TooMany(busy) => too_many(busy),
            VerifyError::Fault(fault) => fault.into(),
        })?;
    Ok(Json(verified.map_or_else(nothing_recorded, |verified| {
        view(&verified, &listing)
    })))
}

fn too_many(busy: Busy) -> Problem {
    let what = match busy {
        Busy::Replica(max) => format!("{max} chains are being verified, as many as a replica does at once."),
        Busy::Organisation(share) => format!(
            "{share} chains of this organisation are being verified, as many as a replica does at once for one organisation."
        ),
    };
    Problem::busy(Duration::from_secs(5), format!("{what} Try again shortly."))
}

/// An empty chain is whole.
fn nothing_recorded() -> ChainVerification {
    ChainVerification {
        intact: true,
        complete: true,
        verified_seq: 0,
        head_seq: 0,
        head_hash: "0".repeat(64),
        first_broken_seq: None,
        finding: None,
        checkpoint: None,
        next: None,
    }
}

fn view(verified: &Verified, listing: &Listing) -> ChainVerification {
    ChainVerification {
        intact: verified.broken.is_none(),
        complete: verified.complete,
        verified_seq: verified.verified_seq,
        head_seq: verified.head.0,
        head_hash: HEXLOWER.encode(&verified.head.1),
        first_broken_seq: verified.broken.as_ref().map(|(seq, _)| *seq),
        finding: verified
            .broken
            .as_ref()
            .map(|(seq, finding)| words(*seq, finding)),
        checkpoint: verified.checkpoint.as_ref().map(checkpoint_view),
        next: verified
            .next
            .as_ref()
            .map(|(seq, hash)| listing.cursor(&(*seq, HEXLOWER.encode(hash)))),
    }
}

fn words(first: i64, finding: &Finding) -> String {
    match finding {
        Finding::Chain(text) => text.clone(),
        Finding::Rewritten { seq, signed_at } => format!(
            "entry {seq} is not the one that was signed at {signed_at}: the history was rewritten from an entry between {first} \
             and {seq} on"
        ),
        Finding::TailCut { seq, signed_at } => format!(
            "entry {seq} was signed at {signed_at} and is not there any more: the end of the stream was cut off"
        ),
        Finding::Forged { seq, key_id } => {
            format!(
                "the checkpoint at entry {seq} was not signed by key {key_id}: somebody wrote it who has not that key"
            )
        }
    }
}
