//! Cursors: who may save one, and who is given it.

use flamingock_api_types::audit::AuditState::{self, Applied, Failed, RollbackFailed, RolledBack, Started};
use flamingock_api_types::execution::{ChangeAction, PlanAction};
use flamingock_api_types::issue::ResolutionKind;
use flamingock_api_types::lock::LockStatus;
use flamingock_tests::{Person, Pipeline, Runner, TestServer, eventually};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{begun, handed_on, offered, pipeline, report, retried, saved, saving, told};
use crate::operations::{fence_of, force};

#[tokio::test]
async fn the_next_attempt_goes_on_from_the_cursor_unless_its_work_was_undone_or_is_complete() {
    let server = TestServer::start().await;
    let rows: &[(&str, &[AuditState], bool, Option<&str>)] = &[
        ("crash", &[], false, Some("at 5")),
        ("crash-with-rollback", &[], true, Some("at 5")),
        ("failed", &[Failed], false, Some("at 5")),
        // Its rollback may have been under way.
        ("failed-with-rollback", &[Failed], true, None),
        ("undone", &[Failed, RolledBack], true, None),
        ("undone-natively", &[Failed, RolledBack], false, None),
        ("half-undone", &[Failed, RollbackFailed], true, None),
    ];
    join_all(rows.iter().map(async |(service, ended, has_rollback, expected)| {
        let runner = server.runner(service).await;
        let execution = begun(&runner).await;
        let mut progress = saving(execution, 1, "at 5");
        progress["voidWhenFailed"] = json!(has_rollback);
        told(&runner, &progress).await;
        for state in *ended {
            report(&runner, execution, *state).await;
        }
        runner.release().await.expect(200);
        assert_eq!(handed_on(&runner).await.as_deref(), *expected, "{service}");
        // Looking at it does not use it up: that attempt was never begun.
        assert_eq!(handed_on(&runner).await.as_deref(), *expected, "{service}, again");
    }))
    .await;
}

#[tokio::test]
async fn an_attempt_that_went_on_and_failed_leaves_the_cursor_unless_it_has_a_rollback_that_the_cursor_does_not_tell_of()
 {
    let server = TestServer::start().await;
    let rows = [
        ("no-rollback", false, false, Some("at 5")),
        ("with-rollback", true, false, None),
        ("steps-told-of", true, true, Some("at 5")),
    ];
    join_all(rows.map(async |(service, has_rollback, outlives, expected)| {
        let runner = server.runner(service).await;
        let first = begun(&runner).await;
        saved(&runner, first, 1, "at 5").await;
        runner.release().await.expect(200);
        let pipeline = pipeline().rollback("copy", has_rollback, outlives);
        let plan = runner.granted(&pipeline).await;
        assert_eq!(offered(&plan).cursor.as_deref(), Some("at 5"), "{service}");
        let second = plan.execution_id.expect("a grant has an execution");
        report(&runner, second, Started).await;
        report(&runner, second, Failed).await;
        runner.release().await.expect(200);
        assert_eq!(handed_on(&runner).await.as_deref(), expected, "{service}");
    }))
    .await;
}

#[tokio::test]
async fn a_cursor_of_work_that_was_undone_does_not_come_back_when_the_next_attempt_crashes() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let first = begun(&runner).await;
    saved(&runner, first, 1, "at 5").await;
    report(&runner, first, Failed).await;
    report(&runner, first, RolledBack).await;
    runner.release().await.expect(200);
    let second = begun(&runner).await;
    // It tells how far it is, but has saved nothing yet.
    let progress = json!({"executionId": second, "changeId": "copy", "sequence": 1, "done": 2});
    told(&runner, &progress).await;
    runner.release().await.expect(200);
    assert_eq!(handed_on(&runner).await, None);
}

