//! W 4.5, items 27 to 33: locks.

use flamingock_api_types::execution::PlanAction;
use flamingock_tests::{Call, Pipeline, TestServer, eventually};
use futures_util::future::join_all;

#[tokio::test]
async fn w_4_items_27_28_the_holder_that_asks_again_is_renewed_under_a_new_id() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let plan = runner.plan(&pipeline).await;
        assert_eq!(plan.action, PlanAction::Execute, "the release was lost");
        seen.push(plan.lock.expect("a lock").acquisition_id);
        seen.push(runner.extended().await.lock.acquisition_id);
    }
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count, "every grant and extension changes it");
}

#[tokio::test]
async fn w_4_items_29_30_what_ran_out_is_the_owners_until_somebody_proves_it() {
    let server = TestServer::with(&[("FLAMINGOCK_LOCK_TAKEOVER_GRACE", "1h")]).await;
    let runner = server.runner("billing").await;
    let other = runner.another();
    let pipeline = Pipeline::of("schema", &["a"]).lease_ms(1_000);
    let first = runner
        .granted(&pipeline)
        .await
        .lock
        .expect("a lock")
        .acquisition_id;
    let ended = async || {
        eventually("the lease has ended", async || {
            let ended = "SELECT (expires_at < clock_timestamp())::int::bigint FROM locks";
            (server.database.number(ended).await == 1).then_some(())
        })
        .await;
    };
    ended().await;
    let action = async |id: &str, elapsed| other.plan_after_watching(&pipeline, id, elapsed).await.action;
    assert_eq!(
        action(&first, 1_000).await,
        PlanAction::Await,
        "equal proves nothing"
    );
    let second = runner.extended().await.lock.acquisition_id;
    ended().await;
    assert_eq!(
        action(&first, 5_000).await,
        PlanAction::Await,
        "it was not that one that ran out"
    );
    assert_eq!(action(&second, 1_001).await, PlanAction::Execute);
    runner.extend().await.expect_problem(409, "R_LOCK_01");
}

#[tokio::test]
async fn w_4_item_31_an_extension_waits_for_nobody() {
    let server = TestServer::start().await;
    let holder = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    holder.granted(&pipeline).await;
    // Many wait for this very lock, and have been answered nothing yet.
    let parked: Vec<_> = (0..20)
        .map(|_| {
            let call = Call::post(holder.plan_path()).json(&pipeline.body());
            let call = holder.another().with_headers(call.header("Prefer", "wait=30"));
            let address = server.address.clone();
            tokio::spawn(async move { call.send(&address).await })
        })
        .collect();
    eventually("they are parked", async || {
        (server.metric("flamingock_plan_waiters ").await >= 20.0).then_some(())
    })
    .await;
    for _ in 0..20 {
        holder.extended().await;
    }
    assert!(parked.iter().all(|request| !request.is_finished()));
    for request in parked {
        request.abort();
    }
}

#[tokio::test]
async fn w_4_item_33_a_client_in_a_tight_loop_is_answered_and_never_turned_away() {
    let server = TestServer::start().await;
    let holder = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    holder.granted(&pipeline).await;
    // Guards that lost their lock ask and ask; so do those whose wait has ended.
    let lost = (0..4).map(|_| holder.another()).map(async |runner| {
        for _ in 0..100 {
            runner.extend().await.expect_problem(409, "R_LOCK_01");
            runner.lock().await.expect(200);
        }
    });
    let waiting = (0..4).map(|_| holder.another()).map(async |runner| {
        for _ in 0..100 {
            assert_eq!(runner.plan(&pipeline).await.action, PlanAction::Await);
        }
    });
    tokio::join!(join_all(lost), join_all(waiting));
    holder.extended().await;
}
