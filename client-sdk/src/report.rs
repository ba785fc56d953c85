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
    /// Something failed.
    Failed,
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
            error,
        }
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
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn change(id: &str, status: ChangeStatus) -> ChangeReport {
        let failed = matches!(status, ChangeStatus::Failed | ChangeStatus::RolledBack);
        ChangeReport {
            change_id: id.to_owned(),
            author: "mara".to_owned(),
            target_system_id: "db".to_owned(),
            status,
            duration_ms: 3,
            error: failed.then(|| ErrorReport::new("DbError", "no such table", vec![id.to_owned()])),
        }
    }

    fn stage(name: &str, state: StageState, verdict: Verdict, changes: Vec<ChangeReport>) -> StageReport {
        let error = changes.iter().find_map(|change| change.error.clone());
        StageReport {
            name: name.to_owned(),
            state,
            verdict,
            duration_ms: 5,
            changes,
            error,
        }
    }

    fn report(stages: Vec<StageReport>) -> Report {
        Report::new(DateTime::UNIX_EPOCH, Duration::from_millis(42), stages, None)
    }

    fn any_stage() -> impl Strategy<Value = StageReport> {
        let state = prop::sample::select(vec![
            StageState::NotStarted,
            StageState::Completed,
            StageState::Failed,
            StageState::BlockedManualIntervention,
        ]);
        let verdict =
            prop::sample::select(vec![Verdict::NotEvaluated, Verdict::NeedsWork, Verdict::UpToDate]);
        let status = prop::sample::select(vec![
            ChangeStatus::NotReached,
            ChangeStatus::Applied,
            ChangeStatus::AlreadyApplied,
            ChangeStatus::Failed,
            ChangeStatus::RolledBack,
        ]);
        (state, verdict, prop::collection::vec(status, 0..6)).prop_map(|(state, verdict, statuses)| {
            stage(
                "s",
                state,
                verdict,
                statuses.into_iter().map(|status| change("c", status)).collect(),
            )
        })
    }

    proptest! {
        #[test]
        fn the_counters_add_up(stages in prop::collection::vec(any_stage(), 0..6)) {
            let changes: usize = stages.iter().map(|stage| stage.changes.len()).sum();
            let report = report(stages.clone());
            prop_assert_eq!(report.total_changes, changes);
            prop_assert_eq!(
                report.applied_changes + report.already_applied_changes + report.failed_changes + report.not_reached_changes,
                report.total_changes
            );
            prop_assert_eq!(report.total_stages, stages.len());
            prop_assert_eq!(
                report.up_to_date_stages + report.not_reached_stages + report.completed_stages + report.failed_stages,
                report.total_stages
            );
            prop_assert_eq!(report.status == RunStatus::Failed, report.failed_stages + report.failed_changes > 0);
            // Whatever happened, it can be told.
            prop_assert!(!report.one_line().contains('\n'));
            prop_assert!(report.to_string().contains(&report.one_line()));
            prop_assert!(serde_json::to_string(&report).is_ok());
        }
    }

    #[test]
    fn the_block_tells_what_happened() {
        use ChangeStatus::{AlreadyApplied, Applied, NotReached, RolledBack};
        let report = report(vec![
            stage(
                "base",
                StageState::NotStarted,
                Verdict::UpToDate,
                vec![change("a", AlreadyApplied)],
            ),
            stage(
                "seed",
                StageState::Completed,
                Verdict::NeedsWork,
                vec![change("b", AlreadyApplied), change("c", Applied)],
            ),
            stage(
                "schema",
                StageState::Failed,
                Verdict::NeedsWork,
                vec![change("d", RolledBack), change("e", NotReached)],
            ),
            stage(
                "late",
                StageState::NotStarted,
                Verdict::NeedsWork,
                vec![change("f", NotReached)],
            ),
        ]);
        let ruler = "=".repeat(72);
        let expected = format!(
            "{ruler}\n\
             Flamingock execution failed: 1 of 4 stage(s) failed [schema]; changes newly_applied=1, already_applied=2, \
             failed=1, not_reached=2; duration=42ms\n\
             Stages (4): completed 1, up to date 1, failed 1, not reached 1\n\
             \u{20}\u{20}[COMPLETED] seed (5 ms)\n\
             \u{20}\u{20}\u{20}\u{20}\u{20}\u{20}c: applied (3 ms, db)\n\
             \u{20}\u{20}[FAILED] schema (5 ms)\n\
             \u{20}\u{20}\u{20}\u{20}\u{20}\u{20}d: FAILED, rolled back (3 ms, db)\n\
             \u{20}\u{20}\u{20}\u{20}\u{20}\u{20}\u{20}\u{20}\u{20}\u{20}DbError: no such table\n\
             \u{20}\u{20}\u{20}\u{20}\u{20}\u{20}e: not reached\n\
             Not reached (1): late\n\
             {ruler}"
        );
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn as_json_it_has_the_names_of_the_contract() {
        let report = report(vec![stage(
            "s",
            StageState::NotStarted,
            Verdict::UpToDate,
            Vec::new(),
        )]);
        let json = serde_json::to_value(&report).expect("serialises");
        assert_eq!(json["status"], "NO_CHANGES");
        assert_eq!(json["totalDurationMs"], 42);
        assert_eq!(json["stages"][0]["verdict"], "UP_TO_DATE");
        assert_eq!(json["startTime"], "1970-01-01T00:00:00Z");
    }
}
