//! The lock while changes run: how long it still holds, what keeps it, and the signal when it is gone.
//!
//! Time is counted on this process's monotonic clock, from the moment before the request was sent: so the holder
//! always believes in its lease for a little less time than the server does.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use flamingock_api_types::{
    ErrorCode,
    lock::{LockResponse, LockStatus, LockView},
    progress::{CancellationNotice, LockExtensionRequest},
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior},
};

use crate::{
    cancellation::{CancelReason, Cancellation},
    checkpoint::Attempt,
    client::{Client, Timed},
    error::Error,
    retry::Patience,
};

/// A lock that this runner was granted.
#[derive(Clone)]
pub(crate) struct Lease {
    shared: Arc<Shared>,
}

struct Shared {
    key: String,
    fence: Option<i64>,
    term: Mutex<Term>,
    signal: watch::Sender<Option<CancelReason>>,
    /// Whose request it is, where somebody asked to stop.
    notice: Mutex<Option<CancellationNotice>>,
    /// The change that is under way: its progress goes along with the heartbeat.
    attempt: Mutex<Weak<Attempt>>,
}

/// What an answer to an extension says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Extended,
    /// The lock is gone.
    Lost,
    /// No answer, or none that says anything about the lock.
    Nothing,
}

#[derive(Clone, Copy)]
struct Term {
    length: Duration,
    end: Instant,
}

impl Lease {
    pub(crate) fn granted(lock: &LockView, sent_at: Instant) -> Self {
        let term = Term::new(sent_at, lock.acquired_for_millis);
        let (signal, _) = watch::channel(None);
        Self {
            shared: Arc::new(Shared {
                key: lock.key.clone(),
                fence: lock.fence,
                term: Mutex::new(term),
                signal,
                notice: Mutex::default(),
                attempt: Mutex::default(),
            }),
        }
    }

    pub(crate) fn key(&self) -> &str {
        &self.shared.key
    }

    pub(crate) fn fence(&self) -> Option<i64> {
        self.shared.fence
    }

    pub(crate) fn length(&self) -> Duration {
        self.term().length
    }

    pub(crate) fn end(&self) -> Instant {
        self.term().end
    }

    /// May another change be started?
    pub(crate) fn check(&self) -> Result<(), CancelReason> {
        if self.end() <= Instant::now() {
            self.cancel(CancelReason::LockLost);
        }
        match *self.shared.signal.borrow() {
            None => Ok(()),
            Some(reason) => Err(reason),
        }
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.check() == Err(CancelReason::LockLost)
    }

    pub(crate) fn cancellation(&self) -> Cancellation {
        Cancellation::new(self.shared.signal.subscribe(), self.clone())
    }

    /// How long the result of a change is reported: while the lease lives, and for one lease from now if it does not.
    /// Ten leases are the end all the same, since a server that extends locks and never takes a result is broken.
    pub(crate) fn report_until(&self) -> impl Fn() -> Instant + Send + Sync + use<> {
        let (lease, length, first) = (self.clone(), self.length(), Instant::now());
        move || (first + length).max(lease.end()).min(first + length * 10)
    }

