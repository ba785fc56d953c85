//! Who is there.

use flamingock_api_types::execution::PlanAction;
use flamingock_api_types::history::RunnerActivity;
use flamingock_tests::{TestServer, eventually};
use serde_json::json;

use super::{execution_of, gone_in_the_middle, pipeline, runners};

#[tokio::test]
async fn runners_are_seen_working_waiting_silent_and_once() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let gone = server.runner("billing").await;
    assert!(runners(&operator, &gone).await.runners.is_empty());
    gone_in_the_middle(&operator, &gone).await;
    let of = |list: &flamingock_api_types::history::RunnerList, id: &str| {
        list.runners.iter().find(|it| it.runner_id == id).cloned()
    };
    let list = runners(&operator, &gone).await;
    let silent = of(&list, &gone.id).expect("it holds the lock");
    assert_eq!(silent.activity, RunnerActivity::Silent);

    let works = server.runner("billing").await;
    let mut body = pipeline().body();
    body["runner"] = json!({"sdk": "test/1.0", "applicationVersion": "4.2.0", "host": "node-w"});
    let granted = eventually("the lock is taken over", async || {
        let plan: flamingock_api_types::execution::PlanResponse =
            works.ask("elapsedMillis=0", &body).await.expect(201).read();
        (plan.action == PlanAction::Execute).then_some(plan)
    })
    .await;
    let waits = server.runner("billing").await;
    body["runner"] = json!({"sdk": "test/2.0"});
    waits.ask("elapsedMillis=0", &body).await.expect(201);
    let list = eventually("the waiting one is seen", async || {
        let list = runners(&operator, &works).await;
        let waiting = of(&list, &waits.id).is_some_and(|it| it.activity == RunnerActivity::Waiting);
        waiting.then_some(list)
    })
    .await;
    let ids: Vec<&str> = list.runners.iter().map(|it| it.runner_id.as_str()).collect();
    assert_eq!(
        ids,
        [works.id.as_str(), waits.id.as_str(), gone.id.as_str()],
        "who works first"
    );
    let worker = of(&list, &works.id).expect("it works");
    assert_eq!(worker.activity, RunnerActivity::Working);
    assert_eq!(worker.execution_id, Some(execution_of(&granted)));
    let facts = worker.facts.expect("it said so");
    assert_eq!(facts.application_version.as_deref(), Some("4.2.0"));
    assert_eq!(worker.host.as_deref(), Some("node-w"));
    let waiter = of(&list, &waits.id).expect("it waits");
    assert_eq!(waiter.waits_for.as_deref(), Some(works.id.as_str()));
    assert!(waiter.is_guess, "it polls");
    assert_eq!(
        waiter.facts.and_then(|facts| facts.sdk).as_deref(),
        Some("test/2.0")
    );
    let seen = of(&list, &gone.id).expect("it was there");
    assert_eq!(seen.activity, RunnerActivity::Seen);

    // The lock is free: nobody waits for anybody.
    works.release().await.expect(200);
    let list = runners(&operator, &works).await;
    assert!(
        list.runners.iter().all(|it| it.activity == RunnerActivity::Seen),
        "{list:?}"
    );
}

#[tokio::test]
async fn invariant_6_a_start_that_finds_nothing_to_do_leaves_no_trace_of_its_runner() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let first = server.runner("billing").await;
    first.bring_up_to_date(&pipeline()).await;
    for _ in 0..5 {
        let runner = server.runner("billing").await;
        assert_eq!(runner.plan(&pipeline()).await.action, PlanAction::Continue);
    }
    let ids: Vec<_> = runners(&operator, &first)
        .await
        .runners
        .into_iter()
        .map(|it| it.runner_id)
        .collect();
    assert_eq!(ids, std::slice::from_ref(&first.id));
    assert_eq!(
        server
            .database
            .number("SELECT count(*) FROM runner_sightings")
            .await,
        0
    );
}

#[tokio::test]
async fn what_runners_of_other_services_do_is_not_seen() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let mine = server.runner("billing").await;
    mine.granted(&pipeline()).await;
    let neighbour = server.runner("shipping").await;
    neighbour.granted(&pipeline()).await;
    let theirs = server.other_tenants_runner("billing").await;
    theirs.granted(&pipeline()).await;
    let waiting = server.other_tenants_runner("billing").await;
    assert_eq!(waiting.plan(&pipeline()).await.action, PlanAction::Await);
    eventually("it is written down", async || {
        (server
            .database
            .number("SELECT count(*) FROM runner_sightings")
            .await
            == 1)
            .then_some(())
    })
    .await;
    let ids: Vec<_> = runners(&operator, &mine)
        .await
        .runners
        .into_iter()
        .map(|it| it.runner_id)
        .collect();
    assert_eq!(ids, std::slice::from_ref(&mine.id));
}
