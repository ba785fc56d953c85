//! What is refused, in which words, and that nothing is written then.

use flamingock_tests::{Database, Pipeline, Ran, ServerCommand, TestServer, scratch_file};

use super::community::TABLE;
use super::{WRITTEN, done, file, import, imported, into, record};

fn refused(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, Some(code), "{}{}", ran.output, ran.log);
    // Long lines are wrapped by nobody.
    for word in words {
        assert!(
            ran.log.contains(word) || ran.output.contains(word),
            "{word} is not in\n{}{}",
            ran.output,
            ran.log
        );
    }
    assert!(ran.log.contains("help:"), "what to do is missing in\n{}", ran.log);
}

#[tokio::test]
async fn a_line_that_cannot_be_taken_is_named_and_nothing_is_written() {
    let server = TestServer::start().await;
    let before = server.database.number(WRITTEN).await;
    let good = record("good", "EXECUTED", 5);
    let without = |field: &str| record("a", "EXECUTED", 5).replace(&format!("\"{field}\":"), "\"other\":");
    for (bad, why) in [
        ("{\"changeId\":".to_owned(), "line 2: not JSON: EOF while parsing"),
        (
            "changeId=a".to_owned(),
            "line 2: not JSON: expected value at column 1",
        ),
        ("{} {}".to_owned(), "line 2: not JSON: trailing characters"),
        ("[1]".to_owned(), "line 2: not a JSON object"),
        ("\"a\"".to_owned(), "line 2: not a JSON object"),
        (without("changeId"), "line 2: `changeId` is missing or empty"),
        (without("state"), "line 2: `state` is missing or empty"),
        (without("timestamp"), "line 2: `timestamp` is missing or empty"),
        (
            good.replace("{\"$numberLong\":\"5\"}", "\"soon\""),
            "line 2: `timestamp` is no point in time",
        ),
        (
            record("a\\u0007", "EXECUTED", 5),
            "line 2: the change id must not contain control characters",
        ),
        (
            record(&"x".repeat(1_025), "EXECUTED", 5),
            "line 2: the change id must not be longer than 1024 bytes",
        ),
        (
            record("only-ignored", "IGNORED", 5),
            "change only-ignored: only IGNORED records",
        ),
    ] {
        let log = file(&[good.clone(), bad, good.clone()]);
        for arguments in [&["--mongock", &log][..], &["--mongock", &log, "--dry-run"]] {
            let ran = imported(&server.database, arguments).await;
            refused(&ran, 1, &[why, "nothing was written", "--skip-unusable"]);
            assert_eq!(server.database.number(WRITTEN).await, before, "{why}");
        }
    }
    let latin = scratch_file("latin.jsonl");
    std::fs::write(&latin, b"{\"changeId\":\"caf\xe9\"}\n").expect("the scratch directory can be written to");
    let ran = imported(&server.database, &["--mongock", &latin]).await;
    refused(&ran, 1, &["line 1: not UTF-8"]);
    assert_eq!(server.database.number(WRITTEN).await, before);
}

#[tokio::test]
async fn who_insists_imports_what_can_be_taken() {
    let server = TestServer::start().await;
    let log = file(&[
        "oops".to_owned(),
        record("a", "EXECUTED", 5),
        record("b", "IGNORED", 5),
    ]);
    let account = done(&server.database, &["--mongock", &log, "--skip-unusable"]).await;
    assert!(
        account.starts_with("imported: ") && account.contains("line 1: not JSON"),
        "{account}"
    );
    let runner = server.runner("billing").await;
    assert_eq!(server.operator().states(&runner, "a").await, ["APPLIED"]);
    assert_eq!(server.operator().audit(&runner).await.len(), 1);
}

#[tokio::test]
async fn a_bad_line_after_many_good_ones_leaves_nothing_of_them() {
    let server = TestServer::start().await;
    let before = server.database.number(WRITTEN).await;
    let mut lines: Vec<String> = (0..1_700)
        .map(|at| record(&format!("c{at}"), "EXECUTED", at))
        .collect();
    lines.push("{".to_owned());
    let ran = imported(&server.database, &["--mongock", &file(&lines)]).await;
    refused(&ran, 1, &["line 1701: not JSON"]);
    assert_eq!(server.database.number(WRITTEN).await, before);
    lines.pop();
    let account = done(&server.database, &["--mongock", &file(&lines)]).await;
    assert!(account.contains("1700 records: 1700 entries"), "{account}");
    let runner = server.runner("billing").await;
    let verification = server.operator().verification(&runner).await;
    assert!(
        verification.intact && verification.head_seq == 1_700,
        "{verification:?}"
    );
}

