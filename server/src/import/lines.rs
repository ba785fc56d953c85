//! A file with one JSON document a line, read line by line.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::mongock::Meaning;
use super::record::{Origin, RawRecord, Unusable};
use super::source::{Piece, Placed, SourceError};
use super::{community, mongock};

/// MongoDB's documents end at 16 MB; their text may be somewhat longer.
const LINE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Whose records they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Mongock,
    Community,
}

pub struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    dialect: Dialect,
    origin: Origin,
    line: u64,
}

impl Lines {
    pub async fn open(path: &Path, dialect: Dialect, by: &str) -> Result<Self, SourceError> {
        let read = |source| SourceError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).await.map_err(read)?;
        if file.metadata().await.map_err(read)?.is_dir() {
            return Err(SourceError::NotAFile(path.to_owned()));
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let whose = match dialect {
            Dialect::Mongock => "Mongock's change log",
            Dialect::Community => "Flamingock Community's audit",
        };
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::with_capacity(256 * 1024, file),
            dialect,
            origin: Origin {
                by: by.to_owned(),
                source: format!("{whose}, {name}"),
                unit: "line",
            },
            line: 0,
        })
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) async fn next(&mut self, limit: usize) -> Result<Vec<Placed>, SourceError> {
        let mut pieces = Vec::new();
        let mut bytes = Vec::new();
        while pieces.len() < limit && self.read_line(&mut bytes).await? {
            let text = std::str::from_utf8(&bytes).map(str::trim);
            // Some tools put a byte order mark before everything.
            let text = text.map(|text| text.trim_start_matches('\u{feff}'));
            let piece = match text {
                Ok("") => continue,
                Ok(text) if self.line == 1 && text.starts_with('[') => {
                    return Err(SourceError::JsonArray(self.path.clone()));
                }
                Ok(text) => self.piece(text).unwrap_or_else(Piece::Unusable),
                Err(_) => Piece::Unusable(Unusable::NotUtf8),
            };
            pieces.push(Placed {
                place: self.line,
                piece,
            });
        }
        Ok(pieces)
    }

    /// False at the end.
    async fn read_line(&mut self, bytes: &mut Vec<u8>) -> Result<bool, SourceError> {
        bytes.clear();
        let mut bounded = (&mut self.reader).take(LINE_MAX_BYTES as u64 + 1);
        let read = bounded.read_until(b'\n', bytes).await;
        let length = read.map_err(|source| SourceError::Read {
            path: self.path.clone(),
            source,
        })?;
        self.line += u64::from(length > 0);
        if length > LINE_MAX_BYTES {
            return Err(SourceError::LineTooLong {
                path: self.path.clone(),
                line: self.line,
                max: LINE_MAX_BYTES,
            });
        }
        Ok(length > 0)
    }

    fn piece(&self, text: &str) -> Result<Piece, Unusable> {
        let document: Value = serde_json::from_str(text).map_err(|error| {
            // Its line is always the first: of this one line.
            let reason = error.to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default();
            Unusable::NotJson(format!("{reason} at column {}", error.column()))
        })?;
        let document = document.as_object().ok_or(Unusable::NotAnObject)?;
        let record: RawRecord = match self.dialect {
            Dialect::Community => community::read(document)?,
            Dialect::Mongock => match mongock::read(document)? {
                Meaning::Record(record) => *record,
                Meaning::Ignored { change } => return Ok(Piece::Ignored { change }),
            },
        };
        let fact = record.into_fact(&self.origin, self.line)?;
        Ok(Piece::Fact(Box::new(fact)))
    }
}
