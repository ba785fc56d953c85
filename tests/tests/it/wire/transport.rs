//! W 1: what is common to all calls.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::{PlanAction, PlanResponse};
use flamingock_api_types::lock::LockView;
use flamingock_tests::{Answer, Call, Pipeline, TestServer, eventually, report_body};
use serde_json::{Value, json};

use super::bodies::{Generation, Written, change, plan_body, stage};
use super::client::{Connection, JavaClient, latin1, request};
use super::{actions, execution};

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
    for state in ["STARTED", "APPLIED"] {
        let body = Written {
            state,
            ..Written::default()
        }
        .body();
        // `report` reads the answer, wants no body and so drops the connection.
        let answer = client.report(execution, "create-invoices", &body).await;
        assert!(!answer.expect(201).body.is_empty());
        assert_eq!(client.connection.port(), None);
    }
    client.release().await.expect(200);
    assert_eq!(client.plan(&body).await["action"], "CONTINUE");
    // The log is written behind the answers.
    eventually("the last call is logged", async || {
        (server.log().matches("request answered").count() >= 5).then_some(())
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
async fn w_1_10_w_4_item_42_a_slash_inside_a_change_id_is_part_of_it_however_it_is_sent() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    for id in ["a/b", "a/audit", "change/x/audit", "100% + ünï?"] {
        let pipeline = Pipeline::of("schema", &[id]).body();
        let call = Call::post(runner.plan_path())
            .header("Content-Type", "application/json; charset=utf-8")
            .body(pipeline.to_string());
        let answer = runner.with_headers(call).send(&server.address).await;
        let plan: PlanResponse = answer.expect(201).read();
        runner.apply(execution(&plan), id).await;
        assert_eq!(
            server.operator().states(&runner, id).await,
            ["STARTED", "APPLIED"],
            "{id}"
        );
        runner.release().await.expect(200);
    }
    // As our own SDK sends it.
    let plan = runner.granted(&Pipeline::of("schema", &["c/d"])).await;
    let path = format!("{}/{}/change/c%2Fd/audit", runner.plan_path(), execution(&plan));
    let call = Call::post(path).json(&json!({"state": "STARTED", "changeId": "c/d"}));
    runner.with_headers(call).send(&server.address).await.expect(201);
    assert_eq!(server.operator().states(&runner, "c/d").await, ["STARTED"]);
}

#[tokio::test]
async fn w_1_10_a_path_is_read_as_the_java_client_writes_it_where_a_plus_is_a_plus() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let ids = [
        ("a b", "a%20b"),
        ("a#b", "a%23b"),
        ("é", "%C3%A9"),
        ("a&b+c:d@e=f;g$h,i", "a&b+c:d@e=f;g$h,i"),
        ("50%", "50%25"),
        ("x/y z", "x/y%20z"),
    ];
    let names: Vec<&str> = ids.iter().map(|(id, _)| *id).collect();
    let plan = runner.granted(&Pipeline::of("schema", &names)).await;
    for (id, written) in ids {
        let path = format!(
            "{}/{}/change/{written}/audit",
            runner.plan_path(),
            execution(&plan)
        );
        let call = Call::post(path).json(&report_body(id, AuditState::Applied));
        runner.with_headers(call).send(&server.address).await.expect(201);
        assert_eq!(server.operator().states(&runner, id).await, ["APPLIED"], "{id}");
    }
}

#[tokio::test]
async fn w_1_11_a_query_is_read_as_a_form_in_any_order() {
    let server = TestServer::with(&[("FLAMINGOCK_LOCK_TAKEOVER_GRACE", "1h")]).await;
    let mut holder = server.runner("billing").await;
    // Not what the client makes; but whatever a runner id holds comes back in the query.
    holder.id = "a b+c/d@node-a#5f0c".to_owned();
    let pipeline = Pipeline::of("schema", &["a"]).lease_ms(1_000);
    let seen = holder
        .granted(&pipeline)
        .await
        .lock
        .expect("a lock")
        .acquisition_id;
    let uuid = seen.strip_prefix("a b+c/d@node-a#5f0c-").expect("{owner}-{uuid}");
    let written = format!("a+b%2Bc%2Fd%40node-a%235f0c-{uuid}");
    let other = holder.another();
    let body = pipeline.body();
    // A proof that is understood waives the grace, which nobody here could sit out. Left out, there is none.
    let ended = "SELECT (expires_at < clock_timestamp())::int::bigint FROM locks";
    eventually("the lease has ended", async || {
        (server.database.number(ended).await == 1).then_some(())
    })
    .await;
    let action = async |query: &str| other.ask(query, &body).await.expect(201).json()["action"].clone();
    assert_eq!(action("elapsedMillis=1001").await, "AWAIT");
    let query = format!("elapsedMillis=1001&lastAcquisitionId={written}");
    assert_eq!(action(&query).await, "EXECUTE");
    other.release().await.expect(200);

    let seen = holder
        .granted(&pipeline)
        .await
        .lock
        .expect("a lock")
        .acquisition_id;
    let uuid = seen.strip_prefix("a b+c/d@node-a#5f0c-").expect("{owner}-{uuid}");
    eventually("the lease has ended", async || {
        (server.database.number(ended).await == 1).then_some(())
    })
    .await;
    let query = format!("lastAcquisitionId=a+b%2Bc%2Fd%40node-a%235f0c-{uuid}&elapsedMillis=1001");
    assert_eq!(action(&query).await, "EXECUTE");
}

