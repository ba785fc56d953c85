//! A plan that is decided, and written, in the transaction that holds the stream and the lock.

use std::collections::HashMap;

use flamingock_domain::ids::{ExecutionId, Fence, LockKey};
use flamingock_domain::lock::{self, Lease, Lock, Standing};
use flamingock_domain::pipeline::Mark;
use flamingock_domain::plan::policy::{self, Finding};
use flamingock_domain::plan::{self, Plan, PlanAction, PlanInput};
use flamingock_domain::time::Timestamp;
use sqlx::PgConnection;

use super::{Ask, Planned, Plans, grant_label, marks, new_acquisition_id, own_attempts};
use crate::app::cursors::{self, Cursors};
use crate::app::fault::Fault;
use crate::app::heads::Fold;
use crate::app::rulings::{self, Question, Ruling};
use crate::store::executions::{self, End, NewExecution};
use crate::store::locks::{self, LockUpdate};
use crate::store::states;
use crate::store::streams::{self, Stream};
use crate::store::{self, StoreError};

impl Plans {
    /// Decides in the transaction that holds the stream and the lock, and writes what was decided.
    ///
    /// Policies that refuse it are the inner error: an answer, not a fault to be retried.
    pub(super) async fn decide_locked(&self, ask: &Ask<'_>) -> Result<Result<Planned, Vec<Finding>>, Fault> {
        let mut tx = store::begin(&self.pool).await?;
        let mut stream = one(streams::lock(&mut tx, &[ask.scope]).await?, "audit_streams")?;
        let key = LockKey::of_service(ask.scope.service_id);
        let (rows, clock) =
            locks::lock_for_update(&mut tx, &[(ask.scope.environment_id, key.as_str())]).await?;
        let now = clock.now;
        let (_, row) = one(rows, "locks")?;
        let fold = self
            .heads
            .fold_locked(&mut tx, ask.scope, stream.id, stream.position())
            .await?;
        let executions_of_run = if ask.pipeline.is_start_of_run() {
            Vec::new()
        } else {
            executions::list_of_run(&mut tx, stream.id, ask.runner).await?
        };
        let own_attempts = own_attempts(&mut tx, stream.id, ask, &fold.states).await?;
        let has_marks = ask.pipeline.has_marks();
        let marks_seen = if has_marks {
            marks::load_marks_seen(&mut tx, stream.id).await?
        } else {
            HashMap::new()
        };
        let input = PlanInput {
            pipeline: ask.pipeline,
            states: &fold.states,
            claim: self.claim(ask, Some(&row.lock), now),
            executions_of_run: &executions_of_run,
            own_attempts: &own_attempts,
            marks_seen: &marks_seen,
            settings: stream.settings,
        };
        let plan = plan::plan(&input);
        debug_assert_eq!(
            plan::check(&input, &plan),
            Vec::new(),
            "the planner contradicts its own laws"
        );

        let planned_at = stream.head_seq;
        // Marks that another runner's lock kept out of the plan may be its work of this very second: they come again.
        // Before the ruling: what they prove was applied with the checksums of its execution, and is held to them.
        if has_marks && lock::standing(&input.claim) != Standing::Other {
            marks::account_for(&mut tx, ask, &plan, &fold, &mut stream, now).await?;
        }

        let ruling = match plan.action {
            PlanAction::Execute { .. } | PlanAction::Continue => {
                let question = Question {
                    scope: ask.scope,
                    pipeline: ask.pipeline,
                    plan: &plan,
                    stream_id: Some(stream.id),
                    credential: Some(ask.credential_id),
                    run_under_way: !executions_of_run.is_empty(),
                    now,
                };
                rulings::judge(&mut tx, &question).await?
            }
            PlanAction::Await { .. } | PlanAction::Abort => Ruling::default(),
        };
        if policy::stops(&ruling.findings) {
            // What marks prove is undone with the transaction: the runner keeps them and sends them again.
            return Ok(Err(ruling.findings));
        }

        let (execution, lock, cursors) = match &plan.action {
            PlanAction::Execute { kind, fence, .. } => {
                let wanted = Wanted {
                    ask,
                    plan: &plan,
                    fold: &fold,
                    stream: &stream,
                    key,
                    fence: *fence,
                    replaces: row.execution,
                    now,
                };
                let (execution, lock, cursors) = grant(&mut tx, wanted).await?;
                tracing::info!(
                    execution.id = execution.0, lock.key = %lock.key, lock.fence = fence, grant = grant_label(*kind),
                    runner.id = %ask.runner, planned_at, "plan granted"
                );
                (Some(execution), Some(lock), cursors)
            }
            PlanAction::Await { .. } => (None, Some(row.lock), Cursors::new()),
            PlanAction::Continue | PlanAction::Abort => (None, None, Cursors::new()),
        };
        tx.commit().await?;
        Ok(Ok(Planned {
            execution,
            lock,
            position: stream.position(),
            depends_on_run: !executions_of_run.is_empty(),
            cursors,
            warnings: ruling.findings,
            leans_on_absence: ruling.leans_on_absence,
            policy_key: ruling.policy_key,
            plan,
        }))
    }
}

