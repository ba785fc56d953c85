//! A file that says which organisations, projects, environments with their policies, services and tokens there are.
//!
//! It is read whole and checked before anything is written, compared with what there is (a plan that can be
//! printed), and applied in one transaction. Applying it again changes nothing; nothing is ever deleted.

mod apply;
mod declaration;
mod file;
mod plan;
mod rules;
mod step;

use std::fmt;
use std::path::PathBuf;

pub use apply::{apply, preview};
pub use declaration::{Declaration, Owner, TokenDeclaration};
pub use plan::{Plan, plan};
pub use step::{BootstrapStep, FreezeStep, Note, TokenStep};

use crate::app::Fault;

/// A place in a file, counted from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("cannot read the bootstrap file {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file itself does not do, or does not go together with what is in the database.
    #[error("{}, {position}: {message}", .path.display())]
    Invalid {
        path: PathBuf,
        position: Position,
        message: String,
    },
    #[error("the bootstrap file cannot be applied")]
    Fault(#[from] Fault),
}
