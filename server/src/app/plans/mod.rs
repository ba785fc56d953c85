//! Planning: what may a runner do next?
//!
//! A request is first *looked at*: where the scope stands is read together with everybody else's, the fold for that head
//! is usually at hand, and `CONTINUE`, `ABORT` and `AWAIT` are answered from it without a lock or a row (invariant 6).
//! Only what grants or writes is decided again in the transaction that locks stream and lock (invariant 5).

mod gates;
mod locked;
mod marks;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flamingock_domain::audit::{AuditState, ChangeState, Source, States, is_in_doubt};
use flamingock_domain::ids::{AcquisitionId, ChangeId, ExecutionId, RunnerId};
use flamingock_domain::lock::{Claim, GrantKind, Lock, Proof};
use flamingock_domain::pipeline::{Change, Pipeline};
use flamingock_domain::plan::policy::{self, Finding};
use flamingock_domain::plan::{self, ChangeReason, Plan, PlanAction, PlanInput};
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;

use gates::Gates;
pub(super) use marks::load_marks_seen;

use crate::app::admission::Place;
use crate::app::cursors::Cursors;
use crate::app::fault::Fault;
use crate::app::heads::{Fold, Heads};
use crate::app::retry;
use crate::app::rulings::{self, Question, Ruling};
use crate::app::sightings::Sightings;
use crate::app::waiting::Waiting;
use crate::metrics::Metrics;
use crate::store::executions;
use crate::store::streams::{Head, Position};
use crate::store::{Scope, StoreError};

/// A runner's request, as the planner needs it and as it is recorded.
pub struct Ask<'a> {
    pub scope: Scope,
    pub credential_id: i64,
    pub runner: &'a RunnerId,
    pub pipeline: &'a Pipeline,
    pub proof: Option<&'a Proof>,
    /// Lease wanted, already clamped.
    pub lease: Duration,
    /// How long the caller is willing to be parked.
    pub wait: Option<Duration>,
    /// JSON texts for the execution's row.
    pub submission: &'a str,
    pub runner_facts: Option<&'a str>,
    /// Renders what is offered and why, for the execution's row.
    pub render: &'a (dyn Fn(&Plan, &Cursors) -> String + Sync),
    /// Whether a failure of a change voids its cursor, because a rollback then undoes what it counts.
    pub failure_voids_cursor: &'a (dyn Fn(&ChangeId) -> bool + Sync),
    /// Left while the request is parked.
    pub place: Option<&'a Place>,
    /// Whether the caller may still ask, once it was parked: asked before each further decision.
    pub is_welcome: &'a (dyn Fn() -> bool + Sync),
}

/// A plan with what was granted for it.
#[derive(Debug)]
pub struct Planned {
    pub plan: Plan,
    /// With `EXECUTE`.
    pub execution: Option<ExecutionId>,
    /// With `EXECUTE` the caller's, with `AWAIT` the holder's.
    pub lock: Option<Lock>,
    /// Head that the plan was decided at.
    pub position: Position,
    /// What this runner did earlier in its run had a say: for another runner the answer may be another.
    pub depends_on_run: bool,
    /// With `EXECUTE`: where earlier attempts of its changes got to.
    pub cursors: Cursors,
    /// What the environment's policies warn of.
    pub warnings: Vec<Finding>,
    /// A checksum that is recorded later may call for another answer at the same head, by the same policy.
    pub leans_on_absence: bool,
    /// Names the policy that a kept answer leans on, as [`Head::policy_key`] does.
    pub policy_key: i64,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Policies of the environment refuse the start. Nothing was granted, nothing was written.
    #[error("a policy of the environment refuses the start")]
    Stopped(Vec<Finding>),
    /// While it was parked, the caller lost the right to ask.
    #[error("the caller may not ask any more")]
    Unwelcome,
    #[error(transparent)]
    Fault(#[from] Fault),
}

#[derive(Clone)]
pub struct Plans {
    pool: PgPool,
    heads: Heads,
    waiting: Waiting,
    sightings: Sightings,
    gates: Arc<Gates>,
    grace: Duration,
    metrics: Metrics,
}

impl Plans {
    pub(super) fn new(
        pool: PgPool,
        heads: Heads,
        waiting: Waiting,
        sightings: Sightings,
        grace: Duration,
        metrics: &Metrics,
    ) -> Self {
        Self {
            pool,
            heads,
            waiting,
            sightings,
            gates: Arc::default(),
            grace,
            metrics: metrics.clone(),
        }
    }

