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
#[cfg(feature = "certificate")]
mod certificate;
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
#[cfg(all(doctest, feature = "axum", feature = "signal"))]
#[doc = include_str!("../../docs/start-up.md")]
mod guide_to_start_up {}
#[cfg(doctest)]
#[doc = include_str!("../../docs/saga.md")]
mod guide_to_sagas {}
#[cfg(all(doctest, feature = "postgres"))]
mod guide {
    #[doc = include_str!("../../docs/first-change.md")]
    mod first_change {}
    #[doc = include_str!("../../docs/moving.md")]
    mod moving {}
    #[doc = include_str!("../../docs/recovery.md")]
    mod recovery {}
}
#[cfg(doctest)]
#[doc = include_str!("../../docs/long-changes.md")]
mod guide_to_long_changes {}
#[cfg(all(doctest, feature = "certificate"))]
#[doc = include_str!("../../docs/certificate.md")]
mod guide_to_certificates {}
#[cfg(doctest)]
#[doc = include_str!("../../docs/probes.md")]
mod guide_to_probes {}
#[cfg(doctest)]
mod macro_refuses;
mod probe;
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

#[cfg(feature = "certificate")]
pub use crate::certificate::{CertificateFuture, CertificateStore, StartCertificate};
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
    change::{Change, ChangeError, ChangeFuture, ChangeInfo, ProbeFuture, Probed, Recovery},
    checkpoint::{Checkpoint, CheckpointError, Progress},
    client::{Client, ClientConfig, PlanOptions},
    context::{
        ChangeKey, Context, Dep, FromContext, InjectionError, Requirement, TargetClient, TransactionHandle,
    },
    error::Error,
    events::{EventStream, RunEvent},
    readiness::{Activity, Pending, Readiness, ReadinessState, StopGuard},
    report::{
        CertifiedStart, ChangeReport, ChangeStatus, ErrorReport, Report, RunStatus, StageReport, StageState,
        Verdict,
    },
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
    use crate::{ChangeError, ChangeFuture, Context, ProbeFuture, Requirement};
    pub use crate::{handler::Handler, probe::ProbeHandler};

    pub fn outcome<E: Into<ChangeError>>(result: Result<(), E>) -> Result<(), ChangeError> {
        result.map_err(Into::into)
    }

    pub fn handler_requirements<M, H: Handler<M>>(handler: &H) -> Vec<Requirement> {
        handler.requirements()
    }

    pub fn probe_requirements<M, P: ProbeHandler<M>>(probe: &P) -> Vec<Requirement> {
        probe.requirements()
    }

    pub fn call_probe<'a, M, P: ProbeHandler<M>>(probe: &'a P, context: &'a mut Context) -> ProbeFuture<'a> {
        probe.call(context)
    }

    pub fn call_handler<'a, M, H: Handler<M>>(handler: &'a H, context: &'a mut Context) -> ChangeFuture<'a> {
        handler.call(context)
    }
}
