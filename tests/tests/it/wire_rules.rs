//! The rules of the wire contract (W) that concern the server; each test names its section or item.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::digest;
use flamingock_api_types::execution::{
    BlockType, ChangeAction, ChangeStatus, ChangeStatusReport, MarkStatus, PlanAction, PlanResponse,
    StageStatus, Verdict,
};
use flamingock_tests::{Call, Pipeline, Runner, TestServer};
use serde_json::{Value, json};

fn execution(plan: &PlanResponse) -> i64 {
    plan.execution_id.expect("a grant has an execution")
}

fn actions(plan: &PlanResponse) -> Vec<(String, ChangeAction)> {
    plan.stages
        .iter()
        .flatten()
        .flat_map(|stage| &stage.changes)
        .map(|change| (change.id.clone(), change.action))
        .collect()
}

#[tokio::test]
async fn w_1_bodies_in_latin_1_are_read_and_their_ids_come_back_in_utf_8() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let body = Pipeline::of("schéma", &["créer", "tout-va-bien"])
        .body()
        .to_string();
    let latin1: Vec<u8> = body
        .chars()
        .map(|c| u8::try_from(u32::from(c)).expect("within Latin-1"))
        .collect();
    assert!(std::str::from_utf8(&latin1).is_err());
    let call = Call::post(format!("{}?elapsedMillis=0", runner.plan_path()))
        .header("Content-Type", "application/json")
        .body(latin1);
    let answer = runner.with_headers(call).send(&server.address).await;
    let plan: PlanResponse = answer.expect(201).read();
    assert_eq!(actions(&plan)[0].0, "créer");
    // The path is UTF-8 while the body is not.
    runner.apply(execution(&plan), "créer").await;
    assert_eq!(
        server.operator().states(&runner, "créer").await,
        ["STARTED", "APPLIED"]
    );
}

#[tokio::test]
async fn w_1_a_declared_charset_is_believed_and_an_unknown_one_refused() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let ask = async |content_type: &str, body: Vec<u8>| {
        let call = Call::post(runner.plan_path())
            .header("Content-Type", content_type)
            .body(body);
        runner.with_headers(call).send(&server.address).await
    };
    let body = Pipeline::of("schema", &["日本"]).body().to_string().into_bytes();
    ask("application/json; charset=utf-8", body.clone())
        .await
        .expect(201);
    runner.release().await.expect(200);
    ask("application/json; charset=\"UTF-8\"", vec![0xE9])
        .await
        .expect_problem(400, "R_GEN_02");
    ask("application/json; charset=utf-16", body)
        .await
        .expect_problem(400, "R_GEN_02");
}

#[tokio::test]
async fn w_1_a_slash_inside_a_change_id_is_part_of_it_however_it_is_sent() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    for id in ["a/b", "a/audit", "change/x/audit", "100% + ünï?"] {
        let pipeline = Pipeline::of("schema", &[id]).body();
        let call = Call::post(runner.plan_path())
            .header("Content-Type", "application/json; charset=utf-8")
            .body(pipeline.to_string());
        let answer = runner.with_headers(call).send(&server.address).await;
        let plan: PlanResponse = answer.expect(201).read();
        runner.apply(execution(&plan), id).await;
        assert_eq!(
            server.operator().states(&runner, id).await,
            ["STARTED", "APPLIED"],
            "{id}"
        );
        runner.release().await.expect(200);
    }
    // As our own SDK sends it.
    let plan = runner.granted(&Pipeline::of("schema", &["c/d"])).await;
    let path = format!("{}/{}/change/c%2Fd/audit", runner.plan_path(), execution(&plan));
    let call = Call::post(path).json(&json!({"state": "STARTED", "changeId": "c/d"}));
    runner.with_headers(call).send(&server.address).await.expect(201);
    assert_eq!(server.operator().states(&runner, "c/d").await, ["STARTED"]);
}

