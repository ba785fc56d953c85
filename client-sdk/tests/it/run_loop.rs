//! S 4.1 and W 3.3: from plan to plan.

use std::time::Duration;

use flamingock::{
    Builder, ChangeStatus, RunStatus, Stage, StageKind, StageState, StartErrorKind, Target, Verdict,
    wire::digest,
};
use serde_json::{Value, json};

use crate::support::{Call, FakeServer, Kind, Log, Reply, step};

fn app(server: &FakeServer, log: &Log) -> Builder {
    server
        .app()
        .target(Target::non_transactional("shell", log.clone()))
        .stage(
            Stage::new("schema")
                .change(step("b", "0002"))
                .change(step("a", "0001")),
        )
        .stage(Stage::new("seed").change(step("c", "0001")))
}

fn lock() -> Value {
    json!({"key": "340", "owner": "me", "acquisitionId": "x", "acquiredForMillis": 3000})
}

fn continues() -> Reply {
    Reply::Json(
        201,
        json!({"action": "CONTINUE", "pipelineResult": {"stages": []}}),
    )
}

fn execute(stages: &Value) -> Reply {
    Reply::Json(
        201,
        json!({"action": "EXECUTE", "executionId": 5, "lock": lock(), "stages": stages, "pipelineResult": {"stages": []}}),
    )
}

fn plans(server: &FakeServer) -> Vec<Call> {
    server.calls_of(&Kind::Plan)
}

#[tokio::test]
async fn a_first_start_in_calls() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let app = app(&server, &log)
        .application_version("1.2.3")
        .commit("abc")
        .build()
        .unwrap();
    let report = app.run().await.unwrap();
    let kinds: Vec<_> = server.calls().into_iter().map(|call| call.kind).collect();
    let audit = |state: &str| Kind::Audit(state.into());
    let (started, applied) = (audit("STARTED"), audit("APPLIED"));
    let mut expected = vec![Kind::Token, Kind::Plan];
    expected.extend([&started, &applied, &started, &applied, &started, &applied].map(Clone::clone));
    expected.extend([Kind::Release, Kind::Plan]);
    assert_eq!(kinds, expected);
    assert_eq!(
        log.lines(),
        ["apply a", "apply b", "apply c"],
        "by order, whatever the order of declaration"
    );
    assert_eq!(report.status, RunStatus::Success);

    let first = &plans(&server)[0];
    assert_eq!(first.path, "/api/v1/environment/12/service/340/execution");
    assert_eq!(first.query, "elapsedMillis=0");
    assert_eq!(first.headers["content-type"], "application/json; charset=utf-8");
    assert_eq!(first.headers["authorization"], "Bearer header.claims.signature");
    assert_eq!(first.headers["flamingock-runner-id"], app.runner_id().unwrap());
    assert_eq!(first.headers["prefer"], "wait=1", "a third of the lease");
    assert_eq!(first.body["lockAcquiredForMillis"], 3000);
    assert_eq!(first.body["runner"]["applicationVersion"], "1.2.3");
    assert_eq!(first.body["runner"]["commit"], "abc");
    assert!(
        first.body["runner"]["sdk"]
            .as_str()
            .unwrap()
            .starts_with("flamingock-rust/")
    );
    let stages = &first.body["clientSubmission"]["blocks"][0]["stages"];
    assert_eq!(
        stages[0]["changes"][0],
        json!({
            "id": "a", "ongoingStatus": "NONE", "transactional": true, "order": "0001", "author": "mara",
            "targetSystemId": "shell", "recoveryStrategy": "MANUAL_INTERVENTION", "hasRollback": false
        })
    );
    assert_eq!((&stages[0]["order"], &stages[1]["order"]), (&json!(0), &json!(1)));
    let second = &plans(&server)[1].body["clientSubmission"]["blocks"][0]["stages"];
    assert_eq!(
        (&second[0]["status"], &second[0]["changes"][0]["currentStatus"]),
        (&json!("COMPLETED"), &json!("APPLIED"))
    );
    let session = &server.calls_of(&Kind::Token)[0].body;
    assert!(session["digest"].as_str().unwrap().starts_with(digest::PREFIX));
    assert_eq!(session.get("certificate"), None, "nobody asked for one");
}

