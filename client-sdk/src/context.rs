//! What a change is given: dependencies, the target's client or transaction, the cancellation signal.
//!
//! Everything is looked up by type. What a change needs is declared beside how it is taken ([`FromContext`]), so the
//! builder can refuse a pipeline whose needs are not met, before anything is recorded as started.

use std::{
    any::{Any, TypeId, type_name},
    borrow::Cow,
    collections::HashMap,
    fmt,
    ops::Deref,
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

use crate::{
    cancellation::Cancellation,
    change::ChangeInfo,
    checkpoint::{Attempt, Checkpoint, Progress},
    lease::Lease,
    target::{MarkScope, Target},
};

type Shared = Arc<dyn Any + Send + Sync>;

/// The application's own values, by type.
#[derive(Clone, Default)]
pub(crate) struct Dependencies(HashMap<TypeId, Shared>);

impl Dependencies {
    /// False when there was one of this type.
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) -> bool {
        self.0.insert(TypeId::of::<T>(), Arc::new(value)).is_none()
    }

    pub(crate) fn has(&self, id: TypeId) -> bool {
        self.0.contains_key(&id)
    }
}

/// What a change runs with.
///
/// Change functions take what they need as parameters instead ([`FromContext`]); a hand-written
/// [`Change`](crate::Change) asks here.
pub struct Context {
    pub(crate) change: Arc<ChangeInfo>,
    pub(crate) scope: MarkScope,
    pub(crate) dependencies: Arc<Dependencies>,
    /// All that the application has.
    pub(crate) targets: Arc<[Target]>,
    pub(crate) client: Option<Shared>,
    pub(crate) transaction: Option<Box<dyn Any + Send>>,
    pub(crate) cancellation: Cancellation,
    pub(crate) lease: Lease,
    pub(crate) attempt: Arc<Attempt>,
    /// Of a saga: its name.
    pub(crate) saga_step: Option<Cow<'static, str>>,
    pub(crate) execution_id: i64,
    /// Of a change file or a saga, from 0.
    #[cfg(feature = "templates")]
    pub(crate) step: usize,
}

impl Context {
    /// What the running change says about itself.
    pub fn change(&self) -> &ChangeInfo {
        &self.change
    }

    /// A key of the running change, for systems that do what they are told under one key once.
    pub fn key(&self) -> ChangeKey {
        ChangeKey {
            scope: self.scope,
            target: self.change.target.clone(),
            change: self.change.id.clone(),
            saga_step: self.saga_step.clone(),
        }
    }

