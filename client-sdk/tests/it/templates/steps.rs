//! How changes in files run: forwards, and after a failure backwards.

use flamingock::{ChangeStatus, Report, Stage, StartError, Target, templates::Placeholders};
use serde_json::json;

use super::note::{NoteTemplate, StrictTemplate};
use crate::support::{FakeDatabase, FakeServer, Files, Kind, Log, Reply, step};

const HEADER: &str = "id: noted\nauthor: mara\ntemplate: note-template\n";

/// A change of the tests' own template, on the target `shell`, which has no transactions.
fn outside(rest: &str) -> Files {
    Files::new(&[(
        "_0002__noted.yaml",
        format!("{HEADER}targetSystem: shell\n{rest}"),
    )])
}

async fn run(server: &FakeServer, log: &Log, files: &Files) -> Result<Report, StartError> {
    server
        .app()
        .target(Target::non_transactional("shell", log.clone()))
        .template(NoteTemplate)
        .template(StrictTemplate)
        .placeholders(Placeholders::none().with("SECRET", "hunter2\"very=secret"))
        .metadata("team", "shop")
        .stage(Stage::from_dir("files", files.path()))
        .build()
        .unwrap()
        .run()
        .await
}

async fn failure(server: &FakeServer, log: &Log, rest: &str) -> StartError {
    run(server, log, &outside(rest)).await.expect_err("it fails")
}

fn message(error: &StartError) -> String {
    let change = error
        .report()
        .change("noted")
        .expect("it is in the report")
        .clone();
    assert_eq!(change.status, ChangeStatus::Failed);
    change.error.expect("it has failed").message
}

#[tokio::test]
async fn code_and_files_share_the_order_of_their_stage() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let files = outside("steps: [apply: {text: two}]\n");
    files.write(
        "_0010__last.yaml",
        "id: last\ntemplate: strict-template\ntargetSystem: shell\nconfiguration: {prefix: 'the '}\napply: {text: last}\n\
         rollback: x\n",
    );
    let stage = Stage::from_dir("files", files.path())
        .change(step("code", "0003"))
        .change(step("first", "0001"));
    let app = server
        .app()
        .target(Target::non_transactional("shell", log.clone()))
        .template(NoteTemplate)
        .template(StrictTemplate)
        .stage(stage);
    app.build().unwrap().run().await.unwrap();
    assert_eq!(log.lines(), ["apply first", "two", "apply code", "the last"]);
}

#[tokio::test]
async fn the_audit_knows_template_and_file() {
    let (server, log) = (FakeServer::start().await, Log::default());
    run(
        &server,
        &log,
        &outside("steps: [apply: {text: a}, apply: {text: b}]\n"),
    )
    .await
    .unwrap();
    assert_eq!(server.audit(), ["noted STARTED", "noted APPLIED"]);
    let entry = &server.calls_of(&Kind::Audit("APPLIED".into()))[0].body;
    for (field, value) in [
        ("type", json!("STANDARD_TEMPLATE")),
        ("className", json!("note-template")),
        ("methodName", json!("apply")),
        ("author", json!("mara")),
        ("order", json!("0002")),
        (
            "metadata",
            json!({"team": "shop", "sourceFile": "_0002__noted.yaml"}),
        ),
    ] {
        assert_eq!(entry[field], value, "{field}");
    }
}

#[tokio::test]
async fn after_a_failure_the_failing_step_is_undone_first_and_then_those_before_it() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let steps = "
steps:
  - {apply: {text: one}, rollback: {text: one}}
  - {apply: {text: two, fails: disk full}, rollback: {text: two}}
  - {apply: {text: three}, rollback: {text: three}}
";
    let error = failure(&server, &log, steps).await;
    assert_eq!(message(&error), "step 2 of 3: disk full");
    assert_eq!(log.lines(), ["one", "two", "undo two", "undo one"]);
    assert_eq!(
        server.audit(),
        ["noted STARTED", "noted FAILED", "noted ROLLED_BACK"]
    );
    let trace = &server.calls_of(&Kind::Audit("FAILED".into()))[0].body["errorTrace"];
    assert!(
        trace
            .as_str()
            .is_some_and(|trace| trace.contains("std::io::error::Error")),
        "{trace}"
    );
}

