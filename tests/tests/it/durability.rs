//! Invariant 7: what was acknowledged is there, whatever dies.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::PlanAction;
use flamingock_tests::{
    Call, Cluster, Database, Pipeline, PostgresProxy, Runner, TestServer, eventually, report_body,
};
use futures_util::future::join_all;
use serde_json::json;
use tokio::task::JoinSet;

/// What a runner was told is recorded.
type Acknowledged = Arc<Mutex<Vec<(String, AuditState)>>>;

const SERVICES: usize = 6;
const CHANGES: usize = 400;

fn ids() -> Vec<String> {
    (0..CHANGES).map(|at| format!("change-{at:03}")).collect()
}

/// Reports until told to stop, and remembers what was acknowledged. An answer that never came is repeated, as the SDK does.
async fn report_on(runner: Runner, execution: i64, acknowledged: Acknowledged) {
    for id in ids() {
        for state in [AuditState::Started, AuditState::Applied] {
            let call = runner
                .with_headers(Call::post(runner.report_path(execution, &id)))
                .json(&report_body(&id, state));
            loop {
                match call.try_send(&runner.address).await {
                    Ok(answer) if (200..300).contains(&answer.status) => break,
                    Ok(answer) if answer.status == 503 => {
                        answer.expect_problem(503, "R_GEN_08");
                    }
                    // The lock survives a restart; nothing else may be refused here.
                    Ok(answer) => panic!("{}", answer.describe()),
                    Err(_) => {}
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            acknowledged
                .lock()
                .expect("nobody panicked")
                .push((id.clone(), state));
        }
    }
}

#[tokio::test]
async fn invariant_7_a_database_that_is_killed_under_load_loses_nothing_acknowledged() {
    let cluster = Arc::new(Cluster::of_its_own().await);
    let server = TestServer::on(cluster.create("template0").await, &[]).await;
    let names = ids();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut running = JoinSet::new();
    let mut kept = Vec::new();
    for at in 0..SERVICES {
        let runner = server.runner(&format!("service-{at}")).await;
        let plan = runner
            .granted(&Pipeline::of("schema", &names).lease_ms(600_000))
            .await;
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        running.spawn(report_on(
            runner.clone(),
            plan.execution_id.expect("granted"),
            Arc::clone(&acknowledged),
        ));
        kept.push((runner, acknowledged));
    }
    let count = |kept: &[(Runner, Acknowledged)]| -> usize {
        kept.iter()
            .map(|(_, list)| list.lock().expect("nobody panicked").len())
            .sum()
    };
    for kills in 1..=3 {
        eventually("there is work between two crashes", async || {
            (count(&kept) >= kills * 300).then_some(())
        })
        .await;
        let cluster = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || cluster.kill_and_restart())
            .await
            .expect("it comes back");
    }
    running.abort_all();
    while running.join_next().await.is_some() {}
    eventually("the server is ready again", async || {
        (Call::get("/health/ready")
            .try_send(&server.address)
            .await
            .ok()?
            .status
            == 200)
            .then_some(())
    })
    .await;
    let operator = server.operator();
    for (runner, acknowledged) in &kept {
        let recorded: std::collections::HashSet<(String, String)> = operator
            .audit(runner)
            .await
            .into_iter()
            .map(|entry| (entry.change_id, entry.state))
            .collect();
        let acknowledged = acknowledged.lock().expect("nobody panicked").clone();
        assert!(
            acknowledged.len() > 20,
            "{} were acknowledged",
            acknowledged.len()
        );
        for (change, state) in &acknowledged {
            let state = json!(state).as_str().expect("a text").to_owned();
            assert!(
                recorded.contains(&(change.clone(), state.clone())),
                "{state} of {change} was acknowledged and is gone"
            );
        }
        assert!(operator.verification(runner).await.intact);
    }
}

#[tokio::test]
async fn an_absent_database_is_answered_503_and_everything_recovers_when_it_is_back() {
    let database = Database::migrated().await;
    let proxy = PostgresProxy::to(&database).await;
    let server = TestServer::on(
        proxy.database(),
        &[("FLAMINGOCK_DATABASE_ACQUIRE_TIMEOUT", "500ms")],
    )
    .await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let execution = runner.granted(&pipeline).await.execution_id.expect("granted");
    proxy.break_connections();
    for call in [
        Call::post(format!("{}?elapsedMillis=0", runner.plan_path())).json(&pipeline.body()),
        Call::post(runner.report_path(execution, "a")).json(&report_body("a", AuditState::Started)),
        Call::post(format!("/api/v1/{}/lock/extension", runner.key())).json(&json!({})),
        Call::get(runner.plan_path()),
    ] {
        let answer = runner.with_headers(call).send(&server.address).await;
        answer.expect_problem(503, "R_GEN_08");
        assert!(answer.header("retry-after").is_some());
        assert!(!answer.text().contains("sql"), "{}", answer.text());
    }
    Call::get("/health/ready")
        .send(&server.address)
        .await
        .expect_problem(503, "R_GEN_08");
    Call::get("/health/live").send(&server.address).await.expect(200);
    Call::get("/metrics").send(&server.address).await.expect(200);
    proxy.mend();
    eventually("it is ready again", async || {
        (Call::get("/health/ready").send(&server.address).await.status == 200).then_some(())
    })
    .await;
    runner.apply(execution, "a").await;
    runner.release().await.expect(200);
    assert_eq!(runner.plan(&pipeline).await.action, PlanAction::Continue);
}

#[tokio::test]
async fn a_database_that_refuses_writes_is_answered_503_and_what_needs_none_still_works() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    runner.bring_up_to_date(&pipeline).await;
    let more = Pipeline::of("schema", &["a", "b"]);
    let read_only = |on: &str| {
        format!(
            "BEGIN READ WRITE; ALTER DATABASE \"{}\" SET default_transaction_read_only = {on}; COMMIT;
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE datname = current_database() AND pid <> pg_backend_pid()",
            server.database.name()
        )
    };
    server.database.execute(&read_only("on")).await;
    eventually("nothing to do is still answered", async || {
        let answer = runner.ask("elapsedMillis=0", &pipeline.body()).await;
        (answer.status == 201).then_some(())
    })
    .await;
    eventually("a grant is refused for now", async || {
        let answer = runner.ask("elapsedMillis=0", &more.body()).await;
        answer.expect_problem(503, "R_GEN_08");
        Some(())
    })
    .await;
    runner
        .report(1, "a", AuditState::Applied)
        .await
        .expect_problem(503, "R_GEN_08");
    server.database.execute(&read_only("off")).await;
    eventually("a grant is possible again", async || {
        let answer = runner.ask("elapsedMillis=0", &more.body()).await;
        (answer.status == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn connections_that_die_cost_no_request() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let execution = runner
        .granted(&Pipeline::of("schema", &["a"]))
        .await
        .execution_id
        .expect("an id");
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE application_name = 'flamingock-server' AND datname = current_database()";
    for round in 0..12 {
        // Many at once, so that there are many connections to lose.
        let reports = join_all((0..16).map(|at| {
            let runner = &runner;
            async move {
                let id = format!("change-{round}-{at}");
                runner.told(execution, &id, AuditState::Applied).await
            }
        }));
        reports.await;
        assert!(server.database.number(kill).await > 0);
        runner
            .told(execution, &format!("after-{round}"), AuditState::Applied)
            .await;
        runner
            .plan(&Pipeline::of("schema", &[&format!("after-{round}")]))
            .await;
        runner.granted(&Pipeline::of("schema", &["never"])).await;
    }
}

#[tokio::test]
async fn after_a_fail_over_that_lost_entries_nothing_of_what_was_lost_is_believed() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a", "b"]);
    let execution = runner.granted(&pipeline).await.execution_id.expect("an id");
    runner.apply(execution, "a").await;
    // What the standby has when the primary dies.
    let standby = server.database.copy().await;
    runner.apply(execution, "b").await;
    assert_eq!(runner.plan(&pipeline).await.action, PlanAction::Continue);
    // The standby takes over, and as many other entries come about.
    server.database.replace_by(&standby).await;
    let elsewhere = server.replica().await;
    let there = runner.at(&elsewhere.address);
    for state in [AuditState::Started, AuditState::Failed] {
        there.told(execution, "b", state).await;
    }
    let plan = runner.another().plan(&pipeline).await;
    assert_eq!(
        plan.action,
        PlanAction::Await,
        "b is not applied, and somebody holds the lock"
    );
}
