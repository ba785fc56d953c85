//! Any HTTP API, for changes in code and for change files.

use std::{borrow::Cow, time::Duration};

use super::{
    Target,
    http::{Api, HttpError},
};

/// An HTTP API. It has no transactions.
///
/// Changes in code take `Rest` (with the feature `rest`), change files use `http-template` (with the feature `templates`);
/// both may be on one target. Requests that are answered with 429 or 503 are repeated a few times, as the API says when.
/// Redirects are not followed: they are an unexpected answer.
///
/// ```
/// use flamingock::{HttpError, HttpTarget};
///
/// # fn main() -> Result<(), HttpError> {
/// let flags = HttpTarget::new("flags", "https://flags.example.com/api")?.bearer("…")?;
/// # drop(flags);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct HttpTarget {
    id: Cow<'static, str>,
    pub(super) api: Api,
}

impl HttpTarget {
    /// An API by its address, to which the paths of requests are added. The address has no query and no credentials.
    pub fn new(id: impl Into<Cow<'static, str>>, address: &str) -> Result<Self, HttpError> {
        Ok(Self {
            id: id.into(),
            api: Api::bare(address)?,
        })
    }

    /// Sends `Authorization: Bearer …` with every request.
    pub fn bearer(mut self, token: &str) -> Result<Self, HttpError> {
        self.api = self.api.bearer(token)?;
        Ok(self)
    }

    /// Sends the user's name and password with every request.
    pub fn basic(mut self, user: &str, password: &str) -> Result<Self, HttpError> {
        self.api = self.api.basic(user, password)?;
        Ok(self)
    }

    /// A header of every request. It is taken for a secret and never printed.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, HttpError> {
        self.api = self.api.header(name, value)?;
        Ok(self)
    }

    /// Time for a request and its answer, unless the change file says otherwise. Default: 60 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.api = self.api.timeout(timeout);
        self
    }
}

impl From<HttpTarget> for Target {
    fn from(target: HttpTarget) -> Self {
        Self::non_transactional(target.id, target.api)
    }
}
