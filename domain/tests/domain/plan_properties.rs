//! Laws of the planner: of single plans on arbitrary input, and of whole runs of a client.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use flamingock_domain::audit::{AuditState, ChangeState, RecoveryStrategy, Source, States, TxStrategy};
use flamingock_domain::ids::{AcquisitionId, ChangeId, ExecutionId, RunnerId, Seq};
use flamingock_domain::lock::{Claim, Lock, Proof, Standing, standing};
use flamingock_domain::pipeline::{
    Block, BlockType, Change, Mark, Pipeline, ReportedChange, ReportedStage, Stage,
};
use flamingock_domain::plan::{
    Action, ChangeStatus, Plan, PlanAction, PlanInput, Settings, Verdict, check, plan,
};
use proptest::prelude::*;

use crate::support::{GRACE, LEASE, World, at, change_id, held_by, runner_id, stage_name};

/// Everything that a [`PlanInput`] borrows.
#[derive(Clone, Debug)]
struct Case {
    pipeline: Pipeline,
    states: States,
    lock: Option<Lock>,
    proof: Option<Proof>,
    executions_of_run: Vec<ExecutionId>,
    own_attempts: Vec<ExecutionId>,
    marks_seen: HashMap<ChangeId, Seq>,
    settings: Settings,
    me: RunnerId,
}

impl Case {
    fn input(&self) -> PlanInput<'_> {
        PlanInput {
            pipeline: &self.pipeline,
            states: &self.states,
            claim: Claim {
                lock: self.lock.as_ref(),
                runner: &self.me,
                proof: self.proof.as_ref(),
                now: at(0),
                grace: GRACE,
            },
            executions_of_run: &self.executions_of_run,
            own_attempts: &self.own_attempts,
            marks_seen: &self.marks_seen,
            settings: self.settings,
        }
    }

    fn plan(&self) -> Plan {
        plan(&self.input())
    }
}

/// What of a pipeline may repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeats {
    Nothing,
    Names,
    Ids,
    Anything,
}

fn any<T: Clone + std::fmt::Debug + 'static>(of: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(of.to_vec())
}

fn arb_pipeline(repeats: Repeats) -> impl Strategy<Value = Pipeline> {
    let change = (
        (0..6_usize, any(&[false, true])),
        any(&[
            Mark::None,
            Mark::None,
            Mark::None,
            Mark::Applied,
            Mark::RolledBack,
        ]),
    );
    let reported = any(&[
        None,
        None,
        None,
        Some(ReportedChange::Applied),
        Some(ReportedChange::AlreadyApplied),
        Some(ReportedChange::Failed),
        Some(ReportedChange::RolledBack),
    ]);
    let change = (change, reported);
    let stage_report = any(&[
        None,
        None,
        None,
        Some(ReportedStage::Started),
        Some(ReportedStage::Completed),
        Some(ReportedStage::Failed),
        Some(ReportedStage::Blocked),
    ]);
    let stage = (0..4_usize, stage_report, prop::collection::vec(change, 0..4));
    let kind = any(&[BlockType::System, BlockType::Legacy, BlockType::Default]);
    let block = (kind, prop::collection::vec(stage, 0..4));
    prop::collection::vec(block, 0..4).prop_map(move |blocks| {
        let (mut names, mut ids) = (0.., 0..);
        let mut name = |drawn: usize| match repeats {
            Repeats::Names | Repeats::Anything => drawn,
            Repeats::Ids | Repeats::Nothing => names.next().expect("endless"),
        };
        let mut id = |drawn: usize| match repeats {
            Repeats::Ids | Repeats::Anything => drawn,
            Repeats::Names | Repeats::Nothing => ids.next().expect("endless"),
        };
        let mut stage = |(drawn, reported, changes): (usize, _, Vec<_>)| Stage {
            name: stage_name(&format!("stage{}", name(drawn))),
            reported,
            changes: changes
                .into_iter()
                .map(|(((drawn, has_probe), mark), reported)| Change {
                    id: change_id(&format!("change{}", id(drawn))),
                    mark,
                    reported,
                    transactional: true,
                    author: None,
                    has_probe,
                    takes_cursor: false,
                    checksum: None,
                })
                .collect(),
        };
        let mut block = |(kind, stages): (_, Vec<_>)| Block {
            kind,
            stages: stages.into_iter().map(&mut stage).collect(),
        };
        Pipeline {
            blocks: blocks.into_iter().map(&mut block).collect(),
        }
    })
}

