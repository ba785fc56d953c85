//! Why a service waits or is stopped: the facts, gathered, and the domain's judgement of them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use flamingock_domain::audit::{AuditState, ChangeState};
use flamingock_domain::ids::{ChangeId, Seq};
use flamingock_domain::plan::{Action, base_action};
use flamingock_domain::standing::{self, Holder as HolderKind, Situation as Facts, Standing};

use super::executions::{latest, stream_of};
use super::locks::find_facts;
use super::runners;
use super::{Activity, LockFacts, OpenChange, Operations, ReadOffer, Recorded, Seen};
use crate::app::fault::Fault;
use crate::app::situation::{About, Situation, load_progress};
use crate::store::approvals::{self, RequestRow};
use crate::store::freezes::{self, FreezeRow};
use crate::store::policy_stops::{self, StopRow};
use crate::store::{self, Scope, audit, policies, states, streams, tenancy};

/// How a service stands, and all that this follows from.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Of environment and service.
    pub names: (String, String),
    pub standing: Standing,
    pub since: Option<DateTime<Utc>>,
    pub now: DateTime<Utc>,
    pub holder: Option<Holder>,
    /// Longest waiting first.
    pub waiting: Vec<Seen>,
    pub stops: Vec<Stop>,
    pub stops_are_cut: bool,
    /// Windows that are open for this service.
    pub freezes: Vec<FreezeRow>,
    /// What stopped a start for want of approval, longest waiting first.
    pub unapproved: Vec<RequestRow>,
    /// Starts that were refused for their content or their order, latest first.
    pub refused: Vec<StopRow>,
    /// Changes that the next start takes up by itself, those that failed not among them.
    pub open: usize,
    pub latest: Option<Recorded>,
}

#[derive(Clone, Debug)]
pub struct Holder {
    pub facts: LockFacts,
    pub is_live: bool,
    pub open: Vec<OpenChange>,
}

