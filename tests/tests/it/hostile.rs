//! Input that is broken, absurd or malicious: a clear refusal, never a 500, never a half-done write.

use std::time::Duration;

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::PlanAction;
use flamingock_tests::{Answer, Call, Person, Pipeline, Runner, TestServer, read_answer, tokens};
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

async fn post(runner: &Runner, path: &str, body: impl Into<Vec<u8>>) -> Answer {
    let call = Call::post(path)
        .header("Content-Type", "application/json")
        .body(body);
    runner.with_headers(call).send(&runner.address).await
}

fn message(answer: &Answer) -> String {
    answer.json()["message"].as_str().unwrap_or_default().to_owned()
}

async fn nothing_was_written(server: &TestServer) {
    for table in ["executions", "audit_entries", "change_states", "locks"] {
        let rows = server
            .database
            .number(&format!("SELECT count(*) FROM {table}"))
            .await;
        assert_eq!(rows, 0, "{table}");
    }
}

#[tokio::test]
async fn a_plan_request_that_does_not_fit_is_refused_by_the_name_of_the_field() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let stage = |stage: Value| {
        json!({"clientSubmission": {"blocks": [{"type": "DEFAULT", "stages": [stage]}]}}).to_string()
    };
    let cases = [
        (String::new(), "empty"),
        ("{".to_owned(), "not JSON"),
        ("[]".to_owned(), "does not fit"),
        ("null".to_owned(), "does not fit"),
        ("{} trailing".to_owned(), ""),
        ("{}".to_owned(), "clientSubmission"),
        (json!({"clientSubmission": {}}).to_string(), "exactly one"),
        (
            json!({"clientSubmission": {"blocks": [], "stages": []}}).to_string(),
            "exactly one",
        ),
        (
            json!({"clientSubmission": {"blocks": [{"type": "NEW"}]}}).to_string(),
            "clientSubmission.blocks[0].type",
        ),
        (
            json!({"clientSubmission": {"digest": "sha256-v1:nonsense"}}).to_string(),
            "clientSubmission.digest",
        ),
        (
            stage(json!({"name": "", "changes": []})),
            "clientSubmission.blocks[0].stages[0].name",
        ),
        (
            stage(json!({"name": "s", "status": "SLEEPING"})),
            "clientSubmission.blocks[0].stages[0].status",
        ),
        (
            stage(json!({"name": "s", "changes": [{"id": 7}]})),
            "stages[0].changes[0].id",
        ),
        (
            stage(json!({"name": "s", "changes": [{"id": "a\u{0}b"}]})),
            "stages[0].changes[0].id",
        ),
        (
            stage(json!({"name": "s", "changes": [{"id": "a\nb"}]})),
            "stages[0].changes[0].id",
        ),
        (
            stage(json!({"name": "s", "changes": [{"id": "x".repeat(100_000)}]})),
            "stages[0].changes[0].id",
        ),
        (
            stage(json!({"name": "s", "changes": [{"id": "a", "ongoingStatus": "MAYBE"}]})),
            "ongoingStatus",
        ),
        (format!("{}{}", "[".repeat(5_000), "]".repeat(5_000)), ""),
    ];
    for (body, expected) in cases {
        let answer = post(&runner, &runner.plan_path(), body.clone()).await;
        answer.expect_problem(400, "R_GEN_02");
        let message = message(&answer);
        assert!(message.contains(expected), "{body:.100}: {message}");
        assert!(message.len() < 2_000, "an answer must not repeat a huge request");
    }
    nothing_was_written(&server).await;
}

#[tokio::test]
async fn queries_paths_and_methods_that_do_not_fit_are_refused() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let body = Pipeline::of("schema", &["a"]).body();
    for query in [
        "elapsedMillis=soon",
        "elapsedMillis=99999999999999999999",
        "lastAcquisitionId=x&elapsedMillis=-1",
        "lastAcquisitionId=%00&elapsedMillis=1",
    ] {
        runner.ask(query, &body).await.expect_problem(400, "R_GEN_02");
    }
    for (path, status, code) in [
        ("/api/v1/environment/x/service/1/execution", 400, "R_GEN_02"),
        (
            "/api/v1/environment/1/service/99999999999999999999/execution",
            400,
            "R_GEN_02",
        ),
        ("/api/v1/environment/1/service/1/executions", 404, "R_GEN_03"),
        ("/%00", 404, "R_GEN_03"),
        ("/api/v1/../../etc/passwd", 404, "R_GEN_03"),
    ] {
        runner.get(path).await.expect_problem(status, code);
    }
    let call = runner.with_headers(Call::new("PUT", runner.plan_path()));
    call.send(&server.address).await.expect_problem(405, "R_GEN_04");
    for limit in ["0", "-1", "501", "many"] {
        runner
            .get(&format!("{}?limit={limit}", runner.plan_path()))
            .await
            .expect_problem(400, "R_GEN_02");
    }
    for after in ["-9223372036854775808", "9223372036854775807"] {
        let path = format!(
            "/api/v1/admin{}/audit?after={after}",
            &runner.scope()["/api/v1".len()..]
        );
        server.operator().get(&path).await.expect(200);
    }
    nothing_was_written(&server).await;
}

