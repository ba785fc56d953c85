//! Executions with what became of them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use flamingock_domain::audit::AuditState;
use flamingock_domain::execution::{self, Offered};
use flamingock_domain::ids::{ExecutionId, LockKey};
use flamingock_domain::plan::Action;
use sqlx::PgConnection;

use super::{Operations, ReadOffer, Refusal, Run};
use crate::app::fault::Fault;
use crate::store::audit::Entry;
use crate::store::runs::{self, Range};
use crate::store::{self, Scope, StoreError, cancellations, locks, progress, refusals, streams};

pub use flamingock_domain::execution::{Outcome, Progress};

pub use crate::app::locks::Cancellation;
pub use crate::store::progress::Progress as ChangeProgress;

/// Which executions to list.
#[derive(Clone, Debug, Default)]
pub struct ExecutionFilter {
    pub outcome: Option<Outcome>,
    pub runner_id: Option<String>,
    pub since: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
}

/// An execution with its outcome.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub run: Run,
    pub outcome: Outcome,
    pub progress: Progress,
    /// What is known of changes that it has begun and not finished.
    pub under_way: Vec<ChangeProgress>,
    /// It was asked to stop.
    pub cancellation: Option<Cancellation>,
}

#[derive(Clone, Debug, Default)]
pub struct ExecutionPage {
    pub executions: Vec<Recorded>,
    /// The last one that was examined, where there may be more.
    pub examined: Option<i64>,
}

/// One in full.
#[derive(Clone, Debug)]
pub struct ExecutionReport {
    pub recorded: Recorded,
    pub submission: String,
    /// Oldest first.
    pub timeline: Vec<Entry>,
    pub timeline_is_cut: bool,
    pub refusals: Vec<Refusal>,
}

/// Rows examined by one request, whatever they come to: with a rare outcome the page ends here and says where to go on.
const EXAMINED_MAX: i64 = 1_000;

/// Changes whose reports are looked up at once; a plan may have a hundred thousand.
const LOOKED_UP_MAX: usize = 20_000;

const TIMELINE_MAX: usize = 1_000;
const REFUSALS_MAX: i64 = 50;

impl Operations {
    /// Newest first, after the position of the page before. What became of them is found out for the page alone.
    pub async fn executions(
        &self,
        scope: Scope,
        filter: &ExecutionFilter,
        after: Option<i64>,
        limit: usize,
        read_offer: ReadOffer,
    ) -> Result<ExecutionPage, Fault> {
        let mut conn = store::look(&self.pool).await?;
        let Some(stream_id) = stream_of(&mut conn, scope).await? else {
            return Ok(ExecutionPage::default());
        };
        let holder = live_holder(&mut conn, scope).await?;
        let batch = i64::try_from(limit)
            .unwrap_or(EXAMINED_MAX)
            .clamp(1, EXAMINED_MAX)
            + 1;
        let mut page = ExecutionPage::default();
        let mut before = after.unwrap_or(i64::MAX);
        let mut examined = 0;
        while examined < EXAMINED_MAX {
            let range = Range {
                before,
                runner_id: filter.runner_id.as_deref(),
                since: filter.since,
                until: filter.until,
                limit: batch,
            };
            let runs = runs::list(&mut conn, scope, range).await?;
            let is_last = i64::try_from(runs.len()).is_ok_and(|count| count < batch);
            let mut asked: Vec<(Run, Vec<(String, Action)>)> = Vec::new();
            let mut is_cut = false;
            let mut offered = 0;
            for run in runs {
                let in_time = filter.since.is_none_or(|since| run.started_at >= since)
                    && filter.until.is_none_or(|until| run.started_at < until);
                if !in_time {
                    // Started before `since`, and so did all that follow.
                    if filter.since.is_some_and(|since| run.started_at < since) {
                        page.examined = None;
                        self.judge(&mut conn, stream_id, holder, asked, filter, limit, &mut page)
                            .await?;
                        return Ok(page);
                    }
                    before = run.id;
                    examined += 1;
                    continue;
                }
                let Some(plan) = run.plan.as_deref() else {
                    is_cut = true;
                    break;
                };
                let offer = read_offer(plan).ok_or_else(unreadable)?;
                offered += offer.len();
                if offered > LOOKED_UP_MAX && !asked.is_empty() {
                    is_cut = true;
                    break;
                }
                before = run.id;
                examined += 1;
                asked.push((run, offer));
            }
            let is_full = self
                .judge(&mut conn, stream_id, holder, asked, filter, limit, &mut page)
                .await?;
            if is_full {
                return Ok(page);
            }
            if is_last && !is_cut {
                page.examined = None;
                return Ok(page);
            }
            page.examined = Some(before);
        }
        Ok(page)
    }