#[tokio::test]
async fn a_known_digest_is_the_whole_run() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.next(Kind::Token, [Reply::session(Some(true))]);
    let app = app(&server, &log).build().unwrap();
    let report = app.run().await.unwrap();
    assert_eq!(server.calls().len(), 1);
    assert_eq!(report.status, RunStatus::NoChanges);
    assert_eq!((report.already_applied_changes, report.up_to_date_stages), (3, 2));

    // True of that moment, and the session lasts longer: a second run of the same process asks.
    let report = app.run().await.unwrap();
    assert_eq!(report.applied_changes, 3);
    assert_eq!(server.calls_of(&Kind::Token).len(), 1);
}

/// Servers that do not know digests ignore the field.
#[tokio::test]
async fn whoever_is_not_told_that_all_is_applied_submits_the_pipeline() {
    for all_applied in [Some(false), None] {
        let (server, log) = (FakeServer::start().await, Log::default());
        server.next(Kind::Token, [Reply::session(all_applied)]);
        let report = app(&server, &log).build().unwrap().run().await.unwrap();
        assert_eq!(report.applied_changes, 3, "{all_applied:?}");
    }
}

#[tokio::test]
async fn a_second_start_does_nothing() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.set_applied(&["a", "b", "c"]);
    let report = app(&server, &log).build().unwrap().run().await.unwrap();
    assert_eq!(report.status, RunStatus::NoChanges);
    assert_eq!(report.stages[0].verdict, Verdict::UpToDate);
    assert_eq!(log.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn waiting_names_what_it_waits_for_and_goes_on_when_the_work_was_done_by_another() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.next(
        Kind::Plan,
        [
            Reply::wait("first", 60_000),
            Reply::wait("first", 60_000),
            Reply::wait("second", 60_000),
            continues(),
        ],
    );
    let report = app(&server, &log).build().unwrap().run().await.unwrap();
    assert_eq!(report.already_applied_changes, 3);
    let plans = plans(&server);
    let elapsed = |call: &Call| {
        let (_, millis) = call.query.split_once("elapsedMillis=").unwrap();
        millis.parse::<u64>().unwrap()
    };
    assert_eq!(plans[0].query, "elapsedMillis=0");
    assert!(
        plans[1].query.starts_with("lastAcquisitionId=first&"),
        "{}",
        plans[1].query
    );
    assert!(elapsed(&plans[2]) > elapsed(&plans[1]));
    assert!(plans[3].query.starts_with("lastAcquisitionId=second&"));
    assert!(
        elapsed(&plans[3]) < elapsed(&plans[2]),
        "another id, another stopwatch"
    );
    for pair in plans.windows(2) {
        assert!(
            pair[1].at - pair[0].at >= Duration::from_millis(95),
            "{:?}",
            pair[1].at - pair[0].at
        );
    }
    assert_eq!(
        server.calls_of(&Kind::Release).len(),
        0,
        "what is not held is not given back"
    );
}

#[tokio::test]
async fn even_a_lease_that_should_have_ended_is_not_asked_for_in_a_hot_loop() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.always(Kind::Plan, Reply::wait("same", 1));
    let app = app(&server, &log)
        .wait_for_lock(Duration::from_secs(1))
        .build()
        .unwrap();
    let error = app.run().await.unwrap_err();
    assert!(plans(&server).len() <= 12, "{}", plans(&server).len());
    assert!(error.is_lock_unavailable());
    assert!(
        error
            .to_string()
            .contains("Quit trying to acquire the lock after"),
        "{error}"
    );
    assert!(error.next_steps().contains("orders@other#1"));
    assert_eq!(error.report().not_reached_changes, 3);
}

#[tokio::test]
async fn a_lock_that_cannot_be_had_may_be_no_error() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.always(Kind::Plan, Reply::wait("same", 60_000));
    let app = app(&server, &log)
        .wait_for_lock(Duration::ZERO)
        .fail_if_lock_unavailable(false)
        .build()
        .unwrap();
    let report = app.run().await.unwrap();
    assert_eq!(report.status, RunStatus::Failed);
    assert_eq!(plans(&server).len(), 1, "no wait, no second request");
    assert!(!plans(&server)[0].headers.contains_key("prefer"));
}

