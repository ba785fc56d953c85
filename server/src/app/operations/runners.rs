//! Who is there: the holder of the lock, who waits for it, and who was there lately.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use flamingock_domain::standing::{Holder, Presence, activity};
use sqlx::PgConnection;

use super::executions::stream_of;
use super::locks::find_facts;
use super::{ChangeProgress, LockFacts, Operations, Run};
use crate::app::fault::Fault;
use crate::store::runs::{self, Range};
use crate::store::sightings::{self, Sighting};
use crate::store::{Scope, progress, streams};

pub use flamingock_domain::standing::Activity;

/// A runner as it was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    pub runner_id: String,
    pub activity: Activity,
    pub is_guess: bool,
    pub since: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
    pub execution_id: Option<i64>,
    pub waits_for: Option<String>,
    pub parked_until: Option<DateTime<Utc>>,
    /// JSON: what it said about itself.
    pub facts: RunnerFacts,
    /// How far the change is that it is at, where it tells.
    pub under_way: Option<ChangeProgress>,
}

/// JSON text of the edge.
pub type RunnerFacts = Option<String>;

/// Runners shown.
const SHOWN_MAX: i64 = 200;

/// How long somebody is remembered who does nothing any more.
const REMEMBERED: Duration = Duration::from_hours(1);

impl Operations {
    /// Who works first, then who waits, then who was there in the last hour; with the database's clock.
    pub async fn runners(&self, scope: Scope) -> Result<(Vec<Seen>, DateTime<Utc>), Fault> {
        let mut conn = self.pool.acquire().await?;
        let lock = find_facts(&mut conn, scope).await?;
        let seen = load(&mut conn, scope, lock.as_ref()).await?;
        let now = match &lock {
            Some(lock) => lock.now,
            None => streams::load_now(&mut conn).await?,
        };
        Ok((seen, streams::instant(now)))
    }
}

pub(super) async fn load(
    conn: &mut PgConnection,
    scope: Scope,
    lock: Option<&LockFacts>,
) -> Result<Vec<Seen>, Fault> {
    let Some(stream_id) = stream_of(conn, scope).await? else {
        return Ok(Vec::new());
    };
    let sightings = sightings::list(conn, stream_id, SHOWN_MAX).await?;
    // Plans are not read here: their range lies in no time.
    let range = Range {
        before: i64::MAX,
        runner_id: None,
        since: Some(DateTime::<Utc>::MAX_UTC),
        until: None,
        limit: SHOWN_MAX,
    };
    let runs = runs::list(conn, scope, range).await?;
    let now = match lock {
        Some(lock) => lock.now,
        None => streams::load_now(conn).await?,
    };
    let now = streams::instant(now);
    let mut seen = merge(sightings, runs, lock, now);
    if let Some(execution) = lock.and_then(|facts| facts.execution) {
        let told = progress::list_of_executions(conn, stream_id, &[execution.0]).await?;
        let mut holders = seen
            .iter_mut()
            .filter(|it| matches!(it.activity, Activity::Working | Activity::Silent));
        if let Some(holder) = holders.next() {
            holder.under_way = told.into_iter().next();
        }
    }
    Ok(seen)
}

fn merge(
    sightings: Vec<Sighting>,
    runs: Vec<Run>,
    lock: Option<&LockFacts>,
    now: DateTime<Utc>,
) -> Vec<Seen> {
    let lease = lock.and_then(|facts| facts.lock.lease.as_ref());
    let owner = lease.map(|lease| lease.owner.as_str());
    let mut sighted: HashMap<String, Sighting> = sightings
        .into_iter()
        .map(|it| (it.runner_id.clone(), it))
        .collect();
    // Newest first: what is met first of a runner is its latest.
    let mut latest: HashMap<String, Run> = HashMap::new();
    for run in runs {
        latest.entry(run.runner_id.clone()).or_insert(run);
    }
    let mut ids: Vec<String> = sighted.keys().chain(latest.keys()).cloned().collect();
    ids.extend(owner.map(str::to_owned));
    ids.sort_unstable();
    ids.dedup();
    let mut seen: Vec<Seen> = ids
        .into_iter()
        .map(|id| {
            let (sighting, run) = (sighted.remove(&id), latest.remove(&id));
            one(id, sighting, run, lock, now)
        })
        .filter(|it| {
            let is_old = now - it.last_seen_at > chrono::Duration::from_std(REMEMBERED).unwrap_or_default();
            it.activity != Activity::Seen || !is_old
        })
        .collect();
    seen.sort_by_key(|it| (rank(it.activity), std::cmp::Reverse(it.last_seen_at)));
    seen.truncate(usize::try_from(SHOWN_MAX).unwrap_or(usize::MAX));
    seen
}

fn rank(activity: Activity) -> u8 {
    match activity {
        Activity::Working | Activity::Silent => 0,
        Activity::Waiting => 1,
        Activity::Seen => 2,
    }
}

fn one(
    runner_id: String,
    sighting: Option<Sighting>,
    run: Option<Run>,
    lock: Option<&LockFacts>,
    now: DateTime<Utc>,
) -> Seen {
    let lease = lock.and_then(|facts| Some((facts, facts.lock.lease.as_ref()?)));
    let own = lease.filter(|(_, lease)| lease.owner.as_str() == runner_id);
    let holder = match own {
        Some((facts, lease)) if facts.now < lease.expires_at => Holder::Live,
        Some(_) => Holder::Silent,
        None => Holder::None,
    };
    let parked_until = sighting
        .as_ref()
        .and_then(|it| it.parked_until)
        .filter(|until| *until > now);
    let last_of_run = run.as_ref().map(|it| it.ended_at.unwrap_or(it.started_at));
    let last_of_sighting = sighting.as_ref().map(|it| it.last_seen_at);
    let last_beat = own.and_then(|(facts, _)| facts.touched_at).map(streams::instant);
    let last_seen_at = [last_of_run, last_of_sighting, last_beat]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or(now);
    let (activity, is_guess) = activity(&Presence {
        holder,
        is_locked_out: lease.is_some() && own.is_none(),
        told_to_wait: sighting
            .as_ref()
            .is_some_and(|it| it.is_waiting && last_of_run.is_none_or(|run| run <= it.last_seen_at)),
        is_parked: parked_until.is_some(),
        silent_for: (now - last_seen_at).to_std().unwrap_or_default(),
    });
    let waits = activity == Activity::Waiting;
    let granted_at = own.and_then(|(facts, _)| facts.granted_at).map(streams::instant);
    let waiting_since = sighting.as_ref().filter(|_| waits).map(|it| it.first_seen_at);
    Seen {
        since: granted_at.or(waiting_since).unwrap_or(last_seen_at),
        execution_id: own
            .and_then(|(facts, _)| facts.execution.map(|id| id.0))
            .or_else(|| run.as_ref().map(|it| it.id)),
        waits_for: lease.filter(|_| waits).map(|(_, lease)| lease.owner.to_string()),
        parked_until: parked_until.filter(|_| waits),
        facts: sighting
            .and_then(|it| it.runner_facts)
            .or_else(|| run.and_then(|it| it.runner_facts)),
        runner_id,
        activity,
        is_guess,
        last_seen_at,
        under_way: None,
    }
}
