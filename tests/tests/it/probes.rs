//! Changes that can tell what became of them are asked before a person is: after a crash of the application, under the lock,
//! and by the policies of the moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flamingock::{
    Change, ChangeError, ChangeFuture, ChangeInfo, Context, Flamingock, ProbeFuture, Probed, RunEvent, Stage,
    StartErrorKind, Target,
};
use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::{ChangeAction, PlanAction, PlanResponse};
use flamingock_api_types::history::ExecutionOutcome;
use flamingock_api_types::issue::ResolutionKind;
use flamingock_api_types::probe::ProbeAnswer;
use flamingock_tests::{
    Answer, Call, CommandLine, Database, Effects, HttpProxy, Kind, Outcome, Person, Pipeline, PostgresProxy,
    Probing, Runner, RunnerProcess, Scenario, Side, TestServer, eventually, tokens,
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// Where the first start is killed: what is in the target then.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Killed {
    BeforeAnything,
    HalfWay,
    BeforeItsResultIsReported,
}

/// A service whose application was killed in the middle of a change.
struct Scene {
    server: TestServer,
    runner: Runner,
    target: Database,
    effects: Effects,
    scenario: Scenario,
}

impl Scene {
    async fn new(probing: Probing, killed: Killed) -> Self {
        let server = TestServer::start().await;
        let target = Database::empty().await;
        let effects = Effects::in_database(&target).await;
        let scenario = Scenario::new(Kind::NonTx, "orders").probing(probing);
        let http = HttpProxy::to(&[&server.address]).await;
        let postgres = PostgresProxy::to(&target).await;
        let mut trap = match killed {
            Killed::BeforeAnything => http.trap(Side::Answer, &["/change/tested/audit", " STARTED"]),
            Killed::HalfWay => postgres.trap(Side::Message, &["tested does two"]),
            Killed::BeforeItsResultIsReported => {
                http.trap(Side::Message, &["/change/tested/audit", " APPLIED"])
            }
        };
        let process = RunnerProcess::start(&scenario, &http.url(), &postgres.url());
        trap.caught().await;
        process.kill();
        let runner = server.runner("orders").await;
        Self {
            server,
            runner,
            target,
            effects,
            scenario,
        }
    }

    async fn start(&self) -> Outcome {
        RunnerProcess::run(&self.scenario, &self.server.url(), &self.target.url).await
    }

    async fn states(&self) -> Vec<String> {
        self.server.operator().states(&self.runner, "tested").await
    }

    async fn waiting(&self) -> Vec<String> {
        let issues = self.server.operator().issues(&self.runner).await;
        issues.into_iter().map(|issue| issue.change_id).collect()
    }
}

#[tokio::test]
async fn a_change_that_took_effect_is_found_applied_and_not_run_again() {
    let scene = Scene::new(Probing::Looks, Killed::BeforeItsResultIsReported).await;
    assert_eq!(scene.states().await, ["STARTED"]);
    let outcome = scene.start().await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_eq!(outcome.changes["tested"], "ALREADY_APPLIED", "{}", outcome.report);
    assert_eq!(outcome.changes["after"], "APPLIED");
    assert_eq!(scene.effects.of("tested").await, ["one", "two"]);
    assert_eq!(scene.states().await, ["STARTED", "APPLIED"]);

    // Who found it, by what, and about which entry.
    let entries = scene.server.operator().audit(&scene.runner).await;
    let started = entries
        .iter()
        .find(|entry| entry.change_id == "tested" && entry.state == "STARTED")
        .expect("it was started");
    let found = entries
        .iter()
        .find(|entry| entry.change_id == "tested" && entry.state == "APPLIED")
        .expect("it was found applied");
    assert_eq!((found.source.as_str(), found.late), ("PROBE", false));
    assert_ne!(found.execution_id, started.execution_id);
    assert!(found.fence > started.fence);
    assert!(found.runner_id.is_some() && found.runner_id != started.runner_id);
    assert_eq!(
        found.metadata,
        Some(json!({"probe": {"verdict": "APPLIED", "aboutSeq": started.seq}}))
    );
    let note = found.note.as_deref().unwrap_or_default();
    assert!(note.contains(&format!("about entry {}", started.seq)), "{note}");
    assert!(scene.server.operator().verification(&scene.runner).await.intact);

    let cli = CommandLine::new(&scene.server.url(), &tokens().operator).about("production", "orders");
    let listed = cli.ok(&["audit", "list"]).await;
    assert!(listed.contains("its probe found that it is applied"), "{listed}");
    assert_eq!(scene.start().await.changes["tested"], "ALREADY_APPLIED");
}

