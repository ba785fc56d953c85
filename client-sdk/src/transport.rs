//! HTTP, all of it: one attempt of one request.

use std::{borrow::Cow, time::Duration};

use flamingock_api_types::{ProblemDetails, headers};
use reqwest::{Method, StatusCode, header, redirect};
use serde::de::DeserializeOwned;

use crate::{causes, error::Failure};

const CONTENT_TYPE: &str = "application/json; charset=utf-8";
const USER_AGENT: &str = concat!("flamingock-rust/", env!("CARGO_PKG_VERSION"));

#[derive(Clone, Debug)]
pub(crate) struct Transport {
    http: reqwest::Client,
    /// Without a slash at the end.
    base: String,
}

/// One request, ready to be sent as often as needed.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    /// Percent-encoded, from `/api` on.
    pub(crate) path: &'a str,
    pub(crate) query: &'a [(&'static str, String)],
    pub(crate) headers: &'a [(&'static str, String)],
    pub(crate) bearer: Option<&'a str>,
    pub(crate) body: Option<&'a [u8]>,
    pub(crate) timeout: Duration,
}

impl Transport {
    pub(crate) fn new(base: &str, connect_timeout: Duration) -> Result<Self, String> {
        let shown = without_credentials(base);
        let url = reqwest::Url::parse(base).map_err(|error| format!("`{shown}` is not a URL: {error}"))?;
        // They would be sent with every request and end up in logs.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!(
                "`{shown}` must not carry a user name or password; the API token is given by `.token(…)`"
            ));
        }
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(format!(
                "`{shown}` must begin with http:// or https:// and name a host"
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("`{shown}` must not have a query or a fragment"));
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(connect_timeout)
            .redirect(redirect::Policy::none())
            .user_agent(USER_AGENT);
        // Reading the system's certificates takes longer than the rest of a start that has nothing to do.
        if url.scheme() == "http" && !is_proxied() {
            builder = builder.tls_certs_only([]);
        }
        let http = builder
            .build()
            .map_err(|error| format!("the HTTP client cannot be made: {}", causes::one_line(&error)))?;
        Ok(Self {
            http,
            base: url.as_str().trim_end_matches('/').to_owned(),
        })
    }

    /// Sends the request once. `None` for an answer without a body.
    pub(crate) async fn send<R: DeserializeOwned>(
        &self,
        request: &Request<'_>,
        request_id: &str,
    ) -> Result<Option<R>, Failure> {
        let outgoing = self
            .outgoing(request, request_id, "application/json")
            .timeout(request.timeout);
        let answer = accepted(outgoing.send().await.map_err(classify)?).await?;
        let body = answer.bytes().await.map_err(classify)?;
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        serde_json::from_slice(&body)
            .map(Some)
            .map_err(|error| Failure::Unreadable(error.into()))
    }

    /// Sends the request once, for an answer that is read as it comes. The request's time is for the answer to begin, and
    /// then for each of its pieces.
    #[cfg(feature = "admin")]
    pub(crate) async fn open(
        &self,
        request: &Request<'_>,
        request_id: &str,
        accept: &'static str,
    ) -> Result<Incoming, Failure> {
        let begun = async {
            let outgoing = self.outgoing(request, request_id, accept);
            accepted(outgoing.send().await.map_err(classify)?).await
        };
        let answer = tokio::time::timeout(request.timeout, begun)
            .await
            .map_err(|elapsed| Failure::TimedOut(elapsed.into()))??;
        Ok(Incoming {
            answer,
            longest_silence: request.timeout,
        })
    }

    fn outgoing(
        &self,
        request: &Request<'_>,
        request_id: &str,
        accept: &'static str,
    ) -> reqwest::RequestBuilder {
        let url = format!("{}{}", self.base, request.path);
        let mut outgoing = self
            .http
            .request(request.method.clone(), url)
            .header(header::ACCEPT, accept)
            .header(headers::REQUEST_ID, request_id);
        if !request.query.is_empty() {
            outgoing = outgoing.query(request.query);
        }
        for (name, value) in request.headers {
            outgoing = outgoing.header(*name, value);
        }
        if let Some(bearer) = request.bearer {
            outgoing = outgoing.bearer_auth(bearer);
        }
        if let Some(body) = request.body {
            outgoing = outgoing
                .header(header::CONTENT_TYPE, CONTENT_TYPE)
                .body(body.to_vec());
        }
        outgoing
    }
}

