//! The crash table (S §3.7): the application's process is killed at each step, and the next start does what the table
//! says. Nothing in the application knows of it; proxies hold the very message that marks the step.
//!
//! Each test is a row; its cells are the ways of using a target, with and without `ALWAYS_RETRY`.

use Crash::{Report, Statement};
use Next::{Apply, Person, Skip};
use Side::{Answer, Message};
use flamingock_tests::{
    Database, Effects, HttpProxy, Kind, PostgresProxy, Runner, RunnerProcess, Scenario, Side, TestServer,
    Trap, Undo, tokens,
};
use futures_util::future::join_all;

/// Where the process is killed.
#[derive(Clone, Copy, Debug)]
enum Crash {
    /// At a report of the tested change, by its state.
    Report(Side, &'static str),
    /// At a statement in the target, by parts of its text.
    Statement(Side, &'static [&'static str]),
}

/// What the next start does with the tested change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Apply,
    Skip,
    Person,
}

/// One cell: the scenario, what the next start does, and the steps of the tested change that are in the target after the
/// crash. Stands for two: with `ALWAYS_RETRY` another attempt takes the person's place.
type Cell = (Scenario, Next, &'static [&'static str]);

fn plain() -> Scenario {
    Scenario::new(Kind::NonTx, "")
}

fn marker() -> Scenario {
    Scenario::new(Kind::Marker, "")
}

fn no_marker() -> Scenario {
    Scenario::new(Kind::NoMarker, "")
}

/// In an environment that takes an absent mark as proof.
fn trusting() -> Scenario {
    marker().environment("trusting")
}

const NOTHING: &[&str] = &[];
const HALF: &[&str] = &["one"];
const ALL: &[&str] = &["one", "two"];

/// Kills the process in every cell at the same step, and starts it again.
async fn row(crash: Crash, states: &[&str], cells: &[Cell]) {
    let server = TestServer::start().await;
    let retrying = cells.iter().map(|(scenario, next, left)| {
        let next = if *next == Person { Apply } else { *next };
        (scenario.clone().always_retry(), next, *left)
    });
    let cells = cells.iter().cloned().chain(retrying).enumerate();
    join_all(cells.map(|(number, (scenario, next, left))| {
        let service = format!("service-{number}");
        check(
            &server,
            crash,
            states,
            (Scenario { service, ..scenario }, next, left),
        )
    }))
    .await;
}

async fn check(server: &TestServer, crash: Crash, states: &[&str], (scenario, next, left): Cell) {
    let what = format!("{crash:?} in {scenario:?}");
    let target = Database::empty().await;
    let effects = Effects::in_database(&target).await;
    crash_once(server, crash, &scenario, &target).await;

    let (address, token) = (&server.address, &tokens().runner);
    let runner = Runner::open(address, token, &scenario.environment, &scenario.service).await;
    let operator = server.operator();
    assert_eq!(operator.states(&runner, "tested").await, states, "{what}");
    assert_eq!(effects.of("tested").await, left, "{what}");
    assert_eq!(effects.of("before").await, ALL, "{what}");
    assert_eq!(effects.of("after").await, NOTHING, "{what}");

    let outcome = RunnerProcess::run(&scenario.corrected(), &server.url(), &target.url).await;
    let what = format!("{what}\n{}", outcome.report);
    let (may_start, became, tested, after) = match next {
        Apply => (true, "APPLIED", [left, ALL].concat(), ALL),
        Skip => (true, "ALREADY_APPLIED", ALL.to_vec(), ALL),
        Person => (false, "NOT_REACHED", left.to_vec(), NOTHING),
    };
    assert_eq!(outcome.may_start, may_start, "{what}");
    assert_eq!(outcome.changes["tested"], became, "{what}");
    assert_eq!(effects.of("tested").await, tested, "{what}");
    assert_eq!(effects.of("before").await, ALL, "not repeated: {what}");
    assert_eq!(effects.of("after").await, after, "{what}");
    assert_eq!(effects.marks().await, NOTHING, "{what}");
    let waiting: &[&str] = if next == Person { &["tested"] } else { &[] };
    assert_eq!(outcome.manual_intervention, waiting, "{what}");
    let issues = operator
        .issues(&runner)
        .await
        .into_iter()
        .map(|issue| issue.change_id);
    assert_eq!(issues.collect::<Vec<_>>(), waiting, "{what}");
    assert!(operator.verification(&runner).await.intact, "{what}");
}

async fn crash_once(server: &TestServer, crash: Crash, scenario: &Scenario, target: &Database) {
    let http = HttpProxy::to(&[&server.address]).await;
    let postgres = PostgresProxy::to(target).await;
    let process = RunnerProcess::start(scenario, &http.url(), &postgres.url());
    let mut trap: Trap = match crash {
        Report(side, state) => http.trap(side, &["/change/tested/audit", &format!(" {state}")]),
        // Others commit as well; the tested change's commit comes after its second step.
        Statement(side, parts) if parts == COMMIT => postgres.trap_after(&["tested does two"], side, parts),
        Statement(side, parts) => postgres.trap(side, parts),
    };
    trap.caught().await;
    process.kill();
}

const COMMIT: &[&str] = &["COMMIT"];

#[tokio::test]
async fn before_the_start_is_recorded_nothing_has_happened_and_the_change_is_applied() {
    let cells = [
        (plain(), Apply, NOTHING),
        (marker(), Apply, NOTHING),
        (no_marker(), Apply, NOTHING),
    ];
    row(Report(Message, "STARTED"), &[], &cells).await;
}

