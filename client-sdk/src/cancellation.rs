//! The signal that a running change should stop.

use std::{fmt, sync::Arc};

use flamingock_api_types::progress::CancellationNotice;
use tokio::sync::watch;

use crate::lease::Lease;

/// Why a change should stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelReason {
    /// The lock is gone: another runner may start the same work at any moment.
    LockLost,
    /// Somebody asked for it on the server.
    Requested,
    /// This process is asked to end: what is not done by the end of the grace is cut off.
    Shutdown,
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LockLost => "the lock was lost",
            Self::Requested => "the server asked the run to stop",
            Self::Shutdown => "the application was asked to stop",
        })
    }
}

/// Tells a change when it should stop: a long one awaits it beside its work.
///
/// ```
/// use flamingock::{Cancellation, ChangeError, change};
/// # async fn copy_everything() -> Result<(), std::io::Error> { Ok(()) }
///
/// #[change(id = "copy-objects", order = "0001", target = "objects", recovery = "always_retry")]
/// async fn copy_objects(cancellation: Cancellation) -> Result<(), ChangeError> {
///     tokio::select! {
///         copied = copy_everything() => Ok(copied?),
///         reason = cancellation.cancelled() => Err(reason.to_string().into()),
///     }
/// }
/// ```
///
/// Nothing is stopped by force. A change that does not look is allowed to finish, and its result is reported.
#[derive(Clone)]
pub struct Cancellation {
    receiver: watch::Receiver<Option<CancelReason>>,
    /// `None` in a test.
    lease: Option<Lease>,
    /// Keeps the signal of a test's own cancellation alive.
    _keep: Option<Arc<watch::Sender<Option<CancelReason>>>>,
}

impl Cancellation {
    pub(crate) fn new(receiver: watch::Receiver<Option<CancelReason>>, lease: Lease) -> Self {
        Self {
            receiver,
            lease: Some(lease),
            _keep: None,
        }
    }

    /// One that never comes, for calling a change function in a test.
    pub fn never() -> Self {
        let (sender, receiver) = watch::channel(None);
        Self {
            receiver,
            lease: None,
            _keep: Some(Arc::new(sender)),
        }
    }

    /// Waits for the signal. Never returns if it does not come.
    pub async fn cancelled(&self) -> CancelReason {
        let mut receiver = self.receiver.clone();
        let reason = receiver
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|reason| *reason);
        match reason {
            Some(reason) => reason,
            // The run is over and can no longer be cancelled.
            None => std::future::pending().await,
        }
    }

    /// Who asked the run to stop, when and why: with [`CancelReason::Requested`], where the server says so.
    pub fn notice(&self) -> Option<CancellationNotice> {
        self.lease.as_ref().and_then(Lease::notice)
    }

    /// The reason, if the signal has come.
    pub fn reason(&self) -> Option<CancelReason> {
        *self.receiver.borrow()
    }

    /// Has the signal come?
    pub fn is_cancelled(&self) -> bool {
        self.reason().is_some()
    }
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancellation").field(&self.reason()).finish()
    }
}
