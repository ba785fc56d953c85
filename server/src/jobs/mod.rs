//! What happens by itself: small tasks that tick until they are told to stop.

mod checkpoints;
mod keys;
mod revocations;
mod tick;

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::auth::Auth;
use crate::app::checkpoints::Checkpoints;

/// Starts them all. Wait on the tracker before the pool is closed.
pub fn spawn(
    auth: &Auth,
    checkpoints: Option<(Checkpoints, Duration)>,
    shutdown: &CancellationToken,
) -> TaskTracker {
    let tracker = TaskTracker::new();
    tracker.spawn(revocations::run(auth.clone(), shutdown.clone()));
    tracker.spawn(keys::run(auth.clone(), shutdown.clone()));
    if let Some((checkpoints, interval)) = checkpoints {
        tracker.spawn(checkpoints::run(checkpoints, interval, shutdown.clone()));
    }
    tracker.close();
    tracker
}
