//! A person's request that an execution stop.

use std::time::Duration;

use flamingock::{
    CancelReason, Change, ChangeError, ChangeFuture, ChangeInfo, Context, Flamingock, Recovery, Stage,
    StartErrorKind, Target,
};
use flamingock_api_types::progress::ExecutionCancellation;
use flamingock_tests::{
    Answer, Call, Database, Effect, Effects, Person, Runner, TestServer, eventually, tokens,
};
use serde_json::json;

use super::{begun, pipeline, report};
use crate::operations::{execution, executions};

async fn cancel(person: &Person, of: &Runner, execution: i64, reason: &str) -> Answer {
    let path = format!("{}/execution/{execution}/cancellation", Person::scope(of));
    person.post(&path, &json!({"reason": reason})).await
}

async fn cancelled(person: &Person, of: &Runner, execution: i64, reason: &str) -> ExecutionCancellation {
    cancel(person, of, execution, reason).await.expect(200).read()
}

async fn recorded(server: &TestServer) -> i64 {
    server
        .database
        .number("SELECT count(*) FROM admin_actions WHERE action = 'execution_cancel'")
        .await
}

#[tokio::test]
async fn the_holder_is_told_with_each_heartbeat_who_asked_and_why_and_no_later_execution_is() {
    let server = TestServer::start().await;
    let (runner, operator) = (server.runner("billing").await, server.operator());
    let id = begun(&runner).await;
    assert!(!runner.extended().await.cancel);
    let asked = cancelled(&operator, &runner, id, "  it slows down the shop  ").await;
    assert_eq!((asked.execution_id, &asked.runner_id), (id, &runner.id));
    assert_eq!(asked.notice.reason, "it slows down the shop");
    // This runner said nothing about its SDK.
    assert!(
        asked.message.contains("not known to look at it"),
        "{}",
        asked.message
    );
    for _ in 0..2 {
        let beat = runner.extended().await;
        assert!(beat.cancel);
        assert_eq!(beat.cancellation.as_ref(), Some(&asked.notice));
    }
    let record = execution(&operator, &runner, id).await.record;
    assert_eq!(record.cancellation.as_ref(), Some(&asked.notice));
    runner.release().await.expect(200);

    begun(&runner).await;
    let beat = runner.extended().await;
    assert_eq!((beat.cancel, beat.cancellation), (false, None));
    assert_eq!(
        executions(&operator, &runner, "").await.executions[0].cancellation,
        None
    );
}

#[tokio::test]
async fn asked_again_the_first_request_stands_and_is_recorded_once() {
    let server = TestServer::start().await;
    let (runner, operator) = (server.runner("billing").await, server.operator());
    let id = begun(&runner).await;
    let answers = futures_util::future::join_all((0..8).map(|number| {
        let (operator, runner) = (operator.clone(), runner.clone());
        async move {
            cancelled(&operator, &runner, id, &format!("reason {number}"))
                .await
                .notice
        }
    }))
    .await;
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
    assert_eq!(recorded(&server).await, 1);
    report(&runner, id, flamingock_api_types::audit::AuditState::Applied).await;
    runner.release().await.expect(200);
    let late = cancelled(&operator, &runner, id, "again").await;
    assert_eq!(late.notice, answers[0]);
    assert!(late.message.contains("is over by now"), "{}", late.message);
    assert_eq!(recorded(&server).await, 1);
}

#[tokio::test]
async fn what_is_over_is_not_asked_to_stop_and_nothing_is_recorded() {
    let server = TestServer::start().await;
    let (runner, operator) = (server.runner("billing").await, server.operator());
    let id = begun(&runner).await;
    report(&runner, id, flamingock_api_types::audit::AuditState::Applied).await;
    runner.release().await.expect(200);
    let refused = cancel(&operator, &runner, id, "too late").await;
    refused.expect_problem(409, "R_EXEC_02");
    assert!(
        refused.text().contains("all that it was offered is applied"),
        "{}",
        refused.text()
    );
    // The lock is held by its own runner again, for another execution.
    runner
        .granted(&flamingock_tests::Pipeline::of("schema", &["other"]))
        .await;
    cancel(&operator, &runner, id, "too late")
        .await
        .expect_problem(409, "R_EXEC_02");
    assert!(!runner.extended().await.cancel);
    assert_eq!(recorded(&server).await, 0);
}

