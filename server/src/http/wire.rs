//! api-types to domain and back: plain functions, each an exhaustive match.

use std::time::Duration;

use flamingock_api_types::execution as wire;
use flamingock_api_types::lock::LockView;
use flamingock_api_types::{ErrorCode, audit, digest, issue};
use flamingock_audit_chain::export::EntryLine;
use flamingock_domain::audit::Resolution;
use flamingock_domain::ids::{ChangeId, Checksum, IdError, StageName};
use flamingock_domain::lock::{self, Lock};
use flamingock_domain::pipeline as domain;
use flamingock_domain::plan::{Action, ChangeStatus, OfferedStage, Plan, PlanAction, StageFinding, Verdict};

use super::problem::Problem;
use super::{reasons, rulings};
use crate::app::Entry;
use crate::app::cursors::Cursors;
use crate::app::plans::Planned;

/// Most changes that one pipeline may have: the cost of a plan is theirs.
pub const MAX_CHANGES: usize = 100_000;

/// A submission, taken apart: either the pipeline or its digest.
pub enum Submitted {
    Pipeline(domain::Pipeline),
    Digest(String),
}

pub fn submission(submission: &wire::Submission) -> Result<Submitted, Problem> {
    match (&submission.blocks, &submission.stages, &submission.digest) {
        (Some(blocks), None, None) => {
            let blocks = blocks
                .iter()
                .enumerate()
                .map(|(at, block)| {
                    Ok(domain::Block {
                        kind: block_type(block.kind),
                        stages: stages(&format!("clientSubmission.blocks[{at}]"), &block.stages)?,
                    })
                })
                .collect::<Result<_, Problem>>()?;
            limited(domain::Pipeline { blocks })
        }
        // Client generation 1.3: flat stages are one block (W §4.3, item 20).
        (None, Some(flat), None) => limited(domain::Pipeline {
            blocks: vec![domain::Block {
                kind: domain::BlockType::Default,
                stages: stages("clientSubmission", flat)?,
            }],
        }),
        (None, None, Some(digest)) => {
            check_digest("clientSubmission.digest", digest)?;
            Ok(Submitted::Digest(digest.clone()))
        }
        _ => Err(Problem::malformed(
            "The field `clientSubmission` must have exactly one of `blocks`, `stages` and `digest`.",
        )),
    }
}

fn limited(pipeline: domain::Pipeline) -> Result<Submitted, Problem> {
    let count = pipeline.changes().count();
    if count > MAX_CHANGES {
        return Err(Problem::malformed(format!(
            "The pipeline has {count} changes; the most that this server plans is {MAX_CHANGES}."
        )));
    }
    Ok(Submitted::Pipeline(pipeline))
}

pub fn check_digest(field: &str, text: &str) -> Result<(), Problem> {
    if digest::is_well_formed(text) {
        Ok(())
    } else {
        Err(Problem::malformed(format!(
            "The field `{field}` must be `{}` and 64 lowercase hex digits.",
            digest::PREFIX
        )))
    }
}

fn stages(path: &str, stages: &[wire::StageSubmission]) -> Result<Vec<domain::Stage>, Problem> {
    stages
        .iter()
        .enumerate()
        .map(|(at, stage)| {
            let path = format!("{path}.stages[{at}]");
            Ok(domain::Stage {
                name: StageName::parse(stage.name.as_str()).map_err(|error| field(&path, "name", error))?,
                reported: stage.status.and_then(stage_status),
                changes: stage
                    .changes
                    .iter()
                    .enumerate()
                    .map(|(at, change)| {
                        Ok(domain::Change {
                            id: ChangeId::parse(change.id.as_str())
                                .map_err(|error| field(&format!("{path}.changes[{at}]"), "id", error))?,
                            mark: mark(change.ongoing_status.unwrap_or_default()),
                            reported: change.current_status.and_then(change_report),
                            transactional: change.transactional.unwrap_or(true),
                            author: change.author.clone(),
                            has_probe: change.has_probe == Some(true),
                            takes_cursor: change.takes_a_cursor(),
                            checksum: change
                                .checksum
                                .as_deref()
                                .map(Checksum::parse)
                                .transpose()
                                .map_err(|error| {
                                    field(&format!("{path}.changes[{at}]"), "checksum", error)
                                })?,
                        })
                    })
                    .collect::<Result<_, Problem>>()?,
            })
        })
        .collect()
}

