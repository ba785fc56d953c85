//! Invariant 9: nothing of another tenant is readable or guessable; what is foreign answers like what does not exist.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::PlanAction;
use flamingock_tests::{Answer, Call, Person, Pipeline, Runner, TestServer, exchange, tokens};
use serde_json::{Value, json};

/// Status, code and words of a refusal, without the ids that were asked for.
fn words(answer: &Answer, asked: &[i64]) -> (u16, Value, String) {
    let body = answer.json();
    let message = body["message"].as_str().expect("a message");
    let mut words = String::new();
    for part in message.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = part.trim_end_matches(|c: char| !c.is_ascii_digit());
        let is_asked = asked.iter().any(|id| id.to_string() == digits);
        words.push_str(if is_asked { "N" } else { digits });
        words.push_str(&part[digits.len()..]);
    }
    (answer.status, body["code"].clone(), words)
}

/// Every call of the runner API, for a scope.
fn runner_calls(caller: &Runner, environment: i64, service: i64) -> Vec<Call> {
    let scope = format!("/api/v1/environment/{environment}/service/{service}/execution");
    let body = Pipeline::of("schema", &["a"]).body();
    let report = json!({"changeId": "a", "state": "APPLIED"});
    [
        Call::post(format!("{scope}?elapsedMillis=0")).json(&body),
        Call::post(format!("{scope}/1/change/a/audit")).json(&report),
        Call::get(scope.clone()),
        Call::get(format!("{scope}/1")),
        Call::post(format!("/api/v1/{service}/lock/acquisition")).json(&json!({"acquiredForMillis": 5000})),
        Call::post(format!("/api/v1/{service}/lock/extension")).json(&json!({})),
        Call::get(format!("/api/v1/{service}/lock")),
        Call::delete(format!("/api/v1/{service}/lock")),
    ]
    .map(|call| caller.with_headers(call))
    .into()
}

