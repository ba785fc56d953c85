//! What runners say after they have lost their lock, twice, or in an odd order: starts can be refused, facts never.

use flamingock_api_types::audit::{AuditState, AuditWriteResponse};
use flamingock_api_types::execution::{ChangeAction, PlanAction, PlanResponse};
use flamingock_api_types::issue::ResolutionKind;
use flamingock_tests::{
    Database, Effects, HttpProxy, Kind, Pipeline, Runner, RunnerProcess, Scenario, Side, TestServer,
    eventually,
};
use futures_util::future::join_all;
use serde_json::json;

const RESULTS: [AuditState; 4] = [
    AuditState::Applied,
    AuditState::Failed,
    AuditState::RolledBack,
    AuditState::RollbackFailed,
];

fn pipeline() -> Pipeline {
    Pipeline::of("schema", &["a"]).lease_ms(1_000)
}

async fn no_grace() -> TestServer {
    TestServer::with(&[("FLAMINGOCK_LOCK_TAKEOVER_GRACE", "0s")]).await
}

fn execution(plan: &PlanResponse) -> i64 {
    plan.execution_id.expect("a grant has an execution")
}

/// Another process takes over as soon as the lease has ended.
async fn taken_over(by: &Runner) -> PlanResponse {
    eventually("the lock is taken over", async || {
        let plan = by.plan(&pipeline()).await;
        (plan.action == PlanAction::Execute).then_some(plan)
    })
    .await
}

#[tokio::test]
async fn invariant_2_a_start_without_the_lock_is_refused_and_nothing_is_written() {
    let server = no_grace().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let first = execution(&runner.granted(&pipeline()).await);

    // Given back.
    runner.release().await.expect(200);
    runner
        .report(first, "a", AuditState::Started)
        .await
        .expect_problem(409, "R_AUDIT_01");
    // Held by another, under whose execution it does not run either.
    let other = runner.another();
    let second = execution(&other.granted(&pipeline()).await);
    for execution in [first, second] {
        runner
            .report(execution, "a", AuditState::Started)
            .await
            .expect_problem(409, "R_AUDIT_01");
    }
    // The holder, but under an older grant, or with a fence that is not its own.
    let third = other.granted(&pipeline()).await;
    other
        .report(second, "a", AuditState::Started)
        .await
        .expect_problem(409, "R_AUDIT_01");
    let fence = third
        .lock
        .as_ref()
        .and_then(|lock| lock.fence)
        .expect("a grant has a fence");
    let stale = json!({"fence": fence - 1});
    let answer = other
        .report_with(execution(&third), "a", AuditState::Started, &stale)
        .await;
    answer.expect_problem(409, "R_AUDIT_01");
    // An execution that never was.
    other
        .report(execution(&third) + 1_000, "a", AuditState::Started)
        .await
        .expect_problem(409, "R_AUDIT_01");
    assert!(operator.audit(&runner).await.is_empty());
    let refused = server.log().matches("a STARTED was refused").count();
    assert_eq!(
        refused, 6,
        "each is logged: somebody is running without the right to"
    );

    let right = json!({"fence": fence});
    other
        .report_with(execution(&third), "a", AuditState::Started, &right)
        .await
        .expect(201);
}

#[tokio::test]
async fn invariant_2_a_start_after_the_lease_has_ended_is_refused_although_nobody_took_over() {
    let server = no_grace().await;
    let runner = server.runner("billing").await;
    let plan = runner.granted(&pipeline()).await;
    let ended = "SELECT (expires_at < clock_timestamp())::int::bigint FROM locks";
    eventually("the lease has ended", async || {
        (server.database.number(ended).await == 1).then_some(())
    })
    .await;
    runner
        .report(execution(&plan), "a", AuditState::Started)
        .await
        .expect_problem(409, "R_AUDIT_01");
    // The lease is extended as long as it is recorded for its owner, and then it may start.
    runner.extended().await;
    runner.told(execution(&plan), "a", AuditState::Started).await;
}

#[tokio::test]
async fn invariant_2_a_change_whose_state_allows_no_start_cannot_be_started() {
    let server = no_grace().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let two = Pipeline::of("schema", &["a", "b"]);
    let plan = runner.granted(&two).await;
    runner.apply(execution(&plan), "a").await;
    let again = runner.granted(&two).await;
    // Applied by an earlier execution, and by this one.
    runner
        .report(execution(&again), "a", AuditState::Started)
        .await
        .expect_problem(409, "R_AUDIT_01");
    runner.apply(execution(&again), "b").await;
    runner
        .report(execution(&again), "b", AuditState::Started)
        .await
        .expect_problem(409, "R_AUDIT_01");
    for change in ["a", "b"] {
        assert_eq!(operator.states(&runner, change).await, ["STARTED", "APPLIED"]);
    }
}

