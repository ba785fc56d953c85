//! Freeze windows, judged by the database's clock.

use chrono::{DateTime, TimeDelta, Utc};
use flamingock_api_types::execution::{BlockType, ChangeStatusReport, PlanAction, StageStatus};
use flamingock_api_types::policy::{FreezePage, FreezeView, PolicyKind};
use flamingock_api_types::preview::PreviewVerdict;
use flamingock_tests::{
    Database, Kind, Person, Pipeline, Runner, RunnerProcess, Scenario, TestServer, eventually, tokens,
};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{message, traces};

fn path(of: &Runner) -> String {
    format!("/api/v1/admin/environment/{}/freeze", of.environment_id)
}

async fn freeze(by: &Person, of: &Runner, fields: &Value) -> FreezeView {
    let mut body = json!({"reason": "Christmas business"});
    for (name, value) in fields.as_object().expect("fields are an object") {
        body[name] = value.clone();
    }
    by.post(&path(of), &body).await.expect(201).read()
}

async fn end(by: &Person, freeze: &FreezeView) -> FreezeView {
    let path = format!("/api/v1/admin/freeze/{}/end", freeze.freeze_id);
    by.post(&path, &json!({"reason": "the fix must go out"}))
        .await
        .expect(200)
        .read()
}

async fn database_now(server: &TestServer) -> DateTime<Utc> {
    let micros = server
        .database
        .number("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        .await;
    DateTime::from_timestamp_micros(micros).expect("a time")
}

#[tokio::test]
async fn work_is_refused_to_every_client_generation_with_the_reason_and_nothing_is_written() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let window = freeze(&operator, &runner, &json!({"endsAt": "2199-01-04T00:00:00Z"})).await;
    assert!(window.active);
    let pipeline = Pipeline::of("schema", &["a"]);
    for body in [
        pipeline.body(),
        pipeline.body_of_generation_1(),
        pipeline.body_of_generation_2(),
    ] {
        let answer = runner.ask("elapsedMillis=0", &body).await;
        let message = message(&answer, "R_POLICY_01");
        for part in ["Christmas business", "2199-01-04T00:00:00Z"] {
            assert!(message.contains(part), "{message}");
        }
    }
    assert_eq!(traces(&server).await, 0);
    let stopped = server
        .metric("flamingock_policy_findings_total{outcome=\"stopped\",policy=\"frozen\"}")
        .await;
    assert!((stopped - 3.0).abs() < 0.1, "{stopped}");
    let preview = operator.preview(&runner, &pipeline).await;
    assert_eq!(preview.verdict, PreviewVerdict::StoppedByPolicy);
    assert_eq!(preview.policy[0].policy, PolicyKind::Frozen);

    let ended = end(&operator, &window).await;
    assert!(!ended.active);
    assert_eq!(ended.end_reason.as_deref(), Some("the fix must go out"));
    runner.granted(&pipeline).await;
    // A second end is no second decision.
    assert_eq!(end(&operator, &window).await, ended);
    let actions = server
        .database
        .number(
            "SELECT count(*) FROM admin_actions WHERE action LIKE 'freeze_%' AND environment_id IS NOT NULL",
        )
        .await;
    assert_eq!(actions, 2);
}

#[tokio::test]
async fn a_service_that_is_up_to_date_starts_during_a_freeze() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    runner.bring_up_to_date(&pipeline).await;
    freeze(&server.operator(), &runner, &json!({})).await;
    assert_eq!(runner.plan(&pipeline).await.action, PlanAction::Continue);
    assert_eq!(
        runner.another().plan(&pipeline).await.action,
        PlanAction::Continue
    );
    let more = Pipeline::of("schema", &["a", "b"]);
    let answer = runner.ask("elapsedMillis=0", &more.body()).await;
    assert!(message(&answer, "R_POLICY_01").contains("until a person ends it"));
}

