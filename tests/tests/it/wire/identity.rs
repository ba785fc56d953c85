//! W 4.1, items 1 to 4: identity and tokens.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::PlanAction;
use flamingock_tests::{Call, Pipeline, Runner, TestServer, tokens};
use serde_json::{Value, json};

use super::execution;

/// The same session, as if it had ended an hour ago: signed with the server's own key.
pub async fn ended_an_hour_ago(server: &TestServer, runner: &Runner) -> Runner {
    let pkcs8: Vec<u8> = sqlx::query_scalar("SELECT private_pkcs8 FROM signing_keys")
        .fetch_one(&server.database.pool().await)
        .await
        .expect("one key");
    let session = jsonwebtoken::dangerous::insecure_decode::<Value>(&runner.jwt).expect("a session");
    let mut claims = session.claims;
    let hours_ago = |hours: i64| json!(chrono::Utc::now().timestamp() - hours * 3_600);
    claims["iat"] = hours_ago(25);
    claims["nbf"] = hours_ago(25);
    claims["exp"] = hours_ago(1);
    let key = jsonwebtoken::EncodingKey::from_ed_der(&pkcs8);
    Runner {
        jwt: jsonwebtoken::encode(&session.header, &claims, &key).expect("it signs"),
        ..runner.clone()
    }
}

#[tokio::test]
async fn w_4_item_1_a_session_that_ended_during_a_run_still_reports_extends_and_releases_for_the_holder() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a", "b"]);
    let plan = runner.granted(&pipeline).await;
    runner.told(execution(&plan), "a", AuditState::Started).await;
    let ended = ended_an_hour_ago(&server, &runner).await;
    ended.told(execution(&plan), "a", AuditState::Applied).await;
    ended.extended().await;
    ended.apply(execution(&plan), "b").await;
    ended.lock().await.expect(200);
    // Nothing new begins in it.
    ended
        .ask("elapsedMillis=0", &pipeline.body())
        .await
        .expect_problem(401, "R_AUTH_02");
    ended.release().await.expect(200);
    // Once the lock is given back there is nothing left for it to do, nor is there for anybody who never held it.
    for late in [&ended, &ended.another()] {
        late.extend().await.expect_problem(401, "R_AUTH_02");
        late.release().await.expect_problem(401, "R_AUTH_02");
        late.report(execution(&plan), "b", AuditState::Failed)
            .await
            .expect_problem(401, "R_AUTH_02");
    }
    assert_eq!(
        server.runner("billing").await.plan(&pipeline).await.action,
        PlanAction::Continue
    );
}

#[tokio::test]
async fn w_4_item_1_a_session_lasts_a_day() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let session = jsonwebtoken::dangerous::insecure_decode::<Value>(&runner.jwt).expect("a session");
    let at = |name: &str| session.claims[name].as_i64().expect("a time");
    assert!(at("exp") - at("iat") >= 24 * 3_600, "{}", session.claims);
}

#[tokio::test]
async fn w_4_item_3_ids_that_are_not_the_sessions_are_forbidden_and_nobody_goes_unnamed() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let neighbour = server.runner("ledger").await;
    let elsewhere = Runner::open(&server.address, &tokens().runner, "trusting", "billing").await;
    let body = Pipeline::of("schema", &["a"]).body();
    for scope in [neighbour.scope(), elsewhere.scope()] {
        let plan = Call::post(format!("{scope}/execution?elapsedMillis=0")).json(&body);
        let report =
            Call::post(format!("{scope}/execution/1/change/a/audit")).json(&json!({"state": "APPLIED"}));
        for call in [plan, report] {
            let answer = runner.with_headers(call).send(&server.address).await;
            answer.expect_problem(403, "R_AUTH_03");
        }
    }
    let call = Call::post(runner.plan_path()).json(&body);
    call.clone()
        .bearer(&runner.jwt)
        .send(&server.address)
        .await
        .expect_problem(400, "R_GEN_01");
    call.clone()
        .header("flamingock-runner-id", &*runner.id)
        .send(&server.address)
        .await
        .expect_problem(401, "R_AUTH_05");
    call.bearer("null")
        .header("flamingock-runner-id", &*runner.id)
        .send(&server.address)
        .await
        .expect_problem(401, "R_AUTH_05");
    assert_eq!(
        server.database.number("SELECT count(*) FROM audit_entries").await,
        0
    );
}

#[tokio::test]
async fn w_4_item_4_a_lock_is_that_of_the_sessions_environment_and_its_key_is_the_service_id() {
    let server = TestServer::start().await;
    let production = server.runner("billing").await;
    let trusting = Runner::open(&server.address, &tokens().runner, "trusting", "billing").await;
    assert_eq!(production.key(), trusting.key(), "one service, one key");
    let pipeline = Pipeline::of("schema", &["a"]);
    let lock = production.granted(&pipeline).await.lock.expect("a lock");
    assert_eq!(lock.key, production.service_id.to_string());
    // The same key, another environment: free.
    trusting.lock().await.expect_problem(404, "R_LOCK_03");
    trusting.granted(&pipeline).await;
    trusting.release().await.expect(200);
    production.extended().await;
    // Nor is a key of another service within reach of this session.
    let neighbour = server.runner("ledger").await;
    neighbour.granted(&pipeline).await;
    let path = format!("/api/v1/{}/lock", neighbour.key());
    let call = |method: &str, tail: &str| production.with_headers(Call::new(method, format!("{path}{tail}")));
    call("GET", "")
        .send(&server.address)
        .await
        .expect_problem(404, "R_LOCK_03");
    call("DELETE", "")
        .send(&server.address)
        .await
        .expect_problem(409, "R_LOCK_02");
    call("POST", "/extension")
        .send(&server.address)
        .await
        .expect_problem(409, "R_LOCK_01");
    call("POST", "/acquisition")
        .json(&json!({"acquiredForMillis": 1_000}))
        .send(&server.address)
        .await
        .expect_problem(403, "R_AUTH_03");
    neighbour.extended().await;
}
