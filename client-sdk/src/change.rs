//! Change units: what they are, what they say about themselves, how they fail.

use std::{borrow::Cow, error::Error as StdError, fmt, future::Future, pin::Pin};

use flamingock_api_types::{audit::ChangeType, execution::RecoveryStrategy};

use crate::{
    context::{Context, Requirement},
    error::BoxError,
};

/// What [`Change::apply`] and [`Change::rollback`] return.
pub type ChangeFuture<'a> = Pin<Box<dyn Future<Output = Result<(), ChangeError>> + Send + 'a>>;

/// One versioned unit of work on one target system, applied exactly once.
///
/// Usually the [`change`](macro@crate::change) attribute writes this for an async function. By hand it is short too:
///
/// ```
/// use flamingock::{Change, ChangeFuture, ChangeInfo, Context, Requirement, TargetClient};
///
/// # #[derive(Clone)] struct Flags;
/// # impl Flags { async fn create(&self, _: &str) -> Result<(), std::io::Error> { Ok(()) } }
/// struct CreateFlag(&'static str);
///
/// impl Change for CreateFlag {
///     fn info(&self) -> ChangeInfo {
///         ChangeInfo::new(format!("flag-{}", self.0), "0001", "flags").author("mara")
///     }
///
///     fn requirements(&self) -> Vec<Requirement> {
///         vec![Requirement::client::<Flags>()]
///     }
///
///     fn apply<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
///         Box::pin(async move { Ok(context.client::<Flags>()?.create(self.0).await?) })
///     }
/// }
/// ```
pub trait Change: Send + Sync + 'static {
    /// What the change says about itself. Must not vary.
    fn info(&self) -> ChangeInfo;

    /// A name for what the change does, such as `sha256-v1:` and the digest of its text: one that differs whenever the
    /// content does, up to 200 bytes. Up to the first `:` stands the algorithm with its version; checksums of different
    /// ones are not compared. [`change`](macro@crate::change) gives one of the function's source. The server can then tell that an applied change was edited, and people approve
    /// exactly this content, where the environment's policies ask for it. Must not vary.
    fn checksum(&self) -> Option<String> {
        None
    }

    /// What is wrong with how the change is made, in words; found by the builder, before anything runs.
    fn problems(&self) -> Vec<String> {
        Vec::new()
    }

    /// What [`apply`](Self::apply) takes from the context; checked by the builder, before anything runs.
    fn requirements(&self) -> Vec<Requirement> {
        Vec::new()
    }

    /// What [`rollback`](Self::rollback) takes from the context.
    fn rollback_requirements(&self) -> Vec<Requirement> {
        Vec::new()
    }

    /// Does the work.
    fn apply<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a>;

    /// Undoes what a failed [`apply`](Self::apply) may have left. Called only where there is no transaction that
    /// undoes it, and only if [`ChangeInfo::with_rollback`] announces it.
    fn rollback<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
        let _ = context;
        Box::pin(async {
            Err(ChangeError::from(
                "the change announces a rollback that it does not have",
            ))
        })
    }

    /// What [`probe`](Self::probe) takes from the context.
    fn probe_requirements(&self) -> Vec<Requirement> {
        Vec::new()
    }

    /// Whether the change took effect. Asked where nobody knows: an earlier run began it outside a transaction, or without a
    /// mark, and died before it could say how it ended, or it failed and was not rolled back. Before a person is asked, and
    /// only if [`ChangeInfo::with_probe`] announces it.
    ///
    /// It looks and changes nothing. It is asked under the lock, outside any transaction, and has 30 s. Only a certain answer
    /// is worth giving: where it may be half there, the answer is [`Probed::Unknown`], and an error or a panic counts as
    /// that.
    fn probe<'a>(&'a self, context: &'a mut Context) -> ProbeFuture<'a> {
        let _ = context;
        Box::pin(async {
            Err(ChangeError::from(
                "the change announces a probe that it does not have",
            ))
        })
    }
}

/// What a change says when it is asked whether it took effect: the answer of its [probe](Change::probe).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// All of it is in effect. It counts as applied, and is never run again.
    Applied,
    /// Nothing of it is left. It is applied from its beginning, in the same run.
    NotApplied,
    /// Neither can be said, or parts of it are there: a person decides.
    Unknown,
}

/// What [`Change::probe`] returns.
pub type ProbeFuture<'a> = Pin<Box<dyn Future<Output = Result<Probed, ChangeError>> + Send + 'a>>;

/// What may follow a failure that leaves the target in an unknown or dirty state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recovery {
    /// A person looks and decides. A clean rollback is retried without one.
    #[default]
    ManualIntervention,
    /// The next start tries again: the change is safe to repeat, however far it got.
    AlwaysRetry,
}

impl From<Recovery> for RecoveryStrategy {
    fn from(recovery: Recovery) -> Self {
        match recovery {
            Recovery::ManualIntervention => Self::ManualIntervention,
            Recovery::AlwaysRetry => Self::AlwaysRetry,
        }
    }
}

/// What a change says about itself.
#[derive(Clone, Debug)]
pub struct ChangeInfo {
    pub(crate) id: Cow<'static, str>,
    pub(crate) order: Cow<'static, str>,
    pub(crate) target: Cow<'static, str>,
    pub(crate) author: Cow<'static, str>,
    pub(crate) transactional: Option<bool>,
    pub(crate) recovery: Recovery,
    pub(crate) has_rollback: bool,
    pub(crate) has_probe: bool,
    /// Its cursor says what there is to undo, and if that fails a person has to decide.
    pub(crate) keeps_steps: bool,
    pub(crate) source: Cow<'static, str>,
    pub(crate) profiles: Vec<String>,
    pub(crate) depends_on: Vec<Cow<'static, str>>,
    pub(crate) kind: ChangeType,
    /// Where it is written, for a change file.
    pub(crate) file: Option<String>,
}

