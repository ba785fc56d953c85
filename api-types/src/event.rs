//! Live events: `…/event`, a stream of Server-Sent Events. The data of each is one [`Event`].

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What happened. The `event:` field of the stream has the same text as `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum EventType {
    ChangeStarted,
    ChangeApplied,
    ChangeFailed,
    ChangeRolledBack,
    ChangeRollbackFailed,
    /// A person decided what became of a change.
    ChangeDecided,
    /// A result came too late to count: it is kept as evidence and changes no state.
    ChangeReportedLate,
    /// An entry in a state that is none of the above.
    ChangeRecorded,
    /// The entry before it in the stream left a change to a person.
    IssueOpened,
    /// The entry before it in the stream settled what a person was asked for.
    IssueClosed,
    LockGranted,
    /// Its holder was granted it anew.
    LockRenewed,
    /// Another runner's lease had ended.
    LockTakenOver,
    LockReleased,
    /// A person released it over the holder's head.
    LockForced,
    /// A runner was told to work.
    ExecutionGranted,
    /// An execution holds its lock no more.
    ExecutionEnded,
    /// Somebody changed the server's own state. Only for those who may read the log of admin actions.
    ActionRecorded,
    #[serde(other)]
    Unknown,
}

/// The data of one event: what happened, where, and the part that fits its type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// The event's own: the same whenever and by whichever replica it is told. Opaque; pass the last one on to resume.
    pub id: String,
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// On the database's clock.
    pub at: DateTime<Utc>,
    pub organisation_id: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_id: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_id: Option<i64>,
    /// Names as they are when it is told, not as they were when it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// With `CHANGE_…` and `ISSUE_…`: the entry of the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeEvent>,
    /// With `LOCK_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockEvent>,
    /// With `EXECUTION_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<ExecutionEvent>,
    /// With `ACTION_RECORDED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionEvent>,
}

/// An entry of the audit, without what may be long: the error trace is read there, by `seq`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeEvent {
    /// Its place in the service's audit. Contiguous: one that is missing was not delivered.
    pub seq: i64,
    pub change_id: String,
    pub state: String,
    /// `RUNNER`, `MARK`, `PERSON`, `PROBE` or `IMPORT`.
    pub source: String,
    /// It came too late to count.
    pub late: bool,
    /// Whose doing: a credential, a person's token or the server.
    pub actor: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_system_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The execution as reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_ref: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_id: Option<String>,
    /// A person's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LockEvent {
    pub key: String,
    pub fence: i64,
    /// Who holds it now, or held it until now.
    pub runner_id: String,
    /// With `LOCK_TAKEN_OVER`: whose lease had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_runner_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecutionEvent {
    pub execution_id: i64,
    pub runner_id: String,
    /// With `EXECUTION_ENDED`: what became of its lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<ExecutionEnd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ExecutionEnd {
    /// Its runner gave the lock back.
    Released,
    /// The lock was granted anew, to its runner or to another that took it over.
    Replaced,
    /// A person released the lock.
    Forced,
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ActionEvent {
    pub action_id: i64,
    /// The operation, such as `token_revoke`.
    pub action: String,
    /// What it was done to, within its place.
    pub target: String,
    pub actor: String,
    pub role: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