#[tokio::test]
async fn invariant_3_the_result_of_a_runner_that_lost_its_lock_counts_where_nobody_wrote_since() {
    let server = no_grace().await;
    let operator = server.operator();
    for (number, state) in RESULTS.into_iter().enumerate() {
        let slow = server.runner(&format!("service-{number}")).await;
        let plan = slow.granted(&pipeline()).await;
        slow.told(execution(&plan), "a", AuditState::Started).await;
        let other = slow.another();
        let taken = taken_over(&other).await;
        assert_eq!(
            taken.stages.expect("a grant has stages")[0].changes[0].action,
            ChangeAction::ManualIntervention
        );
        assert!(!slow.told(execution(&plan), "a", state).await.late, "{state:?}");
        other.release().await.expect(200);
        // The next plan is decided by it.
        let next = other.plan(&pipeline()).await;
        let expected = if state == AuditState::Applied {
            PlanAction::Continue
        } else {
            PlanAction::Execute
        };
        assert_eq!(next.action, expected, "{state:?}");
        assert_eq!(
            operator.issues(&slow).await.len(),
            usize::from(
                next.action == PlanAction::Execute && {
                    let stages = next.stages.expect("a grant has stages");
                    stages[0].changes[0].action == ChangeAction::ManualIntervention
                }
            )
        );
    }
}

#[tokio::test]
async fn invariant_3_a_result_that_another_execution_has_overtaken_is_kept_as_late_and_changes_nothing() {
    let server = no_grace().await;
    let operator = server.operator();
    let retry = json!({"recoveryStrategy": "ALWAYS_RETRY"});
    for (number, state) in RESULTS.into_iter().enumerate() {
        let slow = server.runner(&format!("service-{number}")).await;
        let plan = slow.granted(&pipeline()).await;
        slow.report_with(execution(&plan), "a", AuditState::Started, &retry)
            .await
            .expect(201);
        let other = slow.another();
        let taken = taken_over(&other).await;
        other.told(execution(&taken), "a", AuditState::Started).await;

        let answer = slow.report(execution(&plan), "a", state).await;
        let told: AuditWriteResponse = answer.expect(201).read();
        assert!(told.late, "{state:?}");
        assert_eq!(
            told.lock.map(|lock| lock.owner),
            Some(other.id.clone()),
            "and the runner may see who took over"
        );
        // The other one's work goes on, and its result is what counts.
        other.told(execution(&taken), "a", AuditState::Applied).await;
        let late = format!(
            "late {}",
            serde_json::to_value(state)
                .expect("a text")
                .as_str()
                .expect("a text")
        );
        let states = operator.states(&slow, "a").await;
        assert_eq!(states, ["STARTED", "STARTED", late.as_str(), "APPLIED"]);
        assert_eq!(
            slow.another().plan(&pipeline()).await.action,
            PlanAction::Continue
        );
        // Once more, after that: the same answer.
        let again: AuditWriteResponse = slow.report(execution(&plan), "a", state).await.expect(200).read();
        assert!(again.late);
        assert!(operator.verification(&slow).await.intact);
    }
}

#[tokio::test]
async fn invariant_3_the_result_of_a_change_that_ran_although_its_start_was_refused_counts() {
    // The Java client runs a change whose STARTED was refused.
    let server = no_grace().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let plan = runner.granted(&pipeline()).await;
    runner.release().await.expect(200);
    runner
        .report(execution(&plan), "a", AuditState::Started)
        .await
        .expect_problem(409, "R_AUDIT_01");
    assert!(!runner.told(execution(&plan), "a", AuditState::Applied).await.late);
    assert_eq!(operator.states(&runner, "a").await, ["APPLIED"]);
    assert_eq!(
        runner.another().plan(&pipeline()).await.action,
        PlanAction::Continue
    );
}

#[tokio::test]
async fn invariant_3_a_runner_cannot_overrule_a_person_with_an_old_result() {
    let server = no_grace().await;
    let operator = server.operator();
    let slow = server.runner("billing").await;
    let plan = slow.granted(&pipeline()).await;
    let seq = slow
        .told(execution(&plan), "a", AuditState::Started)
        .await
        .seq
        .expect("a position");
    let next = slow.another();
    taken_over(&next).await;
    operator
        .resolve(&slow, &[("a", ResolutionKind::RolledBack, seq)])
        .await
        .expect(201);
    assert!(slow.told(execution(&plan), "a", AuditState::Applied).await.late);
    let plan = next.granted(&pipeline()).await;
    assert_eq!(
        plan.stages.expect("a grant has stages")[0].changes[0].action,
        ChangeAction::Apply
    );
}

#[tokio::test]
async fn invariant_4_the_same_report_again_is_answered_200_and_writes_nothing() {
    let server = no_grace().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let plan = runner.granted(&pipeline().lease_ms(60_000)).await;
    let mut expected = Vec::new();
    for state in [AuditState::Started, AuditState::Failed, AuditState::RolledBack] {
        let first: AuditWriteResponse = runner
            .report(execution(&plan), "a", state)
            .await
            .expect(201)
            .read();
        for _ in 0..3 {
            let again: AuditWriteResponse = runner
                .report(execution(&plan), "a", state)
                .await
                .expect(200)
                .read();
            assert_eq!(again.seq, first.seq);
        }
        expected.push(
            serde_json::to_value(state)
                .expect("a text")
                .as_str()
                .expect("a text")
                .to_owned(),
        );
        assert_eq!(operator.states(&runner, "a").await, expected);
    }
}

