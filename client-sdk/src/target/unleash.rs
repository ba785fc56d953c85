//! Feature flags in Unleash, by its admin API.

use std::borrow::Cow;

use reqwest::Method;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{
    Target,
    http::{Api, HttpError},
};

/// A project of an Unleash. Changes take `TargetClient<Unleash>`.
#[derive(Debug)]
pub struct UnleashTarget {
    id: Cow<'static, str>,
    client: Unleash,
}

/// The flags of one project.
///
/// ```
/// use flamingock::{HttpError, TargetClient, Unleash, UnleashStrategy, change};
///
/// #[change(id = "flag-checkout", order = "0001", target = "flags", recovery = "always_retry", rollback = remove_flag)]
/// async fn checkout(flags: TargetClient<Unleash>) -> Result<(), HttpError> {
///     if !flags.has_flag("checkout-v2").await? {
///         flags.create_flag("checkout-v2", "release", "the new checkout").await?;
///     }
///     if flags.strategies("checkout-v2", "development").await?.is_empty() {
///         let strategy = UnleashStrategy::rollout("checkout-v2", 25);
///         flags.add_strategy("checkout-v2", "development", &strategy).await?;
///     }
///     flags.turn_on("checkout-v2", "development").await
/// }
///
/// async fn remove_flag(flags: TargetClient<Unleash>) -> Result<(), HttpError> {
///     flags.remove_flag("checkout-v2").await
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Unleash {
    api: Api,
    project: String,
}

/// When a flag is on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UnleashStrategy {
    /// Given by Unleash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Such as `default` or `flexibleRollout`.
    pub name: String,
    /// What the strategy knows; values are texts.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// Constraints, segments and whatever else there is, as they came.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl UnleashStrategy {
    /// On for a part of the users, in percent.
    pub fn rollout(group: &str, percent: u8) -> Self {
        let parameters = [
            ("rollout", percent.to_string()),
            ("stickiness", "default".to_owned()),
            ("groupId", group.to_owned()),
        ];
        Self {
            id: None,
            name: "flexibleRollout".to_owned(),
            parameters: parameters
                .into_iter()
                .map(|(name, value)| (name.to_owned(), Value::String(value)))
                .collect(),
            rest: Map::new(),
        }
    }

    /// The part of the users, in percent, of a [`rollout`](Self::rollout).
    pub fn percent(&self) -> Option<u8> {
        self.parameters.get("rollout")?.as_str()?.parse().ok()
    }

    /// The same for another part of the users.
    #[must_use]
    pub fn with_percent(mut self, percent: u8) -> Self {
        let rollout = Value::String(percent.to_string());
        self.parameters.insert("rollout".to_owned(), rollout);
        self
    }
}

impl UnleashTarget {
    /// The project `default`, by the address of Unleash and a token for its admin API.
    pub fn new(id: impl Into<Cow<'static, str>>, address: &str, token: &str) -> Result<Self, HttpError> {
        Ok(Self {
            id: id.into(),
            client: Unleash {
                api: Api::new(address)?.header("authorization", token)?,
                project: "default".to_owned(),
            },
        })
    }

    /// Another project.
    #[must_use]
    pub fn project(mut self, name: impl Into<String>) -> Self {
        self.client.project = name.into();
        self
    }

    /// The client, for calling a change function in a test.
    pub fn client(&self) -> Unleash {
        self.client.clone()
    }
}

impl From<UnleashTarget> for Target {
    fn from(target: UnleashTarget) -> Self {
        Self::non_transactional(target.id, target.client)
    }
}

impl Unleash {
    /// Whether there is such a flag that is not archived.
    pub async fn has_flag(&self, name: &str) -> Result<bool, HttpError> {
        let flag: Option<Value> = self.get(&["features", name]).await?;
        Ok(flag.is_some_and(|flag| flag["archived"] != true))
    }

    /// Creates a flag, which is off. `kind` is one of `release`, `experiment`, `operational`, `kill-switch`, `permission`.
    pub async fn create_flag(&self, name: &str, kind: &str, description: &str) -> Result<(), HttpError> {
        let body = json!({"name": name, "type": kind, "description": description});
        self.project_call(Method::POST, &["features"], Some(&body)).await
    }

    /// Archives a flag, and deletes it. One that is not there is no error.
    pub async fn remove_flag(&self, name: &str) -> Result<(), HttpError> {
        let archive = self.path(&["features", name]);
        if self.has_flag(name).await? {
            self.send(Method::DELETE, &archive, None).await?;
        }
        let path = ["api", "admin", "archive", name];
        self.api
            .call_segments(Method::DELETE, &path)
            .send_if_there()
            .await?;
        Ok(())
    }

    /// Turns a flag on in an environment.
    pub async fn turn_on(&self, flag: &str, environment: &str) -> Result<(), HttpError> {
        let path = ["features", flag, "environments", environment, "on"];
        self.project_call(Method::POST, &path, None).await
    }

    /// Turns a flag off in an environment.
    pub async fn turn_off(&self, flag: &str, environment: &str) -> Result<(), HttpError> {
        let path = ["features", flag, "environments", environment, "off"];
        self.project_call(Method::POST, &path, None).await
    }

    /// Whether a flag is on in an environment.
    pub async fn is_on(&self, flag: &str, environment: &str) -> Result<bool, HttpError> {
        let found: Option<Value> = self.get(&["features", flag, "environments", environment]).await?;
        Ok(found.is_some_and(|found| found["enabled"] == true))
    }

    /// When a flag is on in an environment.
    pub async fn strategies(&self, flag: &str, environment: &str) -> Result<Vec<UnleashStrategy>, HttpError> {
        let found = self
            .get(&["features", flag, "environments", environment, "strategies"])
            .await?;
        Ok(found.unwrap_or_default())
    }

    /// Adds a strategy. Not safe to repeat: look at [`strategies`](Self::strategies) first.
    pub async fn add_strategy(
        &self,
        flag: &str,
        environment: &str,
        strategy: &UnleashStrategy,
    ) -> Result<(), HttpError> {
        let path = ["features", flag, "environments", environment, "strategies"];
        let body = json!(strategy);
        self.project_call(Method::POST, &path, Some(&body)).await
    }

    /// Replaces a strategy that was read.
    pub async fn replace_strategy(
        &self,
        flag: &str,
        environment: &str,
        strategy: &UnleashStrategy,
    ) -> Result<(), HttpError> {
        let id = strategy.id.as_deref().ok_or_else(|| {
            HttpError::Invalid("a strategy that replaces another needs the id of that one".to_owned())
        })?;
        let path = ["features", flag, "environments", environment, "strategies", id];
        let body = json!(strategy);
        self.project_call(Method::PUT, &path, Some(&body)).await
    }

    fn path<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        [&["api", "admin", "projects", self.project.as_str()], rest].concat()
    }

    async fn get<T: DeserializeOwned>(&self, rest: &[&str]) -> Result<Option<T>, HttpError> {
        let answer = self
            .api
            .call_segments(Method::GET, &self.path(rest))
            .send_if_there()
            .await?;
        answer.map(|answer| answer.json()).transpose()
    }

    async fn project_call(
        &self,
        method: Method,
        rest: &[&str],
        body: Option<&Value>,
    ) -> Result<(), HttpError> {
        self.send(method, &self.path(rest), body).await
    }

    async fn send(&self, method: Method, path: &[&str], body: Option<&Value>) -> Result<(), HttpError> {
        let call = self.api.call_segments(method, path);
        let call = match body {
            Some(body) => call.json(body),
            None => call,
        };
        call.send().await?;
        Ok(())
    }
}