fn arb_state() -> impl Strategy<Value = ChangeState> {
    let state = any(&[
        AuditState::Started,
        AuditState::Applied,
        AuditState::Applied,
        AuditState::Failed,
        AuditState::RolledBack,
        AuditState::RollbackFailed,
        AuditState::MarkedApplied,
        AuditState::MarkedRolledBack,
        AuditState::Unknown,
    ]);
    let tx_strategy = any(&[
        TxStrategy::NonTx,
        TxStrategy::Shared,
        TxStrategy::WithMarker,
        TxStrategy::NoMarker,
    ]);
    let recovery = any(&[
        RecoveryStrategy::ManualIntervention,
        RecoveryStrategy::AlwaysRetry,
    ]);
    let execution = prop::option::of((1..4_i64).prop_map(ExecutionId));
    let source = any(&[
        Source::Runner,
        Source::Runner,
        Source::Mark,
        Source::Person,
        Source::Probe,
        Source::Import,
        Source::Unknown,
    ]);
    (1..20_i64, state, tx_strategy, recovery, execution, source).prop_map(
        |(seq, state, tx_strategy, recovery, execution, source)| ChangeState {
            seq,
            state,
            tx_strategy,
            recovery,
            execution,
            source,
        },
    )
}

fn arb_lock() -> impl Strategy<Value = Option<Lock>> {
    let held = (any(&["me", "other"]), 1..9_i64, -10..10_i64)
        .prop_map(|(owner, fence, expires)| held_by(owner, fence, at(expires)));
    let released = (1..9_i64).prop_map(|fence| Lock {
        lease: None,
        ..held_by("other", fence, at(0))
    });
    prop_oneof![
        1 => Just(None),
        1 => released.prop_map(Some),
        3 => held.prop_map(Some),
    ]
}

fn arb_proof() -> impl Strategy<Value = Option<Proof>> {
    let proof = ("other-[1-8]", 50..70_u64).prop_map(|(id, seconds)| Proof {
        acquisition_id: AcquisitionId::parse(id).expect("an acquisition id"),
        elapsed: Duration::from_secs(seconds),
    });
    prop::option::of(proof)
}

fn case_of(repeats: Repeats) -> impl Strategy<Value = Case> {
    let states = prop::collection::hash_map(0..40_usize, arb_state(), 0..40);
    let marks_seen = prop::collection::hash_map(0..8_usize, 0..20_i64, 0..6);
    let executions = || prop::sample::subsequence(vec![ExecutionId(1), ExecutionId(2)], 0..=2);
    let id = |index: usize| change_id(&format!("change{index}"));
    (
        (arb_pipeline(repeats), states),
        (arb_lock(), arb_proof()),
        (executions(), executions(), marks_seen),
        prop::bool::ANY,
    )
        .prop_map(
            move |((pipeline, states), (lock, proof), (executions_of_run, own_attempts, seen), trust)| Case {
                pipeline,
                states: states
                    .into_iter()
                    .map(|(index, state)| (id(index), state))
                    .collect(),
                lock,
                proof,
                executions_of_run,
                own_attempts,
                marks_seen: seen.into_iter().map(|(index, seq)| (id(index), seq)).collect(),
                settings: Settings {
                    trust_absent_marks: trust,
                },
                me: runner_id("me"),
            },
        )
}

/// For clients that ask no probes.
fn unasked_pipeline(repeats: Repeats) -> impl Strategy<Value = Pipeline> {
    arb_pipeline(repeats).prop_map(|mut pipeline| {
        let stages = pipeline.blocks.iter_mut().flat_map(|block| &mut block.stages);
        for change in stages.flat_map(|stage| &mut stage.changes) {
            change.has_probe = false;
        }
        pipeline
    })
}

