//! The dry run of a plan: what a start would get now. Takes no lock, writes no row, accounts for no mark.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use flamingock_domain::audit::{self as rules, AuditState, ChangeState};
use flamingock_domain::ids::{ChangeId, ExecutionId, LockKey, RunnerId};
use flamingock_domain::lock::{self, Claim, Lock, Standing};
use flamingock_domain::pipeline::Pipeline;
use flamingock_domain::plan::policy::{self, Finding};
use flamingock_domain::plan::{self, Plan, PlanInput, Preview};
use flamingock_domain::time::Timestamp;
use sqlx::{PgConnection, PgPool};

use super::fault::Fault;
use super::heads::{Fold, Heads};
use super::plans;
use super::rulings::{self, Question};
use crate::store::streams::Head;
use crate::store::{Scope, StoreError, executions, policies};

/// What a dry run found.
#[derive(Debug)]
pub struct Previewed {
    pub verdict: Preview,
    pub verdict_when_free: Preview,
    /// Made as if nobody held the lock.
    pub plan: Plan,
    pub findings: Vec<Finding>,
    /// Whoever holds the lock and may be working.
    pub held_by: Option<Lock>,
    /// What the holder is working on this moment.
    pub in_progress: HashSet<ChangeId>,
    pub now: Timestamp,
    fold: Arc<Fold>,
    submitted: HashSet<ChangeId>,
}

impl Previewed {
    pub fn latest(&self, change: &ChangeId) -> Option<&ChangeState> {
        self.fold.states.get(change)
    }

    pub fn head_seq(&self) -> i64 {
        self.fold.position.seq
    }

    /// Recorded changes that the pipeline lacks, by id.
    pub fn missing(&self) -> Vec<(&ChangeId, &ChangeState)> {
        let mut missing: Vec<_> = self
            .fold
            .states
            .iter()
            .filter(|(id, _)| !self.submitted.contains(*id))
            .collect();
        missing.sort_unstable_by_key(|(id, _)| *id);
        missing
    }
}

#[derive(Clone)]
pub struct Previews {
    pool: PgPool,
    heads: Heads,
    grace: Duration,
}

impl Previews {
    pub(super) fn new(pool: PgPool, heads: Heads, grace: Duration) -> Self {
        Self { pool, heads, grace }
    }

    /// `None`: there is no such environment. `credential`: whose approvals would not count, because it runs the change.
    pub async fn preview(
        &self,
        scope: Scope,
        credential: Option<i64>,
        pipeline: Pipeline,
    ) -> Result<Option<Previewed>, Fault> {
        let pipeline = pipeline.at_start();
        let Some(head) = self.heads.read(scope).await? else {
            return Ok(None);
        };
        let fold = self.heads.fold(scope, &head).await?;
        let mut conn = self.pool.acquire().await?;
        let marks_seen = match head.stream_id {
            Some(stream_id) if pipeline.has_marks() => plans::load_marks_seen(&mut conn, stream_id).await?,
            _ => HashMap::new(),
        };
        // A process that asks for the first time: it holds nothing, and has watched nothing.
        let runner =
            RunnerId::parse(format!("dry-run#{}", uuid::Uuid::new_v4())).expect("a uuid fits a runner id");
        let free = Lock {
            lease: None,
            ..head.lock.clone().unwrap_or(Lock {
                key: LockKey::of_service(scope.service_id),
                fence: 0,
                lease: None,
            })
        };
        let claim = |lock| Claim {
            lock,
            runner: &runner,
            proof: None,
            now: head.now,
            grace: self.grace,
        };
        let is_held = lock::standing(&claim(head.lock.as_ref())) == Standing::Other;
        let plan = plan::plan(&PlanInput {
            pipeline: &pipeline,
            states: &fold.states,
            claim: claim(Some(&free)),
            executions_of_run: &[],
            own_attempts: &[],
            marks_seen: &marks_seen,
            settings: head.settings,
        });
        let in_progress = if is_held {
            self.in_progress(&mut conn, &head, &fold, &pipeline).await?
        } else {
            HashSet::new()
        };
        let question = Question {
            scope,
            pipeline: &pipeline,
            plan: &plan,
            stream_id: head.stream_id,
            credential,
            run_under_way: false,
            now: head.now,
        };
        let Some((row, freezes)) = policies::load_rules(&mut conn, scope).await? else {
            return Ok(None);
        };
        let findings = rulings::judge_by(&mut conn, &question, row.policy, &freezes)
            .await?
            .findings;
        let is_stopped = policy::stops(&findings);
        Ok(Some(Previewed {
            verdict: plan::preview(&plan, is_stopped, is_held),
            verdict_when_free: plan::preview(&plan, is_stopped, false),
            findings,
            held_by: head.lock.clone().filter(|_| is_held),
            in_progress,
            now: head.now,
            submitted: pipeline.changes().map(|change| change.id.clone()).collect(),
            plan,
            fold,
        }))
    }

    async fn in_progress(
        &self,
        conn: &mut PgConnection,
        head: &Head,
        fold: &Fold,
        pipeline: &Pipeline,
    ) -> Result<HashSet<ChangeId>, StoreError> {
        let unfinished: Vec<(&ChangeId, &ChangeState)> = pipeline
            .changes()
            .filter_map(|change| fold.states.get_key_value(&change.id))
            .filter(|(_, latest)| matches!(latest.state, AuditState::Started | AuditState::Failed))
            .collect();
        let ids: Vec<i64> = unfinished
            .iter()
            .filter_map(|(_, latest)| latest.execution.map(|id| id.0))
            .collect();
        let runners: HashMap<ExecutionId, RunnerId> = executions::load_facts(conn, &ids)
            .await?
            .into_iter()
            .filter(|execution| Some(execution.stream_id) == head.stream_id)
            .map(|execution| (execution.id, execution.runner))
            .collect();
        Ok(unfinished
            .into_iter()
            .filter(|(_, latest)| {
                let its_runner = latest.execution.and_then(|id| runners.get(&id));
                rules::in_progress(latest, its_runner, head.lock.as_ref(), head.now)
            })
            .map(|(id, _)| id.clone())
            .collect())
    }
}
