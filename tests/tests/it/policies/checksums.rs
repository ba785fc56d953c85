//! An applied change that was edited: found by its checksum, also where nothing is left to do.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::digest;
use flamingock_api_types::execution::{MarkStatus, PlanAction};
use flamingock_api_types::issue::ResolutionKind;
use flamingock_api_types::policy::{ChecksumPage, ChecksumSource, PolicyKind};
use flamingock_api_types::preview::PreviewVerdict;
use flamingock_tests::{Answer, Person, Pipeline, Runner, TestServer, tokens};
use serde_json::json;

use super::{message, set};

const ONE: &str = "sha256-v1:1111";
const TWO: &str = "sha256-v1:2222";

fn with(checksum: &str) -> Pipeline {
    Pipeline::of("schema", &["a"]).checksum("a", checksum)
}

fn path(of: &Runner) -> String {
    format!("{}/checksum", Person::scope(of))
}

async fn accept(by: &Person, of: &Runner, checksum: &str) -> Answer {
    let body = json!({"changeId": "a", "checksum": checksum, "reason": "a comment was corrected"});
    by.post(&path(of), &body).await
}

async fn recorded(by: &Person, of: &Runner) -> Vec<(i64, String, ChecksumSource)> {
    let page: ChecksumPage = by.get(&path(of)).await.expect(200).read();
    let rows = page.checksums.into_iter();
    rows.map(|row| (row.seq, row.checksum, row.source)).collect()
}

/// Change a is applied with checksum ONE.
async fn applied(server: &TestServer) -> Runner {
    let runner = server.runner("billing").await;
    runner.bring_up_to_date(&with(ONE)).await;
    runner
}

async fn policy(server: &TestServer, of: &Runner, mode: &str) {
    set(server, of, &json!({"checksumMismatch": mode}))
        .await
        .expect(200);
}

#[tokio::test]
async fn it_is_ignored_warned_of_or_refused() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = applied(&server).await;
    assert_eq!(
        recorded(&operator, &runner).await,
        [(2, ONE.to_owned(), ChecksumSource::Runner)]
    );
    assert_eq!(
        runner.plan(&with(TWO)).await.action,
        PlanAction::Continue,
        "the default"
    );

    policy(&server, &runner, "WARN").await;
    for _ in 0..2 {
        let plan = runner.plan(&with(TWO)).await;
        assert_eq!(plan.action, PlanAction::Continue);
        let found = &plan.reasons.expect("reasons").policy;
        assert_eq!(
            (found[0].policy, found[0].stops),
            (PolicyKind::ChecksumMismatch, false)
        );
        assert_eq!(found[0].change_id.as_deref(), Some("a"));
    }
    let line = "flamingock_policy_findings_total{outcome=\"warned\",policy=\"checksum_mismatch\"}";
    assert!((server.metric(line).await - 2.0).abs() < 0.1);
    let plan = runner.plan(&with(ONE)).await;
    assert!(plan.reasons.expect("reasons").policy.is_empty());

    policy(&server, &runner, "REFUSE").await;
    let words = message(
        &runner.ask("elapsedMillis=0", &with(TWO).body()).await,
        "R_POLICY_03",
    );
    assert!(
        words.contains("Change a") && words.contains(ONE) && words.contains(TWO),
        "{words}"
    );
    let preview = operator.preview(&runner, &with(TWO)).await;
    assert_eq!(preview.verdict, PreviewVerdict::StoppedByPolicy);
    assert_eq!(runner.plan(&with(ONE)).await.action, PlanAction::Continue);
    // Pending work beside it is not begun either.
    let more = Pipeline::of("schema", &["a", "b"]).checksum("a", TWO);
    message(&runner.ask("elapsedMillis=0", &more.body()).await, "R_POLICY_03");
}

#[tokio::test]
async fn what_was_answered_before_the_policy_changed_is_not_answered_after_it_on_any_replica() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let here = applied(&server).await;
    let there = here.at(&replica.address);
    let edited = with(TWO);
    let by_digest = json!({"clientSubmission": {"digest": digest::of_blocks(&edited.blocks)}});
    for runner in [&here, &there] {
        // The second is answered from memory, and so is the digest.
        for _ in 0..2 {
            assert_eq!(runner.plan(&edited).await.action, PlanAction::Continue);
        }
        runner.ask("elapsedMillis=0", &by_digest).await.expect(201);
        runner.ask("elapsedMillis=0", &by_digest).await.expect(201);
    }
    policy(&server, &here, "REFUSE").await;
    for runner in [&here, &there] {
        message(
            &runner.ask("elapsedMillis=0", &edited.body()).await,
            "R_POLICY_03",
        );
        runner
            .ask("elapsedMillis=0", &by_digest)
            .await
            .expect_problem(409, "R_PLAN_01");
    }
    // What is allowed is remembered again, and forgotten with the next policy.
    assert_eq!(there.plan(&with(ONE)).await.action, PlanAction::Continue);
    let before = replica
        .metric("flamingock_plan_decisions_total{action=\"CONTINUE\",found=\"cache\"}")
        .await;
    assert_eq!(there.plan(&with(ONE)).await.action, PlanAction::Continue);
    let after = replica
        .metric("flamingock_plan_decisions_total{action=\"CONTINUE\",found=\"cache\"}")
        .await;
    assert!((after - before - 1.0).abs() < 0.1);
    policy(&server, &here, "ALLOW").await;
    for runner in [&here, &there] {
        assert_eq!(runner.plan(&edited).await.action, PlanAction::Continue);
    }
}

