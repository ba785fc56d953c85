//! Views of locks, executions and runners: from what the use cases know to what crosses the wire.

use chrono::{DateTime, Utc};
use flamingock_api_types::execution as wire;
use flamingock_api_types::history::{
    ExecutionEnd, ExecutionOutcome, ExecutionProgress, ExecutionRecord, RefusedStart, RunnerActivity,
    RunnerRecord, TimelineEntry,
};
use flamingock_api_types::issue::AttemptView;
use flamingock_api_types::lock::{LockRecord, LockStanding, OpenChange};
use flamingock_api_types::progress::{CancellationNotice, ChangeProgress};
use flamingock_domain::plan::Action;
use flamingock_domain::time::Timestamp;

use super::wire::{RecordedPlan, millis};
use super::{reasons, trace};
use crate::app::operations::{
    Activity, Cancellation, ChangeProgress as Told, End, LockFacts, OpenChange as Open, Operations, Outcome,
    Progress, Recorded, Refusal, Run, Seen,
};
use crate::app::{Entry, Scope};

pub fn instant(at: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.as_micros()).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// What an execution's plan offered.
pub fn offer(plan: &str) -> Option<Vec<(String, Action)>> {
    let plan: RecordedPlan = serde_json::from_str(plan).ok()?;
    let changes = plan.stages.into_iter().flat_map(|stage| {
        let asks = stage
            .changes
            .iter()
            .any(|change| change.action == wire::ChangeAction::Probe);
        stage.changes.into_iter().map(move |change| (asks, change))
    });
    Some(
        changes
            .map(|(asks, change)| {
                let action = match change.action {
                    // Where a change is asked first, its stage is offered anew by the next plan.
                    wire::ChangeAction::Apply if asks => Action::Skip,
                    wire::ChangeAction::Apply => Action::Apply,
                    wire::ChangeAction::Probe => Action::Probe {
                        about: change.expected_seq.unwrap_or_default(),
                    },
                    wire::ChangeAction::ManualIntervention => Action::ManualIntervention,
                    wire::ChangeAction::Skip | wire::ChangeAction::Unknown => Action::Skip,
                };
                (change.id, action)
            })
            .collect(),
    )
}

pub fn lock_record(operations: &Operations, facts: &LockFacts) -> LockRecord {
    let lease = facts.lock.lease.as_ref();
    LockRecord {
        environment_id: facts.environment_id,
        service_id: facts.service_id,
        service_name: facts.service_name.clone(),
        standing: match lease {
            None => LockStanding::Free,
            Some(lease) if facts.now < lease.expires_at => LockStanding::Held,
            Some(_) => LockStanding::Expired,
        },
        fence: facts.lock.fence,
        owner: lease.map(|lease| lease.owner.to_string()),
        execution_id: facts.execution.map(|id| id.0),
        lease_millis: lease.map(|lease| millis(lease.length)),
        held_since: lease.and(facts.granted_at).map(instant),
        last_beat_at: lease.and(facts.touched_at).map(instant),
        expires_at: lease.map(|lease| instant(lease.expires_at)),
        takeable_at: lease.map(|lease| instant(operations.takeable_at(lease.expires_at))),
    }
}

pub fn open_change(open: &Open) -> OpenChange {
    OpenChange {
        change_id: open.change.to_string(),
        state: open.latest.state.as_wire().to_owned(),
        seq: open.latest.seq,
        needs_person: open.needs_person,
        progress: open.progress.as_ref().map(change_progress),
    }
}

pub fn outcome(outcome: Outcome) -> ExecutionOutcome {
    match outcome {
        Outcome::Running => ExecutionOutcome::Running,
        Outcome::Succeeded => ExecutionOutcome::Succeeded,
        Outcome::Failed => ExecutionOutcome::Failed,
        Outcome::Blocked => ExecutionOutcome::Blocked,
        Outcome::Abandoned => ExecutionOutcome::Abandoned,
    }
}

pub fn progress(progress: &Progress) -> ExecutionProgress {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    ExecutionProgress {
        offered: number(progress.offered),
        applied: number(progress.applied),
        failed: number(progress.failed),
        started: number(progress.started),
        not_reached: number(progress.not_reached),
        waiting_for_person: number(progress.waiting_for_person),
    }
}

pub fn end(end: End) -> ExecutionEnd {
    match end {
        End::Released => ExecutionEnd::Released,
        End::Replaced => ExecutionEnd::Replaced,
        End::Forced => ExecutionEnd::Forced,
        End::Unknown => ExecutionEnd::Unknown,
    }
}

