//! A pending change waits until an operator who is not its author has approved exactly its content.

use flamingock_api_types::execution::{BlockType, PlanAction};
use flamingock_api_types::policy::{ApprovalDecision, ApprovalPage, ApprovalView, PolicyKind};
use flamingock_api_types::preview::PreviewVerdict;
use flamingock_tests::{Answer, Person, Pipeline, Runner, TestServer, exchange, tokens};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{administrator, message, set, traces};

const ONE: &str = "sha256-v1:1111";
const TWO: &str = "sha256-v1:2222";

fn path(of: &Runner) -> String {
    format!("{}/approval", Person::scope(of))
}

async fn decide(by: &Person, of: &Runner, change: &str, fields: &Value) -> Answer {
    let mut body = json!({"changeId": change, "reason": "read it with Mara"});
    for (name, value) in fields.as_object().expect("fields are an object") {
        body[name] = value.clone();
    }
    by.post(&path(of), &body).await
}

async fn list(by: &Person, of: &Runner) -> ApprovalPage {
    by.get(&path(of)).await.expect(200).read()
}

async fn required(server: &TestServer) -> Runner {
    let runner = server.runner("billing").await;
    set(server, &runner, &json!({"approvalRequired": true}))
        .await
        .expect(200);
    runner
}

async fn refused(runner: &Runner, pipeline: &Pipeline) -> String {
    let answer = runner.ask("elapsedMillis=0", &pipeline.body()).await;
    message(&answer, "R_POLICY_02")
}

#[tokio::test]
async fn a_change_waits_is_listed_and_runs_once_its_content_is_approved() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = required(&server).await;
    let pipeline = Pipeline::of("schema", &["a", "b"])
        .checksum("a", ONE)
        .author("a", "mara")
        .checksum("b", ONE);
    let words = refused(&runner, &pipeline).await;
    assert!(
        words.contains("Change a") && words.contains("Change b"),
        "{words}"
    );
    assert_eq!(traces(&server).await, 0);
    let pending = list(&operator, &runner).await.pending;
    let waiting: Vec<_> = pending
        .iter()
        .map(|it| {
            (
                it.change_id.as_str(),
                it.checksum.as_deref(),
                it.author.as_deref(),
            )
        })
        .collect();
    assert_eq!(waiting, [("a", Some(ONE), Some("mara")), ("b", Some(ONE), None)]);
    assert_eq!(pending[0].runner_id, runner.id);
    let preview = operator.preview(&runner, &pipeline).await;
    assert_eq!(preview.verdict, PreviewVerdict::StoppedByPolicy);
    assert!(
        preview
            .policy
            .iter()
            .all(|it| it.policy == PolicyKind::ApprovalMissing)
    );

    // One of two is not enough: a run that must stop half way is better not begun.
    let given: ApprovalView = decide(&operator, &runner, "a", &json!({"checksum": ONE}))
        .await
        .expect(201)
        .read();
    assert_eq!(given.decision, ApprovalDecision::Approved);
    let words = refused(&runner, &pipeline).await;
    assert!(
        !words.contains("Change a") && words.contains("Change b"),
        "{words}"
    );
    decide(&operator, &runner, "b", &json!({"checksum": ONE}))
        .await
        .expect(201);
    assert!(list(&operator, &runner).await.pending.is_empty());
    runner.bring_up_to_date(&pipeline).await;

    let page = list(&operator, &runner).await;
    let decided: Vec<_> = page.approvals.iter().map(|it| it.change_id.as_str()).collect();
    assert_eq!(decided, ["b", "a"], "newest first");
    assert!(page.approvals[0].actor.contains("operator"));
    let recorded = server
        .database
        .number("SELECT count(*) FROM admin_actions WHERE action = 'approval_decide' AND reason = 'read it with Mara'")
        .await;
    assert_eq!(recorded, 2);
}

#[tokio::test]
async fn another_content_waits_anew_and_a_withdrawn_approval_is_none() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = required(&server).await;
    let with = |checksum| Pipeline::of("schema", &["a"]).checksum("a", checksum);
    // Before it was ever submitted: best approved before it is deployed.
    decide(&operator, &runner, "a", &json!({"checksum": ONE}))
        .await
        .expect(201);
    refused(&runner, &with(TWO)).await;
    refused(&runner, &Pipeline::of("schema", &["a"])).await;
    let withdrawn = json!({"checksum": ONE, "decision": "WITHDRAWN"});
    decide(&operator, &runner, "a", &withdrawn).await.expect(201);
    refused(&runner, &with(ONE)).await;
    let pending = list(&operator, &runner).await.pending;
    assert_eq!(
        pending.len(),
        3,
        "with one checksum, with the other, with none: {pending:?}"
    );
    decide(&operator, &runner, "a", &json!({"checksum": ONE}))
        .await
        .expect(201);
    runner.granted(&with(ONE)).await;
}

#[tokio::test]
async fn a_java_change_is_approved_by_its_id_alone() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = required(&server).await;
    let pipeline = Pipeline::of("schema", &["a"]);
    for body in [pipeline.body_of_generation_1(), pipeline.body_of_generation_2()] {
        let words = message(&runner.ask("elapsedMillis=0", &body).await, "R_POLICY_02");
        assert!(words.contains("waits for approval"), "{words}");
    }
    decide(&operator, &runner, "a", &json!({})).await.expect(201);
    runner.granted(&pipeline).await;
}

