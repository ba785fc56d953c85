//! Runs an embedded PostgreSQL in the foreground, for people and scripts:
//! `flamingock-embedded-postgres run --data DIR [--database NAME]`.
//!
//! The URL is the only line on standard output; everything else goes to standard error. SIGINT (Ctrl-C) and
//! SIGTERM stop it in order.

use std::{
    env,
    error::Error,
    io::{self, Write},
    process::ExitCode,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use flamingock_embedded_postgres::{EmbeddedPostgres, Options, catch_stop_signals};

const USAGE: &str = "usage: flamingock-embedded-postgres run --data DIR [--database NAME] [--no-download]";

struct Arguments {
    data: String,
    database: Option<String>,
    allow_download: bool,
}

fn main() -> ExitCode {
    let Some(arguments) = parse(env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut cause = error.source();
            eprint!("error: {error}");
            while let Some(inner) = cause {
                eprint!(": {inner}");
                cause = inner.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
    (words.next()? == "run").then_some(())?;
    let (mut data, mut database, mut allow_download) = (None, None, true);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--data" => data = Some(words.next()?),
            "--database" => database = Some(words.next()?),
            "--no-download" => allow_download = false,
            _ => return None,
        }
    }
    Some(Arguments {
        data: data?,
        database,
        allow_download,
    })
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let wait = catch_stop_signals()?;
    let (stop, stopped) = mpsc::channel();
    thread::spawn(move || {
        wait();
        let _ = stop.send(());
    });

    let mut options = Options::new(arguments.data);
    options.progress = Box::new(|message| eprintln!("{message}"));
    options.allow_download = arguments.allow_download;
    let postgres = EmbeddedPostgres::start(options)?;
    let database = arguments.database.as_deref().unwrap_or("postgres");
    postgres.create_database(database)?;
    writeln!(io::stdout(), "{}", postgres.url(database))?;

    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(Duration::from_millis(500)) {
        if postgres.pid().is_none() {
            return Err(format!(
                "PostgreSQL ended by itself; see {}",
                postgres.log_file().display()
            )
            .into());
        }
    }
    eprintln!("stopping PostgreSQL");
    postgres.stop()?;
    Ok(())
}
