//! A rule by which uploads expire, and objects under other keys, in S3.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT`, `FLAMINGOCK_SERVICE` and `BUCKET`, and whatever the
//! AWS SDK needs: `AWS_REGION`, credentials, and for another store than AWS `AWS_ENDPOINT_URL`:
//!
//! ```text
//! cargo run -p flamingock --features s3 --example s3
//! ```

use std::env;

use aws_config::BehaviorVersion;
use aws_sdk_s3::{
    Client,
    config::Builder,
    types::{ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter},
};
use flamingock::{AwsError, ChangeError, ChangeKey, Flamingock, S3, S3Target, Stage, TargetClient, change};

fn uploads_expire() -> Result<LifecycleRule, ChangeError> {
    let after_a_week = LifecycleExpiration::builder().days(7).build();
    let rule = LifecycleRule::builder()
        .id("uploads-expire")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("uploads/").build())
        .expiration(after_a_week);
    Ok(rule.build()?)
}

/// The other rules stay, and so does another one of this name, which is an error.
#[change(
    id = "uploads-expire",
    order = "0001",
    author = "mara",
    target = "files",
    recovery = "always_retry",
    rollback = uploads_stay
)]
async fn expire_uploads(bucket: TargetClient<S3>) -> Result<(), ChangeError> {
    Ok(bucket.add_lifecycle_rule(uploads_expire()?).await?)
}

async fn uploads_stay(bucket: TargetClient<S3>) -> Result<(), ChangeError> {
    Ok(bucket.remove_lifecycle_rule(&uploads_expire()?).await?)
}

/// Which objects are moved is written down first, so an attempt after a crash and the rollback know theirs.
#[change(
    id = "invoices-v2",
    order = "0002",
    author = "lin",
    target = "files",
    recovery = "always_retry",
    rollback = invoices_v1
)]
pub async fn invoices_v2(bucket: TargetClient<S3>, key: ChangeKey) -> Result<(), AwsError> {
    bucket
        .rekey(&key.step("invoices"), "invoices/", "invoices/v2/")
        .await
}

async fn invoices_v1(bucket: TargetClient<S3>, key: ChangeKey) -> Result<(), AwsError> {
    bucket.rekey_back(&key.step("invoices")).await
}

/// `path_style` for stores that are not AWS: the bucket then is in the path and not in the name of the host.
pub async fn client(path_style: bool) -> Client {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    Client::from_conf(Builder::from(&config).force_path_style(path_style).build())
}

pub fn target(client: Client, bucket: &str) -> S3Target {
    S3Target::new("files", client, bucket)
}

pub fn stage() -> Stage {
    Stage::new("files").change(expire_uploads).change(invoices_v2)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let client = client(env::var("AWS_ENDPOINT_URL").is_ok()).await;
    let bucket = env::var("BUCKET").map_err(|_| "BUCKET is not set: the name of a bucket")?;
    let app = Flamingock::from_env()
        .target(target(client, &bucket))
        .stage(stage());
    app.build()?.run().await?;
    Ok(())
}
