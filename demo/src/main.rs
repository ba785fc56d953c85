//! The main job, end to end, on this machine: PostgreSQL, the coordination server, an HTTP API, and an application whose
//! change units change two real systems at its start.
//!
//! `./run-demo` in the root builds everything and runs this. One program, three roles, each a process of its own:
//!
//! * no argument: brings everything up, runs the application once, and stays until Ctrl-C;
//! * `app`: the application (see `app.rs`, which is what a user of the SDK writes);
//! * `flag-api`: a small feature-flag service, the second target system.

mod app;
mod flag_api;
mod processes;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

const USAGE: &str = "\
usage: flamingock-demo [--data DIR] [--once]

Starts a real PostgreSQL, the coordination server with a demo tenant, a feature-flag API and an application whose
changes are applied to its own database and to the API. Run it again: there is nothing left to do.

  --data DIR   where everything is kept between runs (default: .flamingock)
  --once       stop when the application has started, instead of waiting for Ctrl-C";

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut data, mut once) = (PathBuf::from(".flamingock"), false);
    let result = loop {
        match arguments.next().as_deref() {
            None => break show::run(&data, once).await,
            Some("app") => break app::run().await,
            Some("flag-api") => break flag_api::run(arguments.next().map(PathBuf::from)).await,
            Some("--once") => once = true,
            Some("--data") => match arguments.next() {
                Some(directory) => data = directory.into(),
                None => return usage("--data needs a directory"),
            },
            Some("--help" | "-h") => {
                show::say(USAGE);
                return ExitCode::SUCCESS;
            }
            Some(other) => return usage(&format!("{other:?} is not an argument of this program")),
        }
    };
    match result.context("the demo failed") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            show::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn usage(mistake: &str) -> ExitCode {
    show::complain(&format!("{mistake}\n\n{USAGE}"));
    ExitCode::from(2)
}

/// What an environment variable of a child process must hold.
fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set; run the demo without arguments"))
}
