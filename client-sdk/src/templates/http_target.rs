//! An HTTP API as a target system.

use std::{borrow::Cow, fmt, time::Duration};

use reqwest::{
    Client, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
    redirect,
};

use crate::target::{Target, TargetError};

const TIMEOUT: Duration = Duration::from_secs(30);

/// An HTTP API, for change files with `http-template`. It has no transactions.
///
/// ```
/// use flamingock::templates::HttpTarget;
///
/// # fn main() -> Result<(), flamingock::TargetError> {
/// let flags = HttpTarget::new("flags", "https://flags.example.com/api")?.bearer("…")?;
/// # drop(flags);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct HttpTarget {
    id: Cow<'static, str>,
    client: HttpClient,
}

/// What requests of [`HttpTemplate`](super::HttpTemplate) go through; changes in code take it as
/// `TargetClient<HttpClient>`.
#[derive(Clone)]
pub struct HttpClient {
    pub(super) client: Client,
    base: Url,
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
}

impl HttpTarget {
    /// An API by its address. Paths of requests are put behind the address's own path. Redirects are not followed: they
    /// are an unexpected answer.
    pub fn new(id: impl Into<Cow<'static, str>>, base: &str) -> Result<Self, TargetError> {
        let url = Url::parse(base).map_err(|error| refused(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused("it is neither `http` nor `https`"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refused("it has a query or a fragment"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("it has credentials: use `basic`, `bearer` or `header`"));
        }
        let client = Client::builder().redirect(redirect::Policy::none()).build();
        Ok(Self {
            id: id.into(),
            client: HttpClient {
                client: client.map_err(|error| TargetError::new("making an HTTP client", error))?,
                base: url,
                headers: HeaderMap::new(),
                timeout: TIMEOUT,
            },
        })
    }

    /// Sends `Authorization: Bearer …` with every request.
    pub fn bearer(self, token: &str) -> Result<Self, TargetError> {
        self.header(AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    /// Sends the user's name and password with every request.
    pub fn basic(self, user: &str, password: &str) -> Result<Self, TargetError> {
        let credentials = base64(format!("{user}:{password}").as_bytes());
        self.header(AUTHORIZATION.as_str(), &format!("Basic {credentials}"))
    }

    /// Sends a header with every request. Its value is treated as a secret.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, TargetError> {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| refused(error.to_string()))?;
        // The error does not show the value.
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            refused(format!(
                "the value of header `{name}` has characters that no header can have"
            ))
        })?;
        value.set_sensitive(true);
        self.client.headers.insert(name, value);
        Ok(self)
    }

    /// Time for a request and its answer, unless the change file says otherwise. Default: 30 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.client.timeout = timeout;
        self
    }
}

impl HttpClient {
    /// The address of a path, which begins with a slash.
    pub(super) fn url(&self, path: &str) -> Result<Url, url::Refused> {
        let (path, query) = path
            .split_once('?')
            .map_or((path, None), |(path, query)| (path, Some(query)));
        // A path with `..` would leave what the target stands for.
        let steps_up = |segment: &str| {
            let segment = segment.replace("%2e", ".").replace("%2E", ".");
            segment == "." || segment == ".."
        };
        if path.split(['/', '\\']).any(steps_up) {
            return Err(url::Refused);
        }
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url.set_query(query);
        Ok(url)
    }
}

/// The one way in which an address can be wrong.
pub(super) mod url {
    #[derive(Debug, thiserror::Error)]
    #[error("a path cannot have the segments `.` and `..`")]
    pub(in super::super) struct Refused;
}

impl From<HttpTarget> for Target {
    fn from(target: HttpTarget) -> Self {
        Self::non_transactional(target.id, target.client)
    }
}

/// Without headers: they are credentials.
impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient")
            .field("base", &self.base.as_str())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

fn refused(why: impl Into<String>) -> TargetError {
    TargetError::new("reading what an HTTP target is", why.into())
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * position) & 63) as usize];
            text.push(if position <= chunk.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_address() {
        for base in ["http://h/api", "http://h/api/"] {
            let client = HttpTarget::new("t", base).expect("an address").client;
            for (path, url) in [
                ("/flags", "http://h/api/flags"),
                ("/a b?c=d", "http://h/api/a%20b?c=d"),
                ("//evil/x", "http://h/api//evil/x"),
                ("/é#x", "http://h/api/%C3%A9%23x"),
            ] {
                assert_eq!(client.url(path).expect("fits").as_str(), url);
            }
            for path in ["/../x", "/a/%2e%2E/x", "/./x", "/\\..\\x"] {
                assert!(client.url(path).is_err(), "{path}");
            }
        }
        for base in ["ftp://h", "h", "http://h?x", "http://u:p@h"] {
            assert!(HttpTarget::new("t", base).is_err(), "{base}");
        }
    }

    #[test]
    fn credentials_are_encoded_and_not_shown() {
        for (text, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("Aladdin:open", "QWxhZGRpbjpvcGVu"),
        ] {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
        let target = HttpTarget::new("t", "http://h").and_then(|target| target.basic("u", "secret"));
        assert!(!format!("{target:?}").contains("Basic"));
        let error = HttpTarget::new("t", "http://h")
            .and_then(|target| target.bearer("secret\n"))
            .expect_err("refused");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
}
