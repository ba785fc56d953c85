//! The words of databases that are reached by sqlx.

use std::error::Error as StdError;

use sqlx::error::DatabaseError;

use super::Rows;
#[cfg(feature = "mysql")]
use crate::target::is_refused_commit;

/// Null where there must be none, and checks of tables and of views: their detail is the failing row, whole. What is in it
/// has no place in an audit that cannot be changed, and the message names the column or the check.
#[cfg(feature = "postgres")]
const QUOTE_A_ROW: [&str; 3] = ["23502", "23514", "44000"];

/// What the server says about a refusal, in full; nothing if it is not the server's.
pub(crate) fn said(error: &sqlx::Error, rows: Rows) -> Option<String> {
    error.as_database_error().map(|error| by_server(error, rows))
}

/// The same of any error that may be one.
pub(super) fn said_by_any(error: &(dyn StdError + 'static), rows: Rows) -> Option<String> {
    if let Some(error) = error.downcast_ref() {
        return said(error, rows);
    }
    // What is left of one below a type that stands for it, as `anyhow`'s and those with `#[error(transparent)]` do.
    let error = error.downcast_ref::<Box<dyn DatabaseError>>()?;
    Some(by_server(&**error, rows))
}

fn by_server(error: &(dyn DatabaseError + 'static), rows: Rows) -> String {
    #[cfg(feature = "postgres")]
    if let Some(error) = error.try_downcast_ref() {
        return by_postgres(error, rows);
    }
    #[cfg(feature = "mysql")]
    if let Some(error) = error.try_downcast_ref() {
        return by_mysql(error);
    }
    #[cfg(feature = "sqlite")]
    if let Some(error) = error.try_downcast_ref() {
        return by_sqlite(error);
    }
    // Without PostgreSQL, none has more to say.
    let _ = rows;
    error.message().to_owned()
}

#[cfg(feature = "postgres")]
fn by_postgres(error: &sqlx::postgres::PgDatabaseError, rows: Rows) -> String {
    let mut text = format!("{} (SQLSTATE {})", error.message(), error.code());
    if rows == Rows::Kept {
        return text;
    }
    let detail = error.detail().filter(|_| !QUOTE_A_ROW.contains(&error.code()));
    for (label, more) in [("detail", detail), ("hint", error.hint())] {
        if let Some(more) = more {
            text = format!("{text}; {label}: {more}");
        }
    }
    text
}

#[cfg(feature = "mysql")]
fn by_mysql(error: &sqlx::mysql::MySqlDatabaseError) -> String {
    let advice = if is_refused_commit(error.number(), error.message()) {
        "; it would have committed what came before it, as DDL does here: declare the change `transactional: false`, in \
         code `transactional = false`, or move it to a change of its own that is"
    } else {
        ""
    };
    format!("{} (error {}){advice}", error.message(), error.number())
}

#[cfg(feature = "sqlite")]
fn by_sqlite(error: &sqlx::sqlite::SqliteError) -> String {
    let code = DatabaseError::code(error).unwrap_or_default();
    format!("{} (SQLite's code {code})", DatabaseError::message(error))
}
