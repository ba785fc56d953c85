//! The counters, and the texts that people read.

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
    let verdict = prop::sample::select(vec![Verdict::NotEvaluated, Verdict::NeedsWork, Verdict::UpToDate]);
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
