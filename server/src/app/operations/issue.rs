//! Everything that is known of one change whose outcome is open.

use chrono::{DateTime, Utc};
use flamingock_domain::audit::ChangeState;
use flamingock_domain::ids::ChangeId;

use super::executions::stream_of;
use super::locks::find_facts;
use super::{ChangeProgress, LockFacts, Operations, Refusal, Run};
use crate::app::fault::Fault;
use crate::app::situation::{About, Situation};
use crate::store::audit::{Entry, Fact};
use crate::store::{self, Scope, StoreError, audit, progress, refusals, runs, tenancy};

#[derive(Clone, Debug)]
pub struct IssueReport {
    pub change: ChangeId,
    /// Its runner is at it under a live lease.
    pub in_progress: bool,
    pub latest: ChangeState,
    pub since: DateTime<Utc>,
    pub contradicted_by_mark: bool,
    /// The latest entry as reported.
    pub fact: Fact,
    /// Oldest first.
    pub history: Vec<Entry>,
    pub history_is_cut: bool,
    /// The executions that the history names.
    pub attempts: Vec<Run>,
    pub refusals: Vec<Refusal>,
    pub lock: Option<LockFacts>,
    /// How far the attempt was that the latest entry is of, when it was heard of last.
    pub progress: Option<ChangeProgress>,
    /// Of environment and service.
    pub names: (String, String),
}

/// What asking for a change comes to.
#[derive(Clone, Debug)]
pub enum Found {
    Open(Box<IssueReport>),
    /// Nobody has to decide: it stands like that.
    Closed(ChangeState),
    /// Nothing was ever recorded of it here.
    Unheard,
}

const HISTORY_MAX: usize = 500;
const REFUSALS_MAX: i64 = 50;

impl Operations {
    pub async fn issue(&self, scope: Scope, change: &ChangeId) -> Result<Found, Fault> {
        let mut conn = store::look(&self.pool).await?;
        let Some(stream_id) = stream_of(&mut conn, scope).await? else {
            return Ok(Found::Unheard);
        };
        let about = About::These(&[change.as_str()]);
        let situation = Situation::load(&mut conn, scope, stream_id, about).await?;
        let Some(latest) = situation.states.get(change).copied() else {
            return Ok(Found::Unheard);
        };
        let in_progress = situation.in_progress(&latest);
        if !in_progress && !situation.is_issue(change, &latest) {
            return Ok(Found::Closed(latest));
        }
        let limit = i64::try_from(HISTORY_MAX + 1).unwrap_or(i64::MAX);
        let (mut history, is_too_heavy) =
            runs::list_newest_of_change(&mut conn, stream_id, change.as_str(), limit).await?;
        let history_is_cut = is_too_heavy || history.len() > HISTORY_MAX;
        if history.len() > HISTORY_MAX {
            history.remove(0);
        }
        // It may be older than five hundred late reports, and is what all this is about.
        let entry = match history.iter().find(|entry| entry.seq == latest.seq) {
            Some(entry) => Some(entry.clone()),
            None => audit::load_at(&mut conn, stream_id, &[latest.seq])
                .await?
                .into_iter()
                .next(),
        };
        let entry = entry.ok_or_else(|| StoreError::Corrupt {
            table: "change_states",
            detail: "a latest entry that the audit lacks".to_owned(),
        })?;
        let mut executions: Vec<i64> = history
            .iter()
            .filter_map(|entry| entry.fact.execution_ref.parse().ok())
            .collect();
        executions.sort_unstable();
        executions.dedup();
        let attempts = runs::load_some(&mut conn, stream_id, &executions).await?;
        let refusals = refusals::list_of_change(&mut conn, stream_id, change.as_str(), REFUSALS_MAX).await?;
        let lock = find_facts(&mut conn, scope).await?;
        let progress = progress::load_some(&mut conn, stream_id, &[change.as_str()])
            .await?
            .into_iter()
            .find(|told| Some(told.execution) == latest.execution);
        let names = tenancy::load_scope_names(&mut conn, scope)
            .await?
            .unwrap_or_default();
        Ok(Found::Open(Box::new(IssueReport {
            change: change.clone(),
            in_progress,
            contradicted_by_mark: situation.contradicted(change, &latest),
            latest,
            since: entry.received_at,
            fact: entry.fact,
            history,
            history_is_cut,
            attempts,
            refusals,
            lock,
            progress,
            names,
        })))
    }
}
