//! Live events: each at least once, in order within a service, and the same on every replica.

use std::collections::{HashMap, HashSet};

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::event::{Event, EventType, ExecutionEnd};
use flamingock_api_types::issue::ResolutionKind::RolledBack;
use flamingock_tests::{
    Call, EventStream, Person, Pipeline, Runner, TestServer, eventually, eventually_within, outline, tokens,
};
use futures_util::future::join_all;
use serde_json::json;

fn pipeline() -> Pipeline {
    Pipeline::of("schema", &["a", "b"])
}

fn listen(path: &str, token: &str) -> Call {
    Call::get(path).bearer(token)
}

fn service_path(of: &Runner) -> String {
    format!("{}/event", Person::scope(of))
}

async fn organisation_path(server: &TestServer) -> String {
    let id = server
        .database
        .number("SELECT id FROM organisations WHERE name = 'acme'")
        .await;
    format!("/api/v1/admin/organisation/{id}/event")
}

/// Everything of acme, as its operator.
async fn listen_to_all(server: &TestServer, from: Option<&str>) -> EventStream {
    let mut call = listen(&organisation_path(server).await, &tokens().operator);
    if let Some(from) = from {
        call = call.header("Last-Event-ID", from);
    }
    EventStream::open(&server.address, call).await
}

async fn granted(runner: &Runner, pipeline: &Pipeline) -> i64 {
    runner
        .granted(pipeline)
        .await
        .execution_id
        .expect("a grant has an execution")
}

fn is_release(event: &Event) -> bool {
    event.event_type == EventType::LockReleased
}

#[tokio::test]
async fn a_run_is_told_in_its_order() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let call = listen(&service_path(&runner), &tokens().viewer);
    let mut stream = EventStream::open(&server.address, call).await;
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.header("cache-control"), Some("no-store"));
    assert_eq!(stream.header("x-accel-buffering"), Some("no"));

    let execution = granted(&runner, &pipeline()).await;
    runner.apply(execution, "a").await;
    runner.apply(execution, "b").await;
    runner.extended().await;
    runner.release().await.expect(200);

    let events = stream.until(is_release).await;
    assert_eq!(
        outline(&events),
        [
            "LOCK_GRANTED",
            "EXECUTION_GRANTED",
            "CHANGE_STARTED a",
            "CHANGE_APPLIED a",
            "CHANGE_STARTED b",
            "CHANGE_APPLIED b",
            "EXECUTION_ENDED",
            "LOCK_RELEASED",
        ]
    );
    let seqs: Vec<i64> = events
        .iter()
        .filter_map(|event| event.change.as_ref())
        .map(|change| change.seq)
        .collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
    let ids: HashSet<&str> = events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids.len(), events.len(), "every event has an id of its own");
    for event in &events {
        assert_eq!(event.environment_id, Some(runner.environment_id));
        assert_eq!(event.service_id, Some(runner.service_id));
    }
    let ended = events[6].execution.as_ref().expect("an execution");
    assert_eq!(ended.execution_id, execution);
    assert_eq!(ended.ended_by, Some(ExecutionEnd::Released));
    assert_eq!(events[0].lock.as_ref().expect("a lock").runner_id, runner.id);
}

#[tokio::test]
async fn an_issue_is_told_when_its_runner_has_gone_and_when_a_person_has_decided() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let mut stream = EventStream::open(
        &server.address,
        listen(&service_path(&runner), &tokens().operator),
    )
    .await;
    let execution = granted(&runner, &pipeline()).await;
    runner.told(execution, "a", AuditState::Started).await;
    let failed = runner.told(execution, "a", AuditState::Failed).await;
    runner.told(execution, "b", AuditState::Started).await;
    runner.told(execution, "b", AuditState::Failed).await;
    runner.told(execution, "b", AuditState::RolledBack).await;
    runner.release().await.expect(200);
    server
        .operator()
        .resolve(&runner, &[("a", RolledBack, failed.seq.expect("a position"))])
        .await
        .expect(201);
    let events = stream
        .until(|event| event.event_type == EventType::IssueClosed)
        .await;
    assert_eq!(
        outline(&events)[2..],
        [
            "CHANGE_STARTED a",
            "CHANGE_FAILED a",
            "CHANGE_STARTED b",
            "CHANGE_FAILED b",
            "CHANGE_ROLLED_BACK b",
            "EXECUTION_ENDED",
            "LOCK_RELEASED",
            "ISSUE_OPENED a",
            "CHANGE_DECIDED a",
            "ISSUE_CLOSED a",
        ]
    );
    let decided = events[events.len() - 2].change.as_ref().expect("an entry");
    assert_eq!(decided.note.as_deref(), Some("looked at the target system"));
}

