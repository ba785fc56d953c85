//! Issues: changes whose outcome a person must decide, and the decisions.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A change that stops its service until a person decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IssueView {
    pub change_id: String,
    /// Latest state, for example `STARTED` or `ROLLBACK_FAILED`.
    pub state: String,
    /// Sequence of the latest entry: pass it as `expectedSeq` when you decide.
    pub seq: i64,
    pub since: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_system_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_trace: Option<String>,
    /// Why a person is needed, and what to check in the target system.
    pub guidance: String,
    /// What was reported of the change too late to count, because somebody else had written since: evidence for the person
    /// who decides. At most the newest ten, oldest first.
    #[serde(default)]
    pub late_reports: Vec<LateReport>,
}

/// A result that changed no state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LateReport {
    pub seq: i64,
    pub state: String,
    pub received_at: DateTime<Utc>,
    /// The execution as reported.
    pub execution_ref: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_trace: Option<String>,
}

/// A page of issues, by change id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IssuePage {
    pub issues: Vec<IssueView>,
    /// Pass it as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `POST …/resolution`: one or more decisions, recorded together or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResolutionRequest {
    pub resolutions: Vec<Resolution>,
    /// Why; kept in the audit for good.
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resolution {
    pub change_id: String,
    pub resolution: ResolutionKind,
    /// Sequence of the entry that the decision is about. If another was written since, nothing is recorded.
    pub expected_seq: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ResolutionKind {
    /// It took effect in the target system: never run it again.
    Applied,
    /// It left nothing behind in the target system: run it at the next start.
    RolledBack,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResolutionResponse {
    pub recorded: Vec<RecordedResolution>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecordedResolution {
    pub change_id: String,
    pub state: String,
    pub seq: i64,
}
