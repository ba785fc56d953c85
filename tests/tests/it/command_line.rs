//! The command line against a server: every command, its exit code, what a program gets of it, and what hostile or hasty
//! people get told.

use std::collections::BTreeSet;

use flamingock_api_types::audit::AuditState;
use flamingock_tests::{CommandLine, Pipeline, Runner, TestServer, eventually, scratch_file, tokens};
use serde_json::{Value, json};

fn pipeline() -> Pipeline {
    Pipeline::of("schema", &["create-orders", "add-due-date"])
}

/// `add-due-date` failed outside a transaction, and waits for a person.
async fn one_issue(server: &TestServer) -> Runner {
    let runner = server.runner("billing").await;
    let execution = runner
        .granted(&pipeline())
        .await
        .execution_id
        .expect("a grant has an execution");
    runner.apply(execution, "create-orders").await;
    runner.told(execution, "add-due-date", AuditState::Started).await;
    runner.told(execution, "add-due-date", AuditState::Failed).await;
    runner.release().await.expect(200);
    runner
}

fn operator(server: &TestServer) -> CommandLine {
    CommandLine::new(&server.url(), &tokens().operator).about("production", "billing")
}

fn admin(server: &TestServer) -> CommandLine {
    CommandLine::new(&server.url(), &tokens().admin).with("FLAMINGOCK_PROJECT", "payments")
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value
        .as_object()
        .map(|object| object.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

/// What programs rely on: the fields of each answer that are always there. One that goes away breaks somebody's script.
#[tokio::test]
async fn every_reading_command_gives_programs_one_document_of_the_apis_shape() {
    let server = TestServer::start().await;
    let runner = one_issue(&server).await;
    let operator = operator(&server);
    let execution = operator.json(&["execution", "list"]).await["executions"][0]["executionId"].to_string();
    let file = scratch_file("pipeline.json");
    std::fs::write(&file, pipeline().body().to_string()).expect("the scratch directory can be written to");
    let commands: &[(&[&str], &[&str])] = &[
        (&["whoami"], &["credentialId", "name", "role", "projects"]),
        (&["status"], &["services"]),
        (&["explain"], &["standing", "message", "asOf", "serviceName"]),
        (&["issue", "list"], &["issues"]),
        (
            &["issue", "get", "add-due-date"],
            &[
                "changeId", "standing", "state", "seq", "history", "guidance", "remedies",
            ],
        ),
        (&["execution", "list", "--outcome", "failed"], &["executions"]),
        (
            &["execution", "get", &execution],
            &["executionId", "outcome", "stages", "timeline", "submission"],
        ),
        (&["runner", "list"], &["runners", "asOf"]),
        (&["lock", "list"], &["locks", "asOf"]),
        (&["audit", "list"], &["entries"]),
        (&["audit", "list", "--history", "--state", "failed"], &["entries"]),
        (&["audit", "list", "--as-of", "-1h"], &["entries"]),
        (
            &["audit", "verify"],
            &["intact", "complete", "headSeq", "headHash"],
        ),
        (&["audit", "checkpoints"], &["checkpoints"]),
        (&["audit", "keys"], &["keys"]),
        (
            &["audit", "diff", "production", "trusting"],
            &["environmentId", "otherEnvironmentId", "services"],
        ),
        (&["project", "list"], &["projects"]),
        (&["environment", "list"], &["environments"]),
        (&["service", "list", "--name", "billing"], &["services"]),
    ];
    for (command, expected) in commands {
        let value = operator.json(command).await;
        for field in *expected {
            assert!(keys(&value).contains(field), "{command:?} lacks {field}: {value}");
        }
        // And for people, something to read.
        let shown = operator.run(command).await;
        assert_eq!(shown.code, Some(0), "{command:?}: {}", shown.log);
        assert!(
            !shown.output.contains('\u{1b}'),
            "no colours where a program reads"
        );
    }
    drop(runner);
}

#[tokio::test]
async fn an_issue_is_found_decided_and_undone_with_the_command_line() {
    let server = TestServer::start().await;
    let runner = one_issue(&server).await;
    let operator = operator(&server);
    let shown = operator.ok(&["issue", "get", "add-due-date"]).await;
    assert!(shown.contains("waits for your decision"), "{shown}");
    operator.ends(3, &["explain", "--check"]).await;
    operator.ends(3, &["wait", "--timeout", "60s"]).await;
    // Without a terminal nobody can be asked.
    let asked = operator
        .ends(
            2,
            &[
                "issue",
                "resolve",
                "add-due-date",
                "--as",
                "applied",
                "--reason",
                "seen",
            ],
        )
        .await;
    assert!(asked.log.contains("--yes"), "{}", asked.log);
    assert_eq!(
        operator.json(&["issue", "list"]).await["issues"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    let decided = operator
        .json(&[
            "issue",
            "resolve",
            "add-due-date",
            "--as",
            "APPLIED",
            "--reason",
            "seen",
            "--yes",
        ])
        .await;
    let seq = decided["recorded"][0]["seq"].to_string();
    assert_eq!(decided["recorded"][0]["state"], "MANUAL_MARKED_AS_APPLIED");
    operator
        .ok(&[
            "issue",
            "resolve",
            "add-due-date",
            "--as",
            "rolled-back",
            "--reason",
            "it was not there after all",
            "--expect-seq",
            &seq,
        ])
        .await;
    let again = [
        "issue",
        "resolve",
        "add-due-date",
        "--as",
        "applied",
        "--reason",
        "looked once more",
    ];
    let asked = operator.ends(2, &again).await;
    assert!(asked.log.contains("Replace the decision"), "{}", asked.log);
    let replaced = operator.ends(0, &[&again[..], &["--yes"]].concat()).await;
    assert!(
        replaced
            .log
            .contains("flamingock issue resolve --expect-seq 7 --as rolled-back"),
        "how to undo it is said: {}",
        replaced.log
    );
    operator
        .ok(&[
            "issue",
            "resolve",
            "add-due-date",
            "--as",
            "rolled-back",
            "--reason",
            "it was not",
            "--expect-seq",
            "7",
        ])
        .await;
    runner.bring_up_to_date(&pipeline()).await;
    operator.ok(&["status", "--check"]).await;
    let manual = operator.json(&["audit", "list", "--history", "--manual"]).await;
    assert_eq!(manual["entries"].as_array().map(Vec::len), Some(4), "{manual}");
}

#[tokio::test]
async fn a_decision_of_somebody_faster_is_told_and_nothing_is_recorded() {
    let server = TestServer::start().await;
    let runner = one_issue(&server).await;
    let operator = operator(&server);
    let stale = operator
        .ends(
            1,
            &[
                "issue",
                "resolve",
                "add-due-date",
                "--as",
                "applied",
                "--reason",
                "x",
                "--expect-seq",
                "1",
                "--json",
            ],
        )
        .await;
    let error: Value = serde_json::from_str(&stale.log).expect("an error for programs is JSON too");
    assert_eq!(error["error"]["code"], "R_ISSUE_03");
    assert_eq!(error["error"]["exitCode"], 1);
    assert_eq!(
        stale.output, "",
        "data goes to standard output, and there is none"
    );
    let two = operator
        .ends(
            2,
            &[
                "issue",
                "resolve",
                "add-due-date",
                "other",
                "--as",
                "applied",
                "--reason",
                "x",
                "--expect-seq",
                "4",
            ],
        )
        .await;
    assert!(two.log.contains("one for each change"), "{}", two.log);
    assert_eq!(
        server.operator().states(&runner, "add-due-date").await,
        ["STARTED", "FAILED"]
    );
}

#[tokio::test]
async fn hostile_arguments_are_refused_and_nothing_of_them_reaches_the_terminal_raw() {
    let server = TestServer::start().await;
    let operator = operator(&server);
    one_issue(&server).await;
    let endless = "x".repeat(10_000);
    let long = operator
        .ends(
            2,
            &[
                "issue",
                "resolve",
                "add-due-date",
                "--as",
                "applied",
                "--reason",
                &endless,
                "--expect-seq",
                "4",
            ],
        )
        .await;
    assert!(long.log.contains("2000"), "the limit is said: {}", long.log);
    for time in ["tomorrow", "2026-13-01", "31.01.2026", "+99999999999y", ""] {
        let refused = operator.ends(2, &["audit", "list", "--since", time]).await;
        assert!(
            refused.log.contains("2026-01-31"),
            "how to write it is said: {}",
            refused.log
        );
    }
    for arguments in [
        ["issue", "get", "\u{1b}[2Jgone"],
        ["execution", "get", "99999999"],
        ["issue", "get", "../../identity?x=1#"],
        ["audit", "list", "--after=garbage"],
        ["action", "list", "--action=\u{1b}]0;title\u{7}"],
        ["issue", "get", "no-such-change"],
    ] {
        let refused = operator.ends(1, &arguments).await;
        assert!(refused.log.contains("error:"), "{arguments:?}: {}", refused.log);
        assert!(!refused.log.contains('\u{1b}'), "{arguments:?}");
    }
    for arguments in [
        ["execution", "get", "first"].as_slice(),
        &["lock", "release"],
        &["issue", "resolve", "a", "--as", "maybe", "--reason", "x"],
        &["audit", "list", "--limit", "-1"],
        &["audit", "export", "--proofs", "--manual"],
        &["plan", "/nowhere/at/all.json"],
    ] {
        operator.ends(2, arguments).await;
    }
}

#[tokio::test]
async fn what_lies_outside_the_tokens_reach_is_not_found_by_any_name() {
    let server = TestServer::start().await;
    server.other_tenants_runner("shipping").await;
    let operator = operator(&server);
    for arguments in [
        ["issue", "list", "--service", "shipping"],
        ["issue", "list", "--environment", "staging"],
        ["issue", "list", "--project", "logistics"],
        ["issue", "list", "--service", "999999"],
    ] {
        let refused = operator.ends(1, &arguments).await;
        assert!(
            refused.log.contains("within the token's reach") && refused.log.contains("whoami"),
            "{}",
            refused.log
        );
    }
    let services = operator
        .json(&["service", "list", "--archived", "any"])
        .await
        .to_string();
    assert!(!services.contains("shipping"), "{services}");
}

#[tokio::test]
async fn the_role_decides_what_may_be_done_and_the_hint_says_who_one_is() {
    let server = TestServer::start().await;
    one_issue(&server).await;
    let viewer = CommandLine::new(&server.url(), &tokens().viewer).about("production", "billing");
    viewer.ok(&["issue", "list"]).await;
    let refused = viewer
        .ends(
            1,
            &[
                "issue",
                "resolve",
                "add-due-date",
                "--as",
                "applied",
                "--reason",
                "x",
                "--expect-seq",
                "4",
            ],
        )
        .await;
    assert!(refused.log.contains("whoami"), "{}", refused.log);
    let unknown = CommandLine::new(&server.url(), &tokens().unknown);
    let refused = unknown.ends(1, &["whoami"]).await;
    assert!(refused.log.contains("flamingock login"), "{}", refused.log);
}

#[tokio::test]
async fn profiles_are_private_and_their_token_goes_to_their_own_server_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = TestServer::start().await;
    let person = CommandLine::new(&server.url(), "").without("FLAMINGOCK_TOKEN");
    let login = person
        .run_with_input(
            &["login", "work", "-e", "production", "-s", "ledger"],
            &format!("{}\n", tokens().operator),
        )
        .await;
    assert_eq!(login.code, Some(0), "{}", login.log);
    assert!(!login.log.contains(&tokens().operator) && !login.output.contains(&tokens().operator));
    let person = person.without("FLAMINGOCK_SERVER");
    person.ok(&["issue", "list"]).await;
    let listed = person.ok(&["profile", "list"]).await;
    assert!(
        listed.contains("work") && !listed.contains(&tokens().operator),
        "{listed}"
    );

    let mode =
        |path: &std::path::Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&person.profiles()), 0o600);
    std::fs::set_permissions(person.profiles(), std::fs::Permissions::from_mode(0o640)).expect("it is ours");
    let refused = person.ends(1, &["whoami"]).await;
    assert!(refused.log.contains("chmod 600"), "{}", refused.log);
    std::fs::set_permissions(person.profiles(), std::fs::Permissions::from_mode(0o600)).expect("it is ours");

    let elsewhere = person
        .ends(2, &["whoami", "--server", "http://127.0.0.1:9"])
        .await;
    assert!(elsewhere.log.contains("is for"), "{}", elsewhere.log);
    person.ends(2, &["profile", "use", "nobody"]).await;
    let asked = person.ends(2, &["profile", "remove", "work"]).await;
    assert!(asked.log.contains("--yes"), "{}", asked.log);
    person.ok(&["profile", "remove", "work", "--yes"]).await;
    person.ends(2, &["whoami"]).await;

    let wrong = person
        .run_with_input(&["login", "--server", &server.url()], "flk_wrong\n")
        .await;
    assert_eq!(
        wrong.code,
        Some(1),
        "a token that the server does not know is not stored"
    );
    assert!(
        !std::fs::read_to_string(person.profiles())
            .unwrap_or_default()
            .contains("flk_wrong")
    );
}

#[tokio::test]
async fn a_token_file_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = TestServer::start().await;
    let file = scratch_file("token");
    std::fs::write(&file, format!("{}\n", tokens().operator))
        .expect("the scratch directory can be written to");
    let person = CommandLine::new(&server.url(), "").without("FLAMINGOCK_TOKEN");
    for (mode, code) in [(0o644, 1), (0o660, 1), (0o600, 0), (0o400, 0)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        person.ends(code, &["whoami", "--token-file", &file]).await;
    }
}

