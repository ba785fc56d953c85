//! What we add to the contract.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::digest;
use flamingock_api_types::execution::{PlanAction, PlanResponse};
use flamingock_tests::{Answer, Call, Pipeline, Runner, TestServer};
use serde_json::{Value, json};

use super::execution;

async fn by_digest(runner: &Runner, pipeline: &Pipeline) -> Answer {
    let body = json!({"clientSubmission": {"digest": digest::of_blocks(&pipeline.blocks)}});
    runner.ask("elapsedMillis=0", &body).await
}

#[tokio::test]
async fn a_digest_is_answered_only_when_exactly_this_pipeline_was_found_applied_at_this_head() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a", "b"]);
    by_digest(&runner, &pipeline)
        .await
        .expect_problem(409, "R_PLAN_01");
    runner.bring_up_to_date(&pipeline).await;
    let plan: PlanResponse = by_digest(&runner, &pipeline).await.expect(201).read();
    assert_eq!(plan.action, PlanAction::Continue);
    assert!(plan.pipeline_result.is_none());
    // Another pipeline is another question, and so is this one once anything was recorded.
    by_digest(&runner, &Pipeline::of("schema", &["a"]))
        .await
        .expect_problem(409, "R_PLAN_01");
    let other = runner.granted(&Pipeline::of("schema", &["c"])).await;
    runner.told(execution(&other), "c", AuditState::Started).await;
    by_digest(&runner, &pipeline)
        .await
        .expect_problem(409, "R_PLAN_01");
}

#[tokio::test]
async fn the_openapi_document_that_is_served_is_the_one_that_is_checked_in() {
    let server = TestServer::start().await;
    let document: Value = Call::get("/api/openapi.json")
        .send(&server.address)
        .await
        .expect(200)
        .json();
    let checked_in = include_str!("../../../../openapi/openapi.json");
    let checked_in: Value = serde_json::from_str(checked_in).expect("JSON");
    assert!(
        document == checked_in,
        "they differ: run flamingock-server openapi --write openapi/openapi.json"
    );
    Call::get("/docs/").send(&server.address).await.expect(200);
}
