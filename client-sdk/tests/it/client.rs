//! The low-level client: what is repeated, what is sent, what is understood.

use std::time::Duration;

use flamingock::{
    Client, ClientConfig, PlanOptions,
    wire::{
        ErrorCode,
        audit::{AuditState, AuditWrite},
        execution::{PlanRequest, Submission},
        lock::LockAcquisitionRequest,
    },
};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{FakeServer, Kind, Reply};

fn client(server: &FakeServer) -> Client {
    let mut config = ClientConfig::new(&server.url, "fk_secret", "test", "orders");
    config.request_timeout = Duration::from_millis(300);
    config.retry_for = Duration::from_secs(10);
    Client::new(config).unwrap()
}

fn plan_request() -> PlanRequest {
    PlanRequest {
        lock_acquired_for_millis: Some(3000),
        client_submission: Submission {
            blocks: Some(Vec::new()),
            ..Submission::default()
        },
        runner: None,
        certificate: false,
    }
}

fn entry(change_id: &str) -> AuditWrite {
    serde_json::from_value(json!({"changeId": change_id, "state": "APPLIED"})).unwrap()
}

#[tokio::test]
async fn ids_arrive_as_they_are_whatever_is_in_them() {
    let server = FakeServer::start().await;
    let client = client(&server);
    for (id, encoded) in [
        ("a/b", "a%2Fb"),
        ("50 %", "50%20%25"),
        ("créer", "cr%C3%A9er"),
        ("変更", "%E5%A4%89%E6%9B%B4"),
        ("a+b?c#d", "a%2Bb%3Fc%23d"),
        ("../x", "..%2Fx"),
        ("plain-1.0_x~", "plain-1.0_x~"),
    ] {
        let answer = client.audit(77, &entry(id)).await.unwrap();
        assert!(!answer.late);
        let call = server.calls().pop().unwrap();
        assert_eq!(
            call.path,
            format!("/api/v1/environment/12/service/340/execution/77/change/{encoded}/audit")
        );
        assert_eq!(call.body["changeId"], id, "in UTF-8");
    }
}

#[tokio::test]
async fn what_is_safe_is_repeated_on_what_may_pass() {
    let server = FakeServer::start().await;
    let client = client(&server);
    let transient = || [408, 429, 502, 503, 504].map(|status| Reply::Text(status, "busy"));
    server.next(Kind::Token, transient());
    server.next(Kind::Plan, transient());
    server.next(Kind::Audit("APPLIED".into()), [Reply::Hang, Reply::Text(503, "")]);
    server.next(Kind::Extend, [Reply::Swallow]);
    client
        .plan(&plan_request(), &PlanOptions::default())
        .await
        .unwrap();
    client.audit(1, &entry("a")).await.unwrap();
    client.extend("340").await.unwrap();
    assert_eq!(server.calls_of(&Kind::Token).len(), 6);
    assert_eq!(server.calls_of(&Kind::Plan).len(), 6);
    assert_eq!(server.calls_of(&Kind::Audit("APPLIED".into())).len(), 3);
    assert_eq!(server.calls_of(&Kind::Extend).len(), 2);
    let mut ids: Vec<_> = server
        .calls()
        .iter()
        .map(|call| call.headers["x-request-id"].clone())
        .collect();
    ids.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    ids.dedup();
    assert_eq!(
        ids.len(),
        server.calls().len(),
        "each attempt has a name of its own"
    );
}

#[tokio::test]
async fn what_is_refused_is_not_repeated() {
    let server = FakeServer::start().await;
    let client = client(&server);
    client.session().await.unwrap();
    for status in [302, 400, 401, 403, 404, 409, 422, 500, 501] {
        server.next(Kind::Plan, [Reply::problem(status, "R_SOMETHING_NEW")]);
        let before = server.calls().len();
        let error = client
            .plan(&plan_request(), &PlanOptions::default())
            .await
            .unwrap_err();
        assert_eq!(server.calls().len(), before + 1, "{status}");
        assert_eq!((error.status(), error.attempts()), (Some(status), 1));
        assert_eq!(error.code(), Some(ErrorCode::Unknown));
        let text = error.to_string();
        assert!(
            text.contains("R_SOMETHING_NEW") && text.contains("because of"),
            "{text}"
        );
    }
    server.next(Kind::Plan, [Reply::Text(500, "<html>")]);
    let error = client
        .plan(&plan_request(), &PlanOptions::default())
        .await
        .unwrap_err();
    assert!(
        error.problem().is_none() && error.to_string().contains("500"),
        "{error}"
    );
}

#[tokio::test]
async fn retry_after_is_honoured_unless_it_is_too_long() {
    let server = FakeServer::start().await;
    let client = client(&server);
    server.next(Kind::Token, [Reply::RetryAfter(503, 1)]);
    let began = Instant::now();
    client.session().await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
    server.next(Kind::Plan, [Reply::RetryAfter(429, 60)]);
    let error = client
        .plan(&plan_request(), &PlanOptions::default())
        .await
        .unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(error.is_retryable());
}

