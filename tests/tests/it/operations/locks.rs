//! The list of locks, and their release by a person.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::PlanAction;
use flamingock_api_types::history::ExecutionEnd;
use flamingock_api_types::lock::{LockReleaseResponse, LockStanding};
use flamingock_tests::{Call, Person, TestServer, eventually, tokens};
use futures_util::future::join_all;
use serde_json::json;

use super::{
    SHORT_LEASE_MS, execution, execution_of, fence_of, force, gone_in_the_middle, lease_ends, lock, locks,
    pipeline,
};

#[tokio::test]
async fn a_lock_is_shown_held_expired_and_free_with_its_holders_signs_of_life() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    assert!(
        locks(&operator, &runner, "").await.locks.is_empty(),
        "nobody ever took it"
    );
    let plan = runner.granted(&pipeline().lease_ms(SHORT_LEASE_MS)).await;
    let held = lock(&operator, &runner).await;
    assert_eq!(held.standing, LockStanding::Held);
    assert_eq!(held.service_name, "billing");
    assert_eq!(held.owner.as_deref(), Some(runner.id.as_str()));
    assert_eq!(held.execution_id, plan.execution_id);
    assert_eq!(held.fence, fence_of(&plan));
    assert_eq!(held.lease_millis, Some(SHORT_LEASE_MS));
    let (since, end) = (held.held_since.expect("since"), held.expires_at.expect("an end"));
    assert!(held.takeable_at.expect("a time") > end);
    runner.extended().await;
    let beaten = lock(&operator, &runner).await;
    assert_eq!(beaten.held_since, Some(since), "an extension is no grant");
    assert!(beaten.last_beat_at > held.last_beat_at && beaten.expires_at > Some(end));
    lease_ends(&operator, &runner).await;
    assert_eq!(lock(&operator, &runner).await.standing, LockStanding::Expired);
    runner.release().await.expect(200);
    let free = lock(&operator, &runner).await;
    assert_eq!(
        (free.standing, free.owner, free.fence),
        (LockStanding::Free, None, held.fence)
    );
    assert_eq!(free.last_beat_at, None);
}

#[tokio::test]
async fn locks_are_listed_page_by_page_and_by_standing_within_the_reach_of_the_token() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let mut runners = Vec::new();
    for service in ["one", "two", "three", "four", "five"] {
        let runner = server.runner(service).await;
        runner.granted(&pipeline()).await;
        runners.push(runner);
    }
    runners[1].release().await.expect(200);
    let theirs = server.other_tenants_runner("routing").await;
    theirs.granted(&pipeline()).await;
    let of = &runners[0];

    let mut seen = Vec::new();
    let mut query = "limit=2".to_owned();
    loop {
        let page = locks(&operator, of, &query).await;
        assert!(page.locks.len() <= 2);
        seen.extend(page.locks.iter().map(|lock| lock.service_name.clone()));
        match page.next {
            Some(next) => query = format!("limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["one", "two", "three", "four", "five"]);
    assert_eq!(locks(&operator, of, "standing=held").await.locks.len(), 4);
    assert_eq!(
        locks(&operator, of, "standing=FREE").await.locks[0].service_name,
        "two"
    );
    let first = locks(&operator, of, "limit=2").await.next.expect("more");

    // A runner's session sees its own lock and no other.
    let path = format!("/api/v1/admin/environment/{}/lock", of.environment_id);
    let own = of.get(&path).await.expect(200).json();
    assert_eq!(own["locks"].as_array().map(Vec::len), Some(1));
    assert_eq!(own["locks"][0]["serviceName"], "one");
    // A token for one service likewise.
    let narrow = server.person(&tokens().narrow);
    assert_eq!(narrow.get(&path).await.expect(200).json()["locks"], json!([]));

    for odd in [
        "standing=maybe",
        "limit=0",
        "limit=501",
        "after=77",
        "service=1",
        "limit=two",
        "after=%00",
    ] {
        operator
            .get(&format!("{path}?{odd}"))
            .await
            .expect_problem(400, "R_GEN_02");
    }
    // A cursor is of its own list alone.
    operator
        .get(&format!("{path}?standing=FREE&after={first}"))
        .await
        .expect_problem(400, "R_GEN_02");
}

#[tokio::test]
async fn invariant_9_locks_of_a_foreign_environment_are_like_those_of_an_absent_one() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let theirs = server.other_tenants_runner("routing").await;
    let plan = theirs.granted(&pipeline()).await;
    let foreign = operator
        .get(&format!(
            "/api/v1/admin/environment/{}/lock",
            theirs.environment_id
        ))
        .await;
    let absent = operator.get("/api/v1/admin/environment/987654/lock").await;
    foreign.expect_problem(404, "R_TENANT_01");
    absent.expect_problem(404, "R_TENANT_01");
    let words = |answer: &flamingock_tests::Answer, id: i64| {
        let message = answer.json()["message"].as_str().expect("words").to_owned();
        message.replace(&id.to_string(), "N")
    };
    assert_eq!(words(&foreign, theirs.environment_id), words(&absent, 987_654));
    // And nobody releases what is not his.
    force(&operator, &theirs, fence_of(&plan), true)
        .await
        .expect_problem(404, "R_TENANT_02");
    theirs.extended().await;
}

#[tokio::test]
async fn a_lock_whose_holder_is_alive_is_released_only_if_a_person_insists() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let plan = runner.granted(&pipeline()).await;
    let fence = fence_of(&plan);
    let refused = force(&operator, &runner, fence, false).await;
    refused.expect_problem(409, "R_LOCK_04");
    assert!(refused.text().contains(&runner.id), "{}", refused.text());
    runner.extended().await;

    let freed: LockReleaseResponse = force(&operator, &runner, fence, true).await.expect(200).read();
    assert!(freed.was_live && freed.in_progress.is_empty());
    assert_eq!(freed.released.owner.as_deref(), Some(runner.id.as_str()));
    assert_eq!(lock(&operator, &runner).await.standing, LockStanding::Free);
    let ended = execution(&operator, &runner, execution_of(&plan)).await.record;
    assert_eq!(ended.ended_by, Some(ExecutionEnd::Forced));
    // Once more, because the answer was lost: the same answer, and nothing more is done. Another reason, and another person,
    // are another call.
    let again: LockReleaseResponse = force(&operator, &runner, fence, true).await.expect(200).read();
    assert_eq!(again, freed);
    let path = format!("{}/lock/release", Person::scope(&runner));
    let body = json!({"expectedFence": fence, "insist": true, "reason": "another"});
    operator.post(&path, &body).await.expect_problem(404, "R_LOCK_03");
    force(&server.admin(), &runner, fence, true)
        .await
        .expect_problem(404, "R_LOCK_03");
    // It is in the log of actions, with its reason.
    let recorded = server
        .database
        .number(
            "SELECT count(*) FROM admin_actions WHERE action = 'lock_force_release' AND reason = 'its machine is gone'
                AND actor LIKE '%operator%' AND before LIKE '%\"wasLive\":true%'",
        )
        .await;
    assert_eq!(recorded, 1, "what was refused is no action");
}

