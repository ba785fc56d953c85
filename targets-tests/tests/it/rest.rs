//! An HTTP API, with the failures that real ones have now and then.

use flamingock::{ChangeStatus, HttpError, Rest, Stage, change};
use flamingock_targets_tests::{Billing, Fidelity, Mood, System, World, message};
use serde_json::json;

#[expect(dead_code, reason = "its main function")]
#[path = "../../../client-sdk/examples/rest.rs"]
mod example;
mod files;

fn system() -> System {
    System::new("REST", Fidelity::Sample, "billing, in this program")
}

fn app(world: &World, billing: &Billing) -> flamingock::Builder {
    let target = example::target(&billing.url).unwrap();
    world.app().target(target).stage(example::stage())
}

const DONE: [&str; 4] = [
    "limits/api",
    "plans/team",
    "seats/team-reader",
    "seats/team-writer",
];

#[tokio::test]
async fn the_example_is_applied_once_though_the_api_is_busy() {
    let (world, billing, _system) = (World::new().await, Billing::start().await, system());
    for call in ["POST plans", "POST plans", "PATCH limits", "GET limits"] {
        billing.next(call, Mood::Busy);
    }
    for expected in [ChangeStatus::Applied, ChangeStatus::AlreadyApplied] {
        let report = world.start(app(&world, &billing)).await.unwrap();
        assert_eq!(report.change("team-plan").unwrap().status, expected);
    }
    assert_eq!(billing.paths(), DONE);
    assert_eq!(billing.get("limits/api"), Some(json!({"requests": 200})));
    let mut keys = billing.keys();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(
        keys.len(),
        4,
        "one for each call: two seats are not taken for one"
    );
}

#[tokio::test]
async fn a_failure_in_the_middle_is_undone_and_the_next_start_goes_on() {
    let (world, billing, _system) = (World::new().await, Billing::start().await, system());
    billing.next("POST seats", Mood::Fails);
    let error = world.start(app(&world, &billing)).await.unwrap_err();
    let told = message(&error, "team-plan");
    assert!(told.contains("500") && told.contains("out of cheese"), "{told}");
    assert_eq!(billing.paths(), ["limits/api"], "the plan is removed again");
    assert_eq!(world.history("team-plan").await, "STARTED FAILED ROLLED_BACK");
}

#[tokio::test]
async fn after_a_death_the_same_key_makes_the_repetition_harmless() {
    let (world, billing, _system) = (World::new().await, Billing::start().await, system());
    world.die_before_the_report(app(&world, &billing)).await;
    assert_eq!(billing.paths(), DONE);
    world.start(app(&world, &billing)).await.unwrap();
    assert_eq!(billing.paths(), DONE);
    assert_eq!(world.history("team-plan").await, "STARTED STARTED APPLIED");
    let keys = billing.keys();
    assert_eq!(
        keys[..3],
        keys[3..6],
        "the second attempt has the keys of the first"
    );
}

#[tokio::test]
async fn who_changed_it_meanwhile_is_not_overwritten() {
    let (world, billing, _system) = (World::new().await, Billing::start().await, system());
    billing.next("PATCH limits", Mood::TooLate);
    let error = world.start(app(&world, &billing)).await.unwrap_err();
    assert!(
        message(&error, "double-limit").contains("412"),
        "{}",
        message(&error, "double-limit")
    );
    assert_eq!(billing.get("limits/api"), Some(json!({"requests": 100})));
    // And what it does not know is drift: neither applied nor undone.
    billing.put("limits/api", json!({"requests": 7}));
    let error = world.start(app(&world, &billing)).await.unwrap_err();
    assert!(message(&error, "double-limit").contains("neither"));
    assert_eq!(billing.get("limits/api"), Some(json!({"requests": 7})));
    assert_eq!(
        world.history("double-limit").await,
        "STARTED FAILED ROLLED_BACK STARTED FAILED ROLLBACK_FAILED"
    );
}

#[tokio::test]
async fn without_a_version_nothing_is_changed_on_condition() {
    #[change(id = "blind", order = "0001", target = "billing")]
    async fn blind(api: Rest) -> Result<(), HttpError> {
        let created = api.post("plans").json(&json!({"id": "solo"})).send().await?;
        api.patch("plans/solo")
            .if_unchanged(&created)?
            .json(&json!({}))
            .send()
            .await?;
        Ok(())
    }
    let (world, billing, _system) = (World::new().await, Billing::start().await, system());
    let target = example::target(&billing.url).unwrap();
    let app = world.app().target(target).stage(Stage::new("s").change(blind));
    let error = world.start(app).await.unwrap_err();
    assert!(message(&error, "blind").contains("no ETag"));
    assert_eq!(billing.get("plans/solo"), Some(json!({"id": "solo"})));
}
