//! Reports of runners become audit entries: judged under the stream's lock, linked, projected, and acknowledged only
//! once they are committed. Many reports share a commit; each is judged on its own, in the order of arrival.

mod ledger;

use std::time::Duration;

use flamingock_domain::audit::{AuditState, Source, StartRefusal};
use flamingock_domain::ids::{ChangeId, ExecutionId, Fence, RunnerId, Seq};
use flamingock_domain::lock::Lock;
use sqlx::PgPool;

pub(super) use ledger::Ledger;

use super::combine::Combiner;
use super::fault::Fault;
use super::retry;
use crate::metrics::Metrics;
use crate::store::audit::Fact;
use crate::store::refusals::{self, NewRefusal};
use crate::store::{self, Scope, StoreError, streams};

/// The execution that a report names in its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedExecution {
    Number(ExecutionId),
    /// History from an importer.
    Text(String),
}

/// One report.
#[derive(Clone, Debug)]
pub struct Told {
    pub scope: Scope,
    pub runner: RunnerId,
    pub change: ChangeId,
    pub execution: NamedExecution,
    pub state: AuditState,
    /// The fence that the runner echoes, where it does.
    pub fence: Option<Fence>,
    /// What is recorded; its change, execution and runner are those above.
    pub fact: Fact,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub outcome: Outcome,
    /// The service's lock as it stands.
    pub lock: Option<Lock>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Appended {
        seq: Seq,
        late: bool,
    },
    /// The same was recorded before, there.
    Duplicate {
        seq: Seq,
        late: bool,
    },
    /// Only a `STARTED` is ever refused.
    Refused(StartRefusal),
}

/// Batches at once: while one commit waits for the disk, another is written.
const LANES: usize = 4;

#[derive(Clone)]
pub struct Reports {
    told: Combiner<Told, Recorded>,
    pool: PgPool,
    metrics: Metrics,
}

impl Reports {
    pub(super) fn new(pool: &PgPool, limit: Duration, metrics: &Metrics) -> Self {
        let (writer, batches) = (pool.clone(), metrics.audit_batch.clone());
        let told = Combiner::spawn("reports", 128, LANES, limit, move |told: Vec<Told>| {
            let (pool, batches) = (writer.clone(), batches.clone());
            async move {
                #[expect(clippy::cast_precision_loss, reason = "a batch has at most 128 reports")]
                batches.observe(told.len() as f64);
                write_all(&pool, &told).await
            }
        });
        Self {
            told,
            pool: pool.clone(),
            metrics: metrics.clone(),
        }
    }

    pub async fn tell(&self, told: Told) -> Result<Recorded, Fault> {
        let (state, change, runner) = (told.state, told.change.clone(), told.runner.clone());
        // Only a `STARTED` can be refused, and only of one that is refused is anything kept besides.
        let start =
            (state == AuditState::Started).then(|| (told.scope, told.fact.execution_ref.clone(), told.fence));
        let import = matches!(told.execution, NamedExecution::Text(_));
        let recorded = self.told.submit(told).await?;
        let source = if import { Source::Import } else { Source::Runner };
        match recorded.outcome {
            Outcome::Appended { late, .. } => {
                self.metrics
                    .audit_appends
                    .with_label_values(&[state.as_wire(), source.as_wire()])
                    .inc();
                if late {
                    self.metrics
                        .audit_late
                        .with_label_values(&[state.as_wire()])
                        .inc();
                    tracing::warn!(
                        change.id = %change, runner.id = %runner, state = state.as_wire(),
                        "a late report was recorded as evidence: another execution or a person had written since"
                    );
                }
            }
            Outcome::Duplicate { .. } => self.metrics.audit_duplicates.inc(),
            Outcome::Refused(refusal) => {
                self.metrics
                    .audit_refused
                    .with_label_values(&[refusal_label(refusal)])
                    .inc();
                tracing::warn!(
                    change.id = %change, runner.id = %runner, reason = refusal_label(refusal),
                    "a STARTED was refused: somebody is running without the right to"
                );
                if let Some((scope, execution_ref, fence)) = start {
                    let lock = recorded.lock.as_ref();
                    let refusal = NewRefusal {
                        change_id: change.as_str(),
                        execution_ref: &execution_ref,
                        runner_id: runner.as_str(),
                        reason: refusal_label(refusal),
                        fence,
                        lock_owner: lock
                            .and_then(|lock| lock.lease.as_ref())
                            .map(|lease| lease.owner.as_str()),
                        lock_fence: lock.map(|lock| lock.fence),
                    };
                    self.keep_refusal(scope, &refusal).await;
                }
            }
        }
        Ok(recorded)
    }

