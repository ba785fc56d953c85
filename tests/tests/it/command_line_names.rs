//! The command line in the words of people: names where there are numbers, what limits an answer, and mistakes told before
//! anything is done.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command};

use flamingock_api_types::audit::AuditState;
use flamingock_tests::{
    CommandLine, Database, Pipeline, Runner, TestServer, eventually, scratch_directory, scratch_file, tokens,
};
use serde_json::Value;

fn admin(server: &TestServer) -> CommandLine {
    CommandLine::new(&server.url(), &tokens().admin).with("FLAMINGOCK_PROJECT", "payments")
}

fn operator(server: &TestServer) -> CommandLine {
    CommandLine::new(&server.url(), &tokens().operator).about("production", "billing")
}

fn pipeline() -> Pipeline {
    Pipeline::of("schema", &["create-orders", "add-due-date"])
}

#[tokio::test]
async fn names_stand_where_numbers_stood() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let (admin, operator) = (admin(&server), operator(&server));
    // Somebody listens from before it happens.
    let listening = admin.clone();
    let heard = tokio::spawn(async move {
        listening
            .ok(&["events", "--whole-organisation", "--count", "3"])
            .await
    });
    eventually("somebody listens", async || {
        (server.metric("flamingock_event_listeners").await >= 1.0).then_some(())
    })
    .await;
    runner.bring_up_to_date(&pipeline()).await;
    let heard = heard.await.expect("it ends by itself");
    assert!(heard.contains("billing in production"), "{heard}");
    assert!(!heard.contains("service 2"), "{heard}");

    admin
        .ok(&[
            "token",
            "create",
            "billing-in-production",
            "--role",
            "runner",
            "--only-environment",
            "production",
            "--only-service",
            "billing",
        ])
        .await;
    let listed = admin.ok(&["token", "list"]).await;
    assert!(listed.contains("billing in production of payments"), "{listed}");

    operator.ok(&["freeze", "start", "--reason", "stocktaking"]).await;
    let frozen = operator.ok(&["freeze", "list"]).await;
    let row = frozen.lines().nth(1).expect("a window");
    assert!(
        row.contains("billing") && row.contains("operator (token"),
        "{row}"
    );

    let log = admin.ok(&["action", "list", "--action", "freeze_start"]).await;
    assert!(
        log.contains("  production  ") && log.contains("operator (token"),
        "{log}"
    );
    let log = admin.json(&["action", "list", "--action", "freeze_start"]).await;
    assert_eq!(log["actions"][0]["environmentName"], "production", "{log}");
    assert_eq!(log["actions"][0]["organisationName"], "acme", "{log}");

    let execution = operator.json(&["execution", "list"]).await["executions"][0]["executionId"].to_string();
    let report = operator.json(&["execution", "get", &execution]).await;
    let actor = report["timeline"][0]["actor"]
        .as_str()
        .expect("whose doing it was");
    assert!(
        actor.starts_with("credential:") && actor.ends_with("(runner)"),
        "{actor}"
    );
}

#[tokio::test]
async fn status_says_what_limits_it_and_where_that_was_said() {
    let server = TestServer::start().await;
    for service in ["billing", "orders"] {
        server.runner(service).await.bring_up_to_date(&pipeline()).await;
    }
    let admin = CommandLine::new(&server.url(), &tokens().admin);
    let everything = admin.ends(0, &["status"]).await;
    assert!(!everything.log.contains("Limited"), "{}", everything.log);
    assert!(
        everything.output.contains("PROJECT") && everything.output.contains("payments"),
        "{}",
        everything.output
    );
    // From a variable, a flag and a profile, and each is told.
    let limited = admin
        .with("FLAMINGOCK_SERVICE", "billing")
        .ends(0, &["status", "-e", "production"])
        .await;
    assert!(
        limited.log.contains(
            "Limited to environment production (--environment), service billing (FLAMINGOCK_SERVICE)"
        ),
        "{}",
        limited.log
    );
    assert!(!limited.output.contains("orders"), "{}", limited.output);
    admin.ok(&["login", "-e", "production", "-s", "billing"]).await;
    let person = admin.without("FLAMINGOCK_TOKEN").without("FLAMINGOCK_SERVER");
    let limited = person.ends(0, &["status"]).await;
    assert!(
        limited.log.contains("service billing (profile default)"),
        "{}",
        limited.log
    );
    assert!(limited.log.contains("--everywhere"), "{}", limited.log);
    let all = person.ends(0, &["status", "--everywhere"]).await;
    assert!(
        all.output.contains("orders") && all.output.contains("billing") && !all.log.contains("Limited"),
        "{}{}",
        all.output,
        all.log
    );
    // A flag is said on purpose.
    let one = person.ends(0, &["status", "--everywhere", "-s", "orders"]).await;
    assert!(!one.output.contains("billing"), "{}", one.output);
    let rows = person.json(&["status", "--everywhere"]).await;
    assert_eq!(rows["services"][0]["projectName"], "payments", "{rows}");
    assert_eq!(rows["services"][0]["organisationName"], "acme", "{rows}");
}