fn cases() -> impl Strategy<Value = Case> {
    prop_oneof![
        3 => case_of(Repeats::Nothing),
        1 => case_of(Repeats::Names),
        1 => case_of(Repeats::Ids),
        1 => case_of(Repeats::Anything),
    ]
}

fn offered(plan: &Plan) -> Vec<(&ChangeId, Action)> {
    match &plan.action {
        PlanAction::Execute { stages, .. } => stages
            .iter()
            .flat_map(|stage| &stage.changes)
            .map(|(id, action)| (id, *action))
            .collect(),
        _ => Vec::new(),
    }
}

/// Changes that are to be applied or wait for a person, now or in a later block.
fn open(plan: &Plan) -> HashSet<ChangeId> {
    let all = plan.findings.iter().flat_map(|stage| &stage.changes);
    let open = all.filter(|it| {
        matches!(
            it.action,
            Action::Apply | Action::ManualIntervention | Action::Probe { .. }
        )
    });
    open.map(|it| it.id.clone()).collect()
}

fn is_subsequence<T: PartialEq>(part: &[T], whole: &[T]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|it| rest.any(|other| other == it))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn every_plan_is_consistent_and_planning_twice_gives_the_same(case in cases()) {
        let input = case.input();
        let plan = plan(&input);
        prop_assert_eq!(check(&input, &plan), []);
        prop_assert_eq!(&plan, &case.plan());
    }

    #[test]
    fn what_is_applied_in_the_log_is_never_handed_out(case in cases()) {
        let plan = case.plan();
        for (id, action) in offered(&plan) {
            let state = case.states.get(id).map(|latest| latest.state);
            if matches!(state, Some(AuditState::Applied | AuditState::MarkedApplied)) {
                prop_assert_eq!(action, Action::Skip, "{} is applied", id);
            }
        }
    }

    #[test]
    fn work_keeps_the_submitted_order(case in case_of(Repeats::Nothing)) {
        let plan = case.plan();
        let PlanAction::Execute { stages, .. } = &plan.action else { return Ok(()) };
        let submitted: Vec<_> = case.pipeline.stages().map(|stage| &stage.name).collect();
        let names: Vec<_> = stages.iter().map(|stage| &stage.name).collect();
        prop_assert!(is_subsequence(&names, &submitted));
        for stage in stages {
            let whole = case.pipeline.stages().nth(stage.order).expect("the position of a stage");
            prop_assert_eq!(&whole.name, &stage.name);
            let listed: Vec<_> = stage.changes.iter().map(|(id, _)| id).collect();
            prop_assert_eq!(listed, whole.changes.iter().map(|change| &change.id).collect::<Vec<_>>());
        }
    }

    #[test]
    fn recording_a_handed_out_change_as_applied_shrinks_the_work_by_exactly_that_change(case in cases()) {
        let plan = case.plan();
        let before = open(&plan);
        for (id, action) in offered(&plan) {
            if action == Action::Skip {
                continue;
            }
            let mut case = case.clone();
            let applied = ChangeState {
                seq: 50,
                state: AuditState::Applied,
                tx_strategy: TxStrategy::NonTx,
                recovery: RecoveryStrategy::ManualIntervention,
                execution: Some(ExecutionId(50)),
                source: Source::Runner,
            };
            case.states.insert(id.clone(), applied);
            let mut expected = before.clone();
            expected.remove(id);
            prop_assert_eq!(open(&case.plan()), expected);
        }
    }

    #[test]
    fn a_lock_that_another_runner_holds_is_never_granted_and_every_grant_has_a_new_fence(case in cases()) {
        let input = case.input();
        let plan = plan(&input);
        match plan.action {
            PlanAction::Execute { fence, .. } => {
                prop_assert_ne!(standing(&input.claim), Standing::Other);
                prop_assert!(fence > case.lock.as_ref().map_or(0, |lock| lock.fence));
            }
            PlanAction::Await { holder } => {
                prop_assert_eq!(standing(&input.claim), Standing::Other);
                prop_assert_ne!(holder.owner, case.me);
            }
            PlanAction::Continue | PlanAction::Abort => {}
        }
    }

    #[test]
    fn the_lock_decides_who_works_and_not_whether_there_is_work(case in cases()) {
        // Without marks, as these are read under the lock only.
        let mut case = case;
        for stage in case.pipeline.blocks.iter_mut().flat_map(|block| &mut block.stages) {
            stage.changes.iter_mut().for_each(|change| change.mark = Mark::None);
        }
        case.settings = Settings::default();
        case.lock = None;
        let free = case.plan();
        case.lock = Some(held_by("other", 4, at(60)));
        let held = case.plan();
        prop_assert_eq!(&free.findings, &held.findings);
        match free.action {
            PlanAction::Execute { .. } => {
                let waits = matches!(held.action, PlanAction::Await { .. });
                prop_assert!(waits);
            }
            other => prop_assert_eq!(other, held.action),
        }
    }

    #[test]
    fn what_is_derived_is_derived_once(case in cases()) {
        let plan = case.plan();
        let mut case = case;
        for derived in &plan.derived {
            let latest = ChangeState {
                seq: 50,
                state: derived.state,
                execution: derived.execution,
                source: Source::Mark,
                ..case.states.get(&derived.id).copied().unwrap_or_else(|| crate::support::state_of(1, derived.state))
            };
            case.states.insert(derived.id.clone(), latest);
        }
        let again = case.plan();
        prop_assert_eq!(&again.derived, &[]);
        prop_assert_eq!(again.synchronized_marks, plan.synchronized_marks);
        prop_assert_eq!(std::mem::discriminant(&again.action), std::mem::discriminant(&plan.action));
        prop_assert_eq!(open(&again), open(&plan));
    }

    #[test]
    fn a_reported_status_is_never_contradicted(case in case_of(Repeats::Nothing)) {
        let plan = case.plan();
        for (stage, finding) in case.pipeline.stages().zip(&plan.findings) {
            for (change, told) in stage.changes.iter().zip(&finding.changes) {
                let expected = match change.reported {
                    Some(ReportedChange::Applied) => ChangeStatus::Applied,
                    Some(ReportedChange::Failed) => ChangeStatus::Failed,
                    Some(ReportedChange::RolledBack) => ChangeStatus::RolledBack,
                    Some(ReportedChange::AlreadyApplied) | None => continue,
                };
                prop_assert_eq!(told.status, expected);
            }
            let all = finding.changes.iter().all(|it| {
                let state = case.states.get(&it.id).map(|latest| latest.state);
                matches!(state, Some(AuditState::Applied | AuditState::MarkedApplied))
                    || plan.derived.iter().any(|derived| derived.id == it.id && derived.state == AuditState::Applied)
            });
            prop_assert_eq!(finding.verdict == Verdict::UpToDate, all);
        }
    }
}

