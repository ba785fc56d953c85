//! What the targets behind an HTTP API share: calls, patience with an API that is busy, errors that say what was refused.

use std::{fmt, time::Duration};

use reqwest::{
    Method, RequestBuilder, Response, StatusCode, Url,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_mins(1);

/// How often a call is tried that is answered with "not now" (429 and 503): it has had no effect then.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longer than this nobody waits in the middle of a change.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// How much of an answer that explains nothing is repeated.
const EXCERPT: usize = 300;

/// Why a call to the API of a target system failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The API refused it, or failed itself.
    #[error("{call} was answered with {status}: {explanation}")]
    Refused {
        /// Method and address.
        call: String,
        /// The status.
        status: StatusCode,
        /// What the API says about it.
        explanation: String,
    },
    /// No answer came. Whether the call had an effect is not known.
    #[error("{call} was not answered")]
    NotAnswered {
        /// Method and address.
        call: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The answer is not what was expected.
    #[error("the answer to {call} cannot be read")]
    Unreadable {
        /// Method and address.
        call: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody else has changed it since it was read.
    #[error("{0} was changed since it was read")]
    ChangedMeanwhile(String),
    /// Not done, because of what was found.
    #[error("{0}")]
    NotDone(String),
    /// What was asked cannot be asked.
    #[error("{0}")]
    Invalid(String),
}

impl HttpError {
    /// The status of a refusal.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// It is not there (404 and 410).
    pub fn is_absent(&self) -> bool {
        matches!(self.status(), Some(StatusCode::NOT_FOUND | StatusCode::GONE))
    }

    /// It is there already, or in use (409).
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(StatusCode::CONFLICT)
    }

    /// Somebody else has changed it since it was read (412, or what the API has for it).
    pub fn is_changed_meanwhile(&self) -> bool {
        matches!(self, Self::ChangedMeanwhile(_)) || self.status() == Some(StatusCode::PRECONDITION_FAILED)
    }
}

/// An API by its address, with what goes with every call.
#[derive(Clone)]
pub(super) struct Api {
    /// As it was given.
    address: Url,
    /// With a slash at the end.
    base: Url,
    http: reqwest::Client,
    headers: HeaderMap,
}

/// One call, before it is sent.
#[derive(Debug)]
pub(super) struct Call {
    request: RequestBuilder,
    name: String,
}

/// An answer with a good status.
#[derive(Debug)]
pub(super) struct Answer {
    name: String,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Vec<u8>,
}

impl Api {
    pub(super) fn new(base: &str) -> Result<Self, HttpError> {
        let invalid =
            |why: &dyn fmt::Display| HttpError::Invalid(format!("`{base}` is no address of an API: {why}"));
        let address = Url::parse(base).map_err(|error| invalid(&error))?;
        let mut url = address.clone();
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid(&"only http and https are spoken"));
        }
        // So that what follows is added, and does not replace the last segment.
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // Whoever answers could have the secrets in the headers sent elsewhere; and a POST would become a GET.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| invalid(&error))?;
        Ok(Self {
            address,
            base: url,
            http,
            headers: HeaderMap::new(),
        })
    }

    /// A header of every call. Its value is a secret: it is not printed.
    pub(super) fn header(mut self, name: &str, value: &str) -> Result<Self, HttpError> {
        let name: HeaderName = name
            .parse()
            .map_err(|_| HttpError::Invalid(format!("`{name}` is no name of a header")))?;
        let mut secret: HeaderValue = value
            .parse()
            .map_err(|_| HttpError::Invalid(format!("the value of the header {name} cannot be sent")))?;
        secret.set_sensitive(true);
        self.headers.insert(name, secret);
        Ok(self)
    }

    #[cfg(feature = "rest")]
    pub(super) fn bearer(self, token: &str) -> Result<Self, HttpError> {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// A call to the address itself.
    #[cfg(feature = "graphql")]
    pub(super) fn call_address(&self, method: Method) -> Call {
        self.call_to(method, self.address.clone())
    }

    /// A call by its path, which may have a query.
    #[cfg(feature = "rest")]
    pub(super) fn call(&self, method: Method, path: &str) -> Result<Call, HttpError> {
        let url = self
            .base
            .join(path.trim_start_matches('/'))
            .map_err(|error| HttpError::Invalid(format!("`{path}` is no path: {error}")))?;
        if url.origin() != self.base.origin() {
            return Err(HttpError::Invalid(format!("`{path}` leads to another server")));
        }
        Ok(self.call_to(method, url))
    }

    /// A call by the segments of its path, each of which may be any text.
    #[cfg(any(feature = "rabbitmq", feature = "unleash", feature = "vault"))]
    pub(super) fn call_segments(&self, method: Method, segments: &[&str]) -> Call {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        self.call_to(method, url)
    }

    fn call_to(&self, method: Method, url: Url) -> Call {
        // Without the query, which may hold what is nobody's business.
        let name = format!("{method} {}{}", url.origin().ascii_serialization(), url.path());
        Call {
            request: self.http.request(method, url).headers(self.headers.clone()),
            name,
        }
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("address", &self.address.as_str())
            .finish_non_exhaustive()
    }
}