#[tokio::test]
async fn a_source_that_cannot_be_read_is_refused() {
    let server = TestServer::start().await;
    let empty = file(&[]);
    let array = file(&[format!("[{}]", record("a", "EXECUTED", 5))]);
    let absent = scratch_file("absent.jsonl");
    for (arguments, code, words) in [
        (
            &["--mongock", absent.as_str()][..],
            1,
            &["cannot read", "No such file"][..],
        ),
        (&["--mongock", "/"], 1, &["/ is not a file"]),
        (&["--mongock", &empty], 1, &["there is nothing to import"]),
        (&["--mongock", &array], 1, &["one JSON array", "--jsonArray"]),
        (
            &["--mongock", "mongodb://db/app"],
            2,
            &["--mongock", "mongoexport --uri URL --collection mongockChangeLog"],
        ),
        (
            &["--community", "mongodb+srv://db/app"],
            2,
            &["mongoexport --uri URL --collection flamingockAuditLog"],
        ),
        (&["--community-table", "t"], 2, &["SOURCE_DATABASE_URL"]),
        (
            &[
                "--community-table",
                "t",
                "--source-database-url",
                "mysql://u:secret@db/app",
            ],
            2,
            &["mysql://u:[redacted]@db/app is not a PostgreSQL"],
        ),
        (
            &[
                "--community-table",
                "t",
                "--source-database-url",
                "postgres://u:secret@127.0.0.1:1/app",
            ],
            1,
            &["cannot connect to the database postgres://u:[redacted]@127.0.0.1:1/app"],
        ),
    ] {
        let ran = imported(&server.database, arguments).await;
        refused(&ran, code, words);
        assert!(!ran.log.contains("secret"), "{}", ran.log);
    }
}

#[tokio::test]
async fn a_table_that_is_not_communitys_is_refused() {
    let server = TestServer::start().await;
    let source = Database::empty().await;
    source
        .execute("CREATE TABLE other (id int, change_id text); CREATE SCHEMA elsewhere")
        .await;
    source
        .execute(&TABLE.replace("flamingockAuditLog", "elsewhere.\"Log\""))
        .await;
    for (table, words) in [
        (
            "flamingockAuditLog",
            &["there is no table flamingockAuditLog in postgres"][..],
        ),
        ("Log", &["there is no table Log in postgres"]),
        ("no such; name", &["there is no table no such; name in postgres"]),
        (
            "other",
            &["table other is not an audit", "execution_id, stage_id"],
        ),
        ("elsewhere.\"Log\"", &["there is nothing to import"]),
    ] {
        let arguments = ["--community-table", table, "--source-database-url", &source.url];
        let ran = imported(&server.database, &arguments).await;
        refused(&ran, 1, words);
    }
    let arguments = [
        "--community-table",
        "other",
        "--source-database-url",
        &source.url,
        "--source-time-zone",
        "Mars/Olympus",
    ];
    let ran = imported(&server.database, &arguments).await;
    refused(&ran, 1, &["Mars/Olympus is no time zone", "Europe/Berlin"]);
}

#[tokio::test]
async fn a_destination_that_does_not_exist_is_refused_and_never_made() {
    let server = TestServer::start().await;
    let before = server.database.number(WRITTEN).await;
    let log = file(&[record("a", "EXECUTED", 5)]);
    let url = [("DATABASE_URL", server.database.url.as_str())];
    let with = |option: &'static str, value: &'static str| {
        let mut arguments = into("production", &["--mongock", &log]);
        let at = arguments.iter().position(|it| *it == option).expect("an option");
        arguments[at + 1] = value;
        arguments
    };
    for (arguments, code, words) in [
        (
            with("--environment", "produktion"),
            1,
            &["no environment produktion in project payments"][..],
        ),
        (
            with("--project", "payment"),
            1,
            &["no project payment in an organisation acme"],
        ),
        (
            with("--organisation", "globex"),
            1,
            &["no project payments in an organisation globex"],
        ),
        (with("--service", " billing"), 1, &["\" billing\" is not usable"]),
        (with("--by", " "), 2, &["--by must not be empty"]),
    ] {
        let ran = ServerCommand::run(&arguments, &url).await;
        refused(&ran, code, words);
        assert_eq!(server.database.number(WRITTEN).await, before);
    }

    let bare = Database::empty().await;
    let ran = imported(&bare, &["--mongock", &log]).await;
    refused(&ran, 1, &["schema is none yet", "flamingock-server migrate"]);
    let ran = ServerCommand::run(&import(&["--mongock", &log]), &[]).await;
    refused(&ran, 1, &["DATABASE_URL is not set"]);
}

#[tokio::test]
async fn while_a_runner_holds_the_services_lock_nothing_is_imported() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    runner.granted(&Pipeline::of("schema", &["a"])).await;
    let log = file(&[record("a", "EXECUTED", 5)]);
    let ran = imported(&server.database, &["--mongock", &log]).await;
    refused(
        &ran,
        1,
        &[&format!("runner {} holds the lock of service billing", runner.id)],
    );
    assert_eq!(server.operator().audit(&runner).await, []);
    runner.release().await.expect(200);
    done(&server.database, &["--mongock", &log]).await;
}