fn field(path: &str, name: &str, error: IdError) -> Problem {
    Problem::malformed(format!("The field `{path}.{name}` {error}."))
}

fn block_type(kind: wire::BlockType) -> domain::BlockType {
    match kind {
        wire::BlockType::System => domain::BlockType::System,
        wire::BlockType::Legacy => domain::BlockType::Legacy,
        wire::BlockType::Default => domain::BlockType::Default,
    }
}

fn stage_status(status: wire::StageStatus) -> Option<domain::ReportedStage> {
    match status {
        wire::StageStatus::NotStarted => None,
        wire::StageStatus::Started => Some(domain::ReportedStage::Started),
        wire::StageStatus::Completed => Some(domain::ReportedStage::Completed),
        wire::StageStatus::Failed => Some(domain::ReportedStage::Failed),
        wire::StageStatus::BlockedManualIntervention => Some(domain::ReportedStage::Blocked),
    }
}

fn change_report(report: wire::ChangeStatusReport) -> Option<domain::ReportedChange> {
    match report {
        wire::ChangeStatusReport::NotReached => None,
        wire::ChangeStatusReport::Applied => Some(domain::ReportedChange::Applied),
        wire::ChangeStatusReport::AlreadyApplied => Some(domain::ReportedChange::AlreadyApplied),
        wire::ChangeStatusReport::Failed => Some(domain::ReportedChange::Failed),
        wire::ChangeStatusReport::RolledBack => Some(domain::ReportedChange::RolledBack),
    }
}

fn mark(mark: wire::MarkStatus) -> domain::Mark {
    match mark {
        wire::MarkStatus::None => domain::Mark::None,
        wire::MarkStatus::Applied => domain::Mark::Applied,
        wire::MarkStatus::RolledBack => domain::Mark::RolledBack,
    }
}

/// An id that may have been lost on its way: the Java client sends Latin-1, where everything else becomes `?`. What we
/// would answer then matches nothing there, and the change is silently skipped (W 6.1).
pub fn refuse_damaged(pipeline: &domain::Pipeline) -> Result<(), Problem> {
    let damaged: Vec<String> = pipeline
        .stages()
        .map(|stage| stage.name.as_str())
        .chain(pipeline.changes().map(|change| change.id.as_str()))
        .filter(|text| text.contains('?'))
        .take(10)
        .map(str::to_owned)
        .collect();
    if damaged.is_empty() {
        return Ok(());
    }
    Err(Problem::new(
        ErrorCode::TextDamaged,
        format!(
            "Ids or stage names hold '?': {}. Without a declared charset these may be characters outside Latin-1 that \
             were lost on the way, and the change would be skipped silently. Use ids that Latin-1 can spell.",
            damaged.join(", ")
        ),
    )
    .with_details(damaged))
}

/// Milliseconds of a lease, clamped to what is granted.
pub fn lease(millis: Option<i64>) -> Duration {
    let asked = millis.unwrap_or(60_000);
    lock::clamp_lease(Duration::from_millis(u64::try_from(asked).unwrap_or(0)))
}

pub fn lock_view(lock: &Lock) -> Option<LockView> {
    let lease = lock.lease.as_ref()?;
    Some(LockView {
        key: lock.key.to_string(),
        owner: lease.owner.to_string(),
        acquisition_id: lease.acquisition_id.to_string(),
        acquired_for_millis: millis(lease.length),
        fence: Some(lock.fence),
        expires_at: chrono::DateTime::from_timestamp_micros(lease.expires_at.as_micros()),
    })
}