#[tokio::test]
async fn nobody_approves_their_own_change() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = required(&server).await;
    // The operator's token goes by the name "operator".
    let own = |id: &str| Pipeline::of("schema", &[id]).author(id, " Operator ");
    refused(&runner, &own("a")).await;
    decide(&operator, &runner, "a", &json!({}))
        .await
        .expect_problem(409, "R_POLICY_05");
    // Given before the author was known, it is found out when it would count.
    decide(&operator, &runner, "b", &json!({})).await.expect(201);
    let words = refused(&runner, &own("b")).await;
    assert!(words.contains("by its author"), "{words}");
    let admin = administrator(&server);
    decide(&admin, &runner, "b", &json!({})).await.expect(201);
    runner.granted(&own("b")).await;
}

#[tokio::test]
async fn the_credential_that_runs_a_change_does_not_approve_it() {
    let server = TestServer::start().await;
    let runner = required(&server).await;
    let by_admin = server.project_admin().await;
    let session = exchange(&server.address, &by_admin, "production", "billing").await;
    let mine = Runner {
        jwt: session.expect(200).json()["jwt"]
            .as_str()
            .expect("a session")
            .to_owned(),
        ..runner.another()
    };
    let pipeline = Pipeline::of("schema", &["a"]);
    decide(&server.person(&by_admin), &runner, "a", &json!({}))
        .await
        .expect(201);
    let words = refused(&mine, &pipeline).await;
    assert!(words.contains("by the credential that runs it"), "{words}");
    runner.granted(&pipeline).await;
}

#[tokio::test]
async fn later_blocks_are_looked_at_before_the_first_begins_and_what_is_applied_needs_no_approval() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    runner.bring_up_to_date(&Pipeline::of("schema", &["a"])).await;
    set(&server, &runner, &json!({"approvalRequired": true}))
        .await
        .expect(200);
    assert_eq!(
        runner.plan(&Pipeline::of("schema", &["a"])).await.action,
        PlanAction::Continue
    );
    let two_blocks = Pipeline::of("schema", &["a", "b"])
        .block(BlockType::Default)
        .stage("seed", &["c"]);
    decide(&operator, &runner, "b", &json!({})).await.expect(201);
    let words = refused(&runner, &two_blocks).await;
    assert!(
        words.contains("Change c") && !words.contains("Change a "),
        "{words}"
    );
    decide(&operator, &runner, "c", &json!({})).await.expect(201);
    runner.granted(&two_blocks).await;
}

#[tokio::test]
async fn approvals_and_starts_at_once_grant_exactly_once_and_record_every_word() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let runner = required(&server).await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let operators = [server.operator(), replica.person(&tokens().operator)];
    let approvals = (0..10).map(|number| {
        let (operator, runner) = (&operators[number % 2], &runner);
        async move {
            decide(operator, runner, "a", &json!({})).await.expect(201);
        }
    });
    let starts = (0..20).map(|number| {
        let runner = runner.another().at(if number % 2 == 0 {
            &server.address
        } else {
            &replica.address
        });
        let body = pipeline.body();
        async move { runner.ask("elapsedMillis=0", &body).await }
    });
    let (_, answers) = futures_util::future::join(join_all(approvals), join_all(starts)).await;
    let granted = answers
        .iter()
        .filter(|answer| answer.status == 201 && answer.json()["action"] == "EXECUTE")
        .count();
    for answer in &answers {
        assert!(matches!(answer.status, 201 | 409), "{}", answer.describe());
    }
    // Every start may have come before the first approval.
    if granted == 0 {
        runner.granted(&pipeline).await;
    }
    assert_eq!(
        server
            .database
            .number("SELECT count(*) FROM change_approvals")
            .await,
        10
    );
    assert_eq!(server.database.number("SELECT count(*) FROM executions").await, 1);
}

#[tokio::test]
async fn only_an_operator_of_the_tenant_approves_and_texts_are_bounded() {
    let server = TestServer::start().await;
    let mine = server.runner("billing").await;
    let theirs = server.other_tenants_runner("routing").await;
    let operator = server.operator();
    let viewer = server.person(&tokens().viewer);
    decide(&viewer, &mine, "a", &json!({}))
        .await
        .expect_problem(403, "R_AUTH_04");
    decide(&operator, &theirs, "a", &json!({}))
        .await
        .expect_problem(404, "R_TENANT_02");
    operator
        .get(&path(&theirs))
        .await
        .expect_problem(404, "R_TENANT_02");
    for fields in [
        json!({"changeId": ""}),
        json!({"changeId": "x".repeat(2_000)}),
        json!({"checksum": ""}),
        json!({"checksum": "x".repeat(201)}),
        json!({"reason": ""}),
        json!({"reason": "\u{0}"}),
        json!({"decision": "MAYBE"}),
        json!({"approver": "somebody else"}),
    ] {
        decide(&operator, &mine, "a", &fields)
            .await
            .expect_problem(400, "R_GEN_02");
    }
    assert_eq!(
        server
            .database
            .number("SELECT count(*) FROM change_approvals")
            .await,
        0
    );
}
