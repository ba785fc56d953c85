//! `Prefer: wait`: whoever asks for it is parked until the lock frees, and whoever does not is answered at once.

use std::time::{Duration, Instant};

use flamingock_api_types::execution::{PlanAction, PlanResponse};
use flamingock_tests::{Answer, Call, Pipeline, Runner, TestServer, eventually};
use futures_util::future::join_all;
use serde_json::json;
use tokio::task::JoinHandle;

/// Longer than any test takes: whoever is answered earlier was woken.
const PATIENCE_S: u32 = 50;

fn pipeline() -> Pipeline {
    Pipeline::of("schema", &["a"])
}

fn asking(runner: &Runner, prefer: &str) -> Call {
    let call = Call::post(format!("{}?elapsedMillis=0", runner.plan_path())).json(&pipeline().body());
    runner.with_headers(call).header("Prefer", prefer)
}

fn park(runner: &Runner) -> JoinHandle<Answer> {
    let (call, address) = (
        asking(runner, &format!("wait={PATIENCE_S}")),
        runner.address.clone(),
    );
    tokio::spawn(async move { call.send(&address).await })
}

async fn parked(server: &TestServer, count: u32) {
    eventually(&format!("{count} requests are parked"), async || {
        ((server.metric("flamingock_plan_waiters ").await - f64::from(count)).abs() < 0.5).then_some(())
    })
    .await;
}

/// Of the parked, one gets the lock and does the work; the others are woken by that and have nothing to do.
async fn all_are_served(waiting: Vec<(Runner, JoinHandle<Answer>)>, since: Instant) {
    let served = join_all(waiting.into_iter().map(|(runner, request)| async move {
        let plan: PlanResponse = request.await.expect("it is answered").expect(201).read();
        match plan.action {
            PlanAction::Execute => {
                runner
                    .apply(plan.execution_id.expect("a grant has an execution"), "a")
                    .await;
                runner.release().await.expect(200);
                1
            }
            PlanAction::Continue => 0,
            other => panic!("{other:?}"),
        }
    }))
    .await;
    assert_eq!(served.iter().sum::<i32>(), 1);
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
}

#[tokio::test]
async fn two_hundred_parked_requests_wake_when_the_lock_is_released() {
    let server = TestServer::start().await;
    let holder = server.runner("billing").await;
    holder.acquired(60_000).await;
    let waiting: Vec<_> = (0..200)
        .map(|_| {
            let runner = holder.another();
            let request = park(&runner);
            (runner, request)
        })
        .collect();
    parked(&server, 200).await;
    // Parked requests take nothing from others: the same server goes on answering.
    let other = server.runner("another-service").await;
    other.bring_up_to_date(&pipeline()).await;
    assert!(waiting.iter().all(|(_, request)| !request.is_finished()));

    let released = Instant::now();
    holder.release().await.expect(200);
    all_are_served(waiting, released).await;
    parked(&server, 0).await;
}

#[tokio::test]
async fn invariant_11_requests_parked_at_one_replica_wake_when_the_lock_is_released_at_the_other() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let holder = server.runner("billing").await;
    holder.acquired(60_000).await;
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let runner = holder.another().at(&replica.address);
            let request = park(&runner);
            (runner, request)
        })
        .collect();
    parked(&replica, 20).await;
    let released = Instant::now();
    holder.release().await.expect(200);
    all_are_served(waiting, released).await;
}

#[tokio::test]
async fn a_parked_request_takes_over_when_the_holder_dies() {
    let server = TestServer::start().await;
    let holder = server.runner("billing").await;
    holder.acquired(1_000).await;
    let runner = holder.another();
    let request = park(&runner);
    let plan: PlanResponse = request.await.expect("it is answered").expect(201).read();
    assert_eq!(plan.action, PlanAction::Execute);
}