#[tokio::test]
async fn invariant_2_a_stalled_holder_whose_lock_was_released_by_force_starts_nothing_more() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let stalled = server.runner("billing").await;
    let plan = stalled.granted(&pipeline()).await;
    let execution = execution_of(&plan);
    stalled.told(execution, "a", AuditState::Started).await;
    let freed: LockReleaseResponse = force(&operator, &stalled, fence_of(&plan), true)
        .await
        .expect(200)
        .read();
    let left: Vec<_> = freed
        .in_progress
        .iter()
        .map(|it| (it.change_id.as_str(), it.needs_person))
        .collect();
    assert_eq!(left, [("a", true)]);
    assert!(freed.message.contains("waits for a person"), "{}", freed.message);

    // It wakes up: neither a start nor a heartbeat is taken, before and after the next grant.
    for _ in 0..2 {
        stalled
            .report(execution, "b", AuditState::Started)
            .await
            .expect_problem(409, "R_AUDIT_01");
        stalled.extend().await.expect_problem(409, "R_LOCK_01");
        stalled.release().await.expect_problem(409, "R_LOCK_02");
        let next = server.runner("billing").await;
        let granted = next.granted(&pipeline()).await;
        assert!(fence_of(&granted) > fence_of(&plan));
        next.release().await.expect(200);
    }
    // What it had begun is a person's now, and its word about it is still a fact.
    assert_eq!(operator.issues(&stalled).await[0].change_id, "a");
    stalled.told(execution, "a", AuditState::Applied).await;
    assert!(operator.issues(&stalled).await.is_empty());
    assert!(operator.verification(&stalled).await.intact);
}

#[tokio::test]
async fn a_silent_holder_is_removed_without_insisting_and_the_next_goes_on_at_once() {
    // A grace that no test outwaits: only the release lets the next one in.
    let server = TestServer::with(&[("FLAMINGOCK_LOCK_TAKEOVER_GRACE", "10m")]).await;
    let operator = server.operator();
    let gone = server.runner("billing").await;
    let plan = gone_in_the_middle(&operator, &gone).await;
    let next = server.runner("billing").await;
    assert_eq!(next.plan(&pipeline()).await.action, PlanAction::Await);
    let freed: LockReleaseResponse = force(&operator, &gone, fence_of(&plan), false)
        .await
        .expect(200)
        .read();
    assert!(!freed.was_live);
    assert_eq!(freed.in_progress[0].change_id, "a");
    let again: LockReleaseResponse = force(&operator, &gone, fence_of(&plan), false)
        .await
        .expect(200)
        .read();
    assert_eq!(again, freed);
    next.granted(&pipeline()).await;
}

