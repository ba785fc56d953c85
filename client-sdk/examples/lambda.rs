//! More memory and a setting for a function, and a new version of it behind an alias, in AWS Lambda. The function `invoices` and
//! its alias `live` are there before.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT` and `FLAMINGOCK_SERVICE`, and whatever the AWS SDK
//! needs: `AWS_REGION`, credentials, and for another service than AWS `AWS_ENDPOINT_URL`:
//!
//! ```text
//! cargo run -p flamingock --features lambda --example lambda
//! ```

use aws_config::BehaviorVersion;
use aws_sdk_lambda::Client;
use flamingock::{
    AwsError, ChangeKey, Flamingock, Lambda, LambdaSettings, LambdaTarget, Stage, TargetClient, change,
};

const FUNCTION: &str = "invoices";
const ALIAS: &str = "live";

/// What it was is kept as a published version, so that the rollback can put it back.
#[change(
    id = "invoices-in-euros",
    order = "0001",
    author = "mara",
    target = "functions",
    recovery = "always_retry",
    rollback = settings_as_before
)]
pub async fn invoices_in_euros(functions: TargetClient<Lambda>, key: ChangeKey) -> Result<(), AwsError> {
    let settings = LambdaSettings::new()
        .memory_mb(256)
        .timeout_seconds(20)
        .variable("CURRENCY", "EUR");
    functions
        .change_settings(FUNCTION, &key.step("settings"), &settings)
        .await
}

async fn settings_as_before(functions: TargetClient<Lambda>, key: ChangeKey) -> Result<(), AwsError> {
    functions
        .settings_as_before(FUNCTION, &key.step("settings"))
        .await
}

/// If somebody moves the alias between the look and the move, or to a third version, it is left there.
#[change(
    id = "euros-go-live",
    order = "0002",
    author = "lin",
    target = "functions",
    recovery = "always_retry",
    rollback = live_as_before
)]
async fn euros_go_live(functions: TargetClient<Lambda>, key: ChangeKey) -> Result<(), AwsError> {
    let version = functions.publish_version(FUNCTION).await?;
    functions
        .move_alias(FUNCTION, ALIAS, &version, &key.step("live"))
        .await
}

async fn live_as_before(functions: TargetClient<Lambda>, key: ChangeKey) -> Result<(), AwsError> {
    functions
        .alias_as_before(FUNCTION, ALIAS, &key.step("live"))
        .await
}

pub fn target(client: Client) -> LambdaTarget {
    LambdaTarget::new("functions", client)
}

pub fn stage() -> Stage {
    Stage::new("functions")
        .change(invoices_in_euros)
        .change(euros_go_live)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let app = Flamingock::from_env()
        .target(target(Client::new(&config)))
        .stage(stage());
    app.build()?.run().await?;
    Ok(())
}
