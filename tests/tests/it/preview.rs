//! The dry run of a plan: says what a start would get, and leaves no trace.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::{
    BlockType, ChangeStatusReport, MarkStatus, PlanAction, StageStatus, Verdict,
};
use flamingock_api_types::preview::PreviewAction::{Apply, InProgress, ManualIntervention, Skip};
use flamingock_api_types::preview::{PlanPreview, PreviewAction, PreviewVerdict};
use flamingock_tests::{Call, Database, Person, Pipeline, Runner, TestServer, eventually, tokens};
use serde_json::json;

fn actions(preview: &PlanPreview) -> Vec<(&str, PreviewAction, &str)> {
    let changes = preview.stages.iter().flat_map(|stage| &stage.changes);
    changes
        .map(|change| (change.id.as_str(), change.action, change.code.as_str()))
        .collect()
}

/// Everything in the database, each row with the transaction that wrote it; but for the last use of tokens, which a call
/// notes whatever it is.
pub(crate) async fn everything(database: &Database) -> Vec<(String, String)> {
    let pool = database.pool().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class
          WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'api_tokens' ORDER BY 1",
    )
    .fetch_all(&pool)
    .await
    .expect("the catalogue answers");
    let mut found = Vec::new();
    for table in tables {
        let sql = format!(
            "SELECT coalesce(md5(string_agg(t.xmin::text || t::text, ',' ORDER BY t.ctid)), '') FROM {table} t"
        );
        let digest: String = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .fetch_one(&pool)
            .await
            .expect("a digest");
        found.push((table, digest));
    }
    assert!(found.len() > 20, "{found:?}");
    found
}

/// `a` is applied, `b` has failed half way, `c` was never run; `gone` is applied and was removed from the code.
async fn a_mixed_history(server: &TestServer) -> (Runner, Pipeline) {
    let runner = server.runner("billing").await;
    let plan = runner.granted(&Pipeline::of("schema", &["gone", "a", "b"])).await;
    let execution = plan.execution_id.expect("a grant has an execution");
    runner.apply(execution, "gone").await;
    runner.apply(execution, "a").await;
    runner.told(execution, "b", AuditState::Started).await;
    runner.told(execution, "b", AuditState::Failed).await;
    runner.release().await.expect(200);
    (runner, Pipeline::of("schema", &["a", "b"]).stage("seed", &["c"]))
}

#[tokio::test]
async fn every_client_generations_pipeline_gets_the_action_and_the_reason_of_every_change() {
    let server = TestServer::start().await;
    let (runner, pipeline) = a_mixed_history(&server).await;
    let viewer = server.person(&tokens().viewer);
    let path = format!("{}/plan", Person::scope(&runner));
    for body in [
        pipeline.body(),
        pipeline.body_of_generation_1(),
        pipeline.body_of_generation_2(),
    ] {
        let preview: PlanPreview = viewer.post(&path, &body).await.expect(200).read();
        assert_eq!(
            actions(&preview),
            [
                ("a", Skip, "APPLIED"),
                ("b", ManualIntervention, "FAILED_HALF_DONE"),
                ("c", Apply, "NEVER_RUN"),
            ]
        );
        assert_eq!(preview.verdict, PreviewVerdict::NeedsPerson);
        assert_eq!(preview.stages[0].verdict, Verdict::NeedsWork);
        assert_eq!(preview.stages[0].changes[1].seq, Some(6));
        assert_eq!(preview.block, Some(0));
        assert_eq!(preview.head_seq, 6);
        let counts = preview.counts;
        assert_eq!(
            (
                counts.applied,
                counts.pending,
                counts.needs_person,
                counts.missing
            ),
            (1, 1, 1, 1)
        );
        assert_eq!(preview.missing_changes[0].id, "gone");
        assert_eq!(preview.missing_changes[0].state, "APPLIED");
        assert_eq!(preview.held_by, None);
    }
}

#[tokio::test]
async fn what_a_run_reports_of_itself_does_not_count_in_a_dry_run() {
    let server = TestServer::start().await;
    let (runner, pipeline) = a_mixed_history(&server).await;
    let reported = pipeline
        .clone()
        .stage_is("schema", StageStatus::Failed)
        .change_is("c", ChangeStatusReport::Applied);
    let operator = server.operator();
    let preview = operator.preview(&runner, &reported).await;
    assert_eq!(
        actions(&preview),
        actions(&operator.preview(&runner, &pipeline).await)
    );
}

#[tokio::test]
async fn the_verdict_goes_from_pending_to_up_to_date() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let operator = server.operator();
    let pipeline = Pipeline::of("schema", &["a"])
        .block(BlockType::Legacy)
        .stage("old", &["b"]);
    let preview = operator.preview(&runner, &pipeline).await;
    assert_eq!(
        preview.verdict,
        PreviewVerdict::Pending,
        "before the service's first start"
    );
    assert!(preview.message.contains("2 changes"), "{}", preview.message);
    runner.bring_up_to_date(&pipeline).await;
    let preview = operator.preview(&runner, &pipeline).await;
    assert_eq!(preview.verdict, PreviewVerdict::UpToDate);
    assert_eq!((preview.block, preview.counts.applied), (None, 2));
}

