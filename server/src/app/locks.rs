//! Lock calls: acquire, extend, release, view. Decided under the rows' locks, many in one commit.

use std::collections::HashMap;
use std::time::Duration;

use flamingock_domain::ids::{ExecutionId, Fence, LockKey, RunnerId};
use flamingock_domain::lock::{
    self, Acquire, Claim, Extend, GivingBack, GrantKind, Lease, Lock, Proof, Release,
};
use flamingock_domain::progress::is_under_way;
use flamingock_domain::time::Timestamp;
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;

use super::combine::Combiner;
use super::fault::Fault;
use super::plans::{grant_label, new_acquisition_id};
use super::waiting::Waiting;
use super::{AppSettings, Heads, retry};
use crate::metrics::Metrics;
use crate::store::executions::{self, End};
use crate::store::locks::{self, LockRow, LockUpdate};
use crate::store::{self, Scope, StoreError};
use crate::store::{cancellations, progress};

/// What a runner wants of its service's lock.
#[derive(Clone, Debug)]
pub enum Wish {
    /// Lease already clamped.
    Acquire { lease: Duration, proof: Option<Proof> },
    /// With what the runner tells of the change that it is at.
    Extend { progress: Option<Box<NewProgress>> },
    /// Of the grant with this fence, where the caller says so.
    Release { fence: Option<Fence> },
}

#[derive(Clone, Debug)]
struct Call {
    scope: Scope,
    runner: RunnerId,
    wish: Wish,
    /// When it arrived, on this process's own clock.
    arrived: Instant,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The caller acquired the lock.
    Granted { kind: GrantKind, lock: Lock },
    /// The caller holds the lock for its full lease again.
    Extended(Box<Extended>),
    /// The lock as it was before it was given back.
    Released(Lock),
    /// Another runner holds it, for at least this long.
    HeldByOther { holder: Lease, retry_after: Duration },
    /// To extend or release: the caller does not hold it.
    NotHeld { holder: Option<Lease> },
}

#[derive(Clone, Debug)]
pub struct Extended {
    pub lock: Lock,
    /// Somebody asked its execution to stop.
    pub cancellation: Option<Cancellation>,
    /// Where progress was told: whether it is recorded. Not of a change that is not under way in the execution.
    pub recorded: Option<bool>,
}

/// What is counted of locks, those inside plans included.
pub const EVENTS: &[&str] = &[
    "granted",
    "renewed",
    "taken_over",
    "extended",
    "released",
    "forced",
    "acquisition_refused",
    "extension_refused",
    "release_refused",
];

pub use crate::store::cancellations::Cancellation;
pub use crate::store::progress::NewProgress;

#[derive(Clone)]
pub struct Locks {
    calls: Combiner<Call, Outcome>,
    heads: Heads,
    waiting: Waiting,
    metrics: Metrics,
}

impl Locks {
    pub(super) fn new(
        pool: PgPool,
        heads: Heads,
        waiting: Waiting,
        settings: AppSettings,
        metrics: &Metrics,
    ) -> Self {
        let calls = Combiner::spawn("locks", 256, 1, settings.batch_limit, move |calls: Vec<Call>| {
            let pool = pool.clone();
            async move {
                let done = retry::until_done("locks", || write(&pool, settings.takeover_grace, &calls)).await;
                match done {
                    Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
                    Err(fault) => calls.iter().map(|_| Err(fault.clone())).collect(),
                }
            }
        });
        Self {
            calls,
            heads,
            waiting,
            metrics: metrics.clone(),
        }
    }

