//! A rolling upgrade: a newer replica has written what this version has not heard of. It is shown as it is, and nothing runs
//! again by its word alone.

use flamingock_api_types::audit::AuditState::Started;
use flamingock_api_types::event::{Event, EventType, ExecutionEnd};
use flamingock_api_types::execution::{ChangeAction, PlanAction};
use flamingock_api_types::explanation::StopKind;
use flamingock_api_types::issue::ResolutionKind;
use flamingock_tests::{Call, EventStream, Person, Pipeline, Runner, TestServer, tokens};
use serde_json::{Value, json};

use crate::checkpoints::{RECHAIN, tamper};
use crate::operations::explanation;

fn pipeline() -> Pipeline {
    Pipeline::of("schema", &["a"]).stage("more", &["b", "c"])
}

/// A run that leaves `a` applied, `b` and `c` begun.
async fn interrupted(runner: &Runner) {
    let execution = runner
        .granted(&pipeline())
        .await
        .execution_id
        .expect("a grant has an execution");
    runner.apply(execution, "a").await;
    runner.told(execution, "b", Started).await;
    let retried = json!({"recoveryStrategy": "ALWAYS_RETRY"});
    runner
        .report_with(execution, "c", Started, &retried)
        .await
        .expect(201);
    runner.release().await.expect(200);
}

/// What the newer version's migrations and the newer replica have left of that: `a` applied, `b` rolled back and `c` begun, each
/// by the word of the oracle, with all hashes as that replica computes them.
async fn upgraded_in_part(server: &TestServer) {
    tamper(
        server,
        &format!(
            "ALTER TABLE audit_entries DROP CONSTRAINT audit_entries_source_check;
             ALTER TABLE executions DROP CONSTRAINT executions_ended_by_check;
             ALTER TABLE lock_changes DROP CONSTRAINT lock_changes_kind_check;
             ALTER TABLE environments DROP CONSTRAINT environments_checksum_mismatch_check;
             UPDATE audit_entries SET source = 'ORACLE' WHERE change_id <> 'a' OR state = 'APPLIED';
             UPDATE audit_entries SET state = 'ROLLED_BACK' WHERE change_id = 'b';
             UPDATE change_states SET source = 'ORACLE';
             UPDATE change_states SET state = 'ROLLED_BACK' WHERE change_id = 'b';
             UPDATE executions SET ended_by = 'EVICTED';
             UPDATE lock_changes SET kind = 'EVICTED' WHERE kind = 'RELEASED';
             UPDATE environments SET checksum_mismatch = 'ASK';
             {RECHAIN}"
        ),
    )
    .await;
}

async fn scene() -> (TestServer, Runner) {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    interrupted(&runner).await;
    upgraded_in_part(&server).await;
    (server, runner)
}

#[tokio::test]
async fn what_a_newer_replica_wrote_is_shown_as_it_is() {
    let (server, runner) = scene().await;
    let operator = server.operator();
    let told: Vec<_> = operator
        .audit(&runner)
        .await
        .into_iter()
        .map(|entry| (entry.change_id, entry.state, entry.source))
        .collect();
    let row =
        |change: &str, state: &str, source: &str| (change.to_owned(), state.to_owned(), source.to_owned());
    assert_eq!(
        told,
        [
            row("a", "STARTED", "RUNNER"),
            row("a", "APPLIED", "ORACLE"),
            row("b", "ROLLED_BACK", "ORACLE"),
            row("c", "STARTED", "ORACLE"),
        ]
    );
    let verification = operator.verification(&runner).await;
    assert!(verification.intact, "{verification:?}");
    let scope = Person::scope(&runner);
    let executions: Value = operator
        .get(&format!("{scope}/execution"))
        .await
        .expect(200)
        .json();
    assert_eq!(executions["executions"][0]["endedBy"], "UNKNOWN", "{executions}");
    let policy = format!("/api/v1/admin/environment/{}/policy", runner.environment_id);
    let policy = operator.get(&policy).await.expect(200).json();
    assert_eq!(policy["checksumMismatch"], "REFUSE", "the strictest: {policy}");
}

