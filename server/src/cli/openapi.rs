//! `openapi`

use std::fs;
use std::path::PathBuf;

use clap::Args;
use flamingock_server::http;

use super::failure::Failure;
use super::terminal;

#[derive(Args)]
pub(super) struct Openapi {
    /// Compare with this file instead: exit code 1 if it is not what this server answers to.
    #[arg(long, value_name = "PATH", conflicts_with = "write")]
    check: Option<PathBuf>,
    /// Write to this file instead.
    #[arg(long, value_name = "PATH")]
    write: Option<PathBuf>,
}

impl Openapi {
    pub(super) fn run(self) -> Result<(), Failure> {
        let document = http::openapi();
        if let Some(path) = &self.write {
            return fs::write(path, document)
                .map_err(|error| Failure::new(format!("cannot write {}", path.display())).because(error));
        }
        let Some(path) = &self.check else {
            terminal::answer(&document);
            return Ok(());
        };
        let found = fs::read_to_string(path)
            .map_err(|error| Failure::new(format!("cannot read {}", path.display())).because(error))?;
        if found == document {
            return Ok(());
        }
        let line = found
            .lines()
            .zip(document.lines())
            .take_while(|(a, b)| a == b)
            .count()
            + 1;
        Err(Failure::new(format!(
            "{} is not the API of this server: they differ from line {line} on",
            path.display()
        ))
        .help(format!(
            "run `flamingock-server openapi --write {}` and look at what changed",
            path.display()
        )))
    }
}
