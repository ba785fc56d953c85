//! What a run did, as a value, as one line and as a block for the log.
//!
//! Two invariants hold for every report: the four counters of changes add up to `total_changes`, those of stages to
//! `total_stages`. Totals count the whole pipeline, not only what ran.

use std::fmt::{self, Write as _};

use chrono::{DateTime, Utc};
use serde::Serialize;

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Report {
    /// How it went as a whole.
    pub status: RunStatus,
    /// When it began.
    pub start_time: DateTime<Utc>,
    /// When it ended.
    pub end_time: DateTime<Utc>,
    /// How long it took, waiting for the lock included.
    pub total_duration_ms: u64,
    /// All stages.
    pub total_stages: usize,
    /// Stages that had nothing to do.
    pub up_to_date_stages: usize,
    /// Stages that were not begun and have, or may have, something to do.
    pub not_reached_stages: usize,
    /// Stages that ran to their end.
    pub completed_stages: usize,
    /// Stages that failed or wait for a person.
    pub failed_stages: usize,
    /// All changes.
    pub total_changes: usize,
    /// Applied by this run.
    pub applied_changes: usize,
    /// Applied before.
    pub already_applied_changes: usize,
    /// Failed, rolled back or not.
    pub failed_changes: usize,
    /// Not run.
    pub not_reached_changes: usize,
    /// Each stage, in order.
    pub stages: Vec<StageReport>,
    /// What the application starts by, where the server could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertifiedStart>,
    /// Why the run ended before its end, where that was not a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
}

/// How a run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum RunStatus {
    /// Something was applied, nothing failed.
    Success,
    /// There was nothing to do.
    NoChanges,
    /// The server could not be reached. By what it signed before, there was nothing to do for this very pipeline; what
    /// happened since is not known.
    Certified,
    /// Something failed.
    Failed,
}

/// The certificate that a start leaned on, because the server could not be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CertifiedStart {
    /// When the server signed it.
    pub issued_at: DateTime<Utc>,
    /// Until when it allows a start.
    pub expires_at: DateTime<Utc>,
    /// Position of the newest audit entry that it knows.
    pub head_seq: i64,
    /// Which of the server's keys signed it.
    pub key_id: String,
}

/// What happened to one stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct StageReport {
    /// Its name.
    pub name: String,
    /// How far it got.
    pub state: StageState,
    /// What the server found.
    pub verdict: Verdict,
    /// How long it took.
    pub duration_ms: u64,
    /// Each change, in order.
    pub changes: Vec<ChangeReport>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
}

/// How far a stage got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum StageState {
    /// Not begun.
    #[default]
    NotStarted,
    /// Ran to its end.
    Completed,
    /// A change failed, or the stage had to stop.
    Failed,
    /// Not begun, because a person has to decide about one of its changes first.
    BlockedManualIntervention,
}

/// What the server found about a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum Verdict {
    /// Nothing yet.
    #[default]
    NotEvaluated,
    /// Something is pending.
    NeedsWork,
    /// Every change is applied.
    UpToDate,
}

/// What happened to one change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ChangeReport {
    /// Its id.
    pub change_id: String,
    /// Who wrote it.
    pub author: String,
    /// The target system.
    pub target_system_id: String,
    /// What became of it.
    pub status: ChangeStatus,
    /// How long it took, its audit entries included.
    pub duration_ms: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum ChangeStatus {
    /// Not run.
    #[default]
    NotReached,
    /// Applied by this run.
    Applied,
    /// Applied before.
    AlreadyApplied,
    /// Failed.
    Failed,
    /// Failed, and its transaction left nothing.
    RolledBack,
}

/// What went wrong, for a program and for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ErrorReport {
    /// The error's type, or a name in capitals for what the SDK found, such as `AUDIT_WRITE_FAILED`.
    pub error_type: String,
    /// What happened.
    pub message: String,
    /// The changes concerned.
    pub change_ids: Vec<String>,
}

impl ErrorReport {
    pub(crate) fn new(
        error_type: impl Into<String>,
        message: impl Into<String>,
        change_ids: Vec<String>,
    ) -> Self {
        Self {
            error_type: error_type.into(),
            message: message.into(),
            change_ids,
        }
    }
}

