//! What people see and do of a service that runs, waits or is stopped.

mod executions;
mod explanations;
mod issues;
mod locks;
mod runners;

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::PlanResponse;
use flamingock_api_types::explanation::Explanation;
use flamingock_api_types::history::{ExecutionPage, ExecutionReport, RunnerList};
use flamingock_api_types::issue::IssueDetail;
use flamingock_api_types::lock::{LockPage, LockRecord};
use flamingock_tests::{Answer, Person, Pipeline, Runner, eventually, percent_encoded};
use serde_json::json;

pub fn pipeline() -> Pipeline {
    Pipeline::of("schema", &["a", "b", "c"])
}

/// Long enough that a busy machine does not lose it in the middle of a test, short enough to wait for its end.
pub const SHORT_LEASE_MS: i64 = 2_000;

pub fn execution_of(plan: &PlanResponse) -> i64 {
    plan.execution_id.expect("a grant has an execution")
}

pub fn fence_of(plan: &PlanResponse) -> i64 {
    let lock = plan.lock.as_ref().expect("a grant has a lock");
    lock.fence.expect("a lock has a fence")
}

pub async fn explanation(person: &Person, of: &Runner) -> Explanation {
    person
        .get(&format!("{}/explanation", Person::scope(of)))
        .await
        .expect(200)
        .read()
}

pub async fn ask_for_issue(person: &Person, of: &Runner, change: &str) -> Answer {
    let path = format!(
        "{}/issue/detail?changeId={}",
        Person::scope(of),
        percent_encoded(change)
    );
    person.get(&path.replace('&', "%26").replace('+', "%2B")).await
}

pub async fn issue(person: &Person, of: &Runner, change: &str) -> IssueDetail {
    ask_for_issue(person, of, change).await.expect(200).read()
}

pub async fn locks(person: &Person, of: &Runner, query: &str) -> LockPage {
    let path = format!("/api/v1/admin/environment/{}/lock?{query}", of.environment_id);
    person.get(&path).await.expect(200).read()
}

/// The lock of the runner's service.
pub async fn lock(person: &Person, of: &Runner) -> LockRecord {
    let page = locks(person, of, "limit=500").await;
    page.locks
        .into_iter()
        .find(|lock| lock.service_id == of.service_id)
        .expect("its lock was taken once")
}

pub async fn force(person: &Person, of: &Runner, fence: i64, insist: bool) -> Answer {
    let body = json!({"expectedFence": fence, "insist": insist, "reason": "its machine is gone"});
    person
        .post(&format!("{}/lock/release", Person::scope(of)), &body)
        .await
}

pub async fn runners(person: &Person, of: &Runner) -> RunnerList {
    person
        .get(&format!("{}/runner", Person::scope(of)))
        .await
        .expect(200)
        .read()
}

pub async fn executions(person: &Person, of: &Runner, query: &str) -> ExecutionPage {
    person
        .get(&format!("{}/execution?{query}", Person::scope(of)))
        .await
        .expect(200)
        .read()
}

pub async fn execution(person: &Person, of: &Runner, id: i64) -> ExecutionReport {
    person
        .get(&format!("{}/execution/{id}", Person::scope(of)))
        .await
        .expect(200)
        .read()
}

/// A runner that was granted the pipeline, has started `a`, and is gone: its lease has run out.
pub async fn gone_in_the_middle(person: &Person, runner: &Runner) -> PlanResponse {
    let plan = runner.granted(&pipeline().lease_ms(SHORT_LEASE_MS)).await;
    runner.told(execution_of(&plan), "a", AuditState::Started).await;
    lease_ends(person, runner).await;
    plan
}

pub async fn lease_ends(person: &Person, of: &Runner) {
    eventually("the lease ends", async || {
        let page = locks(person, of, "standing=EXPIRED").await;
        page.locks
            .iter()
            .any(|lock| lock.service_id == of.service_id)
            .then_some(())
    })
    .await;
}