#[tokio::test]
async fn an_expired_session_is_exchanged_once() {
    let server = FakeServer::start().await;
    let client = client(&server);
    client.session().await.unwrap();
    server.next(Kind::Plan, [Reply::problem(401, "R_AUTH_02")]);
    client
        .plan(&plan_request(), &PlanOptions::default())
        .await
        .unwrap();
    assert_eq!(server.calls_of(&Kind::Token).len(), 2);
    server.always(Kind::Plan, Reply::problem(401, "R_AUTH_02"));
    let error = client
        .plan(&plan_request(), &PlanOptions::default())
        .await
        .unwrap_err();
    assert!(error.is_unauthorized());
    assert_eq!(
        (
            server.calls_of(&Kind::Token).len(),
            server.calls_of(&Kind::Plan).len()
        ),
        (3, 4)
    );
}

#[tokio::test]
async fn the_token_is_sent_once_and_never_shown() {
    let server = FakeServer::start().await;
    let client = client(&server);
    client.session().await.unwrap();
    let call = &server.calls()[0];
    assert_eq!(
        call.body,
        json!({"apiToken": "fk_secret", "serviceName": "orders", "environmentName": "test"})
    );
    assert!(!call.headers.contains_key("flamingock-runner-id"));
    assert!(!format!("{client:?}").contains("fk_secret"));
}

#[tokio::test]
async fn the_other_calls_of_the_lock() {
    let server = FakeServer::start().await;
    let client = client(&server);
    assert_eq!(client.lock("340").await.unwrap(), None);
    let error = client
        .acquire("340", &LockAcquisitionRequest::default())
        .await
        .unwrap_err();
    assert_eq!((error.status(), error.attempts()), (Some(404), 1));
    // The first answer is lost, the second finds that it is done.
    server.next(Kind::Release, [Reply::Swallow, Reply::problem(409, "R_LOCK_02")]);
    client.release("340", Some(7)).await.unwrap();
    let queries: Vec<_> = server
        .calls_of(&Kind::Release)
        .into_iter()
        .map(|call| call.query)
        .collect();
    assert_eq!(queries, ["fence=7", "fence=7"]);
    server.next(Kind::Release, [Reply::problem(409, "R_LOCK_02")]);
    assert!(client.release("340", None).await.unwrap_err().is_lock_held());
    assert_eq!(server.calls_of(&Kind::Release)[2].query, "");
}

#[tokio::test]
async fn an_empty_answer_is_enough_where_nothing_is_asked() {
    let server = FakeServer::start().await;
    let client = client(&server);
    server.next(
        Kind::Audit("APPLIED".into()),
        [Reply::Json(204, serde_json::Value::Null)],
    );
    client.audit(1, &entry("a")).await.unwrap();
    server.next(Kind::Plan, [Reply::Json(200, serde_json::Value::Null)]);
    assert!(
        client
            .plan(&plan_request(), &PlanOptions::default())
            .await
            .unwrap_err()
            .is_unreadable()
    );
    server.next(Kind::Plan, [Reply::Text(200, "<html>not ours</html>")]);
    assert!(
        client
            .plan(&plan_request(), &PlanOptions::default())
            .await
            .unwrap_err()
            .is_unreadable()
    );
    assert_eq!(entry("a").state, AuditState::Applied);
}

#[tokio::test]
async fn a_release_does_not_take_longer_than_its_patience() {
    let server = FakeServer::start().await;
    let mut config = ClientConfig::new(&server.url, "fk_secret", "test", "orders");
    config.request_timeout = Duration::from_secs(30);
    let client = Client::new(config).unwrap();
    server.always(Kind::Release, Reply::Hang);
    let began = Instant::now();
    let error = client.release("340", Some(7)).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    assert!(error.is_unanswered() && error.attempts() > 1);
}

#[tokio::test]
async fn a_held_request_is_not_cut_off_by_the_time_for_repetitions() {
    let server = FakeServer::start().await;
    let mut config = ClientConfig::new(&server.url, "fk_secret", "test", "orders");
    config.retry_for = Duration::from_secs(1);
    let client = Client::new(config).unwrap();
    server.next(Kind::Plan, [Reply::Slow(Duration::from_millis(2300))]);
    let options = PlanOptions {
        wait: Duration::from_secs(2),
        ..PlanOptions::default()
    };
    client.plan(&plan_request(), &options).await.unwrap();
    assert_eq!(server.calls_of(&Kind::Plan).len(), 1);
}

#[test]
fn a_configuration_that_cannot_work_is_refused_and_keeps_its_secrets() {
    let config = |server| ClientConfig::new(server, "fk_secret", "test", "orders");
    for change in [
        (|config: &mut ClientConfig| config.retry_for = Duration::MAX) as fn(&mut ClientConfig),
        |config| config.request_timeout = Duration::MAX,
        |config| config.request_timeout = Duration::ZERO,
        |config| config.connect_timeout = Duration::MAX,
    ] {
        let mut odd = config("http://localhost:8080");
        change(&mut odd);
        assert!(Client::new(odd).unwrap_err().contains("is not"));
    }
    let secret = config("http://mara:geheim@localhost:8080");
    assert!(!format!("{secret:?}").contains("geheim"));
    let complaint = Client::new(secret).unwrap_err();
    assert!(
        complaint.contains("user name or password") && !complaint.contains("geheim"),
        "{complaint}"
    );
}