#[tokio::test]
async fn no_answer_from_the_server_has_an_exit_code_of_its_own() {
    let nowhere = CommandLine::new("http://127.0.0.1:9", &tokens().operator).about("production", "billing");
    let refused = nowhere.ends(6, &["status"]).await;
    assert!(refused.log.contains("hint:"), "{}", refused.log);
    nowhere.ends(6, &["wait", "--timeout", "1s"]).await;
}

#[tokio::test]
async fn waiting_ends_when_the_service_is_up_to_date() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let operator = operator(&server);
    let unknown = operator.about("production", "not-made-yet");
    let unknown = unknown.ends(4, &["wait", "--timeout", "0s"]).await;
    assert!(unknown.log.contains("is not known yet"), "{}", unknown.log);
    let nowhere = operator.about("no-such-environment", "billing");
    nowhere.ends(1, &["wait", "--timeout", "60s"]).await;
    operator.ends(4, &["wait", "--timeout", "0s"]).await;
    let execution = runner.granted(&pipeline()).await.execution_id.expect("an id");
    operator.ends(5, &["wait", "--timeout", "0s"]).await;
    let waiting = tokio::spawn({
        let operator = operator.clone();
        async move {
            operator
                .json(&["wait", "--timeout", "60s", "--every", "100ms"])
                .await
        }
    });
    runner.apply(execution, "create-orders").await;
    runner.apply(execution, "add-due-date").await;
    runner.release().await.expect(200);
    let waited = waiting.await.expect("it ends");
    assert_eq!(waited["upToDate"], true, "{waited}");
}

