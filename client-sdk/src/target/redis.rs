//! Redis and Valkey. `MULTI` is no transaction: commands that fail in it do not undo the others, and nothing tells a
//! client that lost its connection whether it was executed. So a change here says how it is undone, as everywhere
//! without transactions.

use std::{borrow::Cow, fmt};

use redis::{AsyncCommands as _, Client, FromRedisValue, Pipeline, RedisResult, aio::MultiplexedConnection};

use super::Target;

/// A Redis. Changes take `TargetClient<Redis>`.
#[derive(Debug)]
pub struct RedisTarget {
    id: Cow<'static, str>,
    client: Redis,
}

/// Connections to a Redis, and what changes do often.
///
/// ```
/// use flamingock::{Redis, TargetClient, change};
///
/// #[change(id = "carts-renamed", order = "0001", target = "cache", recovery = "always_retry", rollback = named_back)]
/// async fn carts_renamed(redis: TargetClient<Redis>) -> Result<(), redis::RedisError> {
///     redis.rename_prefix("cart:", "basket:").await?;
///     Ok(())
/// }
///
/// async fn named_back(redis: TargetClient<Redis>) -> Result<(), redis::RedisError> {
///     redis.rename_prefix("basket:", "cart:").await?;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Redis {
    client: Client,
}

/// What became of the keys of a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renamed {
    /// How many have the new name.
    pub renamed: u64,
    /// Those whose new name was taken: nothing is overwritten, and they keep the old one.
    pub taken: Vec<Vec<u8>>,
}

impl RedisTarget {
    /// A Redis by its client. TLS is a matter of the features of the crate `redis`.
    pub fn new(id: impl Into<Cow<'static, str>>, client: Client) -> Self {
        Self {
            id: id.into(),
            client: Redis { client },
        }
    }

    /// The client, for calling a change function in a test.
    pub fn client(&self) -> Redis {
        self.client.clone()
    }
}

impl From<RedisTarget> for Target {
    fn from(target: RedisTarget) -> Self {
        Self::non_transactional(target.id, target.client)
    }
}

impl Redis {
    /// A connection of its own.
    pub async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        self.client.get_multiplexed_async_connection().await
    }

    /// Commands that no other client's come between (`MULTI`, `EXEC`). A command that fails in it does not undo the others;
    /// one that Redis does not even accept keeps all from being executed.
    pub async fn together<T: FromRedisValue>(
        &self,
        commands: impl FnOnce(&mut Pipeline) + Send,
    ) -> RedisResult<T> {
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        commands(&mut pipeline);
        pipeline.query_async(&mut self.connection().await?).await
    }

    /// Gives every key that begins with `from` a name that begins with `to` instead. What comes while it runs may be missed;
    /// what it has done already, it finds done. Not in a cluster, where a key lives where its name says.
    pub async fn rename_prefix(&self, from: &str, to: &str) -> RedisResult<Renamed> {
        let mut connection = self.connection().await?;
        let mut done = Renamed::default();
        for key in self.keys(from).await? {
            let name = [to.as_bytes(), &key[from.len()..]].concat();
            let renamed: RedisResult<bool> = connection.rename_nx(&key, &name).await;
            match renamed {
                Ok(true) => done.renamed += 1,
                Ok(false) => done.taken.push(key),
                // Expired or removed since it was seen.
                Err(_) if !connection.exists::<_, bool>(&key).await? => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// All keys that begin with this, found without blocking the server.
    pub async fn keys(&self, prefix: &str) -> RedisResult<Vec<Vec<u8>>> {
        let mut connection = self.connection().await?;
        let pattern = format!("{}*", escaped(prefix));
        let (mut found, mut cursor) = (Vec::<Vec<u8>>::new(), 0_u64);
        loop {
            let (next, some): (u64, Vec<Vec<u8>>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(&pattern)
                .arg("COUNT")
                .arg(500)
                .query_async(&mut connection)
                .await?;
            found.extend(some);
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        // A scan may return a key twice.
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password.
        let address = self.client.get_connection_info().addr().to_string();
        f.debug_struct("Redis").field("address", &address).finish()
    }
}

/// As a pattern that matches nothing but this text.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, character| {
        if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^') {
            out.push('\\');
        }
        out.push(character);
        out
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_prefix_is_no_pattern() {
        assert_eq!(super::escaped("a*b[c]?"), r"a\*b\[c\]\?");
        assert_eq!(super::escaped("cart:"), "cart:");
    }
}