impl Report {
    /// Counts what there is.
    pub(crate) fn new(
        start_time: DateTime<Utc>,
        duration: std::time::Duration,
        stages: Vec<StageReport>,
        error: Option<ErrorReport>,
    ) -> Self {
        let count_stages =
            |wanted: fn(&StageReport) -> bool| stages.iter().filter(|stage| wanted(stage)).count();
        let changes = || stages.iter().flat_map(|stage| &stage.changes);
        let count_changes =
            |wanted: &[ChangeStatus]| changes().filter(|change| wanted.contains(&change.status)).count();
        let failed_stages = count_stages(StageReport::is_failed);
        let applied_changes = count_changes(&[ChangeStatus::Applied]);
        let failed_changes = count_changes(&[ChangeStatus::Failed, ChangeStatus::RolledBack]);
        let status = if error.is_some() || failed_stages > 0 || failed_changes > 0 {
            RunStatus::Failed
        } else if applied_changes == 0 {
            RunStatus::NoChanges
        } else {
            RunStatus::Success
        };
        Self {
            status,
            start_time,
            end_time: start_time + duration,
            total_duration_ms: millis(duration),
            total_stages: stages.len(),
            up_to_date_stages: count_stages(StageReport::is_up_to_date),
            not_reached_stages: count_stages(|stage| {
                stage.state == StageState::NotStarted && !stage.is_up_to_date()
            }),
            completed_stages: count_stages(|stage| stage.state == StageState::Completed),
            failed_stages,
            total_changes: changes().count(),
            applied_changes,
            already_applied_changes: count_changes(&[ChangeStatus::AlreadyApplied]),
            failed_changes,
            not_reached_changes: count_changes(&[ChangeStatus::NotReached]),
            stages,
            certificate: None,
            error,
        }
    }

    /// The same, of a run that could not ask the server.
    #[cfg(feature = "certificate")]
    pub(crate) fn by_certificate(mut self, certificate: CertifiedStart) -> Self {
        self.status = RunStatus::Certified;
        self.certificate = Some(certificate);
        self
    }

    /// The report in one line.
    pub fn one_line(&self) -> String {
        let Self {
            total_stages,
            failed_stages,
            total_duration_ms: duration,
            ..
        } = self;
        let counters = format!(
            "changes newly_applied={}, already_applied={}, failed={}, not_reached={}; duration={duration}ms",
            self.applied_changes, self.already_applied_changes, self.failed_changes, self.not_reached_changes
        );
        let mut line = match (self.status, &self.error) {
            (RunStatus::Failed, Some(error)) if *failed_stages == 0 => {
                format!("Flamingock execution failed: {}; {counters}", error.message)
            }
            (RunStatus::Failed, _) => {
                let names: Vec<_> = self.failed().map(|stage| stage.name.as_str()).collect();
                let names = names.join(", ");
                format!(
                    "Flamingock execution failed: {failed_stages} of {total_stages} stage(s) failed [{names}]; {counters}"
                )
            }
            (RunStatus::NoChanges, _) => {
                format!("Flamingock execution finished without changes: {total_stages} stage(s); {counters}")
            }
            (RunStatus::Certified, _) => {
                let signed = self.certificate.as_ref();
                let when = |at: Option<DateTime<Utc>>| at.map(|at| at.to_rfc3339()).unwrap_or_default();
                format!(
                    "Flamingock could not ask the server, and the application starts by a certificate of {}, which ends at \
                     {}; {counters}",
                    when(signed.map(|signed| signed.issued_at)),
                    when(signed.map(|signed| signed.expires_at))
                )
            }
            (RunStatus::Success, _) => {
                let completed = self.completed_stages;
                format!(
                    "Flamingock execution completed: {completed} of {total_stages} stage(s) run; {counters}"
                )
            }
        };
        if let Some(error) = self.error.as_ref().filter(|_| *failed_stages > 0) {
            write!(line, "; {}", error.message).expect("writing to a string does not fail");
        }
        let waiting = self.manual_intervention();
        if !waiting.is_empty() {
            write!(
                line,
                "; manual intervention required for change(s): {}",
                waiting.join(", ")
            )
            .expect("writing to a string does not fail");
        }
        line
    }

