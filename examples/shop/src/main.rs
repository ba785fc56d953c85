//! `flamingock-shop start` is what a shop's own program does at its start. `before` and `clean-up` play the people of the
//! story that `./run-shop` tells.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use flamingock::Flamingock;
use flamingock_shop::{BoxError, Systems, application, before};

const USAGE: &str = "\
usage: flamingock-shop before | start | clean-up

  before     what was in the eight systems before the first start, and what somebody has done there by hand
  start      the shop starts: changes first, then it serves
  clean-up   a person takes the queue away that stood in the way

./run-shop in the root sets the variables that this needs.";

#[tokio::main]
async fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("before") => prepare().await,
        Some("start") => return start().await,
        Some("clean-up") => clean_up().await,
        _ => {
            complain(USAGE);
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&*error),
    }
}

async fn prepare() -> Result<(), BoxError> {
    let systems = Systems::from_env().await?;
    before::prepare(&systems).await?;
    before::somebody_was_here(&systems).await
}

async fn clean_up() -> Result<(), BoxError> {
    before::somebody_cleans_up(&Systems::from_env().await?).await
}

async fn start() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .without_time()
        .init();
    let app = async {
        let systems = Systems::from_env().await?;
        // The report is printed below.
        let builder = Flamingock::from_env().log_report(false);
        Ok::<_, BoxError>(application(builder, &systems)?.build()?)
    };
    let app = match app.await {
        Ok(app) => app,
        Err(error) => return failed(&*error),
    };
    match app.run().await {
        Ok(report) => {
            say(&format!("{report}\nThe shop serves, with gift cards."));
            ExitCode::SUCCESS
        }
        // It carries the report of what was done before it, and what a person can do next.
        Err(error) => {
            say(&format!(
                "{}\n{}\nThe shop does not start.",
                error.report(),
                error.next_steps()
            ));
            ExitCode::FAILURE
        }
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    complain(&format!("flamingock-shop: {error}"));
    let mut cause = error.source();
    while let Some(error) = cause {
        complain(&format!("  because: {error}"));
        cause = error.source();
    }
    ExitCode::FAILURE
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
