//! `http-template`: requests to an HTTP API.

use std::{collections::BTreeMap, time::Duration};

use flamingock_api_types::digest::PREFIX;
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde::Deserialize;

use super::{Payload, Steps, Template, checksum};
use crate::{
    change::{ChangeError, ChangeFuture, ProbeFuture, Probed},
    context::{Context, Requirement},
    target::http::{Api, Call},
};

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/// Those that a probe may use.
const LOOKING: [&str; 2] = ["GET", "HEAD"];
/// Sends requests to an [`HttpTarget`](crate::HttpTarget). In change files it is `http-template`.
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
/// probe:
///   path: /flags/checkout-v2
///   applied: 200
///   notApplied: 404
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
    pub expect: Codes,
}

/// A request that tells whether the change took effect, by the status of its answer. One that is neither expected here nor
/// there leaves that to a person.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpProbe {
    /// `GET`, the default, or `HEAD`: it only looks.
    #[serde(default = "get")]
    pub method: String,
    /// As that of a [request](HttpRequest).
    pub path: String,
    /// As that of a request.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// As those of a request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Status codes that mean that all of it is in effect.
    pub applied: Codes,
    /// Status codes that mean that nothing of it is.
    pub not_applied: Codes,
}

fn get() -> String {
    "GET".to_owned()
}

/// What is sent: any YAML value.
pub type HttpBody = serde_json::Value;

/// One status code or several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a status code, such as 204, or a list of them"
)]
pub enum Codes {
    /// Whatever HTTP calls successful.
    #[default]
    Success,
    /// Exactly this one.
    One(u16),
    /// One of these.
    Several(Vec<u16>),
}

impl Codes {
    fn has(&self, status: StatusCode) -> bool {
        match self.named() {
            None => status.is_success(),
            Some(codes) => codes.contains(&status.as_u16()),
        }
    }

    /// `None` if that is all of 200 to 299.
    fn named(&self) -> Option<&[u16]> {
        match self {
            Self::Success => None,
            Self::One(code) => Some(std::slice::from_ref(code)),
            Self::Several(codes) => Some(codes),
        }
    }

    fn faults(&self, field: &str) -> Option<String> {
        let codes = self.named()?;
        let sound = !codes.is_empty() && codes.iter().all(|code| (200..600).contains(code));
        (!sound).then(|| format!("`{field}` has status codes from 200 to 599"))
    }
}

impl HttpProbe {
    fn request(&self) -> HttpRequest {
        HttpRequest {
            method: self.method.clone(),
            path: self.path.clone(),
            query: self.query.clone(),
            headers: self.headers.clone(),
            body: None,
            expect: Codes::Success,
        }
    }
}

