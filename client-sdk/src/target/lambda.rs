//! Functions of AWS Lambda: their configuration, versions and aliases.

use std::{borrow::Cow, collections::HashMap, fmt, time::Duration};

use aws_sdk_lambda::{
    Client,
    operation::get_function_configuration::GetFunctionConfigurationOutput as Configuration,
    types::{Environment, LastUpdateStatus, State},
};
use tokio::time::{Instant, sleep};

use super::{
    Target,
    aws::{AwsError, failed, if_there},
};

mod aliases;

const CHANGED: &[&str] = &["PreconditionFailedException"];
const POLL: Duration = Duration::from_millis(500);
/// AWS says that most updates take seconds; those of functions in a VPC may take minutes.
const PATIENCE: Duration = Duration::from_mins(10);

/// The functions of one account and region. Changes take [`TargetClient<Lambda>`](crate::TargetClient).
#[derive(Debug)]
pub struct LambdaTarget {
    id: Cow<'static, str>,
    client: Lambda,
}

/// Functions by their names.
///
/// ```
/// use flamingock::{AwsError, ChangeKey, Lambda, LambdaSettings, TargetClient, change};
///
/// #[change(id = "more-memory", order = "0001", target = "functions", recovery = "always_retry", rollback = as_before)]
/// async fn more_memory(functions: TargetClient<Lambda>, key: ChangeKey) -> Result<(), AwsError> {
///     let settings = LambdaSettings::new().memory_mb(512).timeout_seconds(20);
///     functions.change_settings("invoices", &key.step("settings"), &settings).await
/// }
///
/// async fn as_before(functions: TargetClient<Lambda>, key: ChangeKey) -> Result<(), AwsError> {
///     functions.settings_as_before("invoices", &key.step("settings")).await
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Lambda {
    client: Client,
}

/// What is to be changed in a function's configuration; the rest stays as it is.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LambdaSettings {
    memory_mb: Option<i32>,
    timeout_seconds: Option<i32>,
    variables: Vec<(String, String)>,
}

impl LambdaSettings {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Memory in MB, of which the processor's share depends.
    #[must_use]
    pub fn memory_mb(mut self, memory: i32) -> Self {
        self.memory_mb = Some(memory);
        self
    }

    /// Seconds after which an invocation is ended.
    #[must_use]
    pub fn timeout_seconds(mut self, timeout: i32) -> Self {
        self.timeout_seconds = Some(timeout);
        self
    }

    /// An environment variable. The others stay.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }
}

impl LambdaSettings {
    fn are_those_of(&self, there: &Configuration, variables: &HashMap<String, String>) -> bool {
        self.memory_mb
            .is_none_or(|memory| there.memory_size == Some(memory))
            && self
                .timeout_seconds
                .is_none_or(|timeout| there.timeout == Some(timeout))
            && self
                .variables
                .iter()
                .all(|(name, value)| variables.get(name) == Some(value))
    }
}

/// The values of variables may be secrets.
impl fmt::Debug for LambdaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.variables.iter().map(|(name, _)| name).collect();
        f.debug_struct("LambdaSettings")
            .field("memory_mb", &self.memory_mb)
            .field("timeout_seconds", &self.timeout_seconds)
            .field("variables", &names)
            .finish()
    }
}

impl LambdaTarget {
    /// By a client of the account and region.
    pub fn new(id: impl Into<Cow<'static, str>>, client: Client) -> Self {
        Self {
            id: id.into(),
            client: Lambda { client },
        }
    }

    /// The client, for calling a change function in a test.
    pub fn client(&self) -> Lambda {
        self.client.clone()
    }
}

impl From<LambdaTarget> for Target {
    fn from(target: LambdaTarget) -> Self {
        Self::non_transactional(target.id, target.client)
    }
}

impl Lambda {
    /// The client of the AWS SDK, for everything else.
    pub fn sdk(&self) -> &Client {
        &self.client
    }

    /// The configuration of a function as it is edited, or of one of its versions or aliases.
    pub async fn configuration(
        &self,
        function: &str,
        qualifier: Option<&str>,
    ) -> Result<Configuration, AwsError> {
        let get = self
            .client
            .get_function_configuration()
            .function_name(function)
            .set_qualifier(qualifier.map(str::to_owned));
        get.send()
            .await
            .map_err(failed(format!("reading the configuration of {function}")))
    }

    /// Changes settings, and waits until they are in force. What they were is kept for
    /// [`settings_as_before`](Self::settings_as_before): a version of the function is published, which cannot be edited, and
    /// its number is written into a tag. What an attempt before this one has kept is from before the change, and stays. Take a
    /// step of a [`ChangeKey`](crate::ChangeKey) for the key.
    ///
    /// Somebody's edit between the look and the change is not overwritten: see [`AwsError::ChangedMeanwhile`].
    pub async fn change_settings(
        &self,
        function: &str,
        key: &str,
        settings: &LambdaSettings,
    ) -> Result<(), AwsError> {
        if self.kept(function, key).await?.is_none() {
            let version = self.publish_version(function).await?;
            self.keep(function, key, &version).await?;
        }
        let there = self.wait_until_settled(function).await?;
        let before = variables(&there);
        if settings.are_those_of(&there, &before) {
            return Ok(()); // an attempt before this one came so far
        }
        let mut after = before.clone();
        after.extend(settings.variables.iter().cloned());
        let update = self
            .client
            .update_function_configuration()
            .function_name(function)
            .set_revision_id(there.revision_id.clone())
            .set_memory_size(settings.memory_mb)
            .set_timeout(settings.timeout_seconds)
            .set_environment((after != before).then(|| environment(after)));
        changed(function, update.send().await.map_err(failed(updating(function))))?;
        self.wait_until_updated(function).await
    }