#[tokio::test]
async fn what_a_rollback_tells_of_itself_does_not_revive_the_cursor_of_the_work_that_it_undoes() {
    let server = TestServer::start().await;
    // What it says last: how far the undoing is, or from where to go on with that.
    for (service, cursor, expected) in [
        ("told", None, None),
        ("saved", Some("undone to 3"), Some("undone to 3")),
    ] {
        let runner = server.runner(service).await;
        let execution = begun(&runner).await;
        let mut progress = saving(execution, 1, "at 5");
        progress["voidWhenFailed"] = json!(true);
        told(&runner, &progress).await;
        report(&runner, execution, Failed).await;
        let undoing = json!({
            "executionId": execution, "changeId": "copy", "sequence": 2, "cursor": cursor, "done": 2, "total": 5
        });
        told(&runner, &undoing).await;
        runner.release().await.expect(200);
        assert_eq!(handed_on(&runner).await.as_deref(), expected, "{service}");
    }
}

#[tokio::test]
async fn a_cursor_is_handed_on_from_attempt_to_attempt_until_one_saves_its_own() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let first = begun(&runner).await;
    saved(&runner, first, 7, "at 5").await;
    runner.release().await.expect(200);
    let second = begun(&runner).await;
    let progress = json!({"executionId": second, "changeId": "copy", "sequence": 1, "done": 6, "total": 10});
    told(&runner, &progress).await;
    runner.release().await.expect(200);
    assert_eq!(handed_on(&runner).await.as_deref(), Some("at 5"));
    let third = begun(&runner).await;
    saved(&runner, third, 1, "at 8").await;
    runner.release().await.expect(200);
    assert_eq!(handed_on(&runner).await.as_deref(), Some("at 8"));
}

#[tokio::test]
async fn after_a_persons_decision_the_change_begins_anew() {
    let server = TestServer::start().await;
    let (runner, operator) = (server.runner("billing").await, server.operator());
    let plan = runner.granted(&pipeline()).await;
    let execution = plan.execution_id.expect("a grant has an execution");
    // It waits for a person when it is interrupted.
    let started = runner.told(execution, "copy", Started).await;
    saved(&runner, execution, 1, "at 5").await;
    runner.release().await.expect(200);
    let waiting = runner.granted(&pipeline()).await;
    let change = offered(&waiting);
    assert_eq!(
        (change.action, &change.cursor),
        (ChangeAction::ManualIntervention, &None)
    );
    runner.release().await.expect(200);
    let seq = started.seq.expect("an entry has a sequence");
    operator
        .resolve(&runner, &[("copy", ResolutionKind::RolledBack, seq)])
        .await
        .expect(201);
    assert_eq!(handed_on(&runner).await, None);
}

#[tokio::test]
async fn invariant_2_a_runner_that_lost_the_lock_saves_nothing_even_under_its_own_name() {
    let server = TestServer::start().await;
    let (stale, operator) = (server.runner("billing").await, server.operator());
    let lost = begun(&stale).await;
    saved(&stale, lost, 1, "at 5").await;
    let fence = stale.extended().await.lock.fence.expect("a lock has a fence");
    force(&operator, &stale, fence, true).await.expect(200);
    // Nobody holds the lock; then another does; then the same runner does, by a later grant.
    stale
        .extend_telling(&saving(lost, 2, "at 6"))
        .await
        .expect_problem(409, "R_LOCK_01");
    let successor = stale.another();
    let plan = successor.granted(&pipeline()).await;
    assert_eq!(offered(&plan).cursor.as_deref(), Some("at 5"));
    stale
        .extend_telling(&saving(lost, 3, "at 7"))
        .await
        .expect_problem(409, "R_LOCK_01");
    force(&operator, &stale, fence_of(&plan), true).await.expect(200);
    begun(&stale).await;
    let before = stale.lock().await.json();
    stale
        .extend_telling(&saving(lost, 4, "at 8"))
        .await
        .expect_problem(409, "R_LOCK_01");
    assert_eq!(stale.lock().await.json(), before, "it extended nothing");
    stale.release().await.expect(200);
    assert_eq!(handed_on(&stale).await.as_deref(), Some("at 5"));
}

