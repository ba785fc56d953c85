//! S 3.3: changes in transactions, with a fault at each audit write, at the commit and at each touch of the mark.

use std::time::Duration;

use flamingock::{
    ChangeReport, ChangeStatus, MarkOperation, Report, Stage, StartError, StartErrorKind, Target,
};
use serde_json::{Value, json};

use crate::support::{Commit, FakeDatabase, FakeServer, IMPATIENT, Kind, Reply, Step, step};

async fn run(server: &FakeServer, database: &FakeDatabase, change: Step) -> Result<Report, StartError> {
    run_with_lease(server, database, change, Duration::from_secs(3)).await
}

async fn run_with_lease(
    server: &FakeServer,
    database: &FakeDatabase,
    change: Step,
    lease: Duration,
) -> Result<Report, StartError> {
    server
        .app()
        .lease(lease)
        .request_timeout(if lease < Duration::from_secs(3) {
            IMPATIENT
        } else {
            lease
        })
        .target(Target::transactional("db", database.clone()))
        .stage(Stage::new("schema").change(change.on("db")))
        .build()
        .unwrap()
        .run()
        .await
}

fn change(report: &Report) -> ChangeReport {
    report.change("add-column").unwrap().clone()
}

fn add_column() -> Step {
    step("add-column", "0001")
}

fn mark_sent(server: &FakeServer, request: usize) -> Value {
    server.calls_of(&Kind::Plan)[request].body["clientSubmission"]["blocks"][0]["stages"][0]["changes"][0]["ongoingStatus"]
        .clone()
}

#[tokio::test]
async fn success_commits_change_and_mark_and_clears_the_mark() {
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    let report = run(&server, &database, add_column()).await.unwrap();
    assert_eq!(change(&report).status, ChangeStatus::Applied);
    assert_eq!(server.audit(), ["add-column STARTED", "add-column APPLIED"]);
    assert_eq!(
        server.calls_of(&Kind::Audit("APPLIED".into()))[0].body["txStrategy"],
        "TX_SEPARATE_WITH_MARKER"
    );
    assert_eq!(database.rows(), ["add-column"]);
    assert_eq!(database.marks(), Vec::<String>::new());
}

#[tokio::test]
async fn without_marks_the_strategy_says_so_and_no_mark_is_touched() {
    let (server, database) = (FakeServer::start().await, FakeDatabase::without_marks());
    database.with(|contents| contents.broken = vec!["marks", "prepare", "write_mark", "clear_marks"]);
    run(&server, &database, add_column()).await.unwrap();
    assert_eq!(
        server.calls_of(&Kind::Audit("APPLIED".into()))[0].body["txStrategy"],
        "TX_SEPARATE_NO_MARKER"
    );
    assert_eq!(database.rows(), ["add-column"]);
}

#[tokio::test]
async fn declared_outside_the_transaction_it_is_non_tx() {
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    run(&server, &database, add_column().transactional(false))
        .await
        .unwrap();
    let entry = &server.calls_of(&Kind::Audit("APPLIED".into()))[0].body;
    assert_eq!(
        (&entry["txStrategy"], &entry["transactionFlag"]),
        (&json!("NON_TX"), &json!(false))
    );
}

#[tokio::test]
async fn a_failure_rolls_back_natively_and_never_calls_the_rollback() {
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    for (failing, name) in [
        (add_column().fails("no such type"), "flamingock::ChangeError"),
        (add_column().panics(), "panic"),
    ] {
        let error = run(&server, &database, failing.rollback(Err("must not be called")))
            .await
            .unwrap_err();
        let change = change(error.report());
        assert_eq!(change.status, ChangeStatus::RolledBack);
        assert!(change.error.unwrap().error_type.contains(name));
        let plan = server.calls_of(&Kind::Plan).pop().unwrap();
        let stage = &plan.body["clientSubmission"]["blocks"][0]["stages"][0];
        assert_eq!(stage["changes"][0]["currentStatus"], "ROLLED_BACK");
    }
    assert_eq!(
        server.audit()[..3],
        [
            "add-column STARTED",
            "add-column FAILED",
            "add-column ROLLED_BACK"
        ]
    );
    let entry = &server.calls_of(&Kind::Audit("ROLLED_BACK".into()))[0].body;
    assert_eq!(
        (&entry["methodName"], &entry["executionMillis"]),
        (&json!("native_db_engine"), &json!(0))
    );
    assert_eq!((database.rows(), database.marks()), (vec![], vec![]));
}

