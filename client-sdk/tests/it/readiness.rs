//! A run in the background, seen from outside.

use std::time::Duration;

use flamingock::{Activity, Readiness, ReadinessState, Stage, StartErrorKind, Target, TargetError};
use tokio::sync::oneshot;

use crate::support::{FakeServer, Kind, Log, Reply, Step, eventually, step};

/// Ends, as told, when the sender is used.
fn gated(result: Result<(), &'static str>) -> (Step, oneshot::Sender<()>) {
    let (open, gate) = oneshot::channel();
    let gate = std::sync::Mutex::new(Some(gate));
    let change = step("gated", "0001").does(move |_| {
        let gate = gate.lock().expect("nothing panics here").take().expect("once");
        Box::pin(async move {
            gate.await.expect("the test opens it");
            result.map_err(flamingock::ChangeError::from)
        })
    });
    (change, open)
}

fn activity(readiness: &Readiness) -> Option<Activity> {
    match readiness.state() {
        ReadinessState::Pending(pending) => Some(pending.activity),
        _ => None,
    }
}

fn applying() -> Activity {
    Activity::Applying {
        stage: "s".to_owned(),
        change: "gated".to_owned(),
    }
}

#[tokio::test]
async fn it_says_what_the_run_is_doing_and_then_that_it_is_ready() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.next(Kind::Plan, [Reply::wait("x-1", 60_000), Reply::Hang]);
    let (change, open) = gated(Ok(()));
    let app = server
        .app()
        .request_timeout(Duration::from_millis(500))
        .target(Target::non_transactional("shell", log))
        .stage(Stage::new("s").change(change));
    let readiness = app.build().unwrap().spawn();
    let mut other = readiness.clone();
    let waiting = Some(Activity::WaitingForLock {
        holder: "orders@other#1".to_owned(),
    });
    eventually("it waits", || activity(&readiness) == waiting).await;
    eventually("it applies", || activity(&readiness) == Some(applying())).await;
    assert!(!readiness.is_ready() && !readiness.is_failed());
    open.send(()).unwrap();
    let report = readiness.clone().await.unwrap();
    assert_eq!(report.applied_changes, 1);
    assert!(readiness.is_ready());
    // Who asks later, or holds another handle, is told the same.
    assert_eq!(other.ready().await.unwrap().applied_changes, 1);
    while other.changed().await {}
    assert!(other.is_ready());
}

#[tokio::test]
async fn a_failure_is_told_to_everybody() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let app = server
        .app()
        .target(Target::non_transactional("shell", log))
        .stage(Stage::new("s").change(step("a", "0001").fails("no")));
    let readiness = app.build().unwrap().spawn();
    for _ in 0..2 {
        let error = readiness.ready().await.unwrap_err();
        assert!(matches!(error.kind(), StartErrorKind::ChangesFailed), "{error}");
    }
    assert!(readiness.is_failed());
}

#[tokio::test]
async fn dropping_the_handle_stops_nothing_and_dropping_the_guard_does() {
    for guarded in [false, true] {
        let (server, log) = (FakeServer::start().await, Log::default());
        let (change, open) = gated(Ok(()));
        let app = server
            .app()
            .target(Target::non_transactional("shell", log.clone()))
            .stage(Stage::new("s").change(change).change(step("after", "0002")));
        let readiness = app.build().unwrap().spawn();
        let watch = readiness.clone();
        eventually("it applies", || !log.lines().is_empty()).await;
        if guarded {
            drop(readiness.stop_on_drop());
        }
        drop(readiness);
        open.send(()).unwrap();
        let ended = watch.ready().await;
        if guarded {
            assert!(ended.unwrap_err().is_interrupted());
            assert_eq!(log.lines(), ["apply gated"]);
        } else {
            assert_eq!(ended.unwrap().applied_changes, 2);
        }
    }
}

/// A target system whose code panics, which no change does for the run.
struct Panics;

impl flamingock::TransactionalTarget for Panics {
    type Transaction = crate::support::FakeTx;
    type Client = ();

    fn client(&self) {}

