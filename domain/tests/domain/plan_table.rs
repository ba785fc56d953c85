//! The planner's tables P1–P5, laid out as in the reference.

use std::collections::HashMap;

use flamingock_domain::audit::{AuditState, ChangeState, RecoveryStrategy, Source, States, TxStrategy};
use flamingock_domain::ids::{ExecutionId, Seq};
use flamingock_domain::lock::{Claim, Lock, Proof};
use flamingock_domain::pipeline::{Block, BlockType, Change, Mark, Pipeline, Stage};
use flamingock_domain::plan::{
    Action, ChangeFinding, ChangeReason, Plan, PlanAction, PlanInput, PlanReason, Settings, Verdict,
    base_action, check, plan,
};

use crate::support::{
    GRACE, LEASE, action_text, at, change_id, held_by, mark, pipeline, reported_change, reported_stage, rows,
    runner_id, show, stage_name, state_of, status_text, tidy, verdict_text,
};

const P1: &str = "
| A \\ T,R            | NON_TX, MI | NON_TX, RETRY | TX_SHARED, MI | TX_SHARED, RETRY | WITH_MARKER, MI | WITH_MARKER, RETRY | NO_MARKER, MI | NO_MARKER, RETRY |
| ------------------ | ---------- | ------------- | ------------- | ---------------- | --------------- | ------------------ | ------------- | ---------------- |
| none               | APPLY      | APPLY         | APPLY         | APPLY            | APPLY           | APPLY              | APPLY         | APPLY            |
| STARTED            | MI         | APPLY         | MI            | APPLY            | MI              | APPLY              | MI            | APPLY            |
| APPLIED            | SKIP       | SKIP          | SKIP          | SKIP             | SKIP            | SKIP               | SKIP          | SKIP             |
| FAILED             | MI         | APPLY         | APPLY         | APPLY            | APPLY           | APPLY              | APPLY         | APPLY            |
| ROLLED_BACK        | APPLY      | APPLY         | APPLY         | APPLY            | APPLY           | APPLY              | APPLY         | APPLY            |
| ROLLBACK_FAILED    | MI         | APPLY         | MI            | APPLY            | MI              | APPLY              | MI            | APPLY            |
| MARKED_APPLIED     | SKIP       | SKIP          | SKIP          | SKIP             | SKIP            | SKIP               | SKIP          | SKIP             |
| MARKED_ROLLED_BACK | APPLY      | APPLY         | APPLY         | APPLY            | APPLY           | APPLY              | APPLY         | APPLY            |
| unknown state      | MI         | APPLY         | MI            | APPLY            | MI              | APPLY              | MI            | APPLY            |
";

const P2: &str = "
| #   | A                                          | T           | R     | M           | decided | action | writes      | marks synchronized |
| --- | ------------------------------------------ | ----------- | ----- | ----------- | ------- | ------ | ----------- | ------------------ |
| M1  | STARTED                                    | WITH_MARKER | any   | APPLIED     | -       | SKIP   | APPLIED     | yes                |
| M2  | STARTED                                    | WITH_MARKER | RETRY | NONE        | -       | APPLY  | -           | no                 |
| M3  | STARTED                                    | WITH_MARKER | MI    | NONE        | -       | MI     | -           | no                 |
| M4  | APPLIED, MARKED_APPLIED                    | any         | any   | APPLIED     | -       | SKIP   | -           | yes                |
| M5  | FAILED                                     | WITH_MARKER | any   | APPLIED     | -       | MI     | -           | no                 |
| M6  | ROLLED_BACK, ROLLBACK_FAILED               | any         | any   | APPLIED     | -       | MI     | -           | no                 |
| M7  | MARKED_ROLLED_BACK                         | any         | any   | APPLIED     | unaware | MI     | -           | no                 |
| M7  | MARKED_ROLLED_BACK                         | any         | any   | APPLIED     | before  | MI     | -           | no                 |
| M7  | MARKED_ROLLED_BACK                         | any         | any   | APPLIED     | after   | APPLY  | -           | yes                |
| M8  | none                                       | any         | any   | APPLIED     | -       | SKIP   | APPLIED     | yes                |
| M9  | STARTED                                    | any         | any   | APPLIED     | -       | SKIP   | APPLIED     | yes                |
| M9  | FAILED, unknown state                      | any         | any   | APPLIED     | -       | MI     | -           | no                 |
| M10 | STARTED                                    | any         | any   | ROLLED_BACK | -       | APPLY  | ROLLED_BACK | yes                |
| M11 | ROLLED_BACK, FAILED, none                  | any         | any   | ROLLED_BACK | -       | as P1  | -           | yes                |
| M11 | MARKED_ROLLED_BACK                         | any         | any   | ROLLED_BACK | -       | as P1  | -           | yes                |
| -   | ROLLBACK_FAILED, unknown state             | any         | any   | ROLLED_BACK | -       | as P1  | -           | no                 |
| M12 | APPLIED, MARKED_APPLIED                    | any         | any   | ROLLED_BACK | -       | SKIP   | -           | yes                |
| M13 | any                                        | any         | any   | NONE        | -       | as P1  | -           | no                 |
";

