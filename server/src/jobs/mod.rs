//! What happens by itself: small tasks that tick until they are told to stop.

mod keys;
mod revocations;
mod tick;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::auth::Auth;

/// Starts them all. Wait on the tracker before the pool is closed.
pub fn spawn(auth: &Auth, shutdown: &CancellationToken) -> TaskTracker {
    let tracker = TaskTracker::new();
    tracker.spawn(revocations::run(auth.clone(), shutdown.clone()));
    tracker.spawn(keys::run(auth.clone(), shutdown.clone()));
    tracker.close();
    tracker
}
