//! W 6: what the contract leaves open, and how it is resolved here.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::{
    ChangeAction, ChangeStatus, ChangeStatusReport, MarkStatus, PlanAction, StageStatus,
};
use flamingock_api_types::issue::ResolutionKind;
use flamingock_tests::{Call, Pipeline, Runner, TestServer, exchange, tokens};
use serde_json::json;

use super::{action_of, actions, execution};

#[tokio::test]
async fn w_6_1_an_id_that_may_have_been_damaged_is_refused_loudly_unless_configured_off() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let body = Pipeline::of("schema", &["a", "caf?"]).body();
    let answer = runner.ask("elapsedMillis=0", &body).await;
    answer.expect_problem(422, "R_GEN_06");
    assert!(answer.text().contains("caf?"));
    let answer = runner
        .ask("elapsedMillis=0", &Pipeline::of("??", &["a"]).body())
        .await;
    answer.expect_problem(422, "R_GEN_06");
    // Whoever says in which charset it speaks has lost nothing.
    let call = Call::post(runner.plan_path())
        .header("Content-Type", "application/json; charset=utf-8")
        .body(body.to_string());
    runner.with_headers(call).send(&server.address).await.expect(201);
    let lenient = TestServer::with(&[("FLAMINGOCK_REFUSE_DAMAGED_IDS", "false")]).await;
    lenient
        .runner("billing")
        .await
        .ask("elapsedMillis=0", &body)
        .await
        .expect(201);
}

#[tokio::test]
async fn w_6_4_an_absent_mark_proves_nothing_unless_the_environment_trusts_it() {
    let server = TestServer::start().await;
    let token = &tokens().runner;
    for (environment, strategy, expected) in [
        (
            "production",
            "TX_SEPARATE_WITH_MARKER",
            ChangeAction::ManualIntervention,
        ),
        ("trusting", "TX_SEPARATE_WITH_MARKER", ChangeAction::Apply),
        (
            "trusting",
            "TX_SEPARATE_NO_MARKER",
            ChangeAction::ManualIntervention,
        ),
        ("trusting", "NON_TX", ChangeAction::ManualIntervention),
    ] {
        let service = format!("service-{environment}-{strategy}");
        let runner = Runner::open(&server.address, token, environment, &service).await;
        let pipeline = Pipeline::of("schema", &["a"]);
        let plan = runner.granted(&pipeline).await;
        let fields = json!({"txStrategy": strategy});
        runner
            .report_with(execution(&plan), "a", AuditState::Started, &fields)
            .await
            .expect(201);
        runner.release().await.expect(200);
        let next = runner.another();
        let plan = next.granted(&pipeline).await;
        assert_eq!(action_of(&plan, "a"), Some(expected), "{environment} {strategy}");
        if expected == ChangeAction::Apply {
            next.apply(execution(&plan), "a").await;
        }
    }
}

#[tokio::test]
async fn w_6_6_a_person_who_knew_of_the_mark_wins_over_it_and_one_who_did_not_is_asked_again() {
    let server = TestServer::start().await;
    for knew in [true, false] {
        let runner = server.runner(&format!("service-{knew}")).await;
        let pipeline = Pipeline::of("schema", &["a"]);
        let marked = pipeline.clone().mark("a", MarkStatus::Applied);
        let plan = runner.granted(&pipeline).await;
        let fields = json!({"txStrategy": "TX_SEPARATE_WITH_MARKER"});
        for state in [AuditState::Started, AuditState::RollbackFailed] {
            runner
                .report_with(execution(&plan), "a", state, &fields)
                .await
                .expect(201);
        }
        runner.release().await.expect(200);
        if knew {
            let next = runner.another();
            next.granted(&marked).await;
            next.release().await.expect(200);
        }
        let issue = server.operator().issues(&runner).await.remove(0);
        let decided = [("a", ResolutionKind::RolledBack, issue.seq)];
        server.operator().resolve(&runner, &decided).await.expect(201);
        let plan = runner.another().granted(&marked).await;
        let expected = if knew {
            ChangeAction::Apply
        } else {
            ChangeAction::ManualIntervention
        };
        assert_eq!(action_of(&plan, "a"), Some(expected), "knew: {knew}");
        assert_eq!(plan.synchronized_marks, knew);
    }
}