#[tokio::test]
async fn a_report_without_a_readable_state_or_for_an_impossible_change_is_refused() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let execution = runner
        .granted(&Pipeline::of("schema", &["a"]))
        .await
        .execution_id
        .expect("granted");
    let path = runner.report_path(execution, "a");
    for body in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"state": null}"#,
        r#"{"state": 7}"#,
        r#"{"state": " "}"#,
    ] {
        post(&runner, &path, body).await.expect_problem(400, "R_GEN_02");
    }
    for (id, status) in [("%00", 400), ("a%0Ab", 400), (&*"x".repeat(3_000), 400)] {
        let path = format!("{}/{execution}/change/{id}/audit", runner.plan_path());
        let answer = post(&runner, &path, r#"{"state": "APPLIED"}"#).await;
        assert_eq!(answer.status, status, "{}", answer.describe());
    }
    let deep = format!(
        r#"{{"state": "APPLIED", "metadata": {}1{}}}"#,
        "[".repeat(3_000),
        "]".repeat(3_000)
    );
    post(&runner, &path, deep).await.expect_problem(400, "R_GEN_02");
    assert_eq!(server.operator().audit(&runner).await, []);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_kept() {
    let server = TestServer::with(&[("FLAMINGOCK_HTTP_MAX_BODY", "64KiB")]).await;
    let runner = server.runner("billing").await;
    let huge = vec![b' '; 80 * 1024];
    post(&runner, &runner.plan_path(), huge)
        .await
        .expect_problem(413, "R_GEN_05");
    nothing_was_written(&server).await;
}

#[tokio::test]
async fn tokens_that_were_made_up_altered_or_signed_by_nobody_are_refused() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let parts: Vec<&str> = runner.jwt.split('.').collect();
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"; // {"alg":"none","typ":"JWT"}
    let hmac = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"; // {"alg":"HS256","typ":"JWT"}
    let mut altered = parts[1].to_owned();
    altered.replace_range(10..11, if &altered[10..11] == "A" { "B" } else { "A" });
    for jwt in [
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{hmac}.{}.{}", parts[1], parts[2]),
        format!("{}.{altered}.{}", parts[0], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        "x".repeat(100_000 / 20),
        "...".to_owned(),
    ] {
        let call = Call::get(runner.plan_path())
            .bearer(&jwt)
            .header("flamingock-runner-id", "r@h#1");
        call.send(&server.address).await.expect_problem(401, "R_AUTH_05");
    }
    for header in ["", "Bearer", "Bearer ", "Basic dXNlcjpwdw=="] {
        let call = Call::get(runner.plan_path()).header("Authorization", header);
        call.send(&server.address).await.expect_problem(401, "R_AUTH_05");
    }
    // An API token is no session, and a viewer is no runner.
    let call = Call::post(runner.plan_path()).header("flamingock-runner-id", "r@h#1");
    call.clone()
        .bearer(&tokens().runner)
        .send(&server.address)
        .await
        .expect_problem(401, "R_AUTH_05");
    let viewer = Runner::open(&server.address, &tokens().viewer, "production", "billing").await;
    call.bearer(&viewer.jwt)
        .send(&server.address)
        .await
        .expect_problem(403, "R_AUTH_04");
}

#[tokio::test]
async fn leases_and_proofs_beyond_reason_do_no_harm() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    for asked in [i64::MIN, -1, 0, 1, i64::MAX] {
        let held = runner.acquired(asked).await;
        assert!(
            (1_000..=3_600_000).contains(&held.lock.acquired_for_millis),
            "{asked}: {held:?}"
        );
    }
    let other = runner.another();
    let seen = runner.acquired(60_000).await.lock.acquisition_id;
    other
        .acquire(60_000, Some((&seen, i64::MAX)))
        .await
        .expect_problem(409, "R_LOCK_01");
    other
        .acquire(60_000, Some((&seen, -5)))
        .await
        .expect_problem(400, "R_GEN_02");
    for body in [
        "",
        "{}",
        r#"{"acquiredForMillis": "long"}"#,
        r#"{"acquiredForMillis": 1e99}"#,
    ] {
        post(&other, &format!("/api/v1/{}/lock/acquisition", other.key()), body)
            .await
            .expect_problem(400, "R_GEN_02");
    }
}

#[tokio::test]
async fn a_runner_id_is_needed_and_may_be_strange_but_not_endless() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let ask = async |id: &str| {
        Call::get(format!("/api/v1/{}/lock", runner.key()))
            .bearer(&runner.jwt)
            .header("flamingock-runner-id", id)
            .send(&server.address)
            .await
    };
    for id in ["", " ", &*"x".repeat(2_000)] {
        ask(id).await.expect_problem(400, "R_GEN_01");
    }
    for id in ["a b#c@d/é", "'; DROP TABLE locks; --"] {
        ask(id).await.expect_problem(404, "R_LOCK_03");
    }
}

