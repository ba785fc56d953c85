//! W 4.7, items 38 to 45: audit writes.

use flamingock_api_types::audit::{AuditState, AuditWriteResponse};
use flamingock_api_types::execution::PlanAction;
use flamingock_tests::{Call, Pipeline, TestServer, report_body};
use serde_json::json;

use super::execution;

#[tokio::test]
async fn w_4_items_38_39_a_result_without_a_start_and_without_the_lock_is_taken() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a", "b"]);
    let plan = runner.granted(&pipeline).await;
    runner.told(execution(&plan), "a", AuditState::Applied).await;
    runner.told(execution(&plan), "b", AuditState::Started).await;
    runner.release().await.expect(200);
    // Another one holds it now, and has written nothing about the change.
    let other = runner.another();
    other.granted(&pipeline).await;
    let told = runner.told(execution(&plan), "b", AuditState::Applied).await;
    assert!(!told.late, "the fact counts: nobody wrote since");
    assert_eq!(
        told.lock.map(|lock| lock.owner),
        Some(other.id.clone()),
        "as documented"
    );
    assert_eq!(other.plan(&pipeline).await.action, PlanAction::Continue);
}

#[tokio::test]
async fn w_4_item_40_a_report_is_new_once() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let plan = runner.granted(&pipeline).await;
    for state in [AuditState::Started, AuditState::Failed, AuditState::RolledBack] {
        let new: AuditWriteResponse = runner
            .report(execution(&plan), "a", state)
            .await
            .expect(201)
            .read();
        let same: AuditWriteResponse = runner
            .report(execution(&plan), "a", state)
            .await
            .expect(200)
            .read();
        assert_eq!(new.seq, same.seq);
    }
    // Of another execution it is another report.
    let plan = runner.granted(&pipeline).await;
    runner
        .report(execution(&plan), "a", AuditState::Started)
        .await
        .expect(201);
    let states = server.operator().states(&runner, "a").await;
    assert_eq!(states, ["STARTED", "FAILED", "ROLLED_BACK", "STARTED"]);
}

#[tokio::test]
async fn w_4_item_42_the_path_names_the_change_and_not_the_damaged_body() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["日本"]).body().to_string();
    let call = Call::post(runner.plan_path())
        .header("Content-Type", "application/json; charset=utf-8")
        .body(pipeline);
    let answer = runner.with_headers(call).send(&server.address).await;
    let execution = execution(&answer.expect(201).read());
    let path = runner.report_path(execution, "日本");
    for state in [AuditState::Started, AuditState::Applied] {
        let call = Call::post(path.clone()).json(&report_body("??", state));
        runner.with_headers(call).send(&server.address).await.expect(201);
    }
    assert_eq!(
        server.operator().states(&runner, "日本").await,
        ["STARTED", "APPLIED"]
    );
    assert_eq!(server.operator().states(&runner, "??").await, [] as [&str; 0]);
}

#[tokio::test]
async fn w_4_items_39_43_a_report_is_never_refused_for_a_cosmetic_reason() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let plan = runner.granted(&Pipeline::of("schema", &["a"])).await;
    let odd = json!({
        "txStrategy": "TX_OF_THE_FUTURE", "type": 7, "executionMillis": "12", "errorTrace": "x".repeat(200_000),
        "metadata": [1, {"deep": "\u{0}"}], "author": null, "className": "a\u{0}b", "somethingNew": {"x": 1},
        "transactionFlag": "maybe", "order": 17
    });
    runner.told(execution(&plan), "a", AuditState::Started).await;
    runner
        .report_with(execution(&plan), "a", AuditState::Failed, &odd)
        .await
        .expect(201);
    let body = json!({"changeId": "a", "state": "STATE_OF_THE_FUTURE"});
    let call = Call::post(runner.report_path(execution(&plan), "a")).json(&body);
    runner.with_headers(call).send(&server.address).await.expect(201);
    let entries = server.operator().audit(&runner).await;
    assert_eq!(entries[2].state, "STATE_OF_THE_FUTURE");
    assert!(
        entries[1]
            .error_trace
            .as_ref()
            .is_some_and(|trace| trace.len() < 100_000)
    );
    assert_eq!(entries[1].tx_strategy.as_deref(), Some("TX_OF_THE_FUTURE"));
    assert!(server.operator().verification(&runner).await.intact);
}

#[tokio::test]
async fn w_4_item_44_no_byte_of_a_report_is_a_reason_to_refuse_it() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let plan = runner.granted(&Pipeline::of("schema", &["a"])).await;
    for byte in 0x80..=0xFF_u8 {
        let mut body = format!(r#"{{"changeId":"c","state":"FAILED","errorTrace":"{byte}"#).into_bytes();
        body.push(byte);
        body.extend_from_slice(br#""}"#);
        let path = runner.report_path(execution(&plan), &format!("change-{byte}"));
        let call = Call::post(path)
            .header("Content-Type", "application/json")
            .body(body);
        runner.with_headers(call).send(&server.address).await.expect(201);
    }
    let entries = server.operator().audit(&runner).await;
    let traces: Vec<String> = entries
        .into_iter()
        .filter_map(|entry| entry.error_trace)
        .collect();
    let expected: Vec<String> = (0x80..=0xFF_u8)
        .map(|byte| format!("{byte}{}", char::from(byte)))
        .collect();
    assert_eq!(traces, expected);
}

#[tokio::test]
async fn w_1_5_w_4_item_45_writes_are_answered_as_documented_or_without_a_body_to_spare_the_client_a_reconnect()
 {
    let documented = TestServer::start().await;
    let runner = documented.runner("billing").await;
    let plan = runner.granted(&Pipeline::of("schema", &["a"])).await;
    let answer = runner.report(execution(&plan), "a", AuditState::Started).await;
    assert_eq!(answer.expect(201).json()["lock"]["owner"], json!(runner.id));
    assert_eq!(
        runner.release().await.expect(200).json()["owner"],
        json!(runner.id)
    );

    let server = TestServer::with(&[("FLAMINGOCK_EMPTY_WRITE_ANSWERS", "true")]).await;
    let runner = server.runner("billing").await;
    let plan = runner.granted(&Pipeline::of("schema", &["a"])).await;
    let answer = runner.report(execution(&plan), "a", AuditState::Started).await;
    assert_eq!(answer.expect(201).body, b"");
    assert_eq!(answer.header("content-length"), Some("0"));
    assert_eq!(runner.release().await.expect(200).body, b"");
}