/// A proxy may be spoken to by TLS, whatever is behind it.
fn is_proxied() -> bool {
    ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// The answer, if it is 2xx.
async fn accepted(answer: reqwest::Response) -> Result<reqwest::Response, Failure> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let retry_after = answer
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| parse_retry_after(value.to_str().ok()?));
    let body = answer.bytes().await.map_err(classify)?;
    Err(refusal(status, &body, retry_after))
}

/// An answer that is read as it comes.
#[cfg(feature = "admin")]
pub(crate) struct Incoming {
    answer: reqwest::Response,
    longest_silence: Duration,
}

#[cfg(feature = "admin")]
impl Incoming {
    /// The next piece; `None` at the end.
    pub(crate) async fn piece(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        match tokio::time::timeout(self.longest_silence, self.answer.chunk()).await {
            Ok(Ok(piece)) => Ok(piece.map(|bytes| bytes.to_vec())),
            Ok(Err(error)) => Err(classify(error)),
            Err(elapsed) => Err(Failure::TimedOut(elapsed.into())),
        }
    }
}

/// An address as it may be shown. It need not be a URL, so that whatever was given can be named in an error.
pub(crate) fn without_credentials(address: &str) -> Cow<'_, str> {
    match address.rsplit_once('@') {
        Some((_, rest)) => Cow::Owned(format!("[redacted]@{rest}")),
        None => Cow::Borrowed(address),
    }
}

fn classify(error: reqwest::Error) -> Failure {
    if error.is_builder() {
        Failure::Malformed(error.into())
    } else if error.is_connect() {
        Failure::Connect(error.into())
    } else if error.is_timeout() {
        Failure::TimedOut(error.into())
    } else {
        Failure::Broken(error.into())
    }
}

fn refusal(status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> Failure {
    // An intermediary answers with a page of its own; then the status has to do.
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let code = json
        .as_ref()
        .and_then(|json| json.get("code")?.as_str().map(str::to_owned));
    let problem = json.and_then(|json| serde_json::from_value::<ProblemDetails>(json).ok());
    Failure::Refused {
        status: status.as_u16(),
        code,
        problem: problem.map(Box::new),
        retry_after,
    }
}

/// Seconds, or a date.
fn parse_retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(value).ok()?;
    Some((date.to_utc() - chrono::Utc::now()).to_std().unwrap_or_default())
}

/// One path segment. Everything but the unreserved characters of RFC 3986 is encoded, `/` too, so that an id is one
/// segment and the server gets back exactly what was put in.
pub(crate) fn segment(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut encoded, byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                write!(encoded, "%{byte:02X}").expect("writing to a string does not fail");
            }
            encoded
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_odd_character_of_an_id_is_encoded() {
        assert_eq!(segment("create-orders_1.2~"), "create-orders_1.2~");
        assert_eq!(segment("a/b c%20é+?#"), "a%2Fb%20c%2520%C3%A9%2B%3F%23");
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        assert_eq!(parse_retry_after(" 7 "), Some(Duration::from_secs(7)));
        let soon = (chrono::Utc::now() + chrono::TimeDelta::seconds(90))
            .format("%a, %d %b %Y %H:%M:%S GMT")
            .to_string();
        assert!(parse_retry_after(&soon).is_some_and(|wait| wait > Duration::from_secs(80)));
        assert_eq!(
            parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::ZERO)
        );
        assert_eq!(parse_retry_after("soon"), None);
    }

    #[test]
    fn a_base_url_is_checked_and_may_have_a_path() {
        let base = |url| Transport::new(url, Duration::from_secs(1)).map(|transport| transport.base);
        assert_eq!(
            base("http://localhost:8080/").as_deref(),
            Ok("http://localhost:8080")
        );
        assert_eq!(
            base("https://host/flamingock/").as_deref(),
            Ok("https://host/flamingock")
        );
        assert!(base("localhost:8080").is_err());
        assert!(base("http://host/?a=b").is_err());
        assert!(base("").is_err());
    }

    #[test]
    fn an_address_with_credentials_is_refused_and_not_repeated() {
        for address in [
            "http://mara:geheim@host",
            "http://geheim@host/",
            "ftp://mara:geheim@host",
            "http://mara:ge/heim@host",
            "http://mara:geheim@",
        ] {
            let Err(complaint) = Transport::new(address, Duration::from_secs(1)) else {
                panic!("{address} was accepted")
            };
            assert!(!complaint.contains("heim"), "{complaint}");
        }
    }
}
