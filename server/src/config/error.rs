//! What is wrong with a setting, in words that name it.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use flamingock_nearest::distance;

use super::command;

/// A setting that does not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{name} is `{value}`: expected {expected}")]
    Value {
        name: String,
        value: String,
        expected: String,
    },
    #[error("{name} is not set: expected {expected}")]
    Missing { name: String, expected: String },
    #[error("{name} is not a setting of this server{}", .nearest.as_ref().map(|name| format!(": did you mean {name}?")).unwrap_or_default())]
    UnknownVariable { name: String, nearest: Option<String> },
}

/// Variables that start like ours and belong to neighbours: the embedded PostgreSQL's search, the client SDK's.
const NEIGHBOURS: &[&str] = &["FLAMINGOCK_PG_", "FLAMINGOCK_CLIENT_"];

/// What the SDK and the command line read: an application's or a person's variables, often in the same shell.
const CALLERS: &[&str] = &[
    "FLAMINGOCK_SERVER",
    "FLAMINGOCK_TOKEN",
    "FLAMINGOCK_PROFILE",
    "FLAMINGOCK_PROJECT",
    "FLAMINGOCK_ENVIRONMENT",
    "FLAMINGOCK_SERVICE",
];

/// Refuses variables that look like settings and are none: a mistyped one would silently leave the default.
/// `used` are those that the bootstrap file takes tokens from.
pub fn check_environment(
    names: impl IntoIterator<Item = OsString>,
    used: &[String],
) -> Result<(), ConfigError> {
    let command = command();
    let mut names: Vec<_> = names
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .collect();
    names.sort_unstable();
    for name in names {
        let ours = name.starts_with("FLAMINGOCK_")
            && !NEIGHBOURS.iter().any(|prefix| name.starts_with(prefix))
            && !CALLERS.contains(&name.as_str())
            && !used.contains(&name);
        if ours
            && !command
                .get_arguments()
                .any(|argument| argument.get_env() == Some(name.as_ref()))
        {
            return Err(unknown_variable(&name));
        }
    }
    Ok(())
}

/// A parser's refusal in our words. Knows which variable the value came from, if from one: `came_from` tells whether
/// a variable holds a value.
pub fn explain(error: &clap::Error, came_from: impl Fn(&str) -> bool) -> Option<ConfigError> {
    let (Some(ContextValue::String(argument)), Some(ContextValue::String(value))) = (
        error.get(ContextKind::InvalidArg),
        error.get(ContextKind::InvalidValue),
    ) else {
        return None;
    };
    let flag = argument.split([' ', '=', '[']).next().unwrap_or_default();
    let command = command();
    let known = command
        .get_arguments()
        .find(|known| known.get_long() == flag.strip_prefix("--"))?;
    let variable = known
        .get_env()
        .and_then(|name| name.to_str())
        .filter(|name| came_from(name));
    let name = variable.unwrap_or(flag).to_owned();
    let possible: Vec<_> = known
        .get_possible_values()
        .iter()
        .map(|value| value.get_name().to_owned())
        .collect();
    let expected = if possible.is_empty() {
        std::error::Error::source(error).map_or_else(
            || "another value".to_owned(),
            |source| {
                let text = source.to_string();
                text.strip_prefix("expected ").unwrap_or(&text).to_owned()
            },
        )
    } else {
        possible.join(" or ")
    };
    if value.is_empty() {
        return Some(ConfigError::Missing { name, expected });
    }
    Some(ConfigError::Value {
        name,
        value: value.clone(),
        expected,
    })
}

pub(super) fn unexplained(error: &clap::Error) -> ConfigError {
    ConfigError::Missing {
        name: "a setting".to_owned(),
        expected: error.kind().to_string(),
    }
}

pub(super) fn unknown_variable(name: &str) -> ConfigError {
    let command = command();
    let nearest = command
        .get_arguments()
        .filter_map(|argument| argument.get_env()?.to_str())
        .map(|known| (distance(name, known), known))
        .min()
        // Further away it is a guess, not a correction.
        .filter(|(distance, known)| *distance * 3 <= known.len())
        .map(|(_, known)| known.to_owned());
    ConfigError::UnknownVariable {
        name: name.to_owned(),
        nearest,
    }
}
