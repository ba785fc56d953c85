//! Organisations, projects, environments and services, as people manage them.
//!
//! Requests refuse fields that they do not know: a mistyped one would silently change nothing.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrganisationView {
    pub organisation_id: i64,
    pub name: String,
    pub created_at: DateTime<Utc>,
    /// Present: nothing new runs in it. Its history stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<DateTime<Utc>>,
    /// Names that it had before, oldest first. They still lead to it, and nothing else can have them.
    #[serde(default)]
    pub former_names: Vec<String>,
}

/// By name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrganisationPage {
    pub organisations: Vec<OrganisationView>,
    /// Pass it as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrganisationCreateRequest {
    /// 1 to 200 characters; unique in its owner, among present and former names.
    pub name: String,
    /// Why; kept in the log of actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What shall become different; what is not given stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrganisationUpdateRequest {
    /// The name before it is kept, and still leads here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `true`: no new session and no new plan; reports of what runs are still taken, and all history stays. `false`: back in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
    /// Former names to give up. An application that still starts under one will not find its history any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub release_former_names: Vec<String>,
    /// Why; kept in the log of actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectView {
    pub project_id: i64,
    pub organisation_id: i64,
    pub name: String,
    /// Unknown services register themselves at their first token exchange.
    pub self_register_services: bool,
    pub created_at: DateTime<Utc>,
    /// Present: nothing new runs in it. Its history stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<DateTime<Utc>>,
    /// Names that it had before, oldest first. They still lead to it, and nothing else can have them.
    #[serde(default)]
    pub former_names: Vec<String>,
}

/// By name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectPage {
    pub projects: Vec<ProjectView>,
    /// Pass it as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectCreateRequest {
    /// 1 to 200 characters; unique in its owner, among present and former names.
    pub name: String,
    /// Unknown services register themselves at their first token exchange. `false` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_register_services: Option<bool>,
    /// Why; kept in the log of actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What shall become different; what is not given stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectUpdateRequest {
    /// The name before it is kept, and still leads here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Unknown services register themselves at their first token exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_register_services: Option<bool>,
    /// `true`: no new session and no new plan; reports of what runs are still taken, and all history stays. `false`: back in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
    /// Former names to give up. An application that still starts under one will not find its history any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub release_former_names: Vec<String>,
    /// Why; kept in the log of actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnvironmentView {
    pub environment_id: i64,
    pub project_id: i64,
    pub organisation_id: i64,
    pub name: String,
    /// A marker that is absent proves that a started transactional change did not commit.
    pub trust_absent_marks: bool,
    pub created_at: DateTime<Utc>,
    /// Present: nothing new runs in it. Its history stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<DateTime<Utc>>,
    /// Names that it had before, oldest first. They still lead to it, and nothing else can have them.
    #[serde(default)]
    pub former_names: Vec<String>,
}

/// By name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnvironmentPage {
    pub environments: Vec<EnvironmentView>,
    /// Pass it as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnvironmentCreateRequest {
    /// 1 to 200 characters; unique in its owner, among present and former names.
    pub name: String,
    /// A marker that is absent proves that a started transactional change did not commit. `false` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_absent_marks: Option<bool>,
    /// Why; kept in the log of actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What shall become different; what is not given stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnvironmentUpdateRequest {
    /// The name before it is kept, and still leads here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A marker that is absent proves that a started transactional change did not commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_absent_marks: Option<bool>,
    /// `true`: no new session and no new plan; reports of what runs are still taken, and all history stays. `false`: back in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
    /// Former names to give up. An application that still starts under one will not find its history any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub release_former_names: Vec<String>,
    /// Why; kept in the log of actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceView {
    pub service_id: i64,
    pub project_id: i64,
    pub organisation_id: i64,
    pub name: String,
    pub created_at: DateTime<Utc>,
    /// Present: nothing new runs in it. Its history stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<DateTime<Utc>>,
    /// Names that it had before, oldest first. They still lead to it, and nothing else can have them.
    #[serde(default)]
    pub former_names: Vec<String>,
}

/// By name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServicePage {
    pub services: Vec<ServiceView>,
    /// Pass it as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceCreateRequest {
    /// 1 to 200 characters; unique in its owner, among present and former names.
    pub name: String,
    /// Why; kept in the log of actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What shall become different; what is not given stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceUpdateRequest {
    /// The name before it is kept, and still leads here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `true`: no new session and no new plan; reports of what runs are still taken, and all history stays. `false`: back in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
    /// Former names to give up. An application that still starts under one will not find its history any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub release_former_names: Vec<String>,
    /// Why; kept in the log of actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