#[tokio::test]
async fn a_change_of_which_nothing_is_there_is_applied_in_the_same_run() {
    let scene = Scene::new(Probing::Looks, Killed::BeforeAnything).await;
    let outcome = scene.start().await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_eq!(outcome.changes["tested"], "APPLIED", "{}", outcome.report);
    assert_eq!(scene.effects.of("tested").await, ["one", "two"]);
    assert_eq!(
        scene.states().await,
        ["STARTED", "ROLLED_BACK", "STARTED", "APPLIED"]
    );
    let outcomes = executions(&scene).await;
    assert_eq!(
        outcomes,
        [
            ExecutionOutcome::Succeeded,
            ExecutionOutcome::Succeeded,
            ExecutionOutcome::Abandoned
        ],
        "the one that applied it, the one that asked it, the one that was killed"
    );
}

#[tokio::test]
async fn a_change_that_is_half_there_waits_for_a_person_who_sees_what_its_probe_said() {
    let scene = Scene::new(Probing::Looks, Killed::HalfWay).await;
    let outcome = scene.start().await;
    assert!(!outcome.may_start, "{}", outcome.report);
    assert_eq!(outcome.manual_intervention, ["tested"]);
    assert_eq!(
        scene.effects.of("tested").await,
        ["one"],
        "nothing was done about it"
    );
    assert_eq!(scene.effects.of("after").await, Vec::<String>::new());
    assert_eq!(scene.waiting().await, ["tested"]);
    let issue = &scene.server.operator().issues(&scene.runner).await[0];
    assert_eq!(issue.state, "STARTED");
    let said = &issue.late_reports[0];
    assert_eq!(said.state, "PROBE_UNDECIDED");
    assert!(
        said.note
            .as_deref()
            .is_some_and(|note| note.contains("could not tell")),
        "{said:?}"
    );
    assert_eq!(executions(&scene).await[0], ExecutionOutcome::Blocked);
    let cli = CommandLine::new(&scene.server.url(), &tokens().operator).about("production", "orders");
    let shown = cli.ok(&["issue", "get", "tested"]).await;
    assert!(shown.contains("Its own probe was asked"), "{shown}");

    // A person decides as ever, and what was decided is gone by.
    scene
        .target
        .execute("DELETE FROM effects WHERE change_id = 'tested'")
        .await;
    let decisions = [("tested", ResolutionKind::RolledBack, issue.seq)];
    scene
        .server
        .operator()
        .resolve(&scene.runner, &decisions)
        .await
        .expect(201);
    let outcome = scene.start().await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_eq!(scene.effects.of("tested").await, ["one", "two"]);
}

#[tokio::test]
async fn a_probe_that_fails_or_panics_leaves_it_to_a_person_and_says_why() {
    join_all(
        [
            (Probing::Fails, "made to fail when it is asked"),
            (Probing::Panics, "made to panic when it is asked"),
        ]
        .map(async |(probing, why)| {
            let scene = Scene::new(probing, Killed::BeforeAnything).await;
            let outcome = scene.start().await;
            assert_eq!(outcome.manual_intervention, ["tested"], "{}", outcome.report);
            assert!(outcome.report.contains(why), "{}", outcome.report);
            let issue = &scene.server.operator().issues(&scene.runner).await[0];
            let note = issue.late_reports[0].note.as_deref().unwrap_or_default();
            assert!(note.contains(why), "{note}");
            assert_eq!(scene.effects.of("tested").await, Vec::<String>::new());
        }),
    )
    .await;
}