impl ChangeInfo {
    /// A change by its identity, its place in the stage (compared as text) and the target system that it works on.
    pub fn new(
        id: impl Into<Cow<'static, str>>,
        order: impl Into<Cow<'static, str>>,
        target: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            id: id.into(),
            order: order.into(),
            target: target.into(),
            author: Cow::Borrowed("not-specified"),
            transactional: None,
            recovery: Recovery::default(),
            has_rollback: false,
            has_probe: false,
            keeps_steps: false,
            source: Cow::Borrowed(""),
            profiles: Vec::new(),
            depends_on: Vec::new(),
            kind: ChangeType::StandardCode,
            file: None,
        }
    }

    /// Who wrote it; recorded in the audit.
    #[must_use]
    pub fn author(mut self, author: impl Into<Cow<'static, str>>) -> Self {
        self.author = author.into();
        self
    }

    /// Whether it runs in the target's transaction. Without a word it does where the target has any.
    #[must_use]
    pub fn transactional(mut self, transactional: bool) -> Self {
        self.transactional = Some(transactional);
        self
    }

    /// What may follow a failure.
    #[must_use]
    pub fn recovery(mut self, recovery: Recovery) -> Self {
        self.recovery = recovery;
        self
    }

    /// Announces a [`Change::rollback`].
    #[must_use]
    pub fn with_rollback(mut self) -> Self {
        self.has_rollback = true;
        self
    }

    /// Announces a [`Change::probe`].
    #[must_use]
    pub fn with_probe(mut self) -> Self {
        self.has_probe = true;
        self
    }

    /// Where it is written, such as `shop::changes::create_orders`; the name of its type when absent.
    #[must_use]
    pub fn source(mut self, source: impl Into<Cow<'static, str>>) -> Self {
        self.source = source.into();
        self
    }

    /// Limits it to runs with one of these profiles active, or without one that is named as `!name`; see
    /// [`Builder::profiles`](crate::Builder::profiles).
    #[must_use]
    pub fn profiles<S: Into<String>>(mut self, profiles: impl IntoIterator<Item = S>) -> Self {
        self.profiles = profiles.into_iter().map(Into::into).collect();
        self
    }

    /// Ids of changes that must be applied before this one is begun. They have to stand earlier in the pipeline, in the
    /// same stage or in one before it: the order stays what it is, and this says why. Where such a change failed in the
    /// run, or waits for a person, this one and the rest of its stage are not begun.
    #[must_use]
    pub fn depends_on<S: Into<Cow<'static, str>>>(mut self, ids: impl IntoIterator<Item = S>) -> Self {
        self.depends_on = ids.into_iter().map(Into::into).collect();
        self
    }

    #[cfg(feature = "templates")]
    pub(crate) fn in_file(mut self, path: String) -> Self {
        self.kind = ChangeType::StandardTemplate;
        self.file = Some(path);
        self
    }

    /// For people who look for it.
    pub(crate) fn label(&self) -> String {
        match &self.file {
            Some(file) => format!("{} ({file})", self.id),
            None => self.id.to_string(),
        }
    }

    /// No profile is asked for, or one is active; and none is active that must not be.
    pub(crate) fn is_active(&self, active: &[String]) -> bool {
        let is_active = |name: &str| active.iter().any(|profile| profile == name);
        let unwanted = self
            .profiles
            .iter()
            .filter_map(|profile| profile.strip_prefix('!'));
        let mut wanted = self
            .profiles
            .iter()
            .filter(|profile| !profile.starts_with('!'))
            .peekable();
        !unwanted.clone().any(is_active)
            && (wanted.peek().is_none() || wanted.any(|profile| is_active(profile)))
    }

    /// The change's identity.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its place in the stage.
    pub fn order(&self) -> &str {
        &self.order
    }

    /// Id of the target system.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Declared or by default: whether it wants a transaction.
    pub fn is_transactional(&self) -> bool {
        self.transactional.unwrap_or(true)
    }
}

/// Why a change failed: whatever error it returned, with the name of its type for the audit.
///
/// Like the usual catch-all errors it converts from every error and from texts, and is itself none.
pub struct ChangeError {
    type_name: &'static str,
    error: BoxError,
}

impl ChangeError {
    pub(crate) fn named(type_name: &'static str, error: BoxError) -> Self {
        Self { type_name, error }
    }

    pub(crate) fn type_name(&self) -> &'static str {
        self.type_name
    }

    pub(crate) fn error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.error
    }
}

impl<E: Into<BoxError>> From<E> for ChangeError {
    fn from(error: E) -> Self {
        Self {
            type_name: match std::any::type_name::<E>() {
                // A text has no type that says anything.
                "&str" | "alloc::string::String" => "flamingock::ChangeError",
                named => named,
            },
            error: error.into(),
        }
    }
}

impl fmt::Debug for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_converts_and_keeps_the_name_of_its_type() {
        fn io() -> Result<(), ChangeError> {
            Err(std::io::Error::other("disk full"))?;
            Ok(())
        }
        fn passes_on() -> Result<(), ChangeError> {
            io()?;
            Ok(())
        }
        let error = passes_on().expect_err("fails");
        assert_eq!(
            (error.type_name(), error.to_string().as_str()),
            ("std::io::error::Error", "disk full")
        );
        for text in [ChangeError::from("text"), ChangeError::from("text".to_owned())] {
            assert_eq!(
                (text.type_name(), text.to_string().as_str()),
                ("flamingock::ChangeError", "text")
            );
        }
        assert_eq!(
            ChangeError::from(anyhow::anyhow!("any")).type_name(),
            "anyhow::Error"
        );
    }
}
