//! Mongock's change log, exported.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::{ChangeAction, PlanAction};
use flamingock_tests::{Pipeline, TestServer, scratch_file};

use super::{WRITTEN, actions, done, file, record};

const T: i64 = 1_551_435_072_123;

/// Every kind of record that Mongock writes.
fn change_log() -> Vec<String> {
    let before = record("with-before_before", "EXECUTED", T)
        .replace("\"EXECUTION\"", "\"BEFORE_EXECUTION\"")
        .replace(
            "{\"$date\":{\"$numberLong\":\"1551435072123\"}}",
            "{\"$date\":\"2019-03-01T10:11:12.123Z\"}",
        );
    let system = record("system-change-00001", "EXECUTED", T)
        .replace("\"systemChange\":false", "\"systemChange\":true");
    vec![
        system,
        before,
        record("with-before", "EXECUTED", T + 1),
        record("repaired", "FAILED", T + 2),
        record("broken", "FAILED", T + 3),
        record("undone", "ROLLED_BACK", T + 4),
        record("dirty", "ROLLBACK_FAILED", T + 5),
        String::new(),
        record("repaired", "EXECUTED", T + 6),
        record("with-before", "IGNORED", T + 7),
        record("odd", "PAUSED", T + 8),
    ]
}

#[tokio::test]
async fn what_mongock_applied_is_not_run_again_and_the_rest_is_judged_by_table_p1() {
    let server = TestServer::start().await;
    let log = file(&change_log());
    let account = done(&server.database, &["--mongock", &log]).await;
    for line in [
        "with-before_before   APPLIED: is not run again",
        "repaired             APPLIED: is not run again",
        "broken               FAILED: stops the next start until a person decides",
        "undone               ROLLED_BACK: runs at the next start",
        "dirty                ROLLBACK_FAILED: stops the next start until a person decides",
        "odd                  UNKNOWN: stops the next start until a person decides",
        "10 records: 9 entries, 0 more as evidence that changes no state, 0 recorded before, 1 IGNORED",
        "service billing (new)",
    ] {
        assert!(account.contains(line), "{line} is not in\n{account}");
    }

    let runner = server.runner("billing").await;
    let applied = ["with-before_before", "with-before", "repaired"];
    let plan = runner.plan(&Pipeline::of("legacy", &applied)).await;
    assert_eq!(plan.action, PlanAction::Continue, "{plan:?}");
    let rest = ["with-before", "broken", "undone", "dirty", "odd", "new"];
    let plan = runner.granted(&Pipeline::of("legacy", &rest)).await;
    assert_eq!(
        actions(&plan),
        [
            ("with-before", ChangeAction::Skip),
            ("broken", ChangeAction::ManualIntervention),
            ("undone", ChangeAction::Apply),
            ("dirty", ChangeAction::ManualIntervention),
            ("odd", ChangeAction::ManualIntervention),
            ("new", ChangeAction::Apply),
        ]
    );
    let mut issues: Vec<String> = server
        .operator()
        .issues(&runner)
        .await
        .into_iter()
        .map(|issue| issue.change_id)
        .collect();
    issues.sort();
    assert_eq!(issues, ["broken", "dirty", "odd"]);
}

