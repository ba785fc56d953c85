//! Checkpoints and progress: what is sent with the heartbeat, and what a change hears of it.

use std::time::Duration;

use flamingock::{
    Change, ChangeError, ChangeFuture, ChangeInfo, CheckpointError, Context, Problem, Recovery, Requirement,
    Stage, Target,
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{FakeDatabase, FakeServer, Kind, Log, Reply};

type Body = fn(&mut Context) -> ChangeFuture<'_>;

/// A change whose functions are a test's.
struct Scripted {
    apply: Body,
    rollback: Option<Body>,
}

impl Scripted {
    fn new(apply: Body) -> Self {
        Self {
            apply,
            rollback: None,
        }
    }
}

impl Change for Scripted {
    fn info(&self) -> ChangeInfo {
        let info = ChangeInfo::new("long", "0001", "shell").recovery(Recovery::AlwaysRetry);
        if self.rollback.is_some() {
            info.with_rollback()
        } else {
            info
        }
    }

    fn requirements(&self) -> Vec<Requirement> {
        vec![Requirement::checkpoint()]
    }

    fn apply<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
        (self.apply)(context)
    }

    fn rollback<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
        (self.rollback.expect("it announces one"))(context)
    }
}

/// Runs the change once; the text of what it ended with, if it failed.
async fn run(server: &FakeServer, change: Scripted) -> Option<String> {
    let app = server
        .app()
        .target(Target::non_transactional("shell", Log::default()))
        .stage(Stage::new("s").change(change));
    let error = app.build().unwrap().run().await.err()?;
    let stage = &error.report().stages[0];
    Some(stage.changes[0].error.as_ref()?.message.clone())
}

/// Bodies of the extensions that told something.
fn told(server: &FakeServer) -> Vec<Value> {
    let bodies = server.calls_of(&Kind::Extend).into_iter().map(|call| call.body);
    bodies
        .map(|body| body["progress"].clone())
        .filter(|told| !told.is_null())
        .collect()
}

fn save_once(context: &mut Context) -> ChangeFuture<'_> {
    Box::pin(async move {
        context.checkpoint()?.save(&json!({"after": 5})).await?;
        Ok(())
    })
}

#[tokio::test]
async fn a_server_that_does_not_say_that_it_kept_the_cursor_has_not() {
    let server = FakeServer::start().await;
    server.forget_cursors();
    let error = run(&server, Scripted::new(save_once)).await.expect("it failed");
    assert!(error.contains("older than this SDK"), "{error}");
    assert_eq!(server.audit(), ["long STARTED", "long FAILED"]);
    let told = told(&server);
    assert_eq!(
        told,
        [json!({
            "executionId": 9001, "changeId": "long", "sequence": 1, "cursor": r#"{"after":5}"#
        })]
    );
}

#[tokio::test]
async fn a_save_that_is_refused_is_a_lost_lock() {
    let server = FakeServer::start().await;
    server.always(Kind::Extend, Reply::problem(409, "R_LOCK_01"));
    let error = run(
        &server,
        Scripted::new(|context| {
            Box::pin(async move {
                let checkpoint = context.checkpoint()?;
                let error = checkpoint.save(&1).await.expect_err("it is refused");
                assert!(matches!(error, CheckpointError::LockLost), "{error}");
                assert!(!context.holds_lock());
                // From then on nothing is asked any more.
                let again = checkpoint.save(&2).await.expect_err("it is lost");
                assert!(matches!(again, CheckpointError::LockLost), "{again}");
                Err(ChangeError::from(error))
            })
        }),
    )
    .await
    .expect("it failed");
    assert!(error.contains("the lock was lost"), "{error}");
    assert_eq!(told(&server).len(), 1);
}

#[tokio::test]
async fn a_save_is_repeated_while_the_lease_lasts_and_keeps_its_number() {
    let server = FakeServer::start().await;
    let busy = || Reply::Text(503, "busy");
    server.next(Kind::Extend, [busy(), busy()]);
    assert_eq!(run(&server, Scripted::new(save_once)).await, None);
    let numbers: Vec<Value> = told(&server)
        .iter()
        .map(|told| told["sequence"].clone())
        .collect();
    assert_eq!(numbers, [1, 1, 1]);
}