const P3: &str = "
| #  | C               | A                                                | stage     | offered  | status          |
| -- | --------------- | ------------------------------------------------ | --------- | -------- | --------------- |
| C1 | null            | APPLIED, MARKED_APPLIED                          | null      | SKIP     | ALREADY_APPLIED |
| C1 | null            | none, ROLLED_BACK, MARKED_ROLLED_BACK            | null      | APPLY    | NOT_REACHED     |
| C1 | null            | STARTED, FAILED, ROLLBACK_FAILED, unknown state  | null      | MI       | NOT_REACHED     |
| C2 | APPLIED         | APPLIED, MARKED_APPLIED                          | null      | SKIP     | APPLIED         |
| C3 | APPLIED         | STARTED, none                                    | null      | SKIP     | APPLIED         |
| C3 | APPLIED         | FAILED, ROLLED_BACK, ROLLBACK_FAILED             | COMPLETED | SKIP     | APPLIED         |
| C3 | APPLIED         | MARKED_ROLLED_BACK, unknown state                | COMPLETED | SKIP     | APPLIED         |
| C4 | ALREADY_APPLIED | APPLIED, MARKED_APPLIED                          | null      | SKIP     | ALREADY_APPLIED |
| C5 | ALREADY_APPLIED | none, ROLLED_BACK, MARKED_ROLLED_BACK            | null      | APPLY    | NOT_REACHED     |
| C5 | ALREADY_APPLIED | STARTED, FAILED, ROLLBACK_FAILED, unknown state  | null      | MI       | NOT_REACHED     |
| C6 | FAILED          | FAILED, ROLLED_BACK, ROLLBACK_FAILED             | null      | WITHHOLD | FAILED          |
| C6 | FAILED          | STARTED, none, MARKED_ROLLED_BACK, unknown state | FAILED    | WITHHOLD | FAILED          |
| C7 | ROLLED_BACK     | STARTED, FAILED, ROLLED_BACK, ROLLBACK_FAILED    | null      | WITHHOLD | ROLLED_BACK     |
| C7 | ROLLED_BACK     | none, MARKED_ROLLED_BACK, unknown state          | FAILED    | WITHHOLD | ROLLED_BACK     |
| C8 | FAILED          | APPLIED, MARKED_APPLIED                          | FAILED    | SKIP     | FAILED          |
| C8 | ROLLED_BACK     | APPLIED, MARKED_APPLIED                          | FAILED    | SKIP     | ROLLED_BACK     |
| -  | null            | STARTED, none, FAILED, ROLLED_BACK               | COMPLETED | SKIP     | APPLIED         |
| -  | null            | APPLIED, MARKED_APPLIED                          | COMPLETED | SKIP     | ALREADY_APPLIED |
| -  | ALREADY_APPLIED | STARTED, none, FAILED, ROLLED_BACK               | COMPLETED | SKIP     | ALREADY_APPLIED |
| -  | null            | STARTED, none, FAILED, ROLLED_BACK               | FAILED    | WITHHOLD | NOT_REACHED     |
| -  | null            | STARTED, none, FAILED, ROLLED_BACK               | BLOCKED   | WITHHOLD | NOT_REACHED     |
| -  | ALREADY_APPLIED | STARTED, none, FAILED, ROLLED_BACK               | BLOCKED   | WITHHOLD | NOT_REACHED     |
";

// In `changes`: a is applied in the log, n was never run, m waits for a person.
const P4: &str = "
| S         | changes | offered                  | verdict    |
| --------- | ------- | ------------------------ | ---------- |
| COMPLETED | a       | nothing                  | UP_TO_DATE |
| COMPLETED | a, n    | nothing                  | NEEDS_WORK |
| FAILED    | a, n    | nothing                  | NEEDS_WORK |
| FAILED    | a, m    | nothing                  | NEEDS_WORK |
| FAILED    | a       | nothing                  | UP_TO_DATE |
| BLOCKED   | a, m, n | nothing                  | NEEDS_WORK |
| null      | a       | nothing                  | UP_TO_DATE |
| STARTED   | a       | nothing                  | UP_TO_DATE |
| null      |         | nothing                  | UP_TO_DATE |
| null      | a, m, n | a SKIP, m MI, n APPLY    | NEEDS_WORK |
| null      | n, m    | n APPLY, m MI            | NEEDS_WORK |
| STARTED   | m       | m MI                     | NEEDS_WORK |
| null      | a, n    | a SKIP, n APPLY          | NEEDS_WORK |
| null      | n       | n APPLY                  | NEEDS_WORK |
| STARTED   | n, a    | n APPLY, a SKIP          | NEEDS_WORK |
";

