//! Unleash. The flag has one name, so one test at a time.

use flamingock::{Builder, ChangeStatus, Unleash, UnleashStrategy, UnleashTarget};
use flamingock_targets_tests::{Fidelity, System, World, message};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

#[expect(dead_code, reason = "its main function")]
#[path = "../../../client-sdk/examples/unleash.rs"]
mod example;

static ALONE: Mutex<()> = Mutex::const_new(());

const FLAG: &str = "checkout-v2";

struct Flags {
    _alone: MutexGuard<'static, ()>,
    _system: System,
    url: String,
    token: String,
}

impl Flags {
    async fn new() -> Option<Self> {
        let url = System::address("Unleash", "UNLEASH_URL")?;
        let token = System::address("Unleash", "UNLEASH_TOKEN")?;
        let alone = ALONE.lock().await;
        let about: Value = reqwest::Client::new()
            .get(format!("{url}/api/admin/ui-config"))
            .header("authorization", &token)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let flags = Self {
            _alone: alone,
            _system: System::new(
                "Unleash",
                Fidelity::Real,
                about["version"].as_str().unwrap_or("?"),
            ),
            url,
            token,
        };
        flags.client().remove_flag(FLAG).await.unwrap();
        Some(flags)
    }

    fn target(&self) -> UnleashTarget {
        example::target(&self.url, &self.token).unwrap()
    }

    fn client(&self) -> Unleash {
        self.target().client()
    }

    fn app(&self, world: &World) -> Builder {
        world.app().target(self.target()).stage(example::stage())
    }

    async fn percents(&self) -> Vec<Option<u8>> {
        let strategies = self.client().strategies(FLAG, "development").await.unwrap();
        strategies.iter().map(UnleashStrategy::percent).collect()
    }
}

#[tokio::test]
async fn the_example_is_applied_once() {
    let Some(flags) = Flags::new().await else { return };
    let world = World::new().await;
    for expected in [ChangeStatus::Applied, ChangeStatus::AlreadyApplied] {
        let report = world.start(flags.app(&world)).await.unwrap();
        assert_eq!(report.change("checkout-flag").unwrap().status, expected);
    }
    assert_eq!(flags.percents().await, [Some(100)]);
    assert!(flags.client().is_on(FLAG, "development").await.unwrap());
}

#[tokio::test]
async fn a_failure_in_the_middle_is_undone_and_the_next_start_goes_on() {
    let Some(flags) = Flags::new().await else { return };
    let (world, client) = (World::new().await, flags.client());
    // Archived, the name is still taken: creating is refused. The rollback deletes what is archived.
    client.create_flag(FLAG, "release", "an old one").await.unwrap();
    reqwest::Client::new()
        .delete(format!(
            "{}/api/admin/projects/default/features/{FLAG}",
            flags.url
        ))
        .header("authorization", &flags.token)
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap();
    let error = world.start(flags.app(&world)).await.unwrap_err();
    assert!(
        message(&error, "checkout-flag").contains("409"),
        "{}",
        message(&error, "checkout-flag")
    );
    assert_eq!(world.history("checkout-flag").await, "STARTED FAILED ROLLED_BACK");
    world.start(flags.app(&world)).await.unwrap();
    assert_eq!(flags.percents().await, [Some(100)]);
}

#[tokio::test]
async fn after_a_death_nothing_is_done_twice_and_a_moved_rollout_is_left_alone() {
    let Some(flags) = Flags::new().await else { return };
    let (world, client) = (World::new().await, flags.client());
    world.die_before_the_report(flags.app(&world)).await;
    assert_eq!(flags.percents().await, [Some(25)]);
    let moved = client.strategies(FLAG, "development").await.unwrap().remove(0);
    let moved = moved.with_percent(40);
    client
        .replace_strategy(FLAG, "development", &moved)
        .await
        .unwrap();

    let error = world.start(flags.app(&world)).await.unwrap_err();
    assert_eq!(world.history("checkout-flag").await, "STARTED STARTED APPLIED");
    assert!(message(&error, "checkout-for-all").contains("neither"));
    assert_eq!(flags.percents().await, [Some(40)], "one strategy, and somebody's");
    client
        .replace_strategy(FLAG, "development", &moved.with_percent(25))
        .await
        .unwrap();
    world.start(flags.app(&world)).await.unwrap();
    assert_eq!(flags.percents().await, [Some(100)]);
}
