//! `POST /api/v1/auth/exchange-token`

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use flamingock_api_types::auth::{TokenRequest, TokenResponse};
use flamingock_api_types::certificate::SignedCertificate;
use flamingock_api_types::{ErrorCode, ProblemDetails, digest};

use crate::app::auth::{ExchangeError, Exchanged};
use crate::app::{Fault, Scope};
use crate::http::answers::{Place, Question};
use crate::http::layers::SESSION_BODY_MAX;
use crate::http::problem::Problem;
use crate::http::{Api, body, certificate, wire};

/// Exchange an API token for a session
///
/// The only call without a bearer token. The session carries the environment and the service; it outlives long runs, and
/// revoking the API token ends it within seconds.
///
/// With the digest of its pipeline, a runner learns here whether anything is left to do: most starts are this one call.
#[utoipa::path(
    post,
    path = "/api/v1/auth/exchange-token",
    operation_id = "token_exchange",
    tag = "session",
    request_body(content = TokenRequest, example = json!({
        "apiToken": "flk_…", "serviceName": "billing", "environmentName": "production",
        "digest": "sha256-v1:5924aa7bc7a5a0174403760fc7b1fdb18f754806054981ffff08a22062269080"
    })),
    responses(
        (status = 200, description = "A session", body = TokenResponse, example = json!({
            "jwt": "eyJhbGciOiJFZERTQSJ9.eyJlbnYiOjEyfQ.c2ln", "organisationId": 3, "organisationName": "acme",
            "projectId": 8, "projectName": "payments", "environmentId": 12, "environmentName": "production",
            "serviceId": 340, "serviceName": "billing", "credentialId": 21, "expiresInSeconds": 86400, "allApplied": true
        })),
        (status = 400, description = "`R_GEN_02`: a field is missing or malformed", body = ProblemDetails),
        (status = 408, description = "`R_GEN_07`: the body did not arrive in time", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_01`: the API token is not accepted", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_01`, `R_TENANT_02`: no such environment or service", body = ProblemDetails),
        (status = 409, description = "`R_TENANT_06`: it is archived", body = ProblemDetails),
    ),
)]
pub async fn token_exchange(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<TokenResponse>, Problem> {
    let bytes = body::read(body, api.settings.max_body_bytes.min(SESSION_BODY_MAX)).await?;
    let request: TokenRequest = body::parse(&body::decode(&bytes, &headers)?.text)?;
    // One of an algorithm to come is not known here, and costs nobody the session.
    let digest = request.digest.filter(|digest| digest.starts_with(digest::PREFIX));
    if let Some(digest) = &digest {
        wire::check_digest("digest", digest)?;
    }
    let session = api
        .auth
        .exchange(
            request.api_token.as_deref(),
            request.environment_name.as_deref(),
            request.service_name.as_deref(),
        )
        .await
        .map_err(problem)?;
    let found = match &digest {
        Some(digest) if session.role.may_run() => {
            let found = look_up(&api, &session, digest, request.certificate);
            tokio::time::timeout(LONGEST_LOOK_UP, found)
                .await
                .unwrap_or_default()
        }
        _ => Found::default(),
    };
    Ok(Json(TokenResponse {
        jwt: session.jwt,
        organisation_id: session.organisation_id,
        organisation_name: session.organisation_name,
        project_id: session.project_id,
        project_name: session.project_name,
        environment_id: session.environment_id,
        environment_name: session.environment_name,
        service_id: session.service_id,
        service_name: session.service_name,
        credential_id: session.credential_id,
        expires_in_seconds: Some(session.expires_in.as_secs()),
        all_applied: found.all_applied,
        certificate: found.certificate,
    }))
}

/// The session is made by then, and must not be lost over it.
const LONGEST_LOOK_UP: Duration = Duration::from_secs(2);

/// What is said of a digest.
#[derive(Default)]
struct Found {
    all_applied: Option<bool>,
    certificate: Option<SignedCertificate>,
}

/// As a plan request with this digest would be answered. Who is told nothing submits its pipeline.
async fn look_up(api: &Api, session: &Exchanged, digest: &str, wants_certificate: bool) -> Found {
    let scope = Scope {
        environment_id: session.environment_id,
        service_id: session.service_id,
    };
    let head = match api.app.heads.read(scope).await {
        Ok(Some(head)) => head,
        Ok(None) => return Found::default(),
        Err(fault) => {
            note_fault(scope, &fault);
            return Found::default();
        }
    };
    let is_known = api
        .answers
        .get(Place::of(scope, &head), Question::digest(digest))
        .is_some();
    if is_known {
        api.app.plans.count_cached_continue();
    }
    Found {
        all_applied: Some(is_known),
        certificate: if is_known && wants_certificate {
            certificate::issue(api, scope, head.position, digest).await
        } else {
            None
        },
    }
}

fn note_fault(scope: Scope, fault: &Fault) {
    let error: &dyn std::error::Error = fault;
    tracing::debug!(
        environment.id = scope.environment_id,
        service.id = scope.service_id,
        error,
        "a digest was not looked up"
    );
}

fn problem(error: ExchangeError) -> Problem {
    let message = error.to_string();
    match error {
        ExchangeError::Malformed { .. } => Problem::malformed(message),
        ExchangeError::TokenRefused { .. } => Problem::new(ErrorCode::ApiTokenRefused, message),
        ExchangeError::NoProject => Problem::new(ErrorCode::OutOfScope, message),
        ExchangeError::EnvironmentNotFound { .. } => Problem::new(ErrorCode::EnvironmentNotFound, message),
        ExchangeError::ServiceNotFound { .. } => Problem::new(ErrorCode::ServiceNotFound, message),
        ExchangeError::Archived { .. } => Problem::new(ErrorCode::Archived, message),
        ExchangeError::Fault(fault) => fault.into(),
    }
}
