//! A long change whose process dies, or loses the lock, in the middle. The steps that it has done are rows in the target.

use flamingock_api_types::execution::PlanAction;
use flamingock_tests::{
    Database, Effects, HttpProxy, Kind, Long, PostgresProxy, RunnerProcess, Scenario, Side, TestServer,
    eventually,
};

use super::pipeline;

fn long() -> Scenario {
    Scenario::new(Kind::NonTx, "billing").long()
}

/// The steps 1 to 10, these ones again where they were repeated.
fn steps(repeated: &[u64]) -> Vec<String> {
    let mut steps: Vec<u64> = (1..=Long::STEPS).chain(repeated.iter().copied()).collect();
    steps.sort_unstable();
    steps.into_iter().map(|step| step.to_string()).collect()
}

/// In the order of the steps, not of time.
async fn done(effects: &Effects) -> Vec<String> {
    let mut steps: Vec<u64> = effects
        .of("tested")
        .await
        .iter()
        .map(|step| step.parse().expect("steps are numbers"))
        .collect();
    steps.sort_unstable();
    steps.into_iter().map(|step| step.to_string()).collect()
}

#[tokio::test]
async fn the_successor_of_a_process_that_died_goes_on_exactly_at_the_cursor() {
    let server = TestServer::start().await;
    // Where it dies, and which step is done twice.
    let rows: [(&str, Option<Side>, &[u64]); 3] = [
        ("before a step", None, &[]),
        (
            "after a step, before its cursor is kept",
            Some(Side::Message),
            &[4],
        ),
        (
            "when the cursor is kept, before it knows",
            Some(Side::Answer),
            &[],
        ),
    ];
    for (number, (what, at_the_cursor, repeated)) in rows.into_iter().enumerate() {
        let target = Database::empty().await;
        let effects = Effects::in_database(&target).await;
        let scenario = Scenario {
            service: format!("service-{number}"),
            ..long()
        };
        let http = HttpProxy::to(&[&server.address]).await;
        let postgres = PostgresProxy::to(&target).await;
        let mut trap = match at_the_cursor {
            None => postgres.trap(Side::Message, &["tested does 5."]),
            Some(side) => http.trap(side, &["/lock/extension", "cursor=4."]),
        };
        let process = RunnerProcess::start(&scenario, &http.url(), &postgres.url());
        trap.caught().await;
        process.kill();
        assert_eq!(done(&effects).await, ["1", "2", "3", "4"], "{what}");
        let outcome = RunnerProcess::run(&scenario, &server.url(), &target.url).await;
        assert!(outcome.may_start, "{what}: {}", outcome.report);
        assert_eq!(done(&effects).await, steps(repeated), "{what}");
        assert_eq!(effects.of("before").await, ["one", "two"], "{what}");
        assert_eq!(effects.of("after").await, ["one", "two"], "{what}");
        let runner = server.runner(&scenario.service).await;
        let states = server.operator().states(&runner, "tested").await;
        assert_eq!(states, ["STARTED", "STARTED", "APPLIED"], "{what}");
        assert!(server.operator().verification(&runner).await.intact);
    }
}

#[tokio::test]
async fn a_process_that_stood_still_saves_nothing_more_and_stops_when_another_has_gone_on() {
    let server = TestServer::start().await;
    let target = Database::empty().await;
    let effects = Effects::in_database(&target).await;
    let http = HttpProxy::to(&[&server.address]).await;
    let mut trap = http.trap(Side::Message, &["/lock/extension", "cursor=4."]);
    let stale = RunnerProcess::start(&long(), &http.url(), &target.url);
    trap.caught().await;
    stale.pause();
    // Takes over when the lease has run out, goes on after step 3, and is through.
    let outcome = RunnerProcess::run(&long(), &server.url(), &target.url).await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_eq!(done(&effects).await, steps(&[4]));
    let cursor = "SELECT cursor::bigint FROM change_progress";
    assert_eq!(server.database.number(cursor).await, 10);
    // The fourth step's cursor arrives now.
    trap.go_on();
    stale.resume();
    let outcome = stale.outcome().await;
    assert!(!outcome.may_start, "{}", outcome.report);
    assert!(outcome.report.contains("lock was lost"), "{}", outcome.report);
    assert_eq!(server.database.number(cursor).await, 10, "nothing was taken back");
    assert_eq!(done(&effects).await, steps(&[4]), "and nothing more was done");
}

#[tokio::test]
async fn a_process_whose_lock_a_person_released_stops_at_its_next_cursor() {
    let server = TestServer::start().await;
    let target = Database::empty().await;
    let effects = Effects::in_database(&target).await;
    let http = HttpProxy::to(&[&server.address]).await;
    let mut trap = http.trap(Side::Message, &["/lock/extension", "cursor=4."]);
    let first = RunnerProcess::start(&long(), &http.url(), &target.url);
    trap.caught().await;
    let (runner, operator) = (server.runner("billing").await, server.operator());
    let fence = runner.lock().await.json()["fence"]
        .as_i64()
        .expect("a lock has a fence");
    crate::operations::force(&operator, &runner, fence, true)
        .await
        .expect(200);
    let second = RunnerProcess::start(&long(), &server.url(), &target.url);
    let through = second.outcome().await;
    assert!(through.may_start, "{}", through.report);
    trap.go_on();
    let stopped = first.outcome().await;
    assert!(!stopped.may_start, "{}", stopped.report);
    assert_eq!(done(&effects).await, steps(&[4]));
}

#[tokio::test]
async fn replicas_share_cursors_and_one_that_dies_loses_none_that_it_acknowledged() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let target = Database::empty().await;
    let effects = Effects::in_database(&target).await;
    let http = HttpProxy::to(&[&server.address, &replica.address]).await;
    let mut trap = http.trap(Side::Message, &["/lock/extension", "cursor=6."]);
    let process = RunnerProcess::start(&long(), &http.url(), &target.url);
    trap.caught().await;
    server.kill();
    trap.go_on();
    let outcome = process.outcome().await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_eq!(done(&effects).await, steps(&[]));
    let runner = flamingock_tests::Runner::open(
        &replica.address,
        &flamingock_tests::tokens().runner,
        "production",
        "billing",
    )
    .await;
    let plan = eventually("the lock is free", async || {
        let plan = runner.plan(&pipeline()).await;
        (plan.action != PlanAction::Await).then_some(plan)
    })
    .await;
    assert_eq!(plan.action, PlanAction::Execute);
}