/// What happens when a change is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Works,
    /// Fails, and is undone.
    RollsBack,
    /// Fails, and is left half done.
    Fails,
    /// Fails, and so does its rollback.
    RollbackFails,
    /// Works, but the runner's `APPLIED` gets lost: a mark stays.
    LosesResult,
    /// Takes the process down after it was done, with a mark left.
    Dies,
}

/// A client in miniature, with the habits of the Java one: one status for each stage name, the stages of a plan in the
/// order of its own pipeline, the first failure ends the stage, what a plan does not list counts as applied.
struct Client<'a> {
    pipeline: &'a Pipeline,
    fates: &'a HashMap<ChangeId, Fate>,
    stages: HashMap<String, ReportedStage>,
    changes: HashMap<(String, ChangeId), ReportedChange>,
    /// What it applied in this run, in order.
    ran: Vec<ChangeId>,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Continue,
    Abort,
    Died,
}

impl Client<'_> {
    fn submission(&self, marks: &HashSet<ChangeId>) -> Pipeline {
        let mut submitted = self.pipeline.clone();
        for stage in submitted.blocks.iter_mut().flat_map(|block| &mut block.stages) {
            stage.reported = self.stages.get(stage.name.as_str()).copied();
            for change in &mut stage.changes {
                change.reported = self
                    .changes
                    .get(&(stage.name.to_string(), change.id.clone()))
                    .copied();
                change.mark = if marks.contains(&change.id) {
                    Mark::Applied
                } else {
                    Mark::None
                };
            }
        }
        submitted
    }

    /// Runs to the end, or for so many plans that it would never end.
    fn run(&mut self, world: &mut World, runner: &str, marks: &mut HashSet<ChangeId>) -> Option<End> {
        for _ in 0..40 {
            let plan = world.plan(runner, &self.submission(marks), None);
            if plan.synchronized_marks {
                marks.clear();
            }
            match plan.action {
                PlanAction::Continue => return Some(End::Continue),
                PlanAction::Abort => return Some(End::Abort),
                PlanAction::Await { .. } => world.pass(LEASE),
                PlanAction::Execute { stages, .. } => {
                    for stage in self.pipeline.stages() {
                        let Some(told) = stages.iter().find(|it| it.name == stage.name) else {
                            continue;
                        };
                        let actions = told.changes.iter().cloned().collect();
                        if self.run_stage(stage, &actions, world, marks).is_none() {
                            return Some(End::Died);
                        }
                    }
                    world.release(runner);
                }
            }
        }
        None
    }

    /// `None`: the process died.
    fn run_stage(
        &mut self,
        stage: &Stage,
        actions: &HashMap<ChangeId, Action>,
        world: &mut World,
        marks: &mut HashSet<ChangeId>,
    ) -> Option<()> {
        let action = |change: &Change| actions.get(&change.id).copied().unwrap_or(Action::Skip);
        let name = stage.name.to_string();
        if stage
            .changes
            .iter()
            .any(|change| action(change) == Action::ManualIntervention)
        {
            self.stages.insert(name, ReportedStage::Blocked);
            return Some(());
        }
        let mut seen = HashSet::new();
        for change in stage.changes.iter().filter(|change| seen.insert(&change.id)) {
            let key = (name.clone(), change.id.clone());
            if action(change) == Action::Skip {
                self.changes.entry(key).or_insert(ReportedChange::AlreadyApplied);
                continue;
            }
            self.ran.push(change.id.clone());
            world
                .start(change.id.as_str())
                .expect("what is handed out may be started");
            let fate = self.fates.get(&change.id).copied().unwrap_or(Fate::Works);
            let (entries, reported): (&[AuditState], _) = match fate {
                Fate::Works => (&[AuditState::Applied], ReportedChange::Applied),
                Fate::RollsBack => (
                    &[AuditState::Failed, AuditState::RolledBack],
                    ReportedChange::RolledBack,
                ),
                Fate::Fails => (&[AuditState::Failed], ReportedChange::Failed),
                Fate::RollbackFails => (
                    &[AuditState::Failed, AuditState::RollbackFailed],
                    ReportedChange::Failed,
                ),
                Fate::LosesResult | Fate::Dies => (&[], ReportedChange::Failed),
            };
            world.run(change.id.as_str(), entries);
            if matches!(fate, Fate::LosesResult | Fate::Dies) {
                marks.insert(change.id.clone());
            }
            if fate == Fate::Dies {
                return None;
            }
            self.changes.insert(key, reported);
            if reported != ReportedChange::Applied {
                self.stages.insert(name, ReportedStage::Failed);
                return Some(());
            }
        }
        self.stages.insert(name, ReportedStage::Completed);
        Some(())
    }
}

