//! Verdicts of probes: changes that were asked what became of them.
//!
//! As a decision of a person, a verdict is about one entry and copies what that says of the change. As a start, it is judged
//! while the lock's row is held, so that nobody takes the lock over between the judgement and the entry.

use std::collections::HashMap;

use flamingock_domain::audit::{
    self as rules, ChangeState, ProbeJudgement, ProbeRefusal, ProbeVerdict, Probed, ProbedUnder,
    RecordedProbe, Source,
};
use flamingock_domain::ids::{ChangeId, ExecutionId, Fence, LockKey, RunnerId, Seq};
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use super::facts::{TEXT_MAX_BYTES, cut};
use super::fault::Fault;
use super::{retry, rulings};
use crate::metrics::Metrics;
use crate::store::audit::{self, Entry, Fact};
use crate::store::executions::{self, ExecutionFacts};
use crate::store::locks::{self, Hold};
use crate::store::states::{self, NewState};
use crate::store::streams::{self, Stream};
use crate::store::{self, Scope};

/// What is recorded where a probe does not know: always as late, so that it is nobody's state.
pub const UNDECIDED: &str = "PROBE_UNDECIDED";

/// Longest detail that is kept.
const DETAIL_MAX_BYTES: usize = 2_000;

/// What a runner says that a change said.
#[derive(Clone, Debug)]
pub struct Told {
    pub scope: Scope,
    pub runner: RunnerId,
    pub change: ChangeId,
    /// `None`: a text that is no number of ours.
    pub execution: Option<ExecutionId>,
    pub verdict: ProbeVerdict,
    /// Sequence of the entry that it is about.
    pub about: Seq,
    pub fence: Option<Fence>,
    pub detail: Option<String>,
    pub probed_at_ms: Option<i64>,
    pub millis: Option<i64>,
    pub hostname: Option<String>,
    pub actor: String,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub settled: bool,
    pub seq: Seq,
    /// It had been recorded before: its answer was lost.
    pub is_repetition: bool,
}

#[derive(Clone)]
pub struct Probes {
    pool: PgPool,
    metrics: Metrics,
}

impl Probes {
    pub(super) fn new(pool: PgPool, metrics: &Metrics) -> Self {
        Self {
            pool,
            metrics: metrics.clone(),
        }
    }

    /// Records a verdict, or says why it does not count. The refusal is an answer and not a fault to be retried.
    pub async fn tell(&self, told: &Told) -> Result<Result<Recorded, ProbeRefusal>, Fault> {
        let done = retry::until_done("probe", || self.try_tell(told)).await?;
        match &done {
            Ok(recorded) if !recorded.is_repetition => {
                let state = told.verdict.settles().map_or(UNDECIDED, |state| state.as_wire());
                self.metrics
                    .audit_appends
                    .with_label_values(&[state, Source::Probe.as_wire()])
                    .inc();
                tracing::info!(
                    change.id = %told.change, runner.id = %told.runner, verdict = told.verdict.as_wire(),
                    about = told.about, seq = recorded.seq, "a change was asked what became of it"
                );
            }
            Ok(_) => self.metrics.audit_duplicates.inc(),
            Err(refusal) => tracing::warn!(
                change.id = %told.change, runner.id = %told.runner, ?refusal,
                "the verdict of a probe does not count"
            ),
        }
        Ok(done)
    }

