//! A batch of reports against the streams that its transaction has locked: what is known is loaded, each report is judged in the
//! order of arrival, what was decided is written.

use std::collections::{HashMap, HashSet};

use flamingock_domain::audit::{
    AuditState, ChangeState, Judgement, RecoveryStrategy, Report, ReportedExecution, Source, TxStrategy,
    judge,
};
use flamingock_domain::ids::{ChangeId, ExecutionId, LockKey, Seq};
use flamingock_domain::lock::Lock;
use flamingock_domain::time::Timestamp;
use sqlx::PgConnection;

use super::{NamedExecution, Outcome, Recorded, Told};
use crate::app::fault::Fault;
use crate::store::audit::{self, Entry, ReportKey};
use crate::store::checksums::{self, Applied};
use crate::store::executions::{self, ExecutionFacts};
use crate::store::locks::{self, Hold};
use crate::store::progress;
use crate::store::states::{self, NewState};
use crate::store::streams::{self, Stream};
use crate::store::{Scope, StoreError};

/// (stream, change)
type ChangeKey = (i64, String);

/// What a transaction knows of its locked streams, and what it will write.
pub(in crate::app) struct Ledger {
    streams: HashMap<Scope, Stream>,
    executions: HashMap<i64, ExecutionFacts>,
    latest: HashMap<ChangeKey, ChangeState>,
    /// When the latest entry of a change happened, where it was imported.
    imported_at: HashMap<ChangeKey, Option<i64>>,
    /// (change key, execution, state) of what was recorded before.
    recorded: HashMap<(ChangeKey, String, String), (Seq, bool)>,
    /// By (change key, execution): the latest entry of the change when the execution was handed a cursor of it. Only of those
    /// starts before which something else may have been recorded.
    handed_on: HashMap<(ChangeKey, String), Seq>,
    locks: HashMap<(i64, LockKey), Lock>,
    now: Timestamp,
    entries: Vec<Entry>,
    projected: HashMap<ChangeKey, NewState>,
    /// What was applied by executions that know checksums: (change key, seq, execution).
    applied: Vec<(ChangeKey, Seq, ExecutionId)>,
}

impl Ledger {
    pub(in crate::app) async fn load(
        tx: &mut PgConnection,
        streams: Vec<Stream>,
        told: &[Told],
    ) -> Result<Self, Fault> {
        let streams: HashMap<Scope, Stream> =
            streams.into_iter().map(|stream| (stream.scope, stream)).collect();
        let stream_of = |told: &Told| streams.get(&told.scope).map_or(0, |stream| stream.id);
        let numbers: Vec<i64> = told
            .iter()
            .filter_map(|told| match told.execution {
                NamedExecution::Number(id) => Some(id.0),
                NamedExecution::Text(_) => None,
            })
            .collect();
        let executions = executions::load_facts(tx, &numbers).await?;
        let asked: Vec<(i64, &str)> = told
            .iter()
            .map(|told| (stream_of(told), told.change.as_str()))
            .collect();
        let latest = states::load_some(tx, &asked).await?;
        // A change without a latest state has no entry at all: its first one always counts.
        let seen: HashSet<(i64, &str)> = latest
            .iter()
            .map(|(stream, id, _)| (*stream, id.as_str()))
            .collect();
        let keys: Vec<ReportKey<'_>> = told
            .iter()
            .filter(|told| seen.contains(&(stream_of(told), told.change.as_str())))
            .map(|told| ReportKey {
                stream_id: stream_of(told),
                change_id: told.change.as_str(),
                execution_ref: &told.fact.execution_ref,
                state: &told.fact.state,
            })
            .collect();
        let recorded = audit::load_recorded(tx, &keys).await?;
        let imported_at = if told
            .iter()
            .any(|told| matches!(told.execution, NamedExecution::Text(_)))
        {
            load_imported_at(tx, &latest).await?
        } else {
            HashMap::new()
        };
        let (locks, now) = load_locks(tx, told).await?;
        let executions: HashMap<i64, ExecutionFacts> = executions
            .into_iter()
            .map(|execution| (execution.id.0, execution))
            .collect();
        let latest: HashMap<ChangeKey, ChangeState> = latest
            .into_iter()
            .map(|(stream, id, state)| ((stream, id.to_string()), state))
            .collect();
        let overtaken = overtaken_starts(told, stream_of, &executions, &latest);
        Ok(Self {
            handed_on: load_handed_on(tx, &overtaken).await?,
            executions,
            latest,
            imported_at,
            recorded: recorded
                .into_iter()
                .map(|(stream, change, execution, state, seq, late)| {
                    (((stream, change), execution, state), (seq, late))
                })
                .collect(),
            streams,
            locks,
            now,
            entries: Vec::new(),
            projected: HashMap::new(),
            applied: Vec::new(),
        })
    }