#[tokio::test]
async fn progress_goes_along_with_the_next_heartbeat_once_and_no_call_is_made_for_it() {
    let server = FakeServer::start().await;
    let failed = run(
        &server,
        Scripted::new(|context| {
            Box::pin(async move {
                let progress = context.progress();
                for done in 0..=400 {
                    progress.report(done, 1000, format!("order {done}"));
                }
                sleep(Duration::from_millis(2600)).await;
                Ok(())
            })
        }),
    )
    .await;
    assert_eq!(failed, None);
    let bodies: Vec<Value> = server
        .calls_of(&Kind::Extend)
        .into_iter()
        .map(|call| call.body)
        .collect();
    let first = json!({"progress": {
        "executionId": 9001, "changeId": "long", "sequence": 1, "done": 400, "total": 1000, "message": "order 400"
    }});
    assert_eq!(bodies, [first, json!({})]);
}

#[tokio::test]
async fn progress_that_the_server_finds_fault_with_does_not_cost_the_lease() {
    let server = FakeServer::start().await;
    server.next(Kind::Extend, [Reply::problem(400, "R_GEN_02")]);
    let failed = run(
        &server,
        Scripted::new(|context| {
            Box::pin(async move {
                context.progress().report(1, None, "");
                sleep(Duration::from_millis(3500)).await;
                Ok(())
            })
        }),
    )
    .await;
    assert_eq!(failed, None, "the lease of 3 s was extended");
    assert_eq!(told(&server).len(), 1, "and what was refused is not sent again");
}

#[tokio::test]
async fn the_offered_cursor_is_loaded_until_another_is_saved() {
    let server = FakeServer::start().await;
    let plan = json!({
        "action": "EXECUTE", "executionId": 9001,
        "lock": {"key": "340", "owner": "?", "acquisitionId": "a", "acquiredForMillis": 3000, "fence": 7},
        "stages": [{"name": "s", "order": 0, "changes": [{"id": "long", "action": "APPLY", "cursor": "{\"after\":5}"}]}],
        "pipelineResult": {"stages": []}, "synchronizedMarks": false
    });
    server.next(Kind::Plan, [Reply::Json(201, plan)]);
    let failed = run(
        &server,
        Scripted::new(|context| {
            Box::pin(async move {
                let checkpoint = context.checkpoint()?;
                assert_eq!(checkpoint.load::<Value>()?, Some(json!({"after": 5})));
                let error = checkpoint.load::<u64>().expect_err("it is an object");
                assert!(error.to_string().contains(r#"{"after":5}"#), "{error}");
                Ok(())
            })
        }),
    )
    .await;
    assert_eq!(failed, None);
}

#[tokio::test]
async fn what_runs_on_behind_the_changes_back_saves_nothing_more() {
    let server = FakeServer::start().await;
    let failed = run(
        &server,
        Scripted::new(|context| {
            Box::pin(async move {
                let checkpoint = context.checkpoint()?;
                tokio::spawn(async move {
                    sleep(Duration::from_millis(100)).await;
                    let error = checkpoint.save(&1).await.expect_err("the change has ended");
                    assert!(matches!(error, CheckpointError::Ended), "{error}");
                });
                Ok(())
            })
        }),
    )
    .await;
    assert_eq!(failed, None);
    sleep(Duration::from_millis(200)).await;
    assert!(told(&server).is_empty());
}

#[tokio::test]
async fn with_a_rollback_the_cursor_is_void_once_it_failed_except_what_the_rollback_saves() {
    let server = FakeServer::start().await;
    run(
        &server,
        Scripted {
            apply: |context| {
                Box::pin(async move {
                    let _ = context.checkpoint()?.save(&"apply").await;
                    Err("made to fail".into())
                })
            },
            rollback: Some(|context| {
                Box::pin(async move {
                    let _ = context.checkpoint()?.save(&"rollback").await;
                    Ok(())
                })
            }),
        },
    )
    .await
    .expect("it failed");
    let void: Vec<_> = told(&server)
        .iter()
        .map(|told| (told["cursor"].clone(), told["voidWhenFailed"].clone()))
        .collect();
    assert_eq!(
        void,
        [
            (json!(r#""apply""#), json!(true)),
            (json!(r#""rollback""#), Value::Null)
        ]
    );
}

#[tokio::test]
async fn a_change_in_a_transaction_gets_no_checkpoint() {
    let server = FakeServer::start().await;
    let error = server
        .app()
        .target(Target::transactional("shell", FakeDatabase::new()))
        .stage(Stage::new("s").change(Scripted::new(save_once)))
        .build()
        .unwrap_err();
    assert!(
        matches!(error.problems(), [Problem::Injection { wanted, obstacle, .. }]
            if wanted == "Checkpoint" && obstacle.contains("transactional = false")),
        "{error}"
    );
}