#[tokio::test]
async fn without_an_acknowledged_start_nothing_is_committed() {
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    server.always(Kind::Audit("STARTED".into()), Reply::problem(409, "R_AUDIT_01"));
    let error = run(&server, &database, add_column()).await.unwrap_err();
    assert_eq!(server.audit(), ["add-column STARTED"]);
    assert_eq!(database.rows(), Vec::<String>::new());
    assert_eq!(change(error.report()).error.unwrap().error_type, "START_REFUSED");
}

#[tokio::test]
async fn an_unrecorded_success_stays_committed_with_its_mark() {
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    server.always(Kind::Audit("APPLIED".into()), Reply::Hang);
    server.always(Kind::Extend, Reply::Hang);
    let error = run_with_lease(&server, &database, add_column(), Duration::from_secs(1))
        .await
        .unwrap_err();
    assert_eq!(change(error.report()).status, ChangeStatus::Failed);
    assert_eq!(database.rows(), ["add-column"]);
    assert_eq!(database.marks(), ["add-column"]);
    assert!(
        server.audit()[1..]
            .iter()
            .all(|entry| entry == "add-column APPLIED")
    );
    assert_eq!(
        mark_sent(&server, server.calls_of(&Kind::Plan).len() - 1),
        "APPLIED",
        "the next plan request of the same run tells it"
    );
}

#[tokio::test]
async fn failed_and_rolled_back_are_both_tried() {
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    server.always(Kind::Extend, Reply::problem(409, "R_LOCK_01"));
    server.always(Kind::Audit("FAILED".into()), Reply::problem(503, "R_GEN_08"));
    let failing = add_column().fails("no");
    let error = run_with_lease(&server, &database, failing, Duration::from_secs(1))
        .await
        .unwrap_err();
    assert_eq!(change(error.report()).status, ChangeStatus::RolledBack);
    assert_eq!(server.audit().last().unwrap(), "add-column ROLLED_BACK");
}

#[tokio::test]
async fn a_refused_commit_is_a_failure_that_left_nothing() {
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    database.with(|contents| contents.commit = Commit::Refused);
    let error = run(&server, &database, add_column()).await.unwrap_err();
    assert_eq!(change(error.report()).status, ChangeStatus::RolledBack);
    assert_eq!(
        server.audit(),
        [
            "add-column STARTED",
            "add-column FAILED",
            "add-column ROLLED_BACK"
        ]
    );
    assert_eq!((database.rows(), database.marks()), (vec![], vec![]));
}

#[tokio::test]
async fn an_ambiguous_commit_is_settled_by_the_mark() {
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    database.with(|contents| (contents.commit, contents.looks_that_fail) = (Commit::BreaksAfter, 2));
    let report = run(&server, &database, add_column()).await.unwrap();
    assert_eq!(change(&report).status, ChangeStatus::Applied);
    assert_eq!(server.audit(), ["add-column STARTED", "add-column APPLIED"]);
    assert_eq!(database.marks(), Vec::<String>::new());

    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    database.with(|contents| contents.commit = Commit::BreaksBefore);
    let error = run(&server, &database, add_column()).await.unwrap_err();
    assert_eq!(change(error.report()).status, ChangeStatus::RolledBack);
    assert_eq!(
        server.audit(),
        [
            "add-column STARTED",
            "add-column FAILED",
            "add-column ROLLED_BACK"
        ]
    );
}

