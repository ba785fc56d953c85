//! W 4.4, items 21 to 26: building the answer.

use std::collections::HashSet;

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::{ChangeStatusReport, PlanAction, PlanResponse, StageStatus};
use flamingock_tests::{Pipeline, TestServer};
use serde_json::json;

use super::comparison::result;
use super::{actions, execution};

#[tokio::test]
async fn w_4_item_21_w_6_13_every_execute_is_an_execution_of_its_own_and_is_remembered() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let neighbour = server.runner("ledger").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let mut seen = HashSet::new();
    // The holder repeats itself: each time a new execution, renewed lock.
    for _ in 0..3 {
        for asking in [&runner, &neighbour] {
            let id = execution(&asking.granted(&pipeline).await);
            assert!(id > 0 && seen.insert(id), "{id}");
            let path = format!("{}/{id}", asking.plan_path());
            let detail = asking.get(&path).await.expect(200).json();
            assert_eq!(detail["runnerId"], json!(asking.id));
            assert_eq!(detail["clientSubmission"], pipeline.body()["clientSubmission"]);
            assert_eq!(detail["pipeline"]["stages"][0]["changes"][0]["action"], "APPLY");
        }
    }
}

#[tokio::test]
async fn w_4_item_23_names_and_ids_come_back_byte_for_byte_and_each_once() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let names = [
        " leading and trailing ",
        "Ünïcode",
        "a/b+c:d",
        "%25",
        "UPPER",
        "upper",
        "ﬁ\u{301}",
    ];
    let pipeline = names
        .iter()
        .fold(Pipeline::of("first", &["x"]), |pipeline, name| {
            pipeline.stage(name, &[name, "x", name])
        });
    let answer = runner.ask("elapsedMillis=0", &pipeline.body()).await;
    let plan: PlanResponse = answer.expect(201).read();
    let mut listed = HashSet::new();
    for stage in plan.stages.as_deref().expect("with EXECUTE") {
        assert!(listed.insert(&stage.name), "{stage:?}");
        let ids: HashSet<&str> = stage.changes.iter().map(|change| change.id.as_str()).collect();
        assert_eq!(ids.len(), stage.changes.len(), "{stage:?}");
    }
    let result = &plan.pipeline_result.as_ref().expect("with EXECUTE").stages;
    let answered: Vec<&str> = result.iter().map(|stage| stage.name.as_str()).collect();
    let submitted: Vec<&str> = std::iter::once("first").chain(names).collect();
    assert_eq!(answered, submitted);
    for (stage, name) in result.iter().skip(1).zip(names) {
        let ids: Vec<&str> = stage.changes.iter().map(|change| change.id.as_str()).collect();
        assert_eq!(ids, [name, "x"], "each change once");
    }
    // What stands in several stages is to be applied in one of them.
    let applied = actions(&plan).into_iter().filter(|(id, _)| id == "x").count();
    assert_eq!(applied, 1);
}

#[tokio::test]
async fn w_4_item_24_the_result_covers_exactly_what_was_submitted() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    runner
        .bring_up_to_date(&Pipeline::of("old", &["before", "orphan"]))
        .await;
    let pipeline = Pipeline::of("old", &["before"])
        .stage("done", &["applied"])
        .stage("broken", &["failed", "behind"])
        .stage("todo", &["next"]);
    let plan = runner.granted(&pipeline).await;
    runner.apply(execution(&plan), "applied").await;
    runner.told(execution(&plan), "failed", AuditState::Started).await;
    runner.told(execution(&plan), "failed", AuditState::Failed).await;
    runner.release().await.expect(200);
    let reported = pipeline
        .stage_is("done", StageStatus::Completed)
        .change_is("applied", ChangeStatusReport::Applied)
        .stage_is("broken", StageStatus::Failed)
        .change_is("failed", ChangeStatusReport::Failed);
    let plan = runner.granted(&reported).await;
    let expected = json!([
        result("old", "UP_TO_DATE", &[("before", "ALREADY_APPLIED")]),
        result("done", "UP_TO_DATE", &[("applied", "APPLIED")]),
        result(
            "broken",
            "NEEDS_WORK",
            &[("failed", "FAILED"), ("behind", "NOT_REACHED")]
        ),
        result("todo", "NEEDS_WORK", &[("next", "NOT_REACHED")]),
    ]);
    assert_eq!(
        json!(plan.pipeline_result.expect("with EXECUTE").stages),
        expected
    );
}

#[tokio::test]
async fn w_4_item_25_the_lock_of_an_answer_is_the_callers_or_the_holders_as_it_is_now() {
    let server = TestServer::start().await;
    let holder = server.runner("billing").await;
    let other = holder.another();
    // A lease of 0 would make every guarded change of the client fail.
    let none = Pipeline::of("schema", &["a"]).lease_ms(0);
    let granted = holder.granted(&none).await.lock.expect("a lock");
    assert_eq!(granted.owner, holder.id);
    assert!(granted.acquired_for_millis > 0);
    let pipeline = Pipeline::of("schema", &["a"]);
    let granted = holder.granted(&pipeline).await.lock.expect("a lock");
    assert_eq!(granted.acquired_for_millis, 60_000);
    assert_eq!(other.plan(&pipeline).await.lock, Some(granted));
    let extended = holder.extended().await.lock;
    let plan = other.plan(&pipeline).await;
    assert_eq!(plan.action, PlanAction::Await);
    assert_eq!(plan.lock, Some(extended), "the extension shows at once");
}
