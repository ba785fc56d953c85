//! What a template is.

use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    change::{ChangeError, ChangeFuture},
    context::{Context, Requirement},
};

/// A kind of work that change files can ask for.
///
/// The three types are read from the file with serde; fields that they do not take are refused, with the file's name and
/// line. Everything that is wrong with any file is reported when the application is built.
///
/// ```
/// use flamingock::{
///     ChangeError, ChangeFuture, Context, Requirement,
///     templates::{NoConfiguration, Payload, Template},
/// };
/// use serde::Deserialize;
///
/// # #[derive(Clone)] struct Broker;
/// # impl Broker {
/// #     async fn create(&self, _: &str, _: u32) -> Result<(), std::io::Error> { Ok(()) }
/// #     async fn delete(&self, _: &str) -> Result<(), std::io::Error> { Ok(()) }
/// # }
/// #[derive(Deserialize)]
/// struct Topic {
///     name: String,
///     #[serde(default = "one")]
///     partitions: u32,
/// }
///
/// fn one() -> u32 { 1 }
///
/// impl Payload for Topic {
///     fn validate(&self) -> Result<(), Vec<String>> {
///         if self.partitions == 0 {
///             return Err(vec!["`partitions` must be at least 1".to_owned()]);
///         }
///         Ok(())
///     }
///
///     // A topic is created at once, whatever becomes of a transaction.
///     fn supports_transactions(&self) -> Option<bool> { Some(false) }
/// }
///
/// struct TopicTemplate;
///
/// impl Template for TopicTemplate {
///     const NAME: &'static str = "topic-template";
///     type Configuration = NoConfiguration;
///     type Apply = Topic;
///     type Rollback = String; // the topic to delete
///
///     fn requirements(&self, _transactional: bool) -> Vec<Requirement> {
///         vec![Requirement::client::<Broker>()]
///     }
///
///     fn apply<'a>(&'a self, topic: &'a Topic, _: &'a NoConfiguration, context: &'a mut Context) -> ChangeFuture<'a> {
///         Box::pin(async move {
///             Ok(context.client::<Broker>()?.create(&topic.name, topic.partitions).await?)
///         })
///     }
///
///     fn rollback<'a>(&'a self, name: &'a String, _: &'a NoConfiguration, context: &'a mut Context) -> ChangeFuture<'a> {
///         Box::pin(async move { Ok(context.client::<Broker>()?.delete(name).await?) })
///     }
/// }
/// ```
pub trait Template: Send + Sync + 'static {
    /// What change files call it.
    const NAME: &'static str;
    /// Whether a change is one piece of work or a list of steps.
    const STEPS: Steps = Steps::One;
    /// Whether every change, or every step, has to say how it is undone.
    const ROLLBACK_REQUIRED: bool = true;

    /// What holds for all steps of a change. Without `configuration` in the file it is read from an empty map.
    type Configuration: DeserializeOwned + Send + Sync + 'static;
    /// What to do.
    type Apply: Payload;
    /// How to undo it. It must bear that the work was never done, or in part.
    type Rollback: Payload;

    /// Everything that is wrong with a configuration and can be known without doing the work.
    fn validate_configuration(configuration: &Self::Configuration) -> Result<(), Vec<String>> {
        let _ = configuration;
        Ok(())
    }

    /// What the work takes from the context, in a transaction or outside; checked when the application is built.
    fn requirements(&self, transactional: bool) -> Vec<Requirement>;

    /// Does the work of one step.
    fn apply<'a>(
        &'a self,
        payload: &'a Self::Apply,
        configuration: &'a Self::Configuration,
        context: &'a mut Context,
    ) -> ChangeFuture<'a>;

    /// Undoes one step. Called only outside transactions: a transaction undoes itself.
    fn rollback<'a>(
        &'a self,
        payload: &'a Self::Rollback,
        configuration: &'a Self::Configuration,
        context: &'a mut Context,
    ) -> ChangeFuture<'a>;
}

/// How many pieces of work a change of a template is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// One: the file has `apply`, and may have `rollback`.
    One,
    /// A list: the file has `steps`, each with `apply`, and perhaps `rollback`.
    Many,
    /// Whichever the file has.
    Either,
}

/// What a file says about one piece of work.
pub trait Payload: DeserializeOwned + Send + Sync + 'static {
    /// Everything that is wrong with it and can be known without doing it.
    fn validate(&self) -> Result<(), Vec<String>> {
        Ok(())
    }

    /// Whether the work can be part of a transaction; `None` if that is not known. Where it cannot, a change that does
    /// not say `transactional` runs outside one, and one that says `true` is refused.
    fn supports_transactions(&self) -> Option<bool> {
        None
    }
}

/// A text. A blank one is refused.
impl Payload for String {
    fn validate(&self) -> Result<(), Vec<String>> {
        if self.trim().is_empty() {
            return Err(vec!["is blank".to_owned()]);
        }
        Ok(())
    }
}

/// For a template without configuration.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct NoConfiguration {}

/// For a template whose work cannot be undone: no file can give one.
#[derive(Clone, Copy, Debug)]
pub enum NoRollback {}

impl<'de> Deserialize<'de> for NoRollback {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("this template has no rollback"))
    }
}

impl Payload for NoRollback {}

impl NoRollback {
    /// Never called, since there is no value.
    pub fn never(&self) -> Result<(), ChangeError> {
        match *self {}
    }
}
