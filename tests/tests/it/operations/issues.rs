//! One issue with everything that is known of it.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::MarkStatus;
use flamingock_api_types::history::ExecutionEnd;
use flamingock_api_types::issue::IssueStanding;
use flamingock_api_types::issue::ResolutionKind::RolledBack;
use flamingock_tests::{Pipeline, TestServer, percent_encoded};
use serde_json::json;

use super::{
    SHORT_LEASE_MS, ask_for_issue, execution_of, fence_of, force, gone_in_the_middle, issue, lease_ends,
    pipeline,
};

const TRACE: &str = r#"{"type":"org.postgresql.util.PSQLException","message":"column \"due\" exists","rootCause":{"type":"java.io.IOException","message":"reset"},"stackTrace":[{"className":"com.acme.AddDueDate","methodName":"apply","fileName":"AddDueDate.java","lineNumber":12}]}"#;

#[tokio::test]
async fn an_issue_is_shown_with_its_attempts_their_locks_its_error_and_what_to_do() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let first = server.runner("billing").await;
    let plan = first.granted(&pipeline()).await;
    first.told(execution_of(&plan), "a", AuditState::Started).await;
    first
        .report_with(
            execution_of(&plan),
            "a",
            AuditState::Failed,
            &json!({"errorTrace": TRACE, "executionMillis": 530}),
        )
        .await
        .expect(201);
    first.release().await.expect(200);
    let seq = operator.issues(&first).await[0].seq;
    operator
        .resolve(&first, &[("a", RolledBack, seq)])
        .await
        .expect(201);
    let second = server.runner("billing").await;
    let again = second.granted(&pipeline()).await;
    second.told(execution_of(&again), "a", AuditState::Started).await;
    second.told(execution_of(&again), "a", AuditState::Failed).await;
    second.release().await.expect(200);

    let shown = issue(&operator, &first, "a").await;
    assert_eq!(shown.standing, IssueStanding::NeedsDecision);
    assert_eq!((shown.state.as_str(), shown.seq), ("FAILED", 5));
    assert_eq!(shown.tx_strategy.as_deref(), Some("NON_TX"));
    let states: Vec<&str> = shown.history.iter().map(|entry| entry.state.as_str()).collect();
    assert_eq!(
        states,
        [
            "STARTED",
            "FAILED",
            "MANUAL_MARKED_AS_ROLLED_BACK",
            "STARTED",
            "FAILED"
        ]
    );
    let failed = &shown.history[1];
    assert_eq!(failed.duration_millis, Some(530));
    assert_eq!(failed.host.as_deref(), Some("node-a"));
    assert_eq!(
        failed.error_summary.as_deref(),
        Some("org.postgresql.util.PSQLException: column \"due\" exists")
    );
    assert_eq!(
        shown.history[2].note.as_deref(),
        Some("looked at the target system")
    );
    assert!(shown.history[2].execution_ref.is_none());
    let locks: Vec<_> = shown
        .attempts
        .iter()
        .map(|attempt| {
            (
                attempt.execution_id,
                attempt.fence,
                attempt.runner_id.as_str(),
                attempt.ended_by,
            )
        })
        .collect();
    assert_eq!(
        locks,
        [
            (
                execution_of(&plan),
                fence_of(&plan),
                first.id.as_str(),
                Some(ExecutionEnd::Released)
            ),
            (
                execution_of(&again),
                fence_of(&again),
                second.id.as_str(),
                Some(ExecutionEnd::Released)
            ),
        ]
    );
    let error = shown.error.expect("the error of the attempt that had one");
    assert_eq!(error.seq, 2);
    assert_eq!(error.root_cause_type.as_deref(), Some("java.io.IOException"));
    assert_eq!(error.frames, ["com.acme.AddDueDate.apply (AddDueDate.java:12)"]);
    assert!(shown.guidance.check.iter().any(|it| it.contains("shell")));
    assert!(shown.guidance.then[0].contains("entry 5"));
    assert_eq!(shown.remedies.len(), 2);
    let lock = shown.lock.expect("it was taken once");
    assert_eq!(lock.owner, None);
}

#[tokio::test]
async fn a_change_that_its_runner_works_on_is_shown_as_in_progress() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let plan = runner.granted(&pipeline()).await;
    runner.told(execution_of(&plan), "a", AuditState::Started).await;
    let shown = issue(&operator, &runner, "a").await;
    assert_eq!(shown.standing, IssueStanding::InProgress);
    let lock = shown.lock.expect("a lock");
    assert_eq!(lock.owner.as_deref(), Some(runner.id.as_str()));
    assert!(shown.remedies.iter().all(|it| {
        it.command
            .as_deref()
            .is_some_and(|it| it.contains("lock release"))
    }));
    assert!(operator.issues(&runner).await.is_empty());
    // Released by force, it is an issue.
    force(&operator, &runner, fence_of(&plan), true).await.expect(200);
    let shown = issue(&operator, &runner, "a").await;
    assert_eq!(shown.standing, IssueStanding::NeedsDecision);
    assert_eq!(shown.attempts[0].ended_by, Some(ExecutionEnd::Forced));
}

