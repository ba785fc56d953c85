//! W 1.1 to 1.9, and the sections on the runner id, on how an answer becomes a result, and on errors.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::PlanAction;
use flamingock_api_types::lock::LockView;
use flamingock_tests::{Answer, Call, Pipeline, TestServer, eventually};
use serde_json::json;

use super::bodies::{Generation, Written, change, plan_body, stage};
use super::client::{Connection, JavaClient, latin1, request};
use super::execution;

#[tokio::test]
async fn w_1_1_one_connection_carries_a_whole_start_as_long_as_answers_are_wanted() {
    let server = TestServer::with(&[("FLAMINGOCK_EMPTY_WRITE_ANSWERS", "true")]).await;
    let mut client = JavaClient::build(&server, "billing").await;
    let port = client.connection.port();
    let body = plan_body(Generation::G3, &[stage("schema", [change("create-invoices")])]);
    let plan = client.plan(&body).await;
    let target = client
        .runner
        .report_path(plan["executionId"].as_i64().expect("granted"), "create-invoices");
    for state in ["STARTED", "APPLIED"] {
        let body = Written {
            state,
            ..Written::default()
        }
        .body();
        client.call("POST", &target, Some(&body)).await.expect(201);
        client.extend().await.expect(200);
    }
    let target = format!("/api/v1/{}/lock", client.runner.key());
    client.call("DELETE", &target, None).await.expect(200);
    client.lock().await.expect(404);
    assert_eq!(client.plan(&body).await["action"], "CONTINUE");
    assert!(port.is_some());
    assert_eq!(
        client.connection.port(),
        port,
        "refusals do not end a connection either"
    );
}

#[tokio::test]
async fn w_1_3_a_release_or_a_look_that_is_repeated_does_no_harm() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    runner.granted(&Pipeline::of("schema", &["a"])).await;
    runner.release().await.expect(200);
    // The answer was lost, the library sends it again; meanwhile another one works.
    let other = runner.another();
    let held = other.granted(&Pipeline::of("schema", &["a"])).await.lock;
    for _ in 0..3 {
        runner.release().await.expect_problem(409, "R_LOCK_02");
        let seen: LockView = runner.lock().await.expect(200).read();
        assert_eq!(Some(seen), held);
    }
}

#[tokio::test]
async fn w_1_4_reports_and_extensions_on_two_connections_do_not_disturb_each_other() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let changes: Vec<String> = (0..20).map(|number| format!("change-{number}")).collect();
    let ids: Vec<&str> = changes.iter().map(String::as_str).collect();
    let plan = runner.granted(&Pipeline::of("schema", &ids)).await;
    let fence = plan.lock.as_ref().and_then(|lock| lock.fence);
    let reports = async {
        for id in &ids {
            runner.apply(execution(&plan), id).await;
        }
    };
    let extensions = async {
        for _ in 0..40 {
            assert_eq!(runner.extended().await.lock.fence, fence);
        }
    };
    tokio::join!(reports, extensions);
    runner.release().await.expect(200);
    assert_eq!(
        runner.plan(&Pipeline::of("schema", &ids)).await.action,
        PlanAction::Continue
    );
}

#[tokio::test]
async fn w_1_5_a_client_that_drops_its_connection_after_an_answer_is_nothing_to_complain_about() {
    let server = TestServer::start().await;
    let mut client = JavaClient::build(&server, "billing").await;
    let body = plan_body(Generation::G3, &[stage("schema", [change("create-invoices")])]);
    let execution = client.plan(&body).await["executionId"].as_i64().expect("granted");
    let target = client.runner.report_path(execution, "create-invoices");
    for state in ["STARTED", "APPLIED"] {
        let report = Written {
            state,
            ..Written::default()
        };
        // The status is all that it wants: the rest is still on its way when the connection goes.
        let status = client.call_and_drop("POST", &target, &report.body()).await;
        assert_eq!(status, "HTTP/1.1 201");
    }
    client.release().await.expect(200);
    assert_eq!(client.plan(&body).await["action"], "CONTINUE");
    eventually("the server notices", async || {
        server.log().contains("a connection ended early").then_some(())
    })
    .await;
    for line in server.log().lines() {
        assert!(!line.contains("ERROR") && !line.contains("WARN"), "{line}");
    }
}

#[tokio::test]
async fn w_1_6_successes_have_the_statuses_that_upstream_gives_them() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await; // 200 is asserted there
    let plan = runner
        .ask("elapsedMillis=0", &Pipeline::of("schema", &["a"]).body())
        .await;
    let execution = execution(&plan.expect(201).read());
    runner.extend().await.expect(200);
    runner
        .report(execution, "a", AuditState::Started)
        .await
        .expect(201);
    runner.lock().await.expect(200);
    runner.release().await.expect(200);
    runner.acquire(60_000, None).await.expect(201);
}

#[tokio::test]
async fn w_1_7_no_call_of_a_runner_is_redirected_however_it_is_spelt() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let key = runner.key();
    for path in [
        "/api/v1/auth/exchange-token".to_owned(),
        runner.plan_path(),
        runner.report_path(1, "a"),
        format!("/api/v1/{key}/lock/extension"),
        format!("/api/v1/{key}/lock"),
    ] {
        for path in [path.clone(), format!("{path}/"), format!("/{path}")] {
            for method in ["POST", "DELETE", "GET"] {
                let call = runner.with_headers(Call::new(method, path.clone()).json(&json!({})));
                let answer = call.send(&server.address).await;
                assert!(!(300..400).contains(&answer.status), "{}", answer.describe());
            }
        }
    }
}

