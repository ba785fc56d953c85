//! Errors as the audit keeps them: a JSON document inside a text (wire contract §2.3).

use serde_json::json;

use crate::{causes, change::ChangeError};

/// What the audit keeps at most.
const LONGEST_TRACE: usize = 20_000;
/// Of one message, so that the document around it normally stays whole.
const LONGEST_MESSAGE: usize = 8_000;

/// `{type, message, rootCause?{type, message}, stackTrace}`, cut to what the audit keeps.
pub(crate) fn of(error: &ChangeError) -> String {
    let mut texts = causes::texts(error.error()).into_iter();
    let message = texts.next().unwrap_or_default();
    let mut trace = json!({
        "type": error.type_name(),
        "message": cut(&message, LONGEST_MESSAGE),
        "stackTrace": [],
    });
    if let Some(root) = texts.last().filter(|root| *root != message) {
        // Causes are trait objects: their types have no names any more.
        trace["rootCause"] = json!({ "type": "cause", "message": cut(&root, LONGEST_MESSAGE) });
    }
    cut(&trace.to_string(), LONGEST_TRACE).to_owned()
}

/// What a panic said.
pub(crate) fn of_panic(payload: &(dyn std::any::Any + Send)) -> ChangeError {
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned());
    ChangeError::named("panic", message.into())
}

/// The message and those of its causes, for one line.
pub(crate) fn one_line(error: &ChangeError) -> String {
    cut(&causes::one_line(error.error()), LONGEST_MESSAGE).to_owned()
}

fn cut(text: &str, characters: usize) -> &str {
    text.char_indices()
        .nth(characters)
        .map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot create")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_trace_names_type_message_and_root_cause() {
        let trace = of(&ChangeError::from(Outer(std::io::Error::other("disk full"))));
        let trace: serde_json::Value = serde_json::from_str(&trace).expect("a document");
        assert_eq!(trace["message"], "cannot create");
        assert!(trace["type"].as_str().is_some_and(|name| name.ends_with("Outer")));
        assert_eq!(trace["rootCause"]["message"], "disk full");
        assert_eq!(trace["stackTrace"], json!([]));
    }

    #[test]
    fn a_long_trace_is_cut() {
        let trace = of(&ChangeError::from("é\u{1}".repeat(30_000)));
        assert!(trace.chars().count() <= LONGEST_TRACE);
        let readable = of(&ChangeError::from("é".repeat(30_000)));
        assert!(
            serde_json::from_str::<serde_json::Value>(&readable).is_ok(),
            "cut inside the message"
        );
    }

    #[test]
    fn a_panic_keeps_its_text() {
        let payload = std::panic::catch_unwind(|| panic!("no {}", "way")).expect_err("panics");
        assert_eq!(of_panic(&*payload).to_string(), "no way");
    }
}