    /// Decides, starting from a head that was read for this request; parks while the caller is willing to wait.
    pub async fn plan(&self, ask: &Ask<'_>, mut head: Head) -> Result<Planned, PlanError> {
        let deadline = ask.wait.map(|wait| Instant::now() + wait);
        let mut waiter = None;
        let mut sighting = None;
        loop {
            let planned = self.decide(ask, &head).await?;
            let PlanAction::Await { holder } = &planned.plan.action else {
                return Ok(planned);
            };
            let sighting = sighting.get_or_insert_with(|| {
                self.sightings
                    .enter(ask.scope, ask.runner, ask.runner_facts, &holder.owner, deadline)
            });
            let mut told_to_wait = |planned| {
                if let Some(sighting) = sighting {
                    sighting.expected_back = true;
                }
                Ok(planned)
            };
            let Some(deadline) = deadline else {
                return told_to_wait(planned);
            };
            if Instant::now() >= deadline || self.waiting.is_dismissed() {
                return told_to_wait(planned);
            }
            let Some(parked) = waiter.as_mut() else {
                // The place is taken first and the lock looked at again: a release in between is then not missed.
                waiter = self.waiting.enter(ask.scope);
                if waiter.is_none() {
                    return told_to_wait(planned);
                }
                head = self.read_head(ask.scope).await?;
                continue;
            };
            if let Some(place) = ask.place {
                place.leave();
            }
            let turned = tokio::time::timeout_at(deadline, parked.turn()).await;
            if let Some(place) = ask.place {
                place.enter_again().await;
            }
            if !(ask.is_welcome)() {
                return Err(PlanError::Unwelcome);
            }
            if turned.is_ok() {
                head = self.read_head(ask.scope).await?;
            }
        }
    }

    async fn read_head(&self, scope: Scope) -> Result<Head, Fault> {
        self.heads.read(scope).await?.ok_or_else(|| {
            Fault::from(StoreError::Corrupt {
                table: "environments",
                detail: "an environment has vanished".to_owned(),
            })
        })
    }

    async fn decide(&self, ask: &Ask<'_>, head: &Head) -> Result<Planned, PlanError> {
        let mut head = std::borrow::Cow::Borrowed(head);
        let gate = self.gates.of(ask.scope);
        loop {
            let fold = self.heads.fold(ask.scope, &head).await?;
            let of_run = self.executions_of_run(ask, &head, &fold).await?;
            let own_attempts = self.own_attempts(ask, &head, &fold).await?;
            let plan = self.look(ask, &head, &fold, &of_run, &own_attempts);
            let writes = match &plan.action {
                PlanAction::Execute { .. } => true,
                PlanAction::Await { .. } => false,
                PlanAction::Continue | PlanAction::Abort => ask.pipeline.has_marks(),
            };
            if !writes {
                let ruling = self.judge_look(ask, &head, &plan).await?;
                self.count(&plan, "look");
                let lock = matches!(plan.action, PlanAction::Await { .. })
                    .then(|| head.lock.clone())
                    .flatten();
                return Ok(Planned {
                    plan,
                    execution: None,
                    lock,
                    position: fold.position,
                    depends_on_run: !of_run.is_empty(),
                    cursors: Cursors::new(),
                    warnings: ruling.findings,
                    leans_on_absence: ruling.leans_on_absence,
                    policy_key: head.policy_key(),
                });
            }
            // Of many runners that see the lock free at once, one goes to the database; the others then look again,
            // together, instead of queueing for the row one by one.
            let turn = gate.turns.load(Ordering::Acquire);
            let guard = gate.door.lock().await;
            if gate.turns.load(Ordering::Acquire) != turn {
                drop(guard);
                head = std::borrow::Cow::Owned(self.read_head(ask.scope).await?);
                continue;
            }
            let planned = retry::until_done("plan", || self.decide_locked(ask)).await;
            // After a stop there is nothing new to see: each of those that wait has its turn, and need not look again.
            if !matches!(planned, Ok(Err(_))) {
                gate.turns.fetch_add(1, Ordering::Release);
            }
            drop(guard);
            let planned = match planned? {
                Ok(planned) => planned,
                Err(findings) => {
                    rulings::tell(&self.metrics, ask, &findings);
                    rulings::note_requests(&self.pool, ask, &findings).await;
                    rulings::note_stop(&self.pool, ask, &findings).await;
                    return Err(PlanError::Stopped(findings));
                }
            };
            rulings::tell(&self.metrics, ask, &planned.warnings);
            self.count(&planned.plan, "locked");
            self.count_written(&planned.plan);
            if planned.execution.is_some() {
                self.sightings.leave(ask.scope, ask.runner);
            }
            self.waiting.wake(ask.scope);
            return Ok(planned);
        }
    }