#[tokio::test]
async fn a_dry_run_writes_nothing_and_takes_no_lock() {
    let server = TestServer::start().await;
    let (runner, pipeline) = a_mixed_history(&server).await;
    // What would make a plan write: a mark that proves an entry, and one that contradicts the record.
    let plan = runner.granted(&Pipeline::of("seed", &["c"])).await;
    let execution = plan.execution_id.expect("a grant has an execution");
    runner.told(execution, "c", AuditState::Started).await;
    runner.release().await.expect(200);
    let marked = pipeline
        .mark("c", MarkStatus::Applied)
        .mark("b", MarkStatus::Applied);
    let operator = server.operator();
    let unknown = server.runner("never-planned").await;
    let before = everything(&server.database).await;

    let preview = operator.preview(&runner, &marked).await;
    assert_eq!(
        actions(&preview),
        [
            ("a", Skip, "APPLIED"),
            ("b", ManualIntervention, "MARK_CONTRADICTS_RECORD"),
            ("c", Skip, "COMMITTED_BY_MARK"),
        ]
    );
    operator.preview(&unknown, &Pipeline::of("schema", &["a"])).await;
    assert_eq!(everything(&server.database).await, before);

    // And the digest would see it: the real plan writes.
    runner.granted(&marked).await;
    assert_ne!(everything(&server.database).await, before);
}

#[tokio::test]
async fn while_another_runner_holds_the_lock_it_says_who_and_what_is_in_progress() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let operator = server.operator();
    let pipeline = Pipeline::of("schema", &["a", "b"]).lease_ms(1_000);
    let plan = runner.granted(&pipeline).await;
    let execution = plan.execution_id.expect("a grant has an execution");
    runner.told(execution, "a", AuditState::Started).await;
    runner.extended().await;

    let preview = operator.preview(&runner, &pipeline).await;
    assert_eq!(preview.verdict, PreviewVerdict::Held);
    let holder = preview.held_by.as_ref().expect("it is held");
    assert_eq!(holder.owner, runner.id);
    assert_eq!(
        actions(&preview),
        [("a", InProgress, "IN_PROGRESS"), ("b", Apply, "NEVER_RUN")]
    );
    assert_eq!(preview.counts.in_progress, 1);
    assert!(preview.message.contains(&runner.id), "{}", preview.message);
    // Its runner has died: once the lease is over, a person is asked.
    let preview = eventually("the lease ends", async || {
        let preview = operator.preview(&runner, &pipeline).await;
        (preview.verdict != PreviewVerdict::Held).then_some(preview)
    })
    .await;
    assert_eq!(preview.verdict, PreviewVerdict::NeedsPerson);
    assert_eq!(preview.verdict_when_free, PreviewVerdict::NeedsPerson);
    assert_eq!(actions(&preview)[0], ("a", ManualIntervention, "OUTCOME_UNKNOWN"));
}

#[tokio::test]
async fn a_lock_does_not_hold_up_a_service_with_nothing_to_do() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    runner.bring_up_to_date(&pipeline).await;
    runner.acquired(60_000).await;
    let preview = server.operator().preview(&runner, &pipeline).await;
    assert_eq!(preview.verdict, PreviewVerdict::UpToDate);
    assert!(preview.held_by.is_some());
    assert_eq!(
        runner.another().plan(&pipeline).await.action,
        PlanAction::Continue
    );
}

#[tokio::test]
async fn what_is_malformed_or_foreign_is_refused() {
    let server = TestServer::start().await;
    let mine = server.runner("billing").await;
    let theirs = server.other_tenants_runner("routing").await;
    let operator = server.operator();
    let path = format!("{}/plan", Person::scope(&mine));
    let digest = format!("sha256-v1:{}", "0".repeat(64));
    for body in [
        json!({}),
        json!({"clientSubmission": {}}),
        json!({"clientSubmission": {"digest": digest}}),
        json!({"clientSubmission": {"blocks": [{"stages": [{"name": "s", "changes": [{"id": ""}]}]}]}}),
        json!({"clientSubmission": {"blocks": [{"stages": [{"name": "s", "changes": [{"id": "a", "checksum": ""}]}]}]}}),
        json!({"clientSubmission": {"blocks": [{"stages": [{"name": "s", "changes": [{"id": "a", "checksum": "x".repeat(201)}]}]}]}}),
    ] {
        operator.post(&path, &body).await.expect_problem(400, "R_GEN_02");
    }
    let body = Pipeline::of("schema", &["a"]).body();
    operator
        .post(&format!("{}/plan", Person::scope(&theirs)), &body)
        .await
        .expect_problem(404, "R_TENANT_02");
    Call::post(path.clone())
        .json(&body)
        .send(&server.address)
        .await
        .expect_problem(401, "R_AUTH_05");
    // A start would be told the same of an id that was damaged on its way.
    let damaged = Pipeline::of("schema", &["a?"]).body();
    operator
        .post(&path, &damaged)
        .await
        .expect_problem(422, "R_GEN_06");
    // A runner may ask for its own service.
    let preview = Call::post(path)
        .bearer(&mine.jwt)
        .json(&body)
        .send(&server.address)
        .await;
    preview.expect(200);
}