#[tokio::test]
async fn an_ambiguous_commit_that_cannot_be_settled_leaves_started() {
    // No marks at all.
    let (server, database) = (FakeServer::start().await, FakeDatabase::without_marks());
    database.with(|contents| contents.commit = Commit::BreaksAfter);
    let error = run(&server, &database, add_column()).await.unwrap_err();
    assert_eq!(server.audit(), ["add-column STARTED"]);
    assert_eq!(
        change(error.report()).error.unwrap().error_type,
        "COMMIT_OUTCOME_UNKNOWN"
    );

    // The target does not come back while the lease lives.
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    server.always(Kind::Extend, Reply::problem(503, "R_GEN_08"));
    database
        .with(|contents| (contents.commit, contents.broken) = (Commit::BreaksAfter, vec!["was_committed"]));
    let error = run_with_lease(&server, &database, add_column(), Duration::from_secs(1))
        .await
        .unwrap_err();
    assert_eq!(server.audit(), ["add-column STARTED"]);
    assert_eq!(
        change(error.report()).error.unwrap().error_type,
        "COMMIT_OUTCOME_UNKNOWN"
    );
    assert_eq!(database.marks(), ["add-column"], "for the next start");
}

#[tokio::test]
async fn a_target_that_fails_at_begin_or_mark_left_nothing() {
    for broken in ["begin", "write_mark"] {
        let (server, database) = (FakeServer::start().await, FakeDatabase::new());
        database.with(|contents| contents.broken = vec![broken]);
        let error = run(&server, &database, add_column()).await.unwrap_err();
        assert_eq!(
            change(error.report()).status,
            ChangeStatus::RolledBack,
            "{broken}"
        );
        assert_eq!(
            server.audit(),
            [
                "add-column STARTED",
                "add-column FAILED",
                "add-column ROLLED_BACK"
            ]
        );
        assert_eq!(database.rows(), Vec::<String>::new());
    }
}

/// The changes whose transaction is rolled back: each fails at another place.
fn failing() -> [(Step, &'static [&'static str]); 2] {
    [
        (add_column().fails("no such type"), &[]),
        (add_column(), &["write_mark"]),
    ]
}

#[tokio::test]
async fn what_is_not_known_to_be_rolled_back_is_not_called_so() {
    for (ended_by_itself, error_type) in [(true, "TRANSACTION_ENDED"), (false, "ROLLBACK_OUTCOME_UNKNOWN")] {
        for (change_unit, broken) in failing() {
            let (server, database) = (FakeServer::start().await, FakeDatabase::new());
            database.with(|contents| {
                contents.ended_by_itself = ended_by_itself;
                contents.broken = [broken, &["rollback"]].concat();
            });
            let error = run(&server, &database, change_unit).await.unwrap_err();
            let recorded: &[&str] = if ended_by_itself {
                // What is known to have stayed is not taken for an attempt that never committed.
                &["add-column STARTED", "add-column ROLLBACK_FAILED"]
            } else {
                &["add-column STARTED"]
            };
            assert_eq!(
                server.audit(),
                recorded,
                "{error_type} {broken:?}: a person has to look"
            );
            let change = change(error.report());
            assert_eq!(change.status, ChangeStatus::Failed);
            let error = change.error.unwrap();
            assert_eq!(error.error_type, error_type);
            assert!(
                error.message.contains("Check in the target system"),
                "{}",
                error.message
            );
        }
    }
}

#[tokio::test]
async fn without_the_lock_an_absent_mark_proves_nothing() {
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    server.always(Kind::Extend, Reply::problem(409, "R_LOCK_01"));
    // The first look that works comes after the heartbeat's refusal, one second into the lease.
    database.with(|contents| (contents.commit, contents.looks_that_fail) = (Commit::BreaksBefore, 8));
    let error = run(&server, &database, add_column()).await.unwrap_err();
    assert_eq!(
        server.audit(),
        ["add-column STARTED"],
        "the next runner may have removed the mark"
    );
    assert_eq!(
        change(error.report()).error.unwrap().error_type,
        "COMMIT_OUTCOME_UNKNOWN"
    );
}

