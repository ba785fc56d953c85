//! Token exchange: `POST /api/v1/auth/exchange-token` (wire contract §2.1).

use serde::{Deserialize, Serialize};

/// What an application shows of itself to get a session.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenRequest {
    /// The API token, as it was shown once when it was made.
    pub api_token: Option<String>,
    pub service_name: Option<String>,
    pub environment_name: Option<String>,
}

impl std::fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenRequest")
            .field("api_token", &self.api_token.as_ref().map(|_| "[redacted]"))
            .field("service_name", &self.service_name)
            .field("environment_name", &self.environment_name)
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
