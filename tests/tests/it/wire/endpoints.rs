//! W 2: the endpoints of session, plan, report and executions, and what their answers are made of.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::{PlanAction, PlanResponse};
use flamingock_tests::{Call, Pipeline, TestServer, exchange, tokens};
use serde_json::{Value, json};

use super::bodies::{GENERATIONS, Generation, change, plan_body, stage};
use super::client::JavaClient;
use super::execution;

#[tokio::test]
async fn w_2_1_w_4_item_2_ids_are_positive_integers_and_stable_and_a_failed_exchange_says_why() {
    let server = TestServer::start().await;
    let first = server.runner("billing").await;
    let again = server.runner("billing").await;
    assert!(first.environment_id > 0 && first.service_id > 0);
    assert!(first.environment_id < 1 << 53 && first.service_id < 1 << 53);
    assert_eq!(
        (first.environment_id, first.service_id),
        (again.environment_id, again.service_id)
    );
    assert_eq!(first.jwt.split('.').count(), 3);
    let call = Call::post("/api/v1/auth/exchange-token").json(&json!({"serviceName": "billing"}));
    call.send(&server.address).await.expect_problem(400, "R_GEN_02");
}

#[tokio::test]
async fn w_2_1_a_session_has_every_field_of_the_contract() {
    let server = TestServer::start().await;
    let session = exchange(&server.address, &tokens().runner, "production", "billing")
        .await
        .expect(200)
        .json();
    for name in [
        "environmentId",
        "serviceId",
        "organisationId",
        "projectId",
        "credentialId",
    ] {
        assert!(
            session[name].as_i64().is_some_and(|id| id > 0),
            "{name}: {session}"
        );
    }
    for (name, value) in [
        ("organisationName", "acme"),
        ("projectName", "payments"),
        ("environmentName", "production"),
        ("serviceName", "billing"),
    ] {
        assert_eq!(session[name], value);
    }
    let jwt = session["jwt"].as_str().expect("a text");
    assert!(
        jwt.bytes().all(|byte| byte.is_ascii_graphic()),
        "fit for a header: {jwt}"
    );
}

#[tokio::test]
async fn w_2_2_a_plan_has_what_each_generation_of_the_java_client_needs() {
    let server = TestServer::start().await;
    for generation in GENERATIONS {
        let mut client = JavaClient::build(&server, &format!("billing-{generation:?}")).await;
        let pipeline = [stage("schema", [change("a"), change("b")])];
        let raw = client.plan(&plan_body(generation, &pipeline)).await;
        assert_eq!(raw["action"], "EXECUTE", "{generation:?}");
        assert!(
            raw["executionId"].is_i64(),
            "a JSON number suits every generation: {raw}"
        );
        assert_eq!(raw["lock"]["key"], json!(client.runner.key()));
        assert_eq!(raw["lock"]["owner"], json!(client.runner.id));
        assert_eq!(raw["lock"]["acquiredForMillis"], json!(60_000));
        assert_eq!(raw["stages"][0]["changes"].as_array().map(Vec::len), Some(2));
        let result = &raw["pipelineResult"]["stages"][0]["changes"];
        assert_eq!(result.as_array().map(Vec::len), Some(2));
        assert_eq!(raw["synchronizedMarks"], json!(false));
    }
}

#[tokio::test]
async fn w_2_2_each_action_has_the_fields_that_it_requires() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let execute = runner
        .ask("elapsedMillis=0", &pipeline.body())
        .await
        .expect(201)
        .json();
    for name in ["executionId", "lock", "stages", "pipelineResult"] {
        assert!(!execute[name].is_null(), "{name}: {execute}");
    }
    let wait = runner
        .another()
        .ask("elapsedMillis=0", &pipeline.body())
        .await
        .expect(201)
        .json();
    assert_eq!(wait["action"], "AWAIT");
    assert_eq!(wait["lock"]["acquisitionId"], execute["lock"]["acquisitionId"]);
    assert_eq!(wait["lock"]["acquiredForMillis"], json!(60_000));
    runner
        .apply(execute["executionId"].as_i64().expect("granted"), "a")
        .await;
    runner.release().await.expect(200);
    let proceed = runner
        .ask("elapsedMillis=0", &pipeline.body())
        .await
        .expect(201)
        .json();
    assert_eq!(proceed["action"], "CONTINUE");
    assert!(proceed["pipelineResult"]["stages"].is_array());
}

