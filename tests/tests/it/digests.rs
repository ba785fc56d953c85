//! A start in one request: the token is exchanged with the pipeline's digest, and the session says whether anything is left.

use std::time::Duration;

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::certificate::CertificateDocument;
use flamingock_api_types::digest;
use flamingock_api_types::execution::{ChangeAction, MarkStatus, PlanAction, PlanResponse};
use flamingock_tests::{Answer, Call, Pipeline, Runner, TestServer, eventually, tokens};
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

/// What it is told, and the document of the certificate that it asks for.
async fn certified(address: &str, pipeline: &Pipeline) -> (Value, Value) {
    let mut body = body(&tokens().runner, "production", "billing", &of(pipeline));
    body["certificate"] = json!(true);
    let session = exchanged(address, &body).await.expect(200).json();
    (
        session["allApplied"].clone(),
        session["certificate"]["document"].clone(),
    )
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
    let found = "flamingock_plan_decisions_total{action=\"CONTINUE\",found=\"cache\"}";
    let before = server.metric(found).await;
    assert_eq!(told(&server.address, &pipeline).await, json!(true));
    assert!((server.metric(found).await - before - 1.0).abs() < 0.1);

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

#[tokio::test]
async fn what_a_policy_refuses_is_not_called_applied() {
    let server = TestServer::start().await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let edited = pipeline.clone().checksum("a", "sha256-v1:2222");
    let runner = applied(&server, &pipeline.checksum("a", "sha256-v1:1111"), &["a"]).await;
    assert_eq!(runner.another().plan(&edited).await.action, PlanAction::Continue);
    assert_eq!(told(&server.address, &edited).await, json!(true), "nobody minds");
    let policy = json!({
        "checksumMismatch": "REFUSE", "outOfOrder": "ALLOW", "approvalRequired": false, "trustAbsentMarks": false,
        "reason": "from now on somebody does"
    });
    let path = format!("/api/v1/admin/environment/{}/policy", runner.environment_id);
    let admin = server.person(&tokens().admin);
    admin.put(&path, &policy).await.expect(200);
    assert_eq!(told(&server.address, &edited).await, json!(false));
}

/// The session is made by then.
#[tokio::test]
async fn a_digest_that_cannot_be_looked_up_costs_nobody_the_session() {
    let server = TestServer::start().await;
    let pipeline = Pipeline::of("schema", &["a"]);
    applied(&server, &pipeline, &["a"]).await;
    server
        .database
        .execute("ALTER TABLE audit_streams RENAME TO away")
        .await;
    assert_eq!(told(&server.address, &pipeline).await, Value::Null);
    server
        .database
        .execute("ALTER TABLE away RENAME TO audit_streams")
        .await;
    assert_eq!(told(&server.address, &pipeline).await, json!(false));
}

/// Nor one that waits for a lock of the database: a start does not hang for its sake.
#[tokio::test]
async fn a_digest_that_takes_long_to_look_up_is_given_up() {
    let server = TestServer::start().await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let pool = server.database.pool().await;
    let mut migration = pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE audit_streams")
        .execute(&mut *migration)
        .await
        .expect("the lock");
    let told_meanwhile = tokio::time::timeout(Duration::from_secs(8), told(&server.address, &pipeline));
    assert_eq!(told_meanwhile.await, Ok(Value::Null));
    migration.rollback().await.expect("it ends");
    assert_eq!(told(&server.address, &pipeline).await, json!(false));
}

/// The SDK reads no mark where a digest is known. One can lie there: B read none and was parked; A committed, reported, and
/// could not clear its own; B is told to continue.
#[tokio::test]
async fn a_mark_that_lies_where_everything_is_applied_decides_nothing_and_waits_to_be_cleared() {
    let server = TestServer::start().await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let a = server.runner("billing").await;
    let execution = a.granted(&pipeline).await.execution_id.expect("it is granted");
    let b = a.another();
    let call = Call::post(format!("{}?elapsedMillis=0", b.plan_path())).json(&pipeline.body());
    let call = b.with_headers(call).header("Prefer", "wait=30");
    let address = server.address.clone();
    let parked = tokio::spawn(async move { call.send(&address).await });
    eventually("it is parked", async || {
        (server.metric("flamingock_plan_waiters ").await > 0.5).then_some(())
    })
    .await;
    a.apply(execution, "a").await;
    a.release().await.expect(200);
    let plan: PlanResponse = parked.await.expect("it is answered").expect(201).read();
    assert_eq!(plan.action, PlanAction::Continue);
    assert_eq!(told(&server.address, &pipeline).await, json!(true));

    let next = Pipeline::of("schema", &["a", "b"]);
    assert_eq!(told(&server.address, &next).await, json!(false));
    let plan = a.another().granted(&next.mark("a", MarkStatus::Applied)).await;
    assert!(
        plan.synchronized_marks,
        "it is cleared before anything is applied"
    );
    let offered = plan.stages.expect("stages");
    let actions: Vec<_> = offered[0].changes.iter().map(|change| change.action).collect();
    assert_eq!(actions, [ChangeAction::Skip, ChangeAction::Apply]);
}

/// A mark that was seen is cleared by whoever saw it, which a start that is told so by its digest would not.
#[tokio::test]
async fn a_pipeline_that_was_submitted_with_a_mark_is_not_known_by_its_digest() {
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
    assert_eq!(told(&server.address, &pipeline).await, json!(true));

    // Another tenant's service of the same name has a history of its own.
    let foreign = body(&tokens().other_runner, "production", "billing", &of(&pipeline));
    let session = exchanged(&server.address, &foreign).await.expect(200).json();
    assert_eq!(session["allApplied"], json!(false));
}

#[tokio::test]
async fn a_certificate_comes_with_what_is_applied_and_is_for_exactly_that() {
    let server = TestServer::start().await;
    let (both, one) = (
        Pipeline::of("schema", &["a", "b"]),
        Pipeline::of("schema", &["a"]),
    );
    let runner = applied(&server, &both, &["a", "b"]).await;
    assert_eq!(
        certified(&server.address, &both).await,
        (json!(false), Value::Null)
    );
    // Both at one head.
    for pipeline in [&both, &one] {
        assert_eq!(runner.another().plan(pipeline).await.action, PlanAction::Continue);
        let (all_applied, document) = certified(&server.address, pipeline).await;
        assert_eq!(all_applied, json!(true));
        let document = document.as_str().expect("it is signed");
        assert!(document.contains(&of(pipeline)), "{document}");
    }
}

#[tokio::test]
async fn a_certificate_is_signed_anew_long_before_it_ends() {
    let server = TestServer::with(&[("FLAMINGOCK_CERTIFICATE_VALIDITY", "20s")]).await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let runner = applied(&server, &pipeline, &["a"]).await;
    runner.another().plan(&pipeline).await;
    let signed = async || -> Option<CertificateDocument> {
        let (_, document) = certified(&server.address, &pipeline).await;
        Some(serde_json::from_str(document.as_str()?).expect("a document"))
    };
    let first = signed().await.expect("it is signed");
    let next = eventually("another is signed", async || {
        signed().await.filter(|next| *next != first)
    })
    .await;
    assert!(next.issued_at < first.expires_at);
}

#[tokio::test]
async fn a_malformed_digest_opens_no_session_and_says_how_one_looks() {
    let server = TestServer::start().await;
    for digest in [
        "sha256-v1:",
        "sha256-v1:ABC",
        &format!("sha256-v1:{}", "F".repeat(64)),
    ] {
        let body = body(&tokens().runner, "production", "billing", digest);
        let refused = exchanged(&server.address, &body).await;
        let problem = refused.expect_problem(400, "R_GEN_02").json();
        let message = problem["message"].as_str().expect("a message").to_owned();
        assert!(
            message.contains("`digest`") && message.contains("64 lowercase hex digits"),
            "{message}"
        );
    }
    // One that a later SDK makes is not known, and no reason not to start.
    for digest in ["sha512-v2:00", ""] {
        let body = body(&tokens().runner, "production", "billing", digest);
        let session = exchanged(&server.address, &body).await.expect(200).json();
        assert_eq!(session.get("allApplied"), None);
    }
}
