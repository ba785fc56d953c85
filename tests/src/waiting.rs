//! Waiting for a state, with a limit; never for a duration.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(15);

/// Looks until there is something. Panics after half a minute, in the words of `what`.
pub async fn eventually<T, F>(what: &str, look: impl Fn() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    looking(LIMIT, what, BETWEEN_LOOKS, look).await
}

/// As [`eventually`], for what takes longer.
pub async fn eventually_within<T, F>(limit: Duration, what: &str, look: impl Fn() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    looking(limit, what, BETWEEN_LOOKS, look).await
}

/// As [`eventually`], with a pause of one's own between two looks.
pub async fn repeatedly<T, F>(what: &str, pause: Duration, look: impl Fn() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    looking(LIMIT, what, pause, look).await
}

async fn looking<T, F>(limit: Duration, what: &str, pause: Duration, look: impl Fn() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let began = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(began.elapsed() < limit, "waited {limit:?} in vain: {what}");
        tokio::time::sleep(pause).await;
    }
}
