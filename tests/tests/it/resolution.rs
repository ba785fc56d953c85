//! Issues, and what people decide about them.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::{ChangeAction, MarkStatus, PlanAction, PlanResponse};
use flamingock_api_types::issue::ResolutionKind::{Applied, RolledBack};
use flamingock_api_types::issue::{IssuePage, ResolutionResponse};
use flamingock_tests::{
    Database, Effects, Kind, Person, Pipeline, Runner, RunnerProcess, Scenario, TestServer, eventually,
    percent_encoded, tokens,
};
use futures_util::future::join_all;
use serde_json::json;

fn pipeline() -> Pipeline {
    Pipeline::of("schema", &["a", "b", "c"])
}

/// `a` and `b` have failed half way; their runner has gone.
async fn two_issues(server: &TestServer) -> (Runner, i64, i64) {
    let runner = server.runner("billing").await;
    let execution = runner
        .granted(&pipeline())
        .await
        .execution_id
        .expect("a grant has an execution");
    let mut seqs = Vec::new();
    for change in ["a", "b"] {
        runner.told(execution, change, AuditState::Started).await;
        seqs.push(
            runner
                .told(execution, change, AuditState::Failed)
                .await
                .seq
                .expect("a position"),
        );
    }
    runner.release().await.expect(200);
    (runner, seqs[0], seqs[1])
}

/// The mark of change a was reported against a decision; the operator has undone both by hand since, and says so.
async fn undone_together_with_its_mark(server: &TestServer) -> (Person, Runner) {
    let operator = server.operator();
    let (runner, a, b) = two_issues(server).await;
    operator
        .resolve(&runner, &[("a", RolledBack, a), ("b", Applied, b)])
        .await
        .expect(201);
    runner.granted(&pipeline().mark("a", MarkStatus::Applied)).await;
    runner.release().await.expect(200);
    let issue = operator.issues(&runner).await.remove(0);
    operator
        .resolve(&runner, &[("a", RolledBack, issue.seq)])
        .await
        .expect(201);
    (operator, runner)
}

fn actions(plan: &PlanResponse) -> Vec<(&str, ChangeAction)> {
    let changes = plan.stages.iter().flatten().flat_map(|stage| &stage.changes);
    changes
        .map(|change| (change.id.as_str(), change.action))
        .filter(|(_, it)| *it != ChangeAction::Skip)
        .collect()
}

#[tokio::test]
async fn invariant_10_a_decision_is_recorded_with_who_when_why_and_about_what() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let (runner, a, b) = two_issues(&server).await;
    let issues = operator.issues(&runner).await;
    let listed: Vec<_> = issues
        .iter()
        .map(|issue| (issue.change_id.as_str(), issue.state.as_str(), issue.seq))
        .collect();
    assert_eq!(listed, [("a", "FAILED", a), ("b", "FAILED", b)]);
    assert_eq!(issues[0].runner_id.as_deref(), Some(runner.id.as_str()));
    assert!(
        issues[0].guidance.contains("shell"),
        "says where to look: {}",
        issues[0].guidance
    );

    let decided: ResolutionResponse = operator
        .resolve(&runner, &[("a", Applied, a)])
        .await
        .expect(201)
        .read();
    assert_eq!(decided.recorded[0].state, "MANUAL_MARKED_AS_APPLIED");
    let entries = operator.audit(&runner).await;
    let entry = entries.last().expect("there are entries");
    assert_eq!(entry.seq, decided.recorded[0].seq);
    assert_eq!((entry.change_id.as_str(), entry.source.as_str()), ("a", "PERSON"));
    assert_eq!(entry.note.as_deref(), Some("looked at the target system"));
    assert!(entry.actor.contains("operator"), "{}", entry.actor);
    let now = server
        .database
        .number("SELECT extract(epoch FROM clock_timestamp())::bigint")
        .await;
    assert!((now - entry.received_at.timestamp()).abs() < 60);
    assert!(operator.verification(&runner).await.intact);
}