#[tokio::test]
async fn a_runner_that_died_leaves_an_issue_when_its_lock_is_taken_over() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let mut stream = EventStream::open(
        &server.address,
        listen(&service_path(&runner), &tokens().operator),
    )
    .await;
    let execution = granted(&runner, &pipeline().lease_ms(1_000)).await;
    runner.told(execution, "a", AuditState::Started).await;
    let next = runner.another();
    eventually("the next one takes over", async || {
        next.plan(&pipeline()).await.execution_id
    })
    .await;
    // Its result comes after all: evidence of nothing new, but nobody has written since, so it counts.
    runner.told(execution, "a", AuditState::Applied).await;
    let events = stream
        .until(|event| event.event_type == EventType::IssueClosed)
        .await;
    assert_eq!(
        outline(&events)[2..],
        [
            "CHANGE_STARTED a",
            "EXECUTION_ENDED",
            "LOCK_TAKEN_OVER",
            "ISSUE_OPENED a",
            "EXECUTION_GRANTED",
            "CHANGE_APPLIED a",
            "ISSUE_CLOSED a",
        ]
    );
    let lock = events[4].lock.as_ref().expect("a lock");
    assert_eq!(lock.previous_runner_id.as_deref(), Some(runner.id.as_str()));
    assert_eq!(lock.runner_id, next.id);
    let ended = events[3].execution.as_ref().expect("an execution");
    assert_eq!(ended.ended_by, Some(ExecutionEnd::Replaced));
    assert_eq!(ended.runner_id, runner.id);
}

#[tokio::test]
async fn a_lock_that_a_person_released_is_told_as_such() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let call = listen(&service_path(&runner), &tokens().operator);
    let mut stream = EventStream::open(&server.address, call).await;
    let plan = runner.granted(&pipeline()).await;
    let execution = plan.execution_id.expect("a grant has an execution");
    runner.told(execution, "a", AuditState::Started).await;
    let fence = plan
        .lock
        .and_then(|lock| lock.fence)
        .expect("a grant has a fence");
    server
        .operator()
        .post(
            &format!("{}/lock/release", Person::scope(&runner)),
            &json!({"expectedFence": fence, "reason": "its host is gone", "insist": true}),
        )
        .await
        .expect(200);
    let events = stream
        .until(|event| event.event_type == EventType::IssueOpened)
        .await;
    assert_eq!(
        outline(&events)[2..],
        [
            "CHANGE_STARTED a",
            "EXECUTION_ENDED",
            "LOCK_FORCED",
            "ISSUE_OPENED a"
        ]
    );
    let ended = events[3].execution.as_ref().expect("an execution");
    assert_eq!(ended.ended_by, Some(ExecutionEnd::Forced));
    assert_eq!(events[4].lock.as_ref().expect("a lock").runner_id, runner.id);
}

#[tokio::test]
async fn who_comes_back_to_another_replica_or_after_a_restart_misses_nothing() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let runner = server.runner("billing").await;
    let mut all = Vec::new();

    let mut stream = listen_to_all(&server, None).await;
    let execution = granted(&runner, &pipeline()).await;
    runner.told(execution, "a", AuditState::Started).await;
    // It leaves in the middle of what one moment brought.
    all.extend(stream.take(1).await);
    let from = stream.last_id.clone();
    drop(stream);

    runner.told(execution, "a", AuditState::Applied).await;
    let mut stream = listen_to_all(&replica, from.as_deref()).await;
    all.extend(
        stream
            .until(|event| event.event_type == EventType::ChangeApplied)
            .await,
    );
    let from = stream.last_id.clone();
    server.kill();
    drop(stream);

    // Nobody listens, one replica is gone, the other is stopped and started.
    let runner = runner.at(&replica.address);
    runner.apply(execution, "b").await;
    assert!(replica.stop().await);
    replica.restart().await;
    let mut stream = listen_to_all(&replica, from.as_deref()).await;
    runner.release().await.expect(200);
    all.extend(stream.until(is_release).await);

    assert_eq!(
        outline(&all),
        [
            "LOCK_GRANTED",
            "EXECUTION_GRANTED",
            "CHANGE_STARTED a",
            "CHANGE_APPLIED a",
            "CHANGE_STARTED b",
            "CHANGE_APPLIED b",
            "EXECUTION_ENDED",
            "LOCK_RELEASED",
        ]
    );
    // Told again from each point, it is the same to the letter.
    for (at, event) in all.iter().enumerate() {
        let mut again = listen_to_all(&replica, Some(&event.id)).await;
        assert_eq!(again.take(all.len() - at - 1).await, all[at + 1..]);
    }
}