    /// Ids of the changes that wait for a person's decision.
    pub fn manual_intervention(&self) -> Vec<&str> {
        self.stages
            .iter()
            .filter(|stage| stage.state == StageState::BlockedManualIntervention)
            .filter_map(|stage| stage.error.as_ref())
            .flat_map(|error| error.change_ids.iter().map(String::as_str))
            .collect()
    }

    /// A change by its id.
    pub fn change(&self, id: &str) -> Option<&ChangeReport> {
        self.stages
            .iter()
            .flat_map(|stage| &stage.changes)
            .find(|change| change.change_id == id)
    }

    fn failed(&self) -> impl Iterator<Item = &StageReport> {
        self.stages.iter().filter(|stage| stage.is_failed())
    }
}

impl StageReport {
    fn is_up_to_date(&self) -> bool {
        self.state == StageState::NotStarted && self.verdict == Verdict::UpToDate
    }

    fn is_failed(&self) -> bool {
        matches!(
            self.state,
            StageState::Failed | StageState::BlockedManualIntervention
        )
    }

    fn label(&self) -> &'static str {
        match self.state {
            StageState::Completed => "COMPLETED",
            StageState::Failed => "FAILED",
            StageState::BlockedManualIntervention => "BLOCKED — manual intervention required",
            StageState::NotStarted if self.verdict == Verdict::UpToDate => "UP TO DATE",
            StageState::NotStarted => "NOT REACHED",
        }
    }
}

impl ChangeStatus {
    fn label(self) -> &'static str {
        match self {
            Self::NotReached => "not reached",
            Self::Applied => "applied",
            Self::AlreadyApplied => "already applied",
            Self::Failed => "FAILED",
            Self::RolledBack => "FAILED, rolled back",
        }
    }
}

/// The block for the log.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const RULER: &str = "========================================================================";
        writeln!(f, "{RULER}\n{}", self.one_line())?;
        writeln!(
            f,
            "Stages ({}): completed {}, up to date {}, failed {}, not reached {}",
            self.total_stages,
            self.completed_stages,
            self.up_to_date_stages,
            self.failed_stages,
            self.not_reached_stages
        )?;
        // Stages that had nothing to do in a run that did nothing are only noise.
        for stage in self
            .stages
            .iter()
            .filter(|stage| stage.state != StageState::NotStarted)
        {
            writeln!(
                f,
                "  [{}] {} ({} ms)",
                stage.label(),
                stage.name,
                stage.duration_ms
            )?;
            for change in stage
                .changes
                .iter()
                .filter(|change| change.status != ChangeStatus::AlreadyApplied)
            {
                write!(f, "      {}: {}", change.change_id, change.status.label())?;
                if change.status != ChangeStatus::NotReached {
                    write!(f, " ({} ms, {})", change.duration_ms, change.target_system_id)?;
                }
                writeln!(f)?;
                if let Some(error) = &change.error {
                    writeln!(f, "          {}: {}", error.error_type, error.message)?;
                }
            }
            if let Some(error) = stage.error.as_ref().filter(|error| {
                !stage
                    .changes
                    .iter()
                    .any(|change| change.error.as_ref() == Some(*error))
            }) {
                writeln!(f, "      {}: {}", error.error_type, error.message)?;
            }
        }
        let not_reached: Vec<_> = self
            .stages
            .iter()
            .filter(|stage| stage.state == StageState::NotStarted && !stage.is_up_to_date())
            .map(|stage| stage.name.as_str())
            .collect();
        if !not_reached.is_empty() && not_reached.len() < self.total_stages {
            writeln!(
                f,
                "Not reached ({}): {}",
                not_reached.len(),
                not_reached.join(", ")
            )?;
        }
        if let Some(error) = &self.error {
            writeln!(f, "{}: {}", error.error_type, error.message)?;
        }
        f.write_str(RULER)
    }
}

pub(crate) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