fn audit_state(text: &str) -> Option<AuditState> {
    Some(match text {
        "none" => return None,
        "STARTED" => AuditState::Started,
        "APPLIED" => AuditState::Applied,
        "FAILED" => AuditState::Failed,
        "ROLLED_BACK" => AuditState::RolledBack,
        "ROLLBACK_FAILED" => AuditState::RollbackFailed,
        "MARKED_APPLIED" => AuditState::MarkedApplied,
        "MARKED_ROLLED_BACK" => AuditState::MarkedRolledBack,
        "unknown state" => AuditState::Unknown,
        other => panic!("no audit state: {other}"),
    })
}

const STATES: &str = "none, STARTED, APPLIED, FAILED, ROLLED_BACK, ROLLBACK_FAILED, MARKED_APPLIED, MARKED_ROLLED_BACK, unknown state";
const TX_STRATEGIES: &str = "NON_TX, TX_SHARED, WITH_MARKER, NO_MARKER";
const RECOVERIES: &str = "MI, RETRY";

fn tx_strategy(text: &str) -> TxStrategy {
    match text {
        "NON_TX" => TxStrategy::NonTx,
        "TX_SHARED" => TxStrategy::Shared,
        "WITH_MARKER" => TxStrategy::WithMarker,
        "NO_MARKER" => TxStrategy::NoMarker,
        other => panic!("no tx strategy: {other}"),
    }
}

fn recovery(text: &str) -> RecoveryStrategy {
    match text {
        "MI" => RecoveryStrategy::ManualIntervention,
        "RETRY" => RecoveryStrategy::AlwaysRetry,
        other => panic!("no recovery strategy: {other}"),
    }
}

/// The values of a cell, or `all` of them for "any".
fn each<'a>(cell: &'a str, all: &'a str) -> Vec<&'a str> {
    (if cell == "any" { all } else { cell }).split(", ").collect()
}

const SEQ: Seq = 7;

fn latest(state: &str, tx: &str, retry: &str) -> Option<ChangeState> {
    let state = audit_state(state)?;
    let entry = state_of(SEQ, state);
    let execution = if matches!(state, AuditState::MarkedApplied | AuditState::MarkedRolledBack) {
        None
    } else {
        entry.execution
    };
    Some(ChangeState {
        tx_strategy: tx_strategy(tx),
        recovery: recovery(retry),
        execution,
        ..entry
    })
}

/// Everything around the one change that a row is about.
#[derive(Default)]
struct Scene<'a> {
    reported: Option<&'a str>,
    stage: Option<&'a str>,
    mark: Option<Mark>,
    mark_seen: Option<Seq>,
    trust_absent_marks: bool,
    executions_of_run: &'a [ExecutionId],
    lock: Option<&'a Lock>,
}

fn plan_one(latest: Option<ChangeState>, scene: &Scene<'_>) -> Plan {
    let change = Change {
        id: change_id("it"),
        mark: scene.mark.unwrap_or(Mark::None),
        reported: scene.reported.map(reported_change),
        transactional: true,
        author: None,
        has_probe: false,
        takes_cursor: false,
        checksum: None,
    };
    let stage = Stage {
        name: stage_name("stage"),
        reported: scene.stage.map(reported_stage),
        changes: vec![change],
    };
    let submitted = Pipeline {
        blocks: vec![Block {
            kind: BlockType::Default,
            stages: vec![stage],
        }],
    };
    let states = latest
        .map(|latest| (change_id("it"), latest))
        .into_iter()
        .collect();
    let marks_seen = scene
        .mark_seen
        .map(|seen| (change_id("it"), seen))
        .into_iter()
        .collect();
    let runner = runner_id("me");
    let input = PlanInput {
        pipeline: &submitted,
        states: &states,
        claim: Claim {
            lock: scene.lock,
            runner: &runner,
            proof: None,
            now: at(0),
            grace: GRACE,
        },
        executions_of_run: scene.executions_of_run,
        own_attempts: &[],
        marks_seen: &marks_seen,
        settings: Settings {
            trust_absent_marks: scene.trust_absent_marks,
        },
    };
    let plan = plan(&input);
    assert_eq!(check(&input, &plan), []);
    plan
}

fn only(plan: &Plan) -> &ChangeFinding {
    &plan.findings[0].changes[0]
}

fn nullable(cell: &str) -> Option<&str> {
    (cell != "null").then_some(cell)
}