#[tokio::test]
async fn login_stores_no_name_that_the_server_does_not_know() {
    let server = TestServer::start().await;
    let admin = CommandLine::new(&server.url(), &tokens().admin);
    for (names, said) in [
        (["-e", "prodution"], "did you mean production?"),
        (["-s", "leger"], "did you mean ledger?"),
        (["-p", "payment"], "did you mean payments?"),
        (["--organisation", "acne"], "did you mean acme?"),
        (["-e", "nowhere"], "`flamingock whoami` shows"),
    ] {
        let refused = admin.ends(1, &["login", names[0], names[1]]).await;
        assert!(refused.log.contains(said), "{names:?}: {}", refused.log);
        assert!(refused.log.contains("--offline"), "{}", refused.log);
        assert!(!admin.profiles().exists(), "{names:?}: nothing is stored");
    }
    // Both, and one of them wrong.
    let refused = admin.ends(1, &["login", "-e", "production", "-s", "ledgr"]).await;
    assert!(refused.log.contains("did you mean ledger?"), "{}", refused.log);
    // What another tenant has is told as if it were nowhere.
    let refused = admin.ends(1, &["login", "-p", "logistics"]).await;
    assert!(!refused.log.contains("mean"), "{}", refused.log);
    admin
        .ok(&["login", "new", "-e", "production", "-s", "not-yet", "--offline"])
        .await;
    assert!(admin.profiles().exists());
    let person = admin.without("FLAMINGOCK_TOKEN").without("FLAMINGOCK_SERVER");
    let unknown = person.ends(2, &["whoami", "--profile", "mew"]).await;
    assert!(unknown.log.contains("did you mean new?"), "{}", unknown.log);
}

#[tokio::test]
async fn a_token_is_named_by_its_name_and_an_ambiguous_one_is_not_guessed() {
    let server = TestServer::start().await;
    let admin = admin(&server);
    admin.ok(&["token", "create", "deploy", "--role", "runner"]).await;
    admin.ok(&["token", "rotate", "deploy", "--overlap", "1h"]).await;
    // The old one works on for an hour: which of the two is meant cannot be known.
    let refused = admin.ends(2, &["token", "revoke", "deploy", "--yes"]).await;
    assert!(
        refused.log.contains("2 tokens") && refused.log.contains("replaced by"),
        "{}",
        refused.log
    );
    // Only one of them can be rotated.
    admin.ok(&["token", "rotate", "deploy", "--overlap", "0s"]).await;
    let good: Value = admin.json(&["token", "list", "--good"]).await;
    let mut numbers: Vec<String> = good["tokens"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|token| token["name"] == "deploy")
        .map(|token| token["tokenId"].to_string())
        .collect();
    numbers.sort();
    assert_eq!(numbers.len(), 2, "{good}");
    admin.ok(&["token", "revoke", &numbers[0], "--yes"]).await;
    admin.ok(&["token", "revoke", "deploy", "--yes"]).await;
    let gone = admin.ends(1, &["token", "revoke", "deploy", "--yes"]).await;
    assert!(gone.log.contains("no token deploy"), "{}", gone.log);
    let near = admin.ends(1, &["token", "rotate", "oprator"]).await;
    assert!(near.log.contains("did you mean operator?"), "{}", near.log);
}