    /// A value given to the builder by [`dependency`](crate::Builder::dependency).
    pub fn dependency<T: Send + Sync + 'static>(&self) -> Result<Dep<T>, InjectionError> {
        let value = self.dependencies.0.get(&TypeId::of::<T>()).cloned();
        match value.and_then(|value| value.downcast().ok()) {
            Some(value) => Ok(Dep(value)),
            None => Err(InjectionError {
                wanted: "dependency",
                type_name: type_name::<T>(),
            }),
        }
    }

    /// The target's client. A change that runs in a transaction has none: work through it would escape.
    pub fn client<T: Send + Sync + 'static>(&self) -> Result<TargetClient<T>, InjectionError> {
        match self.client.clone().and_then(|client| client.downcast().ok()) {
            Some(client) => Ok(TargetClient(client)),
            None => Err(InjectionError {
                wanted: "target's client",
                type_name: type_name::<T>(),
            }),
        }
    }

    /// The client of another target system of the application, for a change that needs two. What is done there is
    /// undone by the change's rollback or not at all; for more than one or two calls there is [`Saga`](crate::Saga).
    ///
    /// A change in a transaction has not the client of its own target system, by no name.
    pub fn client_of<T: Send + Sync + 'static>(
        &self,
        target: &str,
    ) -> Result<TargetClient<T>, InjectionError> {
        let escapes = self.transaction.is_some() && target == self.change.target;
        let found = self
            .targets
            .iter()
            .find(|known| known.id == target && !escapes)
            .and_then(|known| known.client.value.clone().downcast().ok());
        found.map(TargetClient).ok_or(InjectionError {
            wanted: "other target's client",
            type_name: type_name::<T>(),
        })
    }

    /// What one step of a saga runs with.
    pub(crate) fn of_step(&self, position: usize, name: &str, target: &str) -> Result<Self, InjectionError> {
        #[cfg(not(feature = "templates"))]
        let _ = position;
        let known = self.targets.iter().find(|known| known.id == target);
        let known = known.ok_or(InjectionError {
            wanted: "target system of the step, whose client would be",
            type_name: "of any type",
        })?;
        Ok(Self {
            change: self.change.clone(),
            scope: self.scope,
            dependencies: self.dependencies.clone(),
            targets: self.targets.clone(),
            client: Some(known.client.value.clone()),
            transaction: None,
            cancellation: self.cancellation.clone(),
            lease: self.lease.clone(),
            execution_id: self.execution_id,
            attempt: self.attempt.clone(),
            saga_step: Some(Cow::Owned(name.to_owned())),
            #[cfg(feature = "templates")]
            step: position,
        })
    }

    /// The transaction that the change runs in.
    pub fn transaction<T: TransactionHandle>(&mut self) -> Result<&mut T, InjectionError> {
        self.borrow_transaction()
    }

    pub(crate) fn borrow_transaction<T: Send + 'static>(&mut self) -> Result<&mut T, InjectionError> {
        match self
            .transaction
            .as_mut()
            .and_then(|transaction| transaction.downcast_mut())
        {
            Some(transaction) => Ok(transaction),
            None => Err(InjectionError {
                wanted: "transaction",
                type_name: type_name::<T>(),
            }),
        }
    }

    /// Tells when the change should stop.
    pub fn cancellation(&self) -> Cancellation {
        self.cancellation.clone()
    }

    /// Where the change has got to, for one whose [`requirements`](crate::Change::requirements) name a
    /// [checkpoint](Requirement::checkpoint): others begin at their beginning. There is none inside a transaction: that is
    /// undone as a whole, and a cursor that says otherwise would have the next attempt leave work out.
    pub fn checkpoint(&self) -> Result<Checkpoint, InjectionError> {
        if self.transaction.is_some() {
            return Err(InjectionError {
                wanted: "checkpoint inside a transaction",
                type_name: type_name::<Checkpoint>(),
            });
        }
        // The saga's own, which says what steps are done.
        if self.saga_step.is_some() {
            return Err(InjectionError {
                wanted: "checkpoint in a step of a saga",
                type_name: type_name::<Checkpoint>(),
            });
        }
        Ok(Checkpoint::of(self.attempt.clone()))
    }

    /// Tells people how far the change is.
    pub fn progress(&self) -> Progress {
        Progress::of(self.attempt.clone())
    }
}

/// About the run.
impl Context {
    /// Whether this runner still holds the lock. A change of several steps that asks before each does not begin one that
    /// another runner may be carrying out already.
    pub fn holds_lock(&self) -> bool {
        !self.lease.is_lost()
    }

    /// The ids of environment and service on the server. With the change's id they name the change among all.
    pub fn scope(&self) -> MarkScope {
        self.scope
    }

    /// Which step of a change file or of a saga is being applied or undone, from 0.
    #[cfg(feature = "templates")]
    pub fn step(&self) -> usize {
        self.step
    }

    /// The server's id of the execution: another with each attempt.
    pub fn execution_id(&self) -> i64 {
        self.execution_id
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("change", &self.change)
            .finish_non_exhaustive()
    }
}

/// Something that a change function can take as a parameter, by value.
///
/// Implement it to bundle what many changes need:
///
/// ```
/// use flamingock::{Context, Dep, FromContext, InjectionError, Requirement};
///
/// struct Config { region: String }
/// struct Region(String);
///
/// impl FromContext for Region {
///     fn requirement() -> Requirement {
///         Requirement::dependency::<Config>()
///     }
///
///     fn from_context(context: &Context) -> Result<Self, InjectionError> {
///         Ok(Self(context.dependency::<Config>()?.region.clone()))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a parameter of a change",
    note = "take the application's values as `Dep<T>`, the target's client as `TargetClient<T>`, the transaction by \
            `&mut` (for PostgreSQL `&mut PgTx`), the stop signal as `Cancellation`, and for long changes `Checkpoint` and \
            `Progress`"
)]
pub trait FromContext: Sized + Send {
    /// What must be there; checked when the application is built.
    fn requirement() -> Requirement;

