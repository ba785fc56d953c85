//! Executions with what became of them.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::PlanAction;
use flamingock_api_types::history::{ExecutionEnd, ExecutionOutcome};
use flamingock_tests::{Person, Pipeline, Runner, TestServer, eventually};

use super::{execution, execution_of, executions, gone_in_the_middle, pipeline};

/// One execution of each outcome, oldest first; the last one still runs.
async fn one_of_each(server: &TestServer, operator: &Person) -> (Runner, Vec<(i64, ExecutionOutcome)>) {
    let runner = server.runner("billing").await;
    let mut made = Vec::new();
    let succeeds = Pipeline::of("schema", &["first"]);
    let execution = execution_of(&runner.granted(&succeeds).await);
    runner.apply(execution, "first").await;
    runner.release().await.expect(200);
    made.push((execution, ExecutionOutcome::Succeeded));

    let abandoned = gone_in_the_middle(operator, &runner).await;
    made.push((execution_of(&abandoned), ExecutionOutcome::Abandoned));
    let next = server.runner("billing").await;
    let only_a = Pipeline::of("schema", &["a"]);
    let blocked = eventually("the lock is taken over", async || {
        let plan = next.plan(&only_a).await;
        (plan.action == PlanAction::Execute).then_some(plan)
    })
    .await;
    next.release().await.expect(200);
    made.push((execution_of(&blocked), ExecutionOutcome::Blocked));

    let fails = execution_of(&next.granted(&Pipeline::of("schema", &["d", "e"])).await);
    next.told(fails, "d", AuditState::Started).await;
    next.told(fails, "d", AuditState::Failed).await;
    next.told(fails, "d", AuditState::RolledBack).await;
    next.release().await.expect(200);
    made.push((fails, ExecutionOutcome::Failed));
    let running = execution_of(&next.granted(&Pipeline::of("schema", &["e"])).await);
    made.push((running, ExecutionOutcome::Running));
    (next, made)
}

#[tokio::test]
async fn executions_are_listed_with_their_outcome_newest_first_and_by_it() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let (runner, mut made) = one_of_each(&server, &operator).await;
    made.reverse();
    let page = executions(&operator, &runner, "").await;
    let listed: Vec<_> = page
        .executions
        .iter()
        .map(|it| (it.execution_id, it.outcome))
        .collect();
    assert_eq!(listed, made);
    assert_eq!(page.next, None);
    let failed = &page.executions[1];
    assert_eq!(
        (
            failed.progress.offered,
            failed.progress.failed,
            failed.progress.not_reached
        ),
        (2, 1, 1)
    );
    assert_eq!(failed.ended_by, Some(ExecutionEnd::Released));
    let abandoned = &page.executions[3];
    assert_eq!(abandoned.ended_by, Some(ExecutionEnd::Replaced));
    assert_eq!(abandoned.progress.started, 1);
    assert_eq!(page.executions[0].ended_at, None);

    for (id, outcome) in &made {
        let text = serde_json::to_value(outcome).expect("a text");
        let text = text.as_str().expect("a text").to_owned();
        let page = executions(&operator, &runner, &format!("outcome={}", text.to_lowercase())).await;
        let found: Vec<_> = page.executions.iter().map(|it| it.execution_id).collect();
        assert_eq!(found, [*id], "{text}");
        assert_eq!(execution(&operator, &runner, *id).await.record.outcome, *outcome);
    }
    // Page by page it is the same.
    for query in ["limit=1", "limit=2", "limit=3"] {
        let mut seen = Vec::new();
        let mut after = String::new();
        loop {
            let page = executions(&operator, &runner, &format!("{query}{after}")).await;
            seen.extend(page.executions.iter().map(|it| (it.execution_id, it.outcome)));
            match page.next {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(seen, made, "{query}");
    }
}

#[tokio::test]
async fn executions_are_found_by_runner_and_time() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let (runner, made) = one_of_each(&server, &operator).await;
    let all = executions(&operator, &runner, "").await.executions;
    let own = executions(
        &operator,
        &runner,
        &format!("runner={}", flamingock_tests::percent_encoded(&runner.id)),
    )
    .await;
    let expected: Vec<_> = all
        .iter()
        .filter(|it| it.runner_id == runner.id)
        .map(|it| it.execution_id)
        .collect();
    let found: Vec<_> = own.executions.iter().map(|it| it.execution_id).collect();
    assert_eq!(found, expected);
    assert_eq!(found.len(), 3);
    // From the third to the fourth, oldest first.
    let time = |index: usize| all[index].started_at.to_rfc3339();
    let (since, until) = (time(2), time(0));
    for (since, until) in [
        (since.replace('+', "%2B"), until.replace('+', "%2B")),
        // As people paste it.
        (since.clone(), until.clone()),
    ] {
        let page = executions(
            &operator,
            &runner,
            &format!("since={since}&until={until}&limit=2"),
        )
        .await;
        let found: Vec<_> = page.executions.iter().map(|it| it.execution_id).collect();
        assert_eq!(found, [made[3].0, made[2].0]);
    }
    let path = format!("{}/execution", Person::scope(&runner));
    for odd in [
        "since=yesterday",
        "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z",
        "outcome=GREAT",
        "outcome=",
        "limit=0",
        "after=1",
        "before=7",
        "runner=a%00b",
    ] {
        operator
            .get(&format!("{path}?{odd}"))
            .await
            .expect_problem(400, "R_GEN_02");
    }
    let nobody = executions(&operator, &runner, &format!("runner={}", "x".repeat(4_000))).await;
    assert!(nobody.executions.is_empty());
}