#[tokio::test]
async fn an_attempt_that_takes_no_cursor_is_handed_none_and_voids_it_once_it_has_begun() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let first = begun(&runner).await;
    saved(&runner, first, 1, "at 5").await;
    runner.release().await.expect(200);
    // A version of the change that begins by emptying what is there.
    let without = Pipeline::of("schema", &["copy"]);
    let plan = runner.granted(&without).await;
    assert_eq!(offered(&plan).cursor, None);
    runner.release().await.expect(200);
    // It has not begun, so the work is there.
    assert_eq!(handed_on(&runner).await.as_deref(), Some("at 5"));
    let plan = runner.granted(&without).await;
    report(
        &runner,
        plan.execution_id.expect("a grant has an execution"),
        Started,
    )
    .await;
    runner.release().await.expect(200);
    assert_eq!(handed_on(&runner).await, None);
}

/// As SDKs did that did not say yet which changes take a cursor: a saga would do again what is done.
#[tokio::test]
async fn a_saga_of_an_older_sdk_is_handed_its_cursor() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let first = begun(&runner).await;
    saved(&runner, first, 1, "at 5").await;
    runner.release().await.expect(200);
    let saga = Pipeline::of("schema", &["copy"]).rollback("copy", true, true);
    let plan = runner.granted(&saga).await;
    assert_eq!(offered(&plan).cursor.as_deref(), Some("at 5"));
}

/// An attempt with a saved cursor whose lock a person has released while it works, and its successor, to which the cursor was
/// handed on.
async fn succeeded_by_force(server: &TestServer, service: &str) -> (Runner, i64, Runner, i64) {
    let first = server.runner(service).await;
    let attempt = begun(&first).await;
    let mut progress = saving(attempt, 1, "at 5");
    progress["voidWhenFailed"] = json!(true);
    told(&first, &progress).await;
    let fence = first.extended().await.lock.fence.expect("a lock has a fence");
    force(&server.operator(), &first, fence, true).await.expect(200);
    let next = first.another();
    let plan = next.granted(&pipeline()).await;
    assert_eq!(offered(&plan).cursor.as_deref(), Some("at 5"));
    (
        first,
        attempt,
        next,
        plan.execution_id.expect("a grant has an execution"),
    )
}

#[tokio::test]
async fn an_attempt_does_not_begin_from_a_cursor_whose_work_may_be_undone_by_now() {
    let server = TestServer::start().await;
    for (service, words) in [("fails", &[Failed][..]), ("undoes", &[Failed, RolledBack])] {
        let (first, attempt, next, execution) = succeeded_by_force(&server, service).await;
        // It was alive after all.
        for word in words {
            report(&first, attempt, *word).await;
        }
        let answer = next.report_with(execution, "copy", Started, &retried()).await;
        let problem = answer.expect(409).json();
        let message = problem["message"].as_str().expect("a text");
        assert!(message.contains("has been heard of since"), "{message}");
        next.release().await.expect(200);
        let plan = next.granted(&pipeline()).await;
        assert_eq!(offered(&plan).cursor, None, "{service}");
        report(
            &next,
            plan.execution_id.expect("a grant has an execution"),
            Started,
        )
        .await;
    }
    // Nothing was heard of it.
    let (.., next, execution) = succeeded_by_force(&server, "silent").await;
    report(&next, execution, Started).await;
}

#[tokio::test]
async fn whichever_of_a_failure_and_the_successors_start_is_first_no_start_leans_on_what_is_being_undone() {
    let server = TestServer::start().await;
    let rounds = (0..12).map(async |round| {
        let service = format!("service-{round}");
        let (first, attempt, next, execution) = succeeded_by_force(&server, &service).await;
        let (retried, path) = (retried(), Person::scope(&first));
        let (failed, started) = tokio::join!(
            first.report_with(attempt, "copy", Failed, &retried),
            next.report_with(execution, "copy", Started, &retried),
        );
        assert_eq!(failed.status, 201, "a result is never refused");
        let history: Value = server
            .operator()
            .get(&format!("{path}/audit?changeId=copy"))
            .await
            .expect(200)
            .json();
        let entries = history["entries"].as_array().expect("entries");
        let seq_of = |execution: i64, state: &str| {
            let of = json!(execution.to_string());
            let found = entries
                .iter()
                .find(|it| it["executionId"] == of && it["state"] == state)?;
            found["seq"].as_i64()
        };
        match (seq_of(attempt, "FAILED"), seq_of(execution, "STARTED")) {
            (Some(failed), Some(started)) => assert!(started < failed, "{history}"),
            (Some(_), None) => assert_eq!(started.status, 409),
            (None, _) => panic!("the failure is recorded: {history}"),
        }
    });
    join_all(rounds).await;
}

