//! What is known of every stage and change in this run.
//!
//! Two write here. The executor records what it did; the plan may only fill in what was applied before, where the
//! executor has recorded nothing.

use std::{collections::HashSet, time::Duration};

use chrono::{DateTime, Utc};
use flamingock_api_types::execution::{
    BlockSubmission, ChangeStatus as WireChangeStatus, ChangeStatusReport, ChangeSubmission, MarkStatus,
    PipelineResult, StageStatus, StageSubmission, Verdict as WireVerdict,
};
use tokio::time::Instant;

use crate::{
    report::{ChangeReport, ChangeStatus, ErrorReport, Report, StageReport, StageState, Verdict, millis},
    stage::{LoadedChange, Stage},
    start_error::StartErrorKind,
};

pub(crate) struct RunRecord<'a> {
    stages: &'a [Stage],
    records: Vec<StageRecord>,
    /// The server has said something about the pipeline in this run.
    #[cfg(feature = "certificate")]
    heard: std::sync::atomic::AtomicBool,
    /// What it handed out with the last word.
    #[cfg(feature = "certificate")]
    certificate: std::sync::Mutex<Option<flamingock_api_types::certificate::SignedCertificate>>,
    /// What the run leans on instead of the server.
    #[cfg(feature = "certificate")]
    certified: Option<crate::report::CertifiedStart>,
    /// Ids of the changes whose probe was asked in this run.
    probed: HashSet<String>,
    start_time: DateTime<Utc>,
    began: Instant,
}

#[derive(Default)]
pub(super) struct StageRecord {
    pub(super) state: StageState,
    pub(super) verdict: Verdict,
    pub(super) duration: Duration,
    pub(super) changes: Vec<ChangeRecord>,
    pub(super) error: Option<ErrorReport>,
}

#[derive(Clone, Default)]
pub(super) struct ChangeRecord {
    pub(super) status: ChangeStatus,
    pub(super) duration: Duration,
    pub(super) error: Option<ErrorReport>,
}

impl<'a> RunRecord<'a> {
    pub(crate) fn new(stages: &'a [Stage]) -> Self {
        let records = stages.iter().map(|stage| StageRecord {
            changes: vec![ChangeRecord::default(); stage.changes.len()],
            ..StageRecord::default()
        });
        Self {
            stages,
            records: records.collect(),
            #[cfg(feature = "certificate")]
            heard: std::sync::atomic::AtomicBool::new(false),
            #[cfg(feature = "certificate")]
            certificate: std::sync::Mutex::new(None),
            #[cfg(feature = "certificate")]
            certified: None,
            probed: HashSet::new(),
            start_time: Utc::now(),
            began: Instant::now(),
        }
    }

