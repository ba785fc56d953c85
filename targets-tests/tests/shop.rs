//! The shop of `examples/shop`: one pipeline whose changes reach eight systems.
#![cfg(feature = "shop")]

use flamingock::{Builder, ChangeKey, ChangeStatus, GraphQl, GraphQlTarget, RedisTarget, RunStatus};
use flamingock::{UnleashTarget, VaultTarget};
use flamingock_api_types::issue::ResolutionKind;
use flamingock_shop::changes::{messaging, rollout, secrets, services};
use flamingock_shop::{Systems, VARIABLES, application, before};
use flamingock_targets_tests::{Fidelity, System, World, message};
use flamingock_tests::{Database, scratch_directory};
use serde_json::{Value, json};

struct Shop {
    _system: System,
    systems: Systems,
    /// There as long as this is.
    _database: Database,
}

impl Shop {
    async fn new() -> Option<Self> {
        for variable in VARIABLES {
            System::address("shop", variable)?;
        }
        let database = Database::empty().await;
        let config = scratch_directory(&[]);
        let systems = Systems::new(database.pool().await, config).await.unwrap();
        before::prepare(&systems).await.unwrap();
        Some(Self {
            _system: System::new("shop", Fidelity::Real, "eight systems in one pipeline"),
            systems,
            _database: database,
        })
    }

    fn app(&self, world: &World) -> Builder {
        application(world.app(), &self.systems).unwrap()
    }
}

#[tokio::test]
async fn one_pipeline_changes_eight_systems_stops_where_it_must_and_goes_on() {
    let Some(shop) = Shop::new().await else { return };
    let (world, systems) = (World::new().await, &shop.systems);
    before::somebody_was_here(systems).await.unwrap();

    let error = world.start(shop.app(&world)).await.unwrap_err();
    let told = message(&error, "gift-card-queue");
    assert!(told.contains("inequivalent arg"), "{told}");
    let report = error.report();
    // The other stages do not wait for this one. The flag does, for it says that it needs the queue.
    assert_eq!((report.applied_changes, report.not_reached_changes), (8, 2));
    let flag = report.change("gift-cards-for-a-quarter").unwrap();
    assert_eq!(flag.status, ChangeStatus::NotReached);
    assert_eq!(
        world.history("gift-card-queue").await,
        "STARTED FAILED ROLLBACK_FAILED"
    );

    // Until a person has decided, nothing more happens.
    let error = world.start(shop.app(&world)).await.unwrap_err();
    assert_eq!(error.report().manual_intervention(), ["gift-card-queue"]);
    before::somebody_cleans_up(systems).await.unwrap();
    world.resolve("gift-card-queue", ResolutionKind::RolledBack).await;

    let report = world.start(shop.app(&world)).await.unwrap();
    assert_eq!((report.applied_changes, report.already_applied_changes), (3, 8));
    everything_is_in_place(systems).await;
    let report = world.start(shop.app(&world)).await.unwrap();
    assert_eq!(report.status, RunStatus::NoChanges);
    assert_eq!(
        report.change("gift-card-queue").unwrap().status,
        ChangeStatus::AlreadyApplied
    );
}

/// In each of the eight.
async fn everything_is_in_place(systems: &Systems) {
    let cards: i64 = sqlx::query_scalar("SELECT count(*) FROM gift_cards WHERE cents = 500")
        .fetch_one(&systems.database)
        .await
        .unwrap();
    assert_eq!(cards, 2, "one for each customer");
    let valid: bool = sqlx::query_scalar(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'orders_by_gift_card'::regclass",
    )
    .fetch_one(&systems.database)
    .await
    .unwrap();
    assert!(valid);

    let vault = VaultTarget::new("secrets", &systems.vault, &systems.vault_token).unwrap();
    let vault = vault.client();
    assert!(vault.policy("shop-gift-cards").await.unwrap().is_some());
    let secret = vault.secret::<Value>(secrets::SECRET).await.unwrap().unwrap();
    assert!(secret.data["key"].is_string());

    let (user, password) = systems.rabbitmq_login();
    let broker = flamingock::RabbitMqTarget::new("broker", &systems.rabbitmq, &user, &password).unwrap();
    let broker = broker.vhost(flamingock_shop::VHOST).client();
    assert!(
        broker
            .is_bound("sales", messaging::QUEUE, "gift-card.*")
            .await
            .unwrap()
    );
    systems
        .nats
        .get_stream(messaging::STREAM)
        .await
        .expect("the stream is there");

    let redis = RedisTarget::new("cache", systems.redis.clone()).client();
    assert_eq!(redis.keys("shop:basket:").await.unwrap().len(), 2);
    assert!(redis.keys("shop:cart:").await.unwrap().is_empty());

    let registry = GraphQlTarget::new("registry", &systems.registry).unwrap();
    let registry = GraphQl::new(&registry, ChangeKey::new("test"));
    let published: Value = registry.execute("{ sdl }", json!({})).await.unwrap();
    assert_eq!(published["sdl"], services::SDL);

    let config = std::fs::read_to_string(systems.config.join("shop.conf")).unwrap();
    assert_eq!(config, "listen 443\ninclude gift-cards.conf\n");

    let unleash = UnleashTarget::new("flags", &systems.unleash, &systems.unleash_token).unwrap();
    assert!(
        unleash
            .client()
            .is_on(rollout::FLAG, rollout::ENVIRONMENT)
            .await
            .unwrap()
    );
}
