//! Live events: what happens, told to whoever listens, in one order on every replica (ADR 017).
//!
//! One poll for each replica, only while somebody listens there, orders what is new and reads it once; it goes to all
//! listeners through one buffer of bounded size. A listener that falls behind it, or comes back after a while, reads what it
//! lacks by itself, page by page. Nobody holds a connection while there is nothing to tell.

mod order;
mod position;
mod sight;
mod telling;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use prometheus::IntGauge;
use sqlx::PgPool;
use tokio::sync::{Notify, Semaphore, broadcast};

pub use position::Position;
pub use sight::{Sight, Site, Wanted};
pub use telling::{Told, What};

use super::combine::Combiner;
use super::fault::Fault;
use super::turns::Busy;
use crate::store::events::{self, LogHead};
use crate::store::{self, StoreError};

pub use order::KEPT_DAYS;

/// Between two looks at what is new.
pub const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Of the time between two looks, a look takes at most one part in so many: with very many services they come less often.
const LOOK_SHARE: u32 = 10;

/// Between two removals of what is kept no longer, once all of it is removed. Until then each look removes as many rows as it
/// may write, so that the log does not grow by what is busy.
const FORGET_INTERVAL: Duration = Duration::from_mins(1);

/// Entries that are read and held together.
const PAGE: i64 = 256;

/// Batches of at most [`PAGE`] that wait for slow listeners of an organisation.
const BUFFERED: usize = 32;

/// Listeners that read what they lack at once; the others wait for their turn. They must not take the connections of runners.
const READERS: usize = 2;

#[derive(Clone)]
pub struct Events {
    inner: Arc<Inner>,
    /// Looks: those that ask at once share one.
    looks: Combiner<i64, LogHead>,
}

struct Inner {
    pool: PgPool,
    channels: Mutex<HashMap<i64, Channel>>,
    anyone: Notify,
    readers: Semaphore,
    gauge: IntGauge,
    max: usize,
    last_forgotten: Mutex<Option<Instant>>,
}

/// An organisation that somebody listens to.
struct Channel {
    listeners: usize,
    batches: broadcast::Sender<Arc<Batch>>,
    /// Row of the log up to which batches were sent; `None` before the first look.
    sent: Option<i64>,
    /// The latest attempt to send failed: that is told once.
    failing: bool,
}

/// What some rows of the log tell.
#[derive(Debug)]
struct Batch {
    /// The row before the first.
    after: i64,
    end: Position,
    /// `None`: too much to hold. Who needs it reads it page by page.
    told: Option<Vec<Arc<Told>>>,
}

/// Why nobody can listen from there.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ListenError {
    #[error("too many listen already: {0}")]
    Full(Busy),
    /// It is older than what is kept, or from before a restore.
    #[error("the position is not kept")]
    NotKept,
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Events {
    pub(super) fn new(pool: PgPool, limit: Duration, gauge: IntGauge, max: usize) -> Self {
        let inner = Arc::new(Inner {
            pool,
            channels: Mutex::default(),
            anyone: Notify::new(),
            readers: Semaphore::new(READERS),
            gauge,
            max,
            last_forgotten: Mutex::new(None),
        });
        let looker = Arc::clone(&inner);
        let looks = Combiner::spawn("events", 1024, 1, limit, move |organisations: Vec<i64>| {
            let inner = Arc::clone(&looker);
            async move {
                match inner.look(&organisations).await {
                    Ok(heads) => organisations
                        .iter()
                        .map(|id| heads.get(id).copied().ok_or_else(|| no_log(*id)))
                        .collect(),
                    Err(fault) => organisations.iter().map(|_| Err(fault.clone())).collect(),
                }
            }
        });
        Self { inner, looks }
    }

    /// Listens to an organisation, from now on or from where somebody was. What is told is everything of it: whether the
    /// listener may see it is for the caller to judge, each time.
    pub async fn listen(
        &self,
        organisation_id: i64,
        from: Option<Position>,
    ) -> Result<Listening, ListenError> {
        // The place is taken before the look: what happens after it is then not missed.
        let (place, batches) = self.inner.enter(organisation_id).map_err(ListenError::Full)?;
        order::begin(&self.inner.pool, organisation_id)
            .await
            .map_err(Fault::from)?;
        let head = self.looks.submit(organisation_id).await?;
        let at = match from {
            None => Position::after(head.id, head.at),
            Some(from) if self.inner.is_kept(organisation_id, from, head).await? => from,
            Some(_) => return Err(ListenError::NotKept),
        };
        Ok(Listening {
            place,
            batches,
            at,
            behind: at.within.is_some() || at.id < head.id,
        })
    }

    /// Looks for what is new for ever, while anybody listens; run by one task of the process.
    pub async fn poll(&self) {
        let mut failing = false;
        loop {
            let organisations: Vec<i64> = self.inner.channels().keys().copied().collect();
            if organisations.is_empty() {
                self.inner.anyone.notified().await;
                continue;
            }
            let started = Instant::now();
            let looks = organisations.into_iter().map(|id| self.looks.submit(id));
            let failed = join_all(looks).await.into_iter().find_map(Result::err);
            match &failed {
                Some(fault) if !failing => {
                    let error: &dyn std::error::Error = fault;
                    tracing::warn!(
                        error,
                        "live events: the look for what is new failed; it is tried again until it works"
                    );
                }
                None if failing => tracing::info!("live events: the look for what is new works again"),
                _ => {}
            }
            failing = failed.is_some();
            tokio::time::sleep(POLL_INTERVAL.max(started.elapsed() * LOOK_SHARE)).await;
        }
    }
}

