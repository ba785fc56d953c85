//! Policies of the environment, judged as the server judges them; and the dry run, which shows what they say.

use std::collections::{HashMap, HashSet};

use flamingock_api_types::{execution as wire, preview::PlanPreview};
use flamingock_domain::{
    audit::{AuditState, ChangeState, in_progress},
    ids::{ChangeId, Checksum, RunnerId, Seq},
    lock::{self, Claim, Lock, Standing},
    pipeline::Pipeline,
    plan::{
        self, Plan, PlanInput,
        policy::{self, Approval, Approver, Finding, Freeze, Policy, PolicyInput},
    },
};
use flamingock_wording::{preview, rulings};

use super::{Ledger, Refusal};
use crate::testing::convert;

/// The credential of every session here.
const CREDENTIAL: i64 = 1;

/// What a pipeline with nothing left to do is known by: the audit's head, and how often the policies were changed.
pub(super) type Known = (Seq, u64);

#[derive(Clone, Default)]
pub(in crate::testing) struct Rules {
    policy: Policy,
    freezes: Vec<Freeze>,
    /// Changes, and who has approved them.
    approvals: Vec<(ChangeId, String)>,
    /// Of changes that are applied now.
    pub(super) accepted: HashMap<ChangeId, Vec<Checksum>>,
    revision: u64,
}

/// What judging a plan has found.
#[derive(Default)]
pub(super) struct Ruling {
    pub(super) findings: Vec<Finding>,
    pub(super) leans_on_absence: bool,
}

impl Rules {
    pub(in crate::testing) fn set(&mut self, change: impl FnOnce(&mut Policy)) {
        change(&mut self.policy);
        self.revision += 1;
    }

    pub(in crate::testing) fn end_freezes(&mut self) {
        self.freezes.clear();
    }

    pub(in crate::testing) fn approve(&mut self, change: ChangeId, by: &str) {
        self.approvals.push((change, by.to_owned()));
    }
}

impl Ledger {
    pub(super) fn known(&self) -> Known {
        (self.head(), self.rules.revision)
    }

    pub(in crate::testing) fn freeze(&mut self, reason: &str) {
        let freeze = Freeze {
            id: i64::try_from(self.rules.freezes.len()).unwrap_or(0) + 1,
            starts_at: self.now(),
            ends_at: None,
            reason: reason.to_owned(),
        };
        self.rules.freezes.push(freeze);
    }

    pub(super) fn judge(&self, pipeline: &Pipeline, plan: &Plan, run_under_way: bool) -> Ruling {
        let submitted = checksums_of(pipeline);
        let approvals: Vec<_> = self
            .rules
            .approvals
            .iter()
            .map(|(change, by)| Approval {
                change: change.clone(),
                checksum: submitted.get(change).cloned(),
                approver: Approver {
                    credential: None,
                    name: Some(by.clone()),
                },
            })
            .collect();
        let input = PolicyInput {
            policy: self.rules.policy,
            pipeline,
            plan,
            accepted: &self.rules.accepted,
            approvals: &approvals,
            freezes: &self.rules.freezes,
            credential: Some(CREDENTIAL),
            run_under_way,
            now: self.now(),
        };
        Ruling {
            findings: policy::judge(&input),
            leans_on_absence: policy::leans_on_absence(&input),
        }
    }

    /// What was applied without a checksum was applied with the first one that a run brings.
    pub(super) fn note_first_seen(&mut self, pipeline: &Pipeline) {
        for change in pipeline.changes() {
            let is_applied = self.states.get(&change.id).is_some_and(|latest| {
                matches!(latest.state, AuditState::Applied | AuditState::MarkedApplied)
            });
            if let Some(checksum) = change.checksum.as_ref().filter(|_| is_applied) {
                let accepted = self.rules.accepted.entry(change.id.clone()).or_default();
                if accepted.is_empty() {
                    accepted.push(checksum.clone());
                }
            }
        }
    }

    /// A change is in another state: what was accepted for the one before counts no more.
    pub(super) fn note_checksum(&mut self, change: &ChangeId, state: ChangeState) {
        self.rules.accepted.remove(change);
        let execution = state.execution.filter(|_| state.state == AuditState::Applied);
        let its = execution.and_then(|id| self.executions.iter().find(|it| it.id == id));
        if let Some(checksum) = its.and_then(|it| it.checksums.get(change)) {
            self.rules.accepted.insert(change.clone(), vec![checksum.clone()]);
        }
    }

    /// What a start with this pipeline would come to.
    pub(in crate::testing) fn preview(&self, request: &wire::PlanRequest) -> Result<PlanPreview, Refusal> {
        let pipeline = convert::pipeline(&request.client_submission)?.at_start();
        let runner = convert::runner("dry-run#preview");
        let free = Lock {
            lease: None,
            ..self.lock.clone()
        };
        let claim = |lock| Claim {
            lock: Some(lock),
            runner: &runner,
            proof: None,
            now: self.now(),
            grace: std::time::Duration::ZERO,
        };
        let is_held = lock::standing(&claim(&self.lock)) == Standing::Other;
        let plan = plan::plan(&PlanInput {
            pipeline: &pipeline,
            states: &self.states,
            claim: claim(&free),
            executions_of_run: &[],
            own_attempts: &[],
            marks_seen: &self.marks_seen,
            settings: self.settings,
        });
        let findings = self.judge(&pipeline, &plan, false).findings;
        let is_stopped = policy::stops(&findings);
        let submitted: HashSet<_> = pipeline.changes().map(|change| &change.id).collect();
        let mut missing: Vec<_> = self
            .states
            .iter()
            .filter(|(id, _)| !submitted.contains(id))
            .collect();
        missing.sort_unstable_by_key(|(id, _)| *id);
        Ok(preview::preview(&preview::Previewed {
            verdict: plan::preview(&plan, is_stopped, is_held),
            verdict_when_free: plan::preview(&plan, is_stopped, false),
            plan: &plan,
            findings: &findings,
            held_by: self.held_lock().filter(|_| is_held),
            in_progress: &self.in_progress(&pipeline, is_held),
            latest: &|change| self.states.get(change).map(|latest| latest.seq),
            missing,
            head_seq: self.head(),
            now: self.now(),
        }))
    }

    fn in_progress(&self, pipeline: &Pipeline, is_held: bool) -> HashSet<ChangeId> {
        let runner_of = |latest: &ChangeState| -> Option<&RunnerId> {
            let id = latest.execution?;
            self.executions.iter().find(|it| it.id == id).map(|it| &it.runner)
        };
        pipeline
            .changes()
            .filter(|_| is_held)
            .filter_map(|change| self.states.get_key_value(&change.id))
            .filter(|(_, latest)| in_progress(latest, runner_of(latest), Some(&self.lock), self.now()))
            .map(|(id, _)| id.clone())
            .collect()
    }
}

pub(super) fn checksums_of(pipeline: &Pipeline) -> HashMap<ChangeId, Checksum> {
    let known =
        |change: &flamingock_domain::pipeline::Change| Some((change.id.clone(), change.checksum.clone()?));
    pipeline.changes().filter_map(known).collect()
}

pub(super) fn stopped(findings: &[Finding], is_start_of_run: bool) -> Refusal {
    let stop = rulings::stopped(findings, is_start_of_run);
    Refusal {
        code: stop.code,
        message: stop.message,
        details: stop.details,
    }
}
