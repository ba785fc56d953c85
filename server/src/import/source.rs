//! A source, whatever it is.

use std::path::PathBuf;

use super::lines::Lines;
use super::record::Unusable;
use super::table::Table;
use crate::app::imports::HistoricFact;
use crate::config::DatabaseUrl;

/// Records that are taken at once.
pub const BATCH: usize = 500;

/// What stands at one place of a source.
#[derive(Debug)]
pub enum Piece {
    Fact(Box<HistoricFact>),
    /// Says nothing about what ran.
    Ignored {
        change: String,
    },
    Unusable(Unusable),
}

#[derive(Debug)]
pub struct Placed {
    /// Line, or id of the row.
    pub place: u64,
    pub piece: Piece,
}

pub enum Source {
    Lines(Lines),
    Table(Table),
}

impl Source {
    /// The next records; none at the end.
    pub async fn next(&mut self) -> Result<Vec<Placed>, SourceError> {
        match self {
            Self::Lines(lines) => lines.next(BATCH).await,
            Self::Table(table) => table.next(BATCH).await,
        }
    }
}

/// Why a source cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot read {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    #[error("{} holds one JSON array, and not one document a line", .0.display())]
    JsonArray(PathBuf),
    #[error("line {line} of {} is longer than {max} bytes", .path.display())]
    LineTooLong { path: PathBuf, line: u64, max: usize },
    #[error("cannot connect to the database {url}")]
    Connect {
        url: DatabaseUrl,
        #[source]
        source: sqlx::Error,
    },
    #[error("the database's URL cannot be read: {0}")]
    Url(DatabaseUrl),
    #[error("{zone} is no time zone that the database knows")]
    TimeZone {
        zone: String,
        #[source]
        source: sqlx::Error,
    },
    #[error("there is no table {table} in {url}")]
    NoTable { table: String, url: DatabaseUrl },
    #[error("table {table} is not an audit of Flamingock Community: it has no column {missing}")]
    Columns { table: String, missing: String },
    #[error("cannot read the table {table}")]
    Query {
        table: String,
        #[source]
        source: sqlx::Error,
    },
}

impl SourceError {
    pub fn help(&self) -> &'static str {
        match self {
            Self::Read { .. } => "is the path right, and may this user read it?",
            Self::NotAFile(_) => "write the export to a file first",
            Self::JsonArray(_) => "export it without --jsonArray",
            Self::LineTooLong { .. } => {
                "no document of MongoDB is that long: is it an export, one document a line?"
            }
            Self::Connect { .. } => {
                "is it running and reachable from here, and are user, password and name right?"
            }
            Self::Url(_) => {
                "expected postgres://user:password@host:5432/database, with special characters percent-encoded"
            }
            Self::TimeZone { .. } => "expected a name such as Europe/Berlin or UTC",
            Self::NoTable { .. } => {
                "write its name as in SQL: with its schema where that is not the first one, in double quotes where it has \
                 capital letters and was made with quotes"
            }
            Self::Columns { .. } => {
                "name the table that Flamingock's SQL audit store writes to, `flamingockAuditLog` by default"
            }
            Self::Query { .. } => "may this user read it?",
        }
    }
}
