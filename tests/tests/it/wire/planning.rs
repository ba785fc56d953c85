//! W 4.3, items 10 to 20: choosing the action.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::{
    BlockType, ChangeAction, ChangeStatusReport, PlanAction, PlanResponse, StageStatus, Verdict,
};
use flamingock_tests::{Pipeline, TestServer};

use super::bodies::{Generation, change, plan_body, stage};
use super::client::JavaClient;
use super::{action_of, actions, execution};

#[tokio::test]
async fn w_4_item_11_a_stage_is_applied_if_every_change_is_and_one_without_changes_always_is() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    runner.bring_up_to_date(&Pipeline::of("schema", &["a"])).await;
    let pipeline = Pipeline::of("schema", &["a"])
        .stage("empty", &[])
        .stage("seed", &["a", "b"]);
    let plan = runner.granted(&pipeline).await;
    let result = plan.pipeline_result.as_ref().expect("with EXECUTE");
    let verdicts: Vec<Verdict> = result.stages.iter().map(|stage| stage.verdict).collect();
    assert_eq!(
        verdicts,
        [Verdict::UpToDate, Verdict::UpToDate, Verdict::NeedsWork]
    );
    let stages = plan.stages.expect("with EXECUTE");
    assert_eq!(stages.len(), 1, "{stages:?}");
    assert_eq!(stages[0].name, "seed");
}

#[tokio::test]
async fn w_4_item_11_a_completed_stage_is_believed_for_this_run_and_judged_by_the_log_in_the_next() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]).stage("seed", &["b"]);
    let plan = runner.granted(&pipeline).await;
    runner.told(execution(&plan), "a", AuditState::Started).await; // and its result was lost
    runner.apply(execution(&plan), "b").await;
    runner.release().await.expect(200);
    let reported = pipeline
        .clone()
        .stage_is("schema", StageStatus::Completed)
        .stage_is("seed", StageStatus::Completed);
    assert_eq!(runner.plan(&reported).await.action, PlanAction::Continue);
    let next = runner.another().granted(&pipeline).await;
    assert_eq!(action_of(&next, "a"), Some(ChangeAction::ManualIntervention));
}

#[tokio::test]
async fn w_4_items_12_14_blocks_are_gates_and_stages_of_one_block_are_independent() {
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
async fn w_4_item_12_a_type_that_repeats_makes_no_one_block() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::empty()
        .block(BlockType::Default)
        .stage("first", &["a"])
        .block(BlockType::Default)
        .stage("second", &["b"]);
    let plan = runner.granted(&pipeline).await;
    assert_eq!(actions(&plan), [("a".to_owned(), ChangeAction::Apply)]);
}

#[tokio::test]
async fn w_4_items_13_19_contention_is_an_await_and_work_in_progress_is_no_issue() {
    let server = TestServer::start().await;
    let holder = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let plan = holder.granted(&pipeline).await;
    holder.told(execution(&plan), "a", AuditState::Started).await;
    let other = holder.another();
    let answer = other.ask("elapsedMillis=0", &pipeline.body()).await;
    let told: PlanResponse = answer.expect(201).read();
    assert_eq!(told.action, PlanAction::Await);
    assert_eq!(told.lock, plan.lock);
    assert!(told.stages.is_none());
}

#[tokio::test]
async fn w_4_item_15_whoever_has_nothing_to_do_does_not_wait_for_those_who_have() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let old = Pipeline::of("schema", &["a"]);
    runner.bring_up_to_date(&old).await;
    // A newer version of the application is at work.
    let newer = runner.granted(&Pipeline::of("schema", &["a", "b"])).await;
    runner.told(execution(&newer), "b", AuditState::Started).await;
    let plan = runner.another().plan(&old).await;
    assert_eq!(plan.action, PlanAction::Continue);
    assert!(plan.lock.is_none());
}

#[tokio::test]
async fn w_4_item_16_a_failed_run_that_reports_no_failed_stage_is_told_so_by_an_error() {
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
async fn w_4_item_17_a_change_of_unknown_outcome_is_offered_as_manual_intervention_and_then_aborts() {
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
async fn w_4_items_18_22_an_execute_is_never_all_skip_and_lists_every_change_that_is_not_applied() {
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
async fn w_4_item_20_generation_1_is_one_block_and_is_told_of_interventions() {
    let server = TestServer::start().await;
    let mut client = JavaClient::build(&server, "billing").await;
    let body = plan_body(
        Generation::G1,
        &[stage("schema", [change("a")]), stage("seed", [change("b")])],
    );
    let plan: PlanResponse = serde_json::from_value(client.plan(&body).await).expect("a plan");
    assert_eq!(actions(&plan).len(), 2, "both stages, as those of one block");
    client
        .runner
        .told(execution(&plan), "a", AuditState::Started)
        .await;
    client.release().await.expect(200);
    let mut next = client.next_start();
    let plan: PlanResponse = serde_json::from_value(next.plan(&body).await).expect("a plan");
    assert_eq!(plan.action, PlanAction::Execute);
    assert_eq!(action_of(&plan, "a"), Some(ChangeAction::ManualIntervention));
}