#[test]
fn p1_every_cell_of_the_base_table_holds() {
    let table = rows(P1);
    let mut cells = 0;
    for row in &table[1..] {
        for (heading, expected) in table[0].cells[1..].iter().zip(&row.cells[1..]) {
            let (tx, retry) = heading.split_once(", ").expect("T, R");
            let (action, _) = base_action(latest(row.cells[0], tx, retry).as_ref());
            assert_eq!(action_text(action), *expected, "{} under {heading}", row.cells[0]);
            cells += 1;
        }
    }
    assert_eq!(cells, 72);
}

#[test]
fn p1_every_reason_names_its_own_row() {
    use ChangeReason as R;
    let reason = |state, tx, retry| base_action(latest(state, tx, retry).as_ref()).1;
    assert_eq!(reason("none", "NON_TX", "MI"), R::NeverRun);
    assert_eq!(reason("APPLIED", "NON_TX", "MI"), R::Applied);
    assert_eq!(reason("MARKED_APPLIED", "NON_TX", "MI"), R::PersonSaysApplied);
    assert_eq!(
        reason("MARKED_ROLLED_BACK", "NON_TX", "MI"),
        R::PersonSaysRolledBack
    );
    assert_eq!(reason("ROLLED_BACK", "NON_TX", "MI"), R::RolledBack);
    assert_eq!(reason("STARTED", "NO_MARKER", "MI"), R::OutcomeUnknown);
    assert_eq!(reason("STARTED", "NO_MARKER", "RETRY"), R::OutcomeUnknownRetry);
    assert_eq!(reason("FAILED", "NON_TX", "MI"), R::FailedHalfDone);
    assert_eq!(reason("FAILED", "NON_TX", "RETRY"), R::FailedRetry);
    assert_eq!(reason("FAILED", "TX_SHARED", "RETRY"), R::FailedInTransaction);
    assert_eq!(reason("ROLLBACK_FAILED", "NON_TX", "MI"), R::RollbackFailed);
    assert_eq!(
        reason("ROLLBACK_FAILED", "NON_TX", "RETRY"),
        R::RollbackFailedRetry
    );
    assert_eq!(reason("unknown state", "NON_TX", "MI"), R::StateUnknown);
    assert_eq!(reason("unknown state", "NON_TX", "RETRY"), R::StateUnknownRetry);
}

#[test]
fn p2_every_row_of_the_mark_table_holds() {
    for row in &rows(P2)[1..] {
        let [_, states, tx, retry, found, decided, action, writes, synchronized] = row.cells[..] else {
            panic!("nine cells: {}", row.line)
        };
        for state in each(states, STATES) {
            for tx in each(tx, TX_STRATEGIES) {
                for retry in each(retry, RECOVERIES) {
                    let latest = latest(state, tx, retry);
                    // The entry has sequence 7.
                    let mark_seen = match decided {
                        "before" => Some(SEQ),
                        "after" => Some(SEQ - 1),
                        _ => None,
                    };
                    let plan = plan_one(
                        latest,
                        &Scene {
                            mark: Some(mark(found)),
                            mark_seen,
                            ..Scene::default()
                        },
                    );
                    let told = only(&plan);
                    let expected = match action {
                        "as P1" => action_text(base_action(latest.as_ref()).0),
                        other => other,
                    };
                    let case = format!("{}\nwith {state}, {tx}, {retry}", row.line);
                    assert_eq!(action_text(told.action), expected, "{case}");
                    let written = plan
                        .derived
                        .first()
                        .map_or("-", |derived| derived.state.as_wire());
                    assert_eq!(written, writes, "{case}");
                    assert_eq!(plan.synchronized_marks, synchronized == "yes", "{case}");
                }
            }
        }
    }
}

#[test]
fn p2_every_mark_reason_names_its_row() {
    use ChangeReason as R;
    let reason = |state, found, mark_seen| {
        let latest = latest(state, "WITH_MARKER", "MI");
        only(&plan_one(
            latest,
            &Scene {
                mark: Some(found),
                mark_seen,
                ..Scene::default()
            },
        ))
        .reason
    };
    assert_eq!(reason("STARTED", Mark::Applied, None), R::CommittedByMark);
    assert_eq!(reason("none", Mark::Applied, None), R::CommittedByMark);
    assert_eq!(reason("APPLIED", Mark::Applied, None), R::Applied);
    assert_eq!(
        reason("MARKED_APPLIED", Mark::RolledBack, None),
        R::PersonSaysApplied
    );
    assert_eq!(reason("FAILED", Mark::Applied, None), R::MarkContradictsRecord);
    assert_eq!(
        reason("ROLLED_BACK", Mark::Applied, Some(1)),
        R::MarkContradictsRecord
    );
    assert_eq!(
        reason("MARKED_ROLLED_BACK", Mark::Applied, None),
        R::MarkContradictsPerson
    );
    assert_eq!(
        reason("MARKED_ROLLED_BACK", Mark::Applied, Some(1)),
        R::PersonOverridesMark
    );
    assert_eq!(reason("STARTED", Mark::RolledBack, None), R::RolledBackByMark);
}

