//! A stream with its consumer, and a longer memory of it, in NATS JetStream.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT`, `FLAMINGOCK_SERVICE` and `NATS_URL`:
//!
//! ```text
//! cargo run -p flamingock --features nats --example nats
//! ```

use std::{env, time::Duration};

use async_nats::jetstream::{self, Context, consumer::pull, context::GetStreamErrorKind, stream::Config};
use flamingock::{ChangeError, ChangeKey, Flamingock, NatsTarget, Stage, TargetClient, change};

const DAY: Duration = Duration::from_hours(24);

/// What is there as it should be is left alone; what is there otherwise is refused.
#[change(
    id = "orders-stream",
    order = "0001",
    author = "mara",
    target = "events",
    recovery = "always_retry",
    rollback = no_orders_stream
)]
async fn orders_stream(events: TargetClient<Context>, key: ChangeKey) -> Result<(), ChangeError> {
    let config = Config {
        name: "ORDERS".into(),
        // By this the rollback knows it.
        description: Some(key.step("stream")),
        subjects: vec!["orders.>".into()],
        max_age: DAY,
        ..Config::default()
    };
    let stream = events.create_stream(config).await?;
    let consumer = pull::Config {
        durable_name: Some("billing".into()),
        filter_subject: "orders.placed".into(),
        ..pull::Config::default()
    };
    stream.create_consumer(consumer).await?;
    Ok(())
}

/// Not another's of that name, and not where it holds messages: those are somebody's orders.
async fn no_orders_stream(events: TargetClient<Context>, key: ChangeKey) -> Result<(), ChangeError> {
    let mut stream = match events.get_stream("ORDERS").await {
        Ok(stream) => stream,
        Err(error) if is_absent(&error.kind()) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let info = stream.info().await?;
    if info.config.description != Some(key.step("stream")) {
        return Ok(());
    }
    if info.state.messages > 0 {
        return Err("the stream ORDERS holds messages, so it is not deleted".into());
    }
    events.delete_stream("ORDERS").await?;
    Ok(())
}

/// From one day to seven. If somebody has chosen another age since, it is left alone, and the change fails.
#[change(
    id = "orders-for-a-week",
    order = "0002",
    author = "lin",
    target = "events",
    recovery = "always_retry",
    rollback = orders_for_a_day
)]
async fn orders_for_a_week(events: TargetClient<Context>) -> Result<(), ChangeError> {
    change_age(&events, DAY, DAY * 7).await
}

async fn orders_for_a_day(events: TargetClient<Context>) -> Result<(), ChangeError> {
    change_age(&events, DAY * 7, DAY).await
}

async fn change_age(events: &Context, from: Duration, to: Duration) -> Result<(), ChangeError> {
    let mut config = events.get_stream("ORDERS").await?.info().await?.config.clone();
    if config.max_age == to {
        return Ok(());
    }
    if config.max_age != from {
        return Err(format!(
            "the stream keeps messages for {:?}, which is neither",
            config.max_age
        )
        .into());
    }
    config.max_age = to;
    events.update_stream(config).await?;
    Ok(())
}

fn is_absent(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.code() == 404)
}

pub fn target(context: Context) -> NatsTarget {
    NatsTarget::new("events", context)
}

pub fn stage() -> Stage {
    Stage::new("events")
        .change(orders_stream)
        .change(orders_for_a_week)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let url = env::var("NATS_URL").map_err(|_| "NATS_URL is not set: such as nats://127.0.0.1:4222")?;
    let client = async_nats::connect(url).await?;
    let app = Flamingock::from_env()
        .target(target(jetstream::new(client)))
        .stage(stage());
    app.build()?.run().await?;
    Ok(())
}
