//! How the process ends: first in order, then at once.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Two steps of stopping. `soft`: accept nothing new, finish what runs. `hard`: drop it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    pub soft: CancellationToken,
    pub hard: CancellationToken,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts to listen: the first SIGINT or SIGTERM is soft; the second, or the end of the grace, is hard.
    /// Must be called inside a runtime.
    pub fn on_signals(grace: Duration) -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let shutdown = Self::new();
        let told = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = told.soft.cancelled() => {}
            }
            tracing::info!(
                grace_s = grace.as_secs(),
                "stopping: no new requests; those in work may end. Another signal stops at once"
            );
            told.soft.cancel();
            tokio::select! {
                _ = interrupt.recv() => tracing::warn!("stopping at once"),
                _ = terminate.recv() => tracing::warn!("stopping at once"),
                () = tokio::time::sleep(grace) => tracing::warn!("requests in work did not end in time: dropping them"),
                () = told.hard.cancelled() => {}
            }
            told.hard.cancel();
        });
        Ok(shutdown)
    }
}
