//! Why is this service waiting or stopped, since when, on whom, and what would unblock it?

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::PlanAction;
use flamingock_api_types::explanation::{ServiceStanding, StopKind};
use flamingock_api_types::history::{ExecutionOutcome, RunnerActivity};
use flamingock_api_types::issue::ResolutionKind::{Applied, RolledBack};
use flamingock_tests::{Call, Person, TestServer, eventually, tokens};
use serde_json::json;

use super::{execution_of, explanation, fence_of, force, gone_in_the_middle, lease_ends, pipeline};

#[tokio::test]
async fn each_situation_of_a_service_is_told_apart() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let standing = async || explanation(&operator, &runner).await.standing;
    assert_eq!(standing().await, ServiceStanding::NeverStarted);

    let plan = runner.granted(&pipeline().lease_ms(2_000)).await;
    let execution = execution_of(&plan);
    runner.told(execution, "a", AuditState::Started).await;
    let running = explanation(&operator, &runner).await;
    assert_eq!(running.standing, ServiceStanding::Running);
    let holder = running.holder.expect("somebody holds the lock");
    assert_eq!(holder.changes[0].change_id, "a");
    assert_eq!((holder.progress.offered, holder.progress.started), (3, 1));
    assert!(running.stops.is_empty(), "its runner is at it");
    for word in ["billing in production", runner.id.as_str(), "change a"] {
        assert!(running.message.contains(word), "{}", running.message);
    }
    runner.extended().await;
    runner.told(execution, "a", AuditState::Applied).await;
    lease_ends(&operator, &runner).await;
    let silent = explanation(&operator, &runner).await;
    assert_eq!(silent.standing, ServiceStanding::HolderSilent);
    assert_eq!(silent.stops[0].kind, StopKind::LeaseExpired);
    assert!(silent.remedies.iter().any(|it| {
        it.command.as_deref().is_some_and(|command| {
            command.starts_with(&format!(
                "flamingock lock release --expect-fence {} ",
                fence_of(&plan)
            ))
        })
    }));
    force(&operator, &runner, fence_of(&plan), false)
        .await
        .expect(200);
    let pending = explanation(&operator, &runner).await;
    assert_eq!(pending.standing, ServiceStanding::Pending);
    let latest = pending.latest_execution.expect("there was one");
    assert_eq!(latest.outcome, ExecutionOutcome::Abandoned);

    let execution = execution_of(&runner.granted(&pipeline()).await);
    runner.told(execution, "b", AuditState::Started).await;
    runner.told(execution, "b", AuditState::Failed).await;
    assert_eq!(standing().await, ServiceStanding::Running, "it may be undoing it");
    runner.release().await.expect(200);
    let stopped = explanation(&operator, &runner).await;
    assert_eq!(stopped.standing, ServiceStanding::NeedsPerson);
    let issue = &stopped.stops[0];
    assert_eq!(
        (issue.kind, issue.change_id.as_deref()),
        (StopKind::Issue, Some("b"))
    );
    assert_eq!(stopped.since, issue.since);
    let seq = issue.seq.expect("an entry");

    operator
        .resolve(&runner, &[("b", RolledBack, seq)])
        .await
        .expect(201);
    assert_eq!(standing().await, ServiceStanding::Pending);
    let execution = execution_of(&runner.granted(&pipeline()).await);
    runner.told(execution, "b", AuditState::Started).await;
    runner
        .report_with(
            execution,
            "b",
            AuditState::Failed,
            &json!({"txStrategy": "TX_SEPARATE_NO_MARKER"}),
        )
        .await
        .expect(201);
    runner.told(execution, "b", AuditState::RolledBack).await;
    runner.release().await.expect(200);
    let failed = explanation(&operator, &runner).await;
    assert_eq!(failed.standing, ServiceStanding::Failed);
    assert_eq!(failed.stops[0].kind, StopKind::ChangeFailed);
    assert!(failed.message.contains("change b"), "{}", failed.message);

    runner.bring_up_to_date(&pipeline()).await;
    let done = explanation(&operator, &runner).await;
    assert_eq!(done.standing, ServiceStanding::UpToDate);
    assert!(done.stops.is_empty() && done.remedies.is_empty());
}