    pub async fn wish(&self, scope: Scope, runner: RunnerId, wish: Wish) -> Result<Outcome, Fault> {
        let event = |event: &str| self.metrics.lock_events.with_label_values(&[event]).inc();
        let asked = match wish {
            Wish::Acquire { .. } => "acquisition_refused",
            Wish::Extend { .. } => "extension_refused",
            Wish::Release { .. } => "release_refused",
        };
        let outcome = self
            .calls
            .submit(Call {
                scope,
                runner,
                wish,
                arrived: Instant::now(),
            })
            .await?;
        match &outcome {
            Outcome::Granted { kind, .. } => event(grant_label(*kind)),
            Outcome::Extended(_) => event("extended"),
            Outcome::Released(_) => {
                event("released");
                self.waiting.wake(scope);
            }
            Outcome::HeldByOther { .. } | Outcome::NotHeld { .. } => event(asked),
        }
        Ok(outcome)
    }

    /// The lock as recorded, run out or not; `None` where nobody holds it.
    pub async fn view(&self, scope: Scope) -> Result<Option<Lock>, Fault> {
        let head = self.heads.read(scope).await?;
        Ok(head
            .and_then(|head| head.lock)
            .filter(|lock| lock.lease.is_some()))
    }
}

async fn write(pool: &PgPool, grace: Duration, calls: &[Call]) -> Result<Vec<Outcome>, Fault> {
    let mut asked: Vec<(i64, LockKey)> = calls
        .iter()
        .map(|call| {
            (
                call.scope.environment_id,
                LockKey::of_service(call.scope.service_id),
            )
        })
        .collect();
    asked.sort_unstable();
    asked.dedup();
    let mut tx = store::begin(pool).await?;
    let keys: Vec<(i64, &str)> = asked
        .iter()
        .map(|(environment, key)| (*environment, key.as_str()))
        .collect();
    // Before the wait for the rows, and so is the database's clock that it is taken from: what arrived before another call
    // was granted may only be worked on after it.
    let waited: Vec<Duration> = calls.iter().map(|call| call.arrived.elapsed()).collect();
    let (rows, clock) = locks::lock_for_update(&mut tx, &keys).await?;
    let mut held: HashMap<(i64, LockKey), (LockRow, bool)> = rows
        .into_iter()
        .map(|(environment, row)| ((environment, row.lock.key.clone()), (row, false)))
        .collect();
    let mut ended: Vec<(ExecutionId, End)> = Vec::new();
    let mut outcomes = Vec::with_capacity(calls.len());
    for (call, waited) in calls.iter().zip(waited) {
        let at = (
            call.scope.environment_id,
            LockKey::of_service(call.scope.service_id),
        );
        let (row, changed) = held.get_mut(&at).ok_or_else(|| {
            Fault::from(StoreError::Corrupt {
                table: "locks",
                detail: "a row to lock is missing".to_owned(),
            })
        })?;
        let before = row.execution;
        outcomes.push(decide(
            row,
            changed,
            call,
            grace,
            clock.now,
            clock.asked.minus(waited),
        ));
        if before != row.execution {
            let end = match call.wish {
                Wish::Release { .. } => End::Released,
                Wish::Acquire { .. } | Wish::Extend { .. } => End::Replaced,
            };
            ended.extend(before.map(|id| (id, end)));
        }
    }
    let cancelled: HashMap<Scope, ExecutionId> = calls
        .iter()
        .filter_map(|call| {
            let key = LockKey::of_service(call.scope.service_id);
            let (row, _) = held.get(&(call.scope.environment_id, key))?;
            Some((call.scope, row.execution.filter(|_| row.is_cancelled)?))
        })
        .collect();
    let updates: Vec<LockUpdate> = held
        .into_iter()
        .filter(|(_, (_, changed))| *changed)
        .map(|((environment_id, _), (row, _))| LockUpdate {
            environment_id,
            lock: row.lock,
            execution: row.execution,
        })
        .collect();
    locks::update(&mut tx, &updates).await?;
    executions::update_ended(&mut tx, &ended).await?;
    for (call, outcome) in calls.iter().zip(&mut outcomes) {
        if let Outcome::Extended(extended) = outcome {
            let execution = cancelled.get(&call.scope).copied();
            extended.cancellation = match execution {
                Some(execution) => cancellations::load(&mut tx, call.scope, execution).await?,
                None => None,
            };
            if let Wish::Extend { progress: Some(told) } = &call.wish {
                extended.recorded = Some(record(&mut tx, call.scope, told).await?);
            }
        }
    }
    tx.commit().await?;
    Ok(outcomes)
}