#[tokio::test]
async fn invariant_9_executions_of_others_are_cancelled_like_absent_ones() {
    let server = TestServer::start().await;
    let (runner, operator) = (server.runner("billing").await, server.operator());
    begun(&runner).await;
    let (neighbour, foreign) = (
        server.runner("shipping").await,
        server.other_tenants_runner("routing").await,
    );
    let ids = [begun(&neighbour).await, begun(&foreign).await, 987_654_321, 0, -1];
    let mut answers = Vec::new();
    for id in ids {
        let answer = cancel(&operator, &runner, id, "stop").await;
        answer.expect_problem(404, "R_EXEC_01");
        answers.push(
            answer.json()["message"]
                .as_str()
                .expect("a text")
                .replace(&format!("execution {id} "), "execution N "),
        );
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
    for other in [neighbour, foreign] {
        assert!(!other.extended().await.cancel);
    }
    assert_eq!(recorded(&server).await, 0);
    for body in [
        json!({}),
        json!({"reason": ""}),
        json!({"reason": "a\0b"}),
        json!({"reason": 5}),
        json!([]),
    ] {
        let path = format!("{}/execution/1/cancellation", Person::scope(&runner));
        operator.post(&path, &body).await.expect_problem(400, "R_GEN_02");
    }
}

/// Runs until it is asked to stop.
struct Endless;

impl Change for Endless {
    fn info(&self) -> ChangeInfo {
        ChangeInfo::new("endless", "0002", "plain")
            .author("mara")
            .recovery(Recovery::AlwaysRetry)
    }

    fn apply<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
        Box::pin(async move {
            context.checkpoint()?.save(&"begun").await?;
            let cancellation = context.cancellation();
            let reason = cancellation.cancelled().await;
            let notice = cancellation.notice().expect("the server says who asked");
            Err(ChangeError::from(format!("{reason}: {}", notice.reason)))
        })
    }
}

#[tokio::test]
async fn a_change_that_looks_stops_and_nothing_more_is_begun_and_the_next_start_goes_on() {
    let server = TestServer::start().await;
    let target = Database::empty().await;
    let effects = Effects::in_database(&target).await;
    let application = |endless: bool| {
        let stage = Stage::new("work").change(Effect::new("first", "0001"));
        let stage = if endless { stage.change(Endless) } else { stage };
        Flamingock::builder(server.url())
            .token(&tokens().runner)
            .environment("production")
            .service("billing")
            .lease(Duration::from_secs(3))
            .target(Target::non_transactional("plain", effects.pool()))
            .stage(stage.change(Effect::new("last", "0003")))
            .build()
            .expect("a sound pipeline")
    };
    let (runner, operator) = (server.runner("billing").await, server.operator());
    let run = tokio::spawn({
        let application = application(true);
        async move { application.run().await }
    });
    let id = eventually("the change is under way", async || {
        let page = executions(&operator, &runner, "outcome=RUNNING").await;
        let running = page.executions.into_iter().next()?;
        (!running.under_way.is_empty()).then_some(running.execution_id)
    })
    .await;
    let asked = cancelled(&operator, &runner, id, "it slows down the shop").await;
    assert!(
        asked.message.contains("begins no further change"),
        "{}",
        asked.message
    );
    let error = run.await.expect("it did not panic").expect_err("it was stopped");
    let StartErrorKind::Cancelled { reason, notice } = error.kind() else {
        panic!("{error}");
    };
    assert_eq!(
        (*reason, notice.as_ref()),
        (CancelReason::Requested, Some(&asked.notice))
    );
    let text = error.to_string();
    assert!(
        text.contains("it slows down the shop") && text.contains(&asked.notice.requested_by),
        "{text}"
    );
    assert_eq!(effects.of("first").await, ["one", "two"]);
    assert_eq!(effects.of("last").await, [""; 0], "no further change was begun");
    assert_eq!(operator.states(&runner, "endless").await, ["STARTED", "FAILED"]);
    runner.lock().await.expect_problem(404, "R_LOCK_03");

    let report = application(false)
        .run()
        .await
        .expect("the next start is not meant");
    assert_eq!(report.applied_changes, 1, "{report}");
    assert_eq!(effects.of("last").await, ["one", "two"]);
}

#[tokio::test]
async fn a_runner_that_waits_is_not_touched_by_a_request_to_stop_the_holder() {
    let server = TestServer::start().await;
    let (runner, operator) = (server.runner("billing").await, server.operator());
    let id = begun(&runner).await;
    let waiting = runner.another();
    let held = tokio::spawn({
        let waiting = waiting.clone();
        let call = Call::post(format!("{}?elapsedMillis=0", waiting.plan_path())).json(&pipeline().body());
        let call = waiting.with_headers(call).header("Prefer", "wait=50");
        async move { call.send(&waiting.address).await }
    });
    eventually("it is parked", async || {
        (server.metric("flamingock_plan_waiters ").await > 0.5).then_some(())
    })
    .await;
    cancelled(&operator, &runner, id, "stop").await;
    assert!(runner.extended().await.cancel);
    report(&runner, id, flamingock_api_types::audit::AuditState::Failed).await;
    runner.release().await.expect(200);
    let plan = held.await.expect("it did not panic").expect(201).json();
    assert_eq!(plan["action"], "EXECUTE", "{plan}");
    assert!(!waiting.extended().await.cancel);
}
