//! S 3.2: changes outside transactions, with a fault at each audit write.

use flamingock::{Builder, ChangeStatus, Recovery, Stage, StageState, Target};
use serde_json::Value;

use crate::support::{FakeServer, IMPATIENT, Kind, Log, Reply, Step, step};

fn app(server: &FakeServer, log: &Log, change: Step) -> Builder {
    server
        .app()
        .target(Target::non_transactional("shell", log.clone()))
        .stage(Stage::new("seed").change(change).change(step("after", "0002")))
}

fn audit(server: &FakeServer, state: &str) -> Value {
    server.calls_of(&Kind::Audit(state.to_owned()))[0].body.clone()
}

#[tokio::test]
async fn success_is_started_then_applied() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let app = app(
        &server,
        &log,
        step("load", "0001").recovery(Recovery::AlwaysRetry),
    )
    .metadata("team", "blue");
    let report = app.build().unwrap().run().await.unwrap();

    assert_eq!(
        server.audit(),
        ["load STARTED", "load APPLIED", "after STARTED", "after APPLIED"]
    );
    assert_eq!(log.lines(), ["apply load", "apply after"]);
    assert_eq!((report.applied_changes, report.completed_stages), (2, 1));
    let entry = audit(&server, "APPLIED");
    assert_eq!(entry["stageId"], "seed");
    assert_eq!(entry["author"], "mara");
    assert_eq!(entry["methodName"], "apply");
    assert_eq!(entry["txStrategy"], "NON_TX");
    assert_eq!(entry["type"], "STANDARD_CODE");
    assert_eq!(entry["targetSystemId"], "shell");
    assert_eq!(entry["order"], "0001");
    assert_eq!(entry["recoveryStrategy"], "ALWAYS_RETRY");
    assert_eq!(entry["transactionFlag"], true);
    assert_eq!(entry["systemChange"], false);
    assert_eq!(entry["errorTrace"], "");
    assert_eq!(entry["fence"], 7);
    assert_eq!(entry["metadata"]["team"], "blue");
    assert!(
        entry["className"]
            .as_str()
            .is_some_and(|name| name.ends_with("Step"))
    );
    assert!(
        entry["executionHostname"]
            .as_str()
            .is_some_and(|host| !host.is_empty())
    );
    assert!(
        entry["appliedAtEpochMillis"]
            .as_i64()
            .is_some_and(|at| at > 1_600_000_000_000)
    );
}

#[tokio::test]
async fn a_failure_is_rolled_back_and_the_first_error_stays_the_error() {
    for (rollback, state) in [(Ok(()), "ROLLED_BACK"), (Err("stuck as well"), "ROLLBACK_FAILED")] {
        let (server, log) = (FakeServer::start().await, Log::default());
        let error = app(
            &server,
            &log,
            step("load", "0001").fails("no such file").rollback(rollback),
        )
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();

        assert_eq!(
            server.audit(),
            ["load STARTED", "load FAILED", &format!("load {state}")]
        );
        assert_eq!(log.lines(), ["apply load", "rollback load"]);
        let change = error.report().change("load").unwrap();
        assert_eq!(change.status, ChangeStatus::Failed);
        assert_eq!(change.error.as_ref().unwrap().message, "no such file");
        assert_eq!(
            error.report().change("after").unwrap().status,
            ChangeStatus::NotReached
        );
        assert_eq!(audit(&server, state)["methodName"], "rollback");
        let trace: Value =
            serde_json::from_str(audit(&server, "FAILED")["errorTrace"].as_str().unwrap()).unwrap();
        assert_eq!(trace["message"], "no such file");
        // The next plan request says so.
        let plan = server.calls_of(&Kind::Plan).pop().unwrap();
        let stage = &plan.body["clientSubmission"]["blocks"][0]["stages"][0];
        assert_eq!(
            (&stage["status"], &stage["changes"][0]["currentStatus"]),
            (&"FAILED".into(), &"FAILED".into())
        );
        assert_eq!(stage["changes"][1].get("currentStatus"), None);
    }
}

#[tokio::test]
async fn without_a_rollback_it_stays_failed() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let error = app(&server, &log, step("load", "0001").fails("no"))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    assert_eq!(server.audit(), ["load STARTED", "load FAILED"]);
    assert_eq!(error.report().stages[0].state, StageState::Failed);
    assert!(error.next_steps().contains("start again"));
}

#[tokio::test]
async fn a_panic_is_a_failure_of_the_change() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let error = app(&server, &log, step("load", "0001").panics().rollback(Ok(())))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    assert_eq!(
        server.audit(),
        ["load STARTED", "load FAILED", "load ROLLED_BACK"]
    );
    let trace: Value =
        serde_json::from_str(audit(&server, "FAILED")["errorTrace"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&trace["type"], &trace["message"]),
        (&"panic".into(), &"out of cheese".into())
    );
    assert_eq!(
        error
            .report()
            .change("load")
            .unwrap()
            .error
            .as_ref()
            .unwrap()
            .error_type,
        "panic"
    );
}