    /// Adds to the page what fits the filter. True when the page is full: then it ends with the row before.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one loop, told apart to be readable"
    )]
    async fn judge(
        &self,
        conn: &mut PgConnection,
        stream_id: i64,
        holder: Option<ExecutionId>,
        asked: Vec<(Run, Vec<(String, Action)>)>,
        filter: &ExecutionFilter,
        limit: usize,
        page: &mut ExecutionPage,
    ) -> Result<bool, Fault> {
        let judged = judge(conn, stream_id, holder, asked).await?;
        for recorded in judged {
            if filter.outcome.is_some_and(|outcome| outcome != recorded.outcome) {
                continue;
            }
            if page.executions.len() == limit {
                page.examined = page.executions.last().map(|it| it.run.id);
                return Ok(true);
            }
            page.executions.push(recorded);
        }
        Ok(false)
    }

    pub async fn execution(
        &self,
        scope: Scope,
        id: i64,
        read_offer: ReadOffer,
    ) -> Result<Option<ExecutionReport>, Fault> {
        let mut conn = store::look(&self.pool).await?;
        let Some(stream_id) = stream_of(&mut conn, scope).await? else {
            return Ok(None);
        };
        let Some((run, submission)) = runs::load(&mut conn, scope, id).await? else {
            return Ok(None);
        };
        let offer = run.plan.as_deref().and_then(read_offer).ok_or_else(unreadable)?;
        let changes: Vec<String> = offer.iter().map(|(change, _)| change.clone()).collect();
        let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
        let execution_ref = run.id.to_string();
        let (mut timeline, is_too_heavy) = runs::list_entries(
            &mut conn,
            stream_id,
            &execution_ref,
            &changes,
            i64::try_from(TIMELINE_MAX + 1).unwrap_or(i64::MAX),
        )
        .await?;
        let timeline_is_cut = is_too_heavy || timeline.len() > TIMELINE_MAX;
        timeline.truncate(TIMELINE_MAX);
        let refusals =
            refusals::list_of_execution(&mut conn, stream_id, &execution_ref, &changes, REFUSALS_MAX).await?;
        let holder = live_holder(&mut conn, scope).await?;
        let recorded = judge(&mut conn, stream_id, holder, vec![(run, offer)])
            .await?
            .into_iter()
            .next();
        Ok(recorded.map(|recorded| ExecutionReport {
            recorded,
            submission,
            timeline,
            timeline_is_cut,
            refusals,
        }))
    }
}

/// The latest execution of a stream with its outcome and its offer; of a plan too large for a page, the first changes.
pub(super) async fn latest(
    conn: &mut PgConnection,
    scope: Scope,
    stream_id: i64,
    read_offer: ReadOffer,
) -> Result<Option<(Recorded, Vec<(String, Action)>)>, Fault> {
    let range = Range {
        before: i64::MAX,
        runner_id: None,
        since: None,
        until: None,
        limit: 1,
    };
    let Some(run) = runs::list(conn, scope, range).await?.into_iter().next() else {
        return Ok(None);
    };
    let offer = run.plan.as_deref().and_then(read_offer).ok_or_else(unreadable)?;
    let holder = live_holder(conn, scope).await?;
    let recorded = judge(conn, stream_id, holder, vec![(run, offer.clone())]).await?;
    Ok(recorded.into_iter().next().map(|recorded| (recorded, offer)))
}

