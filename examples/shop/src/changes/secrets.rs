//! OpenBao: beside the file in `changes/secrets`.

use flamingock::{ChangeError, ChangeKey, HttpError, TargetClient, Vault, change};
use serde_json::{Value, json};

pub const SECRET: &str = "shop/gift-cards";

/// The key that gift cards are signed with. Written only where there is none; it says which change wrote it, so a later
/// attempt and the rollback know their own.
#[change(
    id = "gift-card-key",
    order = "0002",
    author = "lin",
    target = "secrets",
    recovery = "always_retry",
    rollback = no_gift_card_key
)]
pub async fn gift_card_key(vault: TargetClient<Vault>, key: ChangeKey) -> Result<(), ChangeError> {
    let mine = key.step("key");
    match vault.secret::<Value>(SECRET).await? {
        Some(secret) if secret.data["written_by"] == mine => Ok(()),
        Some(_) => Err(format!("{SECRET} is already somebody else's").into()),
        None => {
            // An example's: a real shop has it from a generator of its own, as a `Dep`.
            let secret = json!({"key": format!("for-cards-{mine}"), "written_by": mine});
            vault.write_secret(SECRET, &secret, 0).await?;
            Ok(())
        }
    }
}

async fn no_gift_card_key(vault: TargetClient<Vault>, key: ChangeKey) -> Result<(), HttpError> {
    match vault.secret::<Value>(SECRET).await? {
        Some(secret) if secret.data["written_by"] == key.step("key") => {
            vault.delete_path(&format!("secret/metadata/{SECRET}")).await
        }
        _ => Ok(()),
    }
}
