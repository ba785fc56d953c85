//! A feature flag and its rollout, in Unleash.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT`, `FLAMINGOCK_SERVICE`, `UNLEASH_URL` and
//! `UNLEASH_TOKEN`, a token of the admin API:
//!
//! ```text
//! cargo run -p flamingock --features unleash --example unleash
//! ```

use std::env;

use flamingock::{
    ChangeError, Flamingock, HttpError, Stage, TargetClient, Unleash, UnleashStrategy, UnleashTarget, change,
};

const FLAG: &str = "checkout-v2";
const ENVIRONMENT: &str = "development";

#[change(
    id = "checkout-flag",
    order = "0001",
    author = "mara",
    target = "flags",
    recovery = "always_retry",
    rollback = no_checkout_flag
)]
async fn checkout_flag(flags: TargetClient<Unleash>) -> Result<(), HttpError> {
    if !flags.has_flag(FLAG).await? {
        flags.create_flag(FLAG, "release", "the new checkout").await?;
    }
    if flags.strategies(FLAG, ENVIRONMENT).await?.is_empty() {
        let quarter = UnleashStrategy::rollout(FLAG, 25);
        flags.add_strategy(FLAG, ENVIRONMENT, &quarter).await?;
    }
    flags.turn_on(FLAG, ENVIRONMENT).await
}

async fn no_checkout_flag(flags: TargetClient<Unleash>) -> Result<(), HttpError> {
    if flags.has_flag(FLAG).await? {
        flags.turn_off(FLAG, ENVIRONMENT).await?;
    }
    flags.remove_flag(FLAG).await
}

/// From a quarter of the users to all. If somebody has moved it since, it is left alone, and the change fails.
#[change(
    id = "checkout-for-all",
    order = "0002",
    author = "lin",
    target = "flags",
    recovery = "always_retry",
    rollback = checkout_for_some
)]
async fn checkout_for_all(flags: TargetClient<Unleash>) -> Result<(), ChangeError> {
    move_rollout(&flags, 25, 100).await
}

async fn checkout_for_some(flags: TargetClient<Unleash>) -> Result<(), ChangeError> {
    move_rollout(&flags, 100, 25).await
}

async fn move_rollout(flags: &Unleash, from: u8, to: u8) -> Result<(), ChangeError> {
    let strategies = flags.strategies(FLAG, ENVIRONMENT).await?;
    let Some(current) = strategies.into_iter().find(|one| one.percent().is_some()) else {
        return Err("the flag has no rollout".into());
    };
    match current.percent() {
        Some(percent) if percent == to => Ok(()),
        Some(percent) if percent == from => {
            let moved = current.with_percent(to);
            Ok(flags.replace_strategy(FLAG, ENVIRONMENT, &moved).await?)
        }
        other => Err(format!("the rollout is at {other:?} percent, which is neither {from} nor {to}").into()),
    }
}

pub fn target(address: &str, token: &str) -> Result<UnleashTarget, HttpError> {
    UnleashTarget::new("flags", address, token)
}

pub fn stage() -> Stage {
    Stage::new("rollout")
        .change(checkout_flag)
        .change(checkout_for_all)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let url = env::var("UNLEASH_URL").map_err(|_| "UNLEASH_URL is not set: such as http://127.0.0.1:4242")?;
    let token = env::var("UNLEASH_TOKEN").map_err(|_| "UNLEASH_TOKEN is not set: an admin token")?;
    let target = target(&url, &token)?;
    let app = Flamingock::from_env().target(target).stage(stage());
    app.build()?.run().await?;
    Ok(())
}