#[tokio::test]
async fn w_1_answers_are_json_with_a_body_and_never_204() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let plan = runner.granted(&Pipeline::of("schema", &["a"])).await;
    for answer in [
        runner
            .ask("elapsedMillis=0", &Pipeline::of("schema", &["a"]).body())
            .await,
        runner.report(execution(&plan), "a", AuditState::Applied).await,
        runner.report(execution(&plan), "a", AuditState::Applied).await,
        runner.extend().await,
        runner.lock().await,
        runner.release().await,
        runner.lock().await,
    ] {
        assert_ne!(answer.status, 204);
        assert!(answer.json().is_object(), "{}", answer.describe());
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn w_4_7_writes_can_be_answered_without_a_body_to_spare_the_java_client_a_reconnect() {
    let server = TestServer::with(&[("FLAMINGOCK_EMPTY_WRITE_ANSWERS", "true")]).await;
    let runner = server.runner("billing").await;
    let plan = runner.granted(&Pipeline::of("schema", &["a"])).await;
    let answer = runner.report(execution(&plan), "a", AuditState::Started).await;
    assert_eq!(answer.expect(201).body, b"");
    assert_eq!(runner.release().await.expect(200).body, b"");
}

#[tokio::test]
async fn w_1_3_errors_have_the_contracts_fields_and_those_of_problem_details() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let call = Call::post(runner.plan_path())
        .bearer(&runner.jwt)
        .json(&json!({}));
    let answer = call.send(&server.address).await;
    answer.expect_problem(400, "R_GEN_01");
    let body = answer.json();
    assert!(
        body["message"]
            .as_str()
            .is_some_and(|message| message.contains("flamingock-runner-id"))
    );
    assert_eq!(body["recoverable"], json!(false));
    assert!(body["details"].is_array());
    assert_eq!(body["status"], json!(400));
    assert_eq!(body["instance"].as_str(), answer.header("x-request-id"));
    runner.lock().await.expect_problem(404, "R_LOCK_03");
    runner.extend().await.expect_problem(409, "R_LOCK_01");
    runner.release().await.expect_problem(409, "R_LOCK_02");
}

#[tokio::test]
async fn w_2_1_ids_are_positive_integers_and_stable_and_a_failed_exchange_says_why() {
    let server = TestServer::start().await;
    let first = server.runner("billing").await;
    let again = server.runner("billing").await;
    assert!(first.environment_id > 0 && first.service_id > 0);
    assert_eq!(
        (first.environment_id, first.service_id),
        (again.environment_id, again.service_id)
    );
    assert_eq!(first.jwt.split('.').count(), 3);
    let call = Call::post("/api/v1/auth/exchange-token").json(&json!({"serviceName": "billing"}));
    call.send(&server.address).await.expect_problem(400, "R_GEN_02");
}