#[tokio::test]
async fn a_change_found_applied_is_skipped_and_one_found_rolled_back_runs_again() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let (runner, a, b) = two_issues(&server).await;
    let plan = runner.granted(&pipeline()).await;
    let waiting = [
        ("a", ChangeAction::ManualIntervention),
        ("b", ChangeAction::ManualIntervention),
        ("c", ChangeAction::Apply),
    ];
    assert_eq!(actions(&plan), waiting);
    runner.release().await.expect(200);

    operator
        .resolve(&runner, &[("a", Applied, a), ("b", RolledBack, b)])
        .await
        .expect(201);
    assert!(operator.issues(&runner).await.is_empty());
    let plan = runner.granted(&pipeline()).await;
    assert_eq!(
        actions(&plan),
        [("b", ChangeAction::Apply), ("c", ChangeAction::Apply)]
    );
    let execution = plan.execution_id.expect("a grant has an execution");
    runner.apply(execution, "b").await;
    runner.apply(execution, "c").await;
    assert_eq!(runner.plan(&pipeline()).await.action, PlanAction::Continue);
    assert_eq!(
        operator.states(&runner, "b").await,
        [
            "STARTED",
            "FAILED",
            "MANUAL_MARKED_AS_ROLLED_BACK",
            "STARTED",
            "APPLIED"
        ]
    );
}

#[tokio::test]
async fn an_application_that_waits_for_a_person_starts_after_the_decision() {
    let server = TestServer::start().await;
    let operator = server.operator();
    for (service, resolution, steps) in [
        ("applied", Applied, ["one"].as_slice()),
        ("rolled-back", RolledBack, &["one", "one", "two"]),
    ] {
        let target = Database::empty().await;
        let effects = Effects::in_database(&target).await;
        let scenario = Scenario::new(Kind::NonTx, service).failing();
        assert!(
            !RunnerProcess::run(&scenario, &server.url(), &target.url)
                .await
                .may_start
        );
        let corrected = scenario.corrected();
        let outcome = RunnerProcess::run(&corrected, &server.url(), &target.url).await;
        assert_eq!(outcome.manual_intervention, ["tested"], "{}", outcome.report);

        let runner = server.runner(service).await;
        let issue = operator.issues(&runner).await.remove(0);
        operator
            .resolve(&runner, &[("tested", resolution, issue.seq)])
            .await
            .expect(201);
        let outcome = RunnerProcess::run(&corrected, &server.url(), &target.url).await;
        assert!(outcome.may_start, "{}", outcome.report);
        assert_eq!(effects.of("tested").await, steps, "{service}");
        assert_eq!(effects.of("after").await, ["one", "two"], "{service}");
    }
}

#[tokio::test]
async fn invariant_10_a_decision_is_refused_while_the_change_is_in_progress_under_a_live_lease() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let short = pipeline().lease_ms(1_000);
    let execution = runner
        .granted(&short)
        .await
        .execution_id
        .expect("a grant has an execution");
    let seq = runner
        .told(execution, "a", AuditState::Started)
        .await
        .seq
        .expect("a position");
    runner.extended().await;
    operator
        .resolve(&runner, &[("a", Applied, seq)])
        .await
        .expect_problem(409, "R_ISSUE_02");
    assert!(operator.issues(&runner).await.is_empty(), "its runner is at it");
    // The same once it fails: it may be about to undo it.
    let failed = runner
        .told(execution, "a", AuditState::Failed)
        .await
        .seq
        .expect("a position");
    runner.extended().await;
    operator
        .resolve(&runner, &[("a", Applied, failed)])
        .await
        .expect_problem(409, "R_ISSUE_02");
    assert_eq!(operator.states(&runner, "a").await, ["STARTED", "FAILED"]);
    // And possible as soon as the lease has ended.
    eventually("the lease ends", async || {
        (operator.resolve(&runner, &[("a", Applied, failed)]).await.status == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn invariant_10_a_decision_about_an_entry_that_is_not_the_latest_is_refused() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let (runner, a, _) = two_issues(&server).await;
    for outdated in [a - 1, a + 1, 0, -1, i64::MAX] {
        operator
            .resolve(&runner, &[("a", Applied, outdated)])
            .await
            .expect_problem(409, "R_ISSUE_03");
    }
    let first: ResolutionResponse = operator
        .resolve(&runner, &[("a", Applied, a)])
        .await
        .expect(201)
        .read();
    operator
        .resolve(&runner, &[("a", RolledBack, a)])
        .await
        .expect_problem(409, "R_ISSUE_03");
    // People err: about their own decision they may decide again.
    let latest = first.recorded[0].seq;
    operator
        .resolve(&runner, &[("a", RolledBack, latest)])
        .await
        .expect(201);
}

#[tokio::test]
async fn invariant_10_decisions_of_one_call_are_recorded_together_or_not_at_all() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let (runner, a, b) = two_issues(&server).await;
    let before = operator.audit(&runner).await;
    operator
        .resolve(&runner, &[("a", Applied, a), ("b", Applied, b + 7)])
        .await
        .expect_problem(409, "R_ISSUE_03");
    operator
        .resolve(&runner, &[("a", Applied, a), ("unheard-of", Applied, 1)])
        .await
        .expect_problem(409, "R_ISSUE_01");
    operator
        .resolve(&runner, &[("a", Applied, a), ("a", RolledBack, a)])
        .await
        .expect_problem(400, "R_GEN_02");
    assert_eq!(operator.audit(&runner).await, before);
    operator
        .resolve(&runner, &[("a", Applied, a), ("b", RolledBack, b)])
        .await
        .expect(201);
    assert_eq!(operator.audit(&runner).await.len(), before.len() + 2);
}

#[tokio::test]
async fn invariant_10_of_many_people_who_decide_at_once_one_is_recorded() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let (runner, a, _) = two_issues(&server).await;
    let answers = join_all((0..20).map(|number| {
        let resolution = if number % 2 == 0 { Applied } else { RolledBack };
        // Each with a reason of its own: the very same decision twice would be one that is told again.
        let body = json!({
            "resolutions": [{"changeId": "a", "resolution": resolution, "expectedSeq": a}],
            "reason": format!("person {number} has looked")
        });
        let (operator, path) = (&operator, format!("{}/resolution", Person::scope(&runner)));
        async move { operator.post(&path, &body).await }
    }))
    .await;
    let recorded = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(recorded, 1);
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        refused.expect_problem(409, "R_ISSUE_03");
        // Who was too slow sees what was decided.
        let details = refused.json()["details"][0]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(
            details.contains("MANUAL_MARKED_AS_") && details.contains("has looked"),
            "{details}"
        );
    }
    assert_eq!(operator.states(&runner, "a").await.len(), 3);
}