#[tokio::test]
async fn invariant_4_the_same_report_many_times_at_once_is_one_entry() {
    let server = no_grace().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let plan = runner.granted(&pipeline().lease_ms(60_000)).await;
    for state in [AuditState::Started, AuditState::Applied] {
        let told = join_all((0..30).map(|_| runner.report(execution(&plan), "a", state))).await;
        let new = told.iter().filter(|answer| answer.status == 201).count();
        let known = told.iter().filter(|answer| answer.status == 200).count();
        assert_eq!((new, known), (1, 29));
    }
    assert_eq!(operator.states(&runner, "a").await, ["STARTED", "APPLIED"]);
}

#[tokio::test]
async fn a_start_that_was_overtaken_by_its_own_result_does_not_make_it_unknown_again() {
    let server = no_grace().await;
    let runner = server.runner("billing").await;
    let plan = runner.granted(&pipeline()).await;
    runner.told(execution(&plan), "a", AuditState::Applied).await;
    runner
        .report(execution(&plan), "a", AuditState::Started)
        .await
        .expect_problem(409, "R_AUDIT_01");
    runner.release().await.expect(200);
    assert_eq!(runner.plan(&pipeline()).await.action, PlanAction::Continue);
}

#[tokio::test]
async fn a_runner_that_was_frozen_over_its_lease_does_not_begin_what_another_has_done() {
    let server = no_grace().await;
    let target = Database::empty().await;
    let effects = Effects::in_database(&target).await;
    let proxy = HttpProxy::to(&[&server.address]).await;
    let scenario = Scenario::new(Kind::NonTx, "billing").lease_ms(1_500);
    let frozen = RunnerProcess::start(&scenario, &proxy.url(), &target.url);
    let mut trap = proxy.trap(Side::Message, &["/change/tested/audit STARTED"]);
    trap.caught().await;
    frozen.pause();
    let outcome = RunnerProcess::run(&scenario, &server.url(), &target.url).await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_eq!(outcome.changes["tested"], "APPLIED");
    // It wakes up, and its request arrives at last.
    trap.go_on();
    frozen.resume();
    let outcome = frozen.outcome().await;
    assert!(!outcome.may_start, "{}", outcome.report);
    assert_eq!(outcome.changes["tested"], "FAILED", "{}", outcome.report);
    assert_eq!(outcome.changes["after"], "NOT_REACHED", "{}", outcome.report);
    for change in ["before", "tested", "after"] {
        assert_eq!(effects.of(change).await, ["one", "two"], "{change}");
    }
}

#[tokio::test]
async fn a_runner_that_was_frozen_between_its_start_and_its_change_does_not_apply_what_another_has_done() {
    let server = no_grace().await;
    let target = Database::empty().await;
    let effects = Effects::in_database(&target).await;
    let scenario = Scenario::new(Kind::Marker, "billing")
        .always_retry()
        .lease_ms(1_500);
    let proxy = HttpProxy::to(&[&server.address]).await;
    let frozen = RunnerProcess::start(&scenario, &proxy.url(), &target.url);
    let mut trap = proxy.trap(Side::Answer, &["/change/tested/audit STARTED"]);
    trap.caught().await;
    frozen.pause();
    let outcome = RunnerProcess::run(&scenario, &server.url(), &target.url).await;
    assert_eq!(outcome.changes["tested"], "APPLIED", "{}", outcome.report);
    trap.go_on();
    frozen.resume();
    let outcome = frozen.outcome().await;
    assert!(!outcome.may_start, "{}", outcome.report);
    let runner = server.runner("billing").await;
    let entries = server.operator().audit(&runner).await;
    assert!(
        entries
            .iter()
            .any(|entry| entry.change_id == "after" && entry.state == "APPLIED")
    );
    assert_eq!(
        runner
            .plan(&Pipeline::of("work", &["before", "tested", "after"]))
            .await
            .action,
        PlanAction::Continue
    );
    assert_eq!(effects.of("tested").await, ["one", "two"]);
}

#[tokio::test]
async fn invariant_3_a_result_from_anybody_but_the_executions_runner_is_evidence_and_no_more() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let execution = runner
        .granted(&Pipeline::of("schema", &["a", "b"]))
        .await
        .execution_id
        .expect("an id");
    runner.told(execution, "a", AuditState::Started).await;
    let stranger = runner.another();
    for change in ["a", "b"] {
        let told = stranger.told(execution, change, AuditState::Applied).await;
        assert!(told.late, "{change}");
    }
    let told = runner.told(execution, "a", AuditState::Failed).await;
    assert!(!told.late);
    runner.release().await.expect(200);
    let issues = server.operator().issues(&runner).await;
    assert_eq!(issues.len(), 1);
    assert_eq!(
        (issues[0].change_id.as_str(), issues[0].state.as_str()),
        ("a", "FAILED")
    );
}
