//! The plan call and what is remembered of it (wire contract §2.2, §2.9).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::certificate::SignedCertificate;
use crate::lock::LockView;
use crate::policy::PolicyFinding;

/// `POST /api/v1/environment/{environmentId}/service/{serviceId}/execution`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanRequest {
    /// Lease wanted, in milliseconds (default 60 000); clamped to 1 000 … 3 600 000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_acquired_for_millis: Option<i64>,
    pub client_submission: Submission,
    /// Additive: facts about the runner, for people who look at executions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<RunnerFacts>,
    /// Additive: hand out a certificate with `CONTINUE`, so that the application may start with this very pipeline when
    /// the server cannot be reached.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub certificate: bool,
}

/// What the runner has, in order. Exactly one of `blocks`, `stages` (flat, client generation 1.3) and `digest`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Submission {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Vec<BlockSubmission>>,
    /// Client generation 1.3: one block of type `DEFAULT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stages: Option<Vec<StageSubmission>>,
    /// Additive: the pipeline's digest alone, to ask whether there is anything to do. Answered
    /// with `CONTINUE`, or with 409 `R_PLAN_01` when the server wants the whole pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum BlockType {
    System,
    Legacy,
    #[default]
    Default,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlockSubmission {
    #[serde(rename = "type", default)]
    pub kind: BlockType,
    #[serde(default)]
    pub stages: Vec<StageSubmission>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StageSubmission {
    pub name: String,
    /// 0-based position counted over all blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<i64>,
    /// What happened to the stage in this run; absent means not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StageStatus>,
    #[serde(default)]
    pub changes: Vec<ChangeSubmission>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StageStatus {
    NotStarted,
    Started,
    Completed,
    Failed,
    BlockedManualIntervention,
}

/// A change as submitted. From `order` on, the fields are additive and sent by our SDK.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeSubmission {
    pub id: String,
    /// The marker found in the target system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ongoing_status: Option<MarkStatus>,
    /// What happened to the change in this run; absent means not reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_status: Option<ChangeStatusReport>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transactional: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_system_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_strategy: Option<RecoveryStrategy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_rollback: Option<bool>,
    /// Its cursor tells the truth also while the rollback undoes what it counts: a failure does not void it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor_outlives_failure: Option<bool>,
    /// The change goes on from a cursor that an earlier attempt saved. Absent or false: it begins at its beginning, is
    /// handed no cursor, and one that is there is void once it has begun. Absent, one whose cursor outlives its failure
    /// takes it all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes_cursor: Option<bool>,
    /// The change can be asked whether it took effect: then a doubt about it is settled by its probe, before a person is
    /// asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_probe: Option<bool>,
    /// `sha256-v1:<hex>` over the change's normalised content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depends_on: Option<Vec<String>>,
}

impl ChangeSubmission {
    /// Whether it goes on from a cursor. A saga of an SDK that did not say so yet does: it keeps the steps that are done in its
    /// cursor, and without one would do them again.
    pub fn takes_a_cursor(&self) -> bool {
        self.takes_cursor
            .unwrap_or(self.cursor_outlives_failure == Some(true))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum MarkStatus {
    #[default]
    None,
    Applied,
    RolledBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ChangeStatusReport {
    NotReached,
    Applied,
    AlreadyApplied,
    Failed,
    RolledBack,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RecoveryStrategy {
    AlwaysRetry,
    #[default]
    ManualIntervention,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunnerFacts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdk: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// The server's decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanResponse {
    pub action: PlanAction,
    /// With `EXECUTE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<i64>,
    /// With `EXECUTE` the caller's lock, with `AWAIT` the current holder's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockView>,
    /// With `EXECUTE`: what to carry out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stages: Option<Vec<OfferedStage>>,
    /// With `EXECUTE` and `CONTINUE`: what is known of every submitted stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_result: Option<PipelineResult>,
    /// Every mark of the request is durably accounted for: the runner clears the marks that it sent.
    #[serde(default)]
    pub synchronized_marks: bool,
    /// Additive: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasons: Option<PlanReasons>,
    /// Additive: with `CONTINUE`, where it was asked for and every change is applied by the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<SignedCertificate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PlanAction {
    Continue,
    Execute,
    Await,
    Abort,
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OfferedStage {
    pub name: String,
    pub order: i64,
    pub changes: Vec<OfferedChange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OfferedChange {
    pub id: String,
    pub action: ChangeAction,
    /// Additive: with `PROBE`, the entry whose outcome is in doubt; the probe's verdict names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_seq: Option<i64>,
    /// Additive: where an earlier attempt got to, in the change's own words. It was not undone since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ChangeAction {
    Apply,
    Skip,
    ManualIntervention,
    /// Additive: ask the change itself whether it took effect, report what it says, and ask for the next plan. Only offered
    /// for changes that were submitted with `hasProbe`.
    Probe,
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PipelineResult {
    #[serde(default)]
    pub stages: Vec<StageResult>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StageResult {
    pub name: String,
    pub verdict: Verdict,
    pub changes: Vec<ChangeResult>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Verdict {
    NotEvaluated,
    NeedsWork,
    UpToDate,
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeResult {
    pub id: String,
    pub status: ChangeStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ChangeStatus {
    NotReached,
    Applied,
    AlreadyApplied,
    Failed,
    RolledBack,
    #[serde(other)]
    Unknown,
}

/// Why the plan is what it is. Codes are stable; sentences are for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanReasons {
    /// Code of the whole, for example `WORK_PENDING`.
    pub code: String,
    pub message: String,
    /// One for each change that is not simply applied, in submitted order. Left out when there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeReason>,
    /// What the environment's policies warn of. Left out when there is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<PolicyFinding>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeReason {
    pub id: String,
    /// For example `OUTCOME_UNKNOWN`.
    pub code: String,
    pub message: String,
}

/// `GET …/execution`: one of the newest executions, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecutionSummary {
    pub execution_id: i64,
    pub environment_id: i64,
    pub service_id: i64,
    pub runner_id: String,
    pub started_at: DateTime<Utc>,
}

/// `GET …/execution/{executionId}`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecutionDetail {
    #[serde(flatten)]
    pub summary: ExecutionSummary,
    /// As submitted.
    pub client_submission: serde_json::Value,
    /// What was offered.
    pub pipeline: OfferedPipeline,
    /// Additive: why it was offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasons: Option<PlanReasons>,
    /// Additive: fencing number of the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<i64>,
    /// Additive: when the lock of this execution was given back or taken over; absent while it may still run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    /// Additive: facts that the runner gave about itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<RunnerFacts>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OfferedPipeline {
    pub stages: Vec<OfferedStage>,
}