#[tokio::test]
async fn after_the_start_is_recorded_and_before_anything_is_applied_a_person_decides() {
    let cells = [
        (plain(), Person, NOTHING),
        (marker(), Person, NOTHING),
        (no_marker(), Person, NOTHING),
        (trusting(), Apply, NOTHING),
    ];
    row(Report(Answer, "STARTED"), &["STARTED"], &cells).await;
}

#[tokio::test]
async fn in_the_middle_of_the_change_a_person_decides_and_a_transaction_has_left_nothing() {
    let cells = [
        (plain(), Person, HALF),
        (marker(), Person, NOTHING),
        (no_marker(), Person, NOTHING),
        (trusting(), Apply, NOTHING),
    ];
    row(Statement(Message, &["tested does two"]), &["STARTED"], &cells).await;
}

#[tokio::test]
async fn before_the_mark_is_written_a_person_decides_and_nothing_is_left() {
    let cells = [(marker(), Person, NOTHING), (trusting(), Apply, NOTHING)];
    row(
        Statement(Message, &["INSERT INTO", "flamingock_marks"]),
        &["STARTED"],
        &cells,
    )
    .await;
}

#[tokio::test]
async fn after_the_change_and_before_its_commit_a_person_decides_and_nothing_is_left() {
    let cells = [
        (marker(), Person, NOTHING),
        (no_marker(), Person, NOTHING),
        (trusting(), Apply, NOTHING),
    ];
    row(Statement(Message, COMMIT), &["STARTED"], &cells).await;
}

#[tokio::test]
async fn after_the_commit_and_before_its_answer_the_mark_proves_that_it_is_applied() {
    let cells = [
        (marker(), Skip, ALL),
        (no_marker(), Person, ALL),
        (trusting(), Skip, ALL),
    ];
    row(Statement(Answer, COMMIT), &["STARTED"], &cells).await;
}

#[tokio::test]
async fn after_the_commit_and_before_the_result_is_recorded_the_mark_proves_that_it_is_applied() {
    let cells = [
        (plain(), Person, ALL),
        (marker(), Skip, ALL),
        (no_marker(), Person, ALL),
        (trusting(), Skip, ALL),
    ];
    row(Report(Message, "APPLIED"), &["STARTED"], &cells).await;
}

#[tokio::test]
async fn after_the_result_is_recorded_and_before_the_mark_is_cleared_it_is_skipped_and_the_mark_goes() {
    let cells = [
        (plain(), Skip, ALL),
        (marker(), Skip, ALL),
        (no_marker(), Skip, ALL),
    ];
    row(Report(Answer, "APPLIED"), &["STARTED", "APPLIED"], &cells).await;
}

#[tokio::test]
async fn after_a_failure_and_before_it_is_recorded_a_person_decides() {
    let cells = [
        (plain().failing(), Person, HALF),
        (plain().failing().undo(Undo::Works), Person, HALF),
        (marker().failing(), Person, NOTHING),
        (no_marker().failing(), Person, NOTHING),
        (trusting().failing(), Apply, NOTHING),
    ];
    row(Report(Message, "FAILED"), &["STARTED"], &cells).await;
}

#[tokio::test]
async fn after_a_failure_is_recorded_a_transaction_is_tried_again_and_anything_else_waits_for_a_person() {
    let cells = [
        (plain().failing(), Person, HALF),
        (plain().failing().undo(Undo::Works), Person, HALF),
        (marker().failing(), Apply, NOTHING),
        (no_marker().failing(), Apply, NOTHING),
    ];
    row(Report(Answer, "FAILED"), &["STARTED", "FAILED"], &cells).await;
}

#[tokio::test]
async fn in_the_middle_of_the_rollback_a_person_decides() {
    let cells = [(plain().failing().undo(Undo::Works), Person, HALF)];
    row(
        Statement(Message, &["tested undoes one"]),
        &["STARTED", "FAILED"],
        &cells,
    )
    .await;
}

#[tokio::test]
async fn after_the_rollback_and_before_it_is_recorded_a_person_decides_where_no_transaction_speaks_for_it() {
    let cells = [
        (plain().failing().undo(Undo::Works), Person, NOTHING),
        (marker().failing(), Apply, NOTHING),
        (no_marker().failing(), Apply, NOTHING),
    ];
    row(Report(Message, "ROLLED_BACK"), &["STARTED", "FAILED"], &cells).await;
}

#[tokio::test]
async fn after_the_rollback_is_recorded_the_change_is_tried_again() {
    let cells = [
        (plain().failing().undo(Undo::Works), Apply, NOTHING),
        (marker().failing(), Apply, NOTHING),
        (no_marker().failing(), Apply, NOTHING),
    ];
    row(
        Report(Answer, "ROLLED_BACK"),
        &["STARTED", "FAILED", "ROLLED_BACK"],
        &cells,
    )
    .await;
}

#[tokio::test]
async fn after_a_failed_rollback_is_recorded_a_person_decides() {
    let cells = [(plain().failing().undo(Undo::Fails), Person, HALF)];
    row(
        Report(Answer, "ROLLBACK_FAILED"),
        &["STARTED", "FAILED", "ROLLBACK_FAILED"],
        &cells,
    )
    .await;
}