#[tokio::test]
async fn an_execution_shows_what_was_asked_offered_and_reported_in_order() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let id = execution_of(&runner.granted(&pipeline()).await);
    runner.apply(id, "a").await;
    runner.told(id, "b", AuditState::Started).await;
    runner.told(id, "b", AuditState::Failed).await;
    let report = execution(&operator, &runner, id).await;
    assert_eq!(report.record.outcome, ExecutionOutcome::Running);
    let told: Vec<_> = report
        .timeline
        .iter()
        .map(|it| (it.seq, it.change_id.as_str(), it.state.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (1, "a", "STARTED"),
            (2, "a", "APPLIED"),
            (3, "b", "STARTED"),
            (4, "b", "FAILED")
        ]
    );
    assert_eq!(report.stages[0].changes.len(), 3);
    assert_eq!(report.reasons.expect("reasons").code, "WORK_PENDING");
    assert_eq!(report.submission["blocks"][0]["stages"][0]["name"], "schema");
    runner.release().await.expect(200);
    let report = execution(&operator, &runner, id).await;
    assert_eq!(report.record.outcome, ExecutionOutcome::Failed);
    let progress = report.record.progress;
    assert_eq!(
        (progress.applied, progress.failed, progress.not_reached),
        (1, 1, 1)
    );
    operator
        .get(&format!("{}/execution/{}", Person::scope(&runner), id + 1_000))
        .await
        .expect_problem(404, "R_EXEC_01");
}

#[tokio::test]
async fn a_rare_outcome_among_many_executions_is_found_page_by_page() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let rare = execution_of(&runner.granted(&Pipeline::of("schema", &["x"])).await);
    runner.apply(rare, "x").await;
    runner.release().await.expect(200);
    // Two thousand that came to nothing: too many to be made one by one.
    server
        .database
        .execute(&format!(
            "INSERT INTO executions (stream_id, runner_id, credential_id, fence, planned_at_seq, starts_run, submission,
                                     plan, started_at, ended_at)
             SELECT stream_id, runner_id, credential_id, fence, planned_at_seq, starts_run, submission, plan,
                    clock_timestamp(), clock_timestamp()
               FROM executions CROSS JOIN generate_series(1, 2000) WHERE id = {rare}"
        ))
        .await;
    let mut requests = 0;
    let mut after = String::new();
    let found = loop {
        requests += 1;
        let page = executions(&operator, &runner, &format!("outcome=SUCCEEDED{after}")).await;
        if let Some(found) = page.executions.first() {
            break found.execution_id;
        }
        after = format!("&after={}", page.next.expect("it is further down"));
    };
    assert_eq!(found, rare);
    assert!(
        (2..=4).contains(&requests),
        "each looks at a bounded number: {requests}"
    );
}