/// Someone has decided about a change of which a mark was left, and it is to be applied anew.
fn executes_with_marks_settled() -> Reply {
    Reply::Json(
        201,
        json!({
            "action": "EXECUTE", "executionId": 5, "synchronizedMarks": true,
            "lock": {"key": "340", "owner": "me", "acquisitionId": "x", "acquiredForMillis": 3000, "fence": 7},
            "stages": [{"name": "schema", "order": 0, "changes": [{"id": "add-column", "action": "APPLY"}]}],
            "pipelineResult": {"stages": []}
        }),
    )
}

fn with_a_mark() -> FakeDatabase {
    let database = FakeDatabase::new();
    database.with(|contents| {
        contents.marks.insert("add-column".into(), MarkOperation::Applied);
    });
    database
}

#[tokio::test]
async fn nothing_is_applied_beside_a_mark_that_should_be_gone() {
    let (server, database) = (FakeServer::start().await, with_a_mark());
    server.next(Kind::Plan, [executes_with_marks_settled()]);
    database.with(|contents| contents.broken = vec!["clear_marks"]);
    let error = run(&server, &database, add_column()).await.unwrap_err();
    assert!(
        matches!(error.kind(), StartErrorKind::Target { target, .. } if target == "db"),
        "{error}"
    );
    assert_eq!(server.audit(), Vec::<String>::new());
    assert_eq!(database.rows(), Vec::<String>::new());
    assert_eq!(server.calls_of(&Kind::Plan).len(), 1);
    assert_eq!(server.calls_of(&Kind::Release).len(), 1, "the lock is given back");
}

#[tokio::test]
async fn the_lease_is_extended_while_marks_are_removed() {
    let (server, database) = (FakeServer::start().await, with_a_mark());
    server.next(Kind::Plan, [executes_with_marks_settled()]);
    database.with(|contents| contents.clearing_takes = Duration::from_millis(1500));
    let app = server
        .app()
        .runner_id("me")
        .target(Target::transactional("db", database.clone()));
    app.stage(Stage::new("schema").change(add_column().on("db")))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap();
    let begun = server.calls_of(&Kind::Audit("STARTED".into()))[0].at;
    assert!(server.calls_of(&Kind::Extend)[0].at < begun);
    assert_eq!(database.rows(), ["add-column"]);
}

#[tokio::test]
async fn a_target_that_cannot_be_prepared_starts_nothing() {
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    database.with(|contents| contents.broken = vec!["prepare"]);
    let error = run(&server, &database, add_column()).await.unwrap_err();
    assert_eq!(server.audit(), Vec::<String>::new());
    assert_eq!(
        change(error.report()).error.unwrap().error_type,
        "TARGET_UNAVAILABLE"
    );
}

#[tokio::test]
async fn a_mark_that_stays_is_only_a_warning() {
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    database.with(|contents| contents.broken = vec!["clear_marks"]);
    let report = run(&server, &database, add_column()).await.unwrap();
    assert_eq!(change(&report).status, ChangeStatus::Applied);
    assert_eq!(database.marks(), ["add-column"]);
}

#[tokio::test]
async fn a_result_recorded_as_late_is_no_success_and_keeps_the_mark() {
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    server.next(
        Kind::Audit("APPLIED".into()),
        [Reply::Json(201, json!({"lock": null, "late": true}))],
    );
    server.next(
        Kind::Plan,
        [
            Reply::Usual,
            Reply::Json(
                201,
                json!({
                    "action": "CONTINUE", "synchronizedMarks": false,
                    "pipelineResult": {"stages": [{"name": "schema", "verdict": "UP_TO_DATE",
                        "changes": [{"id": "add-column", "status": "APPLIED"}]}]}
                }),
            ),
        ],
    );
    let error = run(&server, &database, add_column()).await.unwrap_err();
    assert_eq!(database.marks(), ["add-column"]);
    let change = change(error.report());
    assert_eq!(change.status, ChangeStatus::Failed);
    assert_eq!(change.error.unwrap().error_type, "RECORDED_LATE");
}

