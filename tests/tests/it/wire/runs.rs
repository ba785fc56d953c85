//! W 3: what the client does, step by step, played against the server.

use std::time::{Duration, Instant};

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::{
    BlockType, ChangeAction, ChangeStatusReport, MarkStatus, PlanAction, StageStatus,
};
use flamingock_api_types::lock::LockView;
use flamingock_tests::{Pipeline, Runner, TestServer};
use serde_json::json;

use super::bodies::{Generation, change, plan_body_of_blocks, stage};
use super::client::JavaClient;
use super::{action_of, actions, execution};

#[tokio::test]
async fn w_3_1_the_clients_default_lease_is_granted_and_is_ours_where_none_is_asked_for() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let mut body = Pipeline::of("schema", &["a"]).body();
    let lease = async |body: &serde_json::Value| {
        let plan = runner.ask("elapsedMillis=0", body).await.expect(201).json();
        plan["lock"]["acquiredForMillis"].clone()
    };
    assert_eq!(lease(&body).await, json!(60_000));
    body.as_object_mut()
        .expect("an object")
        .remove("lockAcquiredForMillis");
    assert_eq!(lease(&body).await, json!(60_000));
}

/// The client's inner loop: it watches an acquisition id with a stopwatch and asks again when the lease should have run
/// out, without a pause if that is now.
async fn waits(client: &mut JavaClient, body: &str) -> serde_json::Value {
    const POLL: Duration = Duration::from_millis(400);
    let began = Instant::now();
    let mut watched: Option<(String, Instant)> = None;
    loop {
        assert!(began.elapsed() < Duration::from_secs(30), "the quit time is over");
        let answer = match &watched {
            None => client.plan(body).await,
            Some((id, since)) => {
                let elapsed = u64::try_from(since.elapsed().as_millis()).expect("short");
                client.plan_after(id, elapsed, body).await
            }
        };
        if answer["action"] != "AWAIT" {
            return answer;
        }
        let lock: LockView = serde_json::from_value(answer["lock"].clone()).expect("the holder's lock");
        let since = match &watched {
            Some((id, since)) if *id == lock.acquisition_id => *since,
            _ => Instant::now(),
        };
        watched = Some((lock.acquisition_id, since));
        let lease = Duration::from_millis(u64::try_from(lock.acquired_for_millis).expect("positive"));
        tokio::time::sleep(lease.saturating_sub(since.elapsed()).min(POLL)).await;
    }
}