#[tokio::test]
async fn w_2_2_a_plan_has_what_each_generation_of_the_java_client_needs() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a", "b"]);
    let raw = runner
        .ask("elapsedMillis=0", &pipeline.body())
        .await
        .expect(201)
        .json();
    assert!(
        raw["executionId"].is_i64(),
        "a JSON number suits every generation: {raw}"
    );
    assert_eq!(raw["lock"]["key"], json!(runner.key()));
    assert_eq!(raw["lock"]["owner"], json!(runner.id));
    assert_eq!(raw["lock"]["acquiredForMillis"], json!(60_000));
    assert_eq!(
        raw["pipelineResult"]["stages"][0]["changes"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    assert_eq!(raw["synchronizedMarks"], json!(false));
    // Generation 1.3: flat stages are one block.
    let flat = runner
        .ask("elapsedMillis=0", &pipeline.body_of_generation_1())
        .await
        .expect(201)
        .json();
    assert_eq!(flat["action"], json!("EXECUTE"));
    assert_eq!(flat["stages"][0]["changes"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn w_4_3_an_execute_is_never_all_skip_and_lists_every_change_that_is_not_applied() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    runner.bring_up_to_date(&Pipeline::of("schema", &["a"])).await;
    let plan = runner
        .granted(&Pipeline::of("schema", &["a", "b", "c"]).stage("seed", &["d"]))
        .await;
    let offered = actions(&plan);
    for id in ["b", "c", "d"] {
        assert!(
            offered.contains(&(id.to_owned(), ChangeAction::Apply)),
            "{offered:?}"
        );
    }
    assert!(
        !offered.contains(&("a".to_owned(), ChangeAction::Apply)),
        "{offered:?}"
    );
    for change in ["b", "c", "d"] {
        runner.apply(execution(&plan), change).await;
    }
    // The lock was not even given back: there is nothing to do all the same.
    let plan = runner
        .plan(&Pipeline::of("schema", &["a", "b", "c"]).stage("seed", &["d"]))
        .await;
    assert_eq!(plan.action, PlanAction::Continue);
}

#[tokio::test]
async fn w_4_3_what_failed_in_this_run_is_not_offered_again_by_any_generation() {
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
        let plan: PlanResponse = runner.ask("elapsedMillis=0", &body).await.expect(201).read();
        assert_eq!(plan.action, PlanAction::Abort, "{body}");
    }
    // The next run is another matter.
    let plan = runner.another().granted(&pipeline).await;
    assert_eq!(actions(&plan), [("a".to_owned(), ChangeAction::Apply)]);
}

#[tokio::test]
async fn w_4_3_blocks_are_gates_and_stages_of_one_block_are_independent() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::empty()
        .block(BlockType::System)
        .stage("flamingock-system-stage", &["import-history"])
        .block(BlockType::Legacy)
        .stage("flamingock-legacy-stage", &[])
        .block(BlockType::Default)
        .stage("schema", &["a"])
        .stage("seed", &["b"]);
    let plan = runner.granted(&pipeline).await;
    assert_eq!(
        actions(&plan),
        [("import-history".to_owned(), ChangeAction::Apply)]
    );
    let verdicts: Vec<Verdict> = plan
        .pipeline_result
        .iter()
        .flat_map(|result| &result.stages)
        .map(|stage| stage.verdict)
        .collect();
    assert_eq!(
        verdicts,
        [
            Verdict::NeedsWork,
            Verdict::UpToDate,
            Verdict::NeedsWork,
            Verdict::NeedsWork
        ]
    );
    runner.apply(execution(&plan), "import-history").await;
    runner.release().await.expect(200);
    let done = pipeline
        .stage_is("flamingock-system-stage", StageStatus::Completed)
        .change_is("import-history", ChangeStatusReport::Applied);
    let plan = runner.granted(&done).await;
    assert_eq!(actions(&plan).len(), 2);
    // One of the two fails: the other is still offered, and only then the gate closes.
    runner.told(execution(&plan), "a", AuditState::Started).await;
    runner.told(execution(&plan), "a", AuditState::Failed).await;
    runner.release().await.expect(200);
    let failed = done
        .stage_is("schema", StageStatus::Failed)
        .change_is("a", ChangeStatusReport::Failed);
    let plan = runner.granted(&failed).await;
    assert_eq!(actions(&plan), [("b".to_owned(), ChangeAction::Apply)]);
    runner.apply(execution(&plan), "b").await;
    runner.release().await.expect(200);
    let end = failed
        .stage_is("seed", StageStatus::Completed)
        .change_is("b", ChangeStatusReport::Applied);
    assert_eq!(runner.plan(&end).await.action, PlanAction::Abort);
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
}

#[tokio::test]
async fn w_5_4_a_change_of_unknown_outcome_is_offered_as_manual_intervention_and_then_aborts() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a", "b"]);
    let plan = runner.granted(&pipeline).await;
    runner.apply(execution(&plan), "a").await;
    runner.told(execution(&plan), "b", AuditState::Started).await;
    runner.release().await.expect(200);
    let next = runner.another();
    let plan = next.granted(&pipeline).await;
    assert!(actions(&plan).contains(&("b".to_owned(), ChangeAction::ManualIntervention)));
    next.release().await.expect(200);
    let blocked = pipeline
        .stage_is("schema", StageStatus::BlockedManualIntervention)
        .change_is("a", ChangeStatusReport::AlreadyApplied);
    assert_eq!(next.plan(&blocked).await.action, PlanAction::Abort);
}