#[tokio::test]
async fn a_release_by_force_wakes_who_is_parked_at_any_replica() {
    let server = TestServer::start().await;
    let other = server.replica().await;
    let operator = server.operator();
    let holder = server.runner("billing").await;
    let plan = holder.granted(&pipeline()).await;
    let here = server.runner("billing").await;
    let there = other.runner("billing").await;
    let parked = |runner: flamingock_tests::Runner| async move {
        let call = Call::post(format!("{}?elapsedMillis=0", runner.plan_path()))
            .header("Prefer", "wait=25")
            .json(&pipeline().body());
        let answer = runner
            .with_headers(call)
            .send(&runner.address)
            .await
            .expect(201)
            .json();
        if answer["action"] == "EXECUTE" {
            runner.release().await.expect(200);
        }
        answer["action"].as_str().map(str::to_owned)
    };
    let waiting = join_all([parked(here), parked(there)]);
    let release = async {
        eventually("both are parked", async || {
            let metric = |text: String| {
                text.lines()
                    .any(|line| line.starts_with("flamingock_plan_waiters 1"))
            };
            let (one, two) = (
                Call::get("/metrics").send(&server.address).await.text(),
                Call::get("/metrics").send(&other.address).await.text(),
            );
            (metric(one) && metric(two)).then_some(())
        })
        .await;
        force(&operator, &holder, fence_of(&plan), true).await.expect(200);
    };
    let (answers, ()) = tokio::join!(waiting, release);
    assert_eq!(answers, [Some("EXECUTE".to_owned()), Some("EXECUTE".to_owned())]);
}

#[tokio::test]
async fn a_release_is_of_the_grant_that_was_seen_and_of_no_later_one() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let first = server.runner("billing").await;
    let before = first.granted(&pipeline()).await;
    first.release().await.expect(200);
    let second = server.runner("billing").await;
    let after = second.granted(&pipeline()).await;
    let refused = force(&operator, &second, fence_of(&before), true).await;
    refused.expect_problem(409, "R_LOCK_05");
    assert!(
        refused.text().contains(&fence_of(&after).to_string()),
        "{}",
        refused.text()
    );
    second.extended().await;
    // Of many who release at once, one does, and the others hear that it is done.
    let answers = join_all((0..10).map(|_| force(&operator, &second, fence_of(&after), true))).await;
    for answer in &answers {
        assert_eq!(answer.expect(200).text(), answers[0].text());
    }
    let releases = "SELECT count(*) FROM admin_actions WHERE action = 'lock_force_release'";
    assert_eq!(server.database.number(releases).await, 1);
    // The next grant is another one.
    let third = server.runner("billing").await;
    third.granted(&pipeline()).await;
    force(&operator, &second, fence_of(&after), true)
        .await
        .expect_problem(409, "R_LOCK_05");
    third.extended().await;
}

#[tokio::test]
async fn what_is_odd_is_refused_and_only_people_with_the_role_release() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let plan = runner.granted(&pipeline()).await;
    let path = format!("{}/lock/release", Person::scope(&runner));
    let fence = fence_of(&plan);
    for body in [
        json!({}),
        json!({"expectedFence": fence}),
        json!({"expectedFence": fence, "reason": " "}),
        json!({"expectedFence": fence, "reason": "a\u{0}"}),
        json!({"expectedFence": fence, "reason": "x".repeat(2_001)}),
        json!({"expectedFence": "many", "reason": "because"}),
        json!({"reason": "because"}),
    ] {
        operator.post(&path, &body).await.expect_problem(400, "R_GEN_02");
    }
    let body = json!({"expectedFence": fence, "reason": "because", "insist": true});
    let allowed = tokens();
    for refused in [&allowed.viewer, &allowed.runner, &runner.jwt] {
        server
            .person(refused)
            .post(&path, &body)
            .await
            .expect_problem(403, "R_AUTH_04");
    }
    for odd in [i64::MIN, -1, 0, i64::MAX] {
        force(&operator, &runner, odd, true)
            .await
            .expect_problem(409, "R_LOCK_05");
    }
    // A service that was never started has no lock.
    let idle = server.runner("idle").await;
    force(&operator, &idle, 0, true)
        .await
        .expect_problem(404, "R_LOCK_03");
    runner.extended().await;
}