    /// Takes it.
    fn from_context(context: &Context) -> Result<Self, InjectionError>;
}

/// The handle of an open transaction, taken by a change as `&mut`.
#[diagnostic::on_unimplemented(
    message = "`&mut {Self}` cannot be a parameter of a change",
    note = "`&mut` is for the transaction of the target system, such as `&mut PgTx`; take other things by value, the \
            application's as `Dep<T>`"
)]
pub trait TransactionHandle: Send + 'static {}

/// One thing that a change needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub(crate) kind: RequirementKind,
    pub(crate) type_id: TypeId,
    pub(crate) type_name: &'static str,
    /// Of which target system, where it is not the change's own.
    pub(crate) of_target: Option<&'static str>,
    /// A step of a saga needs it.
    pub(crate) is_of_step: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequirementKind {
    Nothing,
    Dependency,
    Client,
    Transaction,
    Checkpoint,
}

impl Requirement {
    pub(crate) fn is_checkpoint(&self) -> bool {
        self.kind == RequirementKind::Checkpoint
    }

    fn of<T: 'static>(kind: RequirementKind) -> Self {
        Self {
            kind,
            type_id: TypeId::of::<T>(),
            type_name: type_name::<T>(),
            of_target: None,
            is_of_step: false,
        }
    }

    /// The same for a step of a saga, on the step's target system.
    pub(crate) fn of_step(mut self, target: &'static str) -> Self {
        self.of_target = Some(target);
        self.is_of_step = true;
        self
    }

    /// Always met.
    pub fn nothing() -> Self {
        Self::of::<()>(RequirementKind::Nothing)
    }

    /// A value of the application.
    pub fn dependency<T: Send + Sync + 'static>() -> Self {
        Self::of::<T>(RequirementKind::Dependency)
    }

    /// The client of the change's target system, for a change outside a transaction.
    pub fn client<T: Send + Sync + 'static>() -> Self {
        Self::of::<T>(RequirementKind::Client)
    }

    /// A cursor that outlives a crash, for a change outside a transaction. Only to one that says so of its
    /// [`apply`](crate::Change::apply) is the cursor of an earlier attempt handed on.
    pub fn checkpoint() -> Self {
        Self::of::<Checkpoint>(RequirementKind::Checkpoint)
    }

    /// The client of another target system, for [`Context::client_of`].
    pub fn client_of<T: Send + Sync + 'static>(target: &'static str) -> Self {
        Self {
            of_target: Some(target),
            ..Self::client::<T>()
        }
    }

    /// The transaction of the change's target system.
    pub fn transaction<T: TransactionHandle>() -> Self {
        Self::of::<T>(RequirementKind::Transaction)
    }
}

/// A change asked for what is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {wanted} of type {type_name} for this change")]
pub struct InjectionError {
    wanted: &'static str,
    type_name: &'static str,
}

/// A value of the application, given to the builder by [`dependency`](crate::Builder::dependency).
///
/// As `Option<Dep<T>>` it may be absent.
#[derive(Debug)]
pub struct Dep<T>(Arc<T>);

impl<T> Dep<T> {
    /// For calling a change function in a test.
    pub fn new(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T> Clone for Dep<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Dep<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Send + Sync + 'static> FromContext for Dep<T> {
    fn requirement() -> Requirement {
        Requirement::dependency::<T>()
    }

    fn from_context(context: &Context) -> Result<Self, InjectionError> {
        context.dependency()
    }
}

impl<T: Send + Sync + 'static> FromContext for Option<Dep<T>> {
    fn requirement() -> Requirement {
        Requirement::nothing()
    }

    fn from_context(context: &Context) -> Result<Self, InjectionError> {
        Ok(context.dependency().ok())
    }
}