    /// Judges one report and takes it into what will be written.
    pub(in crate::app) fn record(&mut self, told: &Told) -> Result<Recorded, Fault> {
        let stream = self.streams.get_mut(&told.scope).ok_or_else(|| {
            Fault::from(StoreError::Corrupt {
                table: "audit_streams",
                detail: "a locked stream is missing".to_owned(),
            })
        })?;
        let key: ChangeKey = (stream.id, told.change.to_string());
        let report_key = (
            key.clone(),
            told.fact.execution_ref.clone(),
            told.fact.state.clone(),
        );
        let same = self.recorded.get(&report_key).copied();
        let lock = self.locks.get(&(
            told.scope.environment_id,
            LockKey::of_service(told.scope.service_id),
        ));
        // An execution of another service answers exactly like one that does not exist (invariant 9).
        let known = match told.execution {
            NamedExecution::Number(id) => self
                .executions
                .get(&id.0)
                .filter(|execution| execution.stream_id == stream.id),
            NamedExecution::Text(_) => None,
        };
        let execution = match (&told.execution, known) {
            (_, Some(known)) => ReportedExecution::Known {
                id: known.id,
                runner: &known.runner,
                fence: known.fence,
                planned_at: known.planned_at,
            },
            (NamedExecution::Number(id), None) => ReportedExecution::Unknown(*id),
            (NamedExecution::Text(_), None) => ReportedExecution::Import {
                at_ms: told.fact.applied_at_ms,
                latest_at_ms: self.imported_at.get(&key).copied().flatten(),
            },
        };
        let judgement = judge(&Report {
            state: told.state,
            execution,
            runner: &told.runner,
            fence: told.fence,
            latest: self.latest.get(&key),
            same: same.map(|(seq, _)| seq),
            lock,
            now: self.now,
            trust_absent_marks: stream.settings.trust_absent_marks,
            handed_on_at: self
                .handed_on
                .get(&(key.clone(), told.fact.execution_ref.clone()))
                .copied(),
        });
        let lock = lock.filter(|lock| lock.lease.is_some()).cloned();
        let late = match judgement {
            Judgement::Append => false,
            Judgement::AppendLate => true,
            Judgement::Duplicate => {
                let (seq, late) = same.unwrap_or_default();
                return Ok(Recorded {
                    outcome: Outcome::Duplicate { seq, late },
                    lock,
                });
            }
            Judgement::Refuse(refusal) => {
                return Ok(Recorded {
                    outcome: Outcome::Refused(refusal),
                    lock,
                });
            }
        };
        let (source, execution) = match &told.execution {
            NamedExecution::Number(id) => (Source::Runner, Some(*id)),
            NamedExecution::Text(_) => (Source::Import, None),
        };
        let entry = stream.link(told.fact.clone(), source, late, self.now);
        let seq = entry.seq;
        if !late {
            if told.state == AuditState::Applied
                && let Some(known) = known.filter(|known| known.has_checksums)
            {
                self.applied.push((key.clone(), seq, known.id));
            }
            let fact = &entry.fact;
            if source == Source::Import {
                self.imported_at.insert(key.clone(), fact.applied_at_ms);
            }
            self.latest.insert(
                key.clone(),
                ChangeState {
                    seq,
                    state: told.state,
                    tx_strategy: TxStrategy::from_wire(fact.tx_strategy.as_deref().unwrap_or_default()),
                    recovery: RecoveryStrategy::from_wire(
                        fact.recovery_strategy.as_deref().unwrap_or_default(),
                    ),
                    execution,
                    source,
                },
            );
            self.projected.insert(key, NewState::of(&entry, execution));
        }
        self.recorded.insert(report_key, (seq, late));
        self.entries.push(entry);
        Ok(Recorded {
            outcome: Outcome::Appended { seq, late },
            lock,
        })
    }

