//! Turns for what takes long: so many at once in this process, and of them so many for one organisation, so that a tenant
//! who asks for all of them leaves some to the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Why there is no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    #[error("the replica does {0} at once, and as many are under way")]
    Replica(usize),
    #[error("an organisation has {0} at once, and as many are under way")]
    Organisation(usize),
}

#[derive(Clone)]
pub(super) struct Turns {
    inner: Arc<Inner>,
}

struct Inner {
    max: usize,
    share: usize,
    patience: Duration,
    all: Arc<Semaphore>,
    /// Of organisations that hold a turn or wait for one.
    shares: Mutex<HashMap<i64, Weak<Semaphore>>>,
}

/// Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _of_all: OwnedSemaphorePermit,
    _of_share: OwnedSemaphorePermit,
}

impl Turns {
    /// `max` turns at once, `share` of them at most for one organisation; `patience` is how long one queues.
    pub fn new(max: usize, share: usize, patience: Duration) -> Self {
        Self {
            inner: Arc::new(Inner {
                max,
                share,
                patience,
                all: Arc::new(Semaphore::new(max)),
                shares: Mutex::default(),
            }),
        }
    }

    /// The share comes first: whoever waits for that keeps no turn from the others.
    pub async fn take(&self, organisation_id: i64) -> Result<Turn, Busy> {
        let deadline = Instant::now() + self.inner.patience;
        let share = self.inner.share_of(organisation_id).acquire_owned();
        let Ok(Ok(of_share)) = tokio::time::timeout_at(deadline, share).await else {
            return Err(Busy::Organisation(self.inner.share));
        };
        let turn = Arc::clone(&self.inner.all).acquire_owned();
        let Ok(Ok(of_all)) = tokio::time::timeout_at(deadline, turn).await else {
            return Err(Busy::Replica(self.inner.max));
        };
        Ok(Turn {
            _of_all: of_all,
            _of_share: of_share,
        })
    }
}

impl Inner {
    fn share_of(&self, organisation_id: i64) -> Arc<Semaphore> {
        let mut shares = self
            .shares
            .lock()
            .expect("nothing panics while it holds this lock");
        if let Some(share) = shares.get(&organisation_id).and_then(Weak::upgrade) {
            return share;
        }
        // Only those that are in use are kept: they are as many as there are calls.
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(self.share));
        shares.insert(organisation_id, Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns() -> Turns {
        Turns::new(3, 2, Duration::from_secs(5))
    }

    #[tokio::test(start_paused = true)]
    async fn one_organisation_cannot_take_every_turn() {
        let turns = turns();
        let first = turns.take(1).await.expect("free");
        let _second = turns.take(1).await.expect("free");
        assert_eq!(turns.take(1).await.err(), Some(Busy::Organisation(2)));
        let _other = turns.take(2).await.expect("one is left for others");
        assert_eq!(turns.take(2).await.err(), Some(Busy::Replica(3)));
        drop(first);
        turns.take(1).await.expect("one came free");
    }

    #[tokio::test(start_paused = true)]
    async fn who_queues_within_its_patience_gets_what_comes_free() {
        let turns = turns();
        let held = (
            turns.take(1).await.expect("free"),
            turns.take(1).await.expect("free"),
        );
        let waiting = tokio::spawn({
            let turns = turns.clone();
            async move { turns.take(1).await }
        });
        tokio::time::sleep(Duration::from_secs(4)).await;
        drop(held);
        waiting.await.expect("no panic").expect("its turn");
    }

    #[tokio::test(start_paused = true)]
    async fn organisations_that_hold_nothing_are_not_remembered() {
        let turns = turns();
        for organisation in 0..100 {
            turns.take(organisation).await.expect("free");
        }
        assert!(turns.inner.shares.lock().expect("no panic").len() <= 2);
    }
}
