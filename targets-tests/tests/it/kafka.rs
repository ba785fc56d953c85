//! Kafka: the same tests on a real broker and on the emulator noida-db. The topics have one name, so one test at a time.

use std::future::Future;
use std::time::Duration;

use flamingock::{
    Builder, ChangeKey, ChangeStatus, Kafka, KafkaOverrides, KafkaTarget, KafkaTargetError, Stage,
    TargetClient, change,
};
use flamingock_targets_tests::{Fidelity, System, World, message};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::{Mutex, MutexGuard};

#[expect(dead_code, reason = "its main function")]
#[path = "../../../client-sdk/examples/kafka.rs"]
mod example;

static ALONE: Mutex<()> = Mutex::const_new(());

struct Events {
    _alone: MutexGuard<'static, ()>,
    _system: System,
    config: ClientConfig,
    target: KafkaTarget,
}

/// Runs a test against each of the two that there is.
async fn on_each<F: Future<Output = ()>>(test: impl Fn(World, Events) -> F) {
    for (name, variable, fidelity) in [
        ("Kafka", "KAFKA_BROKERS", Fidelity::Real),
        ("noida-db", "NOIDA_KAFKA_BROKERS", Fidelity::Emulator),
    ] {
        if let Some(brokers) = System::address(name, variable) {
            let system = System::new(name, fidelity, System::version_of(variable));
            test(World::new().await, Events::new(system, &brokers).await).await;
        }
    }
}

impl Events {
    async fn new(system: System, brokers: &str) -> Self {
        let alone = ALONE.lock().await;
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        let events = Self {
            _alone: alone,
            _system: system,
            target: example::target(brokers).unwrap(),
            config,
        };
        for topic in ["orders", "flamingock_kept"] {
            events.delete(topic).await;
        }
        events
    }

    async fn delete(&self, topic: &str) {
        let admin: AdminClient<DefaultClientContext> = self.config.create().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let _ = admin.delete_topics(&[topic], &options).await.unwrap(); // mostly not there
        flamingock_targets_tests::eventually("the topic is gone", || async {
            self.client().topic(topic).await.unwrap().is_none().then_some(())
        })
        .await;
    }

    fn app(&self, world: &World, stage: Stage) -> Builder {
        let brokers = self.config.get("bootstrap.servers").unwrap();
        world.app().target(example::target(brokers).unwrap()).stage(stage)
    }

    fn client(&self) -> Kafka {
        self.target.client()
    }

    async fn setting(&self, name: &str) -> Option<String> {
        let mut own = self.client().overrides("orders", &[name]).await.unwrap();
        own.remove(name).flatten()
    }

    async fn set(&self, name: &str, value: Option<&str>) {
        let wanted = KafkaOverrides::from([(name.to_owned(), value.map(str::to_owned))]);
        self.client().set_overrides("orders", &wanted).await.unwrap();
    }

    async fn publish(&self) {
        let producer: FutureProducer = self.config.create().unwrap();
        let record = FutureRecord::to("orders").key("1").payload("x");
        producer.send(record, Duration::from_secs(30)).await.unwrap();
    }
}