impl Payload for HttpProbe {
    fn validate(&self) -> Result<(), Vec<String>> {
        let mut faults = self.request().validate().err().unwrap_or_default();
        if METHODS.contains(&self.method.as_str()) && !LOOKING.contains(&self.method.as_str()) {
            let text = format!(
                "`{}` does more than look: a probe uses {}",
                self.method,
                LOOKING.join(" or ")
            );
            faults.push(text);
        }
        for (field, codes) in [("applied", &self.applied), ("notApplied", &self.not_applied)] {
            if *codes == Codes::Success {
                faults.push(format!(
                    "`{field}` names its status codes, such as 200 or [404, 410]"
                ));
            }
            faults.extend(codes.faults(field));
        }
        let both = self.applied.named().unwrap_or_default();
        if let Some(code) = both
            .iter()
            .find(|code| self.not_applied.named().is_some_and(|codes| codes.contains(code)))
        {
            faults.push(format!("{code} cannot mean both, `applied` and `notApplied`"));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
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
        faults.extend(self.expect.faults("expect"));
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
    type Probe = HttpProbe;

    fn validate_configuration(configuration: &HttpConfiguration) -> Result<(), Vec<String>> {
        let mut faults: Vec<_> = header_faults(&configuration.headers);
        if configuration.timeout_seconds == Some(0) {
            faults.push("`timeoutSeconds` is at least 1".to_owned());
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn requirements(&self, _transactional: bool) -> Vec<Requirement> {
        vec![Requirement::client::<Api>()]
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

    fn probe<'a>(
        &'a self,
        probe: &'a HttpProbe,
        configuration: &'a HttpConfiguration,
        context: &'a mut Context,
    ) -> ProbeFuture<'a> {
        Box::pin(async move {
            let call = call(&probe.request(), configuration, context, "probe")?;
            let knows = |status| probe.applied.has(status) || probe.not_applied.has(status);
            // Any other is an error, which says what the answer was, and leaves the doubt.
            let status = call.send_expecting(knows).await?.status();
            Ok(if probe.applied.has(status) {
                Probed::Applied
            } else {
                Probed::NotApplied
            })
        })
    }
}

async fn send(
    request: &HttpRequest,
    configuration: &HttpConfiguration,
    context: &mut Context,
    direction: &str,
) -> Result<(), ChangeError> {
    let call = call(request, configuration, context, direction)?;
    call.send_expecting(|status| request.expect.has(status)).await?;
    Ok(())
}

fn call(
    request: &HttpRequest,
    configuration: &HttpConfiguration,
    context: &Context,
    direction: &str,
) -> Result<Call, ChangeError> {
    let api = context.client::<Api>()?;
    // Named as the file has it: in an address the value of a placeholder would be written in a way that is not recognised.
    let mut call = api
        .call(Method::from_bytes(request.method.as_bytes())?, &request.path)?
        .named(format!("{} {}", request.method, request.path));
    for (name, value) in &request.query {
        call = call.query(name, value);
    }
    let mut headers = HeaderMap::new();
    if let Some(key) = key(request, configuration.idempotency_key, context, direction) {
        headers.insert("idempotency-key", HeaderValue::from_str(&key)?);
    }
    for (name, value) in configuration.headers.iter().chain(&request.headers) {
        let (name, value) = header(name, value)?;
        headers.insert(name, value);
    }
    if let Some(body) = &request.body {
        let (text, kind) = match body {
            HttpBody::String(text) => (text.clone(), "text/plain; charset=utf-8"),
            value => (value.to_string(), "application/json"),
        };
        if !headers.contains_key(CONTENT_TYPE) && !api.headers().contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        call = call.body(text);
    }
    if let Some(seconds) = configuration.timeout_seconds {
        call = call.timeout(Duration::from_secs(seconds.into()));
    }
    Ok(call.headers(headers))
}

/// A digest, for an id can have characters that no header can. The step is part of it: two steps of a change are two
/// requests.
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
            (Codes::Success, 204, true),
            (Codes::Success, 304, false),
            (Codes::One(404), 404, true),
            (Codes::One(404), 200, false),
            (Codes::Several(vec![201, 409]), 409, true),
            (Codes::Several(vec![201, 409]), 200, false),
        ] {
            let code = StatusCode::from_u16(status).expect("a status");
            assert_eq!(expected.has(code), has, "{expected:?} {status}");
        }
    }

    #[test]
    fn a_probe_looks_and_says_which_answers_are_certain() {
        let faults = |yaml: &str| {
            let probe: HttpProbe = yaml_serde::from_str(yaml).expect(yaml);
            probe.validate().err().unwrap_or_default()
        };
        for (yaml, why) in [
            (
                "{method: POST, path: /a, applied: 200, notApplied: 404}",
                "`POST` does more than look: a probe uses GET or HEAD",
            ),
            (
                "{path: a, applied: 200, notApplied: 404}",
                "`path` begins with `/`",
            ),
            (
                "{path: /a, applied: [200, 404], notApplied: [410, 404]}",
                "404 cannot mean both",
            ),
            (
                "{path: /a, applied: [], notApplied: 404}",
                "`applied` has status codes",
            ),
            (
                "{path: /a, applied: 200, notApplied: 42}",
                "`notApplied` has status codes",
            ),
            (
                "{path: /a, applied: null, notApplied: 404}",
                "`applied` names its status codes",
            ),
        ] {
            assert!(
                faults(yaml).iter().any(|fault| fault.contains(why)),
                "{yaml}: {:?}",
                faults(yaml)
            );
        }
        assert_eq!(
            faults("{path: /a, applied: 200, notApplied: [404, 410]}"),
            Vec::<String>::new()
        );
        let incomplete = yaml_serde::from_str::<HttpProbe>("{path: /a, applied: 200}");
        let error = incomplete.expect_err("incomplete").to_string();
        assert!(error.contains("notApplied"), "{error}");
    }
}