#[tokio::test]
async fn w_5_6_a_mark_settles_what_the_log_does_not_know_and_is_acknowledged_once_recorded() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a", "b"]);
    let strategy = json!({"txStrategy": "TX_SEPARATE_WITH_MARKER"});
    let plan = runner.granted(&pipeline).await;
    runner
        .report_with(execution(&plan), "a", AuditState::Started, &strategy)
        .await
        .expect(201);
    // Another runner asks while the holder lives: its marks may be the holder's work of this second.
    let marked = pipeline.mark("a", MarkStatus::Applied);
    let next = runner.another();
    let plan = next.plan(&marked).await;
    assert_eq!((plan.action, plan.synchronized_marks), (PlanAction::Await, false));
    runner.release().await.expect(200);
    let plan = next.granted(&marked).await;
    assert!(plan.synchronized_marks);
    assert!(!actions(&plan).contains(&("a".to_owned(), ChangeAction::Apply)));
    let result = plan.pipeline_result.as_ref().expect("with EXECUTE");
    assert_eq!(result.stages[0].changes[0].status, ChangeStatus::AlreadyApplied);
    assert_eq!(server.operator().states(&next, "a").await, ["STARTED", "APPLIED"]);
    let entries = server.operator().audit(&next).await;
    assert_eq!(entries[1].source, "MARK");
}

#[tokio::test]
async fn w_2_3_history_of_an_importer_is_taken_with_its_text_ids_and_ranks_before_every_execution() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let old = json!({"appliedAtEpochMillis": 1_500_000_000_000_i64, "type": "MONGOCK_EXECUTION"});
    let imported = "2019-03-01T10:11:12.123, a b";
    for (change, state) in [("old", AuditState::Applied), ("gone_before", AuditState::Applied)] {
        runner
            .report_with(imported, change, state, &old)
            .await
            .expect(201);
        runner
            .report_with(imported, change, state, &old)
            .await
            .expect(200);
    }
    let plan = runner.granted(&Pipeline::of("schema", &["old", "new"])).await;
    assert_eq!(
        actions(&plan)
            .into_iter()
            .filter(|(_, action)| *action == ChangeAction::Apply)
            .collect::<Vec<_>>(),
        [("new".to_owned(), ChangeAction::Apply)]
    );
    runner.apply(execution(&plan), "new").await;
    // What an importer tells later does not displace what a runner did.
    runner
        .report_with(imported, "new", AuditState::RollbackFailed, &old)
        .await
        .expect(201);
    assert_eq!(
        server.operator().states(&runner, "new").await,
        ["STARTED", "APPLIED", "late ROLLBACK_FAILED"]
    );
}

#[tokio::test]
async fn w_4_7_a_report_is_never_refused_for_a_cosmetic_reason() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let plan = runner.granted(&Pipeline::of("schema", &["a"])).await;
    let odd = json!({
        "txStrategy": "TX_OF_THE_FUTURE", "type": 7, "executionMillis": "12", "errorTrace": "x".repeat(200_000),
        "metadata": [1, {"deep": "\u{0}"}], "author": null, "className": "a\u{0}b", "somethingNew": {"x": 1},
        "transactionFlag": "maybe", "order": 17
    });
    runner.told(execution(&plan), "a", AuditState::Started).await;
    runner
        .report_with(execution(&plan), "a", AuditState::Failed, &odd)
        .await
        .expect(201);
    let body = json!({"changeId": "a", "state": "STATE_OF_THE_FUTURE"});
    let call = Call::post(runner.report_path(execution(&plan), "a")).json(&body);
    runner.with_headers(call).send(&server.address).await.expect(201);
    let entries = server.operator().audit(&runner).await;
    assert_eq!(entries[2].state, "STATE_OF_THE_FUTURE");
    assert!(
        entries[1]
            .error_trace
            .as_ref()
            .is_some_and(|trace| trace.len() < 100_000)
    );
    assert_eq!(entries[1].tx_strategy.as_deref(), Some("TX_OF_THE_FUTURE"));
    assert!(server.operator().verification(&runner).await.intact);
}

