//! NATS JetStream. The stream has one name, so one test at a time.

use async_nats::jetstream::stream::StorageType;
use async_nats::jetstream::{self, Context};
use flamingock::{Builder, ChangeStatus};
use flamingock_targets_tests::{Fidelity, System, World, message};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

#[expect(dead_code, reason = "its main function")]
#[path = "../../../client-sdk/examples/nats.rs"]
mod example;

static ALONE: Mutex<()> = Mutex::const_new(());

struct Events {
    _alone: MutexGuard<'static, ()>,
    _system: System,
    context: Context,
}

impl Events {
    async fn new() -> Option<Self> {
        let url = System::address("NATS", "NATS_URL")?;
        let alone = ALONE.lock().await;
        let client = async_nats::connect(url).await.unwrap();
        let version = client.server_info().version;
        let context = jetstream::new(client);
        let _ = context.delete_stream("ORDERS").await; // mostly not there
        Some(Self {
            _alone: alone,
            _system: System::new("NATS", Fidelity::Real, version),
            context,
        })
    }

    fn app(&self, world: &World) -> Builder {
        world
            .app()
            .target(example::target(self.context.clone()))
            .stage(example::stage())
    }

    async fn days(&self) -> Option<u64> {
        let mut stream = self.context.get_stream("ORDERS").await.ok()?;
        Some(stream.info().await.unwrap().config.max_age.as_secs() / 86400)
    }

    async fn publish(&self) {
        let sent = self.context.publish("orders.placed", "x".into()).await.unwrap();
        sent.await.unwrap();
    }

    async fn change(&self, how: impl FnOnce(&mut jetstream::stream::Config)) {
        let mut stream = self.context.get_stream("ORDERS").await.unwrap();
        let mut config = stream.info().await.unwrap().config.clone();
        how(&mut config);
        self.context.update_stream(config).await.unwrap();
    }
}

#[tokio::test]
async fn the_example_is_applied_once() {
    let Some(events) = Events::new().await else { return };
    let world = World::new().await;
    for expected in [ChangeStatus::Applied, ChangeStatus::AlreadyApplied] {
        let report = world.start(events.app(&world)).await.unwrap();
        assert_eq!(report.change("orders-stream").unwrap().status, expected);
    }
    assert_eq!(events.days().await, Some(7));
}

#[tokio::test]
async fn a_failure_in_the_middle_is_undone_and_the_next_start_goes_on() {
    let Some(events) = Events::new().await else { return };
    let world = World::new().await;
    // Of that name, in memory: JetStream refuses to make it another one, and the rollback knows that it is not the change's.
    let there = jetstream::stream::Config {
        name: "ORDERS".into(),
        subjects: vec!["orders.>".into()],
        storage: StorageType::Memory,
        ..jetstream::stream::Config::default()
    };
    events.context.create_stream(there).await.unwrap();
    let error = world.start(events.app(&world)).await.unwrap_err();
    assert!(
        message(&error, "orders-stream").contains("already in use"),
        "{}",
        message(&error, "orders-stream")
    );
    assert_eq!(world.history("orders-stream").await, "STARTED FAILED ROLLED_BACK");
    assert_eq!(events.days().await, Some(0), "it stays what it was");

    events.context.delete_stream("ORDERS").await.unwrap();
    world.start(events.app(&world)).await.unwrap();
    assert_eq!(events.days().await, Some(7));
}

#[tokio::test]
async fn after_a_death_the_repetition_finds_it_done_and_drift_is_left_alone() {
    let Some(events) = Events::new().await else { return };
    let world = World::new().await;
    world.die_before_the_report(events.app(&world)).await;
    assert_eq!(events.days().await, Some(1));
    events.publish().await;
    events
        .change(|config| config.max_age = Duration::from_hours(72))
        .await;
    // The stream that is there is another one now.
    let error = world.start(events.app(&world)).await.unwrap_err();
    assert!(
        message(&error, "orders-stream").contains("already in use"),
        "{}",
        message(&error, "orders-stream")
    );
    assert_eq!(events.days().await, Some(3), "somebody's choice stays");
    assert_eq!(
        world.history("orders-stream").await,
        "STARTED STARTED FAILED ROLLBACK_FAILED"
    );
    events
        .change(|config| config.max_age = Duration::from_hours(24))
        .await;
    world.start(events.app(&world)).await.unwrap();
    assert_eq!(events.days().await, Some(7));
}
