//! The one type that becomes an error answer.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flamingock_api_types::{ErrorCode, ProblemDetails};

use crate::app::Fault;

/// What to tell the caller. The outermost layer writes the body, because only it knows the request's id and which of the
/// two media types the path speaks; the cause goes to the log and nowhere else.
#[derive(Clone, Debug)]
pub struct Problem {
    pub code: ErrorCode,
    pub message: Cow<'static, str>,
    pub details: Vec<String>,
    pub retry_after: Option<Duration>,
    pub cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Problem {
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
            retry_after: None,
            cause: None,
        }
    }

    #[must_use]
    pub fn with_details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }

    pub fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::RequestMalformed, message)
    }

    /// Too much at once, of something that a caller may try again.
    pub fn busy(retry_after: Duration, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(ErrorCode::Unavailable, message)
        }
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The answer as it leaves: one body for the runner API's clients and for readers of RFC 9457.
    pub fn render(&self, request_id: &str, media_type: &'static str) -> Response {
        let details = ProblemDetails {
            code: self.code,
            message: self.message.clone().into_owned(),
            recoverable: self.code.recoverable(),
            details: self.details.clone(),
            type_: format!("urn:flamingock:error:{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: self.code.status(),
            instance: request_id.to_owned(),
        };
        let body = serde_json::to_vec(&details).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        if let Some(after) = self.retry_after {
            // Rounded up: "in 0 seconds" would invite a hot loop.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"flamingock\""),
            );
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let (code, message, retry_after) = match &fault {
            Fault::Busy(_) => (
                ErrorCode::Unavailable,
                "The server cannot reach its database, or is too busy. Nothing is known to have been written. Try again shortly.",
                Some(Duration::from_secs(1)),
            ),
            Fault::Broken(_) => (
                ErrorCode::Internal,
                "The server failed to do this. Quote the instance of this answer when you ask the operators for help.",
                None,
            ),
        };
        Self {
            retry_after,
            cause: Some(Arc::new(fault)),
            ..Self::new(code, message)
        }
    }
}
