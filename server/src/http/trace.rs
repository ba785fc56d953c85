//! Error traces, taken apart for people.
//!
//! Clients send them as a JSON document inside a text, `{type, message, rootCause, stackTrace}`, cut at some length: so what
//! stands before the cut is read, and the rest is done without. Anything else is shown as it came.

use std::fmt;

use flamingock_api_types::issue::ErrorView;
use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Frames that are shown.
const FRAMES_MAX: usize = 100;

/// What a line in a list has room for.
const SUMMARY_MAX_CHARS: usize = 100;

#[derive(Debug, Default, PartialEq, Eq)]
struct Trace {
    error_type: Option<String>,
    message: Option<String>,
    root_cause: Cause,
    frames: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Cause {
    error_type: Option<String>,
    message: Option<String>,
}

/// The error that came with an entry; `None` where there was none.
pub fn view(seq: i64, trace: Option<&str>) -> Option<ErrorView> {
    let text = trace?.trim();
    if text.is_empty() {
        return None;
    }
    let Some(trace) = read(text) else {
        return Some(ErrorView {
            seq,
            text: text.to_owned(),
            error_type: None,
            message: None,
            root_cause_type: None,
            root_cause_message: None,
            frames: Vec::new(),
        });
    };
    Some(ErrorView {
        seq,
        text: written_out(&trace),
        error_type: trace.error_type,
        message: trace.message,
        root_cause_type: trace.root_cause.error_type,
        root_cause_message: trace.root_cause.message,
        frames: trace.frames,
    })
}

/// The error in a line.
pub fn summary(trace: Option<&str>) -> Option<String> {
    let text = trace?.trim();
    if text.is_empty() {
        return None;
    }
    let said = match read(text) {
        Some(trace) => one_line(trace.error_type.as_deref(), trace.message.as_deref()),
        None => text.to_owned(),
    };
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SUMMARY_MAX_CHARS {
        return Some(line);
    }
    let cut: String = line.chars().take(SUMMARY_MAX_CHARS - 1).collect();
    Some(format!("{cut}…"))
}

fn one_line(error_type: Option<&str>, message: Option<&str>) -> String {
    [error_type, message]
        .into_iter()
        .flatten()
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(": ")
}

/// As a Java programmer expects to read it.
fn written_out(trace: &Trace) -> String {
    let mut lines = vec![one_line(trace.error_type.as_deref(), trace.message.as_deref())];
    lines.extend(trace.frames.iter().map(|frame| format!("    at {frame}")));
    let cause = &trace.root_cause;
    if cause.error_type.is_some() || cause.message.is_some() {
        let cause = one_line(cause.error_type.as_deref(), cause.message.as_deref());
        lines.push(format!("Root cause: {cause}"));
    }
    lines.join("\n")
}

/// `None`: not of this form.
fn read(text: &str) -> Option<Trace> {
    if !text.starts_with('{') {
        return None;
    }
    let mut trace = Trace::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // An error is where the text was cut, or where it is of another form. What was read until then is there.
    let _ = Whole(&mut trace).deserialize(&mut deserializer);
    (trace.error_type.is_some() || trace.message.is_some()).then_some(trace)
}

struct Whole<'a>(&'a mut Trace);

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error's trace")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "type" => self.0.error_type = map.next_value()?,
                "message" => self.0.message = map.next_value()?,
                "rootCause" => map.next_value_seed(CauseOf(&mut self.0.root_cause))?,
                "stackTrace" => map.next_value_seed(Frames(&mut self.0.frames))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct CauseOf<'a>(&'a mut Cause);

impl<'de> DeserializeSeed<'de> for CauseOf<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for CauseOf<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error's cause, or null")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "type" => self.0.error_type = map.next_value()?,
                "message" => self.0.message = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct Frames<'a>(&'a mut Vec<String>);

impl<'de> DeserializeSeed<'de> for Frames<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Frames<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("frames")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut frames: A) -> Result<(), A::Error> {
        while let Some(frame) = frames.next_element::<Frame>()? {
            if self.0.len() < FRAMES_MAX {
                self.0.push(frame.to_string());
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Frame {
    #[serde(default)]
    class_name: Option<String>,
    #[serde(default)]
    method_name: Option<String>,
    #[serde(default)]
    file_name: Option<String>,
    #[serde(default)]
    line_number: Option<i64>,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = self.class_name.as_deref().unwrap_or("?");
        let method = self.method_name.as_deref().unwrap_or("?");
        write!(f, "{class}.{method}")?;
        match (&self.file_name, self.line_number) {
            (Some(file), Some(line)) if line > 0 => write!(f, " ({file}:{line})"),
            (Some(file), _) => write!(f, " ({file})"),
            (None, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JAVA: &str = r#"{"type":"org.postgresql.util.PSQLException","message":"column \"due\" exists",
        "rootCause":{"type":"java.net.SocketException","message":"reset"},
        "stackTrace":[{"className":"com.acme.AddDueDate","methodName":"apply","fileName":"AddDueDate.java","lineNumber":12},
                      {"className":"jdk.Method","methodName":"invoke","fileName":"Method.java","lineNumber":-2}]}"#;

    #[test]
    fn a_java_trace_is_taken_apart_and_written_out() {
        let view = view(7, Some(JAVA)).expect("an error");
        assert_eq!(
            view.error_type.as_deref(),
            Some("org.postgresql.util.PSQLException")
        );
        assert_eq!(view.message.as_deref(), Some("column \"due\" exists"));
        assert_eq!(view.root_cause_type.as_deref(), Some("java.net.SocketException"));
        assert_eq!(
            view.text,
            "org.postgresql.util.PSQLException: column \"due\" exists\n    at com.acme.AddDueDate.apply \
             (AddDueDate.java:12)\n    at jdk.Method.invoke (Method.java)\nRoot cause: java.net.SocketException: reset"
        );
        let line = summary(Some(JAVA)).expect("an error");
        assert_eq!(line, "org.postgresql.util.PSQLException: column \"due\" exists");
    }

    #[test]
    fn wherever_a_trace_was_cut_it_is_read_up_to_there_and_nothing_panics() {
        for (end, _) in JAVA.char_indices() {
            let cut = &JAVA[..end];
            let shown = view(7, Some(cut));
            assert_eq!(shown.is_some(), end > 0);
            if end > JAVA.find("\"rootCause\"").expect("it is there") {
                let shown = shown.expect("an error");
                assert_eq!(shown.message.as_deref(), Some("column \"due\" exists"), "{cut}");
            }
        }
    }

    #[test]
    fn what_is_no_document_is_shown_as_it_came() {
        for text in ["plain words", "{\"odd\": 1}", "{", "[1, 2]", "{\"type\": 7}"] {
            let view = view(1, Some(text)).expect("an error");
            assert_eq!(view.text, text);
            assert_eq!((view.error_type, view.message), (None, None));
        }
        assert_eq!(view(1, Some(" \n")), None);
        assert_eq!(view(1, None), None);
        assert_eq!(summary(Some("two\nlines")).as_deref(), Some("two lines"));
        let long = summary(Some(&"é".repeat(5_000))).expect("an error");
        assert_eq!(long.chars().count(), SUMMARY_MAX_CHARS);
    }
}
