//! What comes with the program: completions, manual pages, and pages of help that belong to no command.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Cli;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};

#[derive(Debug, Args)]
pub struct Completions {
    /// For which shell
    shell: Shell,
}

#[derive(Debug, Args)]
pub struct Man {
    /// Folder for the pages, made if it is not there
    folder: PathBuf,
}

pub const EXIT_CODES: &str = "\
Exit codes

  0  done; for `plan`, `wait` and `--check`: up to date
  1  refused, or found to be wrong (`audit verify`: the chain is broken)
  2  the command line is wrong
  3  a person has to decide something: an issue, an approval, a freeze
  4  changes are pending
  5  another runner has the lock
  6  no answer from the server: not reached, too busy, cut off. Whether a write was done is then not known
";

pub const VARIABLES: &str = "\
Environment variables. Flags go before them, the profile comes after them

  FLAMINGOCK_SERVER       root of the server
  FLAMINGOCK_TOKEN        API token
  FLAMINGOCK_PROFILE      profile to use instead of the current one
  FLAMINGOCK_ORGANISATION organisation, project, environment and service, by name or number
  FLAMINGOCK_PROJECT
  FLAMINGOCK_ENVIRONMENT
  FLAMINGOCK_SERVICE
  NO_COLOR                no colours
  XDG_CONFIG_HOME         profiles are in flamingock/profiles.toml below it; without it, below ~/.config
";

impl Completions {
    pub fn run(self, context: &Context) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "flamingock", &mut script);
        context.out.print(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Ok)
    }
}

impl Man {
    pub fn run(self, context: &Context) -> Outcome {
        let failed = |error| {
            Failure::failed(format!(
                "the pages cannot be written to {}: {error}",
                self.folder.display()
            ))
        };
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        clap_mangen::generate_to(Cli::command(), &self.folder).map_err(failed)?;
        context
            .out
            .note(&format!("The pages are in {}.", shown(&self.folder)));
        Ok(Exit::Ok)
    }
}

fn shown(path: &Path) -> String {
    crate::text::safe(&path.display().to_string(), false)
}

/// A page of help that belongs to no command.
pub fn page(text: &str, context: &Context) -> Outcome {
    context.out.print(text)?;
    Ok(Exit::Ok)
}
