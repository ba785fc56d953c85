//! A server in miniature: it does with decisions what a store would do, in memory.

use std::collections::HashMap;
use std::time::Duration;

use flamingock_domain::audit::{
    AuditState, ChangeState, FoldEntry, Judgement, RecoveryStrategy, Report, ReportedExecution, Resolution,
    ResolveRefusal, Source, StartRefusal, States, TxStrategy, contradicts_mark, fold, in_progress, judge,
    resolve_marked,
};
use flamingock_domain::ids::{AcquisitionId, ChangeId, ExecutionId, Fence, LockKey, RunnerId, Seq};
use flamingock_domain::lock::{self, Claim, Extend, GivingBack, Lease, Lock, Proof, Release};
use flamingock_domain::pipeline::{Mark, Pipeline};
use flamingock_domain::plan::{self, Plan, PlanAction, PlanInput, Settings};
use flamingock_domain::time::Timestamp;

use super::{GRACE, LEASE, at, change_id, pipeline, runner_id, show};

struct Execution {
    runner: RunnerId,
    fence: Fence,
    planned_at: Seq,
}

pub(crate) struct World {
    pub(crate) entries: Vec<FoldEntry>,
    pub(crate) lock: Option<Lock>,
    pub(crate) now: Timestamp,
    pub(crate) settings: Settings,
    /// The strategies that runners report with every entry.
    pub(crate) tx_strategy: TxStrategy,
    pub(crate) recovery: RecoveryStrategy,
    lock_execution: Option<ExecutionId>,
    executions: HashMap<ExecutionId, Execution>,
    of_run: HashMap<RunnerId, Vec<ExecutionId>>,
    marks_seen: HashMap<ChangeId, Seq>,
    acquisitions: u32,
}

impl Default for World {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            lock: None,
            now: at(1_000_000),
            settings: Settings::default(),
            tx_strategy: TxStrategy::NonTx,
            recovery: RecoveryStrategy::ManualIntervention,
            lock_execution: None,
            executions: HashMap::new(),
            of_run: HashMap::new(),
            marks_seen: HashMap::new(),
            acquisitions: 0,
        }
    }
}

impl World {
    /// A world whose runners report these strategies with every entry.
    pub(crate) fn with(tx_strategy: TxStrategy, recovery: RecoveryStrategy) -> Self {
        Self {
            tx_strategy,
            recovery,
            ..Self::default()
        }
    }

    pub(crate) fn head(&self) -> Seq {
        self.entries.len().try_into().expect("few entries")
    }

    pub(crate) fn states(&self) -> States {
        fold(&self.entries)
    }