#[tokio::test]
async fn root_tokens_and_the_servers_own_log_have_commands() {
    let server = TestServer::start().await;
    let root = CommandLine::new(&server.url(), &tokens().root);
    let value = root
        .ok(&[
            "token",
            "create",
            "root-of-mara",
            "--role",
            "root",
            "--reason",
            "on call",
        ])
        .await;
    assert!(value.starts_with("flk_"), "{value}");
    let listed = root.ok(&["token", "list", "--root"]).await;
    assert!(
        listed.contains("root-of-mara") && listed.contains("the server"),
        "{listed}"
    );
    assert!(
        !listed.contains("operator"),
        "an organisation's are not among them: {listed}"
    );
    let log = root
        .json(&["action", "list", "--whole-server", "--limit", "0"])
        .await;
    let targets: Vec<_> = log["actions"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|action| action["target"].as_str())
        .collect();
    assert!(targets.contains(&"root-of-mara"), "{targets:?}");
    root.ok(&["token", "revoke", "root-of-mara", "--root", "--yes"])
        .await;
    // Others are refused, and told as what.
    let refused = admin(&server).ends(1, &["token", "list", "--root"]).await;
    assert!(refused.log.contains("root"), "{}", refused.log);
    admin(&server)
        .ends(1, &["action", "list", "--whole-server"])
        .await;
}

#[tokio::test]
async fn what_is_wrong_with_reason_or_checksum_is_told_before_anybody_is_asked() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let execution = runner
        .granted(&pipeline())
        .await
        .execution_id
        .expect("an execution");
    runner.told(execution, "create-orders", AuditState::Started).await;
    runner.told(execution, "create-orders", AuditState::Failed).await;
    runner.release().await.expect(200);
    let operator = operator(&server);
    let empty = operator
        .ends(
            2,
            &[
                "issue",
                "resolve",
                "create-orders",
                "--as",
                "applied",
                "--reason",
                "  ",
                "--yes",
            ],
        )
        .await;
    assert!(empty.log.contains("it says nothing"), "{}", empty.log);
    assert!(
        !empty.log.contains("FAILED"),
        "nothing was looked at: {}",
        empty.log
    );
    for command in [
        [
            "checksum",
            "accept",
            "create-orders",
            "sha256-v1:32848b63",
            "--reason",
            "x",
        ],
        [
            "approve",
            "create-orders",
            "--checksum",
            "sha256-v1:32848b63",
            "--reason",
            "x",
        ],
    ] {
        let cut = operator.ends(2, &command).await;
        assert!(
            cut.log.contains("64 hexadecimal digits, this one has 8"),
            "{}",
            cut.log
        );
    }
    assert_eq!(
        server.operator().states(&runner, "create-orders").await,
        ["STARTED", "FAILED"]
    );
}

/// A directory of two SQL changes, the first of which takes `seconds`, and the file of its target.
fn slow_changes(seconds: u32) -> (PathBuf, PathBuf) {
    let directory = scratch_directory(&[]);
    let change = |id: &str, sql: &str| {
        format!("-- flamingock:\n--   id: {id}\n--   targetSystem: orders-db\n\n{sql}\n")
    };
    for (name, text) in [
        (
            "_0001__slow.sql",
            change(
                "slow",
                &format!("CREATE TABLE slow AS SELECT pg_sleep({seconds})::text AS slept;"),
            ),
        ),
        ("_0002__after.sql", change("after", "CREATE TABLE after_it ();")),
    ] {
        std::fs::write(directory.join(name), text).expect("written");
    }
    let targets = PathBuf::from(scratch_file("targets.toml"));
    std::fs::write(
        &targets,
        "[orders-db]\nkind = \"postgres\"\nurl = \"${ORDERS_DB_URL}\"\n",
    )
    .expect("written");
    (directory, targets)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a scratch path is a text")
}