#[tokio::test]
async fn without_an_acknowledged_start_nothing_is_applied() {
    for reply in [
        Reply::problem(409, "R_AUDIT_01"),
        Reply::problem(500, "R_GEN_09"),
        Reply::Text(503, "busy"),
        Reply::Hang,
        Reply::Swallow,
    ] {
        let (server, log) = (FakeServer::start().await, Log::default());
        let in_doubt = matches!(reply, Reply::Hang | Reply::Swallow);
        server.always(Kind::Audit("STARTED".into()), reply);
        let app = app(&server, &log, step("load", "0001").rollback(Ok(())))
            .lease(std::time::Duration::from_secs(1))
            .request_timeout(IMPATIENT);
        // The heartbeat must not keep the start waiting for its full patience here.
        server.always(Kind::Extend, Reply::problem(409, "R_LOCK_01"));
        let error = app.build().unwrap().run().await.unwrap_err();

        assert_eq!(log.lines(), Vec::<String>::new());
        let mut audit = server.audit();
        audit.dedup();
        // What may have been recorded must not leave a person to decide about a change that never ran.
        let expected: &[&str] = if in_doubt {
            &["load STARTED", "load FAILED", "load ROLLED_BACK"]
        } else {
            &["load STARTED"]
        };
        assert_eq!(audit, expected);
        let change = error.report().change("load").unwrap();
        assert_eq!(change.status, ChangeStatus::Failed);
        assert!(
            ["START_REFUSED", "AUDIT_WRITE_FAILED"].contains(&&*change.error.as_ref().unwrap().error_type)
        );
        assert_eq!(server.calls_of(&Kind::Release).len(), 1, "the lock is given back");
    }
}

#[tokio::test]
async fn an_unanswered_start_is_repeated_and_then_applied_once() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.next(
        Kind::Audit("STARTED".into()),
        [Reply::Swallow, Reply::Text(503, "busy"), Reply::Text(502, "")],
    );
    app(&server, &log, step("load", "0001"))
        .request_timeout(IMPATIENT)
        .build()
        .unwrap()
        .run()
        .await
        .unwrap();
    assert_eq!(
        server.audit()[..5],
        [
            "load STARTED",
            "load STARTED",
            "load STARTED",
            "load STARTED",
            "load APPLIED"
        ]
    );
    assert_eq!(log.lines(), ["apply load", "apply after"]);
    let keys: std::collections::HashSet<_> = server.calls_of(&Kind::Audit("STARTED".into()))[..4]
        .iter()
        .map(|call| call.headers["idempotency-key"].clone())
        .collect();
    assert_eq!(keys.len(), 1, "one intention, one key");
}

#[tokio::test]
async fn a_refused_or_unanswered_result_is_repeated_and_never_undone() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let replies = [
        Reply::problem(500, "R_GEN_09"),
        Reply::problem(409, "R_AUDIT_01"),
        Reply::problem(403, "R_AUTH_03"),
        Reply::Swallow,
        Reply::Text(404, "<html>"),
    ];
    server.next(Kind::Audit("APPLIED".into()), replies);
    let report = app(&server, &log, step("load", "0001").rollback(Ok(())))
        .request_timeout(IMPATIENT)
        .build()
        .unwrap()
        .run()
        .await
        .unwrap();
    assert_eq!(report.applied_changes, 2);
    assert_eq!(
        log.lines(),
        ["apply load", "apply after"],
        "nothing was rolled back"
    );
    assert_eq!(
        server
            .audit()
            .iter()
            .filter(|entry| *entry == "load APPLIED")
            .count(),
        6
    );
}

#[tokio::test]
async fn a_result_that_cannot_be_recorded_leaves_the_change_in_place() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.always(Kind::Audit("APPLIED".into()), Reply::problem(503, "R_GEN_08"));
    server.always(Kind::Extend, Reply::problem(503, "R_GEN_08"));
    let error = app(&server, &log, step("load", "0001").rollback(Ok(())))
        .lease(std::time::Duration::from_secs(1))
        .request_timeout(IMPATIENT)
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    assert_eq!(log.lines(), ["apply load"]);
    assert_eq!(server.audit()[0], "load STARTED");
    assert!(
        server.audit()[1..].iter().all(|entry| entry == "load APPLIED"),
        "{:?}",
        server.audit()
    );
    assert!(
        server.audit().len() > 3,
        "it was tried again and again: {:?}",
        server.audit()
    );
    let change = error.report().change("load").unwrap();
    assert_eq!(change.status, ChangeStatus::Failed);
    assert_eq!(change.error.as_ref().unwrap().error_type, "AUDIT_WRITE_FAILED");
}