#[tokio::test]
async fn invariant_10_a_decision_whose_answer_was_lost_may_be_told_again_and_is_recorded_once() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let (runner, a, b) = two_issues(&server).await;
    let both = [("a", Applied, a), ("b", RolledBack, b)];
    let first: ResolutionResponse = operator.resolve(&runner, &both).await.expect(201).read();
    let answers = join_all((0..5).map(|_| operator.resolve(&runner, &both))).await;
    for answer in answers {
        let again: ResolutionResponse = answer.expect(200).read();
        assert_eq!(again, first);
    }
    assert_eq!(operator.states(&runner, "a").await.len(), 3);
    assert_eq!(
        server
            .database
            .number("SELECT count(*) FROM admin_actions WHERE action = 'issue_resolve'")
            .await,
        2
    );
    // Another person, another word, or less than the whole: that is no repetition.
    server
        .person(&tokens().admin)
        .resolve(&runner, &both)
        .await
        .expect_problem(409, "R_ISSUE_03");
    operator
        .resolve(&runner, &[("a", RolledBack, a), ("b", RolledBack, b)])
        .await
        .expect_problem(409, "R_ISSUE_03");
    let seq = first.recorded[0].seq;
    operator
        .resolve(&runner, &[("a", Applied, seq), ("b", RolledBack, b)])
        .await
        .expect_problem(409, "R_ISSUE_03");
    // Once it was undone by a further decision, the old one is history.
    operator
        .resolve(&runner, &[("a", RolledBack, seq)])
        .await
        .expect(201);
    operator
        .resolve(&runner, &both)
        .await
        .expect_problem(409, "R_ISSUE_03");
}

#[tokio::test]
async fn invariant_10_a_decision_is_undone_by_a_further_one_until_a_run_has_acted_on_it() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let (runner, a, _) = two_issues(&server).await;
    let mut seq = a;
    for resolution in [RolledBack, Applied, RolledBack] {
        let recorded: ResolutionResponse = operator
            .resolve(&runner, &[("a", resolution, seq)])
            .await
            .expect(201)
            .read();
        seq = recorded.recorded[0].seq;
    }
    runner.granted(&Pipeline::of("schema", &["a"])).await;
    // Granted: it may be running, although it has not said so yet.
    operator
        .resolve(&runner, &[("a", Applied, seq)])
        .await
        .expect_problem(409, "R_ISSUE_02");
    runner.release().await.expect(200);
    let redecided: ResolutionResponse = operator
        .resolve(&runner, &[("a", Applied, seq)])
        .await
        .expect(201)
        .read();
    let redecided: ResolutionResponse = operator
        .resolve(&runner, &[("a", RolledBack, redecided.recorded[0].seq)])
        .await
        .expect(201)
        .read();
    seq = redecided.recorded[0].seq;
    let execution = runner
        .granted(&Pipeline::of("schema", &["a"]))
        .await
        .execution_id
        .expect("a grant has an execution");
    runner.told(execution, "a", AuditState::Started).await;
    operator
        .resolve(&runner, &[("a", Applied, seq)])
        .await
        .expect_problem(409, "R_ISSUE_02");
    runner.told(execution, "a", AuditState::Applied).await;
    operator
        .resolve(&runner, &[("a", Applied, seq)])
        .await
        .expect_problem(409, "R_ISSUE_03");
    assert!(operator.verification(&runner).await.intact);
}