fn arb_fates() -> impl Strategy<Value = HashMap<ChangeId, Fate>> {
    let fate = any(&[
        Fate::Works,
        Fate::Works,
        Fate::RollsBack,
        Fate::Fails,
        Fate::RollbackFails,
        Fate::LosesResult,
        Fate::Dies,
    ]);
    prop::collection::hash_map(0..12_usize, fate, 0..6).prop_map(|fates| {
        let named = fates
            .into_iter()
            .map(|(index, fate)| (change_id(&format!("change{index}")), fate));
        named.collect()
    })
}

fn arb_world() -> impl Strategy<Value = (TxStrategy, RecoveryStrategy)> {
    let tx_strategy = any(&[TxStrategy::NonTx, TxStrategy::WithMarker, TxStrategy::NoMarker]);
    (
        tx_strategy,
        any(&[
            RecoveryStrategy::ManualIntervention,
            RecoveryStrategy::AlwaysRetry,
        ]),
    )
}

fn is_applied(world: &World, change: &Change) -> bool {
    let latest = world.latest(change.id.as_str());
    matches!(latest, Some(AuditState::Applied | AuditState::MarkedApplied))
}

/// Runs a pipeline as often as asked, each time as a new process, and holds every run against the laws of a run.
fn runs(
    world: &mut World,
    pipeline: &Pipeline,
    fates: &HashMap<ChangeId, Fate>,
    marks: &mut HashSet<ChangeId>,
    names: std::ops::Range<usize>,
) -> Result<End, TestCaseError> {
    let mut last = None;
    for run in names {
        let before: Vec<_> = pipeline
            .changes()
            .filter(|change| is_applied(world, change))
            .collect();
        let mut client = Client {
            pipeline,
            fates,
            stages: HashMap::new(),
            changes: HashMap::new(),
            ran: Vec::new(),
        };
        let end = client.run(world, &format!("runner{run}"), marks);
        let end = end.ok_or_else(|| TestCaseError::fail("the run never ends"))?;

        let once: HashSet<_> = client.ran.iter().collect();
        prop_assert_eq!(once.len(), client.ran.len(), "a change ran twice in one run");
        for change in before {
            prop_assert!(
                !client.ran.contains(&change.id),
                "{} was applied before",
                change.id
            );
        }
        if end == End::Continue {
            for change in pipeline.changes() {
                prop_assert!(
                    is_applied(world, change),
                    "{} was left out of a successful run",
                    change.id
                );
            }
        }
        last = Some(end);
    }
    last.ok_or_else(|| TestCaseError::fail("no run"))
}

