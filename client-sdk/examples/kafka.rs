//! A topic, and a longer retention for it, in Kafka.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT`, `FLAMINGOCK_SERVICE` and `KAFKA_BROKERS`:
//!
//! ```text
//! cargo run -p flamingock --features kafka --example kafka
//! ```

use std::env;

use flamingock::{
    ChangeKey, Flamingock, Kafka, KafkaOverrides, KafkaTarget, KafkaTargetError, Stage, TargetClient, change,
};
use rdkafka::ClientConfig;

const DAY: u64 = 24 * 60 * 60 * 1000;

#[change(
    id = "orders-topic",
    order = "0001",
    author = "mara",
    target = "events",
    recovery = "always_retry",
    rollback = no_orders_topic
)]
pub async fn orders_topic(kafka: TargetClient<Kafka>) -> Result<(), KafkaTargetError> {
    let a_day = DAY.to_string();
    kafka
        .create_topic("orders", Some(3), None, &[("retention.ms", &a_day)])
        .await
}

/// Stops where a message would be lost.
async fn no_orders_topic(kafka: TargetClient<Kafka>) -> Result<(), KafkaTargetError> {
    kafka.delete_unused_topic("orders").await
}

/// What was set before is kept in the cluster, so that the rollback can set it again, or take the setting away.
#[change(
    id = "orders-for-a-week",
    order = "0002",
    author = "lin",
    target = "events",
    recovery = "always_retry",
    rollback = retention_as_before
)]
pub async fn orders_for_a_week(kafka: TargetClient<Kafka>, key: ChangeKey) -> Result<(), KafkaTargetError> {
    keep_for_a_week(&kafka, &key).await
}

pub async fn keep_for_a_week(kafka: &Kafka, key: &ChangeKey) -> Result<(), KafkaTargetError> {
    let before = kafka.overrides("orders", &["retention.ms"]).await?;
    kafka.keep(&key.step("retention"), &before).await?;
    let week = (7 * DAY).to_string();
    let wanted = KafkaOverrides::from([("retention.ms".to_owned(), Some(week))]);
    kafka.set_overrides("orders", &wanted).await
}

pub async fn retention_as_before(kafka: TargetClient<Kafka>, key: ChangeKey) -> Result<(), KafkaTargetError> {
    let key = key.step("retention");
    // Without it the change never came so far.
    if let Some(before) = kafka.kept::<KafkaOverrides>(&key).await? {
        kafka.set_overrides("orders", &before).await?;
        kafka.forget(&key).await?;
    }
    Ok(())
}

pub fn target(brokers: &str) -> Result<KafkaTarget, KafkaTargetError> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    KafkaTarget::new("events", config)
}

pub fn stage() -> Stage {
    Stage::new("topics")
        .change(orders_topic)
        .change(orders_for_a_week)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let brokers =
        env::var("KAFKA_BROKERS").map_err(|_| "KAFKA_BROKERS is not set: such as 127.0.0.1:9092")?;
    let target = target(&brokers)?;
    let app = Flamingock::from_env().target(target).stage(stage());
    app.build()?.run().await?;
    Ok(())
}
