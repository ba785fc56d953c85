//! One holder at a time, judged by the database's clock and nobody else's.

use std::time::Duration;

use chrono::{DateTime, Utc};
use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::{ChangeAction, PlanAction, PlanResponse};
use flamingock_api_types::lock::{LockResponse, LockView};
use flamingock_tests::{Pipeline, Runner, TestServer, eventually};
use futures_util::future::join_all;

const GRACE: (&str, &str) = ("FLAMINGOCK_LOCK_TAKEOVER_GRACE", "1200ms");
const SHORT_MS: i64 = 1_000;

fn pipeline() -> Pipeline {
    Pipeline::of("schema", &["a"]).lease_ms(SHORT_MS)
}

async fn database_time(server: &TestServer) -> DateTime<Utc> {
    let micros = server
        .database
        .number("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        .await;
    DateTime::from_timestamp_micros(micros).expect("a time of our days")
}

fn end_of(lock: &LockView) -> DateTime<Utc> {
    lock.expires_at.expect("a lock says when its lease ends")
}

/// Asks until it is granted; tells when, on the database's clock, at the earliest.
async fn when_granted(
    server: &TestServer,
    ask: impl AsyncFn() -> PlanResponse,
) -> (DateTime<Utc>, PlanResponse) {
    let ask = &ask;
    eventually("the lock is granted", || async move {
        let plan = ask().await;
        match plan.action {
            PlanAction::Execute => Some((database_time(server).await, plan)),
            PlanAction::Await => None,
            other => panic!("{other:?}"),
        }
    })
    .await
}

#[tokio::test]
async fn invariant_1_without_proof_a_lock_is_taken_over_only_after_its_lease_and_the_grace() {
    let server = TestServer::with(&[GRACE]).await;
    let holder = server.runner("billing").await;
    let lock = holder
        .granted(&pipeline())
        .await
        .lock
        .expect("a grant has a lock");
    let other = holder.another();
    let (granted, plan) = when_granted(&server, async || other.plan(&pipeline()).await).await;
    assert!(
        granted >= end_of(&lock) + Duration::from_millis(1_200),
        "{granted} {lock:?}"
    );
    assert!(plan.lock.and_then(|lock| lock.fence) > lock.fence);
}

#[tokio::test]
async fn invariant_1_a_proof_waives_the_grace_and_never_the_clock() {
    let server = TestServer::with(&[("FLAMINGOCK_LOCK_TAKEOVER_GRACE", "1h")]).await;
    let holder = server.runner("billing").await;
    let lock = holder
        .granted(&pipeline())
        .await
        .lock
        .expect("a grant has a lock");
    let other = holder.another();
    // However long the caller claims to have watched.
    let ask = async || {
        other
            .plan_after_watching(&pipeline(), &lock.acquisition_id, i64::MAX)
            .await
    };
    let (granted, _) = when_granted(&server, ask).await;
    assert!(granted >= end_of(&lock), "{granted} {lock:?}");
}

#[tokio::test]
async fn invariant_1_an_elapsed_time_equal_to_the_lease_proves_nothing_and_one_more_does() {
    let server = TestServer::with(&[("FLAMINGOCK_LOCK_TAKEOVER_GRACE", "1h")]).await;
    let holder = server.runner("billing").await;
    let lock = holder
        .granted(&pipeline())
        .await
        .lock
        .expect("a grant has a lock");
    eventually("the lease has ended", async || {
        (database_time(&server).await > end_of(&lock)).then_some(())
    })
    .await;
    let other = holder.another();
    for (id, elapsed) in [
        (lock.acquisition_id.as_str(), SHORT_MS),
        ("some-other-id", SHORT_MS * 10),
    ] {
        let plan = other.plan_after_watching(&pipeline(), id, elapsed).await;
        assert_eq!(plan.action, PlanAction::Await, "{id} {elapsed}");
        other
            .acquire(SHORT_MS, Some((id, elapsed)))
            .await
            .expect_problem(409, "R_LOCK_01");
    }
    let plan = other
        .plan_after_watching(&pipeline(), &lock.acquisition_id, SHORT_MS + 1)
        .await;
    assert_eq!(plan.action, PlanAction::Execute);
}

#[tokio::test]
async fn invariant_1_an_extension_voids_what_was_watched_before() {
    let server = TestServer::with(&[("FLAMINGOCK_LOCK_TAKEOVER_GRACE", "1h")]).await;
    let holder = server.runner("billing").await;
    let first = holder
        .granted(&pipeline())
        .await
        .lock
        .expect("a grant has a lock");
    let mut seen = vec![first.acquisition_id.clone()];
    for _ in 0..3 {
        let extended = holder.extended().await.lock;
        assert!(
            !seen.contains(&extended.acquisition_id),
            "a new acquisition id each time"
        );
        assert_eq!(extended.fence, first.fence, "the fence stays");
        assert_eq!(extended.acquired_for_millis, SHORT_MS);
        assert_eq!(extended.owner, holder.id);
        seen.push(extended.acquisition_id);
    }
    // Run out, and extended all the same: nobody else had taken it.
    let last = holder.extended().await.lock;
    eventually("the lease has ended", async || {
        (database_time(&server).await > end_of(&last)).then_some(())
    })
    .await;
    let late = holder.extended().await.lock;
    let other = holder.another();
    let plan = other
        .plan_after_watching(&pipeline(), &last.acquisition_id, SHORT_MS * 10)
        .await;
    assert_eq!(plan.action, PlanAction::Await);
    let shown = plan.lock.expect("AWAIT shows the holder's lock");
    assert_eq!(
        (shown.owner, shown.acquisition_id),
        (holder.id.clone(), late.acquisition_id)
    );
}

#[tokio::test]
async fn invariant_1_fences_grow_with_every_grant_however_it_comes_about() {
    let server = TestServer::with(&[("FLAMINGOCK_LOCK_TAKEOVER_GRACE", "0s")]).await;
    let runner = server.runner("billing").await;
    let mut fences = Vec::new();
    let mut note =
        |lock: Option<LockView>| fences.push(lock.and_then(|lock| lock.fence).expect("a grant has a fence"));
    note(runner.granted(&pipeline()).await.lock);
    note(runner.granted(&pipeline()).await.lock); // renewed: the release was lost
    note(Some(runner.acquired(SHORT_MS).await.lock)); // renewed by the other call
    runner.release().await.expect(200);
    note(Some(runner.acquired(SHORT_MS).await.lock)); // taken again after a release
    let other = runner.another();
    let (_, taken) = when_granted(&server, async || other.plan(&pipeline()).await).await; // taken over
    note(taken.lock);
    other.release().await.expect(200);
    note(runner.granted(&pipeline()).await.lock); // by the one who had it before
    assert!(fences.is_sorted_by(|a, b| a < b), "{fences:?}");
}

#[tokio::test]
async fn invariant_1_of_many_that_ask_for_a_free_lock_at_once_exactly_one_gets_it() {
    let server = TestServer::start().await;
    let first = server.runner("billing").await;
    let long = &pipeline().lease_ms(60_000);
    for round in 0..5 {
        let runners: Vec<Runner> = (0..20).map(|_| first.another()).collect();
        let answers = join_all(runners.iter().enumerate().map(|(number, runner)| async move {
            // By the plan call and by the lock call, mixed.
            if number % 2 == 0 {
                runner.plan(long).await.action == PlanAction::Execute
            } else {
                let answer = runner.acquire(60_000, None).await;
                assert!([201, 409].contains(&answer.status), "{}", answer.describe());
                answer.status == 201
            }
        }))
        .await;
        let holders: Vec<_> = runners
            .iter()
            .zip(answers)
            .filter(|(_, granted)| *granted)
            .collect();
        assert_eq!(holders.len(), 1, "round {round}");
        let (holder, _) = holders[0];
        let shown: LockView = first.lock().await.expect(200).read();
        assert_eq!(shown.owner, holder.id);
        holder.release().await.expect(200);
    }
}

#[tokio::test]
async fn invariant_1_of_many_that_prove_the_end_of_a_lease_at_once_exactly_one_takes_it_over() {
    let server = TestServer::with(&[GRACE]).await;
    let holder = server.runner("billing").await;
    let lock = holder
        .granted(&pipeline())
        .await
        .lock
        .expect("a grant has a lock");
    eventually("the lease has ended", async || {
        (database_time(&server).await > end_of(&lock)).then_some(())
    })
    .await;
    let runners: Vec<Runner> = (0..20).map(|_| holder.another()).collect();
    let long = &pipeline().lease_ms(60_000);
    let id = lock.acquisition_id.as_str();
    let plans = join_all(
        runners
            .iter()
            .map(|runner| runner.plan_after_watching(long, id, SHORT_MS + 1)),
    )
    .await;
    let granted = plans
        .iter()
        .filter(|plan| plan.action == PlanAction::Execute)
        .count();
    assert_eq!(granted, 1, "{plans:?}");
}

#[tokio::test]
async fn a_lock_is_extended_and_released_by_its_owner_alone() {
    let server = TestServer::start().await;
    let holder = server.runner("billing").await;
    let other = holder.another();
    for nobody in [&holder, &other] {
        nobody.lock().await.expect_problem(404, "R_LOCK_03");
        nobody.extend().await.expect_problem(409, "R_LOCK_01");
        nobody.release().await.expect_problem(409, "R_LOCK_02");
    }
    let acquired: LockResponse = holder.acquired(60_000).await;
    other.extend().await.expect_problem(409, "R_LOCK_01");
    other.release().await.expect_problem(409, "R_LOCK_02");
    other.acquire(60_000, None).await.expect_problem(409, "R_LOCK_01");
    let seen: LockView = other.lock().await.expect(200).read();
    assert_eq!(seen, acquired.lock, "the refused calls changed nothing");
    let released: LockView = holder.release().await.expect(200).read();
    assert_eq!(released, acquired.lock, "the lock as it was");
    holder.release().await.expect_problem(409, "R_LOCK_02");
    holder.lock().await.expect_problem(404, "R_LOCK_03");
}

#[tokio::test]
async fn a_holder_that_asks_again_is_granted_again_and_not_told_to_wait_for_itself() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let first = runner.granted(&pipeline()).await;
    let second = runner.granted(&pipeline()).await;
    assert!(second.execution_id > first.execution_id);
    let ids = [&first, &second].map(|plan| plan.lock.as_ref().map(|lock| lock.acquisition_id.clone()));
    assert_ne!(ids[0], ids[1]);
    // What was planned before is stale.
    let execution = first.execution_id.expect("a grant has an execution");
    runner
        .report(execution, "a", AuditState::Started)
        .await
        .expect_problem(409, "R_AUDIT_01");
    runner
        .apply(second.execution_id.expect("a grant has an execution"), "a")
        .await;
}