#[test]
fn p2_a_derived_entry_names_the_attempt_that_left_the_mark_where_the_log_knows_it() {
    let marked = Scene {
        mark: Some(Mark::Applied),
        ..Scene::default()
    };
    let known = plan_one(latest("STARTED", "WITH_MARKER", "MI"), &marked);
    assert_eq!(known.derived[0].execution, Some(ExecutionId(1)));
    let unknown = plan_one(None, &marked);
    assert_eq!(unknown.derived[0].execution, None);
}

#[test]
fn p2_an_absent_mark_proves_non_commit_only_where_the_environment_trusts_it() {
    let trusting = Scene {
        trust_absent_marks: true,
        ..Scene::default()
    };
    let with_marker = plan_one(latest("STARTED", "WITH_MARKER", "MI"), &trusting);
    assert_eq!(only(&with_marker).action, Action::Apply);
    assert_eq!(only(&with_marker).reason, ChangeReason::NotCommittedByMark);

    // Without a marker store there is no mark whose absence could say anything, and other states are not about marks.
    for (state, tx) in [
        ("STARTED", "NO_MARKER"),
        ("STARTED", "NON_TX"),
        ("ROLLBACK_FAILED", "WITH_MARKER"),
    ] {
        let told = plan_one(latest(state, tx, "MI"), &trusting);
        assert_eq!(only(&told).action, Action::ManualIntervention, "{state} {tx}");
    }
}

#[test]
fn p2_one_contradictory_mark_keeps_all_marks_but_not_the_other_derived_entries() {
    let submitted = pipeline("schema: proven *APPLIED, contradicted *APPLIED");
    let states = States::from([
        (change_id("proven"), state_of(1, AuditState::Started)),
        (change_id("contradicted"), state_of(2, AuditState::RolledBack)),
    ]);
    let plan = plan(&unlocked(&submitted, &states));
    assert!(!plan.synchronized_marks);
    assert_eq!(plan.derived.len(), 1);
    assert_eq!(plan.derived[0].id.as_str(), "proven");
}

#[test]
fn p3_every_row_of_the_report_table_holds() {
    for row in &rows(P3)[1..] {
        let [_, reported, states, stage, offered, answered] = row.cells[..] else {
            panic!("six cells: {}", row.line)
        };
        for state in each(states, STATES) {
            let latest = latest(state, "NON_TX", "MI");
            let scene = Scene {
                reported: nullable(reported),
                stage: nullable(stage),
                ..Scene::default()
            };
            let plan = plan_one(latest, &scene);
            let told = only(&plan);
            let case = format!("{}\nwith {state}", row.line);
            assert_eq!(action_text(told.action), offered, "{case}");
            assert_eq!(status_text(told.status), answered, "{case}");
            // The report moves no verdict: that is the log's.
            let in_log = matches!(state, "APPLIED" | "MARKED_APPLIED");
            assert_eq!(plan.findings[0].verdict == Verdict::UpToDate, in_log, "{case}");
        }
    }
}

#[test]
fn p3_a_change_that_the_log_lacks_is_told_apart_from_an_applied_one() {
    let reason = |state, reported, stage| {
        let scene = Scene {
            reported,
            stage,
            ..Scene::default()
        };
        only(&plan_one(latest(state, "NON_TX", "MI"), &scene)).reason
    };
    assert_eq!(
        reason("APPLIED", Some("APPLIED"), None),
        ChangeReason::AppliedInRun
    );
    assert_eq!(
        reason("STARTED", Some("APPLIED"), None),
        ChangeReason::ReportedButUnrecorded
    );
    assert_eq!(
        reason("none", None, Some("COMPLETED")),
        ChangeReason::ReportedButUnrecorded
    );
    assert_eq!(reason("none", None, Some("FAILED")), ChangeReason::FailedInRun);
    assert_eq!(
        reason("ROLLED_BACK", Some("ROLLED_BACK"), None),
        ChangeReason::FailedInRun
    );
}

#[test]
fn p3_what_an_execution_of_this_run_left_undone_is_not_offered_again_in_it() {
    let this_run = [ExecutionId(1)];
    for state in ["STARTED", "FAILED", "ROLLED_BACK", "ROLLBACK_FAILED"] {
        for retry in ["MI", "RETRY"] {
            let latest = latest(state, "WITH_MARKER", retry);
            let guarded = plan_one(
                latest,
                &Scene {
                    executions_of_run: &this_run,
                    ..Scene::default()
                },
            );
            assert_eq!(only(&guarded).action, Action::Withhold, "{state} {retry}");
            assert_eq!(guarded.action, PlanAction::Abort, "{state} {retry}");
        }
    }
    // Another run's failure is judged by the table, and a person's decision ends the matter.
    let other_run = [ExecutionId(2)];
    let free = Scene {
        executions_of_run: &other_run,
        ..Scene::default()
    };
    assert_eq!(
        only(&plan_one(latest("ROLLED_BACK", "NON_TX", "MI"), &free)).action,
        Action::Apply
    );
    let decided = Scene {
        executions_of_run: &this_run,
        ..Scene::default()
    };
    let plan = plan_one(latest("MARKED_ROLLED_BACK", "NON_TX", "MI"), &decided);
    assert_eq!(only(&plan).action, Action::Apply);
}

