//! A pending change that stands before an applied one of its stage.

use flamingock_api_types::execution::PlanAction;
use flamingock_api_types::policy::PolicyKind;
use flamingock_tests::{Person, Pipeline, Runner, TestServer};
use serde_json::json;

use super::{message, set};

/// Changes `b` and `d` are applied.
async fn applied(server: &TestServer) -> Runner {
    let runner = server.runner("billing").await;
    runner
        .bring_up_to_date(&Pipeline::of("schema", &["b", "d"]))
        .await;
    runner
}

async fn policy(server: &TestServer, of: &Runner, mode: &str) {
    set(server, of, &json!({"outOfOrder": mode})).await.expect(200);
}

#[tokio::test]
async fn it_is_allowed_warned_of_or_refused() {
    let server = TestServer::start().await;
    let runner = applied(&server).await;
    let pipeline = Pipeline::of("schema", &["a", "b", "c", "d", "e"]).stage("other", &["f"]);
    runner.granted(&pipeline).await;
    runner.release().await.expect(200);

    policy(&server, &runner, "WARN").await;
    let plan = runner.granted(&pipeline).await;
    runner.release().await.expect(200);
    let found = plan.reasons.expect("reasons").policy;
    let named: Vec<_> = found.iter().filter_map(|it| it.change_id.as_deref()).collect();
    assert_eq!(named, ["a", "c"]);
    assert!(
        found
            .iter()
            .all(|it| it.policy == PolicyKind::OutOfOrder && !it.stops)
    );

    policy(&server, &runner, "REFUSE").await;
    for body in [
        pipeline.body(),
        pipeline.body_of_generation_1(),
        pipeline.body_of_generation_2(),
    ] {
        let words = message(&runner.ask("elapsedMillis=0", &body).await, "R_POLICY_04");
        assert!(
            words.contains("Change a has not run, and stands before b"),
            "{words}"
        );
    }
    // What comes behind, or in a stage of its own, is in order.
    let behind = Pipeline::of("schema", &["b", "d", "e"]).stage("other", &["f"]);
    runner.bring_up_to_date(&behind).await;
    assert_eq!(runner.plan(&behind).await.action, PlanAction::Continue);
}

#[tokio::test]
async fn a_change_that_an_operator_approved_may_run_out_of_order() {
    let server = TestServer::start().await;
    let runner = applied(&server).await;
    policy(&server, &runner, "REFUSE").await;
    let pipeline = Pipeline::of("schema", &["a", "b", "d"]);
    message(
        &runner.ask("elapsedMillis=0", &pipeline.body()).await,
        "R_POLICY_04",
    );
    let body = json!({"changeId": "a", "reason": "it touches nothing that b and d do"});
    server
        .operator()
        .post(&format!("{}/approval", Person::scope(&runner)), &body)
        .await
        .expect(201);
    runner.bring_up_to_date(&pipeline).await;
}

#[tokio::test]
async fn several_policies_speak_in_one_message() {
    let server = TestServer::start().await;
    let runner = applied(&server).await;
    let all = json!({"outOfOrder": "REFUSE", "checksumMismatch": "REFUSE", "approvalRequired": true});
    set(&server, &runner, &all).await.expect(200);
    let freeze = format!("/api/v1/admin/environment/{}/freeze", runner.environment_id);
    server
        .operator()
        .post(&freeze, &json!({"reason": "an incident"}))
        .await
        .expect(201);
    let pipeline = Pipeline::of("schema", &["a", "b", "d", "e"]);
    let answer = runner.ask("elapsedMillis=0", &pipeline.body()).await;
    let words = message(&answer, "R_POLICY_04");
    for part in [
        "Change a has not run",
        "Change e waits for approval",
        "an incident",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert_eq!(answer.json()["details"], json!(["a", "a", "e"]));
}