#[tokio::test]
async fn invariant_9_a_session_gets_the_same_answers_for_a_foreign_scope_as_for_one_that_does_not_exist() {
    let server = TestServer::start().await;
    let mine = server.runner("billing").await;
    let theirs = server.other_tenants_runner("routing").await;
    // There is something to see, and a lock to meddle with.
    theirs.granted(&Pipeline::of("schema", &["a"])).await;
    let foreign = runner_calls(&mine, theirs.environment_id, theirs.service_id);
    let absent = runner_calls(&mine, 987_654, 987_655);
    for (foreign, absent) in foreign.iter().zip(&absent) {
        let foreign = foreign.send(&server.address).await;
        let absent = absent.send(&server.address).await;
        assert!((400..500).contains(&foreign.status), "{}", foreign.describe());
        assert_eq!(
            words(&foreign, &[theirs.environment_id, theirs.service_id]),
            words(&absent, &[987_654, 987_655])
        );
        let text = foreign.text();
        for secret in ["globex", "logistics", "routing", theirs.id.as_str()] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    // And nothing happened to them.
    theirs.extended().await;
    assert_eq!(
        server.database.number("SELECT count(*) FROM audit_entries").await,
        0
    );
}

#[tokio::test]
async fn invariant_9_an_api_token_gets_the_same_words_for_a_foreign_scope_as_for_one_that_does_not_exist() {
    let server = TestServer::start().await;
    let theirs = server.other_tenants_runner("routing").await;
    theirs.bring_up_to_date(&Pipeline::of("schema", &["a"])).await;
    let operator = server.operator();
    for path in ["audit", "audit/verification", "issue"] {
        let foreign = operator.get(&format!("{}/{path}", Person::scope(&theirs))).await;
        let absent = operator
            .get(&format!("/api/v1/admin/environment/987654/service/987655/{path}"))
            .await;
        foreign.expect_problem(404, "R_TENANT_02");
        let ids = [theirs.environment_id, theirs.service_id];
        assert_eq!(words(&foreign, &ids), words(&absent, &[987_654, 987_655]));
    }
    // My environment with their service is no scope either.
    let mine = server.runner("billing").await;
    operator
        .get(&format!(
            "/api/v1/admin/environment/{}/service/{}/audit",
            mine.environment_id, theirs.service_id
        ))
        .await
        .expect_problem(404, "R_TENANT_02");
    let decision = json!({
        "resolutions": [{"changeId": "a", "resolution": "ROLLED_BACK", "expectedSeq": 2}], "reason": "mischief"
    });
    operator
        .post(&format!("{}/resolution", Person::scope(&theirs)), &decision)
        .await
        .expect_problem(404, "R_TENANT_02");
}

#[tokio::test]
async fn invariant_9_an_execution_of_another_tenant_is_like_one_that_was_never_granted() {
    let server = TestServer::start().await;
    let mine = server.runner("billing").await;
    let theirs = server.other_tenants_runner("routing").await;
    let foreign = theirs
        .granted(&Pipeline::of("schema", &["a"]))
        .await
        .execution_id
        .expect("granted");
    let absent = foreign + 1_000;
    mine.granted(&Pipeline::of("schema", &["a", "b"])).await;
    for (execution, change) in [(foreign, "a"), (absent, "b")] {
        mine.get(&format!("{}/{execution}", mine.plan_path()))
            .await
            .expect_problem(404, "R_EXEC_01");
        mine.report(execution, change, AuditState::Started)
            .await
            .expect_problem(409, "R_AUDIT_01");
        // A result is a fact, whatever its number; it lands in my history and in nobody else's.
        mine.report(execution, change, AuditState::Applied)
            .await
            .expect(201);
    }
    assert_eq!(server.person(&tokens().other_operator).audit(&theirs).await, []);
    assert_eq!(server.operator().audit(&mine).await.len(), 2);
}

#[tokio::test]
async fn invariant_9_names_of_another_tenant_cannot_be_probed_by_a_token_exchange() {
    let server = TestServer::start().await;
    server.other_tenants_runner("routing").await;
    // `routing` exists over there; here it is simply a new service, with a history of its own.
    let mine = server.runner("routing").await;
    let theirs = server.other_tenants_runner("routing").await;
    assert_ne!(mine.service_id, theirs.service_id);
    mine.bring_up_to_date(&Pipeline::of("schema", &["a"])).await;
    assert_eq!(
        theirs.plan(&Pipeline::of("schema", &["a"])).await.action,
        PlanAction::Execute
    );
    // An environment of mine that they do not have.
    let answer = exchange(&server.address, &tokens().other_runner, "trusting", "routing").await;
    answer.expect_problem(404, "R_TENANT_01");
    assert!(!answer.text().contains("acme"), "{}", answer.text());
}

#[tokio::test]
async fn a_narrow_token_reaches_what_it_names_and_nothing_else() {
    let server = TestServer::start().await;
    let narrow = &tokens().narrow;
    exchange(&server.address, narrow, "production", "ledger")
        .await
        .expect(200);
    exchange(&server.address, narrow, "trusting", "ledger")
        .await
        .expect_problem(404, "R_TENANT_01");
    exchange(&server.address, narrow, "production", "billing")
        .await
        .expect_problem(404, "R_TENANT_02");
}

/// Every operation of the document, with no token, a wrong one and one that is not a token at all.
#[tokio::test]
async fn every_operation_that_is_not_public_refuses_callers_without_a_usable_token() {
    let server = TestServer::start().await;
    let document = Call::get("/api/openapi.json")
        .send(&server.address)
        .await
        .expect(200)
        .json();
    let mut walked = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            if operation["security"].is_null() {
                continue;
            }
            walked += 1;
            let path = path
                .replace("{environmentId}", "1")
                .replace("{serviceId}", "1")
                .replace("{executionId}", "1")
                .replace("{changeId}", "a")
                .replace("{key}", "1");
            let call =
                || Call::new(&method.to_uppercase(), path.clone()).header("flamingock-runner-id", "r@h#1");
            call()
                .send(&server.address)
                .await
                .expect_problem(401, "R_AUTH_05");
            call()
                .bearer("nonsense")
                .send(&server.address)
                .await
                .expect_problem(401, "R_AUTH_05");
            let refused = call().bearer(&tokens().unknown).send(&server.address).await;
            refused.expect_problem(401, "R_AUTH_01");
            assert!(refused.header("www-authenticate").is_some());
        }
    }
    assert!(walked >= 12, "{walked} operations");
}
