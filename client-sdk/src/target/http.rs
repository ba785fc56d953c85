//! What the targets behind an HTTP API share: calls, patience with an API that is busy, errors that say what was refused.

use std::{fmt, time::Duration};

#[cfg(any(feature = "rabbitmq", feature = "rest", feature = "templates"))]
use data_encoding::BASE64;
use reqwest::{
    Method, RequestBuilder, Response, StatusCode, Url,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use serde_json::Value;

#[cfg(any(
    feature = "graphql",
    feature = "rabbitmq",
    feature = "rest",
    feature = "unleash",
    feature = "vault"
))]
mod answer;

#[cfg(any(
    feature = "graphql",
    feature = "rabbitmq",
    feature = "rest",
    feature = "unleash",
    feature = "vault"
))]
pub(super) use answer::Answer;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_mins(1);

/// How often a call is tried that is answered with "not now" (429 and 503): it has had no effect then.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longer than this nobody waits in the middle of a change.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// How much of an answer that explains nothing is repeated.
const EXCERPT: usize = 300;
/// How much of a refusal is read to find its explanation.
const LONGEST_REFUSAL: usize = 64 << 10;

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

    fn not_answered(call: &str, source: reqwest::Error) -> Self {
        Self::NotAnswered {
            call: call.to_owned(),
            // Its address has the query, which may have secrets.
            source: source.without_url(),
        }
    }

    async fn refused(call: String, response: Response) -> Self {
        let status = response.status();
        // Where it breaks off, the status says enough.
        let body = beginning(response, LONGEST_REFUSAL).await;
        Self::Refused {
            call,
            status,
            explanation: explanation(&body.map(|(body, _)| body).unwrap_or_default()),
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
pub(crate) struct Api {
    /// As it was given.
    address: Url,
    /// With a slash at the end.
    base: Url,
    http: reqwest::Client,
    headers: HeaderMap,
    timeout: Duration,
}

/// One call, before it is sent.
#[derive(Debug)]
pub(crate) struct Call {
    request: RequestBuilder,
    name: String,
}

impl Api {
    pub(super) fn new(base: &str) -> Result<Self, HttpError> {
        // It is not shown: it may have a password in it.
        let invalid =
            |why: &dyn fmt::Display| HttpError::Invalid(format!("that is no address of an API: {why}"));
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
            // Whoever answers could have the secrets in the headers sent elsewhere; and a POST would become a GET.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| invalid(&error))?;
        Ok(Self {
            address,
            base: url,
            http,
            headers: HeaderMap::new(),
            timeout: TIMEOUT,
        })
    }

    /// An address that is nothing but one.
    #[cfg(any(feature = "rest", feature = "templates"))]
    pub(super) fn bare(base: &str) -> Result<Self, HttpError> {
        let api = Self::new(base)?;
        let address = &api.address;
        // What is wrong may be a secret, so it is not shown.
        let refused = |why: &str| Err(HttpError::Invalid(format!("the address of an HTTP target {why}")));
        if address.query().is_some() || address.fragment().is_some() {
            return refused("has no query and no fragment");
        }
        if !address.username().is_empty() || address.password().is_some() {
            return refused("has no credentials in it: use `basic`, `bearer` or `header`");
        }
        Ok(api)
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

    #[cfg(any(feature = "rest", feature = "templates"))]
    pub(super) fn bearer(self, token: &str) -> Result<Self, HttpError> {
        self.header("authorization", &format!("Bearer {token}"))
    }

    #[cfg(any(feature = "rabbitmq", feature = "rest", feature = "templates"))]
    pub(super) fn basic(self, user: &str, password: &str) -> Result<Self, HttpError> {
        let credentials = BASE64.encode(format!("{user}:{password}").as_bytes());
        self.header("authorization", &format!("Basic {credentials}"))
    }

    #[cfg(any(feature = "rest", feature = "templates"))]
    pub(super) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What goes with every call.
    #[cfg(feature = "templates")]
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// A call to the address itself.
    #[cfg(feature = "graphql")]
    pub(super) fn call_address(&self, method: Method) -> Call {
        self.call_to(method, self.address.clone())
    }

    /// A call by its path, which may have a query.
    #[cfg(any(feature = "rest", feature = "templates"))]
    pub(crate) fn call(&self, method: Method, path: &str) -> Result<Call, HttpError> {
        if Url::parse(path).is_ok() {
            return Err(HttpError::Invalid(format!("`{path}` leads to another server")));
        }
        // Some of them the parser of addresses leaves out: what it reads would be another path than the one looked at here.
        if path.chars().any(char::is_control) {
            let text = format!("{path:?} has characters that no address has");
            return Err(HttpError::Invalid(text));
        }
        let (path, query) = path
            .split_once('?')
            .map_or((path, None), |(path, query)| (path, Some(query)));
        // A path with `..` would leave what the target stands for.
        let steps_up = |segment: &str| {
            let segment = segment.replace("%2e", ".").replace("%2E", ".");
            segment == "." || segment == ".."
        };
        if path.split(['/', '\\']).any(steps_up) {
            let text = format!("`{path}` has the segments `.` or `..`, and a path cannot have them");
            return Err(HttpError::Invalid(text));
        }
        let mut url = self.base.clone();
        url.set_path(&format!(
            "{}{}",
            self.base.path(),
            path.strip_prefix('/').unwrap_or(path)
        ));
        url.set_query(query);
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
            request: self
                .http
                .request(method, url)
                .timeout(self.timeout)
                .headers(self.headers.clone()),
            name,
        }
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Credentials and a query may be secrets.
        let address = format!(
            "{}{}",
            self.address.origin().ascii_serialization(),
            self.address.path()
        );
        f.debug_struct("Api")
            .field("address", &address)
            .finish_non_exhaustive()
    }
}

impl Call {
    #[cfg(any(feature = "rabbitmq", feature = "templates", feature = "vault"))]
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.query(&[(name, value)]);
        self
    }

    /// What it is called in errors.
    #[cfg(feature = "templates")]
    pub(crate) fn named(mut self, name: String) -> Self {
        self.name = name;
        self
    }

    /// These headers, over those of the target.
    #[cfg(feature = "templates")]
    pub(crate) fn headers(mut self, headers: HeaderMap) -> Self {
        self.request = self.request.headers(headers);
        self
    }

    #[cfg(feature = "templates")]
    pub(crate) fn body(mut self, text: String) -> Self {
        self.request = self.request.body(text);
        self
    }

    #[cfg(feature = "templates")]
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.request = self.request.timeout(timeout);
        self
    }

    #[cfg(feature = "rest")]
    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Sends it, again and again while the API is busy. A status that is not expected is an error; the body of an answer
    /// with one that is has not been read.
    pub(crate) async fn send_expecting(
        self,
        is_expected: impl Fn(StatusCode) -> bool + Send,
    ) -> Result<Response, HttpError> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            // Bodies are in memory, so that this always works.
            let Some(request) = self.request.try_clone() else {
                break;
            };
            let response = request.send().await;
            let response = response.map_err(|source| HttpError::not_answered(&self.name, source))?;
            let status = response.status();
            if is_expected(status) {
                return Ok(response);
            }
            let asked_to_wait = retry_after(response.headers()).unwrap_or(pause);
            let not_now = matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            );
            if !not_now || attempt == ATTEMPTS || asked_to_wait > LONGEST_PAUSE {
                return Err(HttpError::refused(self.name, response).await);
            }
            // Not which call: in a change file's, the values of placeholders are not hidden here.
            tracing::debug!(%status, attempt, wait = ?asked_to_wait, "the API is busy");
            tokio::time::sleep(asked_to_wait).await;
            pause *= 2;
        }
        Err(HttpError::Invalid(format!("{} cannot be sent", self.name)))
    }
}