#[tokio::test]
async fn a_step_that_cannot_be_undone_is_no_clean_rollback() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let steps = "
steps:
  - {apply: {text: one}, rollback: {text: one}}
  - {apply: {text: two}}
  - {apply: {text: three, fails: disk full}, rollback: {text: three}}
";
    let error = failure(&server, &log, steps).await;
    assert_eq!(
        message(&error),
        "step 3 of 3: disk full",
        "the first error stays the error"
    );
    assert_eq!(log.lines(), ["one", "two", "three", "undo three", "undo one"]);
    assert_eq!(
        server.audit(),
        ["noted STARTED", "noted FAILED", "noted ROLLBACK_FAILED"]
    );
    let trace = &server.calls_of(&Kind::Audit("ROLLBACK_FAILED".into()))[0].body["errorTrace"];
    assert!(
        trace
            .as_str()
            .is_some_and(|trace| trace.contains("step 2 has no rollback")),
        "{trace}"
    );
}

#[tokio::test]
async fn a_step_that_was_not_begun_needs_no_rollback() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let steps = "
steps:
  - {apply: {text: one, fails: disk full}, rollback: {text: one}}
  - {apply: {text: two}}
";
    failure(&server, &log, steps).await;
    assert_eq!(log.lines(), ["one", "undo one"]);
    assert_eq!(
        server.audit(),
        ["noted STARTED", "noted FAILED", "noted ROLLED_BACK"]
    );
}

#[tokio::test]
async fn where_no_step_has_a_rollback_none_is_claimed() {
    let (server, log) = (FakeServer::start().await, Log::default());
    failure(
        &server,
        &log,
        "steps: [apply: {text: one}, apply: {text: two, fails: x}]\n",
    )
    .await;
    assert_eq!(log.lines(), ["one", "two"]);
    assert_eq!(server.audit(), ["noted STARTED", "noted FAILED"]);
    let submitted =
        &server.calls_of(&Kind::Plan)[0].body["clientSubmission"]["blocks"][0]["stages"][0]["changes"][0];
    assert_eq!(submitted["hasRollback"], false);
}

#[tokio::test]
async fn a_rollback_that_fails_ends_the_way_back() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let steps = "
steps:
  - {apply: {text: one}, rollback: {text: one}}
  - {apply: {text: two}, rollback: {text: two, fails: locked}}
  - {apply: {text: three, fails: disk full}, rollback: {text: three}}
";
    failure(&server, &log, steps).await;
    assert_eq!(log.lines(), ["one", "two", "three", "undo three", "undo two"]);
    assert_eq!(
        server.audit(),
        ["noted STARTED", "noted FAILED", "noted ROLLBACK_FAILED"]
    );
    let trace = &server.calls_of(&Kind::Audit("ROLLBACK_FAILED".into()))[0].body["errorTrace"];
    assert!(
        trace
            .as_str()
            .is_some_and(|trace| trace.contains("undoing step 2 of 3: locked")),
        "{trace}"
    );
}

#[tokio::test]
async fn every_attempt_begins_at_the_first_step() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let files = outside("steps: [apply: {text: one}, apply: {text: two, fails: x}]\n");
    let app = server
        .app()
        .target(Target::non_transactional("shell", log.clone()))
        .template(NoteTemplate)
        .stage(Stage::from_dir("files", files.path()))
        .build()
        .unwrap();
    for _ in 0..2 {
        app.run().await.expect_err("it fails");
    }
    assert_eq!(log.lines(), ["one", "two", "one", "two"]);
}