#[tokio::test]
async fn who_waits_is_named_whether_parked_or_polling_and_at_which_replica_does_not_matter() {
    let server = TestServer::start().await;
    let other = server.replica().await;
    let operator = server.operator();
    let holder = server.runner("billing").await;
    let plan = holder.granted(&pipeline()).await;
    holder.told(execution_of(&plan), "a", AuditState::Started).await;
    let polling = server.runner("billing").await;
    assert_eq!(polling.plan(&pipeline()).await.action, PlanAction::Await);
    let parked = other.runner("billing").await;
    let call = parked.with_headers(
        Call::post(format!("{}?elapsedMillis=0", parked.plan_path()))
            .header("Prefer", "wait=25")
            .json(&pipeline().body()),
    );
    let asking = tokio::spawn({
        let address = parked.address.clone();
        async move { call.send(&address).await }
    });
    let waiting = eventually("both are seen", async || {
        let explained = explanation(&operator, &holder).await;
        (explained.waiting.len() == 2).then_some(explained)
    })
    .await;
    assert_eq!(waiting.standing, ServiceStanding::Waiting);
    assert!(waiting.message.contains("2 others wait"), "{}", waiting.message);
    for (runner, is_guess) in [(&polling, true), (&parked, false)] {
        let seen = waiting
            .waiting
            .iter()
            .find(|it| it.runner_id == runner.id)
            .expect("it waits");
        assert_eq!(seen.activity, RunnerActivity::Waiting);
        assert_eq!(seen.is_guess, is_guess, "{seen:?}");
        assert_eq!(seen.parked_until.is_some(), !is_guess);
        assert_eq!(seen.waits_for.as_deref(), Some(holder.id.as_str()));
    }
    // The holder goes; the parked one is let in, and nobody waits any more.
    holder.release().await.expect(200);
    let answer = asking.await.expect("the request ends").expect(201).json();
    assert_eq!(answer["action"], "EXECUTE");
    eventually("the parked one works", async || {
        let explained = explanation(&operator, &holder).await;
        let works = explained.holder.is_some_and(|it| it.runner_id == parked.id);
        (works && explained.waiting.iter().all(|it| it.runner_id != parked.id)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_parked_runner_that_hangs_up_is_not_believed_to_wait() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let holder = server.runner("billing").await;
    holder.granted(&pipeline()).await;
    let parked = server.runner("billing").await;
    let call = parked.with_headers(
        Call::post(format!("{}?elapsedMillis=0", parked.plan_path()))
            .header("Prefer", "wait=25")
            .json(&pipeline().body()),
    );
    let address = parked.address.clone();
    let asking = tokio::spawn(async move { call.send(&address).await });
    eventually("it waits", async || {
        (explanation(&operator, &holder).await.standing == ServiceStanding::Waiting).then_some(())
    })
    .await;
    asking.abort();
    eventually("it is gone", async || {
        (explanation(&operator, &holder).await.standing == ServiceStanding::Running).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_lock_that_a_dead_runner_left_behind_alarms_nobody_where_all_is_done() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let plan = runner.granted(&pipeline().lease_ms(2_000)).await;
    for change in ["a", "b", "c"] {
        runner.apply(execution_of(&plan), change).await;
    }
    lease_ends(&operator, &runner).await;
    let explained = explanation(&operator, &runner).await;
    assert_eq!(explained.standing, ServiceStanding::UpToDate);
    assert!(
        explained.holder.is_some_and(|holder| !holder.is_live),
        "and it is told all the same"
    );
}

#[tokio::test]
async fn the_commands_are_about_this_service_and_this_entry() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("it's \"billing\"").await;
    gone_in_the_middle(&operator, &runner).await;
    let explained = explanation(&operator, &runner).await;
    assert_eq!(explained.standing, ServiceStanding::NeedsPerson);
    let commands: Vec<&str> = explained
        .remedies
        .iter()
        .filter_map(|it| it.command.as_deref())
        .collect();
    assert_eq!(
        commands,
        [
            "flamingock issue get a -e production -s 'it'\\''s \"billing\"'",
            "flamingock issue resolve a --as applied --expect-seq 1 --reason '<what you found, and what you did>' -e \
             production -s 'it'\\''s \"billing\"'",
            "flamingock issue resolve a --as rolled-back --expect-seq 1 --reason '<what you found, and what you did>' -e \
             production -s 'it'\\''s \"billing\"'",
        ]
    );
    // And what is given for curl does it.
    let curl = explained.remedies[1].curl.as_deref().expect("a command");
    let body = curl
        .split(" -d '")
        .nth(1)
        .and_then(|rest| rest.split("' ").next())
        .expect("a body");
    let path = curl.rsplit('"').next().expect("a path");
    let body: serde_json::Value = serde_json::from_str(body).expect("a body");
    operator.post(path, &body).await.expect(201);
    assert_eq!(
        operator.states(&runner, "a").await,
        ["STARTED", "MANUAL_MARKED_AS_APPLIED"]
    );
}

#[tokio::test]
async fn what_a_policy_holds_back_is_told_with_what_lifts_it() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let admin = server.person(&tokens().admin);
    let runner = server.runner("billing").await;
    runner.bring_up_to_date(&pipeline()).await;
    let environment = format!("/api/v1/admin/environment/{}", runner.environment_id);
    let freeze = operator
        .post(
            &format!("{environment}/freeze"),
            &json!({"reason": "Quarter end."}),
        )
        .await
        .expect(201)
        .json();
    // It starts as long as it has nothing to do, and what is new does not.
    assert_eq!(runner.plan(&pipeline()).await.action, PlanAction::Continue);
    let frozen = explanation(&operator, &runner).await;
    assert_eq!(frozen.standing, ServiceStanding::UpToDate);
    assert_eq!(frozen.stops[0].kind, StopKind::Freeze);
    assert!(frozen.message.contains("Quarter end"), "{}", frozen.message);
    // Another service of the environment, whose last plan was not carried out.
    let other = server.runner("shipping").await;
    other
        .ask("elapsedMillis=0", &pipeline().body())
        .await
        .expect_problem(409, "R_POLICY_01");
    assert_eq!(
        explanation(&operator, &other).await.standing,
        ServiceStanding::NeverStarted
    );

    let id = freeze["freezeId"].as_i64().expect("its number");
    operator
        .post(
            &format!("/api/v1/admin/freeze/{id}/end"),
            &json!({"reason": "It is over."}),
        )
        .await
        .expect(200);
    let put = Call::new("PUT", format!("{environment}/policy"))
        .bearer(&admin.token)
        .json(&json!({
            "checksumMismatch": "ALLOW", "outOfOrder": "ALLOW", "trustAbsentMarks": false, "approvalRequired": true,
            "reason": "four eyes"
        }));
    put.send(&server.address).await.expect(200);
    runner
        .ask(
            "elapsedMillis=0",
            &flamingock_tests::Pipeline::of("schema", &["a", "b", "c", "d"]).body(),
        )
        .await
        .expect_problem(409, "R_POLICY_02");
    let stopped = explanation(&operator, &runner).await;
    assert_eq!(stopped.standing, ServiceStanding::StoppedByPolicy);
    assert_eq!(
        (stopped.stops[0].kind, stopped.stops[0].change_id.as_deref()),
        (StopKind::Approval, Some("d"))
    );
    assert_eq!(stopped.since, stopped.stops[0].since);
    let curl = stopped.remedies[0].curl.as_deref().expect("a command");
    assert!(curl.contains("/approval"), "{curl}");
    let approval = json!({"changeId": "d", "reason": "read it"});
    operator
        .post(&format!("{}/approval", Person::scope(&runner)), &approval)
        .await
        .expect(201);
    assert_eq!(
        explanation(&operator, &runner).await.standing,
        ServiceStanding::UpToDate
    );
}

#[tokio::test]
async fn a_start_that_was_refused_for_its_content_or_its_order_is_told_until_something_lifts_it() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let admin = server.person(&tokens().admin);
    let runner = server.runner("billing").await;
    let is = |checksum: &str| flamingock_tests::Pipeline::of("schema", &["b"]).checksum("b", checksum);
    let (one, two) = (is("sha256-v1:1111"), is("sha256-v1:2222"));
    runner.bring_up_to_date(&one).await;
    let path = format!("/api/v1/admin/environment/{}/policy", runner.environment_id);
    let set = async |checksum_mismatch: &str, out_of_order: &str| {
        let put = Call::new("PUT", path.as_str()).bearer(&admin.token).json(&json!({
            "checksumMismatch": checksum_mismatch, "outOfOrder": out_of_order, "trustAbsentMarks": false,
            "approvalRequired": false, "reason": "no surprises"
        }));
        put.send(&server.address).await.expect(200);
    };
    let told = async || {
        let explained = explanation(&operator, &runner).await;
        let kinds: Vec<StopKind> = explained.stops.iter().map(|stop| stop.kind).collect();
        (explained.standing, kinds)
    };
    let well = (ServiceStanding::UpToDate, Vec::new());
    let refused = |kind| (ServiceStanding::StoppedByPolicy, vec![kind]);

    set("REFUSE", "REFUSE").await;
    assert_eq!(told().await, well);
    let start =
        async |pipeline: &flamingock_tests::Pipeline| runner.ask("elapsedMillis=0", &pipeline.body()).await;
    // Twice: what is known of the first one is written over.
    start(&two).await.expect_problem(409, "R_POLICY_03");
    start(&two).await.expect_problem(409, "R_POLICY_03");
    assert_eq!(told().await, refused(StopKind::ChecksumMismatch));
    let explained = explanation(&operator, &runner).await;
    assert_eq!(explained.stops[0].change_id.as_deref(), Some("b"));
    assert_eq!(explained.since, explained.stops[0].since);
    assert!(
        explained.message.contains("another checksum"),
        "{}",
        explained.message
    );
    assert!(!explained.remedies.is_empty());
    // What a person accepts lifts it.
    let accepted = json!({"changeId": "b", "checksum": "sha256-v1:2222", "reason": "a comment"});
    operator
        .post(&format!("{}/checksum", Person::scope(&runner)), &accepted)
        .await
        .expect(201);
    assert_eq!(told().await, well);

    let early = flamingock_tests::Pipeline::of("schema", &["a", "b"]);
    start(&early).await.expect_problem(409, "R_POLICY_04");
    assert_eq!(told().await, refused(StopKind::OutOfOrder));
    // As do other policies, and then a granted start.
    set("REFUSE", "ALLOW").await;
    assert_eq!(told().await, well);
    set("REFUSE", "REFUSE").await;
    start(&early).await.expect_problem(409, "R_POLICY_04");
    assert_eq!(told().await, refused(StopKind::OutOfOrder));
    let behind = flamingock_tests::Pipeline::of("schema", &["b", "c"]);
    runner.bring_up_to_date(&behind).await;
    assert_eq!(told().await, well);
}

#[tokio::test]
async fn many_issues_are_told_in_a_bounded_answer() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let runner = server.runner("billing").await;
    let names: Vec<String> = (0..60).map(|number| format!("change-{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let execution = execution_of(
        &runner
            .granted(&flamingock_tests::Pipeline::of("schema", &names))
            .await,
    );
    for name in &names {
        runner.told(execution, name, AuditState::Failed).await;
    }
    runner.release().await.expect(200);
    let explained = explanation(&operator, &runner).await;
    assert_eq!(explained.stops.len(), 20);
    assert!(explained.stops_are_cut);
    assert!(explained.message.contains("and others"), "{}", explained.message);
    assert!(explained.remedies.len() < 20);
    let seq = explained.stops[0].seq.expect("an entry");
    operator
        .resolve(&runner, &[("change-00", Applied, seq)])
        .await
        .expect(201);
}

#[tokio::test]
async fn invariant_9_nothing_is_explained_of_a_foreign_service() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let theirs = server.other_tenants_runner("routing").await;
    theirs.granted(&pipeline()).await;
    for path in [
        "explanation",
        "runner",
        "execution",
        "execution/1",
        "issue/detail?changeId=a",
    ] {
        let foreign = operator.get(&format!("{}/{path}", Person::scope(&theirs))).await;
        foreign.expect_problem(404, "R_TENANT_02");
        assert!(!foreign.text().contains(&theirs.id));
    }
}