/// As much of a body as wanted, and whether that is all of it.
async fn beginning(mut response: Response, longest: usize) -> Result<(Vec<u8>, bool), reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > longest {
            body.truncate(longest);
            return Ok((body, false));
        }
    }
    Ok((body, true))
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

    #[cfg(any(feature = "rest", feature = "templates"))]
    #[test]
    fn paths_stay_below_the_address() {
        for base in ["http://h/api", "http://h/api/"] {
            let api = Api::bare(base).expect("an address");
            let url = |path| {
                let call = api.call(Method::GET, path).ok()?;
                Some(call.request.build().expect("a request").url().to_string())
            };
            for (path, expected) in [
                ("/flags", "http://h/api/flags"),
                ("flags", "http://h/api/flags"),
                ("/a b?c=d", "http://h/api/a%20b?c=d"),
                ("//evil/x", "http://h/api//evil/x"),
                ("/é#x", "http://h/api/%C3%A9%23x"),
            ] {
                assert_eq!(url(path).as_deref(), Some(expected));
            }
            for path in [
                "/../x",
                "/a/%2e%2E/x",
                "/./x",
                "/\\..\\x",
                // The parser of addresses leaves these out.
                "/.\t./x",
                "/.\n./x",
                "http://other.org/a",
                "https://h/",
            ] {
                assert_eq!(url(path), None, "{path}");
            }
        }
        for base in ["ftp://h", "h", "http://h?x", "http://h#x", "http://u:p@h"] {
            assert!(Api::bare(base).is_err(), "{base}");
        }
    }

    #[cfg(any(feature = "rest", feature = "templates"))]
    #[test]
    fn credentials_are_encoded_and_not_shown() {
        let api = Api::bare("http://h").and_then(|api| api.basic("Aladdin", "open"));
        let api = api.expect("an address");
        let header = &api.headers[header::AUTHORIZATION];
        assert_eq!(header, "Basic QWxhZGRpbjpvcGVu");
        assert!(!format!("{api:?} {header:?}").contains("QWx"));
        let error = Api::bare("http://h").and_then(|api| api.header("x", "secret\n"));
        let error = error.expect_err("refused");
        assert!(!format!("{error:?} {error}").contains("secret"), "{error:?}");
        let error = Api::bare("http://user:secret@h").expect_err("refused");
        assert!(!format!("{error:?} {error}").contains("secret"), "{error:?}");
        let api = Api::new("http://user:secret@h/api?token=secret").expect("an address");
        let shown = format!("{api:?}");
        assert!(
            shown.contains("http://h/api") && !shown.contains("secret"),
            "{shown}"
        );
    }
}