    /// Sets memory, timeout and environment to what they were before [`change_settings`](Self::change_settings), and waits until
    /// they are in force. The published version stays: it may be in use.
    pub async fn settings_as_before(&self, function: &str, key: &str) -> Result<(), AwsError> {
        let Some(version) = self.kept(function, key).await? else {
            return Ok(()); // it never came so far
        };
        let before = self.configuration(function, Some(&version)).await?;
        let there = self.wait_until_settled(function).await?;
        let update = self
            .client
            .update_function_configuration()
            .function_name(function)
            .set_revision_id(there.revision_id.clone())
            .set_memory_size(before.memory_size)
            .set_timeout(before.timeout)
            .environment(environment(variables(&before)));
        changed(function, update.send().await.map_err(failed(updating(function))))?;
        self.wait_until_updated(function).await?;
        self.forget(function, key).await
    }

    /// Publishes what is edited as a version, and returns its number. Lambda publishes nothing where nothing was edited since
    /// the last version, and answers with that one; so this is safe to repeat.
    pub async fn publish_version(&self, function: &str) -> Result<String, AwsError> {
        let there = self.wait_until_settled(function).await?;
        let publish = self
            .client
            .publish_version()
            .function_name(function)
            .set_revision_id(there.revision_id);
        let doing = format!("publishing a version of {function}");
        let published = changed(function, publish.send().await.map_err(failed(&*doing)))?;
        published
            .version
            .ok_or_else(|| AwsError::missing(&doing, "which version"))
    }

    /// Keeps a short text as a tag of the function for the rollback, in characters that tags may have.
    async fn keep(&self, function: &str, key: &str, value: &str) -> Result<(), AwsError> {
        let arn = self.arn(function).await?;
        let tagging = self.client.tag_resource().resource(arn).tags(tag(key), value);
        tagging
            .send()
            .await
            .map_err(failed(format!("tagging the function {function}")))?;
        Ok(())
    }

    async fn kept(&self, function: &str, key: &str) -> Result<Option<String>, AwsError> {
        let tags = self.client.list_tags().resource(self.arn(function).await?);
        let tags = tags
            .send()
            .await
            .map_err(failed(format!("reading the tags of {function}")))?;
        Ok(tags.tags.and_then(|mut tags| tags.remove(&tag(key))))
    }

    async fn forget(&self, function: &str, key: &str) -> Result<(), AwsError> {
        let arn = self.arn(function).await?;
        let untag = self.client.untag_resource().resource(arn).tag_keys(tag(key));
        untag
            .send()
            .await
            .map_err(failed(format!("removing a tag of {function}")))?;
        Ok(())
    }

    async fn arn(&self, function: &str) -> Result<String, AwsError> {
        let configuration = self.configuration(function, None).await?;
        configuration
            .function_arn
            .ok_or_else(|| AwsError::missing("reading the configuration", "the function's ARN"))
    }

    /// That an update was accepted does not say that it succeeds.
    async fn wait_until_updated(&self, function: &str) -> Result<(), AwsError> {
        let there = self.wait_until_settled(function).await?;
        if there.last_update_status == Some(LastUpdateStatus::Failed) {
            let why = there.last_update_status_reason.unwrap_or_default();
            return Err(AwsError::NotDone(format!(
                "the update of {function} failed: {why}"
            )));
        }
        Ok(())
    }

    /// Lambda refuses edits while it carries out another.
    async fn wait_until_settled(&self, function: &str) -> Result<Configuration, AwsError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let there = self.configuration(function, None).await?;
            match (&there.last_update_status, &there.state) {
                (Some(LastUpdateStatus::Failed), _) => {
                    let why = there.last_update_status_reason.unwrap_or_default();
                    return Err(AwsError::NotDone(format!(
                        "the last update of {function} failed: {why}"
                    )));
                }
                (Some(LastUpdateStatus::InProgress), _) | (_, Some(State::Pending)) => {}
                _ => return Ok(there),
            }
            if Instant::now() >= deadline {
                return Err(AwsError::NotDone(format!(
                    "{function} is still being updated after {} minutes",
                    PATIENCE.as_secs() / 60
                )));
            }
            sleep(POLL).await;
        }
    }
}

fn variables(configuration: &Configuration) -> HashMap<String, String> {
    let environment = configuration.environment.as_ref();
    environment
        .and_then(|environment| environment.variables.clone())
        .unwrap_or_default()
}

fn environment(variables: HashMap<String, String>) -> Environment {
    Environment::builder().set_variables(Some(variables)).build()
}

/// An answer that says that somebody else was faster.
fn changed<T>(what: &str, result: Result<T, AwsError>) -> Result<T, AwsError> {
    if_there(result, CHANGED)?.ok_or_else(|| AwsError::ChangedMeanwhile(what.to_owned()))
}

fn tag(key: &str) -> String {
    format!("flamingock:{key}")
}

fn updating(function: &str) -> String {
    format!("updating the configuration of {function}")
}
