//! W 2.4 to 2.8: the endpoints of the lock.

use flamingock_api_types::lock::{LockResponse, LockView};
use flamingock_tests::{Call, Pipeline, TestServer, eventually};
use serde_json::{Value, json};

#[tokio::test]
async fn w_2_4_an_extension_is_answered_in_the_contracts_form_whatever_its_body_is() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let granted = runner
        .granted(&Pipeline::of("schema", &["a"]).lease_ms(30_000))
        .await;
    let mut seen = vec![granted.lock.expect("a lock").acquisition_id];
    let path = format!("/api/v1/{}/lock/extension", runner.key());
    for body in [None, Some("{}"), Some(""), Some(r#"{"lockAcquiredForMills":5}"#)] {
        let mut call = Call::post(path.clone()).header("Content-Type", "application/json");
        if let Some(body) = body {
            call = call.body(body);
        }
        let answer = runner
            .with_headers(call)
            .send(&server.address)
            .await
            .expect(200)
            .json();
        assert_eq!(answer["status"], "EXTENDED");
        let lock = &answer["lock"];
        assert_eq!(
            (&lock["key"], &lock["owner"]),
            (&json!(runner.key()), &json!(runner.id))
        );
        assert_eq!(lock["acquiredForMillis"], json!(30_000), "the length stays");
        let id = lock["acquisitionId"].as_str().expect("a text").to_owned();
        assert!(!seen.contains(&id), "a new acquisition id each time");
        seen.push(id);
    }
    runner.another().extend().await.expect_problem(409, "R_LOCK_01");
}

/// The nine steps by which the lock document has a server tested.
#[tokio::test]
async fn w_2_4_w_2_5_w_2_6_w_2_7_the_nine_steps_of_the_lock_recipe() {
    let server = TestServer::with(&[("FLAMINGOCK_LOCK_TAKEOVER_GRACE", "1h")]).await;
    let (mine, other) = {
        let runner = server.runner("billing").await;
        (runner.clone(), runner.another())
    };
    // 1. Nothing there.
    mine.lock().await.expect_problem(404, "R_LOCK_03");
    // 2. Taken.
    let taken: LockResponse = mine.acquired(1_500).await;
    assert_eq!(json!(taken.status), "ACQUIRED");
    assert_eq!(taken.lock.owner, mine.id);
    // 3. Seen by somebody else.
    let seen: LockView = other.lock().await.expect(200).read();
    assert_eq!(seen, taken.lock);
    // 4. Not for somebody else.
    other.acquire(1_500, None).await.expect_problem(409, "R_LOCK_01");
    // 5. Extended, under a new id.
    let extended = mine.extended().await;
    assert_eq!(json!(extended.status), "EXTENDED");
    assert_ne!(extended.lock.acquisition_id, taken.lock.acquisition_id);
    assert_eq!(extended.lock.acquired_for_millis, 1_500);
    // 6. By nobody else.
    other.extend().await.expect_problem(409, "R_LOCK_01");
    // 7. Released, once, and gone.
    let released: LockView = mine.release().await.expect(200).read();
    assert_eq!(released, extended.lock, "the lock as it was");
    mine.release().await.expect_problem(409, "R_LOCK_02");
    mine.lock().await.expect_problem(404, "R_LOCK_03");
    // 8. Nobody without a name.
    for call in [
        Call::get(format!("/api/v1/{}/lock", mine.key())),
        Call::delete(format!("/api/v1/{}/lock", mine.key())),
        Call::post(format!("/api/v1/{}/lock/extension", mine.key())),
        Call::post(format!("/api/v1/{}/lock/acquisition", mine.key()))
            .json(&json!({"acquiredForMillis": 1_500})),
    ] {
        call.bearer(&mine.jwt)
            .send(&server.address)
            .await
            .expect_problem(400, "R_GEN_01");
    }
    // 9. Taken over by whoever proves that the lease ran out; and only then.
    let held = mine.acquired(1_500).await.lock;
    other
        .acquire(1_500, Some(("another-id", 1_501)))
        .await
        .expect_problem(409, "R_LOCK_01");
    let over = eventually("the lock is taken over", async || {
        let answer = other.acquire(1_500, Some((&held.acquisition_id, 1_501))).await;
        (answer.status == 201).then(|| answer.read::<LockResponse>())
    })
    .await;
    assert_eq!(over.lock.owner, other.id);
    mine.extend().await.expect_problem(409, "R_LOCK_01");
}

#[tokio::test]
async fn w_2_7_a_lease_is_required_and_whoever_owns_the_lock_may_replace_it() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let path = format!("/api/v1/{}/lock/acquisition", runner.key());
    let call = runner.with_headers(Call::post(path).json(&json!({})));
    call.send(&server.address).await.expect_problem(400, "R_GEN_02");
    let first = runner.acquired(10_000).await.lock;
    let second = runner.acquired(20_000).await.lock;
    assert_eq!(second.acquired_for_millis, 20_000);
    assert_ne!(second.acquisition_id, first.acquisition_id);
}

#[tokio::test]
async fn w_2_8_a_lock_has_the_contracts_fields_and_the_service_id_as_its_key() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    runner.acquired(60_000).await;
    let lock: Value = runner.lock().await.expect(200).json();
    assert_eq!(lock["key"], json!(runner.service_id.to_string()));
    assert_eq!(lock["owner"], json!(runner.id));
    let id = lock["acquisitionId"].as_str().expect("a text");
    assert!(id.starts_with(&format!("{}-", runner.id)), "{id}");
    assert_eq!(
        lock["acquiredForMillis"],
        json!(60_000),
        "the length, not what is left"
    );
}
