//! W 4.2, items 5 to 9: the state of a change, and what follows from it.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::{
    ChangeAction, ChangeStatus, ChangeStatusReport, PlanAction, StageStatus,
};
use flamingock_api_types::issue::ResolutionKind;
use flamingock_tests::{Pipeline, TestServer};
use serde_json::json;

use super::{action_of, actions, execution};

#[tokio::test]
async fn w_4_item_5_a_change_is_known_by_its_id_whatever_its_stage_and_only_in_its_scope() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    runner
        .bring_up_to_date(&Pipeline::of("schema", &["a", "b"]))
        .await;
    let moved = Pipeline::of("seed", &["b"]).stage("tables", &["a"]);
    assert_eq!(runner.another().plan(&moved).await.action, PlanAction::Continue);
    let neighbour = server.runner("ledger").await;
    assert_eq!(actions(&neighbour.granted(&moved).await).len(), 2);
}

#[tokio::test]
async fn w_4_item_6_the_order_of_arrival_decides_and_no_runners_clock() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a", "b"]);
    let plan = runner.granted(&pipeline).await;
    // The clock goes backwards for the one, and stands still for the other.
    for (change, times) in [("a", [3_000, 2_000, 1_000]), ("b", [5_000, 5_000, 5_000])] {
        for (state, time) in [AuditState::Started, AuditState::Failed, AuditState::RolledBack]
            .into_iter()
            .zip(times)
        {
            let fields = json!({"appliedAtEpochMillis": time});
            runner
                .report_with(execution(&plan), change, state, &fields)
                .await
                .expect(201);
        }
    }
    runner.release().await.expect(200);
    let next = runner.another().granted(&pipeline).await;
    for change in ["a", "b"] {
        assert_eq!(action_of(&next, change), Some(ChangeAction::Apply), "{change}");
    }
}

#[tokio::test]
async fn w_4_item_6_a_late_entry_of_an_older_execution_displaces_nothing() {
    let server = TestServer::with(&[("FLAMINGOCK_LOCK_TAKEOVER_GRACE", "0s")]).await;
    let slow = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let old = slow.granted(&pipeline).await;
    slow.told(execution(&old), "a", AuditState::Started).await;
    slow.told(execution(&old), "a", AuditState::Failed).await;
    slow.told(execution(&old), "a", AuditState::RolledBack).await;
    slow.release().await.expect(200);
    let other = slow.another();
    let new = other.granted(&pipeline).await;
    other.apply(execution(&new), "a").await;
    assert!(
        slow.told(execution(&old), "a", AuditState::RollbackFailed)
            .await
            .late
    );
    assert_eq!(slow.another().plan(&pipeline).await.action, PlanAction::Continue);
}

/// What was written; with which strategy; what follows with `ALWAYS_RETRY`, and without.
type Cell<'a> = (
    &'a [AuditState],
    &'a str,
    Option<ChangeAction>,
    Option<ChangeAction>,
);

#[tokio::test]
async fn w_4_item_7_every_cell_of_the_decision_table_holds() {
    use AuditState::{Applied, Failed, RollbackFailed, RolledBack, Started};
    use ChangeAction::{Apply, ManualIntervention};
    let cells: [Cell<'_>; 9] = [
        (&[], "NON_TX", Some(Apply), Some(Apply)),
        (&[Started, Applied], "NON_TX", None, None),
        (&[Started], "NON_TX", Some(Apply), Some(ManualIntervention)),
        (
            &[Started, Failed],
            "NON_TX",
            Some(Apply),
            Some(ManualIntervention),
        ),
        (&[Started, Failed], "TX_SHARED", Some(Apply), Some(Apply)),
        (
            &[Started, Failed],
            "TX_SEPARATE_WITH_MARKER",
            Some(Apply),
            Some(Apply),
        ),
        (
            &[Started, Failed],
            "TX_SEPARATE_NO_MARKER",
            Some(Apply),
            Some(Apply),
        ),
        (&[Started, Failed, RolledBack], "NON_TX", Some(Apply), Some(Apply)),
        (
            &[Started, Failed, RollbackFailed],
            "NON_TX",
            Some(Apply),
            Some(ManualIntervention),
        ),
    ];
    let server = TestServer::start().await;
    for (number, (written, strategy, retried, otherwise)) in cells.into_iter().enumerate() {
        for (recovery, expected) in [("ALWAYS_RETRY", retried), ("MANUAL_INTERVENTION", otherwise)] {
            let runner = server
                .runner(&format!("service-{number}-{}", recovery.len()))
                .await;
            let pipeline = Pipeline::of("schema", &["a"]);
            let plan = runner.granted(&pipeline).await;
            let fields = json!({"txStrategy": strategy, "recoveryStrategy": recovery});
            for state in written {
                runner
                    .report_with(execution(&plan), "a", *state, &fields)
                    .await
                    .expect(201);
            }
            runner.release().await.expect(200);
            let next = runner.another().plan(&pipeline).await;
            assert_eq!(
                action_of(&next, "a"),
                expected,
                "{written:?} {strategy} {recovery}"
            );
        }
    }
    // A person's words.
    for (number, (kind, expected)) in [
        (ResolutionKind::Applied, None),
        (ResolutionKind::RolledBack, Some(Apply)),
    ]
    .into_iter()
    .enumerate()
    {
        let runner = server.runner(&format!("decided-{number}")).await;
        let pipeline = Pipeline::of("schema", &["a"]);
        let plan = runner.granted(&pipeline).await;
        let started = runner.told(execution(&plan), "a", Started).await;
        runner.release().await.expect(200);
        let seq = started.seq.expect("recorded");
        let answer = server.operator().resolve(&runner, &[("a", kind, seq)]).await;
        answer.expect(201);
        let next = runner.another().plan(&pipeline).await;
        assert_eq!(action_of(&next, "a"), expected, "{kind:?}");
    }
}