#[tokio::test]
async fn a_run_that_began_before_the_freeze_is_not_left_half_done() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let two_blocks = Pipeline::of("first", &["a"])
        .block(BlockType::Default)
        .stage("second", &["b"]);
    let plan = runner.granted(&two_blocks).await;
    freeze(&server.operator(), &runner, &json!({})).await;
    let execution = plan.execution_id.expect("a grant has an execution");
    runner.apply(execution, "a").await;
    runner.release().await.expect(200);
    let half_way = two_blocks
        .clone()
        .stage_is("first", StageStatus::Completed)
        .change_is("a", ChangeStatusReport::Applied);
    let plan = runner.granted(&half_way).await;
    runner.apply(plan.execution_id.expect("an execution"), "b").await;
    runner.release().await.expect(200);

    // The report alone does not make a run: another process that claims to be half way was granted nothing.
    let more = Pipeline::of("first", &["a"]).stage("third", &["c"]);
    let claims = more.change_is("a", ChangeStatusReport::Applied);
    let answer = runner.another().ask("elapsedMillis=0", &claims.body()).await;
    message(&answer, "R_POLICY_01");
}

#[tokio::test]
async fn it_begins_and_ends_by_the_databases_clock() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let now = database_now(&server).await;
    let window = freeze(
        &operator,
        &runner,
        &json!({"startsAt": now + TimeDelta::seconds(2), "endsAt": now + TimeDelta::seconds(4)}),
    )
    .await;
    assert!(!window.active);
    runner.granted(&pipeline).await;
    runner.release().await.expect(200);
    eventually("it begins", async || {
        let answer = runner.ask("elapsedMillis=0", &pipeline.body()).await;
        if answer.status == 201 {
            runner.release().await.expect(200);
        }
        (answer.status == 409).then_some(())
    })
    .await;
    assert!(database_now(&server).await >= window.starts_at);
    eventually("it ends", async || {
        (runner.ask("elapsedMillis=0", &pipeline.body()).await.status == 201).then_some(())
    })
    .await;
    assert!(database_now(&server).await >= window.ends_at.expect("it has an end"));
}

#[tokio::test]
async fn it_stops_the_services_that_it_names_and_no_other_environment() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let (billing, ledger) = (server.runner("billing").await, server.runner("ledger").await);
    let elsewhere = Runner::open(&server.address, &tokens().runner, "trusting", "billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    freeze(&operator, &billing, &json!({"serviceIds": [billing.service_id]})).await;
    let answer = billing.ask("elapsedMillis=0", &pipeline.body()).await;
    message(&answer, "R_POLICY_01");
    ledger.granted(&pipeline).await;
    elsewhere.granted(&pipeline).await;

    let list = |query: &str| {
        let path = format!("{}{query}", path(&billing));
        let operator = &operator;
        async move { operator.get(&path).await.expect(200).read::<FreezePage>() }
    };
    let second = freeze(&operator, &billing, &json!({"startsAt": "2190-01-01T00:00:00Z"})).await;
    assert_eq!(list("").await.freezes.len(), 2);
    assert_eq!(list("?active=true").await.freezes.len(), 1);
    assert_eq!(list("?active=false").await.freezes, [second]);
    let page = list("?limit=1").await;
    let next = page.next.expect("there is more");
    let rest = list(&format!("?limit=1&after={next}")).await;
    assert_eq!((rest.freezes.len(), rest.next), (1, None));
    assert_ne!(rest.freezes, page.freezes);
}

#[tokio::test]
async fn a_freeze_is_an_operators_to_set_and_another_tenants_is_like_none() {
    let server = TestServer::start().await;
    let (mine, theirs) = (
        server.runner("billing").await,
        server.other_tenants_runner("routing").await,
    );
    let operator = server.operator();
    let body = json!({"reason": "because"});
    server
        .person(&tokens().viewer)
        .post(&path(&mine), &body)
        .await
        .expect_problem(403, "R_AUTH_04");
    operator
        .post(&path(&theirs), &body)
        .await
        .expect_problem(404, "R_TENANT_01");
    operator
        .get(&path(&theirs))
        .await
        .expect_problem(404, "R_TENANT_01");
    let named = json!({"reason": "because", "serviceIds": [theirs.service_id]});
    operator
        .post(&path(&mine), &named)
        .await
        .expect_problem(404, "R_TENANT_02");

    let other = server.person(&tokens().other_operator);
    let window = freeze(&other, &theirs, &json!({})).await;
    let foreign = operator
        .post(&format!("/api/v1/admin/freeze/{}/end", window.freeze_id), &body)
        .await;
    let absent = operator.post("/api/v1/admin/freeze/987654/end", &body).await;
    foreign.expect_problem(404, "R_POLICY_07");
    let words = |answer: &flamingock_tests::Answer, id: &str| {
        answer.json()["message"]
            .as_str()
            .expect("a message")
            .replace(id, "N")
    };
    assert_eq!(
        words(&foreign, &window.freeze_id.to_string()),
        words(&absent, "987654")
    );
    let message = message(
        &theirs
            .ask("elapsedMillis=0", &Pipeline::of("s", &["a"]).body())
            .await,
        "R_POLICY_01",
    );
    assert!(message.contains("Christmas business"));
}