pub fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// The planner's decision, as its runner reads it.
pub fn plan_response(planned: &Planned) -> wire::PlanResponse {
    let plan = &planned.plan;
    let (action, stages, with_result) = match &plan.action {
        PlanAction::Continue => (wire::PlanAction::Continue, None, true),
        PlanAction::Execute { stages, .. } => (
            wire::PlanAction::Execute,
            Some(offered(stages, &planned.cursors)),
            true,
        ),
        PlanAction::Await { .. } => (wire::PlanAction::Await, None, false),
        PlanAction::Abort => (wire::PlanAction::Abort, None, false),
    };
    wire::PlanResponse {
        action,
        execution_id: planned.execution.map(|id| id.0),
        lock: planned.lock.as_ref().and_then(lock_view),
        stages,
        pipeline_result: with_result.then(|| pipeline_result(&plan.findings)),
        synchronized_marks: plan.synchronized_marks,
        reasons: Some(wire::PlanReasons {
            policy: planned.warnings.iter().map(rulings::finding).collect(),
            ..reasons::of(plan)
        }),
        certificate: None,
    }
}

/// Whether a failure of the change voids its cursor: its rollback undoes what the cursor counts. A client that does not say
/// whether there is a rollback may have one.
pub fn failure_voids_cursor(submission: &wire::Submission, change: &ChangeId) -> bool {
    let blocks = submission.blocks.iter().flatten().flat_map(|block| &block.stages);
    let stages = blocks.chain(submission.stages.iter().flatten());
    let mut submitted = stages.flat_map(|stage| &stage.changes);
    submitted
        .find(|submitted| submitted.id == change.as_str())
        .is_none_or(|submitted| {
            submitted.has_rollback != Some(false) && submitted.cursor_outlives_failure != Some(true)
        })
}

/// Whether nothing is left to do by the audit's own word, and not for what the runner says of this run.
pub fn is_fully_applied(plan: &Plan) -> bool {
    matches!(plan.action, PlanAction::Continue)
        && plan
            .findings
            .iter()
            .all(|stage| stage.verdict == Verdict::UpToDate)
}

/// What is kept in an execution's row.
pub fn recorded_plan(plan: &Plan, cursors: &Cursors) -> RecordedPlan {
    let stages = match &plan.action {
        PlanAction::Execute { stages, .. } => offered(stages, cursors),
        PlanAction::Continue | PlanAction::Await { .. } | PlanAction::Abort => Vec::new(),
    };
    RecordedPlan {
        stages,
        reasons: Some(reasons::of(plan)),
    }
}

/// The JSON in `executions.plan`.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct RecordedPlan {
    pub stages: Vec<wire::OfferedStage>,
    #[serde(default)]
    pub reasons: Option<wire::PlanReasons>,
}

fn offered(stages: &[OfferedStage], cursors: &Cursors) -> Vec<wire::OfferedStage> {
    stages
        .iter()
        .map(|stage| wire::OfferedStage {
            name: stage.name.to_string(),
            order: i64::try_from(stage.order).unwrap_or(i64::MAX),
            changes: stage
                .changes
                .iter()
                .map(|(id, action)| wire::OfferedChange {
                    id: id.to_string(),
                    action: change_action(*action),
                    expected_seq: match action {
                        Action::Probe { about } => Some(*about),
                        Action::Apply | Action::Skip | Action::ManualIntervention | Action::Withhold => None,
                    },
                    cursor: cursors.get(id).cloned(),
                })
                .collect(),
        })
        .collect()
}

fn change_action(action: Action) -> wire::ChangeAction {
    match action {
        Action::Apply => wire::ChangeAction::Apply,
        // Never inside an offered stage; if it ever were, skipping is the answer that runs nothing.
        Action::Skip | Action::Withhold => wire::ChangeAction::Skip,
        Action::ManualIntervention => wire::ChangeAction::ManualIntervention,
        Action::Probe { .. } => wire::ChangeAction::Probe,
    }
}

