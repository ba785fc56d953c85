//! Values as MongoDB's tools write them: extended JSON, canonical, relaxed, or in its first version.

use chrono::{DateTime, NaiveDateTime};
use serde_json::{Map, Value};

/// A text; other values as their JSON. Empty texts stay.
pub fn text(of: &Map<String, Value>, name: &str) -> Option<String> {
    match of.get(name)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

pub fn flag(of: &Map<String, Value>, name: &str) -> Option<bool> {
    of.get(name)?.as_bool()
}

pub fn integer(of: &Map<String, Value>, name: &str) -> Option<i64> {
    number(of.get(name)?)
}

/// JSON text; a text that holds JSON already is taken as it is.
pub fn json(of: &Map<String, Value>, name: &str) -> Option<String> {
    match of.get(name)? {
        Value::Null => None,
        Value::String(text) => json_of_text(text),
        other => Some(other.to_string()),
    }
}

/// As [`json`], of a text.
pub fn json_of_text(text: &str) -> Option<String> {
    if text.is_empty() {
        None
    } else if serde_json::from_str::<Value>(text).is_ok() {
        Some(text.to_owned())
    } else {
        Some(Value::String(text.to_owned()).to_string())
    }
}

fn number(value: &Value) -> Option<i64> {
    match value {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "`as` saturates, and nothing here is near the limits"
        )]
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|it| it as i64)),
        Value::String(digits) => digits.trim().parse().ok(),
        Value::Object(wrapped) => ["$numberLong", "$numberInt", "$numberDouble"]
            .iter()
            .find_map(|name| number(wrapped.get(*name)?)),
        _ => None,
    }
}

/// Milliseconds since 1970. A time without a zone is one of UTC, as MongoDB's always are.
pub fn time(value: &Value) -> Option<i64> {
    match value {
        Value::Object(wrapped) => match wrapped.get("$date") {
            Some(Value::String(text)) => time_of_text(text.trim()),
            Some(date) => number(date),
            None => number(value),
        },
        Value::String(text) => text.trim().parse().ok().or_else(|| time_of_text(text.trim())),
        Value::Number(_) => number(value),
        _ => None,
    }
}

fn time_of_text(text: &str) -> Option<i64> {
    let zoned = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"))
        .map(|at| at.timestamp_millis());
    zoned
        .or_else(|_| {
            NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
                .map(|at| at.and_utc().timestamp_millis())
        })
        .ok()
}