#[test]
fn p3_a_failure_in_the_log_is_not_talked_away_by_a_completed_stage_but_a_lost_result_is_believed() {
    let this_run = [ExecutionId(1)];
    let completed = Scene {
        stage: Some("COMPLETED"),
        executions_of_run: &this_run,
        ..Scene::default()
    };
    for state in ["FAILED", "ROLLED_BACK", "ROLLBACK_FAILED"] {
        let plan = plan_one(latest(state, "NON_TX", "MI"), &completed);
        assert_eq!(
            (&plan.action, only(&plan).action),
            (&PlanAction::Abort, Action::Withhold),
            "{state}"
        );
    }
    let plan = plan_one(latest("STARTED", "NON_TX", "MI"), &completed);
    assert_eq!(
        (&plan.action, only(&plan).action),
        (&PlanAction::Continue, Action::Skip)
    );
    let applied = Scene {
        reported: Some("APPLIED"),
        executions_of_run: &this_run,
        ..Scene::default()
    };
    let plan = plan_one(latest("STARTED", "NON_TX", "MI"), &applied);
    assert_eq!(
        (&plan.action, only(&plan).action),
        (&PlanAction::Continue, Action::Skip)
    );
}

#[test]
fn p3_a_rolled_back_mark_does_not_speak_against_the_runners_own_word() {
    let scene = Scene {
        reported: Some("APPLIED"),
        mark: Some(Mark::RolledBack),
        ..Scene::default()
    };
    let plan = plan_one(latest("STARTED", "WITH_MARKER", "MI"), &scene);
    assert_eq!(only(&plan).reason, ChangeReason::ReportedButUnrecorded);
    assert_eq!(plan.derived, []);
    assert!(
        !plan.synchronized_marks,
        "the mark stays for the next run to judge"
    );
}

#[test]
fn p4_every_row_of_the_stage_table_holds() {
    let states = States::from([
        (change_id("a"), state_of(1, AuditState::Applied)),
        (change_id("m"), state_of(2, AuditState::Started)),
    ]);
    for row in &rows(P4)[1..] {
        let [reported, changes, offered, verdict] = row.cells[..] else {
            panic!("four cells: {}", row.line)
        };
        let submitted = pipeline(&match nullable(reported) {
            Some(reported) => format!("stage {reported}: {changes}"),
            None => format!("stage: {changes}"),
        });
        let input = unlocked(&submitted, &states);
        let plan = plan(&input);
        assert_eq!(check(&input, &plan), [], "{}", row.line);
        let listed = match &plan.action {
            PlanAction::Execute { stages, .. } => stages[0]
                .changes
                .iter()
                .map(|(id, action)| format!("{id} {}", action_text(*action)))
                .collect::<Vec<_>>()
                .join(", "),
            _ => "nothing".to_owned(),
        };
        assert_eq!(listed, offered, "{}", row.line);
        assert_eq!(verdict_text(plan.findings[0].verdict), verdict, "{}", row.line);
    }
}

/// An input in which nobody holds the lock and the run has just begun.
fn unlocked<'a>(submitted: &'a Pipeline, states: &'a States) -> PlanInput<'a> {
    static NO_MARKS: std::sync::LazyLock<HashMap<flamingock_domain::ids::ChangeId, Seq>> =
        std::sync::LazyLock::new(HashMap::new);
    static ME: std::sync::LazyLock<flamingock_domain::ids::RunnerId> =
        std::sync::LazyLock::new(|| runner_id("me"));
    PlanInput {
        pipeline: submitted,
        states,
        claim: Claim {
            lock: None,
            runner: &ME,
            proof: None,
            now: at(0),
            grace: GRACE,
        },
        executions_of_run: &[],
        own_attempts: &[],
        marks_seen: &NO_MARKS,
        settings: Settings::default(),
    }
}

