//! Starts of applications that use the SDK.

use std::time::Duration;

use flamingock::{Flamingock, Stage, Target};
use flamingock_tests::{
    Database, Effect, Effects, Ending, HttpProxy, Kind, Outcome, RunnerProcess, Scenario, TestServer, tokens,
};
use futures_util::future::join_all;

/// An application in this process, on one target without transactions.
async fn start(server: &str, effects: &Effects, service: &str, stages: Vec<Stage>) -> Outcome {
    let mut builder = Flamingock::builder(server)
        .token(&tokens().runner)
        .environment("production")
        .service(service)
        .poll_every(Duration::from_millis(100))
        .target(Target::non_transactional("plain", effects.pool()));
    for stage in stages {
        builder = builder.stage(stage);
    }
    Outcome::of(builder.build().expect("a sound pipeline").run().await)
}

fn stage(name: &'static str, changes: &[(&'static str, &'static str)]) -> Stage {
    changes.iter().fold(Stage::new(name), |stage, (id, order)| {
        stage.change(Effect::new(*id, *order))
    })
}

async fn world() -> (TestServer, Database, Effects) {
    let server = TestServer::start().await;
    let target = Database::empty().await;
    let effects = Effects::in_database(&target).await;
    (server, target, effects)
}

#[tokio::test]
async fn the_first_start_applies_every_change_once_and_in_order() {
    let server = TestServer::start().await;
    for kind in [Kind::NonTx, Kind::Marker, Kind::NoMarker] {
        let target = Database::empty().await;
        let effects = Effects::in_database(&target).await;
        let service = format!("{kind:?}");
        let outcome = RunnerProcess::run(&Scenario::new(kind, &service), &server.url(), &target.url).await;
        assert!(outcome.may_start, "{}", outcome.report);
        for change in ["before", "tested", "after"] {
            assert_eq!(outcome.changes[change], "APPLIED", "{}", outcome.report);
            assert_eq!(effects.of(change).await, ["one", "two"], "{kind:?} {change}");
        }
        let runner = server.runner(&service).await;
        let entries = server.operator().audit(&runner).await;
        let told: Vec<_> = entries
            .iter()
            .map(|entry| (entry.change_id.as_str(), entry.state.as_str()))
            .collect();
        let expected = ["before", "tested", "after"]
            .map(|id| [(id, "STARTED"), (id, "APPLIED")])
            .concat();
        assert_eq!(told, expected, "{kind:?}");
        assert!(
            effects.marks().await.is_empty(),
            "marks are cleared once the result is recorded"
        );
        runner.lock().await.expect_problem(404, "R_LOCK_03");
    }
}

#[tokio::test]
async fn invariant_6_a_start_with_nothing_to_do_is_one_request_or_two_and_writes_nothing() {
    let (server, target, _effects) = world().await;
    let scenario = Scenario::new(Kind::Marker, "billing");
    assert!(
        RunnerProcess::run(&scenario, &server.url(), &target.url)
            .await
            .may_start
    );

    // Also while somebody else holds the lock.
    let other = server.runner("billing").await;
    other.acquired(60_000).await;
    let written = "SELECT (SELECT count(*) FROM executions) + (SELECT sum(fence)::bigint FROM locks) \
                   + (SELECT sum(head_seq)::bigint FROM audit_streams) + (SELECT count(*) FROM audit_entries)";
    let before = server.database.number(written).await;
    let proxy = HttpProxy::to(&[&server.address]).await;
    for _ in 0..2 {
        let outcome = RunnerProcess::run(&scenario, &proxy.url(), &target.url).await;
        assert!(outcome.may_start, "{}", outcome.report);
        assert!(
            outcome.changes.values().all(|status| status == "ALREADY_APPLIED"),
            "{}",
            outcome.report
        );
    }
    let seen = proxy.seen();
    let plans = seen.iter().filter(|line| line.contains("/execution?")).count();
    let exchanges = seen
        .iter()
        .filter(|line| line.contains("/exchange-token"))
        .count();
    // The whole pipeline follows where this server had not judged it at this head: in the first of the two.
    assert_eq!((exchanges, plans, seen.len()), (2, 1, 3), "{seen:#?}");
    assert!(seen[1].contains("/execution?"), "{seen:#?}");
    assert_eq!(server.database.number(written).await, before);
}

#[tokio::test]
async fn invariant_5_of_fifty_processes_that_start_at_once_exactly_one_applies_and_all_start() {
    let (server, target, effects) = world().await;
    let scenario = Scenario::new(Kind::Marker, "billing").lease_ms(10_000);
    let processes: Vec<_> = (0..50)
        .map(|_| RunnerProcess::start(&scenario, &server.url(), &target.url))
        .collect();
    let outcomes = join_all(processes.iter().map(RunnerProcess::outcome)).await;
    let mut applied = 0;
    for outcome in outcomes {
        assert!(outcome.may_start, "{}", outcome.report);
        applied += outcome
            .changes
            .values()
            .filter(|status| *status == "APPLIED")
            .count();
    }
    assert_eq!(applied, 3, "three changes, each applied by one process");
    for change in ["before", "tested", "after"] {
        assert_eq!(effects.of(change).await, ["one", "two"]);
        let runner = server.runner("billing").await;
        assert_eq!(
            server.operator().states(&runner, change).await,
            ["STARTED", "APPLIED"]
        );
    }
}