#[tokio::test]
async fn a_person_accepts_a_new_content_and_the_old_one_stays_accepted() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let operator = server.operator();
    let runner = applied(&server).await;
    policy(&server, &runner, "REFUSE").await;
    message(
        &runner.ask("elapsedMillis=0", &with(TWO).body()).await,
        "R_POLICY_03",
    );
    let first = accept(&operator, &runner, TWO).await.expect(201).json();
    for at in [&server, &replica] {
        let runner = runner.at(&at.address);
        for checksum in [ONE, TWO] {
            assert_eq!(
                runner.plan(&with(checksum)).await.action,
                PlanAction::Continue,
                "{checksum}"
            );
        }
    }
    // Accepted once: the second is the first.
    assert_eq!(accept(&operator, &runner, TWO).await.expect(201).json(), first);
    assert_eq!(first["source"], "PERSON");
    let actions = "SELECT count(*) FROM admin_actions WHERE action = 'checksum_accept'";
    assert_eq!(server.database.number(actions).await, 1);
    message(
        &runner
            .ask("elapsedMillis=0", &with("sha256-v1:3333").body())
            .await,
        "R_POLICY_03",
    );
}

#[tokio::test]
async fn a_client_without_checksums_and_a_checksum_of_another_algorithm_prove_nothing() {
    let server = TestServer::start().await;
    let runner = applied(&server).await;
    policy(&server, &runner, "REFUSE").await;
    for pipeline in [Pipeline::of("schema", &["a"]), with("sha256-v2:2222")] {
        assert_eq!(runner.plan(&pipeline).await.action, PlanAction::Continue);
    }
    let java = Pipeline::of("schema", &["a"]).body_of_generation_1();
    runner.ask("elapsedMillis=0", &java).await.expect(201);
}

#[tokio::test]
async fn what_was_applied_without_a_checksum_is_held_to_the_first_that_a_run_with_work_brings() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    runner.bring_up_to_date(&Pipeline::of("schema", &["a"])).await;
    policy(&server, &runner, "REFUSE").await;
    // A start with nothing to do writes nothing, so it settles nothing.
    for checksum in [ONE, TWO] {
        assert_eq!(runner.plan(&with(checksum)).await.action, PlanAction::Continue);
    }
    assert_eq!(recorded(&operator, &runner).await, []);
    let more = Pipeline::of("schema", &["a", "b"]).checksum("a", ONE);
    runner.bring_up_to_date(&more).await;
    assert_eq!(
        recorded(&operator, &runner).await,
        [(2, ONE.to_owned(), ChecksumSource::FirstSeen)]
    );
    message(
        &runner
            .ask("elapsedMillis=0", &more.clone().checksum("a", TWO).body())
            .await,
        "R_POLICY_03",
    );
    assert_eq!(runner.plan(&more).await.action, PlanAction::Continue);
}

#[tokio::test]
async fn a_change_that_is_applied_anew_begins_anew() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let execution = runner
        .granted(&with(ONE))
        .await
        .execution_id
        .expect("an execution");
    runner.told(execution, "a", AuditState::Started).await;
    let failed = runner.told(execution, "a", AuditState::Failed).await;
    runner.release().await.expect(200);
    assert_eq!(recorded(&operator, &runner).await, [], "it did not work");
    accept(&operator, &runner, ONE)
        .await
        .expect_problem(409, "R_POLICY_08");
    let seq = failed.seq.expect("a position");
    operator
        .resolve(&runner, &[("a", ResolutionKind::RolledBack, seq)])
        .await
        .expect(201);
    runner.bring_up_to_date(&with(TWO)).await;
    policy(&server, &runner, "REFUSE").await;
    assert_eq!(runner.plan(&with(TWO)).await.action, PlanAction::Continue);
    message(
        &runner.ask("elapsedMillis=0", &with(ONE).body()).await,
        "R_POLICY_03",
    );
}

