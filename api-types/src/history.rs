//! What happened and who is there, for people: executions with their outcome, and runners.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::execution::{OfferedStage, PlanReasons, RunnerFacts};
use crate::progress::{CancellationNotice, ChangeProgress};

/// What became of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ExecutionOutcome {
    /// It holds the lock under a live lease.
    Running,
    /// Everything that was offered is applied.
    Succeeded,
    /// A change failed.
    Failed,
    /// Nothing failed, and something waits for a person.
    Blocked,
    /// It holds the lock no more, or its lease has run out, and something that was offered has no recorded result.
    Abandoned,
    #[serde(other)]
    Unknown,
}

/// How an execution came to hold the lock no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ExecutionEnd {
    /// Its runner gave the lock back.
    Released,
    /// The lock was granted anew: to its own runner, or to another after the lease had run out.
    Replaced,
    /// A person released the lock.
    Forced,
    #[serde(other)]
    Unknown,
}

/// Changes that were offered, counted by what the execution's runner reported of them last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecutionProgress {
    /// Offered to be applied.
    pub offered: i64,
    pub applied: i64,
    /// Failed, and undone or not.
    pub failed: i64,
    /// Begun without a result.
    pub started: i64,
    /// Nothing was reported of them.
    pub not_reached: i64,
    /// Offered as waiting for a person.
    pub waiting_for_person: i64,
}

/// One granted plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecutionRecord {
    pub execution_id: i64,
    pub environment_id: i64,
    pub service_id: i64,
    pub runner_id: String,
    pub outcome: ExecutionOutcome,
    pub progress: ExecutionProgress,
    /// Fence of the grant.
    pub fence: i64,
    /// The first plan of its run.
    pub starts_run: bool,
    pub started_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<ExecutionEnd>,
    /// The API token whose session asked for it.
    pub credential_id: i64,
    /// What the runner said about itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<RunnerFacts>,
    /// How far changes are, or were, that it has begun and not finished: those that tell, the latest heard of first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub under_way: Vec<ChangeProgress>,
    /// Somebody asked it to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancellation: Option<CancellationNotice>,
}

/// Executions, newest first. With a filter by outcome a page may have fewer than asked for, or none, and still a `next`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecutionPage {
    pub executions: Vec<ExecutionRecord>,
    /// Pass it as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One granted plan in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecutionReport {
    #[serde(flatten)]
    pub record: ExecutionRecord,
    /// What was offered.
    pub stages: Vec<OfferedStage>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasons: Option<PlanReasons>,
    /// As submitted.
    pub submission: serde_json::Value,
    /// What was reported under it, in order of arrival: the first thousand.
    pub timeline: Vec<TimelineEntry>,
    /// There is more than `timeline` shows: ask for the audit with this execution as filter.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timeline_is_cut: bool,
    /// Starts that were refused to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_starts: Vec<RefusedStart>,
}

/// An entry of the audit, without what only a verifier needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TimelineEntry {
    pub seq: i64,
    pub change_id: String,
    pub state: String,
    /// `RUNNER`, `MARK`, `PERSON`, `PROBE` or `IMPORT`.
    pub source: String,
    /// It changed no state: somebody else had written before it arrived.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// The database's clock.
    pub received_at: DateTime<Utc>,
    /// The execution as reported; absent for a person's decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_ref: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage_id: Option<String>,
    /// How long the step took, as its runner says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_millis: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<i64>,
    /// Who wrote it.
    pub actor: String,
    /// A person's reason, or the server's remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// First characters of the error, readably.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_summary: Option<String>,
}

/// A `STARTED` that was refused: somebody asked to run a change without the right to, and may have run it all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RefusedStart {
    pub change_id: String,
    pub refused_at: DateTime<Utc>,
    /// The execution as reported.
    pub execution_ref: String,
    pub runner_id: String,
    /// The fence that the runner echoed, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<i64>,
    /// For example `lease_expired` or `not_the_holder`.
    pub reason: String,
    /// The same in a sentence.
    pub message: String,
    /// Who held the lock at that moment, and under which fence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_owner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_fence: Option<i64>,
}

/// What a runner was seen doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RunnerActivity {
    /// Holds the lock under a live lease.
    Working,
    /// Was told to wait a moment ago, or is parked at the server.
    Waiting,
    /// Holds the lock, and its lease has run out.
    Silent,
    /// Was there lately. What became of it since is not known: whoever has its plan carried out says no more.
    Seen,
    #[serde(other)]
    Unknown,
}

/// A process that asked for a plan of this service lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunnerRecord {
    pub runner_id: String,
    pub activity: RunnerActivity,
    /// The activity is concluded from when it was seen last: a runner that polls may have ended since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_guess: bool,
    /// When it was first seen in what it does now.
    pub since: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
    /// The execution that it holds the lock for, or held it for last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<i64>,
    /// Whom it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// It is parked at the server until then at most; one that polls has no such time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked_until: Option<DateTime<Utc>>,
    /// Part of the runner id, as clients form it, or as it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What it said about itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<RunnerFacts>,
    /// How far the change is that it is at, where it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under_way: Option<ChangeProgress>,
}

/// Runners of a service: who works, who waits, and who was there in the last hour. At most the two hundred seen last.
/// A start that finds nothing to do leaves no trace, so who only looked and went on is not here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunnerList {
    pub runners: Vec<RunnerRecord>,
    /// The database's clock.
    pub as_of: DateTime<Utc>,
}
