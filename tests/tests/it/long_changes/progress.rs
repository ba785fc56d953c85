//! Progress: what people see of a long change, while it runs and after it stopped.

use flamingock_api_types::audit::AuditState::{Applied, Started};
use flamingock_api_types::progress::ChangeProgress;
use flamingock_tests::TestServer;
use serde_json::json;

use super::{begun, pipeline, report, saved, told};
use crate::operations::{execution, executions, explanation, issue, runners};

fn halfway(execution: i64) -> serde_json::Value {
    json!({
        "executionId": execution, "changeId": "copy", "sequence": 1, "done": 400, "total": 1000, "message": "orders"
    })
}

fn amounts(progress: &ChangeProgress) -> (&str, i64, Option<i64>, Option<i64>, Option<&str>) {
    (
        &progress.change_id,
        progress.execution_id,
        progress.done,
        progress.total,
        progress.message.as_deref(),
    )
}

#[tokio::test]
async fn progress_of_what_runs_is_seen_wherever_people_look() {
    let server = TestServer::start().await;
    let (runner, operator) = (server.runner("billing").await, server.operator());
    let id = begun(&runner).await;
    told(&runner, &halfway(id)).await;
    let expected = ("copy", id, Some(400), Some(1000), Some("orders"));

    let report = execution(&operator, &runner, id).await.record;
    assert_eq!(
        report.under_way.iter().map(amounts).collect::<Vec<_>>(),
        [expected]
    );
    let running = &executions(&operator, &runner, "outcome=RUNNING").await.executions[0];
    assert_eq!(running.under_way, report.under_way);
    let seen = &runners(&operator, &runner).await.runners[0];
    assert_eq!(seen.under_way.as_ref().map(amounts), Some(expected));
    let explained = explanation(&operator, &runner).await;
    let holder = explained.holder.expect("somebody holds the lock");
    assert_eq!(holder.changes[0].progress.as_ref().map(amounts), Some(expected));
    assert!(
        explained
            .message
            .contains("is at change copy (40 %, orders), 0 of 1 applied"),
        "{}",
        explained.message
    );
    // As if time had passed.
    server
        .database
        .execute("UPDATE change_progress SET reported_at = reported_at - interval '5 min'")
        .await;
    let explained = explanation(&operator, &runner).await;
    assert!(
        explained
            .message
            .contains("(40 %, orders, 5 min since it last told of its progress)"),
        "{}",
        explained.message
    );
    let detail = issue(&operator, &runner, "copy").await;
    assert_eq!(detail.progress.as_ref().map(amounts), Some(expected));

    // A cursor is a sign of life, too, and leaves the rest as it is.
    saved(&runner, id, 2, "at 5").await;
    let told = &execution(&operator, &runner, id).await.record.under_way[0];
    assert_eq!(amounts(told), expected);
    assert_eq!(told.cursor.as_deref(), Some("at 5"));
    assert!(told.last_heard_at() > told.reported_at);
}

#[tokio::test]
async fn what_is_applied_has_no_progress_any_more() {
    let server = TestServer::start().await;
    let (runner, operator) = (server.runner("billing").await, server.operator());
    let id = begun(&runner).await;
    told(&runner, &halfway(id)).await;
    report(&runner, id, Applied).await;
    assert_eq!(execution(&operator, &runner, id).await.record.under_way, []);
    assert_eq!(runners(&operator, &runner).await.runners[0].under_way, None);
}

#[tokio::test]
async fn whoever_decides_about_an_attempt_that_stopped_sees_how_far_it_was() {
    let server = TestServer::start().await;
    let (runner, operator) = (server.runner("billing").await, server.operator());
    let plan = runner.granted(&pipeline()).await;
    let id = plan.execution_id.expect("a grant has an execution");
    runner.told(id, "copy", Started).await;
    told(&runner, &halfway(id)).await;
    saved(&runner, id, 2, r#"{"after":400}"#).await;
    runner.release().await.expect(200);
    let detail = issue(&operator, &runner, "copy").await;
    let progress = detail.progress.expect("it told of itself");
    assert_eq!(
        amounts(&progress),
        ("copy", id, Some(400), Some(1000), Some("orders"))
    );
    assert_eq!(progress.cursor.as_deref(), Some(r#"{"after":400}"#));
}