#[tokio::test]
async fn nothing_runs_again_by_the_word_of_a_source_that_is_not_known() {
    let (server, runner) = scene().await;
    let operator = server.operator();
    let plan = runner.another().plan(&pipeline()).await;
    assert_eq!(plan.action, PlanAction::Execute);
    let stages = plan.stages.expect("stages are offered");
    let offered: Vec<_> = stages
        .iter()
        .flat_map(|stage| &stage.changes)
        .map(|change| (change.id.as_str(), change.action))
        .collect();
    // The stage of what is applied is not offered.
    assert_eq!(
        offered,
        [
            ("b", ChangeAction::ManualIntervention),
            ("c", ChangeAction::ManualIntervention)
        ]
    );
    let reasons = plan.reasons.expect("reasons").changes;
    let because: Vec<_> = reasons
        .iter()
        .filter(|reason| reason.code == "SOURCE_UNKNOWN")
        .map(|reason| reason.id.as_str())
        .collect();
    assert_eq!(because, ["b", "c"]);

    let issues = operator.issues(&runner).await;
    let listed: Vec<_> = issues.iter().map(|issue| issue.change_id.as_str()).collect();
    assert_eq!(listed, ["b", "c"]);
}

#[tokio::test]
async fn a_person_decides_what_only_a_newer_version_understands() {
    let (server, runner) = scene().await;
    let operator = server.operator();
    let told = explanation(&operator, &runner).await;
    let waiting: Vec<_> = told
        .stops
        .iter()
        .filter(|stop| stop.kind == StopKind::Issue)
        .filter_map(|stop| stop.change_id.as_deref())
        .collect();
    assert_eq!(waiting, ["b", "c"], "{told:?}");
    let decisions = [
        ("b", ResolutionKind::RolledBack, 3),
        ("c", ResolutionKind::Applied, 4),
    ];
    operator.resolve(&runner, &decisions).await.expect(201);
    let plan = runner.granted(&pipeline()).await;
    let stages = plan.stages.expect("stages are offered");
    assert_eq!(stages[0].changes[0].action, ChangeAction::Apply, "{stages:?}");
    assert_eq!(stages[0].changes[1].action, ChangeAction::Skip, "{stages:?}");
    // What says applied stays so without a person.
    assert_eq!(stages.len(), 1);
    assert!(operator.verification(&runner).await.intact);
}

#[tokio::test]
async fn events_go_on_past_what_is_not_known() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let path = format!("{}/event", Person::scope(&runner));
    let listen = |server: &TestServer, from: Option<&str>| {
        let call = Call::get(&path).bearer(&tokens().viewer);
        let call = match from {
            Some(from) => call.header("Last-Event-ID", from),
            None => call,
        };
        let address = server.address.clone();
        async move { EventStream::open(&address, call).await }
    };
    let mut stream = listen(&server, None).await;
    interrupted(&runner).await;
    let is_last = |event: &Event| event.event_type == EventType::LockReleased;
    let before = stream.until(is_last).await;
    drop(stream);
    upgraded_in_part(&server).await;
    // Told again by a replica that has not read them before.
    let replica = server.replica().await;
    let mut stream = listen(&replica, Some(&before[0].id)).await;
    let again = stream
        .until(|event| event.event_type == EventType::Unknown && event.lock.is_some())
        .await;
    let sources: Vec<_> = again
        .iter()
        .filter_map(|event| event.change.as_ref())
        .map(|change| (change.change_id.as_str(), change.source.as_str()))
        .collect();
    assert!(
        sources.contains(&("a", "ORACLE")) && sources.contains(&("c", "ORACLE")),
        "{sources:?}"
    );
    let ended = again
        .iter()
        .find(|event| event.event_type == EventType::ExecutionEnded);
    let ended = ended.and_then(|event| event.execution.as_ref()?.ended_by);
    assert_eq!(ended, Some(ExecutionEnd::Unknown));
}