#[tokio::test]
async fn a_lease_outside_the_limits_is_clamped_and_the_answer_says_so() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    for (asked, granted) in [
        (i64::MIN, 1_000),
        (0, 1_000),
        (999, 1_000),
        (5_000, 5_000),
        (i64::MAX, 3_600_000),
    ] {
        let plan = runner.granted(&pipeline().lease_ms(asked)).await;
        assert_eq!(
            plan.lock.expect("a grant has a lock").acquired_for_millis,
            granted,
            "{asked}"
        );
        assert_eq!(
            runner.acquired(asked).await.lock.acquired_for_millis,
            granted,
            "{asked}"
        );
    }
}

#[tokio::test]
async fn a_waiting_runner_never_sees_the_work_of_a_living_holder_as_an_issue() {
    let server = TestServer::start().await;
    let holder = server.runner("billing").await;
    let other = holder.another();
    let long = pipeline().lease_ms(60_000);
    let execution = holder
        .granted(&long)
        .await
        .execution_id
        .expect("a grant has an execution");
    holder.told(execution, "a", AuditState::Started).await;
    let plan = other.plan(&long).await;
    assert_eq!(
        plan.action,
        PlanAction::Await,
        "the lock is judged before STARTED is"
    );
    assert_eq!(plan.lock.map(|lock| lock.owner), Some(holder.id.clone()));
    assert!(plan.stages.is_none());
    holder.told(execution, "a", AuditState::Applied).await;
    assert_eq!(
        other.plan(&long).await.action,
        PlanAction::Continue,
        "nothing left, whoever holds the lock"
    );
    holder.release().await.expect(200);
}