impl Call {
    pub(super) fn json(mut self, body: &(impl Serialize + ?Sized)) -> Self {
        self.request = self.request.json(body);
        self
    }

    #[cfg(any(feature = "rabbitmq", feature = "vault"))]
    pub(super) fn query(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.query(&[(name, value)]);
        self
    }

    #[cfg(feature = "rest")]
    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(super) async fn send(self) -> Result<Answer, HttpError> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            // Bodies are in memory, so that this always works.
            let Some(request) = self.request.try_clone() else {
                break;
            };
            let answer = self.once(request).await?;
            let asked_to_wait = retry_after(&answer.headers).unwrap_or(pause);
            let not_now = matches!(
                answer.status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            );
            if !not_now || attempt == ATTEMPTS || asked_to_wait > LONGEST_PAUSE {
                return answer.accepted();
            }
            tracing::debug!(call = self.name, status = %answer.status, wait = ?asked_to_wait, "the API is busy");
            tokio::time::sleep(asked_to_wait).await;
            pause *= 2;
        }
        Err(HttpError::Invalid(format!("{} cannot be sent", self.name)))
    }

    /// `None` if it is not there.
    pub(super) async fn send_if_there(self) -> Result<Option<Answer>, HttpError> {
        match self.send().await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn once(&self, request: RequestBuilder) -> Result<Answer, HttpError> {
        let failed = |source: reqwest::Error| HttpError::NotAnswered {
            call: self.name.clone(),
            source: source.without_url(),
        };
        let response: Response = request.send().await.map_err(failed)?;
        Ok(Answer {
            name: self.name.clone(),
            status: response.status(),
            headers: response.headers().clone(),
            body: response.bytes().await.map_err(failed)?.into(),
        })
    }
}

impl Answer {
    fn accepted(self) -> Result<Self, HttpError> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(HttpError::Refused {
            explanation: explanation(&self.body),
            call: self.name,
            status: self.status,
        })
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        serde_json::from_slice(&self.body).map_err(|error| HttpError::Unreadable {
            call: self.name.clone(),
            source: error.into(),
        })
    }

    #[cfg(feature = "rest")]
    pub(super) fn is_empty(&self) -> bool {
        self.body.is_empty()
    }
}

/// In seconds; the other form, a date, is not spoken by what answers programs.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

/// What the body says about a refusal: the usual fields of problem details and of the APIs that have a target here.
fn explanation(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let found = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|body| explanation_in(&body));
    let text = found.unwrap_or_else(|| text.trim().to_owned());
    if text.is_empty() {
        return "nothing is said about it".to_owned();
    }
    let mut short: String = text.chars().take(EXCERPT).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn explanation_in(body: &Value) -> Option<String> {
    let in_list = |list: &Value| {
        let texts = list.as_array()?.iter().filter_map(explanation_in);
        Some(texts.collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty())
    };
    if let Some(text) = body.as_str() {
        return Some(text.to_owned());
    }
    let field = |name: &str| body.get(name).filter(|value| !value.is_null());
    field("errors")
        .and_then(in_list)
        .or_else(|| field("details").and_then(in_list))
        .or_else(|| {
            ["detail", "reason", "message", "title", "error"]
                .into_iter()
                .find_map(|name| field(name)?.as_str().map(str::to_owned))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_explained_in_the_words_of_the_api() {
        for (body, expected) in [
            (
                r#"{"title":"Conflict","detail":"the plan exists"}"#,
                "the plan exists",
            ),
            (
                r#"{"errors":["check-and-set parameter did not match"]}"#,
                "check-and-set parameter did not match",
            ),
            (
                r#"{"errors":[{"message":"no field x"},{"message":"no field y"}]}"#,
                "no field x; no field y",
            ),
            (
                r#"{"error":"bad_request","reason":"inequivalent arg"}"#,
                "inequivalent arg",
            ),
            (
                r#"{"name":"NameExistsError","message":"exists","details":[{"message":"a flag of that name"}]}"#,
                "a flag of that name",
            ),
            (r#"{"details":[],"message":"just this"}"#, "just this"),
            ("<html>bad gateway</html>", "<html>bad gateway</html>"),
            ("", "nothing is said about it"),
        ] {
            assert_eq!(explanation(body.as_bytes()), expected);
        }
        assert_eq!(
            explanation("é".repeat(400).as_bytes()).chars().count(),
            EXCERPT + 1
        );
    }

    #[cfg(feature = "rest")]
    #[test]
    fn paths_are_added_to_the_address_and_lead_nowhere_else() {
        let api = Api::new("http://example.org/base").unwrap();
        let name = |path| api.call(Method::GET, path).map(|call| call.name).ok();
        assert_eq!(
            name("/a/b?token=x").as_deref(),
            Some("GET http://example.org/base/a/b")
        );
        for elsewhere in ["http://other.org/a", "https://example.org/"] {
            assert_eq!(name(elsewhere), None, "{elsewhere}");
        }
        assert!(Api::new("ftp://example.org").is_err());
    }
}
