//! What listeners and readers are told of a run.

use std::sync::{Arc, Mutex};

use flamingock::{Builder, RunEvent, Stage, Target};
use futures_util::StreamExt as _;

use crate::support::{FakeDatabase, FakeServer, Kind, Log, Reply, step};

/// Builds and runs it; what was told, as short lines.
async fn told(builder: Builder) -> Vec<String> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let noted = lines.clone();
    let app = builder
        .on_event(move |event| noted.lock().expect("nothing panics here").push(line(event)))
        .build()
        .unwrap();
    let _ = app.run().await;
    let lines = lines.lock().expect("nothing panics here");
    lines.clone()
}

/// The name, and what does not vary from run to run.
fn line(event: &RunEvent) -> String {
    let json = serde_json::to_value(event).expect("plain data");
    let field = |name: &str| match json.get(name) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) if name == "changeIds" => other.to_string(),
        _ => String::new(),
    };
    let parts = [
        "event",
        "action",
        "holder",
        "stage",
        "change",
        "state",
        "changeIds",
    ]
    .map(field);
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

#[tokio::test]
async fn a_run_is_told_from_beginning_to_end() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.set_applied(&["a"]);
    server.next(Kind::Plan, [Reply::wait("x-1", 60_000)]);
    let lines = told(
        server
            .app()
            .target(Target::non_transactional("shell", log))
            .stage(
                Stage::new("one")
                    .change(step("a", "0001"))
                    .change(step("b", "0002")),
            )
            .stage(
                Stage::new("two")
                    .change(step("c", "0001").fails("no").rollback(Ok(())))
                    .change(step("d", "0002")),
            ),
    )
    .await;
    assert_eq!(
        lines,
        [
            "RUN_STARTED",
            "PLAN_RECEIVED AWAIT",
            "WAITING_FOR_LOCK orders@other#1",
            "PLAN_RECEIVED EXECUTE",
            "LOCK_GRANTED",
            "STAGE_STARTED one",
            "CHANGE_SKIPPED one a",
            "CHANGE_STARTED one b",
            "CHANGE_APPLIED one b",
            "STAGE_ENDED one COMPLETED",
            "STAGE_STARTED two",
            "CHANGE_STARTED two c",
            "CHANGE_FAILED two c",
            "CHANGE_ROLLED_BACK two c",
            "STAGE_ENDED two FAILED",
            "PLAN_RECEIVED ABORT",
            "RUN_ENDED",
        ]
    );
}

#[tokio::test]
async fn each_change_that_was_started_ends_in_exactly_one_way() {
    for (ending, expected) in [
        ("fails", "CHANGE_FAILED, CHANGE_ROLLED_BACK"),
        ("refused", "CHANGE_FAILED"),
        ("unrecorded", "CHANGE_FAILED"),
        ("commit unknown", "CHANGE_FAILED"),
        ("ended by itself", "CHANGE_FAILED, CHANGE_ROLLBACK_FAILED"),
    ] {
        let (server, database) = (FakeServer::start().await, FakeDatabase::without_marks());
        let mut tested = step("a", "0001").on("db");
        match ending {
            "fails" => tested = tested.fails("no"),
            "refused" => server.next(
                Kind::Audit("STARTED".to_owned()),
                [Reply::problem(409, "R_EXEC_01")],
            ),
            "unrecorded" => server.always(
                Kind::Audit("APPLIED".to_owned()),
                Reply::Json(201, serde_json::json!({"late": true})),
            ),
            // Without a mark nobody can look.
            "commit unknown" => {
                database.with(|contents| contents.commit = crate::support::Commit::BreaksBefore);
            }
            _ => {
                tested = tested.fails("no");
                database.with(|contents| contents.ended_by_itself = true);
            }
        }
        let lines = told(
            server
                .app()
                .target(Target::transactional("db", database))
                .stage(Stage::new("s").change(tested)),
        )
        .await;
        let about: Vec<_> = lines
            .iter()
            .filter(|line| line.ends_with(" s a") && !line.starts_with("CHANGE_STARTED"))
            .map(|line| line.trim_end_matches(" s a"))
            .collect();
        assert_eq!(about.join(", "), expected, "{ending}: {lines:?}");
    }
}

#[tokio::test]
async fn a_stage_that_waits_for_a_person_is_told_with_its_changes() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let plan = serde_json::json!({
        "action": "EXECUTE", "executionId": 1, "synchronizedMarks": false, "pipelineResult": {"stages": []},
        "lock": {"key": "340", "owner": "x", "acquisitionId": "x-1", "acquiredForMillis": 3000},
        "stages": [{"name": "s", "order": 0, "changes": [{"id": "a", "action": "MANUAL_INTERVENTION"}]}],
    });
    server.next(Kind::Plan, [Reply::Json(201, plan)]);
    let lines = told(
        server
            .app()
            .target(Target::non_transactional("shell", log))
            .stage(Stage::new("s").change(step("a", "0001"))),
    )
    .await;
    assert_eq!(
        lines[3..5],
        [
            "STAGE_BLOCKED s [\"a\"]",
            "STAGE_ENDED s BLOCKED_MANUAL_INTERVENTION"
        ]
    );
}

#[tokio::test]
async fn a_listener_that_panics_harms_nothing() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let builder = server
        .app()
        .on_event(|_| panic!("out of cheese"))
        .target(Target::non_transactional("shell", log.clone()))
        .stage(Stage::new("s").change(step("a", "0001")));
    let lines = told(builder).await;
    assert_eq!(log.lines(), ["apply a"]);
    assert_eq!(lines.last().unwrap(), "RUN_ENDED", "the other one is told all");
    assert_eq!(server.audit(), ["a STARTED", "a APPLIED"]);
}

#[tokio::test]
async fn streams_tell_the_same_to_each_reader_and_end_with_the_application() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.next(Kind::Token, [Reply::RetryAfter(503, 0)]);
    let app = server
        .app()
        .target(Target::non_transactional("shell", log))
        .stage(Stage::new("s").change(step("a", "0001")))
        .build()
        .unwrap();
    let (mut one, two) = (app.events(), app.events());
    app.run().await.unwrap();
    drop(app);
    let mut lines = Vec::new();
    while let Some(event) = one.next().await {
        lines.push(line(&event));
    }
    assert_eq!(lines[..2], ["RUN_STARTED", "CALL_REPEATED"]);
    assert_eq!(lines.last().unwrap(), "RUN_ENDED");
    let same: Vec<_> = two.into_stream().map(|event| line(&event)).collect().await;
    assert_eq!(same, lines);
}
