//! Locks: the list, and the release by a person.

use std::time::Duration;

use chrono::{DateTime, Utc};
use flamingock_domain::ids::{AcquisitionId, ExecutionId, Fence, LockKey, RunnerId};
use flamingock_domain::lock::{self, Force, Lease, Lock};
use flamingock_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Operations;
use crate::app::actor::{Action, Actor, Place};
use crate::app::fault::Fault;
use crate::app::retry;
use crate::app::situation::{About, OpenChange, Situation, load_progress};
use crate::store::actions;
use crate::store::executions::{self, End};
use crate::store::locks::{self, Hold, LockFacts, LockFilter, LockUpdate};
use crate::store::{self, Scope, StoreError, streams};

/// Which locks of an environment to list.
#[derive(Clone, Debug, Default)]
pub struct LockListing {
    /// `None`: every service of the environment's project.
    pub service_ids: Option<Vec<i64>>,
    pub standing: Option<&'static str>,
    pub after: i64,
    pub limit: i64,
}

/// A lock that a person has freed.
#[derive(Clone, Debug)]
pub struct Freed {
    /// As it was.
    pub before: LockFacts,
    pub was_live: bool,
    /// What its holder had begun and not ended.
    pub open: Vec<OpenChange>,
    /// It had been freed before, by the same call: its answer was lost.
    pub is_repetition: bool,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum ForceError {
    #[error("nobody holds the lock")]
    Free,
    #[error("the lock was granted anew, with fence {fence}")]
    Moved { fence: Fence },
    #[error("the holder's lease is live")]
    Live { holder: Box<LockFacts> },
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Operations {
    /// By service id, with the database's clock.
    pub async fn locks(
        &self,
        environment_id: i64,
        listing: &LockListing,
    ) -> Result<(Vec<LockFacts>, Timestamp), Fault> {
        let mut conn = self.pool.acquire().await?;
        let found = locks::list(
            &mut conn,
            environment_id,
            LockFilter {
                service_ids: listing.service_ids.as_deref(),
                standing: listing.standing,
                after: listing.after,
                limit: listing.limit,
            },
        )
        .await?;
        let now = match found.first() {
            Some(facts) => facts.now,
            None => streams::load_now(&mut conn).await?,
        };
        Ok((found, now))
    }

    /// Frees a lock whose holder does not, and says what the holder leaves behind. Recorded as an action.
    pub async fn force_release(
        &self,
        scope: Scope,
        actor: &Actor,
        reason: &str,
        expected: Fence,
        insists: bool,
    ) -> Result<Freed, ForceError> {
        // The refusal travels inside the result: it is an answer, not a fault to be retried.
        let done = retry::on_contention("force_release", || {
            self.try_release(scope, actor, reason, expected, insists)
        })
        .await?;
        if let Ok(freed) = &done
            && !freed.is_repetition
        {
            self.waiting.wake(scope);
            self.metrics.lock_events.with_label_values(&["forced"]).inc();
            tracing::warn!(
                lock.key = %freed.before.lock.key, lock.fence = freed.before.lock.fence, was_live = freed.was_live,
                open = freed.open.len(), %actor, "a person released a lock"
            );
        }
        done
    }

    async fn try_release(
        &self,
        scope: Scope,
        actor: &Actor,
        reason: &str,
        expected: Fence,
        insists: bool,
    ) -> Result<Result<Freed, ForceError>, Fault> {
        let mut tx = store::begin(&self.pool).await?;
        // The stream before the lock, as everybody does who takes both; and while it is held nobody starts anything.
        let stream = streams::lock_existing(&mut tx, &[scope])
            .await?
            .into_iter()
            .next();
        let key = LockKey::of_service(scope.service_id);
        let (rows, clock) =
            locks::lock_rows(&mut tx, &[(scope.environment_id, key.as_str())], Hold::Update).await?;
        let Some((_, row)) = rows.into_iter().next() else {
            return Ok(Err(ForceError::Free));
        };
        let was_live = match lock::force(Some(&row.lock), expected, insists, clock.now) {
            Force::Freed { was_live } => was_live,
            Force::Free => {
                let freed = if row.lock.fence == expected {
                    repeated(
                        &mut tx,
                        scope,
                        actor,
                        reason,
                        stream.as_ref().map(|it| it.id),
                        &row.lock,
                    )
                    .await?
                } else {
                    None
                };
                return Ok(freed.ok_or(ForceError::Free));
            }
            Force::Moved { fence } => return Ok(Err(ForceError::Moved { fence })),
            Force::Live { .. } => {
                let holder = Box::new(load_facts(&mut tx, scope).await?);
                return Ok(Err(ForceError::Live { holder }));
            }
        };
        let before = load_facts(&mut tx, scope).await?;
        let open = match &stream {
            Some(stream) => {
                let situation = Situation::load(&mut tx, scope, stream.id, About::Unsettled).await?;
                let mut open = situation.open_changes();
                load_progress(&mut tx, stream.id, &mut open).await?;
                open
            }
            None => Vec::new(),
        };
        let update = LockUpdate {
            environment_id: scope.environment_id,
            lock: Lock {
                lease: None,
                ..row.lock.clone()
            },
            execution: None,
        };
        locks::mark_forced(&mut tx).await?;
        locks::update(&mut tx, &[update]).await?;
        let ended: Vec<_> = row.execution.map(|id| (id, End::Forced)).into_iter().collect();
        executions::update_ended(&mut tx, &ended).await?;
        let lease = row.lock.lease.as_ref();
        actor
            .record(
                &mut tx,
                &Action {
                    action: "lock_force_release",
                    place: Place::Scope(scope),
                    target: row.lock.key.as_str(),
                    reason: Some(reason),
                    before: Some(json!(Record {
                        owner: lease.map(|lease| lease.owner.to_string()),
                        acquisition_id: lease.map(|lease| lease.acquisition_id.to_string()),
                        fence: row.lock.fence,
                        execution_id: row.execution.map(|id| id.0),
                        lease_millis: lease.and_then(|lease| u64::try_from(lease.length.as_millis()).ok()),
                        held_since: before.granted_at.map(streams::instant),
                        last_beat_at: before.touched_at.map(streams::instant),
                        expires_at: lease.map(|lease| streams::instant(lease.expires_at)),
                        was_live,
                        in_progress: open
                            .iter()
                            .take(RECORDED_CHANGES_MAX)
                            .map(|it| it.change.to_string())
                            .collect(),
                    })),
                    after: Some(json!({"owner": null, "fence": row.lock.fence})),
                },
            )
            .await?;
        tx.commit().await?;
        Ok(Ok(Freed {
            before,
            was_live,
            open,
            is_repetition: false,
        }))
    }
}

/// Changes of a holder that its release records by name.
const RECORDED_CHANGES_MAX: usize = 100;

/// The lock as it was when a person freed it, in the log of actions. Times of a record from before they were kept are missing.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    owner: Option<String>,
    acquisition_id: Option<String>,
    fence: Fence,
    execution_id: Option<i64>,
    #[serde(default)]
    lease_millis: Option<u64>,
    #[serde(default)]
    held_since: Option<DateTime<Utc>>,
    #[serde(default)]
    last_beat_at: Option<DateTime<Utc>>,
    #[serde(default)]
    expires_at: Option<DateTime<Utc>>,
    was_live: bool,
    in_progress: Vec<String>,
}

impl Record {
    fn lease(&self) -> Option<Lease> {
        Some(Lease {
            owner: RunnerId::parse(self.owner.as_deref()?).ok()?,
            acquisition_id: AcquisitionId::parse(self.acquisition_id.as_deref()?).ok()?,
            length: Duration::from_millis(self.lease_millis?),
            expires_at: timestamp(self.expires_at?),
        })
    }
}

fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp::from_micros(at.timestamp_micros())
}

