//! Transactions that came to nothing are repeated in one place: a bounded number of times, under a name.

use std::future::Future;

use super::fault::Fault;
use crate::store::StoreError;

const ATTEMPTS: u32 = 4;

/// Runs `work`, which must begin and commit its own transaction, until it is neither lost to contention nor cut off by a
/// connection that died. For work that may be done twice: when the connection dies at the commit, nobody knows whether it
/// was done. A caller who cannot repeat (the Java client undoes a change whose report fails) is so spared the restart of a
/// database.
pub(super) async fn until_done<T, Fut>(name: &'static str, mut work: impl FnMut() -> Fut) -> Result<T, Fault>
where
    Fut: Future<Output = Result<T, Fault>>,
{
    let mut attempt = 1;
    loop {
        match on_contention(name, &mut work).await {
            Err(Fault::Busy(cause)) if attempt < ATTEMPTS && cause.is_dead_connection() => {
                tracing::warn!(transaction = name, attempt, error = ?cause, "the connection died, trying again");
                attempt += 1;
            }
            done => return done,
        }
    }
}

/// Runs `work`, which must begin and commit its own transaction, until it is not lost to contention.
pub(super) async fn on_contention<T, Fut>(
    name: &'static str,
    mut work: impl FnMut() -> Fut,
) -> Result<T, Fault>
where
    Fut: Future<Output = Result<T, Fault>>,
{
    let mut attempt = 1;
    loop {
        match work().await {
            Err(Fault::Busy(cause)) if attempt < ATTEMPTS && matches!(*cause, StoreError::Contention(_)) => {
                tracing::debug!(transaction = name, attempt, "lost a race, trying again");
                attempt += 1;
            }
            done => return done,
        }
    }
}