/// What a grant is made of.
struct Wanted<'a> {
    ask: &'a Ask<'a>,
    plan: &'a Plan,
    fold: &'a Fold,
    stream: &'a Stream,
    key: LockKey,
    fence: Fence,
    /// The execution whose grant ends with this one.
    replaces: Option<ExecutionId>,
    now: Timestamp,
}

/// Writes the execution and the lock, with the cursors that earlier attempts have left.
async fn grant(tx: &mut PgConnection, wanted: Wanted<'_>) -> Result<(ExecutionId, Lock, Cursors), Fault> {
    let Wanted {
        ask,
        plan,
        fold,
        stream,
        now,
        ..
    } = wanted;
    let without: Vec<&str> = marks::ids_of(ask.pipeline, |mark| mark != Mark::Applied);
    states::delete_mark_reports(tx, stream.id, &without).await?;
    if ask.pipeline.is_start_of_run() {
        rulings::note_first_seen(tx, stream.id, ask.pipeline, &fold.states).await?;
    }
    let checksums = rulings::checksums_of(plan, ask.pipeline);
    let cursors = cursors::of_plan(tx, stream.id, plan, ask.pipeline, &fold.states).await?;
    let rendered = (ask.render)(plan, &cursors);
    let execution = executions::insert(
        tx,
        &NewExecution {
            stream_id: stream.id,
            runner: ask.runner,
            credential_id: ask.credential_id,
            fence: wanted.fence,
            // Entries derived just now are older than the execution, too.
            planned_at: stream.head_seq,
            starts_run: ask.pipeline.is_start_of_run(),
            submission: ask.submission,
            plan: &rendered,
            runner_facts: ask.runner_facts,
            checksums: checksums.as_deref(),
            started_at: now,
        },
    )
    .await?;
    cursors::hand_on(
        tx,
        stream.id,
        execution,
        &cursors,
        &fold.states,
        ask.failure_voids_cursor,
    )
    .await?;
    // Whoever held the lock before, by another grant, holds it no more.
    let replaced: Vec<_> = wanted
        .replaces
        .map(|id| (id, End::Replaced))
        .into_iter()
        .collect();
    executions::update_ended(tx, &replaced).await?;
    let lock = Lock {
        key: wanted.key,
        fence: wanted.fence,
        lease: Some(Lease {
            owner: ask.runner.clone(),
            acquisition_id: new_acquisition_id(ask.runner),
            length: ask.lease,
            expires_at: now.plus(ask.lease),
        }),
    };
    let update = LockUpdate {
        environment_id: ask.scope.environment_id,
        lock: lock.clone(),
        execution: Some(execution),
    };
    locks::update(tx, &[update]).await?;
    Ok((execution, lock, cursors))
}

fn one<T>(rows: Vec<T>, table: &'static str) -> Result<T, Fault> {
    let count = rows.len();
    match rows.into_iter().next() {
        Some(row) if count == 1 => Ok(row),
        _ => Err(StoreError::Corrupt {
            table,
            detail: format!("one row to lock, {count} found"),
        }
        .into()),
    }
}