#[tokio::test]
async fn a_stage_with_one_doubtful_change_is_blocked_whole() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let stages = json!([
        {"name": "seed", "order": 1, "changes": [{"id": "c", "action": "APPLY"}]},
        {"name": "schema", "order": 0, "changes": [{"id": "a", "action": "APPLY"}, {"id": "b", "action": "MANUAL_INTERVENTION"}]}
    ]);
    server.next(
        Kind::Plan,
        [execute(&stages), Reply::Json(201, json!({"action": "ABORT"}))],
    );
    let error = app(&server, &log).build().unwrap().run().await.unwrap_err();
    assert_eq!(log.lines(), ["apply c"], "the other stage runs");
    assert!(
        matches!(error.kind(), StartErrorKind::ManualIntervention { change_ids } if *change_ids == ["b"])
    );
    assert!(error.is_manual_intervention());
    assert_eq!(
        error.report().stages[0].state,
        StageState::BlockedManualIntervention
    );
    assert!(
        error
            .to_string()
            .contains("manual intervention required for change(s): b"),
        "{error}"
    );
    assert!(error.next_steps().contains("check in the target system"));
    assert!(
        error
            .report()
            .to_string()
            .contains("[BLOCKED — manual intervention required] schema")
    );
    let stage = &plans(&server)[1].body["clientSubmission"]["blocks"][0]["stages"][0];
    assert_eq!(stage["status"], "BLOCKED_MANUAL_INTERVENTION");
    assert_eq!(stage["changes"][0].get("currentStatus"), None);
}

#[tokio::test]
async fn an_abort_without_a_failure_is_an_error_with_the_servers_reason() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let abort =
        json!({"action": "ABORT", "reasons": {"code": "FROZEN", "message": "deployments are frozen"}});
    server.next(Kind::Plan, [Reply::Json(201, abort)]);
    let error = app(&server, &log).build().unwrap().run().await.unwrap_err();
    assert!(error.to_string().contains("deployments are frozen"), "{error}");
}

#[tokio::test]
async fn a_stop_by_policy_is_an_error_that_says_what_to_do_and_is_not_asked_again() {
    for (code, next) in [
        ("R_POLICY_01", "freeze has ended"),
        ("R_POLICY_02", "approve them"),
        ("R_POLICY_03", "Correct the changes"),
        ("R_POLICY_04", "Correct the changes"),
    ] {
        let (server, log) = (FakeServer::start().await, Log::default());
        let problem = json!({
            "code": code, "message": "Nothing was started: change b waits.", "recoverable": true, "details": ["b"]
        });
        server.always(Kind::Plan, Reply::Json(409, problem));
        let error = app(&server, &log).build().unwrap().run().await.unwrap_err();
        assert!(error.is_stopped_by_policy(), "{error}");
        assert!(
            matches!(error.kind(), StartErrorKind::StoppedByPolicy { change_ids, .. } if *change_ids == ["b"])
        );
        assert!(error.to_string().contains("change b waits"), "{error}");
        assert!(error.next_steps().contains(next), "{error}");
        assert_eq!(log.lines(), Vec::<String>::new());
        assert_eq!(plans(&server).len(), 1, "a person has to act first");
    }
}

#[tokio::test]
async fn answers_that_make_no_sense_are_not_acted_on_and_the_lock_is_given_back() {
    let apply = |id: &str| json!({"id": id, "action": "APPLY"});
    let schema = |changes: Value| json!([{"name": "schema", "order": 0, "changes": changes}]);
    let twice = json!([
        {"name": "seed", "order": 1, "changes": [apply("c")]}, {"name": "seed", "order": 1, "changes": [apply("c")]}
    ]);
    let offers = [
        (
            schema(json!([apply("a")])),
            "does not say what to do with change `b`",
        ),
        (
            schema(json!([apply("a"), apply("b"), apply("x")])),
            "unknown change `x`",
        ),
        (
            schema(json!([apply("a"), apply("a"), apply("b")])),
            "change `a` twice",
        ),
        (
            schema(json!([apply("a"), {"id": "b", "action": "THINK"}])),
            "action for change `b` is unknown",
        ),
        (
            json!([{"name": "other", "order": 0, "changes": []}]),
            "unknown stage `other`",
        ),
        (twice, "stage `seed` twice"),
        (json!([]), "no stage"),
    ];
    for (stages, complaint) in offers {
        let (server, log) = (FakeServer::start().await, Log::default());
        server.next(Kind::Plan, [execute(&stages)]);
        let error = app(&server, &log).build().unwrap().run().await.unwrap_err();
        assert!(
            matches!(error.kind(), StartErrorKind::Protocol(text) if text.contains(complaint)),
            "{error}"
        );
        assert_eq!(log.lines(), Vec::<String>::new());
        assert_eq!(server.calls_of(&Kind::Release).len(), 1, "{complaint}");
        assert_eq!(server.calls_of(&Kind::Extend).len(), 0);
    }
}

