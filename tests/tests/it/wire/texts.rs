//! W 1.10 to 1.15: how texts stand in paths, queries and bodies.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::PlanResponse;
use flamingock_tests::{Call, Pipeline, TestServer, eventually, report_body};
use serde_json::{Value, json};

use super::bodies::{Generation, Written, change, plan_body, stage};
use super::client::{JavaClient, latin1};
use super::{actions, execution};

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
        for answer in &answers {
            texts_under(answer, &[name], &mut found);
        }
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
        assert!(!answer.to_string().contains(":null"), "{answer}");
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