    fn term(&self) -> Term {
        *self.shared.term.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A saved cursor and a heartbeat may be under way together: the one that was sent later counts.
    fn extend(&self, lock: &LockView, sent_at: Instant) {
        let extended = Term::new(sent_at, lock.acquired_for_millis);
        let mut term = self.shared.term.lock().unwrap_or_else(PoisonError::into_inner);
        if extended.end > term.end {
            *term = extended;
        }
    }

    /// Takes in an answer to an extension of this lease.
    pub(crate) fn hear(&self, answered: &Result<Timed<LockResponse>, Error>, runner_id: &str) -> Heard {
        match answered {
            Ok(Timed { sent_at, answer }) if is_ours(answer, self, runner_id) => {
                self.extend(&answer.lock, *sent_at);
                if answer.cancel {
                    self.request_cancel(answer.cancellation.as_ref());
                }
                Heard::Extended
            }
            Ok(Timed { answer, .. }) => {
                let lock = &answer.lock;
                tracing::warn!(lock = self.key(), owner = %lock.owner, fence = lock.fence, "the lock is another's, or another grant");
                self.cancel(CancelReason::LockLost);
                Heard::Lost
            }
            Err(error) if error.status() == Some(409) || error.code() == Some(ErrorCode::LockNotFound) => {
                tracing::warn!(lock = self.key(), %error, "the lock cannot be extended");
                self.cancel(CancelReason::LockLost);
                Heard::Lost
            }
            Err(_) => Heard::Nothing,
        }
    }

    /// Whose request to stop it is, where there is one.
    pub(crate) fn notice(&self) -> Option<CancellationNotice> {
        self.shared
            .notice
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn request_cancel(&self, notice: Option<&CancellationNotice>) {
        // Before the signal: whoever wakes by it finds this.
        if let Some(notice) = notice {
            *self.shared.notice.lock().unwrap_or_else(PoisonError::into_inner) = Some(notice.clone());
        }
        self.cancel(CancelReason::Requested);
    }

    /// Says which change is under way.
    pub(crate) fn is_at(&self, attempt: &Arc<Attempt>) {
        *self.shared.attempt.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(attempt);
    }

    fn attempt(&self) -> Option<Arc<Attempt>> {
        self.shared
            .attempt
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade()
    }

    /// A lost lock outweighs a request to stop, not the other way round.
    pub(crate) fn cancel(&self, reason: CancelReason) {
        self.shared.signal.send_if_modified(|current| {
            let news = current.is_none() || (*current != Some(reason) && reason == CancelReason::LockLost);
            if news {
                tracing::warn!(lock = %self.shared.key, %reason, "stopping: no further change is begun");
                *current = Some(reason);
            }
            news
        });
    }
}

impl Term {
    fn new(sent_at: Instant, millis: i64) -> Self {
        let length = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        Self {
            length,
            end: sent_at + length,
        }
    }
}

/// Extends a lease until it is dropped or [stopped](Self::stop).
pub(crate) struct Heartbeat {
    task: JoinHandle<()>,
}

impl Heartbeat {
    pub(crate) fn start(client: Client, lease: Lease) -> Self {
        Self {
            task: tokio::spawn(beat(client, lease)),
        }
    }

    /// Afterwards no extension is under way: one must not meet the release.
    pub(crate) async fn stop(mut self) {
        self.task.abort();
        // Only the cancellation that was just asked for.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn beat(client: Client, lease: Lease) {
    let period = (lease.length() / 3).max(Duration::from_millis(10));
    let mut ticks = tokio::time::interval_at(first_beat(&lease, period), period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let end = lease.end();
        tokio::select! {
            _ = ticks.tick() => {}
            () = tokio::time::sleep_until(end) => {}
        }
        if lease.is_lost() {
            return;
        }
        match tokio::time::timeout_at(end, beat_once(&client, &lease)).await {
            Ok(Heard::Extended) => tracing::debug!(lock = lease.key(), "lease extended"),
            Ok(Heard::Lost) => return,
            // The lease still runs: the next beat tries again.
            Ok(Heard::Nothing) => {}
            Err(_) => return lease.cancel(CancelReason::LockLost),
        }
    }
}

/// One extension, with the progress of the change that is under way.
async fn beat_once(client: &Client, lease: &Lease) -> Heard {
    let end = lease.end();
    let patience = Patience::until(move || end);
    let extend = async |request: &LockExtensionRequest| {
        let answered = client.extend_timed(lease.key(), request, &patience).await;
        let heard = lease.hear(&answered, client.runner_id());
        if let Err(error) = &answered
            && heard == Heard::Nothing
        {
            tracing::warn!(lock = lease.key(), %error, "the lock could not be extended this time");
        }
        (heard, answered.err().and_then(|error| error.status()))
    };
    let attempt = lease.attempt();
    if let Some(news) = attempt.as_ref().and_then(|attempt| attempt.news()) {
        let (heard, status) = extend(&news.request).await;
        // Progress that the server finds fault with is dropped: the lease must not be lost over it.
        let is_refused = matches!(status, Some(400 | 413 | 422));
        if heard == Heard::Extended || is_refused {
            news.told();
        }
        if !is_refused {
            return heard;
        }
    }
    extend(&LockExtensionRequest::default()).await.0
}

/// A third of the lease after the grant, which is counted from the request: the answer to it may have taken long, and
/// then two thirds from now would already be past the end.
fn first_beat(lease: &Lease, period: Duration) -> Instant {
    let now = Instant::now();
    let two_before_the_end = lease.end().checked_sub(period * 2).unwrap_or(now);
    two_before_the_end.clamp(now, now + period)
}

/// The owner alone does not tell: the lock may have ended and been granted again to a runner of the same id, and what
/// was begun under the old grant may have been given to the new one.
fn is_ours(answer: &LockResponse, lease: &Lease, runner_id: &str) -> bool {
    let grants = lease.fence().zip(answer.lock.fence);
    answer.status == LockStatus::Extended
        && answer.lock.owner == runner_id
        && grants.is_none_or(|(held, extended)| held == extended)
        && answer.lock.acquired_for_millis > 0
}
