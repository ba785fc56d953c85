//! W 4.6, items 34 to 37, and item 10: marks.

use flamingock_api_types::audit::{AuditState, AuditWriteResponse};
use flamingock_api_types::execution::{ChangeAction, ChangeStatus, MarkStatus, PlanAction};
use flamingock_tests::{Pipeline, TestServer};
use serde_json::json;

use super::{action_of, actions, execution};

#[tokio::test]
async fn w_4_items_10_34_36_w_6_5_a_mark_settles_what_the_log_does_not_know_and_is_acknowledged_once_recorded()
 {
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
    assert_eq!(server.operator().states(&next, "a").await, ["STARTED"]);
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
async fn w_4_item_34_a_mark_without_any_entry_is_taken_for_what_it_says() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let marked = Pipeline::of("schema", &["a"]).mark("a", MarkStatus::Applied);
    let plan = runner.plan(&marked).await;
    assert_eq!(
        (plan.action, plan.synchronized_marks),
        (PlanAction::Continue, true)
    );
    assert_eq!(server.operator().states(&runner, "a").await, ["APPLIED"]);
    // Sent again, because the answer was lost: nothing new.
    let plan = runner.plan(&marked).await;
    assert_eq!(
        (plan.action, plan.synchronized_marks),
        (PlanAction::Continue, true)
    );
    assert_eq!(server.operator().states(&runner, "a").await, ["APPLIED"]);
}

#[tokio::test]
async fn w_4_item_34_a_mark_that_contradicts_the_record_asks_a_person_and_is_never_run_over() {
    let server = TestServer::start().await;
    let strategy = json!({"txStrategy": "TX_SEPARATE_WITH_MARKER"});
    for last in [
        AuditState::Failed,
        AuditState::RolledBack,
        AuditState::RollbackFailed,
    ] {
        let runner = server.runner(&format!("service-{last:?}")).await;
        let pipeline = Pipeline::of("schema", &["a"]);
        let plan = runner.granted(&pipeline).await;
        for state in [AuditState::Started, last] {
            runner
                .report_with(execution(&plan), "a", state, &strategy)
                .await
                .expect(201);
        }
        runner.release().await.expect(200);
        let plan = runner
            .another()
            .granted(&pipeline.mark("a", MarkStatus::Applied))
            .await;
        assert_eq!(
            action_of(&plan, "a"),
            Some(ChangeAction::ManualIntervention),
            "{last:?}"
        );
        assert!(
            !plan.synchronized_marks,
            "the mark stays where it is, as evidence"
        );
        assert_eq!(server.operator().issues(&runner).await.len(), 1);
    }
}

#[tokio::test]
async fn w_4_item_35_a_rolled_back_mark_makes_the_change_eligible_again() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let plan = runner.granted(&pipeline).await;
    runner.told(execution(&plan), "a", AuditState::Started).await;
    runner.release().await.expect(200);
    let next = runner.another();
    let plan = next.granted(&pipeline.mark("a", MarkStatus::RolledBack)).await;
    assert!(plan.synchronized_marks);
    assert_eq!(action_of(&plan, "a"), Some(ChangeAction::Apply));
    assert_eq!(
        server.operator().states(&next, "a").await,
        ["STARTED", "ROLLED_BACK"]
    );
    next.apply(execution(&plan), "a").await;
}

#[tokio::test]
async fn w_4_item_36_without_a_mark_there_is_nothing_to_synchronize() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    assert!(!runner.granted(&pipeline).await.synchronized_marks);
    runner.bring_up_to_date(&pipeline).await;
    assert!(!runner.plan(&pipeline).await.synchronized_marks);
}

#[tokio::test]
async fn w_4_item_36_marks_are_recorded_before_they_are_acknowledged() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let marked = Pipeline::of("schema", &["a", "b"]).mark("a", MarkStatus::Applied);
    // Nothing can be written: no promise is made.
    let forbid = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$; \
        CREATE TRIGGER refuse BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION refuse();";
    server.database.execute(forbid).await;
    let answer = runner.ask("elapsedMillis=0", &marked.body()).await;
    assert!(answer.status >= 500, "{}", answer.describe());
    runner.lock().await.expect_problem(404, "R_LOCK_03");
    server
        .database
        .execute("DROP TRIGGER refuse ON audit_entries")
        .await;
    let plan = runner.granted(&marked).await;
    assert!(plan.synchronized_marks);
    assert_eq!(server.operator().states(&runner, "a").await, ["APPLIED"]);
}

#[tokio::test]
async fn w_4_item_37_the_report_of_the_runner_that_made_the_mark_is_taken_and_kept_with_all_that_it_says() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let fields = json!({"txStrategy": "TX_SEPARATE_WITH_MARKER", "executionMillis": 171});
    let plan = runner.granted(&pipeline).await;
    runner
        .report_with(execution(&plan), "a", AuditState::Started, &fields)
        .await
        .expect(201);
    runner.release().await.expect(200);
    let next = runner.another();
    let marked = pipeline.clone().mark("a", MarkStatus::Applied);
    assert_eq!(next.plan(&marked).await.action, PlanAction::Continue);
    // It was on its way all the time.
    let report = async || {
        runner
            .report_with(execution(&plan), "a", AuditState::Applied, &fields)
            .await
    };
    let told: AuditWriteResponse = report().await.expect(201).read();
    assert!(!told.late);
    let again: AuditWriteResponse = report().await.expect(200).read();
    assert_eq!(again.seq, told.seq);
    let entries = server.operator().audit(&next).await;
    let sources: Vec<&str> = entries.iter().map(|entry| entry.source.as_str()).collect();
    assert_eq!(sources, ["RUNNER", "MARK", "RUNNER"]);
    assert_eq!(entries[2].execution_millis, Some(171));
    assert_eq!(next.plan(&pipeline).await.action, PlanAction::Continue);
}
