//! What an error and its causes say to people.
//!
//! Most errors say it themselves. Of two drivers the words are made here: sqlx leaves out PostgreSQL's code, detail and hint
//! and names a line of PostgreSQL's own source, which reads as one of the statement; MongoDB's shows answers byte by byte.

use std::error::Error as StdError;

use crate::target::{MarkError, TargetError};

#[cfg(feature = "mongodb")]
mod mongodb;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(crate) mod sql;

/// Whether a database is quoted with what it says of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    Told,
    /// Where what it says is not gone over for the secrets of a change file.
    Kept,
}

/// The texts of an error and its causes, the outermost first.
pub(crate) fn texts(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    let mut rows = Rows::Told;
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<TargetError>() || error.is::<MarkError>() {
            // A commit comes after the change file's own code, which hides its secrets.
            rows = Rows::Kept;
        }
        let own = error.to_string();
        if let Some((said, below)) = by_driver(error, rows) {
            for outer in &mut texts {
                replace_end(outer, &own, &said);
            }
            texts.push(said);
            next = below;
        } else {
            texts.push(of_hidden_driver(own));
            next = error.source();
        }
    }
    texts
}

/// The same in one line, for texts that have no `source` to follow.
pub(crate) fn one_line(error: &(dyn StdError + 'static)) -> String {
    texts(error).into_iter().fold(String::new(), |told, text| {
        if told.is_empty() {
            text
        } else if told.ends_with(&text) {
            // Wrappers that repeat their source would say everything twice.
            told
        } else {
            format!("{told}: {text}")
        }
    })
}

/// Wrappers that repeat their source, or stand for it, have the driver's own words at their end.
fn replace_end(text: &mut String, own: &str, said: &str) {
    if let Some(before) = text.strip_suffix(own) {
        let before = before
            .strip_suffix("error returned from database: ")
            .unwrap_or(before);
        *text = format!("{before}{said}");
    }
}

/// What a driver says whose own words are not for people, and the cause below it that says something else.
fn by_driver<'a>(
    error: &'a (dyn StdError + 'static),
    rows: Rows,
) -> Option<(String, Option<&'a (dyn StdError + 'static)>)> {
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    if let Some(said) = sql::said_by_any(error, rows) {
        // Below it is the same again.
        return Some((said, None));
    }
    #[cfg(feature = "mongodb")]
    if let Some(error) = mongodb::of(error) {
        return Some((mongodb::said(error), error.source()));
    }
    // Without these features nobody asks.
    let _ = (error, rows);
    None
}

/// A text that may be that of a driver's error below a type that stands for it, such as `anyhow`'s.
fn of_hidden_driver(text: String) -> String {
    #[cfg(feature = "mongodb")]
    let text = mongodb::without_answer(text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Wrapper(&'static str, #[source] std::io::Error);

    #[test]
    fn causes_follow_and_repetition_is_left_out() {
        let plain = Wrapper("cannot create", std::io::Error::other("disk full"));
        assert_eq!(one_line(&plain), "cannot create: disk full");
        let repeating = Wrapper("cannot create: disk full", std::io::Error::other("disk full"));
        assert_eq!(one_line(&repeating), "cannot create: disk full");
    }
}
