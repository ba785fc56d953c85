//! Redis, the GraphQL schema registry, and the configuration files.

use flamingock::{ChangeError, FileError, Files, GraphQl, Redis, TargetClient, change};
use redis::RedisError;
use serde::Deserialize;
use serde_json::{Value, json};

/// A basket can hold a card, which a cart could not: the keys move as they are. Finds done what is done.
#[change(
    id = "carts-are-baskets",
    order = "0001",
    author = "lin",
    target = "cache",
    recovery = "always_retry",
    rollback = baskets_are_carts
)]
pub async fn carts_are_baskets(redis: TargetClient<Redis>) -> Result<(), ChangeError> {
    let done = redis.rename_prefix("shop:cart:", "shop:basket:").await?;
    if !done.taken.is_empty() {
        return Err(format!("the new names of {} keys are taken", done.taken.len()).into());
    }
    Ok(())
}

async fn baskets_are_carts(redis: TargetClient<Redis>) -> Result<(), RedisError> {
    redis.rename_prefix("shop:basket:", "shop:cart:").await?;
    Ok(())
}

pub const SDL_BEFORE: &str = "type Query { ping: String }";
pub const SDL: &str =
    "type Query { ping: String giftCards: [GiftCard!]! } type GiftCard { code: ID! cents: Int! }";

#[derive(Deserialize)]
struct Published {
    revision: u64,
    sdl: String,
}

/// From one known schema to another: if somebody has published a third, it is left alone, and the change fails.
#[change(
    id = "gift-cards-in-the-schema",
    order = "0002",
    author = "lin",
    target = "registry",
    recovery = "always_retry",
    rollback = no_gift_cards_in_the_schema
)]
pub async fn gift_cards_in_the_schema(registry: GraphQl) -> Result<(), ChangeError> {
    publish(&registry, SDL_BEFORE, SDL, false).await
}

/// Taking a field away is breaking, so the registry must be told that it is meant.
async fn no_gift_cards_in_the_schema(registry: GraphQl) -> Result<(), ChangeError> {
    publish(&registry, SDL, SDL_BEFORE, true).await
}

async fn publish(registry: &GraphQl, from: &str, to: &str, force: bool) -> Result<(), ChangeError> {
    let published: Published = registry.execute("{ revision sdl }", json!({})).await?;
    if published.sdl == to {
        return Ok(());
    }
    if published.sdl != from {
        return Err("another schema was published than this change begins from".into());
    }
    let publish = "mutation ($sdl: String!, $expected: Int!, $force: Boolean!) { \
                   publish(sdl: $sdl, expected: $expected, force: $force) }";
    let variables = json!({"sdl": to, "expected": published.revision, "force": force});
    registry.execute::<Value>(publish, variables).await?;
    Ok(())
}

/// Two files that belong together; a crash between them is made good by the next start.
#[change(
    id = "gift-card-terms",
    order = "0003",
    author = "mara",
    target = "config",
    recovery = "always_retry",
    rollback = no_gift_card_terms
)]
pub async fn gift_card_terms(files: Files) -> Result<(), ChangeError> {
    let text = files
        .read_text("shop.conf")
        .await?
        .ok_or("there is no shop.conf")?;
    files
        .write("gift-cards.conf", "valid-years = 3\nlargest-cents = 25000\n")
        .await?;
    if !text.contains("include gift-cards.conf") {
        files
            .write("shop.conf", format!("{text}include gift-cards.conf\n"))
            .await?;
    }
    Ok(())
}

async fn no_gift_card_terms(files: Files) -> Result<(), FileError> {
    files.restore("shop.conf").await?;
    files.restore("gift-cards.conf").await?;
    Ok(())
}
