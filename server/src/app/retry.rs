//! Transactions that lost a race are repeated in one place: a bounded number of times, under a name.

use std::future::Future;

use super::fault::Fault;
use crate::store::StoreError;

const ATTEMPTS: u32 = 4;

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