#[tokio::test]
async fn other_answers_that_make_no_sense() {
    let answers = [
        json!({"action": "DANCE"}),
        json!({"executionId": 1}),
        json!({"action": "CONTINUE"}),
        json!({"action": "AWAIT"}),
        json!({"action": "EXECUTE", "executionId": 1, "stages": [], "pipelineResult": {"stages": []}}),
        json!({"action": "CONTINUE", "pipelineResult": {"stages": [{"name": "other", "verdict": "UP_TO_DATE", "changes": []}]}}),
        json!({"action": "CONTINUE", "pipelineResult": {"stages": [
            {"name": "seed", "verdict": "NEEDS_WORK", "changes": [{"id": "c", "status": "NOT_REACHED"}]}]}}),
    ];
    for answer in answers {
        let (server, log) = (FakeServer::start().await, Log::default());
        server.next(Kind::Plan, [Reply::Json(201, answer.clone())]);
        let error = app(&server, &log).build().unwrap().run().await.unwrap_err();
        let unreadable = matches!(error.kind(), StartErrorKind::Server(error) if error.is_unreadable());
        assert!(
            unreadable || matches!(error.kind(), StartErrorKind::Protocol(_)),
            "{answer}: {error}"
        );
    }
}

#[tokio::test]
async fn a_stage_offered_again_would_go_round_in_circles() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let stages = json!([{"name": "seed", "order": 1, "changes": [{"id": "c", "action": "SKIP"}]}]);
    server.always(Kind::Plan, execute(&stages));
    let error = app(&server, &log).build().unwrap().run().await.unwrap_err();
    assert!(error.to_string().contains("offers stage `seed` again"), "{error}");
    assert_eq!(
        error.report().change("c").unwrap().status,
        ChangeStatus::AlreadyApplied
    );
    assert_eq!(server.calls_of(&Kind::Release).len(), 2);
}

#[tokio::test]
async fn an_answer_from_the_future_is_understood() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let stages = json!([{"name": "seed", "order": 1, "priority": "high", "changes": [{"id": "c", "action": "APPLY", "hint": {}}]}]);
    server.next(
        Kind::Plan,
        [
            Reply::Json(
                201,
                json!({
                    "action": "EXECUTE", "executionId": 5, "lock": lock(), "stages": stages, "weather": [1, 2],
                    "pipelineResult": {"stages": [{"name": "schema", "verdict": "LOOKS_GOOD", "changes":
                        [{"id": "a", "status": "DREAMT"}, {"id": "b", "status": "ALREADY_APPLIED"}]}]}
                }),
            ),
            continues(),
        ],
    );
    let report = app(&server, &log).build().unwrap().run().await.unwrap();
    assert_eq!(log.lines(), ["apply c"]);
    assert_eq!(report.change("b").unwrap().status, ChangeStatus::AlreadyApplied);
}

#[tokio::test]
async fn blocks_are_gates() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let error = server
        .app()
        .target(Target::non_transactional("shell", log.clone()))
        .stage(Stage::new("app").change(step("a", "0001")))
        .stage(
            Stage::new("old")
                .kind(StageKind::Legacy)
                .change(step("l", "1").fails("no")),
        )
        .stage(
            Stage::new("base")
                .kind(StageKind::System)
                .change(step("s", "0001")),
        )
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    assert_eq!(log.lines(), ["apply s", "apply l"]);
    let blocks = &plans(&server)[0].body["clientSubmission"]["blocks"];
    let names: Vec<_> = blocks
        .as_array()
        .unwrap()
        .iter()
        .map(|block| block["type"].clone())
        .collect();
    assert_eq!(names, ["SYSTEM", "LEGACY", "DEFAULT"]);
    assert_eq!(blocks[2]["stages"][0]["order"], 2);
    assert!(
        error.report().to_string().contains("Not reached (1): app"),
        "{}",
        error.report()
    );
}

