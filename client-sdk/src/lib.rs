#![cfg_attr(feature = "postgres", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "postgres"),
    doc = "Change units for Rust services: applied exactly once, in order, audited, with a safe stop."
)]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(feature = "admin")]
pub mod admin;
mod builder;
mod cancellation;
mod change;
mod checkpoint;
mod client;
mod context;
mod error;
mod events;
mod handler;
mod lease;
#[cfg(all(doctest, feature = "templates", feature = "postgres"))]
#[doc = include_str!("../../docs/templates.md")]
mod guide_to_templates {}
#[cfg(doctest)]
mod macro_refuses;
mod readiness;
mod report;
mod retry;
mod runner;
mod runner_id;
mod saga;
mod settings;
mod stage;
mod start_error;
#[cfg(feature = "axum")]
mod startup_probe;
mod stop;
mod target;
#[cfg(feature = "templates")]
pub mod templates;
mod trace;
mod transport;
mod validate;

/// What crosses the wire, for those who use the [`Client`].
pub use flamingock_api_types as wire;
pub use flamingock_macros::change;
#[cfg(feature = "templates")]
pub use flamingock_macros::embed_dir;

#[cfg(feature = "axum")]
pub use crate::startup_probe::startup_probe;
#[cfg(feature = "signal")]
pub use crate::stop::shutdown_signal;
#[cfg(any(
    feature = "graphql",
    feature = "rabbitmq",
    feature = "rest",
    feature = "unleash",
    feature = "vault"
))]
pub use crate::target::HttpError;
#[cfg(feature = "nats")]
pub use crate::target::NatsTarget;
#[cfg(feature = "local")]
pub use crate::target::{
    CommandError, CommandOutput, Commands, CommandsTarget, FileError, Files, FilesTarget,
};
#[cfg(feature = "dynamodb")]
pub use crate::target::{DynamoDbTarget, DynamoDbTx, DynamoDbTxFull};
#[cfg(feature = "graphql")]
pub use crate::target::{GraphQl, GraphQlError, GraphQlProblem, GraphQlTarget};
#[cfg(feature = "mysql")]
pub use crate::target::{MySqlTarget, MySqlTx};
#[cfg(feature = "postgres")]
pub use crate::target::{PgTx, PostgresTarget};
#[cfg(feature = "rabbitmq")]
pub use crate::target::{RabbitMq, RabbitMqPolicy, RabbitMqTarget};
#[cfg(feature = "redis")]
pub use crate::target::{Redis, RedisTarget, Renamed};
#[cfg(feature = "rest")]
pub use crate::target::{Rest, RestAnswer, RestCall, RestTarget};
#[cfg(feature = "vault")]
pub use crate::target::{Secret, Vault, VaultTarget};
#[cfg(feature = "sqlite")]
pub use crate::target::{SqliteTarget, SqliteTx};
#[cfg(feature = "unleash")]
pub use crate::target::{Unleash, UnleashStrategy, UnleashTarget};
pub use crate::{
    builder::{Builder, Flamingock},
    cancellation::{CancelReason, Cancellation},
    change::{Change, ChangeError, ChangeFuture, ChangeInfo, Recovery},
    checkpoint::{Checkpoint, CheckpointError, Progress},
    client::{Client, ClientConfig, PlanOptions},
    context::{
        ChangeKey, Context, Dep, FromContext, InjectionError, Requirement, TargetClient, TransactionHandle,
    },
    error::Error,
    events::{EventStream, RunEvent},
    readiness::{Activity, Pending, Readiness, ReadinessState, StopGuard},
    report::{ChangeReport, ChangeStatus, ErrorReport, Report, RunStatus, StageReport, StageState, Verdict},
    saga::{Saga, Step},
    settings::LockSettings,
    stage::{Stage, StageKind},
    start_error::{StartError, StartErrorKind},
    stop::StopHandle,
    target::{
        CommitError, Mark, MarkError, MarkOperation, MarkScope, RollbackError, Target, TargetError,
        TargetFuture, TransactionalTarget,
    },
    validate::{BuildError, Problem},
};

/// What the code printed by [`change`](macro@change) calls. Not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::handler::Handler;
    use crate::{ChangeError, ChangeFuture, Context, Requirement};

    pub fn outcome<E: Into<ChangeError>>(result: Result<(), E>) -> Result<(), ChangeError> {
        result.map_err(Into::into)
    }

    pub fn handler_requirements<M, H: Handler<M>>(handler: &H) -> Vec<Requirement> {
        handler.requirements()
    }

    pub fn call_handler<'a, M, H: Handler<M>>(handler: &'a H, context: &'a mut Context) -> ChangeFuture<'a> {
        handler.call(context)
    }
}