#[tokio::test]
async fn w_2_3_every_field_of_a_report_is_kept_as_it_was_sent() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let plan = runner.granted(&Pipeline::of("schema", &["a", "b"])).await;
    runner.told(execution(&plan), "a", AuditState::Started).await;
    let trace = r#"{"type": "io.example.ChangeFailed", "message": "column exists", "stackTrace": [{"lineNumber": 31}]}"#;
    let body = json!({
        "changeId": "a", "stageId": "schema", "author": "mara", "appliedAtEpochMillis": 1_789_374_091_020_i64,
        "state": "FAILED", "className": "com.acme.billing.schema._0002__AddDueDate", "methodName": "apply",
        "metadata": {"ticket": "BILL-7", "nested": {"list": [1, 2.5, true]}}, "executionMillis": 44,
        "executionHostname": "node-a", "errorTrace": trace, "type": "STANDARD_TEMPLATE",
        "txStrategy": "TX_SEPARATE_NO_MARKER", "targetSystemId": "shell", "order": "0002",
        "recoveryStrategy": "ALWAYS_RETRY", "transactionFlag": true, "systemChange": false
    });
    let call = Call::post(runner.report_path(execution(&plan), "a")).json(&body);
    runner.with_headers(call).send(&server.address).await.expect(201);
    let path = format!("{}/audit", flamingock_tests::Person::scope(&runner));
    let page = server.operator().get(&path).await.expect(200).json();
    let entry = &page["entries"][1];
    for (name, sent) in body.as_object().expect("an object") {
        assert_eq!(&entry[name], sent, "{name}");
    }
    assert_eq!(entry["executionId"], execution(&plan).to_string());
    assert_eq!(entry["runnerId"], json!(runner.id));
}

#[tokio::test]
async fn w_2_3_w_2_10_every_value_of_the_reports_enums_is_known() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let plan = runner.granted(&Pipeline::of("schema", &["a"])).await;
    let execution = execution(&plan);
    for state in [
        AuditState::Started,
        AuditState::Applied,
        AuditState::Failed,
        AuditState::RolledBack,
        AuditState::RollbackFailed,
    ] {
        runner.told(execution, "a", state).await;
    }
    for (number, (name, value)) in [
        ("type", "STANDARD_CODE"),
        ("type", "STANDARD_TEMPLATE"),
        ("type", "MONGOCK_EXECUTION"),
        ("type", "MONGOCK_BEFORE"),
        ("txStrategy", "NON_TX"),
        ("txStrategy", "TX_SHARED"),
        ("txStrategy", "TX_SEPARATE_WITH_MARKER"),
        ("txStrategy", "TX_SEPARATE_NO_MARKER"),
        ("recoveryStrategy", "ALWAYS_RETRY"),
        ("recoveryStrategy", "MANUAL_INTERVENTION"),
    ]
    .into_iter()
    .enumerate()
    {
        let change = format!("change-{number}");
        let fields = json!({name: value});
        runner
            .report_with(execution, &change, AuditState::Failed, &fields)
            .await
            .expect(201);
    }
    // These are a person's: there is an interface for people.
    for state in [
        AuditState::ManualMarkedAsApplied,
        AuditState::ManualMarkedAsRolledBack,
    ] {
        runner
            .report(execution, "a", state)
            .await
            .expect_problem(403, "R_AUTH_04");
    }
    let mut entries = server.operator().audit(&runner).await.into_iter().skip(5);
    let mut next = || entries.next().expect("each was recorded");
    for value in [
        "STANDARD_CODE",
        "STANDARD_TEMPLATE",
        "MONGOCK_EXECUTION",
        "MONGOCK_BEFORE",
    ] {
        assert_eq!(next().change_type.as_deref(), Some(value));
    }
    for value in [
        "NON_TX",
        "TX_SHARED",
        "TX_SEPARATE_WITH_MARKER",
        "TX_SEPARATE_NO_MARKER",
    ] {
        assert_eq!(next().tx_strategy.as_deref(), Some(value));
    }
    for value in ["ALWAYS_RETRY", "MANUAL_INTERVENTION"] {
        assert_eq!(next().recovery_strategy.as_deref(), Some(value));
    }
}

