//! An application that uses the SDK, for tests that kill it. Says on standard output what its start came to.

use std::io::Write as _;
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter("warn,flamingock=debug")
        .init();
    match flamingock_tests::start_from_environment().await {
        Ok(outcome) => {
            let text = serde_json::to_string(&outcome).expect("an outcome is plain data");
            std::io::stdout()
                .write_all(text.as_bytes())
                .expect("somebody listens");
            ExitCode::from(u8::from(!outcome.may_start))
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
