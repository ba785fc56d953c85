//! What may be said on the command line, for all commands.

use std::path::PathBuf;

use clap::{Args, Parser};

use crate::command::Command;

/// What happened, what to decide, and who may do what: for services whose changes Flamingock coordinates.
///
/// Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 refused or wrong, 2 usage,
/// 3 a person has to decide, 4 changes are pending, 5 another runner has the lock, 6 no answer from the server.
#[derive(Debug, Parser)]
#[command(name = "flamingock", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "For every command")]
pub struct Global {
    /// Root of the server, such as https://flamingock.example
    #[arg(long, global = true, env = "FLAMINGOCK_SERVER", value_name = "URL", value_parser = server)]
    pub server: Option<String>,
    /// File that holds the API token and that only its owner may read. Without it: FLAMINGOCK_TOKEN, then the profile
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Profile to use instead of the current one
    #[arg(long, global = true, env = "FLAMINGOCK_PROFILE", value_name = "NAME")]
    pub profile: Option<String>,
    /// Organisation by name or number: needed where the token reaches several
    #[arg(long, global = true, value_name = "ORGANISATION")]
    pub organisation: Option<String>,
    /// Project by name or number: needed where two projects have an environment and a service of these names
    #[arg(
        long,
        short,
        global = true,
        env = "FLAMINGOCK_PROJECT",
        value_name = "PROJECT"
    )]
    pub project: Option<String>,
    /// Environment by name or number
    #[arg(
        long,
        short,
        global = true,
        env = "FLAMINGOCK_ENVIRONMENT",
        value_name = "ENVIRONMENT"
    )]
    pub environment: Option<String>,
    /// Service by name or number
    #[arg(
        long,
        short,
        global = true,
        env = "FLAMINGOCK_SERVICE",
        value_name = "SERVICE"
    )]
    pub service: Option<String>,
    /// Print JSON, in the API's own shape
    #[arg(long, global = true)]
    pub json: bool,
    /// No colours, as with NO_COLOR; there are none anyway where a file or a program reads
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Do not ask before what cannot be taken back
    #[arg(long, short, global = true)]
    pub yes: bool,
}

/// How much of a list.
#[derive(Debug, Args)]
pub struct Paging {
    /// How many at most; 0 for all
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub limit: usize,
    /// Start behind this cursor: the `next` that --json gave
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
}

/// What else is wrong with it is told by the client; this is the mistake that people make.
fn server(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains("://") {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "the scheme is missing: write http://{text} or https://{text}"
        ))
    }
}