#[tokio::test]
async fn w_6_1_an_id_that_may_have_been_damaged_is_refused_loudly_unless_configured_off() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let body = Pipeline::of("schema", &["a", "caf?"]).body();
    let answer = runner.ask("elapsedMillis=0", &body).await;
    answer.expect_problem(422, "R_GEN_06");
    assert!(answer.text().contains("caf?"));
    let lenient = TestServer::with(&[("FLAMINGOCK_REFUSE_DAMAGED_IDS", "false")]).await;
    lenient
        .runner("billing")
        .await
        .ask("elapsedMillis=0", &body)
        .await
        .expect(201);
}

async fn by_digest(runner: &Runner, pipeline: &Pipeline) -> flamingock_tests::Answer {
    let body = json!({"clientSubmission": {"digest": digest::of_blocks(&pipeline.blocks)}});
    runner.ask("elapsedMillis=0", &body).await
}

#[tokio::test]
async fn a_digest_is_answered_only_when_exactly_this_pipeline_was_found_applied_at_this_head() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a", "b"]);
    by_digest(&runner, &pipeline)
        .await
        .expect_problem(409, "R_PLAN_01");
    runner.bring_up_to_date(&pipeline).await;
    let plan: PlanResponse = by_digest(&runner, &pipeline).await.expect(201).read();
    assert_eq!(plan.action, PlanAction::Continue);
    assert!(plan.pipeline_result.is_none());
    // Another pipeline is another question, and so is this one once anything was recorded.
    by_digest(&runner, &Pipeline::of("schema", &["a"]))
        .await
        .expect_problem(409, "R_PLAN_01");
    let other = runner.granted(&Pipeline::of("schema", &["c"])).await;
    runner.told(execution(&other), "c", AuditState::Started).await;
    by_digest(&runner, &pipeline)
        .await
        .expect_problem(409, "R_PLAN_01");
}

#[tokio::test]
async fn the_openapi_document_that_is_served_is_the_one_that_is_checked_in() {
    let server = TestServer::start().await;
    let document: Value = Call::get("/api/openapi.json")
        .send(&server.address)
        .await
        .expect(200)
        .json();
    let checked_in = include_str!("../../../openapi/openapi.json");
    let checked_in: Value = serde_json::from_str(checked_in).expect("JSON");
    assert!(
        document == checked_in,
        "they differ: run flamingock-server openapi --write openapi/openapi.json"
    );
    Call::get("/docs/").send(&server.address).await.expect(200);
}

#[tokio::test]
async fn w_4_3_item_16_a_failed_run_that_reports_no_failed_stage_is_told_so_by_an_error() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    // Two packages that end in the same name: the client keeps one status for both, and the later one's success hides the
    // earlier one's failure.
    let twins = Pipeline::of("changes", &["a"]).stage("changes", &["c"]);
    let execution = runner.granted(&twins).await.execution_id.expect("an id");
    for state in [AuditState::Started, AuditState::Failed, AuditState::RolledBack] {
        runner.told(execution, "a", state).await;
    }
    runner.apply(execution, "c").await;
    runner.release().await.expect(200);
    let mut reported = twins.clone();
    for stage in reported.blocks.iter_mut().flat_map(|block| &mut block.stages) {
        stage.status = Some(StageStatus::Completed);
    }
    for body in [
        reported.body(),
        reported.body_of_generation_2(),
        reported.body_of_generation_1(),
    ] {
        let answer = runner.ask("elapsedMillis=0", &body).await;
        answer.expect_problem(409, "R_PLAN_02");
        assert!(answer.text().contains(": a did not succeed"), "{}", answer.text());
    }
    // Another runner asks anew, and is offered what failed.
    assert_eq!(runner.another().plan(&twins).await.action, PlanAction::Execute);
}

#[tokio::test]
async fn w_4_2_item_9_what_failed_in_this_run_is_not_waited_for_while_another_holds_the_lock() {
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