/// The release that freed a lock, if it was this very call, and the lock is as it left it: the same person, for the same
/// reason, of the same grant. What the holder had left open is told as it stands now.
async fn repeated(
    conn: &mut sqlx::PgConnection,
    scope: Scope,
    actor: &Actor,
    reason: &str,
    stream_id: Option<i64>,
    lock: &Lock,
) -> Result<Option<Freed>, Fault> {
    let Some(action) = actions::load_newest(conn, scope, "lock_force_release").await? else {
        return Ok(None);
    };
    let record = action
        .before
        .as_deref()
        .and_then(|text| serde_json::from_str::<Record>(text).ok());
    let is_same = action.actor == actor.to_string() && action.reason.as_deref() == Some(reason);
    let Some(record) = record.filter(|record| is_same && record.fence == lock.fence) else {
        return Ok(None);
    };
    let Some(lease) = record.lease() else {
        return Ok(None);
    };
    let changes: Vec<&str> = record.in_progress.iter().map(String::as_str).collect();
    let open = match stream_id {
        Some(stream_id) => Situation::load(conn, scope, stream_id, About::These(&changes))
            .await?
            .left_open(),
        None => Vec::new(),
    };
    let facts = load_facts(conn, scope).await?;
    Ok(Some(Freed {
        before: LockFacts {
            lock: Lock {
                lease: Some(lease),
                ..facts.lock
            },
            execution: record.execution_id.map(ExecutionId),
            granted_at: record.held_since.map(timestamp),
            touched_at: record.last_beat_at.map(timestamp),
            now: timestamp(action.acted_at),
            ..facts
        },
        was_live: record.was_live,
        open,
        is_repetition: true,
    }))
}

/// The lock of one service; it exists.
async fn load_facts(conn: &mut sqlx::PgConnection, scope: Scope) -> Result<LockFacts, Fault> {
    let facts = find_facts(conn, scope).await?;
    facts.ok_or_else(|| {
        StoreError::Corrupt {
            table: "locks",
            detail: "a lock's service is missing".to_owned(),
        }
        .into()
    })
}

/// The lock of one service; `None` while it was never taken.
pub(super) async fn find_facts(
    conn: &mut sqlx::PgConnection,
    scope: Scope,
) -> Result<Option<LockFacts>, Fault> {
    let filter = LockFilter {
        service_ids: Some(&[scope.service_id]),
        limit: 1,
        ..LockFilter::default()
    };
    Ok(locks::list(conn, scope.environment_id, filter)
        .await?
        .into_iter()
        .next())
}
