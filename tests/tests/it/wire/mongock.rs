//! W 3.8: the import of a Mongock history, as the SDK does it: while its system change runs, one report for each old
//! record, with the old record's text as its execution id, times in the past, and ids that no pipeline has any more.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::{
    BlockType, ChangeAction, ChangeStatusReport, PlanAction, PlanResponse, StageStatus, Verdict,
};
use flamingock_tests::{Pipeline, Runner, TestServer};
use serde_json::{Value, json};

use super::{action_of, actions, execution};

const SYSTEM_STAGE: &str = "flamingock-system-stage";
const LEGACY_STAGE: &str = "flamingock-legacy-stage";
const IMPORT: &str = "migration-mongock-to-flamingock-community";

/// Ids of Mongock's executions: a time and a random number.
const OLD_RUN: &str = "2019-03-01T10:11:12.123-417";
const OLDER_RUN: &str = "2018-11-20T06:00:00.001, 12 Ä";

fn pipeline() -> Pipeline {
    Pipeline::empty()
        .block(BlockType::System)
        .stage(SYSTEM_STAGE, &[IMPORT])
        .block(BlockType::Legacy)
        .stage(
            LEGACY_STAGE,
            &["create-clients_before", "create-clients", "seed-clients"],
        )
        .block(BlockType::Default)
        .stage("schema", &["create-invoices"])
}

fn record(kind: &str, stage: &str, year: i64) -> Value {
    json!({
        "type": kind, "stageId": stage, "appliedAtEpochMillis": (year - 1970) * 31_556_952_000_i64,
        "className": "com.acme.billing.ClientsChangeUnit", "txStrategy": "NON_TX", "executionHostname": "old-host",
        "errorTrace": "", "metadata": {"mongock": true}
    })
}

/// Everything that the importer writes; its client ignores the answers, so none may be a refusal.
async fn import(runner: &Runner) {
    let (execution, before) = ("MONGOCK_EXECUTION", "MONGOCK_BEFORE");
    for (run, change, state, kind, stage, year) in [
        (
            OLDER_RUN,
            "create-clients_before",
            AuditState::Applied,
            before,
            LEGACY_STAGE,
            2018,
        ),
        (
            OLDER_RUN,
            "create-clients",
            AuditState::Failed,
            execution,
            LEGACY_STAGE,
            2018,
        ),
        (
            OLDER_RUN,
            "create-clients",
            AuditState::RolledBack,
            execution,
            LEGACY_STAGE,
            2018,
        ),
        (
            OLD_RUN,
            "create-clients",
            AuditState::Applied,
            execution,
            LEGACY_STAGE,
            2019,
        ),
        (
            OLD_RUN,
            "seed-clients",
            AuditState::Applied,
            execution,
            LEGACY_STAGE,
            2019,
        ),
        (
            OLD_RUN,
            "long-gone",
            AuditState::Applied,
            execution,
            LEGACY_STAGE,
            2019,
        ),
        (
            OLD_RUN,
            "long-gone-and-dirty",
            AuditState::RollbackFailed,
            execution,
            LEGACY_STAGE,
            2019,
        ),
    ] {
        runner
            .report_with(run, change, state, &record(kind, stage, year))
            .await
            .expect(201);
    }
}

/// The system block's run, up to the plan request after it.
async fn run_the_import(runner: &Runner) -> Pipeline {
    let plan = runner.granted(&pipeline()).await;
    assert_eq!(actions(&plan), [(IMPORT.to_owned(), ChangeAction::Apply)]);
    runner.told(execution(&plan), IMPORT, AuditState::Started).await;
    import(runner).await;
    runner.told(execution(&plan), IMPORT, AuditState::Applied).await;
    runner.release().await.expect(200);
    pipeline()
        .stage_is(SYSTEM_STAGE, StageStatus::Completed)
        .change_is(IMPORT, ChangeStatusReport::Applied)
}

fn verdicts(plan: &PlanResponse) -> Vec<Verdict> {
    let result = plan.pipeline_result.as_ref().expect("with EXECUTE and CONTINUE");
    result.stages.iter().map(|stage| stage.verdict).collect()
}

