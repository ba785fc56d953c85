//! Two replicas on one database: equal, and each of them may die at any moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flamingock::{Flamingock, PostgresTarget, Stage};
use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::PlanAction;
use flamingock_tests::{
    Call, Database, Effect, Effects, HttpProxy, Kind, Outcome, Person, Pipeline, TestServer, Tokens,
    eventually, new_token, report_body, tokens,
};
use futures_util::future::join_all;
use tokio::sync::Barrier;

async fn start_at(url: &str, effects: &Effects) -> Outcome {
    let change = Effect {
        kind: Kind::Marker,
        ..Effect::new("tested", "0001")
    };
    let application = Flamingock::builder(url)
        .token(&tokens().runner)
        .environment("production")
        .service("billing")
        .poll_every(Duration::from_millis(100))
        .lease(Duration::from_secs(10))
        .target(PostgresTarget::new("marking", effects.pool()))
        .stage(Stage::new("schema").change(change))
        .build()
        .expect("a sound pipeline");
    Outcome::of(application.run().await)
}

#[tokio::test]
async fn invariant_11_of_fifty_instances_on_two_replicas_exactly_one_applies_and_all_start() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let effects = Effects::in_database(&Database::empty().await).await;
    let urls = [server.url(), replica.url()];
    let outcomes = join_all((0..50).map(|number| start_at(&urls[number % 2], &effects))).await;
    for outcome in &outcomes {
        assert!(outcome.may_start, "{}", outcome.report);
    }
    let applied = outcomes
        .iter()
        .filter(|outcome| outcome.changes["tested"] == "APPLIED")
        .count();
    assert_eq!(applied, 1);
    assert_eq!(effects.of("tested").await, ["one", "two"]);
}

#[tokio::test]
async fn invariant_11_any_request_may_go_to_any_replica() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    // The session is of one, every call alternates.
    let here = server.runner("billing").await;
    let there = here.at(&replica.address);
    let pipeline = Pipeline::of("schema", &["a", "b"]);
    let plan = here.granted(&pipeline).await;
    let execution = plan.execution_id.expect("a grant has an execution");
    assert_eq!(there.another().plan(&pipeline).await.action, PlanAction::Await);
    there.told(execution, "a", AuditState::Started).await;
    here.told(execution, "a", AuditState::Applied).await;
    there
        .report(execution, "a", AuditState::Applied)
        .await
        .expect(200);
    there.extended().await;
    here.extended().await;
    there.apply(execution, "b").await;
    let lock = here.lock().await.expect(200).json();
    assert_eq!(there.lock().await.expect(200).json(), lock);
    there.release().await.expect(200);
    here.release().await.expect_problem(409, "R_LOCK_02");
    // What one has cached of the state before is not what it answers.
    for _ in 0..2 {
        assert_eq!(here.plan(&pipeline).await.action, PlanAction::Continue);
        assert_eq!(there.plan(&pipeline).await.action, PlanAction::Continue);
    }
    let audits = [
        server.operator().audit(&here).await,
        replica.operator().audit(&here).await,
    ];
    assert_eq!(audits[0], audits[1]);
}

#[tokio::test]
async fn invariant_11_a_failure_recorded_at_one_replica_is_seen_by_the_others_cache() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let here = server.runner("billing").await;
    let there = here.at(&replica.address);
    here.bring_up_to_date(&Pipeline::of("schema", &["a"])).await;
    assert_eq!(
        there.plan(&Pipeline::of("schema", &["a"])).await.action,
        PlanAction::Continue
    );
    let longer = Pipeline::of("schema", &["a", "b"]);
    here.bring_up_to_date(&longer).await;
    assert_eq!(there.plan(&longer).await.action, PlanAction::Continue);
}

