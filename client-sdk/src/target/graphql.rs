//! A GraphQL endpoint: like any HTTP API, but that a refusal comes with a good status.

use std::{borrow::Cow, fmt};

use reqwest::Method;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Target,
    http::{Api, HttpError},
};
use crate::context::{ChangeKey, Context, FromContext, InjectionError, Requirement};

/// A GraphQL endpoint, for data or for a schema. Changes take [`GraphQl`].
#[derive(Debug)]
pub struct GraphQlTarget {
    id: Cow<'static, str>,
    endpoint: Endpoint,
}

#[derive(Clone, Debug)]
struct Endpoint(Api);

/// The endpoint, for one change.
///
/// ```
/// use flamingock::{GraphQl, GraphQlError, change};
/// use serde_json::{Value, json};
///
/// #[change(id = "category-tea", order = "0001", target = "catalogue", rollback = remove_category)]
/// async fn create_category(api: GraphQl) -> Result<(), GraphQlError> {
///     let create = "mutation ($name: String!) { createCategory(name: $name) { id } }";
///     api.execute::<Value>(create, json!({"name": "tea"})).await?;
///     Ok(())
/// }
///
/// async fn remove_category(api: GraphQl) -> Result<(), GraphQlError> {
///     let remove = "mutation ($name: String!) { deleteCategory(name: $name) }";
///     api.execute::<Value>(remove, json!({"name": "tea"})).await?;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct GraphQl {
    endpoint: Endpoint,
    key: ChangeKey,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum GraphQlError {
    /// The endpoint refused it. With several fields in one operation some may have been done all the same.
    #[error("the endpoint refused the operation: {}", messages(.0))]
    Refused(Vec<GraphQlProblem>),
    /// It never came to that.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The answer is not what was expected.
    #[error("the answer cannot be read")]
    Unreadable(#[source] serde_json::Error),
}

/// One error of an answer.
#[derive(Clone, Debug, Deserialize)]
pub struct GraphQlProblem {
    /// For people.
    pub message: String,
    /// Whatever the endpoint adds, such as a code.
    #[serde(default)]
    pub extensions: Value,
}

impl GraphQlError {
    /// `extensions.code` of the first error, where the endpoint says one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(problems) => problems.first()?.extensions.get("code")?.as_str(),
            _ => None,
        }
    }
}

impl GraphQlTarget {
    /// An endpoint by its address.
    pub fn new(id: impl Into<Cow<'static, str>>, address: &str) -> Result<Self, HttpError> {
        Ok(Self {
            id: id.into(),
            endpoint: Endpoint(Api::new(address)?),
        })
    }

    /// Calls are made with this token, as `Authorization: Bearer …`.
    pub fn bearer(mut self, token: &str) -> Result<Self, HttpError> {
        self.endpoint.0 = self.endpoint.0.bearer(token)?;
        Ok(self)
    }

    /// A header of every call. It is taken for a secret and never printed.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, HttpError> {
        self.endpoint.0 = self.endpoint.0.header(name, value)?;
        Ok(self)
    }
}

impl From<GraphQlTarget> for Target {
    fn from(target: GraphQlTarget) -> Self {
        Self::non_transactional(target.id, target.endpoint)
    }
}

impl FromContext for GraphQl {
    fn requirement() -> Requirement {
        Requirement::client::<Endpoint>()
    }

    fn from_context(context: &Context) -> Result<Self, InjectionError> {
        Ok(Self {
            endpoint: (*context.client::<Endpoint>()?).clone(),
            key: context.key(),
        })
    }
}

impl GraphQl {
    /// For calling a change function in a test.
    pub fn new(target: &GraphQlTarget, key: ChangeKey) -> Self {
        Self {
            endpoint: target.endpoint.clone(),
            key,
        }
    }

    /// Executes an operation and reads its `data`. Errors in the answer are an error, whatever data came with them.
    ///
    /// It carries an `Idempotency-Key` made from the change and the operation, for endpoints that know one.
    pub async fn execute<T: DeserializeOwned>(
        &self,
        operation: &str,
        variables: impl Serialize,
    ) -> Result<T, GraphQlError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            data: Value,
            #[serde(default)]
            errors: Vec<GraphQlProblem>,
        }
        let variables = serde_json::to_value(variables).map_err(GraphQlError::Unreadable)?;
        let key = self.key.step(&format!("{operation} {variables}"));
        let answer: Answer = self
            .endpoint
            .0
            .call_address(Method::POST)
            .header("accept", "application/json")
            .header("idempotency-key", &key)
            .json(&json!({"query": operation, "variables": variables}))
            .send()
            .await?
            .json()?;
        if !answer.errors.is_empty() {
            return Err(GraphQlError::Refused(answer.errors));
        }
        serde_json::from_value(answer.data).map_err(GraphQlError::Unreadable)
    }
}

impl fmt::Debug for GraphQl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphQl")
            .field("endpoint", &self.endpoint)
            .field("key", &self.key)
            .finish()
    }
}

fn messages(problems: &[GraphQlProblem]) -> String {
    let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
    messages.join("; ")
}