#[tokio::test]
async fn the_last_id_may_stand_in_the_query_and_the_header_goes_first() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let mut stream = listen_to_all(&server, None).await;
    let execution = granted(&runner, &pipeline()).await;
    runner.apply(execution, "a").await;
    let events = stream
        .until(|event| event.event_type == EventType::ChangeApplied)
        .await;
    let path = format!("{}?after={}", organisation_path(&server).await, events[0].id);
    let operator = &tokens().operator;
    let mut by_query = EventStream::open(&server.address, listen(&path, operator)).await;
    assert_eq!(by_query.take(3).await, events[1..]);
    let call = listen(&path, operator).header("Last-Event-ID", events[2].id.as_str());
    let mut by_header = EventStream::open(&server.address, call).await;
    assert_eq!(by_header.take(1).await, events[3..]);
    // What an EventSource sends that knows no id yet.
    let call = listen(&path, operator).header("Last-Event-ID", "");
    let mut by_query = EventStream::open(&server.address, call).await;
    assert_eq!(by_query.take(3).await, events[1..]);
}

#[tokio::test]
async fn many_services_at_once_lose_nothing_and_every_listener_sees_one_order() {
    const SERVICES: usize = 24;
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let mut here = listen_to_all(&server, None).await;
    let mut there = listen_to_all(&replica, None).await;
    let changes = ["a", "b", "c", "d", "e"];
    let pipeline = Pipeline::of("schema", &changes);
    let runs = (0..SERVICES).map(|number| {
        let (pipeline, server) = (pipeline.clone(), if number % 2 == 0 { &server } else { &replica });
        async move {
            let runner = server.runner(&format!("service-{number}")).await;
            runner.bring_up_to_date(&pipeline).await;
        }
    });
    join_all(runs).await;

    let each = 2 * changes.len() + 4;
    let seen = here.take(SERVICES * each).await;
    assert_eq!(there.take(SERVICES * each).await, seen);
    let mut by_service: HashMap<i64, Vec<Event>> = HashMap::new();
    for event in seen {
        by_service
            .entry(event.service_id.expect("it is of a service"))
            .or_default()
            .push(event);
    }
    assert_eq!(by_service.len(), SERVICES);
    for (service, events) in by_service {
        let seqs: Vec<i64> = events
            .iter()
            .filter_map(|event| event.change.as_ref())
            .map(|change| change.seq)
            .collect();
        assert_eq!(seqs, (1..=10).collect::<Vec<_>>(), "service {service}");
        let outline = outline(&events);
        assert_eq!(outline[..2], ["LOCK_GRANTED", "EXECUTION_GRANTED"], "{service}");
        assert_eq!(outline[12..], ["EXECUTION_ENDED", "LOCK_RELEASED"], "{service}");
    }
}