#[tokio::test]
async fn a_parked_request_is_granted_nothing_once_its_credential_is_revoked_or_its_place_archived() {
    let server = TestServer::start().await;
    let root = server.root();
    for archived in [false, true] {
        let holder = server.runner(if archived { "ledger" } else { "billing" }).await;
        holder.acquired(60_000).await;
        let mut body = json!({"name": format!("ci-{archived}"), "role": "runner"});
        body["projectId"] = json!(
            server
                .database
                .number(&format!(
                    "SELECT project_id FROM services WHERE id = {}",
                    holder.service_id
                ))
                .await
        );
        let organisation = server
            .database
            .number(&format!(
                "SELECT organisation_id FROM projects WHERE id = {}",
                body["projectId"]
            ))
            .await;
        let made = root
            .post(&format!("/api/v1/admin/organisation/{organisation}/token"), &body)
            .await
            .expect(201)
            .json();
        let value = made["value"].as_str().expect("a value");
        let runner = Runner::open(
            &server.address,
            value,
            "production",
            if archived { "ledger" } else { "billing" },
        )
        .await;
        let request = park(&runner);
        parked(&server, 1).await;
        let (status, code) = if archived {
            root.patch(
                &format!("/api/v1/admin/service/{}", holder.service_id),
                &json!({"archived": true}),
            )
            .await
            .expect(200);
            (409, "R_TENANT_06")
        } else {
            root.post(
                &format!("/api/v1/admin/token/{}/revocation", made["token"]["tokenId"]),
                &json!({"reason": "stolen"}),
            )
            .await
            .expect(200);
            (401, "R_AUTH_06")
        };
        // In effect, and the parked one has not been woken by it.
        eventually("others are refused", async || {
            let answer = runner.ask("elapsedMillis=0", &pipeline().body()).await;
            (answer.status == status).then_some(())
        })
        .await;
        assert!(!request.is_finished());
        holder.release().await.expect(200);
        request
            .await
            .expect("it is answered")
            .expect_problem(status, code);
        assert_eq!(server.database.number("SELECT count(*) FROM executions").await, 0);
    }
}

#[tokio::test]
async fn a_request_that_does_not_ask_to_wait_is_answered_at_once() {
    let server = TestServer::start().await;
    let holder = server.runner("billing").await;
    holder.acquired(60_000).await;
    let runner = holder.another();
    let began = Instant::now();
    assert_eq!(runner.plan(&pipeline()).await.action, PlanAction::Await);
    for prefer in ["wait=0", "wait=-1", "wait=soon", "respond-async", ""] {
        let answer = asking(&runner, prefer).send(&server.address).await;
        assert_eq!(
            answer.expect(201).read::<PlanResponse>().action,
            PlanAction::Await,
            "{prefer:?}"
        );
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_wait_that_ends_in_vain_is_answered_await_and_no_later_than_the_server_allows() {
    let server = TestServer::with(&[("FLAMINGOCK_HTTP_WAIT_MAX", "1s")]).await;
    let holder = server.runner("billing").await;
    holder.acquired(60_000).await;
    let runner = holder.another();
    for prefer in ["wait=1", "wait=1000000", "respond-async, wait=1"] {
        let began = Instant::now();
        let plan: PlanResponse = asking(&runner, prefer)
            .send(&server.address)
            .await
            .expect(201)
            .read();
        assert_eq!(plan.action, PlanAction::Await);
        assert_eq!(plan.lock.map(|lock| lock.owner), Some(holder.id.clone()));
        let took = began.elapsed();
        assert!(
            (Duration::from_millis(950)..Duration::from_secs(10)).contains(&took),
            "{prefer}: {took:?}"
        );
    }
}

#[tokio::test]
async fn more_waiters_than_allowed_are_answered_without_waiting() {
    let server = TestServer::with(&[("FLAMINGOCK_HTTP_MAX_WAITERS", "3")]).await;
    let holder = server.runner("billing").await;
    holder.acquired(60_000).await;
    let waiting: Vec<_> = (0..3).map(|_| park(&holder.another())).collect();
    parked(&server, 3).await;
    let answer = park(&holder.another()).await.expect("it is answered");
    assert_eq!(
        answer.expect(201).read::<PlanResponse>().action,
        PlanAction::Await
    );
    assert!(waiting.iter().all(|request| !request.is_finished()));
}

#[tokio::test]
async fn a_server_that_stops_answers_everybody_who_is_parked() {
    let server = TestServer::start().await;
    let holder = server.runner("billing").await;
    holder.acquired(60_000).await;
    let waiting: Vec<_> = (0..20).map(|_| park(&holder.another())).collect();
    parked(&server, 20).await;
    let (stopped, answers) = tokio::join!(server.stop(), join_all(waiting));
    assert!(stopped, "in order");
    for answer in answers {
        let plan: PlanResponse = answer.expect("it is answered").expect(201).read();
        assert_eq!(plan.action, PlanAction::Await);
    }
}

#[tokio::test]
async fn a_waiter_that_goes_away_leaves_its_place() {
    let server = TestServer::start().await;
    let holder = server.runner("billing").await;
    holder.acquired(60_000).await;
    let waiting: Vec<_> = (0..5).map(|_| park(&holder.another())).collect();
    parked(&server, 5).await;
    for request in waiting {
        request.abort();
    }
    parked(&server, 0).await;
    holder.release().await.expect(200);
}