#[tokio::test]
async fn the_example_is_applied_once() {
    on_each(|world, events| async move {
        for expected in [ChangeStatus::Applied, ChangeStatus::AlreadyApplied] {
            let report = world.start(events.app(&world, example::stage())).await.unwrap();
            for change in ["orders-topic", "orders-for-a-week"] {
                assert_eq!(report.change(change).unwrap().status, expected, "{change}");
            }
        }
        let topic = events.client().topic("orders").await.unwrap().unwrap();
        assert_eq!(topic.partitions, 3);
        assert_eq!(events.setting("retention.ms").await.as_deref(), Some("604800000"));
        events.publish().await;
        assert!(events.client().was_written_to("orders").await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_failure_in_the_middle_is_undone_and_the_next_start_goes_on() {
    on_each(|world, events| async move {
        let start = || world.start(events.app(&world, example::stage()));
        // Of that name, and another one. Nobody uses it, so the rollback removes it.
        let kafka = events.client();
        kafka.create_topic("orders", Some(2), None, &[]).await.unwrap();
        let error = start().await.unwrap_err();
        let told = message(&error, "orders-topic");
        assert!(told.contains("another number of partitions"), "{told}");
        assert_eq!(world.history("orders-topic").await, "STARTED FAILED ROLLED_BACK");
        assert_eq!(kafka.topic("orders").await.unwrap(), None);

        // Where it was written to it stays, and a person looks.
        kafka.create_topic("orders", Some(2), None, &[]).await.unwrap();
        events.publish().await;
        start().await.unwrap_err();
        assert_eq!(
            world.history("orders-topic").await,
            "STARTED FAILED ROLLED_BACK STARTED FAILED ROLLBACK_FAILED"
        );
        assert_eq!(kafka.topic("orders").await.unwrap().unwrap().partitions, 2);
        events.delete("orders").await;
        // It may be repeated, as its author says, so nobody has to be asked.
        start().await.unwrap();
        assert_eq!(kafka.topic("orders").await.unwrap().unwrap().partitions, 3);
    })
    .await;
}

#[tokio::test]
async fn after_a_death_the_topic_that_is_there_is_enough() {
    on_each(|world, events| async move {
        let app = || events.app(&world, Stage::new("topics").change(example::orders_topic));
        world.die_before_the_report(app()).await;
        events.publish().await;
        world.start(app()).await.unwrap();
        assert_eq!(world.history("orders-topic").await, "STARTED STARTED APPLIED");
    })
    .await;
}

#[tokio::test]
async fn after_a_death_the_rollback_knows_the_setting_from_before_the_first_attempt() {
    for before in [Some("3600000"), None] {
        on_each(|world, events| async move {
            let kafka = events.client();
            kafka.create_topic("orders", Some(1), None, &[]).await.unwrap();
            events.set("retention.ms", before).await;
            let stage = || Stage::new("topics").change(week_then_more);
            let app = || events.app(&world, stage()).dependency(KafkaOverrides::new());
            world.die_before_the_report(app()).await;
            assert_eq!(events.setting("retention.ms").await.as_deref(), Some("604800000"));
            // The second attempt fails, and its rollback does not take the first attempt's value for the former one.
            let refused = KafkaOverrides::from([("retention.ms".to_owned(), Some("soon".to_owned()))]);
            let app = events.app(&world, stage()).dependency(refused);
            let error = world.start(app).await.unwrap_err();
            let told = message(&error, "week-then-more");
            assert!(
                told.contains("the topic `orders` does not take the settings"),
                "{told}"
            );
            assert_eq!(
                world.history("week-then-more").await,
                "STARTED STARTED FAILED ROLLED_BACK"
            );
            assert_eq!(events.setting("retention.ms").await.as_deref(), before);
        })
        .await;
    }
}

/// The example's change, and then settings that Kafka may refuse.
#[change(
    id = "week-then-more",
    order = "0001",
    target = "events",
    recovery = "always_retry",
    rollback = example::retention_as_before
)]
async fn week_then_more(
    kafka: TargetClient<Kafka>,
    key: ChangeKey,
    more: flamingock::Dep<KafkaOverrides>,
) -> Result<(), KafkaTargetError> {
    example::keep_for_a_week(&kafka, &key).await?;
    kafka.set_overrides("orders", &more).await
}

#[tokio::test]
async fn settings_of_others_stay_and_what_is_refused_changes_nothing() {
    on_each(|_, events| async move {
        let kafka = events.client();
        let own = [("retention.ms", "3600000"), ("max.message.bytes", "2000000")];
        kafka.create_topic("orders", Some(1), None, &own).await.unwrap();
        events.set("retention.ms", Some("7200000")).await;
        assert_eq!(
            events.setting("max.message.bytes").await.as_deref(),
            Some("2000000")
        );
        for refused in [("retention.ms", "soon"), ("no.such.setting", "1")] {
            let wanted = KafkaOverrides::from([(refused.0.to_owned(), Some(refused.1.to_owned()))]);
            let error = kafka.set_overrides("orders", &wanted).await.unwrap_err();
            assert!(matches!(error, KafkaTargetError::NotDone(_)), "{error:?}");
            assert_eq!(events.setting("retention.ms").await.as_deref(), Some("7200000"));
        }
        events.set("retention.ms", None).await;
        assert_eq!(events.setting("retention.ms").await, None);
        assert_eq!(
            events.setting("max.message.bytes").await.as_deref(),
            Some("2000000")
        );
    })
    .await;
}

#[tokio::test]
async fn partitions_grow_once_and_never_shrink() {
    on_each(|_, events| async move {
        let kafka = events.client();
        kafka.create_topic("orders", Some(2), None, &[]).await.unwrap();
        for _ in 0..2 {
            kafka.grow_partitions("orders", 4).await.unwrap();
            assert_eq!(kafka.topic("orders").await.unwrap().unwrap().partitions, 4);
        }
        let error = kafka.grow_partitions("orders", 3).await.unwrap_err();
        assert!(error.to_string().contains("3 partitions instead of 4"), "{error}");
        let error = kafka.grow_partitions("absent", 3).await.unwrap_err();
        assert!(error.to_string().contains("no topic `absent`"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn what_is_kept_first_stays_until_it_is_forgotten() {
    on_each(|_, events| async move {
        let kafka = events.client();
        assert_eq!(kafka.kept::<u8>("a").await.unwrap(), None);
        kafka.forget("a").await.unwrap();
        for value in [1, 2] {
            kafka.keep("a", &value).await.unwrap();
            kafka.keep("b", &(value + 10)).await.unwrap();
        }
        assert_eq!(kafka.kept::<u8>("a").await.unwrap(), Some(1));
        kafka.forget("a").await.unwrap();
        assert_eq!(kafka.kept::<u8>("a").await.unwrap(), None);
        assert_eq!(kafka.kept::<u8>("b").await.unwrap(), Some(11));
        kafka.keep("a", &3).await.unwrap();
        assert_eq!(kafka.kept::<u8>("a").await.unwrap(), Some(3));
    })
    .await;
}
