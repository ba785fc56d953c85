//! `flamingock`: the command line for people. It is built on the SDK's admin client alone, keeps nothing but profiles,
//! and decides nothing: the server does.

mod args;
mod command;
mod context;
mod failure;
mod moment;
mod near;
mod output;
mod paging;
mod pipeline;
mod profiles;
mod progress;
mod prompt;
mod reach;
mod sheet;
mod table;
mod targets;
mod text;
mod time;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::{
    args::Cli,
    context::{Context, Flags},
    failure::Exit,
    output::Output,
};

fn main() -> ExitCode {
    let parsed = Cli::command()
        .try_get_matches()
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, Flags::of(&matches))));
    let (cli, flags) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            let wanted = !error.use_stderr();
            // Nobody reading is no reason to fail.
            let _ = error.print();
            return if wanted { Exit::Ok } else { Exit::Usage }.into();
        }
    };
    let output = Output::new(cli.global.json, cli.global.no_color);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.complain(&format!("error: no runtime: {error}"));
            return Exit::Failed.into();
        }
    };
    let context = Context::new(cli.global, flags, output);
    match runtime.block_on(command::run(cli.command, &context)) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            context.out.failure(&failure);
            failure.exit().into()
        }
    }
}
