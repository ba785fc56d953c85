//! What an error and its causes say to people.
//!
//! Most errors say it themselves. Of two drivers the words are made here: sqlx leaves out PostgreSQL's code, detail and hint
//! and names a line of PostgreSQL's own source, which reads as one of the statement; MongoDB's shows answers byte by byte.

use std::error::Error as StdError;

use crate::target::TargetError;

#[cfg(feature = "mongodb")]
mod mongodb;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(crate) mod sql;

/// Whether a database is quoted with what it says of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    Told,
    /// Where nobody can hide the secrets of a change file in it.
    Kept,
}

/// The texts of an error and its causes, the outermost first.
pub(crate) fn texts(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    let mut rows = Rows::Told;
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<TargetError>() {
            // Of a commit a change file sees nothing.
            rows = Rows::Kept;
        }
        let own = error.to_string();
        let Some(said) = by_driver(error, rows) else {
            texts.push(own);
            next = error.source();
            continue;
        };
        for outer in &mut texts {
            replace_end(outer, &own, &said);
        }
        // What is below it is the same again, or an earlier attempt of the driver's.
        texts.push(said);
        break;
    }
    texts
}

/// They, for texts that have no `source` to follow.
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

/// The words of a driver whose own are not for people.
fn by_driver(error: &(dyn StdError + 'static), rows: Rows) -> Option<String> {
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    if let Some(said) = sql::said_by_any(error, rows) {
        return Some(said);
    }
    #[cfg(feature = "mongodb")]
    if let Some(said) = error.downcast_ref().map(mongodb::said) {
        return Some(said);
    }
    // Without these features nobody asks.
    let _ = (error, rows);
    None
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
