//! Target systems: what changes work on.

use std::{
    any::{Any, TypeId, type_name},
    borrow::Cow,
    error::Error as StdError,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use crate::{context::TransactionHandle, error::BoxError};

#[cfg(feature = "apigateway")]
mod apigateway;
#[cfg(any(feature = "apigateway", feature = "lambda", feature = "s3", feature = "sqs"))]
mod aws;
#[cfg(feature = "dynamodb")]
mod dynamodb;
mod erased;
#[cfg(feature = "graphql")]
mod graphql;
#[cfg(any(
    feature = "graphql",
    feature = "rabbitmq",
    feature = "rest",
    feature = "templates",
    feature = "unleash",
    feature = "vault"
))]
pub(crate) mod http;
#[cfg(any(feature = "rest", feature = "templates"))]
mod http_target;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "lambda")]
mod lambda;
#[cfg(feature = "local")]
mod local;
#[cfg(feature = "mongodb")]
mod mongodb;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "rest")]
mod rest;
#[cfg(feature = "s3")]
mod s3;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqs")]
mod sqs;
#[cfg(feature = "unleash")]
mod unleash;
#[cfg(feature = "vault")]
mod vault;

#[cfg(feature = "mongodb")]
pub use self::mongodb::{MongoDbTarget, MongoDbTx};
#[cfg(feature = "apigateway")]
pub use apigateway::{ApiGateway, ApiGatewayTarget};
#[cfg(any(feature = "apigateway", feature = "lambda", feature = "s3", feature = "sqs"))]
pub use aws::AwsError;
#[cfg(feature = "dynamodb")]
pub use dynamodb::{DynamoDbTarget, DynamoDbTx, DynamoDbTxFull};
pub(crate) use erased::{AnyTarget, AnyTransaction};
#[cfg(feature = "graphql")]
pub use graphql::{GraphQl, GraphQlError, GraphQlProblem, GraphQlTarget};
#[cfg(any(
    feature = "graphql",
    feature = "rabbitmq",
    feature = "rest",
    feature = "templates",
    feature = "unleash",
    feature = "vault"
))]
pub use http::HttpError;
#[cfg(any(feature = "rest", feature = "templates"))]
pub use http_target::HttpTarget;
#[cfg(feature = "kafka")]
pub use kafka::{Kafka, KafkaOverrides, KafkaTarget, KafkaTargetError, KafkaTopic};
#[cfg(feature = "lambda")]
pub use lambda::{Lambda, LambdaSettings, LambdaTarget};
#[cfg(feature = "local")]
pub use local::{CommandError, CommandOutput, Commands, CommandsTarget, FileError, Files, FilesTarget};
#[cfg(feature = "mysql")]
pub(crate) use mysql::is_refused_commit;
#[cfg(feature = "mysql")]
pub use mysql::{MySqlTarget, MySqlTx};
#[cfg(feature = "nats")]
pub use nats::NatsTarget;
#[cfg(feature = "postgres")]
pub use postgres::{PgTx, PostgresTarget};
#[cfg(feature = "rabbitmq")]
pub use rabbitmq::{RabbitMq, RabbitMqPolicy, RabbitMqTarget};
#[cfg(feature = "redis")]
pub use redis::{Redis, RedisTarget, Renamed};
#[cfg(feature = "rest")]
pub use rest::{Rest, RestAnswer, RestCall};
#[cfg(feature = "s3")]
pub use s3::{S3, S3Target};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteTarget, SqliteTx};
#[cfg(feature = "sqs")]
pub use sqs::{Sqs, SqsTarget};
#[cfg(feature = "unleash")]
pub use unleash::{Unleash, UnleashStrategy, UnleashTarget};
#[cfg(feature = "vault")]
pub use vault::{Secret, Vault, VaultTarget};

/// What the methods of a [`TransactionalTarget`] return.
pub type TargetFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, TargetError>> + Send + 'a>>;

/// A system that changes work on, under the id by which they name it.
#[derive(Clone)]
pub struct Target {
    pub(crate) id: Cow<'static, str>,
    pub(crate) client: ClientValue,
    /// Absent where the system has no transactions.
    pub(crate) transactions: Option<Arc<dyn AnyTarget>>,
}

#[derive(Clone)]
pub(crate) struct ClientValue {
    pub(crate) value: Arc<dyn Any + Send + Sync>,
    pub(crate) type_id: TypeId,
    pub(crate) type_name: &'static str,
}

impl Target {
    /// A system without transactions: a queue, an HTTP API, an object store, anything. Changes take the client as
    /// [`TargetClient<T>`](crate::TargetClient).
    pub fn non_transactional<T: Clone + Send + Sync + 'static>(
        id: impl Into<Cow<'static, str>>,
        client: T,
    ) -> Self {
        Self {
            id: id.into(),
            client: ClientValue::new(client),
            transactions: None,
        }
    }

    /// A system with transactions. For PostgreSQL there is `PostgresTarget`.
    pub fn transactional<T: TransactionalTarget>(id: impl Into<Cow<'static, str>>, target: T) -> Self {
        Self {
            id: id.into(),
            client: ClientValue::new(target.client()),
            transactions: Some(Arc::new(target)),
        }
    }

    /// The id by which changes name it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether its client is of this type: what kind of system it is.
    pub fn has_client<T: 'static>(&self) -> bool {
        self.client.type_id == TypeId::of::<T>()
    }

    pub(crate) fn marker(&self) -> Option<&Arc<dyn AnyTarget>> {
        self.transactions.as_ref().filter(|target| target.keeps_marks())
    }
}