    /// A change that is started anew: a mark that was reported for it belongs to an attempt before.
    async fn forget_marks(&self, tx: &mut PgConnection) -> Result<(), Fault> {
        let mut started: HashMap<i64, Vec<&str>> = HashMap::new();
        for entry in &self.entries {
            if entry.source == Source::Runner && entry.fact.state == AuditState::Started.as_wire() {
                started
                    .entry(entry.stream_id)
                    .or_default()
                    .push(&entry.fact.change_id);
            }
        }
        for (stream_id, changes) in started {
            states::delete_mark_reports(tx, stream_id, &changes).await?;
        }
        Ok(())
    }

    /// A change's latest state, what was recorded here included.
    pub(in crate::app) fn latest(&self, scope: Scope, change: &ChangeId) -> Option<ChangeState> {
        let stream = self.streams.get(&scope)?;
        self.latest.get(&(stream.id, change.to_string())).copied()
    }

    pub(in crate::app) async fn save(self, tx: &mut PgConnection) -> Result<(), Fault> {
        if self.entries.is_empty() {
            return Ok(());
        }
        audit::append(tx, &self.entries).await?;
        self.forget_marks(tx).await?;
        let projected: Vec<NewState> = self.projected.into_values().collect();
        states::upsert(tx, &projected).await?;
        let moved: Vec<Stream> = self
            .streams
            .into_values()
            .filter(|stream| self.entries.iter().any(|entry| entry.stream_id == stream.id))
            .collect();
        streams::update_heads(tx, &moved).await?;
        let applied: Vec<Applied<'_>> = self
            .applied
            .iter()
            .map(|((stream_id, change), seq, execution)| Applied {
                stream_id: *stream_id,
                change_id: change,
                seq: *seq,
                execution_id: execution.0,
            })
            .collect();
        checksums::append_of_executions(tx, &applied).await?;
        Ok(())
    }
}

/// Starts, as (stream, change, execution), before which something was recorded of the change that their plan did not know,
/// or may be in this very batch. There is hardly ever one.
fn overtaken_starts<'a>(
    told: &'a [Told],
    stream_of: impl Fn(&Told) -> i64,
    executions: &HashMap<i64, ExecutionFacts>,
    latest: &HashMap<ChangeKey, ChangeState>,
) -> Vec<(i64, &'a str, ExecutionId)> {
    let is_overtaken = |start: &Told, id: ExecutionId| {
        let stream = stream_of(start);
        // Of one of another service nothing is asked that is not asked of one that does not exist (invariant 9).
        let planned_at = executions
            .get(&id.0)
            .filter(|execution| execution.stream_id == stream)
            .map(|execution| execution.planned_at);
        let latest = latest.get(&(stream, start.change.to_string()));
        let is_known = latest.is_some_and(|latest| planned_at.is_some_and(|at| latest.seq > at));
        let is_beside = |other: &Told| {
            other.scope == start.scope && other.change == start.change && other.execution != start.execution
        };
        is_known || (told.len() > 1 && told.iter().any(is_beside))
    };
    told.iter()
        .filter(|told| told.state == AuditState::Started)
        .filter_map(|told| match told.execution {
            NamedExecution::Number(id) if is_overtaken(told, id) => {
                Some((stream_of(told), told.change.as_str(), id))
            }
            NamedExecution::Number(_) | NamedExecution::Text(_) => None,
        })
        .collect()
}