/// Plans with `a*` applied, `m*` waiting for a person, all else never run; gives the answer and the reason.
fn decide(submitted: &str, lock: Option<&Lock>, proof: Option<&Proof>) -> (String, PlanReason) {
    let submitted = pipeline(submitted);
    let mut states = States::new();
    for change in submitted.changes() {
        let state = match change.id.as_str().as_bytes()[0] {
            b'a' => AuditState::Applied,
            b'm' => AuditState::Started,
            _ => continue,
        };
        let source = if state == AuditState::Applied {
            Source::Import
        } else {
            Source::Runner
        };
        states.insert(
            change.id.clone(),
            ChangeState {
                source,
                ..state_of(1, state)
            },
        );
    }
    let mut input = unlocked(&submitted, &states);
    input.claim.lock = lock;
    input.claim.proof = proof;
    let plan = plan(&input);
    assert_eq!(check(&input, &plan), []);
    let answer = show(&plan);
    let brief = answer
        .lines()
        .enumerate()
        .filter(|(at, line)| *at == 0 || line.starts_with("do "));
    (
        brief.map(|(_, line)| line).collect::<Vec<_>>().join("\n"),
        plan.reason,
    )
}

#[test]
fn p5_b1_nothing_left_anywhere_is_continue() {
    let (answer, reason) = decide("-- LEGACY\none: a1\n-- DEFAULT\ntwo COMPLETED: a2", None, None);
    assert_eq!((answer.as_str(), reason), ("CONTINUE", PlanReason::NothingToDo));
    assert_eq!(decide("", None, None).0, "CONTINUE", "an empty pipeline");
    assert_eq!(
        decide("one:", None, None).0,
        "CONTINUE",
        "a stage without changes"
    );
    assert_eq!(
        decide("-- SYSTEM\n-- DEFAULT\none: a1", None, None).0,
        "CONTINUE",
        "an empty block"
    );
}

#[test]
fn p5_b2_a_failed_stage_closes_the_gate_behind_its_block() {
    let (answer, reason) = decide("-- LEGACY\none FAILED: n1\n-- DEFAULT\ntwo: n2", None, None);
    assert_eq!(
        (answer.as_str(), reason),
        ("ABORT", PlanReason::BlockFailed { block: 0 })
    );
    let (answer, reason) = decide(
        "-- LEGACY\none: a1\n-- DEFAULT\ntwo BLOCKED: m2\nthree: a3",
        None,
        None,
    );
    assert_eq!(
        (answer.as_str(), reason),
        ("ABORT", PlanReason::BlockFailed { block: 1 })
    );
}

#[test]
fn p5_b2_a_failed_stage_does_not_stop_a_block_before_its_own() {
    let (answer, reason) = decide("-- LEGACY\none: n1\n-- DEFAULT\ntwo FAILED: n2", None, None);
    assert_eq!(answer, "EXECUTE\ndo one: n1 APPLY");
    assert_eq!(reason, PlanReason::WorkPending { block: 0 });
}

#[test]
fn p5_b3_all_pending_stages_of_the_active_block_and_of_no_other_are_offered() {
    let submitted = "
        -- SYSTEM
        zero: a0
        -- DEFAULT
        one: a1, n1
        two: a2
        three: n3
        -- DEFAULT
        four: n4
    ";
    let (answer, reason) = decide(submitted, None, None);
    assert_eq!(answer, "EXECUTE\ndo one: a1 SKIP, n1 APPLY\ndo three: n3 APPLY");
    assert_eq!(reason, PlanReason::WorkPending { block: 1 });
}

#[test]
fn p5_b3_the_lock_may_be_free_ours_or_run_out() {
    let mine = held_by("me", 4, at(60));
    let run_out = held_by("other", 4, at(-6));
    let watched = held_by("other", 4, at(0));
    let lease = watched.lease.as_ref().expect("held");
    let elapsed = LEASE + std::time::Duration::from_millis(1);
    let proof = Proof {
        acquisition_id: lease.acquisition_id.clone(),
        elapsed,
    };
    for (lock, proof) in [
        (None, None),
        (Some(&mine), None),
        (Some(&run_out), None),
        (Some(&watched), Some(&proof)),
    ] {
        assert_eq!(
            decide("one: n1", lock, proof).0,
            "EXECUTE\ndo one: n1 APPLY",
            "{lock:?}"
        );
    }
}

#[test]
fn p5_b4_work_under_another_runners_lock_waits_and_started_is_not_judged() {
    let theirs = held_by("other", 4, at(60));
    let (answer, reason) = decide("one: n1\ntwo: m2", Some(&theirs), None);
    assert_eq!(
        (answer.as_str(), reason),
        ("AWAIT other", PlanReason::HeldByOther)
    );
    assert_eq!(decide("two: m2", Some(&theirs), None).0, "AWAIT other");
}

#[test]
fn p5_b5_a_lock_is_not_needed_to_learn_that_there_is_nothing_to_do() {
    let theirs = held_by("other", 4, at(60));
    assert_eq!(decide("one: a1", Some(&theirs), None).0, "CONTINUE");
    assert_eq!(decide("one FAILED: n1", Some(&theirs), None).0, "ABORT");
}