#[tokio::test]
async fn w_6_7_all_pending_stages_of_the_active_block_are_offered_at_once() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"])
        .stage("seed", &["b"])
        .stage("more", &["c"]);
    let plan = runner.granted(&pipeline).await;
    let stages = plan.stages.expect("with EXECUTE");
    let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["schema", "seed", "more"]);
}

#[tokio::test]
async fn w_6_8_a_finished_run_with_a_failed_stage_is_aborted_and_not_continued() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]).stage("seed", &["b"]);
    let plan = runner.granted(&pipeline).await;
    // Everything is applied in the log; but the client says that a stage failed.
    runner.apply(execution(&plan), "a").await;
    runner.apply(execution(&plan), "b").await;
    runner.release().await.expect(200);
    let reported = pipeline
        .stage_is("schema", StageStatus::Failed)
        .change_is("a", ChangeStatusReport::Failed)
        .stage_is("seed", StageStatus::Completed)
        .change_is("b", ChangeStatusReport::Applied);
    assert_eq!(runner.plan(&reported).await.action, PlanAction::Abort);
}

#[tokio::test]
async fn w_6_9_stages_of_one_name_are_answered_as_one() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let twice = Pipeline::of("changes", &["a"]).stage("changes", &["b"]);
    let plan = runner.granted(&twice).await;
    let stages = plan.stages.as_deref().unwrap_or_default();
    assert_eq!(stages.len(), 1);
    assert_eq!(actions(&plan).len(), 2);
    let results = plan.pipeline_result.as_ref().map(|result| result.stages.len());
    assert_eq!(results, Some(1));
    assert!(server.log().contains("a stage name is submitted more than once"));
}

#[tokio::test]
async fn w_6_11_services_register_themselves_and_environments_never_do() {
    let server = TestServer::start().await;
    let token = &tokens().runner;
    let open =
        async |environment: &str, service: &str| exchange(&server.address, token, environment, service).await;
    open("production", "brand-new").await.expect(200);
    open("prodcution", "billing")
        .await
        .expect_problem(404, "R_TENANT_01");
    // A token that may run one service registers no other.
    exchange(&server.address, &tokens().narrow, "production", "brand-newer")
        .await
        .expect_problem(404, "R_TENANT_02");
    let count = "SELECT count(*) FROM environments WHERE name = 'prodcution'";
    assert_eq!(server.database.number(count).await, 0);
}

#[tokio::test]
async fn w_6_12_refused_credentials_have_codes_of_their_own() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    for token in [tokens().unknown.as_str(), "flk_mistyped", "fk_live_3f8a2b", ""] {
        let answer = exchange(&server.address, token, "production", "billing").await;
        let (status, code) = if token.is_empty() {
            (400, "R_GEN_02")
        } else {
            (401, "R_AUTH_01")
        };
        answer.expect_problem(status, code);
    }
    let call = Call::get(format!("/api/v1/{}/lock", runner.key())).header("flamingock-runner-id", "r");
    call.clone()
        .send(&server.address)
        .await
        .expect_problem(401, "R_AUTH_05");
    call.bearer("a.b.c")
        .send(&server.address)
        .await
        .expect_problem(401, "R_AUTH_05");
    let foreign = Call::post(format!("{}9/execution", runner.scope())).json(&json!({}));
    runner
        .with_headers(foreign)
        .send(&server.address)
        .await
        .expect_problem(403, "R_AUTH_03");
}

