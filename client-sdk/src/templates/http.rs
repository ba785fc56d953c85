//! `http-template`: requests to an HTTP API.

use std::{collections::BTreeMap, time::Duration};

use flamingock_api_types::digest::PREFIX;
use reqwest::{
    Method, Response,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::Deserialize;

use super::{HttpClient, Payload, Steps, Template, checksum};
use crate::{
    change::{ChangeError, ChangeFuture},
    context::{Context, Requirement},
};

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/// How much of an unexpected answer goes into the error.
const SHOWN: usize = 2_000;

/// Sends requests to an [`HttpTarget`](super::HttpTarget). In change files it is `http-template`.
///
/// ```yaml
/// id: flag-checkout
/// template: http-template
/// targetSystem: flags
/// apply:
///   method: POST
///   path: /flags
///   body: { name: checkout-v2, enabled: false }
///   expect: [201, 409]
/// rollback:
///   method: DELETE
///   path: /flags/checkout-v2
///   expect: [204, 404]
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpTemplate;

/// The `configuration` of `http-template`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HttpConfiguration {
    /// Time for each request and its answer. Default: the target's.
    pub timeout_seconds: Option<u32>,
    /// Headers of all requests.
    pub headers: BTreeMap<String, String>,
    /// By what the API knows a request that it may be sent again.
    pub idempotency_key: IdempotencyKey,
}

/// What the header `Idempotency-Key` is made of. An API that knows it carries out one of the requests with the same key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdempotencyKey {
    /// Of the change, the step and the direction, so that an attempt after a crash repeats the same request. Not for an
    /// API that keeps its keys longer than the effect: what was rolled back would not be applied again.
    #[default]
    Change,
    /// Of the attempt as well: another key with each.
    Attempt,
    /// It is not sent.
    None,
}

/// One request, and which answers mean that it worked.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRequest {
    /// `GET`, `HEAD`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// Begins with a slash, and follows the target's address. It may have a query.
    pub path: String,
    /// Parameters for the query, which are encoded as needed.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Headers, over those of the configuration and the target.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A text is sent as it is, anything else as JSON.
    #[serde(default)]
    pub body: Option<HttpBody>,
    /// Status codes that mean success. Default: all from 200 to 299.
    #[serde(default)]
    pub expect: Expected,
}

/// What is sent: any YAML value.
pub type HttpBody = serde_json::Value;

/// One status code or several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a status code, such as 204, or a list of them"
)]
pub enum Expected {
    /// Whatever HTTP calls successful.
    #[default]
    Success,
    /// Exactly this one.
    One(u16),
    /// One of these.
    Several(Vec<u16>),
}

impl Expected {
    fn has(&self, status: u16) -> bool {
        match self {
            Self::Success => (200..300).contains(&status),
            Self::One(expected) => *expected == status,
            Self::Several(expected) => expected.contains(&status),
        }
    }

    fn faults(&self) -> Option<&'static str> {
        let codes = match self {
            Self::Success => return None,
            Self::One(code) => std::slice::from_ref(code),
            Self::Several(codes) => codes,
        };
        let sound = !codes.is_empty() && codes.iter().all(|code| (200..600).contains(code));
        (!sound).then_some("`expect` has status codes from 200 to 599")
    }
}

impl Payload for HttpRequest {
    fn validate(&self) -> Result<(), Vec<String>> {
        let mut faults = Vec::new();
        if !METHODS.contains(&self.method.as_str()) {
            faults.push(format!("`{}` is no method: {}", self.method, METHODS.join(", ")));
        }
        if !self.path.starts_with('/') || self.path.chars().any(char::is_control) {
            faults.push("`path` begins with `/`".to_owned());
        }
        if self.path.contains('?') && !self.query.is_empty() {
            faults.push("`path` has a query already: write all of it as `query`".to_owned());
        }
        faults.extend(header_faults(&self.headers));
        faults.extend(self.expect.faults().map(str::to_owned));
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn supports_transactions(&self) -> Option<bool> {
        Some(false)
    }
}

impl Template for HttpTemplate {
    const NAME: &'static str = "http-template";
    const STEPS: Steps = Steps::Either;
    const ROLLBACK_REQUIRED: bool = false;
    type Configuration = HttpConfiguration;
    type Apply = HttpRequest;
    type Rollback = HttpRequest;
    type Probe = super::NoProbe;

    fn validate_configuration(configuration: &HttpConfiguration) -> Result<(), Vec<String>> {
        let mut faults: Vec<_> = header_faults(&configuration.headers);
        if configuration.timeout_seconds == Some(0) {
            faults.push("`timeoutSeconds` is at least 1".to_owned());
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn requirements(&self, _transactional: bool) -> Vec<Requirement> {
        vec![Requirement::client::<HttpClient>()]
    }

    fn apply<'a>(
        &'a self,
        request: &'a HttpRequest,
        configuration: &'a HttpConfiguration,
        context: &'a mut Context,
    ) -> ChangeFuture<'a> {
        Box::pin(send(request, configuration, context, "apply"))
    }

    fn rollback<'a>(
        &'a self,
        request: &'a HttpRequest,
        configuration: &'a HttpConfiguration,
        context: &'a mut Context,
    ) -> ChangeFuture<'a> {
        Box::pin(send(request, configuration, context, "rollback"))
    }
}

