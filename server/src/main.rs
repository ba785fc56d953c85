//! The program `flamingock-server`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