#[tokio::test]
async fn in_a_transaction_all_steps_are_one_and_it_undoes_itself() {
    let (server, database) = (FakeServer::start().await, FakeDatabase::new());
    let app = |steps: &str| {
        let files = Files::new(&[("_0002__noted.yaml", format!("{HEADER}targetSystem: db\n{steps}"))]);
        let stage = Stage::from_dir("files", files.path());
        let app = server
            .app()
            .target(Target::transactional("db", database.clone()))
            .template(NoteTemplate);
        app.stage(stage).build().unwrap()
    };
    let failing = app("steps: [{apply: {text: one}, rollback: {text: one}}, apply: {text: two, fails: x}]\n");
    let error = failing.run().await.expect_err("it fails");
    assert_eq!(
        error.report().change("noted").unwrap().status,
        ChangeStatus::RolledBack
    );
    assert_eq!(database.rows(), Vec::<String>::new());
    let working = app("steps: [apply: {text: one}, apply: {text: two}]\n");
    working.run().await.unwrap();
    assert_eq!(database.rows(), ["one", "two"]);
    assert_eq!(
        server.audit(),
        [
            "noted STARTED",
            "noted FAILED",
            "noted ROLLED_BACK",
            "noted STARTED",
            "noted APPLIED"
        ]
    );
    assert_eq!(
        server.calls_of(&Kind::Audit("APPLIED".into()))[0].body["txStrategy"],
        "TX_SEPARATE_WITH_MARKER"
    );
}

#[tokio::test]
async fn work_that_cannot_be_part_of_a_transaction_decides_where_the_file_does_not() {
    for (fields, strategy) in [
        ("steps: [apply: {text: a}]\n", "TX_SEPARATE_WITH_MARKER"),
        (
            "steps: [apply: {text: a, transactions: true}]\n",
            "TX_SEPARATE_WITH_MARKER",
        ),
        (
            "transactional: false\nsteps: [apply: {text: a, transactions: true}]\n",
            "NON_TX",
        ),
        (
            "steps: [apply: {text: a}, apply: {text: b, transactions: false}]\n",
            "NON_TX",
        ),
        // What undoes it is not asked.
        (
            "steps: [{apply: {text: a}, rollback: {text: b, transactions: false}}]\n",
            "TX_SEPARATE_WITH_MARKER",
        ),
    ] {
        let server = FakeServer::start().await;
        let files = Files::new(&[("_0002__noted.yaml", format!("{HEADER}targetSystem: db\n{fields}"))]);
        let app = server
            .app()
            .target(Target::transactional("db", FakeDatabase::new()))
            .template(NoteTemplate)
            .stage(Stage::from_dir("files", files.path()))
            .build();
        app.unwrap().run().await.unwrap();
        let entry = &server.calls_of(&Kind::Audit("APPLIED".into()))[0].body;
        assert_eq!(entry["txStrategy"], strategy, "{fields}");
        assert_eq!(entry["transactionFlag"], strategy != "NON_TX", "{fields}");
    }
}

#[tokio::test]
async fn without_the_lock_no_further_step_is_begun_and_none_is_undone() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.always(Kind::Extend, Reply::problem(404, "R_LOCK_03"));
    let steps = "
steps:
  - {apply: {text: one, waits: true}, rollback: {text: one}}
  - {apply: {text: two}, rollback: {text: two}}
";
    let error = failure(&server, &log, steps).await;
    assert_eq!(message(&error), "the lock was lost before step 2 of 2 was begun");
    assert_eq!(log.lines(), ["one"]);
    assert_eq!(server.audit(), ["noted STARTED", "noted FAILED"]);
}

#[tokio::test]
async fn values_of_placeholders_reach_the_target_and_nobody_else() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let steps = "
configuration: {prefix: '${PREFIX:a }'}
steps:
  - apply: {text: 'password ${SECRET}, literally $${SECRET}'}
  - apply: {text: two, fails: 'cannot log in with ${SECRET}'}
    rollback: {text: two, fails: 'still not: ${SECRET}'}
";
    let error = failure(&server, &log, steps).await;
    assert_eq!(
        log.lines()[0],
        "a password hunter2\"very=secret, literally ${SECRET}"
    );
    assert_eq!(message(&error), "step 2 of 2: cannot log in with ${SECRET}");
    let everything = format!("{error} {error:?} {:?}", server.calls());
    assert!(!everything.contains("hunter2"), "{everything}");
    assert_eq!(server.audit().last().unwrap(), "noted ROLLBACK_FAILED");
}
