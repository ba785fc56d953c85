//! Token exchange: `POST /api/v1/auth/exchange-token` (wire contract §2.1).

use serde::{Deserialize, Serialize};

use crate::certificate::SignedCertificate;

/// What an application shows of itself to get a session.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenRequest {
    /// The API token, as it was shown once when it was made.
    pub api_token: Option<String>,
    pub service_name: Option<String>,
    pub environment_name: Option<String>,
    /// Additive: digest of the pipeline that the session is opened for, `sha256-v1:` and 64 hex digits. A runner is told
    /// with the session whether anything of it is left to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Additive: with a digest, whether a start certificate is wanted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub certificate: bool,
}

impl std::fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenRequest")
            .field("api_token", &self.api_token.as_ref().map(|_| "[redacted]"))
            .field("service_name", &self.service_name)
            .field("environment_name", &self.environment_name)
            .field("digest", &self.digest)
            .field("certificate", &self.certificate)
            .finish()
    }
}

/// A session: the bearer token for every other call, and the ids that go into its paths.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenResponse {
    pub jwt: String,
    pub organisation_id: i64,
    pub organisation_name: String,
    pub project_id: i64,
    pub project_name: String,
    pub environment_id: i64,
    pub environment_name: String,
    pub service_id: i64,
    pub service_name: String,
    pub credential_id: i64,
    /// Additive: seconds until the token must be exchanged anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
    /// Additive: whether the pipeline of the request's digest is known to be fully applied at the present head of the audit.
    /// `true` says what a plan of `CONTINUE` does: nothing is left to do. `false` says nothing: the pipeline has to be
    /// submitted. Absent where no digest was sent, or it was not looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_applied: Option<bool>,
    /// Additive: with `allApplied: true`, where it was asked for and the server signs any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<SignedCertificate>,
}

impl std::fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenResponse")
            .field("jwt", &"[redacted]")
            .field("environment_id", &self.environment_id)
            .field("service_id", &self.service_id)
            .finish_non_exhaustive()
    }
}