#[test]
fn p5_b5_marks_that_would_finish_the_pipeline_are_not_taken_in_while_another_runner_works() {
    let theirs = held_by("other", 4, at(60));
    assert_eq!(decide("one: m1 *APPLIED", Some(&theirs), None).0, "AWAIT other");
    assert_eq!(
        decide("one: m1 *APPLIED", None, None).0,
        "CONTINUE, marks synchronized"
    );
}

/// The other runner may be about to commit what left the mark, so that nothing is read from it, and nothing is asked yet.
#[test]
fn p5_b4_neither_mark_nor_probe_is_asked_while_another_runner_works() {
    let theirs = held_by("other", 4, at(60));
    assert_eq!(decide("one: m1? *APPLIED", Some(&theirs), None).0, "AWAIT other");
    assert_eq!(decide("one: m1?", Some(&theirs), None).0, "AWAIT other");
}

#[test]
fn p5_b6_another_stage_of_a_block_with_a_failed_one_still_gets_its_turn() {
    let (answer, reason) = decide("one FAILED: n1\ntwo: n2", None, None);
    assert_eq!(answer, "EXECUTE\ndo two: n2 APPLY");
    assert_eq!(reason, PlanReason::WorkPending { block: 0 });
}

#[test]
fn p5_b7_where_only_a_person_can_go_on_the_stages_are_offered_all_the_same() {
    let (answer, reason) = decide("one: a1, m1, n1\ntwo: m2", None, None);
    assert_eq!(answer, "EXECUTE\ndo one: a1 SKIP, m1 MI, n1 APPLY\ndo two: m2 MI");
    assert_eq!(reason, PlanReason::PersonNeeded { block: 0 });
    assert_eq!(
        decide("one: m1\ntwo: n2", None, None).1,
        PlanReason::WorkPending { block: 0 }
    );
}

#[test]
fn equal_stage_names_are_one_stage_in_the_answer() {
    let submitted = pipeline("changes: n1, n2\nother: n3\nchanges: n4");
    let states = States::new();
    let input = unlocked(&submitted, &states);
    let plan = plan(&input);
    assert_eq!(check(&input, &plan), []);
    let expected = "
        EXECUTE
        do changes: n1 APPLY, n2 APPLY, n4 APPLY
        do other: n3 APPLY
        changes NEEDS_WORK: n1 NOT_REACHED, n2 NOT_REACHED, n4 NOT_REACHED
        other NEEDS_WORK: n3 NOT_REACHED
    ";
    assert_eq!(show(&plan), tidy(expected));
    assert_eq!(plan.repeated_stages, [stage_name("changes")]);
}

#[test]
fn a_name_that_repeats_over_blocks_is_offered_with_the_changes_of_the_active_block_only() {
    let (answer, _) = decide("-- LEGACY\nsame: a1\n-- DEFAULT\nsame: n2", None, None);
    assert_eq!(answer, "EXECUTE\ndo same: n2 APPLY");
    let (answer, _) = decide("-- LEGACY\nsame: n1\n-- DEFAULT\nsame: n2", None, None);
    assert_eq!(answer, "EXECUTE\ndo same: n1 APPLY");
}

#[test]
fn a_change_that_stands_in_two_stages_is_never_offered_in_both_at_once() {
    let (answer, _) = decide("one: n1, shared\ntwo: shared, n2\nthree: n3", None, None);
    assert_eq!(
        answer,
        "EXECUTE\ndo one: n1 APPLY, shared APPLY\ndo three: n3 APPLY"
    );
    let (answer, _) = decide("one: shared, shared", None, None);
    assert_eq!(answer, "EXECUTE\ndo one: shared APPLY");
}

#[test]
fn a_change_that_failed_in_one_stage_is_withheld_in_the_other() {
    let (answer, _) = decide("one FAILED: n1, shared\ntwo: shared, n2\nthree: n3", None, None);
    assert_eq!(answer, "EXECUTE\ndo three: n3 APPLY");
    let (answer, reason) = decide("one FAILED: n1, shared\ntwo: shared, n2", None, None);
    assert_eq!(
        (answer.as_str(), reason),
        ("ABORT", PlanReason::BlockFailed { block: 0 })
    );
}

#[test]
fn a_change_that_stands_in_two_stages_has_one_mark_and_one_report() {
    let submitted = "one: shared *APPLIED\ntwo: shared";
    assert_eq!(decide(submitted, None, None).0, "CONTINUE, marks synchronized");
    let submitted = "one: shared\ntwo: shared *APPLIED";
    assert_eq!(decide(submitted, None, None).0, "CONTINUE, marks synchronized");
    let submitted = "one: shared=FAILED\ntwo: shared=APPLIED";
    assert_eq!(decide(submitted, None, None).0, "ABORT");
    let submitted = "one: shared=ALREADY_APPLIED\ntwo: shared=APPLIED";
    assert_eq!(decide(submitted, None, None).0, "CONTINUE");
}
