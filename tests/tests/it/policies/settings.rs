//! Setting the policy of an environment.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::{ChangeAction, PlanAction};
use flamingock_api_types::policy::{PolicyMode, PolicyView};
use flamingock_tests::{Pipeline, TestServer, tokens};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{administrator, path, set};

#[tokio::test]
async fn it_is_an_administrators_to_set_a_viewers_to_see_and_every_change_is_recorded() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let viewer = server.person(&tokens().viewer);
    let before: PolicyView = viewer.get(&path(&runner)).await.expect(200).read();
    assert_eq!(
        (before.revision, before.checksum_mismatch),
        (0, PolicyMode::Allow)
    );
    let policy = json!({"checksumMismatch": "WARN", "outOfOrder": "REFUSE", "approvalRequired": true});
    let set: PolicyView = set(&server, &runner, &policy).await.expect(200).read();
    assert_eq!(
        (
            set.revision,
            set.checksum_mismatch,
            set.out_of_order,
            set.approval_required
        ),
        (1, PolicyMode::Warn, PolicyMode::Refuse, true)
    );
    assert!(set.changed_by.as_deref().is_some_and(|by| by.contains("admin")));
    assert_eq!(viewer.get(&path(&runner)).await.read::<PolicyView>(), set);

    let (old, new): (String, String) = sqlx::query_as(
        "SELECT before, after FROM admin_actions WHERE action = 'policy_set' AND reason = 'a test wants it so'",
    )
    .fetch_one(&server.database.pool().await)
    .await
    .expect("one action");
    let parsed = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    assert_eq!(parsed(&old)["outOfOrder"], "ALLOW");
    assert_eq!(parsed(&new)["outOfOrder"], "REFUSE");

    let body = json!({
        "checksumMismatch": "ALLOW", "outOfOrder": "ALLOW", "approvalRequired": false, "trustAbsentMarks": false,
        "reason": "let me"
    });
    server
        .operator()
        .put(&path(&runner), &body)
        .await
        .expect_problem(403, "R_AUTH_04");
}

#[tokio::test]
async fn of_two_who_change_the_same_revision_one_is_told_to_look_again() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let runner = server.runner("billing").await;
    let answers = join_all((0..8).map(|number| {
        let server = if number % 2 == 0 { &server } else { &replica };
        let runner = &runner;
        async move {
            set(
                server,
                runner,
                &json!({"expectedRevision": 0, "outOfOrder": "WARN"}),
            )
            .await
        }
    }))
    .await;
    let won = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(won, 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.expect_problem(409, "R_POLICY_06");
    }
    let recorded = "SELECT count(*) FROM admin_actions WHERE action = 'policy_set'";
    assert_eq!(server.database.number(recorded).await, 1);
}

#[tokio::test]
async fn what_is_half_said_or_foreign_changes_nothing() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let theirs = server.other_tenants_runner("routing").await;
    let admin = administrator(&server);
    for body in [
        json!({}),
        json!({"reason": "x", "outOfOrder": "WARN"}),
        json!({"checksumMismatch": "SHOUT", "outOfOrder": "ALLOW", "approvalRequired": false, "trustAbsentMarks": false, "reason": "x"}),
        json!({"checksumMismatch": "WARN", "outOfOrder": "ALLOW", "approvalRequired": false, "trustAbsentMarks": false, "reason": " "}),
        json!({"checksumMismatch": "WARN", "outOfOrder": "ALLOW", "approvalRequired": false, "trustAbsentMarks": false, "reason": "x", "freeze": true}),
    ] {
        admin
            .put(&path(&runner), &body)
            .await
            .expect_problem(400, "R_GEN_02");
    }
    set(&server, &theirs, &json!({}))
        .await
        .expect_problem(404, "R_TENANT_01");
    admin.get(&path(&theirs)).await.expect_problem(404, "R_TENANT_01");
    admin
        .get("/api/v1/admin/environment/987654/policy")
        .await
        .expect_problem(404, "R_TENANT_01");
    let changed = "SELECT count(*) FROM environments WHERE policy_revision <> 0";
    assert_eq!(server.database.number(changed).await, 0);
}

#[tokio::test]
async fn trust_in_absent_marks_is_set_with_the_rest_and_takes_effect_at_once() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let execution = runner
        .granted(&pipeline)
        .await
        .execution_id
        .expect("an execution");
    let marked = json!({"txStrategy": "TX_SEPARATE_WITH_MARKER"});
    runner
        .report_with(execution, "a", AuditState::Started, &marked)
        .await
        .expect(201);
    runner.release().await.expect(200);
    let action_of_a = |plan: flamingock_api_types::execution::PlanResponse| {
        assert_eq!(plan.action, PlanAction::Execute);
        plan.stages.expect("stages")[0].changes[0].action
    };
    assert_eq!(
        action_of_a(runner.granted(&pipeline).await),
        ChangeAction::ManualIntervention
    );
    runner.release().await.expect(200);
    set(&server, &runner, &json!({"trustAbsentMarks": true}))
        .await
        .expect(200);
    assert_eq!(action_of_a(runner.granted(&pipeline).await), ChangeAction::Apply);
    // The environment's own setting is the same one: whoever changes it there changes the policy.
    let environment = format!("/api/v1/admin/environment/{}", runner.environment_id);
    for trusts in [false, false] {
        administrator(&server)
            .patch(&environment, &json!({"trustAbsentMarks": trusts}))
            .await
            .expect(200);
        let now: PolicyView = administrator(&server)
            .get(&path(&runner))
            .await
            .expect(200)
            .read();
        assert_eq!((now.revision, now.trust_absent_marks), (2, trusts));
        assert!(now.changed_by.as_deref().is_some_and(|by| by.contains("admin")));
    }
}
