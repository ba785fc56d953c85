//! SIGTERM: the application's process is asked to end, and its successor starts at once.
//!
//! The lease is a minute in all of these, so a successor that is granted the lock within seconds got it because it was
//! given back.

use std::time::Duration;

use flamingock_tests::{Kind, Outcome, RunnerProcess, Scenario, Side, Undo, World, eventually};
use tokio::time::Instant;

const NOTHING: &[&str] = &[];
const ALL: &[&str] = &["one", "two"];

/// Past the proxies; how long it took, the process's own start included.
async fn succeed(world: &World, scenario: &Scenario) -> (Outcome, Duration) {
    let began = Instant::now();
    let outcome = world.run(scenario).await;
    (outcome, began.elapsed())
}

async fn states(world: &World, change: &str) -> Vec<String> {
    world.states("billing", change).await
}

fn scenario() -> Scenario {
    Scenario::new(Kind::NonTx, "billing").lease_ms(60_000)
}

/// Nobody waited for a lease to end.
fn assert_at_once(took: Duration) {
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn in_the_middle_of_a_change_it_is_finished_and_no_other_is_begun() {
    let world = World::new().await;
    let mut trap = world.postgres.trap(Side::Message, &["tested does two"]);
    let process = world.start(&scenario());
    trap.caught().await;
    process.terminate();
    process.has_logged("asked to stop").await;
    trap.go_on();
    let outcome = process.outcome().await;
    assert!(outcome.interrupted && !outcome.may_start, "{}", outcome.report);
    assert_eq!(outcome.changes["tested"], "APPLIED");
    assert_eq!(outcome.changes["after"], "NOT_REACHED");
    assert_eq!(states(&world, "tested").await, ["STARTED", "APPLIED"]);

    let (outcome, took) = succeed(&world, &scenario()).await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_at_once(took);
    for change in ["before", "tested", "after"] {
        assert_eq!(world.effects.of(change).await, ALL, "{change}: once");
    }
}

#[tokio::test]
async fn a_change_in_a_transaction_that_outlasts_the_grace_is_cut_off_and_undone() {
    let world = World::new().await;
    let mut trap = world.postgres.trap(Side::Message, &["tested does two"]);
    let scenario = Scenario::new(Kind::Marker, "billing")
        .lease_ms(60_000)
        .stop_grace_ms(100);
    let process = world.start(&scenario);
    trap.caught().await;
    process.terminate();
    // The transaction's connection is in the middle of a statement; it is rolled back when that has ended.
    process.has_logged("had not ended").await;
    trap.go_on();
    let outcome = process.outcome().await;
    assert!(outcome.interrupted, "{}", outcome.report);
    assert_eq!(
        states(&world, "tested").await,
        ["STARTED", "FAILED", "ROLLED_BACK"]
    );
    assert_eq!(world.effects.of("tested").await, NOTHING);

    let (outcome, took) = succeed(&world, &scenario).await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_at_once(took);
    assert_eq!(world.effects.of("tested").await, ALL);
}

#[tokio::test]
async fn a_change_outside_a_transaction_that_outlasts_the_grace_is_cut_off_and_a_person_looks() {
    let world = World::new().await;
    let mut trap = world.postgres.trap(Side::Message, &["tested does two"]);
    let scenario = scenario().undo(Undo::Works).stop_grace_ms(100);
    let process = world.start(&scenario);
    trap.caught().await;
    process.terminate();
    let outcome = process.outcome().await;
    assert!(outcome.interrupted, "{}", outcome.report);
    // What was on its way might take effect after a rollback.
    assert_eq!(states(&world, "tested").await, ["STARTED", "FAILED"]);
    assert_eq!(world.effects.of("tested").await, ["one"]);
    let (outcome, took) = succeed(&world, &scenario).await;
    assert_at_once(took);
    assert_eq!(outcome.manual_intervention, ["tested"], "{}", outcome.report);
    assert_eq!(world.effects.of("tested").await, ["one"]);
}

#[tokio::test]
async fn between_two_changes_the_next_is_not_begun() {
    let world = World::new().await;
    let mut trap = world
        .http
        .trap(Side::Answer, &["/change/tested/audit", " APPLIED"]);
    let process = world.start(&scenario());
    trap.caught().await;
    process.terminate();
    process.has_logged("asked to stop").await;
    trap.go_on();
    let outcome = process.outcome().await;
    assert!(outcome.interrupted, "{}", outcome.report);
    assert_eq!(outcome.changes["after"], "NOT_REACHED");
    assert_eq!(states(&world, "after").await, NOTHING);

    let (outcome, took) = succeed(&world, &scenario()).await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_at_once(took);
    assert_eq!(world.effects.of("tested").await, ALL);
}

#[tokio::test]
async fn while_it_waits_for_the_lock_it_ends_at_once_and_the_holder_notices_nothing() {
    let world = World::new().await;
    let mut trap = world.postgres.trap(Side::Message, &["tested does two"]);
    let holder = world.start(&scenario());
    trap.caught().await;
    let waiting = RunnerProcess::start(&scenario(), &world.server.url(), &world.target.url);
    waiting.has_logged("waiting for the lock").await;
    let asked = Instant::now();
    waiting.terminate();
    let outcome = waiting.outcome().await;
    assert!(outcome.interrupted, "{}", outcome.report);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    trap.go_on();
    let outcome = holder.outcome().await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_eq!(world.effects.of("tested").await, ALL);
}

#[tokio::test]
async fn a_grant_that_arrives_in_that_very_moment_is_given_back() {
    let world = World::new().await;
    let mut trap = world.http.trap(Side::Answer, &["/execution", " whole"]);
    let process = world.start(&scenario());
    // The server has granted the lock, and the process does not know.
    trap.caught().await;
    let runner = world.server.runner("billing").await;
    assert_eq!(runner.lock().await.status, 200, "the lock is held");
    process.terminate();
    let outcome = process.outcome().await;
    drop(trap);
    assert!(outcome.interrupted, "{}", outcome.report);
    eventually("the lock is free", async || {
        (runner.lock().await.status == 404).then_some(())
    })
    .await;
    let (outcome, took) = succeed(&world, &scenario()).await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_at_once(took);
    for change in ["before", "tested", "after"] {
        assert_eq!(world.effects.of(change).await, ALL, "{change}: once");
    }
}
