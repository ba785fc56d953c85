//! The lock while it is held, and what travels with its heartbeat.

use std::collections::HashMap;

use flamingock_api_types::{
    ErrorCode, execution as wire,
    lock::{LockResponse, LockStatus, LockView},
    progress::{LockExtensionRequest, ProgressReceipt, ProgressWrite},
};
use flamingock_domain::{
    ids::{ChangeId, ExecutionId, Fence, RunnerId},
    lock::{self, Extend, GivingBack, Release},
    pipeline::Pipeline,
    plan::{Action, Plan, PlanAction},
    progress::{self, Kept},
};

use super::{Ledger, Refusal, Saved};
use crate::testing::convert;

impl Ledger {
    /// The cursors from which an execution goes on.
    pub(super) fn hand_on(
        &mut self,
        plan: &Plan,
        pipeline: &Pipeline,
        submission: &wire::Submission,
        execution: ExecutionId,
    ) -> HashMap<ChangeId, String> {
        let mut handed_on = HashMap::new();
        let PlanAction::Execute { stages, .. } = &plan.action else {
            return handed_on;
        };
        let offered = stages.iter().flat_map(|stage| &stage.changes);
        let goes_on = |id: &ChangeId, action| action == Action::Apply && pipeline.takes_cursor(id);
        for (id, _) in offered.filter(|(id, action)| goes_on(id, *action)) {
            let Some(saved) = self.saved.get_mut(id) else {
                continue;
            };
            let Some(cursor) = saved
                .cursor
                .clone()
                .filter(|_| progress::goes_on(self.states.get(id), saved.kept))
            else {
                continue;
            };
            let blocks = submission.blocks.iter().flatten();
            let stages = blocks
                .flat_map(|block| &block.stages)
                .chain(submission.stages.iter().flatten());
            let submitted = stages
                .flat_map(|stage| &stage.changes)
                .find(|it| it.id == id.as_str());
            let is_void = submitted.is_some_and(|it| {
                it.has_rollback.unwrap_or(false) && !it.cursor_outlives_failure.unwrap_or(false)
            });
            saved.kept = Kept {
                execution,
                void_when_failed: is_void,
                handed_on_at: self.states.get(id).map(|latest| latest.seq),
            };
            saved.sequence = 0;
            handed_on.insert(id.clone(), cursor);
        }
        handed_on
    }

    pub(in crate::testing) fn extend(
        &mut self,
        runner: &RunnerId,
        key: &str,
        request: &LockExtensionRequest,
    ) -> Result<LockResponse, Refusal> {
        let is_own = key == self.lock.key.as_str();
        let holder = self.executions.iter().rfind(|it| it.fence == self.lock.fence);
        let is_its = |told: &ProgressWrite| holder.is_some_and(|it| it.id.0 == told.execution_id);
        let length = match (lock::extend(Some(&self.lock), runner), &self.lock.lease) {
            (Extend::Extended, Some(lease)) if is_own && request.progress.as_ref().is_none_or(is_its) => {
                lease.length
            }
            _ => return Err(not_the_callers()),
        };
        self.hold(runner.clone(), length);
        let progress = request
            .progress
            .as_ref()
            .map(|told| self.take_in(told))
            .transpose()?;
        let lock = self.held_lock().ok_or_else(not_the_callers)?;
        Ok(LockResponse {
            status: LockStatus::Extended,
            lock,
            cancel: self.is_asked_to_stop,
            cancellation: None,
            progress,
        })
    }

    fn take_in(&mut self, told: &ProgressWrite) -> Result<ProgressReceipt, Refusal> {
        let id = ChangeId::parse(told.change_id.as_str()).map_err(convert::malformed)?;
        let execution = ExecutionId(told.execution_id);
        let recorded = progress::is_under_way(self.states.get(&id), execution);
        let before = self.saved.get(&id).filter(|it| it.kept.execution == execution);
        if recorded && before.is_none_or(|before| before.sequence < told.sequence) {
            let cursor = told.cursor.clone().or_else(|| before?.cursor.clone());
            let kept = Kept {
                execution,
                void_when_failed: match before {
                    Some(before) if told.cursor.is_none() => before.kept.void_when_failed,
                    _ => told.void_when_failed,
                },
                handed_on_at: before.and_then(|before| before.kept.handed_on_at),
            };
            let sequence = told.sequence;
            self.saved.insert(
                id,
                Saved {
                    kept,
                    sequence,
                    cursor,
                },
            );
        }
        Ok(ProgressReceipt {
            sequence: told.sequence,
            recorded,
        })
    }

    pub(in crate::testing) fn release(
        &mut self,
        runner: &RunnerId,
        key: &str,
        fence: Option<Fence>,
    ) -> Result<LockView, Refusal> {
        let not_held = || Refusal::new(ErrorCode::LockNotHeld, "There is nothing to release.");
        let released = lock::release(&GivingBack {
            lock: Some(&self.lock),
            runner,
            granted_at: self.granted_at,
            asked_at: self.now(),
            fence,
        });
        if released != Release::Released || key != self.lock.key.as_str() {
            return Err(not_held());
        }
        let before = self.held_lock().ok_or_else(not_held)?;
        self.lock.lease = None;
        Ok(before)
    }

    pub(in crate::testing) fn view(&self, key: &str) -> Result<LockView, Refusal> {
        let own = self.held_lock().filter(|_| key == self.lock.key.as_str());
        own.ok_or_else(|| Refusal::new(ErrorCode::LockNotFound, "Nobody holds it."))
    }
}

fn not_the_callers() -> Refusal {
    let text = "The lock is not held by this runner. Stop working under it; ask for a new plan.";
    Refusal::new(ErrorCode::LockHeldByOther, text)
}
