//! Who is calling, and what it reaches.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IdentityView {
    /// The API token, also behind a session.
    pub credential_id: i64,
    pub name: String,
    /// `runner`, `viewer`, `operator`, `admin` or `root`.
    pub role: String,
    /// The caller showed a session instead of the API token.
    pub session: bool,
    /// Absent: the whole server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<NamedId>,
    /// When the API token ends. Absent: not by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// What it reaches and is not archived, as far as it fits here.
    pub projects: Vec<ReachableProject>,
    /// There is more than is shown: the lists of projects, environments and services have all.
    pub truncated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NamedId {
    pub id: i64,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReachableProject {
    pub project_id: i64,
    pub name: String,
    pub organisation: NamedId,
    pub environments: Vec<NamedId>,
    pub services: Vec<NamedId>,
}