fn pipeline_result(findings: &[StageFinding]) -> wire::PipelineResult {
    wire::PipelineResult {
        stages: findings
            .iter()
            .map(|stage| wire::StageResult {
                name: stage.name.to_string(),
                verdict: match stage.verdict {
                    Verdict::NeedsWork => wire::Verdict::NeedsWork,
                    Verdict::UpToDate => wire::Verdict::UpToDate,
                },
                changes: stage
                    .changes
                    .iter()
                    .map(|change| wire::ChangeResult {
                        id: change.id.to_string(),
                        status: match change.status {
                            ChangeStatus::NotReached => wire::ChangeStatus::NotReached,
                            ChangeStatus::Applied => wire::ChangeStatus::Applied,
                            ChangeStatus::AlreadyApplied => wire::ChangeStatus::AlreadyApplied,
                            ChangeStatus::Failed => wire::ChangeStatus::Failed,
                            ChangeStatus::RolledBack => wire::ChangeStatus::RolledBack,
                        },
                    })
                    .collect(),
            })
            .collect(),
    }
}

pub fn audit_entry(entry: Entry) -> audit::AuditEntryView {
    let hex = |hash: &[u8; 32]| data_encoding::HEXLOWER.encode(hash);
    let fact = entry.fact;
    audit::AuditEntryView {
        seq: entry.seq,
        environment_id: entry.scope.environment_id,
        service_id: entry.scope.service_id,
        change_id: fact.change_id,
        state: fact.state,
        source: entry.source_text.to_string(),
        late: entry.late,
        execution_id: fact.execution_ref,
        stage_id: fact.stage_id,
        author: fact.author,
        applied_at_epoch_millis: fact.applied_at_ms,
        received_at: entry.received_at,
        class_name: fact.class_name,
        method_name: fact.method_name,
        metadata: fact
            .metadata
            .map(|text| serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))),
        execution_millis: fact.execution_millis,
        execution_hostname: fact.execution_hostname,
        error_trace: fact.error_trace,
        change_type: fact.change_type,
        tx_strategy: fact.tx_strategy,
        target_system_id: fact.target_system_id,
        order: fact.change_order,
        recovery_strategy: fact.recovery_strategy,
        transaction_flag: fact.transaction_flag,
        system_change: fact.system_change,
        runner_id: fact.runner_id,
        fence: fact.fence,
        actor: fact.actor,
        note: fact.note,
        prev_hash: hex(&entry.prev_hash),
        hash: hex(&entry.hash),
    }
}

/// An entry with every field as it was hashed.
pub fn proof_line(entry: Entry) -> EntryLine {
    let hex = |hash: &[u8; 32]| data_encoding::HEXLOWER.encode(hash);
    let fact = entry.fact;
    EntryLine {
        canonical: 1,
        seq: entry.seq,
        environment_id: entry.scope.environment_id,
        service_id: entry.scope.service_id,
        change_id: fact.change_id,
        state: fact.state,
        source: entry.source_text.to_string(),
        late: entry.late,
        execution_id: fact.execution_ref,
        stage_id: fact.stage_id,
        author: fact.author,
        applied_at_epoch_millis: fact.applied_at_ms,
        received_at: entry.received_at,
        class_name: fact.class_name,
        method_name: fact.method_name,
        metadata_text: fact.metadata,
        execution_millis: fact.execution_millis,
        execution_hostname: fact.execution_hostname,
        error_trace: fact.error_trace,
        change_type: fact.change_type,
        tx_strategy: fact.tx_strategy,
        target_system_id: fact.target_system_id,
        order: fact.change_order,
        recovery_strategy: fact.recovery_strategy,
        transaction_flag: fact.transaction_flag,
        system_change: fact.system_change,
        runner_id: fact.runner_id,
        fence: fact.fence,
        actor: fact.actor,
        note: fact.note,
        prev_hash: hex(&entry.prev_hash),
        hash: hex(&entry.hash),
    }
}

pub fn resolution(kind: issue::ResolutionKind) -> Resolution {
    match kind {
        issue::ResolutionKind::Applied => Resolution::Applied,
        issue::ResolutionKind::RolledBack => Resolution::RolledBack,
    }
}
