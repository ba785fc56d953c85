//! One loop for all jobs.

use std::future::Future;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::app::Fault;

/// Runs `work` again and again. A failure is told when it begins and when it ends, not at every tick between.
pub(super) async fn every<Fut>(
    period: Duration,
    job: &'static str,
    shutdown: CancellationToken,
    mut work: impl FnMut() -> Fut,
) where
    Fut: Future<Output = Result<(), Fault>>,
{
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let done = tokio::select! {
            () = shutdown.cancelled() => return,
            done = work() => done,
        };
        match &done {
            Ok(()) if failing => tracing::info!(job, "works again"),
            Err(fault) if !failing => {
                let error: &dyn std::error::Error = fault;
                tracing::warn!(job, error, "failed; it is tried again until it works");
            }
            _ => {}
        }
        failing = done.is_err();
    }
}