#[tokio::test]
async fn w_6_14_a_result_of_an_execution_that_was_never_issued_is_kept_and_a_start_is_refused() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let neighbour = server.runner("ledger").await;
    let foreign = execution(&neighbour.granted(&Pipeline::of("schema", &["x"])).await);
    // As after a restore from a backup; and another service's number is answered like one that does not exist.
    for (number, change) in [(foreign, "a"), (foreign + 1_000, "b")] {
        runner
            .report(number, change, AuditState::Started)
            .await
            .expect_problem(409, "R_AUDIT_01");
        assert!(!runner.told(number, change, AuditState::Applied).await.late);
        assert_eq!(server.operator().states(&runner, change).await, ["APPLIED"]);
    }
    assert_eq!(server.operator().audit(&neighbour).await, []);
    // Against what is known it is evidence, and no more.
    let plan = runner.granted(&Pipeline::of("schema", &["c"])).await;
    runner.apply(execution(&plan), "c").await;
    assert!(
        runner
            .told(foreign + 1_000, "c", AuditState::RollbackFailed)
            .await
            .late
    );
    let pipeline = Pipeline::of("schema", &["a", "b", "c"]);
    assert_eq!(runner.plan(&pipeline).await.action, PlanAction::Continue);
}

#[tokio::test]
async fn w_6_15_changes_that_are_no_longer_submitted_are_history_and_stop_nobody() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let plan = runner
        .granted(&Pipeline::of("schema", &["gone", "dirty", "a"]))
        .await;
    runner.apply(execution(&plan), "gone").await;
    runner.apply(execution(&plan), "a").await;
    runner.told(execution(&plan), "dirty", AuditState::Started).await;
    runner.release().await.expect(200);
    let plan = runner.another().plan(&Pipeline::of("schema", &["a"])).await;
    assert_eq!(plan.action, PlanAction::Continue);
    assert!(!json!(plan).to_string().contains("gone"));
    assert_eq!(
        server.operator().states(&runner, "gone").await,
        ["STARTED", "APPLIED"]
    );
}

#[tokio::test]
async fn w_6_16_what_is_reported_and_not_recorded_is_believed_for_this_run_and_counted() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]).stage("seed", &["b"]);
    let reported = pipeline
        .clone()
        .stage_is("schema", StageStatus::Completed)
        .change_is("a", ChangeStatusReport::Applied);
    let plan = runner.granted(&reported).await;
    assert_eq!(actions(&plan), [("b".to_owned(), ChangeAction::Apply)]);
    let result = plan.pipeline_result.expect("with EXECUTE");
    assert_eq!(result.stages[0].changes[0].status, ChangeStatus::Applied);
    assert!(server.metric("flamingock_plan_unrecorded_changes_total ").await >= 1.0);
    assert!(server.log().contains("the audit lacks the entry"));
    runner.release().await.expect(200);
    let next = runner.another().granted(&pipeline).await;
    assert_eq!(
        action_of(&next, "a"),
        Some(ChangeAction::Apply),
        "the next run is judged by the log"
    );
}

#[tokio::test]
async fn w_6_17_what_was_skipped_or_blocked_leaves_no_entry() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["done", "stuck", "behind"]);
    let plan = runner.granted(&pipeline).await;
    runner.apply(execution(&plan), "done").await;
    runner.told(execution(&plan), "stuck", AuditState::Started).await;
    runner.release().await.expect(200);
    let before = server.operator().audit(&runner).await;
    let next = runner.another();
    next.granted(&pipeline).await;
    next.release().await.expect(200);
    let blocked = pipeline.stage_is("schema", StageStatus::BlockedManualIntervention);
    assert_eq!(next.plan(&blocked).await.action, PlanAction::Abort);
    assert_eq!(server.operator().audit(&runner).await, before);
}

#[tokio::test]
async fn w_6_19_a_request_without_any_status_begins_a_new_run_of_the_same_runner() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let plan = runner.granted(&pipeline).await;
    for state in [AuditState::Started, AuditState::Failed, AuditState::RolledBack] {
        runner.told(execution(&plan), "a", state).await;
    }
    runner.release().await.expect(200);
    let failed = pipeline.clone().stage_is("schema", StageStatus::Failed);
    assert_eq!(runner.plan(&failed).await.action, PlanAction::Abort);
    // The application runs the same object again.
    let plan = runner.granted(&pipeline).await;
    assert_eq!(action_of(&plan, "a"), Some(ChangeAction::Apply));
    runner.apply(execution(&plan), "a").await;
    runner.release().await.expect(200);
    let done = pipeline
        .stage_is("schema", StageStatus::Completed)
        .change_is("a", ChangeStatusReport::Applied);
    assert_eq!(runner.plan(&done).await.action, PlanAction::Continue);
}