#[tokio::test]
async fn invariant_11_killing_a_replica_in_the_middle_of_requests_loses_nothing_acknowledged() {
    const WRITERS: usize = 8;
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let balancer = HttpProxy::to(&[&server.address, &replica.address]).await;
    let done = Arc::new(AtomicBool::new(false));
    // Nobody is killed before everybody has a plan: this is about reports, which are repeated; a plan here is not.
    let planned = Arc::new(Barrier::new(WRITERS + 1));
    let writers = join_all((0..WRITERS).map(|number| {
        let (address, done) = (balancer.address.clone(), Arc::clone(&done));
        let planned = Arc::clone(&planned);
        let server = &server;
        async move {
            let runner = server.runner(&format!("service-{number}")).await.at(&address);
            let changes: Vec<String> = (0..2_000).map(|change| format!("change-{change}")).collect();
            let execution = runner
                .granted(&Pipeline::of("schema", &["any"]))
                .await
                .execution_id
                .expect("an id");
            planned.wait().await;
            let mut acknowledged = Vec::new();
            for change in changes {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                // Repeated until it is answered: that is all that a client has to do.
                let body = report_body(&change, AuditState::Applied);
                let call =
                    runner.with_headers(Call::post(runner.report_path(execution, &change)).json(&body));
                let answer = eventually("the report is answered", || {
                    let call = &call;
                    let address = &runner.address;
                    async move {
                        call.try_send(address)
                            .await
                            .ok()
                            .filter(|answer| answer.status < 500)
                    }
                })
                .await;
                assert!([200, 201].contains(&answer.status), "{}", answer.describe());
                acknowledged.push(change);
            }
            (runner, acknowledged)
        }
    }));
    let killer = async {
        planned.wait().await;
        for victim in [&server, &replica, &server] {
            tokio::time::sleep(Duration::from_millis(300)).await;
            victim.kill();
            tokio::time::sleep(Duration::from_millis(100)).await;
            victim.restart().await;
        }
        done.store(true, Ordering::Relaxed);
    };
    let (written, ()) = tokio::join!(writers, killer);
    let operator = replica.operator();
    let mut total = 0;
    for (runner, acknowledged) in written {
        let recorded: Vec<String> = operator
            .audit(&runner)
            .await
            .into_iter()
            .map(|entry| entry.change_id)
            .collect();
        assert_eq!(
            recorded, acknowledged,
            "each once, in the order in which they were acknowledged"
        );
        let verification = operator.verification(&runner).await;
        assert!(verification.intact, "{verification:?}");
        total += acknowledged.len();
    }
    assert!(total > WRITERS * 10, "there was load: {total}");
}

#[tokio::test]
async fn invariant_11_runs_go_on_while_replicas_are_killed_under_them() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let effects = Effects::in_database(&Database::empty().await).await;
    let balancer = HttpProxy::to(&[&server.address, &replica.address]).await;
    let url = balancer.url();
    let runs = join_all((0..20).map(|_| start_at(&url, &effects)));
    let killer = async {
        for victim in [&server, &replica] {
            eventually("requests go by", async || {
                (balancer.seen().len() > 10).then_some(())
            })
            .await;
            victim.kill();
            victim.restart().await;
        }
    };
    let (outcomes, ()) = tokio::join!(runs, killer);
    for outcome in &outcomes {
        assert!(outcome.may_start, "{}", outcome.report);
    }
    assert_eq!(effects.of("tested").await, ["one", "two"]);
    let runner = server.runner("billing").await;
    assert!(server.operator().verification(&runner).await.intact);
}

#[tokio::test]
async fn a_credential_that_is_replaced_at_one_replica_is_cut_off_at_the_other_within_seconds() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    runner.lock().await.expect_problem(404, "R_LOCK_03");
    let replaced = Tokens {
        runner: new_token(),
        ..tokens().clone()
    };
    let replica = server.replica_with_tokens(replaced.clone()).await;
    for address in [&server.address, &replica.address] {
        let runner = runner.at(address);
        let refused = eventually("the session is cut off", async || {
            let answer = runner.lock().await;
            (answer.status == 401).then_some(answer)
        })
        .await;
        refused.expect_problem(401, "R_AUTH_06");
        flamingock_tests::exchange(address, &tokens().runner, "production", "billing")
            .await
            .expect_problem(401, "R_AUTH_01");
        flamingock_tests::exchange(address, &replaced.runner, "production", "billing")
            .await
            .expect(200);
    }
}

/// An upgrade's migration runs while the replicas before it still serve: their prepared statements must go on.
#[tokio::test]
async fn a_column_that_a_migration_adds_to_any_table_disturbs_no_running_server() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let viewer = server.person(&tokens().viewer);
    let scope = Person::scope(&runner);
    let mut changes = vec!["a".to_owned()];
    for round in 0..2 {
        changes.push(format!("of round {round}"));
        let names: Vec<&str> = changes.iter().map(String::as_str).collect();
        // Twice, so that statements are prepared on whichever connection serves them.
        for _ in 0..2 {
            runner.bring_up_to_date(&Pipeline::of("schema", &names)).await;
            runner.acquired(30_000).await;
            runner.extended().await;
            runner.release().await.expect(200);
            for path in [
                "audit?limit=5",
                "audit?changeId=a",
                "audit/export",
                "audit/verification",
                "issue",
                "issue/detail?changeId=a",
                "execution",
                "runner",
                "explanation",
                "approval",
                "checksum",
            ] {
                let answer = viewer.get(&format!("{scope}/{path}")).await;
                assert!(
                    answer.status < 500,
                    "round {round}, {path}: {}",
                    answer.describe()
                );
            }
        }
        server
            .database
            .execute(&format!(
                "DO $$ DECLARE t regclass; BEGIN
                     FOR t IN SELECT c.oid::regclass FROM pg_class c
                               WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
                                 AND NOT c.relispartition AND c.relname <> '_sqlx_migrations' LOOP
                         EXECUTE format('ALTER TABLE %s ADD COLUMN of_a_later_release_{round} text', t);
                     END LOOP;
                 END $$"
            ))
            .await;
    }
    let names: Vec<&str> = changes.iter().map(String::as_str).collect();
    assert_eq!(
        runner.plan(&Pipeline::of("schema", &names)).await.action,
        PlanAction::Continue
    );
}
