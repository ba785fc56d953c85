//! Policies of an environment: what a start is refused for although the plan would allow it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What a policy does where it finds something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PolicyMode {
    /// It does not look.
    #[default]
    Allow,
    /// The start goes on; the answer, the log and a metric say what was found.
    Warn,
    /// The start is refused.
    Refuse,
}

/// `GET /api/v1/admin/environment/{environmentId}/policy`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyView {
    pub environment_id: i64,
    /// Grows with every change of the policy; 0 while none was ever set.
    pub revision: i64,
    /// An applied change is submitted with another checksum than the one that it was applied with.
    pub checksum_mismatch: PolicyMode,
    /// A pending change stands before an applied one of its stage.
    pub out_of_order: PolicyMode,
    /// A pending change waits until an operator who is not its author has approved it.
    pub approval_required: bool,
    /// An absent mark proves that a started transactional change did not commit.
    pub trust_absent_marks: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<String>,
}

/// `PUT /api/v1/admin/environment/{environmentId}/policy`: the whole policy, not a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyRequest {
    pub checksum_mismatch: PolicyMode,
    pub out_of_order: PolicyMode,
    pub approval_required: bool,
    pub trust_absent_marks: bool,
    /// The revision that this replaces: refused with 409 if it is not the present one. Absent: whatever it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<i64>,
    /// Why, in up to 2000 characters: kept for good.
    pub reason: String,
}

/// Which policy found something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PolicyKind {
    ChecksumMismatch,
    OutOfOrder,
    ApprovalMissing,
    Frozen,
    #[serde(other)]
    Unknown,
}

/// What a policy found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyFinding {
    pub policy: PolicyKind,
    /// It refuses the start; else it is a warning.
    pub stops: bool,
    /// The change; absent for a freeze.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_id: Option<String>,
    /// The checksum submitted for the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    pub message: String,
}

/// A time in which no work is granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FreezeView {
    pub freeze_id: i64,
    pub environment_id: i64,
    /// Absent: all services of the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_ids: Option<Vec<i64>>,
    /// Of the services, in the order of their ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_names: Option<Vec<String>>,
    pub starts_at: DateTime<Utc>,
    /// Absent: until a person ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<DateTime<Utc>>,
    pub reason: String,
    /// At the time of the answer, on the database's clock.
    pub active: bool,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    /// Ended by a person before its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<String>,
}

/// `GET /api/v1/admin/environment/{environmentId}/freeze`: newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FreezePage {
    pub freezes: Vec<FreezeView>,
    /// Pass as `after` to go on; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `POST /api/v1/admin/environment/{environmentId}/freeze`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FreezeRequest {
    /// Absent: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<DateTime<Utc>>,
    /// Absent: until a person ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<DateTime<Utc>>,
    /// Told to every application that is stopped by it; up to 2000 characters.
    pub reason: String,
    /// Absent: all services of the environment, those yet to come included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_ids: Option<Vec<i64>>,
}

/// `POST /api/v1/admin/freeze/{freezeId}/end`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FreezeEndRequest {
    pub reason: String,
}

/// `POST /api/v1/admin/environment/{environmentId}/service/{serviceId}/approval`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApprovalRequest {
    pub change_id: String,
    /// The content that is approved. Absent for changes whose client sends no checksum, such as the Java SDK: then
    /// whatever the change contains is approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    pub reason: String,
    /// `APPROVED` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<ApprovalDecision>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ApprovalDecision {
    Approved,
    /// Takes back what was approved before, by whomever.
    Withdrawn,
}

/// A decision on a change, as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApprovalView {
    pub approval_id: i64,
    pub change_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    pub decision: ApprovalDecision,
    pub reason: String,
    pub actor: String,
    pub decided_at: DateTime<Utc>,
}

/// A change that stopped a start because nobody has approved it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PendingApproval {
    pub change_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// As submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The runner that was stopped last.
    pub runner_id: String,
    pub first_asked_at: DateTime<Utc>,
    pub last_asked_at: DateTime<Utc>,
}

/// `GET /api/v1/admin/environment/{environmentId}/service/{serviceId}/approval`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApprovalPage {
    /// What stopped a start and is neither approved nor applied since, longest waiting first: at most 500, with the
    /// first page only.
    pub pending: Vec<PendingApproval>,
    /// Decisions, newest first.
    pub approvals: Vec<ApprovalView>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `POST /api/v1/admin/environment/{environmentId}/service/{serviceId}/checksum`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChecksumRequest {
    /// An applied change.
    pub change_id: String,
    /// Accepted from now on, beside those that are accepted already.
    pub checksum: String,
    pub reason: String,
}

/// Where a checksum comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ChecksumSource {
    /// Submitted by the runner that applied the change.
    Runner,
    /// The first one that was submitted for a change which was applied without one.
    FirstSeen,
    /// Accepted by a person.
    Person,
    #[serde(other)]
    Unknown,
}

/// A checksum that is accepted for an applied change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChecksumView {
    pub checksum_id: i64,
    pub change_id: String,
    /// The audit entry that says that the change is applied.
    pub seq: i64,
    pub checksum: String,
    pub source: ChecksumSource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub recorded_at: DateTime<Utc>,
}

/// `GET /api/v1/admin/environment/{environmentId}/service/{serviceId}/checksum`: accepted ones, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChecksumPage {
    pub checksums: Vec<ChecksumView>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