    /// Evidence for whoever has to decide what became of the change. On its own, after the batch, so that nobody whose report
    /// was taken waits for it; and the refusal stands without it.
    async fn keep_refusal(&self, scope: Scope, refusal: &NewRefusal<'_>) {
        let kept = async {
            let mut conn = self.pool.acquire().await?;
            refusals::append(&mut conn, scope, refusal).await
        };
        if let Err(error) = kept.await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(
                change.id = refusal.change_id,
                error,
                "a refused start could not be kept as evidence"
            );
        }
    }
}

/// Results that can come late.
pub const RESULTS: &[&str] = &["APPLIED", "FAILED", "ROLLED_BACK", "ROLLBACK_FAILED"];

/// What [`refusal_label`] can say.
pub const REFUSALS: &[&str] = &[
    "unknown_execution",
    "not_its_runner",
    "not_the_holder",
    "stale_fence",
    "lease_expired",
    "state_forbids",
    "cursor_outdated",
];

/// The closed set of labels for refusals.
pub fn refusal_label(refusal: StartRefusal) -> &'static str {
    match refusal {
        StartRefusal::UnknownExecution => "unknown_execution",
        StartRefusal::NotItsRunner => "not_its_runner",
        StartRefusal::NotTheHolder => "not_the_holder",
        StartRefusal::StaleFence => "stale_fence",
        StartRefusal::LeaseExpired => "lease_expired",
        StartRefusal::StateForbids(_) => "state_forbids",
        StartRefusal::CursorOutdated => "cursor_outdated",
    }
}

/// A batch in one commit; if something about it cannot be written, each report on its own, so that one that is odd
/// beyond what anybody foresaw cannot hold up the others.
async fn write_all(pool: &PgPool, told: &[Told]) -> Vec<Result<Recorded, Fault>> {
    let together = retry::until_done("reports", || write(pool, told)).await;
    match together {
        Ok(recorded) => recorded.into_iter().map(Ok).collect(),
        Err(fault @ Fault::Busy(_)) => told.iter().map(|_| Err(fault.clone())).collect(),
        Err(fault) if told.len() == 1 => vec![Err(fault)],
        Err(fault) => {
            tracing::warn!(error = ?fault, "a batch of reports failed: writing them one by one");
            let mut results = Vec::with_capacity(told.len());
            for one in told {
                let alone = retry::until_done("report", || write(pool, std::slice::from_ref(one))).await;
                results.push(alone.and_then(|recorded| {
                    recorded.into_iter().next().ok_or_else(|| {
                        Fault::from(StoreError::Corrupt {
                            table: "audit_entries",
                            detail: "no answer for a report".to_owned(),
                        })
                    })
                }));
            }
            results
        }
    }
}

async fn write(pool: &PgPool, told: &[Told]) -> Result<Vec<Recorded>, Fault> {
    let mut scopes: Vec<Scope> = told.iter().map(|told| told.scope).collect();
    scopes.sort_unstable();
    scopes.dedup();
    let mut tx = store::begin(pool).await?;
    let streams = streams::lock(&mut tx, &scopes).await?;
    let mut ledger = Ledger::load(&mut tx, streams, told).await?;
    let outcomes: Vec<Recorded> = told
        .iter()
        .map(|told| ledger.record(told))
        .collect::<Result<_, Fault>>()?;
    ledger.save(&mut tx).await?;
    tx.commit().await?;
    Ok(outcomes)
}