    pub(super) fn stages(&self) -> &'a [Stage] {
        self.stages
    }

    pub(super) fn stage(&mut self, index: usize) -> &mut StageRecord {
        &mut self.records[index]
    }

    /// What the change depends on and is not applied: neither before nor in this run.
    pub(super) fn unmet_dependency<'c>(&self, change: &'c LoadedChange) -> Option<&'c str> {
        let is_applied = |id: &str| {
            let all = self.stages.iter().zip(&self.records);
            let mut changes = all.flat_map(|(stage, record)| stage.changes.iter().zip(&record.changes));
            let found = changes.find(|(change, _)| change.info.id() == id);
            found.is_some_and(|(_, record)| {
                matches!(
                    record.status,
                    ChangeStatus::Applied | ChangeStatus::AlreadyApplied
                )
            })
        };
        let ids = change.info.depends_on.iter().map(AsRef::as_ref);
        ids.into_iter().find(|id| !is_applied(id))
    }

    pub(super) fn is_started(&self, index: usize) -> bool {
        self.records[index].state != StageState::NotStarted
    }

    pub(super) fn was_probed(&self, change: &str) -> bool {
        self.probed.contains(change)
    }

    pub(super) fn note_probed(&mut self, change: &str) {
        self.probed.insert(change.to_owned());
    }

    /// The pipeline as submitted: what it is, what marks were found, what happened in this run so far.
    pub(super) fn submission(&self, mark_of: impl Fn(&str) -> MarkStatus) -> Vec<BlockSubmission> {
        let mut blocks: Vec<BlockSubmission> = Vec::new();
        for (position, (stage, record)) in self.stages.iter().zip(&self.records).enumerate() {
            let kind = stage.kind.into();
            if blocks.last().is_none_or(|block| block.kind != kind) {
                blocks.push(BlockSubmission {
                    kind,
                    stages: Vec::new(),
                });
            }
            let block = blocks.last_mut().expect("pushed if there was none");
            let changes = stage.changes.iter().zip(&record.changes);
            block.stages.push(StageSubmission {
                name: stage.name.to_string(),
                order: i64::try_from(position).ok(),
                status: wire_state(record.state),
                changes: changes
                    .map(|(change, record)| submitted(change, record, mark_of(change.info.id())))
                    .collect(),
            });
        }
        blocks
    }

    /// Takes in what the server knows of the pipeline. Fails on a stage that was never submitted.
    pub(super) fn merge(&mut self, result: &PipelineResult) -> Result<(), StartErrorKind> {
        for known in &result.stages {
            let Some(index) = self.stages.iter().position(|stage| stage.name == known.name) else {
                return Err(StartErrorKind::Protocol(format!(
                    "it judges an unknown stage `{}`",
                    known.name
                )));
            };
            let record = &mut self.records[index];
            let verdict = match known.verdict {
                WireVerdict::UpToDate => Verdict::UpToDate,
                WireVerdict::NeedsWork => Verdict::NeedsWork,
                WireVerdict::NotEvaluated | WireVerdict::Unknown => Verdict::NotEvaluated,
            };
            record.verdict = record.verdict.max(verdict);
            for (change, record) in self.stages[index].changes.iter().zip(&mut record.changes) {
                let applied = known.changes.iter().any(|known| {
                    known.id == change.info.id && known.status == WireChangeStatus::AlreadyApplied
                });
                if applied && record.status == ChangeStatus::NotReached {
                    record.status = ChangeStatus::AlreadyApplied;
                }
            }
        }
        Ok(())
    }

    /// The server knows this very pipeline as applied.
    pub(super) fn everything_was_applied(&mut self) {
        for index in 0..self.records.len() {
            self.was_applied(index);
        }
    }

    /// Nothing is left to do, says the server. What it did not mention was applied before; what it mentions as
    /// pending contradicts it, and an application must not start on a contradiction.
    pub(super) fn finish(&mut self, result: &PipelineResult) -> Result<(), StartErrorKind> {
        self.merge(result)?;
        if self.failure().is_some() {
            return Ok(());
        }
        for index in 0..self.records.len() {
            let stage = &self.stages[index];
            if !result.stages.iter().any(|known| known.name == stage.name) {
                self.was_applied(index);
            }
            let pending = self.records[index]
                .changes
                .iter()
                .position(|change| change.status == ChangeStatus::NotReached);
            if let Some(pending) = pending {
                return Err(StartErrorKind::Protocol(format!(
                    "nothing is left to do, it says, but `{}` is not applied",
                    stage.changes[pending].info.id
                )));
            }
        }
        Ok(())
    }

    fn was_applied(&mut self, index: usize) {
        let record = &mut self.records[index];
        record.verdict = Verdict::UpToDate;
        for change in record
            .changes
            .iter_mut()
            .filter(|change| change.status == ChangeStatus::NotReached)
        {
            change.status = ChangeStatus::AlreadyApplied;
        }
    }

    /// Nothing is left to do.
    pub(super) fn is_all_applied(&self) -> bool {
        let mut changes = self.records.iter().flat_map(|record| &record.changes);
        changes.all(|change| {
            matches!(
                change.status,
                ChangeStatus::Applied | ChangeStatus::AlreadyApplied
            )
        })
    }

    /// Why the run as a whole has failed, if a stage has.
    pub(crate) fn failure(&self) -> Option<StartErrorKind> {
        let failed = |state| self.records.iter().filter(move |record| record.state == state);
        if failed(StageState::Failed).next().is_some() {
            return Some(StartErrorKind::ChangesFailed);
        }
        let change_ids: Vec<_> = failed(StageState::BlockedManualIntervention)
            .filter_map(|record| record.error.as_ref())
            .flat_map(|error| error.change_ids.iter().cloned())
            .collect();
        (!change_ids.is_empty()).then_some(StartErrorKind::ManualIntervention { change_ids })
    }

    pub(crate) fn report(&self, error: Option<ErrorReport>) -> Report {
        let stages = self
            .stages
            .iter()
            .zip(&self.records)
            .map(|(stage, record)| StageReport {
                name: stage.name.to_string(),
                state: record.state,
                verdict: record.verdict,
                duration_ms: millis(record.duration),
                changes: stage.changes.iter().zip(&record.changes).map(reported).collect(),
                error: record.error.clone(),
            });
        let report = Report::new(self.start_time, self.began.elapsed(), stages.collect(), error);
        #[cfg(feature = "certificate")]
        if let Some(certified) = &self.certified {
            return report.by_certificate(certified.clone());
        }
        report
    }
}