async fn send(
    request: &HttpRequest,
    configuration: &HttpConfiguration,
    context: &mut Context,
    direction: &str,
) -> Result<(), ChangeError> {
    let target = context.client::<HttpClient>()?;
    let key = key(request, configuration.idempotency_key, context, direction);
    let mut url = target.url(&request.path)?;
    if !request.query.is_empty() {
        url.query_pairs_mut().extend_pairs(&request.query);
    }
    let method = Method::from_bytes(request.method.as_bytes())?;
    let mut headers = target.headers.clone();
    if let Some(key) = key {
        headers.insert("idempotency-key", HeaderValue::from_str(&key)?);
    }
    for (name, value) in configuration.headers.iter().chain(&request.headers) {
        let (name, value) = header(name, value)?;
        headers.insert(name, value);
    }
    let timeout = configuration
        .timeout_seconds
        .map_or(target.timeout, |seconds| Duration::from_secs(seconds.into()));
    let mut sent = target.client.request(method, url).timeout(timeout);
    match &request.body {
        None => {}
        Some(HttpBody::String(text)) => {
            if !headers.contains_key(CONTENT_TYPE) {
                headers.insert(
                    CONTENT_TYPE,
                    HeaderValue::from_static("text/plain; charset=utf-8"),
                );
            }
            sent = sent.body(text.clone());
        }
        Some(value) => {
            if !headers.contains_key(CONTENT_TYPE) {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            sent = sent.body(value.to_string());
        }
    }
    let what = format!("{} {}", request.method, request.path);
    let failed = |error: reqwest::Error| {
        // Its address has the query, which may have secrets.
        let error = RequestError {
            what: what.clone(),
            source: error.without_url(),
        };
        ChangeError::named(std::any::type_name::<reqwest::Error>(), Box::new(error))
    };
    let answer = sent.headers(headers).send().await.map_err(failed)?;
    let status = answer.status();
    if request.expect.has(status.as_u16()) {
        return Ok(());
    }
    let body = beginning(answer).await;
    let says = if body.is_empty() {
        String::new()
    } else {
        format!(": {body}")
    };
    Err(UnexpectedStatus(format!("{what} was answered with {status}{says}")).into())
}

#[derive(Debug, thiserror::Error)]
#[error("{what} failed")]
struct RequestError {
    what: String,
    source: reqwest::Error,
}

/// The API has answered, and not as the change file expects.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UnexpectedStatus(String);

/// A digest, for an id can have characters that no header can. The request is part of it: two steps of a change are two
/// requests, unless they are the same.
fn key(request: &HttpRequest, of: IdempotencyKey, context: &Context, direction: &str) -> Option<String> {
    if of == IdempotencyKey::None || matches!(request.method.as_str(), "GET" | "HEAD") {
        return None;
    }
    let scope = context.scope();
    let attempt = match of {
        IdempotencyKey::Attempt => Some(context.execution_id()),
        _ => None,
    };
    let facts = serde_json::json!([
        scope.environment_id,
        scope.service_id,
        context.change().id(),
        context.step(),
        direction,
        attempt
    ]);
    let digest = checksum::of(&facts.to_string());
    Some(digest.trim_start_matches(PREFIX).to_owned())
}

fn header_faults(headers: &BTreeMap<String, String>) -> Vec<String> {
    headers
        .iter()
        .filter_map(|(name, value)| header(name, value).err())
        .collect()
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let parsed = HeaderName::from_bytes(name.as_bytes());
    let name = parsed.map_err(|_| format!("`{name}` cannot be the name of a header"))?;
    match HeaderValue::from_str(value) {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(format!(
            "the value of header `{name}` has characters that no header can have"
        )),
    }
}

/// What the answer says, as far as it is worth showing.
async fn beginning(mut answer: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < SHOWN {
        match answer.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(yaml: &str) -> Vec<String> {
        let request: HttpRequest = yaml_serde::from_str(yaml).expect("a request");
        request.validate().err().unwrap_or_default()
    }

    #[test]
    fn requests_that_cannot_be_sent_are_refused() {
        for (yaml, why) in [
            ("{method: post, path: /a}", "`post` is no method: GET, HEAD, POST"),
            ("{method: GET, path: a}", "`path` begins with `/`"),
            (
                "{method: GET, path: '/a?b=c', query: {d: e}}",
                "`path` has a query already",
            ),
            (
                "{method: GET, path: /a, headers: {'a b': c}}",
                "`a b` cannot be the name",
            ),
            (
                "{method: GET, path: /a, headers: {a: \"b\\n\"}}",
                "the value of header `a`",
            ),
            ("{method: GET, path: /a, expect: 99}", "`expect` has status codes"),
            ("{method: GET, path: /a, expect: []}", "`expect` has status codes"),
        ] {
            assert!(
                faults(yaml).iter().any(|fault| fault.contains(why)),
                "{yaml}: {:?}",
                faults(yaml)
            );
        }
        assert_eq!(
            faults("{method: POST, path: /a, body: [1], expect: [201, 409]}"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn what_is_expected_is_one_or_several_or_success() {
        for (expected, status, has) in [
            (Expected::Success, 204, true),
            (Expected::Success, 304, false),
            (Expected::One(404), 404, true),
            (Expected::One(404), 200, false),
            (Expected::Several(vec![201, 409]), 409, true),
            (Expected::Several(vec![201, 409]), 200, false),
        ] {
            assert_eq!(expected.has(status), has, "{expected:?} {status}");
        }
    }
}