/// Which of them were handed a cursor, and at which entry.
async fn load_handed_on(
    tx: &mut PgConnection,
    starts: &[(i64, &str, ExecutionId)],
) -> Result<HashMap<(ChangeKey, String), Seq>, Fault> {
    if starts.is_empty() {
        return Ok(HashMap::new());
    }
    let found = progress::load_handed_on(tx, starts).await?;
    Ok(found
        .into_iter()
        .map(|(stream, change, execution, seq)| (((stream, change), execution.to_string()), seq))
        .collect())
}

/// When those latest entries happened that were imported.
async fn load_imported_at(
    tx: &mut PgConnection,
    latest: &[(i64, ChangeId, ChangeState)],
) -> Result<HashMap<ChangeKey, Option<i64>>, Fault> {
    let imported: Vec<(i64, Seq)> = latest
        .iter()
        .filter(|(.., state)| state.source == Source::Import)
        .map(|(stream, _, state)| (*stream, state.seq))
        .collect();
    let times: HashMap<(i64, Seq), Option<i64>> = audit::load_times(tx, &imported)
        .await?
        .into_iter()
        .map(|(stream, seq, at_ms)| ((stream, seq), at_ms))
        .collect();
    Ok(latest
        .iter()
        .filter_map(|(stream, id, state)| {
            let at_ms = *times.get(&(*stream, state.seq))?;
            Some(((*stream, id.to_string()), at_ms))
        })
        .collect())
}

/// The locks that the reports lean on. Where one of them is a `STARTED`, its lock is held until the commit: nobody takes
/// it over between the judgement and the entry.
async fn load_locks(
    tx: &mut PgConnection,
    told: &[Told],
) -> Result<(HashMap<(i64, LockKey), Lock>, Timestamp), Fault> {
    let mut keys: Vec<(i64, LockKey)> = told
        .iter()
        .map(|told| {
            (
                told.scope.environment_id,
                LockKey::of_service(told.scope.service_id),
            )
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let asked: Vec<(i64, &str)> = keys
        .iter()
        .map(|(environment, key)| (*environment, key.as_str()))
        .collect();
    let hold = if told.iter().any(|told| told.state == AuditState::Started) {
        Hold::Share
    } else {
        Hold::Look
    };
    let (rows, clock) = locks::lock_rows(tx, &asked, hold).await?;
    Ok((
        rows.into_iter()
            .map(|(environment, row)| ((environment, row.lock.key.clone()), row.lock))
            .collect(),
        clock.now,
    ))
}

#[cfg(test)]
mod tests {
    use flamingock_domain::ids::RunnerId;

    use super::*;
    use crate::store::audit::Fact;

    /// What is looked up for a start costs a statement, which must not tell whether a foreign execution is there.
    #[test]
    fn more_is_only_asked_for_of_the_services_own_executions() {
        let started = Told {
            scope: Scope {
                environment_id: 1,
                service_id: 2,
            },
            runner: RunnerId::parse("billing#1").expect("a runner id"),
            change: ChangeId::parse("copy").expect("a change id"),
            execution: NamedExecution::Number(ExecutionId(9)),
            state: AuditState::Started,
            fence: None,
            fact: Fact::default(),
        };
        let latest = ChangeState {
            seq: 5,
            state: AuditState::Failed,
            tx_strategy: TxStrategy::NonTx,
            recovery: RecoveryStrategy::AlwaysRetry,
            execution: None,
            source: Source::Runner,
        };
        let latest = HashMap::from([((3, "copy".to_owned()), latest)]);
        let asked_for = |stream_id| {
            let execution = ExecutionFacts {
                id: ExecutionId(9),
                stream_id,
                runner: started.runner.clone(),
                fence: 1,
                planned_at: 4,
                has_checksums: false,
            };
            let executions = HashMap::from([(9, execution)]);
            overtaken_starts(std::slice::from_ref(&started), |_| 3, &executions, &latest).len()
        };
        assert_eq!((asked_for(3), asked_for(4)), (1, 0));
    }
}