#[tokio::test]
async fn refused_starts_and_late_reports_are_kept_as_evidence() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let gone = server.runner("billing").await;
    let plan = gone_in_the_middle(&operator, &gone).await;
    let next = server.runner("billing").await;
    let granted = loop {
        let plan = next.plan(&pipeline()).await;
        if plan.execution_id.is_some() {
            break plan;
        }
    };
    // The first one is not dead: it goes on where it was, again and again.
    for _ in 0..3 {
        gone.report(execution_of(&plan), "b", AuditState::Started)
            .await
            .expect_problem(409, "R_AUDIT_01");
    }
    next.told(execution_of(&granted), "b", AuditState::Started).await;
    next.told(execution_of(&granted), "b", AuditState::Failed).await;
    let late = gone.told(execution_of(&plan), "b", AuditState::Applied).await;
    assert!(late.late);
    next.release().await.expect(200);

    let shown = issue(&operator, &gone, "b").await;
    let refused = &shown.refused_starts;
    assert_eq!(refused.len(), 1, "the same again is not kept again");
    assert_eq!(refused[0].runner_id, gone.id);
    assert_eq!(refused[0].reason, "not_the_holder");
    assert_eq!(refused[0].execution_ref, execution_of(&plan).to_string());
    assert_eq!(refused[0].lock_owner.as_deref(), Some(next.id.as_str()));
    assert_eq!(refused[0].lock_fence, Some(fence_of(&granted)));
    assert!(!refused[0].message.is_empty());
    let entry = shown.history.last().expect("there is history");
    assert_eq!((entry.state.as_str(), entry.late), ("APPLIED", true));
    assert_eq!(
        (shown.state.as_str(), shown.seq),
        ("FAILED", entry.seq - 1),
        "late changes no state"
    );
    assert!(
        shown.guidance.check.iter().any(|it| it.contains("refusedStarts")),
        "{:?}",
        shown.guidance
    );
    assert!(
        shown
            .guidance
            .check
            .iter()
            .any(|it| it.contains("too late to count"))
    );
    assert_eq!(shown.attempts.len(), 2, "both are named with their locks");
    // The execution that was refused says so, too.
    let report = super::execution(&operator, &gone, execution_of(&plan)).await;
    assert_eq!(report.refused_starts.len(), 1);
    assert_eq!(
        server
            .database
            .number("SELECT count(*) FROM refused_starts")
            .await,
        1
    );
}

#[tokio::test]
async fn a_mark_against_a_decision_is_an_issue_with_guidance_of_its_own() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let execution = execution_of(&runner.granted(&pipeline()).await);
    runner.told(execution, "a", AuditState::Started).await;
    runner.told(execution, "a", AuditState::Failed).await;
    runner.release().await.expect(200);
    let seq = operator.issues(&runner).await[0].seq;
    operator
        .resolve(&runner, &[("a", RolledBack, seq)])
        .await
        .expect(201);
    ask_for_issue(&operator, &runner, "a")
        .await
        .expect_problem(404, "R_ISSUE_04");
    runner.granted(&pipeline().mark("a", MarkStatus::Applied)).await;
    runner.release().await.expect(200);
    let shown = issue(&operator, &runner, "a").await;
    assert!(shown.contradicted_by_mark);
    assert!(
        shown.guidance.what_happened.contains("marker"),
        "{:?}",
        shown.guidance
    );
}

#[tokio::test]
async fn what_is_no_issue_is_answered_with_how_it_stands() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let unheard = ask_for_issue(&operator, &runner, "a").await;
    unheard.expect_problem(404, "R_ISSUE_04");
    runner.bring_up_to_date(&pipeline()).await;
    let applied = ask_for_issue(&operator, &runner, "a").await;
    applied.expect_problem(404, "R_ISSUE_04");
    assert!(applied.text().contains("APPLIED"), "{}", applied.text());
    let path = format!("{}/issue/detail", flamingock_tests::Person::scope(&runner));
    let long = "x".repeat(1_025);
    for odd in [
        "",
        "?changeId=",
        "?changeId=%00",
        "?change=a",
        "?changeId=a&other=b",
        &format!("?changeId={long}"),
    ] {
        operator
            .get(&format!("{path}{odd}"))
            .await
            .expect_problem(400, "R_GEN_02");
    }
}

#[tokio::test]
async fn ids_with_slashes_spaces_and_quotes_are_found_and_quoted_in_commands() {
    let server = TestServer::start().await;
    let operator = server.operator();
    for (number, change) in [
        "schema/0001/add",
        "a b",
        "it's",
        "$(id)",
        "-x",
        "é",
        "100%",
        "a&b=c+d",
    ]
    .into_iter()
    .enumerate()
    {
        let runner = server.runner(&format!("service-{number}")).await;
        let pipeline = Pipeline::of("schema", &[change]).lease_ms(SHORT_LEASE_MS);
        let execution = execution_of(&runner.granted(&pipeline).await);
        runner.told(execution, change, AuditState::Failed).await;
        runner.release().await.expect(200);
        let shown = issue(&operator, &runner, change).await;
        assert_eq!(shown.change_id, change, "{}", percent_encoded(change));
        let quoted = format!("'{}'", change.replace('\'', r"'\''"));
        let command = shown.remedies[0].command.as_deref().expect("a command");
        assert!(command.contains(&quoted) || command.contains(change), "{command}");
    }
}

#[tokio::test]
async fn a_long_history_is_cut_and_its_latest_entry_is_there_all_the_same() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let plan = runner.granted(&pipeline().lease_ms(SHORT_LEASE_MS)).await;
    runner.told(execution_of(&plan), "a", AuditState::Failed).await;
    lease_ends(&operator, &runner).await;
    // Reports of executions that nobody granted are evidence, however many there are.
    for unknown in 0..510 {
        let late = runner.told(1_000_000 + unknown, "a", AuditState::Applied).await;
        assert!(late.late);
    }
    let shown = issue(&operator, &runner, "a").await;
    assert!(shown.history_is_cut);
    assert_eq!(shown.history.len(), 500);
    assert_eq!((shown.state.as_str(), shown.seq), ("FAILED", 1));
    assert_eq!(shown.history.last().map(|entry| entry.seq), Some(511));
}