    async fn try_tell(&self, told: &Told) -> Result<Result<Recorded, ProbeRefusal>, Fault> {
        let mut tx = store::begin(&self.pool).await?;
        let mut streams = streams::lock_existing(&mut tx, &[told.scope]).await?;
        let Some(mut stream) = streams.pop() else {
            return Ok(Err(ProbeRefusal::NotInDoubt(None)));
        };
        let latest = states::load_some(&mut tx, &[(stream.id, told.change.as_str())]).await?;
        let latest = latest.into_iter().next().map(|(.., latest)| latest);
        let (execution, attempt) = executions_of(&mut tx, told, stream.id, latest.as_ref()).await?;
        let marks: HashMap<String, Seq> = states::load_mark_reports(&mut tx, stream.id)
            .await?
            .into_iter()
            .collect();
        let seen = marks.get(told.change.as_str()).copied();
        let key = LockKey::of_service(told.scope.service_id);
        let (rows, clock) =
            locks::lock_rows(&mut tx, &[(told.scope.environment_id, key.as_str())], Hold::Share).await?;
        let lock = rows.into_iter().next().map(|(_, row)| row.lock);
        let judged = rules::judge_probe(&Probed {
            verdict: told.verdict,
            about: told.about,
            execution: execution.as_ref().map(|known| ProbedUnder {
                id: known.id,
                runner: &known.runner,
                fence: known.fence,
            }),
            runner: &told.runner,
            fence: told.fence,
            latest: latest.as_ref(),
            attempted_by: attempt.as_ref().map(|attempt| &attempt.runner),
            contradicted_by_mark: seen.is_some()
                && latest.is_some_and(|latest| rules::contradicts_mark(&latest, seen)),
            lock: lock.as_ref(),
            now: clock.now,
        });
        if let Some(seq) = repeated(&mut tx, told, &stream, latest.as_ref(), judged).await? {
            return Ok(Ok(Recorded {
                settled: told.verdict.settles().is_some(),
                seq,
                is_repetition: true,
            }));
        }
        let judgement = match judged {
            Ok(judgement) => judgement,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let about = audit::load_at(&mut tx, stream.id, &[told.about]).await?;
        let about = about
            .into_iter()
            .next()
            .map(|entry| entry.fact)
            .unwrap_or_default();
        let settles = matches!(judgement, ProbeJudgement::Settle(_));
        let entry = stream.link(fact(told, about), Source::Probe, !settles, clock.now);
        audit::append(&mut tx, std::slice::from_ref(&entry)).await?;
        if settles {
            self.settle(&mut tx, &stream, &entry, latest.as_ref(), told)
                .await?;
        }
        streams::update_heads(&mut tx, std::slice::from_ref(&stream)).await?;
        tx.commit().await?;
        Ok(Ok(Recorded {
            settled: settles,
            seq: entry.seq,
            is_repetition: false,
        }))
    }

    /// The entry is the change's latest state; applied, it was with the content of the attempt.
    async fn settle(
        &self,
        tx: &mut PgConnection,
        stream: &Stream,
        entry: &Entry,
        latest: Option<&ChangeState>,
        told: &Told,
    ) -> Result<(), Fault> {
        // Of the attempt that was in doubt: should it live after all, its own word about itself still counts. What the
        // one that asked goes on to do with the change is another attempt.
        let attempt = latest.and_then(|latest| latest.execution);
        states::upsert(tx, &[NewState::of(entry, attempt)]).await?;
        if let Some(attempt) = attempt
            && told.verdict == ProbeVerdict::Applied
        {
            rulings::note_derived(tx, stream.id, &[(told.change.as_str(), entry.seq, attempt)]).await?;
        }
        Ok(())
    }
}

/// The execution that the path names, and the one whose outcome is in doubt. One of another service is one that does not
/// exist (invariant 9).
async fn executions_of(
    conn: &mut PgConnection,
    told: &Told,
    stream_id: i64,
    latest: Option<&ChangeState>,
) -> Result<(Option<ExecutionFacts>, Option<ExecutionFacts>), Fault> {
    let attempt = latest.and_then(|latest| latest.execution);
    let asked: Vec<i64> = told.execution.into_iter().chain(attempt).map(|id| id.0).collect();
    let known = executions::load_facts(conn, &asked).await?;
    let of_stream = |id: Option<ExecutionId>| {
        known
            .iter()
            .find(|execution| Some(execution.id) == id && execution.stream_id == stream_id)
            .cloned()
    };
    Ok((of_stream(told.execution), of_stream(attempt)))
}

/// Sequence of the entry that holds this very report already: the change's latest where it settled the doubt, else the newest
/// evidence.
async fn repeated(
    conn: &mut PgConnection,
    told: &Told,
    stream: &Stream,
    latest: Option<&ChangeState>,
    judged: Result<ProbeJudgement, ProbeRefusal>,
) -> Result<Option<Seq>, Fault> {
    let recorded = match judged {
        Err(ProbeRefusal::Outdated { actual })
            if latest.is_some_and(|latest| latest.source == Source::Probe) =>
        {
            audit::load_at(conn, stream.id, &[actual]).await?
        }
        Ok(ProbeJudgement::KeepDoubt) => {
            audit::list_late(conn, stream.id, &[told.change.as_str()], 1).await?
        }
        _ => return Ok(None),
    };
    let (reference, state, note) = (reference(told), state(told), note(told));
    let this = RecordedProbe {
        source: Source::Probe,
        state,
        execution_ref: &reference,
        runner: Some(told.runner.as_str()),
        note: Some(&note),
    };
    let recorded = recorded.iter().find(|entry| {
        let fact = &entry.fact;
        let that = RecordedProbe {
            source: entry.source,
            state: &fact.state,
            execution_ref: &fact.execution_ref,
            runner: fact.runner_id.as_deref(),
            note: fact.note.as_deref(),
        };
        rules::repeats_probe(&that, &this)
    });
    Ok(recorded.map(|entry| entry.seq))
}

fn reference(told: &Told) -> String {
    told.execution.map(|id| id.to_string()).unwrap_or_default()
}

fn state(told: &Told) -> &'static str {
    told.verdict.settles().map_or(UNDECIDED, |state| state.as_wire())
}

/// For people, and what tells one verdict from another.
fn note(told: &Told) -> String {
    let verdict = match told.verdict {
        ProbeVerdict::Applied => "its probe found that it is applied",
        ProbeVerdict::NotApplied => "its probe found that nothing of it is applied",
        ProbeVerdict::Unknown => "its probe could not tell what became of it",
    };
    let detail = told
        .detail
        .as_deref()
        .map(|detail| format!(": {}", cut(detail, DETAIL_MAX_BYTES)))
        .unwrap_or_default();
    format!("{verdict} (about entry {}){detail}", told.about)
}

/// The verdict in its place: everything about the change is copied from the entry that it is about.
fn fact(told: &Told, about: Fact) -> Fact {
    let probe = json!({"probe": {"verdict": told.verdict.as_wire(), "aboutSeq": told.about}});
    Fact {
        execution_ref: reference(told),
        change_id: told.change.to_string(),
        applied_at_ms: told.probed_at_ms,
        state: state(told).to_owned(),
        method_name: Some("probe".to_owned()),
        metadata: Some(probe.to_string()),
        execution_millis: told.millis,
        execution_hostname: told.hostname.as_deref().map(|host| cut(host, TEXT_MAX_BYTES)),
        error_trace: None,
        runner_id: Some(told.runner.to_string()),
        fence: told.fence,
        actor: told.actor.clone(),
        note: Some(note(told)),
        ..about
    }
}
