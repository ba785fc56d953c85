//! Applications that only look whether anything is pending.

use std::time::Duration;

use flamingock::{Builder, Flamingock, PostgresTarget, RunStatus, Stage, StageState, StartErrorKind, Target};
use flamingock_api_types::ErrorCode;
use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::PlanAction;
use flamingock_tests::{
    Database, Effect, Effects, Kind, Person, Pipeline, Runner, TestServer, eventually, tokens,
};
use serde_json::json;

use crate::preview::everything;

/// `a`, `b` and, in another stage, `c`, with a token that may do no more than run them.
fn app(server: &TestServer, effects: &Effects) -> Builder {
    Flamingock::builder(server.url())
        .token(&tokens().runner)
        .environment("production")
        .service("billing")
        .poll_every(Duration::from_millis(100))
        .wait_for_lock(Duration::ZERO)
        .target(Target::non_transactional("plain", effects.pool()))
        .stage(
            Stage::new("schema")
                .change(Effect::new("a", "0001"))
                .change(Effect::new("b", "0002")),
        )
        .stage(Stage::new("seed").change(Effect::new("c", "0001")))
        .validate_only(true)
}

fn pipeline() -> Pipeline {
    Pipeline::of("schema", &["a", "b"]).stage("seed", &["c"])
}

async fn refused(app: Builder) -> flamingock::StartError {
    let app = app.build().expect("a sound pipeline");
    app.run().await.expect_err("something is pending")
}

async fn world() -> (TestServer, Database, Effects, Runner) {
    let server = TestServer::start().await;
    let target = Database::empty().await;
    let effects = Effects::in_database(&target).await;
    let runner = server.runner("billing").await;
    (server, target, effects, runner)
}

#[tokio::test]
async fn what_is_pending_is_listed_whole_and_nothing_is_left_behind() {
    let (server, _target, effects, runner) = world().await;
    let plan = runner.granted(&pipeline()).await;
    runner
        .apply(plan.execution_id.expect("a grant has an execution"), "a")
        .await;
    runner.release().await.expect(200);
    let before = everything(&server.database).await;
    let error = refused(app(&server, &effects)).await;
    assert!(
        matches!(error.kind(), StartErrorKind::PendingChanges { change_ids } if *change_ids == ["b", "c"]),
        "{error}"
    );
    let report = error.report();
    assert_eq!(
        (report.already_applied_changes, report.not_reached_changes),
        (1, 2)
    );
    assert_eq!(everything(&server.database).await, before);
    for change in ["a", "b", "c"] {
        assert!(effects.of(change).await.is_empty());
    }
    // And where nothing is pending it starts, whoever holds the lock.
    runner.bring_up_to_date(&pipeline()).await;
    runner.acquired(60_000).await;
    let before = everything(&server.database).await;
    let app = app(&server, &effects).build().expect("a sound pipeline");
    assert_eq!(app.run().await.expect("it starts").status, RunStatus::NoChanges);
    assert_eq!(everything(&server.database).await, before);
}

#[tokio::test]
async fn it_waits_for_a_runner_at_work_and_is_never_waited_for() {
    let (server, _target, effects, runner) = world().await;
    let plan = runner.granted(&pipeline()).await;
    let execution = plan.execution_id.expect("a grant has an execution");
    runner.told(execution, "a", AuditState::Started).await;
    let error = refused(app(&server, &effects)).await;
    assert!(
        matches!(error.kind(), StartErrorKind::LockUnavailable { holder, .. } if *holder == runner.id),
        "{error}"
    );

    let app = app(&server, &effects).wait_for_lock(Duration::from_secs(30));
    let readiness = app.build().expect("a sound pipeline").spawn();
    eventually("it says whom it waits for", async || {
        let waits = format!("{:?}", readiness.state()).contains(&runner.id);
        waits.then_some(())
    })
    .await;
    runner.told(execution, "a", AuditState::Applied).await;
    for change in ["b", "c"] {
        runner.apply(execution, change).await;
    }
    runner.release().await.expect(200);
    readiness.ready().await.expect("everything is applied now");
    let next = runner
        .another()
        .plan(&Pipeline::of("schema", &["a", "b", "d"]))
        .await;
    assert_eq!(next.action, PlanAction::Execute, "nobody stands in the way");
}

