//! Where a service stands, as the judgement of issues and decisions needs it.

use std::collections::HashMap;

use flamingock_domain::audit::{self as rules, AuditState, ChangeState, States};
use flamingock_domain::ids::{ChangeId, ExecutionId, LockKey, RunnerId, Seq};
use flamingock_domain::time::Timestamp;
use sqlx::PgConnection;

use crate::store::locks::{self, Hold, LockRow};
use crate::store::progress::{self, Progress};
use crate::store::{Scope, StoreError, executions, states};

/// Which changes a situation is about. All of them may be very many, and are needed nowhere.
#[derive(Clone, Copy, Debug)]
pub(super) enum About<'a> {
    /// Those that somebody or something still has to do with.
    Unsettled,
    These(&'a [&'a str]),
}

/// Where a service stands: latest states, marks against them, the lock.
pub(super) struct Situation {
    /// Of the changes that it is about.
    pub states: States,
    pub marks: HashMap<String, Seq>,
    pub lock: Option<LockRow>,
    /// Whose execution wrote what is unfinished; read only while somebody holds the lock.
    pub runners: HashMap<ExecutionId, RunnerId>,
    /// Head at which the lock's holder was granted its work.
    pub planned_at: Option<Seq>,
    pub now: Timestamp,
}

impl Situation {
    pub async fn load(
        conn: &mut PgConnection,
        scope: Scope,
        stream_id: i64,
        about: About<'_>,
    ) -> Result<Self, StoreError> {
        let states: States = match about {
            About::Unsettled => states::load_unsettled(conn, stream_id).await?,
            About::These(changes) => {
                let asked: Vec<(i64, &str)> = changes.iter().map(|change| (stream_id, *change)).collect();
                let found = states::load_some(conn, &asked).await?;
                found
                    .into_iter()
                    .map(|(_, change, state)| (change, state))
                    .collect()
            }
        };
        let marks = states::load_mark_reports(conn, stream_id)
            .await?
            .into_iter()
            .collect();
        let key = LockKey::of_service(scope.service_id);
        let (rows, clock) =
            locks::lock_rows(conn, &[(scope.environment_id, key.as_str())], Hold::Look).await?;
        let lock = rows.into_iter().next().map(|(_, row)| row);
        let is_held = lock.as_ref().is_some_and(|row| row.lock.lease.is_some());
        let granted = lock.as_ref().filter(|_| is_held).and_then(|row| row.execution);
        let asked: Vec<i64> = states
            .values()
            .filter(|latest| is_held && matches!(latest.state, AuditState::Started | AuditState::Failed))
            .filter_map(|latest| latest.execution)
            .chain(granted)
            .map(|id| id.0)
            .collect();
        let mut known = executions::load_facts(conn, &asked).await?;
        known.retain(|execution| execution.stream_id == stream_id);
        let planned_at = known
            .iter()
            .find(|execution| Some(execution.id) == granted)
            .map(|execution| execution.planned_at);
        let runners = known
            .into_iter()
            .map(|execution| (execution.id, execution.runner))
            .collect();
        Ok(Self {
            states,
            marks,
            lock,
            runners,
            planned_at,
            now: clock.now,
        })
    }

    pub fn in_progress(&self, latest: &ChangeState) -> bool {
        let its_runner = latest.execution.and_then(|id| self.runners.get(&id));
        rules::in_progress(
            latest,
            its_runner,
            self.lock.as_ref().map(|row| &row.lock),
            self.now,
        )
    }

    /// Whether a decision about this change would come in the way of a run: it is at work on it, or was planned on a person's
    /// decision about it. A run plans nothing on a decision that a mark contradicts.
    pub fn is_in_hand(&self, change: &ChangeId, latest: &ChangeState) -> bool {
        let lock = self.lock.as_ref().map(|row| &row.lock);
        self.in_progress(latest)
            || (rules::is_acted_on(latest, lock, self.planned_at, self.now)
                && !self.contradicted(change, latest))
    }

    pub fn contradicted(&self, change: &ChangeId, latest: &ChangeState) -> bool {
        let seen = self.marks.get(change.as_str()).copied();
        seen.is_some() && rules::contradicts_mark(latest, seen)
    }
}

impl Situation {
    /// Whether a person has to decide: by the record or by a mark, and not while its runner is at it.
    pub fn is_issue(&self, change: &ChangeId, latest: &ChangeState) -> bool {
        !self.in_progress(latest) && (rules::is_issue(latest) || self.contradicted(change, latest))
    }

    /// What the lock's holder has begun and not ended, by id, its lease run out or not.
    pub fn open_changes(&self) -> Vec<OpenChange> {
        let owner = self
            .lock
            .as_ref()
            .and_then(|row| row.lock.lease.as_ref())
            .map(|lease| &lease.owner);
        let mut open: Vec<OpenChange> = self
            .states
            .iter()
            .filter(|(_, latest)| matches!(latest.state, AuditState::Started | AuditState::Failed))
            .filter(|(_, latest)| {
                let its_runner = latest.execution.and_then(|id| self.runners.get(&id));
                its_runner.is_some() && its_runner == owner
            })
            .map(|(change, latest)| OpenChange {
                change: change.clone(),
                latest: *latest,
                needs_person: rules::is_issue(latest),
                progress: None,
            })
            .collect();
        open.sort_by(|a, b| a.change.as_str().cmp(b.change.as_str()));
        open
    }

    /// What has begun and not ended of the changes that this is about, by id, whoever began it.
    pub fn left_open(&self) -> Vec<OpenChange> {
        let mut open: Vec<OpenChange> = self
            .states
            .iter()
            .filter(|(_, latest)| matches!(latest.state, AuditState::Started | AuditState::Failed))
            .map(|(change, latest)| OpenChange {
                change: change.clone(),
                latest: *latest,
                needs_person: rules::is_issue(latest),
                progress: None,
            })
            .collect();
        open.sort_by(|a, b| a.change.as_str().cmp(b.change.as_str()));
        open
    }
}

/// A change that somebody began, without a recorded end.
#[derive(Clone, Debug)]
pub struct OpenChange {
    pub change: ChangeId,
    pub latest: ChangeState,
    /// Once its runner is gone: a person must decide, or the next start repeats it.
    pub needs_person: bool,
    /// How far it is, where it tells; read by [`load_progress`].
    pub progress: Option<Progress>,
}

/// Adds what the changes tell of themselves.
pub(super) async fn load_progress(
    conn: &mut PgConnection,
    stream_id: i64,
    open: &mut [OpenChange],
) -> Result<(), StoreError> {
    if open.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = open.iter().map(|it| it.change.as_str()).collect();
    let mut told: HashMap<String, Progress> = progress::load_some(conn, stream_id, &ids)
        .await?
        .into_iter()
        .map(|progress| (progress.change_id.clone(), progress))
        .collect();
    for change in open {
        change.progress = told
            .remove(change.change.as_str())
            .filter(|told| Some(told.execution) == change.latest.execution);
    }
    Ok(())
}
