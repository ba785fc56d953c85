//! Parked requests: who waits for which lock to free, and how they learn of it.
//!
//! A release on this replica wakes its waiters at once. For everything that happens elsewhere (another replica, a lease
//! that runs out) one poll reads the locks of all scopes that have waiters, together, and only while there are any: a
//! thousand waiters cost one statement per interval, and nobody else pays a `NOTIFY` inside a commit (ADR 005).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flamingock_domain::ids::RunnerId;
use futures_util::future::join_all;
use prometheus::IntGauge;
use tokio::sync::{Notify, watch};

use super::heads::Heads;
use crate::store::Scope;
use crate::store::streams::Head;

/// Between two looks at what other replicas did.
pub const POLL_INTERVAL: Duration = Duration::from_millis(25);

#[derive(Clone)]
pub struct Waiting(Arc<Inner>);

struct Inner {
    scopes: Mutex<HashMap<Scope, Parked>>,
    anyone: Notify,
    gauge: IntGauge,
    max: i64,
    grace: Duration,
    /// The server stops: nobody waits any more.
    dismissed: AtomicBool,
}

struct Parked {
    waiters: usize,
    turns: watch::Sender<u64>,
    /// Holder when it was last looked at.
    holder: Option<RunnerId>,
}

/// A place among the parked; leaving is dropping it.
pub struct Waiter {
    waiting: Waiting,
    scope: Scope,
    turns: watch::Receiver<u64>,
}

impl Waiting {
    pub fn new(gauge: IntGauge, max: usize, grace: Duration) -> Self {
        Self(Arc::new(Inner {
            scopes: Mutex::default(),
            anyone: Notify::new(),
            gauge,
            max: i64::try_from(max).unwrap_or(i64::MAX),
            grace,
            dismissed: AtomicBool::new(false),
        }))
    }

    /// Takes a place. Do so *before* the look that decides to wait: what happens after it is then not missed. `None` when
    /// too many wait already; the caller answers at once instead.
    pub fn enter(&self, scope: Scope) -> Option<Waiter> {
        if self.0.gauge.get() >= self.0.max || self.is_dismissed() {
            return None;
        }
        let mut scopes = self.lock();
        let parked = scopes.entry(scope).or_insert_with(|| Parked {
            waiters: 0,
            turns: watch::Sender::new(0),
            holder: None,
        });
        parked.waiters += 1;
        let turns = parked.turns.subscribe();
        drop(scopes);
        self.0.gauge.inc();
        self.0.anyone.notify_one();
        Some(Waiter {
            waiting: self.clone(),
            scope,
            turns,
        })
    }

    /// The lock of this scope was released or granted by this replica.
    pub fn wake(&self, scope: Scope) {
        if let Some(parked) = self.lock().get(&scope) {
            parked.turns.send_modify(|turn| *turn += 1);
        }
    }

    /// Wakes everybody for good: parked requests answer with what is true now, and no new one is parked.
    pub fn dismiss(&self) {
        self.0.dismissed.store(true, Ordering::Release);
        for parked in self.lock().values() {
            parked.turns.send_modify(|turn| *turn += 1);
        }
    }

    pub fn is_dismissed(&self) -> bool {
        self.0.dismissed.load(Ordering::Acquire)
    }

    /// Looks after the waiters for ever; run by one task of the process.
    pub async fn poll(&self, heads: &Heads) {
        loop {
            let scopes: Vec<Scope> = self.lock().keys().copied().collect();
            if scopes.is_empty() {
                self.0.anyone.notified().await;
                continue;
            }
            let found = join_all(scopes.iter().map(|scope| heads.read(*scope))).await;
            for (scope, head) in scopes.into_iter().zip(found) {
                // A database that is away is noticed by everybody; the next look may find it back.
                if let Ok(Some(head)) = head {
                    self.judge(scope, &head);
                }
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    fn judge(&self, scope: Scope, head: &Head) {
        let lease = head.lock.as_ref().and_then(|lock| lock.lease.as_ref());
        let takeable = lease.is_none_or(|lease| head.now > lease.expires_at.plus(self.0.grace));
        let holder = lease.map(|lease| &lease.owner);
        if let Some(parked) = self.lock().get_mut(&scope) {
            let changed = parked.holder.as_ref() != holder;
            if changed {
                parked.holder = holder.cloned();
            }
            if takeable || changed {
                parked.turns.send_modify(|turn| *turn += 1);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Scope, Parked>> {
        self.0
            .scopes
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}

impl Waiter {
    /// Returns when something happened since the last call (or since the place was taken).
    pub async fn turn(&mut self) {
        // The sender lives in the map as long as this waiter is counted there.
        let _ = self.turns.changed().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut scopes = self.waiting.lock();
        if let Some(parked) = scopes.get_mut(&self.scope) {
            parked.waiters -= 1;
            if parked.waiters == 0 {
                scopes.remove(&self.scope);
            }
        }
        drop(scopes);
        self.waiting.0.gauge.dec();
    }
}
