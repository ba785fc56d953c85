//! One change, without a pipeline and without a coordinator.

use std::{any::Any, sync::Arc, time::Duration};

use flamingock_api_types::lock::LockView;
use tokio::time::Instant;

use super::ledger::{ENVIRONMENT_ID, SERVICE_ID};
use crate::{
    change::{Change, ChangeError, Probed},
    checkpoint::Attempt,
    context::{Context, Dependencies, TransactionHandle},
    lease::Lease,
    target::{MarkScope, Target},
};

/// Calls one change with what it takes, and gives back what it returns.
///
/// ```
/// # use flamingock::{Dep, TargetClient, change, testing::Trial};
/// # #[derive(Clone, Default)] struct Flags;
/// # impl Flags { async fn create(&self, _: &str) -> Result<(), std::io::Error> { Ok(()) } }
/// # struct Config { flag: String }
/// #[change(id = "flag-checkout", order = "0001", target = "flags")]
/// async fn flag_checkout(flags: TargetClient<Flags>, config: Dep<Config>) -> Result<(), std::io::Error> {
///     flags.create(&config.flag).await
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let flags = Flags::default();
/// let trial = Trial::of(flag_checkout).client(flags.clone()).dependency(Config { flag: "checkout-v2".into() });
/// trial.apply().await.expect("applied");
/// # Ok(())
/// # }
/// ```
#[must_use = "call `apply`, `apply_in`, `rollback` or `probe`"]
pub struct Trial<C> {
    change: C,
    client: Option<Arc<dyn Any + Send + Sync>>,
    dependencies: Dependencies,
    targets: Vec<Target>,
    /// A cursor that one call saves is there for the next.
    attempt: Arc<Attempt>,
}

impl<C: Change> Trial<C> {
    /// Of this change.
    pub fn of(change: C) -> Self {
        Self {
            change,
            client: None,
            dependencies: Dependencies::default(),
            targets: Vec::new(),
            attempt: Arc::new(Attempt::detached()),
        }
    }

    /// What it takes as [`TargetClient`](crate::TargetClient).
    pub fn client<T: Send + Sync + 'static>(mut self, client: T) -> Self {
        self.client = Some(Arc::new(client));
        self
    }

    /// A target system, for a [`Saga`](crate::Saga): its steps work on several.
    pub fn target(mut self, target: impl Into<Target>) -> Self {
        self.targets.push(target.into());
        self
    }

    /// What it takes as [`Dep`](crate::Dep). Of two of one type the later counts.
    pub fn dependency<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.dependencies.insert(value);
        self
    }

    /// Applies it, outside a transaction. May be repeated, as a start repeats it: a
    /// [`Checkpoint`](crate::Checkpoint) that one call saves is there for the next.
    pub async fn apply(&self) -> Result<(), ChangeError> {
        self.change.apply(&mut self.context(None)).await
    }

    /// Applies it in this transaction, which comes back as the change has left it: commit it or roll it back.
    ///
    /// # Panics
    ///
    /// If the change has taken the transaction away, which no safe change can.
    pub async fn apply_in<T: TransactionHandle>(&self, transaction: T) -> (Result<(), ChangeError>, T) {
        let mut context = self.context(Some(Box::new(transaction)));
        let result = self.change.apply(&mut context).await;
        let transaction = context.transaction.take().and_then(|it| it.downcast().ok());
        (
            result,
            *transaction.expect("changes can only borrow the transaction"),
        )
    }

    /// Calls its rollback.
    pub async fn rollback(&self) -> Result<(), ChangeError> {
        self.change.rollback(&mut self.context(None)).await
    }

    /// Asks it whether it took effect.
    pub async fn probe(&self) -> Result<Probed, ChangeError> {
        self.change.probe(&mut self.context(None)).await
    }

    fn context(&self, transaction: Option<Box<dyn Any + Send>>) -> Context {
        let lease = lease();
        Context {
            change: Arc::new(self.change.info()),
            scope: MarkScope {
                environment_id: ENVIRONMENT_ID,
                service_id: SERVICE_ID,
            },
            dependencies: Arc::new(self.dependencies.clone()),
            targets: self.targets.as_slice().into(),
            client: self.client.clone().filter(|_| transaction.is_none()),
            transaction,
            cancellation: lease.cancellation(),
            lease,
            attempt: self.attempt.clone(),
            execution_id: 1,
            saga_step: None,
            #[cfg(feature = "templates")]
            step: 0,
        }
    }
}

/// One that outlives every test.
fn lease() -> Lease {
    let length = Duration::from_hours(24);
    let lock = LockView {
        key: SERVICE_ID.to_string(),
        owner: "testing".to_owned(),
        acquisition_id: "testing".to_owned(),
        acquired_for_millis: i64::try_from(length.as_millis()).unwrap_or(i64::MAX),
        fence: Some(1),
        expires_at: None,
    };
    Lease::granted(&lock, Instant::now())
}