#[tokio::test]
async fn who_was_away_for_long_or_reads_nothing_for_a_while_catches_up_page_by_page() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let mut away = listen_to_all(&server, None).await;
    let ids: Vec<String> = (0..700).map(|number| format!("change-{number}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let execution = granted(&runner, &Pipeline::of("schema", &ids)).await;
    away.take(2).await;
    let from = away.last_id.clone();
    drop(away);

    // One row of the order for all of this: nobody listens.
    for some in ids[..300].chunks(50) {
        join_all(some.iter().map(|id| runner.apply(execution, id))).await;
    }
    let mut slow = listen_to_all(&server, from.as_deref()).await;
    let mut quick = listen_to_all(&server, from.as_deref()).await;
    // `slow` reads nothing now, and falls behind what is held for it.
    for some in ids[300..].chunks(50) {
        join_all(some.iter().map(|id| runner.apply(execution, id))).await;
    }
    let seen = quick.take(1_400).await;
    assert_eq!(slow.take(1_400).await, seen);
    let seqs = seen
        .iter()
        .filter_map(|event| event.change.as_ref())
        .map(|change| change.seq);
    assert!(seqs.eq(1..=1_400));
}

#[tokio::test]
async fn invariant_9_nobody_is_told_of_what_their_token_does_not_reach() {
    let server = TestServer::start().await;
    let organisation = organisation_path(&server).await;
    let ledger = server.runner("ledger").await;
    let mut narrow = EventStream::open(&server.address, listen(&organisation, &tokens().narrow)).await;
    let mut wide = EventStream::open(&server.address, listen(&organisation, &tokens().viewer)).await;
    let mut session = EventStream::open(&server.address, listen(&organisation, &ledger.jwt)).await;
    let foreign = server.other_tenants_runner("fleet").await;
    let globex = server
        .database
        .number("SELECT id FROM organisations WHERE name = 'globex'")
        .await;
    let mut other = EventStream::open(
        &server.address,
        listen(
            &format!("/api/v1/admin/organisation/{globex}/event"),
            &tokens().other_operator,
        ),
    )
    .await;
    // A service that registers itself while they listen.
    let billing = server.runner("billing").await;
    for runner in [&billing, &foreign, &ledger] {
        runner.bring_up_to_date(&pipeline()).await;
    }
    let of =
        |events: &[Event]| -> HashSet<Option<i64>> { events.iter().map(|event| event.service_id).collect() };
    let id = |runner: &Runner| Some(runner.service_id);
    let of_ledger = narrow.until(is_release).await;
    assert_eq!(of(&of_ledger), HashSet::from([id(&ledger)]));
    assert_eq!(session.until(is_release).await, of_ledger);
    let mut both = wide.until(is_release).await;
    both.extend(wide.until(is_release).await);
    assert_eq!(of(&both), HashSet::from([id(&ledger), id(&billing)]));
    assert_eq!(of(&other.until(is_release).await), HashSet::from([id(&foreign)]));
}

#[tokio::test]
async fn invariant_9_foreign_ids_answer_like_absent_ones() {
    let server = TestServer::start().await;
    let foreign = server.other_tenants_runner("fleet").await;
    let globex = server
        .database
        .number("SELECT id FROM organisations WHERE name = 'globex'")
        .await;
    let ours = server.runner("billing").await;
    let absent = 999_999_i64;
    for (path, foreign_id) in [
        ("/api/v1/admin/organisation/{}/event".to_owned(), globex),
        (
            "/api/v1/admin/environment/{}/event".to_owned(),
            foreign.environment_id,
        ),
        (
            format!("/api/v1/admin/environment/{{}}/service/{}/event", ours.service_id),
            foreign.environment_id,
        ),
        (
            format!(
                "/api/v1/admin/environment/{}/service/{{}}/event",
                ours.environment_id
            ),
            foreign.service_id,
        ),
        (
            format!(
                "/api/v1/admin/environment/{}/event?serviceId={{}}",
                ours.environment_id
            ),
            foreign.service_id,
        ),
    ] {
        for token in [&tokens().viewer, &tokens().admin] {
            let answer = async |id: i64| {
                let answer = listen(&path.replace("{}", &id.to_string()), token)
                    .send(&server.address)
                    .await;
                let mut body = answer.expect(404).json();
                body["instance"] = json!("");
                body.to_string()
            };
            let expected = answer(absent)
                .await
                .replace(&absent.to_string(), &foreign_id.to_string());
            assert_eq!(answer(foreign_id).await, expected, "{path}");
        }
    }
}

#[tokio::test]
async fn admin_actions_are_told_to_administrators() {
    let server = TestServer::start().await;
    let organisation = organisation_path(&server).await;
    let runner = server.runner("billing").await;
    let mut admin = EventStream::open(&server.address, listen(&organisation, &tokens().admin)).await;
    let mut operator = listen_to_all(&server, None).await;
    let execution = granted(&runner, &pipeline()).await;
    runner.told(execution, "a", AuditState::Started).await;
    let failed = runner.told(execution, "a", AuditState::Failed).await;
    runner.release().await.expect(200);
    server
        .operator()
        .resolve(&runner, &[("a", RolledBack, failed.seq.expect("a position"))])
        .await
        .expect(201);
    runner.bring_up_to_date(&pipeline()).await;

    let is_action = |event: &Event| event.event_type == EventType::ActionRecorded;
    let events = admin.until(is_action).await;
    let action = events
        .last()
        .and_then(|event| event.action.as_ref())
        .expect("an action");
    assert_eq!(
        (action.action.as_str(), action.target.as_str()),
        ("issue_resolve", "a")
    );
    assert_eq!(action.reason.as_deref(), Some("looked at the target system"));
    let told = operator
        .until(|event| event.event_type == EventType::ChangeApplied)
        .await;
    assert!(!told.iter().any(is_action));
}

/// A token of acme's viewers, made for the occasion: its id and its value.
async fn new_viewer(server: &TestServer, name: &str, expires_at: Option<&str>) -> (i64, String) {
    let organisation = organisation_path(server).await.replace("/event", "/token");
    let mut body = json!({"name": name, "role": "viewer"});
    if let Some(expires_at) = expires_at {
        body["expiresAt"] = json!(expires_at);
    }
    let made = server
        .person(&tokens().admin)
        .post(&organisation, &body)
        .await
        .expect(201)
        .json();
    (
        made["token"]["tokenId"].as_i64().expect("an id"),
        made["value"].as_str().expect("a value").to_owned(),
    )
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_with_its_server() {
    let server = TestServer::start().await;
    let organisation = organisation_path(&server).await;
    let (id, value) = new_viewer(&server, "to-be-revoked", None).await;
    let mut revoked = EventStream::open(&server.address, listen(&organisation, &value)).await;
    let soon = chrono::Utc::now() + chrono::TimeDelta::seconds(4);
    let (_, value) = new_viewer(&server, "to-be-expired", Some(&soon.to_rfc3339())).await;
    let mut expired = EventStream::open(&server.address, listen(&organisation, &value)).await;
    let mut lasting = listen_to_all(&server, None).await;
    server
        .person(&tokens().admin)
        .post(
            &format!("/api/v1/admin/token/{id}/revocation"),
            &json!({"reason": "left"}),
        )
        .await
        .expect(200);
    assert!(revoked.end().await.contains("the credential has ended"));
    assert!(expired.end().await.contains("the credential has ended"));
    assert!(server.stop().await, "it stops in order, with a listener there");
    assert!(lasting.end().await.contains("the server stops"));
}

#[tokio::test]
async fn an_id_that_was_never_given_out_is_refused_and_one_that_is_not_kept_is_gone() {
    let server = TestServer::start().await;
    let organisation = organisation_path(&server).await;
    let runner = server.runner("billing").await;
    let mut stream = listen_to_all(&server, None).await;
    runner.bring_up_to_date(&pipeline()).await;
    let events = stream.until(is_release).await;
    let operator = server.operator();
    let long = "9".repeat(4_000);
    for id in [
        "0",
        "latest",
        "-1-000000",
        "1-00-1",
        "%00",
        "1-000000-1-1-1-1",
        "'",
        long.as_str(),
    ] {
        operator
            .get(&format!("{organisation}?after={id}"))
            .await
            .expect_problem(400, "R_GEN_02");
    }
    let call = listen(&organisation, &tokens().operator).header("Last-Event-ID", "é");
    call.send(&server.address).await.expect_problem(400, "R_GEN_02");

    // From a later state of the database than this, or from another that had the same number.
    let of_another = events[0]
        .id
        .split('-')
        .enumerate()
        .map(|(at, part)| match (at, part) {
            (1, "000000") => "000001",
            (1, _) => "000000",
            (_, part) => part,
        });
    let of_another = of_another.collect::<Vec<_>>().join("-");
    for id in ["999999-000000", of_another.as_str()] {
        operator
            .get(&format!("{organisation}?after={id}"))
            .await
            .expect_problem(410, "R_EVENT_01");
    }
    // An id of ours that says more than its row has reads nothing else.
    let first = events[0].id.split('-').take(2).collect::<Vec<_>>().join("-");
    let beyond = format!("{first}-999999-999999-0");
    let mut stream = listen_to_all(&server, Some(&beyond)).await;
    runner.acquired(60_000).await;
    let next = stream.take(1).await;
    assert_ne!(next[0].id, events[0].id);

    server
        .database
        .execute("DELETE FROM event_log WHERE id < (SELECT max(id) FROM event_log)")
        .await;
    operator
        .get(&format!("{organisation}?after={}", events[0].id))
        .await
        .expect_problem(410, "R_EVENT_01");
}

#[tokio::test]
async fn over_the_limit_a_listener_is_told_to_come_back() {
    // Half of the places, rounded up, for one organisation.
    let server = TestServer::with(&[("FLAMINGOCK_HTTP_MAX_LISTENERS", "3")]).await;
    let organisation = organisation_path(&server).await;
    let first = listen_to_all(&server, None).await;
    let _second = listen_to_all(&server, None).await;
    let answer = server.operator().get(&organisation).await;
    answer.expect_problem(503, "R_GEN_08");
    assert!(answer.header("retry-after").is_some());
    assert!(
        answer.text().contains("for this organisation"),
        "{}",
        answer.text()
    );
    let open = server.metric("flamingock_event_listeners").await;
    assert!((open - 2.0).abs() < f64::EPSILON, "{open}");
    let other = server.other_tenants_runner("routing").await;
    let call = || listen(&service_path(&other), &other.jwt);
    let _third = EventStream::open(&server.address, call()).await;
    let full = EventStream::try_open(&server.address, call()).await.err();
    let full = full.expect("the places are taken").text();
    assert!(full.contains("FLAMINGOCK_HTTP_MAX_LISTENERS"), "{full}");
    drop(first);
    eventually("a place comes free", async || {
        let call = listen(&organisation, &tokens().operator);
        EventStream::try_open(&server.address, call).await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_thousand_idle_listeners_hold_no_connection_of_the_database_and_no_place() {
    let server = TestServer::with(&[
        ("FLAMINGOCK_DATABASE_MAX_CONNECTIONS", "4"),
        ("FLAMINGOCK_HTTP_MAX_IN_FLIGHT", "8"),
        ("FLAMINGOCK_HTTP_MAX_LISTENERS", "2000"),
    ])
    .await;
    let mut streams = Vec::new();
    for _ in 0..40 {
        streams.extend(join_all((0..25).map(|_| listen_to_all(&server, None))).await);
    }
    let runner = server.runner("billing").await;
    runner.bring_up_to_date(&pipeline()).await;
    let told = join_all(streams.iter_mut().map(|stream| stream.until(is_release))).await;
    for events in &told {
        assert_eq!(events, &told[0]);
    }
    // With four connections for all of them, a thousand listeners were told; and no place is taken.
    eventually("nothing is in work", async || {
        let in_flight = server.metric("flamingock_http_requests_in_flight").await;
        (in_flight < 0.5).then_some(())
    })
    .await;
    let open = server.metric("flamingock_event_listeners").await;
    assert!((open - 1_000.0).abs() < f64::EPSILON, "{open}");
}

#[tokio::test]
async fn a_quiet_stream_shows_that_it_lives_and_moves_on_past_what_it_is_not_told() {
    let server = TestServer::start().await;
    let ledger = server.runner("ledger").await;
    let call = listen(&service_path(&ledger), &tokens().viewer);
    let stream = EventStream::open(&server.address, call).await;
    let began = stream.last_id.clone().expect("where it begins");
    server.runner("billing").await.bring_up_to_date(&pipeline()).await;
    let stream = tokio::sync::Mutex::new(stream);
    let limit = std::time::Duration::from_secs(45);
    let block = eventually_within(limit, "a heartbeat past the other service's events", async || {
        let block = stream.lock().await.block().await.expect("it goes on");
        assert_eq!(block.data, None, "no event is told");
        assert!(!block.comments.is_empty());
        (block.id.as_deref() != Some(began.as_str())).then_some(block)
    })
    .await;
    // It can be come back to.
    let call = listen(&service_path(&ledger), &tokens().viewer);
    let call = call.header("Last-Event-ID", block.id.expect("a position"));
    let mut stream = EventStream::open(&server.address, call).await;
    ledger.bring_up_to_date(&pipeline()).await;
    let events = stream.until(is_release).await;
    assert_eq!(events[0].event_type, EventType::LockGranted);
}
