//! All or nothing: nobody plans on half a history. The source is a pipe, so that an import can be stopped in the middle.

use std::fs::File;
use std::io::Write as _;
use std::process::Command;

use flamingock_api_types::execution::PlanAction;
use flamingock_tests::{Pipeline, ServerCommand, TestServer, eventually, scratch_file};

use super::{WRITTEN, done, file, import, record};

/// More than one batch.
const RECORDS: usize = 1_200;

fn lines() -> Vec<String> {
    (0..RECORDS)
        .map(|at| record(&format!("c{at}"), "EXECUTED", 5))
        .collect()
}

/// An import that has taken its first records and waits for the others, which go into the pipe.
async fn half_an_import(server: &TestServer) -> (ServerCommand, File) {
    let path = scratch_file("pipe");
    let made = Command::new("mkfifo").arg(&path).status();
    assert!(made.is_ok_and(|status| status.success()), "no pipe at {path}");
    let command = ServerCommand::start(
        &import(&["--mongock", &path]),
        &[("DATABASE_URL", &server.database.url)],
    );
    let text = lines()[..RECORDS / 2].join("\n") + "\n";
    let pipe = tokio::task::spawn_blocking(move || {
        let mut pipe = File::options()
            .write(true)
            .open(path)
            .expect("the import opens it");
        pipe.write_all(text.as_bytes()).expect("the import reads");
        pipe
    })
    .await
    .expect("it does not panic");
    // Written, and idle since: it waits for the pipe.
    let taken = "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a USING (pid)
         WHERE c.relname = 'change_states' AND l.mode = 'RowExclusiveLock' AND a.datname = current_database()
           AND a.state = 'idle in transaction' AND clock_timestamp() - a.state_change > interval '200 ms'";
    eventually("the first records are taken", async || {
        (server.database.number(taken).await > 0).then_some(())
    })
    .await;
    (command, pipe)
}

#[tokio::test]
async fn a_start_during_an_import_waits_for_the_whole_of_it() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let (command, mut pipe) = half_an_import(&server).await;
    let last = format!("c{}", RECORDS - 1);
    let starting = tokio::spawn({
        let runner = runner.clone();
        async move { runner.plan(&Pipeline::of("schema", &["c0", &last])).await }
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("the plan waits", async || {
        assert!(!starting.is_finished(), "it was planned on half a history");
        (server.database.number(waiting).await > 0).then_some(())
    })
    .await;
    let rest = lines()[RECORDS / 2..].join("\n");
    tokio::task::spawn_blocking(move || pipe.write_all(rest.as_bytes()).expect("the import reads"))
        .await
        .expect("it does not panic");
    let ran = command.ended().await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.output, ran.log);
    let plan = starting.await.expect("it does not panic");
    assert_eq!(plan.action, PlanAction::Continue, "{plan:?}");
}

#[tokio::test]
async fn an_import_that_is_killed_leaves_nothing_and_can_be_repeated() {
    let server = TestServer::start().await;
    let before = server.database.number(WRITTEN).await;
    let (command, pipe) = half_an_import(&server).await;
    command.kill();
    drop(pipe);
    assert_eq!(server.database.number(WRITTEN).await, before);
    let recorded = format!(
        "SELECT count(*) FROM admin_actions WHERE action = 'history_import' AND actor LIKE 'server:import %'
            AND after::json ->> 'entries' = '{RECORDS}'"
    );
    assert_eq!(server.database.number(&recorded).await, 0);
    let account = done(&server.database, &["--mongock", &file(&lines())]).await;
    assert!(
        account.contains(&format!("{RECORDS} records: {RECORDS} entries")),
        "{account}"
    );
    assert_eq!(server.database.number(&recorded).await, 1);
}
