//! History that others wrote: where it comes from, what its records mean here, and what became of them.
//!
//! `lines` and `table` read a source piece by piece, however long it is; `mongock` and `community` know the fields of a
//! record, `extended_json` MongoDB's way to write values; `record` makes a fact of them; `summary` keeps the account.
//! Writing is [`crate::app::imports`].

pub mod community;
pub mod extended_json;
pub mod lines;
pub mod mongock;
pub mod record;
pub mod source;
pub mod summary;
pub mod table;

pub use record::{Origin, RawRecord, Unusable};
pub use source::{Piece, Placed, Source, SourceError};
pub use summary::Summary;
