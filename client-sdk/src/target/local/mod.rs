//! Local files and commands.

mod command;
mod files;

pub use command::{CommandError, CommandOutput, Commands, CommandsTarget};
pub use files::{FileError, Files, FilesTarget};
