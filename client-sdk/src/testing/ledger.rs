//! What the coordinator remembers, and what it decides: the server's own pure decisions, over values in memory.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use flamingock_api_types::{
    ErrorCode,
    audit::{AuditState as WireState, AuditWrite},
    digest, execution as wire,
    lock::LockView,
};
use flamingock_domain::{
    audit::{ChangeState, Resolution, ResolveRefusal, Source, States, in_progress, is_issue, resolve_marked},
    ids::{AcquisitionId, ChangeId, Checksum, ExecutionId, Fence, LockKey, RunnerId, Seq},
    lock::{self, Claim, Lease, Lock, Proof, Standing},
    pipeline::{Mark, Pipeline},
    plan::{self, Plan, PlanAction, PlanInput, Settings, policy},
    progress::Kept,
    time::Timestamp,
};

use super::convert;

mod holding;
mod rules;
mod telling;

use rules::Rules;

/// Ids that a session is given.
pub(super) const ENVIRONMENT_ID: i64 = 12;
pub(super) const SERVICE_ID: i64 = 340;
/// A lease of somebody who is never seen to work.
const OTHERS_LEASE: Duration = Duration::from_mins(1);

/// A refusal.
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) message: String,
    /// The changes that it is about.
    pub(super) details: Vec<String>,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
        }
    }
}

/// An entry of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Position in the audit, from 1.
    pub seq: i64,
    /// Which change.
    pub change_id: String,
    /// What is said of it.
    pub state: WireState,
    /// Evidence only: another had written about the change since.
    pub late: bool,
    /// Who says so.
    pub origin: Origin,
    /// The function that it is about, such as `apply`; empty where the entry is no runner's.
    pub method: String,
    /// The error with its chain, as JSON in a text; empty where there is none.
    pub error: String,
    execution: String,
}

/// Who wrote an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A runner.
    Runner,
    /// The coordinator, because of a mark in the target system.
    Mark,
    /// The change itself, asked by its probe. One that does not know is late: it changes nothing.
    Probe,
    /// A person: [`Coordinator::resolve`](super::Coordinator::resolve).
    Person,
    /// The test: [`Coordinator::given`](super::Coordinator::given).
    Given,
}

struct Execution {
    id: ExecutionId,
    runner: RunnerId,
    fence: Fence,
    planned_at: Seq,
    starts_run: bool,
    /// Of what it was to apply.
    checksums: HashMap<ChangeId, Checksum>,
}

/// Where a change has got to.
struct Saved {
    kept: Kept,
    sequence: i64,
    cursor: Option<String>,
}

/// What accounting for marks writes.
struct Snapshot {
    entries: usize,
    states: States,
    marks_seen: HashMap<ChangeId, Seq>,
    accepted: HashMap<ChangeId, Vec<Checksum>>,
}

