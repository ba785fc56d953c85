//! The application is asked to stop while it runs.

use std::time::Duration;

use flamingock::{
    CancelReason, Cancellation, ChangeError, ChangeStatus, Checkpoint, Flamingock, Probed, Recovery, Report,
    Stage, StageState, StartError, StartErrorKind, Target, TargetClient, change,
};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{FakeDatabase, FakeServer, Kind, Log, Reply, Step, eventually, step};

/// Ends when it is told to.
#[change(id = "attentive", order = "0001", target = "shell", recovery = "always_retry")]
async fn attentive(stop: Cancellation, log: TargetClient<Log>) -> Result<(), ChangeError> {
    log.note("begun");
    let reason = stop.cancelled().await;
    assert_eq!(reason, CancelReason::Shutdown);
    Err(format!("stopped: {reason}").into())
}

/// Ends after the request to stop, and well.
#[change(id = "finishes", order = "0001", target = "shell", recovery = "always_retry")]
async fn finishes(stop: Cancellation, log: TargetClient<Log>) -> Result<(), ChangeError> {
    log.note("begun");
    stop.cancelled().await;
    Ok(())
}

fn never_ends(id: &'static str) -> Step {
    step(id, "0001").does(|_| Box::pin(std::future::pending()))
}

/// Runs it and asks it to stop once that is so.
async fn stopped_when(app: &Flamingock, is_so: impl Fn() -> bool) -> Result<Report, StartError> {
    app.run_until(eventually("the moment to stop comes", is_so)).await
}

/// When the server was called so.
async fn stopped_at(app: &Flamingock, server: &FakeServer, kind: &Kind) -> Result<Report, StartError> {
    stopped_when(app, || !server.calls_of(kind).is_empty()).await
}

fn started() -> Kind {
    Kind::Audit("STARTED".to_owned())
}

#[tokio::test]
async fn a_running_change_is_told_and_no_other_is_begun() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let app = server
        .app()
        .target(Target::non_transactional("shell", log.clone()))
        .stage(Stage::new("one").change(attentive).change(step("after", "0002")))
        .stage(Stage::new("two").change(step("b", "0001")))
        .build()
        .unwrap();
    let error = stopped_when(&app, || !log.lines().is_empty()).await.unwrap_err();
    assert!(error.is_interrupted(), "{error}");
    assert_eq!(server.audit(), ["attentive STARTED", "attentive FAILED"]);
    assert_eq!(log.lines(), ["begun"]);
    assert_eq!(server.calls_of(&Kind::Plan).len(), 1, "nothing more is asked for");
    assert_eq!(server.calls_of(&Kind::Release).len(), 1, "the lock is given back");
    let report = error.report();
    assert_eq!(report.error.as_ref().unwrap().error_type, "INTERRUPTED");
    assert_eq!((report.failed_changes, report.not_reached_changes), (1, 2));
    assert!(error.next_steps().contains("For what failed"), "{error}");
}

#[tokio::test]
async fn what_ends_within_the_grace_is_recorded_as_it_ended() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let app = server
        .app()
        .target(Target::non_transactional("shell", log.clone()))
        .stage(Stage::new("one").change(finishes).change(step("after", "0002")))
        .build()
        .unwrap();
    let error = stopped_when(&app, || !log.lines().is_empty()).await.unwrap_err();
    assert!(error.is_interrupted());
    assert_eq!(server.audit(), ["finishes STARTED", "finishes APPLIED"]);
    assert_eq!(log.lines(), ["begun"]);
    let report = error.report();
    assert_eq!(report.change("finishes").unwrap().status, ChangeStatus::Applied);
    assert_eq!(report.change("after").unwrap().status, ChangeStatus::NotReached);
    assert_eq!(
        report.stages[0].state,
        StageState::Failed,
        "it was begun and is not done"
    );
    assert_eq!(server.calls_of(&Kind::Release).len(), 1);
}

#[tokio::test]
async fn a_change_that_is_cut_off_outside_a_transaction_is_not_called_undone() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let app = server
        .app()
        .stop_grace(Duration::from_millis(50))
        .target(Target::non_transactional("shell", log.clone()))
        .stage(Stage::new("one").change(never_ends("endless").rollback(Ok(()))))
        .build()
        .unwrap();
    let error = stopped_when(&app, || !log.lines().is_empty()).await.unwrap_err();
    assert!(error.is_interrupted());
    // What it asked for last may still take effect, also after a rollback.
    assert_eq!(server.audit(), ["endless STARTED", "endless FAILED"]);
    assert_eq!(log.lines(), ["apply endless"]);
    let failure = error.report().change("endless").unwrap().error.clone().unwrap();
    assert_eq!(failure.error_type, "interrupted");
    assert!(
        failure.message.contains("had not ended 50ms after")
            && failure.message.contains("may still take effect"),
        "{failure:?}"
    );
}

