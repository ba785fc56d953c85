//! Runners that were told to wait, remembered for people who ask who is there.
//!
//! Kept in memory and written late, all together, by one task: a runner that waits costs no statement of its own, and one
//! that has nothing to do is never seen here. Nothing is decided by it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flamingock_domain::ids::RunnerId;
use sqlx::PgPool;
use tokio::time::Instant;

use super::fault::Fault;
use crate::store::Scope;
use crate::store::sightings::{self, NewSighting};

/// Runners remembered by one replica. Beyond, a runner is not seen: nothing else happens to it.
const REMEMBERED_MAX: usize = 10_000;

/// Between two writes; also how late people see what happened.
const PERIOD: Duration = Duration::from_secs(1);

/// A runner that goes on waiting is written again after this.
const REFRESH: Duration = Duration::from_secs(5);

/// Who did not come for that long is dropped here; what was written stays for a while.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(1);

/// Writes between two clean-ups of the table.
const PERIODS_TO_CLEANUP: u32 = 300;

#[derive(Clone, Default)]
pub struct Sightings(Arc<Mutex<HashMap<(Scope, RunnerId), Seen>>>);

struct Seen {
    first: Instant,
    last: Instant,
    is_waiting: bool,
    /// Requests of this runner that are parked here: a client that gave up may come again before its first request ends.
    parked: usize,
    parked_until: Option<Instant>,
    waits_for: Option<RunnerId>,
    runner_facts: Option<String>,
    /// Something has changed since it was written.
    is_news: bool,
    written: Option<Instant>,
}

/// A request that was told to wait. Dropping it is leaving: when the answer is still "wait", the runner is expected back.
pub(super) struct Sighting {
    sightings: Sightings,
    key: (Scope, RunnerId),
    pub expected_back: bool,
}

impl Sightings {
    /// The runner is told to wait; it is parked until then, if it is.
    pub fn enter(
        &self,
        scope: Scope,
        runner: &RunnerId,
        runner_facts: Option<&str>,
        waits_for: &RunnerId,
        parked_until: Option<Instant>,
    ) -> Option<Sighting> {
        let key = (scope, runner.clone());
        let now = Instant::now();
        let mut seen = self.lock();
        if seen.len() >= REMEMBERED_MAX && !seen.contains_key(&key) {
            return None;
        }
        let it = seen.entry(key.clone()).or_insert_with(|| Seen {
            first: now,
            last: now,
            is_waiting: true,
            parked: 0,
            parked_until: None,
            waits_for: None,
            runner_facts: runner_facts.map(str::to_owned),
            is_news: true,
            written: None,
        });
        if !it.is_waiting {
            it.first = now;
        }
        it.is_news |= !it.is_waiting || parked_until.is_some() || it.waits_for.as_ref() != Some(waits_for);
        it.is_waiting = true;
        it.last = now;
        it.parked += 1;
        it.parked_until = it.parked_until.max(parked_until);
        it.waits_for = Some(waits_for.clone());
        drop(seen);
        Some(Sighting {
            sightings: self.clone(),
            key,
            expected_back: false,
        })
    }

    /// The runner waits no more: it was granted what it waited for.
    pub fn leave(&self, scope: Scope, runner: &RunnerId) {
        if let Some(it) = self.lock().get_mut(&(scope, runner.clone())) {
            it.is_news |= it.is_waiting;
            it.is_waiting = false;
            it.last = Instant::now();
        }
    }

    /// Writes what is new, for ever; run by one task of the process.
    pub async fn keep(&self, pool: &PgPool) {
        let mut periods: u32 = 0;
        let mut is_failing = false;
        loop {
            tokio::time::sleep(PERIOD).await;
            periods = periods.wrapping_add(1);
            let done = self.write(pool, periods.is_multiple_of(PERIODS_TO_CLEANUP)).await;
            if let Err(error) = &done
                && !is_failing
            {
                tracing::warn!(
                    ?error,
                    "waiting runners cannot be written down: nobody sees them until they can"
                );
            }
            is_failing = done.is_err();
        }
    }

    async fn write(&self, pool: &PgPool, cleans_up: bool) -> Result<(), Fault> {
        let news = self.take_news();
        if news.is_empty() && !cleans_up {
            return Ok(());
        }
        let mut conn = pool.acquire().await?;
        sightings::upsert(&mut conn, &news).await?;
        if cleans_up {
            sightings::delete_old(&mut conn).await?;
        }
        Ok(())
    }

    /// What is to be written; forgets who has not come for a while.
    fn take_news(&self) -> Vec<NewSighting> {
        let now = Instant::now();
        let mut seen = self.lock();
        let news = seen
            .iter_mut()
            .filter(|(_, it)| {
                it.is_news
                    || (it.is_waiting
                        && it.written.is_none_or(|written| it.last > written)
                        && it.written.is_none_or(|written| now - written >= REFRESH))
            })
            .map(|((scope, runner), it)| {
                it.is_news = false;
                it.written = Some(now);
                NewSighting {
                    scope: *scope,
                    runner_id: runner.to_string(),
                    first_seen_ms_ago: millis(now - it.first),
                    last_seen_ms_ago: millis(now - it.last),
                    is_waiting: it.is_waiting,
                    parked_for_ms: it
                        .parked_until
                        .filter(|_| it.parked > 0)
                        .map(|until| millis(until.saturating_duration_since(now))),
                    waits_for: it.waits_for.as_ref().map(ToString::to_string),
                    runner_facts: it.runner_facts.clone(),
                }
            })
            .collect();
        seen.retain(|_, it| it.parked > 0 || it.is_news || now - it.last < FORGOTTEN_AFTER);
        news
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(Scope, RunnerId), Seen>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

impl Drop for Sighting {
    fn drop(&mut self) {
        let mut seen = self.sightings.lock();
        if let Some(it) = seen.get_mut(&self.key) {
            it.parked = it.parked.saturating_sub(1);
            it.last = Instant::now();
            if it.parked == 0 {
                it.is_news |= it.parked_until.take().is_some() || it.is_waiting != self.expected_back;
                it.is_waiting = self.expected_back;
            }
        }
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
