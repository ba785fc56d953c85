//! The heartbeat, and what follows when the lock is lost.

use std::time::Duration;

use flamingock::{
    CancelReason, Cancellation, ChangeError, ChangeStatus, Flamingock, Stage, StageState, StartErrorKind,
    Target, change,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::support::{FakeServer, IMPATIENT, Kind, Log, Reply, Step, step};

#[change(id = "patient", order = "0001", target = "shell", recovery = "always_retry")]
async fn patient(stop: Cancellation) -> Result<(), ChangeError> {
    tokio::select! {
        reason = stop.cancelled() => Err(format!("stopped: {reason}").into()),
        () = sleep(Duration::from_secs(5)) => Ok(()),
    }
}

#[tokio::test]
async fn the_lease_is_extended_every_third_of_it_and_not_at_once() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let slow = step("slow", "0001").does(|_| {
        Box::pin(async {
            sleep(Duration::from_millis(2600)).await;
            Ok(())
        })
    });
    let app = server
        .app()
        .target(Target::non_transactional("shell", log))
        .stage(Stage::new("s").change(slow));
    app.build().unwrap().run().await.unwrap();
    let extensions = server.calls_of(&Kind::Extend);
    let granted = server.calls_of(&Kind::Plan)[0].at;
    assert_eq!(extensions.len(), 2);
    assert!(extensions[0].at - granted >= Duration::from_millis(950));
    assert!(extensions[0].path == "/api/v1/340/lock/extension");
    assert!(extensions[1].at < server.calls_of(&Kind::Release)[0].at);
}

#[tokio::test]
async fn a_refused_extension_signals_the_change_and_begins_no_other() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.always(Kind::Extend, Reply::problem(409, "R_LOCK_01"));
    let error = server
        .app()
        .target(Target::non_transactional("shell", log.clone()))
        .stage(Stage::new("one").change(patient))
        .stage(Stage::new("two").change(step("b", "0001")))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    assert_eq!(
        server.audit(),
        ["patient STARTED", "patient FAILED"],
        "its result is reported all the same"
    );
    assert_eq!(log.lines(), Vec::<String>::new());
    assert!(matches!(
        error.kind(),
        StartErrorKind::Cancelled {
            reason: CancelReason::LockLost,
            ..
        }
    ));
    let steps = error.next_steps();
    assert!(
        steps.contains("Check the connection") && steps.contains("asks for a person's decision"),
        "also for what failed: {steps}"
    );
    assert_eq!(
        error.report().change("b").unwrap().status,
        ChangeStatus::NotReached
    );
    assert_eq!(
        server.calls_of(&Kind::Extend).len(),
        1,
        "a lost lock is not extended"
    );
    assert_eq!(server.calls_of(&Kind::Plan).len(), 1);
    assert_eq!(error.report().not_reached_stages, 1);
}

#[tokio::test]
async fn a_lease_that_runs_out_unanswered_is_lost_too() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.always(Kind::Extend, Reply::Hang);
    let began = Instant::now();
    let app = server
        .app()
        .lease(Duration::from_secs(1))
        .request_timeout(IMPATIENT)
        .target(Target::non_transactional("shell", log));
    let error = app
        .stage(Stage::new("one").change(patient))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(
        error
            .report()
            .change("patient")
            .unwrap()
            .error
            .as_ref()
            .unwrap()
            .message
            .contains("the lock was lost")
    );
}

#[tokio::test]
async fn a_change_that_does_not_look_may_finish_and_the_rest_of_its_stage_is_not_begun() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.always(
        Kind::Extend,
        Reply::Json(
            200,
            json!({"status": "EXTENDED", "lock":
        {"key": "340", "owner": "somebody-else", "acquisitionId": "x", "acquiredForMillis": 60_000}}),
        ),
    );
    let deaf = step("deaf", "0001").does(|_| {
        Box::pin(async {
            sleep(Duration::from_millis(1300)).await;
            Ok(())
        })
    });
    let app = server
        .app()
        .target(Target::non_transactional("shell", log.clone()));
    let app = app.stage(Stage::new("one").change(deaf).change(step("next", "0002")));
    let error = app.build().unwrap().run().await.unwrap_err();
    assert_eq!(server.audit(), ["deaf STARTED", "deaf APPLIED"]);
    assert_eq!(log.lines(), ["apply deaf"]);
    let report = error.report();
    assert_eq!(report.change("deaf").unwrap().status, ChangeStatus::Applied);
    assert_eq!(report.stages[0].state, StageState::Failed);
    assert_eq!(report.stages[0].error.as_ref().unwrap().error_type, "CANCELLED");
    assert!(error.next_steps().contains("Check the connection"), "{error}");
    assert!(
        !error.next_steps().contains("recorded"),
        "nothing is promised: {error}"
    );
}

#[tokio::test]
async fn the_server_can_ask_to_stop() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let extended = |owner: &str| {
        json!({"status": "EXTENDED", "cancel": true, "lock":
            {"key": "340", "owner": owner, "acquisitionId": "x", "acquiredForMillis": 3000}})
    };
    server.always(Kind::Extend, Reply::Json(200, extended("me")));
    let app = server
        .app()
        .runner_id("me")
        .target(Target::non_transactional("shell", log));
    let error = app
        .stage(Stage::new("one").change(patient))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    assert!(
        error
            .report()
            .change("patient")
            .unwrap()
            .error
            .as_ref()
            .unwrap()
            .message
            .contains("asked"),
        "{error}"
    );
}