#[tokio::test]
async fn a_lock_is_released_by_force_only_where_its_holder_is_gone_or_one_insists() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let execution = runner.granted(&pipeline()).await.execution_id.expect("an id");
    runner.told(execution, "create-orders", AuditState::Started).await;
    let operator = operator(&server);
    let locks = operator.json(&["lock", "list"]).await;
    let fence = locks["locks"][0]["fence"].to_string();
    let release = [
        "lock",
        "release",
        "--reason",
        "the node is gone",
        "--expect-fence",
        &fence,
    ];
    operator.ends(1, &release).await;
    operator.ends(2, &release[..4]).await;
    let released = operator.json(&[&release[..], &["--insist"]].concat()).await;
    assert_eq!(released["wasLive"], true);
    assert_eq!(released["inProgress"][0]["changeId"], "create-orders");
    operator.ends(3, &["explain", "--check"]).await;
}

#[tokio::test]
async fn tenancy_and_tokens_are_managed_with_the_command_line() {
    let server = TestServer::start().await;
    let admin = admin(&server);
    let made = admin
        .json(&["environment", "create", "staging", "--reason", "the new one"])
        .await;
    assert_eq!(made["name"], "staging");
    admin.ends(1, &["environment", "create", "staging"]).await;
    admin.ok(&["environment", "rename", "staging", "preview"]).await;
    let renamed = admin.json(&["environment", "list", "--name", "staging"]).await;
    assert_eq!(
        renamed["environments"][0]["name"], "preview",
        "the former name leads to it"
    );
    admin.ends(2, &["environment", "archive", "preview"]).await;
    admin.ok(&["environment", "archive", "preview", "--yes"]).await;
    let listed = admin.json(&["environment", "list"]).await.to_string();
    assert!(!listed.contains("preview"), "{listed}");
    admin.ok(&["env", "unarchive", "preview"]).await;
    admin.ok(&["service", "create", "invoicing"]).await;
    admin
        .ok(&["project", "set", "payments", "--self-register-services", "false"])
        .await;
    admin.ok(&["organisation", "list"]).await;

    let created = admin
        .json(&[
            "token",
            "create",
            "ci",
            "--role",
            "viewer",
            "--only-environment",
            "production",
            "--expires",
            "+30d",
        ])
        .await;
    let value = created["value"].as_str().expect("shown once").to_owned();
    let number = created["token"]["tokenId"].to_string();
    let ci = CommandLine::new(&server.url(), &value);
    ci.ok(&["whoami"]).await;
    let listed = admin.ok(&["token", "list"]).await;
    assert!(listed.contains("ci") && !listed.contains(&value), "{listed}");
    let rotated = admin.json(&["token", "rotate", &number, "--overlap", "1h"]).await;
    ci.ok(&["whoami"]).await;
    let newer = CommandLine::new(&server.url(), rotated["value"].as_str().expect("shown once"));
    newer.ok(&["whoami"]).await;
    let number = rotated["token"]["tokenId"].to_string();
    admin.ends(2, &["token", "revoke", &number]).await;
    admin
        .ok(&["token", "revoke", &number, "--yes", "--reason", "leaked"])
        .await;
    eventually("the revoked token is refused", async || {
        (newer.run(&["whoami"]).await.code == Some(1)).then_some(())
    })
    .await;
    let log = admin.json(&["action", "list", "--action", "token_revoke"]).await;
    assert_eq!(log["actions"][0]["reason"], "leaked", "{log}");
    // The value alone, so that a script can take it.
    let alone = admin
        .ends(0, &["token", "create", "cd", "--role", "runner"])
        .await;
    assert_eq!(alone.output.lines().count(), 1);
    assert!(alone.output.starts_with("flk_"), "{}", alone.output);
}

