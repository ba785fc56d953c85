//! Issues: changes whose outcome a person must decide, and the decisions.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::execution::RunnerFacts;
use crate::explanation::Remedy;
use crate::history::{ExecutionEnd, RefusedStart, TimelineEntry};
use crate::lock::LockRecord;
use crate::progress::ChangeProgress;

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
    /// What was reported of the change too late to count, because somebody else had written since, and what its own probe could
    /// not tell (`PROBE_UNDECIDED`): evidence for the person who decides. At most the newest ten, oldest first.
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
    /// A remark, such as what the change's own probe said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
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

/// Whether a change waits for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum IssueStanding {
    /// A person must decide.
    NeedsDecision,
    /// Its runner is working on it under a live lease: wait.
    InProgress,
    #[serde(other)]
    Unknown,
}

/// `GET …/issue/detail`: everything that is known of a change whose outcome is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IssueDetail {
    pub change_id: String,
    pub standing: IssueStanding,
    /// Latest state.
    pub state: String,
    /// Sequence of the latest entry: pass it as `expectedSeq` when you decide.
    pub seq: i64,
    pub since: DateTime<Utc>,
    /// A marker in the target system says that it was applied, against the record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub contradicted_by_mark: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_system_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_type: Option<String>,
    /// Class, or template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method_name: Option<String>,
    /// How the attempt used its target's transactions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_strategy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_strategy: Option<String>,
    /// The error of the latest attempt that had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorView>,
    /// What was recorded of the change, oldest first: the newest five hundred.
    pub history: Vec<TimelineEntry>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub history_is_cut: bool,
    /// The executions that the history names: who held the lock, under which fence, from when to when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptView>,
    /// Starts that were refused, newest first, at most fifty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_starts: Vec<RefusedStart>,
    /// The service's lock now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockRecord>,
    /// How far the latest attempt was when it was last heard of, where it told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ChangeProgress>,
    pub guidance: Guidance,
    /// Ready to paste.
    pub remedies: Vec<Remedy>,
}

/// An execution that ran, or was to run, the change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptView {
    pub execution_id: i64,
    pub runner_id: String,
    /// Fence under which it held the lock.
    pub fence: i64,
    /// Held the lock from here…
    pub started_at: DateTime<Utc>,
    /// …to here; absent while it does, or where its lease ran out and nobody took over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<ExecutionEnd>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<RunnerFacts>,
}

/// An error as it was reported, and taken apart where its form is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorView {
    /// Sequence of the entry that it came with.
    pub seq: i64,
    /// For reading: type and message, the root cause, the frames.
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_cause_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_cause_message: Option<String>,
    /// Innermost first, as `class.method (file:line)`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<String>,
}

/// What a person should know and do about exactly this state and way of using transactions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Guidance {
    /// What is known.
    pub what_happened: String,
    /// What may be the case in the target system.
    pub possible: Vec<String>,
    /// What to look at.
    pub check: Vec<String>,
    /// What to do with what was found.
    pub then: Vec<String>,
}
