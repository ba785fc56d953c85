//! Texts that people write, checked in one place and refused in the same words.

use flamingock_domain::ids::{ChangeId, Checksum};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use super::{Api, body};

const REASON_MAX_CHARS: usize = 2_000;
/// Longest name to look for: longer ones nobody has.
const FILTER_MAX_CHARS: usize = 300;
/// No request of this kind needs more.
const BODY_MAX_BYTES: usize = 1024 * 1024;

/// A reason that must be given.
pub fn reason(reason: &str) -> Result<&str, Problem> {
    let reason = reason.trim();
    if reason.is_empty() || reason.contains('\0') || reason.chars().count() > REASON_MAX_CHARS {
        return Err(Problem::malformed(format!(
            "The field `reason` must say why, in 1 to {REASON_MAX_CHARS} characters without NUL: it is kept for good."
        )));
    }
    Ok(reason)
}

/// A reason, where one may be given.
pub fn optional_reason(reason: Option<&str>) -> Result<Option<&str>, Problem> {
    let Some(reason) = reason.map(str::trim).filter(|reason| !reason.is_empty()) else {
        return Ok(None);
    };
    if reason.contains('\0') || reason.chars().count() > REASON_MAX_CHARS {
        return Err(Problem::malformed(format!(
            "The field `reason` may have up to {REASON_MAX_CHARS} characters without NUL: it is kept for good."
        )));
    }
    Ok(Some(reason))
}

pub fn change_id(text: &str) -> Result<ChangeId, Problem> {
    ChangeId::parse(text).map_err(|error| Problem::malformed(format!("The field `changeId` {error}.")))
}

/// The change that a list is about, where it is about one.
pub fn change_filter(text: Option<&str>) -> Result<Option<ChangeId>, Problem> {
    text.map(ChangeId::parse)
        .transpose()
        .map_err(|error| Problem::malformed(format!("The query parameter `changeId` {error}.")))
}

pub fn checksum(text: &str) -> Result<Checksum, Problem> {
    Checksum::parse(text).map_err(|error| Problem::malformed(format!("The field `checksum` {error}.")))
}

/// A text to look for. The database cannot compare with NUL.
pub fn filter(parameter: &str, text: Option<String>) -> Result<Option<String>, Problem> {
    match text {
        Some(text) if text.contains('\0') || text.chars().count() > FILTER_MAX_CHARS => {
            Err(Problem::malformed(format!(
                "The query parameter `{parameter}` may have up to {FILTER_MAX_CHARS} characters without NUL."
            )))
        }
        text => Ok(text),
    }
}

/// A JSON body of a person's request.
pub async fn body<T: DeserializeOwned>(
    api: &Api,
    headers: &http::HeaderMap,
    body: axum::body::Body,
) -> Result<T, Problem> {
    let bytes = body::read(body, api.settings.max_body_bytes.min(BODY_MAX_BYTES)).await?;
    body::parse(&body::decode(&bytes, headers)?.text)
}

/// As [`body`], where everything in it may be left out, and so may it.
pub async fn optional_body<T: DeserializeOwned + Default>(
    api: &Api,
    headers: &http::HeaderMap,
    body: axum::body::Body,
) -> Result<T, Problem> {
    let bytes = body::read(body, api.settings.max_body_bytes.min(BODY_MAX_BYTES)).await?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    body::parse(&body::decode(&bytes, headers)?.text)
}
