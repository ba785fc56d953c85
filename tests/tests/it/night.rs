//! The scripted night: a change fails half way in one of two environments while a second runner waits. Whoever is on call
//! has the command line and nothing else, finds out, mends the target system, records what was done, and the next start
//! goes on. Then the audit is proved to be what was recorded.
//!
//! What was typed and what came back is left in `tmp/night.txt` of the build's profile, to be read and quoted.

use flamingock_tests::{
    CommandLine, Database, Effects, Kind, PostgresProxy, RunnerProcess, Scenario, Side, TestServer,
    eventually, night_transcript, tokens,
};

const REASON: &str = "psql: step one was there, step two was not; deleted step one";

#[tokio::test]
async fn a_night_on_call() {
    let server = TestServer::with(&[("FLAMINGOCK_CHECKPOINT_INTERVAL", "1s")]).await;
    let admin = CommandLine::new(&server.url(), &tokens().admin);
    admin
        .ok(&["environment", "create", "staging", "--project", "payments"])
        .await;
    let on_call = CommandLine::new(&server.url(), &tokens().operator).about("production", "orders");

    // The evening: the release works in staging.
    let staging = Database::empty().await;
    Effects::in_database(&staging).await;
    let scenario = Scenario::new(Kind::NonTx, "orders").lease_ms(20_000);
    let outcome = RunnerProcess::run(
        &scenario.clone().environment("staging"),
        &server.url(),
        &staging.url,
    )
    .await;
    assert!(outcome.may_start, "{}", outcome.report);

    // In production its database goes away in the middle of a change, and a second instance waits.
    let production = Database::empty().await;
    let effects = Effects::in_database(&production).await;
    let network = PostgresProxy::to(&production).await;
    let mut trap = network.trap(Side::Message, &["tested does two"]);
    let first = RunnerProcess::start(&scenario, &server.url(), &network.url());
    trap.caught().await;
    let second = RunnerProcess::start(&scenario, &server.url(), &production.url);

    eventually("the second instance is seen waiting", async || {
        let runners = on_call.json(&["runner", "list"]).await;
        runners["runners"]
            .as_array()?
            .iter()
            .any(|runner| runner["activity"] == "WAITING")
            .then_some(())
    })
    .await;
    on_call.forget();
    on_call.remark("03:04. The pager says: orders does not start in production.");
    let status = on_call.ok(&["status"]).await;
    assert!(status.contains("running, others wait"), "{status}");
    on_call.ok(&["explain"]).await;
    let locks = on_call.ok(&["lock", "list"]).await;
    assert!(locks.contains("held"), "{locks}");
    on_call.ok(&["runner", "list"]).await;
    // What is in progress is no issue, and cannot be decided.
    let issues = on_call.json(&["issue", "list"]).await;
    assert_eq!(issues["issues"], serde_json::json!([]));
    on_call
        .ends(
            1,
            &[
                "issue", "resolve", "tested", "--as", "applied", "--reason", "hasty", "--yes",
            ],
        )
        .await;

    on_call.remark("The connection to the database breaks in the middle of the change.");
    drop(trap);
    let failed = first.outcome().await;
    assert!(!failed.may_start, "{}", failed.report);
    let blocked = second.outcome().await;
    assert!(!blocked.may_start, "{}", blocked.report);
    assert_eq!(blocked.manual_intervention, ["tested"], "{}", blocked.report);
    assert_eq!(effects.of("tested").await, ["one"], "half of it is there");

    let checked = on_call.ends(3, &["status", "--check"]).await;
    assert!(checked.output.contains("NEEDS A PERSON"), "{}", checked.output);
    let explained = on_call.ends(3, &["explain", "--check"]).await;
    assert!(
        explained.output.contains("flamingock issue get tested"),
        "{}",
        explained.output
    );
    on_call.ok(&["lock", "list"]).await;
    let issues = on_call.ok(&["issue", "list"]).await;
    assert!(issues.contains("tested") && issues.contains("FAILED"), "{issues}");
    let issue = on_call.ok(&["issue", "get", "tested"]).await;
    for said in ["waits for your decision", "What to check", "--expect-seq"] {
        assert!(issue.contains(said), "{said}: {issue}");
    }
    let waited = on_call.ends(3, &["wait", "--timeout", "5s"]).await;
    assert!(waited.log.contains("hint"), "{}", waited.log);
    on_call
        .ok(&["audit", "diff", "staging", "production", "--project", "payments"])
        .await;

    on_call.remark("What is half there is taken away by hand, and recorded.");
    production
        .execute("DELETE FROM effects WHERE change_id = 'tested'")
        .await;
    let seq = on_call.json(&["issue", "get", "tested"]).await["seq"].to_string();
    on_call.forget_last();
    on_call
        .ends(
            1,
            &[
                "issue",
                "resolve",
                "tested",
                "--as",
                "rolled-back",
                "--expect-seq",
                "1",
                "--reason",
                REASON,
            ],
        )
        .await;
    on_call
        .ok(&[
            "issue",
            "resolve",
            "tested",
            "--as",
            "rolled-back",
            "--expect-seq",
            &seq,
            "--reason",
            REASON,
        ])
        .await;

    on_call.remark("The next start goes on.");
    let outcome = RunnerProcess::run(&scenario, &server.url(), &production.url).await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_eq!(effects.of("before").await, ["one", "two"], "not run again");
    assert_eq!(effects.of("tested").await, ["one", "two"], "run once, whole");
    assert_eq!(effects.of("after").await, ["one", "two"]);
    on_call.ok(&["wait", "--timeout", "30s"]).await;
    on_call.ok(&["status", "--check"]).await;
    on_call.ok(&["execution", "list"]).await;
    let history = on_call
        .ok(&["audit", "list", "--history", "--change", "tested"])
        .await;
    assert!(
        history.contains("MANUAL_MARKED_AS_ROLLED_BACK") && history.contains(REASON),
        "that a person intervened is seen: {history}"
    );

    on_call.remark("The morning: is the record what was recorded?");
    let verified = on_call.ok(&["audit", "verify"]).await;
    assert!(verified.contains("Intact"), "{verified}");
    on_call.ok(&["audit", "keys"]).await;
    eventually("the server has signed all of it", async || {
        let checkpoints = on_call.json(&["audit", "checkpoints"]).await;
        on_call.forget_last();
        (checkpoints["checkpoints"][0]["seq"] == 9).then_some(())
    })
    .await;
    prove_offline(&on_call).await;
    let actions = admin.ok(&["action", "list", "--action", "issue_resolve"]).await;
    assert!(actions.contains(REASON), "{actions}");
    std::fs::write(night_transcript(), on_call.transcript()).expect("the build directory can be written to");
}