#[tokio::test]
async fn two_runners_that_fight_over_the_lock_leave_the_cursor_of_the_one_that_held_it_last() {
    let server = TestServer::start().await;
    let (one, operator) = (server.runner("billing").await, server.operator());
    let first = begun(&one).await;
    let two = one.another();
    let save_in_a_row = async |runner: &Runner, execution: i64, name: &str| {
        let mut last = None;
        for number in 1..200 {
            let answer = runner
                .extend_telling(&saving(execution, number, &format!("{name} {number}")))
                .await;
            if answer.status != 200 {
                answer.expect_problem(409, "R_LOCK_01");
                break;
            }
            last = Some(format!("{name} {number}"));
        }
        last.expect("it held the lock at first")
    };
    let take_over = async {
        eventually("the first has saved something", async || {
            let rows = server
                .database
                .number("SELECT count(*) FROM change_progress")
                .await;
            (rows > 0).then_some(())
        })
        .await;
        let fence = one.lock().await.json()["fence"]
            .as_i64()
            .expect("a lock has a fence");
        force(&operator, &one, fence, true).await.expect(200);
        let plan = two.granted(&pipeline()).await;
        let second = plan.execution_id.expect("a grant has an execution");
        let given = offered(&plan).cursor.clone();
        report(&two, second, Started).await;
        saved(&two, second, 1, "two 1").await;
        given
    };
    let (last_of_one, given_to_two) = tokio::join!(save_in_a_row(&one, first, "one"), take_over);
    assert_eq!(
        given_to_two,
        Some(last_of_one),
        "what was acknowledged last is handed on"
    );
    two.release().await.expect(200);
    assert_eq!(handed_on(&two).await.as_deref(), Some("two 1"));
}

#[tokio::test]
async fn what_arrives_late_takes_nothing_back() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let execution = begun(&runner).await;
    saved(&runner, execution, 2, "at 6").await;
    // Held up on their way; what is newer is there already.
    saved(&runner, execution, 1, "at 5").await;
    saved(&runner, execution, 2, "at 5").await;
    runner.release().await.expect(200);
    assert_eq!(handed_on(&runner).await.as_deref(), Some("at 6"));
}

#[tokio::test]
async fn of_a_change_that_is_not_under_way_nothing_is_kept_and_the_heartbeat_counts() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let plan = runner.granted(&pipeline()).await;
    let execution = plan.execution_id.expect("a grant has an execution");
    let unheard = async |change: &str| {
        let mut progress = saving(execution, 1, "at 5");
        progress["changeId"] = json!(change);
        let answer = told(&runner, &progress).await;
        assert_eq!(answer.status, LockStatus::Extended);
        assert_eq!(
            answer.progress.map(|receipt| receipt.recorded),
            Some(false),
            "{change}"
        );
    };
    unheard("copy").await;
    unheard("nobody ever heard of it").await;
    report(&runner, execution, Started).await;
    report(&runner, execution, Applied).await;
    unheard("copy").await;
    assert_eq!(
        server
            .database
            .number("SELECT count(*) FROM change_progress")
            .await,
        0
    );
}