/// Who comes next looks or repeats without a person, and one that waits for the lock would do so within milliseconds.
#[tokio::test]
async fn the_lock_outlives_what_was_cut_off_where_nobody_is_asked_before_the_next_attempt() {
    #[change(id = "endless", order = "0001", target = "shell", probe = looks)]
    async fn can_be_asked(log: TargetClient<Log>) -> Result<(), ChangeError> {
        log.note("apply endless");
        std::future::pending().await
    }
    async fn looks() -> Probed {
        Probed::NotApplied
    }
    let endless = || never_ends("endless");
    let one = || Stage::new("one");
    for (stage, is_given_back) in [
        (one().change(endless()), true),
        (one().change(endless().rollback(Ok(()))), true),
        (one().change(endless().recovery(Recovery::AlwaysRetry)), false),
        (one().change(can_be_asked), false),
    ] {
        let (server, log) = (FakeServer::start().await, Log::default());
        let app = server
            .app()
            .stop_grace(Duration::from_millis(50))
            .target(Target::non_transactional("shell", log.clone()))
            .stage(stage)
            .build()
            .unwrap();
        let error = stopped_when(&app, || !log.lines().is_empty()).await.unwrap_err();
        assert!(error.is_interrupted());
        assert_eq!(server.audit(), ["endless STARTED", "endless FAILED"]);
        assert_eq!(server.calls_of(&Kind::Release).len(), usize::from(is_given_back));
    }
}

#[tokio::test]
async fn a_transaction_that_is_cut_off_leaves_nothing() {
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    let log = Log::default();
    let begun = log.clone();
    let endless = step("endless", "0001").on("db").does(move |_| {
        begun.note("begun");
        Box::pin(std::future::pending())
    });
    let app = server
        .app()
        .stop_grace(Duration::ZERO)
        .target(Target::transactional("db", database.clone()))
        .stage(Stage::new("one").change(endless))
        .build()
        .unwrap();
    let error = stopped_when(&app, || !log.lines().is_empty()).await.unwrap_err();
    assert!(error.is_interrupted());
    assert_eq!(
        server.audit(),
        ["endless STARTED", "endless FAILED", "endless ROLLED_BACK"]
    );
    assert_eq!((database.rows(), database.marks()), (vec![], vec![]));
}

#[tokio::test]
async fn a_change_whose_start_was_just_permitted_is_not_begun() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.next(started(), [Reply::Slow(Duration::from_millis(300))]);
    let app = server
        .app()
        .target(Target::non_transactional("shell", log.clone()))
        .stage(Stage::new("one").change(step("a", "0001")))
        .build()
        .unwrap();
    let error = stopped_at(&app, &server, &started()).await.unwrap_err();
    assert!(error.is_interrupted());
    assert_eq!(
        server.audit(),
        ["a STARTED", "a FAILED", "a ROLLED_BACK"],
        "a person would have to decide about a start alone"
    );
    assert_eq!(log.lines(), Vec::<String>::new());
}

/// Goes on from a cursor. The start was permitted, and then the application is asked to stop.
#[change(id = "goes-on", order = "0001", target = "shell", recovery = "always_retry")]
async fn goes_on(checkpoint: Checkpoint, log: TargetClient<Log>) -> Result<(), ChangeError> {
    log.note(format!("from {:?}", checkpoint.load::<u64>()?));
    Ok(())
}