#[tokio::test]
async fn apply_check_leaves_no_execution_behind() {
    let (server, database) = (TestServer::start().await, Database::empty().await);
    let (directory, targets) = slow_changes(0);
    let runner = CommandLine::new(&server.url(), &tokens().runner)
        .about("production", "billing")
        .with("ORDERS_DB_URL", &database.url);
    let apply = ["apply", text(&directory), "--targets", text(&targets)];
    let check = [&apply[..], &["--check"]].concat();
    let pending = runner.ends(4, &check).await;
    assert!(
        pending.output.starts_with("Pending.") && pending.output.contains("after"),
        "{}",
        pending.output
    );
    let operator = operator(&server);
    let executions = operator.json(&["execution", "list"]).await;
    assert_eq!(
        executions["executions"].as_array().map(Vec::len),
        Some(0),
        "{executions}"
    );
    assert_eq!(
        operator.json(&["explain"]).await["standing"],
        "NEVER_STARTED",
        "no lock was taken, nothing was recorded"
    );
    runner.ok(&apply).await;
    let done = runner.json(&check).await;
    assert_eq!(done["verdict"], "UP_TO_DATE", "{done}");
    let executions = operator.json(&["execution", "list"]).await;
    assert_eq!(
        executions["executions"].as_array().map(Vec::len),
        Some(1),
        "{executions}"
    );
}

/// A process that applies changes, and the first of them is running.
struct Applying {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Applying {
    async fn start(server: &TestServer, database: &Database, service: &str, seconds: u32) -> (Self, Runner) {
        let (directory, targets) = slow_changes(seconds);
        let person = CommandLine::new(&server.url(), &tokens().runner)
            .about("production", service)
            .with("ORDERS_DB_URL", &database.url);
        let mut child = person.start(&["apply", text(&directory), "--targets", text(&targets)]);
        let log = BufReader::new(child.stderr.take().expect("it is piped"));
        let runner = server.runner(service).await;
        let operator = server.operator();
        eventually("the change runs", async || {
            (operator.states(&runner, "slow").await == ["STARTED"]).then_some(())
        })
        .await;
        (Self { child, log }, runner)
    }

    fn interrupt(&self) {
        let sent = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status();
        assert!(sent.expect("kill is there").success());
    }

    /// Reads on until it says this, or ends.
    async fn says(mut self, expected: &'static str) -> (Self, String) {
        let read = tokio::task::spawn_blocking(move || {
            let mut said = String::new();
            while !said.contains(expected) && self.log.read_line(&mut said).expect("it prints UTF-8") > 0 {}
            (self, said)
        });
        read.await.expect("read")
    }

    async fn ends(mut self) -> (Option<i32>, String) {
        let waited = tokio::task::spawn_blocking(move || {
            let mut said = String::new();
            self.log.read_to_string(&mut said).expect("it prints UTF-8");
            (self.child.wait().expect("it ends").code(), said)
        });
        waited.await.expect("waited")
    }
}

#[tokio::test]
async fn the_first_interruption_of_apply_lets_the_running_change_end() {
    let (server, database) = (TestServer::start().await, Database::empty().await);
    let (applying, runner) = Applying::start(&server, &database, "billing", 5).await;
    applying.interrupt();
    let (code, log) = applying.ends().await;
    assert_eq!(code, Some(4), "changes are pending: {log}");
    assert!(
        log.contains("Stopping as soon as the running change has ended"),
        "{log}"
    );
    let operator = server.operator();
    assert_eq!(operator.states(&runner, "slow").await, ["STARTED", "APPLIED"]);
    assert!(
        operator.states(&runner, "after").await.is_empty(),
        "the next one was not begun"
    );
    assert_eq!(runner.lock().await.status, 404, "the lock was given back");
}

#[tokio::test]
async fn the_second_interruption_of_apply_does_not_wait() {
    let (server, database) = (TestServer::start().await, Database::empty().await);
    let (applying, runner) = Applying::start(&server, &database, "billing", 600).await;
    applying.interrupt();
    let (applying, said) = applying.says("Stopping").await;
    assert!(said.contains("Ctrl-C once more"), "{said}");
    applying.interrupt();
    let (code, log) = applying.ends().await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("in the middle"), "{log}");
    assert_eq!(server.operator().states(&runner, "slow").await, ["STARTED"]);
}
