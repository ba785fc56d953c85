//! What a run tells by `tracing`: spans for run, stage and change, the report, warnings when building.
//!
//! A process of its own: `tracing` remembers for each place whether anybody listens, so tests without a listener would
//! disturb these.

use std::{
    io,
    sync::{Arc, Mutex},
};

use flamingock::{Stage, Target};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

#[path = "it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "shared with the other tests")]
mod support;

use support::{FakeDatabase, FakeServer, Log, step};

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn start() -> (Self, DefaultGuard) {
        let captured = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(captured.clone())
            .finish();
        (captured, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn has(&self, parts: &[&str]) -> bool {
        self.text()
            .lines()
            .any(|line| parts.iter().all(|part| line.contains(part)))
    }
}

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_run_has_spans_and_its_report_is_logged_unless_switched_off() {
    let (captured, _guard) = Captured::start();
    let (server, log) = (FakeServer::start().await, Log::default());
    let app = |logged| {
        let app = server
            .app()
            .target(Target::non_transactional("shell", log.clone()))
            .log_report(logged);
        app.stage(Stage::new("seed").change(step("load", "0001").fails("no such file")))
            .build()
            .unwrap()
    };
    app(true).run().await.unwrap_err();
    let spans = [
        "flamingock.run{",
        "flamingock.stage{stage=seed execution_id=9",
        "flamingock.change{change=\"load\"",
    ];
    assert!(
        captured.has(&[&spans[..], &["strategy=\"NON_TX\"", "ERROR", "no such file"]].concat()),
        "{}",
        captured.text()
    );
    assert!(captured.has(&["ERROR", "flamingock::report"]));
    assert!(captured.has(&["[FAILED] seed"]));

    let before = captured.text().matches("flamingock::report").count();
    app(false).run().await.unwrap_err();
    assert_eq!(captured.text().matches("flamingock::report").count(), before);
}

#[test]
fn what_is_allowed_and_probably_not_meant_is_warned_of() {
    let (captured, _guard) = Captured::start();
    flamingock::Flamingock::builder("http://localhost:8080")
        .token("t")
        .environment("e")
        .service("s")
        .target(Target::non_transactional("shell", Log::default()))
        .target(Target::transactional("db", FakeDatabase::new()))
        .stage(
            Stage::new("s")
                .change(step("declared", "0001").transactional(true).rollback(Ok(())))
                .change(step("twin", "0001").rollback(Ok(())))
                .change(step("helpless", "0002"))
                .change(step("fine", "0003").on("db"))
                .change(step("outside", "0004").on("db").transactional(false)),
        )
        .build()
        .unwrap();
    assert!(captured.has(&[
        "WARN",
        "declared transactional",
        "change=declared",
        "target_system=shell"
    ]));
    assert!(captured.has(&["WARN", "same order", "first=declared", "second=twin"]));
    assert!(captured.has(&["WARN", "no transaction, no rollback, no retry", "change=helpless"]));
    assert!(captured.has(&["WARN", "no transaction, no rollback, no retry", "change=outside"]));
    assert_eq!(captured.text().lines().count(), 4, "{}", captured.text());
}