/// Under the lock's row, and in the transaction that found the lock to be the caller's. False if there is nothing to tell of.
async fn record(tx: &mut PgConnection, scope: Scope, told: &NewProgress) -> Result<bool, StoreError> {
    let Some((stream_id, latest)) = progress::load_latest(tx, scope, &told.change).await? else {
        return Ok(false);
    };
    let is_under_way = is_under_way(Some(&latest), told.execution);
    if is_under_way {
        progress::upsert(tx, stream_id, told).await?;
    }
    Ok(is_under_way)
}

/// Decides one call on a locked row and changes the row's copy accordingly.
fn decide(
    row: &mut LockRow,
    changed: &mut bool,
    call: &Call,
    grace: Duration,
    now: Timestamp,
    asked_at: Timestamp,
) -> Outcome {
    let not_held = |row: &LockRow| Outcome::NotHeld {
        holder: row.lock.lease.clone(),
    };
    match &call.wish {
        Wish::Acquire { lease, proof } => {
            let claim = Claim {
                lock: Some(&row.lock),
                runner: &call.runner,
                proof: proof.as_ref(),
                now,
                grace,
            };
            match lock::acquire(&claim) {
                Acquire::Grant { kind, fence } => {
                    tracing::debug!(lock.key = %row.lock.key, lock.fence = fence, grant = grant_label(kind), "lock granted");
                    row.lock.fence = fence;
                    row.lock.lease = Some(lease_from(&call.runner, *lease, now));
                    // A grant voids the one before it: an execution under the old fence may start nothing more.
                    row.execution = None;
                    row.granted_at = Some(now);
                    *changed = true;
                    Outcome::Granted {
                        kind,
                        lock: row.lock.clone(),
                    }
                }
                Acquire::HeldByOther { holder, retry_after } => Outcome::HeldByOther { holder, retry_after },
            }
        }
        // Who tells of an execution that the lock is not held for has lost it, though the lock be its own by a later grant.
        Wish::Extend { progress: Some(told) } if row.execution != Some(told.execution) => not_held(row),
        Wish::Extend { .. } => match (lock::extend(Some(&row.lock), &call.runner), &mut row.lock.lease) {
            (Extend::Extended, Some(lease)) => {
                *lease = lease_from(&call.runner, lease.length, now);
                *changed = true;
                Outcome::Extended(Box::new(Extended {
                    lock: row.lock.clone(),
                    cancellation: None,
                    recorded: None,
                }))
            }
            _ => not_held(row),
        },
        Wish::Release { fence } => {
            let asked = GivingBack {
                lock: Some(&row.lock),
                runner: &call.runner,
                granted_at: row.granted_at,
                asked_at,
                fence: *fence,
            };
            match lock::release(&asked) {
                Release::Released => {
                    let before = row.lock.clone();
                    row.lock.lease = None;
                    row.execution = None;
                    *changed = true;
                    Outcome::Released(before)
                }
                Release::NotHeld => not_held(row),
                Release::Overtaken => {
                    tracing::warn!(
                        lock.key = %row.lock.key, lock.fence = row.lock.fence, runner.id = %call.runner,
                        "a release arrived after its runner was granted the lock anew: the lock stays"
                    );
                    not_held(row)
                }
            }
        }
    }
}

fn lease_from(owner: &RunnerId, length: Duration, now: Timestamp) -> Lease {
    Lease {
        owner: owner.clone(),
        acquisition_id: new_acquisition_id(owner),
        length,
        expires_at: now.plus(length),
    }
}