/// A change that stops the service, or makes its next start do something over.
#[derive(Clone, Debug)]
pub struct Stop {
    pub kind: StopKind,
    pub change: ChangeId,
    pub latest: ChangeState,
    pub contradicted_by_mark: bool,
    pub since: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopKind {
    Issue,
    Failed,
}

/// Shown of each kind.
const STOPS_MAX: usize = 20;
const POLICIES_MAX: i64 = 20;

impl Operations {
    pub async fn explain(&self, scope: Scope, read_offer: ReadOffer) -> Result<Explained, Fault> {
        let mut conn = store::look(&self.pool).await?;
        let names = tenancy::load_scope_names(&mut conn, scope)
            .await?
            .unwrap_or_default();
        let lock = find_facts(&mut conn, scope).await?;
        let seen = runners::load(&mut conn, scope, lock.as_ref()).await?;
        let stream_id = stream_of(&mut conn, scope).await?;
        let (situation, latest) = match stream_id {
            Some(id) => (
                Some(Situation::load(&mut conn, scope, id, About::Unsettled).await?),
                latest(&mut conn, scope, id, read_offer).await?,
            ),
            None => (None, None),
        };
        let now = match (&situation, &lock) {
            (Some(situation), _) => situation.now,
            (None, Some(lock)) => lock.now,
            (None, None) => streams::load_now(&mut conn).await?,
        };
        let (issues, failed, open) = situation.as_ref().map(sort).unwrap_or_default();
        let service = [scope.service_id];
        let freezes = freezes::list(
            &mut conn,
            scope.environment_id,
            Some(&service),
            Some(true),
            None,
            POLICIES_MAX,
        )
        .await?;
        let policy = policies::load(&mut conn, scope.environment_id).await?;
        let unapproved = if policy.is_some_and(|row| row.policy.approval_required) {
            approvals::list_requests(&mut conn, scope, None, POLICIES_MAX).await?
        } else {
            Vec::new()
        };
        let refused = policy_stops::list(&mut conn, scope).await?;
        // What the latest plan offered and nothing was ever recorded of.
        let not_reached = match (&latest, stream_id) {
            (Some((_, offer)), Some(stream_id)) => {
                let offered: Vec<&str> = offer.iter().map(|(change, _)| change.as_str()).collect();
                states::count_absent(&mut conn, stream_id, &offered).await?
            }
            _ => 0,
        };
        let has_history = match stream_id {
            Some(_) if latest.is_some() => true,
            Some(stream_id) => states::has_any(&mut conn, stream_id).await?,
            None => false,
        };
        let mut open_changes = situation
            .as_ref()
            .map(Situation::open_changes)
            .unwrap_or_default();
        if let Some(stream_id) = stream_id {
            load_progress(&mut conn, stream_id, &mut open_changes).await?;
        }
        let holder = lock
            .filter(|facts| facts.lock.lease.is_some())
            .map(|facts| Holder {
                is_live: facts
                    .lock
                    .lease
                    .as_ref()
                    .is_some_and(|lease| now < lease.expires_at),
                open: open_changes,
                facts,
            });
        let mut waiting: Vec<Seen> = seen
            .into_iter()
            .filter(|it| it.activity == Activity::Waiting)
            .collect();
        waiting.sort_by_key(|it| it.since);
        let standing = standing::standing(&Facts {
            holder: match &holder {
                None => HolderKind::None,
                Some(holder) if holder.is_live => HolderKind::Live,
                Some(_) => HolderKind::Silent,
            },
            is_awaited: !waiting.is_empty(),
            issues: issues.len(),
            failed: failed.len(),
            open: open + not_reached,
            refused: unapproved.len() + refused.iter().filter(|it| it.is_recent).count(),
            is_frozen: !freezes.is_empty(),
            has_history,
        });
        let stops_are_cut = issues.len() > STOPS_MAX || failed.len() > STOPS_MAX;
        let mut stops: Vec<Stop> = Vec::new();
        if let (Some(situation), Some(stream_id)) = (&situation, stream_id) {
            let of_kind = |kind: StopKind, found: Vec<(ChangeId, ChangeState)>| {
                found
                    .into_iter()
                    .take(STOPS_MAX)
                    .map(move |(change, latest)| (kind, change, latest))
            };
            let shown: Vec<_> = of_kind(StopKind::Issue, issues)
                .chain(of_kind(StopKind::Failed, failed))
                .collect();
            let seqs: Vec<Seq> = shown.iter().map(|(.., latest)| latest.seq).collect();
            let times: HashMap<Seq, DateTime<Utc>> = audit::load_at(&mut conn, stream_id, &seqs)
                .await?
                .into_iter()
                .map(|entry| (entry.seq, entry.received_at))
                .collect();
            stops.extend(shown.into_iter().map(|(kind, change, latest)| Stop {
                kind,
                contradicted_by_mark: situation.contradicted(&change, &latest),
                since: times.get(&latest.seq).copied(),
                change,
                latest,
            }));
        }
        let latest = latest.map(|(recorded, _)| recorded);
        Ok(Explained {
            names,
            standing,
            since: match standing {
                Standing::StoppedByPolicy => {
                    let frozen = freezes.iter().map(|it| it.starts_at);
                    let refused = refused.iter().map(|it| it.asked_at);
                    let unapproved = unapproved.iter().map(|it| it.first_asked_at);
                    frozen.chain(unapproved).chain(refused).min()
                }
                _ => since(standing, holder.as_ref(), &waiting, &stops, latest.as_ref()),
            },
            now: streams::instant(now),
            holder,
            waiting,
            stops,
            stops_are_cut,
            freezes,
            unapproved,
            refused,
            open: open + not_reached,
            latest,
        })
    }
}

type Changes = Vec<(ChangeId, ChangeState)>;

/// Issues, what failed and is repeated, both by id; and how many others the next start takes up. What a living runner is
/// working on is none of them.
fn sort(situation: &Situation) -> (Changes, Changes, usize) {
    let (mut issues, mut failed, mut open) = (Changes::new(), Changes::new(), 0);
    for (change, latest) in &situation.states {
        if situation.in_progress(latest) {
            continue;
        }
        if situation.is_issue(change, latest) {
            issues.push((change.clone(), *latest));
        } else if base_action(Some(latest)).0 == Action::Apply {
            match latest.state {
                AuditState::Failed | AuditState::RolledBack | AuditState::RollbackFailed => {
                    failed.push((change.clone(), *latest));
                }
                _ => open += 1,
            }
        }
    }
    for found in [&mut issues, &mut failed] {
        found.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    }
    (issues, failed, open)
}

fn since(
    standing: Standing,
    holder: Option<&Holder>,
    waiting: &[Seen],
    stops: &[Stop],
    latest: Option<&Recorded>,
) -> Option<DateTime<Utc>> {
    let oldest = |kind: StopKind| {
        stops
            .iter()
            .filter(|stop| stop.kind == kind)
            .filter_map(|stop| stop.since)
            .min()
    };
    let lease = holder.and_then(|holder| holder.facts.lock.lease.as_ref());
    match standing {
        Standing::NeverStarted | Standing::StoppedByPolicy => None,
        Standing::Running => holder
            .and_then(|holder| holder.facts.granted_at)
            .map(streams::instant),
        Standing::Waiting => waiting.iter().map(|it| it.since).min(),
        Standing::HolderSilent => lease.map(|lease| streams::instant(lease.expires_at)),
        Standing::NeedsPerson => oldest(StopKind::Issue),
        Standing::Failed => oldest(StopKind::Failed),
        Standing::UpToDate | Standing::Pending => {
            latest.map(|it| it.run.ended_at.unwrap_or(it.run.started_at))
        }
    }
}