fn runnable() -> impl Strategy<Value = Pipeline> {
    prop_oneof![
        3 => unasked_pipeline(Repeats::Nothing),
        1 => unasked_pipeline(Repeats::Names),
        1 => unasked_pipeline(Repeats::Ids),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn every_run_ends_runs_nothing_twice_and_succeeds_only_when_all_is_applied(
        pipeline in runnable(),
        fates in arb_fates(),
        strategies in arb_world(),
    ) {
        let mut world = World::with(strategies.0, strategies.1);
        runs(&mut world, &pipeline, &fates, &mut HashSet::new(), 0..3)?;
    }

    #[test]
    fn where_everything_works_one_run_applies_every_change_exactly_once(pipeline in unasked_pipeline(Repeats::Nothing)) {
        let mut world = World::default();
        let end = runs(&mut world, &pipeline, &HashMap::new(), &mut HashSet::new(), 0..1)?;
        prop_assert_eq!(end, End::Continue);
        let started = world.entries.iter().filter(|it| it.state.state == AuditState::Started);
        let started: Vec<_> = started.map(|it| it.change.clone()).collect();
        let submitted: Vec<_> = pipeline.changes().map(|change| change.id.clone()).collect();
        prop_assert_eq!(started, submitted, "in the submitted order");
    }

    #[test]
    fn whatever_went_wrong_clean_targets_or_marks_or_retries_bring_it_to_an_end_without_a_person(
        pipeline in runnable(),
        fates in arb_fates(),
    ) {
        // Every failure leaves a clean target, and every lost result a mark.
        let clean = |(id, fate): (&ChangeId, &Fate)| match fate {
            Fate::Fails | Fate::RollbackFails => (id.clone(), Fate::RollsBack),
            other => (id.clone(), *other),
        };
        let fates: HashMap<_, _> = fates.iter().map(clean).collect();
        let mut world = World::with(TxStrategy::WithMarker, RecoveryStrategy::ManualIntervention);
        let mut marks = HashSet::new();
        runs(&mut world, &pipeline, &fates, &mut marks, 0..2)?;
        // From now on all works. A pipeline with one name in several blocks may take a run for each block.
        let end = runs(&mut world, &pipeline, &HashMap::new(), &mut marks, 2..7)?;
        prop_assert_eq!(end, End::Continue);
        prop_assert!(marks.is_empty(), "no mark is left behind");
    }
}