/// An export verifies without any server; whatever is altered, left out or cut off is found out.
async fn prove_offline(on_call: &CommandLine) {
    let file = "orders.ndjson";
    on_call
        .ok(&["audit", "export", "--proofs", "--output", file])
        .await;
    // Got from the server at a better time.
    let keys = on_call.json(&["audit", "keys"]).await;
    on_call.forget_last();
    let key = keys["keys"][0]["publicKey"].as_str().expect("a key").to_owned();
    let nowhere = on_call.without("FLAMINGOCK_SERVER").without("FLAMINGOCK_TOKEN");
    let verified = nowhere.ok(&["audit", "verify", file, "--key", &key]).await;
    assert!(
        verified.contains("Intact") && verified.contains("up to entry 9") && verified.contains("you trust"),
        "{verified}"
    );

    let export = std::fs::read_to_string(on_call.folder().join(file)).expect("it was written");
    let lines: Vec<&str> = export.lines().collect();
    let altered = export.replacen(REASON, "nothing happened", 1);
    assert_ne!(altered, export);
    let put_together = |lines: &[&str]| lines.join("\n") + "\n";
    let without_one = put_together(&[&lines[..3], &lines[4..]].concat());
    let cut = put_together(&lines[..lines.len() - 2]);
    for (what, text) in [
        ("altered", altered),
        ("one-left-out", without_one),
        ("cut-off", cut),
    ] {
        let tampered = format!("{what}.ndjson");
        std::fs::write(on_call.folder().join(&tampered), text)
            .expect("the scratch directory can be written to");
        let caught = nowhere.ends(1, &["audit", "verify", &tampered]).await;
        assert!(caught.output.contains("BROKEN"), "{what}: {}", caught.output);
    }
}
