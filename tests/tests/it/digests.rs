//! A start in one request: the token is exchanged with the pipeline's digest, and the session says whether anything is left.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::digest;
use flamingock_api_types::execution::{MarkStatus, PlanAction};
use flamingock_tests::{Answer, Call, Pipeline, Runner, TestServer, tokens};
use serde_json::{Value, json};

fn of(pipeline: &Pipeline) -> String {
    digest::of_blocks(&pipeline.blocks)
}

fn body(token: &str, environment: &str, service: &str, digest: &str) -> Value {
    json!({"apiToken": token, "environmentName": environment, "serviceName": service, "digest": digest})
}

async fn exchanged(address: &str, body: &Value) -> Answer {
    Call::post("/api/v1/auth/exchange-token")
        .json(body)
        .send(address)
        .await
}

/// What a start of `billing` in production is told about a pipeline.
async fn told(address: &str, pipeline: &Pipeline) -> Value {
    let body = body(&tokens().runner, "production", "billing", &of(pipeline));
    exchanged(address, &body).await.expect(200).json()["allApplied"].clone()
}

/// A runner that has applied these changes, and has not asked again.
async fn applied(server: &TestServer, pipeline: &Pipeline, changes: &[&str]) -> Runner {
    let runner = server.runner("billing").await;
    let execution = runner
        .granted(pipeline)
        .await
        .execution_id
        .expect("it is granted");
    for change in changes {
        runner.apply(execution, change).await;
    }
    runner.release().await.expect(200);
    runner
}

#[tokio::test]
async fn a_session_says_whether_exactly_this_pipeline_is_applied_at_the_present_head() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let pipeline = Pipeline::of("schema", &["a", "b"]);
    assert_eq!(
        told(&server.address, &pipeline).await,
        json!(false),
        "nothing is applied"
    );
    let runner = applied(&server, &pipeline, &["a", "b"]).await;
    assert_eq!(
        told(&server.address, &pipeline).await,
        json!(false),
        "by the audit it is, and nobody has asked whether a mark says otherwise"
    );
    assert_eq!(
        runner.another().plan(&pipeline).await.action,
        PlanAction::Continue
    );
    assert_eq!(told(&server.address, &pipeline).await, json!(true));

    for other in [
        Pipeline::of("schema", &["a"]),
        Pipeline::of("schema", &["b", "a"]),
        Pipeline::of("schema", &["a", "b", "c"]),
        Pipeline::of("other", &["a", "b"]),
    ] {
        assert_eq!(told(&server.address, &other).await, json!(false));
    }
    for (environment, service) in [("trusting", "billing"), ("production", "ledger")] {
        let elsewhere = body(&tokens().runner, environment, service, &of(&pipeline));
        let session = exchanged(&server.address, &elsewhere).await.expect(200).json();
        assert_eq!(session["allApplied"], json!(false), "{environment}/{service}");
    }
    let judges_itself = told(&replica.address, &pipeline).await;
    assert_eq!(judges_itself, json!(false));

    // Whoever begins something moves the head.
    let more = Pipeline::of("schema", &["a", "b", "c"]);
    let execution = runner.granted(&more).await.execution_id.expect("it is granted");
    runner.told(execution, "c", AuditState::Started).await;
    assert_eq!(told(&server.address, &pipeline).await, json!(false));
}

/// The SDK then asks no target system. So what was submitted with a mark, which has to be removed, is not known by its digest.
#[tokio::test]
async fn a_pipeline_is_known_only_by_who_found_no_mark() {
    let server = TestServer::start().await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let runner = applied(&server, &pipeline, &["a"]).await;
    let marked = pipeline.clone().mark("a", MarkStatus::Applied);
    let plan = runner.another().plan(&marked).await;
    assert_eq!(
        (plan.action, plan.synchronized_marks),
        (PlanAction::Continue, true)
    );
    assert_eq!(told(&server.address, &pipeline).await, json!(false));
    runner.another().plan(&pipeline).await;
    assert_eq!(told(&server.address, &pipeline).await, json!(true));
}

#[tokio::test]
async fn only_a_runner_is_told_and_only_if_it_asks() {
    let server = TestServer::start().await;
    let pipeline = Pipeline::of("schema", &["a"]);
    applied(&server, &pipeline, &["a"])
        .await
        .another()
        .plan(&pipeline)
        .await;

    let of_reader = body(&tokens().viewer, "production", "billing", &of(&pipeline));
    let session = exchanged(&server.address, &of_reader).await.expect(200).json();
    assert_eq!(session.get("allApplied"), None);
    let session =
        flamingock_tests::exchange(&server.address, &tokens().runner, "production", "billing").await;
    let session = session.expect(200).json();
    assert_eq!(
        (session.get("allApplied"), session.get("certificate")),
        (None, None)
    );

    let mut certified = body(&tokens().runner, "production", "billing", &of(&pipeline));
    certified["certificate"] = json!(true);
    let session = exchanged(&server.address, &certified).await.expect(200).json();
    assert_eq!(session["allApplied"], json!(true));
    let document = session["certificate"]["document"].as_str().expect("it is signed");
    assert!(document.contains(&of(&pipeline)), "{document}");

    // Another tenant's service of the same name has a history of its own.
    let foreign = body(&tokens().other_runner, "production", "billing", &of(&pipeline));
    let session = exchanged(&server.address, &foreign).await.expect(200).json();
    assert_eq!(session["allApplied"], json!(false));
}

#[tokio::test]
async fn a_malformed_digest_opens_no_session_and_says_how_one_looks() {
    let server = TestServer::start().await;
    for digest in ["", "sha256-v1:", "sha256-v1:ABC", "md5:00", &"0".repeat(64)] {
        let body = body(&tokens().runner, "production", "billing", digest);
        let refused = exchanged(&server.address, &body).await;
        let problem = refused.expect_problem(400, "R_GEN_02").json();
        let message = problem["message"].as_str().expect("a message").to_owned();
        assert!(
            message.contains("`digest`") && message.contains("64 lowercase hex digits"),
            "{message}"
        );
    }
}