#[tokio::test]
async fn a_second_attempt_of_a_committed_change_leaves_nothing_and_writes_nothing() {
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    let zombie = database.clone();
    // A runner that lost its lock commits while this one is applying.
    let change_unit = add_column().does(move |_| {
        zombie.with(|contents| {
            contents.marks.insert("add-column".into(), MarkOperation::Applied);
        });
        Box::pin(async { Ok(()) })
    });
    let error = run(&server, &database, change_unit).await.unwrap_err();
    assert_eq!(
        server.audit(),
        ["add-column STARTED"],
        "with the mark, the server knows what that means"
    );
    assert_eq!(
        change(error.report()).error.unwrap().error_type,
        "ALREADY_COMMITTED"
    );
    assert_eq!(database.rows(), Vec::<String>::new());
    assert_eq!(mark_sent(&server, 1), "APPLIED");
}

#[tokio::test]
async fn marks_are_sent_and_exactly_those_are_cleared() {
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    database.with(|contents| {
        contents.marks.insert("add-column".into(), MarkOperation::Applied);
        contents
            .marks
            .insert("removed-from-the-code".into(), MarkOperation::Applied);
    });
    server.next(
        Kind::Plan,
        [Reply::Json(
            201,
            json!({
                "action": "CONTINUE", "synchronizedMarks": true,
                "pipelineResult": {"stages": [{"name": "schema", "verdict": "UP_TO_DATE",
                    "changes": [{"id": "add-column", "status": "ALREADY_APPLIED"}]}]}
            }),
        )],
    );
    let report = run(&server, &database, add_column()).await.unwrap();
    assert_eq!(report.already_applied_changes, 1);
    assert_eq!(mark_sent(&server, 0), "APPLIED");
    assert_eq!(database.marks(), ["removed-from-the-code"]);
}

#[tokio::test]
async fn marks_are_cleared_with_abort_and_await_as_well_and_kept_without_the_flag() {
    let mark = |contents: &mut crate::support::Contents| {
        contents.marks.insert("add-column".into(), MarkOperation::Applied);
    };
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    database.with(mark);
    server.next(
        Kind::Plan,
        [Reply::Json(
            201,
            json!({"action": "ABORT", "synchronizedMarks": true}),
        )],
    );
    run(&server, &database, add_column()).await.unwrap_err();
    assert_eq!(database.marks(), Vec::<String>::new());

    database.with(mark);
    server.next(
        Kind::Plan,
        [Reply::Json(
            201,
            json!({"action": "ABORT", "synchronizedMarks": false}),
        )],
    );
    run(&server, &database, add_column()).await.unwrap_err();
    assert_eq!(database.marks(), ["add-column"]);
}

#[tokio::test]
async fn marks_that_cannot_be_read_stop_the_run() {
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    database.with(|contents| contents.broken = vec!["marks"]);
    let error = run(&server, &database, add_column()).await.unwrap_err();
    assert!(matches!(error.kind(), StartErrorKind::Target { target, .. } if target == "db"));
    assert!(error.next_steps().contains("`db`"), "{}", error.next_steps());
    assert_eq!(server.calls_of(&Kind::Plan).len(), 0);
}

/// A mark says what the server may not know. Where it knows everything to be applied, there is nothing to be said, and an
/// application does not wait for a target system that it may not need at all.
#[tokio::test]
async fn where_everything_is_known_to_be_applied_no_target_is_asked() {
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    database.with(|contents| contents.broken = vec!["marks"]);
    server.next(Kind::Token, [Reply::session(Some(true))]);
    let report = run(&server, &database, add_column()).await.unwrap();
    assert_eq!(report.already_applied_changes, 1);
    assert_eq!(server.calls().len(), 1);
}
