//! What a template is.

use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    change::{ChangeError, ChangeFuture, ProbeFuture},
    context::{Context, Requirement},
    target::Target,
};

/// A kind of work that change files can ask for.
///
/// The four types are read from the file with serde; fields that they do not take are refused, with the file's name and
/// line. Everything that is wrong with any file is reported when the application is built.
///
/// ```
/// use flamingock::{
///     ChangeError, ChangeFuture, Context, Requirement,
///     templates::{NoConfiguration, NoProbe, Payload, Template},
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
///     type Probe = NoProbe;
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
    /// How to look whether the change took effect, which a file may say as `probe`. [`NoProbe`] where nobody can tell.
    type Probe: Payload;

    /// Everything that is wrong with a configuration and can be known without doing the work.
    fn validate_configuration(configuration: &Self::Configuration) -> Result<(), Vec<String>> {
        let _ = configuration;
        Ok(())
    }

    /// What the work takes from the context, in a transaction or outside; checked when the application is built. A probe
    /// takes the same as work outside a transaction.
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

    /// Looks whether the change took effect, all steps of it, and changes nothing; see
    /// [`Change::probe`](crate::Change::probe). Of a file with steps there is one probe.
    fn probe<'a>(
        &'a self,
        payload: &'a Self::Probe,
        configuration: &'a Self::Configuration,
        context: &'a mut Context,
    ) -> ProbeFuture<'a> {
        let _ = (payload, configuration, context);
        Box::pin(async { Err(ChangeError::from("the template takes probes and has none")) })
    }
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

    /// Tells it which target system the file names, for work that is another on another kind of system, as SQL is. Gives
    /// everything that is wrong with it there. Called once, after [`validate`](Self::validate), unless the application
    /// lacks that system.
    fn for_target(&mut self, target: &Target) -> Result<(), Vec<String>> {
        let _ = target;
        Ok(())
    }

    /// What this piece of work takes from the context, beside what [the template](Template::requirements) says.
    fn requirements(&self, transactional: bool) -> Vec<Requirement> {
        let _ = transactional;
        Vec::new()
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

/// For a template that cannot tell what became of a change: no file can ask it.
#[derive(Clone, Copy, Debug)]
pub enum NoProbe {}

impl<'de> Deserialize<'de> for NoRollback {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("this template has no rollback"))
    }
}

impl<'de> Deserialize<'de> for NoProbe {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("this template has no probe"))
    }
}

impl Payload for NoRollback {}

impl Payload for NoProbe {}

impl NoRollback {
    /// Never called, since there is no value.
    pub fn never(&self) -> Result<(), ChangeError> {
        match *self {}
    }
}