#[tokio::test]
async fn w_2_10_every_value_of_the_plan_requests_enums_is_known() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let ask = async |block: &str, stage: Option<&str>, mark: &str, change: Option<&str>| {
        let mut body = json!({"clientSubmission": {"blocks": [{"type": block, "stages": [
            {"name": "schema", "order": 0, "changes": [{"id": "a", "ongoingStatus": mark, "transactional": true}]}
        ]}]}, "lockAcquiredForMillis": 60_000});
        let submitted = &mut body["clientSubmission"]["blocks"][0]["stages"][0];
        if let Some(status) = stage {
            submitted["status"] = json!(status);
        }
        if let Some(status) = change {
            submitted["changes"][0]["currentStatus"] = json!(status);
        }
        runner.ask("elapsedMillis=0", &body).await.expect(201);
    };
    for block in ["DEFAULT", "LEGACY", "SYSTEM"] {
        ask(block, None, "NONE", None).await;
    }
    for status in [
        "NOT_STARTED",
        "STARTED",
        "COMPLETED",
        "FAILED",
        "BLOCKED_MANUAL_INTERVENTION",
    ] {
        ask("DEFAULT", Some(status), "NONE", None).await;
    }
    for mark in ["NONE", "APPLIED", "ROLLED_BACK"] {
        ask("DEFAULT", None, mark, None).await;
    }
    for status in [
        "NOT_REACHED",
        "APPLIED",
        "ALREADY_APPLIED",
        "FAILED",
        "ROLLED_BACK",
    ] {
        ask("DEFAULT", Some("FAILED"), "NONE", Some(status)).await;
    }
}

#[tokio::test]
async fn w_2_9_w_6_10_executions_are_listed_and_shown_beside_the_plan_call_and_nothing_is_imported_there() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let body = plan_body(Generation::G3, &[stage("schema", [change("a")])]);
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let plan: PlanResponse = runner.ask("elapsedMillis=0", &body).await.expect(201).read();
    let list = runner.get(&runner.plan_path()).await.expect(200).json();
    assert_eq!(list.as_array().map(Vec::len), Some(1));
    let path = format!("{}/{}", runner.plan_path(), execution(&plan));
    let detail = runner.get(&path).await.expect(200).json();
    for summary in [&list[0], &detail] {
        assert_eq!(summary["executionId"], json!(execution(&plan)));
        assert_eq!(summary["environmentId"], json!(runner.environment_id));
        assert_eq!(summary["serviceId"], json!(runner.service_id));
        assert_eq!(summary["runnerId"], json!(runner.id));
        let at = summary["startedAt"].as_str().expect("a text");
        assert!(
            at.parse::<chrono::DateTime<chrono::Utc>>().is_ok() && at.ends_with('Z'),
            "{at}"
        );
    }
    assert_eq!(detail["clientSubmission"], body["clientSubmission"]);
    let pipeline =
        json!({"stages": [{"name": "schema", "order": 0, "changes": [{"id": "a", "action": "APPLY"}]}]});
    assert_eq!(detail["pipeline"], pipeline);
    let unknown = format!("{}/{}", runner.plan_path(), execution(&plan) + 1);
    runner.get(&unknown).await.expect_problem(404, "R_EXEC_01");
    // The path of the importer before 2025-08, which no client calls any more.
    let call = Call::post(format!("{}/import", runner.plan_path())).json(&json!([]));
    runner
        .with_headers(call)
        .send(&server.address)
        .await
        .expect_problem(405, "R_GEN_04");
    assert_eq!(
        runner
            .another()
            .plan(&Pipeline::of("schema", &["a"]))
            .await
            .action,
        PlanAction::Await
    );
}
