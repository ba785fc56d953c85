//! What an error and its causes say to people.
//!
//! Most errors say it themselves. Of two drivers the words are made here: sqlx leaves out PostgreSQL's code, detail and hint
//! and names a line of PostgreSQL's own source, which reads as one of the statement; MongoDB's shows answers byte by byte.

use std::error::Error as StdError;

/// The texts of an error and its causes, the outermost first.
pub(crate) fn texts<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = String> + use<'a> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next.take()?;
        let Some(said) = by_driver(error) else {
            next = error.source();
            return Some(error.to_string());
        };
        // What is below it is the same again.
        Some(said)
    })
}

/// They, for texts that have no `source` to follow.
pub(crate) fn one_line(error: &(dyn StdError + 'static)) -> String {
    texts(error).fold(String::new(), |told, text| {
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

/// The words of a driver whose own are not for people.
fn by_driver(error: &(dyn StdError + 'static)) -> Option<String> {
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    if let Some(said) = error.downcast_ref().and_then(sql::said) {
        return Some(said);
    }
    #[cfg(feature = "mongodb")]
    if let Some(said) = error.downcast_ref().map(mongodb::said) {
        return Some(said);
    }
    // Without these features nobody asks.
    let _ = error;
    None
}

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(crate) mod sql {
    #[cfg(feature = "mysql")]
    use crate::target::is_refused_commit;
    use sqlx::Error;
    use sqlx::error::DatabaseError;

    /// What the server says about a refusal, in full; nothing if it is not the server's.
    pub(crate) fn said(error: &Error) -> Option<String> {
        let said = error.as_database_error()?;
        #[cfg(feature = "postgres")]
        if let Some(said) = said.try_downcast_ref().map(by_postgres) {
            return Some(said);
        }
        #[cfg(feature = "mysql")]
        if let Some(said) = said.try_downcast_ref().map(by_mysql) {
            return Some(said);
        }
        #[cfg(feature = "sqlite")]
        if let Some(said) = said.try_downcast_ref().map(by_sqlite) {
            return Some(said);
        }
        Some(by_another(said))
    }

    /// Null where there must be none, and checks of tables and of views: their detail is the failing row, whole. What is in
    /// it has no place in an audit that cannot be changed, and the message names the column or the check.
    #[cfg(feature = "postgres")]
    const QUOTE_A_ROW: [&str; 3] = ["23502", "23514", "44000"];

    #[cfg(feature = "postgres")]
    fn by_postgres(said: &sqlx::postgres::PgDatabaseError) -> String {
        let mut text = format!("{} (SQLSTATE {})", said.message(), said.code());
        let detail = said.detail().filter(|_| !QUOTE_A_ROW.contains(&said.code()));
        for (label, more) in [("detail", detail), ("hint", said.hint())] {
            if let Some(more) = more {
                text = format!("{text}; {label}: {more}");
            }
        }
        text
    }

    #[cfg(feature = "mysql")]
    fn by_mysql(said: &sqlx::mysql::MySqlDatabaseError) -> String {
        let advice = if is_refused_commit(said.number(), said.message()) {
            "; it would have committed what came before it, as DDL does here: declare the change `transactional: false`, in \
             code `transactional = false`, or move it to a change of its own that is"
        } else {
            ""
        };
        format!("{} (error {}){advice}", said.message(), said.number())
    }

    #[cfg(feature = "sqlite")]
    fn by_sqlite(said: &sqlx::sqlite::SqliteError) -> String {
        let code = DatabaseError::code(said).unwrap_or_default();
        format!("{} (SQLite's code {code})", DatabaseError::message(said))
    }

    fn by_another(said: &dyn DatabaseError) -> String {
        said.message().to_owned()
    }
}

#[cfg(feature = "mongodb")]
mod mongodb {
    use ::mongodb::error::{Error, ErrorKind, WriteFailure};

    pub(super) fn said(error: &Error) -> String {
        match error.kind.as_ref() {
            ErrorKind::Command(refusal) => coded(&refusal.message, refusal.code, Some(&refusal.code_name)),
            ErrorKind::Write(WriteFailure::WriteError(refusal)) => {
                coded(&refusal.message, refusal.code, refusal.code_name.as_deref())
            }
            ErrorKind::Write(WriteFailure::WriteConcernError(refusal)) => {
                coded(&refusal.message, refusal.code, Some(&refusal.code_name))
            }
            kind => kind.to_string(),
        }
    }

    fn coded(message: &str, code: i32, name: Option<&str>) -> String {
        match name.filter(|name| !name.is_empty() && !message.contains(name)) {
            Some(name) => format!("{message} (error {code}, {name})"),
            None => format!("{message} (error {code})"),
        }
    }

    #[cfg(test)]
    mod tests {
        use ::mongodb::bson::{self, doc};

        use super::*;

        #[test]
        fn the_server_is_quoted_and_not_its_bytes() {
            let told = doc! { "code": 13, "codeName": "Unauthorized", "errmsg": "not authorized on shop" };
            let refusal = Error::from(ErrorKind::Command(
                bson::deserialize_from_document(told).expect("reads"),
            ));
            assert_eq!(said(&refusal), "not authorized on shop (error 13, Unauthorized)");
        }
    }
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
