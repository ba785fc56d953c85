//! A queue with its dead letters, and more time for those who work on its messages, in SQS.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT` and `FLAMINGOCK_SERVICE`, and whatever the AWS SDK
//! needs: `AWS_REGION`, credentials, and for another service than AWS `AWS_ENDPOINT_URL`:
//!
//! ```text
//! cargo run -p flamingock --features sqs --example sqs
//! ```

use aws_config::BehaviorVersion;
use aws_sdk_sqs::Client;
use flamingock::{AwsError, ChangeKey, Flamingock, Sqs, SqsTarget, Stage, TargetClient, change};

const ORDERS: &str = "orders";
const DEAD: &str = "orders-dead";

/// What is there as it should be is left alone; what is there otherwise is refused.
#[change(
    id = "orders-queue",
    order = "0001",
    author = "mara",
    target = "queues",
    recovery = "always_retry",
    rollback = no_orders_queue
)]
async fn orders_queue(queues: TargetClient<Sqs>) -> Result<(), AwsError> {
    queues.create_queue_with_dead_letters(ORDERS, DEAD, 5, &[]).await
}

/// Stops where a message would be lost.
async fn no_orders_queue(queues: TargetClient<Sqs>) -> Result<(), AwsError> {
    queues.delete_empty_queue(ORDERS).await?;
    queues.delete_empty_queue(DEAD).await
}

#[change(
    id = "time-for-orders",
    order = "0002",
    author = "lin",
    target = "queues",
    recovery = "always_retry",
    rollback = time_as_before
)]
pub async fn time_for_orders(queues: TargetClient<Sqs>, key: ChangeKey) -> Result<(), AwsError> {
    let attributes = [
        ("VisibilityTimeout", "120"),
        ("ReceiveMessageWaitTimeSeconds", "20"),
    ];
    queues
        .change_attributes(ORDERS, &key.step("orders"), &attributes)
        .await
}

async fn time_as_before(queues: TargetClient<Sqs>, key: ChangeKey) -> Result<(), AwsError> {
    queues.attributes_as_before(ORDERS, &key.step("orders")).await
}

pub fn target(client: Client) -> SqsTarget {
    SqsTarget::new("queues", client)
}

pub fn stage() -> Stage {
    Stage::new("queues").change(orders_queue).change(time_for_orders)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let app = Flamingock::from_env()
        .target(target(Client::new(&config)))
        .stage(stage());
    app.build()?.run().await?;
    Ok(())
}