#[tokio::test]
async fn every_decision_that_is_refused_is_named() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let (runner, a, b) = two_issues(&server).await;
    let refused = operator
        .resolve(
            &runner,
            &[
                ("a", Applied, a),
                ("b", Applied, b + 1),
                ("unheard-of", Applied, 1),
            ],
        )
        .await;
    refused.expect_problem(409, "R_ISSUE_03");
    let details = refused.json()["details"].clone();
    let lines: Vec<&str> = details
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|line| line.as_str())
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with("b: ") && lines[0].contains("FAILED"),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("unheard-of: "), "{lines:?}");
}

#[tokio::test]
async fn what_needs_no_decision_is_refused_one() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    operator
        .resolve(&runner, &[("a", Applied, 1)])
        .await
        .expect_problem(409, "R_ISSUE_01");
    runner.bring_up_to_date(&pipeline()).await;
    operator
        .resolve(&runner, &[("a", RolledBack, 2)])
        .await
        .expect_problem(409, "R_ISSUE_01");
    assert_eq!(runner.plan(&pipeline()).await.action, PlanAction::Continue);
}

#[tokio::test]
async fn only_people_with_the_role_decide_and_a_runner_cannot_report_a_decision() {
    let server = TestServer::start().await;
    let (runner, a, _) = two_issues(&server).await;
    let body = json!({"reason": "because", "resolutions": [{"changeId": "a", "resolution": "APPLIED", "expectedSeq": a}]});
    let path = format!("{}/resolution", Person::scope(&runner));
    let allowed = tokens();
    for refused in [&allowed.viewer, &allowed.runner, &runner.jwt] {
        server
            .person(refused)
            .post(&path, &body)
            .await
            .expect_problem(403, "R_AUTH_04");
    }
    for state in [
        AuditState::ManualMarkedAsApplied,
        AuditState::ManualMarkedAsRolledBack,
    ] {
        runner
            .report(1, "a", state)
            .await
            .expect_problem(403, "R_AUTH_04");
    }
    let viewer = server.person(&allowed.viewer);
    assert_eq!(viewer.issues(&runner).await.len(), 2, "but a viewer sees them");
    server.person(&allowed.admin).post(&path, &body).await.expect(201);
}

#[tokio::test]
async fn a_decision_without_a_reason_or_with_a_malformed_one_is_refused() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let (runner, a, _) = two_issues(&server).await;
    let path = format!("{}/resolution", Person::scope(&runner));
    let one = json!([{"changeId": "a", "resolution": "APPLIED", "expectedSeq": a}]);
    for body in [
        json!({"resolutions": one}),
        json!({"resolutions": one, "reason": ""}),
        json!({"resolutions": one, "reason": " \n"}),
        json!({"resolutions": one, "reason": "a\u{0}b"}),
        json!({"resolutions": one, "reason": "x".repeat(2_001)}),
        json!({"resolutions": [], "reason": "because"}),
        json!({"resolutions": [{"changeId": "a", "resolution": "MAYBE", "expectedSeq": a}], "reason": "because"}),
        json!({"resolutions": [{"changeId": "a", "resolution": "APPLIED"}], "reason": "because"}),
    ] {
        operator.post(&path, &body).await.expect_problem(400, "R_GEN_02");
    }
    assert_eq!(operator.issues(&runner).await.len(), 2);
}

#[tokio::test]
async fn a_mark_that_contradicts_a_persons_decision_asks_a_person_again() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let (runner, a, b) = two_issues(&server).await;
    operator
        .resolve(&runner, &[("a", RolledBack, a), ("b", Applied, b)])
        .await
        .expect(201);
    let marked = pipeline().mark("a", MarkStatus::Applied);
    let plan = runner.granted(&marked).await;
    assert_eq!(
        actions(&plan)[0],
        ("a", ChangeAction::ManualIntervention),
        "never applied blindly"
    );
    assert!(!plan.synchronized_marks);
    runner.release().await.expect(200);
    let issue = operator.issues(&runner).await.remove(0);
    assert_eq!(issue.change_id, "a");
    // Decided again, in the knowledge of the mark: now it counts.
    operator
        .resolve(&runner, &[("a", RolledBack, issue.seq)])
        .await
        .expect(201);
    let plan = runner.granted(&marked).await;
    assert_eq!(actions(&plan)[0], ("a", ChangeAction::Apply));
    assert!(plan.synchronized_marks);
}

