//! NATS JetStream: streams, consumers and buckets. No transactions; what JetStream has is compare-and-set, and it refuses
//! changes of a stream that would lose data.

use std::borrow::Cow;

use async_nats::jetstream::Context;

use super::Target;

/// A JetStream. Changes take `TargetClient<async_nats::jetstream::Context>`.
///
/// ```
/// use async_nats::jetstream::{self, stream};
/// use flamingock::{ChangeError, TargetClient, change};
///
/// #[change(id = "orders-stream", order = "0001", target = "events", recovery = "always_retry", rollback = no_stream)]
/// async fn orders_stream(events: TargetClient<jetstream::Context>) -> Result<(), ChangeError> {
///     let config = stream::Config {
///         name: "ORDERS".into(),
///         subjects: vec!["orders.>".into()],
///         ..stream::Config::default()
///     };
///     events.get_or_create_stream(config).await?;
///     Ok(())
/// }
///
/// async fn no_stream(events: TargetClient<jetstream::Context>) -> Result<(), ChangeError> {
///     events.delete_stream("ORDERS").await?;
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct NatsTarget {
    id: Cow<'static, str>,
    context: Context,
}

impl NatsTarget {
    /// A JetStream by its context; [`async_nats::jetstream::new`] makes one.
    pub fn new(id: impl Into<Cow<'static, str>>, context: Context) -> Self {
        Self {
            id: id.into(),
            context,
        }
    }
}

impl From<NatsTarget> for Target {
    fn from(target: NatsTarget) -> Self {
        Self::non_transactional(target.id, target.context)
    }
}
