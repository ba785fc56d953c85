//! Issues and their resolution by people.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use flamingock_domain::audit::{
    self as rules, AuditState, ChangeState, Made, Resolution, ResolveRefusal, Source,
};
use flamingock_domain::ids::{ChangeId, Seq};
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use super::actor::{Action, Actor, Place};
use super::fault::Fault;
use super::retry;
use super::situation::{About, Situation};
use crate::metrics::Metrics;
use crate::store::audit::{self, Entry, Fact};
use crate::store::states::{self, NewState};
use crate::store::streams::{self, Stream};
use crate::store::{self, Scope, StoreError};

/// A change that stops its service until a person decides.
#[derive(Clone, Debug)]
pub struct Issue {
    pub change: ChangeId,
    pub latest: ChangeState,
    /// A marker in the target system says that it was applied, against the record (planner rules M5 to M7).
    pub contradicted_by_mark: bool,
    pub since: DateTime<Utc>,
    /// The latest entry as reported.
    pub fact: Fact,
    /// The newest of what was reported of it too late to count: evidence, oldest first.
    pub late_reports: Vec<Entry>,
}

/// Late reports shown with an issue; all of them are in the audit.
const LATE_REPORTS_MAX: i64 = 10;

/// Issues whose entries are read together.
const READ_TOGETHER: usize = 20;

/// Bytes of texts after which a page ends.
const PAGE_MAX_BYTES: usize = 2 * 1024 * 1024;

/// What a person decides about one change.
#[derive(Clone, Debug)]
pub struct Decision {
    pub change: ChangeId,
    pub resolution: Resolution,
    /// Sequence of the entry that the decision is about.
    pub expected: Seq,
}

#[derive(Clone, Debug)]
pub struct Decided {
    pub change: ChangeId,
    pub state: AuditState,
    pub seq: Seq,
}

/// What became of a call.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub decided: Vec<Decided>,
    /// It had been recorded before, by the same call: its answer was lost.
    pub is_repetition: bool,
}

/// A decision that is refused, and the change's latest entry that stands against it.
#[derive(Clone, Debug)]
pub struct Refused {
    pub change: ChangeId,
    pub refusal: ResolveRefusal,
    pub latest: Option<Latest>,
}

/// An entry as somebody needs to know it whose decision came too late.
#[derive(Clone, Debug)]
pub struct Latest {
    pub seq: Seq,
    pub state: String,
    pub actor: String,
    pub note: Option<String>,
    pub received_at: DateTime<Utc>,
}

#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// None of the decisions was recorded, because of these: at least one.
    #[error("{} decisions are refused", .0.len())]
    Refused(Vec<Refused>),
    #[error(transparent)]
    Fault(#[from] Fault),
}

#[derive(Clone)]
pub struct Issues {
    pool: PgPool,
    metrics: Metrics,
}

impl Issues {
    pub(super) fn new(pool: PgPool, metrics: &Metrics) -> Self {
        Self {
            pool,
            metrics: metrics.clone(),
        }
    }

    /// Changes that wait for a person, by id, at most `limit` after a position, and whether there are more: where their traces
    /// are long, a page holds fewer. One that its runner is working on this moment is not among them.
    pub async fn list(
        &self,
        scope: Scope,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Issue>, bool), Fault> {
        let mut conn = store::look(&self.pool).await?;
        let heads = streams::load_heads(&mut conn, &[scope]).await?;
        let Some(stream_id) = heads.into_iter().next().and_then(|(_, head)| head.stream_id) else {
            return Ok((Vec::new(), false));
        };
        let situation = Situation::load(&mut conn, scope, stream_id, About::Unsettled).await?;
        let mut found: Vec<(ChangeId, ChangeState, bool)> = situation
            .states
            .iter()
            .filter(|(change, _)| after.is_none_or(|after| change.as_str() > after))
            .filter(|(change, latest)| situation.is_issue(change, latest))
            .map(|(change, latest)| (change.clone(), *latest, situation.contradicted(change, latest)))
            .collect();
        found.sort_by(|(a, ..), (b, ..)| a.as_str().cmp(b.as_str()));
        let mut more = found.len() > limit;
        found.truncate(limit);
        let mut issues: Vec<Issue> = Vec::new();
        let mut bytes = 0;
        for part in found.chunks(READ_TOGETHER) {
            if bytes > PAGE_MAX_BYTES {
                more = true;
                break;
            }
            let read = with_entries(&mut conn, stream_id, part).await?;
            bytes += read.iter().map(weight).sum::<usize>();
            issues.extend(read);
        }
        Ok((issues, more))
    }

