//! Changes in code on any HTTP API: no transactions, so what keeps a repeated call from doing harm are idempotency keys and `If-Match`.

use std::fmt;

use reqwest::{Method, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    HttpTarget,
    http::{Answer, Api, Call, HttpError},
};
use crate::context::{ChangeKey, Context, FromContext, InjectionError, Requirement};

/// The API of an [`HttpTarget`], for one change.
///
/// Every `POST` and `PATCH` carries an `Idempotency-Key` that is made from the change, so that an attempt that follows a
/// crash has the same one: an API that knows the header answers as it did the first time.
///
/// ```
/// use flamingock::{HttpError, Rest, change};
/// use serde_json::{Value, json};
///
/// #[change(id = "plan-team", order = "0001", target = "billing", recovery = "always_retry", rollback = remove_plan)]
/// async fn create_plan(api: Rest) -> Result<(), HttpError> {
///     api.post("/plans").json(&json!({"id": "team", "price": 900})).send().await?;
///     Ok(())
/// }
///
/// async fn remove_plan(api: Rest) -> Result<(), HttpError> {
///     api.delete("/plans/team").send_if_there().await?; // not there is as good as removed
///     Ok(())
/// }
///
/// #[change(id = "raise-limit", order = "0002", target = "billing")]
/// async fn raise_limit(api: Rest) -> Result<(), HttpError> {
///     let limit = api.get("/limits/team").send().await?;
///     api.patch("/limits/team")
///         .if_unchanged(&limit)? // refused with 412 if somebody else was faster
///         .json(&json!({"seats": limit.json::<Value>()?["seats"].as_u64().unwrap_or(0) + 10}))
///         .send()
///         .await?;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Rest {
    api: Api,
    key: ChangeKey,
}

/// One call, before it is sent.
#[derive(Debug)]
#[must_use = "nothing happens before `send`"]
pub struct RestCall {
    /// An error in it is that of sending it.
    call: Result<Call, HttpError>,
    /// What is done, and the key under which it is done once.
    once: Option<(ChangeKey, String)>,
}

/// An answer with a good status.
#[derive(Debug)]
pub struct RestAnswer(Answer);

impl FromContext for Rest {
    fn requirement() -> Requirement {
        Requirement::client::<Api>()
    }

    fn from_context(context: &Context) -> Result<Self, InjectionError> {
        Ok(Self {
            api: (*context.client::<Api>()?).clone(),
            key: context.key(),
        })
    }
}

impl Rest {
    /// For calling a change function in a test.
    pub fn new(target: &HttpTarget, key: ChangeKey) -> Self {
        Self {
            api: target.api.clone(),
            key,
        }
    }

    /// Reads.
    pub fn get(&self, path: &str) -> RestCall {
        self.call(Method::GET, path)
    }

    /// Creates, or does something.
    pub fn post(&self, path: &str) -> RestCall {
        self.call_once(Method::POST, path)
    }

    /// Replaces.
    pub fn put(&self, path: &str) -> RestCall {
        self.call(Method::PUT, path)
    }

    /// Changes a part.
    pub fn patch(&self, path: &str) -> RestCall {
        self.call_once(Method::PATCH, path)
    }

    /// Removes.
    pub fn delete(&self, path: &str) -> RestCall {
        self.call(Method::DELETE, path)
    }

    fn call(&self, method: Method, path: &str) -> RestCall {
        RestCall {
            call: self.api.call(method, path),
            once: None,
        }
    }

    fn call_once(&self, method: Method, path: &str) -> RestCall {
        let what = format!("{method} {path}");
        RestCall {
            call: self.api.call(method, path),
            once: Some((self.key.clone(), what)),
        }
    }
}

impl RestCall {
    /// With a body.
    pub fn json(self, body: &(impl Serialize + ?Sized)) -> Self {
        self.map(|call| call.json(body))
    }

    /// With a header.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.map(|call| call.header(name, value))
    }

    /// Tells calls of one change apart that have the same method and path: without it they would have the same
    /// `Idempotency-Key`, and only the first would have an effect.
    pub fn step(mut self, name: &str) -> Self {
        if let Some((_, what)) = &mut self.once {
            what.push('#');
            what.push_str(name);
        }
        self
    }

    /// Only if nobody has changed it since it was read: the API answers 412 otherwise
    /// ([`HttpError::is_changed_meanwhile`]). Fails if the answer carried no version.
    pub fn if_unchanged(self, read: &RestAnswer) -> Result<Self, HttpError> {
        let version = read.etag().ok_or_else(|| {
            HttpError::Invalid(
                "the answer carried no ETag, so nobody can tell whether it was changed since".to_owned(),
            )
        })?;
        let version = version.to_owned();
        Ok(self.map(|call| call.header(header::IF_MATCH.as_str(), &version)))
    }

    /// Sends it. A status that is not good is an error.
    pub async fn send(self) -> Result<RestAnswer, HttpError> {
        Ok(RestAnswer(self.prepared()?.send().await?))
    }

    /// Sends it. `None` if what it is about is not there (404 and 410).
    pub async fn send_if_there(self) -> Result<Option<RestAnswer>, HttpError> {
        Ok(self.prepared()?.send_if_there().await?.map(RestAnswer))
    }

    fn prepared(self) -> Result<Call, HttpError> {
        let call = self.call?;
        Ok(match self.once {
            Some((key, what)) => call.header("idempotency-key", &key.step(&what)),
            None => call,
        })
    }

    fn map(self, change: impl FnOnce(Call) -> Call) -> Self {
        Self {
            call: self.call.map(change),
            ..self
        }
    }
}

impl RestAnswer {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The version of what was read.
    pub fn etag(&self) -> Option<&str> {
        self.header(header::ETAG.as_str())
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.headers.get(name)?.to_str().ok()
    }

    /// The body.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        self.0.json()
    }

    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest")
            .field("api", &self.api)
            .field("key", &self.key)
            .finish()
    }
}