#[tokio::test]
async fn events_are_told_as_they_happen_and_resumed() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let operator = operator(&server);
    let tail = tokio::spawn({
        let operator = operator.clone();
        async move { operator.ok(&["events", "--count", "3", "--json"]).await }
    });
    eventually("somebody listens", async || {
        (server.metric("flamingock_event_listeners ").await > 0.0).then_some(())
    })
    .await;
    // Where it begins is settled a moment after it is counted: things happen until it has seen enough.
    let mut number = 0;
    while !tail.is_finished() {
        number += 1;
        let change = format!("change-{number}");
        runner
            .bring_up_to_date(&Pipeline::of("schema", &[change.as_str()]))
            .await;
    }
    let lines = tail.await.expect("it ends");
    let events: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("a document a line"))
        .collect();
    assert_eq!(events.len(), 3, "{lines}");
    let last = events[0]["id"].as_str().expect("an id").to_owned();
    let resumed = operator
        .ok(&["events", "--count", "2", "--json", "--after", &last])
        .await;
    let resumed: Vec<Value> = resumed
        .lines()
        .map(|line| serde_json::from_str(line).expect("a document a line"))
        .collect();
    assert_eq!(resumed, events[1..], "nothing is lost and nothing told twice");
    operator
        .ends(1, &["events", "--after", "garbage", "--count", "1"])
        .await;
}