#[tokio::test]
async fn of_two_starts_at_once_one_asks_and_both_end_well() {
    let scene = Scene::new(Probing::Looks, Killed::BeforeAnything).await;
    let outcomes = join_all((0..3).map(|_| scene.start())).await;
    for outcome in &outcomes {
        assert!(outcome.may_start, "{}", outcome.report);
    }
    assert_eq!(scene.effects.of("tested").await, ["one", "two"]);
    assert_eq!(
        scene.states().await,
        ["STARTED", "ROLLED_BACK", "STARTED", "APPLIED"]
    );
}

#[tokio::test]
async fn a_runner_killed_while_it_asks_leaves_the_doubt_to_the_next() {
    let scene = Scene::new(Probing::Looks, Killed::BeforeItsResultIsReported).await;
    let postgres = PostgresProxy::to(&scene.target).await;
    let mut trap = postgres.trap(Side::Answer, &["tested is asked"]);
    let process = RunnerProcess::start(&scene.scenario, &scene.server.url(), &postgres.url());
    trap.caught().await;
    process.kill();
    assert_eq!(scene.states().await, ["STARTED"]);
    let outcome = scene.start().await;
    assert_eq!(outcome.changes["tested"], "ALREADY_APPLIED", "{}", outcome.report);
}

/// Hands its work to another task, as one that calls a client with its own threads does, and waits for it.
#[derive(Clone, Default)]
struct HandsOn {
    begun: Arc<AtomicUsize>,
    go_on: Arc<Notify>,
    done: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Change for HandsOn {
    fn info(&self) -> ChangeInfo {
        ChangeInfo::new("handed", "0001", "plain")
            .author("mara")
            .with_rollback()
            .with_probe()
    }

    fn rollback<'a>(&'a self, _: &'a mut Context) -> ChangeFuture<'a> {
        Box::pin(async {
            self.done.store(0, Ordering::SeqCst);
            Ok(())
        })
    }

    fn apply<'a>(&'a self, _: &'a mut Context) -> ChangeFuture<'a> {
        let this = self.clone();
        self.begun.fetch_add(1, Ordering::SeqCst);
        let work = tokio::spawn(async move {
            this.go_on.notified().await;
            this.done.fetch_add(1, Ordering::SeqCst);
        });
        Box::pin(async move { work.await.map_err(|error| ChangeError::from(error.to_string())) })
    }

    fn probe<'a>(&'a self, _: &'a mut Context) -> ProbeFuture<'a> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            Ok(match self.done.load(Ordering::SeqCst) {
                0 => Probed::NotApplied,
                _ => Probed::Applied,
            })
        })
    }
}

/// An application whose one change is this.
fn application(server: &TestServer, change: &HandsOn) -> Flamingock {
    Flamingock::builder(server.url())
        .token(&tokens().runner)
        .environment("production")
        .service("billing")
        .lease(Duration::from_secs(3))
        .stop_grace(Duration::from_millis(50))
        .target(Target::non_transactional("plain", ()))
        .stage(Stage::new("work").change(change.clone()))
        .build()
        .expect("a sound pipeline")
}