#[tokio::test]
async fn bytes_that_are_not_http_do_not_disturb_anybody() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    for bytes in [
        b"\x16\x03\x01\x02\x00garbage".as_slice(),
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/v1/auth/exchange-token HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
        &[0_u8; 4096],
    ] {
        let mut stream = TcpStream::connect(&server.address).await.expect("it listens");
        let _ = stream.write_all(bytes).await;
        // Some are answered 400, some are just closed.
        if let Ok(Ok(answer)) =
            tokio::time::timeout(Duration::from_secs(5), read_answer(&mut BufReader::new(stream))).await
        {
            assert!((400..500).contains(&answer.status), "{}", answer.describe());
        }
    }
    // A sender that promises a body and goes away.
    for _ in 0..20 {
        let mut stream = TcpStream::connect(&server.address).await.expect("it listens");
        let head = runner
            .with_headers(Call::post(runner.plan_path()).header("Content-Type", "application/json"))
            .body("{\"clientSubmission\":")
            .bytes(&server.address);
        let _ = stream.write_all(&head[..head.len() - 5]).await;
    }
    runner.granted(&Pipeline::of("schema", &["a"])).await;
}

#[tokio::test]
async fn more_requests_than_the_server_may_work_on_queue_and_are_then_turned_away_with_a_hint() {
    let server = TestServer::with(&[("FLAMINGOCK_HTTP_MAX_IN_FLIGHT", "1")]).await;
    let runner = server.runner("billing").await;
    // One that never finishes holds the only place.
    let mut stream = TcpStream::connect(&server.address).await.expect("it listens");
    let head = runner
        .with_headers(Call::post(runner.plan_path()).header("Content-Type", "application/json"))
        .body("{\"clientSubmission\":{\"blocks\":[]}}")
        .bytes(&server.address);
    stream
        .write_all(&head[..head.len() - 3])
        .await
        .expect("it is sent");
    flamingock_tests::eventually("the place is taken", async || {
        (server.metric("flamingock_http_requests_in_flight ").await >= 1.0).then_some(())
    })
    .await;
    let answer = runner.lock().await;
    answer.expect_problem(503, "R_GEN_08");
    assert!(answer.header("retry-after").is_some());
    // Whoever watches over the server can still ask.
    Call::get("/health/ready").send(&server.address).await.expect(200);
    assert!(server.metric("flamingock_http_requests_shed_total ").await >= 1.0);
    drop(stream);
    flamingock_tests::eventually("the place is free again", async || {
        (runner.lock().await.status == 404).then_some(())
    })
    .await;
}

/// Every state in every order, by a runner with and without the lock: no answer is ever a failure of the server.
#[tokio::test]
async fn no_order_of_reports_makes_the_server_fail() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let execution = runner
        .granted(&Pipeline::of("schema", &["a"]))
        .await
        .execution_id
        .expect("granted");
    let states = [
        AuditState::RollbackFailed,
        AuditState::Started,
        AuditState::RolledBack,
        AuditState::Failed,
        AuditState::Applied,
        AuditState::Started,
    ];
    for round in 0..2 {
        for (at, state) in states.iter().enumerate() {
            let change = format!("c{round}{}", at % 2);
            let caller = if round == 0 {
                runner.clone()
            } else {
                runner.another()
            };
            let answer = caller.report(execution, &change, *state).await;
            assert!(matches!(answer.status, 200 | 201 | 409), "{}", answer.describe());
        }
    }
    assert!(server.operator().verification(&runner).await.intact);
}

#[tokio::test]
async fn bodies_that_never_arrive_keep_nobody_else_out() {
    let server = TestServer::with(&[("FLAMINGOCK_HTTP_MAX_IN_FLIGHT", "8")]).await;
    let mut dribblers = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(&server.address).await.expect("connected");
        let head = "POST /api/v1/auth/exchange-token HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.expect("sent");
        dribblers.push(stream);
    }
    // Every one of them would hold a place, if places were given to those who have shown no token.
    let runner = server.runner("billing").await;
    runner.plan(&Pipeline::of("schema", &["a"])).await;
    let answer = read_answer(&mut BufReader::new(dribblers.remove(0)))
        .await
        .expect("an answer");
    answer.expect_problem(408, "R_GEN_07");
}

#[tokio::test]
async fn chains_are_verified_two_at_a_time_and_runners_do_not_wait_for_them() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    runner.bring_up_to_date(&Pipeline::of("schema", &["a"])).await;
    let pool = server.database.pool().await;
    let mut sitter = pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE audit_entries IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *sitter)
        .await
        .expect("held");
    let operator = server.operator();
    let path = format!("{}/audit/verification", Person::scope(&runner));
    let call = async |pause| {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        operator.get(&path).await
    };
    let ((first, second), (third, continued)) =
        tokio::join!(async { tokio::join!(call(0), call(0)) }, async {
            let third = call(300).await;
            let continued = runner.plan(&Pipeline::of("schema", &["a"])).await.action;
            sitter.rollback().await.expect("let go");
            (third, continued)
        });
    first.expect(200);
    second.expect(200);
    third.expect_problem(503, "R_GEN_08");
    assert_eq!(continued, PlanAction::Continue);
}
