//! The wire's types to the domain's and back, as the server converts them.

use std::collections::HashMap;

use flamingock_api_types::{
    ErrorCode, audit as wire_audit, digest, execution as wire, lock::LockView, policy::PolicyMode,
};
use flamingock_domain::{
    audit::{AuditState, RecoveryStrategy, TxStrategy},
    ids::{ChangeId, Checksum, ExecutionId, IdError, RunnerId, StageName},
    lock::Lock,
    pipeline::{Block, BlockType, Change, Mark, Pipeline, ReportedChange, ReportedStage, Stage},
    plan::{
        Action, ChangeStatus, OfferedStage, Plan, PlanAction, StageFinding, Verdict,
        policy::{Finding, Mode},
    },
};
use flamingock_wording::{reasons, rulings};

use super::ledger::Refusal;

pub(super) fn runner(id: &str) -> RunnerId {
    RunnerId::parse(id).expect("a runner of the testing kit has a plain name")
}

pub(super) fn check_digest(text: &str) -> Result<(), Refusal> {
    if digest::is_well_formed(text) {
        return Ok(());
    }
    let text = format!("A digest is `{}` and 64 lowercase hex digits.", digest::PREFIX);
    Err(Refusal::new(ErrorCode::RequestMalformed, text))
}

pub(super) fn pipeline(submission: &wire::Submission) -> Result<Pipeline, Refusal> {
    let blocks = match (&submission.blocks, &submission.stages) {
        (Some(blocks), None) => blocks
            .iter()
            .map(|block| {
                Ok(Block {
                    kind: match block.kind {
                        wire::BlockType::System => BlockType::System,
                        wire::BlockType::Legacy => BlockType::Legacy,
                        wire::BlockType::Default => BlockType::Default,
                    },
                    stages: stages(&block.stages)?,
                })
            })
            .collect::<Result<_, Refusal>>()?,
        (None, Some(flat)) => vec![Block {
            kind: BlockType::Default,
            stages: stages(flat)?,
        }],
        _ => {
            let text = "`clientSubmission` must have exactly one of `blocks`, `stages` and `digest`.";
            return Err(Refusal::new(ErrorCode::RequestMalformed, text));
        }
    };
    Ok(Pipeline { blocks })
}

fn stages(submitted: &[wire::StageSubmission]) -> Result<Vec<Stage>, Refusal> {
    let stage = |stage: &wire::StageSubmission| {
        Ok(Stage {
            name: StageName::parse(stage.name.as_str()).map_err(malformed)?,
            reported: stage.status.and_then(|status| match status {
                wire::StageStatus::NotStarted => None,
                wire::StageStatus::Started => Some(ReportedStage::Started),
                wire::StageStatus::Completed => Some(ReportedStage::Completed),
                wire::StageStatus::Failed => Some(ReportedStage::Failed),
                wire::StageStatus::BlockedManualIntervention => Some(ReportedStage::Blocked),
            }),
            changes: stage.changes.iter().map(change).collect::<Result<_, _>>()?,
        })
    };
    submitted.iter().map(stage).collect()
}

fn change(change: &wire::ChangeSubmission) -> Result<Change, Refusal> {
    let checksum = change.checksum.as_deref().map(Checksum::parse).transpose();
    Ok(Change {
        id: ChangeId::parse(change.id.as_str()).map_err(malformed)?,
        mark: match change.ongoing_status.unwrap_or_default() {
            wire::MarkStatus::None => Mark::None,
            wire::MarkStatus::Applied => Mark::Applied,
            wire::MarkStatus::RolledBack => Mark::RolledBack,
        },
        reported: change.current_status.and_then(|report| match report {
            wire::ChangeStatusReport::NotReached => None,
            wire::ChangeStatusReport::Applied => Some(ReportedChange::Applied),
            wire::ChangeStatusReport::AlreadyApplied => Some(ReportedChange::AlreadyApplied),
            wire::ChangeStatusReport::Failed => Some(ReportedChange::Failed),
            wire::ChangeStatusReport::RolledBack => Some(ReportedChange::RolledBack),
        }),
        transactional: change.transactional.unwrap_or(true),
        author: change.author.clone(),
        has_probe: change.has_probe.unwrap_or(false),
        takes_cursor: change.takes_a_cursor(),
        checksum: checksum.map_err(malformed)?,
    })
}

pub(super) fn malformed(error: IdError) -> Refusal {
    Refusal::new(ErrorCode::RequestMalformed, format!("An id {error}."))
}

pub(super) fn audit_state(state: wire_audit::AuditState) -> AuditState {
    use wire_audit::AuditState as W;
    match state {
        W::Started => AuditState::Started,
        W::Applied => AuditState::Applied,
        W::Failed => AuditState::Failed,
        W::RolledBack => AuditState::RolledBack,
        W::RollbackFailed => AuditState::RollbackFailed,
        W::ManualMarkedAsApplied => AuditState::MarkedApplied,
        W::ManualMarkedAsRolledBack => AuditState::MarkedRolledBack,
        W::Unknown => AuditState::Unknown,
    }
}

