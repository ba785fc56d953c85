//! The command line: one file a command. Answers go to stdout, everything else to stderr.

mod bootstrap;
mod check_config;
mod database;
mod dev;
mod failure;
mod generate_token;
mod grants;
mod healthcheck;
mod import;
mod migrate;
mod openapi;
mod ready_file;
mod running;
mod serve;
mod settings;
mod terminal;

use std::future::Future;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use flamingock_server::config;

use failure::Failure;

/// The Flamingock coordination server: plans, locks and the audit of change units.
#[derive(Parser)]
#[command(name = "flamingock-server", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve, on a PostgreSQL that is named by DATABASE_URL.
    Serve(serve::Serve),
    /// Try it: brings its own PostgreSQL and a demo tenant, and prints tokens that are ready to paste.
    Dev(dev::Dev),
    /// Bring the database's schema up to date.
    Migrate(migrate::Migrate),
    /// Take over the history of Flamingock Community or Mongock into the audit of a service.
    Import(import::ImportHistory),
    /// Check and print the settings, without serving.
    CheckConfig(check_config::CheckConfig),
    /// Apply the bootstrap file without serving, or say what it would change.
    Bootstrap(bootstrap::Bootstrap),
    /// Print the API's OpenAPI document.
    Openapi(openapi::Openapi),
    /// Ask a running server whether it is ready: exit code 0 if it is.
    Healthcheck(healthcheck::Healthcheck),
    /// Make an API token for a bootstrap file.
    GenerateToken(generate_token::GenerateToken),
}

pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let done = match cli.command {
        Command::Serve(command) => in_runtime(command.run()),
        Command::Dev(command) => in_runtime(command.run()),
        Command::Migrate(command) => in_runtime(command.run()),
        Command::Import(command) => in_runtime(command.run()),
        Command::CheckConfig(command) => in_runtime(command.run()),
        Command::Bootstrap(command) => in_runtime(command.run()),
        Command::Openapi(command) => command.run(),
        Command::Healthcheck(command) => command.run(),
        Command::GenerateToken(command) => command.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal::complain(&failure.to_string());
            failure.exit_code()
        }
    }
}

/// In our words where a value is wrong, so that the variable it came from is named; else in the parser's.
fn usage(error: &clap::Error) -> ExitCode {
    let explained = config::explain(error, |variable| std::env::var_os(variable).is_some());
    match explained {
        Some(error) => terminal::complain(&Failure::usage(error).to_string()),
        None => {
            // To stdout for --help, to stderr else; if even that fails there is nobody to tell.
            let _ = error.print();
        }
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn in_runtime(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start the runtime").because(error))?
        .block_on(work)
}