pub(super) struct Ledger {
    began: Instant,
    /// Time that has passed by the test's will.
    skipped: Duration,
    lock: Lock,
    granted_at: Option<Timestamp>,
    executions: Vec<Execution>,
    pub(super) entries: Vec<Entry>,
    states: States,
    marks_seen: HashMap<ChangeId, Seq>,
    saved: HashMap<ChangeId, Saved>,
    /// Pipelines that were found fully applied, each with what that was known by.
    digests: HashMap<String, rules::Known>,
    pub(super) is_asked_to_stop: bool,
    pub(super) settings: Settings,
    pub(super) rules: Rules,
    names: u64,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            skipped: Duration::ZERO,
            lock: Lock {
                key: LockKey::of_service(SERVICE_ID),
                fence: 0,
                lease: None,
            },
            granted_at: None,
            executions: Vec::new(),
            entries: Vec::new(),
            states: States::new(),
            marks_seen: HashMap::new(),
            saved: HashMap::new(),
            digests: HashMap::new(),
            is_asked_to_stop: false,
            settings: Settings::default(),
            rules: Rules::default(),
            names: 0,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0).plus(self.began.elapsed() + self.skipped)
    }

    pub(super) fn head(&self) -> Seq {
        self.entries.last().map_or(0, |entry| entry.seq)
    }

    /// Lets time pass until nobody holds the lock by a live lease.
    pub(super) fn let_lease_end(&mut self) {
        if let Some(lease) = &self.lock.lease {
            let left = lease.expires_at.since(self.now());
            self.skipped += left + Duration::from_millis(1);
        }
    }

    pub(super) fn take_lock_away(&mut self) {
        let other = convert::runner("orders@elsewhere#other");
        self.lock.fence += 1;
        self.hold(other, OTHERS_LEASE);
        self.granted_at = Some(self.now());
    }

    fn hold(&mut self, owner: RunnerId, length: Duration) {
        self.names += 1;
        let name = AcquisitionId::parse(format!("acquisition-{}", self.names));
        self.lock.lease = Some(Lease {
            owner,
            acquisition_id: name.expect("short and plain"),
            length,
            expires_at: self.now().plus(length),
        });
    }

    fn held_lock(&self) -> Option<LockView> {
        convert::lock_view(&self.lock)
    }

    // --- plans

    /// Whether exactly this pipeline was found fully applied, and nothing has happened since.
    pub(super) fn knows(&self, digest: &str) -> bool {
        self.digests.get(digest) == Some(&self.known())
    }

    pub(super) fn plan(
        &mut self,
        runner: &RunnerId,
        proof: Option<&Proof>,
        request: &wire::PlanRequest,
    ) -> Result<wire::PlanResponse, Refusal> {
        let submission = &request.client_submission;
        if let Some(digest) = &submission.digest {
            convert::check_digest(digest)?;
            return if self.knows(digest) {
                Ok(convert::plain_continue())
            } else {
                Err(Refusal::new(ErrorCode::DigestUnknown, "Send the whole pipeline."))
            };
        }
        let pipeline = convert::pipeline(submission)?;
        let starts_run = pipeline.is_start_of_run();
        let of_run = if starts_run {
            Vec::new()
        } else {
            self.executions_of_run(runner)
        };
        let own = self.executions.iter().filter(|it| it.runner == *runner);
        let own_attempts: Vec<ExecutionId> = own.map(|it| it.id).collect();
        let now = self.now();
        let claim = Claim {
            lock: Some(&self.lock),
            runner,
            proof,
            now,
            grace: Duration::ZERO,
        };
        let takes_marks = pipeline.has_marks() && lock::standing(&claim) != Standing::Other;
        let input = PlanInput {
            pipeline: &pipeline,
            states: &self.states,
            claim,
            executions_of_run: &of_run,
            own_attempts: &own_attempts,
            marks_seen: &self.marks_seen,
            settings: self.settings,
        };
        let plan = plan::plan(&input);
        let before = takes_marks.then(|| self.snapshot());
        if takes_marks {
            self.account_for_marks(&pipeline, &plan);
        }
        if matches!(plan.action, PlanAction::Abort) && !pipeline.reports_failure() {
            return Err(Refusal::new(
                ErrorCode::RunFailed,
                "This run has failed, although every stage was reported as finished.",
            ));
        }
        let ruling = self.judge(&pipeline, &plan, !of_run.is_empty());
        if policy::stops(&ruling.findings) {
            // The runner keeps its marks and sends them again.
            if let Some(before) = before {
                self.go_back(before);
            }
            return Err(rules::stopped(&ruling.findings, starts_run));
        }
        let execution = if let PlanAction::Execute { fence, .. } = &plan.action {
            let submitted = |id: &ChangeId| {
                pipeline
                    .changes()
                    .any(|change| change.id == *id && change.mark == Mark::Applied)
            };
            self.marks_seen.retain(|id, _| submitted(id));
            if starts_run {
                self.note_first_seen(&pipeline);
            }
            let checksums = rules::checksums_of(&pipeline);
            let lease = request.lock_acquired_for_millis;
            Some(self.grant(runner, *fence, lease, starts_run, checksums))
        } else {
            None
        };
        if matches!(plan.action, PlanAction::Continue)
            && !pipeline.has_marks()
            && starts_run
            && ruling.findings.is_empty()
            && !ruling.leans_on_absence
            && let Some(blocks) = &submission.blocks
        {
            self.digests.insert(digest::of_blocks(blocks), self.known());
        }
        let cursors = execution.map(|execution| self.hand_on(&plan, &pipeline, submission, execution));
        let lock = match &plan.action {
            PlanAction::Execute { .. } | PlanAction::Await { .. } => self.held_lock(),
            PlanAction::Continue | PlanAction::Abort => None,
        };
        Ok(convert::plan(
            &plan,
            execution,
            lock,
            &cursors.unwrap_or_default(),
            &ruling.findings,
        ))
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            entries: self.entries.len(),
            states: self.states.clone(),
            marks_seen: self.marks_seen.clone(),
            accepted: self.rules.accepted.clone(),
        }
    }

    fn go_back(&mut self, before: Snapshot) {
        self.entries.truncate(before.entries);
        self.states = before.states;
        self.marks_seen = before.marks_seen;
        self.rules.accepted = before.accepted;
    }

    fn grant(
        &mut self,
        runner: &RunnerId,
        fence: Fence,
        lease_millis: Option<i64>,
        starts_run: bool,
        checksums: HashMap<ChangeId, Checksum>,
    ) -> ExecutionId {
        self.lock.fence = fence;
        let asked = u64::try_from(lease_millis.unwrap_or(60_000)).unwrap_or(0);
        self.hold(runner.clone(), lock::clamp_lease(Duration::from_millis(asked)));
        self.granted_at = Some(self.now());
        let id = ExecutionId(9_001 + i64::try_from(self.executions.len()).unwrap_or(0));
        self.executions.push(Execution {
            id,
            runner: runner.clone(),
            fence,
            planned_at: self.head(),
            starts_run,
            checksums,
        });
        id
    }

    /// What the runner was granted since it last asked without any report.
    fn executions_of_run(&self, runner: &RunnerId) -> Vec<ExecutionId> {
        let own = || self.executions.iter().filter(|it| it.runner == *runner);
        let Some(first) = own().rfind(|it| it.starts_run).map(|it| it.id) else {
            return Vec::new();
        };
        own().map(|it| it.id).filter(|id| *id >= first).collect()
    }

    fn account_for_marks(&mut self, pipeline: &Pipeline, plan: &Plan) {
        let reported_at = self.head();
        for derived in &plan.derived {
            let latest = self.states.get(&derived.id).copied();
            let state = ChangeState {
                seq: 0,
                state: derived.state,
                tx_strategy: latest.map(|it| it.tx_strategy).unwrap_or_default(),
                recovery: latest.map(|it| it.recovery).unwrap_or_default(),
                execution: derived.execution,
                source: Source::Mark,
            };
            self.append(&derived.id, state, false, Origin::Mark, None);
        }
        if plan.synchronized_marks {
            self.marks_seen.clear();
        } else {
            for change in pipeline.changes().filter(|change| change.mark == Mark::Applied) {
                self.marks_seen.entry(change.id.clone()).or_insert(reported_at);
            }
        }
    }

    fn append(
        &mut self,
        change: &ChangeId,
        state: ChangeState,
        late: bool,
        origin: Origin,
        told: Option<(&str, &AuditWrite)>,
    ) -> Seq {
        let seq = self.head() + 1;
        let write = told.map(|(_, told)| told);
        self.entries.push(Entry {
            seq,
            change_id: change.to_string(),
            state: convert::wire_state(state.state),
            late,
            origin,
            method: write.and_then(|it| it.method_name.clone()).unwrap_or_default(),
            error: write.and_then(|it| it.error_trace.clone()).unwrap_or_default(),
            execution: told
                .map(|(execution, _)| execution.to_owned())
                .unwrap_or_default(),
        });
        if !late {
            self.note_checksum(change, state);
            self.states.insert(change.clone(), ChangeState { seq, ..state });
        }
        seq
    }

    /// History that the test begins with.
    pub(super) fn give(&mut self, change: &ChangeId, state: WireState) {
        let state = ChangeState {
            seq: 0,
            state: convert::audit_state(state),
            tx_strategy: flamingock_domain::audit::TxStrategy::default(),
            recovery: flamingock_domain::audit::RecoveryStrategy::default(),
            execution: None,
            source: Source::Runner,
        };
        self.append(change, state, false, Origin::Given, None);
    }

    // --- people

    /// Changes about which a person has to decide before a start goes on.
    pub(super) fn issues(&self) -> Vec<String> {
        let mut issues: Vec<_> = self.states.iter().filter(|(_, state)| is_issue(state)).collect();
        issues.sort_by_key(|(_, state)| state.seq);
        issues.into_iter().map(|(id, _)| id.to_string()).collect()
    }

    pub(super) fn resolve(&mut self, change: &ChangeId, decision: Resolution) -> Result<(), ResolveRefusal> {
        let latest = self.states.get(change).copied();
        let seen = self.marks_seen.get(change).copied();
        let contradicted = seen.is_some()
            && latest.is_some_and(|latest| flamingock_domain::audit::contradicts_mark(&latest, seen));
        let its_runner = latest.and_then(|latest| {
            let id = latest.execution?;
            self.executions.iter().find(|it| it.id == id).map(|it| &it.runner)
        });
        let busy =
            latest.is_some_and(|latest| in_progress(&latest, its_runner, Some(&self.lock), self.now()));
        let expected = latest.map_or(0, |latest| latest.seq);
        let state = resolve_marked(latest.as_ref(), expected, busy, contradicted, decision)?;
        let state = ChangeState {
            seq: 0,
            state,
            tx_strategy: latest.map(|it| it.tx_strategy).unwrap_or_default(),
            recovery: latest.map(|it| it.recovery).unwrap_or_default(),
            execution: None,
            source: Source::Person,
        };
        self.append(change, state, false, Origin::Person, None);
        Ok(())
    }
}