    /// Records decisions together or not at all: in the audit, and in the log of admin actions. The same call again, where
    /// nothing has happened since, is acknowledged and writes nothing.
    pub async fn resolve(
        &self,
        scope: Scope,
        actor: &Actor,
        reason: &str,
        decisions: &[Decision],
    ) -> Result<Resolved, ResolveError> {
        // The refusal travels inside the result: it is an answer, not a fault to be retried.
        let done =
            retry::on_contention("resolve", || self.try_resolve(scope, actor, reason, decisions)).await?;
        if let Ok(resolved) = &done
            && !resolved.is_repetition
        {
            for one in &resolved.decided {
                self.metrics
                    .audit_appends
                    .with_label_values(&[one.state.as_wire(), Source::Person.as_wire()])
                    .inc();
                tracing::info!(
                    change.id = %one.change, state = one.state.as_wire(), seq = one.seq, %actor, "a person decided"
                );
            }
        }
        done
    }

    async fn try_resolve(
        &self,
        scope: Scope,
        actor: &Actor,
        reason: &str,
        decisions: &[Decision],
    ) -> Result<Result<Resolved, ResolveError>, Fault> {
        let mut tx = store::begin(&self.pool).await?;
        let Some(mut stream) = streams::lock_existing(&mut tx, &[scope])
            .await?
            .into_iter()
            .next()
        else {
            return Ok(Err(ResolveError::Refused(
                decisions.iter().map(unheard_of).collect(),
            )));
        };
        let changes: Vec<&str> = decisions.iter().map(|it| it.change.as_str()).collect();
        let about = About::These(&changes);
        let situation = Situation::load(&mut tx, scope, stream.id, about).await?;
        let seqs: Vec<i64> = decisions
            .iter()
            .filter_map(|decision| situation.states.get(&decision.change))
            .map(|latest| latest.seq)
            .collect();
        let basis: HashMap<Seq, Entry> = audit::load_at(&mut tx, stream.id, &seqs)
            .await?
            .into_iter()
            .map(|entry| (entry.seq, entry))
            .collect();
        let who = actor.to_string();
        let refused = refused(&situation, &basis, decisions);
        if !refused.is_empty() {
            // Only a call that was carried out as a whole is recognised as a whole.
            let is_repetition = refused.len() == decisions.len()
                && repeats_all(&mut tx, stream.id, &basis, &situation, decisions, &who, reason).await?;
            return Ok(if is_repetition {
                Ok(Resolved {
                    decided: decisions
                        .iter()
                        .filter_map(|decision| Some((decision, situation.states.get(&decision.change)?)))
                        .map(|(decision, latest)| decided_at(decision, latest.seq))
                        .collect(),
                    is_repetition,
                })
            } else {
                Err(ResolveError::Refused(refused))
            });
        }
        let mut entries = Vec::with_capacity(decisions.len());
        let mut projected = Vec::with_capacity(decisions.len());
        for decision in decisions {
            let latest = situation.states.get(&decision.change);
            let about = latest
                .and_then(|latest| basis.get(&latest.seq))
                .map(|entry| entry.fact.clone())
                .unwrap_or_default();
            let (entry, new) = person_entry(&mut stream, &situation, about, &who, reason, decision);
            actor
                .record(
                    &mut tx,
                    &Action {
                        action: "issue_resolve",
                        place: Place::Scope(scope),
                        target: decision.change.as_str(),
                        reason: Some(reason),
                        before: latest
                            .map(|latest| json!({"seq": latest.seq, "state": latest.state.as_wire()})),
                        after: Some(json!({"seq": entry.seq, "state": entry.fact.state})),
                    },
                )
                .await?;
            entries.push(entry);
            projected.push(new);
        }
        audit::append(&mut tx, &entries).await?;
        states::upsert(&mut tx, &projected).await?;
        streams::update_heads(&mut tx, std::slice::from_ref(&stream)).await?;
        tx.commit().await?;
        let decided = decisions.iter().zip(&entries);
        Ok(Ok(Resolved {
            decided: decided
                .map(|(decision, entry)| decided_at(decision, entry.seq))
                .collect(),
            is_repetition: false,
        }))
    }
}