#[tokio::test]
async fn exports_come_as_files_that_are_whole_or_not_there() {
    let server = TestServer::start().await;
    one_issue(&server).await;
    let operator = operator(&server);
    let lines = operator.ok(&["audit", "export", "--history"]).await;
    assert_eq!(lines.lines().count(), 4);
    for line in lines.lines() {
        serde_json::from_str::<Value>(line).expect("a document a line");
    }
    let csv = operator.ok(&["audit", "export", "--format", "csv"]).await;
    assert_eq!(
        csv.lines().count(),
        3,
        "a heading and the latest of each change: {csv}"
    );
    let file = scratch_file("export.ndjson");
    operator.ok(&["audit", "export", "--proofs", "-o", &file]).await;
    let again = operator
        .ends(2, &["audit", "export", "--proofs", "-o", &file])
        .await;
    assert!(again.log.contains("there already"), "{}", again.log);
    let verified = operator.json(&["audit", "verify", &file]).await;
    assert_eq!(verified["intact"], true);
    assert_eq!(verified["headSeq"], 4);
    let wrong_key = "00".repeat(32);
    operator
        .ends(1, &["audit", "verify", &file, "--key", &wrong_key])
        .await;
    operator
        .ends(2, &["audit", "verify", &file, "--key", "no-key"])
        .await;
    operator.ends(2, &["audit", "verify", "/nowhere"]).await;
    let nonsense = scratch_file("nonsense");
    std::fs::write(&nonsense, json!({"kind": "header"}).to_string())
        .expect("the scratch directory can be written to");
    operator.ends(1, &["audit", "verify", &nonsense]).await;
}

