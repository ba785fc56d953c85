//! RabbitMQ and NATS.

use std::time::Duration;

use async_nats::jetstream::{Context, consumer::pull, context::GetStreamErrorKind, stream::Config};
use flamingock::{ChangeError, HttpError, RabbitMq, TargetClient, change};
use serde_json::json;

pub const QUEUE: &str = "gift-cards";
pub const STREAM: &str = "SHOP_GIFT_CARDS";

const WEEK: Duration = Duration::from_hours(7 * 24);

/// Its author does not say that it may be repeated: where it fails and the rollback cannot undo it, a person looks.
#[change(
    id = "gift-card-queue",
    order = "0001",
    author = "mara",
    target = "broker",
    rollback = no_gift_card_queue
)]
pub async fn gift_card_queue(broker: TargetClient<RabbitMq>) -> Result<(), HttpError> {
    broker.declare_exchange("sales", "topic").await?;
    broker
        .declare_queue(QUEUE, json!({"x-queue-type": "quorum"}))
        .await?;
    broker.bind("sales", QUEUE, "gift-card.*").await
}

/// Stops where a message would be lost.
async fn no_gift_card_queue(broker: TargetClient<RabbitMq>) -> Result<(), HttpError> {
    broker.unbind("sales", QUEUE, "gift-card.*").await?;
    broker.delete_empty_queue(QUEUE).await?;
    broker.delete_unused_exchange("sales").await
}

#[change(
    id = "gift-card-events",
    order = "0002",
    author = "mara",
    target = "events",
    recovery = "always_retry",
    rollback = no_gift_card_events
)]
pub async fn gift_card_events(events: TargetClient<Context>) -> Result<(), ChangeError> {
    let config = Config {
        name: STREAM.into(),
        subjects: vec!["shop.gift-cards.>".into()],
        max_age: WEEK,
        ..Config::default()
    };
    let stream = events.create_stream(config).await?;
    let consumer = pull::Config {
        durable_name: Some("ledger".into()),
        ..pull::Config::default()
    };
    stream.create_consumer(consumer).await?;
    Ok(())
}

async fn no_gift_card_events(events: TargetClient<Context>) -> Result<(), ChangeError> {
    let mut stream = match events.get_stream(STREAM).await {
        Ok(stream) => stream,
        Err(error) if is_absent(&error.kind()) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if stream.info().await?.state.messages > 0 {
        return Err(format!("the stream {STREAM} holds messages, so it is not deleted").into());
    }
    events.delete_stream(STREAM).await?;
    Ok(())
}

fn is_absent(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.code() == 404)
}