#[tokio::test]
async fn entries_keep_order_and_time_and_say_who_imported_them_from_where() {
    let server = TestServer::start().await;
    let log = file(&change_log());
    done(&server.database, &["--mongock", &log]).await;
    let runner = server.runner("billing").await;
    let entries = server.operator().audit(&runner).await;
    let told: Vec<_> = entries
        .iter()
        .map(|it| {
            (
                it.change_id.as_str(),
                it.state.as_str(),
                it.applied_at_epoch_millis,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("system-change-00001", "APPLIED", Some(T)),
            ("with-before_before", "APPLIED", Some(T)),
            ("with-before", "APPLIED", Some(T + 1)),
            ("repaired", "FAILED", Some(T + 2)),
            ("broken", "FAILED", Some(T + 3)),
            ("undone", "ROLLED_BACK", Some(T + 4)),
            ("dirty", "ROLLBACK_FAILED", Some(T + 5)),
            ("repaired", "APPLIED", Some(T + 6)),
            ("odd", "PAUSED", Some(T + 8)),
        ]
    );
    let name = log.rsplit('/').next().expect("a file has a name");
    for (entry, line) in entries.iter().zip([1, 2, 3, 4, 5, 6, 7, 9, 11]) {
        assert_eq!((entry.source.as_str(), entry.late), ("IMPORT", false));
        assert_eq!(entry.actor, "import:mara");
        let note = format!("imported from Mongock's change log, {name}, line {line}");
        assert_eq!(entry.note.as_deref(), Some(note.as_str()));
        assert_eq!(entry.author.as_deref(), Some("lin"));
        assert_eq!(entry.recovery_strategy.as_deref(), Some("MANUAL_INTERVENTION"));
        assert_eq!(entry.tx_strategy, None);
    }
    assert_eq!(entries[0].stage_id.as_deref(), Some("flamingock-legacy-stage"));
    assert_eq!(entries[1].change_type.as_deref(), Some("MONGOCK_BEFORE"));
    assert_eq!(entries[2].change_type.as_deref(), Some("MONGOCK_EXECUTION"));
    let verification = server.operator().verification(&runner).await;
    assert!(verification.intact, "{verification:?}");
    assert_eq!(verification.head_seq, 9);
}

#[tokio::test]
async fn the_same_import_again_writes_nothing_and_a_later_export_only_what_is_new() {
    let server = TestServer::start().await;
    let mut lines = change_log();
    done(&server.database, &["--mongock", &file(&lines)]).await;
    let written = server.database.number(WRITTEN).await;
    let account = done(&server.database, &["--mongock", &file(&lines)]).await;
    assert!(account.starts_with("nothing was written: "), "{account}");
    assert!(
        account
            .contains("10 records: 0 entries, 0 more as evidence that changes no state, 9 recorded before")
    );
    assert_eq!(server.database.number(WRITTEN).await, written);

    lines.push(record("broken", "EXECUTED", T + 20));
    done(&server.database, &["--mongock", &file(&lines)]).await;
    let runner = server.runner("billing").await;
    let operator = server.operator();
    assert_eq!(operator.states(&runner, "broken").await, ["FAILED", "APPLIED"]);
    assert_eq!(operator.verification(&runner).await.head_seq, 10);
}

#[tokio::test]
async fn a_dry_run_writes_nothing_and_foretells_what_the_import_then_does() {
    let server = TestServer::start().await;
    let log = file(&change_log());
    let before = server.database.number(WRITTEN).await;
    let foretold = done(&server.database, &["--mongock", &log, "--dry-run"]).await;
    assert_eq!(server.database.number(WRITTEN).await, before);
    let account = done(&server.database, &["--mongock", &log]).await;
    let foretold = foretold
        .strip_prefix("dry run, nothing was written: ")
        .expect("it says what it is");
    let account = account.strip_prefix("imported: ").expect("it says what it did");
    assert_eq!(foretold, account);
}

#[tokio::test]
async fn an_older_piece_of_history_that_is_imported_later_changes_no_state() {
    let server = TestServer::start().await;
    done(
        &server.database,
        &["--mongock", &file(&[record("a", "EXECUTED", T)])],
    )
    .await;
    let older = file(&[record("a", "ROLLED_BACK", T - 1_000)]);
    let account = done(&server.database, &["--mongock", &older]).await;
    assert!(account.contains("a  APPLIED: is not run again"), "{account}");
    let runner = server.runner("billing").await;
    assert_eq!(
        server.operator().states(&runner, "a").await,
        ["APPLIED", "late ROLLED_BACK"]
    );
    let plan = runner.plan(&Pipeline::of("legacy", &["a"])).await;
    assert_eq!(plan.action, PlanAction::Continue, "{plan:?}");
}

#[tokio::test]
async fn what_a_runner_reported_here_is_not_displaced_by_history() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let plan = runner.granted(&Pipeline::of("schema", &["a", "b"])).await;
    let execution = plan.execution_id.expect("granted");
    runner.apply(execution, "a").await;
    runner.told(execution, "b", AuditState::Started).await;
    runner.told(execution, "b", AuditState::Failed).await;
    runner.release().await.expect(200);
    // By its own clock the history is younger than what happened here.
    let young = 4_000_000_000_000;
    let log = file(&[record("a", "FAILED", young), record("b", "EXECUTED", young)]);
    let account = done(&server.database, &["--mongock", &log]).await;
    for line in [
        "a  stays APPLIED: is not run again; a runner reported it here, 1 imported as evidence only",
        "b  stays FAILED: stops the next start until a person decides; a runner reported it here, 1 imported as evidence",
        "2 records: 0 entries, 2 more as evidence that changes no state",
    ] {
        assert!(account.contains(line), "{line} is not in\n{account}");
    }
    let operator = server.operator();
    assert_eq!(
        operator.states(&runner, "a").await,
        ["STARTED", "APPLIED", "late FAILED"]
    );
    assert_eq!(
        operator.states(&runner, "b").await,
        ["STARTED", "FAILED", "late APPLIED"]
    );
    assert!(operator.verification(&runner).await.intact);
}

#[tokio::test]
async fn a_java_importers_records_and_an_exports_are_the_same_history() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let told = serde_json::json!({"appliedAtEpochMillis": T});
    let execution = format!("2019-03-01T10:11:12.123-{T}");
    runner
        .report_with(&execution, "a", AuditState::Applied, &told)
        .await
        .expect(201);
    let account = done(
        &server.database,
        &["--mongock", &file(&[record("a", "EXECUTED", T)])],
    )
    .await;
    assert!(account.contains("0 entries, 0 more as evidence that changes no state, 1 recorded before"));
}

#[tokio::test]
async fn windows_line_ends_and_a_byte_order_mark_are_no_obstacle() {
    let server = TestServer::start().await;
    let path = scratch_file("windows.jsonl");
    let text = format!(
        "\u{feff}{}\r\n\r\n{}\r\n",
        record("a", "EXECUTED", T),
        record("b", "EXECUTED", T)
    );
    std::fs::write(&path, text).expect("the scratch directory can be written to");
    let account = done(&server.database, &["--mongock", &path]).await;
    assert!(account.contains("2 records: 2 entries"), "{account}");
}