    /// What the policies say to a plan that was made without the lock. Only `CONTINUE` leaves like that: all else is
    /// judged under the lock, or when its turn comes.
    async fn judge_look(&self, ask: &Ask<'_>, head: &Head, plan: &Plan) -> Result<Ruling, PlanError> {
        let is_judged = matches!(plan.action, PlanAction::Continue)
            && rulings::concerns_applied(head.policy, ask.pipeline);
        if !is_judged {
            return Ok(Ruling::default());
        }
        let question = Question {
            scope: ask.scope,
            pipeline: ask.pipeline,
            plan,
            stream_id: head.stream_id,
            credential: Some(ask.credential_id),
            run_under_way: false,
            now: head.now,
        };
        let mut conn = self.pool.acquire().await.map_err(Fault::from)?;
        let ruling = rulings::judge_by(&mut conn, &question, head.policy, &[]).await?;
        drop(conn);
        rulings::tell(&self.metrics, ask, &ruling.findings);
        if policy::stops(&ruling.findings) {
            rulings::note_stop(&self.pool, ask, &ruling.findings).await;
            return Err(PlanError::Stopped(ruling.findings));
        }
        Ok(ruling)
    }

    /// What this runner was granted in its run: read only where it can matter, which is where the log holds something other
    /// than success of a change that the runner asks for in the middle of a run (W item 9).
    async fn executions_of_run(
        &self,
        ask: &Ask<'_>,
        head: &Head,
        fold: &Fold,
    ) -> Result<Vec<ExecutionId>, Fault> {
        let Some(stream_id) = head.stream_id.filter(|_| !ask.pipeline.is_start_of_run()) else {
            return Ok(Vec::new());
        };
        let has_failed = |change: &Change| {
            fold.states.get(&change.id).is_some_and(|latest| {
                !matches!(latest.state, AuditState::Applied | AuditState::MarkedApplied)
            })
        };
        if !ask.pipeline.changes().any(has_failed) {
            return Ok(Vec::new());
        }
        let mut conn = self.pool.acquire().await?;
        Ok(executions::list_of_run(&mut conn, stream_id, ask.runner).await?)
    }

    /// As [`own_attempts`], read only where a change could be asked.
    async fn own_attempts(&self, ask: &Ask<'_>, head: &Head, fold: &Fold) -> Result<Vec<ExecutionId>, Fault> {
        match head.stream_id {
            Some(stream_id) if has_askable(ask.pipeline, &fold.states) => {
                let mut conn = self.pool.acquire().await?;
                own_attempts(&mut conn, stream_id, ask, &fold.states).await
            }
            _ => Ok(Vec::new()),
        }
    }

    fn look(
        &self,
        ask: &Ask<'_>,
        head: &Head,
        fold: &Fold,
        executions_of_run: &[ExecutionId],
        own_attempts: &[ExecutionId],
    ) -> Plan {
        plan::plan(&PlanInput {
            pipeline: ask.pipeline,
            states: &fold.states,
            claim: self.claim(ask, head.lock.as_ref(), head.now),
            executions_of_run,
            own_attempts,
            marks_seen: &HashMap::new(),
            settings: head.settings,
        })
    }