#[tokio::test]
async fn w_3_3_w_4_item_29_whoever_waits_as_the_java_client_does_waits_for_the_living_and_takes_over_from_the_dead()
 {
    // Nobody can sit out this grace: only what the client has watched lets it in.
    let server = TestServer::with(&[("FLAMINGOCK_LOCK_TAKEOVER_GRACE", "1h")]).await;
    let holder = JavaClient::build(&server, "billing").await;
    let mut waiter = holder.next_start();
    let body = plan_body_of_blocks(
        Generation::G3,
        &[("DEFAULT", &[stage("schema", [change("a"), change("b")])])],
        1_500,
    );
    let mut holder = holder;
    let execution = holder.plan(&body).await["executionId"].as_i64().expect("granted");
    let runner = holder.runner.clone();
    let last_extension = async {
        // The refresher's rhythm: longer than one lease in all, and then the process is killed.
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            holder.extend().await.expect(200);
        }
        runner.apply(execution, "a").await;
        Instant::now()
    };
    let waiting = async {
        let answer = waits(&mut waiter, &body).await;
        (answer, Instant::now())
    };
    let (alive, (answer, granted)) = tokio::join!(last_extension, waiting);
    assert!(granted > alive, "the lock was taken from a living holder");
    assert_eq!(answer["action"], "EXECUTE");
    assert_eq!(answer["lock"]["owner"], json!(waiter.runner.id));
    let offered = answer["stages"][0]["changes"].to_string();
    assert!(offered.contains(r#"{"action":"APPLY","id":"b"}"#), "{offered}");
    assert!(!offered.contains(r#"{"action":"APPLY","id":"a"}"#), "{offered}");
}

#[tokio::test]
async fn w_3_4_w_4_item_21_an_execution_without_a_single_report_is_normal() {
    // Validation only: the client looks at the plan, gives the lock back, and says no more.
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let start = runner.another();
        let plan = start.granted(&pipeline).await;
        assert_eq!(action_of(&plan, "a"), Some(ChangeAction::Apply));
        start.release().await.expect(200);
        seen.push(execution(&plan));
    }
    assert!(seen.is_sorted_by(|one, other| one < other), "{seen:?}");
    assert_eq!(server.operator().audit(&runner).await, []);
    assert_eq!(server.operator().issues(&runner).await, []);
    runner.bring_up_to_date(&pipeline).await;
}

/// One row of W 3.5: what is written for a change, what the client says of it next, and what must come of it.
struct Row {
    what: &'static str,
    tx_strategy: &'static str,
    written: &'static [AuditState],
    stage: StageStatus,
    reported: Option<ChangeStatusReport>,
    mark: MarkStatus,
    /// In the same run.
    next: PlanAction,
    /// At the next start; `None`: there is nothing to do.
    next_start: Option<ChangeAction>,
}

const ROWS: [Row; 11] = {
    use AuditState::{Applied, Failed, RollbackFailed, RolledBack, Started};
    const MARKER: &str = "TX_SEPARATE_WITH_MARKER";
    const FAILED: Row = Row {
        what: "outside transactions, fails without rollback",
        tx_strategy: "NON_TX",
        written: &[Started, Failed],
        stage: StageStatus::Failed,
        reported: Some(ChangeStatusReport::Failed),
        mark: MarkStatus::None,
        next: PlanAction::Abort,
        next_start: Some(ChangeAction::ManualIntervention),
    };
    [
        Row {
            what: "outside transactions, works",
            written: &[Started, Applied],
            stage: StageStatus::Completed,
            reported: Some(ChangeStatusReport::Applied),
            next: PlanAction::Continue,
            next_start: None,
            ..FAILED
        },
        Row {
            what: "outside transactions, fails and is rolled back",
            written: &[Started, Failed, RolledBack],
            next_start: Some(ChangeAction::Apply),
            ..FAILED
        },
        Row {
            what: "outside transactions, fails and its rollback too",
            written: &[Started, Failed, RollbackFailed],
            ..FAILED
        },
        FAILED,
        Row {
            what: "outside transactions, works, its report never arrived, is undone",
            written: &[Started, RolledBack],
            next_start: Some(ChangeAction::Apply),
            ..FAILED
        },
        Row {
            what: "outside transactions, works, the answer to its report was lost, is undone",
            written: &[Started, Applied, RolledBack],
            next_start: Some(ChangeAction::Apply),
            ..FAILED
        },
        Row {
            what: "outside transactions, works, its report never arrived, cannot be undone",
            written: &[Started],
            ..FAILED
        },
        Row {
            what: "in a transaction, fails",
            tx_strategy: MARKER,
            written: &[Started, Failed, RolledBack],
            reported: Some(ChangeStatusReport::RolledBack),
            next_start: Some(ChangeAction::Apply),
            ..FAILED
        },
        Row {
            what: "in a transaction, commits, its report never arrived",
            tx_strategy: MARKER,
            written: &[Started],
            mark: MarkStatus::Applied,
            next_start: None,
            ..FAILED
        },
        Row {
            what: "in a transaction, the commit throws and did not get through",
            tx_strategy: MARKER,
            written: &[Started],
            reported: None,
            ..FAILED
        },
        Row {
            what: "in a transaction, the commit throws and got through all the same",
            tx_strategy: MARKER,
            written: &[Started],
            reported: None,
            mark: MarkStatus::Applied,
            next_start: None,
            ..FAILED
        },
    ]
};

#[tokio::test]
async fn w_3_5_w_3_6_w_4_item_8_w_4_item_38_every_order_of_reports_is_taken_and_followed_by_what_it_means() {
    let server = TestServer::start().await;
    for (number, row) in ROWS.iter().enumerate() {
        let runner = server.runner(&format!("service-{number}")).await;
        let pipeline = Pipeline::of("schema", &["a"]);
        let plan = runner.granted(&pipeline).await;
        let fields = json!({"txStrategy": row.tx_strategy});
        for state in row.written {
            runner
                .report_with(execution(&plan), "a", *state, &fields)
                .await
                .expect(201);
        }
        runner.release().await.expect(200);
        let mut reported = pipeline.clone().stage_is("schema", row.stage).mark("a", row.mark);
        if let Some(status) = row.reported {
            reported = reported.change_is("a", status);
        }
        let next = runner.plan(&reported).await;
        assert_eq!(next.action, row.next, "{}", row.what);
        assert_eq!(
            next.synchronized_marks,
            row.mark != MarkStatus::None,
            "{}",
            row.what
        );
        let next_start = runner.another().plan(&pipeline).await;
        assert_eq!(action_of(&next_start, "a"), row.next_start, "{}", row.what);
    }
}

/// Whose the lock is, if anybody's.
async fn owner(runner: &Runner) -> Option<String> {
    let answer = runner.lock().await;
    (answer.status == 200).then(|| answer.read::<LockView>().owner)
}

#[tokio::test]
async fn w_3_7_each_grant_is_given_back_once_and_no_other_answer_leaves_a_lock_behind() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::empty()
        .block(BlockType::System)
        .stage("flamingock-system-stage", &["import-history"])
        .block(BlockType::Default)
        .stage("schema", &["a"]);
    let mut reported = pipeline.clone();
    for (stage, change) in [("flamingock-system-stage", "import-history"), ("schema", "a")] {
        let plan = runner.granted(&reported).await;
        assert_eq!(owner(&runner).await.as_ref(), Some(&runner.id));
        let other = runner.another();
        assert_eq!(other.plan(&pipeline).await.action, PlanAction::Await);
        assert_eq!(
            owner(&other).await.as_ref(),
            Some(&runner.id),
            "AWAIT takes nothing"
        );
        runner.apply(execution(&plan), change).await;
        runner.release().await.expect(200);
        assert_eq!(owner(&runner).await, None);
        reported = reported
            .stage_is(stage, StageStatus::Completed)
            .change_is(change, ChangeStatusReport::Applied);
    }
    assert_eq!(runner.plan(&reported).await.action, PlanAction::Continue);
    assert_eq!(owner(&runner).await, None, "CONTINUE takes nothing");
    let failed = Pipeline::of("seed", &["b"]);
    let plan = runner.granted(&failed).await;
    runner.told(execution(&plan), "b", AuditState::Started).await;
    runner.told(execution(&plan), "b", AuditState::Failed).await;
    runner.release().await.expect(200);
    let failed = failed
        .stage_is("seed", StageStatus::Failed)
        .change_is("b", ChangeStatusReport::Failed);
    assert_eq!(runner.plan(&failed).await.action, PlanAction::Abort);
    assert_eq!(owner(&runner).await, None, "ABORT takes nothing");
}

#[tokio::test]
async fn w_3_2_the_first_plan_request_of_a_run_needs_nothing_before_it() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    runner
        .bring_up_to_date(&Pipeline::of("schema", &["a", "b"]))
        .await;
    let executions = "SELECT count(*) FROM executions";
    let before = server.database.number(executions).await;
    let start = server.runner("billing").await;
    let plan = start.plan(&Pipeline::of("schema", &["a", "b"])).await;
    assert_eq!(
        plan.action,
        PlanAction::Continue,
        "two requests, and the application starts"
    );
    assert_eq!(actions(&plan), []);
    assert_eq!(server.database.number(executions).await, before);
}