#[tokio::test]
async fn a_mark_of_a_later_attempt_is_not_taken_for_the_one_that_a_person_knew() {
    let server = TestServer::start().await;
    let (operator, runner) = undone_together_with_its_mark(&server).await;
    // The next attempt commits, and its runner dies: a new mark that nobody has seen yet.
    let plan = runner.granted(&pipeline()).await;
    assert_eq!(actions(&plan)[0], ("a", ChangeAction::Apply));
    let execution = plan.execution_id.expect("an id");
    runner.told(execution, "a", AuditState::Started).await;
    runner.release().await.expect(200);
    let issue = operator.issues(&runner).await.remove(0);
    operator
        .resolve(&runner, &[("a", RolledBack, issue.seq)])
        .await
        .expect(201);
    let plan = runner.granted(&pipeline().mark("a", MarkStatus::Applied)).await;
    assert_eq!(
        actions(&plan)[0],
        ("a", ChangeAction::ManualIntervention),
        "whoever decided did not know of this mark"
    );
}

#[tokio::test]
async fn a_mark_that_is_gone_makes_no_issue() {
    let server = TestServer::start().await;
    let (operator, runner) = undone_together_with_its_mark(&server).await;
    let execution = runner.granted(&pipeline()).await.execution_id.expect("an id");
    for state in [AuditState::Started, AuditState::Failed, AuditState::RolledBack] {
        runner.told(execution, "a", state).await;
    }
    runner.release().await.expect(200);
    assert_eq!(
        operator.issues(&runner).await,
        Vec::new(),
        "it was undone cleanly"
    );
}

#[tokio::test]
async fn invariant_10_a_renewal_of_the_lock_does_not_open_work_in_progress_to_decisions() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let execution = runner.granted(&pipeline()).await.execution_id.expect("an id");
    let started = runner.told(execution, "a", AuditState::Started).await;
    runner.acquired(60_000).await;
    assert_eq!(operator.issues(&runner).await, Vec::new());
    operator
        .resolve(&runner, &[("a", RolledBack, started.seq.expect("a sequence"))])
        .await
        .expect_problem(409, "R_ISSUE_02");
}

#[tokio::test]
async fn what_was_reported_too_late_is_evidence_on_the_issue() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let before = runner.granted(&pipeline()).await.execution_id.expect("an id");
    let started = runner.told(before, "a", AuditState::Started).await;
    runner.release().await.expect(200);
    operator
        .resolve(&runner, &[("a", RolledBack, started.seq.expect("a sequence"))])
        .await
        .expect(201);
    let other = runner.another();
    let execution = other.granted(&pipeline()).await.execution_id.expect("an id");
    other.told(execution, "a", AuditState::Started).await;
    other.release().await.expect(200);
    assert!(runner.told(before, "a", AuditState::Applied).await.late);
    let issue = operator.issues(&runner).await.remove(0);
    assert_eq!(issue.state, "STARTED");
    let [late] = issue.late_reports.as_slice() else {
        panic!("one late report: {:?}", issue.late_reports)
    };
    assert_eq!(
        (late.state.as_str(), late.execution_ref.as_str()),
        ("APPLIED", before.to_string().as_str())
    );
}

#[tokio::test]
async fn issues_come_in_pages() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let ids = ["c", "a", "b", "é", "B"];
    let execution = runner
        .granted(&Pipeline::of("schema", &ids))
        .await
        .execution_id
        .expect("an id");
    for id in ids {
        runner.told(execution, id, AuditState::Failed).await;
    }
    runner.release().await.expect(200);
    let mut seen: Vec<String> = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("{}/issue?limit=2{after}", Person::scope(&runner));
        let page: IssuePage = operator.get(&path).await.expect(200).read();
        assert!(page.issues.len() <= 2);
        seen.extend(page.issues.into_iter().map(|issue| issue.change_id));
        let Some(next) = page.next else { break };
        after = format!("&after={}", percent_encoded(&next));
    }
    assert_eq!(seen, ["B", "a", "b", "c", "é"]);
    let path = format!("{}/issue?limit=0", Person::scope(&runner));
    operator.get(&path).await.expect_problem(400, "R_GEN_02");
}