    fn claim<'a>(
        &self,
        ask: &'a Ask<'_>,
        lock: Option<&'a Lock>,
        now: flamingock_domain::time::Timestamp,
    ) -> Claim<'a> {
        Claim {
            lock,
            runner: ask.runner,
            proof: ask.proof,
            now,
            grace: self.grace,
        }
    }

    /// After the commit: what was rolled back has not happened.
    fn count_written(&self, plan: &Plan) {
        if let PlanAction::Execute { kind, .. } = &plan.action {
            self.metrics
                .lock_events
                .with_label_values(&[grant_label(*kind)])
                .inc();
        }
        for derived in &plan.derived {
            let labels = [derived.state.as_wire(), Source::Mark.as_wire()];
            self.metrics.audit_appends.with_label_values(&labels).inc();
        }
    }

    /// Counts an answer that was found without planning.
    pub fn count_cached_continue(&self) {
        self.metrics
            .plan_decisions
            .with_label_values(&["CONTINUE", "cache"])
            .inc();
    }

    fn count(&self, plan: &Plan, found: &str) {
        let action = match plan.action {
            PlanAction::Continue => "CONTINUE",
            PlanAction::Execute { .. } => "EXECUTE",
            PlanAction::Await { .. } => "AWAIT",
            PlanAction::Abort => "ABORT",
        };
        self.metrics
            .plan_decisions
            .with_label_values(&[action, found])
            .inc();
        for stage in &plan.repeated_stages {
            tracing::warn!(stage.name = %stage, "a stage name is submitted more than once: its changes are merged");
        }
        let unrecorded = plan
            .findings
            .iter()
            .flat_map(|stage| &stage.changes)
            .filter(|change| change.reason == ChangeReason::ReportedButUnrecorded);
        for change in unrecorded {
            self.metrics.plan_unrecorded.inc();
            tracing::warn!(change.id = %change.id, "reported as applied in this run, but the audit lacks the entry");
        }
    }
}

/// Latest states that nobody knows the outcome of, of changes that can be asked.
fn askable<'a>(pipeline: &'a Pipeline, states: &'a States) -> impl Iterator<Item = &'a ChangeState> {
    pipeline
        .changes()
        .filter(|change| change.has_probe)
        .filter_map(|change| states.get(&change.id))
        .filter(|latest| is_in_doubt(latest))
}

fn has_askable(pipeline: &Pipeline, states: &States) -> bool {
    askable(pipeline, states).next().is_some()
}

/// Which of the attempts that a change could be asked about were the asking runner's own. Reads nothing where there is none
/// in doubt, which is the usual plan.
async fn own_attempts(
    conn: &mut PgConnection,
    stream_id: i64,
    ask: &Ask<'_>,
    states: &States,
) -> Result<Vec<ExecutionId>, Fault> {
    let attempts: Vec<i64> = askable(ask.pipeline, states)
        .filter_map(|latest| latest.execution)
        .map(|id| id.0)
        .collect();
    if attempts.is_empty() {
        return Ok(Vec::new());
    }
    let known = executions::load_facts(conn, &attempts).await?;
    Ok(known
        .into_iter()
        .filter(|attempt| attempt.stream_id == stream_id && attempt.runner == *ask.runner)
        .map(|attempt| attempt.id)
        .collect())
}

pub(super) fn grant_label(kind: GrantKind) -> &'static str {
    match kind {
        GrantKind::Fresh => "granted",
        GrantKind::Renewal => "renewed",
        GrantKind::TakeOver => "taken_over",
    }
}

/// `{owner}-{uuid}`, as upstream forms it. An owner so long that no room is left is cut: the uuid makes it unique.
pub(super) fn new_acquisition_id(owner: &RunnerId) -> AcquisitionId {
    AcquisitionId::parse(format!("{owner}-{}", uuid::Uuid::new_v4()))
        .expect("a runner id of at most 1024 bytes and a uuid fit an acquisition id")
}
