//! Changes written as files: YAML or SQL, no Rust.
//!
//! A *template* knows how to do one kind of work, such as executing SQL. A *change file* says what to do with it. The
//! file's name carries the order, `_0003__add_currency.yaml`; everything else is inside:
//!
//! ```yaml
//! id: add-currency
//! author: mara
//! template: sql-template
//! targetSystem: orders-db
//! apply: ALTER TABLE orders ADD COLUMN currency text;
//! rollback: ALTER TABLE orders DROP COLUMN currency;
//! ```
//!
//! A stage takes the files of one directory, read at start ([`Stage::from_dir`](crate::Stage::from_dir)) or compiled
//! in ([`embed_dir!`](crate::embed_dir)). Changes in code and changes in files share the stage's order.
//!
//! The templates that come with the SDK are known to every builder: [`SqlTemplate`](sql::SqlTemplate) (with one of
//! the features `mysql`, `postgres` and `sqlite`) and [`HttpTemplate`]. Others are added by [`Builder::template`](crate::Builder::template).

use std::fmt;

mod change;
mod checksum;
mod document;
mod http;
mod load;
mod locate;
mod placeholders;
mod program;
mod source;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub mod sql;
mod sql_file;
mod template;

pub use self::{
    http::{Codes, HttpBody, HttpConfiguration, HttpProbe, HttpRequest, HttpTemplate, IdempotencyKey},
    placeholders::Placeholders,
    source::{EmbeddedDir, stages},
    template::{NoConfiguration, NoProbe, NoRollback, Payload, Steps, Template},
};
pub(crate) use self::{
    load::{Loader, load},
    program::Registry,
    source::Source,
};

/// A place inside a change file: `steps`, 2, `apply`, `method`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
}

impl Place {
    fn key(name: impl Into<String>) -> Self {
        Self::default().then(name)
    }

    fn then(mut self, name: impl Into<String>) -> Self {
        self.0.push(Segment::Key(name.into()));
        self
    }

    fn at(mut self, index: usize) -> Self {
        self.0.push(Segment::Index(index));
        self
    }

    fn below(&self, rest: &Self) -> Self {
        Self(self.0.iter().chain(&rest.0).cloned().collect())
    }
}

/// `steps[2].apply.method`, counted from 1 as people do.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(name) if position == 0 => f.write_str(name)?,
                Segment::Key(name) => write!(f, ".{name}")?,
                Segment::Index(index) => write!(f, "[{}]", index + 1)?,
            }
        }
        Ok(())
    }
}

/// Something wrong at a place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    place: Place,
    text: String,
}

impl Fault {
    fn new(place: Place, text: impl Into<String>) -> Self {
        Self {
            place,
            text: text.into(),
        }
    }
}