#[tokio::test]
async fn a_dry_run_and_the_policies_of_an_environment_stop_a_start_with_their_exit_codes() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let operator = operator(&server);
    let admin = admin(&server).about("production", "billing");
    let file = scratch_file("pipeline.json");
    std::fs::write(&file, pipeline().body().to_string()).expect("the scratch directory can be written to");
    let plan = ["plan", file.as_str()];
    let pending = operator.ends(4, &plan).await;
    assert!(pending.output.contains("create-orders"), "{}", pending.output);
    let from_standard_input = operator
        .run_with_input(&["plan", "-", "--json"], &pipeline().body().to_string())
        .await;
    assert_eq!(from_standard_input.code, Some(4), "{}", from_standard_input.log);
    let preview: Value = serde_json::from_str(&from_standard_input.output).expect("one document");
    assert_eq!(preview["verdict"], "PENDING");

    let before = admin.json(&["policy", "get"]).await;
    let set = admin
        .json(&[
            "policy",
            "set",
            "--out-of-order",
            "warn",
            "--approval-required",
            "true",
            "--reason",
            "an audit",
        ])
        .await;
    assert_eq!(set["outOfOrder"], "WARN");
    assert_eq!(
        set["checksumMismatch"], before["checksumMismatch"],
        "what is not named stays"
    );
    admin.ends(2, &["policy", "set", "--reason", "nothing"]).await;
    operator.ends(3, &plan).await;
    operator.json(&["approval", "list"]).await;
    for change in ["create-orders", "add-due-date"] {
        operator.json(&["approve", change, "--reason", "read it"]).await;
    }
    operator.ends(4, &plan).await;
    operator
        .json(&[
            "approve",
            "add-due-date",
            "--reason",
            "read it again",
            "--withdraw",
        ])
        .await;
    operator.ends(3, &plan).await;
    admin
        .ok(&[
            "policy",
            "set",
            "--approval-required",
            "false",
            "--reason",
            "the audit is over",
        ])
        .await;

    let freeze = operator
        .json(&["freeze", "start", "--reason", "black friday", "--until", "+2h"])
        .await;
    assert_eq!(freeze["active"], true, "{freeze}");
    operator.ends(3, &plan).await;
    operator.ends(3, &["wait", &file, "--timeout", "20s"]).await;
    assert!(operator.ok(&["freeze", "list"]).await.contains("black friday"));
    let number = freeze["freezeId"].to_string();
    operator
        .ok(&["freeze", "end", &number, "--reason", "it was calm"])
        .await;
    operator
        .ends(1, &["freeze", "end", "999999", "--reason", "it was calm"])
        .await;

    let execution = runner.granted(&pipeline()).await.execution_id.expect("an id");
    operator.ends(5, &plan).await;
    runner.apply(execution, "create-orders").await;
    runner.apply(execution, "add-due-date").await;
    runner.release().await.expect(200);
    operator.ok(&plan).await;
    operator.ok(&["wait", &file]).await;
    let checksum = format!("sha256-v1:{}", "ab".repeat(32));
    operator
        .json(&[
            "checksum",
            "accept",
            "create-orders",
            &checksum,
            "--reason",
            "only a comment",
        ])
        .await;
    let listed = operator.json(&["checksum", "list"]).await.to_string();
    assert!(listed.contains(&checksum), "{listed}");
    operator
        .ends(
            1,
            &["checksum", "accept", "no-such-change", &checksum, "--reason", "x"],
        )
        .await;
}
