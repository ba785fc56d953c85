//! Changes run in the background while the platform's probes are answered; events are logged as JSON.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT` and `FLAMINGOCK_SERVICE`. While it runs, ask it
//! on port 9000, and send it SIGTERM:
//!
//! ```text
//! cargo run -p flamingock --features axum,signal --example background
//! curl -s http://127.0.0.1:9000/health/startup
//! ```

use std::{error::Error, time::Duration};

use flamingock::{
    Cancellation, ChangeError, Flamingock, Stage, Target, change, shutdown_signal, startup_probe,
};
use tokio::net::TcpListener;

/// Takes half a minute, and ends early where it is told to.
#[change(
    id = "long-walk",
    order = "0001",
    author = "mara",
    target = "feet",
    recovery = "always_retry"
)]
async fn long_walk(stop: Cancellation) -> Result<(), ChangeError> {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(30)) => Ok(()),
        reason = stop.cancelled() => Err(format!("turned back: {reason}").into()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().init();
    let app = Flamingock::from_env()
        .target(Target::non_transactional("feet", ()))
        .stage(Stage::new("walks").change(long_walk))
        .build()?;
    let mut events = app.events();
    let readiness = app.spawn_until(shutdown_signal()?);
    let probes = TcpListener::bind("127.0.0.1:9000").await?;
    tokio::spawn(axum::serve(probes, startup_probe(readiness.clone())).into_future());
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            tracing::info!("{}", serde_json::json!(event));
        }
    });
    let report = readiness.ready().await?;
    tracing::info!("{}", report.one_line());
    // … serve until `shutdown_signal()` …
    Ok(())
}