/// What a runner said about itself, where this version can read it.
fn facts(text: Option<&str>) -> Option<wire::RunnerFacts> {
    text.and_then(|text| serde_json::from_str(text).ok())
}

pub fn execution_record(scope: Scope, recorded: &Recorded) -> ExecutionRecord {
    let run = &recorded.run;
    ExecutionRecord {
        execution_id: run.id,
        environment_id: scope.environment_id,
        service_id: scope.service_id,
        runner_id: run.runner_id.clone(),
        outcome: outcome(recorded.outcome),
        progress: progress(&recorded.progress),
        fence: run.fence,
        starts_run: run.starts_run,
        started_at: run.started_at,
        ended_at: run.ended_at,
        ended_by: run.ended_by.map(end),
        credential_id: run.credential_id,
        runner: facts(run.runner_facts.as_deref()),
        under_way: recorded.under_way.iter().map(change_progress).collect(),
        cancellation: recorded.cancellation.as_ref().map(cancellation_notice),
    }
}

pub fn change_progress(told: &Told) -> ChangeProgress {
    ChangeProgress {
        change_id: told.change_id.clone(),
        execution_id: told.execution.0,
        done: told.done,
        total: told.total,
        message: told.message.clone(),
        reported_at: told.reported_at,
        cursor: told.cursor.clone(),
        cursor_saved_at: told.cursor_saved_at,
    }
}

pub fn cancellation_notice(request: &Cancellation) -> CancellationNotice {
    CancellationNotice {
        requested_by: request.actor.clone(),
        reason: request.reason.clone(),
        requested_at: request.requested_at,
    }
}

pub fn attempt(run: &Run) -> AttemptView {
    AttemptView {
        execution_id: run.id,
        runner_id: run.runner_id.clone(),
        fence: run.fence,
        started_at: run.started_at,
        ended_at: run.ended_at,
        ended_by: run.ended_by.map(end),
        runner: facts(run.runner_facts.as_deref()),
    }
}

pub fn timeline_entry(entry: &Entry) -> TimelineEntry {
    let fact = &entry.fact;
    TimelineEntry {
        seq: entry.seq,
        change_id: fact.change_id.clone(),
        state: fact.state.clone(),
        source: entry.source_text.to_string(),
        late: entry.late,
        received_at: entry.received_at,
        execution_ref: Some(fact.execution_ref.clone()).filter(|text| !text.is_empty()),
        runner_id: fact.runner_id.clone(),
        host: fact.execution_hostname.clone(),
        stage_id: fact.stage_id.clone(),
        duration_millis: fact.execution_millis,
        fence: fact.fence,
        actor: fact.actor.clone(),
        note: fact.note.clone(),
        error_summary: trace::summary(fact.error_trace.as_deref()),
    }
}

pub fn refused_start(refusal: &Refusal) -> RefusedStart {
    RefusedStart {
        change_id: refusal.change_id.clone(),
        refused_at: refusal.refused_at,
        execution_ref: refusal.execution_ref.clone(),
        runner_id: refusal.runner_id.clone(),
        fence: refusal.fence,
        message: reasons::of_kept_refusal(&refusal.reason).to_owned(),
        reason: refusal.reason.clone(),
        lock_owner: refusal.lock_owner.clone(),
        lock_fence: refusal.lock_fence,
    }
}

pub fn runner_record(seen: &Seen) -> RunnerRecord {
    let facts = facts(seen.facts.as_deref());
    let said = facts.as_ref().and_then(|facts| facts.host.clone());
    RunnerRecord {
        runner_id: seen.runner_id.clone(),
        activity: match seen.activity {
            Activity::Working => RunnerActivity::Working,
            Activity::Silent => RunnerActivity::Silent,
            Activity::Waiting => RunnerActivity::Waiting,
            Activity::Seen => RunnerActivity::Seen,
        },
        is_guess: seen.is_guess,
        since: seen.since,
        last_seen_at: seen.last_seen_at,
        execution_id: seen.execution_id,
        waits_for: seen.waits_for.clone(),
        parked_until: seen.parked_until,
        under_way: seen.under_way.as_ref().map(change_progress),
        host: said.or_else(|| host_of(&seen.runner_id).map(str::to_owned)),
        facts,
    }
}

/// Clients form their id as `service@host#uuid`; nothing is decided by it.
fn host_of(runner_id: &str) -> Option<&str> {
    let (_, rest) = runner_id.rsplit_once('@')?;
    let (host, _) = rest.rsplit_once('#')?;
    Some(host).filter(|host| !host.is_empty())
}