#[tokio::test]
async fn a_failure_that_cannot_be_recorded_is_rolled_back_all_the_same() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.next(
        Kind::Audit("FAILED".into()),
        vec![Reply::problem(400, "R_GEN_02"); 3],
    );
    server.next(
        Kind::Audit("ROLLED_BACK".into()),
        [Reply::problem(500, "R_GEN_09")],
    );
    app(&server, &log, step("load", "0001").fails("no").rollback(Ok(())))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    assert_eq!(log.lines(), ["apply load", "rollback load"]);
    let audit = server.audit();
    assert_eq!(audit.iter().filter(|entry| *entry == "load FAILED").count(), 4);
    assert_eq!(
        audit.iter().filter(|entry| *entry == "load ROLLED_BACK").count(),
        2
    );
}

#[tokio::test]
async fn the_other_stages_of_the_block_still_run() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let error = server
        .app()
        .target(Target::non_transactional("shell", log.clone()))
        .stage(Stage::new("one").change(step("a", "0001").fails("no")))
        .stage(Stage::new("two").change(step("b", "0001")))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    assert_eq!(log.lines(), ["apply a", "apply b"]);
    let report = error.report();
    assert_eq!((report.failed_stages, report.completed_stages), (1, 1));
    assert!(
        report.one_line().contains("1 of 2 stage(s) failed [one]"),
        "{}",
        report.one_line()
    );
}

#[tokio::test]
async fn a_start_that_is_refused_after_an_unanswered_attempt_is_not_contradicted() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.next(
        Kind::Audit("STARTED".into()),
        [Reply::Hang, Reply::problem(409, "R_AUDIT_01")],
    );
    let error = app(&server, &log, step("load", "0001"))
        .request_timeout(IMPATIENT)
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    assert_eq!(server.audit(), ["load STARTED", "load STARTED"]);
    let change = error.report().change("load").unwrap();
    assert_eq!(change.error.as_ref().unwrap().error_type, "START_REFUSED");
}

#[tokio::test]
async fn a_start_that_may_have_been_recorded_before_the_server_was_overloaded_is_taken_back() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let mut replies = vec![Reply::Swallow];
    replies.extend(vec![Reply::Text(503, "busy"); 200]);
    server.next(Kind::Audit("STARTED".into()), replies);
    server.always(Kind::Extend, Reply::problem(409, "R_LOCK_01"));
    app(&server, &log, step("load", "0001"))
        .lease(std::time::Duration::from_secs(2))
        .request_timeout(IMPATIENT)
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    let mut audit = server.audit();
    audit.dedup();
    assert_eq!(audit, ["load STARTED", "load FAILED", "load ROLLED_BACK"]);
    assert_eq!(log.lines(), Vec::<String>::new());
}

fn late() -> Reply {
    Reply::Json(201, serde_json::json!({"lock": null, "late": true}))
}

#[tokio::test]
async fn a_success_that_is_recorded_as_late_does_not_let_the_application_start() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.next(Kind::Audit("APPLIED".into()), [late()]);
    let error = app(&server, &log, step("load", "0001").rollback(Ok(())))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    assert_eq!(log.lines(), ["apply load"], "neither undone nor gone on from");
    let change = error.report().change("load").unwrap();
    assert_eq!(change.status, ChangeStatus::Failed);
    let error = change.error.as_ref().unwrap();
    assert_eq!(error.error_type, "RECORDED_LATE");
    assert!(error.message.contains("evidence only"), "{}", error.message);
    let plan = server.calls_of(&Kind::Plan).pop().unwrap();
    let stage = &plan.body["clientSubmission"]["blocks"][0]["stages"][0];
    assert_eq!(stage["status"], "FAILED");
}

#[tokio::test]
async fn a_failure_that_is_recorded_as_late_is_not_rolled_back() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.next(Kind::Audit("FAILED".into()), [late()]);
    app(&server, &log, step("load", "0001").fails("no").rollback(Ok(())))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    assert_eq!(log.lines(), ["apply load"], "another has written since");
    assert_eq!(server.audit(), ["load STARTED", "load FAILED"]);
}

#[tokio::test]
async fn a_result_outlives_a_long_retry_after() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.next(Kind::Audit("APPLIED".into()), [Reply::RetryAfter(503, 120)]);
    let report = app(&server, &log, step("load", "0001"))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap();
    assert_eq!(report.applied_changes, 2);
}

#[tokio::test]
async fn a_result_outlives_a_session_that_cannot_be_renewed_at_once() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.next(
        Kind::Token,
        [Reply::Usual, Reply::problem(500, "R_GEN_09"), Reply::Hang],
    );
    server.next(
        Kind::Audit("APPLIED".into()),
        vec![Reply::problem(401, "R_AUTH_02"); 3],
    );
    let report = app(&server, &log, step("load", "0001"))
        .request_timeout(IMPATIENT)
        .build()
        .unwrap()
        .run()
        .await
        .unwrap();
    assert_eq!(report.applied_changes, 2);
    assert_eq!(log.lines(), ["apply load", "apply after"]);
    assert_eq!(
        server.calls_of(&Kind::Token).len(),
        4,
        "each pause allows for another renewal"
    );
}
