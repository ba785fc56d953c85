//! Request bodies: read up to a limit, decoded as the contract has it, parsed with the field's name in the error.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use flamingock_api_types::ErrorCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// A body as text, and whether its sender said in which charset.
pub struct Text {
    pub text: String,
    pub charset_declared: bool,
}

/// Reads a whole body, or refuses one that is too large or does not arrive.
pub async fn read(body: Body, max_bytes: usize) -> Result<Bytes, Problem> {
    match Limited::new(body, max_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Problem::new(
            ErrorCode::BodyTooLarge,
            format!("The body is larger than {max_bytes} bytes, the most that this server reads."),
        )),
        Err(_) => Err(Problem::malformed("The body broke off before it was complete.")),
    }
}

/// The charset that the sender declares, if it does.
pub fn declared_charset(headers: &HeaderMap) -> Option<String> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    })
}

/// Charset parameter if given; else UTF-8 if valid; else ISO-8859-1, which is what the Java client sends (W §1.12).
pub fn decode(bytes: &[u8], headers: &HeaderMap) -> Result<Text, Problem> {
    let latin1 = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect::<String>();
    match declared_charset(headers).as_deref() {
        Some("utf-8" | "utf8" | "us-ascii") => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Text {
                text: text.to_owned(),
                charset_declared: true,
            }),
            Err(error) => Err(Problem::malformed(format!(
                "The body is declared as UTF-8 but is not: byte {} does not fit.",
                error.valid_up_to()
            ))),
        },
        Some("iso-8859-1" | "latin1" | "iso8859-1") => Ok(Text {
            text: latin1(bytes),
            charset_declared: true,
        }),
        Some(other) => Err(Problem::malformed(format!(
            "The body is declared as {other:?}. This server reads UTF-8 and ISO-8859-1."
        ))),
        None => Ok(Text {
            text: std::str::from_utf8(bytes).map_or_else(|_| latin1(bytes), str::to_owned),
            charset_declared: false,
        }),
    }
}

/// Parses JSON; the error names the field and says what was expected.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    if text.trim().is_empty() {
        return Err(Problem::malformed(
            "The body is empty; a JSON object is expected.",
        ));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        let message = match (inner.classify(), path.as_str()) {
            (serde_json::error::Category::Data, ".") => format!("The body does not fit: {inner}."),
            (serde_json::error::Category::Data, path) => format!("The field `{path}` does not fit: {inner}."),
            _ => format!("The body is not JSON: {inner}."),
        };
        Problem::malformed(message)
    })?;
    deserializer
        .end()
        .map_err(|error| Problem::malformed(format!("The body is not one JSON value: {error}.")))?;
    Ok(value)
}