#[tokio::test]
async fn w_3_8_w_4_item_41_a_legacy_block_that_was_imported_whole_is_behind_us() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let imported = run_the_import(&runner).await;
    // Nothing of the legacy block runs again; the next block has its turn.
    let plan = runner.granted(&imported).await;
    assert_eq!(
        actions(&plan),
        [("create-invoices".to_owned(), ChangeAction::Apply)]
    );
    assert_eq!(
        verdicts(&plan),
        [Verdict::UpToDate, Verdict::UpToDate, Verdict::NeedsWork]
    );
    runner.apply(execution(&plan), "create-invoices").await;
    runner.release().await.expect(200);
    let next = runner.another().plan(&pipeline()).await;
    assert_eq!(next.action, PlanAction::Continue);
    assert_eq!(verdicts(&next), [Verdict::UpToDate; 3]);
    // And where there is nothing else: the start after the import goes through at once.
    let legacy = Pipeline::empty().block(BlockType::Legacy).stage(
        LEGACY_STAGE,
        &["create-clients_before", "create-clients", "seed-clients"],
    );
    assert_eq!(runner.another().plan(&legacy).await.action, PlanAction::Continue);
}

#[tokio::test]
async fn w_3_8_imported_records_keep_their_text_ids_and_their_times() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    run_the_import(&runner).await;
    let entries = server.operator().audit(&runner).await;
    let imports: Vec<_> = entries.iter().filter(|entry| entry.source == "IMPORT").collect();
    assert_eq!(imports.len(), 7);
    assert!(imports.iter().all(|entry| !entry.late));
    assert_eq!(imports[0].execution_id, OLDER_RUN);
    assert_eq!(imports[3].execution_id, OLD_RUN);
    assert_eq!(imports[3].applied_at_epoch_millis, Some(49 * 31_556_952_000));
    assert_eq!(imports[0].change_type.as_deref(), Some("MONGOCK_BEFORE"));
    assert!(server.operator().verification(&runner).await.intact);
    // What no pipeline has any more is history, and no issue that stops anybody.
    let states = server.operator().states(&runner, "long-gone").await;
    assert_eq!(states, ["APPLIED"]);
}

#[tokio::test]
async fn w_3_8_an_import_that_is_repeated_writes_nothing_and_displaces_nothing() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let imported = run_the_import(&runner).await;
    let plan = runner.granted(&imported).await;
    runner.apply(execution(&plan), "create-invoices").await;
    let before = server.operator().audit(&runner).await.len();
    let old = record("MONGOCK_EXECUTION", LEGACY_STAGE, 2019);
    for change in ["create-clients", "seed-clients", "long-gone"] {
        runner
            .report_with(OLD_RUN, change, AuditState::Applied, &old)
            .await
            .expect(200);
    }
    assert_eq!(server.operator().audit(&runner).await.len(), before);
    // An importer's word on what a runner did here is evidence.
    runner
        .report_with(OLD_RUN, "create-invoices", AuditState::RollbackFailed, &old)
        .await
        .expect(201);
    let states = server.operator().states(&runner, "create-invoices").await;
    assert_eq!(states, ["STARTED", "APPLIED", "late ROLLBACK_FAILED"]);
    assert_eq!(
        runner.another().plan(&pipeline()).await.action,
        PlanAction::Continue
    );
}

#[tokio::test]
async fn w_3_8_a_legacy_change_that_the_old_history_left_open_is_not_taken_for_applied() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let legacy = Pipeline::empty()
        .block(BlockType::Legacy)
        .stage(LEGACY_STAGE, &["undone", "dirty", "missing"]);
    let old = record("MONGOCK_EXECUTION", LEGACY_STAGE, 2019);
    for (change, state) in [
        ("undone", AuditState::RolledBack),
        ("dirty", AuditState::RollbackFailed),
    ] {
        runner.report_with(OLD_RUN, change, state, &old).await.expect(201);
    }
    let plan = runner.granted(&legacy).await;
    assert_eq!(action_of(&plan, "undone"), Some(ChangeAction::Apply));
    assert_eq!(action_of(&plan, "dirty"), Some(ChangeAction::ManualIntervention));
    assert_eq!(action_of(&plan, "missing"), Some(ChangeAction::Apply));
}