#[tokio::test]
async fn an_attempt_that_never_began_leaves_the_cursor_that_it_was_given() {
    for (cursor, expected) in [
        // `STARTED` with its cursor says what is there; "rolled back" would void it, and the work be done once more.
        (Some("5"), &["goes-on STARTED"][..]),
        (
            None,
            &["goes-on STARTED", "goes-on FAILED", "goes-on ROLLED_BACK"],
        ),
    ] {
        let (server, log) = (FakeServer::start().await, Log::default());
        if let Some(cursor) = cursor {
            server.set_cursor("goes-on", cursor);
        }
        server.next(started(), [Reply::Slow(Duration::from_millis(300))]);
        let app = server
            .app()
            .target(Target::non_transactional("shell", log.clone()))
            .stage(Stage::new("one").change(goes_on))
            .build()
            .unwrap();
        let error = stopped_at(&app, &server, &started()).await.unwrap_err();
        assert!(error.is_interrupted());
        assert_eq!(server.audit(), expected, "{cursor:?}");
        assert_eq!(log.lines(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_request_of_the_server_that_comes_before_the_change_was_begun_leaves_nothing_to_decide() {
    let (server, log) = (FakeServer::start().await, Log::default());
    // Longer than until the next heartbeat, which brings the request.
    server.next(started(), [Reply::Slow(Duration::from_millis(1_300))]);
    let extended = json!({"status": "EXTENDED", "cancel": true, "lock":
        {"key": "340", "owner": "me", "acquisitionId": "x", "acquiredForMillis": 3000}});
    server.always(Kind::Extend, Reply::Json(200, extended));
    let app = server
        .app()
        .runner_id("me")
        .target(Target::non_transactional("shell", log.clone()))
        .stage(Stage::new("one").change(step("a", "0001")))
        .build()
        .unwrap();
    let error = app.run().await.unwrap_err();
    assert!(
        matches!(error.kind(), StartErrorKind::Cancelled { .. }),
        "{error}"
    );
    assert_eq!(server.audit(), ["a STARTED", "a FAILED", "a ROLLED_BACK"]);
    let undone = &server.calls_of(&Kind::Audit("ROLLED_BACK".to_owned()))[0].body;
    assert_eq!(undone["methodName"], "never_begun");
    assert_eq!(log.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn waiting_ends_at_once_and_whatever_was_granted_meanwhile_is_given_back() {
    for reply in [Reply::Hang, Reply::Swallow] {
        let (server, log) = (FakeServer::start().await, Log::default());
        // The second answers what the first one only knows to be true: another runner is at work.
        server.next(Kind::Plan, [Reply::wait("x-1", 60_000), reply]);
        let app = server
            .app()
            .lease(Duration::from_mins(1))
            .target(Target::non_transactional("shell", log.clone()))
            .stage(Stage::new("one").change(step("a", "0001")))
            .build()
            .unwrap();
        let called = server.clone();
        let mut asked = Instant::now();
        let shutdown = async {
            eventually("it is parked", || called.calls_of(&Kind::Plan).len() == 2).await;
            asked = Instant::now();
        };
        let error = app.run_until(shutdown).await.unwrap_err();
        assert!(error.is_interrupted());
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        assert_eq!(log.lines(), Vec::<String>::new());
        let released = server.calls_of(&Kind::Release);
        assert_eq!(released.first().unwrap().path, "/api/v1/340/lock");
        assert_eq!(released.first().unwrap().query, "", "of whichever grant it is");
    }
}

#[tokio::test]
async fn a_release_that_came_too_early_is_repeated() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.next(Kind::Plan, [Reply::Swallow]);
    server.next(Kind::Release, [Reply::problem(409, "R_LOCK_02")]);
    let app = server
        .app()
        .target(Target::non_transactional("shell", log))
        .stage(Stage::new("one").change(step("a", "0001")))
        .build()
        .unwrap();
    let error = stopped_at(&app, &server, &Kind::Plan).await.unwrap_err();
    assert!(error.is_interrupted());
    assert_eq!(server.calls_of(&Kind::Release).len(), 2);
}

#[tokio::test]
async fn a_server_that_does_not_answer_keeps_nobody_from_stopping() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.always(Kind::Token, Reply::Hang);
    let app = server
        .app()
        .retry_for(Duration::from_mins(10))
        .target(Target::non_transactional("shell", log))
        .stage(Stage::new("one").change(step("a", "0001")))
        .build()
        .unwrap();
    let began = Instant::now();
    let stop = app.stop_handle();
    let error = stopped_at(&app, &server, &Kind::Token).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(error.is_interrupted());
    assert!(stop.is_stopping());
}

#[tokio::test]
async fn once_stopped_it_stays_so() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let app = server
        .app()
        .target(Target::non_transactional("shell", log))
        .stage(Stage::new("one").change(step("a", "0001")))
        .build()
        .unwrap();
    app.stop_handle().stop();
    assert!(app.run().await.unwrap_err().is_interrupted());
    assert!(app.run_until(async {}).await.unwrap_err().is_interrupted());
    assert_eq!(server.calls().len(), 0, "not even a session is made");
}
