//! The dry run of a plan: what a start would get now, without a lock, a row or anything else that stays.
//!
//! The request is the plan call's own [`PlanRequest`](crate::execution::PlanRequest).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::execution::Verdict;
use crate::lock::LockView;
use crate::policy::PolicyFinding;

/// `POST /api/v1/admin/environment/{environmentId}/service/{serviceId}/plan`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanPreview {
    /// What a start would come to now.
    pub verdict: PreviewVerdict,
    /// The same if nobody held the lock. Differs from `verdict` only where that is `HELD`.
    pub verdict_when_free: PreviewVerdict,
    /// For people: what the verdict means here, and what to do.
    pub message: String,
    /// Whoever holds the service's lock now and may be working.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<LockView>,
    /// Position of the block (from 0) that a start would begin with, where there is work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<i64>,
    /// Every submitted stage, with all its changes, in order.
    pub stages: Vec<PreviewStage>,
    /// What the environment's policies find, stopping or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<PolicyFinding>,
    /// Counts over all changes.
    pub counts: PreviewCounts,
    /// Changes that are recorded here and that the pipeline lacks, by id: at most 1000. Normal for changes that were
    /// removed from the code; a sign of a wrong service or environment where there are many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_changes: Vec<MissingChange>,
    /// Stage names that occur more than once: their changes are judged as one stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeated_stages: Vec<String>,
    /// Head of the audit that this was judged by.
    pub head_seq: i64,
    /// The database's clock.
    pub judged_at: DateTime<Utc>,
}

/// What a start would come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PreviewVerdict {
    /// Nothing to do: the application starts.
    UpToDate,
    /// There are changes to apply, and they would be.
    Pending,
    /// A change waits for a person: its stage does not run, and the start fails.
    NeedsPerson,
    /// A policy of the environment refuses the start.
    StoppedByPolicy,
    /// There is work, and another runner holds the lock: the start waits.
    Held,
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PreviewStage {
    pub name: String,
    pub verdict: Verdict,
    pub changes: Vec<PreviewChange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PreviewChange {
    pub id: String,
    pub action: PreviewAction,
    /// Why, for example `NEVER_RUN`.
    pub code: String,
    pub message: String,
    /// Sequence of the audit entry that it was judged by, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
}

/// What a start would do with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PreviewAction {
    /// Applied already.
    Skip,
    Apply,
    /// A person has to decide first.
    ManualIntervention,
    /// Its own probe says first whether it took effect.
    Probe,
    /// The runner that holds the lock is working on it this moment.
    InProgress,
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PreviewCounts {
    pub applied: i64,
    /// To be applied, or to be asked by their probe first.
    pub pending: i64,
    pub needs_person: i64,
    pub in_progress: i64,
    /// All that are recorded and missing in the pipeline, listed or not.
    pub missing: i64,
}

/// A recorded change that the pipeline lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MissingChange {
    pub id: String,
    /// Its latest state.
    pub state: String,
    pub seq: i64,
}