pub(super) fn wire_state(state: AuditState) -> wire_audit::AuditState {
    use wire_audit::AuditState as W;
    match state {
        AuditState::Started => W::Started,
        AuditState::Applied => W::Applied,
        AuditState::Failed => W::Failed,
        AuditState::RolledBack => W::RolledBack,
        AuditState::RollbackFailed => W::RollbackFailed,
        AuditState::MarkedApplied => W::ManualMarkedAsApplied,
        AuditState::MarkedRolledBack => W::ManualMarkedAsRolledBack,
        AuditState::Unknown => W::Unknown,
    }
}

pub(super) fn tx_strategy(strategy: wire_audit::TxStrategy) -> TxStrategy {
    use wire_audit::TxStrategy as W;
    match strategy {
        W::TxShared => TxStrategy::Shared,
        W::TxSeparateWithMarker => TxStrategy::WithMarker,
        W::TxSeparateNoMarker => TxStrategy::NoMarker,
        W::NonTx | W::Unknown => TxStrategy::NonTx,
    }
}

pub(super) fn recovery(strategy: wire::RecoveryStrategy) -> RecoveryStrategy {
    match strategy {
        wire::RecoveryStrategy::AlwaysRetry => RecoveryStrategy::AlwaysRetry,
        wire::RecoveryStrategy::ManualIntervention => RecoveryStrategy::ManualIntervention,
    }
}

pub(super) fn mode(mode: PolicyMode) -> Mode {
    match mode {
        PolicyMode::Allow => Mode::Allow,
        PolicyMode::Warn => Mode::Warn,
        PolicyMode::Refuse => Mode::Refuse,
    }
}

pub(super) fn lock_view(lock: &Lock) -> Option<LockView> {
    let lease = lock.lease.as_ref()?;
    Some(LockView {
        key: lock.key.to_string(),
        owner: lease.owner.to_string(),
        acquisition_id: lease.acquisition_id.to_string(),
        acquired_for_millis: i64::try_from(lease.length.as_millis()).unwrap_or(i64::MAX),
        fence: Some(lock.fence),
        expires_at: None,
    })
}

pub(super) fn plain_continue() -> wire::PlanResponse {
    wire::PlanResponse {
        action: wire::PlanAction::Continue,
        execution_id: None,
        lock: None,
        stages: None,
        pipeline_result: None,
        synchronized_marks: false,
        reasons: None,
        certificate: None,
    }
}

pub(super) fn plan(
    plan: &Plan,
    execution: Option<ExecutionId>,
    lock: Option<LockView>,
    cursors: &HashMap<ChangeId, String>,
    warnings: &[Finding],
) -> wire::PlanResponse {
    let (action, stages, has_result) = match &plan.action {
        PlanAction::Continue => (wire::PlanAction::Continue, None, true),
        PlanAction::Execute { stages, .. } => {
            (wire::PlanAction::Execute, Some(offered(stages, cursors)), true)
        }
        PlanAction::Await { .. } => (wire::PlanAction::Await, None, false),
        PlanAction::Abort => (wire::PlanAction::Abort, None, false),
    };
    wire::PlanResponse {
        action,
        execution_id: execution.map(|id| id.0),
        lock,
        stages,
        pipeline_result: has_result.then(|| result(&plan.findings)),
        synchronized_marks: plan.synchronized_marks,
        reasons: Some(wire::PlanReasons {
            policy: warnings.iter().map(rulings::finding).collect(),
            ..reasons::of(plan)
        }),
        certificate: None,
    }
}

fn offered(stages: &[OfferedStage], cursors: &HashMap<ChangeId, String>) -> Vec<wire::OfferedStage> {
    let change = |(id, action): &(ChangeId, Action)| wire::OfferedChange {
        id: id.to_string(),
        action: match action {
            Action::Apply => wire::ChangeAction::Apply,
            Action::Skip | Action::Withhold => wire::ChangeAction::Skip,
            Action::ManualIntervention => wire::ChangeAction::ManualIntervention,
            Action::Probe { .. } => wire::ChangeAction::Probe,
        },
        cursor: cursors.get(id).cloned(),
        expected_seq: match action {
            Action::Probe { about } => Some(*about),
            Action::Apply | Action::Skip | Action::ManualIntervention | Action::Withhold => None,
        },
    };
    let stage = |stage: &OfferedStage| wire::OfferedStage {
        name: stage.name.to_string(),
        order: i64::try_from(stage.order).unwrap_or(i64::MAX),
        changes: stage.changes.iter().map(change).collect(),
    };
    stages.iter().map(stage).collect()
}

fn result(findings: &[StageFinding]) -> wire::PipelineResult {
    let status = |status| match status {
        ChangeStatus::NotReached => wire::ChangeStatus::NotReached,
        ChangeStatus::Applied => wire::ChangeStatus::Applied,
        ChangeStatus::AlreadyApplied => wire::ChangeStatus::AlreadyApplied,
        ChangeStatus::Failed => wire::ChangeStatus::Failed,
        ChangeStatus::RolledBack => wire::ChangeStatus::RolledBack,
    };
    let stage = |stage: &StageFinding| wire::StageResult {
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
                status: status(change.status),
            })
            .collect(),
    };
    wire::PipelineResult {
        stages: findings.iter().map(stage).collect(),
    }
}