/// What became of one execution of the stream.
pub(super) async fn outcome_of(
    conn: &mut PgConnection,
    scope: Scope,
    stream_id: i64,
    run: Run,
    read_offer: ReadOffer,
) -> Result<Outcome, Fault> {
    let offer = run.plan.as_deref().and_then(read_offer).ok_or_else(unreadable)?;
    let holder = live_holder(conn, scope).await?;
    let judged = judge(conn, stream_id, holder, vec![(run, offer)]).await?;
    judged
        .first()
        .map(|recorded| recorded.outcome)
        .ok_or_else(unreadable)
}

async fn judge(
    conn: &mut PgConnection,
    stream_id: i64,
    holder: Option<ExecutionId>,
    asked: Vec<(Run, Vec<(String, Action)>)>,
) -> Result<Vec<Recorded>, Fault> {
    let pairs = |wanted: fn(Action) -> bool| -> Vec<(String, &str)> {
        asked
            .iter()
            .flat_map(|(run, offer)| {
                let those = offer.iter().filter(move |(_, action)| wanted(*action));
                those.map(|(change, _)| (run.id.to_string(), change.as_str()))
            })
            .collect()
    };
    let to_apply = pairs(|action| action == Action::Apply);
    let to_ask = pairs(|action| matches!(action, Action::Probe { .. }));
    let reported = runs::load_reported(conn, stream_id, &to_apply).await?;
    let said = runs::load_probed(conn, stream_id, &to_ask).await?;
    let reported: HashMap<(String, String), AuditState> = reported
        .into_iter()
        .chain(said)
        .map(|(execution, change, state)| ((execution, change), state))
        .collect();
    let runs: Vec<i64> = asked.iter().map(|(run, _)| run.id).collect();
    let mut told = progress::list_of_executions(conn, stream_id, &runs).await?;
    let mut cancelled = cancellations::list(conn, stream_id, &runs).await?;
    Ok(asked
        .into_iter()
        .map(|(run, offer)| {
            let id = ExecutionId(run.id);
            let under_way = told.extract_if(.., |it| it.execution == id).collect();
            let cancellation = cancelled.extract_if(.., |it| it.execution == id).next();
            let execution = run.id.to_string();
            let progress = Progress::of(offer.into_iter().map(|(change, action)| Offered {
                action,
                reported: reported.get(&(execution.clone(), change)).copied(),
            }));
            let outcome = execution::outcome(holder == Some(ExecutionId(run.id)), &progress);
            Recorded {
                run,
                outcome,
                progress,
                under_way,
                cancellation,
            }
        })
        .collect())
}

/// The execution whose lease is live.
async fn live_holder(conn: &mut PgConnection, scope: Scope) -> Result<Option<ExecutionId>, Fault> {
    let key = LockKey::of_service(scope.service_id);
    let found = locks::load(conn, scope.environment_id, &key).await?;
    Ok(found.and_then(|(row, now)| {
        let is_live = row.lock.lease.is_some_and(|lease| now < lease.expires_at);
        row.execution.filter(|_| is_live)
    }))
}

pub(super) async fn stream_of(conn: &mut PgConnection, scope: Scope) -> Result<Option<i64>, Fault> {
    let heads = streams::load_heads(conn, &[scope]).await?;
    Ok(heads.into_iter().next().and_then(|(_, head)| head.stream_id))
}

fn unreadable() -> Fault {
    StoreError::Corrupt {
        table: "executions",
        detail: "a plan that this version cannot read".to_owned(),
    }
    .into()
}