#[tokio::test]
async fn a_run_that_was_dropped_in_the_middle_is_not_settled_by_the_same_process_and_its_work_not_done_twice()
{
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let change = HandsOn::default();
    let states = async || server.operator().states(&runner, "handed").await;
    let first = application(&server, &change);
    let begun = eventually("it has begun", async || {
        (change.begun.load(Ordering::SeqCst) == 1).then_some(())
    });
    tokio::select! {
        ended = first.run() => panic!("it waits for ever: {ended:?}"),
        () = begun => {}
    }
    // The run is gone, and what it began is not: it takes effect after the second look at it.
    let error = first.run().await.expect_err("nobody knows what became of it");
    let StartErrorKind::ManualIntervention { change_ids } = error.kind() else {
        panic!("{error}");
    };
    assert_eq!(change_ids, &["handed"]);
    assert_eq!(states().await, ["STARTED"], "nothing was begun or settled");
    assert_eq!(change.asked.load(Ordering::SeqCst), 0);
    assert_eq!(server.operator().issues(&runner).await.len(), 1);
    change.go_on.notify_one();
    eventually("the work is done", async || {
        (change.done.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    // Another process may look.
    application(&server, &change).run().await.expect("it is applied");
    assert_eq!(states().await, ["STARTED", "APPLIED"]);
    assert_eq!(change.asked.load(Ordering::SeqCst), 1);
    assert_eq!(change.begun.load(Ordering::SeqCst), 1, "once");
    assert_eq!(change.done.load(Ordering::SeqCst), 1, "and not undone");
}

#[tokio::test]
async fn what_a_change_was_doing_when_it_was_cut_off_takes_effect_later_and_its_probe_finds_it() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let change = HandsOn::default();
    let states = async || server.operator().states(&runner, "handed").await;
    let begun = eventually("it has begun", async || {
        (change.begun.load(Ordering::SeqCst) == 1).then_some(())
    });
    let error = application(&server, &change)
        .run_until(begun)
        .await
        .expect_err("it was cut off");
    assert!(error.is_interrupted(), "{error}");
    // Not rolled back: that would have been before the effect, and "rolled back" no longer true.
    assert_eq!(states().await, ["STARTED", "FAILED"]);
    // The next process is there at once, and waits as after a crash: a look now would be too early.
    let next = application(&server, &change);
    let mut events = next.events();
    let takes_effect = async {
        loop {
            let event = events.next().await.expect("the run tells what it does");
            if matches!(
                event,
                RunEvent::WaitingForLock { .. } | RunEvent::ChangeProbed { .. }
            ) {
                break change.go_on.notify_one();
            }
        }
    };
    let (ended, ()) = tokio::join!(next.run(), takes_effect);
    ended.expect("it is applied");
    assert_eq!(states().await, ["STARTED", "FAILED", "APPLIED"]);
    assert_eq!(change.begun.load(Ordering::SeqCst), 1, "once");
    assert_eq!(change.done.load(Ordering::SeqCst), 1, "and not undone");
}

/// Outcomes, newest first.
async fn executions(scene: &Scene) -> Vec<ExecutionOutcome> {
    let path = format!("{}/execution", Person::scope(&scene.runner));
    let page: Value = scene.server.operator().get(&path).await.expect(200).json();
    page["executions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|record| serde_json::from_value(record["outcome"].clone()).expect("an outcome"))
        .collect()
}

/// A change that was started by a runner that gave the lock back without a word, and the runner that comes next.
async fn in_doubt(server: &TestServer) -> (Runner, Runner, Pipeline) {
    let first = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["it"]).probe("it");
    let execution = granted(&first, &pipeline).await;
    first.told(execution, "it", AuditState::Started).await;
    first.release().await.expect(200);
    let next = first.another();
    (first, next, pipeline)
}

async fn granted(runner: &Runner, pipeline: &Pipeline) -> i64 {
    let plan = runner.granted(pipeline).await;
    plan.execution_id.expect("an execution")
}

fn offered(plan: &PlanResponse) -> (ChangeAction, Option<i64>) {
    let stages = plan.stages.as_ref().expect("an offer");
    let change = &stages[0].changes[0];
    (change.action, change.expected_seq)
}

async fn tell(runner: &Runner, execution: i64, body: &Value) -> Answer {
    let path = runner.report_path(execution, "it").replace("/audit", "/probe");
    let call = runner.with_headers(Call::post(path)).json(body);
    call.send(&runner.address).await
}

#[tokio::test]
async fn only_a_runner_that_has_the_probe_is_told_to_ask() {
    let server = TestServer::start().await;
    let (_, next, pipeline) = in_doubt(&server).await;
    let plan = next.plan(&pipeline).await;
    assert_eq!(plan.action, PlanAction::Execute);
    assert_eq!(offered(&plan), (ChangeAction::Probe, Some(1)));
    let reasons = plan.reasons.expect("reasons");
    assert_eq!(reasons.changes[0].code, "OUTCOME_UNKNOWN_PROBE");
    next.release().await.expect(200);
    let without = Pipeline::of("schema", &["it"]);
    let plan = next.another().plan(&without).await;
    assert_eq!(offered(&plan), (ChangeAction::ManualIntervention, None));
}

#[tokio::test]
async fn what_a_runner_began_itself_its_probe_does_not_settle() {
    let server = TestServer::start().await;
    let (first, next, pipeline) = in_doubt(&server).await;
    let plan = first.plan(&pipeline).await;
    assert_eq!(offered(&plan), (ChangeAction::ManualIntervention, None));
    assert_eq!(plan.reasons.expect("reasons").changes[0].code, "OWN_ATTEMPT");
    let execution = plan.execution_id.expect("an execution");
    let verdict = json!({"verdict": "NOT_APPLIED", "expectedSeq": 1});
    let problem = tell(&first, execution, &verdict).await.expect(409).json();
    let message = problem["message"].as_str().expect("a text");
    assert!(message.contains("made by this very process"), "{message}");
    first.release().await.expect(200);
    assert_eq!(offered(&next.plan(&pipeline).await).0, ChangeAction::Probe);
}

#[tokio::test]
async fn a_verdict_is_fenced_is_about_the_latest_entry_and_is_recorded_once() {
    let server = TestServer::start().await;
    let (first, stale, pipeline) = in_doubt(&server).await;
    let (verdict, other) = (
        json!({"verdict": "APPLIED", "expectedSeq": 1}),
        json!({"verdict": "NOT_APPLIED", "expectedSeq": 1}),
    );
    let asked = granted(&stale, &pipeline).await;
    // Its lock is gone to another by the time it knows.
    stale.release().await.expect(200);
    let next = stale.another();
    let execution = granted(&next, &pipeline).await;
    for (runner, execution, why) in [
        (&stale, asked, "does not hold the lock"),
        (&first, execution, "granted to another runner"),
        (&next, asked, "granted to another runner"),
        (&next, 999_999, "not known to this server"),
    ] {
        let answer = tell(runner, execution, &verdict).await;
        let problem = answer.expect(409).json();
        assert_eq!(problem["code"], "R_AUDIT_02");
        let message = problem["message"].as_str().expect("a text");
        assert!(message.contains(why), "{why}: {message}");
    }
    let wrong_fence = json!({"verdict": "APPLIED", "expectedSeq": 1, "fence": 1});
    tell(&next, execution, &wrong_fence).await.expect(409);
    let wrong_entry = json!({"verdict": "APPLIED", "expectedSeq": 2});
    tell(&next, execution, &wrong_entry).await.expect(409);
    assert_eq!(server.operator().states(&next, "it").await, ["STARTED"]);

    let answer: ProbeAnswer = tell(&next, execution, &verdict).await.expect(201).read();
    assert_eq!(
        answer,
        ProbeAnswer {
            settled: true,
            seq: 2
        }
    );
    // Told again, because its answer was lost; another word is another decision, and comes too late.
    let again: ProbeAnswer = tell(&next, execution, &verdict).await.expect(200).read();
    assert_eq!(again, answer);
    tell(&next, execution, &other).await.expect(409);
    assert_eq!(
        server.operator().states(&next, "it").await,
        ["STARTED", "APPLIED"]
    );
    let plan = next.plan(&pipeline).await;
    assert_eq!(plan.action, PlanAction::Continue);
    // The attempt lives after all, and contradicts the probe: nobody else has begun the change since, so its word counts, and a
    // person is asked.
    let word = first.told(1, "it", AuditState::Failed).await;
    assert!(!word.late);
    assert_eq!(server.operator().issues(&next).await.len(), 1);
}

#[tokio::test]
async fn the_same_evidence_is_kept_once_and_another_attempt_to_ask_is_more_of_it() {
    let server = TestServer::start().await;
    let (_, next, pipeline) = in_doubt(&server).await;
    let execution = granted(&next, &pipeline).await;
    let verdict = json!({"verdict": "UNKNOWN", "expectedSeq": 1, "detail": "the target is down"});
    let answer: ProbeAnswer = tell(&next, execution, &verdict).await.expect(201).read();
    assert!(!answer.settled);
    let again: ProbeAnswer = tell(&next, execution, &verdict).await.expect(200).read();
    assert_eq!(again, answer);
    next.release().await.expect(200);
    let third = next.another();
    let execution = granted(&third, &pipeline).await;
    tell(&third, execution, &verdict).await.expect(201);
    let issue = &server.operator().issues(&third).await[0];
    assert_eq!(issue.late_reports.len(), 2);
    // It can still be settled by whoever knows.
    let verdict = json!({"verdict": "APPLIED", "expectedSeq": 1});
    tell(&third, execution, &verdict).await.expect(201);
    assert!(server.operator().issues(&third).await.is_empty());
}

#[tokio::test]
async fn a_person_decides_before_and_after_a_probe_and_the_older_word_does_not_count() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let (_, next, pipeline) = in_doubt(&server).await;
    let execution = granted(&next, &pipeline).await;
    operator
        .resolve(&next, &[("it", ResolutionKind::RolledBack, 1)])
        .await
        .expect(201);
    let verdict = json!({"verdict": "APPLIED", "expectedSeq": 1});
    let problem = tell(&next, execution, &verdict).await.expect(409).json();
    let message = problem["message"].as_str().expect("a text");
    assert!(message.contains("latest entry is 2"), "{message}");
    next.release().await.expect(200);

    // A probe errs, and a person puts it right.
    let other = server.runner("shipping").await;
    let execution = granted(&other, &pipeline).await;
    other.told(execution, "it", AuditState::Started).await;
    other.release().await.expect(200);
    let asks = other.another();
    let execution = granted(&asks, &pipeline).await;
    tell(&asks, execution, &verdict).await.expect(201);
    // Whoever asked goes on with what it was told.
    let decision = [("it", ResolutionKind::RolledBack, 2)];
    let refused = operator.resolve(&other, &decision).await.expect(409).json();
    assert_eq!(refused["code"], "R_ISSUE_02", "{refused}");
    asks.release().await.expect(200);
    operator.resolve(&other, &decision).await.expect(201);
    assert_eq!(
        operator.states(&other, "it").await,
        ["STARTED", "APPLIED", "MANUAL_MARKED_AS_ROLLED_BACK"]
    );
}

#[tokio::test]
async fn what_a_probe_found_missing_runs_only_if_the_policies_allow_it() {
    let server = TestServer::start().await;
    let (_, next, pipeline) = in_doubt(&server).await;
    let policy = format!("/api/v1/admin/environment/{}/policy", next.environment_id);
    let admin = server.admin();
    let set = async |approval: bool| {
        let body = json!({
            "checksumMismatch": "ALLOW", "outOfOrder": "ALLOW", "approvalRequired": approval, "trustAbsentMarks": false,
            "reason": "a test wants it so"
        });
        admin.put(&policy, &body).await.expect(200);
    };
    // Asking needs no approval: it changes nothing.
    set(true).await;
    let plan = next.granted(&pipeline).await;
    assert_eq!(offered(&plan).0, ChangeAction::Probe);
    let execution = plan.execution_id.expect("an execution");
    let verdict = json!({"verdict": "NOT_APPLIED", "expectedSeq": 1});
    tell(&next, execution, &verdict).await.expect(201);
    let refused = next.ask("elapsedMillis=0", &pipeline.body()).await;
    assert_eq!(refused.expect(409).json()["code"], "R_POLICY_02");

    set(false).await;
    let freeze = format!("/api/v1/admin/environment/{}/freeze", next.environment_id);
    admin
        .post(&freeze, &json!({"reason": "the quarter closes"}))
        .await
        .expect(201);
    let refused = next.ask("elapsedMillis=0", &pipeline.body()).await;
    assert_eq!(refused.expect(409).json()["code"], "R_POLICY_01");
    assert_eq!(
        server.operator().states(&next, "it").await,
        ["STARTED", "ROLLED_BACK"]
    );
}

#[tokio::test]
async fn another_tenants_execution_answers_like_one_that_does_not_exist() {
    let server = TestServer::start().await;
    let (first, _, _) = in_doubt(&server).await;
    let foreign = server.other_tenants_runner("billing").await;
    let verdict = json!({"verdict": "APPLIED", "expectedSeq": 1});
    // A stream of its own, or the absence of one would answer.
    let pipeline = Pipeline::of("schema", &["it"]).probe("it");
    let execution = granted(&foreign, &pipeline).await;
    foreign.told(execution, "it", AuditState::Started).await;
    let own = granted(&first.another(), &pipeline).await;
    let words = async |execution: i64| {
        let answer = tell(&foreign, execution, &verdict).await.expect(409).json();
        answer["message"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(words(own).await, words(999_999).await);
    assert_eq!(server.operator().states(&first, "it").await, ["STARTED"]);
}