    fn marks(&self, _: flamingock::MarkScope) -> flamingock::TargetFuture<'_, Vec<flamingock::Mark>> {
        panic!("out of cheese")
    }

    fn prepare(&self) -> flamingock::TargetFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn begin(&self) -> flamingock::TargetFuture<'_, Self::Transaction> {
        Box::pin(async { Err(TargetError::new("beginning", "never")) })
    }

    fn write_mark<'a>(
        &'a self,
        _: &'a mut Self::Transaction,
        _: flamingock::MarkScope,
        _: &'a str,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), flamingock::MarkError>> + Send + 'a>> {
        Box::pin(async { Ok(()) })
    }

    fn commit(
        &self,
        _: Self::Transaction,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), flamingock::CommitError>> + Send + '_>> {
        Box::pin(async { Ok(()) })
    }

    fn rollback(
        &self,
        _: Self::Transaction,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), flamingock::RollbackError>> + Send + '_>> {
        Box::pin(async { Ok(()) })
    }

    fn was_committed<'a>(
        &'a self,
        _: flamingock::MarkScope,
        _: &'a str,
        _: Duration,
    ) -> flamingock::TargetFuture<'a, bool> {
        Box::pin(async { Ok(false) })
    }

    fn clear_marks<'a>(
        &'a self,
        _: flamingock::MarkScope,
        _: &'a [String],
    ) -> flamingock::TargetFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn a_run_that_panics_has_failed() {
    let server = FakeServer::start().await;
    let app = server
        .app()
        .target(Target::transactional("db", Panics))
        .stage(Stage::new("s").change(step("a", "0001").on("db")));
    let error = app.build().unwrap().spawn().ready().await.unwrap_err();
    assert!(matches!(error.kind(), StartErrorKind::Panicked { message } if message == "out of cheese"));
    assert_eq!(error.report().not_reached_changes, 1);
}

#[test]
fn a_run_whose_runtime_is_gone_has_failed() {
    let build = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    };
    let (outer, inner) = (build(), build());
    let server = outer.block_on(FakeServer::start());
    server.always(Kind::Token, Reply::Hang);
    let app = server
        .app()
        .target(Target::non_transactional("shell", Log::default()))
        .stage(Stage::new("s").change(step("a", "0001")));
    let readiness = inner.block_on(async { app.build().unwrap().spawn() });
    inner.shutdown_background();
    let error = outer.block_on(readiness.ready()).unwrap_err();
    assert!(error.is_interrupted());
}

#[cfg(feature = "axum")]
mod probe {
    use serde_json::{Value, json};

    use super::*;

    async fn probe(readiness: &Readiness) -> impl AsyncFn(&str) -> (u16, Value) + use<> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = flamingock::startup_probe(readiness.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        async move |path: &str| {
            let answer = reqwest::get(format!("http://{address}/health/{path}"))
                .await
                .unwrap();
            (answer.status().as_u16(), answer.json().await.unwrap())
        }
    }

    #[tokio::test]
    async fn probes_are_told_the_truth_while_a_change_runs_and_after() {
        for (result, pending, ended) in [
            (Ok(()), [503, 503, 200], [200, 200, 200]),
            (Err("no"), [503, 503, 200], [500, 500, 500]),
        ] {
            let (server, log) = (FakeServer::start().await, Log::default());
            let (change, open) = gated(result);
            let app = server
                .app()
                .target(Target::non_transactional("shell", log))
                .stage(Stage::new("s").change(change));
            let readiness = app.build().unwrap().spawn();
            let get = probe(&readiness).await;
            eventually("it applies", || activity(&readiness) == Some(applying())).await;
            for (path, status) in ["startup", "ready", "live"].into_iter().zip(pending) {
                let (found, body) = get(path).await;
                assert_eq!(found, status, "{path}");
                assert_eq!(body["status"], "pending");
                assert_eq!(body["activity"], "applying");
                assert_eq!((&body["stage"], &body["change"]), (&json!("s"), &json!("gated")));
                assert_eq!(body["message"], "applying change `gated` of stage `s`");
                assert!(body["since"].as_str() >= body["started"].as_str(), "{body}");
            }
            open.send(()).unwrap();
            let outcome = readiness.ready().await;
            for (path, status) in ["startup", "ready", "live"].into_iter().zip(ended) {
                let (found, body) = get(path).await;
                assert_eq!(found, status, "{path}: {body}");
                if outcome.is_ok() {
                    assert_eq!(body["status"], "ready");
                } else {
                    assert_eq!(
                        (&body["status"], &body["error"]),
                        (&json!("failed"), &json!("CHANGES_FAILED"))
                    );
                    assert!(body["nextSteps"].is_string());
                }
            }
        }
    }
}
