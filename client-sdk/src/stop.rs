//! Asking a run to stop, and how long what is under way may still take.

use std::{convert::Infallible, fmt, future::Future, sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

/// Asks the runs of one [`Flamingock`](crate::Flamingock) to stop; made by
/// [`stop_handle`](crate::Flamingock::stop_handle). Cheap to clone.
///
/// From then on no change is begun, and waiting for the lock ends. A change that is running gets its
/// [`Cancellation`](crate::Cancellation) and may finish within the [grace](crate::Builder::stop_grace). What it came to is
/// reported, the lock is given back, and the run ends with
/// [`StartErrorKind::Interrupted`](crate::StartErrorKind::Interrupted). It cannot be taken back: later runs of the same
/// value end at once.
#[derive(Clone)]
pub struct StopHandle {
    /// When it was first asked for.
    asked: Arc<watch::Sender<Option<Instant>>>,
}

impl StopHandle {
    pub(crate) fn new() -> Self {
        Self {
            asked: Arc::new(watch::Sender::new(None)),
        }
    }

    /// Asks. Only the first call counts; it returns at once.
    pub fn stop(&self) {
        self.asked.send_if_modified(|asked| {
            let first = asked.is_none();
            if first {
                *asked = Some(Instant::now());
            }
            first
        });
    }

    /// Has it been asked for?
    pub fn is_stopping(&self) -> bool {
        self.asked.borrow().is_some()
    }

    /// Waits until it is asked for, for ever if it is not. When that was.
    pub(crate) async fn requested(&self) -> Instant {
        let mut receiver = self.asked.subscribe();
        match receiver
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|asked| *asked)
        {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }

    /// Waits until the grace after the request is over.
    pub(crate) async fn grace_over(&self, grace: Duration) {
        let asked = self.requested().await;
        tokio::time::sleep_until(asked + grace).await;
    }

    /// Passes a signal on, and lets whoever drives this beside something else go on with that.
    pub(crate) async fn when(&self, shutdown: impl Future<Output = ()>) -> Infallible {
        shutdown.await;
        self.stop();
        std::future::pending().await
    }
}

impl fmt::Debug for StopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopHandle")
            .field("is_stopping", &self.is_stopping())
            .finish()
    }
}

/// A future that ends when the process is asked to end: by SIGTERM, as orchestrators do, or by Ctrl-C. For
/// [`run_until`](crate::Flamingock::run_until), and for whatever the application does afterwards.
///
/// Signals are caught from the call on, not from the first poll. **They stay caught**: the system's own way, which ends
/// the process, does not come back when the future is dropped. So go on listening while serving, with another of these:
///
/// ```no_run
/// # use flamingock::Flamingock;
/// # async fn serve_until(_: impl std::future::Future<Output = ()>) -> std::io::Result<()> { Ok(()) }
/// # async fn start(app: Flamingock) -> Result<(), Box<dyn std::error::Error>> {
/// app.run_until(flamingock::shutdown_signal()?).await?;
/// serve_until(flamingock::shutdown_signal()?).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Where the system refuses to have signals caught.
///
/// # Panics
///
/// Outside a tokio runtime with IO enabled, as tokio's own signals do.
#[cfg(feature = "signal")]
pub fn shutdown_signal() -> std::io::Result<impl Future<Output = ()> + Send + use<>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};

        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM"),
                _ = interrupt.recv() => tracing::info!("SIGINT"),
            }
        })
    }
    #[cfg(windows)]
    {
        use tokio::signal::windows::{ctrl_c, ctrl_shutdown};

        let (mut interrupt, mut shutdown) = (ctrl_c()?, ctrl_shutdown()?);
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => tracing::info!("Ctrl-C"),
                _ = shutdown.recv() => tracing::info!("the system shuts down"),
            }
        })
    }
}