#[tokio::test]
async fn every_execution_that_is_not_the_locks_own_is_refused_in_the_same_words() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let own_of_before = begun(&runner).await;
    runner.release().await.expect(200);
    let foreign = server.other_tenants_runner("routing").await;
    let foreign_execution = begun(&foreign).await;
    begun(&runner).await;
    let mut answers = Vec::new();
    for execution in [own_of_before, foreign_execution, 987_654_321, -1, i64::MAX] {
        let answer = runner.extend_telling(&saving(execution, 1, "at 5")).await;
        answer.expect_problem(409, "R_LOCK_01");
        answers.push(answer.json()["message"].clone());
    }
    assert!(
        answers.windows(2).all(|pair| same_words(&pair[0], &pair[1])),
        "{answers:#?}"
    );
    assert_eq!(
        server
            .database
            .number("SELECT count(*) FROM change_progress")
            .await,
        0
    );
}

/// Apart from the time at which the lease ends.
fn same_words(one: &Value, other: &Value) -> bool {
    let words = |text: &Value| {
        text.as_str()
            .expect("a text")
            .replace(|c: char| c.is_ascii_digit(), "")
    };
    words(one) == words(other)
}

#[tokio::test]
async fn hostile_progress_is_refused_with_the_fields_name_and_extends_nothing() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let execution = begun(&runner).await;
    let before = runner.lock().await.json();
    let with = |field: &str, value: Value| {
        let mut progress = saving(execution, 1, "at 5");
        progress[field] = value;
        json!({"progress": progress}).to_string()
    };
    let deep = format!(r#"{{"progress": {}1{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let refused: Vec<(String, &str)> = vec![
        (with("cursor", json!("x".repeat(8 * 1024 + 1))), "cursor"),
        // In bytes, not in characters.
        (with("cursor", json!("ü".repeat(4 * 1024 + 1))), "cursor"),
        (with("cursor", json!("a\0b")), "cursor"),
        (with("cursor", json!({"after": 5})), "cursor"),
        (with("message", json!("a\0b")), "message"),
        (with("done", json!(-1)), "done"),
        (with("total", json!(-1)), "total"),
        (with("done", json!(1e300)), "done"),
        (with("done", json!("5")), "done"),
        (with("sequence", json!(0)), "sequence"),
        (with("executionId", json!("5")), "executionId"),
        (with("changeId", json!("")), "changeId"),
        (with("changeId", json!("x".repeat(10_000))), "changeId"),
        (with("changeId", json!(null)), "changeId"),
        (r#"{"progress": 5}"#.to_owned(), "progress"),
        (r#"{"progress": {}}"#.to_owned(), "executionId"),
        (r#"{"progress": {"executionId": 1"#.to_owned(), ""),
        (deep, ""),
    ];
    for (body, field) in refused {
        let answer = runner.extend_with(body.clone()).await;
        answer.expect_problem(400, "R_GEN_02");
        assert!(answer.text().contains(field), "{field}: {}", answer.text());
    }
    runner
        .extend_with(format!(r#"{{"progress": null, "x": "{}"}}"#, "x".repeat(70_000)))
        .await
        .expect_problem(413, "R_GEN_05");
    assert_eq!(runner.lock().await.json(), before, "nothing was extended");
    assert_eq!(
        server
            .database
            .number("SELECT count(*) FROM change_progress")
            .await,
        0
    );
}

#[tokio::test]
async fn the_longest_cursor_comes_back_to_the_letter_and_a_long_message_is_cut() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let execution = begun(&runner).await;
    let cursor = r#"{"\u0000":"💾\"",'"#.repeat(1_000);
    let cursor: String = cursor
        .chars()
        .take_while({
            let mut bytes = 0;
            move |char| {
                bytes += char.len_utf8();
                bytes <= 8 * 1024
            }
        })
        .collect();
    let mut progress = saving(execution, 1, &cursor);
    progress["message"] = json!("ü".repeat(5_000));
    assert_eq!(
        told(&runner, &progress).await.progress.map(|it| it.recorded),
        Some(true)
    );
    runner.release().await.expect(200);
    assert_eq!(handed_on(&runner).await, Some(cursor));
    let length = server
        .database
        .number("SELECT length(message)::bigint FROM change_progress")
        .await;
    assert_eq!(length, 300);
}

#[tokio::test]
async fn what_older_clients_send_with_a_heartbeat_is_not_looked_at() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    begun(&runner).await;
    for body in [
        "",
        "{}",
        r#"{"lockAcquiredForMills":60000}"#,
        "null",
        "nonsense",
        "[1]",
        r#"{"progress": null}"#,
    ] {
        let answer = runner.extend_with(body).await;
        let fields: Vec<String> = answer
            .expect(200)
            .json()
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect();
        assert_eq!(fields, ["lock", "status"], "{body}");
    }
}

#[tokio::test]
async fn a_heartbeat_without_news_asks_the_database_nothing_more() {
    const NEWS: &[&str] = &["change_progress", "execution_cancellations", "JOIN change_states"];
    const LOCKS: &[&str] = &["UPDATE locks"];

    let server = TestServer::with(&[
        ("FLAMINGOCK_LOG_FORMAT", "json"),
        ("FLAMINGOCK_LOG_FILTER", "info,sqlx=debug"),
    ])
    .await;
    let runner = server.runner("billing").await;
    let execution = begun(&runner).await;
    let asked = |of: &[&str]| {
        let log = server.log();
        let statements = log.lines().filter(|line| line.contains("\"summary\""));
        statements
            .filter(|line| of.iter().any(|name| line.contains(name)))
            .count()
    };
    let (news, locks) = (asked(NEWS), asked(LOCKS));
    for _ in 0..5 {
        runner.extended().await;
    }
    assert_eq!((asked(NEWS), asked(LOCKS)), (news, locks + 5));
    saved(&runner, execution, 1, "at 5").await;
    assert_eq!(asked(NEWS), news + 2, "the change's state, and the cursor");
}

/// What a runner of another service, with the same change, is given.
#[tokio::test]
async fn invariant_9_a_cursor_is_its_services_own_in_its_environment() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let execution = begun(&runner).await;
    saved(&runner, execution, 1, "at 5").await;
    runner.release().await.expect(200);
    for other in [
        server.runner("shipping").await,
        server.other_tenants_runner("billing").await,
    ] {
        let execution = begun(&other).await;
        saved(&other, execution, 1, "of another").await;
        other.release().await.expect(200);
    }
    assert_eq!(handed_on(&runner).await.as_deref(), Some("at 5"));
}

#[tokio::test]
async fn the_plan_that_hands_a_cursor_on_is_kept_with_it() {
    let server = TestServer::start().await;
    let (runner, operator) = (server.runner("billing").await, server.operator());
    let execution = begun(&runner).await;
    saved(&runner, execution, 1, "at 5").await;
    runner.release().await.expect(200);
    let next = runner.granted(&pipeline()).await;
    let id = next.execution_id.expect("a grant has an execution");
    let path = format!("{}/execution/{id}", Person::scope(&runner));
    let report = operator.get(&path).await.expect(200).json();
    assert_eq!(report["stages"][0]["changes"][0]["cursor"], "at 5");
    // Of a plan without one nothing is said.
    let first = operator
        .get(&format!("{}/execution/{execution}", Person::scope(&runner)))
        .await
        .expect(200)
        .json();
    assert_eq!(
        first["stages"][0]["changes"][0],
        json!({"id": "copy", "action": "APPLY"})
    );
}

#[tokio::test]
async fn a_change_in_a_transaction_is_never_given_a_cursor() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let plan = runner.granted(&Pipeline::of("schema", &["copy"])).await;
    assert_eq!(plan.action, PlanAction::Execute);
    let execution = plan.execution_id.expect("a grant has an execution");
    let mut fields = retried();
    fields["txStrategy"] = json!("TX_SEPARATE_NO_MARKER");
    runner
        .report_with(execution, "copy", Started, &fields)
        .await
        .expect(201);
    saved(&runner, execution, 1, "at 5").await;
    runner.release().await.expect(200);
    assert_eq!(
        handed_on(&runner).await,
        None,
        "what it did was undone with the transaction"
    );
}