#[tokio::test]
async fn w_1_8_the_java_clients_headers_are_enough_and_each_that_matters_is_needed() {
    let server = TestServer::start().await;
    let mut client = JavaClient::build(&server, "billing").await;
    let body = plan_body(Generation::G3, &[stage("schema", [change("create-invoices")])]);
    // With `Content-Type` on GET and DELETE, without `Accept`, ready for gzip: answered, and readable.
    client.plan(&body).await;
    let answer = client.lock().await;
    assert!(answer.expect(200).json().is_object());
    assert!([None, Some("gzip")].contains(&answer.header("content-encoding")));
    client.release().await.expect(200);
    // Without one of the two that say who calls.
    let target = format!("{}?elapsedMillis=0", client.runner.plan_path());
    let whole = request(
        "POST",
        &target,
        Some((&client.runner.jwt, &client.runner.id)),
        &server.address,
        Some(&latin1(&body)),
    );
    let without = |name: &str| {
        let text = String::from_utf8(whole.clone()).expect("ASCII");
        let lines: Vec<&str> = text
            .split("\r\n")
            .filter(|line| !line.starts_with(name))
            .collect();
        lines.join("\r\n").into_bytes()
    };
    let mut connection = Connection::to(&server.address);
    connection
        .exchange(&without("flamingock-runner-id"))
        .await
        .expect_problem(400, "R_GEN_01");
    connection
        .exchange(&without("Authorization"))
        .await
        .expect_problem(401, "R_AUTH_05");
    // A body is JSON whatever its type is called.
    connection.exchange(&without("Content-Type")).await.expect(201);
}

#[tokio::test]
async fn w_1_9_the_api_is_served_at_the_root_and_a_prefix_is_answered_with_a_hint() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let body = Pipeline::of("schema", &["a"]).body();
    let prefixed = Call::post(format!("/flamingock{}", runner.plan_path())).json(&body);
    let answer = runner.with_headers(prefixed).send(&server.address).await;
    answer.expect_problem(404, "R_GEN_03");
    assert!(
        answer.text().contains("/flamingock/api/v1/environment"),
        "{}",
        answer.text()
    );
    runner.ask("elapsedMillis=0", &body).await.expect(201);
}

#[tokio::test]
async fn w_section_1_1_a_runner_id_is_opaque_and_comes_back_unchanged() {
    let server = TestServer::start().await;
    let mut runner = server.runner("billing").await;
    let uuid = "5f0c9a52-7d1e-4a47-9a3e-0f6a5c1b7d10";
    for id in [
        format!("billing@node-a#{uuid}"),
        format!("{uuid}@unknown-host#{uuid}"),
        format!("Rechnungen__2_@node.a-1#{uuid}"),
        "x".to_owned(),
    ] {
        runner.id.clone_from(&id);
        let plan = runner.granted(&Pipeline::of("schema", &["a"])).await;
        assert_eq!(plan.lock.map(|lock| lock.owner), Some(id.clone()));
        assert_eq!(runner.extended().await.lock.owner, id);
        let seen: LockView = runner.another().lock().await.expect(200).read();
        assert_eq!(seen.owner, id);
        runner.release().await.expect(200);
    }
}

#[tokio::test]
async fn w_section_1_3_errors_have_the_contracts_fields_and_those_of_problem_details() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let call = Call::post(runner.plan_path())
        .bearer(&runner.jwt)
        .json(&json!({}));
    let answer = call.send(&server.address).await;
    answer.expect_problem(400, "R_GEN_01");
    let body = answer.json();
    assert!(
        body["message"]
            .as_str()
            .is_some_and(|message| message.contains("flamingock-runner-id"))
    );
    assert_eq!(body["recoverable"], json!(false));
    assert!(body["details"].is_array());
    assert_eq!(body["status"], json!(400));
    assert_eq!(body["instance"].as_str(), answer.header("x-request-id"));
    runner.lock().await.expect_problem(404, "R_LOCK_03");
    runner.extend().await.expect_problem(409, "R_LOCK_01");
    runner.release().await.expect_problem(409, "R_LOCK_02");
}

#[tokio::test]
async fn w_section_1_2_every_refusal_has_an_entity_that_the_client_can_show() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let foreign = Call::post("/api/v1/environment/1/service/987654/execution").json(&json!({}));
    let refusals: [Answer; 6] = [
        Call::post("/nowhere").send(&server.address).await,
        Call::new("PUT", runner.plan_path()).send(&server.address).await,
        Call::post(runner.plan_path()).send(&server.address).await,
        runner.with_headers(foreign).send(&server.address).await,
        runner.ask("elapsedMillis=0", &json!({})).await,
        runner.lock().await,
    ];
    for answer in refusals {
        assert!((400..500).contains(&answer.status), "{}", answer.describe());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let code = answer.json()["code"].as_str().expect("a code").to_owned();
        answer.expect_problem(answer.status, &code);
    }
}
