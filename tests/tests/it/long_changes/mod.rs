//! Long changes: a cursor that outlives a crash, progress that people see, and a request to stop.

mod cancellation;
mod crashes;
mod cursor;
mod progress;

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::{OfferedChange, PlanResponse};
use flamingock_api_types::lock::LockResponse;
use flamingock_api_types::progress::ProgressReceipt;
use flamingock_tests::{Pipeline, Runner};
use serde_json::{Value, json};

/// What the tests' change reports of itself: the next start repeats it by itself.
pub fn retried() -> Value {
    json!({"recoveryStrategy": "ALWAYS_RETRY"})
}

pub fn pipeline() -> Pipeline {
    Pipeline::of("schema", &["copy"]).cursor("copy")
}

/// Asks for the pipeline and begins its change.
pub async fn begun(runner: &Runner) -> i64 {
    let plan = runner.granted(&pipeline()).await;
    let execution = plan.execution_id.expect("a grant has an execution");
    report(runner, execution, AuditState::Started).await;
    execution
}

pub async fn report(runner: &Runner, execution: i64, state: AuditState) {
    runner
        .report_with(execution, "copy", state, &retried())
        .await
        .expect(201);
}

pub fn saving(execution: i64, sequence: i64, cursor: &str) -> Value {
    json!({"executionId": execution, "changeId": "copy", "sequence": sequence, "cursor": cursor})
}

pub async fn told(runner: &Runner, progress: &Value) -> LockResponse {
    runner.extend_telling(progress).await.expect(200).read()
}

/// Saves a cursor, which must be taken.
pub async fn saved(runner: &Runner, execution: i64, sequence: i64, cursor: &str) {
    let answer = told(runner, &saving(execution, sequence, cursor)).await;
    let receipt = ProgressReceipt {
        sequence,
        recorded: true,
    };
    assert_eq!(answer.progress, Some(receipt));
}

pub fn offered(plan: &PlanResponse) -> &OfferedChange {
    let stages = plan.stages.as_deref().expect("stages are offered");
    &stages[0].changes[0]
}

/// What the next attempt is given to go on from. Gives the lock back.
pub async fn handed_on(runner: &Runner) -> Option<String> {
    let plan = runner.granted(&pipeline()).await;
    runner.release().await.expect(200);
    offered(&plan).cursor.clone()
}