#[tokio::test]
async fn a_late_result_settles_no_checksum() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let slow = runner
        .granted(&with(ONE))
        .await
        .execution_id
        .expect("an execution");
    runner.told(slow, "a", AuditState::Started).await;
    runner.release().await.expect(200);
    let quick = runner.another();
    let issue = operator.issues(&runner).await.remove(0);
    operator
        .resolve(&runner, &[("a", ResolutionKind::RolledBack, issue.seq)])
        .await
        .expect(201);
    let execution = quick
        .granted(&with(TWO))
        .await
        .execution_id
        .expect("an execution");
    quick.told(execution, "a", AuditState::Started).await;
    assert!(runner.told(slow, "a", AuditState::Applied).await.late);
    quick.told(execution, "a", AuditState::Applied).await;
    let rows = recorded(&operator, &runner).await;
    let known: Vec<_> = rows.iter().map(|(_, checksum, _)| checksum.as_str()).collect();
    assert_eq!(known, [TWO]);
}

#[tokio::test]
async fn accepting_is_an_operators_within_the_tenant() {
    let server = TestServer::start().await;
    let runner = applied(&server).await;
    let theirs = server.other_tenants_runner("routing").await;
    let operator = server.operator();
    accept(&server.person(&tokens().viewer), &runner, TWO)
        .await
        .expect_problem(403, "R_AUTH_04");
    accept(&operator, &theirs, TWO)
        .await
        .expect_problem(404, "R_TENANT_02");
    accept(&operator, &runner, &"x".repeat(201))
        .await
        .expect_problem(400, "R_GEN_02");
    let nobody = server.runner("never-planned").await;
    let words = message(&accept(&operator, &nobody, TWO).await, "R_POLICY_08");
    assert!(words.contains("nothing was ever recorded"), "{words}");
    assert_eq!(
        server
            .database
            .number("SELECT count(*) FROM change_checksums")
            .await,
        1
    );
}

#[tokio::test]
async fn what_passed_for_want_of_a_recorded_checksum_is_not_answered_from_memory_once_one_is_recorded() {
    let server = TestServer::start().await;
    let operator = server.operator();
    for mode in ["WARN", "REFUSE"] {
        let runner = server.runner(mode).await;
        runner.bring_up_to_date(&Pipeline::of("schema", &["a"])).await;
        policy(&server, &runner, mode).await;
        let by_digest = json!({"clientSubmission": {"digest": digest::of_blocks(&with(TWO).blocks)}});
        for _ in 0..2 {
            let plan = runner.plan(&with(TWO)).await;
            assert_eq!(plan.action, PlanAction::Continue);
            runner
                .ask("elapsedMillis=0", &by_digest)
                .await
                .expect_problem(409, "R_PLAN_01");
        }
        accept(&operator, &runner, ONE).await.expect(201);
        if mode == "REFUSE" {
            message(
                &runner.ask("elapsedMillis=0", &with(TWO).body()).await,
                "R_POLICY_03",
            );
        } else {
            let found = runner.plan(&with(TWO)).await.reasons.expect("reasons").policy;
            assert_eq!(found[0].policy, PolicyKind::ChecksumMismatch);
        }
    }
}

#[tokio::test]
async fn what_a_mark_proves_is_held_to_the_checksum_that_it_was_applied_with() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    policy(&server, &runner, "REFUSE").await;
    let execution = runner
        .granted(&with(ONE))
        .await
        .execution_id
        .expect("an execution");
    let marked = json!({"txStrategy": "TX_SEPARATE_WITH_MARKER"});
    runner
        .report_with(execution, "a", AuditState::Started, &marked)
        .await
        .expect(201);
    // It was applied, and its runner died before it could say so.
    runner.release().await.expect(200);
    let edited = with(TWO).mark("a", MarkStatus::Applied);
    for _ in 0..2 {
        message(
            &runner.ask("elapsedMillis=0", &edited.body()).await,
            "R_POLICY_03",
        );
    }
    let longer = Pipeline::of("schema", &["a", "b"]).checksum("a", TWO);
    let longer = longer.mark("a", MarkStatus::Applied).body();
    message(&runner.ask("elapsedMillis=0", &longer).await, "R_POLICY_03");
    assert_eq!(
        operator.states(&runner, "a").await,
        ["STARTED"],
        "the stop wrote nothing"
    );
    assert_eq!(server.database.number("SELECT count(*) FROM executions").await, 1);

    let plan = runner.plan(&with(ONE).mark("a", MarkStatus::Applied)).await;
    assert_eq!(plan.action, PlanAction::Continue);
    assert_eq!(operator.states(&runner, "a").await, ["STARTED", "APPLIED"]);
    assert_eq!(recorded(&operator, &runner).await.len(), 1);
}