#[tokio::test]
async fn w_4_item_7_the_strategies_are_those_of_the_entry_and_not_of_the_code_of_today() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let plan = runner.granted(&pipeline).await;
    runner.told(execution(&plan), "a", AuditState::Started).await;
    runner.told(execution(&plan), "a", AuditState::Failed).await;
    runner.release().await.expect(200);
    // Declared ALWAYS_RETRY since: only the next entry can say so.
    let mut body = pipeline.body();
    body["clientSubmission"]["blocks"][0]["stages"][0]["changes"][0]["recoveryStrategy"] =
        json!("ALWAYS_RETRY");
    let next = runner.another();
    let answer = next.ask("elapsedMillis=0", &body).await;
    let plan = answer.expect(201).read();
    assert_eq!(action_of(&plan, "a"), Some(ChangeAction::ManualIntervention));
}

#[tokio::test]
async fn w_4_item_8_what_the_client_reports_of_this_run_is_never_contradicted() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"])
        .stage("seed", &["b"])
        .stage("late", &["c"]);
    let plan = runner.granted(&pipeline).await;
    runner.apply(execution(&plan), "a").await;
    runner.told(execution(&plan), "b", AuditState::Started).await;
    runner.told(execution(&plan), "b", AuditState::Failed).await;
    runner.told(execution(&plan), "b", AuditState::RolledBack).await;
    runner.release().await.expect(200);
    let reported = pipeline
        .stage_is("schema", StageStatus::Completed)
        .change_is("a", ChangeStatusReport::Applied)
        .stage_is("seed", StageStatus::Failed)
        .change_is("b", ChangeStatusReport::RolledBack);
    let plan = runner.granted(&reported).await;
    assert_eq!(actions(&plan), [("c".to_owned(), ChangeAction::Apply)]);
    let result = plan.pipeline_result.expect("with EXECUTE");
    let statuses: Vec<ChangeStatus> = result
        .stages
        .iter()
        .map(|stage| stage.changes[0].status)
        .collect();
    assert_eq!(
        statuses,
        [
            ChangeStatus::Applied,
            ChangeStatus::RolledBack,
            ChangeStatus::NotReached
        ]
    );
}

#[tokio::test]
async fn w_4_item_8_already_applied_is_what_the_client_says_of_whatever_was_left_out_and_proves_nothing() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]).change_is("a", ChangeStatusReport::AlreadyApplied);
    let plan = runner.granted(&pipeline).await;
    assert_eq!(action_of(&plan, "a"), Some(ChangeAction::Apply));
}

#[tokio::test]
async fn w_4_items_8_9_what_failed_in_this_run_is_not_offered_again_by_any_generation() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let plan = runner.granted(&pipeline).await;
    let retry = json!({"recoveryStrategy": "ALWAYS_RETRY"});
    for state in [AuditState::Started, AuditState::Failed] {
        runner
            .report_with(execution(&plan), "a", state, &retry)
            .await
            .expect(201);
    }
    runner.release().await.expect(200);
    let failed = pipeline
        .clone()
        .stage_is("schema", StageStatus::Failed)
        .change_is("a", ChangeStatusReport::Failed);
    for body in [
        failed.body(),
        failed.body_of_generation_2(),
        failed.body_of_generation_1(),
    ] {
        let answer = runner.ask("elapsedMillis=0", &body).await.expect(201).json();
        assert_eq!(answer["action"], "ABORT", "{body}");
    }
    // Nor where only the change is reported; without a failed stage `ABORT` would pass for a success.
    let failed = pipeline.clone().change_is("a", ChangeStatusReport::Failed);
    runner
        .ask("elapsedMillis=0", &failed.body())
        .await
        .expect_problem(409, "R_PLAN_02");
    // The next run is another matter.
    let plan = runner.another().granted(&pipeline).await;
    assert_eq!(actions(&plan), [("a".to_owned(), ChangeAction::Apply)]);
}

#[tokio::test]
async fn w_4_item_9_what_failed_in_this_run_is_not_waited_for_while_another_holds_the_lock() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let execution = runner.granted(&pipeline).await.execution_id.expect("an id");
    for state in [AuditState::Started, AuditState::Failed, AuditState::RolledBack] {
        runner.told(execution, "a", state).await;
    }
    runner.release().await.expect(200);
    runner.another().granted(&pipeline).await;
    let reported = pipeline.clone().stage_is("schema", StageStatus::Failed);
    assert_eq!(runner.plan(&reported).await.action, PlanAction::Abort);
    let hidden = pipeline.stage_is("schema", StageStatus::Completed);
    runner
        .ask("elapsedMillis=0", &hidden.body_of_generation_2())
        .await
        .expect_problem(409, "R_PLAN_02");
}
