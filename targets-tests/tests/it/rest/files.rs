//! Change files with requests.

use flamingock::{Builder, HttpError, Rest, Stage, change};
use flamingock_targets_tests::{Billing, Mood, World};
use flamingock_tests::scratch_directory;
use serde_json::json;

use super::{example, system};

/// A plan, of which the API is told without a key: a second time it would refuse it, unless that is expected.
fn app(world: &World, billing: &Billing, expect: &str, probed: &str) -> Builder {
    let file = format!(
        "id: team-plan\ntemplate: http-template\ntargetSystem: billing\nconfiguration: {{idempotencyKey: none}}\n\
         apply: {{method: POST, path: /plans, body: {{id: team, price: 900}}, expect: {expect}}}\n\
         probe: {{path: {probed}, applied: 200, notApplied: [404, 410]}}\n"
    );
    let stage = Stage::from_dir("files", scratch_directory(&[("_0001__plan.yaml", file)]));
    world
        .app()
        .target(example::target(&billing.url).unwrap())
        .stage(stage)
}

#[tokio::test]
async fn a_probe_settles_what_became_of_requests() {
    let (world, billing, _system) = (World::new().await, Billing::start().await, system());
    let app = || app(&world, &billing, "201", "/plans/team");
    world.die_before_the_report(app()).await;
    assert_eq!(world.history("team-plan").await, "STARTED");

    // An answer that is neither leaves it open, and the next start asks again.
    billing.next("GET plans", Mood::Fails);
    let error = world.start(app()).await.expect_err("a person is asked");
    let report = error.report().to_string();
    assert!(
        report.contains("GET /plans/team was answered with 500 Internal Server Error: out of cheese"),
        "{report}"
    );
    assert_eq!(world.history("team-plan").await, "STARTED late PROBE_UNDECIDED");

    world.start(app()).await.unwrap();
    assert_eq!(
        world.history("team-plan").await,
        "STARTED late PROBE_UNDECIDED APPLIED"
    );
    assert_eq!(
        billing.get("plans/team"),
        Some(json!({"id": "team", "price": 900}))
    );
}

#[tokio::test]
async fn where_nothing_is_there_it_is_applied_in_the_same_start() {
    let (world, billing, _system) = (World::new().await, Billing::start().await, system());
    // Looks at what the change does not make.
    let app = || app(&world, &billing, "[201, 409]", "/plans/other");
    world.die_before_the_report(app()).await;
    world.start(app()).await.unwrap();
    assert_eq!(
        world.history("team-plan").await,
        "STARTED ROLLED_BACK STARTED APPLIED"
    );
}

#[tokio::test]
async fn files_and_code_share_a_target() {
    #[change(id = "team-price", order = "0002", target = "billing")]
    async fn team_price(api: Rest) -> Result<(), HttpError> {
        let plan = api.get("/plans/team").send().await?;
        let dearer = json!({"id": "team", "price": 1000});
        api.put("/plans/team")
            .if_unchanged(&plan)?
            .json(&dearer)
            .send()
            .await?;
        Ok(())
    }
    let (world, billing, _system) = (World::new().await, Billing::start().await, system());
    let file = "id: team-plan\ntemplate: http-template\ntargetSystem: billing\n\
                apply: {method: POST, path: /plans, body: {id: team, price: 900}}\n";
    let stage = Stage::from_dir(
        "plans",
        scratch_directory(&[("_0001__plan.yaml", file.to_owned())]),
    );
    let app = world
        .app()
        .target(example::target(&billing.url).unwrap())
        .stage(stage.change(team_price));
    world.start(app).await.unwrap();
    assert_eq!(
        billing.get("plans/team"),
        Some(json!({"id": "team", "price": 1000}))
    );
}