#[tokio::test]
async fn w_1_12_w_1_13_w_4_item_44_a_body_in_latin_1_is_read_and_its_ids_come_back_in_utf_8() {
    let server = TestServer::start().await;
    let mut client = JavaClient::build(&server, "billing").await;
    let body = plan_body(
        Generation::G3,
        &[stage("schéma", [change("créer"), change("tout-va-bien")])],
    );
    assert!(std::str::from_utf8(&latin1(&body)).is_err());
    let target = format!("{}?elapsedMillis=0", client.runner.plan_path());
    let answer = client.call("POST", &target, Some(&body)).await;
    assert_eq!(
        answer.expect(201).header("content-type"),
        Some("application/json")
    );
    let text = std::str::from_utf8(&answer.body).expect("UTF-8, which is what the client reads");
    assert!(
        text.contains("\"schéma\"") && text.contains("\"créer\""),
        "{text}"
    );
    let plan: PlanResponse = answer.read();
    assert_eq!(actions(&plan)[0].0, "créer");
    // The path is UTF-8 while the body is not: it is the path that names the change.
    for state in ["STARTED", "APPLIED"] {
        let body = Written {
            change: "créer",
            stage: "schéma",
            state,
            error_trace: "échoué",
            ..Written::default()
        };
        client
            .report(execution(&plan), "créer", &body.body())
            .await
            .expect(201);
    }
    let entries = server.operator().audit(&client.runner).await;
    let states: Vec<&str> = entries.iter().map(|entry| entry.state.as_str()).collect();
    assert_eq!(states, ["STARTED", "APPLIED"]);
    for entry in entries {
        assert_eq!(entry.change_id, "créer");
        assert_eq!(entry.stage_id.as_deref(), Some("schéma"));
        assert_eq!(entry.error_trace.as_deref(), Some("échoué"));
    }
}

#[tokio::test]
async fn w_1_12_w_4_item_44_a_declared_charset_is_believed_and_an_unknown_one_refused() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let ask = async |content_type: &str, body: Vec<u8>| {
        let call = Call::post(runner.plan_path())
            .header("Content-Type", content_type)
            .body(body);
        runner.with_headers(call).send(&server.address).await
    };
    let body = Pipeline::of("schema", &["日本"]).body().to_string().into_bytes();
    ask("application/json; charset=utf-8", body.clone())
        .await
        .expect(201);
    runner.release().await.expect(200);
    // Two bytes of UTF-8 are two characters where that is what was declared.
    let body_of_two = Pipeline::of("schema", &["é"]).body().to_string().into_bytes();
    let answer = ask("application/json; charset=ISO-8859-1", body_of_two).await;
    assert_eq!(actions(&answer.expect(201).read())[0].0, "Ã©");
    ask("application/json; charset=\"UTF-8\"", vec![0xE9])
        .await
        .expect_problem(400, "R_GEN_02");
    ask("application/json; charset=utf-16", body)
        .await
        .expect_problem(400, "R_GEN_02");
}

#[tokio::test]
async fn w_1_13_w_section_1_2_w_4_item_26_answers_are_json_with_a_body_and_never_204() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let plan = runner.granted(&Pipeline::of("schema", &["a"])).await;
    let session = flamingock_tests::exchange(
        &server.address,
        &flamingock_tests::tokens().runner,
        "production",
        "billing",
    );
    for answer in [
        session.await,
        runner
            .ask("elapsedMillis=0", &Pipeline::of("schema", &["a"]).body())
            .await,
        runner.report(execution(&plan), "a", AuditState::Applied).await,
        runner.report(execution(&plan), "a", AuditState::Applied).await,
        runner.extend().await,
        runner.lock().await,
        runner.release().await,
        runner.lock().await,
    ] {
        assert_ne!(answer.status, 204);
        assert!(answer.json().is_object(), "{}", answer.describe());
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
}