/// The client of the change's target system, as given to the target.
///
/// Only for changes outside a transaction; one inside gets the transaction, so that nothing escapes it.
#[derive(Debug)]
pub struct TargetClient<T>(Arc<T>);

impl<T> TargetClient<T> {
    /// For calling a change function in a test.
    pub fn new(client: T) -> Self {
        Self(Arc::new(client))
    }
}

impl<T: Clone> TargetClient<T> {
    /// The client itself.
    pub fn into_inner(self) -> T {
        Arc::unwrap_or_clone(self.0)
    }
}

impl<T> Clone for TargetClient<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for TargetClient<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Send + Sync + 'static> FromContext for TargetClient<T> {
    fn requirement() -> Requirement {
        Requirement::client::<T>()
    }

    fn from_context(context: &Context) -> Result<Self, InjectionError> {
        context.client()
    }
}

/// The same for every attempt of one change of one service in one environment, and another for every other: what an
/// idempotency key or a request token has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeKey {
    scope: MarkScope,
    target: Cow<'static, str>,
    change: Cow<'static, str>,
    /// Of a saga: the step whose key it is.
    saga_step: Option<Cow<'static, str>>,
}

impl ChangeKey {
    /// For calling a change function in a test.
    pub fn new(change_id: impl Into<Cow<'static, str>>) -> Self {
        Self {
            scope: MarkScope {
                environment_id: 0,
                service_id: 0,
            },
            target: Cow::Borrowed(""),
            change: change_id.into(),
            saga_step: None,
        }
    }

    /// The change's id.
    pub fn change_id(&self) -> &str {
        &self.change
    }

    /// The key of one step of the change, in the form of a UUID (version 8). Steps are told apart by what they are
    /// called here.
    pub fn step(&self, step: &str) -> String {
        let MarkScope {
            environment_id,
            service_id,
        } = self.scope;
        let mut hasher = Sha256::new();
        hasher.update(format!("flamingock-key-v1:{environment_id}:{service_id}:"));
        // With their lengths, so that no two lists of texts are the same bytes.
        let saga_step = self.saga_step.as_deref();
        for text in [&*self.target, &*self.change]
            .into_iter()
            .chain(saga_step)
            .chain([step])
        {
            hasher.update(format!("{}:{text}", text.len()));
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize()[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
    }
}

impl FromContext for ChangeKey {
    fn requirement() -> Requirement {
        Requirement::nothing()
    }

    fn from_context(context: &Context) -> Result<Self, InjectionError> {
        Ok(context.key())
    }
}

impl FromContext for Cancellation {
    fn requirement() -> Requirement {
        Requirement::nothing()
    }

    fn from_context(context: &Context) -> Result<Self, InjectionError> {
        Ok(context.cancellation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_for_the_same_step_and_for_nothing_else() {
        let key = |environment_id, service_id, target: &'static str, change: &'static str| ChangeKey {
            scope: MarkScope {
                environment_id,
                service_id,
            },
            target: target.into(),
            change: change.into(),
            saga_step: None,
        };
        let of_step = |name: &'static str| ChangeKey {
            saga_step: Some(name.into()),
            ..key(1, 2, "api", "a")
        };
        let all = [
            key(1, 2, "api", "a").step("x"),
            key(2, 2, "api", "a").step("x"),
            key(1, 1, "api", "a").step("x"),
            key(1, 2, "apia", "").step("x"),
            key(1, 2, "api", "ax").step(""),
            key(1, 2, "api", "a").step("y"),
            key(1, 2, "api", "").step("1:a1:x"),
            of_step("s").step("x"),
            of_step("x").step("s"),
            of_step("").step("x"),
        ];
        for (at, one) in all.iter().enumerate() {
            assert_eq!(all.iter().position(|other| other == one), Some(at));
        }
        assert_eq!(
            key(1, 2, "api", "a").step("x"),
            "374841f5-2c4c-8243-9055-bd18ecf8f1ea",
            "never to change: an attempt of another version of the SDK must have the same"
        );
    }
}
