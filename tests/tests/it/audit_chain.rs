//! The audit as people and programs read it, and its chain.

use flamingock_api_types::audit::{AuditPage, AuditState};
use flamingock_tests::{Person, Pipeline, Runner, TestServer};
use futures_util::future::join_all;
use serde_json::json;

async fn with_history(server: &TestServer, changes: usize) -> Runner {
    let runner = server.runner("billing").await;
    let ids: Vec<String> = (0..changes).map(|at| format!("change-{at:03}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    runner.bring_up_to_date(&Pipeline::of("schema", &ids)).await;
    runner
}

#[tokio::test]
async fn invariant_8_reports_that_arrive_at_once_leave_no_gap_and_an_intact_chain() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let runner = server.runner("billing").await;
    let ids: Vec<String> = (0..60).map(|at| format!("change-{at}")).collect();
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let execution = runner
        .granted(&Pipeline::of("schema", &names))
        .await
        .execution_id
        .expect("a grant has an execution");
    let there = runner.at(&replica.address);
    join_all(ids.iter().enumerate().map(|(at, id)| {
        let runner = if at % 2 == 0 { &runner } else { &there };
        runner.apply(execution, id)
    }))
    .await;
    let entries = server.operator().audit(&runner).await;
    let seqs: Vec<i64> = entries.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, (1..=120).collect::<Vec<_>>());
    for pair in entries.windows(2) {
        assert_eq!(pair[1].prev_hash, pair[0].hash);
    }
    let verification = server.operator().verification(&runner).await;
    assert!(verification.intact, "{verification:?}");
    assert_eq!(verification.head_seq, 120);
    assert_eq!(
        Some(&verification.head_hash),
        entries.last().map(|entry| &entry.hash)
    );
}

#[tokio::test]
async fn invariant_8_an_entry_that_was_altered_behind_the_servers_back_is_named() {
    let server = TestServer::start().await;
    let runner = with_history(&server, 3).await;
    assert!(server.operator().verification(&runner).await.intact);
    server
        .database
        .execute(
            "SET session_replication_role = replica;
             UPDATE audit_entries SET author = 'somebody else' WHERE seq = 4;
             SET session_replication_role = origin",
        )
        .await;
    let verification = server.operator().verification(&runner).await;
    assert!(!verification.intact);
    assert_eq!(verification.first_broken_seq, Some(4));
    assert!(verification.finding.is_some_and(|finding| finding.contains('4')));
}

#[tokio::test]
async fn a_page_goes_on_where_the_one_before_it_ended_and_one_change_can_be_asked_for() {
    let server = TestServer::start().await;
    let runner = with_history(&server, 5).await;
    let operator = server.operator();
    let scope = Person::scope(&runner);
    let mut seen = Vec::new();
    let mut after = "0".to_owned();
    loop {
        let page: AuditPage = operator
            .get(&format!("{scope}/audit?limit=3&after={after}"))
            .await
            .expect(200)
            .read();
        assert!(page.entries.len() <= 3);
        seen.extend(page.entries.iter().map(|entry| entry.seq));
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
    let page: AuditPage = operator
        .get(&format!("{scope}/audit?changeId=change-002"))
        .await
        .expect(200)
        .read();
    let states: Vec<&str> = page.entries.iter().map(|entry| entry.state.as_str()).collect();
    assert_eq!(states, ["STARTED", "APPLIED"]);
    assert!(page.entries.iter().all(|entry| entry.change_id == "change-002"));
}

#[tokio::test]
async fn a_service_without_history_has_an_empty_audit_and_an_intact_chain() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    assert_eq!(server.operator().audit(&runner).await, []);
    let verification = server.operator().verification(&runner).await;
    assert!(verification.intact);
    assert_eq!(verification.head_seq, 0);
}

#[tokio::test]
async fn executions_are_listed_newest_first_and_say_what_was_offered_and_why() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let first = runner.granted(&Pipeline::of("schema", &["a"])).await;
    runner.release().await.expect(200);
    let second = runner.granted(&Pipeline::of("schema", &["a", "b"])).await;
    let list = runner.get(&runner.plan_path()).await.expect(200).json();
    let ids: Vec<i64> = list
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|execution| execution["executionId"].as_i64())
        .collect();
    assert_eq!(
        ids,
        [second.execution_id, first.execution_id].map(|id| id.expect("granted"))
    );
    let page = runner
        .get(&format!("{}?limit=1&before={}", runner.plan_path(), ids[0]))
        .await
        .expect(200)
        .json();
    assert_eq!(page.as_array().map(Vec::len), Some(1));
    let detail = server
        .operator()
        .get(&format!("{}/{}", runner.plan_path(), ids[0]))
        .await
        .expect(200)
        .json();
    assert_eq!(detail["runnerId"], json!(runner.id));
    assert_eq!(detail["pipeline"]["stages"][0]["changes"][1]["id"], json!("b"));
    assert_eq!(detail["reasons"]["code"], json!("WORK_PENDING"));
    assert_eq!(
        detail["clientSubmission"]["blocks"][0]["stages"][0]["name"],
        json!("schema")
    );
    runner
        .get(&format!("{}/999999", runner.plan_path()))
        .await
        .expect_problem(404, "R_EXEC_01");
    runner.told(ids[0], "a", AuditState::Started).await;
}