#[tokio::test]
async fn a_failed_change_is_not_rolled_back_after_the_lock_was_lost() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.always(Kind::Extend, Reply::problem(409, "R_LOCK_01"));
    let late = step("late", "0001").rollback(Ok(())).does(|_| {
        Box::pin(async {
            sleep(Duration::from_millis(1300)).await;
            Err("too late".into())
        })
    });
    // `does` keeps the rollback.
    let app = server
        .app()
        .target(Target::non_transactional("shell", log.clone()));
    app.stage(Stage::new("one").change(late))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    assert_eq!(
        log.lines(),
        ["apply late"],
        "another runner may be at work by now"
    );
    assert_eq!(server.audit(), ["late STARTED", "late FAILED"]);
}

#[tokio::test]
async fn an_extension_that_fails_once_is_no_loss() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.next(
        Kind::Extend,
        [
            Reply::Swallow,
            Reply::Text(503, "busy"),
            Reply::problem(500, "R_GEN_09"),
        ],
    );
    let slow = step("slow", "0001").does(|_| {
        Box::pin(async {
            sleep(Duration::from_millis(3500)).await;
            Ok(())
        })
    });
    let app = server
        .app()
        .request_timeout(IMPATIENT)
        .target(Target::non_transactional("shell", log))
        .stage(Stage::new("s").change(slow));
    app.build().unwrap().run().await.unwrap();
}

#[tokio::test]
async fn a_release_that_fails_is_only_a_warning() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.next(Kind::Release, [Reply::problem(409, "R_LOCK_02")]);
    let app = server.app().target(Target::non_transactional("shell", log));
    app.stage(Stage::new("s").change(step("a", "0001")))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap();
}

fn slow(millis: u64) -> Step {
    step("slow", "0001").does(move |_| {
        Box::pin(async move {
            sleep(Duration::from_millis(millis)).await;
            Ok(())
        })
    })
}

/// One change that takes that long, on a server of which attempts may stay unanswered for as long as the default.
fn one_slow_change(server: &FakeServer, millis: u64) -> Flamingock {
    server
        .app()
        .request_timeout(Duration::from_secs(30))
        .target(Target::non_transactional("shell", Log::default()))
        .stage(Stage::new("s").change(slow(millis)))
        .build()
        .unwrap()
}

#[tokio::test]
async fn one_unanswered_attempt_of_any_call_loses_neither_the_start_nor_the_lock() {
    let audit = |state: &str| Kind::Audit(state.into());
    let kinds = [
        Kind::Token,
        Kind::Plan,
        audit("STARTED"),
        Kind::Extend,
        audit("APPLIED"),
        Kind::Release,
    ];
    let runs = kinds.map(|kind| async move {
        let server = FakeServer::start().await;
        server.next(kind.clone(), [Reply::Hang]);
        let began = Instant::now();
        let report = one_slow_change(&server, 3500).run().await;
        let took = began.elapsed();
        assert_eq!(
            report.map(|report| report.applied_changes).ok(),
            Some(1),
            "{kind:?}"
        );
        assert!(server.calls_of(&kind).len() > 1, "{kind:?}");
        assert!(took < Duration::from_secs(8), "{kind:?}: {took:?}");
    });
    futures_util::future::join_all(runs).await;
}

#[tokio::test]
async fn the_first_beat_is_counted_from_the_request_for_the_lock() {
    let server = FakeServer::start().await;
    server.next(Kind::Plan, [Reply::Slow(Duration::from_millis(900))]);
    one_slow_change(&server, 500).run().await.unwrap();
    let asked = server.calls_of(&Kind::Plan)[0].at;
    let beat = server.calls_of(&Kind::Extend)[0].at - asked;
    assert!(beat < Duration::from_millis(1300), "{beat:?}");

    // More than a third of the lease is over when the answer comes.
    let server = FakeServer::start().await;
    server.next(Kind::Plan, [Reply::Slow(Duration::from_millis(1800))]);
    one_slow_change(&server, 500).run().await.unwrap();
    let asked = server.calls_of(&Kind::Plan)[0].at;
    let beat = server.calls_of(&Kind::Extend)[0].at - asked;
    assert!(beat < Duration::from_millis(2100), "at once: {beat:?}");
}

#[tokio::test]
async fn an_extension_of_another_grant_is_a_lost_lock() {
    let server = FakeServer::start().await;
    let extended = json!({"status": "EXTENDED", "lock":
        {"key": "340", "owner": "me", "acquisitionId": "x", "acquiredForMillis": 3000, "fence": 8}});
    server.always(Kind::Extend, Reply::Json(200, extended));
    let error = server
        .app()
        .runner_id("me")
        .target(Target::non_transactional("shell", Log::default()))
        .stage(Stage::new("one").change(patient))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    let change = error.report().change("patient").unwrap();
    let message = &change.error.as_ref().unwrap().message;
    assert!(message.contains("the lock was lost"), "{message}");
}

#[tokio::test]
async fn a_release_names_its_grant() {
    let server = FakeServer::start().await;
    one_slow_change(&server, 0).run().await.unwrap();
    let release = &server.calls_of(&Kind::Release)[0];
    assert_eq!((&*release.path, &*release.query), ("/api/v1/340/lock", "fence=7"));
}