/// Issues with what was reported of them.
async fn with_entries(
    conn: &mut PgConnection,
    stream_id: i64,
    found: &[(ChangeId, ChangeState, bool)],
) -> Result<Vec<Issue>, StoreError> {
    let seqs: Vec<i64> = found.iter().map(|(_, latest, _)| latest.seq).collect();
    let mut entries: HashMap<Seq, Entry> = audit::load_at(conn, stream_id, &seqs)
        .await?
        .into_iter()
        .map(|entry| (entry.seq, entry))
        .collect();
    let changes: Vec<&str> = found.iter().map(|(change, ..)| change.as_str()).collect();
    let mut late: HashMap<String, Vec<Entry>> = HashMap::new();
    for entry in audit::list_late(conn, stream_id, &changes, LATE_REPORTS_MAX).await? {
        late.entry(entry.fact.change_id.clone()).or_default().push(entry);
    }
    Ok(found
        .iter()
        .filter_map(|(change, latest, contradicted_by_mark)| {
            let entry = entries.remove(&latest.seq)?;
            Some(Issue {
                late_reports: late.remove(change.as_str()).unwrap_or_default(),
                change: change.clone(),
                latest: *latest,
                contradicted_by_mark: *contradicted_by_mark,
                since: entry.received_at,
                fact: entry.fact,
            })
        })
        .collect())
}

/// About how much an issue adds to an answer: its longest texts.
fn weight(issue: &Issue) -> usize {
    let long = |fact: &Fact| {
        let texts = [&fact.error_trace, &fact.metadata, &fact.note];
        texts.into_iter().flatten().map(String::len).sum::<usize>()
    };
    long(&issue.fact)
        + issue
            .late_reports
            .iter()
            .map(|entry| long(&entry.fact))
            .sum::<usize>()
}

fn decided_at(decision: &Decision, seq: Seq) -> Decided {
    Decided {
        change: decision.change.clone(),
        state: decision.resolution.state(),
        seq,
    }
}

/// Which decisions stand against the record. A call decides a change once, so none depends on another.
fn refused(situation: &Situation, basis: &HashMap<Seq, Entry>, decisions: &[Decision]) -> Vec<Refused> {
    decisions
        .iter()
        .filter_map(|decision| {
            let latest = situation.states.get(&decision.change);
            let judged = rules::resolve_marked(
                latest,
                decision.expected,
                latest.is_some_and(|latest| situation.is_in_hand(&decision.change, latest)),
                latest.is_some_and(|latest| situation.contradicted(&decision.change, latest)),
                decision.resolution,
            );
            Some(Refused {
                change: decision.change.clone(),
                refusal: judged.err()?,
                latest: latest
                    .and_then(|latest| basis.get(&latest.seq))
                    .map(|entry| Latest {
                        seq: entry.seq,
                        state: entry.fact.state.clone(),
                        actor: entry.fact.actor.clone(),
                        note: entry.fact.note.clone(),
                        received_at: entry.received_at,
                    }),
            })
        })
        .collect()
}

fn unheard_of(decision: &Decision) -> Refused {
    Refused {
        change: decision.change.clone(),
        refusal: ResolveRefusal::NoIssue,
        latest: None,
    }
}

/// Whether each decision is the latest entry of its change already, made by the same person for the same reason about the
/// same entry.
async fn repeats_all(
    conn: &mut PgConnection,
    stream_id: i64,
    basis: &HashMap<Seq, Entry>,
    situation: &Situation,
    decisions: &[Decision],
    who: &str,
    reason: &str,
) -> Result<bool, StoreError> {
    for decision in decisions {
        let latest = situation.states.get(&decision.change);
        let Some((latest, entry)) = latest
            .filter(|latest| latest.source == Source::Person)
            .and_then(|latest| Some((latest, basis.get(&latest.seq)?)))
        else {
            return Ok(false);
        };
        let about = audit::load_before(conn, stream_id, decision.change.as_str(), latest.seq).await?;
        let made = Made {
            state: latest.state,
            actor: &entry.fact.actor,
            reason: entry.fact.note.as_deref().unwrap_or_default(),
            about: about.unwrap_or_default(),
        };
        if !rules::repeats(&made, decision.resolution, decision.expected, who, reason) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A decision in its place: everything about the change is copied from the entry that it is about.
fn person_entry(
    stream: &mut Stream,
    situation: &Situation,
    about: Fact,
    actor: &str,
    reason: &str,
    decision: &Decision,
) -> (Entry, NewState) {
    let fact = Fact {
        execution_ref: String::new(),
        change_id: decision.change.to_string(),
        state: decision.resolution.state().as_wire().to_owned(),
        applied_at_ms: Some(situation.now.as_micros() / 1_000),
        author: Some(actor.to_owned()),
        error_trace: None,
        runner_id: None,
        fence: None,
        actor: actor.to_owned(),
        note: Some(reason.to_owned()),
        ..about
    };
    let entry = stream.link(fact, Source::Person, false, situation.now);
    let new = NewState::of(&entry, None);
    (entry, new)
}