impl Inner {
    fn enter(
        self: &Arc<Self>,
        organisation_id: i64,
    ) -> Result<(Place, broadcast::Receiver<Arc<Batch>>), Busy> {
        let mut channels = self.channels();
        // Half of the places, so that one tenant cannot shut out the others.
        let share = self.max.div_ceil(2);
        if channels
            .get(&organisation_id)
            .is_some_and(|channel| channel.listeners >= share)
        {
            return Err(Busy::Organisation(share));
        }
        if usize::try_from(self.gauge.get()).is_ok_and(|open| open >= self.max) {
            return Err(Busy::Replica(self.max));
        }
        let channel = channels.entry(organisation_id).or_insert_with(|| Channel {
            listeners: 0,
            batches: broadcast::Sender::new(BUFFERED),
            sent: None,
            failing: false,
        });
        channel.listeners += 1;
        self.gauge.inc();
        let batches = channel.batches.subscribe();
        drop(channels);
        self.anyone.notify_one();
        let place = Place {
            inner: Arc::clone(self),
            organisation_id,
        };
        Ok((place, batches))
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<i64, Channel>> {
        self.channels
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Orders what is new in some organisations and sends it to their listeners. Gives where their logs end then.
    async fn look(&self, organisations: &[i64]) -> Result<HashMap<i64, LogHead>, Fault> {
        let mut organisations = organisations.to_vec();
        organisations.sort_unstable();
        organisations.dedup();
        order::catch_up(&self.pool, &organisations).await?;
        let heads = store::past_dead_connections(|| async {
            let mut conn = self.pool.acquire().await?;
            events::load_heads(&mut conn, &organisations).await
        });
        let heads: HashMap<i64, LogHead> = heads.await?.into_iter().collect();
        for (organisation, head) in &heads {
            let sent = {
                let mut channels = self.channels();
                let Some(channel) = channels.get_mut(organisation) else {
                    continue;
                };
                // The first listener of all starts here; whoever was elsewhere before reads what it lacks by itself.
                *channel.sent.get_or_insert(head.id)
            };
            if sent < head.id {
                let result = self.send(*organisation, sent).await;
                self.note(*organisation, result.err());
            }
        }
        self.forget(&organisations).await?;
        Ok(heads)
    }

    /// What cannot be read for one organisation keeps nothing from the others; it is tried again with the next look.
    fn note(&self, organisation_id: i64, failed: Option<Fault>) {
        let mut channels = self.channels();
        let Some(channel) = channels.get_mut(&organisation_id) else {
            return;
        };
        let was_failing = std::mem::replace(&mut channel.failing, failed.is_some());
        drop(channels);
        if let Some(fault) = failed.filter(|_| !was_failing) {
            tracing::error!(
                organisation.id = organisation_id,
                error = &fault as &dyn std::error::Error,
                "live events: those of one organisation could not be read; they are tried again until it works"
            );
        }
    }

    /// Sends everything after a row of the log.
    async fn send(&self, organisation: i64, mut after: i64) -> Result<(), Fault> {
        loop {
            let mut conn = self.pool.acquire().await?;
            let rows = events::list_log(&mut conn, organisation, after + 1, PAGE).await?;
            let Some(first) = rows.first() else {
                return Ok(());
            };
            // Whole rows, as many as fit; one that alone is too much is only announced.
            let mut weight = 0;
            let fitting = rows
                .iter()
                .take_while(|row| {
                    weight += telling::weight(row);
                    weight <= PAGE
                })
                .count();
            let batch = if fitting == 0 {
                Batch {
                    after,
                    end: Position::after(first.id, first.ordered_at),
                    told: None,
                }
            } else {
                let page = telling::tell(&mut conn, &rows[..fitting], None, PAGE + 1).await?;
                Batch {
                    after,
                    end: page.end,
                    told: Some(page.told),
                }
            };
            drop(conn);
            after = batch.end.id;
            let mut channels = self.channels();
            let Some(channel) = channels.get_mut(&organisation) else {
                return Ok(());
            };
            channel.sent = Some(after);
            // Without a receiver nobody is left to be told.
            let _ = channel.batches.send(Arc::new(batch));
        }
    }

    /// Whether everything after a position is still there, and the position is of this very log.
    async fn is_kept(&self, organisation_id: i64, from: Position, head: LogHead) -> Result<bool, Fault> {
        if from == Position::after(head.id, head.at) {
            return Ok(true);
        }
        if from.id > head.id {
            return Ok(false);
        }
        let mut conn = self.pool.acquire().await?;
        let row = events::list_log(&mut conn, organisation_id, from.id, 1)
            .await?
            .into_iter()
            .next();
        Ok(row.is_some_and(|row| {
            let is_it = row.id == from.id && position::check(row.ordered_at) == from.check;
            is_it || (from == Position::ORIGIN && row.id == 1)
        }))
    }

    /// What a listener lacks, from its position on. `None`: nothing.
    async fn read(&self, organisation_id: i64, at: Position) -> Result<Option<telling::Page>, Fault> {
        let _turn = self.readers.acquire().await.map_err(|_| closed())?;
        let mut conn = self.pool.acquire().await?;
        // A row that is told in part comes again.
        let from = if at.within.is_some() { at.id } else { at.id + 1 };
        let rows = events::list_log(&mut conn, organisation_id, from, PAGE).await?;
        let Some(first) = rows.first() else {
            return Ok(None);
        };
        // Rows were forgotten while somebody paged through them: to go on would leave them out without a word. Who
        // comes back from here hears that the position is not kept.
        if first.id != from {
            return Err(Fault::from(StoreError::Corrupt {
                table: "event_log",
                detail: format!("row {from} of organisation {organisation_id} is kept no longer"),
            }));
        }
        let page = telling::tell(&mut conn, &rows, at.within, PAGE).await?;
        if page.end == at {
            return Err(Fault::from(StoreError::Corrupt {
                table: "event_log",
                detail: format!("row {from} of organisation {organisation_id} tells of what is not there"),
            }));
        }
        Ok(Some(page))
    }

    async fn forget(&self, organisations: &[i64]) -> Result<(), Fault> {
        {
            let mut last = self
                .last_forgotten
                .lock()
                .expect("nothing panics while it holds this lock");
            if last.is_some_and(|at| at.elapsed() < FORGET_INTERVAL) {
                return Ok(());
            }
            *last = Some(Instant::now());
        }
        let mut conn = self.pool.acquire().await?;
        let mut is_left = false;
        for organisation in organisations {
            let removed = events::delete_old(&mut conn, *organisation, KEPT_DAYS, order::ROUND_MAX).await?;
            is_left |= i64::try_from(removed).is_ok_and(|removed| removed >= order::ROUND_MAX);
        }
        if is_left {
            *self
                .last_forgotten
                .lock()
                .expect("nothing panics while it holds this lock") = None;
        }
        Ok(())
    }
}

/// A place among the listeners; leaving is dropping it.
struct Place {
    inner: Arc<Inner>,
    organisation_id: i64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut channels = self.inner.channels();
        if let Some(channel) = channels.get_mut(&self.organisation_id) {
            channel.listeners -= 1;
            if channel.listeners == 0 {
                channels.remove(&self.organisation_id);
            }
        }
        drop(channels);
        self.inner.gauge.dec();
    }
}

/// Somebody who listens.
pub struct Listening {
    place: Place,
    batches: broadcast::Receiver<Arc<Batch>>,
    at: Position,
    /// There is more in the log than it was told.
    behind: bool,
}

impl Listening {
    /// Where it is: after everything that was told so far.
    pub fn position(&self) -> Position {
        self.at
    }