#[tokio::test]
async fn what_waits_for_a_person_is_said_as_at_a_start() {
    let (server, _target, effects, runner) = world().await;
    let plan = runner.granted(&pipeline()).await;
    let execution = plan.execution_id.expect("a grant has an execution");
    runner.told(execution, "a", AuditState::Started).await;
    runner.told(execution, "a", AuditState::Failed).await;
    runner.release().await.expect(200);
    let error = refused(app(&server, &effects)).await;
    assert!(
        matches!(error.kind(), StartErrorKind::ManualIntervention { change_ids } if *change_ids == ["a"]),
        "{error}"
    );
    assert!(error.is_manual_intervention());
    let stages: Vec<_> = error.report().stages.iter().map(|stage| stage.state).collect();
    assert_eq!(
        stages,
        [StageState::BlockedManualIntervention, StageState::NotStarted]
    );
}

#[tokio::test]
async fn a_policy_stops_it_by_the_same_code_and_words_as_a_start() {
    let (server, _target, effects, runner) = world().await;
    let path = format!("/api/v1/admin/environment/{}/freeze", runner.environment_id);
    let freeze = json!({"reason": "The sale is on."});
    server.operator().post(&path, &freeze).await.expect(201);
    let looked = refused(app(&server, &effects)).await;
    let started = refused(app(&server, &effects).validate_only(false)).await;
    for error in [&looked, &started] {
        assert!(
            matches!(error.kind(), StartErrorKind::StoppedByPolicy { code: ErrorCode::Frozen, reason, change_ids }
                if reason.contains("The sale is on.") && change_ids.is_empty()),
            "{error}"
        );
    }
    assert_eq!(
        looked.to_string().split("duration").next(),
        started.to_string().split("duration").next()
    );
}

/// A commit of which nothing was reported: the mark says so, and stays for the start that accounts for it.
#[tokio::test]
async fn marks_are_read_and_left_where_they_are() {
    let (server, target, effects, runner) = world().await;
    let marking = |app: Builder| {
        app.target(PostgresTarget::new("marking", effects.pool()))
            .stage(Stage::new("marked").change(Effect {
                kind: Kind::Marker,
                ..Effect::new("m", "0001")
            }))
    };
    let start = async || {
        let start = marking(app(&server, &effects)).validate_only(false);
        start
            .build()
            .expect("a sound pipeline")
            .run()
            .await
            .expect("it starts");
    };
    start().await;
    assert!(effects.marks().await.is_empty());
    // As a process leaves it that died between the commit and the report.
    sqlx::query("INSERT INTO flamingock_marks (environment_id, service_id, change_id, operation) VALUES ($1, $2, 'm', 'APPLIED')")
        .bind(runner.environment_id)
        .bind(runner.service_id)
        .execute(&target.pool().await)
        .await
        .expect("a mark");
    let again = marking(app(&server, &effects)).build().expect("a sound pipeline");
    again.run().await.expect("it is applied");
    assert_eq!(effects.marks().await.len(), 1, "it was not accounted for");
    start().await;
    assert!(effects.marks().await.is_empty());
}

/// Whoever may not look is told so, and nothing is concluded.
#[tokio::test]
async fn a_token_that_reaches_nothing_validates_nothing() {
    let (server, _target, effects, runner) = world().await;
    runner.bring_up_to_date(&pipeline()).await;
    let error = refused(app(&server, &effects).token("flk_nobody")).await;
    assert!(
        matches!(error.kind(), StartErrorKind::Server(error) if error.is_unauthorized()),
        "{error}"
    );
    let person: Person = server.operator();
    assert_eq!(person.audit(&runner).await.len(), 6);
}