#[tokio::test]
async fn what_a_dead_runner_had_started_is_a_persons_to_decide_after_the_takeover() {
    let server = TestServer::with(&[("FLAMINGOCK_LOCK_TAKEOVER_GRACE", "0s")]).await;
    let dead = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a", "b", "c"]).lease_ms(SHORT_MS);
    let execution = dead
        .granted(&pipeline)
        .await
        .execution_id
        .expect("a grant has an execution");
    dead.apply(execution, "a").await;
    dead.told(execution, "b", AuditState::Started).await;
    let next = dead.another();
    let (_, plan) = when_granted(&server, async || next.plan(&pipeline).await).await;
    let offered = plan.stages.expect("a grant has stages");
    let actions: Vec<_> = offered[0]
        .changes
        .iter()
        .map(|change| (change.id.as_str(), change.action))
        .collect();
    let wanted = |id| {
        actions
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, action)| *action)
    };
    assert_eq!(wanted("b"), Some(ChangeAction::ManualIntervention));
    assert_eq!(wanted("c"), Some(ChangeAction::Apply));
    assert!(matches!(wanted("a"), None | Some(ChangeAction::Skip)));
}

#[tokio::test]
async fn a_release_names_its_grant_and_frees_no_other() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let fence = |plan: &PlanResponse| plan.lock.as_ref().and_then(|lock| lock.fence).expect("a fence");
    let before = fence(&runner.granted(&pipeline()).await);
    let now = fence(&runner.granted(&pipeline()).await);
    assert!(now > before);
    runner.release_of(before).await.expect_problem(409, "R_LOCK_02");
    runner.lock().await.expect(200);
    runner.release_of(now).await.expect(200);
    runner.lock().await.expect_problem(404, "R_LOCK_03");
}

#[tokio::test]
async fn a_release_that_was_held_up_in_the_server_frees_no_grant_made_since() {
    let server = TestServer::start().await;
    let (blocker, runner) = (server.runner("ledger").await, server.runner("billing").await);
    blocker.granted(&pipeline()).await;
    runner.granted(&pipeline()).await;
    // Somebody sits on the lock of another service, which the server wants for the extension that comes first.
    let pool = server.database.pool().await;
    let mut sitter = pool.begin().await.expect("a transaction");
    sqlx::query("SELECT 1 FROM locks WHERE key = $1 FOR UPDATE")
        .bind(blocker.key())
        .execute(&mut *sitter)
        .await
        .expect("held");
    let (extended, released, ()) = tokio::join!(
        blocker.extend(),
        async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            runner.release().await
        },
        async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            // The runner has lost patience with its release and asks on.
            runner.granted(&pipeline()).await;
            sitter.rollback().await.expect("let go");
        }
    );
    extended.expect(200);
    released.expect_problem(409, "R_LOCK_02");
    runner.lock().await.expect(200);
}