    /// What it lacks, a page at a time; `None` when it lacks nothing and can [`wait`](Self::wait).
    pub async fn catch_up(&mut self) -> Result<Option<Vec<Arc<Told>>>, Fault> {
        if !self.behind {
            return Ok(None);
        }
        let page = self.place.inner.read(self.place.organisation_id, self.at).await?;
        self.behind = page.is_some();
        Ok(page.map(|page| {
            self.at = page.end;
            page.told
        }))
    }

    /// What happens next. Empty: it has fallen behind and must [`catch_up`](Self::catch_up). May be dropped while it waits.
    pub async fn wait(&mut self) -> Vec<Arc<Told>> {
        loop {
            match self.batches.recv().await {
                Ok(batch) if batch.end.id <= self.at.id => {}
                Ok(batch) if batch.after == self.at.id => match &batch.told {
                    Some(told) => {
                        self.at = batch.end;
                        return told.clone();
                    }
                    None => self.behind = true,
                },
                Ok(_) | Err(_) => self.behind = true,
            }
            if self.behind {
                return Vec::new();
            }
        }
    }
}

fn no_log(organisation_id: i64) -> Fault {
    Fault::from(StoreError::Corrupt {
        table: "event_logs",
        detail: format!("organisation {organisation_id} has no log"),
    })
}

fn closed() -> Fault {
    Fault::from(StoreError::Unavailable(sqlx::Error::WorkerCrashed))
}
