//! A secret and a policy, in Vault or OpenBao. The secret `shop/mail` is there before.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT`, `FLAMINGOCK_SERVICE`, `VAULT_ADDR`,
//! `VAULT_TOKEN` and `NEW_PASSWORD`, which the secret is to have:
//!
//! ```text
//! cargo run -p flamingock --features vault --example vault
//! ```

use std::env;

use flamingock::{
    ChangeError, ChangeKey, Dep, Flamingock, HttpError, Stage, TargetClient, Vault, VaultTarget, change,
};
use serde_json::{Value, json};

const SECRET: &str = "shop/mail";

/// The application's own way to a new password.
pub struct NewPassword(pub String);

/// Check-and-set, so a version that somebody writes meanwhile is not buried. The secret says which change wrote it, by
/// which a later attempt and the rollback know their own.
#[change(
    id = "rotate-mail-password",
    order = "0001",
    author = "mara",
    target = "secrets",
    recovery = "always_retry",
    rollback = former_password
)]
async fn rotate(vault: TargetClient<Vault>, key: ChangeKey, new: Dep<NewPassword>) -> Result<(), HttpError> {
    let mine = key.step("rotate");
    let current = vault.secret::<Value>(SECRET).await?;
    if current
        .as_ref()
        .is_some_and(|secret| secret.data["written_by"] == mine)
    {
        return Ok(());
    }
    let secret = json!({"password": new.0, "written_by": mine});
    let version = current.map_or(0, |secret| secret.version);
    vault.write_secret(SECRET, &secret, version).await?;
    Ok(())
}

/// The former data as a newer version: nothing is destroyed.
pub async fn former_password(vault: TargetClient<Vault>, key: ChangeKey) -> Result<(), ChangeError> {
    let Some(current) = vault.secret::<Value>(SECRET).await? else {
        return Ok(());
    };
    if current.data["written_by"] != key.step("rotate") {
        return Ok(());
    }
    let former = vault
        .secret_version::<Value>(SECRET, current.version - 1)
        .await?
        .ok_or("there was no password before this one")?;
    vault.write_secret(SECRET, &former.data, current.version).await?;
    Ok(())
}

const BEFORE: &str = r#"path "secret/data/shop/*" { capabilities = ["read"] }"#;
const AFTER: &str = r#"path "secret/data/shop/*" { capabilities = ["read", "list"] }"#;

/// From one known text to another. If somebody has written a third, it is left alone, and the change fails.
#[change(
    id = "shop-may-list",
    order = "0002",
    author = "lin",
    target = "secrets",
    recovery = "always_retry",
    rollback = shop_may_only_read
)]
async fn shop_may_list(vault: TargetClient<Vault>) -> Result<(), ChangeError> {
    move_policy(&vault, BEFORE, AFTER).await
}

async fn shop_may_only_read(vault: TargetClient<Vault>) -> Result<(), ChangeError> {
    move_policy(&vault, AFTER, BEFORE).await
}

async fn move_policy(vault: &Vault, from: &str, to: &str) -> Result<(), ChangeError> {
    match vault.policy("shop").await? {
        Some(text) if text == to => Ok(()),
        Some(text) if text != from => Err("the policy `shop` is neither of the two".into()),
        _ => Ok(vault.write_policy("shop", to).await?),
    }
}

pub fn target(address: &str, token: &str) -> Result<VaultTarget, HttpError> {
    VaultTarget::new("secrets", address, token)
}

pub fn stage() -> Stage {
    Stage::new("secrets").change(rotate).change(shop_may_list)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let address =
        env::var("VAULT_ADDR").map_err(|_| "VAULT_ADDR is not set: such as http://127.0.0.1:8200")?;
    let token = env::var("VAULT_TOKEN").map_err(|_| "VAULT_TOKEN is not set: one that may write")?;
    let target = target(&address, &token)?;
    let password =
        env::var("NEW_PASSWORD").map_err(|_| "NEW_PASSWORD is not set: what the secret is to hold")?;
    let app = Flamingock::from_env()
        .target(target)
        .dependency(NewPassword(password))
        .stage(stage());
    app.build()?.run().await?;
    Ok(())
}
