//! Keys with another name, and configuration, in Redis.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT`, `FLAMINGOCK_SERVICE` and `REDIS_URL`:
//!
//! ```text
//! cargo run -p flamingock --features redis --example redis
//! ```

use std::env;

use flamingock::{ChangeError, ChangeKey, Flamingock, Redis, RedisTarget, Stage, TargetClient, change};
use redis::RedisError;

/// Finds done what an earlier attempt has done, so it can be repeated.
#[change(
    id = "carts-are-baskets",
    order = "0001",
    author = "mara",
    target = "cache",
    recovery = "always_retry",
    rollback = baskets_are_carts
)]
async fn carts_are_baskets(redis: TargetClient<Redis>) -> Result<(), ChangeError> {
    let done = redis.rename_prefix("cart:", "basket:").await?;
    if !done.taken.is_empty() {
        return Err(format!("the new names of {} keys are taken", done.taken.len()).into());
    }
    Ok(())
}

async fn baskets_are_carts(redis: TargetClient<Redis>) -> Result<(), RedisError> {
    redis.rename_prefix("basket:", "cart:").await?;
    Ok(())
}

/// Sets fields, and keeps what they were: in one script, so that nobody sees a half of it. What an earlier attempt has
/// kept is from before the change, and stays.
const CONFIGURE: &str = r"
    if redis.call('EXISTS', KEYS[2]) == 0 then
        for at = 1, #ARGV, 2 do
            redis.call('HSET', KEYS[2], ARGV[at], redis.call('HGET', KEYS[1], ARGV[at]) or '')
        end
    end
    return redis.call('HSET', KEYS[1], unpack(ARGV))";

const PUT_BACK: &str = r"
    local kept = redis.call('HGETALL', KEYS[2])
    for at = 1, #kept, 2 do
        if kept[at + 1] == '' then
            redis.call('HDEL', KEYS[1], kept[at])
        else
            redis.call('HSET', KEYS[1], kept[at], kept[at + 1])
        end
    end
    return redis.call('DEL', KEYS[2])";

#[change(
    id = "longer-sessions",
    order = "0002",
    author = "lin",
    target = "cache",
    recovery = "always_retry",
    rollback = sessions_as_before
)]
pub async fn longer_sessions(redis: TargetClient<Redis>, key: ChangeKey) -> Result<(), RedisError> {
    redis::Script::new(CONFIGURE)
        .key("config")
        .key(kept(&key))
        .arg(&["session-minutes", "60", "remember-days", "30"])
        .invoke_async(&mut redis.connection().await?)
        .await
}

async fn sessions_as_before(redis: TargetClient<Redis>, key: ChangeKey) -> Result<(), RedisError> {
    redis::Script::new(PUT_BACK)
        .key("config")
        .key(kept(&key))
        .invoke_async(&mut redis.connection().await?)
        .await
}

fn kept(key: &ChangeKey) -> String {
    format!("kept:{}", key.step("config"))
}

pub fn target(client: redis::Client) -> RedisTarget {
    RedisTarget::new("cache", client)
}

pub fn stage() -> Stage {
    Stage::new("cache")
        .change(carts_are_baskets)
        .change(longer_sessions)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let url = env::var("REDIS_URL").map_err(|_| "REDIS_URL is not set: such as redis://127.0.0.1:6379")?;
    let client = redis::Client::open(url)?;
    let app = Flamingock::from_env().target(target(client)).stage(stage());
    app.build()?.run().await?;
    Ok(())
}
