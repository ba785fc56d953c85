//! Unleash: last, when everything is in place that the feature needs.

use flamingock::{HttpError, TargetClient, Unleash, UnleashStrategy, change};

pub const FLAG: &str = "shop-gift-cards";
pub const ENVIRONMENT: &str = "development";

/// Stages do not wait for each other, so it says what it needs: where one of those failed, customers see nothing yet.
#[change(
    id = "gift-cards-for-a-quarter",
    order = "0001",
    author = "lin",
    target = "flags",
    depends_on = [
        "orders-take-gift-cards",
        "gift-card-key",
        "gift-card-queue",
        "gift-cards-in-the-schema",
        "gift-card-terms"
    ],
    recovery = "always_retry",
    rollback = no_gift_cards
)]
pub async fn gift_cards_for_a_quarter(flags: TargetClient<Unleash>) -> Result<(), HttpError> {
    if !flags.has_flag(FLAG).await? {
        flags
            .create_flag(FLAG, "release", "gift cards in the shop")
            .await?;
    }
    if flags.strategies(FLAG, ENVIRONMENT).await?.is_empty() {
        let quarter = UnleashStrategy::rollout(FLAG, 25);
        flags.add_strategy(FLAG, ENVIRONMENT, &quarter).await?;
    }
    flags.turn_on(FLAG, ENVIRONMENT).await
}

async fn no_gift_cards(flags: TargetClient<Unleash>) -> Result<(), HttpError> {
    if flags.has_flag(FLAG).await? {
        flags.turn_off(FLAG, ENVIRONMENT).await?;
    }
    flags.remove_flag(FLAG).await
}
