//! The one error of the [`Client`](crate::Client): opaque, with questions.

use std::{error::Error as StdError, fmt};

use flamingock_api_types::{ErrorCode, ProblemDetails};

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a call to the coordination server failed.
///
/// It says what was tried, how often, and what the server answered; ask it with the `is_…` methods. Its
/// [`source`](StdError::source) is the transport's own error, which `Display` does not repeat.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    operation: &'static str,
    attempts: u32,
    request_id: String,
    failure: Failure,
    /// After some attempt it was not known whether it took effect.
    in_doubt: bool,
}

/// What went wrong in one attempt.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request may not have left, or not have arrived.
    Connect(BoxError),
    TimedOut(BoxError),
    /// The connection broke on the way.
    Broken(BoxError),
    /// An answer that is not 2xx. The code is kept as text, because a newer server may have new ones.
    Refused {
        status: u16,
        code: Option<String>,
        problem: Option<Box<ProblemDetails>>,
        retry_after: Option<std::time::Duration>,
    },
    /// A 2xx answer that cannot be read.
    Unreadable(BoxError),
    /// The request could not be formed.
    Malformed(BoxError),
}

impl Error {
    pub(crate) fn new(operation: &'static str, attempts: u32, request_id: String, failure: Failure) -> Self {
        Self {
            inner: Box::new(Inner {
                operation,
                attempts,
                request_id,
                failure,
                in_doubt: false,
            }),
        }
    }

    /// Notes what any of the attempts left open, which the last one's failure does not tell.
    pub(crate) fn after_doubt(mut self, in_doubt: bool) -> Self {
        self.inner.in_doubt = in_doubt;
        self
    }

    /// Some attempt may have taken effect without our knowing.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.inner.in_doubt
    }

    /// How often the request was sent.
    pub fn attempts(&self) -> u32 {
        self.inner.attempts
    }

    /// Names the last attempt in the server's log.
    pub fn request_id(&self) -> &str {
        &self.inner.request_id
    }

    /// HTTP status, where there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self.inner.failure {
            Failure::Refused { status, .. } => Some(status),
            _ => None,
        }
    }

    /// The server's code, [`ErrorCode::Unknown`] for one that this version does not know.
    pub fn code(&self) -> Option<ErrorCode> {
        match &self.inner.failure {
            Failure::Refused { code: Some(code), .. } => Some(known_code(code)),
            _ => None,
        }
    }

    /// The server's explanation, where it gave one.
    pub fn problem(&self) -> Option<&ProblemDetails> {
        match &self.inner.failure {
            Failure::Refused { problem, .. } => problem.as_deref(),
            _ => None,
        }
    }

    /// No answer came: not reachable, too slow, or cut off. The request may have taken effect all the same.
    pub fn is_unanswered(&self) -> bool {
        matches!(
            self.inner.failure,
            Failure::Connect(_) | Failure::TimedOut(_) | Failure::Broken(_)
        )
    }

    /// The server could not be asked: no answer came, or only a gateway's or an overloaded server's (502, 503, 504).
    pub fn is_unreachable(&self) -> bool {
        self.is_unanswered() || matches!(self.status(), Some(502..=504))
    }

    /// No connection could be made.
    pub fn is_connect(&self) -> bool {
        matches!(self.inner.failure, Failure::Connect(_))
    }

    /// The time for the request was over.
    pub fn is_timeout(&self) -> bool {
        matches!(self.inner.failure, Failure::TimedOut(_))
    }

    /// The lock is another runner's, or nobody's: what the caller holds is lost.
    pub fn is_lock_held(&self) -> bool {
        matches!(
            self.code(),
            Some(ErrorCode::LockHeldByOther | ErrorCode::LockNotHeld)
        )
    }

    /// The credential was not accepted or does not reach this far.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self.status(), Some(401 | 403))
    }

    /// The server refused to have the change started.
    pub fn is_start_refused(&self) -> bool {
        self.code() == Some(ErrorCode::StartRefused)
    }

    /// The verdict of a probe does not count: another has written about the change since, or the lock is lost.
    pub fn is_probe_refused(&self) -> bool {
        self.code() == Some(ErrorCode::ProbeRefused)
    }

    /// The server wants the whole pipeline instead of its digest.
    pub fn is_digest_unknown(&self) -> bool {
        self.code() == Some(ErrorCode::DigestUnknown)
    }

    /// The answer could not be understood: probably not a coordination server, or one of another generation.
    pub fn is_unreadable(&self) -> bool {
        matches!(self.inner.failure, Failure::Unreadable(_))
    }

    /// The same request may succeed later, unchanged.
    pub fn is_retryable(&self) -> bool {
        self.inner.failure.is_transient() || self.problem().is_some_and(|problem| problem.recoverable)
    }
}

impl Failure {
    /// Worth another attempt of a call that is safe to repeat.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Connect(_) | Self::TimedOut(_) | Self::Broken(_) => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 502..=504),
            Self::Unreadable(_) | Self::Malformed(_) => false,
        }
    }

    /// The request may have arrived and taken effect, and nobody said so. Gateways answer 502 and 504 for a server that
    /// they heard nothing from.
    pub(crate) fn leaves_doubt(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::Broken(_) => true,
            Self::Refused { status, .. } => matches!(status, 502 | 504),
            Self::Connect(_) | Self::Unreadable(_) | Self::Malformed(_) => false,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<std::time::Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub(crate) fn is_session_expired(&self) -> bool {
        matches!(self, Self::Refused { status: 401, code: Some(code), .. } if known_code(code) == ErrorCode::SessionExpired)
    }
}

fn known_code(text: &str) -> ErrorCode {
    ErrorCode::ALL
        .iter()
        .copied()
        .find(|code| code.as_str() == text)
        .unwrap_or(ErrorCode::Unknown)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            operation,
            attempts,
            failure,
            ..
        } = &*self.inner;
        write!(f, "{operation}: {failure}")?;
        if *attempts > 1 {
            write!(f, " ({attempts} attempts)")?;
        }
        Ok(())
    }
}

/// What went wrong, without which call it was.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(_) => f.write_str("the coordination server cannot be reached"),
            Self::TimedOut(_) => f.write_str("the coordination server did not answer in time"),
            Self::Broken(_) => f.write_str("the connection to the coordination server broke"),
            Self::Unreadable(_) => f.write_str("the answer cannot be read"),
            Self::Malformed(_) => f.write_str("the request cannot be formed"),
            Self::Refused {
                status,
                code,
                problem,
                ..
            } => {
                write!(f, "refused with status {status}")?;
                if let Some(code) = code {
                    write!(f, " {code}")?;
                }
                if let Some(problem) = problem {
                    write!(f, ": {}", problem.message)?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("operation", &self.inner.operation)
            .field("attempts", &self.inner.attempts)
            .field("request_id", &self.inner.request_id)
            .field("failure", &self.inner.failure)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.inner.failure {
            Failure::Connect(source)
            | Failure::TimedOut(source)
            | Failure::Broken(source)
            | Failure::Unreadable(source)
            | Failure::Malformed(source) => Some(&**source),
            Failure::Refused { .. } => None,
        }
    }
}