#[tokio::test]
async fn a_change_that_is_added_later_runs_alone_even_before_those_that_ran() {
    let (server, _target, effects) = world().await;
    let first = vec![stage("schema", &[("b", "0002")])];
    assert!(start(&server.url(), &effects, "billing", first).await.may_start);
    let second = vec![stage("schema", &[("a", "0001"), ("b", "0002"), ("c", "0003")])];
    let outcome = start(&server.url(), &effects, "billing", second).await;
    let statuses: Vec<_> = outcome
        .changes
        .iter()
        .map(|(id, status)| (id.as_str(), status.as_str()))
        .collect();
    assert_eq!(
        statuses,
        [("a", "APPLIED"), ("b", "ALREADY_APPLIED"), ("c", "APPLIED")]
    );
    assert_eq!(effects.of("b").await, ["one", "two"]);
}

#[tokio::test]
async fn a_change_that_moved_to_another_stage_is_not_repeated_and_a_deleted_one_is_forgotten() {
    let (server, _target, effects) = world().await;
    let first = vec![
        stage("schema", &[("moves", "0001"), ("goes", "0002")]),
        stage("seed", &[("stays", "0001")]),
    ];
    assert!(start(&server.url(), &effects, "billing", first).await.may_start);
    let second = vec![stage("seed", &[("stays", "0001"), ("moves", "0002")])];
    let outcome = start(&server.url(), &effects, "billing", second).await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert!(
        outcome.changes.values().all(|status| status == "ALREADY_APPLIED"),
        "{}",
        outcome.report
    );
    assert_eq!(effects.of("moves").await, ["one", "two"]);
}

#[tokio::test]
async fn services_and_environments_do_not_share_their_history() {
    let (server, target, effects) = world().await;
    for (service, environment) in [("one", "production"), ("two", "production"), ("one", "trusting")] {
        let scenario = Scenario::new(Kind::NonTx, service).environment(environment);
        let outcome = RunnerProcess::run(&scenario, &server.url(), &target.url).await;
        assert_eq!(
            outcome.changes["tested"], "APPLIED",
            "{service} {environment}: {}",
            outcome.report
        );
    }
    assert_eq!(effects.of("tested").await.len(), 6);
}

#[tokio::test]
async fn a_transaction_that_failed_is_tried_again_by_the_next_start_and_not_by_the_same() {
    let (server, target, effects) = world().await;
    let scenario = Scenario::new(Kind::Marker, "billing").failing();
    let outcome = RunnerProcess::run(&scenario, &server.url(), &target.url).await;
    assert!(!outcome.may_start);
    assert_eq!(outcome.changes["tested"], "ROLLED_BACK", "{}", outcome.report);
    assert_eq!(outcome.changes["after"], "NOT_REACHED", "{}", outcome.report);
    let runner = server.runner("billing").await;
    let operator = server.operator();
    assert_eq!(
        operator.states(&runner, "tested").await,
        ["STARTED", "FAILED", "ROLLED_BACK"]
    );
    assert!(effects.of("tested").await.is_empty());

    let outcome = RunnerProcess::run(&scenario.corrected(), &server.url(), &target.url).await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_eq!(effects.of("tested").await, ["one", "two"]);
    assert_eq!(effects.of("before").await, ["one", "two"]);
}

#[tokio::test]
async fn a_failure_without_rollback_stops_the_service_until_a_person_decides() {
    let (server, target, effects) = world().await;
    let scenario = Scenario::new(Kind::NonTx, "billing").failing();
    assert!(
        !RunnerProcess::run(&scenario, &server.url(), &target.url)
            .await
            .may_start
    );
    let scenario = Scenario {
        ending: Ending::Works,
        ..scenario
    };
    let outcome = RunnerProcess::run(&scenario, &server.url(), &target.url).await;
    assert!(!outcome.may_start);
    assert_eq!(outcome.manual_intervention, ["tested"], "{}", outcome.report);
    assert_eq!(effects.of("tested").await, ["one"], "what it left is left alone");
    assert!(effects.of("after").await.is_empty());
}

#[tokio::test]
async fn a_wrong_token_an_unknown_environment_and_an_absent_server_are_failed_starts() {
    let (server, _target, effects) = world().await;
    let attempt = async |url: &str, token: &str, environment: &str| {
        let application = Flamingock::builder(url)
            .token(token)
            .environment(environment)
            .service("billing")
            .retry_for(Duration::from_millis(300))
            .target(Target::non_transactional("plain", effects.pool()))
            .stage(stage("schema", &[("a", "0001")]))
            .build()
            .expect("a sound pipeline");
        Outcome::of(application.run().await)
    };
    let url = server.url();
    for (url, token, environment) in [
        (url.as_str(), tokens().unknown.as_str(), "production"),
        (url.as_str(), tokens().runner.as_str(), "produktion"),
        ("http://127.0.0.1:9", tokens().runner.as_str(), "production"),
    ] {
        let outcome = attempt(url, token, environment).await;
        assert!(!outcome.may_start, "{url} {environment}");
    }
    assert!(effects.of("a").await.is_empty());
}
