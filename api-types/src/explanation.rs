//! Why a service is waiting or stopped, since when, on whom, and what would unblock it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::history::{ExecutionProgress, ExecutionRecord, RunnerRecord};
use crate::lock::OpenChange;

/// How a service stands, as far as the server can know: it learns of a pipeline when it is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ServiceStanding {
    /// No plan was ever granted, and nothing is recorded.
    NeverStarted,
    /// Everything that is recorded is applied, and nobody is at work.
    UpToDate,
    /// A runner works under a live lease, and nobody waits.
    Running,
    /// A runner works under a live lease, and others wait for it.
    Waiting,
    /// The holder's lease has run out, and nobody has taken over.
    HolderSilent,
    /// A change waits for a person, and every start stops at it.
    NeedsPerson,
    /// A policy of the environment lets no start go on: a freeze window, or a change that waits for approval.
    StoppedByPolicy,
    /// The last start failed; the next one tries again by itself.
    Failed,
    /// There is recorded work left that the next start takes up by itself.
    Pending,
    #[serde(other)]
    Unknown,
}

/// `GET …/explanation`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Explanation {
    pub environment_id: i64,
    pub environment_name: String,
    pub service_id: i64,
    pub service_name: String,
    pub standing: ServiceStanding,
    /// All of it in a few sentences.
    pub message: String,
    /// Since when it stands like that, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// The database's clock.
    pub as_of: DateTime<Utc>,
    /// Who holds the lock, its lease run out or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// Who was told to wait for it a moment ago.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<RunnerRecord>,
    /// What stops the service, or would at its next start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stops: Vec<Stop>,
    /// There are more than `stops` shows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stops_are_cut: bool,
    /// The latest granted plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_execution: Option<ExecutionRecord>,
    /// What would unblock it, in the order to try.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remedies: Vec<Remedy>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Holder {
    pub runner_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<i64>,
    pub fence: i64,
    pub since: DateTime<Utc>,
    /// Its last sign of life.
    pub last_beat_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// When anybody may take over, if it gives no further sign.
    pub takeable_at: DateTime<Utc>,
    pub is_live: bool,
    #[serde(default)]
    pub progress: ExecutionProgress,
    /// What it has begun and not ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<OpenChange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StopKind {
    /// A change waits for a person's decision.
    Issue,
    /// A change that its target system or its declaration lets run again failed last time.
    ChangeFailed,
    /// The holder's lease has run out.
    LeaseExpired,
    /// A freeze window is open: no work is granted. What is up to date starts.
    Freeze,
    /// A change stopped a start because nobody has approved it.
    Approval,
    /// The latest start was refused because an applied change came with another checksum.
    ChecksumMismatch,
    /// The latest start was refused because of a change that has not run and stands before an applied one.
    OutOfOrder,
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stop {
    pub kind: StopKind,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Sequence of the change's latest entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
}

/// Something to do, with commands that can be pasted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Remedy {
    pub purpose: String,
    /// For the program `flamingock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The same without it. Wants `FLAMINGOCK_SERVER` and `FLAMINGOCK_TOKEN` in the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curl: Option<String>,
}
