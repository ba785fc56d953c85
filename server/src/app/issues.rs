//! Issues and their resolution by people.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use flamingock_domain::audit::{self as rules, AuditState, ChangeState, Resolution, ResolveRefusal, Source};
use flamingock_domain::ids::{ChangeId, Seq};
use serde_json::json;
use sqlx::PgPool;

use super::actor::{Action, Actor, Place};
use super::fault::Fault;
use super::retry;
use super::situation::Situation;
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

#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// None of the decisions was recorded, because of this one.
    #[error("the decision on {change} is refused")]
    Refused {
        change: ChangeId,
        refusal: ResolveRefusal,
        latest: Option<AuditState>,
    },
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

    /// Changes that wait for a person, by id, at most `limit` after a position. One that its runner is working on this moment
    /// is not among them.
    pub async fn list(&self, scope: Scope, after: Option<&str>, limit: usize) -> Result<Vec<Issue>, Fault> {
        let mut conn = self.pool.acquire().await?;
        let heads = streams::load_heads(&mut conn, &[scope]).await?;
        let Some(stream_id) = heads.into_iter().next().and_then(|(_, head)| head.stream_id) else {
            return Ok(Vec::new());
        };
        let situation = Situation::load(&mut conn, scope, stream_id).await?;
        let mut found: Vec<(ChangeId, ChangeState, bool)> = situation
            .states
            .iter()
            .filter(|(change, _)| after.is_none_or(|after| change.as_str() > after))
            .filter(|(change, latest)| situation.is_issue(change, latest))
            .map(|(change, latest)| (change.clone(), *latest, situation.contradicted(change, latest)))
            .collect();
        found.sort_by(|(a, ..), (b, ..)| a.as_str().cmp(b.as_str()));
        found.truncate(limit);
        let seqs: Vec<i64> = found.iter().map(|(_, latest, _)| latest.seq).collect();
        let mut entries: HashMap<Seq, Entry> = audit::load_at(&mut conn, stream_id, &seqs)
            .await?
            .into_iter()
            .map(|entry| (entry.seq, entry))
            .collect();
        let changes: Vec<&str> = found.iter().map(|(change, ..)| change.as_str()).collect();
        let mut late: HashMap<String, Vec<Entry>> = HashMap::new();
        for entry in audit::list_late(&mut conn, stream_id, &changes, LATE_REPORTS_MAX).await? {
            late.entry(entry.fact.change_id.clone()).or_default().push(entry);
        }
        Ok(found
            .into_iter()
            .filter_map(|(change, latest, contradicted_by_mark)| {
                let entry = entries.remove(&latest.seq)?;
                Some(Issue {
                    late_reports: late.remove(change.as_str()).unwrap_or_default(),
                    change,
                    latest,
                    contradicted_by_mark,
                    since: entry.received_at,
                    fact: entry.fact,
                })
            })
            .collect())
    }

    /// Records decisions together or not at all: in the audit, and in the log of admin actions.
    pub async fn resolve(
        &self,
        scope: Scope,
        actor: &Actor,
        reason: &str,
        decisions: &[Decision],
    ) -> Result<Vec<Decided>, ResolveError> {
        // The refusal travels inside the result: it is an answer, not a fault to be retried.
        let done =
            retry::on_contention("resolve", || self.try_resolve(scope, actor, reason, decisions)).await?;
        if let Ok(decided) = &done {
            for one in decided {
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
    ) -> Result<Result<Vec<Decided>, ResolveError>, Fault> {
        let mut tx = store::begin(&self.pool).await?;
        let Some(mut stream) = streams::lock_existing(&mut tx, &[scope])
            .await?
            .into_iter()
            .next()
        else {
            return Ok(Err(no_issue(decisions)));
        };
        let mut situation = Situation::load(&mut tx, scope, stream.id).await?;
        let seqs: Vec<i64> = decisions
            .iter()
            .filter_map(|decision| situation.states.get(&decision.change))
            .map(|latest| latest.seq)
            .collect();
        let basis = audit::load_at(&mut tx, stream.id, &seqs).await?;
        let who = actor.to_string();
        let mut entries = Vec::with_capacity(decisions.len());
        let mut projected = Vec::with_capacity(decisions.len());
        let mut decided = Vec::with_capacity(decisions.len());
        for decision in decisions {
            let latest = situation.states.get(&decision.change).copied();
            let judged = rules::resolve_marked(
                latest.as_ref(),
                decision.expected,
                latest
                    .as_ref()
                    .is_some_and(|latest| situation.in_progress(latest)),
                latest
                    .as_ref()
                    .is_some_and(|latest| situation.contradicted(&decision.change, latest)),
                decision.resolution,
            );
            let state = match judged {
                Ok(state) => state,
                Err(refusal) => {
                    return Ok(Err(ResolveError::Refused {
                        change: decision.change.clone(),
                        refusal,
                        latest: latest.map(|latest| latest.state),
                    }));
                }
            };
            let about = latest
                .and_then(|latest| basis.iter().find(|entry| entry.seq == latest.seq))
                .map(|entry| entry.fact.clone())
                .unwrap_or_default();
            let (entry, next, new) =
                person_entry(&mut stream, &situation, about, state, &who, reason, decision);
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
                        after: Some(json!({"seq": entry.seq, "state": state.as_wire()})),
                    },
                )
                .await?;
            situation.states.insert(decision.change.clone(), next);
            decided.push(Decided {
                change: decision.change.clone(),
                state,
                seq: entry.seq,
            });
            entries.push(entry);
            projected.push(new);
        }
        audit::append(&mut tx, &entries).await?;
        states::upsert(&mut tx, &projected).await?;
        streams::update_heads(&mut tx, std::slice::from_ref(&stream)).await?;
        tx.commit().await?;
        Ok(Ok(decided))
    }
}

/// A decision in its place: everything about the change is copied from the entry that it is about.
fn person_entry(
    stream: &mut Stream,
    situation: &Situation,
    about: Fact,
    state: AuditState,
    actor: &str,
    reason: &str,
    decision: &Decision,
) -> (Entry, ChangeState, NewState) {
    let fact = Fact {
        execution_ref: String::new(),
        change_id: decision.change.to_string(),
        state: state.as_wire().to_owned(),
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
    let new = NewState {
        stream_id: stream.id,
        change_id: entry.fact.change_id.clone(),
        seq: entry.seq,
        state: entry.fact.state.clone(),
        tx_strategy: entry.fact.tx_strategy.clone(),
        recovery_strategy: entry.fact.recovery_strategy.clone(),
        execution_id: None,
        source: Source::Person,
    };
    let next = ChangeState {
        seq: entry.seq,
        state,
        tx_strategy: rules::TxStrategy::from_wire(new.tx_strategy.as_deref().unwrap_or_default()),
        recovery: rules::RecoveryStrategy::from_wire(new.recovery_strategy.as_deref().unwrap_or_default()),
        execution: None,
        source: Source::Person,
    };
    (entry, next, new)
}

fn no_issue(decisions: &[Decision]) -> ResolveError {
    match decisions.first() {
        Some(decision) => ResolveError::Refused {
            change: decision.change.clone(),
            refusal: ResolveRefusal::NoIssue,
            latest: None,
        },
        None => ResolveError::Fault(
            StoreError::Corrupt {
                table: "audit_streams",
                detail: "no decision to record".to_owned(),
            }
            .into(),
        ),
    }
}