impl ClientValue {
    fn new<T: Send + Sync + 'static>(client: T) -> Self {
        Self {
            value: Arc::new(client),
            type_id: TypeId::of::<T>(),
            type_name: type_name::<T>(),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("id", &self.id)
            .field("client", &self.client.type_name)
            .field("transactional", &self.transactions.is_some())
            .finish()
    }
}

/// A system whose changes run in a transaction that either takes effect as a whole or leaves nothing.
///
/// A *mark* is a note in the system itself that a change took effect, written in the change's own transaction. It is
/// there exactly if the change was committed, so it settles what a crash or a lost connection leaves open.
pub trait TransactionalTarget: Send + Sync + 'static {
    /// What changes take as `&mut`.
    type Transaction: TransactionHandle;
    /// What changes outside a transaction take as [`TargetClient`](crate::TargetClient).
    type Client: Send + Sync + 'static;

    /// The client.
    fn client(&self) -> Self::Client;

    /// Whether this system keeps marks. Where it does not, the other mark methods are not called.
    fn keeps_marks(&self) -> bool {
        true
    }

    /// The marks of one (environment, service). Must not create anything: it is called wherever something may be left to do.
    fn marks(&self, scope: MarkScope) -> TargetFuture<'_, Vec<Mark>>;

    /// Makes ready for a transactional change, such as by creating the marks' table. Called before the change is
    /// recorded as started; safe to repeat, by several runners at once.
    fn prepare(&self) -> TargetFuture<'_, ()>;

    /// Opens a transaction.
    fn begin(&self) -> TargetFuture<'_, Self::Transaction>;

    /// Writes the mark of a change, in its transaction. It must fail if the change already has one, and wait for
    /// another transaction that is writing it: so the same change cannot be committed twice, locks or no locks.
    fn write_mark<'a>(
        &'a self,
        transaction: &'a mut Self::Transaction,
        scope: MarkScope,
        change_id: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<(), MarkError>> + Send + 'a>>;

    /// Commits, and tells a commit that failed for certain from one whose outcome is unknown.
    fn commit(
        &self,
        transaction: Self::Transaction,
    ) -> Pin<Box<dyn Future<Output = Result<(), CommitError>> + Send + '_>>;

    /// Ends a transaction without effect. `Ok` only if it is certain that nothing of what the change did has stayed:
    /// the log then says "rolled back", and the change is applied again at the next start. A change can have ended the
    /// transaction by itself before it failed, and the connection may be gone.
    ///
    /// May take long to find out. The caller stops waiting when the result of the change can no longer be reported.
    fn rollback(
        &self,
        transaction: Self::Transaction,
    ) -> Pin<Box<dyn Future<Output = Result<(), RollbackError>> + Send + '_>>;

    /// After a commit of unknown outcome: whether the change's mark is there, once its transaction has ended. Waits
    /// for that no longer than told; an error means that it is still unknown.
    fn was_committed<'a>(
        &'a self,
        scope: MarkScope,
        change_id: &'a str,
        patience: Duration,
    ) -> TargetFuture<'a, bool>;

    /// Removes marks; absent ones are no error.
    fn clear_marks<'a>(&'a self, scope: MarkScope, change_ids: &'a [String]) -> TargetFuture<'a, ()>;
}

/// Whose marks: two services that share a database must not take each other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MarkScope {
    /// The environment's id on the server.
    pub environment_id: i64,
    /// The service's id on the server.
    pub service_id: i64,
}

/// A note in the target system about one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which change.
    pub change_id: String,
    /// What happened to it.
    pub operation: MarkOperation,
}

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkOperation {
    /// Committed.
    Applied,
    /// Undone; written by no current runner.
    RolledBack,
}

/// What went wrong in a target system.
#[derive(Debug)]
pub struct TargetError {
    doing: Cow<'static, str>,
    source: BoxError,
}

impl TargetError {
    /// An error, and what was being done: "reading the marks".
    pub fn new(doing: impl Into<Cow<'static, str>>, source: impl Into<BoxError>) -> Self {
        Self {
            doing: doing.into(),
            source: source.into(),
        }
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed", self.doing)
    }
}

impl StdError for TargetError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

/// Why a mark could not be written.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// There is one: another attempt of this change was committed.
    #[error("another attempt of this change was already committed")]
    AlreadyThere,
    /// The change has ended its transaction by itself, so what it did is no longer one thing.
    #[error("the change ended its transaction by itself, by a COMMIT or ROLLBACK of its own")]
    TransactionEnded,
    /// Anything else.
    #[error(transparent)]
    Failed(#[from] TargetError),
}

/// Why a transaction cannot be said to have left nothing.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// The change has ended its transaction by itself, so what it did may be there, in part or as a whole.
    #[error("the change ended its transaction by itself, by a COMMIT or ROLLBACK of its own")]
    TransactionEnded,
    /// Nobody knows, for example because the connection was lost and no other could be made.
    #[error("whether the transaction was rolled back is unknown")]
    Unknown(#[source] TargetError),
}

/// How a commit failed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The mark was there, in a system that looks for it only now: another attempt was committed, and this one left nothing.
    #[error("another attempt of this change was already committed")]
    AlreadyThere,
    /// The system said that it did not commit.
    #[error("the transaction was not committed")]
    Definite(#[source] TargetError),
    /// Nobody knows, for example because the connection was lost while it committed.
    #[error("whether the transaction was committed is unknown")]
    Ambiguous(#[source] TargetError),
}