#[cfg(feature = "certificate")]
impl RunRecord<'_> {
    pub(super) fn note_heard(&self) {
        self.heard.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    pub(super) fn was_heard(&self) -> bool {
        self.heard.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(super) fn note_certificate(
        &self,
        certificate: Option<flamingock_api_types::certificate::SignedCertificate>,
    ) {
        *self
            .certificate
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = certificate;
    }

    pub(super) fn take_certificate(&self) -> Option<flamingock_api_types::certificate::SignedCertificate> {
        self.certificate
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take()
    }

    /// By a certificate everything was applied.
    pub(super) fn is_certified(&mut self, certified: crate::report::CertifiedStart) {
        self.everything_was_applied();
        self.certified = Some(certified);
    }
}

fn reported((change, record): (&LoadedChange, &ChangeRecord)) -> ChangeReport {
    ChangeReport {
        change_id: change.info.id().to_owned(),
        author: change.info.author.to_string(),
        target_system_id: change.info.target().to_owned(),
        status: record.status,
        duration_ms: millis(record.duration),
        error: record.error.clone(),
    }
}

fn submitted(change: &LoadedChange, record: &ChangeRecord, mark: MarkStatus) -> ChangeSubmission {
    let info = &change.info;
    ChangeSubmission {
        id: info.id().to_owned(),
        ongoing_status: Some(mark),
        current_status: match record.status {
            ChangeStatus::NotReached => None,
            ChangeStatus::Applied => Some(ChangeStatusReport::Applied),
            ChangeStatus::AlreadyApplied => Some(ChangeStatusReport::AlreadyApplied),
            ChangeStatus::Failed => Some(ChangeStatusReport::Failed),
            ChangeStatus::RolledBack => Some(ChangeStatusReport::RolledBack),
        },
        transactional: Some(info.is_transactional()),
        order: Some(info.order().to_owned()),
        author: Some(info.author.to_string()),
        target_system_id: Some(info.target().to_owned()),
        recovery_strategy: Some(info.recovery.into()),
        has_rollback: Some(info.has_rollback),
        cursor_outlives_failure: info.keeps_steps.then_some(true),
        takes_cursor: change.takes_cursor.then_some(true),
        has_probe: info.has_probe.then_some(true),
        checksum: change.checksum.clone(),
        depends_on: (!info.depends_on.is_empty())
            .then(|| info.depends_on.iter().map(ToString::to_string).collect()),
    }
}

fn wire_state(state: StageState) -> Option<StageStatus> {
    match state {
        StageState::NotStarted => None,
        StageState::Completed => Some(StageStatus::Completed),
        StageState::Failed => Some(StageStatus::Failed),
        StageState::BlockedManualIntervention => Some(StageStatus::BlockedManualIntervention),
    }
}