#[tokio::test]
async fn what_makes_no_window_is_refused_by_name() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    for (fields, named) in [
        (json!({"reason": " "}), "reason"),
        (json!({"reason": "x".repeat(2_001)}), "reason"),
        (json!({"reason": "a\u{0}b"}), "reason"),
        (json!({"reason": "x", "endsAt": "2001-01-01T00:00:00Z"}), "endsAt"),
        (json!({"reason": "x", "endsAt": "tomorrow"}), "endsAt"),
        (
            json!({"reason": "x", "startsAt": "9999-01-01T00:00:00Z"}),
            "startsAt",
        ),
        (
            json!({"reason": "x", "startsAt": "2030-01-02T00:00:00Z", "endsAt": "2030-01-01T00:00:00Z"}),
            "endsAt",
        ),
        (json!({"reason": "x", "serviceIds": []}), "serviceIds"),
        (json!({"reason": "x", "endAt": "2030-01-01T00:00:00Z"}), "endAt"),
    ] {
        let answer = operator.post(&path(&runner), &fields).await;
        answer.expect_problem(400, "R_GEN_02");
        assert!(answer.text().contains(named), "{}", answer.text());
    }
    let windows = server
        .database
        .number("SELECT count(*) FROM freeze_windows")
        .await;
    assert_eq!(windows, 0);
}

#[tokio::test]
async fn a_window_that_is_asked_for_once_more_is_the_one_that_is_set() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    for fields in [
        json!({}),
        json!({"startsAt": "2190-01-01T00:00:00Z", "endsAt": "2190-02-01T00:00:00Z"}),
    ] {
        let first = freeze(&operator, &runner, &fields).await;
        let mut body = json!({"reason": "Christmas business"});
        for (name, value) in fields.as_object().expect("fields are an object") {
            body[name] = value.clone();
        }
        // Its answer was lost, many times at once.
        let path = path(&runner);
        let again = join_all((0..5).map(|_| operator.post(&path, &body))).await;
        for answer in &again {
            let window: FreezeView = answer.expect(200).read();
            assert_eq!(window.freeze_id, first.freeze_id);
        }
        // Another reason, another person, and the same after it was ended: other windows.
        let mut other = body.clone();
        other["reason"] = json!("inventory");
        operator.post(&path, &other).await.expect(201);
        server.admin().post(&path, &body).await.expect(201);
        end(&operator, &first).await;
        let next: FreezeView = operator.post(&path, &body).await.expect(201).read();
        assert_ne!(next.freeze_id, first.freeze_id);
    }
    // Of many equal ones at once, one is set.
    let body = json!({"reason": "at once"});
    let path = path(&runner);
    let answers = join_all((0..8).map(|_| operator.post(&path, &body))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    let started = "SELECT count(*) FROM admin_actions WHERE action = 'freeze_start' AND reason = 'at once'";
    assert_eq!(server.database.number(started).await, 1);
}

#[tokio::test]
async fn our_sdk_says_why_the_application_does_not_start() {
    let server = TestServer::start().await;
    let runner = server.runner("frozen").await;
    freeze(&server.operator(), &runner, &json!({})).await;
    let target = Database::empty().await;
    let outcome = RunnerProcess::run(&Scenario::new(Kind::NonTx, "frozen"), &server.url(), &target.url).await;
    assert!(!outcome.may_start);
    assert!(
        outcome.report.contains("Christmas business"),
        "{}",
        outcome.report
    );
}
