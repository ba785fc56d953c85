//! An exchange with its queue, and a policy, in RabbitMQ.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT`, `FLAMINGOCK_SERVICE` and `RABBITMQ_MANAGEMENT`,
//! the address of the management API, such as `http://127.0.0.1:15672`; user and password are `guest`:
//!
//! ```text
//! cargo run -p flamingock --features rabbitmq --example rabbitmq
//! ```

use std::env;

use flamingock::{
    ChangeKey, Flamingock, HttpError, RabbitMq, RabbitMqPolicy, RabbitMqTarget, Stage, TargetClient, change,
};
use serde_json::json;

#[change(
    id = "orders-for-billing",
    order = "0001",
    author = "mara",
    target = "broker",
    recovery = "always_retry",
    rollback = no_orders_for_billing
)]
async fn orders_for_billing(broker: TargetClient<RabbitMq>) -> Result<(), HttpError> {
    broker.declare_exchange("orders", "topic").await?;
    broker
        .declare_queue("billing", json!({"x-queue-type": "quorum"}))
        .await?;
    broker.bind("orders", "billing", "order.*").await
}

/// Stops where a message would be lost.
async fn no_orders_for_billing(broker: TargetClient<RabbitMq>) -> Result<(), HttpError> {
    broker.unbind("orders", "billing", "order.*").await?;
    broker.delete_empty_queue("billing").await?;
    broker.delete_unused_exchange("orders").await
}

/// Whatever policy there was is kept in the broker, so that the rollback can put it back.
#[change(
    id = "late-orders-expire",
    order = "0002",
    author = "lin",
    target = "broker",
    recovery = "always_retry",
    rollback = policy_as_before
)]
pub async fn late_orders_expire(broker: TargetClient<RabbitMq>, key: ChangeKey) -> Result<(), HttpError> {
    let policy = RabbitMqPolicy {
        pattern: "^billing$".to_owned(),
        definition: json!({"message-ttl": 3_600_000}),
        priority: 5,
        apply_to: "queues".to_owned(),
    };
    let before = broker.policy("billing").await?;
    broker.keep(&key.step("policy"), &before).await?;
    broker.put_policy("billing", &policy).await
}

async fn policy_as_before(broker: TargetClient<RabbitMq>, key: ChangeKey) -> Result<(), HttpError> {
    let key = key.step("policy");
    let kept: Option<Option<RabbitMqPolicy>> = broker.kept(&key).await?;
    match kept {
        Some(Some(before)) => broker.put_policy("billing", &before).await?,
        Some(None) => broker.delete_policy("billing").await?,
        None => return Ok(()), // it never came so far
    }
    broker.forget(&key).await
}

pub fn target(address: &str, user: &str, password: &str, vhost: &str) -> Result<RabbitMqTarget, HttpError> {
    Ok(RabbitMqTarget::new("broker", address, user, password)?.vhost(vhost))
}

pub fn stage() -> Stage {
    Stage::new("topology")
        .change(orders_for_billing)
        .change(late_orders_expire)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let management = env::var("RABBITMQ_MANAGEMENT")
        .map_err(|_| "RABBITMQ_MANAGEMENT is not set: such as http://127.0.0.1:15672")?;
    let target = target(&management, "guest", "guest", "/")?;
    let app = Flamingock::from_env().target(target).stage(stage());
    app.build()?.run().await?;
    Ok(())
}