/// Every text in an answer that stands under one of these names.
fn texts_under(answer: &Value, names: &[&str], found: &mut Vec<String>) {
    match answer {
        Value::Object(object) => {
            for (name, value) in object {
                match value.as_str() {
                    Some(text) if names.contains(&name.as_str()) => found.push(text.to_owned()),
                    _ => texts_under(value, names, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| texts_under(value, names, found)),
        _ => {}
    }
}

#[tokio::test]
async fn w_1_14_w_2_10_no_answer_has_an_enum_value_that_the_java_client_does_not_know_or_a_null_number() {
    let server = TestServer::start().await;
    let mut client = JavaClient::build(&server, "billing").await;
    let pipeline = [
        stage("schema", [change("a"), change("b"), change("c")]),
        stage("seed", [change("d")]),
    ];
    let body = plan_body(Generation::G3, &pipeline);
    let granted = client.plan(&body).await;
    let execution = granted["executionId"].as_i64().expect("granted");
    let mut other = client.next_start();
    let mut answers = vec![granted, other.plan(&body).await];
    for (change, states) in [
        ("a", ["STARTED", "APPLIED"]),
        ("b", ["STARTED", "FAILED"]),
        ("d", ["STARTED", "APPLIED"]),
    ] {
        for state in states {
            let body = Written {
                change,
                state,
                ..Written::default()
            }
            .body();
            answers.push(client.report(execution, change, &body).await.json());
        }
    }
    answers.push(client.extend().await.json());
    answers.push(client.release().await.json());
    answers.push(other.plan(&body).await); // needs a person
    answers.push(other.release().await.json());
    let failed = [
        stage(
            "schema",
            [change("a").is("APPLIED"), change("b").is("FAILED"), change("c")],
        )
        .is("FAILED"),
        stage("seed", [change("d").is("APPLIED")]).is("COMPLETED"),
    ];
    answers.push(client.plan(&plan_body(Generation::G3, &failed)).await);
    answers.push(
        other
            .plan(&plan_body(Generation::G3, &[stage("seed", [change("d")])]))
            .await,
    );

    let known = [
        (
            "action",
            &[
                "CONTINUE",
                "EXECUTE",
                "AWAIT",
                "ABORT",
                "APPLY",
                "SKIP",
                "MANUAL_INTERVENTION",
            ][..],
        ),
        (
            "status",
            &[
                "NOT_REACHED",
                "APPLIED",
                "ALREADY_APPLIED",
                "FAILED",
                "ROLLED_BACK",
                "EXTENDED",
            ],
        ),
        ("verdict", &["NOT_EVALUATED", "NEEDS_WORK", "UP_TO_DATE"]),
    ];
    for (name, values) in known {
        let mut found = Vec::new();
        answers
            .iter()
            .for_each(|answer| texts_under(answer, &[name], &mut found));
        for text in &found {
            assert!(values.contains(&text.as_str()), "{name}: {text}");
        }
        assert!(found.len() > 3, "{name} was not seen at all");
    }
    let seen: Vec<&str> = answers
        .iter()
        .filter_map(|answer| answer["action"].as_str())
        .collect();
    assert_eq!(seen, ["EXECUTE", "AWAIT", "EXECUTE", "ABORT", "CONTINUE"]);
    for answer in &answers {
        let without_lock = answer["lock"].is_null() && answer.get("state").is_some();
        assert!(without_lock || !answer.to_string().contains(":null"), "{answer}");
    }
}

#[tokio::test]
async fn w_1_15_what_is_left_out_is_not_missed_and_what_is_empty_is_no_error() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    // An application without changes, and a stage without any.
    for blocks in [
        json!([]),
        json!([{"type": "LEGACY", "stages": [{"name": "flamingock-legacy-stage", "order": 0, "changes": []}]}]),
    ] {
        let body = json!({"clientSubmission": {"blocks": blocks}, "lockAcquiredForMillis": 60_000});
        let plan = runner.ask("elapsedMillis=0", &body).await.expect(201).json();
        assert_eq!(plan["action"], "CONTINUE");
        assert!(plan["pipelineResult"]["stages"].is_array());
    }
    let plan = runner.granted(&Pipeline::of("schema", &["a"])).await;
    // No metadata, target system, order or flag: as an importer leaves them out.
    let body = json!({
        "changeId": "a", "author": "not-specified", "appliedAtEpochMillis": 1, "state": "STARTED", "className": "C",
        "methodName": "m", "executionMillis": 0, "executionHostname": "h", "errorTrace": "", "type": "STANDARD_CODE",
        "txStrategy": "NON_TX", "recoveryStrategy": "MANUAL_INTERVENTION", "systemChange": false
    });
    let call = Call::post(runner.report_path(execution(&plan), "a")).json(&body);
    runner.with_headers(call).send(&server.address).await.expect(201);
    let entries = server.operator().audit(&runner).await;
    assert_eq!(entries[0].error_trace, None, "an empty trace is no error");
    assert_eq!(entries[0].target_system_id, None);
    // A token exchange without a token, which the client sends if none is configured, is a refusal and no more.
    let call = Call::post("/api/v1/auth/exchange-token")
        .json(&json!({"serviceName": "billing", "environmentName": "production"}));
    call.send(&server.address).await.expect_problem(400, "R_GEN_02");
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
