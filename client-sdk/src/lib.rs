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
mod causes;
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
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../../docs/testing.md")]
mod guide_to_testing {}
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
#[cfg(feature = "testing")]
pub mod testing;
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
#[cfg(any(feature = "apigateway", feature = "lambda", feature = "s3", feature = "sqs"))]
pub use crate::target::AwsError;
#[cfg(any(
    feature = "graphql",
    feature = "rabbitmq",
    feature = "rest",
    feature = "templates",
    feature = "unleash",
    feature = "vault"
))]
pub use crate::target::HttpError;
#[cfg(any(feature = "rest", feature = "templates"))]
pub use crate::target::HttpTarget;
#[cfg(feature = "nats")]
pub use crate::target::NatsTarget;
#[cfg(feature = "apigateway")]
pub use crate::target::{ApiGateway, ApiGatewayTarget};
#[cfg(feature = "local")]
pub use crate::target::{
    CommandError, CommandOutput, Commands, CommandsTarget, FileError, Files, FilesTarget,
};
#[cfg(feature = "dynamodb")]
pub use crate::target::{DynamoDbTarget, DynamoDbTx, DynamoDbTxFull};
#[cfg(feature = "graphql")]
pub use crate::target::{GraphQl, GraphQlError, GraphQlProblem, GraphQlTarget};
#[cfg(feature = "kafka")]
pub use crate::target::{Kafka, KafkaOverrides, KafkaTarget, KafkaTargetError, KafkaTopic};
#[cfg(feature = "lambda")]
pub use crate::target::{Lambda, LambdaSettings, LambdaTarget};
#[cfg(feature = "mongodb")]
pub use crate::target::{MongoDbTarget, MongoDbTx};
#[cfg(feature = "mysql")]
pub use crate::target::{MySqlTarget, MySqlTx};
#[cfg(feature = "postgres")]
pub use crate::target::{PgTx, PostgresTarget};
#[cfg(feature = "rabbitmq")]
pub use crate::target::{RabbitMq, RabbitMqPolicy, RabbitMqTarget};
#[cfg(feature = "redis")]
pub use crate::target::{Redis, RedisTarget, Renamed};
#[cfg(feature = "rest")]
pub use crate::target::{Rest, RestAnswer, RestCall};
#[cfg(feature = "s3")]
pub use crate::target::{S3, S3Target};
#[cfg(feature = "vault")]
pub use crate::target::{Secret, Vault, VaultTarget};
#[cfg(feature = "sqlite")]
pub use crate::target::{SqliteTarget, SqliteTx};
#[cfg(feature = "sqs")]
pub use crate::target::{Sqs, SqsTarget};
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
    use crate::{ChangeError, Context, InjectionError};
    pub use crate::{
        handler::{Handler, Outcome, Undo, undoes},
        probe::{Look, ProbeHandler, looks},
    };

    pub fn outcome<R: Outcome>(result: R) -> Result<(), ChangeError> {
        result.into_outcome()
    }

    /// Without the bound on the type, of which its requirement has complained already.
    pub fn transaction<T: Send + 'static>(context: &mut Context) -> Result<&mut T, InjectionError> {
        context.borrow_transaction()
    }
}