#[tokio::test]
async fn what_makes_no_sense_validates_nothing() {
    let stage = |name: &str, action: &str| {
        let change = |id: &str| json!({"id": id, "action": action, "code": "X", "message": "x"});
        let changes: Vec<_> = if name == "seed" { vec!["c"] } else { vec!["a", "b"] };
        let changes: Vec<_> = changes.into_iter().map(change).collect();
        json!({"name": name, "verdict": "NEEDS_WORK", "changes": changes})
    };
    let preview = |verdict: &str, stages: &[Value]| {
        let counts = json!({"applied": 0, "pending": 0, "needsPerson": 0, "inProgress": 0, "missing": 0});
        Reply::Json(
            200,
            json!({
                "verdict": verdict, "verdictWhenFree": verdict, "message": "so it is", "stages": stages, "counts": counts,
                "headSeq": 3, "judgedAt": "2026-01-01T00:00:00Z"
            }),
        )
    };
    let (server, log) = (FakeServer::start().await, Log::default());
    for (reply, complaint) in [
        (preview("PERHAPS", &[]), "verdict is unknown"),
        (
            preview("UP_TO_DATE", &[stage("schema", "APPLY")]),
            "`a` is not applied",
        ),
        (preview("UP_TO_DATE", &[stage("other", "SKIP")]), "unknown stage"),
        (
            preview("NEEDS_PERSON", &[stage("schema", "APPLY")]),
            "for no change",
        ),
        (preview("HELD", &[stage("schema", "APPLY")]), "by whom"),
    ] {
        server.next(Kind::Other, [reply]);
        let app = app(&server, &log).validate_only(true).build().unwrap();
        let error = app.run().await.unwrap_err();
        assert!(
            matches!(error.kind(), StartErrorKind::Protocol(text) if text.contains(complaint)),
            "{error}"
        );
    }
    server.next(
        Kind::Other,
        [preview(
            "UP_TO_DATE",
            &[stage("schema", "SKIP"), stage("seed", "SKIP")],
        )],
    );
    let report = app(&server, &log)
        .validate_only(true)
        .build()
        .unwrap()
        .run()
        .await
        .unwrap();
    assert_eq!(report.status, RunStatus::NoChanges);
    assert_eq!((log.lines(), server.audit()), (vec![], vec![]));
    assert!(plans(&server).is_empty());
    let mut sessions = server.calls_of(&Kind::Token).into_iter();
    assert!(
        sessions.all(|call| call.body.get("digest").is_none()),
        "who only looks is told by the preview"
    );
}

#[tokio::test]
async fn switched_off_nothing_is_opened() {
    let app = flamingock::Flamingock::builder("")
        .enabled(false)
        .build()
        .unwrap();
    assert_eq!(app.run().await.unwrap().status, RunStatus::NoChanges);
    let (server, log) = (FakeServer::start().await, Log::default());
    self::app(&server, &log)
        .enabled(false)
        .build()
        .unwrap()
        .run()
        .await
        .unwrap();
    assert_eq!(server.calls().len(), 0);
}

#[tokio::test]
async fn a_server_error_ends_the_run_with_what_to_do() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.always(Kind::Token, Reply::problem(401, "R_AUTH_01"));
    let error = app(&server, &log).build().unwrap().run().await.unwrap_err();
    assert!(error.next_steps().contains("Check the API token"), "{error}");
    assert_eq!(server.calls().len(), 1, "a refusal is not repeated");
    assert_eq!(error.report().error.as_ref().unwrap().error_type, "SERVER_ERROR");
    let nobody = flamingock::Flamingock::builder("http://127.0.0.1:1")
        .token("t")
        .environment("e")
        .service("s");
    let error = nobody
        .retry_for(Duration::from_millis(300))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    assert!(error.next_steps().contains("can be reached"), "{error}");
    let StartErrorKind::Server(error) = error.kind() else {
        panic!("{error}")
    };
    assert!(error.is_connect() && error.attempts() > 1, "{error:?}");
}

#[tokio::test]
async fn a_run_can_be_spawned() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let app = app(&server, &log).build().unwrap();
    let report = tokio::spawn(async move { app.run().await })
        .await
        .unwrap()
        .unwrap();
    assert_eq!(report.applied_changes, 3);
}

#[tokio::test]
async fn two_runs_of_one_value_take_turns() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let slow = step("slow", "0001").does(|client| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            client.expect("outside a transaction").note("done");
            Ok(())
        })
    });
    let app = server
        .app()
        .target(Target::non_transactional("shell", log.clone()))
        .stage(Stage::new("s").change(slow))
        .build()
        .unwrap();
    let (one, other) = tokio::join!(app.run(), app.run());
    let mut statuses = [one.unwrap().status, other.unwrap().status];
    statuses.sort_by_key(|status| *status == RunStatus::NoChanges);
    assert_eq!(statuses, [RunStatus::Success, RunStatus::NoChanges]);
    assert_eq!(log.lines(), ["apply slow", "done"]);
}