    pub(crate) fn latest(&self, change: &str) -> Option<AuditState> {
        self.states().get(change).map(|latest| latest.state)
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    /// A plan request without proof, answered in text.
    pub(crate) fn ask(&mut self, runner: &str, submitted: &str) -> String {
        show(&self.plan(runner, &pipeline(submitted), None))
    }

    /// Only the first line of the answer and what is offered.
    pub(crate) fn ask_briefly(&mut self, runner: &str, submitted: &str) -> String {
        let answer = self.ask(runner, submitted);
        let brief = answer
            .lines()
            .enumerate()
            .filter(|(at, line)| *at == 0 || line.starts_with("do "));
        brief.map(|(_, line)| line).collect::<Vec<_>>().join("\n")
    }

    /// Plans, takes the lock, and records what the plan derives.
    pub(crate) fn plan(&mut self, runner: &str, submitted: &Pipeline, proof: Option<&Proof>) -> Plan {
        let runner = runner_id(runner);
        if submitted.is_start_of_run() {
            self.of_run.remove(&runner);
        }
        let states = self.states();
        let own = self.executions.iter().filter(|(_, it)| it.runner == runner);
        let own_attempts: Vec<ExecutionId> = own.map(|(id, _)| *id).collect();
        let input = PlanInput {
            pipeline: submitted,
            states: &states,
            claim: Claim {
                lock: self.lock.as_ref(),
                runner: &runner,
                proof,
                now: self.now,
                grace: GRACE,
            },
            executions_of_run: self.of_run.get(&runner).map_or(&[], Vec::as_slice),
            own_attempts: &own_attempts,
            marks_seen: &self.marks_seen,
            settings: self.settings,
        };
        let plan = plan::plan(&input);
        assert_eq!(plan, plan::plan(&input), "planning twice gives the same plan");
        assert_eq!(
            plan::check(&input, &plan),
            [],
            "the plan is consistent: {plan:#?}"
        );

        self.note_marks(submitted, &plan);
        for derived in &plan.derived {
            let state = self.entry_state(derived.state, derived.execution, Source::Mark);
            self.append(&derived.id, state, false);
        }
        if let PlanAction::Execute { fence, .. } = plan.action {
            self.grant(&runner, fence);
        }
        plan
    }

    fn note_marks(&mut self, submitted: &Pipeline, plan: &Plan) {
        if matches!(plan.action, PlanAction::Await { .. }) {
            return;
        }
        let head = self.head();
        for change in submitted.changes().filter(|change| change.mark == Mark::Applied) {
            if plan.synchronized_marks {
                self.marks_seen.remove(&change.id);
            } else {
                self.marks_seen.entry(change.id.clone()).or_insert(head);
            }
        }
    }

    fn grant(&mut self, runner: &RunnerId, fence: Fence) {
        let id = ExecutionId(9001 + i64::try_from(self.executions.len()).expect("few executions"));
        let lease = Lease {
            owner: runner.clone(),
            acquisition_id: self.next_acquisition(runner),
            length: LEASE,
            expires_at: self.now.plus(LEASE),
        };
        self.lock = Some(Lock {
            key: LockKey::of_service(340),
            fence,
            lease: Some(lease),
        });
        self.lock_execution = Some(id);
        let planned_at = self.head();
        self.executions.insert(
            id,
            Execution {
                runner: runner.clone(),
                fence,
                planned_at,
            },
        );
        self.of_run.entry(runner.clone()).or_default().push(id);
    }

    fn next_acquisition(&mut self, runner: &RunnerId) -> AcquisitionId {
        self.acquisitions += 1;
        AcquisitionId::parse(format!("{runner}-{}", self.acquisitions)).expect("an acquisition id")
    }

    /// The execution that was granted last.
    pub(crate) fn execution(&self) -> ExecutionId {
        self.lock_execution.expect("an execution was granted")
    }

    /// Reports under the execution that was granted last.
    pub(crate) fn report(&mut self, change: &str, state: AuditState) -> Judgement {
        self.report_of(self.execution(), change, state)
    }

    pub(crate) fn report_of(&mut self, execution: ExecutionId, change: &str, state: AuditState) -> Judgement {
        let change = change_id(change);
        let same = self.entries.iter().find(|it| {
            let it_is = (it.state.execution, &it.change, it.state.state) == (Some(execution), &change, state);
            it_is && it.state.source != Source::Mark
        });
        let granted = &self.executions[&execution];
        let states = self.states();
        let judgement = judge(&Report {
            state,
            execution: ReportedExecution::Known {
                id: execution,
                runner: &granted.runner,
                fence: granted.fence,
                planned_at: granted.planned_at,
            },
            runner: &granted.runner,
            fence: None,
            latest: states.get(&change),
            same: same.map(|it| it.state.seq),
            lock: self.lock.as_ref(),
            now: self.now,
            trust_absent_marks: self.settings.trust_absent_marks,
            handed_on_at: None,
        });
        if let Judgement::Append | Judgement::AppendLate = judgement {
            let state = self.entry_state(state, Some(execution), Source::Runner);
            self.append(&change, state, judgement == Judgement::AppendLate);
        }
        judgement
    }

    /// What the runner may do to a change: `Ok` if its `STARTED` was acknowledged.
    pub(crate) fn start(&mut self, change: &str) -> Result<(), StartRefusal> {
        match self.report(change, AuditState::Started) {
            Judgement::Append | Judgement::Duplicate => Ok(()),
            Judgement::Refuse(refusal) => Err(refusal),
            Judgement::AppendLate => panic!("a STARTED is never late"),
        }
    }

    /// Reports several states, each of which counts.
    pub(crate) fn run(&mut self, change: &str, states: &[AuditState]) {
        for &state in states {
            assert_eq!(
                self.report(change, state),
                Judgement::Append,
                "{change} {state:?} counts"
            );
        }
    }

    pub(crate) fn resolve(&mut self, change: &str, resolution: Resolution) -> Result<(), ResolveRefusal> {
        let expected = self.states().get(change).map_or(0, |latest| latest.seq);
        self.resolve_against(change, expected, resolution)
    }

    pub(crate) fn resolve_against(
        &mut self,
        change: &str,
        expected: Seq,
        resolution: Resolution,
    ) -> Result<(), ResolveRefusal> {
        let latest = self.states().get(change).copied();
        let is_running =
            latest.is_some_and(|it| in_progress(&it, self.runner_of(&it), self.lock.as_ref(), self.now));
        let seen = self.marks_seen.get(change).copied();
        let contradicted = latest.is_some_and(|it| seen.is_some() && contradicts_mark(&it, seen));
        let state = resolve_marked(latest.as_ref(), expected, is_running, contradicted, resolution)?;
        let state = ChangeState {
            state,
            execution: None,
            source: Source::Person,
            ..latest.expect("an issue")
        };
        self.append(&change_id(change), state, false);
        Ok(())
    }

    fn runner_of(&self, state: &ChangeState) -> Option<&RunnerId> {
        Some(&self.executions.get(&state.execution?)?.runner)
    }

    pub(crate) fn extend(&mut self, runner: &str) -> Extend {
        let runner = runner_id(runner);
        let answer = lock::extend(self.lock.as_ref(), &runner);
        if answer == Extend::Extended {
            let acquisition_id = self.next_acquisition(&runner);
            let lease = self
                .lock
                .as_mut()
                .and_then(|lock| lock.lease.as_mut())
                .expect("extended");
            lease.acquisition_id = acquisition_id;
            lease.expires_at = self.now.plus(lease.length);
        }
        answer
    }

    pub(crate) fn release(&mut self, runner: &str) -> Release {
        let answer = lock::release(&GivingBack {
            lock: self.lock.as_ref(),
            runner: &runner_id(runner),
            granted_at: None,
            asked_at: self.now,
            fence: None,
        });
        if answer == Release::Released {
            self.lock.as_mut().expect("released").lease = None;
        }
        answer
    }

    /// Adds an entry as it is, whoever wrote it.
    pub(crate) fn append(&mut self, change: &ChangeId, state: ChangeState, late: bool) {
        let state = ChangeState {
            seq: self.head() + 1,
            ..state
        };
        self.entries.push(FoldEntry {
            change: change.clone(),
            late,
            state,
        });
    }

    fn entry_state(&self, state: AuditState, execution: Option<ExecutionId>, source: Source) -> ChangeState {
        let (tx_strategy, recovery) = (self.tx_strategy, self.recovery);
        ChangeState {
            seq: 0,
            state,
            tx_strategy,
            recovery,
            execution,
            source,
        }
    }
}
