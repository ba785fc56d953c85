//! A saga of three steps on two target systems, whose process is killed at each of them.

use flamingock_api_types::issue::ResolutionKind;
use flamingock_tests::{Probing, Scenario, Side, Trap, Undo, World};

const ALL: &[&str] = &["one", "two", "three"];

async fn states(world: &World) -> Vec<String> {
    world.states("billing", "tested").await
}

fn at_cursor(world: &World, side: Side, cursor: &str) -> Trap {
    world.http.trap(side, &["/lock/extension", cursor])
}

fn scenario() -> Scenario {
    Scenario::of_saga("billing")
}

#[tokio::test]
async fn killed_between_two_steps_the_successor_goes_on_behind_the_finished_ones() {
    for (side, cursor, steps) in [
        (Side::Message, r#""underWay":"one""#, [].as_slice()),
        (Side::Message, r#"{"done":["one","two","three"]}"#, ALL),
    ] {
        let world = World::new().await;
        world
            .killed_at(&scenario(), at_cursor(&world, side, cursor))
            .await;
        assert_eq!(world.effects.of("tested").await, steps, "{cursor}");
        let outcome = world.run(&scenario()).await;
        if steps.is_empty() {
            assert!(outcome.may_start, "{}", outcome.report);
            assert_eq!(world.effects.of("tested").await, ALL, "{cursor}");
        } else {
            // That the last step has ended was not kept, so nobody knows of it.
            assert!(!outcome.may_start, "{}", outcome.report);
            assert_eq!(
                world.effects.of("tested").await,
                ALL,
                "{cursor}: touched by nobody"
            );
        }
    }
}

#[tokio::test]
async fn killed_after_the_last_step_was_kept_the_successor_only_says_so() {
    let world = World::new().await;
    let trap = at_cursor(&world, Side::Answer, r#"{"done":["one","two","three"]}"#);
    world.killed_at(&scenario(), trap).await;
    let outcome = world.run(&scenario()).await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_eq!(world.effects.of("tested").await, ALL, "no step is repeated");
    assert_eq!(states(&world).await, ["STARTED", "STARTED", "APPLIED"]);
}

#[tokio::test]
async fn killed_within_a_step_a_person_is_asked_which_and_can_decide() {
    let world = World::new().await;
    // The step has taken effect, and that is not kept.
    let trap = at_cursor(&world, Side::Message, r#""underWay":"three""#);
    world.killed_at(&scenario(), trap).await;
    let outcome = world.run(&scenario()).await;
    assert!(!outcome.may_start);
    assert!(
        outcome
            .report
            .contains("nobody knows whether step `two` took effect")
            && outcome.report.contains("finished: one"),
        "{}",
        outcome.report
    );
    assert_eq!(
        states(&world).await,
        ["STARTED", "STARTED", "FAILED", "ROLLBACK_FAILED"]
    );
    assert_eq!(
        world.effects.of("tested").await,
        ["one", "two"],
        "nothing was undone or repeated"
    );
    // And stays so, however often it is started.
    let outcome = world.run(&scenario()).await;
    assert_eq!(outcome.manual_intervention, ["tested"], "{}", outcome.report);

    let runner = world.server.runner("billing").await;
    let operator = world.server.operator();
    let issues = operator.issues(&runner).await;
    assert_eq!(issues[0].change_id, "tested");
    // The person has removed both rows by hand, so the saga begins anew: its cursor went with the decision.
    sqlx::query("DELETE FROM effects WHERE change_id = 'tested'")
        .execute(&world.effects.pool())
        .await
        .expect("the rows go");
    let decided = operator
        .resolve(&runner, &[("tested", ResolutionKind::RolledBack, issues[0].seq)])
        .await;
    assert_eq!(decided.status, 201);
    let outcome = world.run(&scenario()).await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_eq!(world.effects.of("tested").await, ALL);
}

#[tokio::test]
async fn killed_anywhere_a_saga_whose_steps_can_be_asked_takes_effect_exactly_once() {
    let scenario = scenario().probing(Probing::Looks);
    // Before the step takes effect, and then after that, before it is kept.
    for (step, kept) in [
        ("one", r#""underWay":"two""#),
        ("two", r#""underWay":"three""#),
        ("three", r#"{"done":["one","two","three"]}"#),
    ] {
        let world = World::new().await;
        let before = world
            .postgres
            .trap(Side::Message, &[&format!("tested does {step}")]);
        world.killed_at(&scenario, before).await;
        world
            .killed_at(&scenario, at_cursor(&world, Side::Message, kept))
            .await;
        let outcome = world.run(&scenario).await;
        assert!(outcome.may_start, "{step}: {}", outcome.report);
        assert_eq!(world.effects.of("tested").await, ALL, "killed twice in {step}");
    }
}

#[tokio::test]
async fn a_failed_step_has_the_finished_ones_compensated_also_those_of_a_killed_predecessor() {
    let failing = scenario().failing().probing(Probing::Looks);
    for killed_first in [false, true] {
        let world = World::new().await;
        if killed_first {
            let trap = at_cursor(&world, Side::Answer, r#""underWay":"three""#);
            world.killed_at(&failing, trap).await;
            assert_eq!(world.effects.of("tested").await, ["one", "two"]);
        }
        let outcome = world.run(&failing).await;
        assert!(!outcome.may_start);
        let states = states(&world).await;
        assert!(
            states.ends_with(&["STARTED".into(), "FAILED".into(), "ROLLED_BACK".into()]),
            "{states:?}"
        );
        assert_eq!(world.effects.of("tested").await, [""; 0], "all is undone");
        let outcome = world.run(&failing.clone().corrected()).await;
        assert!(outcome.may_start, "{}", outcome.report);
        assert_eq!(world.effects.of("tested").await, ALL);
    }
}

#[tokio::test]
async fn killed_while_it_compensates_the_successor_goes_forward_from_what_is_left() {
    let failing = scenario().failing().probing(Probing::Looks);
    for moment in ["failed", "undoing", "undone"] {
        let world = World::new().await;
        let trap = match moment {
            // Recorded, and nothing is undone yet.
            "failed" => world
                .http
                .trap(Side::Answer, &["/change/tested/audit", " FAILED"]),
            "undoing" => world.postgres.trap(Side::Message, &["tested undoes two"]),
            _ => at_cursor(&world, Side::Message, r#"{"done":[]}"#),
        };
        world.killed_at(&failing, trap).await;
        let outcome = world.run(&failing.clone().corrected()).await;
        assert!(outcome.may_start, "{}", outcome.report);
        let mut steps = world.effects.of("tested").await;
        steps.sort();
        assert_eq!(steps, ["one", "three", "two"], "{moment}: each once");
    }
}

#[tokio::test]
async fn a_compensation_that_fails_leaves_the_rest_to_a_person() {
    let world = World::new().await;
    let outcome = world.run(&scenario().failing().undo(Undo::Fails)).await;
    assert!(!outcome.may_start);
    assert_eq!(states(&world).await, ["STARTED", "FAILED", "ROLLBACK_FAILED"]);
    assert_eq!(world.effects.of("tested").await, ["one"]);
    let outcome = world.run(&scenario()).await;
    assert_eq!(outcome.manual_intervention, ["tested"], "{}", outcome.report);
}
